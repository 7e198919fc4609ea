"""The database of a private cluster as the harness reads it: beside the service, with nothing of the service's own pools.

A server that is down, stopped or on its way back is part of a run, so whoever reads says how long it may take.
"""

import contextlib
import sqlite3
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Engine

from breezeblock.database_urls import POSTGRESQL, kind_of
from breezeblock.env.real import real_env
from breezeblock.store import plain
from breezeblock.store.check import problems
from breezeblock.store.dialects import open_engine
from breezeblock.store.servers import Session, open_server

__all__ = ["Database", "Reader", "Row", "Servers", "SqliteFile", "Unreachable"]

Row = dict[str, Any]

READ_LIMIT_S: Final = 10.0
# A server that was killed or stopped is back well before this, and a node of Galera has everything again.
PATIENCE_S: Final = 60.0
LOOK_AGAIN_S: Final = 0.2


class Unreachable(Exception):
    """No server of the database answers. Says what each said."""


class Reader:
    """One session that only looks. Each answer is of its own instant; statements mark parameters by `?`."""

    def __init__(self, run: Callable[[str, Sequence[object]], list[Row]], close: Callable[[], None]) -> None:
        self._run = run
        self.close = close

    def rows(self, query: str, *values: object) -> list[Row]:
        """Raises Unreachable; then the session is good for nothing but `close`."""
        return self._run(query, values)


class Database(ABC):
    """What is the same of all kinds. `kind` is sqlite, postgresql or mariadb."""

    kind: str

    @abstractmethod
    def open(self) -> Reader:
        """Begin to look. Raises Unreachable."""

    @abstractmethod
    def run(self, statements: Sequence[str]) -> None:
        """Change it, as one transaction where the database can."""

    @abstractmethod
    def _engine(self) -> Engine:
        """For the product's own questions."""

    def rows(self, query: str, *values: object) -> list[Row]:
        """Ask once, and again while no server answers."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                with closing(self.open()) as reader:
                    return reader.rows(query, *values)
            except Unreachable:
                if time.monotonic() > deadline:
                    raise
            time.sleep(LOOK_AGAIN_S)

    def contradictions(self) -> list[str]:
        """What the product's own check finds in the tables."""
        engine = self._engine()
        try:
            with engine.connect() as connection:
                if self.kind == "sqlite":
                    connection.exec_driver_sql("BEGIN")  # its engine begins nothing by itself
                found = problems(connection)
                connection.rollback()
                return found
        finally:
            engine.dispose()


class SqliteFile(Database):
    """The embedded one."""

    kind = "sqlite"

    def __init__(self, path: Path) -> None:
        self.path = path

    def open(self) -> Reader:
        """See `Database`."""
        connection = sqlite3.connect(f"file:{self.path}?mode=ro", uri=True, timeout=READ_LIMIT_S)
        connection.row_factory = sqlite3.Row
        return Reader(
            lambda query, values: [dict(row) for row in connection.execute(query, tuple(values))], connection.close
        )

    def run(self, statements: Sequence[str]) -> None:
        """See `Database`."""
        script = "; ".join(("BEGIN IMMEDIATE", *statements, "COMMIT;"))
        with closing(sqlite3.connect(self.path, timeout=READ_LIMIT_S)) as connection:
            connection.executescript(script)

    def _engine(self) -> Engine:
        return open_engine(f"sqlite:///{self.path}", now_us=real_env().clock.now_us)


class Servers(Database):
    """One server, or several with the same data."""

    def __init__(self, urls: Sequence[str]) -> None:
        self._urls = tuple(urls)
        self.kind = kind_of(urls[0])
        assert self.kind in (POSTGRESQL, "mariadb"), urls

    def open(self) -> Reader:
        """See `Database`: the first server that answers. One that is stopped may keep whoever asks waiting until it goes on."""
        connection = self._connect(reading=True)

        def run(query: str, values: Sequence[object]) -> list[Row]:
            with _unreachable():
                cursor = connection.execute(query, values)
                names = [column[0] for column in cursor.description or ()]
                found = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
                connection.commit()  # an idle transaction would be ended by the server
                return found

        return Reader(run, connection.close)

    def run(self, statements: Sequence[str]) -> None:
        """See `Database`."""
        with _unreachable(), closing(self._connect(reading=False)) as connection:
            for statement in statements:
                connection.execute(statement)
            connection.commit()

    def _connect(self, *, reading: bool) -> plain.PlainConnection:
        said = []
        for url in self._urls:
            try:
                return plain.connect(url, statement_limit_s=READ_LIMIT_S, idle_limit_s=READ_LIMIT_S, reading=reading)
            except plain.Failed as error:
                said.append(str(error))
        raise Unreachable("; ".join(said))

    def _engine(self) -> Engine:
        return open_server(self._urls[0], Session(), reading=True)


@contextlib.contextmanager
def _unreachable() -> Iterator[None]:
    try:
        yield
    except plain.Failed as error:
        raise Unreachable(str(error)) from error
