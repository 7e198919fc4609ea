"""The other environment: virtual time, seeded chance, a disk in memory, processes that are only simulated."""

import asyncio
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Final, TypeVar

from breezeblock.env import contract
from breezeblock.testing.loop import Process

__all__ = ["LockFiles", "VirtualClock", "VirtualEnv", "VirtualIds", "VirtualThreads"]

T = TypeVar("T")

# Some instant in microseconds since 1970 at which every simulation begins.
EPOCH_US: Final = 1_700_000_000_000_000


class VirtualClock:
    """One machine's clocks over the loop's time: `rate` says how fast they run, `skew_us` how wrong the wall clock is."""

    def __init__(self, *, rate: float = 1.0, skew_us: int = 0) -> None:
        self._rate = rate
        self._skew_us = skew_us

    def boottime(self) -> float:
        return asyncio.get_running_loop().time() * self._rate

    def now_us(self) -> int:
        return EPOCH_US + self._skew_us + int(self.boottime() * 1_000_000)

    async def sleep(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        timer = loop.call_later(max(0.0, seconds) / self._rate, _wake, done)
        try:
            await done
        finally:
            timer.cancel()


def _wake(done: "asyncio.Future[None]") -> None:
    if not done.done():
        done.set_result(None)


class VirtualIds:
    """UUIDs from the seed."""

    def __init__(self, random: Random) -> None:
        self._random = random

    def uuid(self) -> str:
        return str(uuid.UUID(int=self._random.getrandbits(128), version=4))


class VirtualThreads:
    """No threads: a blocking function runs at once."""

    async def run(self, f: Callable[[], T]) -> T:
        return f()


class LockFiles:
    """The lock files of one simulated machine: what is written in each, and which processes hold it."""

    def __init__(self) -> None:
        self._ids: dict[str, str] = {}
        self._holders: dict[str, list[Process]] = {}

    def is_held(self, path: str) -> bool:
        """Whether any living process holds the lock."""
        return any(process.alive for process in self._holders.get(path, ()))

    def read(self, path: str) -> str | None:
        """The id in the file."""
        return self._ids.get(path)

    def take(self, path: str, *, lock_id: str, holder: Process) -> None:
        """Take the exclusive lock, which nobody holds, and write our own id."""
        assert not self.is_held(path), f"the lock of {path} is held"
        self._ids[path] = lock_id
        self._holders[path] = [holder]

    def inherit(self, path: str, *, holder: Process) -> None:
        """A child holds what its parent holds."""
        self._holders[path].append(holder)

    async def kill_holders(self, lock_path: str, lock_id: str) -> bool:
        """See `env.contract.Processes`."""
        if self._ids.get(lock_path) != lock_id:
            return False
        for process in self._holders[lock_path]:
            process.kill()
        return True

    async def nobody_holds(self, lock_path: str, lock_id: str) -> bool:
        """See `env.contract.Processes`."""
        return self._ids.get(lock_path) == lock_id and not self.is_held(lock_path)


@dataclass(frozen=True, slots=True)
class VirtualEnv:
    """One simulated process's view of the world."""

    clock: contract.Clock
    random: contract.Random
    ids: contract.Ids
    files: contract.Files
    processes: contract.Processes
    threads: contract.Threads
