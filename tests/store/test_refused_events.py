"""Events that their receiver refuses for good: found among the others, set aside, and in nobody's way."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from sqlalchemy import Connection
from tests.store.given import ME, NOW_US, OTHER, Base, in_virtual_time, virtual_env

from breezeblock.env.contract import Env
from breezeblock.env.real import real_env
from breezeblock.events.contract import NotTaken, Refused
from breezeblock.events.webhook import WebhookReceiver
from breezeblock.model.errors import InvalidState, NotFound, Unavailable
from breezeblock.model.events import Event
from breezeblock.model.ids import Incarnation
from breezeblock.node import sender as sending
from breezeblock.node.sender import Outlet, Sender
from breezeblock.protocol import posting, receivers
from breezeblock.store import tables
from breezeblock.store.run import Store


class Picky:
    """Takes everything but batches with one of `never` in them. `away` deliveries find nobody."""

    def __init__(self, *never: str, away: int = 0) -> None:
        self.never, self.away = never, away
        self.got: list[str] = []
        self.asked = 0

    async def send(self, events: Sequence[Event]) -> None:
        self.asked += 1
        if self.away:
            self.away -= 1
            raise NotTaken("away")
        ids = [event.id for event in events]
        if any(id_ in self.never for id_ in ids):
            raise Refused("no, thank you")
        self.got += ids

    async def close(self) -> None:
        """See `Receiver.close`."""


class Half:
    """Takes one event of each delivery, and then runs out of time."""

    def __init__(self) -> None:
        self.got: list[str] = []

    async def send(self, events: Sequence[Event]) -> None:
        self.got.append(events[0].id)
        raise NotTaken("late", taken=1)

    async def close(self) -> None:
        """See `Receiver.close`."""


def given_events(
    base: Base,
    count: int,
    *,
    each: int = 2,
    receiver: str = "a",
    spread: int = 0,
    whats: Sequence[str] = ("updated",),
    backwards: bool = False,
) -> list[str]:
    """So many events, so many for each resource, one after the other by their times; or resources far apart, as ids are.

    `whats`: the kinds of each resource's events, in turn. `backwards`: the last resource's are the oldest.
    """
    ids = [f"v{number // each:03}-{number % each}" for number in range(count)]
    if spread:
        ids = [f"{number * spread // count:08x}-0" for number in range(count)]
    with base.tx() as tx:
        for number, id_ in enumerate(ids):
            volume, seq = id_.split("-")
            at_us = NOW_US + (count - number // each * each + number % each if backwards else number)
            event = Event(
                id=id_, what=whats[int(seq) % len(whats)], resource_type="volume", resource_id=volume, seq=int(seq), number=0,
                at_us=at_us,
            )  # fmt: skip
            row = {
                "receiver": receiver, "id": id_, "resource_id": volume, "op_seq": int(seq), "number": 0,
                "at_us": event.at_us, "event_json": msgspec.json.encode(event).decode(),
            }  # fmt: skip
            tx.execute(tables.events.insert().values(**row))
    return ids


def outlet_of(receiver: Any, **values: Any) -> Outlet:
    return Outlet(receiver, **({"timeout_s": 5.0, "keep_s": 0} | values))


def sender_of(base: Base, outlets: dict[str, Outlet], env: Env | None = None) -> Sender:
    env = env or virtual_env()
    store, me = Store(base, env), Incarnation(ME)
    return Sender(env=env, store=store, incarnation=me, outlets=outlets, may_act=lambda: True)


def send_until_quiet(base: Base, outlet: Outlet, *, seed: int = 1, keep_s: float | None = None) -> None:
    """A node at work, until nothing waits. A second one has ids of its own by another seed."""

    async def main() -> None:
        env = virtual_env(seed)
        kept = outlet if keep_s is None else replace(outlet, keep_s=keep_s)
        sender = sender_of(base, {"a": kept}, env)
        task = asyncio.ensure_future(sender.run())
        for _ in range(400):
            await env.clock.sleep(1.0)
            base.now_us += 1_000_000
            if task.done() or not base.rows(tables.events):
                break
        task.cancel()

    in_virtual_time(main())


def ids_of(base: Base, table: Any) -> list[str]:
    return [row["id"] for row in base.rows(table)]


def test_what_is_refused_for_good_is_set_aside_and_the_rest_goes_on_in_order(base: Base) -> None:
    base.node(ME)
    ids = given_events(base, 230)
    never = ("v007-1", "v041-0", "v100-0", "v100-1")
    box = Picky(*never)

    send_until_quiet(base, outlet_of(box))

    assert sorted(box.got) == [id_ for id_ in ids if id_ not in never]
    in_order = [id_ for id_ in ids if id_[-1] == "1" and f"{id_[:-1]}0" in box.got and id_ in box.got]
    assert all(box.got.index(f"{id_[:-1]}0") < box.got.index(id_) for id_ in in_order)
    assert sorted(ids_of(base, tables.events_aside)) == sorted(never)
    assert {row["reason"] for row in base.rows(tables.events_aside)} == {"no, thank you"}
    row = base.row(tables.event_receivers, "a")
    assert (row["refused"], row["sent"], row["holder"]) == (4, 226, ME)
    # Halving a hundred takes seven refusals for each; alone it is asked three times.
    assert box.asked <= 4 * (7 + 7 + 3) + 3


def test_an_outage_sets_nothing_aside(base: Base) -> None:
    base.node(ME)
    ids = given_events(base, 4)
    box = Picky(away=5)

    send_until_quiet(base, outlet_of(box))

    assert (box.got, ids_of(base, tables.events_aside)) == (ids, [])


def test_who_refuses_only_for_a_moment_gets_it(base: Base) -> None:
    """A receiver that is just being changed: alone, an event is sent three times before it is given up."""
    base.node(ME)
    ids = given_events(base, 3)

    class Changing(Picky):
        async def send(self, events: Sequence[Event]) -> None:
            if self.asked == 3:
                self.never = ()
            await super().send(events)

    box = Changing(ids[0])
    send_until_quiet(base, outlet_of(box))

    assert (sorted(box.got), ids_of(base, tables.events_aside)) == (ids, [])
    assert box.got.index(ids[0]) < box.got.index(ids[1])


class Proxy(Picky):
    """Stands before a receiver, and answers so many requests, or all of them, by 400 itself, whatever they are."""

    def __init__(self, refusals: int = 1_000_000) -> None:
        super().__init__()
        self.refusals = refusals

    async def send(self, events: Sequence[Event]) -> None:
        if self.asked < self.refusals:
            self.asked += 1
            raise Refused("400")
        await super().send(events)


def test_who_refuses_everything_is_waited_for_like_one_who_is_away(base: Base) -> None:
    """Nothing is set aside, it is asked ever less often, and what it says is to be seen."""
    base.node(ME)
    ids = given_events(base, 30)
    box = Proxy()

    send_until_quiet(base, outlet_of(box))

    assert (ids_of(base, tables.events), ids_of(base, tables.events_aside)) == (ids, [])
    row = base.row(tables.event_receivers, "a")
    assert (row["refused"], row["holder"]) == (0, None)
    assert row["error"] == "It has taken nothing else either since it refused this: 400"
    # In 400 seconds: 1, 2, 4 ... 60 seconds apart, each time halving and then eight others.
    assert box.asked <= 12 * (5 + 1 + sending.OTHERS_MOST)


def test_who_refuses_everything_is_waited_for_whatever_kinds_wait(base: Base) -> None:
    """Also what is behind others is refused, so nothing has lost its place."""
    base.node(ME)
    ids = given_events(base, 30, whats=("updated", "status"))
    box = Proxy()

    send_until_quiet(base, outlet_of(box))

    assert (ids_of(base, tables.events), ids_of(base, tables.events_aside)) == (ids, [])
    row = base.row(tables.event_receivers, "a")
    assert (row["refused"], row["holder"], row["error"]) == (0, None, f"{sending.EVERYTHING} 400")
    assert box.asked <= 12 * (5 + 1 + sending.OTHERS_MOST + sending.FURTHER_MOST * (1 + sending.BEHIND_MOST))


class Kinds(Picky):
    """Refuses kinds of events, whatever they are about."""

    def __init__(self, *kinds: str) -> None:
        super().__init__()
        self.kinds = kinds

    async def send(self, events: Sequence[Event]) -> None:
        if any(event.what in self.kinds for event in events):
            self.asked += 1
            raise Refused("no such kind")
        await super().send(events)


@pytest.mark.parametrize(
    ("count", "each", "whats", "kinds"),
    [
        (24, 2, ("updated", "status"), ("updated",)),
        (24, 3, ("updated", "begun", "status"), ("updated", "begun")),
        (24, 4, ("updated", "updated", "updated", "status"), ("updated",)),
        (60, 1, ("updated",), ()),
    ],
)
def test_a_kind_that_is_refused_is_in_nobodys_way_though_all_lines_begin_with_it(
    base: Base, count: int, each: int, whats: tuple[str, ...], kinds: tuple[str, ...]
) -> None:
    """What is behind it is sent, in its order; all that is refused can be called again. No word is lost by waiting."""
    base.node(ME)
    ids = given_events(base, count, each=each, whats=whats)
    box = Kinds(*kinds)

    send_until_quiet(base, outlet_of(box))

    refused = [id_ for id_ in ids if whats[int(id_[-1]) % len(whats)] in kinds]
    assert sorted(box.got) == [id_ for id_ in ids if id_ not in refused]
    assert sorted(ids_of(base, tables.events_aside)) == refused
    assert base.row(tables.event_receivers, "a")["refused"] == len(refused)


def in_order(got: Sequence[str]) -> bool:
    """What was got for the first time, within each line."""
    first = list(dict.fromkeys(got))
    return all(
        first.index(one) < first.index(two) for one in first for two in first if one[:-1] == two[:-1] and one < two
    )


def test_a_kind_is_passed_also_where_more_waits_than_is_read_at_once(
    base: Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two readings have seen the same lines: each event of them is there once."""
    monkeypatch.setattr(posting, "BATCH_MOST", 10)
    base.node(ME)
    ids = given_events(base, 40, whats=("updated", "status"))
    box = Kinds("updated")

    send_until_quiet(base, outlet_of(box))

    assert (ids_of(base, tables.events), sorted(box.got)) == ([], ids[1::2])
    assert sorted(ids_of(base, tables.events_aside)) == ids[::2]


def test_what_is_named_twice_is_put_aside_once(base: Base) -> None:
    base.node(ME)
    ids = given_events(base, 2)
    base.run(receivers.enrol, receivers=["a"], incarnation=ME)
    base.run(posting.take, receiver="a", incarnation=ME)

    base.run(posting._put_aside, "a", [ids[1], ids[0], ids[1]], "no")

    rows = base.rows(tables.events_aside)
    assert sorted((row["at_us"], row["id"]) for row in rows) == [(NOW_US, ids[1]), (NOW_US + 1, ids[0])]
    assert base.run(receivers.again, receiver="a") == 2


class Spell(Picky):
    """Refuses everything so many times, and then takes everything. `log`: what was sent, and whether it was taken."""

    def __init__(self, refusals: int) -> None:
        super().__init__()
        self.refusals = refusals
        self.log: list[tuple[list[str], bool]] = []

    async def send(self, events: Sequence[Event]) -> None:
        taken = self.asked >= self.refusals
        self.log.append(([event.id for event in events], taken))
        if not taken:
            self.asked += 1
            raise Refused("400")
        await super().send(events)


@pytest.mark.parametrize("refusals", range(75))
def test_what_was_not_refused_just_now_is_never_passed(base: Base, refusals: int) -> None:
    """That others of its kind were refused says nothing of it, and a receiver may be mended at any moment of the search.

    The first by time is the last line, so the line that would be passed is not among those that were just tried.
    """
    base.node(ME)
    ids = given_events(base, 60, whats=("updated", "status"), backwards=True)
    box = Spell(refusals)

    send_until_quiet(base, outlet_of(box))

    aside = ids_of(base, tables.events_aside)
    assert len(aside) <= 1  # refused just before the receiver was mended
    for id_ in aside:
        passing = next(place for place, (sent, taken) in enumerate(box.log) if taken and f"{id_[:-1]}1" in sent)
        assert box.log[passing - 1] == ([id_], False)
    assert in_order(box.got)
    assert sorted({*box.got, *aside}) == sorted(ids)


def test_a_line_is_in_order_though_it_was_read_in_two_parts() -> None:
    """What was called again between two readings is first in its line, and seen last."""
    line = [
        Event(id=str(seq), what=what, resource_type="volume", resource_id="v", seq=seq, number=0, at_us=NOW_US)
        for seq, what in ((2, "updated"), (3, "status"), (1, "updated"))
    ]

    found = sending._further(line, {"volume.updated"})

    assert found is not None
    assert [event.seq for event in found] == [1, 2, 3]


@pytest.mark.parametrize("does", ["take", "refuse", "away", "hang"])
def test_what_steps_aside_is_at_its_place_again_unless_it_may_have_been_passed(base: Base, does: str) -> None:
    """`receivers.again` and whoever ages events find them as they were."""
    base.node(ME)
    ids = given_events(base, 4, each=4, whats=("updated", "updated", "status", "status"))
    base.run(receivers.enrol, receivers=["a"], incarnation=ME)
    held = base.run(posting.take, receiver="a", incarnation=ME)
    before = base.rows(tables.events)
    base.now_us += 5_000_000
    asides: list[tuple[str, list[str]]] = []

    class Third(Picky):
        async def send(self, events: Sequence[Event]) -> None:
            (event,) = events
            asides.append((event.id, sorted(ids_of(base, tables.events_aside))))
            if event.id != ids[2] or does == "refuse":
                raise Refused(f"not {event.id}")
            if does == "away":
                raise NotTaken("away")
            if does == "hang":
                await asyncio.Event().wait()
            self.got.append(event.id)

    async def main() -> bool:
        outlet = outlet_of(Third())
        sender = sender_of(base, {"a": outlet})
        try:
            return await sender._takes_kind(held, outlet, {"volume.updated"})
        except NotTaken:
            return False

    assert in_virtual_time(main()) is (does == "take")

    assert asides == [(ids[0], []), (ids[1], ids[:1]), (ids[2], ids[:2])]
    row = base.row(tables.event_receivers, "a")
    if does == "refuse":
        assert (base.rows(tables.events), ids_of(base, tables.events_aside)) == (before, [])
        assert row["refused"] == 0
    else:
        assert sorted(ids_of(base, tables.events_aside)) == ids[:2]
        assert {one["reason"] for one in base.rows(tables.events_aside)} == {f"not {id_}" for id_ in ids[:2]}
        assert row["refused"] == 2
        assert sorted(ids_of(base, tables.events)) == (ids[3:] if does == "take" else ids[2:])


def test_a_node_that_dies_before_it_has_written_what_was_taken_leaves_aside_what_was_passed(base: Base) -> None:
    """Were it back among what waits, the next node would send it after what came later."""
    for name in (OTHER, ME):
        base.node(name)
    ids = given_events(base, 2, whats=("updated", "status"))
    base.run(receivers.enrol, receivers=["a"], incarnation=OTHER)
    held = base.run(posting.take, receiver="a", incarnation=OTHER)

    class Dying(Kinds):
        async def send(self, events: Sequence[Event]) -> None:
            await super().send(events)
            base.change(tables.nodes, OTHER, state="expired")
            base.run(posting.take, receiver="a", incarnation=ME)

    box = Dying("updated")

    async def die() -> None:
        outlet = outlet_of(box)
        await sender_of(base, {"a": outlet})._takes_kind(held, outlet, {"volume.updated"})

    with pytest.raises(posting.NotHeld):
        in_virtual_time(die())
    after = Picky()
    send_until_quiet(base, outlet_of(after), seed=2)

    assert (box.got, after.got) == (ids[1:], ids[1:])
    assert (ids_of(base, tables.events), ids_of(base, tables.events_aside)) == ([], ids[:1])


def test_what_could_not_be_put_back_at_once_is_back_before_anything_else_is_sent(
    base: Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    base.node(ME)
    ids = given_events(base, 30, whats=("updated", "status"))
    put_back, failures = posting.put_back, [Unavailable("no database")] * 20
    seen: list[list[str]] = []

    def fail_first(tx: Connection, held: posting.Held, *, since: dict[str, int]) -> None:
        if failures:
            raise failures.pop()
        put_back(tx, held, since=since)

    class Watching(Proxy):
        async def send(self, events: Sequence[Event]) -> None:
            seen.append(ids_of(base, tables.events_aside))
            await super().send(events)

    monkeypatch.setattr(posting, "put_back", fail_first)
    send_until_quiet(base, outlet_of(Watching()))

    assert failures == []
    assert max(len(aside) for aside in seen) == 1
    assert (ids_of(base, tables.events), ids_of(base, tables.events_aside)) == (ids, [])


def test_who_takes_nothing_for_too_long_finds_it_aside(base: Base) -> None:
    """Whether it refuses everything or one kind of event that alone is there cannot be known; nothing is lost by that."""
    base.node(ME)
    ids = given_events(base, 6)
    box = Proxy()

    send_until_quiet(base, outlet_of(box), keep_s=250.0)

    assert box.asked > 20
    assert (ids_of(base, tables.events), sorted(ids_of(base, tables.events_aside))) == ([], ids)
    assert base.row(tables.event_receivers, "a")["dropped"] == 0
    assert base.run(receivers.again, receiver="a") == 6
    taking = Picky()
    send_until_quiet(base, outlet_of(taking), seed=2, keep_s=100.0)  # what is called again waits from that moment on
    assert taking.got == ids


@pytest.mark.parametrize("refusals", [1, 5, 13, 14, 15, 16, 28, 29, 60])
def test_who_takes_again_what_it_has_refused_with_everything_else_gets_all_of_it_in_order(
    base: Base, refusals: int
) -> None:
    """Whenever that is: at no point of the search does it cost an event its place."""
    base.node(ME)
    ids = given_events(base, 30)
    box = Proxy(refusals)

    send_until_quiet(base, outlet_of(box))

    assert (sorted(box.got), base.row(tables.event_receivers, "a")["refused"]) == (ids, 0)
    seconds = [id_ for id_ in ids if id_[-1] == "1"]
    assert all(box.got.index(f"{id_[:-1]}0") < box.got.index(id_) for id_ in seconds)


def test_of_the_only_line_that_waits_few_are_set_aside_before_anything_is_taken(base: Base) -> None:
    """Nobody knows then whether it is the event or the receiver. They come back when they are called."""
    base.node(ME)
    ids = given_events(base, 10, each=10)

    send_until_quiet(base, outlet_of(Proxy()))

    assert (ids_of(base, tables.events_aside), ids_of(base, tables.events)) == (ids[:3], ids[3:])
    assert base.run(receivers.again, receiver="a") == 3
    box = Picky()
    send_until_quiet(base, outlet_of(box), seed=2)
    assert box.got == ids


def test_what_is_taken_is_found_among_ever_so_much_that_is_refused(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    """More lines of it than are read at once, or tried at once; and nobody waits for another event to come."""
    monkeypatch.setattr(posting, "BATCH_MOST", 10)
    base.node(ME)
    ids = given_events(base, 60, each=1, spread=1 << 32)
    box = Picky(*ids[:44], *ids[45:])

    send_until_quiet(base, outlet_of(box))

    assert (box.got, base.row(tables.event_receivers, "a")["refused"]) == ([ids[44]], 1)


def test_another_node_goes_on_with_the_search_of_one_that_died(base: Base) -> None:
    """Whatever was taken is forgotten by then, whatever was not comes again in its order."""
    for name in (OTHER, ME):
        base.node(name)
    ids = given_events(base, 6)
    base.run(receivers.enrol, receivers=["a"], incarnation=OTHER)
    held = base.run(posting.take, receiver="a", incarnation=OTHER)
    base.run(posting.refused, held, error="no")
    base.run(posting.sent, held, ids=ids[:3])  # the half that was taken; and then it died
    base.change(tables.nodes, OTHER, state="expired")
    box = Picky(ids[4])

    send_until_quiet(base, outlet_of(box))

    assert (box.got, ids_of(base, tables.events_aside)) == ([ids[3], ids[5]], [ids[4]])


def test_who_lost_the_receiver_sets_nothing_aside(base: Base) -> None:
    for name in (OTHER, ME):
        base.node(name)
    ids = given_events(base, 1)
    base.run(receivers.enrol, receivers=["a"], incarnation=OTHER)
    held = base.run(posting.take, receiver="a", incarnation=OTHER)
    base.change(tables.nodes, OTHER, state="expired")
    base.run(posting.take, receiver="a", incarnation=ME)

    with pytest.raises(posting.NotHeld):
        base.run(posting.set_aside, held, event_id=ids[0], reason="no", is_sure=True)
    with pytest.raises(posting.NotHeld):
        base.run(posting.refused, held, error="no")

    assert (ids_of(base, tables.events), ids_of(base, tables.events_aside)) == (ids, [])


def test_what_was_taken_of_a_delivery_that_failed_is_not_sent_again(base: Base) -> None:
    base.node(ME)
    ids = given_events(base, 5)
    box = Half()

    send_until_quiet(base, outlet_of(box))

    assert box.got == ids


def test_what_was_set_aside_is_given_up_with_the_rest_that_is_too_old(base: Base) -> None:
    base.node(ME)
    ids = given_events(base, 1)
    send_until_quiet(base, outlet_of(Picky(*ids)))
    assert ids_of(base, tables.events_aside) == ids
    held = base.run(posting.take, receiver="a", incarnation=ME)

    base.now_us += 1_000_001
    assert base.run(posting.age, held, keep_us=1_000_000_000) == posting.Aged(aside=0, dropped=0)
    assert base.run(posting.age, held, keep_us=1_000_000) == posting.Aged(aside=0, dropped=1)

    assert (ids_of(base, tables.events_aside), base.row(tables.event_receivers, "a")["dropped"]) == ([], 1)


def test_what_was_set_aside_can_be_sent_again(base: Base) -> None:
    base.node(ME)
    ids = given_events(base, 3)
    send_until_quiet(base, outlet_of(Picky(ids[1])))

    assert base.run(receivers.again, receiver="a") == 1
    assert base.run(receivers.again, receiver="a") == 0
    box = Picky()
    send_until_quiet(base, outlet_of(box), seed=2)

    assert (box.got, ids_of(base, tables.events_aside)) == ([ids[1]], [])


def test_a_webhook_that_refuses_one_event_gets_all_others(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over HTTP: 413 for more than two at once, 422 for one of them, and an outage in between."""
    monkeypatch.setattr(sending, "PAUSE_FIRST_S", 0.01)
    monkeypatch.setattr(sending, "POLL_OTHERS_S", 0.01)
    base.node(ME)
    ids = given_events(base, 7)
    got: list[str] = []
    outages = [503, 429]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                (line,) = (line for line in head.decode().splitlines() if line.lower().startswith("content-length"))
                body = await reader.readexactly(int(line.partition(":")[2]))
                told = [one["id"] for one in json.loads(body)["events"]]
                status = 413 if len(told) > 2 else 422 if ids[3] in told else 200
                if status == 200 and outages:
                    status = outages.pop()
                if status == 200:
                    got.extend(told)
                writer.write(f"HTTP/1.1 {status} x\r\nContent-Length: 0\r\n\r\n".encode())
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()

    async def main() -> None:
        env = real_env()
        async with await asyncio.start_server(serve, "127.0.0.1") as listening:
            port = listening.sockets[0].getsockname()[1]
            hook = WebhookReceiver(f"http://127.0.0.1:{port}/", secret_file=None, ca_file=None, timeout_s=5)
            sender = Sender(
                env=env, store=Store(base, env), incarnation=Incarnation(ME), outlets={"a": outlet_of(hook)},
                may_act=lambda: True,
            )  # fmt: skip
            task = asyncio.ensure_future(sender.run())
            for _ in range(500):
                await asyncio.sleep(0.01)
                base.now_us += 100_000
                if not base.rows(tables.events):
                    break
            task.cancel()
            await hook.close()

    asyncio.run(main())

    assert got == [id_ for id_ in ids if id_ != ids[3]]
    (aside,) = base.rows(tables.events_aside)
    assert (aside["id"], aside["reason"]) == (ids[3], "It answered 422 instead of 2xx.")


# --- the end of a receiver -------------------------------------------------------------------------------------------


def remove_all(base: Base, receiver: str) -> int:
    found = 0
    for _ in range(100):
        removed = base.run(receivers.remove, receiver=receiver)
        found += removed.events
        if removed.is_whole:
            return found
    raise AssertionError("a removal has an end")


def test_a_receiver_that_nobody_names_goes_with_all_that_waits_for_it(
    base: Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receivers, "AT_ONCE", 2)
    base.node(ME, state="gone")
    given_events(base, 5)
    kept = given_events(base, 1, receiver="b")
    base.run(receivers.enrol, receivers=["a", "b"], incarnation=ME)

    assert remove_all(base, "a") == 5

    assert ids_of(base, tables.events) == kept
    assert [row["name"] for row in base.rows(tables.event_receivers)] == ["b"]
    with pytest.raises(NotFound, match="Receiver a could not be found"):
        base.run(receivers.remove, receiver="a")


@pytest.mark.parametrize("state", ["up", "draining"])
def test_a_receiver_that_a_live_node_names_stays(base: Base, state: str) -> None:
    base.node(ME, state=state)
    base.run(receivers.enrol, receivers=["a"], incarnation=ME)

    with pytest.raises(InvalidState, match=f"in the settings of {ME}"):
        base.run(receivers.remove, receiver="a")


def test_a_receiver_stays_until_every_live_node_has_said_whether_it_names_it(base: Base) -> None:
    """In the instant between a node's start and its first word. One that sends for nobody says that."""
    base.node(OTHER, state="expired")
    base.run(receivers.enrol, receivers=["a"], incarnation=OTHER)
    ids = given_events(base, 2)
    base.node(ME)

    for asked in (receivers.remove, receivers.would_remove):
        with pytest.raises(InvalidState, match=f"may be in the settings of {ME}"):
            base.run(asked, receiver="a")
    assert ids_of(base, tables.events) == ids

    in_virtual_time(sender_of(base, {}).run())
    assert remove_all(base, "a") == 2


def test_events_of_a_receiver_that_no_node_ever_named_are_seen_and_go(base: Base) -> None:
    """An API has it in its settings, and no node."""
    given_events(base, 2)

    (seen,) = base.run(receivers.waiting)
    assert (seen.receiver, seen.waiting, base.run(receivers.named)) == ("a", 2, {})
    assert remove_all(base, "a") == 2
    assert base.run(receivers.waiting) == []


def test_a_node_that_names_it_again_makes_it_anew(base: Base) -> None:
    base.node(ME, state="expired")
    base.run(receivers.enrol, receivers=["a"], incarnation=ME)
    remove_all(base, "a")
    base.node(OTHER)

    base.run(receivers.enrol, receivers=["a"], incarnation=OTHER)

    (seen,) = base.run(receivers.waiting)
    assert (seen.receiver, base.run(receivers.named)) == ("a", {"a": [OTHER]})


def test_a_sender_whose_receiver_was_removed_under_it_sends_nothing(base: Base) -> None:
    """Its node was taken for dead, and does not know it yet."""
    base.node(ME)
    base.run(receivers.enrol, receivers=["a"], incarnation=ME)
    held = base.run(posting.take, receiver="a", incarnation=ME)
    base.change(tables.nodes, ME, state="expired")
    remove_all(base, "a")

    def all_of_it(tx: Connection) -> None:
        posting.look(tx, receiver="a", incarnation=Incarnation(ME), after="")

    for work in (all_of_it, lambda tx: posting.sent(tx, held, ids=[])):
        with pytest.raises(posting.NotHeld):
            base.run(work)
