"""openstacksdk: the `block_storage` proxy, and the functions of the cloud layer above it.

These functions of the cloud layer cannot work without an identity service, which they ask for the project's id:
`get_volume_quotas`, `set_volume_quotas`, `delete_volume_quotas`, and `get_volume_limits` with a project.
The same is reached through the proxy: `get_quota_set`, `update_quota_set`, `revert_quota_set`, `get_limits`.
"""

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from openstack import exceptions
from tests.clients.conftest import PROJECT, CloudAt
from tests.service import eventually

QUEUE = "breezeblock@fast"
# The library looks every two seconds by default.
OFTEN_S = 0.1


@pytest.fixture(scope="module")
def storage(cloud: Any) -> Any:
    """The proxy."""
    return cloud.block_storage


@pytest.fixture
def volume(storage: Any) -> Iterator[Any]:
    """An available volume of 1 GiB."""
    made = storage.create_volume(size=1, name=f"sdk-{uuid.uuid4()}", metadata={"colour": "red"})
    yield storage.wait_for_status(made, interval=OFTEN_S)
    storage.reset_volume_status(made, "available", None, None)
    storage.delete_volume(made, cascade=True)


@pytest.fixture
def snapshot(storage: Any, volume: Any) -> Any:
    """An available snapshot of `volume`; it goes with it."""
    made = storage.create_snapshot(volume_id=volume.id, name=f"snap-{uuid.uuid4()}", metadata={"k": "v"})
    return storage.wait_for_status(made, interval=OFTEN_S)


# --- volumes ---------------------------------------------------------------------------------------------------------


def test_a_volume(storage: Any, volume: Any) -> None:
    """As it was asked for, by id and by name."""
    shown = storage.get_volume(volume.id)
    found = storage.find_volume(volume.name, ignore_missing=False)

    assert (shown.id, shown.name, shown.size, shown.status) == (volume.id, volume.name, 1, "available")
    assert (shown.is_bootable, shown.is_encrypted, shown.is_multiattach) == (False, False, False)
    assert (shown.metadata, shown.attachments) == ({"colour": "red"}, [])
    assert (shown.project_id, shown.availability_zone, shown.consumes_quota) == (PROJECT, "nova", True)
    assert shown.host.startswith(f"{shown.cluster_name.split('#')[0]}#")
    assert found.id == volume.id


def test_a_missing_volume(storage: Any) -> None:
    """NotFoundException when it is asked for, None when it is looked for."""
    missing = str(uuid.uuid4())

    with pytest.raises(exceptions.NotFoundException, match=f"Volume {missing} could not be found"):
        storage.get_volume(missing)

    assert storage.find_volume(missing) is None


def test_a_refused_volume(storage: Any) -> None:
    """BadRequestException with our explanation."""
    with pytest.raises(exceptions.BadRequestException, match=r"volume\.size"):
        storage.create_volume(size=-1)


def test_volumes_from_a_snapshot_and_from_a_volume(storage: Any, volume: Any, snapshot: Any) -> None:
    """Both say where they came from."""
    one = storage.create_volume(size=1, snapshot_id=snapshot.id)
    other = storage.create_volume(size=1, source_volume_id=volume.id)

    one = storage.wait_for_status(one, interval=OFTEN_S)
    other = storage.wait_for_status(other, interval=OFTEN_S)
    storage.delete_volume(one)
    storage.delete_volume(other)
    storage.wait_for_delete(one, interval=OFTEN_S)
    storage.wait_for_delete(other, interval=OFTEN_S)

    assert (one.snapshot_id, other.source_volume_id) == (snapshot.id, volume.id)
    assert storage.find_volume(one.id) is None


def test_lists_of_volumes(storage: Any, volume: Any, snapshot: Any) -> None:
    """In detail and in short, filtered, and over several pages."""
    copies = [storage.create_volume(size=1, name=volume.name, metadata={"n": str(n)}) for n in (1, 2)]
    for copy in copies:
        storage.wait_for_status(copy, interval=OFTEN_S)
    ids = [copies[1].id, copies[0].id, volume.id]

    detailed = [one.id for one in storage.volumes(name=volume.name)]
    short = [one.id for one in storage.volumes(details=False, name=volume.name)]
    page_by_page = [one.id for one in storage.volumes(name=volume.name, limit=1)]
    by_metadata = [one.id for one in storage.volumes(name=volume.name, properties="{'n': '2'}")]
    everywhere = [one.id for one in storage.volumes(name=volume.name, all_projects=True, status="available")]
    for copy in copies:
        storage.delete_volume(copy)

    assert (detailed, short, page_by_page, everywhere) == (ids, ids, ids, ids)
    assert by_metadata == [copies[1].id]


def test_changes_of_a_volume(storage: Any, volume: Any) -> None:
    """Name, flags, size."""
    updated = storage.update_volume(volume, name="new name", description="new words")
    storage.set_volume_bootable_status(volume, True)
    storage.set_volume_readonly(volume, True)
    storage.extend_volume(volume, 2)
    shown = storage.wait_for_status(storage.get_volume(volume.id), interval=OFTEN_S)

    assert (updated.name, updated.description) == ("new name", "new words")
    assert (shown.name, shown.size, shown.is_bootable) == ("new name", 2, True)
    assert shown.metadata == {"colour": "red", "readonly": "True"}


def test_revert(storage: Any, volume: Any, snapshot: Any) -> None:
    """To the latest snapshot."""
    storage.revert_volume_to_snapshot(volume, snapshot)

    assert storage.wait_for_status(storage.get_volume(volume.id), interval=OFTEN_S).size == 1


def test_retype(storage: Any) -> None:
    """The type's name and id are shown with the volume."""
    wanted = storage.create_type(name=f"sdk-{uuid.uuid4()}")
    volume = storage.wait_for_status(storage.create_volume(size=1), interval=OFTEN_S)

    storage.retype_volume(volume, wanted.name, "never")
    shown = storage.wait_for_status(storage.get_volume(volume.id), interval=OFTEN_S)
    storage.delete_volume(volume)
    storage.wait_for_delete(volume, interval=OFTEN_S)
    storage.delete_type(wanted)

    assert (shown.volume_type, shown.volume_type_id) == (wanted.name, wanted.id)


def test_a_status_set_by_an_operator_and_a_forced_delete(storage: Any) -> None:
    """What is in error goes as well."""
    volume = storage.wait_for_status(storage.create_volume(size=1), interval=OFTEN_S)
    storage.reset_volume_status(volume, "error", "detached", "none")
    status = storage.get_volume(volume.id).status

    storage.delete_volume(volume, force=True)
    storage.wait_for_delete(volume, interval=OFTEN_S)

    assert status == "error"


def test_metadata_of_a_volume(storage: Any, volume: Any) -> None:
    """Merged, read, taken away one by one and altogether."""
    storage.set_volume_metadata(volume, shape="round", size="large")
    merged = dict(storage.fetch_volume_metadata(volume).metadata)
    storage.delete_volume_metadata(volume, keys=["shape"])
    reduced = dict(storage.fetch_volume_metadata(volume).metadata)
    item = dict(volume.get_metadata_item(storage, "size").metadata)
    volume.set_metadata_item(storage, "size", "small")
    small = dict(storage.fetch_volume_metadata(volume).metadata)
    storage.delete_volume_metadata(volume)

    assert merged == {"colour": "red", "shape": "round", "size": "large"}
    assert reduced == {"colour": "red", "size": "large"}
    assert item["size"] == "large"
    assert small == {"colour": "red", "size": "small"}
    assert storage.get_volume(volume.id).metadata == {}


def test_the_summary(storage: Any, volume: Any) -> None:
    """Number and size."""
    summary = storage.summary(all_projects=False)

    assert 1 <= summary.total_count <= summary.total_size
    assert "red" in summary.metadata["colour"]


# --- snapshots -------------------------------------------------------------------------------------------------------


def test_a_snapshot(storage: Any, volume: Any, snapshot: Any) -> None:
    """By id, by name, in lists."""
    shown = storage.get_snapshot(snapshot.id)

    assert (shown.volume_id, shown.size, shown.status, shown.progress) == (volume.id, 1, "available", "100%")
    assert (shown.metadata, shown.project_id, shown.consumes_quota) == ({"k": "v"}, PROJECT, True)
    assert storage.find_snapshot(snapshot.name, ignore_missing=False).id == snapshot.id
    assert [one.id for one in storage.snapshots(volume_id=volume.id)] == [snapshot.id]
    assert [one.id for one in storage.snapshots(details=False, volume_id=volume.id)] == [snapshot.id]


def test_changes_of_a_snapshot(storage: Any, snapshot: Any) -> None:
    """Name and metadata."""
    storage.update_snapshot(snapshot, name="other", description="second")
    storage.set_snapshot_metadata(snapshot, n="2")
    merged = dict(storage.fetch_snapshot_metadata(snapshot).metadata)
    item = dict(snapshot.get_metadata_item(storage, "n").metadata)
    snapshot.set_metadata_item(storage, "n", "3")
    storage.delete_snapshot_metadata(snapshot, keys=["k"])

    shown = storage.get_snapshot(snapshot.id)
    assert merged == {"k": "v", "n": "2"}
    assert item["n"] == "2"
    assert (shown.name, shown.description, shown.metadata) == ("other", "second", {"n": "3"})


def test_statuses_of_a_snapshot(storage: Any, snapshot: Any) -> None:
    """Set by an operator, reported by a compute service, and the end whatever it is."""
    storage.reset_snapshot_status(snapshot, "creating")
    storage.set_snapshot_status(snapshot, "available", "100%")
    available = storage.get_snapshot(snapshot.id).status
    storage.reset_snapshot_status(snapshot, "error")
    in_error = storage.get_snapshot(snapshot.id).status

    storage.delete_snapshot(snapshot, force=True)
    storage.wait_for_delete(snapshot, interval=OFTEN_S)

    assert (available, in_error) == ("available", "error")


def test_delete_of_a_snapshot(storage: Any, snapshot: Any) -> None:
    """And it is not found any more."""
    storage.delete_snapshot(snapshot)
    storage.wait_for_delete(snapshot, interval=OFTEN_S)

    assert storage.find_snapshot(snapshot.id) is None


# --- types -----------------------------------------------------------------------------------------------------------


def test_a_type(storage: Any) -> None:
    """Its life, extra specs and access list."""
    name = f"sdk-{uuid.uuid4()}"
    made = storage.create_type(name=name, description="first", is_public=False)
    storage.update_type(made, name=f"{name}-2", description="second")
    specs = storage.update_type_extra_specs(made, tier="1", volume_backend_name="fast").extra_specs
    storage.delete_type_extra_specs(made, ["tier"])
    storage.add_type_access(made, PROJECT)
    access = storage.get_type_access(made)
    storage.remove_type_access(made, PROJECT)
    shown = storage.get_type(made.id)
    found = storage.find_type(f"{name}-2", ignore_missing=False)
    listed = [one.id for one in storage.types(is_public=False)]
    after = storage.get_type_access(made)
    storage.delete_type(made)

    assert specs == {"tier": "1", "volume_backend_name": "fast"}
    assert (shown.name, shown.description, shown.is_public) == (f"{name}-2", "second", False)
    assert shown.extra_specs == {"volume_backend_name": "fast"}
    assert access == [{"volume_type_id": made.id, "project_id": PROJECT}]
    assert after == []
    assert found.id == made.id
    assert made.id in listed
    assert storage.find_type(made.id) is None


# --- quotas, limits, messages ----------------------------------------------------------------------------------------


def test_quotas(storage: Any) -> None:
    """Shown, changed, with usage, and back to the defaults."""
    updated = storage.update_quota_set("sdk-quotas", volumes=7)
    shown = storage.get_quota_set("sdk-quotas", usage=True)
    storage.revert_quota_set("sdk-quotas")

    assert updated.volumes == 7
    assert (shown.volumes, shown.usage["volumes"], shown.reservation["volumes"]) == (7, 0, 0)
    assert storage.get_quota_set("sdk-quotas").volumes == -1
    assert storage.get_quota_set_defaults("sdk-quotas").backups == 10


def test_quota_classes(storage: Any) -> None:
    """The one class."""
    before = storage.get_quota_class_set()
    changed = storage.update_quota_class_set("default", groups=11)
    storage.update_quota_class_set("default", groups=before.groups)

    assert (before.groups, changed.groups) == (10, 11)


def test_limits(storage: Any, volume: Any) -> None:
    """One's own, and another project's."""
    own, other = storage.get_limits(), storage.get_limits("nobody")

    assert own.absolute.total_volumes_used >= 1
    assert own.absolute.max_total_volumes == -1
    assert other.absolute.total_volumes_used == 0


def test_messages(cloud_at: CloudAt) -> None:
    """Why a volume failed that was accepted. The library has to be told a version, at least 3.3."""
    storage = cloud_at("3.71").block_storage
    nowhere = storage.create_type(name=f"nowhere-{uuid.uuid4()}")
    storage.update_type_extra_specs(nowhere, volume_backend_name="nowhere")
    failed = storage.create_volume(size=1, volume_type=nowhere.name)
    with pytest.raises(exceptions.ResourceFailure):
        storage.wait_for_status(failed, interval=OFTEN_S)

    (listed,) = [one for one in storage.messages() if one.resource_uuid == failed.id]
    storage.get_message(listed.id)  # the library looks for its fields under a key that this API never had
    storage.delete_message(listed.id)
    storage.delete_volume(failed)
    storage.wait_for_delete(failed, interval=OFTEN_S)
    storage.delete_type(nowhere)

    assert "volume_backend_name" in listed.user_message
    assert listed.id not in [one.id for one in storage.messages()]


# --- the service itself ----------------------------------------------------------------------------------------------


def test_services(storage: Any) -> None:
    """One is taken out and comes back."""
    host = "node-2@fast"
    service = storage.find_service("cinder-volume", ignore_missing=False, host=host)

    disabled = storage.disable_service(service, reason="moving it").status
    (shown,) = storage.services(host=host)
    storage.enable_service(service)
    storage.disable_service(service)
    storage.enable_service(service)
    (again,) = storage.services(host=host, binary="cinder-volume")

    assert disabled == "disabled"
    assert (shown.status, shown.disabled_reason, shown.cluster) == ("disabled", "moving it", QUEUE)
    assert (again.status, again.state, again.availability_zone) == ("enabled", "up", "nova")


def test_a_backend_is_frozen_thawed_and_not_failed_over(storage: Any) -> None:
    """The file driver has no replication."""
    (service,) = storage.services(host="node-1@fast")
    storage.freeze_service(service)
    (frozen,) = storage.services(host="node-1@fast")
    storage.thaw_service(service)
    (thawed,) = storage.services(host="node-1@fast")
    with pytest.raises(exceptions.BadRequestException, match="no replication"):
        storage.failover_service(service, backend_id="elsewhere")

    assert (frozen.is_frozen, thawed.is_frozen) == (True, False)


def test_clusters(cloud_at: CloudAt) -> None:
    """In detail, in short, taken out, back again. For that the library has to be told a version, at least 3.7."""
    storage = cloud_at("3.71").block_storage
    names = {QUEUE, "breezeblock@slow"}
    cluster = storage.get_cluster(QUEUE)

    disabled = storage.disable_cluster(cluster, reason="repair")
    status = (disabled.status, disabled.disabled_reason)
    shown = storage.get_cluster(QUEUE)
    enabled = storage.enable_cluster(cluster)

    assert {one.name for one in storage.clusters()} == names
    assert {one.name for one in storage.clusters(details=False, is_up=True)} == names
    assert status == ("disabled", "repair")
    assert (shown.name, shown.status, shown.num_hosts, shown.replication_status) == (QUEUE, "disabled", 2, "disabled")
    assert enabled.status == "enabled"
    assert storage.find_cluster(QUEUE, ignore_missing=False).num_down_hosts == 0


def test_what_the_service_consists_of(storage: Any) -> None:
    """Pools, zones and extensions."""
    pools = {one.name: one.capabilities for one in storage.backend_pools()}
    extensions = {one.alias for one in storage.extensions()}

    assert pools.keys() == {"breezeblock@fast#fast", "breezeblock@slow#slow"}
    assert pools["breezeblock@fast#fast"]["volume_backend_name"] == "fast"
    assert [(one.name, one.state) for one in storage.availability_zones()] == [("nova", {"available": True})]
    assert {"os-services", "os-quota-sets", "scheduler-stats"} <= extensions


def test_the_versions_of_the_server(storage: Any) -> None:
    """As the library discovers them."""
    data = storage.get_endpoint_data()

    assert (data.api_version, data.min_microversion, data.max_microversion) == ((3, 0), (3, 0), (3, 71))


# --- the cloud layer -------------------------------------------------------------------------------------------------


def test_the_cloud_layer(cloud: Any) -> None:
    """A volume and its snapshot, with the waiting that people use this layer for."""
    name = f"cloud-{uuid.uuid4()}"

    volume = cloud.create_volume(1, wait=True, timeout=30, name=name, bootable=True)
    updated = cloud.update_volume(name, description="words")
    cloud.set_volume_bootable(name, False)
    snapshot = cloud.create_volume_snapshot(volume.id, wait=False, name=f"{name}-s")
    eventually(lambda: cloud.get_volume_snapshot(f"{name}-s").status == "available" or None)
    shown = cloud.get_volume(name)
    found = cloud.get_volume_snapshot(f"{name}-s")
    listed = [one.id for one in cloud.list_volumes()]
    snapshots = [one.id for one in cloud.list_volume_snapshots() if one.volume_id == volume.id]
    deleted = cloud.delete_volume_snapshot(f"{name}-s", wait=False)
    eventually(lambda: cloud.get_volume_snapshot(f"{name}-s") is None)
    deleted_volume = cloud.delete_volume(name, wait=False)
    eventually(lambda: not cloud.volume_exists(name))

    assert volume.status == "available"
    assert updated.description == "words"
    assert (shown.id, shown.is_bootable) == (volume.id, False)
    assert (found.id, snapshot.volume_id) == (snapshot.id, volume.id)
    assert volume.id in listed
    assert snapshots == [snapshot.id]
    assert (deleted, deleted_volume) == (True, True)


def test_types_and_limits_of_the_cloud_layer(cloud: Any) -> None:
    """By name, where the proxy wants ids."""
    made = cloud.block_storage.create_type(name=f"cloud-{uuid.uuid4()}", is_public=False)

    cloud.add_volume_type_access(made.name, PROJECT)
    access = cloud.get_volume_type_access(made.name)
    cloud.remove_volume_type_access(made.name, PROJECT)
    found = cloud.get_volume_type(made.name)
    listed = [one.name for one in cloud.list_volume_types()]
    cloud.block_storage.delete_type(made)

    assert [one["project_id"] for one in access] == [PROJECT]
    assert found.id == made.id
    assert "__DEFAULT__" in listed
    assert cloud.get_volume_limits().absolute.max_total_volumes == -1
