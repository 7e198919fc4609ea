"""Every function of openstacksdk for block storage that the other files have not called, as `test_cinder_commands.py`."""

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from openstack import exceptions
from tests.clients.conftest import CloudAt
from tests.clients.waiting import gone, settled

DEFAULT = "__DEFAULT__"
HOST = "node-1@slow"


@pytest.fixture(scope="module")
def storage(cloud_at: CloudAt) -> Any:
    """The proxy, told a version."""
    return cloud_at("3.71").block_storage


@pytest.fixture
def kind(cinder: Any) -> Iterator[Any]:
    """A type of groups."""
    made = cinder.group_types.create(f"f-{uuid.uuid4()}")
    yield made
    cinder.group_types.delete(made.id)


def test_a_group_is_made_copied_and_deleted(storage: Any, cinder: Any, kind: Any) -> None:
    types = [cinder.volume_types.default().id]
    made = storage.create_group(group_type=kind.id, volume_types=types, name="g")
    settled(cinder.groups, made)
    settled(cinder.volumes, cinder.volumes.create(1, volume_type=DEFAULT, group_id=made.id))
    storage.update_group(made, name="other")
    taken = storage.create_group_snapshot(group_id=made.id, name=f"s-{uuid.uuid4()}")
    settled(cinder.group_snapshots, taken)
    copied = storage.create_group_from_source(group_snapshot_id=taken.id, source_group_id=None, name="copy")
    settled(cinder.groups, copied)
    shown, found = storage.get_group(made.id), storage.find_group_snapshot(taken.name)
    listed = [one.id for one in storage.groups()]
    storage.reset_group_snapshot_status(taken, "error")
    storage.reset_group_snapshot_state(taken, "available")
    storage.reset_group_status(made, "error")
    storage.reset_group_state(made, "available")
    again = storage.get_group_snapshot(taken.id).status
    storage.delete_group_snapshot(taken)
    gone(cinder.group_snapshots, taken)
    for one in (copied, made):
        storage.delete_group(one, delete_volumes=True)
        gone(cinder.groups, one)

    assert (shown.name, found.id, again) == ("other", taken.id, "available")
    assert {made.id, copied.id} <= set(listed)


def test_types_of_groups(storage: Any) -> None:
    made = storage.create_group_type(name=f"f-{uuid.uuid4()}")
    storage.create_group_type_group_specs(made, {"a": "1"})
    storage.update_group_type(made.id, description="words")  # with the object it would send its specs along
    shown = storage.get_group_type(made.id)
    specs = storage.fetch_group_type_group_specs(made).group_specs
    found, listed = storage.find_group_type(made.name), [one.id for one in storage.group_types()]
    storage.delete_group_type(made)

    assert (shown.description, specs, found.id, made.id in listed) == ("words", {"a": "1"}, made.id, True)


def test_consistency_groups(storage: Any, cinder: Any) -> None:
    """As much as there is of them, which is one in error that has no snapshots."""
    name = f"cg-{uuid.uuid4()}"
    made = storage.create_consistency_group(name="first", volume_types=DEFAULT)
    settled(cinder.consistencygroups, made, "error")
    storage.update_consistency_group(made, name=name)
    shown = storage.get_consistency_group(made.id)
    found = storage.find_consistency_group(name, ignore_missing=False)
    listed = [one.id for one in storage.consistency_groups()]
    none = str(uuid.uuid4())
    with pytest.raises(exceptions.BadRequestException, match="has status error"):
        storage.create_consistency_group_snapshot(consistencygroup_id=made.id)
    with pytest.raises(exceptions.BadRequestException, match="has status error"):
        storage.create_consistency_group_from_source(consistency_group=made)
    with pytest.raises(exceptions.NotFoundException):
        storage.get_consistency_group_snapshot(none)
    nothing = storage.find_consistency_group_snapshot(none), list(storage.consistency_group_snapshots())
    storage.delete_consistency_group_snapshot(none)
    storage.delete_consistency_group(made, force=True)
    gone(cinder.consistencygroups, made)

    assert (shown.id, found.id, made.id in listed, nothing) == (made.id, made.id, True, (None, []))


def test_backups(storage: Any, cinder: Any) -> None:
    """A record is exported, and a backup changed."""
    volume = settled(cinder.volumes, cinder.volumes.create(1, metadata={"a": "1"}))
    backup = settled(cinder.backups, cinder.backups.create(volume.id, metadata={"a": "1"}))
    storage.update_backup(backup.id, name="other")
    record = storage.export_backup(backup.id)["backup-record"]
    answer = storage.export_record(backup.id)
    shown = storage.get_backup(backup.id)
    cinder.backups.delete(backup)
    gone(cinder.backups, backup)
    cinder.volumes.delete(volume)

    assert (shown.name, answer.json()["backup-record"]) == ("other", record)


def test_what_else_there_is(storage: Any, cinder: Any) -> None:
    """Older names of functions, and a list."""
    volume = settled(cinder.volumes, cinder.volumes.create(1, metadata={"a": "1"}))
    snapshot = settled(cinder.volume_snapshots, cinder.volume_snapshots.create(volume.id, metadata={"b": "2"}))
    storage.reset_snapshot(snapshot.id, "error")
    status = cinder.volume_snapshots.get(snapshot.id).status
    of_both = storage.get_volume_metadata(volume.id).metadata, storage.get_snapshot_metadata(snapshot.id).metadata
    qos = storage.create_qos_spec(name=f"f-{uuid.uuid4()}", consumer="both")
    listed = [one.id for one in storage.qos_specs()]
    storage.delete_qos_spec(qos)
    cinder.volumes.delete(volume, cascade=True)

    assert (of_both, status, qos.id in listed) == (({"a": "1"}, {"b": "2"}), "error", True)


def test_what_no_driver_and_no_service_here_can_do_is_refused(storage: Any, cinder: Any, kind: Any) -> None:
    """With the reason."""
    volume = settled(cinder.volumes, cinder.volumes.create(1))
    group = settled(cinder.groups, cinder.groups.create(kind.id, DEFAULT))
    (service,) = storage.services(host=HOST, binary="cinder-volume")
    refused: dict[str, tuple[str, Callable[[], Any]]] = {
        "upload": ("no image service is configured", lambda: storage.upload_volume_to_image(volume.id, "i")),
        "extended": ("", lambda: storage.complete_volume_extend(volume.id)),
        "fail over": ("no replication", lambda: storage.failover_service(service, backend_id="elsewhere")),
        # From here on the library asks for what the API does not have.
        "enable": ("expected object, got null", lambda: storage.enable_group_replication(group.id)),
        "disable": ("expected object, got null", lambda: storage.disable_group_replication(group.id)),
        "group": ("There is no such action", lambda: storage.failover_group_replication(group.id)),
        "metadata": ("There is no such URL", lambda: storage.fetch_backup_metadata(str(uuid.uuid4()))),
        "import": ("does not take POST", lambda: storage.import_backup(service="s", url="u")),
        "clean": (
            "does not take PUT",
            lambda: storage.cleanup_service_workers(binary="cinder-volume", host=HOST, cluster_name=None),
        ),
    }
    said = {name: _refusal(call) for name, (_, call) in refused.items()}
    cinder.groups.delete(group, delete_volumes=True)
    gone(cinder.groups, group)
    cinder.volumes.delete(volume)

    assert {name: text for name, text in said.items() if refused[name][0] not in text} == {}


def _refusal(call: Callable[[], Any]) -> str:
    with pytest.raises(exceptions.HttpException) as refused:
        call()
    return str(refused.value)


# --- the cloud layer --------------------------------------------------------------------------------------------------


@pytest.fixture
def volume(cinder: Any) -> Iterator[Any]:
    """An available volume of 1 GiB. Made by another client: this one waits in steps of two seconds."""
    made = cinder.volumes.create(1, name=f"cloud-{uuid.uuid4()}")
    yield settled(cinder.volumes, made)
    cinder.volumes.delete(made, cascade=True)


def test_backups_of_the_cloud_layer(cloud: Any, cinder: Any, volume: Any) -> None:
    name = f"{volume.name}-b"
    backup = cloud.create_volume_backup(volume.id, name=name, wait=False)
    settled(cinder.backups, backup)
    shown = cloud.get_volume_backup(name)
    listed = [one.id for one in cloud.list_volume_backups()]
    searched = [one.id for one in cloud.search_volume_backups(name)]
    record = cloud.export_volume_backup(backup.id)
    deleted = cloud.delete_volume_backup(name, wait=False)
    gone(cinder.backups, backup)

    assert (shown.id, backup.id in listed, searched, deleted) == (backup.id, True, [backup.id], True)
    assert record


def test_searches_of_the_cloud_layer(cloud: Any, cinder: Any, volume: Any) -> None:
    """By name, and by id."""
    snapshot = settled(cinder.volume_snapshots, cinder.volume_snapshots.create(volume.id, name=f"{volume.name}-s"))
    found = (
        [one.id for one in cloud.search_volumes(volume.name)],
        [one.id for one in cloud.search_volume_snapshots(snapshot.name)],
        [one.name for one in cloud.search_volume_types(DEFAULT)],
        cloud.get_volume_id(volume.name),
        cloud.get_volume_by_id(volume.id).id,
        cloud.get_volume_snapshot_by_id(snapshot.id).id,
        [one.id for one in cloud.get_volumes({"id": str(uuid.uuid4())})],
        cloud.get_volume_attach_device(cloud.get_volume(volume.id), str(uuid.uuid4())),
    )

    assert found == ([volume.id], [snapshot.id], [DEFAULT], volume.id, volume.id, snapshot.id, [], None)
