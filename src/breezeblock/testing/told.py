"""Events in the simulation: a receiver in memory, and what must hold of what it was told.

*Told*: each change of a status, and each operation that began or ended, is told at least once, in the order in which it was
committed on its resource, and nothing is told that has not happened. What happened is known from the database's own triggers.

A receiver that refuses everything for a while, as a proxy before it may, has few events set aside for that, and only where
nothing else was there to try. What steps aside for one that is offered next is back before anything else is offered, unless
that may have been taken, or its sender died. An operator puts back the rest.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from random import Random
from typing import Any, Final

from sqlalchemy import Connection, select

from breezeblock.env.contract import Env
from breezeblock.events.contract import NotTaken, Refused
from breezeblock.model.events import BEGUN, ENDED, STATUS, Event
from breezeblock.model.ids import Incarnation
from breezeblock.node.sender import BEHIND_MOST, UNTRIED_MOST, Outlet, Sender, run_beside
from breezeblock.protocol import receivers
from breezeblock.store.run import Lane, Store
from breezeblock.store.tables import events, events_aside
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
# And how often it begins to refuse everything, for so many seconds.
REFUSES_ALL: Final = 0.05
REFUSES_ALL_S: Final = (2.0, 40.0)
MENDS_EVERY_S: Final = 5.0
_DELETED: Final = "deleted"

Word = tuple[Any, ...]


class Mail:
    """What happened, and what each receiver was told of it. Receivers make trouble while any fault is on."""

    def __init__(self, random: Random, faults: Faults) -> None:
        seed = f"{random.random()} mail"
        self._random, self._spells = Random(seed), Random(f"{seed} spells")
        self._faults = faults
        self._statuses: dict[str, list[Word]] = defaultdict(list)
        self._operations: dict[str, list[Word]] = defaultdict(list)
        self._told: dict[str, dict[str, Event]] = {name: {} for name in RECEIVERS}
        self._refuses_until: dict[str, float] = defaultdict(float)
        self._aside: dict[str, Counter[str]] = {name: Counter() for name in RECEIVERS}
        """What was ever set aside, and how often, but for what its sender put back."""
        self._aside_since: dict[str, dict[str, tuple[str, int, int]]] = {name: {} for name in RECEIVERS}
        """What is aside for which nothing was taken since: its place."""
        self._may_be_aside: set[str] = set()
        self._calling: Counter[str] = Counter()
        """How many operators are calling again what is aside, or died over it."""
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
            elif what == "aside":
                self._set_aside(id_, str(before), str(after))
            elif what == "back":
                self._put_back(id_, str(before))
            elif what == "succeeded":
                # A sender that died, or was taken for dead, has left aside what had just stepped there.
                for event_id in list(self._aside_since[id_])[-BEHIND_MOST:]:
                    del self._aside_since[id_][event_id]
        for id_ in gone:
            last = self._statuses[id_][-1][1] if self._statuses[id_] else None
            if last != _DELETED:
                self._statuses[id_].append((last, _DELETED))

    def _set_aside(self, receiver: str, event_id: str, place: str) -> None:
        self._aside[receiver][event_id] += 1
        self._may_be_aside.add(receiver)
        resource, seq, number = place.split()
        if any(
            one.resource_id == resource and (one.seq, one.number) > (int(seq), int(number))
            for one in self._told[receiver].values()
        ):
            return  # the receiver has taken what was behind it
        self._aside_since[receiver][event_id] = resource, int(seq), int(number)
        self._check_aside(receiver, stepped=BEHIND_MOST)

    def _check_aside(self, receiver: str, *, stepped: int) -> None:
        """One by which it was found out that it takes others, those after it by which nothing could be, and what stepped."""
        if (many := len(self._aside_since[receiver])) > 1 + UNTRIED_MOST + stepped:
            self.problems.append(f"{receiver} has {many} events set aside since it took one: it refuses everything")

    def _put_back(self, receiver: str, event_id: str) -> None:
        """By its sender it is as if it had never been aside. What an operator calls comes when it comes."""
        self._aside_since[receiver].pop(event_id, None)
        if not self._calling[receiver]:
            self._aside[receiver][event_id] -= 1

    def _offered(self, receiver: str, first: Event) -> list[str]:
        """What is aside of the same resource from before it. Of everything else few may be aside."""
        place = (first.seq, first.number)
        behind = [
            id_ for id_, (resource, *at) in self._aside_since[receiver].items()
            if resource == first.resource_id and tuple(at) < place
        ]  # fmt: skip
        self._check_aside(receiver, stepped=min(len(behind), BEHIND_MOST))
        return behind

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
        mending = asyncio.ensure_future(self._mend(store))
        try:
            await run_beside(work, sender)
        finally:
            mending.cancel()

    async def _mend(self, store: Store) -> None:
        """An operator, once all is well again: `events again`."""
        while True:
            await VirtualClock().sleep(MENDS_EVERY_S)
            for receiver in sorted(self._may_be_aside if not self._faults.on else ()):
                self._calling[receiver] += 1
                while await store.insist(receivers.again, receiver=receiver):
                    pass
                self._may_be_aside.discard(receiver)
                self._calling[receiver] -= 1

    async def take(self, receiver: str, told: Sequence[Event]) -> None:
        """One delivery. Raises NotTaken, also for what has arrived; and Refused."""
        behind = self._offered(receiver, told[0])
        if self._faults.on:
            self._refuse_all(receiver)
        for id_ in behind:  # from here on its sender cannot know whether it is taken
            self._aside_since[receiver].pop(id_, None)
        chance = self._random.random()
        if self._faults.on:
            if chance < REFUSES:
                raise NotTaken("not now")
            if chance < REFUSES + HANGS:
                await VirtualClock().sleep(TIMEOUT_S * 10)
            elif chance < REFUSES + HANGS + SLOW:
                await VirtualClock().sleep(self._random.uniform(0, TIMEOUT_S))
        box = self._told[receiver]
        self._aside_since[receiver].clear()
        for event in told:
            known = box.setdefault(event.id, event)
            if known != event:
                self.problems.append(f"{receiver} is told something else under the id of an event: {known} and {event}")
        if self._faults.on and chance > 1 - LOSES:
            raise NotTaken("the answer was lost")

    def _refuse_all(self, receiver: str) -> None:
        """Raises Refused."""
        now = asyncio.get_running_loop().time()
        if self._spells.random() < REFUSES_ALL:
            self._refuses_until[receiver] = now + self._spells.uniform(*REFUSES_ALL_S)
        if now < self._refuses_until[receiver]:
            raise Refused("whatever it is")

    # --- what must hold ---------------------------------------------------------------------------------------------

    def is_quiet(self, tx: Connection) -> bool:
        """Whether nothing waits to be told, and nothing is aside."""
        return all(tx.execute(select(table.c.id).limit(1)).first() is None for table in (events, events_aside))

    def check(self) -> list[str]:
        """Once nothing waits any more."""
        found = list(self.problems)
        for receiver, box in self._told.items():
            told = _in_place(box.values(), {id_ for id_, times in self._aside[receiver].items() if times})
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


def _in_place(told: Collection[Event], aside: Collection[str]) -> list[Event]:
    """As if what was set aside had come in its turn: the rest of its resource has passed it."""
    lines = {event.resource_id for event in told if event.id in aside}
    passed = [event for event in told if event.resource_id in lines]
    rest = [event for event in told if event.resource_id not in lines]
    return rest + sorted(passed, key=lambda event: (event.resource_id, event.seq, event.number))


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
