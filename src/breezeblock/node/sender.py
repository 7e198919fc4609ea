"""Sends waiting events to receivers: the loop of one worker process, beside its operations (`protocol.posting`).

Each receiver has a loop of its own: one that hangs keeps nothing from the others.
"""

import asyncio
import itertools
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import structlog

from breezeblock.env.contract import Env
from breezeblock.events.contract import NotTaken, Receiver, Refused
from breezeblock.model.errors import Ambiguous, Contended, Unavailable
from breezeblock.model.events import Event
from breezeblock.model.ids import Incarnation
from breezeblock.protocol import posting, receivers
from breezeblock.protocol.posting import Held, NotHeld, Seen
from breezeblock.store.run import Store

__all__ = ["Outlet", "Sender", "run_beside"]

log = structlog.get_logger(__name__)

# After a try that failed the next is later, by any node: twice as long each time, up to this.
PAUSE_FIRST_S: Final = 1.0
PAUSE_MOST_S: Final = 60.0
# Who has nothing to send looks again after so long; who waits for another to let go, less often.
POLL_S: Final = 0.5
POLL_OTHERS_S: Final = 3.0
# How often a holder looks for what is too old; and of that, this many rounds at a time: there is also something to send.
AGE_ROUNDS: Final = 20
AGE_EVERY_S: Final = 60.0
# An event that is refused alone is sent so often, with pauses as above, before it is set aside: a receiver that is just being
# changed may not mean it.
REFUSALS_MOST: Final = 3
# Whether it is the event, or the receiver refuses everything, is found out by others: so many of them, of other resources.
OTHERS_MOST: Final = 8
# A receiver that refuses all of them, this often with pauses as above, may refuse a kind of event that all lines begin with.
# Then it is asked by other kinds: so many of them, behind no more than so many of refused kinds, which lose their places.
FURTHER_AFTER: Final = 3
FURTHER_MOST: Final = 4
BEHIND_MOST: Final = 3
# Who was seen to refuse a kind and to take another is asked so at once for this long, without the pauses.
PROVED_S: Final = 600.0
# Where nothing else waits by which that could be found out, so many are set aside before the receiver has taken anything again.
UNTRIED_MOST: Final = 3
ERROR_MOST: Final = 500
EVERYTHING: Final = "It has taken nothing else either since it refused this:"
NOT_UNDERSTOOD: Final = "It is to be told what only a later release of the service understands."
BROKE: Final = "It failed in a way that was not expected; the log of the node has the details."


@dataclass(frozen=True, slots=True)
class Outlet:
    """One receiver as this node's settings have it. `keep_s` 0: what it has not taken waits for ever."""

    receiver: Receiver
    timeout_s: float
    keep_s: float


@dataclass(slots=True)
class _Doubt:
    """What is known of a refusal: how many of the next events are suspect, and how often this one was refused alone.

    `takes`: whether the receiver has taken another one since. In memory only: a node that dies leaves the search to the next
    one, which begins it anew.
    """

    suspects: int
    event_id: str = ""
    alone: int = 0
    takes: bool = False


class Sender:
    """Of one worker. `may_act`: whether its node's lease holds."""

    def __init__(
        self,
        *,
        env: Env,
        store: Store,
        incarnation: Incarnation,
        outlets: Mapping[str, Outlet],
        may_act: Callable[[], bool],
    ) -> None:
        self._env = env
        self._store = store
        self._me = incarnation
        self._outlets = dict(outlets)
        self._may_act = may_act
        self._age_next: dict[str, float] = {}
        self._holding: dict[str, Held] = {}
        self._doubts: dict[str, _Doubt] = {}
        self._tried: dict[str, str] = {}
        """By receiver: the resource by whose event it was last found out whether it takes anything."""
        self._stepped: dict[str, tuple[Held, dict[str, int]]] = {}
        """By receiver: what has stepped aside and is to go back, since nothing behind it was offered; and waits since when."""
        self._proved_until: dict[str, float] = {}

    async def run(self) -> None:
        """Until cancelled. Where there is nobody to tell it says so, and ends."""
        await self._store.insist(receivers.enrol, receivers=sorted(self._outlets), incarnation=self._me)
        loops = [asyncio.ensure_future(self._serve(name, outlet)) for name, outlet in sorted(self._outlets.items())]
        try:
            await asyncio.gather(*loops)
        finally:
            for loop in loops:
                loop.cancel()

    async def _serve(self, name: str, outlet: Outlet) -> None:
        after = ""
        while True:
            pause_s = POLL_S
            try:
                pause_s, after = await self._round(name, outlet, after)
            except (Contended, Ambiguous, Unavailable) as error:
                # What was sent and could not be written down is sent again.
                log.info("events.put_off", receiver=name, reason=str(error))
            except NotHeld:
                pause_s = POLL_OTHERS_S
            except msgspec.ValidationError as error:
                # Of a later release, whose nodes understand it; it must not end this node's operations, nor wait for this node.
                log.warning("events.not_understood", receiver=name, reason=str(error))
                await self._leave(name)
                pause_s = POLL_OTHERS_S
            if pause_s:
                await self._env.clock.sleep(pause_s * self._env.random.uniform(0.5, 1.5))

    async def _leave(self, name: str) -> None:
        """Give a receiver back that this node cannot go on with, if it holds it: then whoever can takes it."""
        if (held := self._holding.get(name)) is None:
            return
        try:
            await self._store.run(posting.give_back, held, error=NOT_UNDERSTOOD, pause_us=0)
        except (Contended, Ambiguous, Unavailable) as error:
            log.info("events.put_off", receiver=name, reason=str(error))
            return
        except NotHeld:
            pass  # as it is to be
        del self._holding[name]

    async def _round(self, name: str, outlet: Outlet, after: str) -> tuple[float, str]:
        """One look, and what comes of it. Returns how long to wait, and which resources to go on after."""
        if not self._may_act():
            return POLL_S, after
        await self._put_back(name)
        seen = await self._store.read(posting.look, receiver=name, incarnation=self._me, after=after)
        if seen.held is None and not seen.is_free:
            return POLL_OTHERS_S, ""
        if not seen.events:
            # All resources have had their turn: from the first one on, at once where some were left out.
            return (0.0 if after else POLL_S), ""
        held = seen.held
        if held is None:
            self._doubts.pop(name, None)
            self._stepped.pop(name, None)
            held = self._holding[name] = await self._store.run(posting.take, receiver=name, incarnation=self._me)
            await self._age(held, outlet)
            return 0.0, after  # and look again: what was read before it was ours may have been sent by another since
        if self._env.clock.boottime() >= self._age_next.get(name, 0.0):
            await self._age(held, outlet)
            return 0.0, after
        if not self._may_act():
            return POLL_S, after
        chosen = self._choose(name, seen.events)
        pause_s = await self._deliver(held, outlet, seen, chosen)
        if pause_s is not None:
            return pause_s, after
        if len(chosen) < len(seen.events):
            return 0.0, after
        whole = len(seen.events) < posting.BATCH_MOST
        return 0.0, "" if whole else max(event.resource_id for event in seen.events)

    def _choose(self, name: str, events: list[Event]) -> list[Event]:
        """All of them; or, while it is not known which of them are refused, the first half of the suspects."""
        doubt = self._doubts.get(name)
        return events if doubt is None else events[: max(1, doubt.suspects // 2)]

    async def _deliver(self, held: Held, outlet: Outlet, seen: Seen, chosen: list[Event]) -> float | None:
        """Send, and forget what was taken. Dying in between sends it again, in the same order.

        Returns None when all was taken, and else how long to wait.
        """
        try:
            refused, error = await self._offer(held, outlet, chosen)
            if refused:
                return await self._search(held, outlet, seen, refused, error)
        except NotTaken as not_taken:
            await self._give_back(held, seen, str(not_taken)[:ERROR_MOST])
            return POLL_OTHERS_S
        self._clear(held, len(chosen))
        return None

    async def _offer(
        self, held: Held, outlet: Outlet, chosen: list[Event], *, passed: int = 0, reason: str = ""
    ) -> tuple[list[Event], str]:
        """Send, and forget what was taken. Returns what was refused, and why. Raises NotTaken when nobody took it.

        `passed`: so many have stepped aside for the only one chosen, for a `reason`.
        """
        try:
            await _within(self._env, outlet.timeout_s, outlet.receiver.send(chosen))
        except NotTaken as not_taken:
            if not_taken.taken:
                await self._sent(held, chosen[: not_taken.taken], passed, reason)
                self._clear(held, not_taken.taken)
            if isinstance(not_taken, Refused):
                return chosen[not_taken.taken :], str(not_taken)[:ERROR_MOST]
            raise
        except Exception as mistake:
            # A mistake of ours in a receiver: it must neither end the node's operations, nor keep other nodes from trying.
            log.exception("events.receiver_broke", receiver=held.receiver)
            raise NotTaken(BROKE) from mistake
        await self._sent(held, chosen, passed, reason)
        return [], ""

    async def _sent(self, held: Held, taken: Sequence[Event], passed: int, reason: str) -> None:
        ids = [event.id for event in taken]
        if passed:
            await self._store.run(posting.sent_past, held, ids=ids, passed=passed, reason=reason)
        else:
            await self._store.run(posting.sent, held, ids=ids)

    def _clear(self, held: Held, taken: int) -> None:
        """So many of the suspects were taken."""
        doubt = self._doubts.get(held.receiver)
        if doubt is not None:
            doubt.suspects -= taken
            if doubt.suspects <= 0:  # it has changed its mind
                del self._doubts[held.receiver]

    async def _search(self, held: Held, outlet: Outlet, seen: Seen, refused: list[Event], error: str) -> float:
        """At least one of these is refused: halve them until it is alone, then judge it. Returns how long to wait.

        Raises NotTaken when it is not the event.
        """
        doubt = self._doubts.setdefault(held.receiver, _Doubt(len(refused)))
        if len(refused) > 1:
            doubt.suspects = len(refused)
            await self._store.run(posting.refused, held, error=error)
            return 0.0
        (event,) = refused
        if doubt.event_id != event.id:
            doubt.event_id, doubt.alone, doubt.takes = event.id, 0, False
        doubt.suspects, doubt.alone = 1, doubt.alone + 1
        is_news = not doubt.takes and await self._takes_another(held, outlet, seen, event, error)
        doubt.takes = doubt.takes or is_news
        if not doubt.takes and seen.failures >= UNTRIED_MOST:
            raise NotTaken(f"{EVERYTHING} {error}")
        fields = {"receiver": held.receiver, "event_id": event.id, "name": event.name, "reason": error}
        # Once more in any case after it has taken another: an outage may have ended in between.
        if is_news or doubt.alone < REFUSALS_MOST:
            log.warning("events.refused", resource_id=event.resource_id, refusals=doubt.alone, **fields)
            await self._store.run(posting.refused, held, error=error)
            return PAUSE_FIRST_S * 2.0 ** (doubt.alone - 1)
        await self._store.run(posting.set_aside, held, event_id=event.id, reason=error, is_sure=doubt.takes)
        del self._doubts[held.receiver]
        log.error("events.set_aside", resource_id=event.resource_id, **fields)
        return 0.0

    async def _takes_another(self, held: Held, outlet: Outlet, seen: Seen, event: Event, error: str) -> bool:
        """Whether the receiver takes anything but this; what it took is sent by that. False when there is nothing else to try.

        Raises NotTaken when it refuses all of them: then it is not the event. What is behind others in its line, and would
        come out of its order, is tried only when nothing else tells.
        """
        others = await self._others(held, event)
        for other in others:
            if not self._may_act():
                raise NotHeld(held.receiver)
            self._tried[held.receiver] = other.resource_id
            refused, _ = await self._offer(held, outlet, [other])
            if not refused:
                return True
        if others:
            names = {event.name, *(other.name for other in others)}
            is_proved = self._env.clock.boottime() < self._proved_until.get(held.receiver, 0.0)
            if (is_proved or seen.failures >= FURTHER_AFTER) and await self._takes_kind(held, outlet, names):
                return True
            log.error("events.all_refused", receiver=held.receiver, tried=len(others) + 1, reason=error)
            raise NotTaken(f"{EVERYTHING} {error}")
        return False

    async def _takes_kind(self, held: Held, outlet: Outlet, refused: set[str]) -> bool:
        """Whether it takes an event of a kind that it was not yet seen to refuse, or now one of those before it.

        Of those that wait it is the one with the least before it, all of kinds that it was seen to refuse.
        """
        found = [*await self._read(held, ""), *await self._read(held, self._tried.get(held.receiver, ""))]
        waiting = list({event.id: event for event in found}.values())  # what both have seen is there once
        for _ in range(FURTHER_MOST):
            if (line := _further(waiting, refused)) is None:
                return False
            if await self._takes_of(held, outlet, line):
                return True
            refused.add(line[-1].name)
        return False

    async def _takes_of(self, held: Held, outlet: Outlet, line: Sequence[Event]) -> bool:
        """Whether it takes one of the first few of a resource, offered one by one, in their order.

        Each that is refused just now steps aside before the next is offered, so that nothing is ever taken before an earlier
        one that still waits, whoever dies in between: then it is aside. If all are refused, all are back at their places.
        """
        name = held.receiver
        waits_since = await self._store.read(posting.since, receiver=name, ids=[event.id for event in line])
        aside: list[tuple[Event, str]] = []
        for event in line:
            if not self._may_act():
                raise NotHeld(name)  # what stepped aside goes back when it may act again, if it is the holder still
            # From here on it may be taken, without anybody knowing: what stepped aside for it stays there.
            self._stepped.pop(name, None)
            reason = aside[-1][1] if aside else ""
            try:
                refused, error = await self._offer(held, outlet, [event], passed=len(aside), reason=reason)
            except NotTaken as unknown:
                _log_passed(name, aside)
                if aside and not unknown.taken:
                    await self._store.run(posting.passed, held, events=len(aside))
                raise
            if not refused:
                _log_passed(name, aside)
                if event is line[-1]:
                    self._proved_until[name] = self._env.clock.boottime() + PROVED_S
                return True
            if event is not line[-1]:
                aside.append((event, error))
            # Before it is written down: whether that was done may stay unknown.
            if aside:
                self._stepped[name] = held, {one.id: waits_since[one.id] for one, _ in aside if one.id in waits_since}
            if event is not line[-1]:
                await self._store.run(posting.step_aside, held, event_id=event.id, reason=error)
        await self._put_back(name)
        return False

    async def _put_back(self, name: str) -> None:
        """Let what has stepped aside for nothing wait again, before anything else is sent. Who is no holder leaves it aside."""
        if name not in self._stepped:
            return
        held, waits_since = self._stepped[name]
        try:
            await self._store.run(posting.put_back, held, since=waits_since)
        except NotHeld:
            del self._stepped[name]
            raise
        del self._stepped[name]

    async def _read(self, held: Held, after: str) -> list[Event]:
        """What waits, of the resources after that one. Raises NotHeld."""
        seen = await self._store.read(posting.look, receiver=held.receiver, incarnation=held.incarnation, after=after)
        if seen.held is None:
            raise NotHeld(held.receiver)
        return seen.events

    async def _others(self, held: Held, event: Event) -> list[Event]:
        """What comes first in the lines of some other resources: after those that were tried last, round and round."""
        found: list[Event] = []
        for after in (self._tried.get(held.receiver, ""), ""):
            first: dict[str, Event] = {}
            for one in await self._read(held, after):
                first.setdefault(one.resource_id, one)
            known = {event.resource_id, *(one.resource_id for one in found)}
            found += [first[id_] for id_ in sorted(first.keys() - known)]
        return found[:OTHERS_MOST]

    async def _give_back(self, held: Held, seen: Seen, error: str) -> None:
        pause_s = min(PAUSE_MOST_S, PAUSE_FIRST_S * 2 ** min(seen.failures, 16))
        log.warning(
            "events.not_taken", receiver=held.receiver, reason=error, failures=seen.failures + 1, pause_s=pause_s
        )
        await self._store.run(posting.give_back, held, error=error, pause_us=int(pause_s * 1_000_000))

    async def _age(self, held: Held, outlet: Outlet) -> None:
        """Put aside what has waited for too long, and give up what was aside for as long again: each time that somebody takes
        the receiver, and now and then.
        """
        self._age_next[held.receiver] = self._env.clock.boottime() + AGE_EVERY_S
        if not outlet.keep_s:
            return
        aside = dropped = 0
        for _ in range(AGE_ROUNDS):
            found = await self._store.run(posting.age, held, keep_us=int(outlet.keep_s * 1_000_000))
            aside += found.aside
            dropped += found.dropped
            if max(found.aside, found.dropped) < posting.AGED_AT_ONCE:
                break
        if aside:
            log.error("events.waited_too_long", receiver=held.receiver, events=aside, keep_s=outlet.keep_s)
        if dropped:
            log.error("events.dropped", receiver=held.receiver, events=dropped, keep_s=outlet.keep_s)


def _further(waiting: Sequence[Event], refused: set[str]) -> list[Event] | None:
    """The beginning of the line with the fewest before one of another kind, all of which are of refused kinds; and that one."""
    lines: dict[str, list[Event]] = {}
    for event in waiting:
        lines.setdefault(event.resource_id, []).append(event)
    best: list[Event] | None = None
    for _, found in sorted(lines.items()):
        line = sorted(found, key=lambda event: (event.seq, event.number))
        behind = len(list(itertools.takewhile(lambda event: event.name in refused, line)))
        if behind < len(line) and behind <= BEHIND_MOST and (best is None or behind + 1 < len(best)):
            best = line[: behind + 1]
    return best


def _log_passed(receiver: str, aside: Sequence[tuple[Event, str]]) -> None:
    for event, reason in aside:
        fields = {"receiver": receiver, "event_id": event.id, "name": event.name, "reason": reason}
        log.error("events.set_aside", resource_id=event.resource_id, **fields)


async def run_beside(work: Coroutine[Any, Any, None], sender: Sender) -> None:
    """Be a worker that also sends, until it has worked off all that it had. A sender that fails takes the process along."""
    working, sending = asyncio.ensure_future(work), asyncio.ensure_future(sender.run())
    sending.add_done_callback(lambda done: done.cancelled() or done.exception() is None or working.cancel())
    try:
        await working
    except asyncio.CancelledError:
        if sending.done():
            sending.result()
        raise
    finally:
        sending.cancel()


async def _within(env: Env, seconds: float, sending: Coroutine[Any, Any, None]) -> None:
    """Wait so long for a receiver, by the clock of the environment. Raises NotTaken."""
    task = asyncio.ensure_future(sending)
    timer = asyncio.ensure_future(env.clock.sleep(seconds))
    try:
        await asyncio.wait((task, timer), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise NotTaken(f"It has not answered within {seconds:g} seconds.")
        task.result()
    finally:
        timer.cancel()
        task.cancel()
