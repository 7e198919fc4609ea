"""Reading a backup: maps, then blocks in the order of the volume, fetched ahead in parallel, each checked by its hash."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from itertools import groupby
from typing import Final, NamedTuple

from breezeblock.backup.contract import ObjectMissing, ObjectStore
from breezeblock.backup.damage import MISSING, Damaged
from breezeblock.backup.manifest import Manifest, Segment
from breezeblock.backup.maps import Block, SegmentMap, block_bytes, parse_map
from breezeblock.backup.packs import (
    BLOCK_BYTES,
    SEGMENT_BYTES,
    Entry,
    Place,
    index_span,
    pack_key,
    parse_index,
)
from breezeblock.backup.seal import Keys, Sealer, unpacked
from breezeblock.backup.shares import Shares, patiently, stop, together
from breezeblock.env.contract import Env

__all__ = ["Damage", "Reader", "Verified"]

# A stretch is so many blocks of a volume at most: what one thread checks at a time, and what is given to the caller at once.
STRETCH_BLOCKS: Final = 64
# How many stretches are fetched ahead, each of 4 MiB twice or three times: by one alone; what runs beside it takes its share.
AHEAD: Final = 8
LEAST_AHEAD: Final = 2
# Calls to the store at a time.
FETCHES: Final = 8
# Packs that are looked for at a time.
LOOKS_AT_ONCE: Final = 64
# Bytes between two blocks that are read through and thrown away: one more call costs more.
SHORT_GAP_BYTES: Final = 128 * 1024
# Most packs' indexes are within so many bytes of their end.
USUAL_INDEX_BYTES: Final = 32 * 1024


@dataclass(frozen=True, slots=True)
class Damage:
    """A range of a volume that cannot be read, and why."""

    start: int
    end: int
    where: str
    what: str


@dataclass(slots=True)
class Verified:
    """What was looked at, and what is wrong with it."""

    blocks: int = 0
    bytes: int = 0
    packs: int = 0
    damage: list[Damage] = field(default_factory=list)


class _Stretch(NamedTuple):
    """Some blocks of a segment; or, with damage, a segment whose map cannot be read."""

    segment: Segment
    blocks: Sequence[Block]
    damage: Damage | None = None


class _Read(NamedTuple):
    """What came of a stretch: data at places in the volume, in order, and what is missing."""

    runs: Sequence[tuple[int, bytes]]
    damage: Sequence[Damage]
    blocks: int


OnDamage = Callable[[Damage], None]


class Reader:
    """Reads maps and blocks of one archive."""

    def __init__(
        self, store: ObjectStore, archive_id: str, keys: Keys, env: Env, *, shares: Shares, patience_s: float
    ) -> None:
        self._store = store
        self._shares = shares
        self._archive_id = archive_id
        self._keys = keys
        self._env = env
        self._patience_s = patience_s
        self._fetches = asyncio.Semaphore(FETCHES)

    async def get(self, key: str, *, offset: int = 0, length: int | None = None) -> bytes:
        """An object's bytes. Raises Damaged when there are none, or too few."""
        ask: Callable[[], Awaitable[bytes]] = lambda: self._store.get(key, offset=offset, length=length)  # noqa: E731
        try:
            async with self._fetches:
                data = await patiently(self._env, ask, patience_s=self._patience_s)
        except ObjectMissing:
            raise Damaged(key, MISSING) from None
        if length is not None and len(data) != length:
            raise Damaged(key, f"{len(data)} bytes from byte {offset} on are all that is left of {length}")
        return data

    async def size(self, key: str) -> int:
        """An object's length. Raises Damaged when it is missing."""
        try:
            async with self._fetches:
                return await patiently(self._env, lambda: self._store.size(key), patience_s=self._patience_s)
        except ObjectMissing:
            raise Damaged(key, MISSING) from None

    async def read_index(self, pack: str) -> list[Entry]:
        """What is in a pack. Raises Damaged."""
        key = pack_key(self._archive_id, pack)
        size = await self.size(key)
        usual = min(size, USUAL_INDEX_BYTES)
        end = await self.get(key, offset=size - usual, length=usual)
        start, _ = index_span(key, size, end)
        if size - start > len(end):
            end = await self.get(key, offset=start, length=size - start)
        return parse_index(pack, key, end[len(end) - (size - start) :], self._keys)

    async def read_map(self, segment: Segment) -> SegmentMap:
        """The map of a segment that is not zeros. Raises Damaged."""
        place = segment.place
        key = pack_key(self._archive_id, place.pack)
        data = await self.get(key, offset=place.offset, length=place.stored)

        def parse() -> SegmentMap:
            content = bytes(self._opened(segment.hash, place, memoryview(data), self._keys.sealer(place.pack)))
            return parse_map(content, number=segment.number, length=segment.length, where=key)

        return await self._env.threads.run(parse)

    async def pieces(
        self, manifest: Manifest, *, start: int = 0, on_damage: OnDamage | None = None
    ) -> AsyncGenerator[tuple[int, bytes], None]:
        """All data of a backup from byte `start` on, by rising offset: what is not given is zeros.

        A piece may begin before `start`, by less than a block. Raises Damaged at the first damage; with `on_damage` that is
        told of it, and what is damaged is left out.
        """
        reading = self._ahead(self._stretches(manifest, start))
        async with aclosing(reading):
            async for read in reading:
                for damage in read.damage:
                    if on_damage is None:
                        raise Damaged(
                            damage.where, f"{damage.what} (bytes {damage.start} to {damage.end} of the volume)"
                        )
                    on_damage(damage)
                for run in read.runs:
                    yield run

    async def verify(self, manifest: Manifest, *, share: float) -> Verified:
        """Look whether all packs are there, and read and check that share of the blocks, drawn by chance."""
        missing: set[str] = set()
        for at in range(0, len(manifest.packs), LOOKS_AT_ONCE):
            found = await together(self._look(pack) for pack in manifest.packs[at : at + LOOKS_AT_ONCE])
            missing.update(*found)
        verified = await self.check(manifest, share=share, missing=missing)
        verified.packs = len(manifest.packs)
        return verified

    async def check(self, manifest: Manifest, *, share: float, missing: Collection[str]) -> Verified:
        """Read and check that share of the blocks, drawn by chance, and all that are in packs which are known to be missing, or
        to be looked at for another reason: what is in these is told exactly, whatever the share.
        """
        verified = Verified()
        reading = self._ahead(self._stretches(manifest, 0, share=share, surely=missing))
        async with aclosing(reading):
            async for read in reading:
                verified.damage.extend(read.damage)
                verified.blocks += read.blocks
                verified.bytes += sum(len(data) for _, data in read.runs)
        return verified

    async def _look(self, pack: str) -> set[str]:
        try:
            await self.size(pack_key(self._archive_id, pack))
        except Damaged:
            return {pack}
        return set()

    async def _stretches(
        self, manifest: Manifest, start: int, *, share: float = 1.0, surely: Collection[str] = ()
    ) -> AsyncGenerator[_Stretch, None]:
        for segment in manifest.segments:
            begin = segment.number * SEGMENT_BYTES
            if begin + segment.length <= start:
                continue
            try:
                blocks = (await self.read_map(segment)).blocks
            except Damaged as error:
                damage = Damage(begin, begin + segment.length, error.where, error.what)
                yield _Stretch(segment, (), damage)
                continue
            for _, some in groupby(blocks, key=lambda block: block.number // STRETCH_BLOCKS):
                wanted = [block for block in some if begin + (block.number + 1) * BLOCK_BYTES > start]
                if wanted and (self.is_drawn(share) or any(block.place.pack in surely for block in wanted)):
                    yield _Stretch(segment, wanted)

    def is_drawn(self, share: float) -> bool:
        """Whether to look at something, where that share of all is looked at."""
        return share >= 1.0 or self._env.random.uniform(0.0, 1.0) < share

    async def _ahead(self, stretches: AsyncGenerator[_Stretch, None]) -> AsyncGenerator[_Read, None]:
        """What is read of stretches, in order. In a turn, which goes on after each segment where anybody waits for one."""
        ahead: deque[asyncio.Task[_Read]] = deque()
        async with self._shares.turn() as turn, aclosing(stretches):
            try:
                before: int | None = None
                async for stretch in stretches:
                    if before not in (None, stretch.segment.number) and self._shares.waiting:
                        while ahead:
                            yield await ahead.popleft()
                        await turn.pass_on()
                    before = stretch.segment.number
                    while len(ahead) >= max(LEAST_AHEAD, AHEAD // max(1, self._shares.running)):
                        yield await ahead.popleft()
                    ahead.append(asyncio.create_task(self._read(stretch)))
                while ahead:
                    yield await ahead.popleft()
            finally:
                await stop(ahead)

    async def _read(self, stretch: _Stretch) -> _Read:
        if stretch.damage is not None:
            return _Read((), [stretch.damage], 0)
        ranges = list(_ranges(stretch.blocks))
        got = await together(self._fetch(one) for one in ranges)
        return await self._env.threads.run(lambda: self._checked(stretch, ranges, got))

    async def _fetch(self, wanted: "_Range") -> bytes | Damaged:
        key = pack_key(self._archive_id, wanted.pack)
        try:
            return await self.get(key, offset=wanted.start, length=wanted.end - wanted.start)
        except Damaged as damage:
            return damage

    def _checked(self, stretch: _Stretch, ranges: Sequence["_Range"], got: Sequence[bytes | Damaged]) -> _Read:
        """Open and check what was fetched, and join what is adjacent."""
        begin = stretch.segment.number * SEGMENT_BYTES
        data: dict[int, bytes | memoryview] = {}
        damage: list[Damage] = []
        for wanted, found in zip(ranges, got, strict=True):
            sealer = self._keys.sealer(wanted.pack)
            for block in wanted.blocks:
                try:
                    if isinstance(found, Damaged):
                        raise found
                    at = block.place.offset - wanted.start
                    stored = memoryview(found)[at : at + block.place.stored]
                    data[block.number] = self._opened(block.hash, block.place, stored, sealer)
                except Damaged as error:
                    start = begin + block.number * BLOCK_BYTES
                    end = start + block_bytes(stretch.segment.length, block.number)
                    damage.append(Damage(start, end, error.where, error.what))
        return _Read(list(_runs(begin, data)), sorted(damage, key=lambda one: one.start), len(data))

    def _opened(self, hash_: bytes, place: Place, stored: memoryview, sealer: Sealer) -> bytes | memoryview:
        """A block's own bytes, checked by its hash. Raises Damaged."""
        key = pack_key(self._archive_id, place.pack)
        small = sealer.open(stored, place.offset, key)
        data = unpacked(place.codec, small, place.plain, key)
        if self._keys.hash(data) != hash_:
            raise Damaged(key, f"the block at byte {place.offset} does not have its hash")
        return data


class _Range(NamedTuple):
    """Adjacent bytes of a pack, and the blocks that are wanted of them."""

    pack: str
    start: int
    end: int
    blocks: list[Block]


def _ranges(blocks: Sequence[Block]) -> Iterator[_Range]:
    """As few ranges as give all blocks, without reading far more than these."""
    current: _Range | None = None
    for block in sorted(blocks, key=lambda block: (block.place.pack, block.place.offset)):
        place = block.place
        end = place.offset + place.stored
        if current and current.pack == place.pack and place.offset <= current.end + SHORT_GAP_BYTES:
            current.blocks.append(block)
            current = current._replace(end=max(current.end, end))
        else:
            if current:
                yield current
            current = _Range(place.pack, place.offset, end, [block])
    if current:
        yield current


def _runs(begin: int, data: dict[int, bytes | memoryview]) -> Iterator[tuple[int, bytes]]:
    numbers = sorted(data)
    for _, group in groupby(enumerate(numbers), key=lambda pair: pair[1] - pair[0]):
        run = [number for _, number in group]
        yield begin + run[0] * BLOCK_BYTES, b"".join([data[number] for number in run])
