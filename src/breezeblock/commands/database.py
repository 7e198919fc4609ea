"""Reading the database without disturbing it, running or not; and `db upgrade`, `db current`."""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import Connection, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DatabaseError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from breezeblock.commands.failure import Failed
from breezeblock.env.real import RealClock
from breezeblock.settings import Settings, mask_url_secrets
from breezeblock.store import schema
from breezeblock.store.dialects import sqlite_path
from breezeblock.supervisor.folder import DataFolder


@contextlib.contextmanager
def reading(settings: Settings) -> Iterator[Connection]:
    """One consistent snapshot that cannot write. Raises Failed when there is no database, or one of another release."""
    path = existing_path(settings)
    engine = create_engine(
        f"sqlite:///file:{quote(path)}?mode=ro&uri=true", poolclass=NullPool, connect_args={"isolation_level": None}
    )

    @event.listens_for(engine, "connect")
    def give_clock(connection: DBAPIConnection, record: object) -> None:
        raw: sqlite3.Connection = connection  # type: ignore[assignment]
        raw.create_function("breezeblock_now_us", 0, RealClock().now_us)

    try:
        with engine.connect() as connection:
            connection.exec_driver_sql("BEGIN")
            yield connection
            connection.rollback()
    except DatabaseError as error:
        raise Failed(f"The database {path} cannot be read: {error.orig}.") from error
    finally:
        engine.dispose()


def existing_path(settings: Settings) -> str:
    """The database's file. Raises Failed when there is none."""
    path = sqlite_path(settings.database.url)
    if path is None:
        raise Failed(
            f"This release runs on SQLite files only, not on {mask_url_secrets(settings.database.url)}.", status=2
        )
    if not Path(path).exists():
        raise Failed(f"There is no database at {path}: nothing was started there yet. Use --data DIR or --config FILE.")
    return path


def upgrade(settings: Settings) -> str:
    """Bring the database to this release's schema; returns what was done."""
    DataFolder(Path(settings.service.data_dir).absolute()).make()
    try:
        changed = schema.upgrade(settings.database.url)
    except schema.TooNew as error:
        raise Failed(str(error)) from error
    except SQLAlchemyError as error:
        raise Failed(f"The database cannot be upgraded: {getattr(error, 'orig', None) or error}.") from error
    return f"{'upgraded to' if changed else 'already at'} revision {schema.head()}"


def current(settings: Settings) -> str:
    """Which revision the database has, and which this release needs."""
    existing_path(settings)
    try:
        at = schema.current(settings.database.url)
    except SQLAlchemyError as error:
        raise Failed(f"The database cannot be read: {getattr(error, 'orig', None) or error}.") from error
    needed = (
        "this release's" if at == schema.head() else f"this release needs {schema.head()}: `breezeblock db upgrade`"
    )
    return f"{at or 'empty'} ({needed})"
