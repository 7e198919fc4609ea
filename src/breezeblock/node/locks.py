"""What `ctx.lock` is: the guard of one operation together with the locks of its backend.

A lock's holder is one operation under one claim of one incarnation. It excludes others; it does not protect data alone,
which is what tokens and fences are for: whoever keeps the locks may count a holder as dead that is not.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import Any, Final, Protocol

import structlog

from breezeblock.env.contract import Clock
from breezeblock.model.errors import BackendFailed, Fenced
from breezeblock.node.gate import OperationGuard
from breezeblock.protocol.queue import Claim

__all__ = ["Holds", "Lines", "LockSpace", "Names", "OperationContext", "always", "ring_or_timeout"]

log = structlog.get_logger(__name__)

# A call that wants more has mistaken locks for something else.
NAMES_MOST: Final = 256
# How often one who waits in a line of this process looks whether it still has to.
LOOK_EVERY_S: Final = 0.5

Names = frozenset[str]
Holds = Callable[[], bool]
"""Whether a lock is still held for certain. Asked right before each effect, in the thread that makes it: it must not block."""


def always() -> bool:
    """For locks that nobody can take away from a living process."""
    return True


class LockSpace(Protocol):
    """The locks of one backend, in the scope that its configuration has chosen."""

    def hold(
        self, names: Names, *, shared: bool, claim: Claim, check: Callable[[], None]
    ) -> AbstractAsyncContextManager[Holds]:
        """Hold all of these names. `check` is called while waiting, and raises Fenced when there is no use in it any more."""
        ...

    async def sweep(self) -> None:
        """Remove what no call here has any more. Called now and then."""
        ...

    def wake(self) -> None:
        """Somebody rang: what is waited for may be free."""
        ...


class OperationContext:
    """Implements `drivers.contract.Context` for one claim."""

    def __init__(self, guard: OperationGuard, claim: Claim, space: LockSpace | None) -> None:
        self._guard = guard
        self._claim = claim
        self._space = space
        self._held: list[Holds] = []
        self._inside: set[asyncio.Task[Any] | None] = set()

    async def wait_open(self) -> None:
        """See `env.contract.Guard`."""
        self._require_held()
        await self._guard.wait_open()

    @contextmanager
    def enter(self) -> Iterator[bool]:
        """See `env.contract.Guard`. No call is allowed once a lock was lost, whatever it was to protect."""
        with self._guard.enter() as may:
            yield may and self._holds_all()

    def tokens(self) -> dict[str, tuple[int, int]]:
        """See `env.contract.Guard`."""
        return self._guard.tokens()

    @asynccontextmanager
    async def lock(self, *names: str, shared: bool = False) -> AsyncIterator[None]:
        """See `drivers.contract.Context`."""
        assert 0 < len(names) <= NAMES_MOST, f"a lock has at least one name, and at most {NAMES_MOST}"
        assert self._space is not None, "this backend was opened without locks"
        task = asyncio.current_task()
        assert task not in self._inside, "a lock within a lock: take all names in one call"
        self._inside.add(task)
        wanted = frozenset(names)
        try:
            async with self._space.hold(
                wanted, shared=shared, claim=self._claim, check=self._guard.require_current
            ) as holds:
                self._held.append(holds)
                try:
                    # It may have been long: the lease first, as before any call to the storage.
                    await self.wait_open()
                    yield
                    self._require_held()
                except BackendFailed:
                    # What failed after the lock was lost says nothing about the work, as after a lost lease.
                    self._require_held()
                    raise
                finally:
                    self._held.remove(holds)
        finally:
            self._inside.discard(task)

    def _holds_all(self) -> bool:
        return all(holds() for holds in tuple(self._held))

    def _require_held(self) -> None:
        """Raise Fenced when a lock was lost.

        The claim is given up, not the operation: its node finds that it is marked ours and does not run, and takes it up
        again under a higher epoch, which late effects of this one cannot hit.
        """
        if not self._holds_all():
            self._guard.revoke()
            log.warning("operation.lock_lost")
            raise Fenced("a driver's lock was lost")


class Lines:
    """First come, first served among the tasks of one process: all names of a call at once, shared or not."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._places: list[_Place] = []

    @asynccontextmanager
    async def stand(self, names: Names, *, shared: bool, check: Callable[[], None]) -> AsyncIterator[None]:
        """Wait until nobody conflicting is before us, and be before those who come later for as long as this lasts."""
        place = _Place(names, shared)
        self._places.append(place)
        try:
            self._grant()
            while not place.granted.is_set():
                await ring_or_timeout(place.granted, self._clock, LOOK_EVERY_S)
                check()
            yield
        finally:
            self._places.remove(place)
            self._grant()

    def _grant(self) -> None:
        for number, place in enumerate(self._places):
            if not any(earlier.excludes(place) for earlier in self._places[:number]):
                place.granted.set()


class _Place:
    def __init__(self, names: Names, shared: bool) -> None:
        self.names = names
        self.shared = shared
        self.granted = asyncio.Event()

    def excludes(self, later: "_Place") -> bool:
        return not (self.shared and later.shared) and not self.names.isdisjoint(later.names)


async def ring_or_timeout(ring: asyncio.Event, clock: Clock, seconds: float) -> None:
    """Return when the bell rings, or after so long."""
    rung = asyncio.ensure_future(ring.wait())
    timer = asyncio.ensure_future(clock.sleep(seconds))
    try:
        await asyncio.wait((rung, timer), return_when=asyncio.FIRST_COMPLETED)
    finally:
        rung.cancel()
        timer.cancel()
