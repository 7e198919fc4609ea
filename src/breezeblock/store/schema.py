"""Bringing a database to the schema of this release.

On SQLite and PostgreSQL everything from the first look at the version to the last statement is one transaction, and those
who upgrade queue up in front of it: of two processes that start at once one migrates, and the other finds the work done. A
process that dies in between leaves the database as it was.

MariaDB commits with every statement that changes the schema, and a lock is known to one Galera node only. So there every
statement may be repeated (`ddl`), the revision is written last, and who was in another's way begins again.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog
from sqlalchemy import Connection, Engine, inspect, text
from sqlalchemy.exc import DBAPIError

from breezeblock.database_urls import POSTGRESQL, is_server_url, kind_of, sqlite_path
from breezeblock.env.real import RealClock
from breezeblock.store.dialects import open_engine
from breezeblock.store.servers import Session, open_server
from breezeblock.store.turnstile import Turnstile
from breezeblock.store.type_accounts import move_to_ids

if TYPE_CHECKING:
    from alembic.config import Config

# The newest revision. Said here as well, so that a service that is up to date starts without loading Alembic.
HEAD: Final = "0005"

_VERSION: Final = text("SELECT version_num FROM alembic_version")
# Of everybody who upgrades a database on a PostgreSQL server; any number that nobody else takes.
_PG_LOCK: Final = text("SELECT pg_advisory_xact_lock(7240386153)")
_MARIADB_LOCK: Final = text("SELECT GET_LOCK(CONCAT(DATABASE(), '.breezeblock_upgrade'), 30)")
_REPEATS: Final = 5
UPGRADE_LIMIT_S: Final = 600.0

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
    if not is_server_url(url):
        with _alone(url), _connected(url) as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            return _in_transaction(connection)
    for repeat in range(_REPEATS):
        try:
            with _connected(url) as connection:
                connection.execute(_PG_LOCK if connection.dialect.name == "postgresql" else _MARIADB_LOCK)
                return _in_transaction(connection)
        except DBAPIError:
            if repeat == _REPEATS - 1 or kind_of(url) == POSTGRESQL:
                raise
            log.info("database.upgrade_again", exc_info=True)
    raise AssertionError("the last repeat returns or raises")


def _in_transaction(connection: Connection) -> bool:
    try:
        changed = _upgrade(connection)
    except BaseException:
        connection.rollback()
        raise
    connection.commit()
    return changed


def _upgrade(connection: Connection) -> bool:
    at = revision_of(connection)
    if at == HEAD:
        move_to_ids(connection)  # what a process of the release before has charged since
        return False
    from alembic import command
    from alembic.script import ScriptDirectory

    config = _config(connection)
    known = {revision.revision for revision in ScriptDirectory.from_config(config).walk_revisions()}
    if at is not None and at not in known:
        raise TooNew(f"The database is at revision {at}, which this release does not know: it needs a later release.")
    command.upgrade(config, "head")
    return True


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
    return open_server(url, Session(connections=1, statement_limit_s=UPGRADE_LIMIT_S), reading=False)
