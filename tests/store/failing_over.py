"""A replicating array, and operations and workers on it, in virtual time: what the tests of failovers stand on."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from random import Random
from typing import Any

import msgspec
import pytest
from sqlalchemy import Connection, select
from tests.drivers.guards import Crash, WithoutLocks
from tests.store.given import ME, NOW_US, OTHER, POOL, QUEUE, Base, create_snapshot, create_volume, origin

from breezeblock.drivers.contract import Driver, ObjectName
from breezeblock.env.contract import Guard
from breezeblock.model.errors import Fenced
from breezeblock.model.ids import Incarnation
from breezeblock.node.backends import Backend
from breezeblock.node.gate import Gate
from breezeblock.node.identity import Identity, Limits
from breezeblock.node.worker import Worker
from breezeblock.protocol import queue, recovery
from breezeblock.protocol.leases import Terms
from breezeblock.protocol.queue import Claim
from breezeblock.protocol.steps import Run, execute
from breezeblock.resources import backend_changes, volume_changes
from breezeblock.resources.backends import backend_id
from breezeblock.store import tables
from breezeblock.store.run import Store
from breezeblock.testing.memory_files import MemoryFiles
from breezeblock.testing.replicating import Array, ReplicatingDriver
from breezeblock.testing.virtual import LockFiles, VirtualClock, VirtualEnv, VirtualIds, VirtualThreads
from breezeblock.work.catalogue import CATALOGUE
from breezeblock.work.tools import Tools

V1, V2 = "11111111-0000-4000-8000-000000000001", "11111111-0000-4000-8000-000000000002"
S1 = "22222222-0000-4000-8000-000000000001"
REPLICATED = '{"replication_enabled": "True", "replication_targets": "secondary"}'


class Page:
    """A lease that holds."""

    until = float("inf")
    lapses = 0


class Open:
    """The right to work, which is never lost."""

    lapses = 0

    def is_open(self) -> bool:
        return True

    async def wait_open(self) -> None:
        return


@dataclass
class Mortal:
    """`run.Lane` over the base, of a process that dies after so many commits; None: it lives."""

    base: Base
    commits: int | None = None

    async def write(self, body: Callable[[Connection], Any]) -> Any:
        result = await self.base.write(body)
        if self.commits is not None:
            self.commits -= 1
            if self.commits == 0:
                raise SystemExit
        return result

    async def read(self, body: Callable[[Connection], Any]) -> Any:
        return await self.base.read(body)


class Quiet:
    """A doorbell and a line to a keeper, on which nothing is ever heard."""

    def ring(self, queue: str) -> None:
        return

    def listen(self, on_ring: Callable[[], None]) -> None:
        return

    def is_connected(self) -> bool:
        return True

    def close(self) -> None:
        return

    def send(self, word: str) -> None:
        return

    async def receive(self) -> str | None:
        await asyncio.Event().wait()
        return None


@dataclass
class Site:
    """One cluster of nodes that share an array. `local` are the resources that the array does not replicate."""

    base: Base = field(default_factory=Base)
    local: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.disk = MemoryFiles()
        self.array = Array(
            self.disk,
            primary=PurePosixPath("/a"),
            secondary=PurePosixPath("/b"),
            replicates=lambda resource_id: resource_id not in self.local,
        )
        random = Random(1)
        self.env = VirtualEnv(
            clock=VirtualClock(), random=random, ids=VirtualIds(random), files=self.disk, processes=LockFiles(),
            threads=VirtualThreads(),
        )  # fmt: skip
        self.workers: list[asyncio.Future[None]] = []
        self.keepers: list[asyncio.Future[None]] = []

    def given_backend(self, **values: Any) -> None:
        """A pool that was reported, of a backend that replicates."""
        self.base.pool(POOL, capabilities_json=REPLICATED)
        row = {"id": backend_id(QUEUE), "queue": QUEUE, "replication_status": "enabled"}
        self.base.add(tables.backends, **(row | values))

    def driver(self) -> ReplicatingDriver:
        return ReplicatingDriver(self.disk, array=self.array, name="p", clock=self.env.clock, ids=self.env.ids)

    async def initialise(self) -> None:
        """Storage as it is after the first worker has looked at it."""
        await self.driver().check(known=False)

    async def names(self) -> list[str]:
        """All objects on the side in use."""
        return [str(name) for name in await self.driver().on(self.array.active).every_name()]

    async def has(self, target: str, table: Any, row_id: str) -> bool:
        """Whether a resource's published object is on one side."""
        name = self.base.row(table, row_id)["object_name"]
        return await self.driver().on(target).exists(ObjectName.parse(name))

    # --- operations, one by one ---------------------------------------------------------------------------------------

    def fail_over(self, target: str | None = None) -> None:
        """The request."""
        asked = {"host": None, "cluster": QUEUE, "target": target}
        self.base.run(backend_changes.begin_failover, origin=origin(is_admin=True), **asked)

    def claim(self, node: Incarnation = ME) -> Claim:
        """Claim the first operation that can be claimed, or is marked as the node's."""
        kinds = {kind: operation.version for kind, operation in CATALOGUE.items()}
        ours = self.base.run(queue.owned, incarnation=node)
        free = self.base.run(queue.claimable, queue=QUEUE, kinds=kinds, most=9, attempts=range(9))
        return self.base.run(queue.claim, wanted=[*ours, *free], incarnation=node, now_us=NOW_US)[0]

    async def perform(self, claim: Claim, *, commits: int | None = None, guard: Guard | None = None) -> None:
        """Execute a claim as a node does; `commits` is after how many of them its process dies."""
        store = Store(Mortal(self.base, commits), self.env)
        driver: Driver = self.driver()
        if claim.kind != queue.FAILOVER and claim.target is not None:
            driver = driver.on(claim.target)
        bound = driver.bind(WithoutLocks(guard or Gate(self.env.clock, Page()).guard({})))
        operation = CATALOGUE[claim.kind]
        payload = msgspec.json.decode(claim.payload_json, type=operation.payload)
        tools = Tools(driver=bound, clock=self.env.clock, continues=True)
        run: Run[Any, Any] = Run(claim, payload, tools, store, leaving=lambda: False)
        await execute(operation, run, store, Open(), lambda: NOW_US)

    async def lost(self, claim: Claim) -> bool:
        """Execute a claim; whether it found out on the way that it was somebody else's by then."""
        try:
            await self.perform(claim)
        except Fenced:
            return True
        return False

    # --- whole workers ------------------------------------------------------------------------------------------------

    def start(self, name: str, *, slots: int = 2, limits: Limits | None = None, ttl_s: float = 1e9) -> Worker:
        """A worker, working; its lease never ends. With the ttl given it watches the others as often as real ones do."""
        quiet = Quiet()
        gate = Gate(self.env.clock, Page())
        backend = Backend(name="p", queue=QUEUE, driver=self.driver(), slots=slots, availability_zone="nova")
        self.base.node(name)
        worker = Worker(
            env=self.env, store=Store(self.base, self.env), backends={QUEUE: backend}, catalogue=CATALOGUE,
            doorbell=quiet, listener=quiet, identity=Identity("c", name, Incarnation(name), 1), terms=Terms(ttl_s, 0.0),
            gate=gate, link=quiet, limits=limits or Limits(), fences={},
        )  # fmt: skip
        self.workers.append(asyncio.ensure_future(worker.run()))
        self.keepers.append(asyncio.ensure_future(self.base.keep(name, every_s=Terms(ttl_s, 0.0).renew_every_s)))
        return worker

    async def until(self, holds: Callable[[], bool], *, within_s: float = 300.0) -> None:
        """Wait in virtual time; no worker may end meanwhile."""
        for _ in range(int(within_s)):
            if holds():
                return
            await asyncio.sleep(1.0)
            assert not [worker.result() for worker in self.workers if worker.done()]
        raise AssertionError(f"not within {within_s} s: {self.base.rows(tables.operations)}")

    # --- what there is ------------------------------------------------------------------------------------------------

    @property
    def backend(self) -> tuple[str, str | None]:
        row = self.base.row(tables.backends, backend_id(QUEUE))
        return row["replication_status"], row["active_backend_id"]

    def status(self, row_id: str, table: Any = tables.volumes) -> str:
        return str(self.base.row(table, row_id)["status"])

    def outcomes(self) -> list[tuple[str, str]]:
        """Kind and outcome of all that has ended, in the order of these words."""
        with self.base.tx() as tx:
            log = tables.operation_log
            return [
                tuple(row) for row in tx.execute(select(log.c.kind, log.c.outcome).order_by(log.c.kind, log.c.outcome))
            ]


@contextmanager
def two_nodes() -> Iterator[Site]:
    """A site with two nodes that are up, and a backend that was reported."""
    site = Site()
    site.base.node(ME)
    site.base.node(OTHER)
    site.given_backend()
    yield site
    site.base.close()


async def given_storage(site: Site) -> None:
    """A volume with a snapshot, and another one that is not replicated."""
    site.local.add(V2)
    await site.initialise()
    create_volume(site.base, V1)
    await site.perform(site.claim())
    create_volume(site.base, V2)
    await site.perform(site.claim())
    create_snapshot(site.base, S1, V1)
    await site.perform(site.claim())


async def dies(work: Awaitable[None]) -> None:
    with pytest.raises((SystemExit, Crash)):
        await work


def bury(site: Site) -> None:
    """The first node is certainly dead, and what it owned is free."""
    site.base.change(tables.nodes, ME, state="gone")
    site.base.run(recovery.release_dead)


def reset(site: Site, volume_id: str, status: str) -> None:
    words: Any = {"volume_id": volume_id, "status": status, "attach_status": None, "migration_status": None}
    site.base.run(volume_changes.reset_status, origin=origin(is_admin=True), **words)
