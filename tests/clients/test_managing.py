"""What is on storage already, by the real clients: it comes and goes with its data."""

import random
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.clients.conftest import CinderAt, CloudAt
from tests.clients.programs import Programs
from tests.clients.storage import GIB, Storage, digest, fill
from tests.clients.waiting import gone, settled
from tests.service import Service

FAST = "breezeblock@fast#fast"
ON_FAST = {"query": '["=", "$volume_backend_name", "fast"]'}


@pytest.fixture
def storage(service: Service) -> Storage:
    return Storage(service)


@pytest.fixture
def unmanaged(service: Service) -> Path:
    """The folder of the fast backend for what is not managed."""
    (root,) = (path.parent for path in service.data.glob("volumes/fast/.breezeblock-backend"))
    folder = root / "unmanaged"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture
def disk(unmanaged: Path, numbers: random.Random) -> Iterator[Path]:
    """A file of 1 GiB with data in it."""
    path = unmanaged / f"disk-{uuid.uuid4()}"
    with path.open("wb") as file:
        file.truncate(GIB)
    fill(path, numbers, offset=1 << 20, length=1 << 16)
    yield path
    path.unlink(missing_ok=True)


def test_a_file_becomes_a_volume_and_a_file_again(cinder: Any, disk: Path, storage: Storage, unmanaged: Path) -> None:
    before = digest(disk)
    (listed,) = [one for one in cinder.volumes.list_manageable(FAST) if one.reference["source-name"] == disk.name]
    made = cinder.volumes.manage(FAST, {"source-name": disk.name}, name="adopted", metadata={"k": "v"})
    shown = settled(cinder.volumes, made)
    (ours,) = [one for one in cinder.volumes.list_manageable(FAST) if one.cinder_id == made.id]
    content = storage.content_of("volumes", made.id)
    cinder.volumes.unmanage(made)
    gone(cinder.volumes, made)
    left = unmanaged / f"volume-{made.id}"
    after = digest(left)
    left.unlink()

    assert (listed.size, listed.safe_to_manage, listed.cinder_id) == (1, True, None)
    assert (ours.safe_to_manage, ours.reason_not_safe) == (False, "already managed")
    assert (made.status, shown.size, shown.name, shown.metadata) == ("managing", 1, "adopted", {"k": "v"})
    assert before == content == after


def test_a_file_becomes_a_snapshot_and_a_file_again(cinder: Any, disk: Path, unmanaged: Path) -> None:
    """Of a volume that is larger."""
    before = digest(disk)
    volume = settled(cinder.volumes, cinder.volumes.create(2, scheduler_hints=ON_FAST))
    made = cinder.volume_snapshots.manage(volume.id, {"source-name": disk.name}, name="adopted")
    snapshot = settled(cinder.volume_snapshots, made)
    listed = [one.cinder_id for one in cinder.volume_snapshots.list_manageable(FAST)]
    cinder.volume_snapshots.unmanage(snapshot)
    gone(cinder.volume_snapshots, snapshot)
    left = unmanaged / f"snapshot-{snapshot.id}"
    after = digest(left)
    left.unlink()
    cinder.volumes.delete(volume)

    assert (snapshot.size, snapshot.name, snapshot.id in listed) == (1, "adopted", True)
    assert before == after


def test_the_programs_manage_and_let_go(programs: Programs, cinder: Any, disk: Path, unmanaged: Path) -> None:
    """`cinder` and `openstack`, one after the other with the same data."""
    before = digest(disk)
    listed = programs.cinder("manageable-list", FAST)
    programs.cinder("manage", "--name", disk.name, FAST, disk.name)
    (made,) = cinder.volumes.list(search_opts={"name": disk.name})
    settled(cinder.volumes, made)
    programs.cinder("unmanage", made.id)
    gone(cinder.volumes, made)
    again = programs.openstack(
        "volume", "create", "--remote-source", f"source-name=volume-{made.id}", "--host", FAST, f"{disk.name}-2"
    )
    second = settled(cinder.volumes, cinder.volumes.get(again["id"]))
    programs.tell("volume", "delete", "--remote", second.id)
    gone(cinder.volumes, second)
    left = unmanaged / f"volume-{second.id}"
    after = digest(left)
    left.unlink()

    assert disk.name in listed
    assert before == after


def test_the_programs_manage_and_let_go_of_snapshots(
    programs: Programs, cinder: Any, disk: Path, unmanaged: Path
) -> None:
    volume = settled(cinder.volumes, cinder.volumes.create(1, scheduler_hints=ON_FAST))
    programs.cinder("snapshot-manage", "--name", disk.name, volume.id, disk.name)
    (made,) = cinder.volume_snapshots.list(search_opts={"name": disk.name})
    settled(cinder.volume_snapshots, made)
    listed = programs.cinder("snapshot-manageable-list", FAST)
    programs.cinder("snapshot-unmanage", made.id)
    gone(cinder.volume_snapshots, made)
    again = programs.openstack(
        "volume", "snapshot", "create", "--volume", volume.id, "--remote-source", f"source-name=snapshot-{made.id}",
        f"{disk.name}-2",
    )  # fmt: skip
    second = settled(cinder.volume_snapshots, cinder.volume_snapshots.get(again["id"]))
    programs.tell("volume", "snapshot", "delete", "--remote", second.id)
    gone(cinder.volume_snapshots, second)
    (unmanaged / f"snapshot-{second.id}").unlink()
    cinder.volumes.delete(volume)

    assert made.id in listed


def test_what_is_not_there_leaves_a_volume_that_says_so(cinder: Any) -> None:
    made = cinder.volumes.manage(FAST, {"source-name": "nonesuch"})
    settled(cinder.volumes, made, "error_managing")
    (message,) = [one for one in cinder.messages.list() if one.resource_uuid == made.id]
    cinder.volumes.delete(made)
    gone(cinder.volumes, made)

    assert "nonesuch" in message.user_message


def test_the_library_of_openstack_manages_and_lets_go(
    cloud_at: CloudAt, cinder: Any, disk: Path, unmanaged: Path
) -> None:
    """By the newer URLs."""
    storage = cloud_at("3.71").block_storage
    listed = [one.reference for one in storage.manageable_volumes(details=True, host=FAST)]
    made = storage.manage_volume(host=FAST, ref={"source-name": disk.name}, name="by the library")
    settled(cinder.volumes, cinder.volumes.get(made.id))
    short = [one.reference for one in storage.manageable_volumes(host=FAST)]
    parent = settled(cinder.volumes, cinder.volumes.create(1, scheduler_hints=ON_FAST))
    storage.unmanage_volume(made.id)
    gone(cinder.volumes, made)
    snapshot = storage.manage_snapshot(volume_id=parent.id, ref={"source-name": f"volume-{made.id}"})
    settled(cinder.volume_snapshots, cinder.volume_snapshots.get(snapshot.id))
    snapshots = [one.cinder_id for one in storage.manageable_snapshots(details=True, host=FAST)]
    storage.unmanage_snapshot(snapshot.id)
    gone(cinder.volume_snapshots, snapshot)
    (unmanaged / f"snapshot-{snapshot.id}").unlink()
    cinder.volumes.delete(parent)

    assert {"source-name": disk.name} in listed
    assert {"source-name": disk.name} not in short
    assert snapshot.id in snapshots


@pytest.mark.parametrize("version", ["3.0", "3.8"])
@pytest.mark.parametrize("detailed", [True, False])
def test_lists_are_asked_for_by_both_urls(cinder_at: CinderAt, disk: Path, version: str, detailed: bool) -> None:
    cinder = cinder_at(version)
    found = [one.reference["source-name"] for one in cinder.volumes.list_manageable(FAST, detailed=detailed)]

    assert disk.name in found
    assert cinder.volume_snapshots.list_manageable(FAST, detailed=detailed, limit=1) is not None
