"""The simulated database: one SQLite in memory, the real schema and the real SQL, and what can go wrong on the way to it.

A transaction runs at one instant, as serial as the writers of SQLite, or on a snapshot beside others. Around it lie two
journeys, there and back, that take virtual time and on which everything may be lost: the request, the answer, or the process
that waits for it.
"""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import Context
from dataclasses import dataclass
from random import Random
from typing import Any, Final, Generic, NoReturn, Protocol, TypeVar

from sqlalchemy import Connection, insert

from breezeblock.model.errors import Ambiguous, Contended, Unavailable
from breezeblock.resources.types import DEFAULT_TYPE_DESCRIPTION, DEFAULT_TYPE_ID, DEFAULT_TYPE_NAME
from breezeblock.store.dialects import open_engine, translate
from breezeblock.store.tables import metadata, volume_types
from breezeblock.testing.loop import Process
from breezeblock.testing.replicated import Change, Journal
from breezeblock.testing.virtual import VirtualClock

__all__ = ["BACK", "CATCHES_UP_S", "THERE", "Database", "KeeperLane", "Seen", "SimLane", "Weather"]

T = TypeVar("T")

# A journey that takes longer is noted: whoever waited for it may miss what it had to do in time.
SLOW_S: Final = 0.2

# A database node that is further behind refuses the transaction instead of letting it wait.
CATCHES_UP_S: Final = 1.0

# The two ways between a process and the database.
THERE: Final = "there"
BACK: Final = "back"

# A row of what a transaction did: (what, id, before, after). Written by triggers, so nothing can escape it.
Seen = tuple[str, str, str | None, str | None]

_WATCH: Final = """
CREATE TABLE seen (number INTEGER PRIMARY KEY, what TEXT, id TEXT, before TEXT, after TEXT);
CREATE TRIGGER seen_volume AFTER INSERT ON volumes BEGIN
  INSERT INTO seen (what, id, before, after) VALUES ('volumes', NEW.id, NULL, NEW.status);
  INSERT INTO seen (what, id, after) VALUES ('given', NEW.id, NEW.project_id); END;
CREATE TRIGGER seen_snapshot AFTER INSERT ON snapshots BEGIN
  INSERT INTO seen (what, id, before, after) VALUES ('snapshots', NEW.id, NULL, NEW.status);
  INSERT INTO seen (what, id, after) VALUES ('given', NEW.id, NEW.project_id); END;
CREATE TRIGGER seen_backup AFTER INSERT ON backups BEGIN
  INSERT INTO seen (what, id, before, after) VALUES ('backups', NEW.id, NULL, NEW.status);
  INSERT INTO seen (what, id, after) VALUES ('given', NEW.id, NEW.project_id); END;
CREATE TRIGGER seen_backup_status AFTER UPDATE OF status ON backups WHEN OLD.status IS NOT NEW.status BEGIN
  INSERT INTO seen (what, id, before, after) VALUES ('backups', NEW.id, OLD.status, NEW.status); END;
CREATE TRIGGER seen_backup_edit AFTER UPDATE OF name, description, metadata_json ON backups
WHEN (OLD.name, OLD.description, OLD.metadata_json) IS NOT (NEW.name, NEW.description, NEW.metadata_json) BEGIN
  INSERT INTO seen (what, id) VALUES ('edited', NEW.id); END;
CREATE TRIGGER seen_backup_tombstone AFTER UPDATE OF tombstone ON backups WHEN NEW.tombstone AND NOT OLD.tombstone BEGIN
  INSERT INTO seen (what, id) VALUES ('gone', NEW.id); END;
CREATE TRIGGER seen_backup_delete AFTER DELETE ON backups WHEN NOT OLD.tombstone BEGIN
  INSERT INTO seen (what, id) VALUES ('gone', OLD.id); END;
CREATE TRIGGER seen_group AFTER INSERT ON volume_groups BEGIN
  INSERT INTO seen (what, id, before, after) VALUES ('volume_groups', NEW.id, NULL, NEW.status);
  INSERT INTO seen (what, id, after) VALUES ('given', NEW.id, NEW.project_id); END;
CREATE TRIGGER seen_group_status AFTER UPDATE OF status ON volume_groups WHEN OLD.status IS NOT NEW.status BEGIN
  INSERT INTO seen (what, id, before, after) VALUES ('volume_groups', NEW.id, OLD.status, NEW.status); END;
CREATE TRIGGER seen_group_snapshot AFTER INSERT ON group_snapshots BEGIN
  INSERT INTO seen (what, id, before, after) VALUES ('group_snapshots', NEW.id, NULL, NEW.status); END;
CREATE TRIGGER seen_group_snapshot_status AFTER UPDATE OF status ON group_snapshots WHEN OLD.status IS NOT NEW.status BEGIN
  INSERT INTO seen (what, id, before, after) VALUES ('group_snapshots', NEW.id, OLD.status, NEW.status); END;
CREATE TRIGGER seen_group_tombstone AFTER UPDATE OF tombstone ON volume_groups WHEN NEW.tombstone AND NOT OLD.tombstone BEGIN
  INSERT INTO seen (what, id) VALUES ('gone', NEW.id); END;
CREATE TRIGGER seen_group_delete AFTER DELETE ON volume_groups WHEN NOT OLD.tombstone BEGIN
  INSERT INTO seen (what, id) VALUES ('gone', OLD.id); END;
CREATE TRIGGER seen_group_snapshot_tombstone AFTER UPDATE OF tombstone ON group_snapshots
WHEN NEW.tombstone AND NOT OLD.tombstone BEGIN INSERT INTO seen (what, id) VALUES ('gone', NEW.id); END;
CREATE TRIGGER seen_group_snapshot_delete AFTER DELETE ON group_snapshots WHEN NOT OLD.tombstone BEGIN
  INSERT INTO seen (what, id) VALUES ('gone', OLD.id); END;
CREATE TRIGGER seen_pack_state AFTER UPDATE OF state ON packs WHEN OLD.state IS NOT NEW.state BEGIN
  INSERT INTO seen (what, id, before, after) VALUES ('packs', NEW.id, OLD.state, NEW.state); END;
CREATE TRIGGER seen_volume_status AFTER UPDATE OF status ON volumes WHEN OLD.status IS NOT NEW.status BEGIN
  INSERT INTO seen (what, id, before, after) VALUES ('volumes', NEW.id, OLD.status, NEW.status); END;
CREATE TRIGGER seen_snapshot_status AFTER UPDATE OF status ON snapshots WHEN OLD.status IS NOT NEW.status BEGIN
  INSERT INTO seen (what, id, before, after) VALUES ('snapshots', NEW.id, OLD.status, NEW.status); END;
CREATE TRIGGER seen_volume_edit AFTER UPDATE OF name, description, metadata_json, bootable, readonly, attach_status ON volumes
WHEN (OLD.name, OLD.description, OLD.metadata_json, OLD.bootable, OLD.readonly, OLD.attach_status)
  IS NOT (NEW.name, NEW.description, NEW.metadata_json, NEW.bootable, NEW.readonly, NEW.attach_status) BEGIN
  INSERT INTO seen (what, id) VALUES ('edited', NEW.id); END;
CREATE TRIGGER seen_snapshot_edit AFTER UPDATE OF name, description, metadata_json ON snapshots
WHEN (OLD.name, OLD.description, OLD.metadata_json) IS NOT (NEW.name, NEW.description, NEW.metadata_json) BEGIN
  INSERT INTO seen (what, id) VALUES ('edited', NEW.id); END;
CREATE TRIGGER seen_volume_given AFTER UPDATE OF project_id ON volumes WHEN OLD.project_id IS NOT NEW.project_id BEGIN
  INSERT INTO seen (what, id, after) VALUES ('given', NEW.id, NEW.project_id); END;
CREATE TRIGGER seen_snapshot_given AFTER UPDATE OF project_id ON snapshots WHEN OLD.project_id IS NOT NEW.project_id BEGIN
  INSERT INTO seen (what, id, after) VALUES ('given', NEW.id, NEW.project_id); END;
CREATE TRIGGER seen_volume_tombstone AFTER UPDATE OF tombstone ON volumes WHEN NEW.tombstone AND NOT OLD.tombstone BEGIN
  INSERT INTO seen (what, id) VALUES ('gone', NEW.id); END;
CREATE TRIGGER seen_snapshot_tombstone AFTER UPDATE OF tombstone ON snapshots WHEN NEW.tombstone AND NOT OLD.tombstone BEGIN
  INSERT INTO seen (what, id) VALUES ('gone', NEW.id); END;
CREATE TRIGGER seen_volume_delete AFTER DELETE ON volumes WHEN NOT OLD.tombstone BEGIN
  INSERT INTO seen (what, id) VALUES ('gone', OLD.id); END;
CREATE TRIGGER seen_snapshot_delete AFTER DELETE ON snapshots WHEN NOT OLD.tombstone BEGIN
  INSERT INTO seen (what, id) VALUES ('gone', OLD.id); END;
CREATE TRIGGER seen_aside AFTER INSERT ON events_aside BEGIN
  INSERT INTO seen (what, id, before, after)
  VALUES ('aside', NEW.receiver, NEW.id, NEW.resource_id || ' ' || NEW.op_seq || ' ' || NEW.number); END;
CREATE TRIGGER seen_back AFTER DELETE ON events_aside BEGIN
  INSERT INTO seen (what, id, before) VALUES ('back', OLD.receiver, OLD.id); END;
CREATE TRIGGER seen_succession AFTER UPDATE OF epoch ON event_receivers WHEN OLD.holder IS NOT NULL BEGIN
  INSERT INTO seen (what, id, before, after) VALUES ('succeeded', NEW.name, OLD.holder, NEW.holder); END;
CREATE TRIGGER seen_operation AFTER INSERT ON operations BEGIN
  INSERT INTO seen (what, id, before, after) VALUES ('enqueued', NEW.id, NEW.kind, NEW.payload_json); END;
CREATE TRIGGER seen_owner AFTER UPDATE OF owner, epoch ON operations BEGIN
  INSERT INTO seen (what, id, before, after) VALUES
  ('owner', NEW.id, NEW.owner, NEW.epoch || ' ' || NEW.queue || ' ' || (NEW.claim_epoch IS NEW.epoch)); END;
CREATE TRIGGER seen_save AFTER UPDATE OF saved_epoch ON operations BEGIN
  INSERT INTO seen (what, id, before, after)
  VALUES ('saved', NEW.id, NEW.owner, NEW.saved_epoch || ' ' || NEW.direction || ' ' || ifnull(NEW.step, '')); END;
CREATE TRIGGER seen_announcement AFTER INSERT ON node_backends WHEN NEW.fenced_by IS NULL BEGIN
  INSERT INTO seen (what, id, before, after) SELECT 'announced', incarnation, name, NEW.queue FROM nodes
  WHERE incarnation = NEW.incarnation; END;
CREATE TRIGGER seen_fence_first AFTER INSERT ON node_backends WHEN NEW.fenced_by IS NOT NULL BEGIN
  INSERT INTO seen (what, id, before, after) VALUES ('fenced', NEW.incarnation, NEW.queue, NEW.fenced_by); END;
CREATE TRIGGER seen_fence AFTER UPDATE OF fenced_by ON node_backends WHEN NEW.fenced_by IS NOT OLD.fenced_by BEGIN
  INSERT INTO seen (what, id, before, after) VALUES ('fenced', NEW.incarnation, NEW.queue, NEW.fenced_by); END;
CREATE TRIGGER seen_charge AFTER UPDATE OF in_use ON quota_usage BEGIN
  INSERT INTO seen (what, id, before, after) VALUES ('charged', NEW.project_id, OLD.in_use, NEW.in_use); END;
CREATE TRIGGER seen_lock AFTER INSERT ON operation_locks BEGIN
  INSERT INTO seen (what, id, before, after)
  VALUES ('locked', NEW.operation_id, NEW.resource_id, NEW.seq || ' ' || NEW.exclusive); END;
CREATE TRIGGER seen_upgrade AFTER UPDATE ON operation_locks BEGIN
  INSERT INTO seen (what, id, before, after) VALUES ('moved', NEW.operation_id, NEW.resource_id, NEW.seq); END;
CREATE TRIGGER seen_place AFTER INSERT ON driver_locks BEGIN
  INSERT INTO seen (what, id, before, after) VALUES ('placed', NEW.operation_id, NEW.line, NEW.place || ' ' || NEW.epoch
  || ' ' || NEW.exclusive || ' ' || NEW.incarnation || ' ' || NEW.queue || ' ' || NEW.shown); END;
CREATE TRIGGER seen_place_go AFTER DELETE ON driver_locks BEGIN
  INSERT INTO seen (what, id, before) VALUES ('left', OLD.line, OLD.place); END;
CREATE TRIGGER seen_close AFTER INSERT ON operation_log BEGIN
  INSERT INTO seen (what, id, before, after) VALUES ('closed', NEW.operation_id, NEW.owner, NEW.epoch); END;
CREATE TRIGGER seen_end AFTER INSERT ON operation_log BEGIN
  INSERT INTO seen (what, id, before, after) VALUES ('ended', NEW.operation_id, NEW.outcome, NEW.kind); END;
CREATE TRIGGER seen_node AFTER INSERT ON nodes BEGIN
  INSERT INTO seen (what, id, before, after) VALUES ('nodes', NEW.incarnation, NULL, NEW.state); END;
CREATE TRIGGER seen_node_state AFTER UPDATE OF state ON nodes WHEN OLD.state IS NOT NEW.state BEGIN
  INSERT INTO seen (what, id, before, after) VALUES ('nodes', NEW.incarnation, OLD.state, NEW.state); END;
"""


class Weather(Protocol):
    """What may go wrong with the database, asked at each step of a journey."""

    def delay_s(self, process: Process) -> float:
        """How long the next journey takes."""
        ...

    def is_cut(self, process: Process, way: str) -> bool:
        """Whether nothing passes now on one of its ways: `THERE`, or `BACK`."""
        ...

    def hang_s(self, process: Process) -> tuple[float, bool]:
        """How long a call that will fail takes to find out, and whether that is this process's own trouble."""
        ...

    def stops_before_commit(self, process: Process) -> float:
        """For how long the sender is stopped while its transaction is on its way."""
        ...

    def contended(self, process: Process) -> bool:
        """Whether this transaction loses against another one."""
        ...

    def loses_answer(self, process: Process) -> bool:
        """Whether a commit that happened is not told."""
        ...

    def overlap_s(self) -> float:
        """How long a transaction is open beside others, on a database where they overlap."""
        ...

    def evicts(self, process: Process) -> bool:
        """Whether an operator declares the node of a process lost while a transaction of it is open."""
        ...

    def lag_s(self, process: Process) -> float:
        """How far the database node that a process speaks to is behind the others."""
        ...


@dataclass
class Begun(Generic[T]):
    """A transaction that has run on its snapshot and is not committed yet."""

    result: T
    snapshot: int
    changes: tuple[Change, ...]
    seen: list[Seen]
    carried: object


class Database:
    """One for many runs: compiled statements are kept, rows are not."""

    def __init__(self) -> None:
        self._now_us: Callable[[], int] = lambda: 0
        self._skew_us = 0
        self.on_commit: Callable[[list[Seen], Process | None], None] = lambda seen, writer: None
        self.on_rollback: Callable[[], object] = lambda: None
        """A transaction was taken back; what is returned is given to `on_resume` if it goes on after all."""
        self.on_resume: Callable[[Any], None] = lambda carried: None
        self._engine = open_engine("sqlite://", now_us=lambda: self._now_us() + self._skew_us)
        metadata.create_all(self._engine)
        self._connection = self._engine.connect()
        self.raw: sqlite3.Connection = self._connection.connection.dbapi_connection  # type: ignore[assignment]
        self.raw.executescript(_WATCH)
        self._all_journal = Journal(self.raw, metadata.sorted_tables)
        self.journal: Journal | None = None
        """In a run in which transactions overlap."""

    def begin_run(self, *, now_us: Callable[[], int], replicated: bool = False) -> None:
        """Empty all tables, as a migrated database is empty.

        `replicated`: transactions overlap and see snapshots, as on a database with several writing nodes (`replicated.py`).
        Otherwise each runs at one instant, as on SQLite.
        """
        if self.journal is not None:
            self.journal.end()
            self.journal = None
        self._now_us, self._skew_us = now_us, 0
        self.on_commit, self.on_rollback = lambda seen, writer: None, lambda: None
        for table in reversed(metadata.sorted_tables):
            self.raw.execute(f"DELETE FROM {table.name}")  # noqa: S608  names of our own tables
        self.raw.execute("DELETE FROM seen")
        with self.transaction() as tx:
            kind = {"description": DEFAULT_TYPE_DESCRIPTION, "is_public": True, "op_seq": 0, "created_at_us": now_us()}
            tx.execute(insert(volume_types).values(id=DEFAULT_TYPE_ID, name=DEFAULT_TYPE_NAME, **kind))
        if replicated:
            self.journal = self._all_journal
            self.journal.begin()

    def set_clock(self, seconds: float) -> None:
        """Set its wall clock forwards, or backwards."""
        self._skew_us += int(seconds * 1_000_000)

    def close(self) -> None:
        """Let the database go."""
        self._connection.close()
        self._engine.dispose()

    @contextmanager
    def transaction(self, writer: Process | None = None) -> Iterator[Connection]:
        """One transaction at this very instant: for the simulated world itself, and for whoever's turn it is."""
        connection = self._connection
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        try:
            yield connection
            seen = self._take_seen()
            changes = self.journal.taken() if self.journal is not None else ()
            connection.commit()
        except BaseException:
            connection.rollback()
            self.on_rollback()
            raise
        if self.journal is not None:
            self.journal.committed(_now(), changes)
        self.on_commit(seen, writer)

    def _take_seen(self) -> list[Seen]:
        seen = self.raw.execute("SELECT what, id, before, after FROM seen ORDER BY number").fetchall()
        if seen:
            self.raw.execute("DELETE FROM seen")
        return seen

    @contextmanager
    def reading(self, *, at: float | None = None) -> Iterator[Connection]:
        """One snapshot: the present, or a past one."""
        self._connection.exec_driver_sql("BEGIN")
        try:
            if at is not None and self.journal is not None:
                self.journal.go_back(self.journal.since(self.journal.snapshot(at)))
            yield self._connection
        finally:
            self._connection.rollback()

    def begin(self, body: Callable[[Connection], T], *, at: float) -> Begun[T]:
        """Run a transaction on the snapshot of an instant, and take it back for now. Raises what `body` raises."""
        assert self.journal is not None
        connection, snapshot = self._connection, self.journal.snapshot(at)
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        try:
            self.journal.go_back(self.journal.since(snapshot))
            self.raw.execute("DELETE FROM journal")
            self.raw.execute("DELETE FROM seen")
            result = body(connection)
            changes, seen = self.journal.taken(), self._take_seen()
        finally:
            connection.rollback()
            carried = self.on_rollback()
        return Begun(result, snapshot, changes, seen, carried)

    def commit(self, begun: Begun[T], writer: Process | None) -> T:
        """Commit a transaction that was begun earlier. Raises Contended when another one changed one of its rows."""
        assert self.journal is not None
        self.journal.certify(begun.changes, snapshot=begun.snapshot)
        connection = self._connection
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        try:
            self.journal.apply(begun.changes)
            self.raw.execute("DELETE FROM journal")
            self.raw.execute("DELETE FROM seen")
            connection.commit()
        except BaseException:
            connection.rollback()
            raise
        self.journal.committed(_now(), begun.changes)
        self.on_resume(begun.carried)
        self.on_commit(begun.seen, writer)
        return begun.result


def _now() -> float:
    """The loop's time; before there is a loop, the beginning of time."""
    try:
        return asyncio.get_running_loop().time()
    except RuntimeError:
        return float("-inf")


class _Journey:
    """How calls of one process reach the database and come back."""

    barrier = True
    """Whether a transaction waits until its database node has everything that was committed anywhere before it begins."""

    def __init__(
        self,
        database: Database,
        process: Process,
        weather: Weather,
        random: Random,
        *,
        on_stop: Callable[[Process, float], None] = lambda process, seconds: None,
        on_evict: Callable[[Process], None] = lambda process: None,
    ) -> None:
        self.on_stop = on_stop
        self.on_evict = on_evict
        self._database = database
        self._process = process
        self._weather = weather
        self._random = random

    async def _call(self, arrived: Callable[[], Awaitable[T]], *, writes: bool) -> T:
        # In nobody's context: what is on its way arrives, whatever becomes of its sender.
        travel = asyncio.get_running_loop().create_task(self._travel(arrived, writes), context=Context())
        travel.add_done_callback(_look_at, context=Context())
        return await asyncio.shield(travel)

    async def _travel(self, arrived: Callable[[], Awaitable[T]], writes: bool) -> T:
        process, weather = self._process, self._weather
        if weather.is_cut(process, THERE):
            await self._hang("the database cannot be reached")
        await self._pass(weather.delay_s(process))
        if not process.alive and self._random.random() < 0.5:
            raise Unavailable("the sender died before its last statement")
        if writes and (stopped_s := weather.stops_before_commit(process)):
            self.on_stop(process, stopped_s)
        if process.stopped_until > _now() and self._random.random() < 0.5:
            await self._pass(process.stopped_until - _now())
        if weather.is_cut(process, THERE):
            await self._hang("the database cannot be reached")
        if writes and weather.contended(process):
            process.impede()
            raise Contended("lost against another transaction")
        with _Translated():
            result = await arrived()
        lost = writes and weather.loses_answer(process)
        await self._pass(weather.delay_s(process))
        if weather.is_cut(process, BACK):
            await self._hang("no answer came", error=Ambiguous if writes else Unavailable)
        if lost:
            process.impede()
            raise Ambiguous("the connection was lost")
        return result

    async def _hang(self, why: str, *, error: type[Ambiguous | Unavailable] = Unavailable) -> NoReturn:
        seconds, alone = self._weather.hang_s(self._process)
        if alone:
            self._process.impede(seconds)
        await VirtualClock().sleep(seconds)
        raise error(why)

    async def _pass(self, seconds: float) -> None:
        if seconds > SLOW_S:
            self._process.impede(seconds)
        await VirtualClock().sleep(seconds)

    async def _write(self, body: Callable[[Connection], T]) -> T:
        """At one instant; or on a snapshot of the past, or overlapping with others, where the database has that."""
        database, weather = self._database, self._weather
        if database.journal is None:
            with database.transaction(self._process) as tx:
                return body(tx)
        snapshot_at, overlap_s = await self._snapshot_at(), weather.overlap_s()
        if snapshot_at == _now() and overlap_s == 0.0:
            with database.transaction(self._process) as tx:
                return body(tx)
        begun = database.begin(body, at=snapshot_at)
        if overlap_s and weather.evicts(self._process):
            self.on_evict(self._process)
        await self._pass(overlap_s)
        try:
            return database.commit(begun, self._process)
        except Contended:
            self._process.impede()
            raise

    async def _read(self, body: Callable[[Connection], T]) -> T:
        snapshot_at = _now() if self._database.journal is None else await self._snapshot_at()
        with self._database.reading(at=snapshot_at if snapshot_at < _now() else None) as tx:
            return body(tx)

    async def _snapshot_at(self) -> float:
        """The instant whose commits a transaction sees on a database of several nodes.

        Behind the barrier the node waits for what was committed anywhere when the transaction came, and need not have more.
        Raises Contended when it does not catch up.
        """
        came, lag_s = _now(), self._weather.lag_s(self._process)
        if not self.barrier:
            return came - lag_s
        if lag_s:
            await self._pass(min(lag_s, CATCHES_UP_S))
        if lag_s > CATCHES_UP_S:
            self._process.impede()
            raise Contended("the database node is too far behind")
        return came


class SimLane(_Journey):
    """Implements `store.run.Lane`."""

    async def write(self, body: Callable[[Connection], T]) -> T:
        """See `store.run.Lane`."""
        return await self._call(lambda: self._write(body), writes=True)

    async def read(self, body: Callable[[Connection], T]) -> T:
        """See `store.run.Lane`."""
        return await self._call(lambda: self._read(body), writes=False)


class KeeperLane(_Journey):
    """Implements `node.lease_table.Lane`: the bare driver, and one error for everything."""

    async def write(self, f: Callable[[Any], T]) -> T:
        """See `node.lease_table.Lane`."""
        try:
            return await self._call(lambda: self._write(lambda tx: f(self._database.raw)), writes=True)
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
