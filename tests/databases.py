"""The database servers that the tests of this run work on; without any it is SQLite.

`BREEZEBLOCK_TEST_DATABASE` names them, URLs with commas between: several are the nodes of one cluster. `BREEZEBLOCK_SPREAD`
says how they are used: with `turns` each transaction goes to the next node, so what one has committed is read on another;
with `own` each process, or each lane, has a node of its own.
"""

import functools
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event, make_url, text

from breezeblock.store import schema, tables
from breezeblock.store.dialects import open_engine
from breezeblock.store.endpoints import Endpoints
from breezeblock.store.pooled import PooledLane
from breezeblock.store.servers import Session, open_server

__all__ = [
    "NAMED_BY",
    "SPREADS",
    "SPREAD_BY",
    "Turns",
    "empty",
    "fresh_database",
    "open_lane",
    "rotated",
    "spread",
    "sqlite_file",
    "sqlite_image",
    "statements",
    "urls",
    "with_schema",
]

T = TypeVar("T")

_AROUND: Final = ("BEGIN", "SET ", "SELECT set_config")

NAMED_BY: Final = "BREEZEBLOCK_TEST_DATABASE"
SPREAD_BY: Final = "BREEZEBLOCK_SPREAD"
SPREADS: Final = ("turns", "own")
# Nothing in these tests is idle for as long as that, but for a debugger.
PATIENT: Final = Session(ttl_s=3600, connections=4)
# To make a database, files are copied; on a machine that is busy with something else that may take its time.
MAKING: Final = Session(ttl_s=3600, connections=1, statement_limit_s=90)


@functools.cache
def urls() -> tuple[str, ...]:
    """The servers of this run; none is SQLite."""
    return tuple(filter(None, os.environ.get(NAMED_BY, "").split(",")))


@functools.cache
def sqlite_image() -> bytes:
    """An SQLite database with every table and no row. Making the tables takes far longer than most tests do; they copy it."""
    engine = create_engine("sqlite://")
    with engine.connect() as connection:
        tables.metadata.create_all(connection)
        connection.commit()
        made: bytes = connection.connection.driver_connection.serialize()  # type: ignore[union-attr]
    engine.dispose()
    return made


def sqlite_file(path: Path, *, now_us: Callable[[], int]) -> Engine:
    """A file with every table; opened once more if it is there. No test that uses it asks what a power cut leaves: nothing
    waits for the disk.
    """
    if not path.exists():
        path.write_bytes(sqlite_image())
    engine = open_engine(f"sqlite:///{path}", now_us=now_us)
    event.listen(engine, "connect", _do_not_wait)
    return engine


def _do_not_wait(raw: Any, _: Any) -> None:
    raw.execute("PRAGMA synchronous = OFF")


def spread() -> str:
    """`turns` or `own`."""
    chosen = os.environ.get(SPREAD_BY) or SPREADS[0]
    assert chosen in SPREADS, f"{SPREAD_BY}={chosen}: expected one of {', '.join(SPREADS)}"
    return chosen


def rotated(of: Sequence[str], place: int) -> tuple[str, ...]:
    """The same URLs, beginning with another one: each place has its own node, and the others for when that is gone."""
    at = place % len(of)
    return (*of[at:], *of[:at])


def _named(name: str) -> tuple[str, ...]:
    return tuple(make_url(url).set(database=name).render_as_string(hide_password=False) for url in urls())


@functools.cache
def with_schema(name: str) -> tuple[str, ...]:
    """The URLs of a database beside the run's own, with the whole schema: the same one for all who name it."""
    made = _create(name)
    schema.upgrade(made[0])
    return made


@contextmanager
def fresh_database() -> Iterator[tuple[str, ...]]:
    """The URLs of a database that has nothing in it, not even a schema; it is gone after the block."""
    name = f"fresh_{next(_numbers)}"
    yield _create(name)
    with _outside() as connection:
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")
        else:
            connection.exec_driver_sql("SET SESSION lock_wait_timeout = 20")
            connection.exec_driver_sql(f"DROP DATABASE {name}")


def empty(tx: Connection) -> None:
    """Remove every row."""
    for table in reversed(tables.metadata.sorted_tables):
        tx.execute(table.delete())


class Turns:
    """Implements `run.Lane`: each transaction goes to the next of several lanes."""

    def __init__(self, lanes: Sequence[PooledLane]) -> None:
        self._lanes = lanes
        self._next = itertools.cycle(lanes)

    async def write(self, body: Callable[[Connection], T]) -> T:
        """See `run.Lane.write`."""
        return await next(self._next).write(body)

    async def read(self, body: Callable[[Connection], T]) -> T:
        """See `run.Lane.read`."""
        return await next(self._next).read(body)

    def close(self) -> None:
        """All of them."""
        for lane in self._lanes:
            lane.close()


def open_lane(of: Sequence[str], place: int, *, how: str | None = None) -> Turns | PooledLane:
    """A lane to these servers as the run wants them spread. Must be called on the event loop that will use it."""
    if (how or spread()) == "own":
        return PooledLane(Endpoints(rotated(of, place), PATIENT))
    return Turns([PooledLane(Endpoints([url], PATIENT)) for url in rotated(of, place)])


@contextmanager
def statements() -> Iterator[list[str]]:
    """What transactions of this process ask of whatever database within the block; not how they begin."""
    seen: list[str] = []

    def note(*told: Any) -> None:
        if not told[2].startswith(_AROUND):
            seen.append(told[2])

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(Engine, "before_cursor_execute", note)


_numbers: Final = itertools.count(1)


@contextmanager
def _outside() -> Iterator[Connection]:
    """A connection on which each statement is a transaction: databases are not made inside one."""
    engine = open_server(urls()[0], MAKING, reading=False)
    try:
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            yield connection
    finally:
        engine.dispose()


def _create(name: str) -> tuple[str, ...]:
    with _outside() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text(f"CREATE DATABASE {name} TEMPLATE template0"))
        else:
            connection.execute(text(f"CREATE DATABASE {name}"))
    return _named(name)
