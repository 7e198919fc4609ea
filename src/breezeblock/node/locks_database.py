"""Locks in the database: over all nodes, first come, first served, for as long as the holder is certainly not dead.

See `protocol/driver_locks.py` for how the lines work. Nothing here remembers what is held: the rows say it. All that is
remembered is which calls are not over, so that rows of calls that are can be found and removed.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

import structlog

from breezeblock.doorbells.contract import Doorbell
from breezeblock.env.contract import Env
from breezeblock.model.ids import Incarnation
from breezeblock.node.locks import Holds, Names, always, ring_or_timeout
from breezeblock.protocol import driver_locks
from breezeblock.protocol.queue import Claim
from breezeblock.store.run import Store

__all__ = ["DatabaseLocks"]

log = structlog.get_logger(__name__)

# Between two looks at who is before us. A bell that rings comes first.
PAUSE_FIRST_S: Final = 0.01
PAUSE_EACH_S: Final = 0.1
PAUSE_MOST_S: Final = 1.0


class DatabaseLocks:
    """Implements `LockSpace`. `calls` is one set for all scopes of a worker: those of its calls that are not over."""

    def __init__(
        self, env: Env, store: Store, doorbell: Doorbell, *, incarnation: Incarnation, scope: str, calls: set[str]
    ) -> None:
        self._env = env
        self._store = store
        self._doorbell = doorbell
        self._me = incarnation
        self._scope = scope
        self._calls = calls
        # In the order in which they came: that of a set would be another one in each process.
        self._waiting: dict[asyncio.Event, None] = {}

    @asynccontextmanager
    async def hold(
        self, names: Names, *, shared: bool, claim: Claim, check: Callable[[], None]
    ) -> AsyncIterator[Holds]:
        """See `LockSpace`.

        A process that dies here leaves its places to the release of its node, which comes after its fence. One that lives
        gives them up, however long the database is away meanwhile; and when not even that is waited for, since the task is
        cancelled once more, `sweep` finds them.
        """
        call_id = self._env.ids.uuid()
        lines = {driver_locks.line_of(self._scope, claim.target, name) for name in names}
        self._calls.add(call_id)
        try:
            await self._store.insist(
                driver_locks.take_places, claim, call_id=call_id, lines=lines, exclusive=not shared
            )
            await self._until_granted(claim, call_id, len(lines), check)
            yield always
        finally:
            try:
                self._ring(await self._store.insist(driver_locks.give_up, call_id=call_id))
            finally:
                self._calls.discard(call_id)

    async def sweep(self) -> None:
        """See `LockSpace`. A call is noted before its first row is written, so a row of none that is noted is nobody's."""
        found = await self._store.read(driver_locks.of_node, incarnation=self._me)
        for call_id in sorted(call for call in found if call not in self._calls):
            log.warning("lock.forgotten", call_id=call_id)
            self._ring(await self._store.run(driver_locks.give_up, call_id=call_id))

    def wake(self) -> None:
        """See `LockSpace`."""
        for waiting in self._waiting:
            waiting.set()

    async def _until_granted(self, claim: Claim, call_id: str, places: int, check: Callable[[], None]) -> None:
        rung = asyncio.Event()
        self._waiting[rung] = None
        pause_s = PAUSE_FIRST_S
        try:
            while before := await self._store.insist_read(
                driver_locks.count_before, claim, call_id=call_id, places=places
            ):
                check()
                # The next one looks often, whoever comes later has time: else the longer the line, the slower it moves.
                pause_s = min(pause_s * 2, PAUSE_EACH_S * before, PAUSE_MOST_S)
                await ring_or_timeout(rung, self._env.clock, self._env.random.uniform(pause_s / 2, pause_s))
                rung.clear()
        finally:
            del self._waiting[rung]

    def _ring(self, queues: list[str]) -> None:
        """Those who wait in the lines that we left: of this worker, and of the nodes that serve their queues."""
        if queues:
            self.wake()
        for queue in queues:
            self._doorbell.ring(queue)
