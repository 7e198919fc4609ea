"""Volumes that hosts use, asked for by each client: as Nova does since 3.27, and with the older words before.

`openstack volume attachment create` asks a compute service for the server, so that here the other clients make them.
"""

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cinderclient import exceptions
from tests.clients.conftest import CinderAt, CloudAt
from tests.clients.programs import Programs
from tests.clients.waiting import gone, settled

HERE = {"host": "here", "ip": "192.0.2.1", "initiator": "iqn.2026-01.org.example:here"}
THERE = {**HERE, "host": "there"}


@pytest.fixture
def volume(cinder: Any) -> Iterator[Any]:
    """An available volume of 1 GiB, to which nobody is attached at the end."""
    made = settled(cinder.volumes, cinder.volumes.create(1, name=f"disk-{uuid.uuid4()}"))
    yield made
    cinder.volumes.reset_state(made, "available", attach_status="detached")
    cinder.volumes.delete(made)


@pytest.fixture
def shared(cinder: Any) -> Iterator[Any]:
    """One of a type whose volumes several hosts use at once."""
    wanted = cinder.volume_types.create(f"shared-{uuid.uuid4()}")
    wanted.set_keys({"multiattach": "<is> True"})
    made = settled(cinder.volumes, cinder.volumes.create(1, volume_type=wanted.name))
    yield made
    cinder.volumes.delete(made)
    gone(cinder.volumes, made)
    cinder.volume_types.delete(wanted)


# --- cinderclient -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["3.27", "3.43"])
def test_before_there_was_a_word_for_completion(cinder_at: CinderAt, volume: Any, version: str) -> None:
    """A volume is reserved, connected and let go."""
    cinder = cinder_at(version)
    server = str(uuid.uuid4())

    made = cinder.attachments.create(volume.id, {}, server)
    reserved = cinder.volumes.get(volume.id).status
    connected = cinder.attachments.update(made["id"], HERE)
    (listed,) = cinder.attachments.list(search_opts={"volume_id": volume.id})
    cinder.attachments.delete(made["id"])

    assert (reserved, made["instance"], made["connection_info"]) == ("reserved", server, {})
    assert connected.connection_info["driver_volume_type"] == "local"
    assert (listed.id, listed.status) == (made["id"], "attaching")
    assert cinder.volumes.get(volume.id).status == "available"


@pytest.mark.parametrize("version", ["3.44", "3.53", "3.54", "3.71"])
def test_a_volume_is_reserved_connected_completed_and_let_go(cinder_at: CinderAt, volume: Any, version: str) -> None:
    cinder = cinder_at(version)

    made = cinder.attachments.create(volume.id, {}, str(uuid.uuid4()))
    cinder.attachments.update(made["id"], HERE)
    cinder.attachments.complete(made["id"])
    used = cinder.volumes.get(volume.id)
    cinder.attachments.delete(made["id"])

    assert (used.status, [one["host_name"] for one in used.attachments]) == ("in-use", ["here"])
    assert cinder.volumes.get(volume.id).status == "available"


def test_the_path_that_a_host_is_told_is_the_volume(cinder: Any, volume: Any) -> None:
    """And nobody else has it; the mode is the one that was asked for."""
    made = cinder.attachments.create(volume.id, HERE, str(uuid.uuid4()), "ro")
    with pytest.raises(exceptions.BadRequest, match=volume.id):
        cinder.attachments.create(volume.id, THERE, str(uuid.uuid4()))
    with pytest.raises(exceptions.BadRequest):
        cinder.volumes.delete(volume)
    shown = cinder.attachments.show(made["id"])
    (detailed,) = cinder.attachments.list(detailed=True, search_opts={"volume_id": volume.id})
    path = Path(shown.connection_info["device_path"])

    assert (shown.attach_mode, shown.connection_info["access_mode"]) == ("ro", "ro")
    assert detailed.connection_info == shown.connection_info
    assert path.stat().st_size == 1 << 30
    cinder.attachments.delete(made["id"])
    with pytest.raises(exceptions.NotFound):
        cinder.attachments.show(made["id"])


def test_two_hosts_share_a_volume_of_such_a_type(cinder: Any, shared: Any) -> None:
    """It is in use until the last of them has let go."""
    first = cinder.attachments.create(shared.id, HERE, str(uuid.uuid4()))
    cinder.attachments.complete(first["id"])
    second = cinder.attachments.create(shared.id, THERE, str(uuid.uuid4()))
    cinder.attachments.complete(second["id"])
    used = cinder.volumes.get(shared.id)
    cinder.attachments.delete(first["id"])
    halfway = cinder.volumes.get(shared.id)
    cinder.attachments.delete(second["id"])

    assert (used.multiattach, {one["host_name"] for one in used.attachments}) == (True, {"here", "there"})
    assert (halfway.status, [one["host_name"] for one in halfway.attachments]) == ("in-use", ["there"])
    assert cinder.volumes.get(shared.id).status == "available"


@pytest.mark.parametrize("version", ["3.0", "3.71"])
def test_the_older_words(cinder_at: CinderAt, volume: Any, version: str) -> None:
    """Each word, and the one that takes it back."""
    volumes = cinder_at(version).volumes
    server = str(uuid.uuid4())

    volumes.reserve(volume)
    volumes.unreserve(volume)
    volumes.reserve(volume)
    told = volumes.initialize_connection(volume, HERE)
    volumes.attach(volume, server, "/dev/vdb", host_name="here")
    used = volumes.get(volume.id)
    volumes.begin_detaching(volume)
    volumes.roll_detaching(volume)
    volumes.begin_detaching(volume)
    volumes.terminate_connection(volume, HERE)
    volumes.detach(volume)

    assert told["driver_volume_type"] == "local"
    assert (used.status, [one["device"] for one in used.attachments]) == ("in-use", ["/dev/vdb"])
    assert volumes.get(volume.id).status == "available"


# --- openstacksdk -----------------------------------------------------------------------------------------------------


def test_attachments_of_the_library(cloud_at: CloudAt, cinder: Any, volume: Any) -> None:
    storage = cloud_at("3.71").block_storage

    made = storage.create_attachment(volume.id, instance=str(uuid.uuid4()), connector={})
    connected = storage.update_attachment(made.id, connector=HERE)
    storage.complete_attachment(made.id)
    shown = storage.get_attachment(made.id)
    listed = [one.id for one in storage.attachments(volume_id=volume.id)]
    short = [one.id for one in storage.attachments(details=False, volume_id=volume.id)]
    storage.delete_attachment(made.id)

    assert (made.status, shown.status) == ("reserved", "attached")
    assert connected.connection_info == shown.connection_info
    assert listed == short == [made.id]
    assert cinder.volumes.get(volume.id).status == "available"


def test_the_older_words_of_the_library(cloud: Any, cinder: Any, volume: Any) -> None:
    """With its way to end what nobody answers for any more."""
    storage = cloud.block_storage

    storage.reserve_volume(volume.id)
    storage.unreserve_volume(volume.id)
    told = storage.init_volume_attachment(volume.id, HERE)
    storage.attach_volume(volume.id, "/dev/vdb", host_name="here")
    storage.begin_volume_detaching(volume.id)
    storage.abort_volume_detaching(volume.id)
    storage.terminate_volume_attachment(volume.id, HERE)
    (attached,) = cinder.volumes.get(volume.id).attachments
    storage.detach_volume(volume.id, attached["attachment_id"])
    storage.attach_volume(volume.id, "/dev/vdb", instance=str(uuid.uuid4()))
    (again,) = cinder.volumes.get(volume.id).attachments
    storage.detach_volume(volume.id, again["attachment_id"], force=True)

    assert told["driver_volume_type"] == "local"
    assert cinder.volumes.get(volume.id).status == "available"


# --- the programs -----------------------------------------------------------------------------------------------------


def test_attachments_by_the_program_cinder(programs: Programs, cinder: Any, volume: Any) -> None:
    server = str(uuid.uuid4())
    programs.cinder("attachment-create", volume.id, server)
    (made,) = cinder.attachments.list(search_opts={"volume_id": volume.id})
    told = programs.cinder_together(
        ("attachment-update", made.id, "--host", "here", "--ip", "192.0.2.1"),
        ("attachment-complete", made.id),
        ("attachment-show", made.id),
        ("attachment-list", "--volume-id", volume.id),
        ("attachment-delete", made.id),
    )

    assert "device_path" in told[0]
    assert "attached" in told[2]
    assert (made.id in told[3], server in told[3]) == (True, True)
    assert cinder.volumes.get(volume.id).status == "available"


def test_attachments_by_the_command(programs: Programs, cinder: Any, volume: Any) -> None:
    command = ("volume", "attachment")
    made = cinder.attachments.create(volume.id, {}, str(uuid.uuid4()))["id"]
    connected, shown, listed = programs.together(
        (*command, "set", made, "--host", "here"),
        (*command, "show", made),
        (*command, "list", "--volume-id", volume.id),
    )
    programs.tell_together((*command, "complete", made), (*command, "delete", made))

    assert connected["Properties"] == shown["Properties"]
    assert shown["Properties"]["driver_volume_type"] == "local"
    assert [one["ID"] for one in listed] == [made]
    assert cinder.volumes.get(volume.id).status == "available"
