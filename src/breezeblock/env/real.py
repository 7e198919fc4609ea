"""The real environment: this machine's clock, randomness, threads, files and processes.

The only place, with `files.py` and `processes.py` beside it, where the protocol touches them. Importing it is cheap:
the keeper is a tiny process, so asyncio and the thread pool are imported when the first caller needs them.
"""

import random
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from breezeblock.env.contract import Clock, Env, Files, Ids, Processes, Random, Threads
from breezeblock.env.files import RealFiles
from breezeblock.env.processes import RealProcesses

if TYPE_CHECKING:
    import asyncio
    from concurrent.futures import ThreadPoolExecutor

__all__ = ["RealClock", "RealEnv", "RealIds", "RealThreads", "real_env"]

T = TypeVar("T")

# Enough for the storage calls of all slots of a node; more threads would only queue in the kernel instead of here.
MAX_THREADS = 32
# Proofs of death are short and few.
MAX_PROOFS = 4


class RealClock:
    """This machine's clocks."""

    def boottime(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def now_us(self) -> int:
        return time.time_ns() // 1000

    def raw(self) -> float:
        """Seconds by the hardware's oscillator, which nobody corrects: what `boottime` is compared with."""
        return time.clock_gettime(time.CLOCK_MONOTONIC_RAW)

    def pause(self, seconds: float) -> None:
        """Sleep where no event loop runs: in a program that has nothing else to do."""
        time.sleep(seconds)

    async def sleep(self, seconds: float) -> None:
        """Let `seconds` of boottime pass.

        asyncio sleeps on CLOCK_MONOTONIC, which stands still during a suspend: then this returns late, never early.
        """
        import asyncio

        await asyncio.sleep(max(0.0, seconds))


class RealIds:
    """Random UUIDs from the operating system's randomness, which differ even in forked processes."""

    def uuid(self) -> str:
        return str(uuid.uuid4())


class RealThreads:
    """A bounded pool of threads, made when first used."""

    def __init__(self, *, max_threads: int = MAX_THREADS) -> None:
        self._max_threads = max_threads
        self._pool: ThreadPoolExecutor | None = None

    async def run(self, f: Callable[[], T]) -> T:
        """Run `f` beside the event loop and return what it returns.

        A caller that is cancelled meanwhile goes on only when `f` has ended, or is known never to begin. Otherwise the
        system call of a cancelled step would land in the middle of the steps that undo it.
        """
        import asyncio

        job = self._executor().submit(f)
        ended = asyncio.wrap_future(job)
        try:
            return await asyncio.shield(ended)
        except asyncio.CancelledError:
            job.cancel()  # only one that still waits for a thread can be called off
            await _wait_through_cancels(ended)
            raise

    def close(self) -> None:
        """Wait for what runs, and end the threads."""
        if self._pool is not None:
            self._pool.shutdown(wait=True)
            self._pool = None

    def _executor(self) -> "ThreadPoolExecutor":
        from concurrent.futures import ThreadPoolExecutor

        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._max_threads, thread_name_prefix="breezeblock")
        return self._pool


@dataclass(frozen=True, slots=True)
class RealEnv:
    """All of it together. `real_env` makes one."""

    clock: Clock
    random: Random
    ids: Ids
    files: Files
    processes: Processes
    threads: Threads


def real_env(*, max_threads: int = MAX_THREADS) -> Env:
    """The environment of this process.

    Files, processes and everything else have threads of their own: when storage hangs and takes all of its threads,
    this node can still prove others dead and reach its database.
    """
    clock = RealClock()
    return RealEnv(
        clock=clock,
        random=random.SystemRandom(),  # not a seeded generator: two forks of one process must not jitter alike
        ids=RealIds(),
        files=RealFiles(RealThreads(max_threads=max_threads)),
        processes=RealProcesses(RealThreads(max_threads=MAX_PROOFS), clock),
        threads=RealThreads(max_threads=max_threads),
    )


async def _wait_through_cancels(ended: "asyncio.Future[T]") -> None:
    import asyncio

    while not ended.done():
        try:
            await asyncio.wait([ended])
        except asyncio.CancelledError:
            continue  # the caller passes on the first one; nothing can hurry a system call
    if not ended.cancelled():
        ended.exception()  # nobody is left who wants it; looked at so that it is not reported as forgotten
