"""Objects as files in one folder: on a local filesystem, or on a shared one such as NFS.

    <path>/.breezeblock-store   marker: what this is, and the version of its layout
    <path>/~parts/<uuid>        an object that is being written, or that somebody died writing
    <path>/<key>                a whole object

An object is written as a part, synced, and renamed: a crash anywhere leaves it absent or whole. Parts are in one folder so
that those which nobody finished are found without looking through the store. Neither name can be that of a key.

**An unmounted filesystem** leaves an empty folder behind, in which every object seems deleted. So every call looks for the
marker, and only `check` may write it: into a folder that is empty, and not when something is known to be in the store.
"""

import os
import stat
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

import structlog

from breezeblock.backup.contract import Buffer, ObjectMissing, Stored, StoreRefused, StoreUnavailable
from breezeblock.backup.stores.direct import SMALLEST, write_direct
from breezeblock.backup.stores.errnos import explained
from breezeblock.backup.stores.keys import check_key, check_prefix, check_size, is_part_of_a_key
from breezeblock.env.contract import Ids, Threads

__all__ = ["MARKER", "MARKER_TEXT", "FolderStore"]

T = TypeVar("T")

log = structlog.get_logger(__name__)

MARKER: Final = ".breezeblock-store"
MARKER_TEXT: Final = "breezeblock backup store\nformat: 1\n"
PARTS: Final = "~parts"
# What a freshly made filesystem may contain: it is still empty. Parts are of another node that begins just now.
_FRESH: Final = frozenset({"lost+found", PARTS})
# Nobody writes at one object for so long. By the clock of whoever keeps the files, which may be another machine.
_FORGOTTEN_NS: Final = 24 * 3600 * 10**9
# What one call of writev takes (IOV_MAX).
_PIECES: Final = 1024
_FILE_MODE: Final = 0o600
_FOLDER_MODE: Final = 0o700
# Less than a filesystem may take, more than anybody stores.
_MAX_OBJECT_BYTES: Final = 1 << 40


class _Entry(NamedTuple):
    """In a folder: a key with its length, or how the keys of a folder in it begin."""

    key: str
    size_bytes: int | None


class FolderStore:
    """`contract.ObjectStore` says what each method promises.

    A folder that is not `ours`, such as Cinder's, has no marker, and is only read.
    """

    def __init__(self, path: Path, *, name: str, ids: Ids, threads: Threads, ours: bool = True) -> None:
        assert path.is_absolute(), f"the path of backup store {name} must be absolute: {path}"
        self._root = path
        self._name = name
        self._ours = ours
        self._ids = ids
        self._threads = threads
        self._folders: set[Path] = set()  # those known to be there

    @property
    def max_object_bytes(self) -> int:
        return _MAX_OBJECT_BYTES

    async def check(self, *, known: bool = False) -> None:
        part, probe = self._new_part(), self._new_part()

        def check() -> None:
            if not self._ours:
                self._require_marker()
                return
            if not known and self._marker() is None:
                self._initialise(part)
            self._require_marker()
            self._forget_parts(probe)

        await self._run("check", check)

    async def put(self, key: str, parts: Sequence[Buffer]) -> None:
        check_key(key)
        check_size(parts, at_most=self.max_object_bytes, store=self._name)
        part = self._new_part()

        def put() -> None:
            self._require_ours()
            self._write(part, parts, to=self._root / key)

        await self._run("put", put)

    async def get(self, key: str, *, offset: int = 0, length: int | None = None) -> bytes:
        assert offset >= 0 and (length is None or length >= 0)
        check_key(key)

        def get() -> bytes:
            with self._opened(key) as fd:
                return _read(fd, offset, length)

        return await self._run("get", get)

    async def size(self, key: str) -> int:
        check_key(key)

        def size() -> int:
            with self._opened(key) as fd:
                return os.fstat(fd).st_size

        return await self._run("size", size)

    async def delete(self, key: str) -> None:
        check_key(key)

        def delete() -> None:
            self._require_ours()
            path = self._root / key
            try:
                path.unlink(missing_ok=True)
                # Also when it was not there: an earlier attempt may have died before this.
                _sync(path.parent)
            except (FileNotFoundError, NotADirectoryError):
                return  # nor is there a folder for it

        await self._run("delete", delete)

    async def list(self, prefix: str) -> AsyncIterator[Stored]:
        """See the contract. One folder after the other is read, and held in memory while what is in it is told."""
        check_prefix(prefix)
        folder, slash, _ = prefix.rpartition("/")
        ahead = [iter(await self._run("list", partial(self._entries, folder + slash, prefix, needed=False)))]
        while ahead:
            if (entry := next(ahead[-1], None)) is None:
                ahead.pop()
            elif entry.size_bytes is not None:
                yield Stored(entry.key, entry.size_bytes)
            else:
                ahead.append(iter(await self._run("list", partial(self._entries, entry.key, prefix, needed=True))))

    async def close(self) -> None:
        """Nothing is kept open."""

    # Writing.

    def _new_part(self) -> Path:
        return self._root / PARTS / self._ids.uuid()

    def _write(self, part: Path, parts: Sequence[Buffer], *, to: Path) -> None:
        """Make `to` a file of these parts."""
        try:
            self._make_folder(part.parent)
            self._make_folder(to.parent)
            with _opened(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL) as fd, self._leaving_no_part(part):
                write = write_direct if sum(map(len, parts)) >= SMALLEST else _write_all
                write(fd, parts)
                os.fsync(fd)
                part.rename(to)
            _sync(to.parent)
        except FileNotFoundError:
            self._folders.clear()  # somebody removed one
            raise

    @contextmanager
    def _leaving_no_part(self, part: Path) -> Iterator[None]:
        """Remove it when the storage fails: a full one needs the space."""
        try:
            yield
        except OSError:
            try:
                part.unlink(missing_ok=True)
            except OSError as error:  # the first error is the one to tell; `check` will come by here
                log.warning("store.part_left", store=self._name, part=part.name, error=str(error))
            raise

    def _make_folder(self, path: Path) -> None:
        """Make it and those above it, durably; once in a process's life is enough."""
        if path in self._folders or path == self._root:
            return
        self._make_folder(path.parent)
        path.mkdir(_FOLDER_MODE, exist_ok=True)
        _sync(path.parent)  # also when it is there: whoever made it may not have come to this
        self._folders.add(path)

    def _forget_parts(self, probe: Path) -> None:
        """Remove what was begun more than a day ago. That needs a file to be written, which is what `check` wants to know."""
        self._make_folder(probe.parent)
        with _opened(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL) as fd, self._leaving_no_part(probe):
            _write_all(fd, [b"x"])  # a full filesystem may take a name and nothing else
            os.fsync(fd)
            now_ns = os.fstat(fd).st_mtime_ns  # by the clock of whoever keeps the files
        probe.unlink()
        for part in sorted(probe.parent.iterdir()):
            with suppress(FileNotFoundError):  # its writer was done meanwhile, or another node does the same
                if part.stat().st_mtime_ns < now_ns - _FORGOTTEN_NS:
                    part.unlink()

    # Looking.

    @contextmanager
    def _opened(self, key: str) -> Iterator[int]:
        try:
            fd = os.open(self._root / key, os.O_RDONLY | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            self._require_marker()
            raise ObjectMissing(key) from None
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise ObjectMissing(key)
            yield fd
        finally:
            os.close(fd)

    def _entries(self, folder: str, prefix: str, *, needed: bool) -> Sequence[_Entry]:
        """What is in a folder, which is "" or ends in a slash, and begins with the prefix, in order."""
        self._require_marker()
        try:
            with os.scandir(self._root / folder) as found:
                entries = [entry for one in found if (entry := _entry(folder, one)) is not None]
        except (FileNotFoundError, NotADirectoryError):
            if needed:  # we remove no folder: it was not a deletion that took it away
                raise
            return []
        self._require_marker()  # a filesystem that was taken away meanwhile would look as if the rest were deleted
        return sorted(entry for entry in entries if entry.key.startswith(prefix))

    # The folder and its marker.

    def _marker(self) -> str | None:
        try:
            return (self._root / MARKER).read_text(encoding="utf-8", errors="replace")
        except (FileNotFoundError, NotADirectoryError):
            return None

    def _require_ours(self) -> None:
        if not self._ours:
            raise StoreRefused(f"The folder of backup store {self._name} is somebody else's: it is only read.")
        self._require_marker()

    def _require_marker(self) -> None:
        if not self._ours:
            self._require_anything()
            return
        found = self._marker()
        if found is None:
            raise StoreUnavailable(
                f"The folder of backup store {self._name} is missing or does not carry its marker {MARKER}: "
                "its filesystem is probably not mounted."
            )
        if found != MARKER_TEXT:
            raise StoreRefused(
                f"The folder of backup store {self._name} is of another version, or belongs to something else: its marker "
                f"{MARKER} says {', '.join(found[:200].splitlines()) or 'nothing'}."
            )

    def _require_anything(self) -> None:
        """Of somebody else's folder that is all there is to see. It is looked for only where something was not there."""
        try:
            with os.scandir(self._root) as found:
                is_there = next(found, None) is not None
        except (FileNotFoundError, NotADirectoryError):
            is_there = False
        if not is_there:
            raise StoreUnavailable(
                f"The folder of backup store {self._name} is missing or empty: it is probably not mounted."
            )

    def _initialise(self, part: Path) -> None:
        try:
            self._root.mkdir(_FOLDER_MODE, exist_ok=True)
        except FileNotFoundError:
            raise StoreRefused(
                f"The folder of backup store {self._name} cannot be made: its parent is not there."
            ) from None
        _sync(self._root.parent)
        found = sorted(path.name for path in self._root.iterdir())
        if MARKER in found:
            return  # another node was faster
        if foreign := [entry for entry in found if entry not in _FRESH]:
            raise StoreRefused(
                f"The folder of backup store {self._name} is not empty and has no marker {MARKER}, so it is not ours; "
                f"it contains {', '.join(foreign[:3])}{'…' if len(foreign) > 3 else ''}."
            )
        self._write(
            part, [MARKER_TEXT.encode()], to=self._root / MARKER
        )  # over another node's, perhaps: with the same text
        log.info("store.initialised", store=self._name, path=str(self._root))

    async def _run(self, call: str, f: Callable[[], T]) -> T:
        """Run beside the event loop, and tell errors of the filesystem as the contract does."""
        try:
            return await self._threads.run(f)
        except OSError as error:
            log.warning("store.call_failed", store=self._name, call=call, error=str(error))
            raise explained(error, store=self._name) from error


@contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    fd = os.open(path, flags | os.O_CLOEXEC, _FILE_MODE)
    try:
        yield fd
    finally:
        os.close(fd)


def _sync(folder: Path) -> None:
    """Make what was named, made or removed in a folder survive a power cut."""
    with _opened(folder, os.O_RDONLY) as fd:
        os.fsync(fd)


def _write_all(fd: int, parts: Sequence[Buffer]) -> None:
    """Without joining them: an object may be a large part of the memory that a node has."""
    left = [memoryview(part) for part in parts if part]
    at = 0
    while at < len(left):
        written = os.writev(fd, left[at : at + _PIECES])
        while written:  # one call may be cut short anywhere
            if written < len(left[at]):
                left[at] = left[at][written:]
                break
            written -= len(left[at])
            at += 1


def _read(fd: int, offset: int, length: int | None) -> bytes:
    end = os.fstat(fd).st_size if length is None else offset + length
    pieces = []
    while offset < end and (piece := os.pread(fd, end - offset, offset)):
        pieces.append(piece)
        offset += len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _entry(folder: str, entry: "os.DirEntry[str]") -> _Entry | None:
    """None for what no key can name, or is gone by now."""
    if not is_part_of_a_key(entry.name):
        return None
    try:
        found = entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(found.st_mode):
        # With its slash, by which the keys in it are sorted among the others.
        return _Entry(f"{folder}{entry.name}/", None)
    return _Entry(f"{folder}{entry.name}", found.st_size) if stat.S_ISREG(found.st_mode) else None
