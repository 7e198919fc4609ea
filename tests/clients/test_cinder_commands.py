"""Every command of `cinder` that the other files have not run: each does its work, or is refused for the reason it should be.

With `test_every_command.py`, which looks that none is forgotten.
"""

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from tests.clients.programs import Programs
from tests.clients.test_openstack_cli import QUEUE, table
from tests.clients.waiting import gone, settled

DEFAULT = "__DEFAULT__"
HOST = "node-1@slow"


@pytest.fixture
def volume(cinder: Any) -> Iterator[Any]:
    """An available volume of 1 GiB."""
    made = cinder.volumes.create(1, name=f"c-{uuid.uuid4()}")
    yield settled(cinder.volumes, made)
    cinder.volumes.reset_state(made, "available")
    cinder.volumes.delete(made, cascade=True)


def id_of(text: str) -> str:
    """What a command made."""
    return table(text)["id"]


# --- volumes and snapshots --------------------------------------------------------------------------------------------


def test_a_volume_is_changed(programs: Programs, cinder: Any, volume: Any) -> None:
    """Whatever can be set."""
    *_, shown = programs.cinder_together(
        ("rename", volume.id, "other", "--description", "words"),
        ("metadata", volume.id, "set", "a=1", "b=2"),
        ("metadata", volume.id, "unset", "a"),
        ("set-bootable", volume.id, "true"),
        ("readonly-mode-update", volume.id, "true"),
        ("extend", volume.id, "2"),
        ("metadata-show", volume.id),
    )
    changed = settled(cinder.volumes, volume)
    total, *_ = programs.cinder_together(
        ("summary",),
        ("metadata-update-all", volume.id, "only=this"),
        ("reset-state", "--state", "error", volume.id),
    )
    reset = cinder.volumes.get(volume.id)

    assert table(shown)["b"] == "2"
    assert (changed.name, changed.description, changed.size, changed.bootable) == ("other", "words", 2, "true")
    assert changed.metadata == {"b": "2", "readonly": "True"}
    assert int(table(total)["total_size"]) >= 2
    assert (reset.metadata, reset.status) == ({"only": "this", "readonly": "True"}, "error")


def test_a_snapshot_is_made_changed_and_deleted(programs: Programs, cinder: Any, volume: Any) -> None:
    id_ = id_of(programs.cinder("snapshot-create", "--name", "s", "--metadata", "a=1", "b=2", "--", volume.id))
    snapshot = settled(cinder.volume_snapshots, cinder.volume_snapshots.get(id_))
    *_, shown_metadata, shown, listed = programs.cinder_together(
        ("snapshot-rename", id_, "other", "--description", "words"),
        ("snapshot-metadata", id_, "unset", "b"),
        ("revert-to-snapshot", id_),
        ("snapshot-metadata-show", id_),
        ("snapshot-show", id_),
        ("snapshot-list", "--volume-id", volume.id),
    )
    settled(cinder.volumes, volume)
    settled(cinder.volume_snapshots, snapshot)
    programs.cinder_together(
        ("snapshot-metadata-update-all", id_, "only=this"), ("snapshot-reset-state", "--state", "error", id_)
    )
    changed = cinder.volume_snapshots.get(id_)
    programs.cinder("snapshot-delete", id_)

    gone(cinder.volume_snapshots, snapshot)
    assert (table(shown_metadata)["a"], table(shown)["name"], id_ in listed) == ("1", "other", True)
    assert (changed.description, changed.metadata, changed.status) == ("words", {"only": "this"}, "error")


def test_types_are_made_changed_and_deleted(programs: Programs, cinder: Any) -> None:
    """And a volume becomes one of such a type, before it is deleted by force."""
    name = f"c-{uuid.uuid4()}"
    volume = settled(cinder.volumes, cinder.volumes.create(1))
    made = programs.cinder("type-create", name, "--description", "first")
    id_ = next(line.split("|")[1].strip() for line in made.splitlines() if name in line)
    *_, specs, shown, listed, default = programs.cinder_together(
        ("type-key", id_, "set", "volume_backend_name=fast", "x=1"),
        ("type-key", id_, "unset", "x"),
        ("type-update", id_, "--description", "second"),
        ("retype", "--migration-policy", "on-demand", volume.id, name),
        ("extra-specs-list",),
        ("type-show", id_),
        ("type-list",),
        ("type-default",),
    )
    retyped = settled(cinder.volumes, volume)
    programs.cinder("force-delete", volume.id)
    gone(cinder.volumes, volume)
    programs.cinder("type-delete", id_)

    assert "'volume_backend_name': 'fast'" in specs
    assert (table(shown)["description"], retyped.volume_type) == ("second", name)
    assert (name in listed, DEFAULT in default) == (True, True)
    assert id_ not in [one.id for one in cinder.volume_types.list()]


def test_a_transfer_is_accepted(programs: Programs, volume: Any) -> None:
    made = table(programs.cinder("transfer-create", volume.id))

    assert volume.id in programs.cinder("transfer-accept", made["id"], made["auth_key"])


# --- backups ----------------------------------------------------------------------------------------------------------


def test_a_backup_is_made_restored_and_deleted(programs: Programs, cinder: Any, volume: Any) -> None:
    id_ = id_of(programs.cinder("backup-create", "--name", "b", volume.id))
    backup = settled(cinder.backups, cinder.backups.get(id_))
    _, listed, exported, restored = programs.cinder_together(
        ("backup-update", id_, "--name", "other"),
        ("backup-list", "--volume-id", volume.id),
        ("backup-export", id_),
        ("backup-restore", "--volume", volume.id, id_),
    )
    settled(cinder.volumes, volume)
    settled(cinder.backups, backup)
    _, shown = programs.cinder_together(("backup-reset-state", "--state", "error", id_), ("backup-show", id_))
    programs.cinder("backup-delete", id_)

    gone(cinder.backups, backup)
    assert (id_ in listed, table(restored)["volume_id"]) == (True, volume.id)
    assert table(exported)["backup_url"]
    assert (table(shown)["name"], table(shown)["status"]) == ("other", "error")


# --- groups -----------------------------------------------------------------------------------------------------------


def test_group_types(programs: Programs) -> None:
    name = f"c-{uuid.uuid4()}"
    made = programs.cinder("group-type-create", name)
    id_ = next(line.split("|")[1].strip() for line in made.splitlines() if name in line)
    *_, specs, shown, listed = programs.cinder_together(
        ("group-type-key", id_, "set", "a=1"),
        ("group-type-update", id_, "--description", "words"),
        ("group-specs-list",),
        ("group-type-show", id_),
        ("group-type-list",),
    )
    programs.cinder("group-type-delete", id_)

    assert "'a': '1'" in specs
    assert (table(shown)["description"], id_ in listed) == ("words", True)
    assert id_ not in programs.cinder("group-type-list")


def test_a_group_is_made_copied_and_deleted(programs: Programs, cinder: Any) -> None:
    """Without volumes, which other tests put into it."""
    kind = cinder.group_types.create(f"c-{uuid.uuid4()}")
    id_ = id_of(programs.cinder("group-create", "--name", "g", kind.id, DEFAULT))
    group = settled(cinder.groups, cinder.groups.get(id_))
    volume = settled(cinder.volumes, cinder.volumes.create(1, group_id=id_, volume_type=DEFAULT))
    taken = id_of(programs.cinder("group-snapshot-create", id_))
    snapshot = settled(cinder.group_snapshots, cinder.group_snapshots.get(taken))
    _, groups, shown, snapshots, shown_snapshot, copied = programs.cinder_together(
        ("group-update", id_, "--name", "other"),
        ("group-list",),
        ("group-show", id_),
        ("group-snapshot-list",),
        ("group-snapshot-show", taken),
        ("group-create-from-src", "--group-snapshot", taken),
    )
    copy = settled(cinder.groups, cinder.groups.get(id_of(copied)))
    programs.cinder_together(("group-snapshot-delete", taken), ("group-delete", "--delete-volumes", copy.id))
    gone(cinder.group_snapshots, snapshot)
    gone(cinder.groups, copy)
    programs.cinder("group-delete", "--delete-volumes", id_)
    gone(cinder.groups, group)
    cinder.group_types.delete(kind.id)

    gone(cinder.volumes, volume)
    assert (id_ in groups, table(shown)["name"]) == (True, "other")
    assert (taken in snapshots, table(shown_snapshot)["group_id"]) == (True, id_)


def test_consistency_groups(programs: Programs, cinder: Any) -> None:
    """As much as there is of them: no backend takes them at one instant, so that one is in error and has no snapshots."""
    made = programs.cinder("consisgroup-create", "--name", "cg", DEFAULT)
    id_ = id_of(made)
    group = settled(cinder.consistencygroups, cinder.consistencygroups.get(id_), "error")
    _, shown, listed, snapshots = programs.cinder_together(
        ("consisgroup-update", id_, "--name", "other"),
        ("consisgroup-show", id_),
        ("consisgroup-list",),
        ("cgsnapshot-list",),
    )
    programs.cinder("consisgroup-delete", "--force", id_)

    gone(cinder.consistencygroups, group)
    assert (table(shown)["name"], id_ in listed, "Status" in snapshots) == ("other", True, True)


# --- the service ------------------------------------------------------------------------------------------------------


def test_what_the_service_consists_of(programs: Programs) -> None:
    limits, rates, version, zones, pools, clusters, cluster, quota = programs.cinder_together(
        ("absolute-limits",),
        ("rate-limits",),
        ("api-version",),
        ("availability-zone-list",),
        ("get-pools", "--detail"),
        ("cluster-list",),
        ("cluster-show", QUEUE),
        ("quota-class-show", "default"),
    )

    assert (table(limits)["maxTotalVolumes"], "Verb" in rates) == ("-1", True)
    assert "3.71" in version
    assert "nova" in zones
    assert f"{QUEUE}#fast" in pools
    assert (QUEUE in clusters, table(cluster)["name"]) == (True, QUEUE)
    assert table(quota)["volumes"] == "-1"


def test_services_clusters_and_quotas_are_changed_and_changed_back(programs: Programs, cinder: Any) -> None:
    programs.cinder_together(
        ("service-disable", HOST, "cinder-volume", "--reason", "moving"),
        ("cluster-disable", "breezeblock@slow", "--reason", "repair"),
        ("freeze-host", HOST),
        ("quota-class-update", "default", "--backups", "13"),
    )
    (service,) = cinder.services.list(HOST, "cinder-volume")
    cluster, quota = cinder.clusters.show("breezeblock@slow"), cinder.quota_classes.get("default").backups
    programs.cinder_together(
        ("thaw-host", HOST),
        ("cluster-enable", "breezeblock@slow"),
        ("service-enable", HOST, "cinder-volume"),
        ("quota-class-update", "default", "--backups", "10"),
    )
    (back,) = cinder.services.list(HOST, "cinder-volume")

    assert (service.status, service.disabled_reason, service.frozen) == ("disabled", "moving", True)
    assert (cluster.status, cluster.disabled_reason, quota) == ("disabled", "repair", 13)
    assert (back.status, back.frozen, cinder.clusters.show("breezeblock@slow").status) == ("enabled", False, "enabled")


def test_messages(programs: Programs, cinder: Any) -> None:
    nowhere = cinder.volume_types.create(f"nowhere-{uuid.uuid4()}")
    nowhere.set_keys({"volume_backend_name": "nowhere"})
    failed = settled(cinder.volumes, cinder.volumes.create(1, volume_type=nowhere.name), "error")
    (message,) = cinder.messages.list(search_opts={"resource_uuid": failed.id})

    listed, shown, _ = programs.cinder_together(
        ("message-list", "--resource_uuid", failed.id),
        ("message-show", message.id),
        ("message-delete", message.id),
    )
    cinder.volumes.delete(failed)
    gone(cinder.volumes, failed)
    cinder.volume_types.delete(nowhere)

    assert message.id in listed
    assert "volume_backend_name" in table(shown)["user_message"]
    assert message.id not in programs.cinder("message-list")


# --- what is refused --------------------------------------------------------------------------------------------------


def test_what_no_driver_and_no_service_here_can_do_is_refused(programs: Programs, cinder: Any, volume: Any) -> None:
    """With the reason, which the program shows."""
    kind = cinder.group_types.create(f"c-{uuid.uuid4()}")
    group = settled(cinder.groups, cinder.groups.create(kind.id, DEFAULT))
    consistent = cinder.consistencygroups.create(DEFAULT)
    settled(cinder.consistencygroups, consistent, "error")
    none = str(uuid.uuid4())
    refused = {
        ("upload-to-image", volume.id, "i"): "no image service is configured",
        ("reimage", volume.id, none): "no image service is configured",
        ("failover-host", HOST): "no replication",
        ("group-enable-replication", group.id): "is not replicated",
        ("group-disable-replication", group.id): "is not replicated",
        ("group-failover-replication", group.id): "is not replicated",
        ("group-list-replication-targets", group.id): "is not replicated",
        ("group-type-default",): "default_group_type",
        ("cgsnapshot-create", consistent.id): "has status error",
        ("consisgroup-create-from-src", "--source-cg", consistent.id): "has status error",
        ("cgsnapshot-show", none): none,
        ("cgsnapshot-delete", none): none,
    }

    answers = {words: programs.run_cinder(*words) for words in refused}
    cinder.consistencygroups.delete(consistent, force=True)
    cinder.groups.delete(group, delete_volumes=True)
    gone(cinder.groups, group)
    cinder.group_types.delete(kind.id)

    assert {words: answer.returncode for words, answer in answers.items()} == dict.fromkeys(refused, 1)
    assert {words: answer.stderr for words, answer in answers.items() if refused[words] not in answer.stderr} == {}
