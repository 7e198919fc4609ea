"""The processes of a run: workers that change rows, writers that keep the databases busy, and Breezeblock's nodes."""

import asyncio
import contextlib
import itertools
import multiprocessing
import os
import signal
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection as Pipe
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from typing import Any, Final, Self

import msgspec

from breezeblock.doorbells.contract import Doorbell
from breezeblock.doorbells.local import DatagramBell
from breezeblock.doorbells.silent import SilentBell
from breezeblock.doorbells.tally import Rings
from breezeblock.env.contract import Env
from breezeblock.env.real import real_env
from breezeblock.model.errors import Unavailable
from breezeblock.model.ids import MessageId, OperationId, ProjectId, UserId
from breezeblock.model.origin import Origin
from breezeblock.processes.parent import die_with_parent
from breezeblock.store.run import Store

from .meter import NODE, WORKER, Meter
from .nodes import CountingLane, Ended, bell_folder, open_store, run_node
from .plan import PATIENCE_S, PAUSE_S, Change, Order, Round
from .queued import QUEUE, ChangeRow, begin_change
from .sites import Checker, Site, connect
from .solutions import QUEUED, Solution, open_solution

# Nothing of ours runs in the parent but this, so children may be forked, which costs little memory.
_FORK: Final = multiprocessing.get_context("fork")
NODES: Final = 3
WARM: Final = "warm"
# Each of the source's synthetic writers.
UPDATES_PER_S: Final = 5
SELECTS_PER_S: Final = 10


class RunFailed(Exception):
    """A process of the run ended by an error. Says which."""


# --- workers --------------------------------------------------------------------------------------------------------


class Crowd:
    """Worker processes that stay for the whole run; each order goes to the first so many."""

    def __init__(self, at: Site, size: int) -> None:
        self._workers = [_Child(_work, at, number) for number in range(size)]

    def run(self, orders: Sequence[Order], meter: Meter, more_retries: Callable[[], int] = lambda: 0) -> Round:
        """One order for each worker; all begin at the same instant. `more_retries`: those of processes that are no workers."""
        chosen = self._workers[: len(orders)]
        for worker, order in zip(chosen, orders, strict=True):
            worker.pipe.send(order)
        for worker in chosen:
            worker.receive()  # it is connected
        retries = more_retries()
        meter.watch([worker.pid for worker in chosen], WORKER)
        used, start = meter.read(), time.monotonic() + 0.2
        for worker in chosen:
            worker.pipe.send(start)
        changes: list[Change] = []
        waiting = {worker.pipe: worker for worker in chosen}
        while waiting:
            for pipe in wait(list(waiting)):
                changes += waiting.pop(pipe).receive()  # type: ignore[call-overload]
        return Round(changes, meter.read() - used, more_retries() - retries)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        for worker in self._workers:
            worker.end()


class _Child:
    """A process of ours at the other end of a pipe."""

    def __init__(self, work: Any, *args: Any, **kwargs: Any) -> None:
        self.pipe, other = _FORK.Pipe()
        self._process: BaseProcess = _FORK.Process(
            target=_run, args=(os.getpid(), work, other, args, kwargs), daemon=True
        )
        self._process.start()
        other.close()

    def receive(self) -> Any:
        """What it sends. Raises RunFailed when that is an error, or the process is gone."""
        try:
            said = self.pipe.recv()
        except EOFError:
            raise RunFailed(f"{self._process.name} is gone") from None
        if isinstance(said, RunFailed):
            raise said
        return said

    @property
    def pid(self) -> int:
        return self._process.pid or 0

    def end(self) -> None:
        self._process.terminate()
        self._process.join()


def _run(parent_pid: int, work: Any, pipe: Pipe, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    die_with_parent(parent_pid)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends us
    try:
        work(*args, pipe=pipe, **kwargs)
    except Exception:
        # The parent tells it: a traceback among those of two hundred others would be lost.
        pipe.send(RunFailed(traceback.format_exc()))
        raise


def _work(at: Site, number: int, *, pipe: Pipe) -> None:
    checker = Checker(at.nodes)
    while True:
        order: Order = pipe.recv()
        if order.solution.startswith(QUEUED):
            pipe.send(asyncio.run(_queued(at, number, order, pipe)))
            continue
        solution = open_solution(order.solution, at, member=f"worker-{number}-{order.first}")
        solution.acquire(order.own_row_id, WARM)
        checker.failure(order.own_row_id, WARM)
        solution.release(order.own_row_id, WARM)
        _wait_for_start(pipe)
        pipe.send([_change(solution, checker, order, number, at_) for at_ in range(order.changes)])
        solution.close()


def _wait_for_start(pipe: Pipe) -> None:
    pipe.send("ready")
    time.sleep(max(0.0, pipe.recv() - time.monotonic()))


def _change(solution: Solution, checker: Checker, order: Order, number: int, position: int) -> Change:
    """One change from available to deleting and back."""
    mark, before = f"{number}-{order.first + position}", solution.retries
    time.sleep(PAUSE_S)
    wanted = time.monotonic()
    solution.acquire(order.row_id, mark)
    acquired = time.monotonic()
    failure = checker.failure(order.row_id, mark)
    time.sleep(order.work_s)
    releasing = time.monotonic()
    solution.release(order.row_id, mark)
    released = time.monotonic()
    retries = solution.retries - before
    return Change(order.row, number, wanted, acquired, acquired, acquired, releasing, released, retries, failure)


# --- workers that ask Breezeblock --------------------------------------------------------------------------------------


async def _queued(at: Site, number: int, order: Order, pipe: Pipe) -> list[Change]:
    """Be an API process whose one client waits until each operation is over."""
    env = real_env()
    store, counting, pooled = open_store(at, env, connections=1)
    bell: Doorbell = DatagramBell(bell_folder(at), Rings()) if order.solution == QUEUED else SilentBell()
    address = at.folder / f"worker-{number}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as answers:
        answers.bind(str(address))
        answers.setblocking(False)
        client = _Client(number, store, counting, env, bell, answers, str(address))
        await client.change(order.own_row_id, WARM, order)
        _wait_for_start(pipe)
        changes: list[Change] = []
        for position in range(order.changes):
            await asyncio.sleep(PAUSE_S)
            mark = f"{number}-{order.first + position}"
            changes.append(await client.change(order.row_id, mark, order))
    address.unlink()
    pooled.close()
    return changes


@dataclass(frozen=True, slots=True)
class _Client:
    """Who asks for changes, and hears of their end."""

    number: int
    store: Store
    counting: CountingLane
    env: Env
    bell: Doorbell
    answers: socket.socket
    address: str

    async def change(self, row_id: str, mark: str, order: Order) -> Change:
        """One change from available to deleting and back."""
        before, wanted = self.counting.retries, time.monotonic()
        taken = await self._ask(ChangeRow(volume_id=row_id, mark=mark, work_s=order.work_s, answer_to=self.address))
        accepted = time.monotonic()
        if taken:
            self.bell.ring(
                QUEUE
            )  # else there is nothing to run yet: the node that ends what is before it looks by itself
        told = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(self.answers, 65_536), PATIENCE_S)
        ended = msgspec.json.decode(told, type=Ended)
        assert ended.mark == mark, f"{ended.mark} instead of {mark}"
        return Change(
            row=order.row,
            worker=self.number,
            wanted=wanted,
            acquired=accepted if taken else ended.acquired,
            accepted=accepted,
            working=ended.working,
            releasing=ended.releasing,
            released=ended.released,
            retries=self.counting.retries - before,
            failure=ended.failure,
        )

    async def _ask(self, change: ChangeRow) -> bool:
        """The request, repeated when it is refused because the database is too busy (503)."""
        while True:
            origin = _origin(self.env.ids.uuid(), self.env.clock.now_us())
            with contextlib.suppress(Unavailable):
                return await self.store.run(begin_change, origin=origin, change=change)


def _origin(id_: str, now_us: int) -> Origin:
    return Origin(
        project_id=ProjectId("races"),
        user_id=UserId("races"),
        is_admin=False,
        request_id=f"req-{id_}",
        at_us=now_us,
        operation_id=OperationId(id_),
        message_id=MessageId(id_),
    )


# --- nodes and writers ------------------------------------------------------------------------------------------------


class Nodes:
    """Breezeblock's nodes, while it has its turn."""

    def __init__(self, children: Sequence[_Child]) -> None:
        self._children = children

    @property
    def pids(self) -> list[int]:
        return [child.pid for child in self._children]

    def retries(self) -> int:
        """How many transactions they have run again since they began."""
        for child in self._children:
            child.pipe.send("count")
        return sum(child.receive() for child in self._children)


@contextmanager
def nodes(at: Site, meter: Meter, *, doorbell: bool) -> Iterator[Nodes]:
    """Start them, and drain them at the end."""
    children = [_Child(_be_node, at, f"node{number}", doorbell=doorbell) for number in range(NODES)]
    try:
        for child in children:
            child.receive()
        working = Nodes(children)
        meter.watch(working.pids, NODE)
        yield working
        for child in children:
            child.pipe.send("end")
        for child in children:
            child.receive()
    finally:
        for child in children:
            child.end()


def _be_node(at: Site, name: str, *, doorbell: bool, pipe: Pipe) -> None:
    run_node(at, name, pipe, doorbell=doorbell)


@contextmanager
def writers(at: Site, row_ids: Sequence[str]) -> Iterator[Callable[[], int]]:
    """The synthetic load: each writer has a row of its own, in a thread of one process. Yields what counts their statements."""
    written = _FORK.RawArray("L", len(row_ids))
    child = _Child(_write_all, at, list(row_ids), written)
    try:
        child.receive()
        yield lambda: sum(written)
        assert not child.pipe.poll(), child.receive()
    finally:
        child.end()


def _write_all(at: Site, row_ids: Sequence[str], written: Any, *, pipe: Pipe) -> None:
    host, _, port = at.url.rpartition("/")[0].rpartition("@")[2].partition(":")
    connections = [connect((host, int(port)), wait=False) for _ in row_ids]
    failed = threading.Event()
    for place, (row_id, connection) in enumerate(zip(row_ids, connections, strict=True)):
        threading.Thread(target=_write, args=(connection, row_id, written, place, failed), daemon=True).start()
    pipe.send("ready")
    failed.wait()
    raise RunFailed("a writer has ended")


def _write(connection: Any, row_id: str, written: Any, place: int, failed: threading.Event) -> None:
    """Selects and updates in turn, so many of each in a second when nothing holds them up. `written[place]` counts them."""
    every_s = 1.0 / (UPDATES_PER_S + SELECTS_PER_S)
    try:
        with connection.cursor() as cursor:
            for number in itertools.count(place):  # not all update at the same time
                time.sleep(every_s)
                if number % (UPDATES_PER_S + SELECTS_PER_S) < SELECTS_PER_S:
                    cursor.execute("SELECT status, name FROM volumes WHERE id = %s", (row_id,))
                    cursor.fetchall()
                else:
                    cursor.execute("UPDATE volumes SET name = %s WHERE id = %s", (f"w{number}", row_id))
                written[place] += 1
    finally:
        failed.set()
