"""Files that become volumes and volumes that become files, by nodes that may die anywhere: no file is ever lost."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.backup.bench import GIB, NEW_VOLUME, SNAPSHOT, VOLUME, Bench, bench, id_of
from tests.store.given import POOL, UNLIMITED, origin

from breezeblock.model.errors import BadRequest, InvalidState, OverQuota
from breezeblock.model.ids import SnapshotId, VolumeId
from breezeblock.model.requests import NewSnapshot, NewVolume
from breezeblock.resources import manageable, managing, managing_snapshots, snapshots, volume_changes, volumes
from breezeblock.resources.manageable import Place
from breezeblock.store import tables

# More transactions than any of these operations has.
MOST = 7
DATA = b"what nobody else has"


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Bench]:
    with bench(tmp_path) as one:
        one.base.node("node-0")
        yield one


def unmanaged(made: Bench) -> Path:
    folder = made.folder / "volumes" / "unmanaged"
    folder.mkdir(exist_ok=True)
    return folder


def given_file(made: Bench, name: str = "disk", *, size: int = GIB, data: bytes = DATA) -> Path:
    path = unmanaged(made) / name
    with path.open("wb") as file:
        file.write(data)
        file.truncate(size)
    return path


def manage(made: Bench, id_: str = VOLUME, *, reference: str = "disk", **asked: Any) -> None:
    """Only the request."""
    wanted = managing.ToManage(
        volume=NewVolume(id=VolumeId(id_), **asked), place=Place(host="c@b"), reference=reference
    )
    made.base.run(managing.begin_manage, origin=origin(), wanted=wanted, quota_defaults=UNLIMITED)


def manage_snapshot(made: Bench, *, reference: str = "disk") -> None:
    wanted = NewSnapshot(id=SnapshotId(SNAPSHOT), volume_id=VolumeId(VOLUME))
    made.base.run(
        managing_snapshots.begin_manage,
        origin=origin(),
        wanted=wanted,
        reference=reference,
        quota_defaults=UNLIMITED,
    )


def unmanage(made: Bench, id_: str = VOLUME) -> None:
    made.base.run(managing.begin_unmanage, origin=origin(), volume_id=VolumeId(id_))


def delete(made: Bench, id_: str = VOLUME, *, force: bool = False) -> None:
    begin = volumes.begin_force_delete if force else volumes.begin_delete
    made.base.run(begin, origin=origin(), volume_id=VolumeId(id_), cascade=False)


def left(made: Bench) -> dict[str, bytes]:
    """The beginnings of the files that are nobody's."""
    return {path.name: begins(path) for path in unmanaged(made).iterdir()}


def begins(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(len(DATA))


def message(made: Bench) -> str:
    (row,) = made.base.rows(tables.messages)
    text: str = row["user_message"]
    return text


def test_a_file_becomes_a_volume_with_its_content(made: Bench) -> None:
    """Its size is rounded up to whole GiB, and is charged."""
    given_file(made, size=GIB + 1)
    manage(made)
    assert (made.volume()["status"], made.volume()["size_gib"]) == ("managing", 0)
    assert made.base.problems() == []
    made.work()

    row = made.volume()
    assert (row["status"], row["size_gib"], row["charged_gib"], row["managed_from"]) == ("available", 2, 2, None)
    assert begins(made.path()) == DATA
    assert made.path().stat().st_size == 2 * GIB
    assert left(made) == {}
    assert made.base.accounts()["gigabytes"] == made.base.accounts()[POOL] == 2
    assert made.base.problems() == []


def test_a_volume_that_is_unmanaged_leaves_its_data_and_gives_back_its_quota(made: Bench) -> None:
    made.create_volume()
    made.write(0, DATA)
    unmanage(made)
    assert made.volume()["status"] == "unmanaging"
    made.work()

    assert made.base.rows(tables.volumes) == []
    assert left(made) == {f"volume-{VOLUME}": DATA}
    assert made.base.accounts() == {}
    assert made.files() == set()


def test_a_volume_goes_and_comes_back(made: Bench) -> None:
    made.create_volume()
    made.write(0, DATA)
    unmanage(made)
    made.work()
    manage(made, NEW_VOLUME, reference=f"volume-{VOLUME}")
    made.work()

    assert begins(made.path(NEW_VOLUME)) == DATA
    assert made.base.problems() == []


def test_what_cannot_be_managed_stays_where_it_is(made: Bench) -> None:
    """And the volume that it was to be can be deleted, which touches nothing."""
    (unmanaged(made) / "link").symlink_to(given_file(made))
    manage(made, reference="link")
    made.work()
    assert made.volume()["status"] == "error_managing"
    assert "link" in message(made)
    assert made.base.problems() == []
    delete(made)
    assert made.volume()["status"] == "error_managing_deleting"
    made.work()

    assert made.base.rows(tables.volumes) == []
    assert left(made) == {"disk": DATA, "link": DATA}
    assert made.base.accounts() == {}


@pytest.mark.parametrize(
    "reference", ["../outside", "/etc/hostname", ".hidden", "a/b", "..", "folder", "missing", "twice", "empty", "\n"]
)
def test_no_name_leaves_the_folder(made: Bench, reference: str) -> None:
    outside = made.folder / "volumes" / "outside"
    outside.write_bytes(DATA)
    (unmanaged(made) / "folder").mkdir()
    (unmanaged(made) / "empty").touch()
    (unmanaged(made) / ".hidden").write_bytes(DATA)
    (unmanaged(made) / "twice").hardlink_to(given_file(made))
    before = sorted(path.name for path in unmanaged(made).iterdir())
    manage(made, reference=reference)
    made.work()

    assert made.volume()["status"] == "error_managing"
    assert outside.read_bytes() == DATA
    assert sorted(path.name for path in unmanaged(made).iterdir()) == before
    assert made.files() == set()


def test_of_two_requests_for_one_file_one_wins(made: Bench) -> None:
    given_file(made)
    manage(made)
    manage(made, NEW_VOLUME)
    made.work()

    assert sorted(row["status"] for row in made.base.rows(tables.volumes)) == ["available", "error_managing"]
    assert made.base.problems() == []


def test_what_is_managed_is_not_managed_again(made: Bench) -> None:
    made.create_volume()
    for reference in (f"volume-{VOLUME}", str(made.volume()["object_name"])):
        with pytest.raises(InvalidState, match="managed already"):
            manage(made, NEW_VOLUME, reference=reference)


def test_more_than_the_quota_goes_back(made: Bench) -> None:
    """The size is known only when the file is ours; then it is given back."""
    given_file(made, size=3 * GIB)
    made.base.add(tables.quotas, project_id="p1", resource="gigabytes", hard_limit=2)
    manage(made)
    made.work()

    assert made.volume()["status"] == "error_managing"
    assert "Quota exceeded for gigabytes" in message(made)
    assert left(made) == {"disk": DATA}
    assert made.base.problems() == []


def test_a_volume_too_many_is_refused_at_once(made: Bench) -> None:
    made.base.add(tables.quotas, project_id="p1", resource="volumes", hard_limit=0)
    with pytest.raises(OverQuota):
        manage(made)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("at", range(1, MOST))
def test_a_node_dies_while_it_manages(made: Bench, at: int, after: bool) -> None:
    """Another one finds the file under one name or the other."""
    given_file(made, size=GIB - 5)
    manage(made)
    made.die(at=at, after=after)
    assert made.base.problems() == []
    made.work()

    assert (made.volume()["status"], made.volume()["size_gib"]) == ("available", 1)
    assert begins(made.path()) == DATA
    assert (left(made), len(made.files())) == ({}, 1)
    assert made.base.problems() == []


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("at", range(1, MOST))
def test_a_node_dies_while_it_gives_back(made: Bench, at: int, after: bool) -> None:
    given_file(made, size=3 * GIB)
    made.base.add(tables.quotas, project_id="p1", resource="gigabytes", hard_limit=2)
    manage(made)
    made.die(at=at, after=after)
    made.work()

    assert made.volume()["status"] == "error_managing"
    assert (left(made), made.files()) == ({"disk": DATA}, set())
    assert made.base.problems() == []


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("at", range(1, MOST))
def test_a_node_dies_while_it_lets_go(made: Bench, at: int, after: bool) -> None:
    made.create_volume()
    made.write(0, DATA)
    unmanage(made)
    made.die(at=at, after=after)
    made.work()

    assert made.base.rows(tables.volumes) == []
    assert (left(made), made.files()) == ({f"volume-{VOLUME}": DATA}, set())
    assert made.base.accounts() == {}


def test_a_volume_that_is_deleted_while_it_is_managed_gives_the_file_back(made: Bench) -> None:
    """By force, with the first node dead in the middle of it: the file is what somebody had before."""
    given_file(made)
    manage(made)
    assert made.die(at=2, after=True)
    assert left(made) == {}
    delete(made, force=True)
    made.work()

    assert made.base.rows(tables.volumes) == []
    assert (left(made), made.files()) == ({"disk": DATA}, set())
    assert made.base.accounts() == {}


def test_what_was_parked_half_managed_is_given_back_by_its_deletion(made: Bench) -> None:
    """Nobody has undone it, so nobody but the row knows that the object is no volume of ours."""
    given_file(made)
    manage(made)
    assert made.die(at=2, after=True)
    made.park()
    assert (made.volume()["status"], made.volume()["managed_from"]) == ("error_managing", "disk")
    delete(made)
    made.work()

    assert made.base.rows(tables.volumes) == []
    assert (left(made), made.files()) == ({f"volume-{VOLUME}": DATA}, set())


def test_a_new_file_of_the_old_name_is_not_replaced(made: Bench) -> None:
    """Somebody puts one there while the other one is ours for a moment."""
    given_file(made, size=3 * GIB)
    made.base.add(tables.quotas, project_id="p1", resource="gigabytes", hard_limit=2)
    manage(made)
    assert made.die(at=1, after=True)
    given_file(made, data=b"something else, and new")
    made.work()

    assert left(made) == {"disk": b"something else, and ", f"volume-{VOLUME}": DATA}
    assert made.files() == set()


def test_a_volume_with_snapshots_or_attached_is_not_let_go(made: Bench) -> None:
    made.create_volume()
    made.create_snapshot()
    with pytest.raises(InvalidState, match="snapshots"):
        unmanage(made)
    made.base.change(tables.volumes, VOLUME, attach_status="attached")
    with pytest.raises(InvalidState, match="attached"):
        unmanage(made)


def test_a_volume_that_never_had_a_place_is_only_deleted(made: Bench) -> None:
    made.create_volume(size_gib=5000)
    with pytest.raises(BadRequest, match="never on any storage"):
        unmanage(made)


def test_a_type_that_the_pool_does_not_offer_leaves_the_file_alone(made: Bench) -> None:
    given_file(made)
    made.base.volume_type("gold", extra_specs_json='{"colour": "gold"}')
    manage(made, volume_type="gold")

    assert made.volume()["status"] == "error_managing"
    assert "does not offer colour=gold" in message(made)
    delete(made)
    made.work()
    assert left(made) == {"disk": DATA}


# --- snapshots ------------------------------------------------------------------------------------------------------


def test_a_file_becomes_a_snapshot_of_a_larger_volume(made: Bench) -> None:
    """It is charged for its own size, and its volume can be reverted to it when that is the same."""
    made.create_volume(size_gib=2)
    given_file(made, size=GIB)
    manage_snapshot(made)
    assert made.base.row(tables.snapshots, SNAPSHOT)["charged_gib"] == 2
    made.work()

    row = made.base.row(tables.snapshots, SNAPSHOT)
    assert (row["status"], row["size_gib"], row["managed_from"], row["progress"]) == ("available", 1, None, "100%")
    assert made.base.accounts()["gigabytes"] == 3
    assert made.base.problems() == []


def test_a_volume_is_reverted_to_a_file(made: Bench) -> None:
    made.create_volume()
    given_file(made)
    manage_snapshot(made)
    made.work()
    revert = {"volume_id": VolumeId(VOLUME), "snapshot_id": SnapshotId(SNAPSHOT)}
    made.base.run(volume_changes.begin_revert, origin=origin(), **revert)
    made.work()

    assert begins(made.path()) == DATA
    assert made.base.problems() == []


def test_a_file_larger_than_the_volume_is_no_snapshot_of_it(made: Bench) -> None:
    made.create_volume()
    given_file(made, size=2 * GIB)
    manage_snapshot(made)
    made.work()

    row = made.base.row(tables.snapshots, SNAPSHOT)
    assert (row["status"], row["managed_from"]) == ("error", "disk")  # whatever a lost claim does late is given back
    assert "at most 1 GiB" in message(made)
    assert left(made) == {"disk": DATA}
    made.base.run(snapshots.begin_delete, origin=origin(), snapshot_id=SnapshotId(SNAPSHOT))
    made.work()
    assert left(made) == {"disk": DATA}
    assert made.base.problems() == []


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("at", range(1, MOST))
def test_a_node_dies_while_a_snapshot_comes_and_goes(made: Bench, at: int, after: bool) -> None:
    made.create_volume(size_gib=2)
    given_file(made)
    manage_snapshot(made)
    made.die(at=at, after=after)
    made.work()
    assert made.base.row(tables.snapshots, SNAPSHOT)["status"] == "available"
    made.base.run(managing_snapshots.begin_unmanage, origin=origin(), snapshot_id=SnapshotId(SNAPSHOT))
    assert made.base.row(tables.snapshots, SNAPSHOT)["status"] == "unmanaging"
    made.die(at=at, after=after)
    made.work()

    assert made.base.rows(tables.snapshots) == []
    assert left(made) == {f"snapshot-{SNAPSHOT}": DATA}
    assert made.base.accounts()["gigabytes"] == 2
    assert made.base.problems() == []


def test_a_cascade_does_not_take_what_was_half_managed(made: Bench) -> None:
    """The snapshot is deleted by itself, which gives the file back."""
    made.create_volume()
    given_file(made)
    manage_snapshot(made)
    assert made.die(at=2, after=True)
    made.park()
    for begin in (volumes.begin_delete, volumes.begin_force_delete):
        with pytest.raises(InvalidState, match="by itself"):
            made.base.run(begin, origin=origin(), volume_id=VolumeId(VOLUME), cascade=True)
    made.base.run(snapshots.begin_delete, origin=origin(), snapshot_id=SnapshotId(SNAPSHOT))
    made.work()

    assert left(made) == {f"snapshot-{SNAPSHOT}": DATA}
    assert made.base.rows(tables.snapshots) == []


# --- the list -------------------------------------------------------------------------------------------------------


def listed(made: Bench, *, of_snapshots: bool = False) -> dict[str, tuple[int, str | None, str | None]]:
    place = Place(host="c@b")
    id_, pool = made.base.run(manageable.begin_list, place=place, origin=origin())
    again, _ = made.base.run(manageable.begin_list, place=place, origin=origin())
    assert again == id_
    made.work()
    found = made.base.run(manageable.found, operation_id=id_, pool=pool.name, of_snapshots=of_snapshots)
    assert found is not None
    return {one.reference: (one.size_gib, one.why_not, one.cinder_id) for one in found}


def test_a_list_has_what_could_be_managed_and_what_is(made: Bench) -> None:
    """What asks while somebody asks gets the same answer."""
    made.create_volume()
    made.create_snapshot()
    given_file(made, "b", size=GIB + 1)
    given_file(made, "a", size=0, data=b"")
    given_file(made, f"snapshot-{id_of(9)}")
    why = "it is empty"
    snapshot_object = made.base.row(tables.snapshots, SNAPSHOT)["object_name"]

    assert listed(made) == {
        "a": (0, why, None),
        "b": (2, None, None),
        str(made.volume()["object_name"]): (1, "already managed", VOLUME),
    }
    assert listed(made, of_snapshots=True) == {
        f"snapshot-{id_of(9)}": (1, None, None),
        str(snapshot_object): (1, "already managed", SNAPSHOT),
    }


@pytest.mark.parametrize(
    ("host", "why"), [("c@x", "not found"), ("c@b#x", "not found"), ("node-0@b", None), ("c@b#p", None)]
)
def test_a_place_is_a_pool(made: Bench, host: str, why: str | None) -> None:
    if why is None:
        assert made.base.run(manageable.pool_at, Place(host=host)).name == POOL
        return
    with pytest.raises(BadRequest, match=why):
        made.base.run(manageable.pool_at, Place(host=host))


def test_a_place_that_is_closed_or_down_takes_nothing(made: Bench) -> None:
    made.base.change(tables.nodes, "node-0", state="gone")
    with pytest.raises(BadRequest, match="is down"):
        made.base.run(manageable.pool_at, Place(cluster="c@b"))
    made.base.change(tables.pools, POOL, enabled=False)
    with pytest.raises(BadRequest, match="is disabled"):
        made.base.run(manageable.pool_at, Place(cluster="c@b"))
