"""Every difference between the databases, and nowhere else."""

import sqlite3
from collections.abc import Callable
from typing import Any

from sqlalchemy import BigInteger, Connection, Engine, Integer, String, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.pool import NullPool, StaticPool
from sqlalchemy.sql.functions import FunctionElement

from breezeblock.model.errors import Ambiguous, Contended, Unavailable
from breezeblock.store.servers import translate_server

# How long SQLite itself waits for its write lock. The turnstile makes waiting rare; this is for outsiders without it.
SQLITE_BUSY_MS = 2_000


class db_now_us(FunctionElement[int]):
    """The database's clock, microseconds since 1970 UTC. The one clock that all nodes of a cluster share."""

    type = BigInteger()
    inherit_cache = True


@compiles(db_now_us, "sqlite")
def _now_sqlite(element: db_now_us, compiler: Any, **kw: Any) -> str:
    # SQLite's clock is its process's clock: registered at connect, so that the simulation's databases have virtual time.
    return "breezeblock_now_us()"


@compiles(db_now_us, "postgresql")
def _now_postgresql(element: db_now_us, compiler: Any, **kw: Any) -> str:
    return "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT)"


@compiles(db_now_us, "mysql", "mariadb")
def _now_mysql(element: db_now_us, compiler: Any, **kw: Any) -> str:
    return "CAST(UNIX_TIMESTAMP(NOW(6)) * 1000000 AS SIGNED)"


def locks_in_key_order(tx: Connection) -> bool:
    """Whether one statement that changes several rows of a table, found by its primary key, takes them in the key's order.

    InnoDB keeps rows in that order, by which it finds them whether it goes through a part of them or through all. SQLite has
    one writer. PostgreSQL may read them in any order.
    """
    return tx.dialect.name != "postgresql"


class always_null(FunctionElement[str]):
    """In ORDER BY, before the other columns of an index: one of its columns that the conditions require to be NULL.

    PostgreSQL sees only so that the index is in this order, and takes the first few rows instead of sorting all of them.
    MariaDB sees it only without.
    """

    type = String()
    inherit_cache = True


@compiles(always_null)
def _null_column(element: always_null, compiler: Any, **kw: Any) -> str:
    text: str = compiler.process(element.clauses.clauses[0], **kw)
    return text


@compiles(always_null, "mysql", "mariadb")
def _null_nothing(element: always_null, compiler: Any, **kw: Any) -> str:
    return "NULL"


class unindexed(FunctionElement[int]):
    """In a condition: a column by whose index SQLite is not to look. The others have hints, or know how many rows there are.

    See https://www.sqlite.org/optoverview.html#disqualifying_where_clause_terms_using_unary_.
    """

    type = Integer()
    inherit_cache = True


@compiles(unindexed)
def _column(element: unindexed, compiler: Any, **kw: Any) -> str:
    text: str = compiler.process(element.clauses.clauses[0], **kw)
    return text


@compiles(unindexed, "sqlite")
def _plus_column(element: unindexed, compiler: Any, **kw: Any) -> str:
    return f"+{_column(element, compiler, **kw)}"


def skips_to_distinct(tx: Connection) -> bool:
    """Whether `SELECT DISTINCT` of the first columns of an index may be left to the planner.

    MariaDB goes from value to value. SQLite reads all entries, but of the index only, and in the process itself. PostgreSQL
    reads all rows, and must be led.
    """
    return tx.dialect.name != "postgresql"


def open_engine(url: str, *, now_us: Callable[[], int]) -> Engine:
    """An engine whose connections start no transaction by themselves: lanes say BEGIN. `now_us` is SQLite's clock.

    SQLite runs in WAL with synchronous=FULL: what was answered survives a power cut.
    """
    in_memory = url in ("sqlite://", "sqlite:///:memory:")
    engine = create_engine(
        url,
        poolclass=StaticPool if in_memory else NullPool,
        connect_args={"isolation_level": None, "check_same_thread": False, "cached_statements": 512},
        query_cache_size=2_000,
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: DBAPIConnection, record: object) -> None:
        raw: sqlite3.Connection = connection  # type: ignore[assignment]
        raw.create_function("breezeblock_now_us", 0, now_us)
        for pragma in sqlite_pragmas(in_memory=in_memory):
            require_wal(pragma, raw.execute(pragma).fetchone())

    return engine


def sqlite_pragmas(*, in_memory: bool = False) -> tuple[str, ...]:
    """What every connection to our SQLite sets, the keeper's included."""
    if in_memory:
        return ("PRAGMA foreign_keys = ON",)
    return (
        f"PRAGMA busy_timeout = {SQLITE_BUSY_MS}",
        "PRAGMA journal_mode = WAL",
        "PRAGMA synchronous = FULL",
        "PRAGMA foreign_keys = ON",
    )


def require_wal(pragma: str, answer: tuple[Any, ...] | None) -> None:
    """Refuse a database that cannot have a write-ahead log (some network filesystems): readers would block writers there,
    and nobody could tell who holds the write lock."""
    if "journal_mode" in pragma and (answer is None or answer[0] != "wal"):
        raise sqlite3.NotSupportedError(f"the database's filesystem cannot do write-ahead logging: {answer}")


_SAME_ROW = {sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY, sqlite3.SQLITE_CONSTRAINT_ROWID}
_RUN_AGAIN = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_OUT_OF_REACH = {
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_READONLY,
}


def translate(error: Exception, *, committing: bool) -> Exception:
    """Our name for a database error: Contended, Unavailable or Ambiguous; anything else is returned unchanged.

    An error while committing tells nothing about the commit, but for SQLITE_BUSY, which SQLite raises before it.
    """
    raw = error.orig if isinstance(error, DBAPIError) and isinstance(error.orig, Exception) else error
    if isinstance(raw, sqlite3.IntegrityError):
        # Two transactions made the same row, and the next run sees the other one's. Any other constraint is a mistake of
        # ours, which running again would only repeat.
        return Contended(str(raw)) if raw.sqlite_errorcode in _SAME_ROW else error
    if (named := translate_server(error, raw, committing=committing)) is not None:
        return named
    if not isinstance(raw, sqlite3.Error):
        return Ambiguous(str(raw)) if committing else error
    code = getattr(raw, "sqlite_errorcode", 0) & 0xFF
    if code in _RUN_AGAIN:
        return Contended(str(raw))
    if committing:
        return Ambiguous(str(raw))
    return Unavailable(str(raw)) if code in _OUT_OF_REACH else error
