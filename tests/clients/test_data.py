"""The bytes: written into the volumes' files, and still there after everything the clients asked for.

Also when the process that was copying them is killed: another one goes on from what was saved.
"""

import os
import random
import signal
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.clients.storage import GIB, Sighting, Storage, fill
from tests.clients.waiting import settled
from tests.service import Service, eventually

MIB = 1024**2
# Takes the slow backend four seconds.
LONG_COPY = 32 * MIB
ENOUGH = 8 * MIB


@pytest.fixture(scope="module")
def storage(service: Service) -> Storage:
    return Storage(service)


@pytest.fixture
def volume(cinder: Any, storage: Storage, numbers: random.Random) -> Iterator[Any]:
    """A volume of 1 GiB with bytes at its beginning, in its middle and at its very end."""
    made = settled(cinder.volumes, cinder.volumes.create(1))
    path = storage.file_of("volumes", made.id)
    fill(path, numbers, offset=0, length=MIB)
    fill(path, numbers, offset=GIB // 2 + 12345, length=3 * MIB)
    fill(path, numbers, offset=GIB - 4096, length=4096)
    yield made
    cinder.volumes.delete(made, cascade=True)


@pytest.fixture
def slow_volume(cinder: Any, storage: Storage, numbers: random.Random) -> Iterator[Any]:
    """A volume on the slow backend, with enough bytes for a long copy."""
    slow = cinder.volume_types.create(f"slow-{uuid.uuid4()}")
    slow.set_keys({"volume_backend_name": "slow"})
    made = settled(cinder.volumes, cinder.volumes.create(1, volume_type=slow.name))
    fill(storage.file_of("volumes", made.id), numbers, offset=16 * MIB, length=LONG_COPY)
    yield made
    cinder.volumes.delete(made, cascade=True)


def test_a_snapshot_keeps_what_was_there(cinder: Any, storage: Storage, volume: Any, numbers: random.Random) -> None:
    """And a volume made from it has it, whatever was written to the first one since."""
    before = storage.content_of("volumes", volume.id)

    snapshot = settled(cinder.volume_snapshots, cinder.volume_snapshots.create(volume.id))
    fill(storage.file_of("volumes", volume.id), numbers, offset=0, length=2 * MIB)
    restored = settled(cinder.volumes, cinder.volumes.create(1, snapshot_id=snapshot.id))

    assert storage.content_of("snapshots", snapshot.id) == before
    assert storage.content_of("volumes", restored.id) == before
    assert storage.content_of("volumes", volume.id) != before
    cinder.volumes.delete(restored)


def test_a_clone_is_equal_and_larger_ones_are_zero_at_their_end(cinder: Any, storage: Storage, volume: Any) -> None:
    """The first GiB is the same, and after it there is nothing."""
    clone = settled(cinder.volumes, cinder.volumes.create(2, source_volid=volume.id))
    path = storage.file_of("volumes", clone.id)

    assert storage.content_of("volumes", clone.id) == storage.content_of("volumes", volume.id)
    assert path.stat().st_size == 2 * GIB
    assert path != storage.file_of("volumes", volume.id)
    cinder.volumes.delete(clone)


def test_an_extended_volume_keeps_its_bytes(cinder: Any, storage: Storage, volume: Any) -> None:
    """The same file, only longer."""
    before, path = storage.content_of("volumes", volume.id), storage.file_of("volumes", volume.id)

    cinder.volumes.extend(volume, 3)
    settled(cinder.volumes, volume)

    assert storage.file_of("volumes", volume.id) == path
    assert path.stat().st_size == 3 * GIB
    assert storage.content_of("volumes", volume.id) == before


def test_a_reverted_volume_has_the_snapshot_again(
    cinder: Any, storage: Storage, volume: Any, numbers: random.Random
) -> None:
    """Nothing that was written since is left, and the snapshot is as it was."""
    before = storage.content_of("volumes", volume.id)
    snapshot = settled(cinder.volume_snapshots, cinder.volume_snapshots.create(volume.id))
    fill(storage.file_of("volumes", volume.id), numbers, offset=7 * MIB, length=MIB)
    changed = storage.content_of("volumes", volume.id)

    cinder.volumes.revert_to_snapshot(volume, snapshot)
    settled(cinder.volumes, volume)

    assert changed != before
    assert storage.content_of("volumes", volume.id) == before
    assert storage.content_of("snapshots", snapshot.id) == before


def test_a_deleted_volume_leaves_no_file(cinder: Any, storage: Storage) -> None:
    """Its space is free again when it is gone."""
    made = settled(cinder.volumes, cinder.volumes.create(1))
    path = storage.file_of("volumes", made.id)

    cinder.volumes.delete(made)

    eventually(lambda: not path.exists())


def clone_of(cinder: Any, storage: Storage, volume: Any, numbers: random.Random) -> tuple[str, Any]:
    """A volume made from this one."""
    return "volumes", cinder.volumes.create(1, source_volid=volume.id)


def snapshot_of(cinder: Any, storage: Storage, volume: Any, numbers: random.Random) -> tuple[str, Any]:
    """A snapshot of it."""
    return "snapshots", cinder.volume_snapshots.create(volume.id)


def revert_of(cinder: Any, storage: Storage, volume: Any, numbers: random.Random) -> tuple[str, Any]:
    """The volume itself, set back to what it was before something was written."""
    snapshot = settled(cinder.volume_snapshots, cinder.volume_snapshots.create(volume.id))
    fill(storage.file_of("volumes", volume.id), numbers, offset=0, length=MIB)
    cinder.volumes.revert_to_snapshot(volume, snapshot)
    return "volumes", volume


@pytest.mark.parametrize("copy", [clone_of, snapshot_of, revert_of])
def test_a_copy_survives_the_end_of_its_process(
    cinder: Any,
    storage: Storage,
    slow_volume: Any,
    numbers: random.Random,
    copy: Callable[..., tuple[str, Any]],
) -> None:
    """Killed in the middle, it is continued under a new claim in the same file, from where it was saved."""
    if storage.shares_blocks():
        pytest.skip("this filesystem copies by sharing blocks, at once")
    before = storage.content_of("volumes", slow_volume.id)
    table, made = copy(cinder, storage, slow_volume, numbers)

    first = eventually(lambda: _saved(storage, made.id), within_s=30, message="no progress was saved")
    assert first is not None
    assert first.owner is not None
    os.kill(storage.worker_of(first.owner), signal.SIGKILL)
    seen = list(_watch(storage, made.id))
    settled(cinder.volumes if table == "volumes" else cinder.volume_snapshots, made)

    later = [one for one in seen if one.epoch > first.epoch]
    ended = storage.latest_end(made.id)
    assert storage.content_of(table, made.id) == before
    assert (ended["outcome"], ended["attempt"]) == ("done", 0)
    assert ended["epoch"] > first.epoch
    assert ended["owner"] != first.owner
    assert later, "nobody was seen to go on"
    assert min(one.done_bytes for one in later) >= first.done_bytes >= ENOUGH
    assert storage.file_of(table, made.id).name == first.object_name


def _saved(storage: Storage, resource_id: str) -> Sighting | None:
    """The operation once enough of its copy is saved."""
    found = storage.operation_on(resource_id)
    return found if found is not None and found.done_bytes >= ENOUGH else None


def _watch(storage: Storage, resource_id: str) -> Iterator[Sighting]:
    """The operation, again and again until it is over."""
    seen: list[Sighting] = []

    def over() -> bool:
        found = storage.operation_on(resource_id)
        seen.extend([found] if found is not None else [])
        return found is None

    eventually(over, within_s=60, message="the copy is not done")
    yield from seen
