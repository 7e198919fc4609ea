"""Backups by the real clients: what is backed up is what comes back, in any order of deletions."""

import base64
import json
import os
import random
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cinderclient import exceptions
from tests.clients.conftest import CinderAt
from tests.clients.programs import Programs
from tests.clients.storage import GIB, Storage, fill
from tests.clients.waiting import gone, settled
from tests.service import Service, eventually

OFTEN_S = 0.1
# Takes the slow store some seconds.
LONG = 96 << 20
# What a backup consists of.
BLOCK = 64 << 10


@pytest.fixture
def storage(service: Service) -> Storage:
    return Storage(service)


@pytest.fixture
def volume(cinder: Any, storage: Storage, numbers: random.Random) -> Iterator[Any]:
    """An available volume of 1 GiB with data in two places. What is left of its backups goes with it."""
    made = settled(cinder.volumes, cinder.volumes.create(1, name=f"b-{uuid.uuid4()}"))
    fill(storage.file_of("volumes", made.id), numbers, offset=0, length=1 << 20)
    fill(storage.file_of("volumes", made.id), numbers, offset=GIB - 4096, length=4096)
    yield made
    for backup in cinder.backups.list(search_opts={"volume_id": made.id}):
        cinder.backups.delete(backup, force=True)
        gone(cinder.backups, backup)
    cinder.volumes.reset_state(made, "available", attach_status="detached")
    cinder.volumes.delete(made, cascade=True)


def backed_up(cinder: Any, volume: Any, **asked: Any) -> Any:
    return settled(cinder.backups, cinder.backups.create(volume.id, **asked))


def test_a_backup_and_its_restore_to_a_new_volume(cinder: Any, volume: Any, storage: Storage) -> None:
    """The backup says what it is of, and the new volume where it is from."""
    before = storage.content_of("volumes", volume.id)

    made = cinder.backups.create(volume.id, name="first", description="d", metadata={"k": "v"})
    shown = settled(cinder.backups, made)
    restore = cinder.restores.restore(shown.id, name="again")
    new = settled(cinder.volumes, cinder.volumes.get(restore.volume_id))
    after = storage.content_of("volumes", new.id)
    cinder.volumes.delete(new)

    assert (shown.name, shown.description, shown.metadata) == ("first", "d", {"k": "v"})
    assert (shown.volume_id, shown.size, shown.is_incremental) == (volume.id, 1, False)
    assert (shown.container, shown.availability_zone, shown.fail_reason) == ("default", "nova", None)
    assert shown.object_count > 0
    assert shown.user_id == "ann"
    assert cinder.volumes.get(volume.id).status == "available"
    assert (restore.volume_name, new.name, new.size) == ("again", "again", 1)
    assert new.metadata == {"src_backup_id": shown.id}
    assert settled(cinder.backups, shown).status == "available"
    assert after == before


def test_incrementals_are_deleted_in_any_order(
    cinder: Any, volume: Any, storage: Storage, numbers: random.Random
) -> None:
    """The last of three, without the two that it was incremental to, goes into the volume that it is of."""
    file = storage.file_of("volumes", volume.id)
    first = backed_up(cinder, volume)
    fill(file, numbers, offset=1 << 24, length=1 << 16)
    second = backed_up(cinder, volume, incremental=True)
    fill(file, numbers, offset=1 << 25, length=1 << 16)
    before = storage.content_of("volumes", volume.id)
    third = backed_up(cinder, volume, incremental=True)
    has_dependents = cinder.backups.get(second.id).has_dependent_backups

    cinder.backups.delete(second)
    gone(cinder.backups, second)
    cinder.backups.delete(first)
    gone(cinder.backups, first)
    fill(file, numbers, offset=0, length=1 << 20)
    cinder.restores.restore(third.id, volume.id)
    settled(cinder.volumes, volume)

    assert (second.is_incremental, third.is_incremental, has_dependents) == (True, True, True)
    assert storage.content_of("volumes", volume.id) == before


def test_a_volume_in_use_and_a_snapshot_are_backed_up(cinder: Any, volume: Any, storage: Storage) -> None:
    """By force, and by its snapshot without it."""
    before = storage.content_of("volumes", volume.id)
    snapshot = settled(cinder.volume_snapshots, cinder.volume_snapshots.create(volume.id))
    cinder.volumes.reset_state(volume, "in-use", attach_status="attached")

    with pytest.raises(exceptions.BadRequest, match="must be available"):
        cinder.backups.create(volume.id)
    live = backed_up(cinder, volume, force=True)
    frozen = backed_up(cinder, volume, snapshot_id=snapshot.id)
    status = cinder.volumes.get(volume.id).status
    made = [cinder.volumes.create(1, backup_id=one.id) for one in (live, frozen)]
    contents = [storage.content_of("volumes", settled(cinder.volumes, one).id) for one in made]
    for one in made:
        cinder.volumes.delete(one)

    assert status == "in-use"
    assert frozen.snapshot_id == snapshot.id
    assert contents == [before, before]


def test_what_cannot_be_is_refused(cinder: Any, volume: Any) -> None:
    """With the words for it."""
    backup = backed_up(cinder, volume)

    with pytest.raises(exceptions.BadRequest, match="expected one of"):
        cinder.backups.reset_state(backup, "restoring")
    with pytest.raises(exceptions.NotFound):
        cinder.backups.create(str(uuid.uuid4()))
    with pytest.raises(exceptions.NotFound):
        cinder.restores.restore(str(uuid.uuid4()))
    cinder.backups.delete(backup)
    gone(cinder.backups, backup)
    with pytest.raises(exceptions.BadRequest, match="incremental"):
        cinder.backups.create(volume.id, incremental=True)


def test_a_backup_beyond_the_quota_is_refused(cinder_at: CinderAt) -> None:
    """Of a project of its own; the volume stays available."""
    cinder = cinder_at("3.71", project="few-backups")
    made = settled(cinder.volumes, cinder.volumes.create(1))
    cinder.quotas.update("few-backups", backups=0)

    with pytest.raises(exceptions.OverLimit, match="backups"):
        cinder.backups.create(made.id)
    status = cinder.volumes.get(made.id).status
    cinder.volumes.delete(made)

    assert status == "available"


def test_lists_changes_and_an_operators_words(cinder: Any, volume: Any) -> None:
    """Pages, filters; names and metadata; statuses; records."""
    first, second = backed_up(cinder, volume, name="one"), backed_up(cinder, volume, name="two")

    of_volume = {"volume_id": volume.id}
    listed = cinder.backups.list(search_opts=of_volume, sort="name:asc")
    page = cinder.backups.list(search_opts=of_volume, limit=1, marker=second.id, sort="created_at:desc")
    short = cinder.backups.list(detailed=False, search_opts=of_volume | {"name": "two"})
    cinder.backups.update(first, name="1", description="d", metadata={"a": "b"})
    changed = cinder.backups.get(first.id)
    cinder.backups.reset_state(first, "error")
    status = cinder.backups.get(first.id).status
    cinder.backups.reset_state(first, "available")
    record = cinder.backups.export_record(first.id)
    with pytest.raises(exceptions.BadRequest, match="is here already"):
        cinder.backups.import_record(record["backup_service"], record["backup_url"])

    assert [one.name for one in listed] == ["one", "two"]
    assert [one.id for one in page] == [first.id]
    assert [(one.id, one.name) for one in short] == [(second.id, "two")]
    assert (changed.name, changed.description, changed.metadata) == ("1", "d", {"a": "b"})
    assert status == "error"
    assert json.loads(base64.b64decode(record["backup_url"]))["id"] == first.id


def test_a_record_of_what_is_not_there_ends_in_an_error(cinder: Any, volume: Any) -> None:
    """Which says why; and it can be deleted."""
    backup = backed_up(cinder, volume)
    told = json.loads(base64.b64decode(cinder.backups.export_record(backup.id)["backup_url"]))
    lost = str(uuid.uuid4())
    told |= {"id": lost, "manifest": f"{lost}.1.1"}

    made = cinder.backups.import_record("breezeblock.backup", base64.b64encode(json.dumps(told).encode()).decode())
    shown = settled(cinder.backups, cinder.backups.get(lost), "error")
    cinder.backups.delete(shown)
    gone(cinder.backups, shown)

    assert made["id"] == lost
    assert "damaged" in shown.fail_reason
    assert cinder.backups.get(backup.id).status == "available"


@pytest.mark.proof  # a fifth of all the clients' time; tests/chaos/test_backup_kills.py kills whenever it likes
def test_a_backup_goes_on_when_its_node_is_killed(
    cinder: Any, volume: Any, storage: Storage, service: Service, numbers: random.Random
) -> None:
    """Under a new claim, with what was uploaded already; and it is what the volume is."""
    fill(storage.file_of("volumes", volume.id), numbers, offset=1 << 26, length=LONG)
    before = storage.content_of("volumes", volume.id)
    made = cinder.backups.create(volume.id, container="slow")
    first = eventually(lambda: _begun(storage, service, made.id), within_s=30, message="nothing was uploaded")
    assert first is not None
    os.kill(storage.worker_of(first), signal.SIGKILL)
    shown = settled(cinder.backups, made, within_s=60)
    ended = storage.latest_end(made.id)
    new = cinder.volumes.create(1, backup_id=shown.id)
    after = storage.content_of("volumes", settled(cinder.volumes, new, within_s=60).id)
    cinder.volumes.delete(new)

    assert (ended["kind"], ended["outcome"]) == ("create_backup", "done")
    assert ended["owner"] != first
    assert after == before


def _begun(storage: Storage, service: Service, backup_id: str) -> str | None:
    """Who works on a backup, once it has uploaded something that is not all."""
    packs = service.database.rows("SELECT id FROM packs WHERE backup_id = ?", backup_id)
    found = storage.operation_on(backup_id)
    return found.owner if found is not None and len(packs) >= 2 else None


def test_openstacksdk_backs_up_and_restores(cloud: Any, cinder: Any, volume: Any, storage: Storage) -> None:
    before = storage.content_of("volumes", volume.id)
    sdk = cloud.block_storage

    made = sdk.create_backup(volume_id=volume.id, name="sdk", is_incremental=False)
    made = sdk.wait_for_status(made, interval=OFTEN_S)
    found = sdk.find_backup("sdk")
    names = [one.name for one in sdk.backups(volume_id=volume.id)]
    restored = sdk.restore_backup(made, name="from-sdk")
    new = settled(cinder.volumes, cinder.volumes.get(restored.volume_id))
    after = storage.content_of("volumes", new.id)
    cinder.volumes.delete(new)
    sdk.wait_for_status(sdk.get_backup(made), interval=OFTEN_S)
    sdk.reset_backup(made, "error")
    sdk.delete_backup(made)
    sdk.wait_for_delete(made, interval=OFTEN_S)

    assert (found.id, names) == (made.id, ["sdk"])
    assert after == before


def test_the_programs_back_up_and_restore(programs: Programs, cinder: Any, volume: Any, storage: Storage) -> None:
    before = storage.content_of("volumes", volume.id)
    name = f"cli-{uuid.uuid4()}"

    made = programs.openstack("volume", "backup", "create", "--name", name, "--property", "a=1", volume.id)
    settled(cinder.backups, cinder.backups.get(made["id"]))
    shown, listed = programs.together(
        ("volume", "backup", "show", name), ("volume", "backup", "list", "--volume", volume.id, "--long")
    )
    programs.tell("volume", "backup", "set", "--description", "d", name)
    restored = programs.openstack("volume", "backup", "restore", name, f"new-{name}")
    new = settled(cinder.volumes, cinder.volumes.get(restored["volume_id"]))
    after = storage.content_of("volumes", new.id)
    cinder.volumes.delete(new)
    there = settled(cinder.backups, cinder.backups.get(made["id"]))
    programs.tell("volume", "backup", "delete", name)
    gone(cinder.backups, there)

    assert (shown["name"], shown["volume_id"]) == (name, volume.id)
    assert [one["Name"] for one in listed] == [name]
    assert after == before


def test_damage_is_found_told_and_left_out_on_request(
    cinder: Any, volume: Any, storage: Storage, service: Service
) -> None:
    """The command finds it, the owner reads of it, and gets all the rest."""
    backup = backed_up(cinder, volume)
    key = _damaged(service, backup.id)
    ill = service.command("backup", "verify", backup.id, "--json")
    (found,) = json.loads(ill.stdout)
    told = [one.user_message for one in cinder.messages.list() if one.resource_uuid == backup.id]
    cinder.backups.update(backup, metadata={"breezeblock:restore_damaged": "true"})
    rest = settled(cinder.volumes, cinder.volumes.get(cinder.restores.restore(backup.id, name="rest").volume_id))
    with storage.file_of("volumes", volume.id).open("r+b") as file:
        file.write(bytes(BLOCK))
    contents = [storage.content_of("volumes", one.id) for one in (rest, volume)]
    cinder.volumes.delete(rest)

    assert (ill.returncode, found["state"], found["lost_bytes"]) == (1, "damaged", BLOCK), ill.stderr
    assert [one["object"] for one in found["objects"]] == [key]
    assert found["objects"][0]["ranges"] == [{"first": 0, "last": BLOCK - 1}]
    assert told == [cinder.backups.get(backup.id).fail_reason]
    assert key in told[0]
    assert rest.metadata["breezeblock:lost"] == f"{BLOCK} bytes: 0-{BLOCK - 1}"
    assert contents[0] == contents[1]


@pytest.mark.proof
def test_an_operator_restores_around_damage(cinder: Any, volume: Any, service: Service) -> None:
    """Without the word of the owner, whose volume it is; and without that of the operator nothing is restored."""
    backup = backed_up(cinder, volume)
    key = _damaged(service, backup.id)
    refused = service.command("backup", "restore", backup.id, "--name", "whole")
    answer = service.command("backup", "restore", backup.id, "--name", "rest", "--skip-damaged", "--json")
    made = json.loads(answer.stdout)
    volumes = {one.name: one for one in cinder.volumes.list() if one.name in ("whole", "rest")}
    for one in volumes.values():
        cinder.volumes.delete(one)

    assert (refused.returncode, key in refused.stderr) == (1, True), refused.stderr
    assert (answer.returncode, made["outcome"], made["lost_bytes"]) == (1, "done", BLOCK), answer.stderr
    assert (volumes["whole"].status, volumes["rest"].status) == ("error", "available")
    assert (volumes["rest"].id, volumes["rest"].metadata["breezeblock:lost"]) == (made["volume"], made["lost"])


def _damaged(service: Service, backup_id: str) -> str:
    """Change some bytes of the first block of a backup. Returns the object's key."""
    rows = service.database.rows("SELECT id, archive_id FROM packs WHERE backup_id = ?", backup_id)
    store = service.data / "backups"
    files: list[Path] = [store / row["archive_id"] / "packs" / row["id"][:2] / row["id"] for row in rows]
    pack = max((file for file in files if file.exists()), key=lambda file: file.stat().st_size)
    data = bytearray(pack.read_bytes())
    data[BLOCK // 2] ^= 0xFF
    pack.write_bytes(data)
    return pack.relative_to(store).as_posix()
