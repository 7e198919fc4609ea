"""Events as transactions leave them, and what those who send make of them."""

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from sqlalchemy import select
from tests.databases import urls
from tests.store.beside import Body, beside
from tests.store.given import (
    ME,
    NOW_US,
    OTHER,
    UNLIMITED,
    Base,
    available_volume,
    create_snapshot,
    in_virtual_time,
    new_volume,
    origin,
    virtual_env,
)

from breezeblock.events.contract import NotTaken
from breezeblock.events.notifications import notification_of
from breezeblock.model.errors import Contended, InvalidState
from breezeblock.model.events import Event
from breezeblock.model.ids import AttachmentId, VolumeId
from breezeblock.node.sender import Outlet, Sender
from breezeblock.protocol import posting, receivers
from breezeblock.protocol.posting import NotHeld
from breezeblock.resources import (
    attachments,
    managing,
    old_attachments,
    snapshots,
    volume_changes,
    volume_edits,
    volumes,
)
from breezeblock.store import tables
from breezeblock.store.outbox import Post
from breezeblock.store.run import Store, _Told

NAMES = ("a", "b")
AS_IT_IS = {"attach_status": None, "migration_status": None}


def store_of(base: Base, receivers: Sequence[str] = NAMES) -> Store:
    return Store(base, virtual_env(), receivers=receivers)


def told(base: Base, receiver: str = "a") -> list[Event]:
    """What waits for a receiver, in the order in which it would get it."""
    line = select(tables.events).where(tables.events.c.receiver == receiver)
    with base.tx() as tx:
        rows = tx.execute(line.order_by("resource_id", "op_seq", "number")).mappings().all()
    return [msgspec.json.decode(row["event_json"], type=Event) for row in rows]


def do(store: Store, f: Any, *args: Any, **kwargs: Any) -> Any:
    return in_virtual_time(store.run(f, *args, **kwargs))


def words(events: Sequence[Event]) -> list[tuple[str, str, str | None, str | None]]:
    return [(event.name, event.kind, event.before, event.after) for event in events]


def test_a_creation_is_told_from_its_request_to_its_end(base: Base) -> None:
    base.node(ME)
    base.pool()
    store = store_of(base)
    asked = origin()

    do(store, volumes.begin_create, origin=asked, wanted=new_volume("v1"), quota_defaults=UNLIMITED)
    claim = base.claim(asked.operation_id)
    payload = volumes.CreateVolume(volume_id="v1", size_gib=1, source_type=None, source_id=None)
    do(store, volumes.finish_create, claim, payload, {"object": "v1.1.1"}, now_us=NOW_US)

    events = told(base)
    assert words(events) == [
        ("volume.status", "", None, "creating"),
        ("volume.begun", "create_volume", None, None),
        ("volume.ended", "create_volume", None, None),
        ("volume.status", "", "creating", "available"),
    ]
    assert [event.request_id for event in events] == [asked.request_id] * 4
    assert events[2].outcome == "done"
    assert [event.resource["status"] for event in events] == ["creating", "creating", "available", "available"]
    assert told(base, "b") == events
    assert [event.seq for event in events] == sorted(event.seq for event in events)


def test_each_attachment_of_a_volume_is_told(base: Base) -> None:
    """Of a second one too, which changes nothing of the volume's own status."""
    available_volume(base)
    base.change(tables.volumes, "v1", multiattach=True)
    store = store_of(base)
    at = {"volume_id": VolumeId("v1"), "host_name": None, "mountpoint": "/dev/vdb", "mode": "rw"}

    for number in (1, 2):
        asked, id_ = origin(), AttachmentId(f"a{number}")
        do(store, old_attachments.attach, origin=asked, attachment_id=id_, instance_uuid=f"i{number}", **at)
    do(store, old_attachments.begin_detach, origin=origin(), volume_id=VolumeId("v1"), attachment_id="a2")

    names = [(event.attachment_id, found.event_type) for event in told(base) if (found := notification_of(event))]
    assert names == [
        ("a1", "volume.attach.start"),
        ("a1", "volume.attach.end"),
        ("a2", "volume.attach.start"),
        ("a2", "volume.attach.end"),
        ("a2", "volume.detach.start"),
        ("a2", "volume.detach.end"),
    ]
    assert [one["instance_uuid"] for one in told(base)[-1].attachments] == ["i1"]
    assert {event.transition for event in told(base) if event.attachment_id} == {
        "attachment.new", "attachment.complete", "attachment.disconnect", "attachment.gone"
    }  # fmt: skip


def test_a_volume_that_was_only_reserved_was_never_attached(base: Base) -> None:
    available_volume(base)
    store = store_of(base)
    wanted = attachments.NewAttachment(id=AttachmentId("a1"), volume_id=VolumeId("v1"), instance_uuid="i1")
    do(store, attachments.begin_create, origin=origin(), wanted=wanted)
    do(store, attachments.begin_delete, origin=origin(), attachment_id=AttachmentId("a1"))

    assert [event.after for event in told(base) if event.attachment_id] == ["reserved", "deleted"]
    assert [event for event in told(base) if notification_of(event)] == []


def test_what_is_kept_back_is_told_to_nobody(base: Base) -> None:
    available_volume(base)
    do(store_of(base), volume_changes.reset_status, origin=origin(), volume_id="v1", status="error", **AS_IT_IS)

    (event,) = told(base)

    assert event.resource["metadata"] == {}
    assert not {"object_name", "op_seq", "tombstone", "admin_metadata", "charged_gib"} & event.resource.keys()


def test_a_row_that_is_removed_is_told_as_it_was_last(base: Base) -> None:
    """Also a volume that never had a place on any storage, for which there is no operation."""
    base.add(
        tables.volumes, id="v9", project_id=origin().project_id, user_id="u", size_gib=3, status="error",
        availability_zone="nova", created_at_us=NOW_US,
    )  # fmt: skip

    do(store_of(base), volumes.begin_delete, origin=origin(), volume_id="v9", cascade=False)

    first, last = told(base)
    assert (first.after, last.before, last.after) == ("deleting", "deleting", "deleted")
    assert (last.resource["size_gib"], last.resource["status"]) == (3, "deleted")


def test_a_snapshot_is_told_with_the_zone_of_its_volume(base: Base) -> None:
    available_volume(base)
    create_snapshot(base)

    do(store_of(base), snapshots.reset_status, origin=origin(), snapshot_id="s1", status="error")

    assert told(base)[0].resource["availability_zone"] == "nova"


def test_a_deletion_that_waited_for_another_is_told_in_its_place(base: Base) -> None:
    """Also when the row that it is about is a tombstone by then, which goes with it."""
    available_volume(base)
    store, first, second = store_of(base), origin(), origin(is_admin=True)
    do(store, managing.begin_unmanage, origin=first, volume_id="v1")
    do(store, volumes.begin_force_delete, origin=second, volume_id="v1", cascade=False)
    payload = volumes.DeleteVolume(volume_id=VolumeId("v1"))

    for asked in (first, second):
        do(store, volumes.finish_delete, base.claim(asked.operation_id), payload, {}, now_us=NOW_US)

    events = told(base)
    assert [(event.what, event.kind) for event in events if event.what != "status"] == [
        ("begun", "unmanage_volume"),
        ("begun", "delete_volume"),
        ("ended", "unmanage_volume"),
        ("ended", "delete_volume"),
    ]
    places = [(event.seq, event.number) for event in events]
    assert len(set(places)) == len(places)
    assert base.rows(tables.volumes) == []


def test_an_edit_is_told_once(base: Base) -> None:
    available_volume(base)

    do(store_of(base), volume_edits.update_fields, origin=origin(), volume_id="v1", fields={"name": "new"})

    (event,) = told(base)
    assert (event.what, event.resource["name"]) == ("updated", "new")


def test_a_refused_request_tells_nothing(base: Base) -> None:
    available_volume(base)
    base.change(tables.volumes, "v1", status="in-use", attach_status="attached")

    with pytest.raises(InvalidState):
        do(store_of(base), volumes.begin_delete, origin=origin(), volume_id="v1", cascade=False)

    assert base.rows(tables.events) == []


def test_with_no_receiver_nothing_is_written(base: Base) -> None:
    available_volume(base)

    do(store_of(base, ()), volume_changes.reset_status, origin=origin(), volume_id="v1", status="error", **AS_IT_IS)

    assert base.rows(tables.events) == []


def test_a_transaction_that_runs_twice_tells_the_same(base: Base) -> None:
    """Under the same ids: whoever has seen the first, by whatever way, knows the second."""
    available_volume(base)
    ids: list[str] = []

    class Twice:
        """Loses the first attempt at the very end."""

        async def write(self, body: Any) -> Any:
            if ids:
                return await base.write(body)
            with base.tx() as tx:
                body(tx)
                ids.append(tx.execute(select(tables.events.c.id)).scalar_one())
                raise Contended("lost")

        read = write

    store = Store(Twice(), virtual_env(), receivers=("a",))
    do(store, volume_changes.reset_status, origin=origin(), volume_id="v1", status="error", **AS_IT_IS)

    assert [event.id for event in told(base)] == ids


# --- who sends -------------------------------------------------------------------------------------------------------


def test_one_node_at_a_time_holds_a_receiver_and_a_live_one_keeps_it(base: Base) -> None:
    for name in (ME, OTHER):
        base.node(name)
    base.run(receivers.enrol, receivers=["a"], incarnation=ME)
    base.run(receivers.enrol, receivers=["a"], incarnation=ME)

    base.run(posting.take, receiver="a", incarnation=ME)

    with pytest.raises(NotHeld):
        base.run(posting.take, receiver="a", incarnation=OTHER)


@pytest.mark.parametrize("state", ["expired", "fenced", "gone"])
def test_who_is_up_no_more_loses_the_receiver_and_can_forget_nothing(base: Base, state: str) -> None:
    for name in (ME, OTHER):
        base.node(name)
    given = given_events(base)
    held = base.run(posting.take, receiver="a", incarnation=ME)
    base.change(tables.nodes, ME, state=state)

    base.run(posting.take, receiver="a", incarnation=OTHER)

    with pytest.raises(NotHeld):
        base.run(posting.sent, held, ids=[given[0].id])
    with pytest.raises(NotHeld):
        base.run(posting.take, receiver="a", incarnation=ME)
    assert told(base) == given


def given_events(base: Base, resources: Sequence[str] = ("v1",), each: int = 2) -> list[Event]:
    """Events of some resources for receiver `a`. The later a resource, the earlier its clock."""
    found = []
    for number, resource in enumerate(resources):
        for seq in range(each):
            event = Event(
                id=f"{resource}-{seq}", what="updated", resource_type="volume", resource_id=resource, seq=seq, number=0,
                at_us=NOW_US - number * 10 + (0 if seq else 5),
            )  # fmt: skip
            found.append(event)
            base.add(
                tables.events, receiver="a", id=event.id, resource_id=resource, op_seq=seq, number=0, at_us=event.at_us,
                event_json=msgspec.json.encode(event).decode(),
            )  # fmt: skip
    base.run(receivers.enrol, receivers=["a"], incarnation=ME)
    return found


def test_resources_come_by_time_but_never_against_their_own_order(base: Base) -> None:
    """The clock of whoever wrote a resource's second event is behind that of the first one's."""
    base.node(ME)
    given_events(base, ("v1", "v2"))
    base.run(posting.take, receiver="a", incarnation=ME)

    seen = base.run(posting.look, receiver="a", incarnation=ME, after="")

    assert [event.id for event in seen.events] == ["v2-0", "v2-1", "v1-0", "v1-1"]


def test_a_look_never_has_an_event_without_those_before_it(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(posting, "BATCH_MOST", 3)
    base.node(ME)
    given_events(base, ("v1", "v2"))
    base.run(posting.take, receiver="a", incarnation=ME)

    first = base.run(posting.look, receiver="a", incarnation=ME, after="")
    second = base.run(posting.look, receiver="a", incarnation=ME, after="v1")

    assert sorted(event.id for event in first.events) == ["v1-0", "v1-1", "v2-0"]
    assert [event.id for event in second.events] == ["v2-0", "v2-1"]


def test_what_nobody_has_taken_for_too_long_is_set_aside_and_after_as_long_again_given_up(base: Base) -> None:
    """Whoever was away for too long can still have it, when it is called."""
    base.node(ME)
    given_events(base)
    held = base.run(posting.take, receiver="a", incarnation=ME)

    base.now_us = NOW_US + 101
    assert base.run(posting.age, held, keep_us=100) == posting.Aged(aside=1, dropped=0)
    (row,) = base.run(receivers.waiting)
    assert (row.waiting, row.aside, row.dropped, row.oldest_us) == (1, 1, 0, NOW_US + 5)
    assert base.rows(tables.events_aside)[0]["reason"] == posting.NOT_TAKEN

    base.now_us += 100
    assert base.run(posting.age, held, keep_us=100) == posting.Aged(aside=1, dropped=0)
    base.now_us += 1
    assert base.run(posting.age, held, keep_us=100) == posting.Aged(aside=0, dropped=1)
    (row,) = base.run(receivers.waiting)
    assert (row.waiting, row.aside, row.dropped) == (0, 1, 1)


def test_what_waited_ever_so_long_while_no_node_ran_is_set_aside_for_as_long_as_anything_else(base: Base) -> None:
    """It has not been offered once. From when on it is aside is what counts, by the one clock that all nodes share."""
    base.node(ME)
    given_events(base)
    held = base.run(posting.take, receiver="a", incarnation=ME)
    base.now_us = NOW_US + 1000

    assert base.run(posting.age, held, keep_us=100) == posting.Aged(aside=2, dropped=0)
    assert base.run(posting.age, held, keep_us=100) == posting.Aged(aside=0, dropped=0)

    base.now_us += 100
    assert base.run(posting.age, held, keep_us=100) == posting.Aged(aside=0, dropped=0)
    base.now_us += 2
    assert base.run(posting.age, held, keep_us=100) == posting.Aged(aside=0, dropped=2)


def test_a_node_whose_clock_is_ahead_sets_nothing_aside_before_its_time(base: Base) -> None:
    base.node(ME)
    given_events(base)
    base.now_us = NOW_US + 10_000_000

    async def main() -> None:
        env = virtual_env()
        env.clock.jump(1_000_000.0)  # type: ignore[attr-defined]
        outlets = {"a": Outlet(Box(*["refuse"] * 1000), timeout_s=5.0, keep_s=100_000.0)}
        sender = Sender(env=env, store=Store(base, env), incarnation=ME, outlets=outlets, may_act=lambda: True)
        sending = asyncio.ensure_future(sender.run())
        await env.clock.sleep(200.0)
        sending.cancel()

    in_virtual_time(main())
    (row,) = base.run(receivers.waiting)
    assert (row.waiting, row.aside, row.dropped) == (2, 0, 0)


class Box:
    """A receiver that does with each delivery what it is told to: take it, refuse it, or take it and lose the answer."""

    def __init__(self, *does: str) -> None:
        self.does = list(does)
        self.got: list[list[str]] = []

    async def send(self, events: Sequence[Event]) -> None:
        what = self.does.pop(0) if self.does else "take"
        if what == "hang":
            await asyncio.Event().wait()
        if what == "break":
            raise ValueError("a mistake")
        if what != "refuse":
            self.got.append([event.id for event in events])
        if what in ("refuse", "lose"):
            raise NotTaken(what)

    async def close(self) -> None:
        """See `Receiver.close`."""


def send_until_quiet(base: Base, boxes: dict[str, Box], *, may_act: bool = True) -> None:
    """A sender at work until nothing waits for the first of them."""

    async def main() -> None:
        env = virtual_env()
        outlets = {name: Outlet(box, timeout_s=5.0, keep_s=0) for name, box in boxes.items()}
        sender = Sender(env=env, store=Store(base, env), incarnation=ME, outlets=outlets, may_act=lambda: may_act)
        sending = asyncio.ensure_future(sender.run())
        for _ in range(200):
            await env.clock.sleep(1.0)
            base.now_us += 1_000_000
            if sending.done() or not told(base, next(iter(boxes))):
                break
        sending.cancel()

    in_virtual_time(main())


@pytest.mark.parametrize("does", ["refuse", "lose", "hang", "break"])
def test_what_was_not_confirmed_is_sent_again_in_order(base: Base, does: str) -> None:
    base.node(ME)
    given_events(base)
    box = Box(does, does)

    send_until_quiet(base, {"a": box})

    assert box.got == [["v1-0", "v1-1"]] * (3 if does == "lose" else 1)
    (row,) = base.rows(tables.event_receivers)
    assert (row["sent"], row["failed"], row["failures"], row["error"]) == (2, 2, 0, None)


def test_one_that_hangs_keeps_nothing_from_the_other(base: Base) -> None:
    base.node(ME)
    given_events(base)
    box = Box()

    send_until_quiet(base, {"a": box, "b": Box("hang")})

    assert box.got == [["v1-0", "v1-1"]]


def test_without_its_lease_a_node_sends_nothing(base: Base) -> None:
    base.node(ME)
    given_events(base)
    box = Box()

    send_until_quiet(base, {"a": box}, may_act=False)

    assert box.got == []


def test_who_dies_between_delivery_and_forgetting_leaves_it_to_be_sent_again(base: Base) -> None:
    """The next holder sends the same, in the same order."""
    for name in (OTHER, ME):
        base.node(name)
    given = given_events(base)
    base.run(posting.take, receiver="a", incarnation=OTHER)  # which has delivered them, and dies
    base.change(tables.nodes, OTHER, state="expired")
    box = Box()

    send_until_quiet(base, {"a": box})

    assert box.got == [[event.id for event in given]]
    assert base.row(tables.event_receivers, "a")["epoch"] == 2


@pytest.mark.skipif(not urls(), reason="takes two transactions at once: BREEZEBLOCK_TEST_DATABASE names servers")
@pytest.mark.parametrize("statuses", [("error", "maintenance"), ("maintenance", "error")])
def test_two_changes_beside_each_other_are_told_in_the_order_of_their_commits(
    base: Base, statuses: tuple[str, str]
) -> None:
    available_volume(base)

    def change(number: int, status: str) -> Body:
        post = Post(("a",), f"tx{number}", NOW_US - number, None)
        asked = origin()
        return _Told(
            lambda tx: volume_changes.reset_status(
                tx, origin=asked, volume_id=VolumeId("v1"), status=status, **AS_IT_IS
            ),
            post,
        )

    beside(base, change(0, statuses[0]), change(1, statuses[1]))

    first, second = told(base)
    assert (first.before, second.before) == ("available", first.after)
    assert second.after == base.row(tables.volumes, "v1")["status"]


@pytest.mark.parametrize("told_as", ['{"id": 5}', '{"what": "later", "id": 7, "resource_type": []}'])
def test_an_event_that_is_not_understood_ends_nothing(base: Base, told_as: str) -> None:
    """Of a later release, beside whose nodes this one still runs: it waits for them, and operations go on."""
    base.node(ME)

    async def main() -> bool:
        env = virtual_env()
        outlets = {"a": Outlet(Box("hang"), timeout_s=10.0, keep_s=0)}
        sender = Sender(env=env, store=Store(base, env), incarnation=ME, outlets=outlets, may_act=lambda: True)
        sending = asyncio.ensure_future(sender.run())
        given_events(base)
        await env.clock.sleep(5.0)  # it has the receiver by then
        base.run(lambda tx: tx.execute(tables.events.update().values(event_json=told_as)))
        await env.clock.sleep(30.0)
        goes_on = not sending.done()
        sending.cancel()
        return goes_on

    assert in_virtual_time(main())
    assert len(base.rows(tables.events)) == 2
    assert {row["holder"] for row in base.rows(tables.event_receivers)} == {None}


def test_a_kind_of_event_that_only_a_later_release_has_is_handed_on(base: Base) -> None:
    base.node(ME)
    given_events(base)
    for row in base.rows(tables.events):
        text = msgspec.json.decode(row["event_json"]) | {"what": "later", "more": [1]}
        where = tables.events.c.id == row["id"]
        json = msgspec.json.encode(text).decode()
        base.run(
            lambda tx, on=where, is_now=json: tx.execute(tables.events.update().where(on).values(event_json=is_now))
        )
    box = Box()

    send_until_quiet(base, {"a": box})

    assert box.got == [["v1-0", "v1-1"]]
