"""Fills packs with blocks and uploads them, several at a time."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from breezeblock.backup.contract import Book, Buffer, ObjectStore
from breezeblock.backup.known import Known
from breezeblock.backup.packs import (
    HEAD_BYTES,
    MAX_BLOCKS,
    MAX_INDEX_BYTES,
    MAX_PLAIN_BYTES,
    TAIL_BYTES,
    Entry,
    Place,
    pack_head,
    pack_index,
    pack_key,
)
from breezeblock.backup.pieces import Fresh
from breezeblock.backup.seal import TAG_BYTES, Keys
from breezeblock.backup.shares import patiently, stop
from breezeblock.env.contract import Env

__all__ = ["Names", "Packer", "Target"]

# Places in a pack have 32 bits, and a pack is in memory as a whole.
MOST_PACK_BYTES: Final = 256 * 1024**2
# Names are rows in a database: the longer a writer goes on, the more it takes at a time.
FIRST_NAMES: Final = 2
MOST_NAMES: Final = 32


@dataclass(frozen=True, slots=True)
class Target:
    """Where packs go, and how."""

    store: ObjectStore
    archive_id: str
    keys: Keys
    env: Env
    pack_bytes: int
    patience_s: float

    @property
    def room(self) -> int:
        """How many bytes of blocks a pack takes before it is closed; one more block fits always."""
        most = self.store.max_object_bytes - HEAD_BYTES - TAIL_BYTES - MAX_INDEX_BYTES - MAX_PLAIN_BYTES - TAG_BYTES
        return max(1, min(self.pack_bytes, most, MOST_PACK_BYTES))


class Names:
    """Names for new packs, taken from the book some at a time."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self._left: deque[str] = deque()
        self._next = FIRST_NAMES
        self._asking = asyncio.Lock()

    async def one(self) -> str:
        """A name that nobody else has had. Raises what the book raises."""
        async with self._asking:
            if not self._left:
                self._left.extend(await self._book.allot(self._next))
                self._next = min(MOST_NAMES, self._next * 2)
            return self._left.popleft()


@dataclass(slots=True)
class _Pack:
    name: str
    end: int = HEAD_BYTES
    entries: list[Entry] = field(default_factory=list)
    data: list[Buffer] = field(default_factory=list)


class Packer:
    """The packs of one segment. What was placed is in the store when `flush` has returned."""

    def __init__(self, target: Target, names: Names, known: Known, *, uploads: Callable[[], int]) -> None:
        self._target = target
        self._names = names
        self._known = known
        self._uploads = uploads
        self._room = target.room
        self._sealing = TAG_BYTES if target.keys.encrypted else 0
        self._open: _Pack | None = None
        self._under_way: list[asyncio.Task[None]] = []
        self._stored: list[tuple[str, list[Entry]]] = []
        self.uploaded_bytes = 0

    async def place(self, blocks: Sequence[Fresh]) -> dict[bytes, Place]:
        """Put blocks into packs, in order, and tell where they are. Waits when enough is on its way."""
        places: dict[bytes, Place] = {}
        left = iter(blocks)
        while len(places) < len(blocks):
            if self._open is None:
                self._open = _Pack(await self._names.one())
            if self._fill(self._open, left, places):
                await self._close()
        return places

    def _fill(self, pack: _Pack, blocks: Iterator[Fresh], places: dict[bytes, Place]) -> bool:
        """Put in what there is; True when the pack is full, and there may be more."""
        name, end, entries, data = pack.name, pack.end, pack.entries, pack.data
        for hash_, small, plain, codec in blocks:
            stored = len(small) + self._sealing
            entries.append(Entry(hash_, end, stored, plain, codec))
            data.append(small)
            places[hash_] = Place(name, end, stored, plain, codec)
            end += stored
            if end >= self._room or len(entries) >= MAX_BLOCKS:
                break
        pack.end = end
        return end >= self._room or len(entries) >= MAX_BLOCKS

    async def flush(self) -> None:
        """Return when everything is in the store, and known."""
        await self._close()
        await self._wait_below(1)
        # All at once: each commit of the cache writes nearly a page for each block, until the same pages take many blocks.
        stored, self._stored = self._stored, []
        await self._target.env.threads.run(lambda: self._known.add(stored))

    async def stop(self) -> None:
        """End what is under way: its blocks are given up."""
        await stop(self._under_way)

    async def _close(self) -> None:
        if self._open is not None:
            pack, self._open = self._open, None
            await self._wait_below(self._uploads())
            self._under_way.append(asyncio.create_task(self._upload(pack)))

    async def _wait_below(self, most: int) -> None:
        """Wait until fewer than `most` are on their way. Raises the first error of those that ended."""
        while len(self._under_way) >= most:
            await asyncio.wait(self._under_way, return_when=asyncio.FIRST_COMPLETED)
            for task in [task for task in self._under_way if task.done()]:
                self._under_way.remove(task)
                task.result()

    async def _upload(self, pack: _Pack) -> None:
        target = self._target
        parts = await target.env.threads.run(lambda: _sealed(pack, target.keys))
        key = pack_key(target.archive_id, pack.name)
        put: Callable[[], Awaitable[None]] = lambda: target.store.put(key, parts)  # noqa: E731 - to be asked again
        await patiently(target.env, put, patience_s=target.patience_s)
        self.uploaded_bytes += sum(map(len, parts))
        self._stored.append((pack.name, pack.entries))


def _sealed(pack: _Pack, keys: Keys) -> list[Buffer]:
    """The pack as it is stored. Takes the blocks out of memory as it goes."""
    parts: list[Buffer] = [pack_head(pack.name)]
    if keys.encrypted:
        sealer = keys.sealer(pack.name)
        for number, entry in enumerate(pack.entries):
            parts.append(sealer.seal(pack.data[number], entry.offset))
            pack.data[number] = b""
    else:
        parts.extend(pack.data)
    pack.data.clear()
    parts.append(pack_index(pack.name, pack.entries, keys))
    return parts
