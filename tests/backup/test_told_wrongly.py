"""What is kept for the next backup is a hint: nothing that is wrong with it makes a backup wrong, or holds anything up."""

import asyncio
import errno
import random
from pathlib import PurePosixPath
from typing import Any

import pytest
from tests.backup.bench import BACKUP, BLOCK, ENV, GIB, SNAPSHOT, VOLUME, Bench, id_of
from tests.backup.test_operations import finished
from tests.backup.test_told import MIB, OTHER, THIRD, Reads, kept, restored
from tests.backup.test_told import made as made
from tests.backup.test_told import xfs as xfs
from tests.store.given import origin

from breezeblock.drivers.file import FileDriver
from breezeblock.env.files import RealFiles
from breezeblock.model.ids import VolumeId
from breezeblock.resources import volumes
from breezeblock.store import tables


def _delete_volume(made: Bench) -> None:
    made.base.run(volumes.begin_delete, origin=origin(), volume_id=VolumeId(VOLUME), cascade=False)
    made.work()


def test_a_full_filesystem_keeps_nothing_and_is_backed_up(made: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    async def full(*_: Any) -> bool:
        raise OSError(errno.ENOSPC, "no space")

    with monkeypatch.context() as patched:
        patched.setattr(RealFiles, "reflink", full)
        finished(made)
    assert kept(made) == {}
    made.check()


def test_changes_that_cannot_be_told_are_read(made: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    async def failing(*_: Any, **__: Any) -> None:
        raise OSError(errno.EIO, "not now")

    finished(made)
    made.write(GIB + MIB, b"new")
    with monkeypatch.context() as patched:
        extents = RealFiles.extents
        # The question of `keep` is answered, those of `changes` are not.
        calls = iter(range(1000))

        async def first_only(files: RealFiles, path: PurePosixPath, *, offset: int, length: int) -> Any:
            return await (extents if next(calls) == 0 else failing)(files, path, offset=offset, length=length)

        patched.setattr(RealFiles, "extents", first_only)
        finished(made, OTHER, incremental=True)
    assert restored(made, OTHER) == made.content()


def test_a_backup_is_deleted_while_its_volumes_storage_is_away(made: Bench) -> None:
    """Who ends the volume, there, removes what it kept."""
    finished(made)
    marker = made.folder / "volumes" / ".breezeblock-backend"
    marker.rename(made.folder / "marker")
    made.delete()
    made.work()
    assert made.base.rows(tables.backups) == []

    (made.folder / "marker").rename(marker)
    _delete_volume(made)
    assert (kept(made), made.files()) == ({}, set())


def test_a_parked_backup_that_is_deleted_elsewhere_leaves_nothing_for_ever(made: Bench) -> None:
    """The row of what was made aside is there before it, and outlives the backup."""
    made.back_up()
    for at in range(1, 20):
        made.die(at=at, after=True)
        if made.base.rows(tables.operations)[0]["step"] == "store_segments":
            break
    made.park()
    here = made.driver
    given = {"name": "o", "path": PurePosixPath(made.folder / "other"), "clock": ENV.clock, "ids": ENV.ids}
    made.driver = FileDriver(ENV.files, **given)  # type: ignore[arg-type]
    asyncio.run(made.driver.check(known=False))
    made.delete()
    (row,) = made.base.rows(tables.kept_objects)
    made.base.change(tables.kept_objects, BACKUP, queue="c@away")
    made.work()
    assert made.base.rows(tables.backups) == []

    made.driver = here
    made.base.change(tables.kept_objects, BACKUP, queue=row["queue"])
    _delete_volume(made)
    assert (kept(made), made.files()) == ({}, set())


def test_an_older_snapshots_backup_leaves_what_tells_more(made: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    made.create_snapshot()
    made.base.change(tables.snapshots, SNAPSHOT, created_at_us=1)
    made.write(5 * MIB, b"later")
    finished(made)
    finished(made, OTHER, snapshot_id=SNAPSHOT)
    assert kept(made).keys() == {BACKUP, OTHER}

    reads = Reads(made, monkeypatch)
    made.write(6 * MIB, b"new")
    finished(made, THIRD, incremental=True)
    assert reads.taken() == BLOCK
    assert kept(made).keys() == {THIRD}


def test_what_an_operator_calls_wrong_is_not_built_upon(made: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    finished(made)
    finished(made, OTHER)
    made.base.change(tables.backups, OTHER, status="error")
    reads = Reads(made, monkeypatch)
    finished(made, THIRD, incremental=True)
    assert reads.taken() >= 16 * MIB


def test_turning_it_off_gives_the_space_back(made: Bench) -> None:
    finished(made)
    made.driver._track_changes = False
    finished(made, OTHER, incremental=True)
    assert kept(made) == {}
    made.check()


def test_a_copy_that_is_made_anew_is_read_anew(made: Bench) -> None:
    """As by a release that does not know the step at which the operation was saved, and begins with the first."""
    finished(made)
    made.base.change(tables.volumes, VOLUME, status="in-use")
    for at in range(1, 30):
        one = id_of(4, 100 + at)
        made.back_up(one, incremental=True, force=True)
        made.die(at=at, after=True)
        rows = made.base.rows(tables.operations)
        if rows and rows[0]["step"] == "drop_copy":
            break
        made.work()
    made.base.change(tables.operations, rows[0]["id"], step="of_another_release")
    made.write(5 * MIB, random.Random(9).randbytes(BLOCK))
    made.work()
    made.base.change(tables.volumes, VOLUME, status="available")
    assert restored(made, one) == made.content()
    finished(made, THIRD, incremental=True)
    assert restored(made, THIRD) == made.content()


def test_places_are_believed_where_they_are_known_to_be_places(made: Bench) -> None:
    """Not on this machine's other filesystems, whatever they answer."""
    outside = made.folder.parent.parent.parent / "outside"
    outside.write_bytes(b"x" * BLOCK)
    there = ENV.files.extents(PurePosixPath(outside), offset=0, length=BLOCK)
    assert asyncio.run(there) is None
    assert asyncio.run(ENV.files.extents(PurePosixPath(made.path()), offset=0, length=BLOCK))
