"""What all backups and restores of a process with one store share, and waiting for a store that is away."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

import structlog

from breezeblock.backup.contract import StoreUnavailable
from breezeblock.env.contract import Clock, Env

__all__ = ["Shares", "Turn", "patiently", "stop", "together"]

T = TypeVar("T")

log = structlog.get_logger(__name__)

FIRST_PAUSE_S: Final = 0.5
LONGEST_PAUSE_S: Final = 60.0
# Two keep two cores and four uploads busy. With eight backups at a time a process was measured at 230 to 250 MiB, of 300.
AT_ONCE: Final = 2


class Shares:
    """Turns and bandwidth for the backups of one process into one store, and turns for what it reads of that.

    Not of several: those that wait for a store which is away keep their turns.

    `bytes_per_s` bounds what is read from volumes, which bounds what is uploaded. Everybody asks for a few MiB at a time
    and is served in the order of asking, so backups that run side by side get the same.
    """

    def __init__(self, clock: Clock, *, bytes_per_s: int | None = None, at_once: int = AT_ONCE) -> None:
        self._clock = clock
        self._bytes_per_s = bytes_per_s
        self._turns = asyncio.Semaphore(at_once)
        self._running = 0
        self._waiting = 0
        self._free_at = 0.0

    @property
    def running(self) -> int:
        """How many have a turn now."""
        return self._running

    @property
    def waiting(self) -> int:
        """How many wait for one."""
        return self._waiting

    @asynccontextmanager
    async def turn(self) -> AsyncIterator["Turn"]:
        """Wait for the right to use memory, first come, first served: backups take turns by the segment.

        Who has one never waits for a second, so everybody's comes.
        """
        turn = Turn(self)
        await turn.take()
        try:
            yield turn
        finally:
            turn.give_up()

    async def spend(self, size: int) -> None:
        """Return when so many bytes may be read."""
        if self._bytes_per_s is None:
            return
        now = self._clock.boottime()
        begin = max(now, self._free_at)
        self._free_at = begin + size / self._bytes_per_s
        if begin > now:
            await self._clock.sleep(begin - now)


class Turn:
    """One right to use memory, while it is held."""

    def __init__(self, shares: Shares) -> None:
        self._shares = shares
        self._held = False

    async def take(self) -> None:
        """Return when it is ours."""
        shares = self._shares
        shares._waiting += 1
        try:
            await shares._turns.acquire()
        finally:
            shares._waiting -= 1
        self._held = True
        shares._running += 1

    def give_up(self) -> None:
        """Let it be somebody else's. Twice is once: whoever was cancelled while it waited for the next one has none."""
        if self._held:
            self._held = False
            self._shares._running -= 1
            self._shares._turns.release()

    async def pass_on(self) -> None:
        """Go behind all who wait. The caller uses no memory worth a word meanwhile."""
        self.give_up()
        await self.take()


async def patiently(env: Env, call: Callable[[], Awaitable[T]], *, patience_s: float) -> T:
    """What `call` returns, asked again while the store is away. After `patience_s` of that its error passes."""
    began, pause = env.clock.boottime(), FIRST_PAUSE_S
    while True:
        try:
            return await call()
        except StoreUnavailable as error:
            if env.clock.boottime() - began >= patience_s:
                raise
            log.warning("store.unavailable", error=str(error), pause_s=pause)
        await env.clock.sleep(env.random.uniform(pause / 2, pause))
        pause = min(pause * 2, LONGEST_PAUSE_S)


async def together(jobs: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """The results of all, in order. The first error ends the others, and passes as it is when they have ended."""
    tasks = [asyncio.create_task(job) for job in jobs]
    try:
        return await asyncio.gather(*tasks)
    finally:
        await stop(tasks)


async def stop(tasks: Iterable["asyncio.Task[Any]"]) -> None:
    """End tasks and wait for their end. What they raise interests nobody any more."""
    left = list(tasks)
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
