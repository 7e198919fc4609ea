"""A node that runs the operations: the real worker, with a catalogue of its own, and a heartbeat in the keeper's place.

Nobody kills nodes in these runs, so the gate is open and there are no fences; the worker claims, looks after the other nodes,
reports its pool and keeps house as it does in service.
"""

import asyncio
import os
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection as Pipe
from pathlib import PurePosixPath
from queue import SimpleQueue
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

import msgspec
from sqlalchemy import Connection

from breezeblock import logs
from breezeblock.doorbells.local import DatagramBell, DatagramListener
from breezeblock.doorbells.silent import SilentBell, SilentListener
from breezeblock.doorbells.tally import LISTENER, Rings
from breezeblock.drivers.file import FileDriver
from breezeblock.env.contract import Env
from breezeblock.env.real import real_env
from breezeblock.model.errors import Contended
from breezeblock.model.ids import Incarnation
from breezeblock.node import link as words
from breezeblock.node.backends import Backend
from breezeblock.node.gate import Gate
from breezeblock.node.identity import Identity, Limits
from breezeblock.node.lease_lanes import open_lane
from breezeblock.node.lease_table import LeaseTable, Registration
from breezeblock.node.worker import Worker
from breezeblock.protocol.leases import Terms
from breezeblock.protocol.queue import Claim
from breezeblock.protocol.steps import Operation, Run
from breezeblock.store.endpoints import Endpoints
from breezeblock.store.pooled import PooledLane
from breezeblock.store.run import Lane, Store
from breezeblock.store.servers import Session

from .queued import KIND, QUEUE, ChangeRow, fail_change, finish_change, take_next
from .sites import Checker, Site

P = ParamSpec("P")
T = TypeVar("T")

CLUSTER: Final = QUEUE.partition("@")[0]
# Long: nobody dies in these runs, and on a busy machine nobody must be taken for dead.
TTL_S: Final = 60.0
# The default number of slots, and of connections for writing.
SLOTS: Final = 16
CONNECTIONS: Final = 8


class Ended(msgspec.Struct, frozen=True):
    """What a node tells the worker whose request it was."""

    mark: str
    acquired: float
    """0 when the request itself had taken the row."""
    working: float
    releasing: float
    released: float
    failure: str


class CountingLane:
    """Implements `run.Lane`; counts the transactions that have to run again."""

    def __init__(self, lane: Lane) -> None:
        self.retries = 0
        self._lane = lane

    async def write(self, body: Callable[[Connection], T]) -> T:
        """See `run.Lane`."""
        try:
            return await self._lane.write(body)
        except Contended:
            self.retries += 1
            raise

    async def read(self, body: Callable[[Connection], T]) -> T:
        """See `run.Lane`."""
        return await self._lane.read(body)


def open_store(at: Site, env: Env, *, connections: int) -> tuple[Store, CountingLane, PooledLane]:
    """A store with a session as in service, through HAProxy."""
    pooled = PooledLane(Endpoints([at.url], Session(ttl_s=TTL_S, connections=connections)))
    counting = CountingLane(pooled)
    return Store(counting, env), counting, pooled


def bell_folder(at: Site) -> str:
    """Where the nodes listen."""
    return str(at.folder / "bells")


class _Telling(Store):
    """Notes when operations end, and tells whoever waits for that."""

    def __init__(self, lane: Lane, env: Env) -> None:
        super().__init__(lane, env)
        self.ending: dict[str, tuple[str, Ended]] = {}
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)

    async def insist(self, f: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """See `Store`. The Finish of an operation is the first transaction after its only step."""
        claim = args[0] if args else None
        ending = self.ending.pop(claim.operation_id, None) if isinstance(claim, Claim) else None
        began = time.monotonic()
        result = await super().insist(f, *args, **kwargs)
        if ending is not None:
            answer_to, ended = ending
            told = msgspec.structs.replace(ended, releasing=began, released=time.monotonic())
            self._socket.sendto(msgspec.json.encode(told), answer_to)
        return result


class _Step:
    """The one step of an operation: take the row if the request has not, look at it on every node, and work a while."""

    def __init__(self, at: Site, store: _Telling) -> None:
        self._store = store
        self._threads = ThreadPoolExecutor(SLOTS)
        # All are connected before the start, as those of the other ways are.
        self._checkers: SimpleQueue[Checker] = SimpleQueue()
        for _ in range(SLOTS):
            self._checkers.put(Checker(at.nodes))

    async def __call__(self, run: Run[ChangeRow, Any]) -> None:
        payload, acquired = run.payload, 0.0
        if not payload.taken:
            await run.write(take_next, volume_id=payload.volume_id, mark=payload.mark)
            acquired = time.monotonic()
        working = time.monotonic()
        failure = await asyncio.get_running_loop().run_in_executor(
            self._threads, self._failure, payload.volume_id, payload.mark
        )
        await asyncio.sleep(payload.work_s)
        ended = Ended(payload.mark, acquired, working, 0.0, 0.0, failure)
        self._store.ending[run.claim.operation_id] = (payload.answer_to, ended)

    def _failure(self, row_id: str, mark: str) -> str:
        checker = self._checkers.get_nowait()
        found = checker.failure(row_id, mark)
        self._checkers.put(checker)
        return found

    __name__ = KIND


class _Open:
    """A lease that is always held. Implements `gate.Deadline`."""

    until = float("inf")
    lapses = 0


class _Line:
    """The keeper's end, played by the run: it says `drain`. Implements `link.Link`."""

    def __init__(self) -> None:
        self.ready = asyncio.Event()
        self.says: asyncio.Queue[str] = asyncio.Queue()

    def send(self, word: str) -> None:
        """See `link.Link`."""
        if word == words.READY:
            self.ready.set()

    async def receive(self) -> str | None:
        """See `link.Link`."""
        return await self.says.get()


def run_node(at: Site, name: str, pipe: Pipe, *, doorbell: bool) -> None:
    """Be a node. Says that it is ready, then at each `count` how many transactions it has run again, and ends after `end`."""
    logs.configure("warning", "console")
    asyncio.run(_run(at, name, pipe, doorbell=doorbell))


async def _run(at: Site, name: str, pipe: Pipe, *, doorbell: bool) -> None:
    env, line = real_env(), _Line()
    _, counting, pooled = open_store(at, env, connections=CONNECTIONS)
    store = _Telling(counting, env)
    incarnation = Incarnation(env.ids.uuid())
    table = LeaseTable(open_lane([at.url], env.threads, ttl_s=TTL_S))
    await table.register(_registration(name, incarnation), now_us=env.clock.now_us())
    listener = DatagramListener(bell_folder(at), incarnation, Rings(end=LISTENER)) if doorbell else SilentListener()
    bell = DatagramBell(bell_folder(at), Rings()) if doorbell else SilentBell()
    step = _Step(at, store)
    await asyncio.gather(*(store.run(_connect) for _ in range(CONNECTIONS * 2)))
    await asyncio.gather(*(store.read(_connect) for _ in range(CONNECTIONS)))
    worker = Worker(
        env=env,
        store=store,
        backends={QUEUE: _backend(at, env, name)},
        catalogue={KIND: Operation(KIND, 1, ChangeRow, (step,), finish_change, fail_change)},
        doorbell=bell,
        listener=listener,
        identity=Identity(CLUSTER, name, incarnation, os.getpid()),
        terms=Terms(ttl_s=TTL_S, drift=0.01),
        gate=Gate(env.clock, _Open()),
        link=line,
        limits=Limits(),
        fences={},
    )
    work = asyncio.ensure_future(worker.run())
    heart = asyncio.ensure_future(_renew(table, incarnation, env))
    await line.ready.wait()
    pipe.send("ready")
    while await asyncio.get_running_loop().run_in_executor(None, pipe.recv) != "end":
        pipe.send(counting.retries)
    line.says.put_nowait(words.DRAIN)
    await work
    heart.cancel()
    await table.bury(incarnation, now_us=env.clock.now_us(), event_id=env.ids.uuid(), detail="the run of races is over")
    pipe.send("ended")
    pooled.close()
    listener.close()


def _connect(tx: Connection) -> None:
    """Nothing; a service that has run for a while has its connections open."""
    tx.exec_driver_sql("SELECT SLEEP(0.05)")  # so long that each of those that run at once gets a connection of its own


def _registration(name: str, incarnation: str) -> Registration:
    return Registration(
        incarnation=incarnation,
        name=name,
        cluster=CLUSTER,
        boot_id="races",
        version="races",
        lock_path="",
        lock_id="",
        keeper_pid=os.getpid(),
    )


async def _renew(table: LeaseTable, incarnation: str, env: Env) -> None:
    while True:
        await asyncio.sleep(TTL_S / 6)
        assert await table.renew(incarnation, now_us=env.clock.now_us()), "a node of this run was expired"


def _backend(at: Site, env: Env, name: str) -> Backend:
    folder = at.folder / "storage"
    driver = FileDriver(env.files, name="rows", path=PurePosixPath(folder), clock=env.clock, ids=env.ids)
    return Backend(name="rows", queue=QUEUE, driver=driver, slots=SLOTS, availability_zone="nova")
