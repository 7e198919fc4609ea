"""Backups on storage that tells what has changed: less is read, and what comes back is the same, whoever dies where."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.backup.bench import ARCHIVE, BACKUP, BLOCK, GIB, NEW_VOLUME, SNAPSHOT, VOLUME, Bench, bench, id_of
from tests.backup.test_operations import MOST, finished
from tests.conftest import SEED
from tests.drivers import filesystems
from tests.store.given import origin

from breezeblock.drivers.contract import ObjectName
from breezeblock.model.ids import VolumeId
from breezeblock.resources import volumes
from breezeblock.store import tables

OTHER, THIRD = id_of(4, 2), id_of(4, 3)
MIB = 1 << 20


@pytest.fixture(scope="module")
def xfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A filesystem on which files share data."""
    with filesystems.mounted(tmp_path_factory.mktemp("xfs"), "mkfs.xfs", "-q", "-m", "reflink=1", size_mib=400) as at:
        yield at


class Reads:
    """How much a driver was asked to read."""

    def __init__(self, made: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        self.total = 0
        read = type(made.driver).read

        async def counted(driver: Any, name: ObjectName, *, offset: int, length: int) -> bytes:
            self.total += length
            return await read(driver, name, offset=offset, length=length)

        monkeypatch.setattr(type(made.driver), "read", counted)

    def taken(self) -> int:
        total, self.total = self.total, 0
        return total


@pytest.fixture
def made(xfs: Path, tmp_path: Path) -> Iterator[Bench]:
    """A volume of 2 GiB with 8 MiB of data in each of its segments."""
    folder = xfs / tmp_path.name
    folder.mkdir()
    with bench(folder) as one:
        one.create_volume(size_gib=2)
        for offset in (0, GIB + 100 * MIB):
            one.write(offset, random.Random(offset).randbytes(8 * MIB))
        yield one


def kept(made: Bench) -> dict[str, str]:
    return {row["backup_id"]: row["object_name"] for row in made.base.rows(tables.kept_objects)}


def restored(made: Bench, id_: str) -> dict[int, bytes]:
    """What comes back from a backup."""
    made.restore(id_)
    made.work()
    found = made.content(NEW_VOLUME)
    made.base.run(volumes.begin_delete, origin=origin(), volume_id=VolumeId(NEW_VOLUME), cascade=False)
    made.work()
    return found


def test_only_what_has_changed_is_read(made: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of an incremental; a full backup reads everything, and one object is kept of a volume."""
    reads = Reads(made, monkeypatch)
    finished(made)
    assert reads.taken() == 16 * MIB
    assert kept(made).keys() == {BACKUP}

    made.write(GIB + 101 * MIB, b"new")
    finished(made, OTHER, incremental=True)
    assert reads.taken() == BLOCK
    assert kept(made).keys() == {OTHER}
    assert restored(made, OTHER) == made.content()

    finished(made, THIRD)
    assert reads.taken() >= 16 * MIB
    assert kept(made).keys() == {THIRD}
    made.check()


def test_a_discarded_part_is_not_in_the_next_backup(made: Bench) -> None:
    finished(made)
    made.write(0, bytes(4 * MIB))
    finished(made, OTHER, incremental=True)

    found = restored(made, OTHER)
    assert found == made.content()
    assert min(found) == 4 * MIB // BLOCK
    assert restored(made, BACKUP) != found


def test_a_volume_in_use_is_read_from_what_is_kept(made: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    finished(made)
    reads = Reads(made, monkeypatch)
    made.base.change(tables.volumes, VOLUME, status="in-use")
    made.write(3 * MIB, b"before")
    before = made.content()
    keep = type(made.driver).keep

    async def kept_and_written(driver: Any, source: ObjectName, target: ObjectName) -> bool:
        done = await keep(driver, source, target)
        made.write(4 * MIB, b"later")
        return done

    monkeypatch.setattr(type(made.driver), "keep", kept_and_written)
    made.back_up(OTHER, incremental=True, force=True)
    made.work()

    assert reads.taken() == BLOCK
    assert kept(made).keys() == {OTHER}
    made.base.change(tables.volumes, VOLUME, status="available")
    assert restored(made, OTHER) == before
    made.check()


def test_a_snapshot_is_told_apart_from_the_backup_before(made: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    finished(made)
    made.write(5 * MIB, b"before")
    before = made.content()
    made.create_snapshot()
    made.base.change(tables.backups, BACKUP, data_timestamp_us=1)
    made.write(6 * MIB, b"later")
    reads = Reads(made, monkeypatch)
    finished(made, OTHER, snapshot_id=SNAPSHOT, incremental=True)

    assert reads.taken() == BLOCK
    assert restored(made, OTHER) == before
    made.check()


def test_what_is_missing_is_only_read_again(made: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kept object is gone, or the parent's manifest is."""
    finished(made)
    reads = Reads(made, monkeypatch)
    for path in (made.folder / "volumes" / BACKUP[:2]).glob(f"{BACKUP}*"):
        path.unlink()
    made.write(7 * MIB, b"one")
    finished(made, OTHER, incremental=True)
    assert reads.taken() >= 16 * MIB
    (manifest,) = [key for key in made.objects.objects if f"/manifests/{OTHER}" in key]
    del made.objects.objects[manifest]
    made.write(8 * MIB, b"two")
    finished(made, THIRD, incremental=True)
    assert reads.taken() >= 16 * MIB
    assert restored(made, THIRD) == made.content()


def test_the_end_of_the_backup_or_of_the_volume_is_its_end(made: Bench) -> None:
    finished(made)
    made.delete()
    made.work()
    assert kept(made) == {}
    made.check()

    finished(made, OTHER)
    made.base.run(volumes.begin_delete, origin=origin(), volume_id=VolumeId(VOLUME), cascade=False)
    made.work()
    assert (kept(made), made.files()) == ({}, set())
    made.check()


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_who_dies_anywhere_leaves_one_kept_object_and_a_whole_backup(made: Bench, after: bool) -> None:
    """At each transaction of an incremental backup, of its deletion, and of the volume's: each told by the one before."""
    finished(made)
    for at in range(1, MOST + 8):
        one, two = id_of(4, 10 * at), id_of(4, 10 * at + 1)
        made.write(GIB + at * MIB, random.Random(at).randbytes(BLOCK))
        made.back_up(one, incremental=True)
        died = made.die(at=at, after=after)
        made.work()
        assert made.backup(one)["status"] == "available", made.backup(one)["fail_reason"]
        assert kept(made).keys() == {one}
        made.check()
        assert restored(made, one) == made.content()

        finished(made, two)
        made.delete(two)
        died = made.die(at=at, after=after) or died
        made.work()
        assert kept(made) == {}
        made.check()
        finished(made, two)
        if not died:
            return
    raise AssertionError("they have more transactions than that")


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_volume_takes_with_it_what_is_kept_of_it(made: Bench, after: bool) -> None:
    """Whoever dies at whichever transaction of its deletion."""
    for at in range(1, MOST):
        one, volume = id_of(4, at), id_of(1, 1 + at)
        made.create_volume(volume)
        finished(made, one, volume_id=VolumeId(volume))
        made.base.run(volumes.begin_delete, origin=origin(), volume_id=VolumeId(volume), cascade=False)
        died = made.die(at=at, after=after)
        made.work()
        assert kept(made) == {}
        made.check()
        if not died:
            return
    raise AssertionError("it has more transactions than that")


def test_an_old_row_of_an_archive_elsewhere_is_not_built_upon(made: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A parent in another store is only a date: blocks are shared inside one archive."""
    finished(made)
    made.base.change(tables.backups, BACKUP, archive_id=id_of(5, 2))
    reads = Reads(made, monkeypatch)
    finished(made, OTHER, incremental=True)
    assert reads.taken() >= 16 * MIB
    made.base.change(tables.backups, BACKUP, archive_id=ARCHIVE)
    assert restored(made, OTHER) == made.content()


def test_any_life_of_a_volume_comes_back_from_any_of_its_backups(made: Bench) -> None:
    """Writes, zeros, snapshots that are backed up, full and told backups, nodes that die, deletions, in any order."""
    chance = random.Random(f"{SEED}-told")
    contents: dict[str, dict[int, bytes]] = {}
    for number in range(1, 15):
        for _ in range(chance.randrange(3)):
            offset = chance.choice((0, GIB - MIB, GIB + 100 * MIB)) + chance.randrange(2 * MIB)
            made.write(offset, chance.choice((chance.randbytes(5000), bytes(200_000), b"text" * 5000)))
        id_ = id_of(4, number)
        made.back_up(id_, incremental=bool(contents) and chance.random() < 0.8)
        if chance.random() < 0.3:
            made.die(at=chance.randrange(1, MOST), after=chance.random() < 0.5)
        made.work()
        assert made.backup(id_)["status"] == "available", made.backup(id_)["fail_reason"]
        contents[id_] = made.content()
        if len(contents) > 3 or chance.random() < 0.2:
            gone = chance.choice(sorted(contents))
            del contents[gone]
            made.delete(gone)
            made.work()
        made.check()
    for id_, content in contents.items():
        assert restored(made, id_) == content, f"backup {id_}, BREEZEBLOCK_SEED={SEED}"
