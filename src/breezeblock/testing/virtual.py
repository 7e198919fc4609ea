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
LOOK_EVERY_S: Final = 0.01


class VirtualClock:
    """One machine's clocks over the loop's time: `rate` says how fast they run, `skew_us` how wrong the wall clock is."""

    def __init__(self, *, rate: float = 1.0, skew_us: int = 0) -> None:
        self.rate = rate
        self._skew_us = skew_us

    def boottime(self) -> float:
        return asyncio.get_running_loop().time() * self.rate

    def now_us(self) -> int:
        return EPOCH_US + self._skew_us + int(self.boottime() * 1_000_000)

    def jump(self, seconds: float) -> None:
        """Set the wall clock forwards, or backwards, as an administrator does. The boottime goes on as it was."""
        self._skew_us += int(seconds * 1_000_000)

    async def sleep(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        timer = loop.call_later(max(0.0, seconds) / self.rate, _wake, done)
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
        self._calls: dict[str, int] = {}

    def is_held(self, path: str) -> bool:
        """Whether any living process holds the lock, or a dead one is still inside a system call."""
        return self.calls_under_way(path) > 0 or any(process.alive for process in self._holders.get(path, ()))

    def calls_under_way(self, path: str) -> int:
        """How many system calls of its holders have not returned. Killing a process does not end those."""
        return self._calls.get(path, 0)

    def count_call(self, path: str, by: int) -> None:
        """A system call of a holder begins (1) or has returned (-1)."""
        self._calls[path] = self.calls_under_way(path) + by

    async def calls_to_return(self, path: str) -> None:
        """Return when none is under way."""
        while self.calls_under_way(path):
            await VirtualClock().sleep(LOOK_EVERY_S)

    def read(self, path: str) -> str | None:
        """The id in the file."""
        return self._ids.get(path)

    def take(self, path: str, *, lock_id: str, holder: Process) -> None:
        """Take the exclusive lock, which nobody holds, and write our own id."""
        assert not self.is_held(path), f"the lock of {path} is held"
        self._ids[path] = lock_id
        self._holders[path] = [holder]

    def forget(self, path: str) -> None:
        """The file is gone, as after a boot: so nobody can prove anything by it any more."""
        self._ids.pop(path, None)

    def inherit(self, path: str, *, holder: Process) -> None:
        """A child holds what its parent holds."""
        self._holders[path].append(holder)

    async def kill_holders(self, lock_path: str, lock_id: str) -> bool:
        """See `env.contract.Processes`."""
        if self._ids.get(lock_path) != lock_id:
            return False
        for process in self._holders[lock_path]:
            process.kill()
        await self.calls_to_return(lock_path)
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
