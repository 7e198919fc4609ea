"""What backups have kept on storage, and which of it another backup may remove."""

from typing import Any

from tests.store.given import NOW_US, QUEUE, Base

from breezeblock.resources import kept
from breezeblock.store import tables


def backup(base: Base, id_: str, *, data_us: int, **values: Any) -> None:
    """One of volume `v1`, with what it has kept."""
    row = {
        "project_id": "p1",
        "user_id": "u",
        "volume_id": "v1",
        "size_gib": 1,
        "store": "default",
        "status": "available",
    }
    base.add(tables.backups, id=id_, data_timestamp_us=data_us, created_at_us=NOW_US, **(row | values))
    base.run(kept.remember, backup_id=id_, volume_id="v1", queue=QUEUE, object_name=f"{id_}.1.1")


def older(base: Base, than: str) -> list[str]:
    return sorted(id_ for id_, _ in base.run(kept.older_of_volume, volume_id="v1", queue=QUEUE, than=than))


def test_what_earlier_backups_have_kept_may_go(base: Base) -> None:
    for number, id_ in enumerate(("b1", "b2", "b3")):
        backup(base, id_, data_us=NOW_US + number)

    assert older(base, "b2") == ["b1"]


def test_what_a_doomed_backup_is_still_being_made_of_stays(base: Base) -> None:
    """Its deletion was accepted and waits: who makes it reads from its copy until that is cancelled."""
    backup(base, "b1", data_us=NOW_US, status="deleting")
    backup(base, "b2", data_us=NOW_US)
    base.add(tables.operation_locks, resource_id="b1", seq=1, operation_id="o1", exclusive=True)

    assert older(base, "b2") == []


def test_what_nobody_works_on_any_more_may_go_whatever_its_status(base: Base) -> None:
    backup(base, "b1", data_us=NOW_US, status="error")
    backup(base, "b2", data_us=NOW_US)

    assert older(base, "b2") == ["b1"]
