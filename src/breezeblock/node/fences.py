"""The fences: how it is made sure that a lost node writes no more to a backend.

    same_machine   all nodes run on one machine: its processes are killed, and their lock file proves that they are gone
    boot           its machine runs under another boot by now: whatever ran before is over
    external       a configured command cuts it off (`fence_agent.py`)
    storage        the storage itself refuses it from now on
    trust          nothing but its lease, and the time in which what was under way settles

A fence is asked only about nodes that are expired, so the lease of whom it meets is over.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, Protocol

from breezeblock.env.contract import Clock, Processes
from breezeblock.model.errors import BackendFailed
from breezeblock.model.ids import Incarnation
from breezeblock.model.states import NODE_LIVE
from breezeblock.protocol.leases import Terms
from breezeblock.protocol.membership import NOT_OF_THE_DRIVER, NodeRow

# A fence that declares no limit of its own takes milliseconds to seconds; one that takes this long hangs in a system call.
FENCE_LIMIT_S: Final = 30.0
# What a fence that waits on purpose may take longer than its wait.
WAIT_MARGIN_S: Final = 5.0
# Lost nodes whose first sighting is remembered: more than are ever lost at once.
SIGHTINGS_MOST: Final = 256


class FenceFailed(Exception):
    """A fence was tried and gives no proof. `reason` is a sentence for the operator."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Fence(Protocol):
    """One way to make sure that a lost node writes no more."""

    @property
    def method(self) -> str:
        """Its name, as `node_backends.fenced_by` has it."""
        ...

    @property
    def whole_node(self) -> bool:
        """Whether its success counts for all backends of the node."""
        ...

    @property
    def whole_boot(self) -> bool:
        """Whether its success counts for everything that ever ran under the node's boot of its machine."""
        ...

    @property
    def limit_s(self) -> float:
        """After so long it is given up, and another node tries."""
        ...

    async def fence(self, row: NodeRow, queue: str) -> bool:
        """True is proof that nothing of that incarnation writes to the queue's backend any more, and never will.

        False: it can tell nothing about this node. Raises FenceFailed when it was tried and failed.
        """
        ...


Fences = Mapping[str, Sequence[Fence]]
"""Queue -> what may fence its backend, in the order of the policy."""


class SameMachine:
    """Only where all nodes run on one machine: kill what is left of the node.

    The lock file tells whether it may be asked: it must be here and name the node's random id.
    """

    method: Final = "same_machine"
    whole_node: Final = True
    whole_boot: Final = False
    limit_s: Final = FENCE_LIMIT_S

    def __init__(self, processes: Processes) -> None:
        self._processes = processes

    async def fence(self, row: NodeRow, queue: str) -> bool:
        """See `Fence`."""
        if not await self._processes.kill_holders(row.lock_path, row.lock_id):
            raise FenceFailed(f"no proof that the processes holding {row.lock_path} are gone")
        return True


class Boot:
    """A machine that runs under another boot id has ended everything of the boot before.

    Two cases are certain: this very process runs on that machine, under another boot; or another node of that machine renews
    its lease, under another boot, *after* we have seen the lost one expired. A row that merely says `up` proves nothing: it
    may be a rest of the boot before, whose silence nobody has counted to the end yet.
    """

    method: Final = "boot"
    whole_node: Final = True
    whole_boot: Final = True

    def __init__(
        self,
        *,
        machine: str,
        boot_id: str,
        clock: Clock,
        terms: Terms,
        read: Callable[[], Awaitable[list[NodeRow]]],
    ) -> None:
        self._machine = machine
        self._boot_id = boot_id
        self._clock = clock
        self._terms = terms
        self._read = read

    @property
    def limit_s(self) -> float:
        """See `Fence`."""
        return self._terms.ttl_s * 2 + WAIT_MARGIN_S

    async def fence(self, row: NodeRow, queue: str) -> bool:
        """See `Fence`."""
        if not row.machine or not row.boot_id:
            return False  # without a certain identity of the machine another boot id may be another machine's
        if row.machine == self._machine:
            return row.boot_id != self._boot_id
        return await self._another_boot_renews(row)

    async def _another_boot_renews(self, row: NodeRow) -> bool:
        seen: dict[Incarnation, int] = {}
        moves: dict[Incarnation, int] = {}
        until = self._clock.boottime() + self._terms.ttl_s
        while True:
            later = _living_of_another_boot(await self._read(), row)
            for one in later:
                # The first move may be a renewal that was sent long ago; the next one was sent after that was answered.
                moves[one.incarnation] = moves.get(one.incarnation, 0) + (
                    one.heartbeat != seen.get(one.incarnation, one.heartbeat)
                )
                seen[one.incarnation] = one.heartbeat
                if moves[one.incarnation] >= 2:
                    return True
            if not later or self._clock.boottime() >= until:
                return False
            await self._clock.sleep(self._terms.renew_every_s / 2)


def _living_of_another_boot(rows: Sequence[NodeRow], lost: NodeRow) -> list[NodeRow]:
    return [
        row
        for row in rows
        if row.state in NODE_LIVE and row.machine == lost.machine and row.boot_id not in ("", lost.boot_id)
    ]


class Fencing(Protocol):
    """The part of a driver that fences."""

    async def fence(self, identity: Mapping[str, str]) -> None: ...


class Storage:
    """The storage refuses the node from now on."""

    method: Final = "storage"
    whole_node: Final = False
    whole_boot: Final = False
    limit_s: Final = FENCE_LIMIT_S

    def __init__(self, driver: Fencing) -> None:
        self._driver = driver

    async def fence(self, row: NodeRow, queue: str) -> bool:
        """See `Fence`."""
        known = row.identities.get(queue)
        if known is None:
            raise FenceFailed(f"it is not recorded what the storage of {queue} knows {row.name} by")
        identity = {key: value for key, value in known.items() if key not in NOT_OF_THE_DRIVER}
        try:
            await self._driver.fence(identity)
        except BackendFailed as error:
            raise FenceFailed(error.message) from error
        return True


class Trust:
    """Nothing but the node's own lease: wait until what it had under way when its lease ended must have landed.

    It closes the window only as far as the settle time reaches: a process that is frozen between its look at the lease and its
    system call writes whenever it wakes up. Counted on this node's clock from its own first sight of the node as expired.
    """

    method: Final = "trust"
    whole_node: Final = False
    whole_boot: Final = False

    def __init__(self, *, clock: Clock, settle_s: float) -> None:
        self._clock = clock
        self._settle_s = settle_s
        self._first_seen: dict[Incarnation, float] = {}

    @property
    def limit_s(self) -> float:
        """See `Fence`."""
        return self._settle_s + WAIT_MARGIN_S

    async def fence(self, row: NodeRow, queue: str) -> bool:
        """See `Fence`."""
        now = self._clock.boottime()
        since = self._first_seen.setdefault(row.incarnation, now)
        while len(self._first_seen) > SIGHTINGS_MOST:
            del self._first_seen[next(iter(self._first_seen))]
        await self._clock.sleep(since + self._settle_s - now)
        return True
