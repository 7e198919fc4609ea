"""A disk in memory: the second real implementation of `Files`.

It has no clock, no threads and no chance in it. What happens between its effects is up to the hooks: they may park a
call or make it fail, as often as a simulation wants.

Files are 4 KiB blocks by number; a block that is not there is a hole. Blocks are immutable, so copying one means naming
it twice, and a copy of a sparse GiB costs next to nothing. `lose_power` takes away what was not synced.
"""

import errno
import functools
import os
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, TypeVar

from breezeblock.env.contract import Extent, Files, Guard, Space

__all__ = ["Before", "Effect", "MemoryFiles"]

T = TypeVar("T")

Tokens = dict[str, tuple[int, int]]
# (call, path, mutating): awaited at the begin of each call, and of each effect of a changing one. May park; may raise.
Before = Callable[[str, PurePosixPath, bool], Awaitable[None]]
# What a call does to the disk: all of it (1.0), or only that share if it can be done partly. Copies, writes and growth can.
Change = Callable[[float], T]
# (call, effect, path): carries an effect to the storage, now or later, all or a share of it, and brings back what it returned
# or raised.
Ship = Callable[[str, Change[Any], PurePosixPath], Awaitable[Any]]
# (call, path, tokens of the guard): told in the moment in which an effect lands.
Effect = Callable[[str, PurePosixPath, Tokens], None]

BLOCK = 4096
EMPTY = bytes(BLOCK)


@dataclass(slots=True)
class _File:
    """What a file is now, and what of it would survive a power cut."""

    size: int = 0
    blocks: dict[int, bytes] = field(default_factory=dict)
    shared: set[int] = field(default_factory=set)  # blocks that a reflink shares: they take no space of their own
    durable: tuple[int, dict[int, bytes], set[int]] = (0, {}, set())

    def sync(self) -> None:
        self.durable = (self.size, dict(self.blocks), set(self.shared))

    def lose_power(self) -> None:
        size, blocks, shared = self.durable
        self.size, self.blocks, self.shared = size, dict(blocks), set(shared)

    def own_blocks(self) -> int:
        return len(self.blocks) - len(self.shared)

    def read(self, offset: int, length: int) -> bytes:
        end = min(offset + length, self.size)
        if offset >= end:
            return b""
        first = offset // BLOCK
        data = b"".join(self.blocks.get(number, EMPTY) for number in range(first, _blocks(end)))
        return data[offset - first * BLOCK : end - first * BLOCK]

    def write(self, offset: int, data: bytes) -> None:
        at, end = offset, offset + len(data)
        while at < end:
            number, inside = divmod(at, BLOCK)
            piece = data[at - offset : at - offset + BLOCK - inside]
            before = self.blocks.get(number, EMPTY)
            self.blocks[number] = before[:inside] + piece + before[inside + len(piece) :]
            self.shared.discard(number)
            at += len(piece)
        self.size = max(self.size, end)

    def copy(self, source: "_File", offset: int, end: int) -> None:
        """Copy whole blocks of `source`; `end` is a block's or that of both files. Its holes make no blocks here."""
        for number in range(offset // BLOCK, _blocks(end)):
            block = source.blocks.get(number)
            if block is not None or number in self.blocks:
                self.blocks[number] = block or EMPTY
                self.shared.discard(number)
        self.size = max(self.size, end)

    def new_blocks(self, offset: int, length: int) -> int:
        """How many blocks a write there would add at most."""
        touched = range(offset // BLOCK, _blocks(offset + length))
        return sum(1 for number in touched if number not in self.blocks or number in self.shared)

    def next_data(self, offset: int) -> tuple[int, int] | None:
        first = min((number for number in self.blocks if number >= offset // BLOCK), default=None)
        if first is None or offset >= self.size:
            return None
        end = first
        while end in self.blocks:
            end += 1
        return max(offset, first * BLOCK), min(end * BLOCK, self.size)

    def extents(self, offset: int, length: int) -> list[Extent]:
        """Each block by itself. It lies where its bytes are: two files have the same ones after a reflink."""
        numbers = (number for number in sorted(self.blocks) if offset // BLOCK <= number < _blocks(offset + length))
        return [
            # Of blocks that happen to be neighbours in memory none may seem to go on in the next.
            Extent(number * BLOCK, (number + 1) * BLOCK, id(self.blocks[number]) * BLOCK * 2)
            for number in numbers
        ]


@dataclass(slots=True)
class _Folder:
    entries: "dict[str, _File | _Folder]" = field(default_factory=dict)
    durable: "dict[str, _File | _Folder]" = field(default_factory=dict)

    def sync(self) -> None:
        self.durable = dict(self.entries)

    def lose_power(self) -> None:
        self.entries = dict(self.durable)
        for node in self.entries.values():
            node.lose_power()

    def files(self) -> list[_File]:
        found: list[_File] = []
        for node in self.entries.values():
            found += [node] if isinstance(node, _File) else node.files()
        return found


class MemoryFiles:
    """`Files` without a machine. All views of one disk see the same files.

    A full disk (`capacity_bytes` of data) is ENOSPC, a read-only one EROFS at each effect. `stalled` is awaited between
    the guard's yes and the effect (its last argument: whether there was a guard): to park there is to be a process that was
    stopped right before its system call. `ship` may let an effect land later than that, and after its process has died: a
    write on its way to the storage.
    """

    def __init__(
        self,
        *,
        capacity_bytes: int = 1 << 40,
        reflink: bool = False,
        before: Before | None = None,
        stalled: Before | None = None,
        ship: Ship | None = None,
        effect: Effect | None = None,
    ) -> None:
        self._disk = _Disk(capacity_bytes=capacity_bytes, reflink=reflink)
        self._guard: Guard | None = None
        self._before = before
        self._stalled = stalled
        self._ship = ship
        self._effect = effect

    def view(
        self,
        *,
        before: Before | None = None,
        stalled: Before | None = None,
        ship: Ship | None = None,
        effect: Effect | None = None,
    ) -> "MemoryFiles":
        """The same disk as another process sees it, with hooks of its own and no guard."""
        other = MemoryFiles(before=before, stalled=stalled, ship=ship, effect=effect)
        other._disk = self._disk
        return other

    def guarded(self, guard: Guard) -> Files:
        bound = self.view(before=self._before, stalled=self._stalled, ship=self._ship, effect=self._effect)
        bound._guard = guard
        return bound

    def lose_power(self) -> None:
        """Go back to what was synced: data and length of files, entries of folders."""
        self._disk.root.lose_power()

    def set_read_only(self, read_only: bool) -> None:
        """As a filesystem does to itself after an error."""
        self._disk.read_only = read_only

    # What changes storage.

    async def make_folder(self, path: PurePosixPath) -> None:
        def change(_: float) -> None:
            if isinstance(self._disk.folder(path.parent).entries.setdefault(path.name, _Folder()), _File):
                raise _error(errno.ENOTDIR, path)

        await self._change("make_folder", path, change)
        self._disk.folder(path.parent).sync()

    async def create(self, path: PurePosixPath, *, size_bytes: int) -> None:
        def change(_: float) -> None:
            if isinstance(self._disk.folder(path.parent).entries.setdefault(path.name, _File()), _Folder):
                raise _error(errno.EISDIR, path)

        await self._change("create", path, change)
        await self._change("create", path, functools.partial(self._grow, path, size_bytes))
        self._disk.file(path).sync()
        self._disk.folder(path.parent).sync()

    async def make_whole(self, part: PurePosixPath, target: PurePosixPath, *, size_bytes: int) -> None:
        if self._disk.find(target) is None:
            if self._disk.find(part) is not None:
                await self.remove(part)
            await self.create(part, size_bytes=size_bytes)
            await self.rename(part, target)
        self._disk.folder(target.parent).sync()

    async def grow(self, path: PurePosixPath, *, size_bytes: int) -> None:
        await self._change("grow", path, functools.partial(self._grow, path, size_bytes))
        self._disk.file(path).sync()

    async def reflink(self, source: PurePosixPath, target: PurePosixPath) -> bool:
        def change(_: float) -> None:
            found = self._disk.file(source)
            self._disk.folder(target.parent).entries[target.name] = _File(
                size=found.size, blocks=dict(found.blocks), shared=set(found.blocks)
            )

        await self._before_call("reflink", source, False)
        if not self._disk.reflink:
            return False
        await self._change("reflink", target, change)
        return True

    async def copy_range(self, source: PurePosixPath, target: PurePosixPath, *, offset: int, length: int) -> int:
        def change(share: float) -> int:
            found, file = self._disk.file(source), self._disk.file(target)
            end = min(offset + length, found.size)
            if offset >= end:
                return 0
            end = offset + max(1, int((end - offset) * share))
            self._require_space(file, target, offset, end - offset)
            if offset % BLOCK == 0 and (end % BLOCK == 0 or end >= max(found.size, file.size)):
                file.copy(found, offset, end)
            else:
                file.write(offset, found.read(offset, end - offset))
            return end - offset

        return await self._change("copy_range", target, change)

    async def write_at(self, path: PurePosixPath, *, offset: int, data: bytes) -> None:
        await self._change("write_at", path, functools.partial(self._write, path, offset, data))

    async def rename(self, source: PurePosixPath, target: PurePosixPath) -> None:
        assert source.parent == target.parent

        def change(_: float) -> None:
            file = self._disk.file(source)
            entries = self._disk.folder(source.parent).entries
            del entries[source.name]
            entries[target.name] = file

        await self._change("rename", target, change)
        self._disk.folder(target.parent).sync()

    async def move(self, source: PurePosixPath, target: PurePosixPath) -> None:
        def change(_: float) -> None:
            file = self._disk.file(source)
            if self._disk.find(target) is not None:
                raise _error(errno.EEXIST, target)
            self._disk.folder(target.parent).entries[target.name] = file
            del self._disk.folder(source.parent).entries[source.name]
            self._left(source)

        if self._disk.find(target) is None or self._disk.find(source) is not None:
            await self._change("move", target, change)
        self._disk.folder(target.parent).sync()
        self._disk.folder(source.parent).sync()

    async def remove(self, *paths: PurePosixPath) -> None:
        (folder,) = {path.parent for path in paths}

        def change(path: PurePosixPath, _: float) -> None:
            if self._disk.find(path) is not None:
                self._disk.file(path)  # a folder is not removed
                del self._disk.folder(folder).entries[path.name]

        for path in paths:
            await self._change("remove", path, functools.partial(change, path))
        if self._disk.find(folder) is not None:
            self._disk.folder(folder).sync()

    # What only looks, or hastens what was written.

    async def list_folder(self, path: PurePosixPath) -> list[str]:
        await self._before_call("list_folder", path, False)
        return sorted(self._disk.folder(path).entries)

    async def size(self, path: PurePosixPath) -> int:
        await self._before_call("size", path, False)
        return self._disk.file(path).size

    async def plain_size(self, path: PurePosixPath) -> int | None:
        await self._before_call("plain_size", path, False)
        node = self._disk.node(path)
        return node.size if isinstance(node, _File) else None

    async def next_data(self, path: PurePosixPath, offset: int) -> tuple[int, int] | None:
        await self._before_call("next_data", path, False)
        return self._disk.file(path).next_data(offset)

    async def extents(self, path: PurePosixPath, *, offset: int, length: int) -> list[Extent] | None:
        await self._before_call("extents", path, False)
        return self._disk.file(path).extents(offset, length) if self._disk.reflink else None

    async def read_at(self, path: PurePosixPath, *, offset: int, length: int) -> bytes:
        await self._before_call("read_at", path, False)
        return self._disk.file(path).read(offset, length)

    async def sync(self, path: PurePosixPath) -> None:
        await self._before_call("sync", path, False)
        self._disk.node(path).sync()

    async def space(self, path: PurePosixPath) -> Space:
        await self._before_call("space", path, False)
        self._disk.node(path)
        return Space(total_bytes=self._disk.capacity_bytes, free_bytes=self._disk.free_bytes())

    def _left(self, path: PurePosixPath) -> None:
        """A file has gone from there, within the effect that has put it elsewhere: for storage that has copies of it."""

    # How a call runs.

    async def _before_call(self, call: str, path: PurePosixPath, mutating: bool) -> None:
        if self._before is not None:
            await self._before(call, path, mutating)

    async def _change(self, call: str, path: PurePosixPath, change: Change[T]) -> T:
        """One effect under the guard, as `RealFiles` has it: asked right before, and again later when it says no."""
        while True:
            if self._guard is not None:
                await self._guard.wait_open()
            await self._before_call(call, path, True)
            with self._guard.enter() if self._guard is not None else nullcontext(True) as may:
                if not may:
                    continue
                if self._stalled is not None:
                    await self._stalled(call, path, self._guard is not None)
                tokens = self._guard.tokens() if self._guard is not None else {}
                land = functools.partial(self._land, call, path, change, tokens)
                return land(1.0) if self._ship is None else await self._ship(call, land, path)

    def _land(self, call: str, path: PurePosixPath, change: Change[T], tokens: Tokens, share: float) -> T:
        if self._disk.read_only:
            raise _error(errno.EROFS, path)
        result = change(share)
        if self._effect is not None:
            self._effect(call, path, tokens)
        return result

    def _grow(self, path: PurePosixPath, size_bytes: int, share: float) -> None:
        file = self._disk.file(path)
        file.size += int(max(0, size_bytes - file.size) * share)

    def _write(self, path: PurePosixPath, offset: int, data: bytes, share: float) -> None:
        file, data = self._disk.file(path), data[: int(len(data) * share)]
        self._require_space(file, path, offset, len(data))
        file.write(offset, data)

    def _require_space(self, file: _File, path: PurePosixPath, offset: int, length: int) -> None:
        if file.new_blocks(offset, length) * BLOCK > self._disk.free_bytes():
            raise _error(errno.ENOSPC, path)


class _Disk:
    """What all views share."""

    def __init__(self, *, capacity_bytes: int, reflink: bool) -> None:
        self.capacity_bytes = capacity_bytes
        self.reflink = reflink
        self.read_only = False
        self.root = _Folder()

    def free_bytes(self) -> int:
        return self.capacity_bytes - BLOCK * sum(file.own_blocks() for file in self.root.files())

    def find(self, path: PurePosixPath) -> _File | _Folder | None:
        try:
            return self.node(path)
        except OSError:
            return None

    def node(self, path: PurePosixPath) -> _File | _Folder:
        assert path.is_absolute()
        node: _File | _Folder = self.root
        for part in path.parts[1:]:
            if isinstance(node, _File):
                raise _error(errno.ENOTDIR, path)
            if part not in node.entries:
                raise _error(errno.ENOENT, path)
            node = node.entries[part]
        return node

    def file(self, path: PurePosixPath) -> _File:
        node = self.node(path)
        if isinstance(node, _Folder):
            raise _error(errno.EISDIR, path)
        return node

    def folder(self, path: PurePosixPath) -> _Folder:
        node = self.node(path)
        if isinstance(node, _File):
            raise _error(errno.ENOTDIR, path)
        return node


def _blocks(size: int) -> int:
    return -(-size // BLOCK)


def _error(number: int, path: PurePosixPath) -> OSError:
    return OSError(number, os.strerror(number), str(path))
