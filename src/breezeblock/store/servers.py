"""Pools of sessions on PostgreSQL and on MariaDB (Galera included), and what the errors of these servers mean."""

import math
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import URL, Engine, create_engine, event, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import QueuePool

from breezeblock.model.errors import Ambiguous, Contended, Unavailable
from breezeblock.store.sessions import (
    CATCH_UP,
    DO_NOT_CATCH_UP,
    MARIADB_STATE,
    Ask,
    Limits,
    mariadb_refusal,
    prepare_mariadb,
    prepare_postgresql,
)

__all__ = ["NoWrites", "Session", "node_refusal", "open_server", "opening", "server_url", "translate_server"]

# A server that does not even accept a connection in this time is passed over.
CONNECT_LIMIT_S: Final = 3
LOCK_LIMIT_S: Final = 4
STATEMENT_LIMIT_S: Final = 7.0

_DRIVERS: Final = {"postgresql": "postgresql+psycopg", "mysql": "mariadb+pymysql", "mariadb": "mariadb+pymysql"}


@dataclass(frozen=True, slots=True)
class Session:
    """What all sessions of a process have in common."""

    ttl_s: float = 6.0
    connections: int = 8
    statement_limit_s: float = STATEMENT_LIMIT_S
    reads_standbys: bool = False
    """Whether a server that takes no writes will do for reading: what it has may be the past."""
    answer_limit_s: float | None = None
    """After how long a transaction is cut off from a server that says nothing; None: as soon as the service does."""

    @property
    def limits(self) -> Limits:
        """A transaction may be idle for well below a third of the ttl."""
        return Limits(statement_s=self.statement_limit_s, lock_s=LOCK_LIMIT_S, idle_s=self.ttl_s / 3 * 0.8)


def server_url(url: str) -> URL:
    """The URL with the database driver that we use. Raises ValueError."""
    parsed = make_url(url)
    return parsed.set(drivername=_DRIVERS[parsed.get_backend_name()])


def open_server(url: str, session: Session, *, reading: bool) -> Engine:
    """A pool of connections for transactions that write, or for such that only read."""
    parsed = server_url(url)
    postgresql = parsed.get_backend_name() == "postgresql"
    engine = create_engine(
        parsed,
        poolclass=QueuePool,
        pool_size=session.connections,
        max_overflow=0,
        pool_reset_on_return=None,  # the lane ends every transaction itself; a second ROLLBACK would be one more round trip
        query_cache_size=2_000,
        connect_args=_postgresql_arguments() if postgresql else _mariadb_arguments(session),
    )
    prepare = _prepare_postgresql if postgresql else _prepare_mariadb

    @event.listens_for(engine, "connect", insert=True)  # before SQLAlchemy asks the first one what server it is
    def tell(connection: DBAPIConnection, record: object) -> None:
        opening.tell(connection)

    @event.listens_for(engine, "connect")
    def set_up(connection: DBAPIConnection, record: object) -> None:
        prepare(connection, session, reading)

    return engine


class _Opening(threading.local):
    """Who wants to know of a connection that this thread opens, before the server is asked anything on it."""

    def __init__(self) -> None:
        self.tell: Callable[[Any], None] = lambda connection: None


opening: Final = _Opening()


def _postgresql_arguments() -> dict[str, Any]:
    # A peer that is gone without a word is noticed by the kernel; one that is stopped, by the lane's own limit.
    return {
        "connect_timeout": CONNECT_LIMIT_S,
        "tcp_user_timeout": math.floor(STATEMENT_LIMIT_S * 1000),
        "keepalives_idle": 5,
        "keepalives_interval": 2,
        "keepalives_count": 2,
        "application_name": "breezeblock",
    }


def _prepare_postgresql(connection: Any, session: Session, reading: bool) -> None:
    from psycopg import IsolationLevel

    was = connection.autocommit
    connection.autocommit = True
    with connection.cursor() as cursor:
        refusal = prepare_postgresql(_asking(cursor), session.limits, reading=reading and session.reads_standbys)
    connection.autocommit = was
    if refusal is not None:
        raise NoWrites(refusal)
    connection.isolation_level = IsolationLevel.REPEATABLE_READ if reading else IsolationLevel.READ_COMMITTED
    connection.read_only = reading


def _mariadb_arguments(session: Session) -> dict[str, Any]:
    return {
        "connect_timeout": CONNECT_LIMIT_S,
        # Until the session is set up. `connect_timeout` ends with TCP's handshake, which a server that is stopped does as well.
        "read_timeout": CONNECT_LIMIT_S,
        "write_timeout": session.statement_limit_s + 1,
        "charset": "utf8mb4",
        "program_name": "breezeblock",
    }


def _prepare_mariadb(connection: Any, session: Session, reading: bool) -> None:
    stale = reading and session.reads_standbys
    with connection.cursor() as cursor:
        refusal = prepare_mariadb(_asking(cursor), session.limits, reading=stale, snapshot=reading)
    if refusal is not None:
        raise NoWrites(refusal)
    connection._read_timeout = session.statement_limit_s + 1


def _asking(cursor: Any) -> Ask:
    def ask(statement: str, values: Sequence[Any]) -> Sequence[Sequence[Any]]:
        cursor.execute(statement, values)
        rows: Sequence[Sequence[Any]] = cursor.fetchall()
        return rows

    return ask


class NoWrites(Exception):
    """A server that would refuse every write, or everything: the next one may be another."""


# --- errors -----------------------------------------------------------------------------------------------------------

# https://www.postgresql.org/docs/15/errcodes-appendix.html: states, or classes of two characters.
_PG_AGAIN: Final = ("40001", "40P01", "55P03", "57014", "23505")
_PG_ABORTED: Final = ("40001", "40P01", "23505")
_PG_AWAY: Final = ("08", "25006", "25P03", "53", "57P", "58", "XX000")
# https://mariadb.com/kb/en/mariadb-error-code-reference/
_MARIADB_LOCK_WAIT: Final = 1205
_MARIADB_AGAIN: Final = frozenset({1020, 1062, 1205, 1213, 1317, 1969})
_MARIADB_ABORTED: Final = frozenset({1020, 1062, 1205, 1213})
_MARIADB_AWAY: Final = frozenset(
    {
        3,
        1021,
        1026,
        1028,
        1030,
        1037,
        1040,
        1041,
        1043,
        1047,
        1053,
        1114,
        1129,
        1135,
        1152,
        1153,
        1158,
        1159,
        1160,
        1161,
    }
    | {1180, 1184, 1203, 1290, 1792, 1836, 1927, 2000, 2002, 2003, 2006, 2013, 2014, 2027, 2055, 4031}
)


def node_refusal(raw: BaseException, connection: Any) -> str | None:
    """What is behind an error that a Galera node may have raised because it has lost its cluster; None: what it says.

    Such a node answers 1205, as for a row that is locked, to whoever waits for the cluster (`wsrep_sync_wait`): to ask it again
    would be in vain. The node is asked how it is, on the driver's own `connection`: after a failed COMMIT SQLAlchemy asks
    nothing more on its.
    """
    if type(raw).__module__.partition(".")[0] != "pymysql" or raw.args[:1] != (_MARIADB_LOCK_WAIT,):
        return None
    from pymysql.err import MySQLError

    try:
        with connection.cursor() as cursor:
            cursor.execute(DO_NOT_CATCH_UP)
            cursor.execute(MARIADB_STATE)
            state = cursor.fetchone()
            cursor.execute(CATCH_UP)
    except MySQLError as silence:
        return f"it says no more: {silence}"
    return mariadb_refusal(*state, reading=True)


def translate_server(error: Exception, raw: Exception, *, committing: bool) -> Exception | None:
    """Our name for an error of a server's driver (`raw`), None if it is none. `error` is returned for a mistake of ours."""
    module = type(raw).__module__.partition(".")[0]
    if isinstance(raw, NoWrites):
        return Unavailable(str(raw))
    if module == "psycopg":
        return _translate_postgresql(error, raw, committing=committing)
    if module == "pymysql":
        return _translate_mariadb(error, raw, committing=committing)
    return None


def _translate_postgresql(error: Exception, raw: Any, *, committing: bool) -> Exception:
    from psycopg import OperationalError

    state = getattr(raw, "sqlstate", None) or ""
    if committing:
        return Contended(str(raw)) if state in _PG_ABORTED else Ambiguous(str(raw))
    if state in _PG_AGAIN:
        return Contended(str(raw))
    # Without a state it is the client's own word: the connection is lost, or was never made.
    lost = isinstance(raw, OperationalError) and not state
    return Unavailable(str(raw)) if lost or _starts(state, _PG_AWAY) else error


def _translate_mariadb(error: Exception, raw: Any, *, committing: bool) -> Exception:
    from pymysql.err import InterfaceError, OperationalError

    code = raw.args[0] if raw.args and isinstance(raw.args[0], int) else 0
    if committing:
        return Contended(str(raw)) if code in _MARIADB_ABORTED else Ambiguous(str(raw))
    if code in _MARIADB_AGAIN:
        return Contended(str(raw))
    lost = isinstance(raw, InterfaceError) or (isinstance(raw, OperationalError) and code == 0)
    return Unavailable(str(raw)) if lost or code in _MARIADB_AWAY else error


def _starts(state: str, prefixes: Iterable[str]) -> bool:
    return any(state.startswith(prefix) for prefix in prefixes)
