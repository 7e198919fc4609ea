"""Bringing a database to the schema of this release, while processes of the release before work on it.

On SQLite all statements that change tables are one transaction, on PostgreSQL those of one revision: who needs two tables would
otherwise keep everybody from the first while it waits for the second. Those who upgrade queue up in front of each: of two
processes that start at once one migrates, and the other finds the work done. A process that dies leaves a whole revision.

MariaDB commits with every statement that changes the schema, and a lock is known to one Galera node only. So there every
statement may be repeated (`ddl`), and the revision is written last.

Indexes on tables that are big by now are built before their revision (`indexes`), beside everybody's work.

To change a table it must be nobody's for an instant, and all who come later wait behind whoever waits for that. So it is waited
for only for a second: then everybody else has their turn, and it is tried again. Rows are moved in transactions of their own.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import structlog
from sqlalchemy import Connection, Engine, inspect, text
from sqlalchemy.exc import DBAPIError

from breezeblock.database_urls import is_server_url, sqlite_path
from breezeblock.env.real import RealClock
from breezeblock.model.errors import Contended
from breezeblock.store import indexes
from breezeblock.store.dialects import open_engine, translate
from breezeblock.store.servers import Session, open_server
from breezeblock.store.turnstile import Turnstile
from breezeblock.store.type_accounts import ROWS_MOST, move_to_ids

if TYPE_CHECKING:
    from alembic.config import Config

# The newest revision. Said here as well, so that a service that is up to date starts without loading Alembic.
HEAD: Final = "0019"

_VERSION: Final = text("SELECT version_num FROM alembic_version")
# What a transaction begins with, by dialect: a place in the queue of those who upgrade (on PostgreSQL any number that nobody
# else takes), and how long, in seconds or milliseconds, it may make others wait for a table.
_BEGIN: Final[Mapping[str, tuple[str, ...]]] = {
    "sqlite": ("BEGIN IMMEDIATE",),
    "postgresql": ("SELECT pg_advisory_xact_lock(7240386153)", "SET LOCAL lock_timeout = 1000"),
    "mariadb": ("SET SESSION lock_wait_timeout = 1", "SELECT GET_LOCK(CONCAT(DATABASE(), '.breezeblock_upgrade'), 30)"),
}
_PAUSE_S: Final = 0.25
_PAUSE_MOST_S: Final = 2.0
# Whoever is in the way for that long (a dump, a forgotten transaction) is the operator's to send away.
_PATIENCE_S: Final = 60.0
# Each of `ROWS_MOST` rows: more than anybody has.
_MOVES_MOST: Final = 100_000
UPGRADE_LIMIT_S: Final = 600.0
# A process that is stopped in the middle of an upgrade gives its locks back within a third of that.
_TTL_S: Final = 15.0

T = TypeVar("T")

log = structlog.get_logger(__name__)


class TooNew(Exception):
    """The database was made by a later release than this one."""


def head() -> str:
    """The newest revision that this release knows."""
    return HEAD


def current(url: str) -> str | None:
    """The revision of a database, or None for one that is empty or does not exist yet."""
    path = sqlite_path(url)
    if path is not None and not Path(path).exists():
        return None
    with _connected(url) as connection:
        return revision_of(connection)


def upgrade(url: str) -> bool:
    """Bring the database to `head()`. Returns whether anything was to do. Raises TooNew.

    Safe to call again and from several processes at once.
    """
    changed = False
    at = current(url)
    with_rows = at is not None
    if at != HEAD:
        import_module("alembic.command")  # takes a while, in which no transaction is open
    while at != HEAD:
        if at is not None and with_rows and is_server_url(url):
            _build_indexes(url, at)
        at, has_revised = _in_turn(url, partial(_revise, seen=at))
        changed = changed or has_revised
    for _ in range(_MOVES_MOST):
        if _in_turn(url, move_to_ids) < ROWS_MOST:
            break  # what is charged under names from now on is not waited for
    return changed


def _in_turn(url: str, work: Callable[[Connection], T]) -> T:
    """One transaction, when those who upgrade as well have ended theirs; again when it was in anybody's way."""

    def transact() -> T:
        with _alone(url), _connected(url) as connection:
            for statement in _BEGIN[connection.dialect.name]:
                connection.exec_driver_sql(statement)
            return _in_transaction(connection, work)

    return _patiently(transact, patience_s=_PATIENCE_S)


def _build_indexes(url: str, at: str) -> None:
    """On PostgreSQL, those that the revision after `at` asks for; there is no transaction around it."""
    revision = indexes.asked_after(at)
    if revision is None:
        return

    def attempt() -> None:
        with _connected(url) as connection:
            if connection.dialect.name == "postgresql":
                connection.rollback()  # what it was asked so far
                by_itself = connection.execution_options(isolation_level="AUTOCOMMIT")
                indexes.build(by_itself, revision=revision, told=lambda name: log.info("database.index", name=name))

    _patiently(attempt, patience_s=UPGRADE_LIMIT_S)


def _patiently(attempt: Callable[[], T], *, patience_s: float) -> T:
    """What `attempt` returns, after as many as it takes: it is made again when others were in its way."""
    clock, pause_s = RealClock(), _PAUSE_S
    started_s = clock.boottime()
    while True:
        try:
            return attempt()
        except (DBAPIError, Contended) as error:
            in_the_way = isinstance(translate(error, committing=False), Contended)
            if not in_the_way or clock.boottime() - started_s > patience_s:
                raise
            log.info("database.upgrade_again", reason=str(getattr(error, "orig", error)))
        clock.pause(pause_s)
        pause_s = min(2 * pause_s, _PAUSE_MOST_S)


def _in_transaction(connection: Connection, work: Callable[[Connection], T]) -> T:
    try:
        done = work(connection)
    except BaseException:
        connection.rollback()
        raise
    connection.commit()
    return done


def _revise(connection: Connection, *, seen: str | None) -> tuple[str | None, bool]:
    """Make the revision after `seen`, on SQLite all of them. Returns where it is then, and whether we brought it there.

    Nothing is made of a database that somebody else has upgraded meanwhile: what its next revision needs is not ready. Raises
    TooNew.
    """
    at = revision_of(connection)
    if at == HEAD or at != seen:
        return at, False
    from alembic import command
    from alembic.script import ScriptDirectory
    from alembic.util import CommandError

    config = _config(connection)
    known = {revision.revision for revision in ScriptDirectory.from_config(config).walk_revisions()}
    if at is not None and at not in known:
        raise TooNew(f"The database is at revision {at}, which this release does not know: it needs a later release.")
    try:
        command.upgrade(config, "head" if connection.dialect.name == "sqlite" else "+1")
    except CommandError:
        connection.rollback()
        if revision_of(connection) == at:
            raise
        log.info("database.upgraded_elsewhere", revision=at)  # through another Galera node, meanwhile
    return revision_of(connection), True


def _config(connection: Connection | None = None) -> "Config":
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def revision_of(connection: Connection) -> str | None:
    """The revision of a database, or None for an empty one."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    found = connection.execute(_VERSION).scalar()
    return None if found is None else str(found)


@contextlib.contextmanager
def _alone(url: str) -> Iterator[None]:
    """Wait until nobody else upgrades. SQLite alone would answer some of those who come together with an error."""
    path = sqlite_path(url)
    if path is None:
        yield
        return
    turnstile = Turnstile(path)
    try:
        with turnstile:
            yield
    finally:
        turnstile.close()


@contextlib.contextmanager
def _connected(url: str) -> Iterator[Connection]:
    engine = _open(url)
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


def _open(url: str) -> Engine:
    if not is_server_url(url):
        return open_engine(url, now_us=RealClock().now_us)
    return open_server(url, Session(ttl_s=_TTL_S, connections=1, statement_limit_s=UPGRADE_LIMIT_S), reading=False)
