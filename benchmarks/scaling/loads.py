"""How much one database bears: several processes at once, each without a pause, and what that costs the server."""

import asyncio
import contextlib
import multiprocessing
import random
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection as Pipe
from typing import Any, Final

from breezeblock.model.errors import Contended, Unavailable
from breezeblock.protocol.queue import NothingWon

from .acts import Client, Member, World, world
from .plan import CLUSTERS, Plan
from .sites import Site

PROCESSES: Final = 2
TASKS: Final = 4
Report = tuple[int, list[float], int]
"""How many were done, milliseconds of each turn, how often somebody else was faster."""


@dataclass(frozen=True, slots=True)
class Load:
    """What one kind of load came to."""

    per_second: float
    p50_ms: float
    p99_ms: float
    server_ms: float
    """The server's processor time for each; of SQLite, which has no server, that of its clients."""
    lost: int


@dataclass(frozen=True, slots=True)
class Order:
    """What one process has to do. With `every_s` each task waits for its next turn; else it takes it at once."""

    kind: str
    url: str
    part: int
    size: int
    nodes: int
    seconds: float
    every_s: float = 0.0


async def _heartbeat(member: Member, client: Client) -> int:
    await member.renew()
    return 1


async def _member(member: Member, client: Client) -> int:
    """What a node that has nothing to do does with default settings in each second."""
    await member.renew()
    await member.observe()
    await member.look()
    return 1


async def _operation(member: Member, client: Client) -> int:
    """All that a look found is claimed and ended."""
    wanted = await member.look()
    if not wanted:
        return 0
    claims = await member.claim(wanted)
    for claim in claims:
        await member.finish(claim)
    return len(claims)


async def _create(member: Member, client: Client) -> int:
    await client.create()
    return 1


TURNS: Final[dict[str, Callable[[Member, Client], Awaitable[int]]]] = {
    "heartbeats": _heartbeat,
    "nodes": _member,
    "operations": _operation,
    "creates": _create,
}


def bear(at: Site, plan: Plan, kind: str, size: int) -> Load:
    """As much of it as goes."""
    with _crowd(at, plan, kind, size, plan.load_s) as crowd:
        before = at.cpu_s()
        found, own_s = crowd.finish()
        server_s = at.cpu_s() - before
    done = sum(one[0] for one in found)
    turns = sorted(value for one in found for value in one[1])
    assert done and turns, f"nothing came of {kind}"
    return Load(
        per_second=done / plan.load_s,
        p50_ms=turns[len(turns) // 2],
        p99_ms=turns[min(len(turns) - 1, int(len(turns) * 0.99))],
        server_ms=(server_s if at.server is not None else own_s) * 1000 / done,
        lost=sum(one[2] for one in found),
    )


@contextlib.contextmanager
def heartbeats(at: Site, plan: Plan, size: int) -> Iterator[Callable[[], float]]:
    """Nodes renew their leases for the length of a block. Gives a function that ends it: how many a second there were."""
    every_s = PROCESSES * TASKS / plan.beats_s
    with _crowd(at, plan, "heartbeats", size, 0.0, every_s=every_s) as crowd:
        began = time.monotonic()

        def end() -> float:
            lasted_s = time.monotonic() - began
            return sum(one[0] for one in crowd.finish()[0]) / lasted_s

        yield end


class _Crowd:
    """Processes that have begun."""

    def __init__(self, pipes: list["Pipe[Any, Any]"]) -> None:
        self._pipes = pipes

    def finish(self) -> tuple[list[Report], float]:
        """What each has done, and their processor time, when all have."""
        for pipe in self._pipes:
            pipe.send(None)
        found = [pipe.recv() for pipe in self._pipes]
        return [one[0] for one in found], sum(one[1] for one in found)


@contextlib.contextmanager
def _crowd(at: Site, plan: Plan, kind: str, size: int, seconds: float, *, every_s: float = 0.0) -> Iterator[_Crowd]:
    context = multiprocessing.get_context("spawn")
    pipes, processes = [], []
    for part in range(PROCESSES):
        ours, theirs = context.Pipe()
        order = Order(kind, at.url, part, size, plan.nodes, seconds, every_s)
        process = context.Process(target=run, args=(order, theirs))
        process.start()
        theirs.close()
        pipes.append(ours)
        processes.append(process)
    try:
        for pipe in pipes:
            assert pipe.recv() == "ready"
        for pipe in pipes:
            pipe.send("go")
        yield _Crowd(pipes)
        for process in processes:
            process.join(timeout=60)
    finally:
        for process in processes:
            if process.is_alive():
                process.kill()
                process.join()


def run(order: Order, pipe: "Pipe[Any, Any]") -> None:
    """A process of its own."""
    with tempfile.TemporaryDirectory(prefix="bb-scale-") as folder:
        asyncio.run(_run(order, pipe, folder))


async def _run(order: Order, pipe: "Pipe[Any, Any]", folder: str) -> None:
    with world(order.url, folder, connections=TASKS) as at:
        tasks = [_Task(at, order, number) for number in range(TASKS)]
        for task in tasks:
            await task.warm()
        pipe.send("ready")
        pipe.recv()
        began, until = time.process_time(), time.monotonic() + order.seconds
        stopped = asyncio.Event()
        if not order.seconds:
            asyncio.get_running_loop().add_reader(pipe.fileno(), stopped.set)
        working = [asyncio.ensure_future(task.work(lambda: _goes_on(order, until, stopped))) for task in tasks]
        await asyncio.gather(*working)
        used_s = time.process_time() - began
        if order.seconds:
            pipe.recv()
        report = (
            sum(task.done for task in tasks),
            [value for task in tasks for value in task.turns],
            sum(task.lost for task in tasks),
        )
        pipe.send((report, used_s))


def _goes_on(order: Order, until: float, stopped: asyncio.Event) -> bool:
    return time.monotonic() < until if order.seconds else not stopped.is_set()


class _Task:
    """One client, or one node after another, on connections of its own."""

    def __init__(self, at: World, order: Order, number: int) -> None:
        self.done = 0
        self.lost = 0
        self.turns: list[float] = []
        self._order = order
        self._random = random.Random(f"{order.kind} {order.part} {number}")
        self._number = order.part * TASKS + number
        self._client = Client(at, order.size, seed=f"{order.kind} {order.part} {number}")
        self._member = Member(at, self._number)

    async def warm(self) -> None:
        """Connect, and have all statements built."""
        await TURNS[self._order.kind](self._member, self._client)

    async def work(self, goes_on: Callable[[], bool]) -> None:
        """Turn after turn."""
        turn, order = TURNS[self._order.kind], self._order
        due = time.monotonic()
        while goes_on():
            self._member.become(self._next_node())
            began = time.perf_counter()
            try:
                self.done += await turn(self._member, self._client)
                self.turns.append((time.perf_counter() - began) * 1000)
            except (NothingWon, Contended, Unavailable):  # a node or a client tries again
                self.lost += 1
            due += order.every_s
            if order.every_s:
                await asyncio.sleep(max(0.0, due - time.monotonic()))

    def _next_node(self) -> int:
        if self._order.kind == "operations":
            # Each takes from clusters of its own, else they would all want the same oldest ones.
            mine = range(self._number, CLUSTERS, PROCESSES * TASKS)
            return self._random.choice(mine)
        return self._random.randrange(self._order.nodes)


def note(text: str) -> None:
    """Progress, for whoever waits."""
    print(text, file=sys.stderr, flush=True)
