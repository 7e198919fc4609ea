"""A whole cluster in one process: machines' disks and lock files, nodes with keeper and worker, APIs, and their supervisor.

All of it is the production code, unchanged; only what processes are made of is not: the link between a keeper and its
worker, the page that they share, the doorbell, and the way a process starts and dies.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping
from contextvars import Context
from pathlib import PurePosixPath
from random import Random
from typing import Any, Final

from breezeblock.env.contract import Env
from breezeblock.model.ids import Incarnation
from breezeblock.node.backends import Backend
from breezeblock.node.fences import Boot, Fences
from breezeblock.node.gate import Gate
from breezeblock.node.identity import Identity
from breezeblock.node.keeper import Keeper
from breezeblock.node.lease_table import LeaseTable, Registration
from breezeblock.node.locks import LockSpace
from breezeblock.node.locks_database import DatabaseLocks
from breezeblock.node.worker import Worker
from breezeblock.protocol import membership
from breezeblock.protocol.leases import GATE_MARGIN, Terms
from breezeblock.store.run import Store
from breezeblock.testing.database import Database, KeeperLane, SimLane
from breezeblock.testing.faults import Faults
from breezeblock.testing.fenced import TRUST_SETTLE_S, Client, Refusals, open_driver, open_fences
from breezeblock.testing.history import Tell
from breezeblock.testing.locking import LockingDriver
from breezeblock.testing.loop import Machine, Process, VirtualLoop
from breezeblock.testing.memory_files import MemoryFiles, Tokens
from breezeblock.testing.nodes import draw_limits, kinds_of
from breezeblock.testing.replicating import Array
from breezeblock.testing.safe import Safe
from breezeblock.testing.shipping import Shipping
from breezeblock.testing.themes import ANYTHING, Theme
from breezeblock.testing.told import Mail
from breezeblock.testing.virtual import LockFiles, VirtualClock, VirtualEnv, VirtualIds, VirtualThreads
from breezeblock.testing.wires import Bell, Link, Node, Page, WorkerHandle, context_of

__all__ = ["BEYOND", "CLUSTER", "Cluster", "queue_of"]

CLUSTER: Final = "sim"
BACKENDS: Final = ("fast", "large")
TWINS_MOST: Final = 4
# How many of the backends can fail over.
REPLICATED: Final = 0.3
# Where a backend is believed to be whose failover has failed, until the next one has begun and revoked what runs there.
_FAILED_OVER: Final = """
SELECT ifnull(active_backend_id, 'default') FROM backends WHERE queue = ?
AND (replication_status = 'error' OR replication_status = 'failing-over' AND EXISTS (
  SELECT 1 FROM operations o WHERE o.queue = backends.queue AND o.kind = 'failover_backend'
  AND ifnull(o.step, 'revoke_others') = 'revoke_others'))
"""
CAPACITY_BYTES: Final = 48 << 30
# How often its files can share their data: then backups keep what they were read from.
SHARES_DATA: Final = 0.5
# A supervisor starts a process again after so long.
RESTART_S: Final = (0.1, 3.0)
# What a process may end with that is not a mistake of ours: its parent starts it again.
EXCUSED: Final = ("Unavailable", "BackendFailed")

# Clocks beyond the bound, beside others within it: slower than true time by so many times the drift that the terms allow, or
# at such rates.
A_LITTLE: Final = (1.1, 2.0)
BY_FAR: Final = (0.1, 0.5)
# How much of it a run may have. "any": each clock by itself.
BEYOND: Final = ("a little", "by far", "any")
# A keeper that nothing has hindered for this share of a ttl has renewed, and everybody has seen it.
HEALTHY: Final = 0.7


def _base(name: str) -> str:
    """The post of a node's or a process's name: `node0` of `node0-2.worker2`."""
    return name.partition(".")[0].partition("-")[0]


def queue_of(backend: str) -> str:
    """The queue of a simulated backend."""
    return f"{CLUSTER}@{backend}"


OnEffect = Callable[[Process, str, PurePosixPath, Tokens], None]


class Cluster:
    """The processes of one run. `random` draws everything that is not a fault."""

    def __init__(
        self,
        *,
        loop: VirtualLoop,
        database: Database,
        faults: Faults,
        random: Random,
        terms: Terms,
        tell: Tell,
        mistake: Callable[[str], None],
        on_effect: OnEffect,
        fence: str = "kill",
        locks: bool = False,
        beyond_drift: str = "",
        theme: Theme = ANYTHING,
    ) -> None:
        self.loop = loop
        self.database = database
        self.faults, self.random = faults, random
        self.terms = terms
        self.tell, self.mistake, self.on_effect = tell, mistake, on_effect
        self.fence, self.locks_drivers, self.beyond_drift = fence, locks, beyond_drift
        self.refusals = Refusals(self._refused)
        self.nodes: dict[str, Node] = {}
        """All that ever were, by incarnation."""
        self.disk = MemoryFiles(capacity_bytes=CAPACITY_BYTES, reflink=random.random() < SHARES_DATA)
        self.locks = LockFiles()
        self.bell = Bell(loop, random, faults)
        self.processes: list[Process] = []
        self.theme = theme
        self.limits = draw_limits(random, theme)
        self.safe, self.mail = Safe(random, theme), Mail(random, faults)
        self.slots = random.choice(theme.slots)
        self.backends = BACKENDS[: random.choice(theme.backends)]
        self.arrays = {name: self._array(name) for name in self.backends if random.random() < REPLICATED}
        """Those backends that replicate."""
        self.on_forced: Callable[[str], None] = lambda incarnation: None
        self.on_fault: Callable[[], None] = lambda: None
        """A storage call of the running process fails by a fault; called where its caller will see that."""
        self.on_unleased: Callable[[str], None] = lambda what: None
        self.on_stale: Callable[[str], None] = lambda what: None
        self._reboots = "reboot" in faults.on
        self._machines: dict[VirtualClock, Machine] = {}
        """Each has its own clock; where nodes are fenced by killing they are one that has several."""
        self._serves: dict[str, tuple[str, ...]] = {}
        self._twins = 0
        self._old: set[str] = set()
        """Nodes that still run the release before."""

    # --- processes --------------------------------------------------------------------------------------------------

    def spawn(self, name: str, main: Callable[[Process], Coroutine[Any, Any, Any]]) -> Process:
        """Start a process. It ends when its main coroutine does, or when somebody kills it."""
        process = Process(name)
        self.tell(f"{name} starts", kind="start", process=name)
        process.on_exit.append(lambda: self._gone(name))
        self.processes = [other for other in self.processes if other.alive] + [process]
        task = self.loop.create_task(main(process), name=name, context=context_of(process))
        task.add_done_callback(lambda done: self._ended(process, done), context=Context())
        return process

    def _gone(self, name: str) -> None:
        if not self.loop.is_closed():  # what still runs at the end of a run does not end with it
            self.tell(f"{name} is gone", kind="end", process=name)

    def _ended(self, process: Process, main: "asyncio.Future[Any]") -> None:
        error = None if main.cancelled() else main.exception()
        if error is not None:
            self.tell(f"{process.name} ends with {type(error).__name__}: {error}")
            if type(error).__name__ not in EXCUSED:
                self.mistake(f"{process.name} ended with {type(error).__name__}: {error}")
        process.kill()

    def stop_node(self, process: Process, seconds: float) -> None:
        """Stop a process and all others of its node, as a frozen machine does."""
        node = process.name.partition(".")[0]
        text = f"stop {node} on its way for {seconds:.2f} s"
        if not self.faults.strikes("stop", text, target=node, seconds=seconds):
            return
        for other in self.processes:
            if other.name.partition(".")[0] == node:
                other.stopped_until = max(other.stopped_until, self.loop.time() + seconds)

    def env(self, process: Process, clock: VirtualClock, *, lock_path: str = "", client: str = "") -> Env:
        """A process's view of the world. `client` is what storage knows it by."""
        random = Random(f"{self.random.random()} {process.name}")
        process.set_clock, process.machine = clock.jump, self.machine_of(clock)

        def on_use() -> None:
            if process.incarnation is not None and process.works:
                self.nodes[process.incarnation].used_storage = True

        def on_guarded(call: str, path: PurePosixPath) -> None:
            if process.incarnation is not None and not self._gate_is_open(process.incarnation):
                self.on_unleased(f"{process.name} begins {call} {path.name} without its lease")

        shipping = Shipping(
            process=process,
            faults=self.faults,
            locks=self.locks,
            lock_path=lock_path,
            refuses=lambda backend: self.refusals.refuses(backend, client),
            stop_node=lambda seconds: self.stop_node(process, seconds),
            on_use=on_use,
            on_guarded=on_guarded,
            on_fault=lambda: self.on_fault(),
            on_effect=self.on_effect,
        )
        return VirtualEnv(
            clock=clock,
            random=random,
            ids=VirtualIds(random),
            files=shipping.view(self.disk),
            processes=self.locks,
            threads=VirtualThreads(),
        )

    def new_clock(self) -> VirtualClock:
        """One machine's clocks: rates differ by less than the drift that the terms allow, wall clocks by much more."""
        rate = self.random.uniform(1.0, 1.0 + self.terms.drift * 0.99)
        if self.beyond_drift and self.random.random() < 0.5:
            how_far = self.random.choice(BEYOND[:2]) if self.beyond_drift == "any" else self.beyond_drift
            slower = 1.0 + self.terms.drift * self.random.uniform(*A_LITTLE)
            rate = 1.0 / slower if how_far == "a little" else self.random.uniform(*BY_FAR)
        return VirtualClock(rate=rate, skew_us=int(self.random.uniform(-20, 20) * 1_000_000))

    def machine_of(self, clock: VirtualClock) -> Machine:
        """The machine whose clock it is."""
        if clock not in self._machines:
            one = next(iter(self._machines.values()), None) if self.fence == "kill" else None
            ids = VirtualIds(self.random)
            self._machines[clock] = one or Machine(ids.uuid(), boot_id=ids.uuid())
        return self._machines[clock]

    async def supervise(self, name: str, start: Callable[[str, int, VirtualClock], Process]) -> None:
        """Start a process, and again whenever it has ended."""
        clock = self.new_clock()
        number = 0
        while True:
            number += 1
            new_name = f"{name}-{number}"
            renamed = "rename" in self.faults.on and self.random.random() < 0.5
            renamed = renamed and self.faults.strikes("rename", f"{name} comes back as {new_name}", target=name)
            process = start(new_name if renamed else name, number, clock)
            ended = self.loop.create_future()
            process.on_exit.append(lambda ended=ended: ended.done() or ended.set_result(None))  # type: ignore[misc]
            await ended
            await VirtualClock().sleep(self.random.uniform(*RESTART_S))

    # --- what is done to it: `nemesis.World` -------------------------------------------------------------------------

    def declare_lost(self, process: Process) -> None:
        """See `nemesis.World`."""
        assert process.incarnation is not None
        self.on_forced(process.incarnation)
        now_us = VirtualClock().now_us()
        with self.database.transaction() as tx:
            membership.force_expire(tx, incarnation=Incarnation(process.incarnation), now_us=now_us)

    def reboot(self, process: Process) -> None:
        """See `nemesis.World`."""
        machine = process.machine
        assert machine is not None, "whoever is a victim runs on a machine"
        machine.boot_id = VirtualIds(self.random).uuid()
        for node in self.nodes.values():
            if self.machine_of(node.clock) is machine:
                self.locks.forget(node.lock_path)
        for other in self.processes:
            if other.machine is machine:
                other.kill()

    def put_clocks_forward(self, seconds: float) -> None:
        """All wall clocks, as if so much time had gone by with nothing to do."""
        self.database.set_clock(seconds)
        for clock in self._machines:
            clock.jump(seconds)

    def set_database_clock(self, seconds: float) -> None:
        """See `nemesis.World`."""
        self.database.set_clock(seconds)

    def start_twin(self, name: str) -> None:
        """See `nemesis.World`."""
        if self._twins >= TWINS_MOST:
            return  # twins have twins: without a bound they double at each strike
        self._twins += 1
        self.start_node(name, 100 + self._twins, self.new_clock())

    def _array(self, name: str) -> Array:
        top = PurePosixPath("/") / name
        array = Array(self.disk, primary=top / "a", secondary=top / "b")
        array.on_fault = lambda: self.on_fault()
        array.is_astray = lambda: self._is_astray(name, array.active)
        return array

    def _is_astray(self, name: str, active: str) -> bool:
        rows = self.database.raw.execute(_FAILED_OVER, (queue_of(name),)).fetchall()
        return any(known != active for (known,) in rows)

    def root(self, pool: str) -> PurePosixPath:
        """The folder in which a pool's (`cluster@backend#pool`) objects are now."""
        backend = pool.rpartition("#")[2]
        return self.arrays[backend].root if backend in self.arrays else PurePosixPath("/") / backend

    def roots(self) -> list[PurePosixPath]:
        """All of them."""
        return [self.root(f"#{backend}") for backend in self.backends]

    async def write_past(self, pool: str, path: PurePosixPath, offset: int, data: bytes) -> None:
        """As somebody does who has a volume attached."""
        await self.disk.write_at(path, offset=offset, data=data)
        backend = pool.rpartition("#")[2]
        if backend in self.arrays:
            self.arrays[backend].mirror(path)

    def trouble_array(self, name: str, *, hangs: bool, seconds: float) -> None:
        """See `nemesis.World`."""
        array = self.arrays[name]
        side = array.active
        (array.hang if hangs else array.fail)(side)
        self.loop.call_later(seconds, array.repair, side, context=Context())

    def begin_old(self, names: Iterable[str]) -> None:
        """Let nodes begin with the release before."""
        self._old.update(names)

    def upgrade(self, name: str | None = None) -> None:
        """Take a node, or all of them, out in good order; what comes back is the new release."""
        for old in sorted(self._old if name is None else self._old & {name}):
            self._old.discard(old)
            for process in self.processes:
                if process.alive and _base(process.name) == old and process.on_term is not None:
                    process.on_term()

    @property
    def old(self) -> list[str]:
        """The nodes that still run the release before."""
        return sorted(self._old)

    # --- nodes ------------------------------------------------------------------------------------------------------

    def served_by(self, name: str) -> tuple[str, ...]:
        """The backends of a node. The first one serves all, so that nothing waits for nobody."""
        if name not in self._serves:
            every = not self._serves or self.random.random() < 0.6
            self._serves[name] = self.backends if every else (self.random.choice(self.backends),)
        return self._serves[name]

    def start_node(self, name: str, number: int, clock: VirtualClock) -> Process:
        """A new incarnation: its keeper, which launches its worker."""
        keeper = self.spawn(f"{name}.keeper{number}", lambda process: self._keep(name, number, process, clock))
        keeper.machine = self.machine_of(clock)  # now, not when it runs: a boot before that ends it, too
        return keeper

    async def _keep(self, name: str, number: int, process: Process, clock: VirtualClock) -> None:
        env = self.env(process, clock)
        incarnation, lock_id = env.ids.uuid(), env.ids.uuid()
        process.incarnation = incarnation
        lock_path, client = f"/run/{incarnation}.lock", f"client-{env.ids.uuid()}"
        boot_id = self.machine_of(clock).boot_id
        node = Node(name, number, clock, Incarnation(incarnation), lock_path, client, boot_id, Page(), keeper=process)
        self.nodes[incarnation] = node
        self.locks.take(node.lock_path, lock_id=lock_id, holder=process)
        self.tell(f"{process.name} is incarnation {incarnation}", kind="identity", incarnation=incarnation)

        async def launch() -> WorkerHandle:
            return self._launch(node, process)

        keeper = Keeper(
            env=env,
            table=LeaseTable(KeeperLane(self.database, process, self.faults, self.random)),
            terms=self.terms,
            registration=Registration(
                incarnation=incarnation,
                name=name,
                cluster=CLUSTER,
                boot_id=boot_id,
                version="1",
                lock_path=node.lock_path,
                lock_id=lock_id,
                keeper_pid=number,
            ),
            page=node.page,
            launch=launch,
        )
        process.on_term = keeper.leave
        ending = await keeper.run()
        self.tell(f"{process.name} ends: {ending.value}")

    def _launch(self, node: Node, keeper: Process) -> WorkerHandle:
        ours, theirs = Link.pair()
        worker = self.spawn(f"{node.name}.worker{node.number}", lambda process: self._work(node, process, theirs))
        worker.incarnation, worker.works, worker.machine = node.incarnation, True, keeper.machine
        node.worker = worker
        self.locks.inherit(node.lock_path, holder=worker)
        keeper.on_exit.append(theirs.close)
        worker.on_exit.append(ours.close)

        # The kernel kills the worker when its parent ends, a moment later.
        def die_with_parent() -> None:
            self.loop.call_later(self.random.uniform(0, 0.01), worker.kill, context=Context())

        keeper.on_exit.append(die_with_parent)
        return WorkerHandle(worker, ours, lambda: self.locks.calls_to_return(node.lock_path))

    async def _work(self, node: Node, process: Process, link: Link) -> None:
        env = self.env(process, node.clock, lock_path=node.lock_path, client=node.client)
        base = _base(node.name)
        backends = {queue_of(name): self._backend(name, env, node, process) for name in self.served_by(base)}
        lane = SimLane(
            self.database, process, self.faults, self.random, on_stop=self.stop_node, on_evict=self.declare_lost
        )
        store, machine = self.mail.store(lane, env, on_stale=self.on_stale), self.machine_of(node.clock).name
        identity = Identity(
            cluster=CLUSTER, name=node.name, incarnation=node.incarnation, pid=node.number, machine=machine
        )
        worker = Worker(
            env=env,
            store=store,
            backends=backends,
            catalogue=kinds_of(is_old=base in self._old),
            doorbell=self.bell,
            listener=self.bell.listener(process),
            identity=identity,
            terms=self.terms,
            gate=Gate(node.clock, node.page),
            link=link,
            limits=self.limits,
            fences=self._fences(node, process, env, store, backends),
            archives=None if base in self._old else self.safe.archives(process, env, self.faults),
            locks=self._locks(node, env, store, backends),
        )
        await self.mail.work(worker.run(), process, env, store, node.page)

    def _locks(self, node: Node, env: Env, store: Store, backends: Iterable[str]) -> Mapping[str, LockSpace]:
        """One space for all backends, as where drivers share what they lock."""
        if not self.locks_drivers:
            return {}
        space = DatabaseLocks(env, store, self.bell, incarnation=node.incarnation, scope=CLUSTER, calls=set())
        return dict.fromkeys(backends, space)

    def _fences(self, node: Node, process: Process, env: Env, store: Store, backends: Mapping[str, Backend]) -> Fences:
        boot = Boot(
            machine=self.machine_of(node.clock).name,
            boot_id=node.boot_id,
            clock=env.clock,
            terms=self.terms,
            read=lambda: store.read(membership.read_nodes, cluster=CLUSTER),
        )
        return open_fences(
            self.fence,
            backends,
            processes=env.processes,
            clock=env.clock,
            faults=self.faults,
            me=process,
            boot=boot if self._reboots else None,
        )

    def _backend(self, name: str, env: Env, node: Node, process: Process) -> Backend:
        client = Client(node.client, name, process, self.refusals, self.faults)
        driver = open_driver(self.fence, env, name=name, client=client, array=self.arrays.get(name))
        driver = LockingDriver(driver) if self.locks_drivers else driver
        return Backend(name=name, queue=queue_of(name), driver=driver, slots=self.slots, availability_zone="nova")

    def _refused(self, backend: str, client: str) -> None:
        for node in self.nodes.values():
            if node.client == client:
                text = f"the storage of {backend} refuses {node.incarnation}"
                self.tell(text, kind="refused", incarnation=node.incarnation)

    # --- what nobody in the cluster can know: `rules.World` -----------------------------------------------------------

    def still_writes(self, incarnation: str, backends: Iterable[str] = ()) -> str | None:
        """See `rules.World`."""
        node = self.nodes.get(incarnation)
        if node is None or not node.used_storage or node.worker is None:
            return None
        if self.machine_of(node.clock).boot_id != node.boot_id:
            return None
        asked = backends or self.served_by(_base(node.name))
        if all(self.refusals.refuses(backend, node.client) for backend in asked):
            return None
        over_s = (node.clock.boottime() - node.page.until) / node.clock.rate
        if self.fence == "trust" and over_s >= TRUST_SETTLE_S / (1 + self.terms.drift):
            return None
        if node.worker.alive:
            return f"{node.worker.name} runs"
        if self.locks.calls_under_way(node.lock_path):
            return f"a storage call of {node.worker.name} is under way"
        return None

    def holds_lease(self, incarnation: str) -> bool:
        """See `rules.World`."""
        node = self.nodes.get(incarnation)
        return node is not None and node.clock.boottime() < node.page.until + GATE_MARGIN * self.terms.ttl_s

    def _gate_is_open(self, incarnation: str) -> bool:
        """Whether its worker may still begin storage calls: the gate shuts some time before the lease ends."""
        node = self.nodes.get(incarnation)
        return node is not None and node.clock.boottime() < node.page.until

    def is_healthy(self, incarnation: str) -> bool:
        """See `rules.World`."""
        node = self.nodes.get(incarnation)
        if node is None or not node.keeper.alive or node.page.until == float("-inf"):
            return False
        return max(node.keeper.stopped_until, node.keeper.impeded_until) < self.loop.time() - HEALTHY * self.terms.ttl_s
