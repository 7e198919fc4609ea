"""Files of this machine, one thread-pool job per call, every changing system call under the guard.

Each changing method is a list of plain system calls; the guard is asked directly before each of them, in the thread
that makes it. When it says no, the method has done nothing more, waits until the guard opens, and starts again from its
first line: all of them are safe to repeat.

fsync is not asked for: it changes nothing, it only hastens what was written under a guard, and one that hangs must not
keep a node from confirming that its gate is closed.
"""

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, TypeVar

from breezeblock.env.contract import Extent, Files, Guard, Space, Threads
from breezeblock.env.direct import ALIGNED, SMALLEST, write_pages
from breezeblock.env.renaming import rename_new

if TYPE_CHECKING:
    import ctypes

__all__ = ["RealFiles"]

T = TypeVar("T")

FICLONE = 0x40049409
FILE_MODE = 0o600
FOLDER_MODE = 0o700
# What one system call of the copy by hand moves; copy_file_range decides for itself.
COPY_BUFFER_BYTES = 1 << 20

_NO_COPY_RANGE = {errno.EXDEV, errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP}
_NO_REFLINK = {errno.EOPNOTSUPP, errno.ENOTTY, errno.EXDEV, errno.EINVAL, errno.ENOSYS}
_NO_SEEK_DATA = {errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS}


class RealFiles:
    """`Files` by the os module."""

    def __init__(self, threads: Threads, guard: Guard | None = None) -> None:
        self._threads = threads
        self._guard: Guard = guard if guard is not None else _Unguarded()

    def guarded(self, guard: Guard) -> Files:
        return RealFiles(self._threads, guard)

    # What changes storage.

    async def make_folder(self, path: PurePosixPath) -> None:
        def change() -> None:
            with suppress(FileExistsError), self._effect():
                os.mkdir(path, FOLDER_MODE)
            if not stat.S_ISDIR(os.stat(path).st_mode):
                raise _error(errno.ENOTDIR, path)
            _sync(path.parent)

        await self._change(change)

    async def create(self, path: PurePosixPath, *, size_bytes: int) -> None:
        def change() -> None:
            with _opened(path, os.O_RDWR | os.O_CREAT, self._effect) as fd:
                self._grow(fd, size_bytes)
                os.fsync(fd)
            _sync(path.parent)

        await self._change(change)

    async def make_whole(self, part: PurePosixPath, target: PurePosixPath, *, size_bytes: int) -> None:
        assert part.parent == target.parent, "a rename moves within one folder, so that one sync makes it durable"

        def change() -> None:
            if not os.path.lexists(target):
                if os.path.lexists(part):
                    with suppress(FileNotFoundError), self._effect():
                        os.unlink(part)
                with _opened(part, os.O_RDWR | os.O_CREAT | os.O_EXCL, self._effect) as fd:
                    self._grow(fd, size_bytes)
                    os.fsync(fd)
                with self._effect():
                    os.rename(part, target)
            _sync(target.parent)  # also when it was there: an earlier attempt may have died before its sync

        await self._change(change)

    async def grow(self, path: PurePosixPath, *, size_bytes: int) -> None:
        def change() -> None:
            with _opened(path, os.O_RDWR) as fd:
                self._grow(fd, size_bytes)
                os.fsync(fd)

        await self._change(change)

    async def reflink(self, source: PurePosixPath, target: PurePosixPath) -> bool:
        def change() -> bool:
            import fcntl

            with (
                _opened(source, os.O_RDONLY) as fd_from,
                _opened(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, self._effect) as fd_to,
            ):
                try:
                    with self._effect():
                        fcntl.ioctl(fd_to, FICLONE, fd_from)
                    return True
                except OSError as error:
                    with self._effect():
                        os.unlink(target)
                    if error.errno in _NO_REFLINK:
                        return False
                    raise

        return await self._change(change)

    async def copy_range(self, source: PurePosixPath, target: PurePosixPath, *, offset: int, length: int) -> int:
        def change() -> int:
            with _opened(source, os.O_RDONLY) as fd_from, _opened(target, os.O_WRONLY) as fd_to:
                try:
                    with self._effect():
                        return os.copy_file_range(fd_from, fd_to, length, offset, offset)
                except OSError as error:
                    if error.errno not in _NO_COPY_RANGE:
                        raise
                data = os.pread(fd_from, min(length, COPY_BUFFER_BYTES), offset)
                if not data:
                    return 0
                with self._effect():
                    return os.pwrite(fd_to, data, offset)

        return await self._change(change)

    async def write_at(self, path: PurePosixPath, *, offset: int, data: bytes) -> None:
        def change() -> None:
            rest = memoryview(data)
            with _opened(path, os.O_WRONLY) as fd:
                if len(data) >= SMALLEST and offset % ALIGNED == 0:
                    rest = rest[write_pages(fd, rest, offset, self._effect) :]
                while rest:  # a full disk or a signal may cut one call short
                    with self._effect():
                        written = os.pwrite(fd, rest, offset + len(data) - len(rest))
                    rest = rest[written:]

        await self._change(change)

    async def rename(self, source: PurePosixPath, target: PurePosixPath) -> None:
        assert source.parent == target.parent, "a rename moves within one folder, so that one sync makes it durable"

        def change() -> None:
            with self._effect():
                os.rename(source, target)
            _sync(target.parent)

        await self._change(change)

    async def move(self, source: PurePosixPath, target: PurePosixPath) -> None:
        def change() -> None:
            if not (os.path.lexists(target) and not os.path.lexists(source)):
                with self._effect():
                    rename_new(source, target)
            _sync(target.parent)  # first: a power cut between the two leaves two names, never none
            _sync(source.parent)

        await self._change(change)

    async def remove(self, *paths: PurePosixPath) -> None:
        (folder,) = {path.parent for path in paths}

        def change() -> None:
            for path in paths:
                with suppress(FileNotFoundError), self._effect():
                    os.unlink(path)
            # Also when there was nothing: an earlier attempt may have removed it and died before the sync.
            with suppress(FileNotFoundError):
                _sync(folder)

        await self._change(change)

    # What only looks, or hastens what was written.

    async def list_folder(self, path: PurePosixPath) -> list[str]:
        return await self._threads.run(lambda: sorted(os.listdir(path)))

    async def size(self, path: PurePosixPath) -> int:
        def look() -> int:
            found = os.stat(path)
            if stat.S_ISDIR(found.st_mode):
                raise _error(errno.EISDIR, path)
            return found.st_size

        return await self._threads.run(look)

    async def plain_size(self, path: PurePosixPath) -> int | None:
        def look() -> int | None:
            found = os.lstat(path)
            return found.st_size if stat.S_ISREG(found.st_mode) and found.st_nlink == 1 else None

        return await self._threads.run(look)

    async def next_data(self, path: PurePosixPath, offset: int) -> tuple[int, int] | None:
        def look() -> tuple[int, int] | None:
            with _opened(path, os.O_RDONLY) as fd:
                return _next_data(fd, offset)

        return await self._threads.run(look)

    async def extents(self, path: PurePosixPath, *, offset: int, length: int) -> list[Extent] | None:
        def look() -> list[Extent] | None:
            from breezeblock.env.fiemap import extents

            with _opened(path, os.O_RDONLY) as fd:
                return extents(fd, offset, length)

        return await self._threads.run(look)

    async def read_at(self, path: PurePosixPath, *, offset: int, length: int) -> bytes:
        def look() -> bytes:
            pieces = []
            with _opened(path, os.O_RDONLY) as fd:
                at, end = offset, offset + length
                while at < end and (piece := os.pread(fd, end - at, at)):
                    pieces.append(piece)
                    at += len(piece)
            return b"".join(pieces)

        return await self._threads.run(look)

    async def sync(self, path: PurePosixPath) -> None:
        await self._threads.run(lambda: _sync(path))

    async def space(self, path: PurePosixPath) -> Space:
        def look() -> Space:
            found = os.statvfs(path)
            return Space(total_bytes=found.f_blocks * found.f_frsize, free_bytes=found.f_bavail * found.f_frsize)

        return await self._threads.run(look)

    # How a changing method runs.

    async def _change(self, change: Callable[[], T]) -> T:
        """Run `change` on a thread when the guard is open, and again as often as the guard closed on it.

        Not a busy loop: `wait_open` returns only while the lease holds, and raises Fenced when that ended for good.
        """
        while True:
            await self._guard.wait_open()
            try:
                return await self._threads.run(change)
            except _Again:
                continue

    @contextmanager
    def _effect(self) -> Iterator[None]:
        """What stands directly around one changing system call, and nothing else."""
        with self._guard.enter() as may:
            if not may:
                raise _Again
            yield

    def _grow(self, fd: int, size_bytes: int) -> None:
        """Lengthen by allocating the last byte: fallocate(2) makes a file longer or leaves its length alone.

        Not ftruncate: a call that was stopped right before it and lands a minute later, when the next owner has grown
        the file further, would cut off that owner's data. Not a written byte: landing late, it would overwrite one.
        Allocating what is allocated changes nothing, and of a hole it takes one block, so the file stays sparse.

        Not os.posix_fallocate: where the filesystem cannot, glibc imitates it by reading a byte and writing zero, which
        is the late write again. There EOPNOTSUPP stands (NFS before 4.2, some FUSE): such a filesystem has no call
        that is safe here, so it is refused, first of all by a driver's check.
        """
        if (
            os.fstat(fd).st_size >= size_bytes
        ):  # only to spare the block: the call below is safe whatever is true by then
            return
        allocate = _fallocate()
        with self._effect():
            failed = allocate(fd, 0, size_bytes - 1, 1)
        if failed:
            import ctypes

            number = ctypes.get_errno()
            if number == errno.EINTR:
                raise _Again
            raise OSError(number, os.strerror(number))


class _Again(Exception):
    """The lease ended between `wait_open` and a system call, or a signal cut one short: it changed nothing."""


class _Unguarded:
    """The guard of files that nobody guards."""

    async def wait_open(self) -> None:
        return

    def enter(self) -> AbstractContextManager[bool]:
        return nullcontext(True)

    def tokens(self) -> dict[str, tuple[int, int]]:
        return {}


@contextmanager
def _opened(
    path: PurePosixPath, flags: int, effect: Callable[[], AbstractContextManager[None]] = nullcontext
) -> Iterator[int]:
    """A file descriptor that is closed whatever happens and that no child inherits. `effect` guards an open that makes
    or empties the file."""
    fd = -1
    try:
        with effect():
            fd = os.open(path, flags | os.O_CLOEXEC, FILE_MODE)
        yield fd
    finally:
        if fd >= 0:  # also when what failed is the guard's exit, after the open
            os.close(fd)


def _sync(path: PurePosixPath) -> None:
    """fsync of a file or of a folder."""
    with _opened(path, os.O_RDONLY) as fd:
        os.fsync(fd)


def _next_data(fd: int, offset: int) -> tuple[int, int] | None:
    size_bytes = os.fstat(fd).st_size
    if offset >= size_bytes:
        return None
    try:
        start = os.lseek(fd, offset, os.SEEK_DATA)
        return start, os.lseek(fd, start, os.SEEK_HOLE)
    except OSError as error:
        if error.errno == errno.ENXIO:
            return None
        if error.errno in _NO_SEEK_DATA:
            return offset, size_bytes
        raise


def _fallocate() -> "ctypes._NamedFuncPointer":
    """fallocate(2) of the C library, called without the interpreter's lock."""
    import ctypes

    function = ctypes.CDLL(None, use_errno=True).fallocate
    function.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)  # off_t has 64 bits where we run
    return function


def _error(number: int, path: object) -> OSError:
    return OSError(number, os.strerror(number), str(path))
