"""What is done to a volume beside something else: in a group, connected to a host, or on its way to another backend.

Each of these is a part of its own, and each has to be asked by the others.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.backup.bench import id_of
from tests.backup.given import GIB
from tests.migration.bench import NEW, NEW_POOL, OLD_POOL, OTHER, SNAPSHOT, VOLUME, Bench, bench
from tests.store.given import UNLIMITED, origin

from breezeblock.model.errors import BadRequest, Conflict, InvalidState
from breezeblock.model.ids import AttachmentId, BackupId, SnapshotId, TransferId, VolumeId
from breezeblock.model.requests import NewBackup, NewSnapshot, NewVolume
from breezeblock.resources import (
    attachments,
    backups,
    group_snapshots,
    group_types,
    groups,
    managing,
    managing_snapshots,
    old_attachments,
    snapshots,
    transfers,
    volume_changes,
    volumes,
)
from breezeblock.resources.manageable import Place
from breezeblock.store import tables

V, S = VolumeId(VOLUME), SnapshotId(SNAPSHOT)
GROUP, TAKEN, TYPE = id_of(11), id_of(12), id_of(14)
ATTACHMENT = id_of(8)
HOST = {"host": "here"}
MARKS = {0: b"first", GIB: b"middle"}


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Bench]:
    """A volume on the old backend, with data; and what it takes to have groups."""
    with bench(tmp_path) as one:
        one.create_volume()
        one.write(MARKS)
        asked: dict[str, Any] = {"name": "pair", "description": None, "is_public": True, "specs": {}}
        one.base.run(group_types.create_type, type_id=TYPE, origin=origin(is_admin=True), **asked)
        yield one


# --- requests ---------------------------------------------------------------------------------------------------------


def group(made: Bench, *, with_volume: bool = True) -> None:
    """A group on the old backend, with the volume in it."""
    made.base.change(tables.pools, NEW_POOL, enabled=False)
    wanted = groups.NewGroup(id=GROUP, group_type=TYPE, volume_types=("plain",))
    made.base.run(groups.create, origin=origin(), wanted=wanted, quota_defaults=UNLIMITED)
    made.base.change(tables.pools, NEW_POOL, enabled=True)
    if with_volume:
        join(made)


def regroup(made: Bench, **asked: Any) -> None:
    given: dict[str, Any] = {"name": None, "description": None, "add": (), "remove": ()}
    made.base.run(groups.update, origin=origin(), group_id=GROUP, **(given | asked))


def join(made: Bench) -> None:
    regroup(made, add=(VOLUME,))


def take_group_snapshot(made: Bench) -> None:
    wanted = group_snapshots.NewGroupSnapshot(id=TAKEN, group_id=GROUP)
    made.base.run(group_snapshots.begin_create, origin=origin(), wanted=wanted, quota_defaults=UNLIMITED)


def offer(made: Bench, *, no_snapshots: bool = False) -> None:
    wanted = transfers.NewTransfer(
        id=TransferId("t1"), volume_id=V, name=None, no_snapshots=no_snapshots, encrypted_too=True, salt="5a17",
        key_hash=transfers.key_hash("5a17", "key"),
    )  # fmt: skip
    made.base.run(transfers.offer, origin=origin(), wanted=wanted)


def accept(made: Bench) -> None:
    asked = {"transfer_id": "t1", "auth_key": "key", "quota_defaults": UNLIMITED}
    made.base.run(transfers.accept, origin=origin(project_id="p2"), **asked)


def unmanage(made: Bench) -> None:
    made.base.run(managing.begin_unmanage, origin=origin(), volume_id=V)


def clone(made: Bench) -> None:
    wanted = NewVolume(id=VolumeId(OTHER), source_volid=V)
    made.base.run(volumes.begin_create, origin=origin(), wanted=wanted, quota_defaults=UNLIMITED)


def take_snapshot(made: Bench, *, force: bool = True) -> None:
    wanted = NewSnapshot(id=S, volume_id=V, force=force)
    made.base.run(snapshots.begin_create, origin=origin(), wanted=wanted, quota_defaults=UNLIMITED)


def manage_snapshot(made: Bench) -> None:
    asked: dict[str, Any] = {"wanted": NewSnapshot(id=S, volume_id=V), "reference": "disk"}
    made.base.run(managing_snapshots.begin_manage, origin=origin(), quota_defaults=UNLIMITED, **asked)


def back_up(made: Bench) -> None:
    wanted = NewBackup(id=BackupId("k1"), volume_id=V, store="s", container="s", archive_id="a1", force=True)
    made.base.run(backups.begin_create, origin=origin(), wanted=wanted, quota_defaults=UNLIMITED)


def extend(made: Bench) -> None:
    asked: dict[str, Any] = {"volume_id": V, "size_gib_new": 3, "quota_defaults": UNLIMITED}
    made.base.run(volume_changes.begin_extend, origin=origin(), in_use=True, **asked)


def delete(made: Bench) -> None:
    made.base.run(volumes.begin_delete, origin=origin(), volume_id=V, cascade=True)


def attach(made: Bench) -> None:
    wanted = attachments.NewAttachment(id=AttachmentId(ATTACHMENT), volume_id=V, connector=HOST)
    made.base.run(attachments.begin_create, origin=origin(), wanted=wanted)


def connect(made: Bench) -> None:
    """As services do that only want to reach the volume, without an attachment that anybody is shown."""
    asked: dict[str, Any] = {"volume_id": V, "attachment_id": AttachmentId(ATTACHMENT), "connector": HOST}
    made.base.run(old_attachments.begin_connection, origin=origin(), **asked)


def everything(made: Bench) -> list[Any]:
    """All that a refused request leaves as it is."""
    return [made.base.rows(table) for table in (tables.volumes, tables.snapshots, tables.operations, tables.transfers)]


def require_refused(made: Bench, asked: Callable[[Bench], object], why: str) -> None:
    before = everything(made), made.base.accounts()
    with pytest.raises((InvalidState, BadRequest, Conflict), match=why):
        asked(made)
    assert (everything(made), made.base.accounts()) == before
    assert made.base.problems() == []


# --- in a group -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("asked", [offer, unmanage, Bench.migrate, Bench.retype, delete])
def test_a_volume_in_a_group_stays_whose_where_and_what_it_is(made: Bench, asked: Callable[[Bench], None]) -> None:
    group(made)

    require_refused(made, asked, "belongs to group")


def test_a_volume_that_has_joined_a_group_since_it_was_offered_is_not_taken(made: Bench) -> None:
    """An operator has reset it meanwhile, and back."""
    group(made, with_volume=False)
    offer(made)
    made.reset(status="available")
    join(made)
    made.reset(status="awaiting-transfer")

    require_refused(made, accept, "belongs to group")


def test_parts_of_a_group_snapshot_stay_with_it(made: Bench) -> None:
    """Also when their volume has left the group; it goes without them."""
    group(made)
    take_group_snapshot(made)
    made.work()
    regroup(made, remove=(VOLUME,))
    (part,) = made.base.rows(tables.snapshots)
    asking = {"snapshot_id": SnapshotId(part["id"])}

    require_refused(made, lambda one: one.base.run(managing_snapshots.begin_unmanage, origin=origin(), **asking), TAKEN)
    require_refused(made, offer, TAKEN)
    offer(made, no_snapshots=True)
    made.base.change(tables.transfers, "t1", no_snapshots=False)
    require_refused(made, accept, TAKEN)
    made.base.change(tables.transfers, "t1", no_snapshots=True)
    accept(made)
    assert made.volume()["project_id"] == "p2"
    assert made.base.problems() == []


# --- connected --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("asked", [offer, unmanage, Bench.migrate])
def test_a_volume_that_a_host_is_connected_to_stays(made: Bench, asked: Callable[[Bench], None]) -> None:
    """Although its status is available: nobody has attached it that is shown."""
    connect(made)
    made.work()
    assert made.volume()["status"] == "available"

    require_refused(made, asked, "has attachments, or hosts are connected to it")


def test_a_volume_that_a_host_is_connected_to_is_not_moved_by_its_type(made: Bench) -> None:
    connect(made)
    made.work()
    made.retype()

    assert made.states() == ("available", None, OLD_POOL)
    assert "hosts are connected to it" in made.messages()[0]
    assert made.base.problems() == []


# --- on its way -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "asked",
    [clone, take_snapshot, manage_snapshot, back_up, extend, offer, unmanage, delete, Bench.retype, Bench.migrate],
)
@pytest.mark.parametrize("locked", [False, True], ids=["available", "maintenance"])
def test_a_volume_that_moves_is_not_read_changed_or_given_away(
    made: Bench, asked: Callable[[Bench], None], locked: bool
) -> None:
    """What was begun behind the migration would look for its object where it was."""
    made.migrate(lock=locked)

    require_refused(made, asked, "being migrated|still being worked on|has status maintenance")
    made.work()
    assert made.states() == ("available", "success", NEW_POOL)
    made.check()


@pytest.mark.parametrize("begin", [Bench.migrate, Bench.retype])
def test_a_volume_that_moves_joins_no_group(made: Bench, begin: Callable[[Bench], None]) -> None:
    """It would not be on the group's backend any more; not even when an operator says that it is available."""
    group(made, with_volume=False)
    begin(made)
    made.reset(status="available")

    require_refused(made, join, "being migrated")
    made.work()
    made.check()


@pytest.mark.parametrize("asked", [attach, connect])
@pytest.mark.parametrize("during", [False, True], ids=["before", "during"])
def test_who_connects_to_a_volume_that_moves_is_connected_where_it_has_gone(
    made: Bench, asked: Callable[[Bench], None], during: bool
) -> None:
    """They wait behind the migration, and are sent after it."""
    made.migrate()
    if during:
        made.work(during=lambda: asked(made))
    else:
        asked(made)
        made.work()

    assert made.volume()["pool_name"] == NEW_POOL
    assert made.base.row(tables.attachments, ATTACHMENT)["connection_json"] is not None
    assert made.holds(MARKS)
    made.check()


@pytest.mark.parametrize("asked", [unmanage, delete])
def test_a_migration_that_an_operator_has_ended_lets_others_in(made: Bench, asked: Callable[[Bench], None]) -> None:
    """Wherever it has come to when it hears of that."""
    made.migrate()
    made.reset(migration_status="none")
    asked(made)
    made.work()

    assert made.base.rows(tables.volumes) == []
    assert made.base.problems() == []
    assert made.base.rows(tables.operations) == []


# --- managing ---------------------------------------------------------------------------------------------------------


def test_what_is_managed_has_no_key(made: Bench) -> None:
    """Nobody here would make or keep one."""
    words = '{"encryption_id":"e1","words":{"provider":"luks","control_location":"front-end"},"created_at_us":1}'
    made.base.volume_type("secret", encryption_json=words)
    wanted = managing.ToManage(
        volume=NewVolume(id=VolumeId(OTHER), volume_type="secret"), place=Place(host=NEW), reference="disk"
    )
    asked: dict[str, Any] = {"origin": origin(), "wanted": wanted, "quota_defaults": UNLIMITED}

    require_refused(made, lambda one: one.base.run(managing.begin_manage, **asked), "is encrypted")


def test_any_new_snapshot_is_as_bootable_as_its_volume(made: Bench) -> None:
    """Taken by itself, with a group, or managed: whoever makes a volume of it boots that."""
    group(made)
    made.base.change(tables.volumes, VOLUME, bootable=True, image_metadata_json='{"os":"x"}')
    take_snapshot(made)
    made.work()
    take_group_snapshot(made)
    made.work()
    regroup(made, remove=(VOLUME,))
    made.base.run(
        managing_snapshots.begin_manage, origin=origin(), wanted=NewSnapshot(id=SnapshotId("m1"), volume_id=V),
        reference="disk", quota_defaults=UNLIMITED,
    )  # fmt: skip

    rows = made.base.rows(tables.snapshots)
    assert [(row["bootable"], row["image_metadata_json"]) for row in rows] == [(True, '{"os":"x"}')] * 3
    assert made.base.problems() == []
