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
from breezeblock.database_urls import is_server_url, sqlite_path
from breezeblock.env.real import RealClock
from breezeblock.settings import Settings, mask_url_secrets
from breezeblock.store import schema
from breezeblock.store.servers import STATEMENT_LIMIT_S, NoWrites, Session, open_server
from breezeblock.supervisor.folder import DataFolder


@contextlib.contextmanager
def reading(settings: Settings, *, statement_limit_s: float = STATEMENT_LIMIT_S) -> Iterator[Connection]:
    """One consistent snapshot that cannot write. Raises Failed when there is no database, or one of another release."""
    is_server = is_server_url(settings.database.url)
    with _server(settings, statement_limit_s) if is_server else _file(existing_path(settings)) as connection:
        yield connection


@contextlib.contextmanager
def _server(settings: Settings, statement_limit_s: float) -> Iterator[Connection]:
    """On the first server that answers."""
    session = Session(
        ttl_s=settings.nodes.ttl_s, connections=1, statement_limit_s=statement_limit_s, reads_standbys=True
    )
    problems = []
    for url in settings.database.urls:
        engine = open_server(url, session, reading=True)
        try:
            with contextlib.ExitStack() as opened:
                try:
                    connection = opened.enter_context(engine.connect())
                except DatabaseError as error:
                    problems.append(f"{mask_url_secrets(url, is_url=True)}: {str(error.orig).strip()}")
                    continue
                yield connection
                connection.rollback()
                return
        except DatabaseError as error:
            raise Failed(f"The database {mask_url_secrets(url, is_url=True)} cannot be read: {error.orig}.") from error
        finally:
            engine.dispose()
    raise Failed(f"No database answers: {'; '.join(problems)}.")


@contextlib.contextmanager
def _file(path: str) -> Iterator[Connection]:
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
    assert path is not None, "asked for servers"
    if not Path(path).exists():
        raise Failed(f"There is no database at {path}: nothing was started there yet. Use --data DIR or --config FILE.")
    return path


def upgrade(settings: Settings) -> str:
    """Bring the database to this release's schema, on the first of its servers that can; returns what was done."""
    DataFolder(Path(settings.service.data_dir).absolute()).make()
    problems = []
    for url in settings.database.urls:
        try:
            changed = schema.upgrade(url)
        except schema.TooNew as error:
            raise Failed(str(error)) from error
        except (SQLAlchemyError, NoWrites) as error:
            problems.append(str(getattr(error, "orig", None) or error))
        else:
            return f"{'upgraded to' if changed else 'already at'} revision {schema.head()}"
    raise Failed(f"The database cannot be upgraded: {'; '.join(problems)}.")


def current(settings: Settings) -> str:
    """Which revision the database has, and which this release needs."""
    with reading(settings) as tx:
        at = schema.revision_of(tx)
    needed = (
        "this release's" if at == schema.head() else f"this release needs {schema.head()}: `breezeblock db upgrade`"
    )
    return f"{at or 'empty'} ({needed})"
