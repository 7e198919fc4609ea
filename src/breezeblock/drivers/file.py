"""Volumes as sparse raw files in one folder.

    <path>/.breezeblock-backend        marker: the layout's version and the backend's name
    <path>/.breezeblock-backend.*.part one that a node is making, or died making; nobody else writes to it
    <path>/<ab>/<ObjectName>           a whole object; `ab` are the first two letters of its resource id
    <path>/<ab>/<ObjectName>.part      one that is being made
    <path>/unmanaged/<name>            a file that could become an object, or was one (`adopting.py`)

An object is made under its `.part` name, synced, and renamed: a crash anywhere leaves it absent or whole.

**An unmounted filesystem** leaves an empty folder behind, in which every volume seems deleted. So every call looks for
the marker first, and only `check` may write it: never after it was once seen, never beside files, and not at all with
`may_initialise=False`, which is for whoever knows from the database that this backend was in use before. What remains:
a first check of a backend that nobody has used yet takes the empty mount point for the backend. Its space is then
reported wrongly, and mounting the filesystem afterwards stops the backend with a clear message (a marker is missing).
"""

import copy
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import PurePosixPath
from typing import Final

import structlog

from breezeblock.drivers.adopting import Adopting
from breezeblock.drivers.contract import Capabilities, Driver, FenceScope, ObjectName, Pieces, PoolReport, Progress
from breezeblock.drivers.extents import differing
from breezeblock.drivers.file_access import ACCESSES, FileAccess
from breezeblock.drivers.file_names import MARKER, PART, UNMANAGED, is_fan_out, is_marker_part, may_be_there, name_of
from breezeblock.drivers.pace import BLOCK_BYTES, Pace
from breezeblock.drivers.sentences import SENTENCES
from breezeblock.env.contract import Clock, Files, Guard, Ids
from breezeblock.model.errors import BackendFailed
from breezeblock.model.ids import is_canonical_uuid

__all__ = ["MARKER", "PART", "FileDriver"]

log = structlog.get_logger(__name__)

FORMAT_VERSION: Final = 1

# One storage call copies no more, so that the guard is asked often and a call ends soon after the guard closed.
PIECE_BYTES: Final = 8 << 20
# How much copying a crash may cost: whichever comes first.
SAVE_EVERY_BYTES: Final = 64 << 20
SAVE_EVERY_S: Final = 1.0
# A dirty page of a lost machine reaches a shared filesystem within the kernel's 30 s of write-back age, or not for
# longer than its client retries; twice that, for backends that have no fence at all.
SHARED_SETTLE_S: Final = 60.0


class FileDriver(FileAccess, Adopting):
    """`contract.py` says what each method promises.

    `copy_rate_limit_bytes_per_s` (0: none) is for all copies of this backend in this process together.
    `trusted_shared` says that the folder is shared between machines and that nodes are trusted to fence themselves.
    `track_changes`: whether what backups are read from may be kept, where files can share their data.
    """

    def __init__(
        self,
        files: Files,
        *,
        name: str,
        path: PurePosixPath,
        clock: Clock,
        ids: Ids,
        copy_rate_limit_bytes_per_s: int = 0,
        trusted_shared: bool = False,
        may_initialise: bool = True,
        track_changes: bool = True,
        extra: Mapping[str, str] | None = None,
    ) -> None:
        assert path.is_absolute(), f"the path of backend {name} must be absolute: {path}"
        self._files = files
        self._name = name
        self._root = path
        self._clock = clock
        self._ids = ids
        self._pace = Pace(clock, copy_rate_limit_bytes_per_s)
        self._may_initialise = may_initialise
        self._track_changes = track_changes
        self._folders: set[PurePosixPath] = set()  # those known to be there; shared by all that `bind` makes
        self._capabilities = Capabilities(
            fence=FenceScope.NONE if trusted_shared else FenceScope.SAME_MACHINE,
            settle_s=SHARED_SETTLE_S if trusted_shared else 0.0,
            online_extend=True,
            multiattach=True,
            storage_protocol="file",
            extra=dict(extra or {}),
        )

    @property
    def capabilities(self) -> Capabilities:
        return self._capabilities

    def bind(self, guard: Guard) -> Driver:
        bound = copy.copy(self)
        bound._files = self._files.guarded(guard)
        return bound

    # The backend as a whole.

    def identity(self) -> Mapping[str, str]:
        """Nothing: a filesystem knows no clients."""
        return {}

    async def fence(self, identity: Mapping[str, str]) -> None:
        raise BackendFailed(f"Backend {self._name} cannot fence: a filesystem refuses nobody.")

    async def check(self, *, known: bool) -> None:
        """Make sure that the folder is this backend's. Makes and marks it on first use, and never again."""
        async with self._explained("check"):
            if await self._marker() is None:
                await self._initialise(known=known)
            await self._require_marker()
            self._may_initialise = False

    async def take_name(self, before: str) -> None:
        """See the contract. The marker is replaced by one rename."""
        async with self._explained("take_name"):
            if await self._marker() == self._marker_text(before):
                await self._write_marker()
            await self._require_marker()

    async def report(self) -> tuple[PoolReport, ...]:
        async with self._call("report"):
            space = await self._files.space(self._root)
        capabilities = {"storage_protocol": "file", "vendor_name": self._capabilities.vendor_name}
        return (
            PoolReport(
                name=self._name,
                total_bytes=space.total_bytes,
                free_bytes=space.free_bytes,
                capabilities=capabilities | self._capabilities.extra,
            ),
        )

    # Objects.

    async def create(self, name: ObjectName, *, size_bytes: int) -> None:
        assert size_bytes >= 0
        async with self._explained("create"):
            await self._make_folder(name.resource_id)
            async with self._leaving_nothing_half_made(name):
                # A part that is there is begun anew: a volume must read as zeros, whoever left something in it.
                await self._files.make_whole(self._part(name), self._whole(name), size_bytes=size_bytes)

    async def copy(self, source: ObjectName, target: ObjectName, *, size_bytes: int, progress: Progress) -> None:
        """See the contract. Shares the blocks where the filesystem can, else copies the data and leaves out the holes.

        Progress covers the `.part` file of this target: without that file, or with a shorter one, it is worth nothing.
        """
        assert source != target
        async with self._call("copy"):
            if await self._done_before(target):
                return
            source_bytes = await self._size(self._whole(source))
            if source_bytes is None:
                raise BackendFailed(f"The source of the copy is not on backend {self._name}.")
            await self._make_folder(target.resource_id)
            async with self._leaving_nothing_half_made(target):
                start = await self._usable_progress(target, progress)
                if start > 0 or not await self._share(source, target):
                    await self._copy_data(source, target, start=start, progress=progress)
                await self._files.grow(self._part(target), size_bytes=max(size_bytes, source_bytes))
                await self._publish(target)

    async def read(self, name: ObjectName, *, offset: int, length: int) -> bytes:
        async with self._explained("read"):
            return await self._files.read_at(self._whole(name), offset=offset, length=length)

    async def next_data(self, name: ObjectName, offset: int) -> tuple[int, int] | None:
        async with self._explained("next_data"):
            return await self._files.next_data(self._whole(name), offset)

    async def keep(self, source: ObjectName, target: ObjectName) -> bool:
        """See the contract. It shares all data, and is worth keeping only where the filesystem tells where data lies."""
        if not self._track_changes:
            return False
        async with self._call("keep"):
            if await self._done_before(target):
                return True
            await self._make_folder(target.resource_id)
            async with self._leaving_nothing_half_made(target):
                part = self._part(target)
                if not await self._share(source, target):
                    return False
                if await self._files.extents(part, offset=0, length=BLOCK_BYTES) is None:
                    await self._files.remove(part)
                    return False
                await self._files.sync(part)
                await self._publish(target)
            return True

    async def changes(
        self, name: ObjectName, *, since: ObjectName, offset: int, length: int
    ) -> Sequence[tuple[int, int]] | None:
        """See the contract. The same place in both is the same data: what files share is never written in place."""
        if not self._track_changes:
            return None
        async with self._call("changes"):
            # In this order: what is written and has no place yet gets one now, while the places of the other are taken.
            now = await self._files.extents(self._whole(name), offset=offset, length=length)
            try:
                old = await self._files.extents(self._whole(since), offset=offset, length=length)
            except FileNotFoundError:
                return None
            if old is None or now is None:
                return None
            return differing(old, now, start=offset, end=offset + length)

    async def fill(self, target: ObjectName, *, size_bytes: int, pieces: Pieces, progress: Progress) -> None:
        """See the contract. Progress covers the `.part` file, as that of a copy."""
        async with self._call("fill"):
            if await self._done_before(target):
                return
            await self._make_folder(target.resource_id)
            async with self._leaving_nothing_half_made(target):
                start = await self._usable_progress(target, progress)
                await self._write_pieces(target, pieces, start=start, progress=progress)
                await self._files.grow(self._part(target), size_bytes=size_bytes)
                await self._publish(target)

    async def extend(self, name: ObjectName, *, size_bytes: int) -> None:
        async with self._call("extend"):
            if await self._size(self._whole(name)) is None:
                raise BackendFailed(f"The volume is not on backend {self._name}.")
            await self._files.grow(self._whole(name), size_bytes=size_bytes)  # also syncs what a repeat finds done

    async def delete(self, name: ObjectName) -> None:
        async with self._call("delete"):
            await self._files.remove(self._whole(name), self._part(name))

    async def exists(self, name: ObjectName) -> bool:
        async with self._call("exists"):
            return await self._size(self._whole(name)) is not None

    async def length_of(self, name: ObjectName) -> int | None:
        async with self._call("length_of"):
            return await self._size(self._whole(name))

    async def names_of(self, resource_id: str) -> tuple[ObjectName, ...]:
        async with self._call("names_of"):
            folder = self._folder(resource_id)
            return tuple(sorted(name for name in await self._names_in(folder) if name.resource_id == resource_id))

    async def every_name(self) -> tuple[ObjectName, ...]:
        """All objects. What is not ours is left alone and logged: it takes space, and an operator should know."""
        async with self._call("every_name"):
            found: set[ObjectName] = set()
            for entry in await self._files.list_folder(self._root):
                if is_fan_out(entry):
                    found |= await self._names_in(self._root / entry)
                elif entry not in (MARKER, ACCESSES, UNMANAGED):
                    self._log_foreign([self._root / entry])
            return tuple(sorted(found))

    # Replication: none.

    def on(self, target: str) -> Driver:
        if target == "default":
            return self
        raise BackendFailed(f"Backend {self._name} has no replication target {target}: a folder is not replicated.")

    async def failover(self, target: str) -> None:
        self.on(target)

    # Paths. Nothing but checked ids and numbers ever becomes part of one.

    def _folder(self, resource_id: str) -> PurePosixPath:
        assert is_canonical_uuid(resource_id), f"not an id: {resource_id!r}"
        return self._root / resource_id[:2]

    def _whole(self, name: ObjectName) -> PurePosixPath:
        assert name.seq >= 0 and name.epoch >= 0, f"not a token: {name}"
        return self._folder(name.resource_id) / str(name)

    def _part(self, name: ObjectName) -> PurePosixPath:
        whole = self._whole(name)
        return whole.with_name(whole.name + PART)

    # Making an object.

    async def _done_before(self, name: ObjectName) -> bool:
        """Whether the whole object is there already; then what an earlier attempt did is made durable here."""
        if await self._size(self._whole(name)) is None:
            return False
        await self._files.sync(self._folder(name.resource_id))  # it may have died between the rename and its sync
        return True

    async def _publish(self, name: ObjectName) -> None:
        """Give a finished part its real name: the moment from which the object exists. `grow` has synced it."""
        await self._files.rename(self._part(name), self._whole(name))

    async def _make_folder(self, resource_id: str) -> None:
        """Make the folder that an object belongs into, on a backend that is there; once in a process's life is enough.

        A folder that was made and then is gone tells as much as a missing marker: then the next call fails.
        """
        folder = self._folder(resource_id)
        if folder not in self._folders:
            await self._require_marker()
            await self._files.make_folder(folder)
            self._folders.add(folder)

    async def _drop_part(self, name: ObjectName) -> None:
        if await self._size(self._part(name)) is not None:
            await self._files.remove(self._part(name))

    @asynccontextmanager
    async def _leaving_nothing_half_made(self, name: ObjectName) -> AsyncIterator[None]:
        """Remove the part when the storage fails: a full one needs the space.

        Not when we lose the operation, are cancelled or die: who goes on then may resume, and who gives up deletes.
        """
        try:
            yield
        except (OSError, BackendFailed):
            try:
                await self._files.remove(self._part(name))
            except OSError as error:  # the first error is the one to tell; a delete will come by here again
                log.warning("backend.part_left", backend=self._name, object=str(name), error=str(error))
            raise

    # Copying.

    async def _usable_progress(self, target: ObjectName, progress: Progress) -> int:
        """Where to start. From 0, there is no part, and progress says so."""
        there = await self._size(self._part(target))
        if there is not None and there >= progress.done_bytes > 0:
            return progress.done_bytes
        if progress.done_bytes > 0:
            # Before any byte: else a crash while we start over would leave a part that looks as if the old number
            # covered it.
            await progress.save(0)
        await self._drop_part(target)
        return 0

    async def _share(self, source: ObjectName, target: ObjectName) -> bool:
        return await self._files.reflink(self._whole(source), self._part(target))

    async def _copy_data(self, source: ObjectName, target: ObjectName, *, start: int, progress: Progress) -> None:
        """Copy every run of data from `start`. The part ends where the last run did; holes are never written."""
        part = self._part(target)
        await self._files.create(part, size_bytes=0)
        saved, saved_at, offset = start, self._clock.boottime(), start
        while (run := await self._files.next_data(self._whole(source), offset)) is not None:
            offset, end = run
            while offset < end:
                offset += await self._copy_piece(source, part, offset=offset, end=end)
                now = self._clock.boottime()
                if offset - saved >= SAVE_EVERY_BYTES or now - saved_at >= SAVE_EVERY_S:
                    await self._files.sync(part)  # before the save: what it covers is never copied again
                    await progress.save(offset)
                    saved, saved_at = offset, now

    async def _copy_piece(self, source: ObjectName, part: PurePosixPath, *, offset: int, end: int) -> int:
        length = self._pace.piece(min(PIECE_BYTES, end - offset))
        await self._pace.wait_for(length)
        copied = await self._files.copy_range(self._whole(source), part, offset=offset, length=length)
        if copied == 0:  # going on would ask for the same bytes for ever
            raise BackendFailed(f"Backend {self._name} returned no data in the middle of a volume.")
        return copied

    async def _write_pieces(self, target: ObjectName, pieces: Pieces, *, start: int, progress: Progress) -> None:
        """Write every piece from `start`. The part ends where the last one did; what is left out is never written."""
        part = self._part(target)
        await self._files.create(part, size_bytes=0)
        saved, saved_at = start, self._clock.boottime()
        async with aclosing(pieces(start)) as coming:
            async for offset, data in coming:
                assert offset >= start, "pieces come in order"
                await self._pace.wait_for(len(data))
                await self._files.write_at(part, offset=offset, data=data)
                start = offset + len(data)
                now = self._clock.boottime()
                if start - saved >= SAVE_EVERY_BYTES or now - saved_at >= SAVE_EVERY_S:
                    await self._files.sync(part)  # before the save: what it covers is never written again
                    await progress.save(start)
                    saved, saved_at = start, now

    # The folder and its marker.

    async def _marker(self) -> bytes | None:
        try:
            return await self._files.read_at(self._root / MARKER, offset=0, length=4096)
        except FileNotFoundError:
            return None

    def _marker_text(self, name: str = "") -> bytes:
        return f"breezeblock file backend\nformat: {FORMAT_VERSION}\nname: {name or self._name}\n".encode()

    async def _require_marker(self) -> None:
        found = await self._marker()
        if found is None:
            raise BackendFailed(
                f"The folder of backend {self._name} is missing or does not carry its marker {MARKER}: "
                "its filesystem is probably not mounted."
            )
        if found != self._marker_text():
            says = found.decode(errors="replace").splitlines()
            raise BackendFailed(
                f"The folder of backend {self._name} belongs to something else: its marker {MARKER} says "
                f"{', '.join(says[1:]) or 'nothing'}; expected format: {FORMAT_VERSION}, name: {self._name}."
            )

    async def _initialise(self, *, known: bool) -> None:
        if known or not self._may_initialise:
            return  # the caller finds the marker missing, and says so
        await self._files.make_folder(self._root)
        found = await self._files.list_folder(self._root)
        if MARKER in found:
            return  # another node was faster, and perhaps works already
        if foreign := [entry for entry in found if not may_be_there(entry)]:
            raise BackendFailed(
                f"The folder of backend {self._name} is not empty and has no marker {MARKER}, so it is not ours; "
                f"it contains {', '.join(foreign[:3])}{'…' if len(foreign) > 3 else ''}."
            )
        if await self._write_marker():
            log.info("backend.initialised", backend=self._name, path=str(self._root))

    async def _write_marker(self) -> bool:
        """Whether it was this node that wrote it."""
        # A part of its own for each attempt: of one that two nodes share, the second one's beginning is renamed by the first.
        part = self._root / f"{MARKER}.{self._ids.uuid()}{PART}"
        text = self._marker_text()
        try:
            await self._files.create(part, size_bytes=len(text))  # also finds out whether the filesystem can allocate
            await self._files.write_at(part, offset=0, data=text)
            await self._files.sync(part)
            await self._files.rename(part, self._root / MARKER)  # over another node's, perhaps: with the same text
        except FileNotFoundError:
            return False  # another node was faster, and has swept up
        for entry in await self._files.list_folder(self._root):
            if is_marker_part(entry):
                await self._files.remove(self._root / entry)
        return True

    # Looking.

    async def _size(self, path: PurePosixPath) -> int | None:
        try:
            return await self._files.size(path)
        except FileNotFoundError:
            return None

    async def _names_in(self, folder: PurePosixPath) -> set[ObjectName]:
        try:
            entries = await self._files.list_folder(folder)
        except FileNotFoundError:
            return set()
        names = {entry: name_of(entry, folder.name) for entry in entries}
        self._log_foreign(folder / entry for entry, name in names.items() if name is None)
        return {name for name in names.values() if name is not None}

    def _log_foreign(self, paths: Iterable[PurePosixPath]) -> None:
        for path in paths:
            if not may_be_there(path.name):
                log.warning("backend.foreign_file", backend=self._name, path=str(path))

    # Errors.

    @asynccontextmanager
    async def _call(self, call: str) -> AsyncIterator[None]:
        """One call on a backend that is there: on an unmounted one a delete would succeed and a copy begin."""
        async with self._explained(call):
            await self._require_marker()
            yield

    @asynccontextmanager
    async def _explained(self, call: str) -> AsyncIterator[None]:
        try:
            yield
        except OSError as error:
            log.warning("backend.call_failed", backend=self._name, call=call, error=str(error))
            says = SENTENCES.get(error.errno or 0, f"failed: {error.strerror or 'unknown error'}.")
            raise BackendFailed(f"Backend {self._name} {says}") from error
