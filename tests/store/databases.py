"""The database that the tests of transactions run on: SQLite in memory, or the servers of the run.

With several (Galera) each transaction goes to the next one, so what one has committed is read on another.
"""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, text
from tests.databases import empty, sqlite_image, urls

from breezeblock.store import schema
from breezeblock.store.dialects import open_engine
from breezeblock.store.servers import Session, open_server


class TestDatabase:
    """Connections with the whole schema and no rows. `now_us` is its clock."""

    __test__ = False

    def __init__(self, now_us: Callable[[], int]) -> None:
        self._now_us = now_us
        self._told_us: dict[int, int] = {}
        self._turn = 0
        if urls():
            self._connections = [engine.connect() for engine in _servers()]
            self.empty()
        else:
            self._engine = _unused().pop() if _unused() else open_engine("sqlite://", now_us=now_us)
            self._connections = [self._engine.connect()]
            self.raw.create_function("breezeblock_now_us", 0, now_us)
            self.raw.deserialize(sqlite_image())

    def close(self) -> None:
        for connection in self._connections:
            connection.close()
        if not urls():
            _unused().append(self._engine)

    def empty(self) -> None:
        """Remove every row."""
        if not urls():
            self.raw.deserialize(sqlite_image())
            return
        with self.tx() as tx:
            empty(tx)

    @property
    def raw(self) -> Any:
        """The driver's own connection."""
        return self._connections[0].connection.dbapi_connection

    @contextmanager
    def tx(self) -> Iterator[Connection]:
        """One transaction, as a lane makes it."""
        self._turn = (self._turn + 1) % len(self._connections)
        connection = self._connections[self._turn]
        if urls():
            self._tell_time(connection)
        else:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        try:
            yield connection
        except BaseException:
            connection.rollback()
            raise
        connection.commit()

    def beside(self) -> Connection:
        """A connection of its own, for transactions beside another one's: to the next server, where there are several."""
        self._turn = (self._turn + 1) % len(urls())
        connection = _servers()[self._turn].connect()
        self._set_time(connection, self._now_us())
        return connection

    def _tell_time(self, connection: Connection) -> None:
        now_us = self._now_us()
        if self._told_us.get(self._turn) == now_us:
            return
        self._set_time(connection, now_us)
        self._told_us[self._turn] = now_us

    @staticmethod
    def _set_time(connection: Connection, now_us: int) -> None:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT set_config('breezeblock.now_us', :now, false)"), {"now": str(now_us)})
        else:
            connection.exec_driver_sql(f"SET timestamp = {now_us // 1_000_000}.{now_us % 1_000_000:06d}")
        connection.commit()


@functools.cache
def _unused() -> list[Engine]:
    """Engines on SQLite that were used before, with nothing of it left but the statements that they know how to say.

    Each has one connection. To translate all statements anew for every test takes as long as the test itself.
    """
    return []


@functools.cache
def _servers() -> tuple[Engine, ...]:
    """One pool for each server of the run. PostgreSQL gets a clock that a test can set."""
    schema.upgrade(urls()[0])
    # Nothing in these tests is idle for as long as that, but for a debugger.
    engines = tuple(open_server(url, Session(ttl_s=3600, connections=8), reading=False) for url in urls())
    for engine in engines:
        if engine.dialect.name == "postgresql":
            _give_clock(engine)
    return engines


def _give_clock(engine: Engine) -> None:
    """A `clock_timestamp()` that is found before the server's own."""
    function = """
        CREATE OR REPLACE FUNCTION public.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS $$
            SELECT timestamptz 'epoch' + current_setting('breezeblock.now_us')::bigint * interval '1 microsecond'
        $$"""
    with engine.connect() as connection:
        connection.exec_driver_sql(function)
        database = connection.exec_driver_sql("SELECT current_database()").scalar()
        connection.exec_driver_sql(f'ALTER DATABASE "{database}" SET search_path = public, pg_catalog')
        connection.commit()
    engine.dispose()
