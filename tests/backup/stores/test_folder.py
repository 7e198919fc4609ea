"""What is special to folders: crashes, full and read-only filesystems, and filesystems that are not mounted."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.backup.stores.places import MIB, FolderPlace, on
from tests.backup.stores.test_contract import keys
from tests.drivers import filesystems

from breezeblock.backup.contract import ObjectMissing, ObjectStore, StoreRefused, StoreUnavailable
from breezeblock.backup.stores.folder import MARKER, MARKER_TEXT, PARTS, FolderStore
from breezeblock.env.real import RealIds, RealThreads

run = asyncio.run


@pytest.fixture
def small(tmp_path: Path, threads: RealThreads) -> Iterator[FolderPlace]:
    """On a filesystem of its own for about 10 MiB."""
    with filesystems.mounted(tmp_path, "mkfs.ext4", "-q", "-F", size_mib=24) as at:
        yield FolderPlace(threads, at / "backups")


def test_nothing_but_whole_objects_is_in_a_folder(folder_place: FolderPlace) -> None:
    """A copy of it by any tool is a copy of the store."""

    async def scenario(store: ObjectStore) -> None:
        await store.put("a/b/c", [b"x"])
        await store.put("a/b/c", [b"y"])

    on(folder_place, scenario)

    root = folder_place.root
    found = sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())
    assert found == [MARKER, "a/b/c"]
    assert (root / MARKER).read_text() == MARKER_TEXT


# Stores object after object until it is killed, and prints what is stored.
WRITER = """
import asyncio, sys
from pathlib import Path
from breezeblock import logs
from breezeblock.backup.stores.folder import FolderStore
from breezeblock.env.real import RealIds, RealThreads

async def main():
    logs.configure()
    store = FolderStore(Path(sys.argv[1]), name="here", ids=RealIds(), threads=RealThreads(max_threads=1))
    await store.check()
    number = 0
    while True:
        number += 1
        await store.put(f"n/{number}", [bytes([number % 256]) * 65536] * 16)
        print(number, flush=True)

asyncio.run(main())
"""


@pytest.mark.parametrize("count", [1, 2, 5])
def test_whoever_is_killed_in_a_put_leaves_whole_objects(folder_place: FolderPlace, count: int) -> None:
    """What it said is stored is there; what is listed is whole; and the rest is taken away a day later."""
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", WRITER, str(folder_place.root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environ) as writer:
        assert writer.stdout is not None
        told = [int(writer.stdout.readline()) for _ in range(count)]
        writer.send_signal(signal.SIGKILL)
        told += [int(line) for line in writer.stdout]

    async def scenario(store: ObjectStore) -> list[str]:
        found = await keys(store)
        for key in found:
            assert await store.get(key) == bytes([int(key[2:]) % 256]) * MIB
        return found

    found = on(folder_place, scenario)

    assert {f"n/{number}" for number in told} <= set(found)
    assert len(found) <= len(told) + 1


def test_parts_that_nobody_finished_go_after_a_day(folder_place: FolderPlace) -> None:
    """Not before: somebody may be writing them."""
    on(folder_place, lambda store: store.put("a", [b"x"]))
    old, fresh = (folder_place.root / PARTS / name for name in ("old", "fresh"))
    for part in (old, fresh):
        part.write_bytes(b"x")
    day_s = 24 * 3600
    os.utime(old, (old.stat().st_atime, old.stat().st_mtime - day_s - 5))
    os.utime(fresh, (fresh.stat().st_atime, fresh.stat().st_mtime - day_s + 60))

    found = on(folder_place, keys)

    assert (found, list((folder_place.root / PARTS).iterdir())) == (["a"], [fresh])


def test_a_full_filesystem_is_told_and_nothing_is_left(small: FolderPlace) -> None:
    """What was there stays, smaller objects still fit, and after a deletion the large one does."""

    async def scenario(store: ObjectStore) -> list[str]:
        await store.put("first", [b"x" * 6 * MIB])
        with pytest.raises(StoreRefused, match=r"Backup store here has no space left\."):
            await store.put("large", [b"y" * MIB] * 20)
        before = await keys(store)
        await store.put("small", [b"z"])
        await store.delete("first")
        await store.put("large", [b"y" * MIB] * 8)
        return before

    assert on(small, scenario) == ["first"]
    assert list((small.root / PARTS).iterdir()) == []


def test_a_read_only_filesystem_can_be_read(small: FolderPlace) -> None:
    """And says why it takes nothing."""

    async def scenario(store: ObjectStore) -> bytes:
        await store.put("a", [b"x"])
        filesystems.remount(small.root.parent, "ro")
        for call in (store.check(), store.put("b", [b"y"]), store.delete("a")):
            with pytest.raises(StoreRefused, match=r"is mounted read-only\."):
                await call
        return await store.get("a")

    assert on(small, scenario) == b"x"


def test_a_filesystem_that_is_not_mounted_is_an_outage(tmp_path: Path, threads: RealThreads) -> None:
    """Not a store in which every object is deleted: no call finds nothing, and nothing is written into the folder below."""
    root = tmp_path / "mnt"  # the mount point itself is the store's folder, as where a disk is for nothing else

    async def scenario() -> list[str]:
        store = FolderStore(root, name="here", ids=RealIds(), threads=threads)
        with filesystems.mounted(tmp_path, "mkfs.ext4", "-q", "-F", size_mib=24):
            await store.check()
            await store.put("a/b", [b"x"])
        calls = (
            lambda: store.check(known=True),
            lambda: store.put("a/c", [b"y"]),
            lambda: store.get("a/b"),
            lambda: store.size("a/b"),
            lambda: store.delete("a/b"),
            lambda: keys(store),
        )
        told = []
        for call in calls:
            with pytest.raises(StoreUnavailable) as outage:
                await call()
            told.append(str(outage.value))
        return told

    told = run(scenario())

    assert len(told) == 6
    assert all("its filesystem is probably not mounted" in sentence for sentence in told)
    assert not root.exists() or list(root.iterdir()) == []


def test_a_folder_with_something_else_in_it_is_not_ours(folder_place: FolderPlace) -> None:
    """It is left as it is."""
    folder_place.root.mkdir()
    (folder_place.root / "letters").touch()

    with pytest.raises(StoreRefused, match=r"is not empty and has no marker .* it contains letters"):
        on(folder_place, keys)

    assert [path.name for path in folder_place.root.iterdir()] == ["letters"]


def test_a_folder_of_another_version_is_not_touched(folder_place: FolderPlace) -> None:
    """Nor one of something else that has such a file."""
    folder_place.root.mkdir()
    (folder_place.root / MARKER).write_text("breezeblock backup store\nformat: 2\n")

    with pytest.raises(StoreRefused, match="says breezeblock backup store, format: 2"):
        on(folder_place, keys)


def test_a_folder_is_made_but_not_its_parent(tmp_path: Path, threads: RealThreads) -> None:
    """A slip in the path would otherwise be found when the backups are looked for."""
    with pytest.raises(StoreRefused, match="its parent is not there"):
        on(FolderPlace(threads, tmp_path / "slip" / "backups"), keys)


def test_a_copy_with_a_mark_is_a_store(folder_place: FolderPlace) -> None:
    """As somebody makes one from a bucket."""
    (folder_place.root / "a").mkdir(parents=True)
    (folder_place.root / "a" / "b").write_bytes(b"x")
    (folder_place.root / MARKER).write_text(MARKER_TEXT)

    assert on(folder_place, keys) == ["a/b"]


def test_what_no_key_can_name_is_not_listed(folder_place: FolderPlace) -> None:
    """A filesystem's and an administrator's own files, links, and parts."""
    on(folder_place, lambda store: store.put("a/b", [b"x"]))
    for name in (".nfs0001", "a b", "é"):
        (folder_place.root / "a" / name).touch()
    (folder_place.root / "lost+found").mkdir()
    (folder_place.root / "a" / "link").symlink_to("b")
    (folder_place.root / PARTS / "part").touch()

    assert on(folder_place, keys) == ["a/b"]


def test_a_key_that_is_another_ones_folder_is_refused(folder_place: FolderPlace) -> None:
    """The contract forbids it; a folder cannot do it."""

    async def scenario(store: ObjectStore) -> list[str]:
        await store.put("a/b", [b"x"])
        for key in ("a", "a/b/c"):
            with pytest.raises(StoreRefused, match="in the place of"):
                await store.put(key, [b"y"])
        return await keys(store)

    assert on(folder_place, scenario) == ["a/b"]


def test_a_folder_that_somebody_removed_is_made_again(folder_place: FolderPlace) -> None:
    """By the next attempt."""

    async def scenario(store: ObjectStore) -> bytes:
        await store.put("a/b", [b"x"])
        shutil.rmtree(folder_place.root / "a")
        with pytest.raises(ObjectMissing):
            await store.get("a/b")
        with pytest.raises(StoreUnavailable, match="lost a file or folder"):
            await store.put("a/b", [b"y"])
        await store.put("a/b", [b"z"])
        return await store.get("a/b")

    assert on(folder_place, scenario) == b"z"
