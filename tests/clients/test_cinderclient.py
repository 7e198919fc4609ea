"""python-cinderclient as a library: every call of the API that it has a method for."""

import uuid
from collections.abc import Iterator
from typing import Any

import cinderclient.client
import pytest
from cinderclient import exceptions
from cinderclient.v3.contrib.list_extensions import ListExtManager
from tests.clients.conftest import CinderAt
from tests.clients.waiting import gone, settled
from tests.service import Service

FAST = "breezeblock@fast#fast"
QUEUE = "breezeblock@fast"


@pytest.fixture
def volume(cinder: Any) -> Iterator[Any]:
    """An available volume of 1 GiB."""
    made = cinder.volumes.create(1, name=f"v-{uuid.uuid4()}", metadata={"colour": "red"})
    yield settled(cinder.volumes, made)
    cinder.volumes.reset_state(made, "available", attach_status="detached")
    cinder.volumes.delete(made, cascade=True)


@pytest.fixture
def snapshot(cinder: Any, volume: Any) -> Any:
    """An available snapshot of `volume`; it goes with it."""
    made = cinder.volume_snapshots.create(volume.id, name="s", description="first", metadata={"k": "v"})
    return settled(cinder.volume_snapshots, made)


@pytest.fixture
def volume_type(cinder: Any) -> Iterator[Any]:
    """A public type without extra specs."""
    made = cinder.volume_types.create(f"t-{uuid.uuid4()}", "for a test")
    yield made
    cinder.volume_types.delete(made)


# --- volumes: their life ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["3.0", "3.71"])
def test_an_empty_volume(cinder_at: CinderAt, version: str) -> None:
    """It is answered at once, becomes available, shows what was asked for, and goes."""
    cinder = cinder_at(version)

    made = cinder.volumes.create(2, name="empty", description="nothing in it", metadata={"a": "1"})
    shown = settled(cinder.volumes, made)
    cinder.volumes.delete(made)
    gone(cinder.volumes, made)

    assert made.status == "creating"
    assert (shown.size, shown.name, shown.description) == (2, "empty", "nothing in it")
    assert shown.metadata == {"a": "1"}
    assert shown.availability_zone == "nova"
    assert (shown.bootable, shown.encrypted, shown.multiattach, shown.attachments) == ("false", False, False, [])
    assert getattr(shown, "os-vol-tenant-attr:tenant_id") == "clients"
    assert getattr(shown, "os-vol-host-attr:host").startswith("breezeblock@")
    assert shown.user_id == "ann"
    assert hasattr(shown, "volume_type_id") == (version == "3.71")


def test_a_volume_from_a_snapshot_and_one_from_a_volume(cinder: Any, volume: Any, snapshot: Any) -> None:
    """Both say where they came from, and may be larger."""
    from_snapshot = cinder.volumes.create(2, snapshot_id=snapshot.id)
    from_volume = cinder.volumes.create(1, source_volid=volume.id)

    one, other = settled(cinder.volumes, from_snapshot), settled(cinder.volumes, from_volume)
    cinder.volumes.delete(one)
    cinder.volumes.delete(other)

    assert (one.snapshot_id, one.size) == (snapshot.id, 2)
    assert (other.source_volid, other.size) == (volume.id, 1)


def test_a_missing_volume_is_not_found(cinder: Any) -> None:
    """With the status and the text that the client shows."""
    missing = str(uuid.uuid4())

    with pytest.raises(exceptions.NotFound, match=f"Volume {missing} could not be found"):
        cinder.volumes.get(missing)


def test_a_refused_size_is_a_bad_request(cinder: Any) -> None:
    """The client's own exception, with our explanation and the request's id."""
    with pytest.raises(exceptions.BadRequest, match=r"volume\.size") as refused:
        cinder.volumes.create(0)

    assert refused.value.request_id.startswith("req-")


def test_a_volume_that_is_deleted_with_its_snapshots(cinder: Any, volume: Any, snapshot: Any) -> None:
    """`cascade` takes the snapshots along; without it the delete is refused."""
    with pytest.raises(exceptions.BadRequest, match="snapshot"):
        cinder.volumes.delete(volume)

    other = settled(cinder.volumes, cinder.volumes.create(1))
    of_other = settled(cinder.volume_snapshots, cinder.volume_snapshots.create(other.id))
    cinder.volumes.delete(other, cascade=True)

    gone(cinder.volumes, other)
    gone(cinder.volume_snapshots, of_other)


def test_force_delete_of_a_volume_in_error(cinder: Any) -> None:
    """Whatever its status says."""
    made = settled(cinder.volumes, cinder.volumes.create(1))
    cinder.volumes.reset_state(made, "error", attach_status="detached", migration_status="none")
    in_error = cinder.volumes.get(made.id)

    cinder.volumes.force_delete(made)

    gone(cinder.volumes, made)
    assert (in_error.status, in_error.migration_status) == ("error", None)


def test_update_of_name_and_description(cinder: Any, volume: Any) -> None:
    """The answer is the new volume, and so is the next show."""
    cinder.volumes.update(volume, name="new name", description="new description")

    shown = cinder.volumes.get(volume.id)
    assert (shown.name, shown.description) == ("new name", "new description")


def test_extend(cinder: Any, volume: Any) -> None:
    """The size is the new one when the volume is available again."""
    cinder.volumes.extend(volume, 3)

    assert settled(cinder.volumes, volume).size == 3


def test_a_flag_that_makes_a_volume_bootable(cinder: Any, volume: Any) -> None:
    """As text, which is how this API writes it."""
    cinder.volumes.set_bootable(volume, True)

    assert cinder.volumes.get(volume.id).bootable == "true"


def test_a_flag_that_makes_a_volume_read_only(cinder: Any, volume: Any) -> None:
    """Shown among the metadata."""
    cinder.volumes.update_readonly_flag(volume, True)

    assert cinder.volumes.get(volume.id).metadata == {"colour": "red", "readonly": "True"}


def test_revert_to_a_snapshot(cinder: Any, volume: Any, snapshot: Any) -> None:
    """Accepted and carried out; what becomes of the bytes is in test_data.py."""
    cinder.volumes.revert_to_snapshot(volume, snapshot)

    assert settled(cinder.volumes, volume).size == 1
    assert settled(cinder.volume_snapshots, snapshot).status == "available"


def test_retype(cinder: Any, volume_type: Any) -> None:
    """The volume has the new type afterwards."""
    made = settled(cinder.volumes, cinder.volumes.create(1))

    cinder.volumes.retype(made, volume_type.name, "never")
    retyped = settled(cinder.volumes, made)
    cinder.volumes.delete(made)
    gone(cinder.volumes, made)

    assert (retyped.volume_type, retyped.volume_type_id) == (volume_type.name, volume_type.id)


def test_the_encryption_of_a_volume(cinder: Any, volume: Any) -> None:
    """There is none."""
    assert cinder.volumes.get_encryption_metadata(volume.id) == {"encryption_key_id": None}


# --- volumes: lists --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def library(cinder_at: CinderAt) -> Iterator[Any]:
    """A project of its own with three volumes, a, b and c, of 1, 2 and 3 GiB."""
    cinder = cinder_at("3.71", "library")
    made = [
        cinder.volumes.create(size, name=name, metadata={"shelf": "left" if size < 3 else "right"})
        for size, name in enumerate("abc", start=1)
    ]
    for volume in made:
        settled(cinder.volumes, volume)
    yield cinder
    for volume in made:
        cinder.volumes.delete(volume)


def names(volumes: Any) -> list[str]:
    return [volume.name for volume in volumes]


def test_a_list_has_the_newest_first(library: Any) -> None:
    """In detail, and in short."""
    assert names(library.volumes.list()) == ["c", "b", "a"]
    assert names(library.volumes.list(detailed=False)) == ["c", "b", "a"]


def test_a_sorted_list(library: Any) -> None:
    """By size, and by name downwards."""
    assert names(library.volumes.list(sort="size:asc")) == ["a", "b", "c"]
    assert names(library.volumes.list(sort="name:desc")) == ["c", "b", "a"]


def test_pages(library: Any) -> None:
    """A limit of 2 and then from its last one on."""
    first = library.volumes.list(limit=2, sort="name:asc")
    rest = library.volumes.list(marker=first[-1].id, sort="name:asc")

    assert names(first) == ["a", "b"]
    assert names(rest) == ["c"]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({"name": "b"}, ["b"]),
        ({"status": "available"}, ["c", "b", "a"]),
        ({"status": "error"}, []),
        ({"metadata": {"shelf": "left"}}, ["b", "a"]),
        ({"size": 3}, ["c"]),
        ({"bootable": "false"}, ["c", "b", "a"]),
        ({"name~": "a"}, ["a"]),
        ({"availability_zone": "nova"}, ["c", "b", "a"]),
        ({"created_at": "gt:2020-01-01T00:00:00"}, ["c", "b", "a"]),
        ({"consumes_quota": "false"}, []),
        ({"all_tenants": 1, "project_id": "library", "name": "c"}, ["c"]),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) and value else "",
)
def test_filters(library: Any, wanted: dict[str, Any], found: list[str]) -> None:
    """Each filter as the client's shell sends it."""
    assert names(library.volumes.list(search_opts=wanted)) == found


def test_a_list_with_its_count(library: Any) -> None:
    """The number of all, not of the page."""
    page, count = library.volumes.list(search_opts={"with_count": True}, limit=1)

    assert names(page) == ["c"]
    assert count == 3


def test_an_unknown_filter_is_refused_since_3_31(library: Any, cinder_at: CinderAt) -> None:
    """Before, nothing has it: everybody is an administrator here, and of them Cinder ignores no filter."""
    with pytest.raises(exceptions.BadRequest, match="nonsense"):
        library.volumes.list(search_opts={"nonsense": "1"})

    assert cinder_at("3.30", "library").volumes.list(search_opts={"nonsense": "1"}) == []


def test_find_by_name(library: Any) -> None:
    """The client looks through the list for it."""
    assert library.volumes.find(name="b").size == 2


def test_the_summary(library: Any) -> None:
    """Number, size and the metadata of all."""
    summary = library.volumes.summary(all_tenants=False)["volume-summary"]

    assert summary == {"total_count": 3, "total_size": 6, "metadata": {"shelf": ["left", "right"]}}


# --- volumes: metadata -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["3.0", "3.71"])
def test_metadata_of_a_volume(cinder_at: CinderAt, volume: Any, version: str) -> None:
    """Set merges, delete takes away (from 3.15 on with an ETag), update replaces all."""
    manager = cinder_at(version).volumes

    manager.set_metadata(volume, {"size": "large", "shape": "round"})
    merged = manager.get(volume.id).metadata
    manager.delete_metadata(volume, ["size", "colour"])
    reduced = manager.get(volume.id).metadata
    manager.update_all_metadata(volume, {"only": "this"})

    assert merged == {"colour": "red", "size": "large", "shape": "round"}
    assert reduced == {"shape": "round"}
    assert manager.get(volume.id).metadata == {"only": "this"}


# --- snapshots -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["3.0", "3.71"])
def test_a_snapshot(cinder_at: CinderAt, volume: Any, version: str) -> None:
    """Its life, from the request to the end."""
    cinder = cinder_at(version)

    made = cinder.volume_snapshots.create(volume.id, name="snap", description="words", metadata={"m": "1"})
    shown = settled(cinder.volume_snapshots, made)
    cinder.volume_snapshots.delete(made)
    gone(cinder.volume_snapshots, made)

    assert made.status == "creating"
    assert (shown.volume_id, shown.size) == (volume.id, 1)
    assert (shown.name, shown.description, shown.metadata) == ("snap", "words", {"m": "1"})
    assert (shown.progress, shown.project_id) == ("100%", "clients")


def test_a_forced_snapshot_before_3_66(cinder_at: CinderAt, volume: Any) -> None:
    """Of a volume whose status would not do otherwise."""
    cinder = cinder_at("3.65")
    cinder.volumes.reset_state(volume, "in-use", attach_status="attached")
    with pytest.raises(exceptions.BadRequest, match="in-use"):
        cinder.volume_snapshots.create(volume.id)

    made = cinder.volume_snapshots.create(volume.id, force=True)

    assert settled(cinder.volume_snapshots, made).volume_id == volume.id


def test_update_of_a_snapshot(cinder: Any, snapshot: Any) -> None:
    """Name and description."""
    cinder.volume_snapshots.update(snapshot, name="other", description="second")

    shown = cinder.volume_snapshots.get(snapshot.id)
    assert (shown.name, shown.description) == ("other", "second")


def test_lists_of_snapshots(cinder: Any, volume: Any, snapshot: Any) -> None:
    """In detail and in short, filtered, with a count."""
    of_volume = cinder.volume_snapshots.list(search_opts={"volume_id": volume.id, "status": "available"})
    short = cinder.volume_snapshots.list(detailed=False, search_opts={"volume_id": volume.id})
    by_metadata = cinder.volume_snapshots.list(search_opts={"volume_id": volume.id, "metadata": {"k": "v"}})
    page, count = cinder.volume_snapshots.list(search_opts={"volume_id": volume.id, "with_count": True}, limit=1)

    assert [one.id for one in of_volume] == [snapshot.id]
    assert [one.id for one in short] == [snapshot.id]
    assert [one.id for one in by_metadata] == [snapshot.id]
    assert ([one.id for one in page], count) == ([snapshot.id], 1)


def test_metadata_of_a_snapshot(cinder: Any, snapshot: Any) -> None:
    """Set merges, delete takes away, update replaces all."""
    snapshot.set_metadata({"n": "2"})
    merged = cinder.volume_snapshots.get(snapshot.id).metadata
    snapshot.delete_metadata(["k"])
    reduced = cinder.volume_snapshots.get(snapshot.id).metadata
    snapshot.update_all_metadata({"only": "this"})

    assert merged == {"k": "v", "n": "2"}
    assert reduced == {"n": "2"}
    assert cinder.volume_snapshots.get(snapshot.id).metadata == {"only": "this"}


def test_reset_status_and_force_delete_of_a_snapshot(cinder: Any, snapshot: Any) -> None:
    """An operator's word, and the end of it."""
    cinder.volume_snapshots.reset_state(snapshot, "error")
    in_error = cinder.volume_snapshots.get(snapshot.id).status

    cinder.volume_snapshots.delete(snapshot, force=True)

    gone(cinder.volume_snapshots, snapshot)
    assert in_error == "error"


def test_a_compute_service_reports_a_snapshot(cinder: Any, snapshot: Any) -> None:
    """os-update_snapshot_status, with progress."""
    cinder.volume_snapshots.reset_state(snapshot, "creating")

    cinder.volume_snapshots.update_snapshot_status(snapshot, {"status": "creating", "progress": "42%"})
    halfway = cinder.volume_snapshots.get(snapshot.id)
    cinder.volume_snapshots.update_snapshot_status(snapshot, {"status": "available", "progress": "100%"})

    assert (halfway.status, halfway.progress) == ("creating", "42%")
    assert cinder.volume_snapshots.get(snapshot.id).status == "available"


# --- volume types ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["3.0", "3.71"])
def test_a_volume_type(cinder_at: CinderAt, version: str) -> None:
    """Create, show, update, list, delete."""
    cinder = cinder_at(version)
    name = f"gold-{version}"

    made = cinder.volume_types.create(name, "fast", is_public=True)
    cinder.volume_types.update(made, name=f"{name}-2", description="faster", is_public=True)
    shown = cinder.volume_types.get(made.id)
    listed = [one.id for one in cinder.volume_types.list()]
    cinder.volume_types.delete(made)

    assert (made.name, made.description, made.is_public) == (name, "fast", True)
    assert (shown.name, shown.description) == (f"{name}-2", "faster")
    assert made.id in listed
    gone(cinder.volume_types, made)


def test_the_default_type(cinder: Any) -> None:
    """A type like the others."""
    default = cinder.volume_types.default()

    assert default.id in [one.id for one in cinder.volume_types.list()]


def test_extra_specs(cinder: Any, volume_type: Any) -> None:
    """Set, get, unset."""
    volume_type.set_keys({"volume_backend_name": "fast", "tier": "1"})
    keys = volume_type.get_keys()
    volume_type.unset_keys(["tier"])

    assert keys == {"volume_backend_name": "fast", "tier": "1"}
    assert cinder.volume_types.get(volume_type.id).extra_specs == {"volume_backend_name": "fast"}
    assert [one.id for one in cinder.volume_types.list(search_opts={"extra_specs": {"volume_backend_name": "fast"}})]


def test_access_to_a_private_type(cinder: Any) -> None:
    """Only the projects on its list."""
    private = cinder.volume_types.create(f"private-{uuid.uuid4()}", is_public=False)

    cinder.volume_type_access.add_project_access(private, "clients")
    cinder.volume_type_access.add_project_access(private, "others")
    both = {one.project_id for one in cinder.volume_type_access.list(private)}
    cinder.volume_type_access.remove_project_access(private, "others")
    one = [access.project_id for access in cinder.volume_type_access.list(private)]
    listed = [found.id for found in cinder.volume_types.list(is_public=False)]
    cinder.volume_types.delete(private)

    assert both == {"clients", "others"}
    assert one == ["clients"]
    assert private.id in listed


# --- quotas, limits --------------------------------------------------------------------------------------------------


def test_quotas(cinder_at: CinderAt) -> None:
    """Show, change, with usage, back to the defaults."""
    cinder = cinder_at("3.71", "quotas")
    volume = settled(cinder.volumes, cinder.volumes.create(1))

    changed = cinder.quotas.update("quotas", volumes=7, gigabytes=70)
    shown = cinder.quotas.get("quotas")
    used = cinder.quotas.get("quotas", usage=True)
    cinder.quotas.delete("quotas")
    cinder.volumes.delete(volume)

    assert (changed.volumes, changed.gigabytes) == (7, 70)
    assert (shown.to_dict()["id"], shown.volumes, shown.snapshots) == ("quotas", 7, -1)
    assert used.volumes == {"limit": 7, "in_use": 1, "reserved": 0}
    assert cinder.quotas.get("quotas").volumes == -1
    assert cinder.quotas.defaults("quotas").volumes == -1


def test_a_full_quota_is_over_limit(cinder_at: CinderAt) -> None:
    """413, which this client shows as OverLimit, at once: it would sleep for what Retry-After says."""
    cinder = cinder_at("3.71", "full")
    cinder.quotas.update("full", volumes=0)

    with pytest.raises(exceptions.OverLimit, match="uota") as refused:
        cinder.volumes.create(1)

    assert refused.value.retry_after == 0


def test_quota_classes(cinder: Any) -> None:
    """The class of everybody without a quota of its own."""
    before = cinder.quota_classes.get("default")

    cinder.quota_classes.update("default", backups=11)
    changed = cinder.quota_classes.get("default")
    cinder.quota_classes.update("default", backups=before.backups)

    assert before.to_dict()["id"] == "default"
    assert (before.volumes, before.backups) == (-1, 10)
    assert changed.backups == 11


def test_limits(library: Any) -> None:
    """What a project may have and has."""
    absolute = {one.name: one.value for one in library.limits.get().absolute}

    assert (absolute["maxTotalVolumes"], absolute["totalVolumesUsed"], absolute["totalGigabytesUsed"]) == (-1, 3, 6)
    assert {one.name: one.value for one in library.limits.get("nobody").absolute}["totalVolumesUsed"] == 0


# --- messages --------------------------------------------------------------------------------------------------------


def test_messages(cinder_at: CinderAt) -> None:
    """A volume of a type that no pool offers is accepted, fails, and says why."""
    cinder = cinder_at("3.71", "unlucky")
    nowhere = cinder.volume_types.create(f"nowhere-{uuid.uuid4()}")
    nowhere.set_keys({"volume_backend_name": "nowhere"})
    failed = settled(cinder.volumes, cinder.volumes.create(1, volume_type=nowhere.name), "error")

    (listed,) = cinder.messages.list(search_opts={"resource_uuid": failed.id})
    shown = cinder.messages.get(listed.id)
    cinder.messages.delete(listed.id)
    cinder.volumes.delete(failed)
    gone(cinder.volumes, failed)
    cinder.volume_types.delete(nowhere)

    assert (shown.resource_type, shown.resource_uuid) == ("VOLUME", failed.id)
    assert shown.message_level == "ERROR"
    assert "volume_backend_name" in shown.user_message
    assert shown.request_id.startswith("req-")
    assert cinder.messages.list(limit=10, sort="created_at:asc") == []
    assert cinder_at("3.3", "unlucky").messages.list() == []


# --- the service itself ----------------------------------------------------------------------------------------------


def test_services(cinder: Any) -> None:
    """One for each node and backend, with the cluster that they share; one is taken out and comes back."""
    volume_services = cinder.services.list(binary="cinder-volume")
    host = "node-1@fast"

    cinder.services.disable_log_reason(host, "cinder-volume", "moving it")
    (disabled,) = cinder.services.list(host=host)
    cinder.services.enable(host, "cinder-volume")
    cinder.services.disable(host, "cinder-volume")
    (without_reason,) = cinder.services.list(host=host)
    cinder.services.enable(host, "cinder-volume")
    (enabled,) = cinder.services.list(host=host)

    assert {one.host for one in volume_services} == {f"node-{n}@{name}" for n in (1, 2) for name in ("fast", "slow")}
    assert {one.state for one in volume_services} == {"up"}
    assert (disabled.status, disabled.disabled_reason) == ("disabled", "moving it")
    assert (without_reason.status, without_reason.disabled_reason) == ("disabled", None)
    assert (enabled.status, enabled.cluster, enabled.zone) == ("enabled", QUEUE, "nova")


def test_a_backend_is_frozen_and_thawed(cinder: Any, volume: Any) -> None:
    """What is on it stays as it is meanwhile."""
    host = next(one.host for one in cinder.services.list(binary="cinder-volume") if one.cluster == queue_of(volume))
    cinder.services.freeze_host(host)
    (frozen,) = cinder.services.list(host=host)
    with pytest.raises(exceptions.BadRequest, match="frozen"):
        cinder.volumes.extend(volume, 2)
    cinder.services.thaw_host(host)
    (thawed,) = cinder.services.list(host=host)

    assert (frozen.frozen, thawed.frozen) == (True, False)


def queue_of(volume: Any) -> str:
    """`cluster@backend` of a volume."""
    return str(getattr(volume, "os-vol-host-attr:host")).partition("#")[0]


def test_a_backend_without_replication_does_not_fail_over(cinder: Any) -> None:
    """The file driver has none."""
    with pytest.raises(exceptions.BadRequest, match="no replication"):
        cinder.services.failover_host("node-1@fast", "elsewhere")


def test_clean_up_of_services(cinder: Any) -> None:
    """Nothing is down; asked for those that are up, they are listed."""
    assert cinder.workers.clean() == ([], [])

    cleaning, unavailable = cinder.workers.clean(is_up=True, host="node-1@fast", binary="cinder-volume")

    assert ([one.host for one in cleaning], unavailable) == (["node-1@fast"], [])
    assert cinder.workers.clean(is_up=True, service_id=cleaning[0].id)[0][0].host == "node-1@fast"


def test_clusters(cinder: Any) -> None:
    """The nodes of a backend as one; it is taken out and comes back."""
    listed = {one.name: one for one in cinder.clusters.list()}
    detailed = {one.name: one for one in cinder.clusters.list(name=QUEUE, detailed=True)}

    disabled = cinder.clusters.update(QUEUE, "cinder-volume", disabled=True, disabled_reason="repair")
    shown = cinder.clusters.show(QUEUE)
    enabled = cinder.clusters.update(QUEUE, "cinder-volume", disabled=False)

    assert listed.keys() == {QUEUE, "breezeblock@slow"}
    assert (listed[QUEUE].binary, listed[QUEUE].state, listed[QUEUE].status) == ("cinder-volume", "up", "enabled")
    assert detailed.keys() == {QUEUE}
    assert (detailed[QUEUE].num_hosts, detailed[QUEUE].num_down_hosts) == (2, 0)
    assert (disabled.status, disabled.disabled_reason) == ("disabled", "repair")
    assert (shown.status, shown.disabled_reason) == ("disabled", "repair")
    assert enabled.status == "enabled"


def test_pools(cinder: Any) -> None:
    """By name, and with what they offer."""
    detailed = {one.name: one for one in cinder.pools.list(detailed=True)}

    assert {one.name for one in cinder.pools.list()} == {FAST, "breezeblock@slow#slow"}
    assert (detailed[FAST].volume_backend_name, detailed[FAST].storage_protocol) == ("fast", "file")
    assert detailed[FAST].total_capacity_gb >= detailed[FAST].free_capacity_gb > 0
    filtered = cinder.volumes.get_pools(False, {"name": FAST})
    assert [one["name"] for one in filtered.pools] == [FAST]


def test_availability_zones(cinder: Any) -> None:
    """The one of all backends."""
    assert [(one.zoneName, one.zoneState) for one in cinder.availability_zones.list()] == [
        ("nova", {"available": True})
    ]


def test_extensions(cinder: Any) -> None:
    """Through the manager that this client keeps apart."""
    listed = {one.alias: one.name for one in ListExtManager(cinder).show_all()}

    assert listed["os-services"] == "Services"
    assert {"os-quota-sets", "os-types-extra-specs", "scheduler-stats"} <= listed.keys()


def test_the_versions_of_the_server(cinder: Any, service: Service) -> None:
    """As the client and its shell find them out."""
    (version,) = cinder.services.server_api_version()
    oldest, newest = cinderclient.client.get_server_version(f"{service.endpoint}/v3/clients")

    assert (version.id, version.version, version.min_version) == ("v3.0", "3.71", "3.0")
    assert (oldest.get_string(), newest.get_string()) == ("3.0", "3.71")
    assert cinder.get_volume_api_version_from_endpoint() == "3"


def test_a_version_that_is_not_served_is_refused(cinder_at: CinderAt) -> None:
    """406, before anything is done."""
    client = cinder_at("3.71")
    client.client.default_microversion = "3.72"

    with pytest.raises(exceptions.NotAcceptable):
        client.volumes.list()
