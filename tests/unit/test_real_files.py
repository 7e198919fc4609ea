"""What only the real files can get wrong: descriptors, threads, filesystems that lack a call."""

import asyncio
import errno
import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

import pytest

from breezeblock.env import files as files_module
from breezeblock.env.files import RealFiles
from breezeblock.env.real import RealThreads, real_env

run = asyncio.run
MIB = 1 << 20


@pytest.fixture
def threads() -> Iterator[RealThreads]:
    pool = RealThreads(max_threads=2)
    yield pool
    pool.close()


@pytest.fixture
def files(threads: RealThreads) -> RealFiles:
    return RealFiles(threads)


@pytest.fixture
def path(tmp_path: Path) -> PurePosixPath:
    return PurePosixPath(tmp_path / "file")


def refuse(monkeypatch: pytest.MonkeyPatch, module: object, call: str, number: int) -> None:
    """Let a system call fail as it does on a filesystem that lacks it."""

    def failing(*_args: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(module, call, failing)


def open_below(folder: PurePosixPath) -> list[str]:
    """What this process has open there. What earlier tests have left open elsewhere may go at any moment."""
    found = []
    for name in names_in("/proc/self/fd"):
        with suppress(FileNotFoundError):  # the one that the list was read by
            found.append(Path("/proc/self/fd", name).readlink())
    return [str(target) for target in found if target.is_relative_to(folder)]


def names_in(folder: str | PurePosixPath) -> list[str]:
    return sorted(path.name for path in Path(folder).iterdir())


class Counting:
    """A guard that notes in which thread it was asked, and says no to the first `refusals`."""

    def __init__(self, refusals: int = 0) -> None:
        self.waits = 0
        self.threads: list[int] = []
        self._refusals = refusals

    async def wait_open(self) -> None:
        self.waits += 1

    @contextmanager
    def enter(self) -> Iterator[bool]:
        self.threads.append(threading.get_ident())
        self._refusals -= 1
        yield self._refusals < 0

    def tokens(self) -> dict[str, tuple[int, int]]:
        return {}


# Growing.


def test_growing_takes_one_block_of_space(files: RealFiles, path: PurePosixPath) -> None:
    """A file of a GiB stays sparse."""
    run(files.create(path, size_bytes=1 << 30))

    found = Path(path).stat()
    assert found.st_size == 1 << 30
    assert found.st_blocks * 512 <= 64 << 10


def test_a_growth_that_lands_late_changes_nothing(
    files: RealFiles, path: PurePosixPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file grew and was written between our look at its length and the call."""
    run(files.create(path, size_bytes=MIB))
    allocate = files_module._fallocate()

    def late(*args: int) -> int:
        with Path(path).open("r+b") as other:
            other.write(b"\xff" * 3 * MIB)
        return int(allocate(*args))

    monkeypatch.setattr(files_module, "_fallocate", lambda: late)
    run(files.grow(path, size_bytes=2 * MIB))

    assert Path(path).read_bytes() == b"\xff" * 3 * MIB


def test_a_filesystem_that_cannot_allocate_is_refused(
    files: RealFiles, path: PurePosixPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither shortened nor written: there is no safe way to imitate it."""
    Path(path).write_bytes(b"data")

    def unsupported(*_args: int) -> int:
        import ctypes

        ctypes.set_errno(errno.EOPNOTSUPP)
        return -1

    monkeypatch.setattr(files_module, "_fallocate", lambda: unsupported)
    with pytest.raises(OSError, match="not supported") as failed:
        run(files.grow(path, size_bytes=MIB))

    assert failed.value.errno == errno.EOPNOTSUPP
    assert Path(path).read_bytes() == b"data"


def test_growing_what_is_not_there_makes_nothing(files: RealFiles, path: PurePosixPath) -> None:
    """Only `create` creates."""
    with pytest.raises(FileNotFoundError):
        run(files.grow(path, size_bytes=MIB))
    assert not Path(path).exists()


def test_an_existing_file_is_grown_by_create(files: RealFiles, path: PurePosixPath) -> None:
    """And keeps its data."""
    Path(path).write_bytes(b"data")

    run(files.create(path, size_bytes=MIB))

    assert Path(path).read_bytes() == b"data" + bytes(MIB - 4)


# Copying.


@pytest.mark.parametrize("number", [errno.EXDEV, errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP])
def test_copying_goes_by_hand_where_the_kernel_cannot(
    files: RealFiles, path: PurePosixPath, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """The same bytes at the same offset, no more than asked for."""
    target = path.with_name("target")
    Path(path).write_bytes(b"0123456789")
    Path(target).touch()
    refuse(monkeypatch, os, "copy_file_range", number)

    copied = run(files.copy_range(path, target, offset=2, length=3))

    assert copied == 3
    assert Path(target).read_bytes() == b"\0\x00234"


@pytest.mark.parametrize("by_hand", [False, True])
def test_copying_from_the_end_copies_nothing(
    files: RealFiles, path: PurePosixPath, monkeypatch: pytest.MonkeyPatch, by_hand: bool
) -> None:
    """0 is how a copier learns that it is done."""
    Path(path).write_bytes(b"data")
    Path(path.with_name("target")).touch()
    if by_hand:
        refuse(monkeypatch, os, "copy_file_range", errno.EXDEV)

    assert run(files.copy_range(path, path.with_name("target"), offset=4, length=9)) == 0


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.ENOTTY, errno.EXDEV, errno.EINVAL])
def test_where_blocks_cannot_be_shared_nothing_is_left(
    files: RealFiles, path: PurePosixPath, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """The caller copies instead."""
    Path(path).write_bytes(b"data")
    refuse(monkeypatch, fcntl, "ioctl", number)

    assert run(files.reflink(path, path.with_name("target"))) is False
    assert names_in(path.parent) == ["file"]


def test_a_full_disk_is_no_reason_to_copy_instead(
    files: RealFiles, path: PurePosixPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other errors of sharing are errors; nothing is left either."""
    Path(path).write_bytes(b"data")
    refuse(monkeypatch, fcntl, "ioctl", errno.ENOSPC)

    with pytest.raises(OSError, match="No space"):
        run(files.reflink(path, path.with_name("target")))
    assert names_in(path.parent) == ["file"]


def test_where_holes_cannot_be_found_all_is_data(
    files: RealFiles, path: PurePosixPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the offset to the end."""
    Path(path).write_bytes(bytes(100))
    refuse(monkeypatch, os, "lseek", errno.EINVAL)

    assert run(files.next_data(path, 40)) == (40, 100)
    assert run(files.next_data(path, 100)) is None


def test_data_between_holes_is_found(files: RealFiles, path: PurePosixPath) -> None:
    """And after the last of it there is none."""
    run(files.create(path, size_bytes=4 * MIB))
    run(files.write_at(path, offset=MIB, data=b"x" * 4096))

    assert run(files.next_data(path, 0)) == (MIB, MIB + 4096)
    assert run(files.next_data(path, MIB + 4096)) is None


# Folders.


def test_a_file_in_the_place_of_a_folder_is_an_error(files: RealFiles, path: PurePosixPath) -> None:
    """An existing folder is fine, an existing file is not."""
    Path(path).touch()
    with pytest.raises(NotADirectoryError):
        run(files.make_folder(path))


def test_a_folder_is_no_file(files: RealFiles, path: PurePosixPath) -> None:
    """It has no size."""
    run(files.make_folder(path))
    run(files.make_folder(path))
    with pytest.raises(IsADirectoryError):
        run(files.size(path))


def test_removing_from_a_missing_folder_is_fine(files: RealFiles, path: PurePosixPath) -> None:
    """What is not there is removed."""
    run(files.remove(path))
    run(files.remove(path / "deeper"))


# The guard, threads and descriptors.


def test_the_guard_is_asked_in_the_thread_that_makes_the_call(files: RealFiles, path: PurePosixPath) -> None:
    """Once for each changing system call: create makes two."""
    guard = Counting()

    run(files.guarded(guard).create(path, size_bytes=1))

    assert len(guard.threads) == 2
    assert threading.get_ident() not in guard.threads


def test_a_refused_call_changes_nothing_and_waits_again(files: RealFiles, path: PurePosixPath) -> None:
    """Three refusals, three more waits, one file."""
    guard = Counting(refusals=3)

    run(files.guarded(guard).create(path, size_bytes=0))

    assert guard.waits == 4
    assert Path(path).exists()


def test_reading_asks_no_guard(files: RealFiles, path: PurePosixPath) -> None:
    """A node that lost its lease may look."""
    Path(path).write_bytes(b"data")
    guard = Counting()

    assert run(files.guarded(guard).read_at(path, offset=1, length=2)) == b"at"
    assert guard.waits == 0


def test_errors_leave_no_descriptor_open(
    files: RealFiles, path: PurePosixPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever fails: the call, or the guard's exit after it."""

    class Failing(Counting):
        @contextmanager
        def enter(self) -> Iterator[bool]:
            yield True
            raise OSError(errno.EIO, "the guard failed")

    with pytest.raises(OSError, match="guard failed"):
        run(files.guarded(Failing()).create(path, size_bytes=1))
    refuse(monkeypatch, os, "fsync", errno.EIO)
    with pytest.raises(OSError, match="Input/output"):
        run(files.grow(path, size_bytes=MIB))

    assert open_below(path.parent) == []


def test_a_cancelled_caller_waits_for_its_system_call(threads: RealThreads) -> None:
    """Else it would land in the middle of what the caller does next."""
    may_end, ended = threading.Event(), threading.Event()

    def slow() -> None:
        may_end.wait(10)
        ended.set()

    async def story() -> None:
        task = asyncio.create_task(threads.run(slow))
        await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.sleep(0.05)
        assert not task.done()

        may_end.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ended.is_set()

    run(story())


def test_a_cancelled_call_that_has_no_thread_yet_never_begins(threads: RealThreads) -> None:
    """It waits behind two others; they end, it does not run."""
    may_end, began = threading.Event(), threading.Event()

    async def story() -> None:
        others = [asyncio.create_task(threads.run(lambda: may_end.wait(10))) for _ in range(2)]
        await asyncio.sleep(0)
        task = asyncio.create_task(threads.run(began.set))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        may_end.set()
        await asyncio.gather(*others)
        assert not began.is_set()

    run(story())


def test_the_environment_has_everything() -> None:
    """Clocks that move on, ids that differ, numbers within their bounds."""
    env = real_env(max_threads=1)
    before = env.clock.boottime()
    run(env.clock.sleep(0.001))

    assert env.clock.boottime() > before
    assert env.clock.now_us() > 1_600_000_000_000_000
    assert env.ids.uuid() != env.ids.uuid()
    assert 1.0 <= env.random.uniform(1.0, 2.0) <= 2.0
    assert run(env.threads.run(lambda: 7)) == 7
