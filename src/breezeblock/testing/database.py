"""The simulated database: one SQLite in memory, the real schema and the real SQL, and what can go wrong on the way to it.

A transaction runs at one instant, as serial as SQLite's writers are. Around it lie two journeys, there and back, that take
virtual time and on which everything may be lost: the request, the answer, or the process that waits for it.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import Context
from random import Random
from typing import Any, Final, Protocol, TypeVar

from sqlalchemy import Connection, insert

from breezeblock.model.errors import Ambiguous, Contended, Unavailable
from breezeblock.resources.types import DEFAULT_TYPE_DESCRIPTION, DEFAULT_TYPE_ID, DEFAULT_TYPE_NAME
from breezeblock.store.dialects import open_engine, translate
from breezeblock.store.tables import metadata, volume_types
from breezeblock.testing.loop import Process
from breezeblock.testing.virtual import VirtualClock

__all__ = ["Database", "KeeperLane", "Seen", "SimLane", "Weather"]

T = TypeVar("T")

# A row of what a transaction did: (what, id, before, after). Written by triggers, so nothing can escape it.
Seen = tuple[str, str, str | None, str | None]

_WATCH: Final = """
CREATE TABLE seen (number INTEGER PRIMARY KEY, what TEXT, id TEXT, before TEXT, after TEXT);
CREATE TRIGGER seen_volume AFTER INSERT ON volumes BEGIN
  INSERT INTO seen (what, id, before, after) VALUES ('volumes', NEW.id, NULL, NEW.status); END;
CREATE TRIGGER seen_snapshot AFTER INSERT ON snapshots BEGIN
  INSERT INTO seen (what, id, before, after) VALUES ('snapshots', NEW.id, NULL, NEW.status); END;
CREATE TRIGGER seen_volume_status AFTER UPDATE OF status ON volumes WHEN OLD.status IS NOT NEW.status BEGIN
  INSERT INTO seen (what, id, before, after) VALUES ('volumes', NEW.id, OLD.status, NEW.status); END;
CREATE TRIGGER seen_snapshot_status AFTER UPDATE OF status ON snapshots WHEN OLD.status IS NOT NEW.status BEGIN
  INSERT INTO seen (what, id, before, after) VALUES ('snapshots', NEW.id, OLD.status, NEW.status); END;
CREATE TRIGGER seen_operation AFTER INSERT ON operations BEGIN
  INSERT INTO seen (what, id, before, after) VALUES ('enqueued', NEW.id, NEW.kind, NEW.payload_json); END;
CREATE TRIGGER seen_owner AFTER UPDATE OF owner, epoch ON operations BEGIN
  INSERT INTO seen (what, id, before, after) VALUES ('owner', NEW.id, NEW.owner, NEW.epoch); END;
CREATE TRIGGER seen_lock AFTER INSERT ON operation_locks BEGIN
  INSERT INTO seen (what, id, before, after)
  VALUES ('locked', NEW.operation_id, NEW.resource_id, NEW.seq || ' ' || NEW.exclusive); END;
CREATE TRIGGER seen_end AFTER INSERT ON operation_log BEGIN
  INSERT INTO seen (what, id, before, after) VALUES ('ended', NEW.operation_id, NEW.outcome, NEW.kind); END;
CREATE TRIGGER seen_node AFTER INSERT ON nodes BEGIN
  INSERT INTO seen (what, id, before, after) VALUES ('nodes', NEW.incarnation, NULL, NEW.state); END;
CREATE TRIGGER seen_node_state AFTER UPDATE OF state ON nodes WHEN OLD.state IS NOT NEW.state BEGIN
  INSERT INTO seen (what, id, before, after) VALUES ('nodes', NEW.incarnation, OLD.state, NEW.state); END;
"""


class Weather(Protocol):
    """What may go wrong with the database, asked at each step of a journey."""

    def delay_s(self) -> float:
        """How long the next journey takes."""
        ...

    def is_cut(self, process: Process) -> bool:
        """Whether the process does not reach the database now."""
        ...

    def hang_s(self) -> float:
        """How long a call that will fail takes to find out."""
        ...

    def contended(self) -> bool:
        """Whether this transaction loses against another one."""
        ...

    def loses_answer(self, process: Process) -> bool:
        """Whether a commit that happened is not told."""
        ...


class Database:
    """One for many runs: compiled statements are kept, rows are not."""

    def __init__(self) -> None:
        self._now_us: Callable[[], int] = lambda: 0
        self.on_commit: Callable[[list[Seen]], None] = lambda seen: None
        self.on_rollback: Callable[[], None] = lambda: None
        self._engine = open_engine("sqlite://", now_us=lambda: self._now_us())
        metadata.create_all(self._engine)
        self._connection = self._engine.connect()
        self.raw: sqlite3.Connection = self._connection.connection.dbapi_connection  # type: ignore[assignment]
        self.raw.executescript(_WATCH)

    def begin_run(self, *, now_us: Callable[[], int]) -> None:
        """Empty all tables, as a migrated database is empty."""
        self._now_us = now_us
        self.on_commit, self.on_rollback = lambda seen: None, lambda: None
        for table in reversed(metadata.sorted_tables):
            self.raw.execute(f"DELETE FROM {table.name}")  # noqa: S608  names of our own tables
        with self.transaction() as tx:
            kind = {"description": DEFAULT_TYPE_DESCRIPTION, "is_public": True, "op_seq": 0, "created_at_us": now_us()}
            tx.execute(insert(volume_types).values(id=DEFAULT_TYPE_ID, name=DEFAULT_TYPE_NAME, **kind))

    def close(self) -> None:
        """Let the database go."""
        self._connection.close()
        self._engine.dispose()

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """One transaction at this very instant: for the simulated world itself, and for whoever's turn it is."""
        connection = self._connection
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        try:
            yield connection
            seen = self.raw.execute("SELECT what, id, before, after FROM seen ORDER BY number").fetchall()
            if seen:
                self.raw.execute("DELETE FROM seen")
            connection.commit()
        except BaseException:
            connection.rollback()
            self.on_rollback()
            raise
        self.on_commit(seen)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """One snapshot."""
        self._connection.exec_driver_sql("BEGIN")
        try:
            yield self._connection
        finally:
            self._connection.rollback()


class _Journey:
    """How calls of one process reach the database and come back."""

    def __init__(self, database: Database, process: Process, weather: Weather, random: Random) -> None:
        self._database = database
        self._process = process
        self._weather = weather
        self._random = random

    async def _call(self, job: Callable[[], T], *, writes: bool) -> T:
        # In nobody's context: what is on its way arrives, whatever becomes of its sender.
        travel = asyncio.get_running_loop().create_task(self._travel(job, writes), context=Context())
        travel.add_done_callback(_look_at, context=Context())
        return await asyncio.shield(travel)

    async def _travel(self, job: Callable[[], T], writes: bool) -> T:
        process, weather = self._process, self._weather
        if weather.is_cut(process):
            await self._pass(weather.hang_s())
            raise Unavailable("the database cannot be reached")
        await self._pass(weather.delay_s())
        if not process.alive and self._random.random() < 0.5:
            raise Unavailable("the sender died before its last statement")
        if process.stopped_until > self._time() and self._random.random() < 0.5:
            await self._pass(process.stopped_until - self._time())
        if weather.is_cut(process):
            await self._pass(weather.hang_s())
            raise Unavailable("the database cannot be reached")
        if writes and weather.contended():
            raise Contended("lost against another transaction")
        with _Translated():
            result = job()
        lost = writes and weather.loses_answer(process)
        await self._pass(weather.delay_s())
        if lost or weather.is_cut(process):
            raise (Ambiguous if writes else Unavailable)("the connection was lost")
        return result

    @staticmethod
    def _time() -> float:
        return asyncio.get_running_loop().time()

    @staticmethod
    async def _pass(seconds: float) -> None:
        await VirtualClock().sleep(seconds)


class SimLane(_Journey):
    """Implements `store.run.Lane`."""

    async def write(self, body: Callable[[Connection], T]) -> T:
        """See `store.run.Lane`."""

        def job() -> T:
            with self._database.transaction() as tx:
                return body(tx)

        return await self._call(job, writes=True)

    async def read(self, body: Callable[[Connection], T]) -> T:
        """See `store.run.Lane`."""

        def job() -> T:
            with self._database.reading() as tx:
                return body(tx)

        return await self._call(job, writes=False)


class KeeperLane(_Journey):
    """Implements `node.lease_table.Lane`: the bare driver, and one error for everything."""

    async def write(self, f: Callable[[Any], T]) -> T:
        """See `node.lease_table.Lane`."""

        def job() -> T:
            with self._database.transaction():
                return f(self._database.raw)

        try:
            return await self._call(job, writes=True)
        except (Contended, Ambiguous) as error:
            raise Unavailable(str(error)) from error


class _Translated:
    """Gives errors of the database driver our names."""

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Exception):
            ours = translate(error, committing=False)
            if ours is not error:
                raise ours from error


def _look_at(travel: "asyncio.Future[Any]") -> None:
    if not travel.cancelled():
        travel.exception()  # its sender may be dead: then nobody else will
