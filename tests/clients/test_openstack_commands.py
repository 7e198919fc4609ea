"""Every command of `openstack` about block storage that the other files have not run, as `test_cinder_commands.py`."""

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from tests.clients.programs import Programs
from tests.clients.test_openstack_cli import QUEUE
from tests.clients.waiting import gone, settled

DEFAULT = "__DEFAULT__"
HOST = "node-1@slow"
GROUP = ("volume", "group")
OLDER = ("consistency", "group")


@pytest.fixture
def kind(cinder: Any) -> Iterator[Any]:
    """A type of groups."""
    made = cinder.group_types.create(f"o-{uuid.uuid4()}")
    yield made
    cinder.group_types.delete(made.id)


def test_a_group_is_made_changed_and_deleted(programs: Programs, cinder: Any, kind: Any) -> None:
    made = programs.openstack(*GROUP, "create", "--volume-group-type", kind.id, "--volume-type", DEFAULT, "--name", "g")
    group = settled(cinder.groups, cinder.groups.get(made["ID"]))
    volume = settled(cinder.volumes, cinder.volumes.create(1, volume_type=DEFAULT))
    programs.tell(*GROUP, "add", "volume", group.id, volume.id)
    joined = settled(cinder.volumes, volume).group_id
    changed = programs.openstack(*GROUP, "set", "--name", "other", group.id)
    taken = settled(cinder.group_snapshots, cinder.group_snapshots.create(group.id))
    listed, shown = programs.together((*GROUP, "snapshot", "list"), (*GROUP, "snapshot", "show", taken.id))
    cinder.group_snapshots.delete(taken)
    gone(cinder.group_snapshots, taken)
    programs.tell(*GROUP, "remove", "volume", group.id, volume.id)
    left = settled(cinder.volumes, volume).group_id
    programs.tell(*GROUP, "delete", "--force", group.id)
    gone(cinder.groups, group)
    cinder.volumes.delete(volume)

    assert (joined, left, changed["Name"]) == (group.id, None, "other")
    assert (taken.id in [one["ID"] for one in listed], shown["Group"]) == (True, group.id)


def test_types_of_groups(programs: Programs, cinder: Any) -> None:
    name = f"o-{uuid.uuid4()}"
    word = (*GROUP, "type")
    made = programs.openstack(*word, "create", "--description", "first", name)
    programs.openstack(*word, "set", "--description", "second", "--property", "a=1", name)
    shown, listed = programs.together((*word, "show", name), (*word, "list"))
    programs.tell(*word, "delete", name)

    assert (shown["Description"], shown["Properties"]) == ("second", {"a": "1"})
    assert made["ID"] in [one["ID"] for one in listed]
    assert made["ID"] not in [one.id for one in cinder.group_types.list()]


def test_consistency_groups(programs: Programs, cinder: Any) -> None:
    """As much as there is of them, which is one in error that has no snapshots."""
    made = programs.openstack(*OLDER, "create", "--volume-type", DEFAULT, "cg")
    group = settled(cinder.consistencygroups, cinder.consistencygroups.get(made["id"]), "error")
    programs.tell(*OLDER, "set", "--name", "other", group.id)
    shown, listed, snapshots = programs.together(
        (*OLDER, "show", group.id), (*OLDER, "list"), (*OLDER, "snapshot", "list")
    )
    none = str(uuid.uuid4())
    # These two tell what went wrong, and end well.
    for word in ("add", "remove"):
        assert "has status error" not in programs.tell(*OLDER, word, "volume", group.id, none)
    refused = {
        ("snapshot", "create", "--consistency-group", group.id): "has status error",
        ("snapshot", "show", none): none,
        ("snapshot", "delete", none): none,
    }
    answers = {words: programs.run_openstack(*OLDER, *words) for words in refused}
    programs.tell(*OLDER, "delete", "--force", group.id)

    gone(cinder.consistencygroups, group)
    assert (shown["name"], group.id in [one["ID"] for one in listed], snapshots) == ("other", True, [])
    assert {words: said.stderr[-300:] for words, said in answers.items() if refused[words] not in said.stderr} == {}
    assert {words: said.returncode for words, said in answers.items()} == dict.fromkeys(refused, 1)


def test_what_operators_ask_about_backends(programs: Programs, cinder: Any) -> None:
    """A host is frozen and thawed, and lists what could be managed."""
    storage = ("block", "storage")
    shown, volumes, snapshots, extension = programs.together(
        (*storage, "resource", "filter", "show", "volume"),
        (*storage, "volume", "manageable", "list", f"{QUEUE}#fast"),
        (*storage, "snapshot", "manageable", "list", f"{QUEUE}#fast"),
        ("extension", "show", "os-services"),
    )
    programs.tell("volume", "host", "set", "--disable", HOST)
    (frozen,) = cinder.services.list(HOST, "cinder-volume")
    programs.tell("volume", "host", "set", "--enable", HOST)
    (thawed,) = cinder.services.list(HOST, "cinder-volume")

    assert (frozen.frozen, thawed.frozen) == (True, False)
    assert (isinstance(volumes, list), isinstance(snapshots, list)) == (True, True)
    assert "availability_zone" in shown["Filters"]
    assert extension["alias"] == "os-services"


def test_the_record_of_a_backup(programs: Programs, cinder: Any) -> None:
    """As `cinder backup-import` takes it."""
    volume = settled(cinder.volumes, cinder.volumes.create(1))
    backup = settled(cinder.backups, cinder.backups.create(volume.id))
    record = programs.openstack("volume", "backup", "record", "export", backup.id)
    cinder.backups.delete(backup)
    gone(cinder.backups, backup)
    cinder.volumes.delete(volume)

    assert (record["backup_service"], bool(record["backup_url"])) == ("breezeblock.backup", True)


def test_what_no_driver_and_no_service_here_can_do_is_refused(programs: Programs, cinder: Any, kind: Any) -> None:
    """With the reason, which the program shows."""
    group = settled(cinder.groups, cinder.groups.create(kind.id, DEFAULT))
    refused = {
        # The library behind these three asks for what the API does not have.
        (*GROUP, "failover", group.id): "There is no such action",
        ("volume", "backup", "record", "import", "service", "url"): "does not take POST",
        ("block", "storage", "cleanup", "--host", HOST): "required keyword-only arguments",
        ("volume", "host", "failover", "--volume-backend", "elsewhere", HOST): "no replication",
        ("volume", "attachment", "create", str(uuid.uuid4()), "server"): "",
    }
    answers = {words: programs.run_openstack(*words) for words in refused}
    cinder.groups.delete(group, delete_volumes=True)
    gone(cinder.groups, group)

    assert {words: said.returncode for words, said in answers.items()} == dict.fromkeys(refused, 1)
    assert {words: said.stderr[-300:] for words, said in answers.items() if refused[words] not in said.stderr} == {}
