"""Groups: their transactions, and their operations done by nodes that may die anywhere."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.backup.bench import BLOCK, NEW_VOLUME, VOLUME, Bench, bench, id_of
from tests.store.given import UNLIMITED, origin

from breezeblock.model.errors import BackendFailed, BadRequest, InvalidState, NotFound, OverQuota
from breezeblock.model.ids import SnapshotId, VolumeId
from breezeblock.model.requests import NewVolume
from breezeblock.resources import (
    group_snapshots,
    group_sources,
    group_types,
    groups,
    snapshots,
    types,
    volume_changes,
    volumes,
)
from breezeblock.resources.types import DEFAULT_TYPE_ID
from breezeblock.store import tables

GROUP, TAKEN, COPY, LATE = id_of(11), id_of(12), id_of(13), id_of(14)
TYPE = id_of(14)
# A copy of two volumes has as many transactions, a deletion has one.
COPIES, DELETIONS = 5, 1
BEFORE_AND_AFTER = pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
COPY_DIES = pytest.mark.parametrize("at", range(1, COPIES + 1))
DELETION_DIES = pytest.mark.parametrize("at", range(1, DELETIONS + 1))


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Bench]:
    """A group of two volumes with different data."""
    with bench(tmp_path) as one:
        one.base.node("seen")
        _type(one)
        create(one)
        for number, id_ in enumerate((VOLUME, NEW_VOLUME)):
            join(one, id_)
            one.work()
            one.write(number * BLOCK, b"%d" % number * BLOCK, id_)
        yield one


def _type(made: Bench, **specs: str) -> None:
    asked = {"name": "plain", "description": None, "is_public": True, "specs": specs}
    made.base.run(group_types.create_type, type_id=TYPE, origin=origin(is_admin=True), **asked)


def create(made: Bench, id_: str = GROUP, **asked: Any) -> dict[str, Any]:
    given = {"group_type": TYPE, "volume_types": (DEFAULT_TYPE_ID,), "name": "pair"}
    wanted = groups.NewGroup(id=id_, **(given | asked))
    made.base.run(groups.create, origin=origin(), wanted=wanted, quota_defaults=UNLIMITED)
    return group(made, id_)


def join(made: Bench, id_: str, **asked: Any) -> None:
    given: dict[str, Any] = {"size_gib": 1, "volume_type": DEFAULT_TYPE_ID, "group_id": GROUP}
    wanted = NewVolume(id=VolumeId(id_), **(given | asked))
    made.base.run(volumes.begin_create, origin=origin(), wanted=wanted, quota_defaults=UNLIMITED)


def take(made: Bench, **asked: Any) -> None:
    wanted = group_snapshots.NewGroupSnapshot(id=TAKEN, group_id=GROUP, name="both", **asked)
    made.base.run(group_snapshots.begin_create, origin=origin(), wanted=wanted, quota_defaults=UNLIMITED)


def copy(made: Bench, **source: Any) -> None:
    wanted = group_sources.GroupFromSource(id=COPY, **source)
    made.base.run(group_sources.begin_create, origin=origin(), wanted=wanted, quota_defaults=UNLIMITED)


def delete(made: Bench, id_: str = GROUP, *, with_volumes: bool = True) -> None:
    made.base.run(groups.begin_delete, origin=origin(), group_id=id_, with_volumes=with_volumes)


def delete_taken(made: Bench) -> None:
    made.base.run(group_snapshots.begin_delete, origin=origin(), group_snapshot_id=TAKEN)


def update(made: Bench, **asked: Any) -> None:
    given = {"name": None, "description": None, "add": (), "remove": ()}
    made.base.run(groups.update, origin=origin(), group_id=GROUP, **(given | asked))


def group(made: Bench, id_: str = GROUP) -> dict[str, Any]:
    return made.base.row(tables.volume_groups, id_)


def taken(made: Bench) -> dict[str, Any]:
    return made.base.row(tables.group_snapshots, TAKEN)


def statuses(made: Bench, table: Any) -> list[str]:
    return sorted(row["status"] for row in made.base.rows(table))


def contents(made: Bench, group_id: str) -> list[dict[int, bytes]]:
    """What the volumes of a group hold, in an order of its own."""
    rows = made.base.rows(tables.volumes)
    found = [made.content(row["id"]) for row in rows if row["group_id"] == group_id]
    return sorted(found, key=str)


def told(made: Bench) -> set[tuple[str, str]]:
    """Which resources there are messages about, and what they say."""
    return {(row["resource_id"], row["user_message"]) for row in made.base.rows(tables.messages)}


# --- groups ----------------------------------------------------------------------------------------------------------


def test_a_group_is_there_with_its_request_and_charged(made: Bench) -> None:
    assert (group(made)["status"], group(made)["pool_name"]) == ("available", "c@b#p")
    assert made.base.accounts()["groups"] == 1
    assert made.base.rows(tables.operations) == []
    made.check()


def test_a_group_that_no_backend_can_take_is_in_error_and_says_why(made: Bench) -> None:
    made.base.run(group_types.set_specs, type_id=TYPE, specs={"consistent": "<is> True"}, origin=origin(is_admin=True))
    row = create(made, COPY)

    assert (row["status"], row["pool_name"]) == ("error", None)
    assert told(made) == {(COPY, "No backend can take the group: c@b#p does not offer consistent=<is> True.")}
    with pytest.raises(InvalidState, match="has status error"):
        join(made, id_of(15), group_id=COPY)
    delete(made, COPY, with_volumes=False)
    made.check()


def test_all_types_of_a_group_are_on_one_backend(made: Bench) -> None:
    """Each type alone would find a pool, but no backend has one for both."""
    made.base.pool("c@gold#p", capabilities_json='{"tier":"gold"}')
    made.base.pool("c@tin#p", capabilities_json='{"tier":"tin"}')
    made.base.volume_type("gold", extra_specs_json='{"tier":"gold"}')
    made.base.volume_type("tin", extra_specs_json='{"tier":"tin"}')

    assert create(made, COPY, volume_types=("gold", DEFAULT_TYPE_ID))["pool_name"] == "c@gold#p"
    assert create(made, id_of(15), volume_types=("gold", "tin"))["status"] == "error"


def test_a_quota_of_groups_is_kept(made: Bench) -> None:
    wanted = groups.NewGroup(id=COPY, group_type=TYPE, volume_types=(DEFAULT_TYPE_ID,))

    with pytest.raises(OverQuota, match="groups"):
        made.base.run(groups.create, origin=origin(), wanted=wanted, quota_defaults={"groups": 1})
    made.check()


@pytest.mark.parametrize(
    ("asked", "error", "words"),
    [
        ({"volume_type": None}, BadRequest, "must be said"),
        ({"volume_type": "other"}, BadRequest, "not for volumes of this type"),
        ({"group_id": COPY}, NotFound, f"Group {COPY} could not be found"),
    ],
)
def test_a_volume_that_cannot_join_is_refused(made: Bench, asked: Any, error: type[Exception], words: str) -> None:
    made.base.volume_type("other")

    with pytest.raises(error, match=words):
        join(made, id_of(15), **asked)
    made.check()


def test_a_volume_in_a_group_is_on_its_backend(made: Bench) -> None:
    """Though another one has more room."""
    made.base.pool("c@large#p", total_gib=100_000, free_gib=100_000)
    join(made, id_of(15))

    assert made.volume(id_of(15))["pool_name"] == "c@b#p"


def test_volumes_leave_and_come_back(made: Bench) -> None:
    update(made, remove=(VOLUME, NEW_VOLUME), name="empty")
    assert made.volume()["group_id"] is None
    update(made, add=(VOLUME,))

    assert (made.volume()["group_id"], made.volume(NEW_VOLUME)["group_id"]) == (GROUP, None)
    assert group(made)["name"] == "empty"
    made.check()


def test_nothing_to_change_is_refused(made: Bench) -> None:
    with pytest.raises(InvalidState, match="does not have yet"):
        update(made, name="pair", add=(VOLUME,))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"project_id": "p2"}, "could not be found"),
        ({"status": "error"}, "has status error"),
        ({"group_id": COPY}, "already in group"),
        ({"volume_type_id": "other"}, "not for volumes of its type"),
        ({"pool_name": "c@far#p"}, "not on the group's backend"),
        ({"pool_name": None}, "not on the group's backend"),
    ],
)
def test_a_volume_that_may_not_be_added(made: Bench, values: Any, words: str) -> None:
    update(made, remove=(VOLUME,))
    row = made.base.row(tables.volumes, VOLUME)
    made.base.change(tables.volumes, VOLUME, **values)

    with pytest.raises(InvalidState, match=words):
        update(made, add=(VOLUME,))
    made.base.change(tables.volumes, VOLUME, **{name: row[name] for name in values})  # whose it is charged to


def test_a_volume_that_may_not_be_removed(made: Bench) -> None:
    made.base.change(tables.volumes, VOLUME, status="extending")

    with pytest.raises(InvalidState, match="has status extending"):
        update(made, remove=(VOLUME,))
    with pytest.raises(InvalidState, match="not in the group"):
        update(made, remove=(id_of(15),))
    with pytest.raises(BadRequest, match="added to group"):
        update(made, add=(VOLUME,), remove=(VOLUME,))


def test_what_is_in_a_group_is_deleted_and_retyped_with_it_only(made: Bench) -> None:
    made.base.volume_type("other")
    asked: dict[str, Any] = {"origin": origin(is_admin=True), "volume_id": VolumeId(VOLUME)}
    for begin in (volumes.begin_delete, volumes.begin_force_delete):
        for cascade in (False, True):
            with pytest.raises(InvalidState, match=f"belongs to group {GROUP}"):
                made.base.run(begin, cascade=cascade, **asked)
    retype = {"new_type": "other", "migration_policy": "never", "quota_defaults": UNLIMITED}
    with pytest.raises(InvalidState, match=f"belongs to group {GROUP}"):
        made.base.run(volume_changes.begin_retype, **asked, **retype)


def test_types_that_groups_have_stay(made: Bench) -> None:
    made.base.volume_type("other")
    create(made, COPY, volume_types=("other",))

    with pytest.raises(InvalidState, match="still in use"):
        made.base.run(types.delete_type, type_id="other", origin=origin(is_admin=True))
    with pytest.raises(InvalidState, match="still in use"):
        made.base.run(group_types.delete_type, type_id=TYPE, origin=origin(is_admin=True))
    delete(made, COPY)
    made.base.run(types.delete_type, type_id="other", origin=origin(is_admin=True))
    made.check()


# --- deleting --------------------------------------------------------------------------------------------------------


@BEFORE_AND_AFTER
@DELETION_DIES
def test_a_deletion_survives_its_nodes(made: Bench, at: int, after: bool) -> None:
    delete(made)
    assert made.die(at=at, after=after)
    made.work()

    assert [made.base.rows(table) for table in (tables.volume_groups, tables.volumes)] == [[], []]
    assert made.base.rows(tables.group_volume_types) == []
    assert made.base.accounts() == {}
    made.check()


def test_an_empty_group_goes_with_its_request(made: Bench) -> None:
    update(made, remove=(VOLUME, NEW_VOLUME))
    delete(made, with_volumes=False)

    assert made.base.rows(tables.volume_groups) == []
    made.check()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"attach_status": "attached"}, "is attached"),
        ({"status": "extending"}, "has status extending"),
        ({"migration_status": "migrating"}, "is being migrated"),
    ],
)
def test_a_group_whose_volumes_cannot_go_stays_whole(made: Bench, values: Any, words: str) -> None:
    made.base.change(tables.volumes, NEW_VOLUME, **values)

    with pytest.raises(InvalidState, match=words):
        delete(made)
    assert (group(made)["status"], made.volume()["status"]) == ("available", "available")


def test_a_group_with_volumes_is_deleted_with_them_only(made: Bench) -> None:
    with pytest.raises(InvalidState, match="still contains volumes"):
        delete(made, with_volumes=False)


def test_a_group_with_snapshots_stays(made: Bench) -> None:
    take(made)
    made.work()

    with pytest.raises(InvalidState, match="still has group snapshots"):
        delete(made)
    delete_taken(made)
    made.work()
    delete(made)
    made.work()
    assert made.base.accounts() == {}
    made.check()


def test_volumes_without_storage_go_with_their_group(made: Bench) -> None:
    """One that no pool could take, and one that has a place."""
    join(made, id_of(15), size_gib=5000)
    assert made.volume(id_of(15))["status"] == "error"
    delete(made)
    made.work()

    assert made.base.accounts() == {}
    made.check()


def test_a_source_stays_until_its_copy_is_made(made: Bench) -> None:
    copy(made, source_group_id=GROUP)

    with pytest.raises(InvalidState, match="is the source of a group"):
        delete(made)
    made.work()
    delete(made)
    made.work()
    assert statuses(made, tables.volumes) == ["available", "available"]
    made.check()


def test_storage_that_lets_nothing_go_leaves_a_group_that_can_be_deleted_again(
    made: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as away:
        _broken(made, away, "delete")
        delete(made)
        made.work()

    assert group(made)["status"] == "error_deleting"
    assert statuses(made, tables.volumes) == ["error_deleting", "error_deleting"]
    assert {id_ for id_, _ in told(made)} == {GROUP, VOLUME, NEW_VOLUME}
    assert made.base.problems() == []
    delete(made)
    made.work()
    assert made.base.accounts() == {}
    made.check()


# --- group snapshots -------------------------------------------------------------------------------------------------


@BEFORE_AND_AFTER
@COPY_DIES
def test_a_group_snapshot_survives_its_nodes(made: Bench, at: int, after: bool) -> None:
    before = contents(made, GROUP)
    take(made)
    assert statuses(made, tables.snapshots) == ["creating", "creating"]
    assert made.die(at=at, after=after)
    made.work()
    for offset in (0, BLOCK):
        made.write(offset, b"later" * 10, VOLUME)
        made.write(offset, b"later" * 10, NEW_VOLUME)
    copy(made, group_snapshot_id=TAKEN)
    made.work()

    assert (taken(made)["status"], group(made, COPY)["status"]) == ("available", "available")
    assert statuses(made, tables.snapshots) == ["available", "available"]
    assert contents(made, COPY) == before != contents(made, GROUP)
    made.check()


@BEFORE_AND_AFTER
@DELETION_DIES
def test_the_end_of_a_group_snapshot_survives_its_nodes(made: Bench, at: int, after: bool) -> None:
    charged = made.base.accounts()
    take(made)
    made.work()
    delete_taken(made)
    assert made.die(at=at, after=after)
    made.work()

    assert [made.base.rows(table) for table in (tables.group_snapshots, tables.snapshots)] == [[], []]
    assert made.base.accounts() == charged
    made.check()


def test_the_snapshot_of_an_empty_group_is_empty(made: Bench) -> None:
    update(made, remove=(VOLUME, NEW_VOLUME))
    take(made)

    assert (taken(made)["status"], made.base.rows(tables.snapshots)) == ("available", [])
    with pytest.raises(InvalidState, match="is empty"):
        copy(made, group_snapshot_id=TAKEN)
    delete_taken(made)
    assert made.base.rows(tables.group_snapshots) == []
    made.check()


@pytest.mark.parametrize(
    ("table", "values", "words"),
    [
        (tables.volumes, {"status": "error"}, "has status error"),
        (tables.volumes, {"object_name": None}, "has no storage"),
        (tables.volume_groups, {"status": "error"}, "has status error"),
    ],
)
def test_all_volumes_are_taken_or_none(made: Bench, table: Any, values: Any, words: str) -> None:
    charged = made.base.accounts()
    made.base.change(table, GROUP if table is tables.volume_groups else NEW_VOLUME, **values)

    with pytest.raises(InvalidState, match=words):
        take(made)
    assert made.base.rows(tables.snapshots) == []
    assert made.base.accounts() == charged


def test_parts_of_a_group_snapshot_go_with_it_only(made: Bench) -> None:
    take(made)
    made.work()
    part = SnapshotId(made.base.rows(tables.snapshots)[0]["id"])
    for begin in (snapshots.begin_delete, snapshots.begin_force_delete):
        with pytest.raises(InvalidState, match=f"is a part of group snapshot {TAKEN}"):
            made.base.run(begin, origin=origin(is_admin=True), snapshot_id=part)
    update(made, remove=(VOLUME,))
    for doom in (volumes.begin_delete, volumes.begin_force_delete):
        with pytest.raises(InvalidState, match="parts of group snapshots"):
            made.base.run(doom, origin=origin(is_admin=True), volume_id=VolumeId(VOLUME), cascade=True)


def test_a_failed_group_snapshot_leaves_nothing_and_tells_of_each(made: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second copy fails: the first one, which was whole, goes as well."""
    with monkeypatch.context() as away:
        _broken(made, away, "copy", nth=2)
        take(made)
        made.work()

    assert taken(made)["status"] == "error"
    assert statuses(made, tables.snapshots) == ["error", "error"]
    parts = {row["id"] for row in made.base.rows(tables.snapshots)}
    assert told(made) == {(id_, "The disk is gone.") for id_ in {TAKEN, *parts}}
    made.check()
    delete_taken(made)
    made.work()
    assert made.base.rows(tables.snapshots) == []
    made.check()


@pytest.mark.parametrize("unknown", [False, True])
@pytest.mark.parametrize("at", [1, 3])
def test_a_parked_group_snapshot_can_be_deleted(made: Bench, at: int, unknown: bool) -> None:
    take(made)
    made.die(at=at, after=True)
    made.park(unknown=unknown)

    assert taken(made)["status"] == "error"
    assert statuses(made, tables.snapshots) == ["error", "error"]
    assert made.base.problems() == []
    delete_taken(made)
    made.work()
    made.check()


@pytest.mark.parametrize("whole", [False, True], ids=["a part", "all of it"])
def test_a_reset_ends_a_group_snapshot_that_is_under_way(made: Bench, whole: bool) -> None:
    """The last word counts where it can be true: what has no storage does not rest as available."""

    def word() -> None:
        asked: dict[str, Any] = {"origin": origin(is_admin=True), "status": "available"}
        if whole:
            made.base.run(group_snapshots.reset_status, group_snapshot_id=TAKEN, **asked)
        else:
            part = SnapshotId(made.base.rows(tables.snapshots)[0]["id"])
            made.base.run(snapshots.reset_status, snapshot_id=part, **asked)

    take(made)
    made.work(during=word)

    assert taken(made)["status"] == "error"
    assert statuses(made, tables.snapshots) == ["error", "error"]
    made.check()


# --- groups from a source --------------------------------------------------------------------------------------------


@BEFORE_AND_AFTER
@COPY_DIES
def test_a_copy_of_a_group_survives_its_nodes(made: Bench, at: int, after: bool) -> None:
    copy(made, source_group_id=GROUP, name="copy")
    assert made.die(at=at, after=after)
    made.work()

    row = group(made, COPY)
    assert (row["status"], row["source_group_id"], row["name"]) == ("available", GROUP, "copy")
    assert contents(made, COPY) == contents(made, GROUP)
    assert made.base.accounts()["groups"] == 2
    assert made.base.accounts()["volumes"] == 4
    made.check()


def test_a_failed_copy_leaves_a_group_to_delete(made: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as away:
        _broken(made, away, "copy", nth=2)
        copy(made, source_group_id=GROUP)
        made.work()

    parts = {row["id"] for row in made.base.rows(tables.volumes) if row["group_id"] == COPY}
    assert group(made, COPY)["status"] == "error"
    assert {made.volume(id_)["status"] for id_ in parts} == {"error"}
    assert told(made) == {(id_, "The disk is gone.") for id_ in {COPY, *parts}}
    made.check()
    delete(made, COPY)
    made.work()
    assert made.base.accounts()["volumes"] == 2
    made.check()


@pytest.mark.parametrize("unknown", [False, True])
def test_a_parked_copy_can_be_deleted(made: Bench, unknown: bool) -> None:
    copy(made, source_group_id=GROUP)
    made.park(unknown=unknown)

    assert group(made, COPY)["status"] == "error"
    delete(made, COPY)
    made.work()
    made.check()


def test_a_copy_finds_room_for_all_or_is_refused(made: Bench) -> None:
    charged = made.base.accounts()
    made.base.change(tables.pools, "c@b#p", total_gib=3, free_gib=3)

    with pytest.raises(InvalidState, match="No room for a copy of 2 GiB"):
        copy(made, source_group_id=GROUP)
    assert made.base.accounts() == charged
    assert len(made.base.rows(tables.volume_groups)) == 1


def test_a_copy_is_charged_as_a_whole(made: Bench) -> None:
    wanted = group_sources.GroupFromSource(id=COPY, source_group_id=GROUP)

    with pytest.raises(OverQuota, match="volumes"):
        made.base.run(group_sources.begin_create, origin=origin(), wanted=wanted, quota_defaults={"volumes": 3})
    made.check()


@pytest.mark.parametrize("source", ["source_group_id", "group_snapshot_id"])
def test_sources_of_others_do_not_exist(made: Bench, source: str) -> None:
    take(made)
    made.work()
    id_ = GROUP if source == "source_group_id" else TAKEN
    wanted = group_sources.GroupFromSource(id=COPY, **{source: id_})

    with pytest.raises(NotFound, match=f"{id_} could not be found"):
        made.base.run(
            group_sources.begin_create, origin=origin(project_id="p2"), wanted=wanted, quota_defaults=UNLIMITED
        )


def test_a_reset_group_is_deleted_with_its_volumes(made: Bench) -> None:
    """An operator called it `creating`, which nobody works on: with its volumes it can be deleted from there."""
    made.base.run(groups.reset_status, origin=origin(is_admin=True), group_id=GROUP, status="creating")
    with pytest.raises(InvalidState, match="has status creating"):
        take(made)
    delete(made)
    made.work()

    assert made.base.rows(tables.volume_groups) == []
    made.check()


def _broken(made: Bench, away: pytest.MonkeyPatch, call: str, *, nth: int = 1) -> None:
    """From its nth call on, a call of the storage fails."""
    real, count = getattr(made.driver, call), 0

    async def fails(*args: Any, **kwargs: Any) -> Any:
        nonlocal count
        count += 1
        if count >= nth:
            raise BackendFailed("The disk is gone.")
        return await real(*args, **kwargs)

    away.setattr(made.driver, call, fails)


def test_nothing_joins_a_group_whose_deletion_may_be_under_way(made: Bench) -> None:
    """Whatever an operator has called it meanwhile: what joined would be left in a group that is gone (seed 5103)."""
    delete(made)
    made.base.run(groups.reset_status, origin=origin(is_admin=True), group_id=GROUP, status="available")

    with pytest.raises(InvalidState, match="still being worked on"):
        join(made, LATE)
    made.work()
    join(made, LATE)
    made.work()

    assert made.base.row(tables.volumes, LATE)["group_id"] == GROUP
    made.check()
