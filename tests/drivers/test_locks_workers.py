"""Whole workers whose driver takes locks: the context reaches it, and a lost lock or node fails no operation."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from contextvars import copy_context
from pathlib import PurePosixPath
from typing import Any
from uuid import UUID

import pytest
from tests.drivers.locking import Bell, Diary, Page, nothing_is_left, until
from tests.store.failing_over import Quiet
from tests.store.given import (
    ME,
    NOW_US,
    OTHER,
    QUEUE,
    Base,
    create_volume,
    in_virtual_time,
    note,
    store_on,
    virtual_env,
)

from breezeblock.drivers.contract import Context, Driver, ObjectName
from breezeblock.drivers.file import FileDriver
from breezeblock.env.contract import Env
from breezeblock.model.ids import Incarnation
from breezeblock.node.backends import Backend
from breezeblock.node.gate import Gate
from breezeblock.node.identity import Identity, Limits
from breezeblock.node.locks import Holds, LockSpace, Names
from breezeblock.node.locks_database import DatabaseLocks
from breezeblock.node.worker import Worker
from breezeblock.protocol import membership
from breezeblock.protocol.leases import Terms
from breezeblock.protocol.queue import Claim
from breezeblock.store.tables import operation_log, volumes
from breezeblock.testing.loop import PROCESS, Process
from breezeblock.work.catalogue import CATALOGUE

# A creation under the lock takes so long.
CREATION_S = 0.5


class LockingDriver(FileDriver):
    """Files on an array that makes one volume at a time."""

    ctx: Context
    diary: Diary

    def bind(self, ctx: Context) -> Driver:  # type: ignore[override]  # a file driver asks for less
        bound = super().bind(ctx)
        assert isinstance(bound, LockingDriver)
        bound.ctx, bound.diary = ctx, self.diary
        return bound

    async def create(self, name: ObjectName, *, size_bytes: int) -> None:
        async with self.diary.hold(self.ctx, f"{name.resource_id} {name.epoch}", "array", for_s=CREATION_S):
            await super().create(name, size_bytes=size_bytes)


class Losing:
    """Locks of a service that loses each one that is among the first so many, while it is held."""

    def __init__(self, env: Env, lost: int) -> None:
        self._env = env
        self._left = lost

    @asynccontextmanager
    async def hold(
        self, names: Names, *, shared: bool, claim: Claim, check: Callable[[], None]
    ) -> AsyncIterator[Holds]:
        self._left -= 1
        lapses_at = self._env.clock.boottime() + (CREATION_S / 2 if self._left >= 0 else 1e9)
        yield lambda: self._env.clock.boottime() < lapses_at

    async def sweep(self) -> None: ...

    def wake(self) -> None: ...


class Cluster:
    """Nodes that share one disk, and a diary."""

    def __init__(self, base: Base) -> None:
        self.base = base
        self.env = virtual_env()
        self.diary = Diary(self.env)
        self._tasks: list[asyncio.Task[None]] = []

    def database_locks(self, node: Incarnation) -> DatabaseLocks:
        store = store_on(self.base, self.env)
        return DatabaseLocks(self.env, store, Bell(), incarnation=node, scope="c@b", calls=set())

    def start(self, node: Incarnation, locks: LockSpace) -> Process:
        """A worker in a process of its own, which can be killed."""
        process = Process(node)
        context = copy_context()
        context.run(PROCESS.set, process)
        context.run(self._start, node, locks)
        return process

    def _start(self, node: Incarnation, locks: LockSpace) -> None:
        quiet = Quiet()
        driver = self.driver()
        backend = Backend(name="b", queue=QUEUE, driver=driver, slots=4, availability_zone="nova")
        worker = Worker(
            env=self.env, store=store_on(self.base, self.env), backends={QUEUE: backend}, catalogue=CATALOGUE,
            doorbell=quiet, listener=quiet, identity=Identity("c", node, node, 1), terms=Terms(1e9, 0.0),
            gate=Gate(self.env.clock, Page()), link=quiet, limits=Limits(), fences={}, locks={QUEUE: locks},
        )  # fmt: skip
        self._tasks.append(asyncio.ensure_future(worker.run()))

    def driver(self) -> LockingDriver:
        env = self.env
        driver = LockingDriver(env.files, name="b", path=PurePosixPath("/b"), clock=env.clock, ids=env.ids)
        driver.diary = self.diary
        return driver

    def given_volume(self, number: int) -> None:
        create_volume(self.base, volume_id(number))

    def statuses(self) -> list[str]:
        return sorted(row["status"] for row in self.base.rows(volumes))

    async def all_available(self, number: int) -> None:
        await until(self.env, lambda: self.statuses() == ["available"] * number, for_s=600.0)


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    base = Base()
    base.node(ME)
    base.node(OTHER)
    base.pool()
    yield Cluster(base)
    base.close()


def volume_id(number: int) -> str:
    return str(UUID(int=number, version=4))


def epochs(base: Base) -> list[int]:
    return [row["epoch"] for row in base.rows(operation_log)]


def outcomes(base: Base) -> set[str]:
    return {row["outcome"] for row in base.rows(operation_log)}


def test_workers_of_two_nodes_make_one_volume_at_a_time(cluster: Cluster) -> None:
    """Each has four slots, and eight volumes are asked for."""

    async def main() -> None:
        await cluster.driver().check(known=False)
        for number in range(8):
            cluster.given_volume(number)
        for node in (ME, OTHER):
            cluster.start(node, cluster.database_locks(node))
        await cluster.all_available(8)

    in_virtual_time(main())

    assert (len(cluster.diary.lines), cluster.diary.most_inside) == (16, 1)
    assert {row["owner"] for row in cluster.base.rows(operation_log)} == {ME, OTHER}
    assert nothing_is_left(cluster.base)


def test_a_lost_lock_is_no_failed_operation(cluster: Cluster) -> None:
    """It is lost twice; each time the node takes its operation up again under a higher epoch, and in the end it is done."""

    async def main() -> None:
        await cluster.driver().check(known=False)
        cluster.given_volume(0)
        cluster.start(ME, Losing(cluster.env, lost=2))
        await cluster.all_available(1)

    in_virtual_time(main())

    assert (outcomes(cluster.base), epochs(cluster.base)) == ({"done"}, [3])
    assert cluster.diary.lines[::2] == [f"+{volume_id(0)} {epoch}" for epoch in (1, 2, 3)]


@pytest.mark.filterwarnings("ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning")
def test_a_survivor_gets_the_locks_of_a_dead_node_with_its_operations(cluster: Cluster) -> None:
    """Not before the fence."""
    found: list[Any] = []

    async def main() -> None:
        await cluster.driver().check(known=False)
        cluster.given_volume(1)
        cluster.given_volume(2)
        dead = cluster.start(ME, cluster.database_locks(ME))
        await until(cluster.env, lambda: cluster.diary.lines)
        dead.kill()
        cluster.base.run(membership.expire, incarnation=ME, heartbeat=1, fencer=OTHER, note=note())
        cluster.given_volume(3)
        cluster.start(OTHER, cluster.database_locks(OTHER))
        await cluster.env.clock.sleep(60)
        found.append((len(cluster.diary.lines), cluster.statuses()))
        cluster.base.run(membership.record_fenced, incarnation=ME, method="same_machine", note=note())
        cluster.base.run(membership.housekeeping, cluster="c", now_us=NOW_US)
        await cluster.all_available(3)
        assert nothing_is_left(cluster.base)

    in_virtual_time(main())

    assert found == [(1, ["creating", "creating", "creating"])]
    assert outcomes(cluster.base) == {"done"}
