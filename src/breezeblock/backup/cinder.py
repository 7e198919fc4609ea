"""Backups that Cinder's chunked drivers made (POSIX, NFS, and in the same form Swift and S3), read without Cinder.

A backup is a few objects whose names begin alike: its data in order, `…_metadata` that says where each belongs, and
`…_sha256file` with the hash of each block of the volume as it was then. An incremental backup has only what changed since its
parent's.

All backups of a chain are read side by side, from the beginning of the volume to its end, and where several have a byte the
newest one counts. So each byte of the volume comes once, in order, and is checked twice: by its object's MD5 and by its block's
SHA-256.
"""

import bz2
import hashlib
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Final, NamedTuple, Protocol, TypeVar

import msgspec
import zstandard

from breezeblock.backup.contract import ObjectMissing, ObjectStore
from breezeblock.env.contract import Threads
from breezeblock.model.errors import BackendFailed

__all__ = ["CinderBackup", "open_chain", "read_volume"]

T = TypeVar("T")

METADATA: Final = "_metadata"
HASHES: Final = "_sha256file"
_VERSION: Final = "1.0.0"
# Chains of operators have dozens; one without end is a circle.
_LONGEST_CHAIN: Final = 1000
# How much of an object is asked for at once: objects have up to two gigabytes.
_PIECE_BYTES: Final = 4 << 20
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


class _Hashes(msgspec.Struct, frozen=True):
    version: str
    chunk_size: int
    sha256s: list[str]


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


def read_volume(
    store: ObjectStore, chain: Sequence[CinderBackup], threads: Threads
) -> AsyncIterator[tuple[int, bytes]]:
    """The volume as it was when the first backup of the chain was made: (offset, bytes), in order, without a gap.

    Raises BackendFailed when anything is missing or damaged, which may be after most of it was given.
    """
    layers = [_read_layer(store, backup, threads) for backup in chain]
    pieces = layers[-1]
    for layer in reversed(layers[:-1]):
        pieces = _over(pieces, layer)
    return _checked(store, chain[0], pieces, threads)


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


async def _read_layer(store: ObjectStore, backup: CinderBackup, threads: Threads) -> _Pieces:
    for name, it in backup.objects:
        async with aclosing(_read_object(store, backup, name, it, threads)) as pieces:
            async for piece in pieces:
                yield piece


async def _read_object(store: ObjectStore, backup: CinderBackup, name: str, it: _Object, threads: Threads) -> _Pieces:
    """Its plain bytes in pieces of bounded size, whatever it says and contains; the last one after the whole was checked."""
    key = f"{backup.container}/{name}"
    plain = _DECOMPRESSORS[it.compression.lower()]()
    md5 = hashlib.md5(usedforsecurity=False)
    at, stored, held = it.offset, 0, None
    try:
        while data := await store.get(key, offset=stored, length=_PIECE_BYTES):
            stored += len(data)
            slices = _slices(plain, data)
            while made := await threads.run(partial(_some, slices, md5.update)):
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


def _some(slices: Iterator[bytes], seen: Callable[[bytes], None]) -> bytes:
    """The next of them, enough to be worth a thread; nothing at the end."""
    made, size = [], 0
    for one in slices:
        made.append(one)
        size += len(one)
        if size >= _PIECE_BYTES:
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


class _Blocks:
    """Compares what it sees with the hashes of a volume's blocks."""

    def __init__(self, hashes: _Hashes, backup_id: str) -> None:
        self._hashes = hashes
        self._backup_id = backup_id
        self._number = 0
        self._filled = 0
        self._block = hashlib.sha256()

    def see(self, data: bytes) -> None:
        """The next bytes. Raises BackendFailed at the end of a block that is another."""
        view = memoryview(data)
        while view:
            taken = view[: self._hashes.chunk_size - self._filled]
            self._block.update(taken)
            self._filled += len(taken)
            if self._filled == self._hashes.chunk_size:
                self._end_block()
            view = view[len(taken) :]

    def finish(self) -> None:
        """There are no more bytes: the last block may be a short one. Raises BackendFailed."""
        if self._filled:
            self._end_block()
        if self._number != len(self._hashes.sha256s):
            raise _damaged(self._backup_id, f"its last blocks are missing, from the {self._number + 1}th on")

    def _end_block(self) -> None:
        if self._block.hexdigest() != self._hashes.sha256s[self._number]:
            where = self._number * self._hashes.chunk_size
            raise _damaged(self._backup_id, f"the volume's bytes from {where} on are not those that were backed up")
        self._number += 1
        self._filled = 0
        self._block = hashlib.sha256()


async def _checked(
    store: ObjectStore, backup: CinderBackup, pieces: _Pieces, threads: Threads
) -> AsyncIterator[tuple[int, bytes]]:
    """The pieces, of which each block has the hash that it had when it was read from the volume."""
    key = f"{backup.container}/{backup.prefix}{HASHES}"
    hashes = await _read_json(store, key, _Hashes, backup.backup_id)
    if hashes.version != _VERSION or hashes.chunk_size <= 0:
        raise _damaged(backup.backup_id, "its hashes are of another version, or of blocks without a length")
    blocks, end, limit = _Blocks(hashes, backup.backup_id), 0, hashes.chunk_size * len(hashes.sha256s)
    async with aclosing(pieces):
        async for piece in pieces:
            if end == limit:
                break  # the volume was larger when an earlier backup was made
            if piece.offset != end:
                raise _damaged(backup.backup_id, f"nothing has its bytes from {end} on")
            data = piece.data[: limit - end]
            await threads.run(partial(blocks.see, data))
            yield end, data
            end += len(data)
    blocks.finish()


def _damaged(which: str, why: str) -> BackendFailed:
    return BackendFailed(f"Cinder's backup {which[:255]} cannot be restored: {why}.")
