"""Locks kept by a service that tooz speaks to: Redis, etcd, files on a shared filesystem, and others.

All of them are exclusive here, whatever was asked for: not every service has shared ones, and exclusive is right for both.
Within a process it is first come, first served; among processes whoever finds a lock free has it.

**A lock that may be lost is lost.** Such a service lets a lock lapse when its holder was not heard of for a while, and the
holder cannot see it happen. So a lock counts as held only until nine tenths of that time have passed since the last heartbeat
that succeeded was sent; and no longer, whatever comes later, as soon as a heartbeat fails or the service says that somebody
else has it: it may have been restarted in between without its memory. Then the guard lets no effect of the operation
pass any more, and its claim is given up. That is no failed operation, for nothing is known of its work: its node
takes it up again under a higher epoch, which late effects of this one cannot hit, and repeats the step. The same is done when
the service does not confirm at the end that the lock was ours until then.

**A service that cannot be reached** pauses who wants a lock, as a database does, but not for ever: nobody promises that it
comes back. After a minute the operation fails with a sentence for the operator.

tooz cannot tell whether a lock of its drivers for MySQL and PostgreSQL is still held: take `locks = "database"` there.
"""

import asyncio
import functools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, TypeVar

import structlog

from breezeblock.env.contract import Clock, Env
from breezeblock.model.errors import BackendFailed, Fenced
from breezeblock.node.locks import Holds, Lines, Names
from breezeblock.protocol.driver_locks import key_of
from breezeblock.protocol.queue import Claim

if TYPE_CHECKING:
    from tooz.coordination import CoordinationDriver
    from tooz.locking import Lock

__all__ = ["ToozLocks"]

T = TypeVar("T")

log = structlog.get_logger(__name__)

PATIENCE_S: Final = 60.0
# Between two tries for a lock that another process has. Each try of some services costs them more than a look.
PAUSE_FIRST_S: Final = 0.05
PAUSE_MOST_S: Final = 1.0
# What is left of the time after which a silent holder loses its locks, when we stop counting on them: clocks differ a little.
MARGIN: Final = 0.1
BEATS_PER_TIMEOUT: Final = 3
# How often a service that wants no heartbeats is asked whether we still have what we hold.
LOOK_EVERY_S: Final = 5.0


class _ServiceFailed(Exception):
    """The service said something that we do not understand, or nothing."""


class _Session:
    """One coordinator. What it is asked is asked in threads; lost once, it is lost, and the next user begins a new one."""

    def __init__(self, coordinator: "CoordinationDriver", clock: Clock, timeout_s: float | None) -> None:
        self.coordinator = coordinator
        self.timeout_s = timeout_s
        self.held: dict[Lock, float] = {}
        """Each lock with when it was last certainly ours: before the call that said so was sent."""
        self.lost = False
        self.ended = False
        self.heart: asyncio.Task[None] | None = None
        self._clock = clock

    def holds(self) -> bool:
        """Whether all locks of this session are certainly held. They share one connection, and one fate."""
        if self.lost:
            return False
        if self.timeout_s is None:
            return True
        # Copied at once: heartbeats and effects look from different threads.
        renewed = min(tuple(self.held.values()), default=float("inf"))
        return self._clock.boottime() < renewed + self.timeout_s * (1 - MARGIN)

    def beat(self) -> None:
        """Renew all locks, and make sure of each. In a thread. Raises what the driver raises, or _ServiceFailed."""
        import tooz

        sent = self._clock.boottime()
        held = tuple(self.held)
        if self.timeout_s is not None:
            self.coordinator.heartbeat()  # of a lock that it could not renew it says nothing
        for lock in held:
            try:
                # Not one that was let go meanwhile: it is taken out of `held` before the service is told.
                if not lock.is_still_owner() and lock in self.held:
                    raise _ServiceFailed("the service does not have it as ours")
            except tooz.NotImplemented:
                pass  # then the time alone tells
        # One whose time was over before this was sent is not ours any more, even if the service took the renewal.
        if not self.holds():
            raise _ServiceFailed("the heartbeat came too late")
        for lock in held:
            if lock in self.held:
                self.held[lock] = sent


class ToozLocks:
    """Implements `LockSpace` in one scope of one service."""

    def __init__(self, env: Env, *, url: str, backend: str, scope: str, member: str) -> None:
        self._env = env
        self._url = url
        self._backend = backend
        self._scope = scope
        self._member = member
        self._lines = Lines(env.clock)
        self._session: _Session | None = None
        self._starting = asyncio.Lock()
        self._stopping: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def hold(
        self, names: Names, *, shared: bool, claim: Claim, check: Callable[[], None]
    ) -> AsyncIterator[Holds]:
        """See `LockSpace`."""
        keys = frozenset(key_of(self._scope, claim.target, name) for name in names)
        async with self._lines.stand(keys, shared=False, check=check):
            session = await self._patiently(self._open, check)
            taken: list[Lock] = []
            ours = False
            try:
                # One order in all processes: nobody waits for a lock while it holds one that the other needs first.
                for key in sorted(keys):
                    await self._take(session, f"breezeblock-{key}".encode(), taken, check)
                yield session.holds
            finally:
                ours = await self._release(session, taken)
            if not ours:
                raise Fenced("a driver's lock was lost before it was let go")

    async def sweep(self) -> None:
        """See `LockSpace`: what a process does not renew lapses."""

    def wake(self) -> None:
        """See `LockSpace`: nobody rings for these."""

    # --- the service ------------------------------------------------------------------------------------------------

    async def _ask(self, f: Callable[[], T]) -> T:
        """Call a driver of tooz in a thread. They raise what they like: tooz's errors, and those of what they are made of."""

        def asked() -> T:
            try:
                return f()
            except Exception as error:
                raise _ServiceFailed(f"{type(error).__name__}: {error}") from error

        return await self._env.threads.run(asked)

    async def _patiently(self, ask: Callable[[], Awaitable[T]], check: Callable[[], None]) -> T:
        """The answer of a service that may be away for a while. Raises BackendFailed when it stays away."""
        give_up_at = self._env.clock.boottime() + PATIENCE_S
        pause_s = PAUSE_FIRST_S
        while True:
            try:
                return await ask()
            except _ServiceFailed as error:
                log.warning("lock.service_unreachable", backend=self._backend, reason=str(error))
                if self._env.clock.boottime() >= give_up_at:
                    text = f"The service that keeps the locks of backend {self._backend} cannot be reached."
                    raise BackendFailed(text, detail_id="locks_unreachable") from error
            await self._pause(pause_s)
            pause_s = min(pause_s * 2, PAUSE_MOST_S)
            check()

    async def _pause(self, most_s: float) -> None:
        await self._env.clock.sleep(self._env.random.uniform(most_s / 2, most_s))

    async def _open(self) -> _Session:
        """The session that is in use, or a new one."""
        async with self._starting:
            if self._session is None or self._session.lost:
                await self._ask(self._start)
            assert self._session is not None
            return self._session

    def _start(self) -> None:
        """In a thread. It is noted here, and not returned: a caller who is cancelled would not see it."""
        from tooz import coordination

        # A member id of its own for each session: what an earlier one left is not this one's.
        member = f"{self._member}-{self._env.ids.uuid()}".encode()
        coordinator = coordination.get_coordinator(self._url, member)
        coordinator.start()
        # Locks that have a heartbeat lapse without it; the others are held by a connection, or by the process.
        timed = hasattr(coordinator.get_lock(b"breezeblock"), "heartbeat")
        self._session = _Session(coordinator, self._env.clock, coordinator.heartbeat() if timed else None)

    # --- one lock ---------------------------------------------------------------------------------------------------

    async def _take(self, session: _Session, key: bytes, taken: "list[Lock]", check: Callable[[], None]) -> None:
        lock = await self._ask(lambda: session.coordinator.get_lock(key))
        pause_s = PAUSE_FIRST_S
        while not await self._patiently(lambda: self._ask(functools.partial(self._try, session, lock, taken)), check):
            self._require(session)
            await self._pause(pause_s)
            pause_s = min(pause_s * 2, PAUSE_MOST_S)
            check()
        self._require(session)
        if session.heart is None:
            session.heart = asyncio.ensure_future(self._beat(session))

    def _try(self, session: _Session, lock: "Lock", taken: "list[Lock]") -> bool:
        """In a thread. What is taken is noted here, and not returned: a caller who is cancelled would not see it."""
        sent = self._env.clock.boottime()
        got = lock.acquire(blocking=False)
        if got:
            taken.append(lock)
            session.held[lock] = sent
        return got

    @staticmethod
    def _require(session: _Session) -> None:
        """While we waited for one lock, those that we have already may have been lost."""
        if not session.holds():
            raise Fenced("a driver's lock was lost")

    async def _release(self, session: _Session, taken: "list[Lock]") -> bool:
        """Let go of the locks. Returns whether the service says that they were ours until now."""
        ours = session.holds()
        for lock in taken:
            session.held.pop(lock, None)
        if not session.held:
            self._rest(session)

        def let_go() -> bool:
            # All of them, whatever one says: what is left out would be renewed for as long as the session lives.
            answers = [lock.release() for lock in taken]
            return all(answers)

        done = (
            session.lost
        )  # then they lapse, or end with the session: a service that is away would keep us here for long
        try:
            ours = (not taken or done or await self._ask(let_go)) and ours
            done = True
        except _ServiceFailed as error:
            ours = False
            log.warning("lock.not_released", backend=self._backend, reason=str(error))
        finally:
            # Failed, or cancelled before a thread was free: nobody renews them any more, and in time they lapse.
            session.lost = session.lost or not done
            if session.lost and not session.held:
                self._end(session)
        return ours

    # --- one session ------------------------------------------------------------------------------------------------

    async def _beat(self, session: _Session) -> None:
        """Renew what is held, until nothing is held or all of it is lost."""
        every_s = LOOK_EVERY_S if session.timeout_s is None else session.timeout_s / BEATS_PER_TIMEOUT
        while not session.lost:
            await self._env.clock.sleep(every_s)
            try:
                await self._ask(session.beat)
            except _ServiceFailed as error:
                log.warning("lock.lost", backend=self._backend, reason=str(error))
                session.lost = True

    @staticmethod
    def _rest(session: _Session) -> None:
        """Without locks there is nothing to renew."""
        if session.heart is not None:
            session.heart.cancel()
            session.heart = None

    def _end(self, session: _Session) -> None:
        """End a lost session, when the last one who worked with it has stopped. Nobody waits for it."""
        if not session.ended:
            session.ended = True
            stopping = asyncio.ensure_future(self._stop(session))
            self._stopping.add(stopping)
            stopping.add_done_callback(self._stopping.discard)

    async def _stop(self, session: _Session) -> None:
        try:
            await self._ask(session.coordinator.stop)
        except _ServiceFailed as error:
            log.warning("lock.session_left", backend=self._backend, reason=str(error))
