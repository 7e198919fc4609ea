"""Groups of volumes: python-cinderclient, openstacksdk and `openstack`."""

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from cinderclient import exceptions
from tests.clients.programs import Programs
from tests.clients.waiting import gone, settled

DEFAULT = "__DEFAULT__"


@pytest.fixture
def kind(cinder: Any) -> Iterator[Any]:
    """A group type without specs."""
    made = cinder.group_types.create(f"g-{uuid.uuid4()}", "for a test")
    yield made
    cinder.group_types.delete(made.id)


@pytest.fixture
def group(cinder: Any, kind: Any) -> Iterator[Any]:
    """A group of two volumes; all that a test makes of it has to go before."""
    made = settled(
        cinder.groups, cinder.groups.create(kind.id, DEFAULT, name=f"pair-{uuid.uuid4()}", description="two")
    )
    for number in range(2):
        volume = cinder.volumes.create(1, name=f"v{number}", volume_type=DEFAULT, group_id=made.id)
        settled(cinder.volumes, volume)
    yield made
    cinder.groups.delete(made, delete_volumes=True)
    gone(cinder.groups, made)


def test_group_types_and_their_specs(cinder: Any, kind: Any) -> None:
    kind.set_keys({"a": "1", "b": "2"})
    kind.unset_keys(["a"])
    changed = cinder.group_types.update(kind.id, name=f"{kind.name}-new", description="changed")

    assert kind.get_keys() == {"b": "2"}
    assert cinder.group_types.get(kind.id).description == "changed" == changed.description
    assert kind.id in {one.id for one in cinder.group_types.list()}
    with pytest.raises(exceptions.NotFound, match="default_group_type"):
        cinder.group_types.default()


def test_a_group_is_taken_copied_and_deleted(cinder: Any, group: Any) -> None:
    shown = cinder.groups.get(group.id, list_volume=True)
    taken = settled(cinder.group_snapshots, cinder.group_snapshots.create(group.id, name="both"))
    parts = cinder.volume_snapshots.list(search_opts={"all_tenants": False})
    made = cinder.groups.create_from_src(taken.id, None, name="copy")
    copy = settled(cinder.groups, cinder.groups.get(made["id"]))
    copied = cinder.groups.get(copy.id, list_volume=True)

    assert (shown.status, len(shown.volumes), shown.replication_status) == ("available", 2, "disabled")
    assert {one.volume_id for one in parts if one.group_snapshot_id == taken.id} == set(shown.volumes)
    assert (copied.group_snapshot_id, len(copied.volumes)) == (taken.id, 2)
    assert group.id in {one.id for one in cinder.groups.list(detailed=True, search_opts={"name": shown.name})}
    assert group.id in {one.id for one in cinder.groups.list(detailed=False)}
    assert taken.id in {one.id for one in cinder.group_snapshots.list(detailed=True)}
    assert taken.id in {one.id for one in cinder.group_snapshots.list(detailed=False)}
    with pytest.raises(exceptions.BadRequest, match="belongs to group"):
        cinder.volumes.delete(copied.volumes[0])
    cinder.groups.delete(copy, delete_volumes=True)
    cinder.group_snapshots.delete(taken)
    gone(cinder.groups, copy)
    gone(cinder.group_snapshots, taken)


def test_a_group_is_changed_and_reset(cinder: Any, group: Any) -> None:
    leaves = cinder.groups.get(group.id, list_volume=True).volumes[0]
    cinder.groups.update(group.id, name="new", description="d", remove_volumes=leaves)
    assert cinder.volumes.get(leaves).group_id is None
    cinder.groups.update(group.id, add_volumes=leaves)
    cinder.groups.reset_state(group.id, "error")
    assert cinder.groups.get(group.id).status == "error"
    cinder.groups.reset_state(group.id, "available")
    for refused in ("enable_replication", "disable_replication", "failover_replication", "list_replication_targets"):
        with pytest.raises(exceptions.BadRequest, match="is not replicated"):
            getattr(cinder.groups, refused)(group.id)


def test_group_snapshots_are_reset(cinder: Any, group: Any) -> None:
    taken = settled(cinder.group_snapshots, cinder.group_snapshots.create(group.id))
    cinder.group_snapshots.reset_state(taken.id, "error")
    assert cinder.group_snapshots.get(taken.id).status == "error"
    cinder.group_snapshots.delete(taken)
    gone(cinder.group_snapshots, taken)


def test_consistency_groups_as_older_clients_ask_for_them(cinder: Any) -> None:
    """No backend of this service takes them at one instant, so they are in error, and can be listed, changed and deleted."""
    made = cinder.consistencygroups.create(DEFAULT, name="cg")
    shown = settled(cinder.consistencygroups, made, "error")
    cinder.consistencygroups.update(made.id, name="new")

    assert shown.name == "cg"
    assert made.id in {one.id for one in cinder.consistencygroups.list()}
    assert made.id in {one.id for one in cinder.consistencygroups.list(detailed=False)}
    with pytest.raises(exceptions.BadRequest, match="has status error"):
        cinder.cgsnapshots.create(made.id)
    with pytest.raises(exceptions.BadRequest, match="has status error"):
        cinder.consistencygroups.create_from_src(None, made.id)
    with pytest.raises(exceptions.NotFound):
        cinder.cgsnapshots.get(made.id)
    with pytest.raises(exceptions.NotFound):
        cinder.cgsnapshots.delete(made.id)
    assert cinder.cgsnapshots.list() == cinder.cgsnapshots.list(detailed=False) == []
    cinder.consistencygroups.delete(made, force=True)
    gone(cinder.consistencygroups, made)


def test_groups_by_the_sdk(cloud: Any, cinder: Any, group: Any) -> None:
    storage = cloud.block_storage
    taken = storage.create_group_snapshot(group_id=group.id, name="sdk")
    settled(cinder.group_snapshots, taken)
    kind = storage.create_group_type(name=f"sdk-{uuid.uuid4()}")
    storage.create_group_type_group_specs(kind, {"a": "1"})
    storage.update_group_type_group_specs_property(kind, "a", "2")

    assert storage.find_group(group.name, ignore_missing=False).status == "available"
    assert [one.name for one in storage.group_snapshots() if one.id == taken.id] == ["sdk"]
    assert storage.get_group_type_group_specs_property(kind, "a") == "2"
    storage.delete_group_type_group_specs_property(kind, "a")
    storage.delete_group_type(kind)
    storage.delete_group_snapshot(taken)
    gone(cinder.group_snapshots, taken)


def test_groups_by_the_command(programs: Programs, cinder: Any, group: Any) -> None:
    shown = programs.openstack("volume", "group", "show", "--volumes", group.id)
    made = programs.openstack("volume", "group", "snapshot", "create", group.id, "--name", "cli")
    taken = next(one for one in cinder.group_snapshots.list() if one.id in made.values())
    settled(cinder.group_snapshots, taken)
    listed = programs.openstack("volume", "group", "list")

    assert group.id in {one["ID"] for one in listed}
    assert "available" in shown.values()
    programs.tell("volume", "group", "snapshot", "delete", taken.id)
    gone(cinder.group_snapshots, taken)
