"""Guards that misbehave on purpose, and a clock that a test turns. Every changing system call passes a guard, so a
guard is where a test can stop the world between any two of them."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, contextmanager

from breezeblock.env.contract import Guard

CRASHES_AT_MOST = 500


class Crash(BaseException):
    """The process died here. Not an Exception: nothing may handle it."""


class CrashAt:
    """Dies right before, or right after, the nth effect."""

    def __init__(self, nth: int, *, after: bool) -> None:
        self._left = nth
        self._after = after

    async def wait_open(self) -> None:
        return

    @contextmanager
    def enter(self) -> Iterator[bool]:
        self._left -= 1
        if self._left <= 0 and not self._after:
            raise Crash
        yield True
        if self._left <= 0:
            raise Crash

    def tokens(self) -> dict[str, tuple[int, int]]:
        return {}


class Meanwhile:
    """Right before the nth effect somebody else acts."""

    def __init__(self, nth: int, act: Callable[[], Awaitable[object]]) -> None:
        self._left = nth
        self._act = act

    async def wait_open(self) -> None:
        self._left -= 1
        if self._left == 0:
            await self._act()

    @contextmanager
    def enter(self) -> Iterator[bool]:
        yield True

    def tokens(self) -> dict[str, tuple[int, int]]:
        return {}


class ClosingGate:
    """Closes at the nth effect, at the worst moment: after `wait_open` said yes. Opens when the test says so."""

    def __init__(self, nth: int) -> None:
        self._left = nth
        self.is_open = True
        self.was_closed = asyncio.Event()
        self.effects = 0
        self._opened = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    async def wait_open(self) -> None:
        if not self.is_open:
            self.was_closed.set()
            await self._opened.wait()

    def open(self) -> None:
        self.is_open = True
        self._opened.set()

    @contextmanager
    def enter(self) -> Iterator[bool]:
        self._left -= 1
        if self._left == 0:
            self.is_open = False
        self.effects += self.is_open
        yield self.is_open

    def tokens(self) -> dict[str, tuple[int, int]]:
        return {}


class WithoutLocks:
    """A context for drivers that take no locks: the guard, and nothing to lock with."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard

    async def wait_open(self) -> None:
        await self._guard.wait_open()

    def enter(self) -> AbstractContextManager[bool]:
        return self._guard.enter()

    def tokens(self) -> dict[str, tuple[int, int]]:
        return self._guard.tokens()

    def lock(self, *names: str, shared: bool = False) -> AbstractAsyncContextManager[None]:
        raise AssertionError(f"asked for the locks {names}")


class FakeClock:
    """Time passes only while somebody sleeps, and by `tick` at each look."""

    def __init__(self, *, tick: float = 0.0) -> None:
        self._now = 1000.0
        self._tick = tick

    def boottime(self) -> float:
        self._now += self._tick
        return self._now

    def now_us(self) -> int:
        return int(self._now * 1_000_000)

    async def sleep(self, seconds: float) -> None:
        self._now += seconds


class Saved:
    """A progress that remembers, and raises `then` after the nth save when asked to."""

    def __init__(self, done_bytes: int = 0, *, nth: int = 0, then: BaseException | None = None) -> None:
        self.done_bytes = done_bytes
        self.saves: list[int] = []
        self._nth = nth
        self._then = then

    async def save(self, done_bytes: int) -> None:
        self.done_bytes = done_bytes
        self.saves.append(done_bytes)
        if self._then is not None and len(self.saves) == self._nth:
            raise self._then


async def until_it_does_not_crash(attempt: Callable[[int], Awaitable[None]]) -> int:
    """Call `attempt(n)` for n = 1, 2, … until one ends without a crash; returns that n. Each has n-1 effects."""
    for nth in range(1, CRASHES_AT_MOST):
        try:
            await attempt(nth)
        except Crash:
            continue
        return nth
    raise AssertionError("it never ends")
