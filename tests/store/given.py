"""A database in memory with the real schema, and rows with defaults: a test names only what it is about."""

import asyncio
import itertools
import json
import uuid
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AbstractContextManager
from random import Random
from typing import Any, TypeVar

from sqlalchemy import Connection, insert, select, update
from sqlalchemy.sql.schema import Table
from tests.store.databases import TestDatabase

from breezeblock.env.contract import Env
from breezeblock.model.ids import Incarnation, MessageId, OperationId, ProjectId, SnapshotId, UserId, VolumeId
from breezeblock.model.origin import Origin
from breezeblock.model.requests import NewSnapshot, NewVolume
from breezeblock.protocol import queue
from breezeblock.protocol.node_events import Note
from breezeblock.protocol.queue import Claim, Job, Lock, Wanted
from breezeblock.resources import snapshots, types, volumes
from breezeblock.resources.accepted import Accepted
from breezeblock.store import check, tables
from breezeblock.store.dialects import translate
from breezeblock.store.run import Store
from breezeblock.testing.loop import VirtualLoop
from breezeblock.testing.memory_files import MemoryFiles
from breezeblock.testing.virtual import LockFiles, VirtualClock, VirtualEnv, VirtualIds, VirtualThreads
from breezeblock.work.catalogue import CATALOGUE

T = TypeVar("T")

NOW_US = 1_700_000_000_000_000
QUEUE = "c@b"
POOL = "c@b#p"
KINDS = {"copy": 1} | {kind: operation.version for kind, operation in CATALOGUE.items()}
UNLIMITED: Mapping[str, int] = {}
ME, OTHER = Incarnation("node-1"), Incarnation("node-2")
_NOTES = itertools.count(1)


class Base:
    """One database. `now_us` is its clock, which only moves when told to."""

    def __init__(self) -> None:
        self.now_us = NOW_US
        self.database = TestDatabase(lambda: self.now_us)
        self.run(types.ensure_default_type)

    def close(self) -> None:
        self.database.close()

    def tx(self) -> AbstractContextManager[Connection]:
        """One transaction, as a lane makes it."""
        return self.database.tx()

    def run(self, f: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """`f` in a transaction of its own."""
        with self.tx() as tx:
            return f(tx, *args, **kwargs)

    # --- lanes: `run.Lane` and `lease_table.Lane` over the same database, without a thread ---------------------------

    async def write(self, body: Callable[[Connection], T]) -> T:
        try:
            with self.tx() as tx:
                return body(tx)
        except Exception as error:
            raise translate(error, committing=False) from error

    read = write

    # --- rows --------------------------------------------------------------------------------------------------------

    def rows(self, table: Table) -> list[dict[str, Any]]:
        with self.tx() as tx:
            return [dict(row) for row in tx.execute(select(table)).mappings()]

    def row(self, table: Table, row_id: str) -> dict[str, Any]:
        (key,) = list(table.primary_key)[:1]
        return next(row for row in self.rows(table) if row[key.name] == row_id)

    def change(self, table: Table, row_id: str, **values: Any) -> None:
        (key,) = list(table.primary_key)[:1]
        with self.tx() as tx:
            tx.execute(update(table).where(key == row_id).values(**values))

    def add(self, table: Table, **values: Any) -> None:
        with self.tx() as tx:
            tx.execute(insert(table).values(**values))

    def node(self, incarnation: str = ME, **values: Any) -> Incarnation:
        row: dict[str, Any] = {
            "incarnation": incarnation, "name": incarnation, "cluster": "c", "boot_id": "b", "state": "up",
            "heartbeat": 1, "queues_json": json.dumps([QUEUE]), "kinds_json": json.dumps(KINDS), "version": "1",
            "lock_path": f"/run/{incarnation}", "lock_id": "l", "keeper_pid": 1, "started_at_us": NOW_US,
        }  # fmt: skip
        self.add(tables.nodes, **(row | values))
        return Incarnation(incarnation)

    async def keep(self, incarnation: str, *, every_s: float) -> None:
        """Renew a node's lease, as its keeper would: one that does not see its own counter move judges nobody."""
        while True:
            with self.tx() as tx:
                mine = update(tables.nodes).where(tables.nodes.c.incarnation == incarnation)
                tx.execute(mine.values(heartbeat=tables.nodes.c.heartbeat + 1))
            await asyncio.sleep(every_s)

    def pool(self, name: str = POOL, **values: Any) -> str:
        row: dict[str, Any] = {
            "name": name, "queue": name.partition("#")[0], "total_gib": 1000, "free_gib": 1000,
            "availability_zone": "nova",
        }  # fmt: skip
        self.add(tables.pools, **(row | values))
        return name

    def volume_type(self, name: str, **values: Any) -> str:
        self.add(tables.volume_types, **({"id": name, "name": name, "created_at_us": NOW_US} | values))
        return name

    # --- the protocol ------------------------------------------------------------------------------------------------

    def enqueue(
        self, *locks: Lock, at_us: int = NOW_US, name: str | None = None, job: Job | None = None
    ) -> OperationId:
        """An operation with these places in line, by its id."""
        asked = origin(at_us=at_us, operation_id=name)
        job = job or Job("copy", 1, QUEUE, "volume", locks[0].resource_id, {})
        self.run(queue.enqueue, job, origin=asked, locks=locks)
        return asked.operation_id

    def claimable(
        self, *, most: int = 100, kinds: Mapping[str, int] = KINDS, attempts: range = range(100)
    ) -> list[str]:
        """The ids of what any node could claim now."""
        found = self.run(queue.claimable, queue=QUEUE, kinds=kinds, most=most, attempts=attempts)
        return [one.operation_id for one in found]

    def owned(self, node: Incarnation = ME) -> list[str]:
        """The ids of what is marked as a node's."""
        return [one.operation_id for one in self.run(queue.owned, incarnation=node)]

    def claim(self, operation_id: str, node: Incarnation = ME, *, seen: int | None = None) -> Claim:
        """Claim one operation under the epoch that it has, or was seen to have."""
        epoch = self.row(tables.operations, operation_id)["epoch"] if seen is None else seen
        return self.run(queue.claim, wanted=[wanted(operation_id, epoch)], incarnation=node, now_us=self.now_us)[0]

    # --- what must hold ----------------------------------------------------------------------------------------------

    def problems(self) -> list[str]:
        return self.run(check.problems)

    def wrong_accounts(self) -> list[str]:
        """Of the problems those about what is charged and promised."""
        return [one for one in self.problems() if " is charged " in one or " has promised " in one]

    def accounts(self) -> dict[str, int]:
        """What is charged and promised, zeros left out."""
        used = {row["resource"]: row["in_use"] for row in self.rows(tables.quota_usage)}
        promised = {row["name"]: row["allocated_gib"] for row in self.rows(tables.pools)}
        return {name: amount for name, amount in (used | promised).items() if amount}


def wanted(operation_id: str, epoch: int) -> Wanted:
    """An operation as it was seen."""
    return Wanted(OperationId(operation_id), epoch, QUEUE, 0)


def origin(
    *, is_admin: bool = False, project_id: str = "p1", at_us: int = NOW_US, operation_id: str | None = None
) -> Origin:
    return Origin(
        project_id=ProjectId(project_id),
        user_id=UserId("u"),
        is_admin=is_admin,
        request_id="req-1",
        at_us=at_us,
        operation_id=OperationId(operation_id or str(uuid.uuid4())),
        message_id=MessageId(str(uuid.uuid4())),
    )


def note(by: str = "node-2") -> Note:
    """Who says something about a node, at the time of these tests; by their ids in the order in which they were said."""
    return Note(f"{next(_NOTES):08x}", by, NOW_US)


def new_volume(id_: str = "v1", **values: Any) -> NewVolume:
    return NewVolume(id=VolumeId(id_), **({"size_gib": 1} | values))


def new_snapshot(id_: str = "s1", volume_id: str = "v1", **values: Any) -> NewSnapshot:
    return NewSnapshot(id=SnapshotId(id_), volume_id=VolumeId(volume_id), **values)


def create_volume(base: Base, id_: str = "v1", **values: Any) -> Accepted:
    return base.run(volumes.begin_create, origin=origin(), wanted=new_volume(id_, **values), quota_defaults=UNLIMITED)


def available_volume(base: Base, **values: Any) -> None:
    """A volume `v1` that was made long ago, by a node that is up."""
    base.node(**values)
    base.pool()
    create_volume(base)
    base.change(tables.volumes, "v1", status="available", object_name="v1.1.1")
    base.run(lambda tx: [tx.execute(table.delete()) for table in (tables.operation_locks, tables.operations)])


def create_snapshot(base: Base, id_: str = "s1", volume_id: str = "v1", **values: Any) -> Accepted:
    asked = new_snapshot(id_, volume_id, **values)
    return base.run(snapshots.begin_create, origin=origin(), wanted=asked, quota_defaults=UNLIMITED)


def virtual_env(seed: int = 1) -> Env:
    """An environment whose time is the loop's."""
    random = Random(seed)
    return VirtualEnv(
        clock=VirtualClock(),
        random=random,
        ids=VirtualIds(Random(seed)),
        files=MemoryFiles(capacity_bytes=1 << 30).view(),
        processes=LockFiles(),
        threads=VirtualThreads(),
    )


def in_virtual_time(main: Coroutine[Any, Any, T]) -> T:
    """Run to the end; sleeping costs nothing."""
    return VirtualLoop(Random(1)).run(main)  # type: ignore[abstract]


def in_real_time(main: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(main)


def store_on(base: Base, env: Env | None = None) -> Store:
    return Store(base, env or virtual_env())
