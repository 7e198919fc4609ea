"""Bringing a database to the schema of this release.

On SQLite everything from the first look at the version to the last statement is one transaction, and those who upgrade
queue up in front of it: of two processes that start at once one migrates, and the other finds the work done. A process
that dies in between leaves the database as it was.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlalchemy import Connection, inspect, text

from breezeblock.env.real import RealClock
from breezeblock.store.dialects import open_engine, sqlite_path
from breezeblock.store.turnstile import Turnstile

if TYPE_CHECKING:
    from alembic.config import Config

# The newest revision. Said here as well, so that a service that is up to date starts without loading Alembic.
HEAD: Final = "0004"

_VERSION: Final = text("SELECT version_num FROM alembic_version")


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
        return _current(connection)


def upgrade(url: str) -> bool:
    """Bring the database to `head()`. Returns whether anything was to do. Raises TooNew.

    Safe to call again and from several processes at once.
    """
    with _alone(url), _connected(url) as connection:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        try:
            changed = _upgrade(connection)
        except BaseException:
            connection.rollback()
            raise
        connection.commit()
        return changed


def _upgrade(connection: Connection) -> bool:
    at = _current(connection)
    if at == HEAD:
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


def _current(connection: Connection) -> str | None:
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
    engine = open_engine(url, now_us=RealClock().now_us)
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()
