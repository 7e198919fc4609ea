"""What there was in a period, told once to each receiver."""

from typing import Any

import msgspec
import pytest
from tests.api.builders import volume_row
from tests.databases import urls
from tests.store.beside import Body, beside
from tests.store.given import NOW_US, Base, available_volume, create_snapshot, in_virtual_time, virtual_env

from breezeblock.events.notifications import notification_of
from breezeblock.model.events import Event
from breezeblock.resources import usage
from breezeblock.store import tables
from breezeblock.store.outbox import Post
from breezeblock.store.run import Store, _Told

PERIOD = {"begins_us": NOW_US - 1_000_000, "ends_us": NOW_US + 1_000_000, "now_us": NOW_US + 2_000_000}


def given_volumes(base: Base, count: int, **values: Any) -> list[str]:
    ids = [f"v{number:03}" for number in range(count)]
    with base.tx() as tx:
        for id_ in ids:
            tx.execute(tables.volumes.insert().values(**volume_row(id=id_, created_at_us=NOW_US, **values)))
    return ids


def told(base: Base, receiver: str = "a") -> list[Event]:
    rows = [row for row in base.rows(tables.events) if row["receiver"] == receiver]
    return [msgspec.json.decode(row["event_json"], type=Event) for row in rows]


def tell(base: Base, kind: str = "volume", *, receiver: str = "a", most: int = 100, **period: int) -> int:
    """As the command does it, or only so many transactions of that."""

    async def main() -> int:
        store = Store(base, virtual_env(len(base.rows(tables.tx_done)))).telling(receiver)
        found = 0
        for _ in range(most):
            count, is_whole = await store.run(
                usage.tell_some, receiver=receiver, resource_type=kind, **(PERIOD | period)
            )
            found += count
            if is_whole:
                break
        return found

    return in_virtual_time(main())


def test_each_volume_is_told_once_however_often_it_is_asked(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the first run died in the middle."""
    monkeypatch.setattr(usage, "AT_ONCE", 2)
    ids = given_volumes(base, 5)

    assert tell(base, most=1) == 2
    assert tell(base) == 3
    assert tell(base) == 0

    assert sorted(event.resource_id for event in told(base)) == ids
    (row,) = base.rows(tables.usage_periods)
    assert (row["told"], row["is_whole"]) == (5, True)


def test_each_receiver_is_told_the_same_under_the_same_ids(base: Base) -> None:
    given_volumes(base, 2)

    tell(base)
    tell(base, receiver="b")

    assert {event.id for event in told(base)} == {event.id for event in told(base, "b")}
    assert len(told(base)) == 2


def test_another_period_is_told_anew(base: Base) -> None:
    given_volumes(base, 1)

    tell(base)
    tell(base, begins_us=PERIOD["begins_us"] + 1)

    assert len({event.id for event in told(base)}) == 2


def test_what_was_made_later_or_is_deleted_is_not_told(base: Base) -> None:
    given_volumes(base, 1)
    base.add(tables.volumes, **volume_row(id="w1", created_at_us=PERIOD["ends_us"]))
    base.add(tables.volumes, **volume_row(id="w2", created_at_us=NOW_US, tombstone=True))

    tell(base)

    assert [event.resource_id for event in told(base)] == ["v000"]


def test_an_event_of_usage_has_a_place_of_its_own_in_the_line_of_its_volume(base: Base) -> None:
    available_volume(base)
    before = base.row(tables.volumes, "v1")["op_seq"]

    tell(base)

    (event,) = told(base)
    assert (event.seq, base.row(tables.volumes, "v1")["op_seq"]) == (before + 1, before + 1)


def test_consumers_read_the_period_as_cinder_writes_it(base: Base) -> None:
    available_volume(base)
    create_snapshot(base)
    base.change(tables.volumes, "v1", image_metadata_json='{"os": "x"}')

    for kind, _ in usage.COUNTED:
        tell(base, kind, begins_us=1_793_491_200_000_000)

    found = [one for one in map(notification_of, told(base)) if one is not None]
    payloads = {one.event_type: one.payload for one in found}
    assert payloads.keys() == {"volume.exists", "snapshot.exists"}
    assert {one["audit_period_beginning"] for one in payloads.values()} == {"2026-11-01 00:00:00+00:00"}
    assert payloads["volume.exists"]["glance_metadata"] == [{"key": "os", "value": "x"}]
    assert payloads["snapshot.exists"]["availability_zone"] == "nova"


def test_a_backup_is_told_with_how_many_are_made_upon_it(base: Base) -> None:
    row = {
        "project_id": "p", "user_id": "u", "size_gib": 1, "status": "available", "volume_id": "v", "created_at_us": NOW_US,
        "store": "default",
    }  # fmt: skip
    base.add(tables.backups, id="b1", **row)
    base.add(tables.backups, id="b2", parent_id="b1", **row)
    base.add(tables.backups, id="b3", parent_id="b1", tombstone=True, **row)

    tell(base, "backup")

    payloads = [found.payload for event in told(base) if (found := notification_of(event)) is not None]
    assert {one["backup_id"]: one["num_dependent_backups"] for one in payloads} == {"b1": 1, "b2": 0}


def test_old_periods_are_forgotten(base: Base) -> None:
    tell(base)

    later_us = PERIOD["ends_us"] + usage.KEPT_US + 1
    tell(base, begins_us=NOW_US, ends_us=later_us, now_us=later_us)

    assert [row["begins_us"] for row in base.rows(tables.usage_periods)] == [NOW_US]


@pytest.mark.skipif(not urls(), reason="takes two transactions at once: BREEZEBLOCK_TEST_DATABASE names servers")
def test_two_who_tell_the_same_period_at_once_tell_it_once(base: Base) -> None:
    ids = given_volumes(base, 3)

    def work(number: int) -> Body:
        return _Told(
            lambda tx: usage.tell_some(tx, receiver="a", resource_type="volume", **PERIOD),
            Post(("a",), f"tx{number}", NOW_US, None),
        )

    first, second, _ = beside(base, work(1), work(2))

    assert sorted([first, second]) == [(0, True), (3, True)]
    assert sorted(event.resource_id for event in told(base)) == ids
