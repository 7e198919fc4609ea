"""The programs `openstack` and `cinder`, as subprocesses: what people type.

Without an identity service these commands cannot work, because they ask it for the id of a project or a user:

    openstack quota show, set, delete PROJECT; quota list; quota show without a project asks for one's own
    openstack volume type set, unset --project PROJECT; volume type create --project PROJECT makes the type alone
    openstack limits show --project PROJECT
    openstack volume list --project, --user; volume snapshot list --project; volume message list --project
    openstack versions show, which reads the catalogue of services

`cinder` takes ids and asks nobody, so quotas and access lists are covered by it.
"""

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from cinderclient import exceptions
from tests.clients.programs import Programs
from tests.clients.waiting import gone, settled
from tests.service import eventually

QUEUE = "breezeblock@fast"
NEEDS_IDENTITY = (
    ("quota", "show", "clients"),
    ("quota", "set", "--volumes", "5", "clients"),
    ("volume", "list", "--project", "clients"),
    ("volume", "message", "list", "--project", "clients"),
)


@pytest.fixture
def volume(cinder: Any) -> Iterator[Any]:
    """An available volume of 1 GiB with a name that nothing else has."""
    made = cinder.volumes.create(1, name=f"cli-{uuid.uuid4()}", metadata={"colour": "red"})
    yield settled(cinder.volumes, made)
    cinder.volumes.reset_state(made, "available")
    cinder.volumes.delete(made, cascade=True)


@pytest.fixture
def snapshot(cinder: Any, volume: Any) -> Any:
    """An available snapshot of `volume`; it goes with it."""
    made = cinder.volume_snapshots.create(volume.id, name=f"cli-{uuid.uuid4()}", metadata={"k": "v"})
    return settled(cinder.volume_snapshots, made)


def test_volumes_are_created(programs: Programs, cinder: Any, volume: Any, snapshot: Any) -> None:
    """Empty, from a snapshot, from a volume, with a hint; shown, and deleted together."""
    name = f"new-{uuid.uuid4()}"
    empty, copied, cloned = programs.together(
        ("volume", "create", "--size", "2", "--property", "a=1", "--hint", f"different_host={volume.id}", name),
        ("volume", "create", "--snapshot", snapshot.name, "--description", "copy"),
        ("volume", "create", "--source", volume.name, "--bootable"),
    )
    made = [settled(cinder.volumes, cinder.volumes.get(one["id"])) for one in (empty, copied, cloned)]

    programs.tell("volume", "delete", *(one.id for one in made))

    for one in made:
        gone(cinder.volumes, one)
    assert (empty["name"], empty["size"], empty["status"]) == (name, 2, "creating")
    assert empty["properties"] == {"a": "1"}
    assert (copied["snapshot_id"], copied["description"], copied["size"]) == (snapshot.id, "copy", 1)
    assert cloned["source_volid"] == volume.id
    assert [one.bootable for one in made] == ["false", "false", "true"]


def test_volumes_are_shown(programs: Programs, volume: Any, snapshot: Any) -> None:
    """One, a list, a filtered one, the sum of all; and the same of snapshots."""
    shown, listed, by_property, summary, shown_snapshot, snapshots = programs.together(
        ("volume", "show", volume.name),
        ("volume", "list", "--long", "--name", volume.name, "--status", "available"),
        ("volume", "list", "--property", "colour=red", "--limit", "1000", "--all-projects"),
        ("volume", "summary"),
        ("volume", "snapshot", "show", snapshot.name),
        ("volume", "snapshot", "list", "--long", "--volume", volume.name),
    )

    assert (shown["id"], shown["size"], shown["status"]) == (volume.id, 1, "available")
    assert (shown["properties"], shown["type"], shown["encrypted"]) == ({"colour": "red"}, "__DEFAULT__", False)
    (row,) = listed
    assert (row["ID"], row["Size"], row["Type"], row["Bootable"]) == (volume.id, 1, "__DEFAULT__", False)
    assert volume.id in [one["ID"] for one in by_property]
    assert summary["Total Count"] >= 1
    assert "red" in summary["Metadata"]["colour"]
    assert (shown_snapshot["volume_id"], shown_snapshot["properties"]) == (volume.id, {"k": "v"})
    assert [(one["ID"], one["Volume"]) for one in snapshots] == [(snapshot.id, volume.id)]


def test_a_volume_is_changed(programs: Programs, cinder: Any, volume: Any) -> None:
    """Everything that `volume set` can do to an available volume, and `unset`."""
    changes = ("--name", "other", "--description", "words", "--bootable", "--read-only", "--property", "shape=round")
    programs.tell_together(
        ("volume", "set", *changes, volume.id), ("volume", "unset", "--property", "colour", volume.id)
    )
    programs.tell("volume", "set", "--size", "2", volume.id)
    shown = settled(cinder.volumes, volume)
    programs.tell("volume", "set", "--state", "error", volume.id)

    assert (shown.name, shown.description, shown.size, shown.bootable) == ("other", "words", 2, "true")
    assert shown.metadata == {"shape": "round", "readonly": "True"}
    assert cinder.volumes.get(volume.id).status == "error"


def test_a_volume_gets_another_type(programs: Programs, cinder: Any) -> None:
    """By the type's name."""
    wanted = cinder.volume_types.create(f"cli-{uuid.uuid4()}")
    volume = settled(cinder.volumes, cinder.volumes.create(1))

    programs.tell("volume", "set", "--type", wanted.name, "--migration-policy", "never", volume.id)
    retyped = settled(cinder.volumes, volume)
    programs.tell("volume", "delete", "--force", volume.id)
    gone(cinder.volumes, volume)
    cinder.volume_types.delete(wanted)

    assert retyped.volume_type == wanted.name


def test_a_volume_is_reverted_and_purged(programs: Programs, cinder: Any) -> None:
    """To its snapshot, with which it is deleted then."""
    volume = settled(cinder.volumes, cinder.volumes.create(1))
    snapshot = settled(cinder.volume_snapshots, cinder.volume_snapshots.create(volume.id))

    programs.tell("volume", "revert", snapshot.id)
    reverted = settled(cinder.volumes, volume)
    programs.tell("volume", "delete", "--purge", volume.id)

    gone(cinder.volumes, volume)
    gone(cinder.volume_snapshots, snapshot)
    assert reverted.status == "available"


def test_a_snapshot_is_made_changed_and_deleted(programs: Programs, cinder: Any, volume: Any) -> None:
    """By its name."""
    name = f"snap-{uuid.uuid4()}"
    made = programs.openstack("volume", "snapshot", "create", "--volume", volume.name, "--property", "k=v", name)
    snapshot = settled(cinder.volume_snapshots, cinder.volume_snapshots.get(made["id"]))

    programs.tell_together(
        ("volume", "snapshot", "set", "--description", "d", "--property", "n=2", "--state", "error", name),
        ("volume", "snapshot", "unset", "--property", "k", name),
    )
    changed = cinder.volume_snapshots.get(snapshot.id)
    other = settled(cinder.volume_snapshots, cinder.volume_snapshots.create(volume.id))
    programs.tell_together(
        ("volume", "snapshot", "delete", "--force", name), ("volume", "snapshot", "delete", other.id)
    )

    gone(cinder.volume_snapshots, snapshot)
    gone(cinder.volume_snapshots, other)
    assert (made["name"], made["volume_id"], made["size"], made["properties"]) == (name, volume.id, 1, {"k": "v"})
    assert (changed.description, changed.metadata, changed.status) == ("d", {"n": "2"}, "error")


def test_types(programs: Programs, cinder: Any) -> None:
    """Created with properties, changed, listed, deleted."""
    name = f"cli-{uuid.uuid4()}"
    made = programs.openstack("volume", "type", "create", "--private", "--property", "tier=1", name)
    programs.tell_together(
        ("volume", "type", "set", "--description", "words", "--property", "volume_backend_name=fast", name),
        ("volume", "type", "unset", "--property", "tier", name),
    )
    cinder.volume_type_access.add_project_access(made["id"], "clients")
    shown, listed, default = programs.together(
        ("volume", "type", "show", name), ("volume", "type", "list", "--long"), ("volume", "type", "list", "--default")
    )
    programs.tell("volume", "type", "delete", name)

    assert made["properties"] == {"tier": "1"}
    assert (shown["description"], shown["properties"]) == ("words", {"volume_backend_name": "fast"})
    assert (shown["is_public"], shown["access_project_ids"]) == (False, ["clients"])
    assert name in [one["Name"] for one in listed]
    assert [one["Name"] for one in default] == ["__DEFAULT__"]
    with pytest.raises(exceptions.NotFound):
        cinder.volume_types.get(made["id"])


def test_what_the_service_consists_of(programs: Programs) -> None:
    """Services, clusters, pools, zones, extensions, limits."""
    services, clusters, cluster, pools, zones, extensions, limits = programs.together(
        ("volume", "service", "list", "--service", "cinder-volume"),
        ("block", "storage", "cluster", "list", "--long"),
        ("block", "storage", "cluster", "show", QUEUE),
        ("volume", "backend", "pool", "list", "--long"),
        ("availability", "zone", "list", "--volume"),
        ("extension", "list", "--volume"),
        ("limits", "show", "--absolute"),
    )

    assert {one["Host"] for one in services} == {f"node-{n}@{name}" for n in (1, 2) for name in ("fast", "slow")}
    assert {one["Cluster"] for one in services} == {QUEUE, "breezeblock@slow"}
    assert {(one["Name"], one["Num Hosts"]) for one in clusters} == {(QUEUE, 2), ("breezeblock@slow", 2)}
    assert (cluster["Name"], cluster["State"], cluster["Down Hosts"]) == (QUEUE, "up", 0)
    assert {one["Name"] for one in pools} == {"breezeblock@fast#fast", "breezeblock@slow#slow"}
    assert zones == [{"Zone Name": "nova", "Zone Status": "available"}]
    assert "os-services" in [one["Alias"] for one in extensions]
    assert {one["Name"]: one["Value"] for one in limits}["max_total_volumes"] == -1


def test_a_service_and_a_cluster_are_taken_out(programs: Programs, cinder: Any) -> None:
    """And put back. `cluster set` answers with what it changed as its exit status, which a shell sees as 1."""
    service = ("volume", "service", "set", "node-1@slow", "cinder-volume")
    cluster = ("block", "storage", "cluster", "set")

    programs.tell(*service, "--disable")
    (without,) = cinder.services.list("node-1@slow")
    programs.tell(*service, "--disable", "--disable-reason", "moving it")
    (with_reason,) = cinder.services.list("node-1@slow")
    programs.tell(*service, "--enable")
    programs.run_openstack(*cluster, "--disable", "--disable-reason", "repair", "breezeblock@slow")
    disabled = cinder.clusters.show("breezeblock@slow")
    programs.run_openstack(*cluster, "--enable", "breezeblock@slow")

    assert (without.status, without.disabled_reason) == ("disabled", None)
    assert (with_reason.status, with_reason.disabled_reason) == ("disabled", "moving it")
    assert cinder.services.list("node-1@slow")[0].status == "enabled"
    assert (disabled.status, disabled.disabled_reason) == ("disabled", "repair")
    assert cinder.clusters.show("breezeblock@slow").status == "enabled"


def test_messages(programs: Programs, cinder: Any) -> None:
    """Why a volume failed. `message show` prints nothing: the library behind it looks under another key than the API's."""
    nowhere = cinder.volume_types.create(f"nowhere-{uuid.uuid4()}")
    nowhere.set_keys({"volume_backend_name": "nowhere"})
    failed = settled(cinder.volumes, cinder.volumes.create(1, volume_type=nowhere.name), "error")

    (message,) = [one for one in programs.openstack("volume", "message", "list") if one["Resource UUID"] == failed.id]
    programs.openstack("volume", "message", "show", message["ID"])
    programs.tell("volume", "message", "delete", message["ID"])
    cinder.volumes.delete(failed)
    gone(cinder.volumes, failed)
    cinder.volume_types.delete(nowhere)

    assert "volume_backend_name" in message["User Message"]
    with pytest.raises(exceptions.NotFound):
        cinder.messages.get(message["ID"])


def test_quota_classes(programs: Programs, cinder: Any) -> None:
    """The one quota command that names no project."""
    programs.tell("quota", "set", "--class", "--backups", "12", "default")
    changed = cinder.quota_classes.get("default").backups
    cinder.quota_classes.update("default", backups=10)

    assert changed == 12


@pytest.mark.parametrize("words", NEEDS_IDENTITY, ids=" ".join)
def test_commands_that_need_an_identity_service(programs: Programs, words: tuple[str, ...]) -> None:
    """They look for the project behind our own URL, where it is not, and say so."""
    done = programs.run_openstack(*words)

    assert done.returncode == 1
    assert "/projects?name=clients, There is no such URL." in done.stderr


# --- cinder ----------------------------------------------------------------------------------------------------------


def table(text: str) -> dict[str, str]:
    """The rows of a table of two columns."""
    rows = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("|")]
    return {row[0].strip(): row[1].strip() for row in rows}


def test_cinder_creates_and_deletes(programs: Programs, cinder: Any) -> None:
    """And asks for the highest version that both know, first."""
    name = f"shell-{uuid.uuid4()}"

    made = table(programs.cinder("create", "1", "--name", name, "--metadata", "a=1"))
    settled(cinder.volumes, cinder.volumes.get(made["id"]))
    listed = programs.cinder("list", "--filters", f"name={name}")
    shown = table(programs.cinder("show", name))
    programs.cinder("delete", name)

    assert made["size"] == "1"
    assert made["id"] in listed
    assert (shown["size"], shown["metadata"], shown["status"]) == ("1", "a : 1", "available")
    eventually(lambda: made["id"] not in [one.id for one in cinder.volumes.list()])


def test_cinder_cleans_up(programs: Programs) -> None:
    """Nothing is down; what is up is named, and what is not there is not."""
    nothing = programs.cinder("work-cleanup")
    those_up = programs.cinder("work-cleanup", "--is-up", "True", "--host", "node-1@fast", "--binary", "cinder-volume")

    assert "No cleanable services matched" in nothing
    assert "node-1@fast" in those_up


def test_cinder_and_quotas(programs: Programs) -> None:
    """By the project's id, without asking anybody what it means."""
    changed = table(programs.cinder("quota-update", "--volumes", "6", "shell"))
    shown = table(programs.cinder("quota-show", "shell"))
    usage = programs.cinder("quota-usage", "shell")
    programs.cinder("quota-delete", "shell")
    defaults = table(programs.cinder("quota-defaults", "shell"))

    assert (changed["volumes"], shown["volumes"], defaults["volumes"]) == ("6", "6", "-1")
    assert "volumes" in usage


def test_cinder_and_access_lists(programs: Programs, cinder: Any) -> None:
    """By ids as well."""
    private = cinder.volume_types.create(f"shell-{uuid.uuid4()}", is_public=False)

    programs.cinder("type-access-add", "--volume-type", private.id, "--project-id", "clients")
    listed = programs.cinder("type-access-list", "--volume-type", private.id)
    programs.cinder("type-access-remove", "--volume-type", private.id, "--project-id", "clients")
    left = cinder.volume_type_access.list(private)
    cinder.volume_types.delete(private)

    assert f"| {private.id} | clients" in listed
    assert left == []


def test_cinder_and_the_service(programs: Programs) -> None:
    """The versions, and the services with their clusters."""
    version = programs.cinder("version-list")
    services = programs.cinder("service-list", "--withreplication")

    assert "3.71" in version
    assert "node-1@fast" in services
    assert QUEUE in services
