"""Events in the simulation: a receiver in memory, and what must hold of what it was told.

*Told*: each change of a status, and each operation that began or ended, is told at least once, in the order in which it was
committed on its resource, and nothing is told that has not happened. What happened is known from the database's own triggers.
"""

from collections import defaultdict
from collections.abc import Callable, Coroutine, Mapping, Sequence
from random import Random
from typing import Any, Final

from sqlalchemy import Connection, select

from breezeblock.env.contract import Env
from breezeblock.events.contract import NotTaken
from breezeblock.model.events import BEGUN, ENDED, STATUS, Event
from breezeblock.model.ids import Incarnation
from breezeblock.node.sender import Outlet, Sender, run_beside
from breezeblock.store.run import Lane, Store
from breezeblock.store.tables import events
from breezeblock.testing.database import Seen
from breezeblock.testing.faults import Faults
from breezeblock.testing.loop import Process
from breezeblock.testing.virtual import VirtualClock
from breezeblock.testing.wires import Page
from breezeblock.testing.witness import WitnessedStore

__all__ = ["RECEIVERS", "Mail"]

# Two, so that one that is away must keep nothing from the other.
RECEIVERS: Final = ("near", "far")
RESOURCES: Final = ("volumes", "snapshots", "backups", "volume_groups", "group_snapshots")
TIMEOUT_S: Final = 2.0
# How often, while faults are on, a receiver refuses, answers late, never, or takes all and its answer is lost.
REFUSES: Final = 0.08
SLOW: Final = 0.2
HANGS: Final = 0.03
LOSES: Final = 0.08
_DELETED: Final = "deleted"

Word = tuple[Any, ...]


class Mail:
    """What happened, and what each receiver was told of it. Receivers make trouble while any fault is on."""

    def __init__(self, random: Random, faults: Faults) -> None:
        self._random = Random(f"{random.random()} mail")
        self._faults = faults
        self._statuses: dict[str, list[Word]] = defaultdict(list)
        self._operations: dict[str, list[Word]] = defaultdict(list)
        self._told: dict[str, dict[str, Event]] = {name: {} for name in RECEIVERS}
        self.problems: list[str] = []

    # --- what happened ----------------------------------------------------------------------------------------------

    def committed(self, seen: Sequence[Seen], writer: Process | None) -> None:
        """One transaction; what the simulated world itself does (no writer) is nobody's to tell."""
        if writer is None:
            return
        gone = []
        for what, id_, before, after in seen:
            if what in RESOURCES:
                self._statuses[id_].append((before, after))
            elif what == "gone":
                gone.append(id_)
            elif what == "enqueued":
                self._operations[id_].append((BEGUN, before, ""))
            elif what == "ended":
                self._operations[id_].append((ENDED, after, before))
        for id_ in gone:
            last = self._statuses[id_][-1][1] if self._statuses[id_] else None
            if last != _DELETED:
                self._statuses[id_].append((last, _DELETED))

    # --- who is told ------------------------------------------------------------------------------------------------

    def store(self, lane: Lane, env: Env, *, on_stale: Callable[[str], None]) -> Store:
        """A worker's store."""
        return WitnessedStore(lane, env, on_stale=on_stale, receivers=RECEIVERS)

    async def work(self, work: Coroutine[Any, Any, None], process: Process, env: Env, store: Store, page: Page) -> None:
        """A worker and its sender, as the real process runs them."""
        outlets = {name: Outlet(_Receiver(self, name), timeout_s=TIMEOUT_S, keep_s=0) for name in RECEIVERS}
        assert process.incarnation is not None, "a worker's process is one of an incarnation"
        sender = Sender(
            env=env,
            store=store,
            incarnation=Incarnation(process.incarnation),
            outlets=outlets,
            may_act=lambda: env.clock.boottime() < page.until,
        )
        await run_beside(work, sender)

    async def take(self, receiver: str, told: Sequence[Event]) -> None:
        """One delivery. Raises NotTaken, also for what has arrived."""
        chance = self._random.random()
        if self._faults.on:
            if chance < REFUSES:
                raise NotTaken("not now")
            if chance < REFUSES + HANGS:
                await VirtualClock().sleep(TIMEOUT_S * 10)
            elif chance < REFUSES + HANGS + SLOW:
                await VirtualClock().sleep(self._random.uniform(0, TIMEOUT_S))
        box = self._told[receiver]
        for event in told:
            known = box.setdefault(event.id, event)
            if known != event:
                self.problems.append(f"{receiver} is told something else under the id of an event: {known} and {event}")
        if self._faults.on and chance > 1 - LOSES:
            raise NotTaken("the answer was lost")

    # --- what must hold ---------------------------------------------------------------------------------------------

    def is_quiet(self, tx: Connection) -> bool:
        """Whether nothing waits to be told."""
        return tx.execute(select(events.c.id).limit(1)).first() is None

    def check(self) -> list[str]:
        """Once nothing waits any more."""
        found = list(self.problems)
        for receiver, box in self._told.items():
            told = list(box.values())
            found += [f"{receiver}: {what}" for what in (*self._wrong_statuses(told), *self._wrong_operations(told))]
            found += [f"{receiver}: {what}" for what in _disorder(told)]
        return found

    def _wrong_statuses(self, told: Sequence[Event]) -> list[str]:
        heard: dict[str, list[Word]] = defaultdict(list)
        for event in told:
            if event.what == STATUS:
                heard[event.resource_id].append((event.before, event.after))
        return _differences(self._statuses, heard)

    def _wrong_operations(self, told: Sequence[Event]) -> list[str]:
        heard: dict[str, list[Word]] = defaultdict(list)
        for event in told:
            if event.what in (BEGUN, ENDED):
                heard[event.operation_id].append((event.what, event.kind, event.outcome))
        return _differences(self._operations, heard)


class _Receiver:
    """Implements `Receiver`."""

    def __init__(self, mail: Mail, name: str) -> None:
        self._mail, self._name = mail, name

    async def send(self, events: Sequence[Event]) -> None:
        """See `Receiver.send`."""
        await self._mail.take(self._name, events)

    async def close(self) -> None:
        """See `Receiver.close`."""


def _differences(happened: Mapping[str, list[Word]], heard: Mapping[str, list[Word]]) -> list[str]:
    ids = sorted({*happened, *heard})
    return [
        f"of {id_} happened {happened.get(id_, [])}, and told was {heard.get(id_, [])}"
        for id_ in ids
        if happened.get(id_, []) != heard.get(id_, [])
    ]


def _disorder(told: Sequence[Event]) -> list[str]:
    """What was told for the first time after something of its resource that came later."""
    last: dict[str, tuple[int, int]] = {}
    found = []
    for event in told:
        place = (event.seq, event.number)
        if event.resource and place <= last.get(event.resource_id, (-1, -1)):
            found.append(f"{event.name} of {event.resource_id} at {place} came after {last[event.resource_id]}")
        last[event.resource_id] = place
    return found
