"""What the tests of archives work with: a store and a book in memory, volumes with holes, and a way to open archives."""

import asyncio
import random
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

from breezeblock.backup.contract import Buffer, ObjectMissing, Stored, StoreUnavailable
from breezeblock.backup.engine import Archive, Header, Manifest, Options, Segment, Shares, Writer
from breezeblock.backup.manifest import segments_of
from breezeblock.backup.pieces import joined
from breezeblock.env.contract import Env
from breezeblock.env.real import real_env

T = TypeVar("T")

ARCHIVE: Final = "6b1d6d2e-0a3b-4f4e-9d5c-7e1f2a3b4c5d"
KEY: Final = bytes(range(32))
BLOCK: Final = 64 * 1024
GIB: Final = 1024**3
ENV: Final = real_env(max_threads=4)


def run(job: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(job)


class MemoryStore:
    """An object store in memory. It can be away for some calls, which it counts by name."""

    def __init__(self, *, max_object_bytes: int = 1024**3) -> None:
        self.objects: dict[str, bytes] = {}
        self.calls: dict[str, int] = {}
        self.most_at_once = 0
        self.away: Callable[[str, str], bool] = lambda call, key: False
        self._max_object_bytes = max_object_bytes
        self._at_once = 0

    @property
    def max_object_bytes(self) -> int:
        return self._max_object_bytes

    async def check(self, *, known: bool = False) -> None:
        self._called("check", "")

    async def put(self, key: str, parts: Sequence[Buffer]) -> None:
        self._called("put", key)
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        await asyncio.sleep(0)
        self._at_once -= 1
        data = b"".join(parts)
        assert len(data) <= self.max_object_bytes
        self.objects[key] = data

    async def get(self, key: str, *, offset: int = 0, length: int | None = None) -> bytes:
        self._called("get", key)
        data = self._object(key)
        return data[offset:] if length is None else data[offset : offset + length]

    async def size(self, key: str) -> int:
        self._called("size", key)
        return len(self._object(key))

    async def delete(self, key: str) -> None:
        self._called("delete", key)
        self.objects.pop(key, None)

    async def list(self, prefix: str) -> AsyncIterator[Stored]:
        self._called("list", prefix)
        for key in sorted(self.objects):
            if key.startswith(prefix):
                yield Stored(key, len(self.objects[key]))

    async def close(self) -> None:
        self._called("close", "")

    def packs(self) -> set[str]:
        """The ids of all packs that are there."""
        return {key.rpartition("/")[2] for key in self.objects if "/packs/" in key}

    def stored_bytes(self) -> int:
        return sum(map(len, self.objects.values()))

    def _called(self, call: str, key: str) -> None:
        self.calls[call] = self.calls.get(call, 0) + 1
        if self.away(call, key):
            raise StoreUnavailable(f"{call} {key}: the store is away")

    def _object(self, key: str) -> bytes:
        if key not in self.objects:
            raise ObjectMissing(key)
        return self.objects[key]


class ListBook:
    """The packs that may be referred to, in a list."""

    def __init__(self, live: Sequence[str] = ()) -> None:
        self.live = list(live)
        self.allotted: list[str] = []

    async def allot(self, count: int) -> Sequence[str]:
        names = [str(uuid.uuid4()) for _ in range(count)]
        self.allotted.extend(names)
        return names

    async def usable(self) -> Sequence[str]:
        return [*self.live, *self.allotted]


class Volume:
    """A volume in memory: blocks at their numbers, and holes. Notes what is read of it."""

    def __init__(self, size: int) -> None:
        self.size_bytes = size
        self.blocks: dict[int, bytes] = {}
        self.reads: list[tuple[int, int]] = []

    def write(self, offset: int, data: bytes) -> None:
        """Any bytes anywhere."""
        assert offset + len(data) <= self.size_bytes
        while data:
            number, at = divmod(offset, BLOCK)
            part = data[: BLOCK - at]
            whole = self.blocks.get(number, bytes(BLOCK))
            self.blocks[number] = whole[:at] + part + whole[at + len(part) :]
            offset, data = offset + len(part), data[len(part) :]

    async def next_data(self, offset: int) -> tuple[int, int] | None:
        number = min((one for one in self.blocks if (one + 1) * BLOCK > offset), default=None)
        if number is None:
            return None
        end = number
        while end in self.blocks:
            end += 1
        return max(offset, number * BLOCK), min(end * BLOCK, self.size_bytes)

    async def read(self, offset: int, length: int) -> bytes:
        self.reads.append((offset, length))
        return self.content(offset, min(length, self.size_bytes - offset))

    def content(self, offset: int, length: int) -> bytes:
        first, last = offset // BLOCK, (offset + length - 1) // BLOCK
        whole = b"".join(self.blocks.get(number, bytes(BLOCK)) for number in range(first, last + 1))
        return whole[offset - first * BLOCK : offset - first * BLOCK + length]

    def copy(self) -> "Volume":
        made = Volume(self.size_bytes)
        made.blocks = dict(self.blocks)
        return made

    def data(self) -> dict[int, bytes]:
        """All blocks that are not zeros, by number, as long as they are."""
        cut = {number: self.content(number * BLOCK, self._length(number)) for number in self.blocks}
        return {number: data for number, data in cut.items() if any(data)}

    def _length(self, number: int) -> int:
        return min(BLOCK, self.size_bytes - number * BLOCK)


def random_volume(size: int, *, seed: int = 1, share: float = 1.0) -> Volume:
    """A volume with random data in some of its blocks."""
    chance = random.Random(seed)
    volume = Volume(size)
    for number in range(-(-size // BLOCK)):
        if chance.random() < share:
            length = min(BLOCK, size - number * BLOCK)
            volume.write(number * BLOCK, chance.randbytes(length))
    return volume


def archive_in(
    store: Any,
    *,
    key: bytes | None = None,
    env: Env = ENV,
    cache: Path | None = None,
    pack_bytes: int = 16 * 1024**2,
    level: int = 1,
    patience_s: float = 0.0,
    shares: Shares | None = None,
) -> Archive:
    options = Options(
        shares=shares or Shares(env.clock),
        master_key=key,
        pack_bytes=pack_bytes,
        level=level,
        patience_s=patience_s,
    )
    return Archive(store=store, archive_id=ARCHIVE, env=env, options=options, cache_folder=cache)


@asynccontextmanager
async def writing(archive: Archive, book: ListBook) -> AsyncIterator[Writer]:
    await archive.open()
    async with archive.writing(book) as writer:
        yield writer


async def back_up(
    archive: Archive,
    volume: Volume,
    *,
    book: ListBook,
    backup_id: str | None = None,
    parent: Manifest | None = None,
    changed: Sequence[tuple[int, int]] | None = None,
) -> Manifest:
    """A whole backup, whose packs are live afterwards as the service makes them."""
    backup_id = backup_id or str(uuid.uuid4())
    async with writing(archive, book) as writer:
        segments: list[Segment] = []
        for number in range(segments_of(volume.size_bytes)):
            old = parent.segment(number) if parent else None
            ranges = joined(list(changed)) if changed is not None else None
            segments.append(await writer.store_segment(volume, number, parent=old, changed=ranges))
    header = Header(backup_id=backup_id, volume_id="volume-1", size_bytes=volume.size_bytes, created_us=1)
    published = await archive.put_manifest(f"{backup_id}.1.1", header, segments)
    book.live = sorted({*book.live, *published.named})
    book.allotted.clear()
    return await archive.read_manifest(f"{backup_id}.1.1")


async def read_back(archive: Archive, manifest: Manifest, *, start: int = 0) -> dict[int, bytes]:
    """All blocks that a backup gives, by number."""
    blocks = {}
    async for offset, data in archive.pieces(manifest, start=start):
        assert offset % BLOCK == 0
        for at in range(0, len(data), BLOCK):
            blocks[(offset + at) // BLOCK] = data[at : at + BLOCK]
    return blocks
