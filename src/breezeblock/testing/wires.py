"""Nodes as their processes know them, and what connects these: line and page between keeper and worker, and the doorbell."""

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import Context
from dataclasses import dataclass
from random import Random

from breezeblock.model.ids import Incarnation
from breezeblock.testing.faults import Faults
from breezeblock.testing.loop import PROCESS, Process, VirtualLoop
from breezeblock.testing.virtual import VirtualClock

__all__ = ["Bell", "Link", "Node", "Page", "WorkerHandle", "context_of"]


def context_of(process: Process) -> Context:
    """A context whose tasks belong to the process."""
    context = Context()
    context.run(PROCESS.set, process)
    return context


class Page:
    """The page of memory that keeper and worker share: implements `gate.Deadline` and `keeper.Publish`."""

    def __init__(self) -> None:
        self.until = float("-inf")
        self.lapses = 0

    def publish(self, *, until: float, lapses: int) -> None:
        """See `node.keeper.Publish`."""
        self.lapses = lapses
        self.until = until


@dataclass
class Node:
    """One incarnation of a node, as its keeper and its worker know it."""

    name: str
    number: int
    clock: VirtualClock
    incarnation: Incarnation
    lock_path: str
    client: str
    """What storage knows its worker by."""
    boot_id: str
    page: Page
    keeper: Process
    worker: Process | None = None
    used_storage: bool = False


class Link:
    """One end of the line between a keeper and its worker: implements `node.link.Link`."""

    def __init__(self) -> None:
        self._words: list[str] = []
        self._closed = False
        self._waiting: asyncio.Future[None] | None = None
        self._other: Link

    @classmethod
    def pair(cls) -> tuple["Link", "Link"]:
        """Both ends."""
        ours, theirs = cls(), cls()
        ours._other, theirs._other = theirs, ours
        return ours, theirs

    def send(self, word: str) -> None:
        """See `node.link.Link`."""
        self._other._words.append(word)
        self._other._wake()

    async def receive(self) -> str | None:
        """See `node.link.Link`."""
        while not self._words and not self._closed:
            self._waiting = asyncio.get_running_loop().create_future()
            await self._waiting
        return self._words.pop(0) if self._words else None

    def close(self) -> None:
        """The process at the other end is gone."""
        self._closed = True
        self._wake()

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)


class WorkerHandle:
    """Implements `node.keeper.WorkerHandle`."""

    def __init__(self, process: Process, link: Link, calls_to_return: Callable[[], Awaitable[None]]) -> None:
        self._process = process
        self._link = link
        self._calls_to_return = calls_to_return
        self._gone = asyncio.get_running_loop().create_future()
        process.on_exit.append(self._exited)

    def send(self, word: str) -> None:
        """See `node.keeper.WorkerHandle`."""
        self._link.send(word)

    async def receive(self) -> str | None:
        """See `node.keeper.WorkerHandle`."""
        return await self._link.receive()

    def kill(self) -> None:
        """See `node.keeper.WorkerHandle`."""
        self._process.kill()

    async def wait(self) -> None:
        """See `node.keeper.WorkerHandle`."""
        await asyncio.shield(self._gone)
        await self._calls_to_return()  # a process inside a system call is not reaped before it returns

    def _exited(self) -> None:
        if not self._gone.done():
            self._gone.set_result(None)


class Bell:
    """The doorbell between processes. Without faults each listener hears each ring once, a moment later."""

    def __init__(self, loop: VirtualLoop, random: Random, faults: Faults) -> None:
        self._loop = loop
        self._random = random
        self._faults = faults
        self._listeners: list[tuple[Process, Callable[[], None]]] = []

    def ring(self, queue: str) -> None:
        """See `doorbells.contract.Doorbell`."""
        self._listeners = [heard for heard in self._listeners if heard[0].alive]
        for process, on_ring in self._listeners:
            for later_s in self._faults.rings(process, queue):
                moment_s = self._random.expovariate(1.0) * 0.002
                self._loop.call_later(later_s + moment_s, on_ring, context=context_of(process))

    def listener(self, process: Process) -> "Listener":
        """A worker's end."""
        return Listener(self, process)

    def add(self, process: Process, on_ring: Callable[[], None]) -> None:
        """Ring it from now on."""
        self._listeners.append((process, on_ring))


class Listener:
    """Implements `doorbells.contract.Listener`."""

    def __init__(self, bell: Bell, process: Process) -> None:
        self._bell = bell
        self._process = process

    def listen(self, on_ring: Callable[[], None]) -> None:
        """See `doorbells.contract.Listener`."""
        self._bell.add(self._process, on_ring)

    def is_connected(self) -> bool:
        """See `doorbells.contract.Listener`. What faults take from it, it does not know of."""
        return True

    def close(self) -> None:
        """The process ends anyway."""
