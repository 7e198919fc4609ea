"""Backups that Cinder's chunked drivers made (POSIX, NFS, and in the same form Swift and S3), read without Cinder.

A backup is a few objects whose names begin alike: its data in order, `…_metadata` that says where each belongs, and
`…_sha256file` with the hash of each block of the volume as it was then. An incremental backup has only what changed since its
parent's.

All backups of a chain are read side by side, from the beginning of the volume to its end, and where several have a byte the
newest one counts. So each byte of the volume comes once, in order, and is checked twice: by its object's MD5 and by its block's
SHA-256. The hashes come in order, too, and are read as they are needed: those of a TiB are 2.4 GB of text.
"""

import bz2
import hashlib
import re
import zlib
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Final, NamedTuple, Protocol, TypeVar

import msgspec
import zstandard

from breezeblock.backup.contract import ObjectMissing, ObjectStore
from breezeblock.env.contract import Threads
from breezeblock.model.errors import BackendFailed

__all__ = ["CinderBackup", "look_through", "open_chain", "read_volume"]

T = TypeVar("T")

METADATA: Final = "_metadata"
HASHES: Final = "_sha256file"
_VERSION: Final = "1.0.0"
# Chains of operators have dozens; one without end is a circle.
_LONGEST_CHAIN: Final = 1000
# How much of an object is asked for at once: objects have up to two gigabytes. All backups of a chain share it, since they are
# read side by side.
_PIECE_BYTES: Final = 4 << 20
_LEAST_BYTES: Final = 64 << 10
# What is zeros in so many bytes is left out: Cinder keeps the holes of volumes as data.
_HOLE_BYTES: Final = 64 << 10
_ZEROS: Final = bytes(_HOLE_BYTES)
# What is around the hashes: a name, a description, two ids.
_MOST_AROUND_BYTES: Final = 1 << 20
# How much is decompressed at once. A format's most extreme input (zstd: 128 KiB from four bytes) makes 32 MiB of this.
_SLICE_BYTES: Final = 1 << 10


class _Object(msgspec.Struct, frozen=True):
    """Where the bytes of an object belong."""

    offset: int
    length: int
    compression: str
    md5: str


class _Metadata(msgspec.Struct, frozen=True):
    version: str
    backup_id: str
    volume_id: str
    objects: list[dict[str, _Object]]
    parent_id: str | None = None
    volume_meta: str | None = None


class _BlockLength(msgspec.Struct, frozen=True):
    """What is before the list of hashes."""

    chunk_size: int


class _Hashes(msgspec.Struct, frozen=True):
    """What is around it."""

    version: str


@dataclass(frozen=True, slots=True)
class CinderBackup:
    """One backup of a chain. `container` and `prefix` are what Cinder's row calls `container` and `service_metadata`."""

    container: str
    prefix: str
    backup_id: str
    volume_id: str
    parent_id: str | None
    volume_metadata: str | None
    objects: Sequence[tuple[str, _Object]]


class _Piece(NamedTuple):
    offset: int
    data: bytes

    @property
    def end(self) -> int:
        return self.offset + len(self.data)


_Pieces = AsyncGenerator[_Piece, None]


class _Decompressor(Protocol):
    def decompress(self, data: bytes, /) -> bytes: ...


class _Plain:
    """Of what was not compressed: Cinder leaves as it is what does not become smaller."""

    def decompress(self, data: bytes, /) -> bytes:
        return data


# By all names that Cinder's option takes.
_DECOMPRESSORS: Final[Mapping[str, Callable[[], _Decompressor]]] = {
    **dict.fromkeys(("none", "off", "no"), _Plain),
    **dict.fromkeys(("zlib", "gzip"), zlib.decompressobj),
    **dict.fromkeys(("bz2", "bzip2"), bz2.BZ2Decompressor),
    "zstd": lambda: zstandard.ZstdDecompressor().decompressobj(),
}


async def open_chain(store: ObjectStore, *, container: str, prefix: str) -> Sequence[CinderBackup]:
    """A backup and those that it builds on; the full one comes last. Raises BackendFailed."""
    chain = [await _open(store, container, prefix)]
    while (parent_id := chain[-1].parent_id) is not None:
        child = chain[-1]
        if len(chain) == _LONGEST_CHAIN or any(parent_id == one.backup_id for one in chain):
            raise _damaged(child.backup_id, "the backups that it builds on are a circle")
        parent = await _open(store, *await _find(store, parent_id, child))
        if (parent.backup_id, parent.volume_id) != (parent_id, child.volume_id):
            raise _damaged(child.backup_id, f"what is stored of its parent {parent_id} is of another backup or volume")
        chain.append(parent)
    return chain


async def look_through(store: ObjectStore, chain: Sequence[CinderBackup]) -> int:
    """Whether all files of a chain are there. Returns how many bytes those of its first backup have. Raises BackendFailed."""
    sizes: list[int] = []
    for backup in chain:
        there = {one.key: one.size_bytes async for one in store.list(f"{backup.container}/{backup.prefix}")}
        for name in (*(name for name, _ in backup.objects), backup.prefix + HASHES):
            if f"{backup.container}/{name}" not in there:
                raise _damaged(backup.backup_id, f"{name} is not there")
        sizes.append(sum(there.values()))
    return sizes[0]


async def read_volume(
    store: ObjectStore, chain: Sequence[CinderBackup], threads: Threads, *, start: int = 0
) -> AsyncGenerator[tuple[int, bytes], None]:
    """The volume as it was when the first backup of the chain was made, from byte `start` on: (offset, bytes), in order.

    What is not given is zeros. Raises BackendFailed when anything is missing or damaged, perhaps after most of it was given.
    """
    async with aclosing(_HashFile(store, chain[0]).read()) as hashes:
        blocks = _Blocks(hashes, chain[0].backup_id)
        await blocks.begin(start)
        piece_bytes = max(_LEAST_BYTES, _PIECE_BYTES // len(chain))
        layers = [_read_layer(store, backup, threads, blocks.at, piece_bytes) for backup in chain]
        pieces = layers[-1]
        for layer in reversed(layers[:-1]):
            pieces = _over(pieces, layer)
        async with aclosing(_checked(chain[0], pieces, blocks, threads)) as checked:
            async for piece in checked:
                for run in await threads.run(partial(_runs, piece, start)):
                    yield run


async def _open(store: ObjectStore, container: str, prefix: str) -> CinderBackup:
    found = await _read_json(store, f"{container}/{prefix}{METADATA}", _Metadata, prefix)
    if found.version != _VERSION:
        raise _damaged(found.backup_id, f"its version is {found.version[:20]!r}, and only {_VERSION} can be read")
    objects = sorted((one for each in found.objects for one in each.items()), key=lambda one: one[1].offset)
    end = 0
    for name, it in objects:
        if not name.startswith(f"{prefix}-") or it.offset < end or it.length <= 0:
            raise _damaged(found.backup_id, "its metadata names objects that cannot be its own, or that overlap")
        if it.compression.lower() not in _DECOMPRESSORS:
            raise _damaged(found.backup_id, f"nobody knows how to decompress {it.compression[:20]!r}")
        end = it.offset + it.length
    return CinderBackup(
        container=container,
        prefix=prefix,
        backup_id=found.backup_id,
        volume_id=found.volume_id,
        parent_id=found.parent_id,
        volume_metadata=found.volume_meta,
        objects=objects,
    )


async def _find(store: ObjectStore, backup_id: str, child: CinderBackup) -> tuple[str, str]:
    """Where a parent is, of which the child knows no more than the id: in a folder named after it, or where the child is."""
    ending = f"_backup_{backup_id}{METADATA}"
    for container in (f"{backup_id[:2]}/{backup_id[2:4]}/{backup_id}", child.container):
        async for found in store.list(f"{container}/"):
            if found.key.endswith(ending):
                return container, found.key.removeprefix(f"{container}/").removesuffix(METADATA)
    raise _damaged(child.backup_id, f"the backup {backup_id}, on which it builds, is not there")


async def _read_json(store: ObjectStore, key: str, kind: type[T], which: str) -> T:
    try:
        return msgspec.json.decode(await store.get(key), type=kind)
    except ObjectMissing:
        raise _damaged(which, f"{key} is not there") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:  # the second for text that is not UTF-8
        raise _damaged(which, f"{key} cannot be read") from error


# The bytes of one backup.


async def _read_layer(
    store: ObjectStore, backup: CinderBackup, threads: Threads, start: int, piece_bytes: int
) -> _Pieces:
    for name, it in backup.objects:
        if it.offset + it.length <= start:
            continue
        async with aclosing(_read_object(store, backup, name, it, threads, piece_bytes)) as pieces:
            async for piece in pieces:
                if piece.end > start:
                    before = max(0, start - piece.offset)
                    yield _Piece(piece.offset + before, piece.data[before:])


async def _read_object(
    store: ObjectStore, backup: CinderBackup, name: str, it: _Object, threads: Threads, piece_bytes: int
) -> _Pieces:
    """Its plain bytes in pieces of bounded size, whatever it says and contains; the last one after the whole was checked."""
    key = f"{backup.container}/{name}"
    plain = _DECOMPRESSORS[it.compression.lower()]()
    md5 = hashlib.md5(usedforsecurity=False)
    at, stored, held = it.offset, 0, None
    try:
        while data := await store.get(key, offset=stored, length=piece_bytes):
            stored += len(data)
            slices = _slices(plain, data)
            while made := await threads.run(partial(_some, slices, md5.update, piece_bytes)):
                if at + len(made) > it.offset + it.length:
                    raise _damaged(backup.backup_id, f"object {name} is longer than it should be")
                if held is not None:
                    yield held
                held = _Piece(at, made)
                at = held.end
    except ObjectMissing:
        raise _damaged(backup.backup_id, f"object {name} is not there") from None
    except (zlib.error, zstandard.ZstdError, OSError, EOFError) as error:
        raise _damaged(backup.backup_id, f"object {name} cannot be decompressed") from error
    if at != it.offset + it.length or md5.hexdigest() != it.md5:
        raise _damaged(backup.backup_id, f"object {name} is not what was stored: its length or its MD5 is another")
    if held is not None:
        yield held


def _slices(plain: _Decompressor, data: bytes) -> Iterator[bytes]:
    step = len(data) if isinstance(plain, _Plain) else _SLICE_BYTES
    for start in range(0, len(data), step):
        yield plain.decompress(data[start : start + step])


def _some(slices: Iterator[bytes], seen: Callable[[bytes], None], piece_bytes: int) -> bytes:
    """The next of them, enough to be worth a thread; nothing at the end."""
    made, size = [], 0
    for one in slices:
        made.append(one)
        size += len(one)
        if size >= piece_bytes:
            break
    joined = b"".join(made)
    seen(joined)
    return joined


# All of them together.


async def _over(lower: _Pieces, upper: _Pieces) -> _Pieces:
    """Both in order: where both have a byte, that of `upper`."""
    async with aclosing(lower), aclosing(upper):
        low, up = await anext(lower, None), await anext(upper, None)
        while low is not None or up is not None:
            if up is not None and (low is None or up.offset <= low.offset):
                yield up
                while low is not None and low.end <= up.end:
                    low = await anext(lower, None)
                if low is not None and low.offset < up.end:
                    low = _Piece(up.end, low.data[up.end - low.offset :])
                up = await anext(upper, None)
            elif low is not None:
                if up is None or low.end <= up.offset:
                    yield low
                    low = await anext(lower, None)
                else:
                    yield _Piece(low.offset, low.data[: up.offset - low.offset])
                    low = _Piece(up.offset, low.data[up.offset - low.offset :])


class _HashFile:
    """The hashes of a backup's blocks, read in parts: they are a list in the middle of a JSON text."""

    # In a string its quotes would have backslashes, and as a string it would be followed by no colon.
    _BEGIN: Final = re.compile(rb'"sha256s"\s*:\s*\[')
    _HASH: Final = re.compile(rb'\s*"([0-9a-f]{64})"\s*(?:,|(?=\]))')

    def __init__(self, store: ObjectStore, backup: CinderBackup) -> None:
        self._store = store
        self._backup_id = backup.backup_id
        self._key = f"{backup.container}/{backup.prefix}{HASHES}"
        self._at = 0
        self._text = b""

    async def read(self) -> AsyncGenerator[tuple[int, list[bytes]], None]:
        """The length of the blocks, and the next hashes, some of them at a time. Raises BackendFailed, also behind the last."""
        while (begin := self._BEGIN.search(self._text)) is None:
            await self._more()
        head, self._text = self._text[: begin.end()], self._text[begin.end() :]
        length = self._decoded(head + b"]}", _BlockLength).chunk_size
        if length <= 0:
            raise _damaged(self._backup_id, "its hashes are of blocks without a length")
        while not self._text.lstrip().startswith(b"]"):
            if found := self._take():
                yield length, found
            else:
                await self._more()
        while await self._more(needed=False):
            pass
        if self._decoded(head + self._text, _Hashes).version != _VERSION:
            raise _damaged(self._backup_id, f"its hashes are of another version than {_VERSION}")

    def _take(self) -> list[bytes]:
        found, at = [], 0
        while (one := self._HASH.match(self._text, at)) is not None:
            found.append(one[1])
            at = one.end()
        self._text = self._text[at:]
        return found

    async def _more(self, *, needed: bool = True) -> bool:
        """Read on. What is not taken by now is no list of hashes."""
        try:
            data = await self._store.get(self._key, offset=self._at, length=_PIECE_BYTES)
        except ObjectMissing:
            raise _damaged(self._backup_id, f"{self._key} is not there") from None
        if (needed and not data) or len(self._text) > _MOST_AROUND_BYTES:
            raise _damaged(self._backup_id, f"{self._key} cannot be read")
        self._at += len(data)
        self._text += data
        return bool(data)

    def _decoded(self, text: bytes, kind: type[T]) -> T:
        try:
            return msgspec.json.decode(text, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise _damaged(self._backup_id, f"{self._key} cannot be read") from error


class _Blocks:
    """Compares what it sees with the hashes of a volume's blocks. `at` is the offset of what it is to see next."""

    def __init__(self, hashes: AsyncGenerator[tuple[int, list[bytes]], None], backup_id: str) -> None:
        self._hashes = hashes
        self._backup_id = backup_id
        self._length = 0
        self._ahead: deque[bytes] = deque()
        self._filled = 0
        self._block = hashlib.sha256()
        self.at = 0

    async def begin(self, start: int) -> None:
        """At the block with that byte, or behind the last one. Raises BackendFailed."""
        while await self._more() and self.at < start:
            skipped = min(len(self._ahead), (start - self.at) // self._length)
            for _ in range(skipped):
                self._ahead.popleft()
            self.at += skipped * self._length
            if self._ahead:
                return

    async def cut(self, data: bytes) -> bytes:
        """As much of it as there are blocks for; the rest was behind the volume's end. Raises BackendFailed."""
        while (room := len(self._ahead) * self._length - self._filled) < len(data):
            if not await self._more():
                return data[:room]
        return data

    def see(self, data: bytes) -> None:
        """The next bytes. Raises BackendFailed at the end of a block that is another."""
        view = memoryview(data)
        while view:
            taken = view[: self._length - self._filled]
            self._block.update(taken)
            self._filled += len(taken)
            self.at += len(taken)
            if self._filled == self._length:
                self._end_block()
            view = view[len(taken) :]

    async def finish(self) -> None:
        """There are no more bytes: the last block may be a short one. Raises BackendFailed."""
        if self._filled:
            self._end_block()
        while not self._ahead and await self._more():
            pass
        if self._ahead:
            raise _damaged(self._backup_id, f"its last blocks are missing, from byte {self.at} on")

    async def _more(self) -> bool:
        """Whether there are any more hashes."""
        found = await anext(self._hashes, None)
        if found is not None:
            self._length = found[0]
            self._ahead.extend(found[1])
        return found is not None

    def _end_block(self) -> None:
        if self._block.hexdigest().encode() != self._ahead.popleft():
            where = self.at - self._filled
            raise _damaged(self._backup_id, f"the volume's bytes from {where} on are not those that were backed up")
        self._filled = 0
        self._block = hashlib.sha256()


async def _checked(backup: CinderBackup, pieces: _Pieces, blocks: _Blocks, threads: Threads) -> _Pieces:
    """The pieces, of which each block has the hash that it had when it was read from the volume."""
    async with aclosing(pieces):
        async for piece in pieces:
            data = await blocks.cut(piece.data)
            if not data:
                break  # the volume was larger when an earlier backup was made
            if piece.offset != blocks.at:
                raise _damaged(backup.backup_id, f"nothing has its bytes from {blocks.at} on")
            await threads.run(partial(blocks.see, data))
            yield _Piece(piece.offset, data)
    await blocks.finish()


def _runs(piece: _Piece, start: int) -> list[tuple[int, bytes]]:
    """What of a piece is behind `start` and is not zeros."""
    before = max(0, start - piece.offset)
    data = piece.data[before:]
    found: list[tuple[int, bytes]] = []
    begin = 0
    for at in range(0, len(data), _HOLE_BYTES):
        end = min(at + _HOLE_BYTES, len(data))
        if data.startswith(_ZEROS[: end - at], at):
            if begin < at:
                found.append((piece.offset + before + begin, data[begin:at]))
            begin = end
    if begin < len(data):
        found.append((piece.offset + before + begin, data[begin:]))
    return found


def _damaged(which: str, why: str) -> BackendFailed:
    return BackendFailed(f"Cinder's backup {which[:255]} cannot be restored: {why}.")
