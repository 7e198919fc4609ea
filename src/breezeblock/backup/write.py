"""Storing a volume, one segment after the other.

    reads, a few pieces ahead ──▶ threads: hash, look up, compress ──▶ pack, in order ──▶ uploads, a few at once

A segment is given back when all that it consists of is in the store. Whoever dies before loses at most what was on its
way: blocks in packs that arrived are found again by who goes on.
"""

import asyncio
from bisect import bisect_right
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from itertools import islice
from operator import itemgetter
from typing import Final

import msgspec
import structlog

from breezeblock.backup.contract import Source
from breezeblock.backup.damage import Damaged
from breezeblock.backup.known import Known
from breezeblock.backup.manifest import Segment, segment_bytes, segments_of
from breezeblock.backup.maps import Block, blocks_of, build_map
from breezeblock.backup.packer import Names, Packer, Target
from breezeblock.backup.packs import BLOCK_BYTES, SEGMENT_BYTES, Place, pack_bytes_id
from breezeblock.backup.pieces import SHORT_HOLE_BYTES, Digest, Fresh, Piece, digested, joined, piece_runs, within
from breezeblock.backup.read import Reader
from breezeblock.backup.seal import Compressor
from breezeblock.backup.shares import Shares, stop

__all__ = ["Told", "Writer", "Written"]

log = structlog.get_logger(__name__)

# Of one segment alone. What runs beside it takes its share of these.
MOST_UPLOADS: Final = 4
MOST_PIECES: Final = 4
LEAST_PIECES: Final = 2
# One whose last packs are on their way, and one that is read.
SEGMENTS_AT_ONCE: Final = 2
# So far short runs of data are joined before the first of it is read.
LOOK_AHEAD_BYTES: Final = 32 * 1024**2

Runs = list[tuple[int, int]]
"""Ranges of blocks, in order and apart."""


Told = Callable[[int], Awaitable[tuple[Segment, Sequence[tuple[int, int]]] | None]]
"""A segment's number -> that segment of an earlier backup of the volume, and the ranges of bytes of the volume that may differ
from it; None when nobody can tell, so that all of it is read."""


@dataclass(slots=True)
class Written:
    """What a writer has done, in bytes: read from the volume; new to the archive; uploaded; not stored since it was there."""

    read: int = 0
    new: int = 0
    stored: int = 0
    skipped: int = 0


@dataclass(slots=True)
class _Work:
    """A segment while it is being stored."""

    number: int
    length: int
    packer: Packer
    kept: Mapping[int, Block]
    claimed: dict[bytes, int] = field(default_factory=dict)
    placed: dict[bytes, Place] = field(default_factory=dict)
    hashes: list[tuple[int, bytes]] = field(default_factory=list)

    def blocks(self) -> list[Block]:
        """All that is not zeros, by number."""
        read = [Block(number, hash_, self.placed[hash_]) for number, hash_ in self.hashes]
        return sorted([*self.kept.values(), *read], key=itemgetter(0)) if self.kept else read


class Writer:
    """Stores segments in one archive. Refers to blocks in packs that may be referred to, and are known to be there, only."""

    def __init__(
        self, target: Target, *, names: Names, known: Known, reader: Reader, shares: Shares, level: int
    ) -> None:
        self._target = target
        self._names = names
        self._known = known
        self._reader = reader
        self._shares = shares
        self._level = level
        self.written = Written()
        self._spending = asyncio.Lock()

    async def store_segment(
        self, source: Source, number: int, *, parent: Segment | None, changed: Sequence[tuple[int, int]] | None
    ) -> Segment:
        """Store segment `number` of what `source` reads, and return when all of it is in the store.

        `changed` are ranges of bytes of the volume, in order and apart (`joined` makes them so): everything outside of
        them is as in `parent`, the same segment of another backup of it. Without either, everything is read.

        Raises BackendFailed, StoreUnavailable when the store was away for too long, and what the book raises.
        """
        length = segment_bytes(source.size_bytes, number)
        assert length, f"a volume of {source.size_bytes} bytes has no segment {number}"
        if parent is None or changed is None or (parent.number, parent.length) != (number, length):
            return await self._stored(source, number, length, [(0, blocks_of(length))], {})
        runs = _blocks_changed(changed, number, length)
        if not runs and all(pack in self._known for pack in parent.packs):
            self.written.skipped += length
            return msgspec.structs.replace(parent, uploaded=0)
        kept, unsure = await self._kept(parent, runs)
        self.written.skipped += len(kept) * BLOCK_BYTES
        return await self._stored(source, number, length, joined([*runs, *unsure]), kept)

    async def segments(
        self,
        source: Source,
        *,
        start: int = 0,
        told: Told | None = None,
    ) -> AsyncGenerator[Segment, None]:
        """All segments from `start` on, in order. While the last packs of one are uploaded, the next one is read.

        Each is complete when it is given, and may be saved as done. Who stops taking them closes this (`aclosing`).
        """
        ahead: deque[asyncio.Task[Segment]] = deque()
        try:
            for number in range(start, segments_of(source.size_bytes)):
                if len(ahead) == SEGMENTS_AT_ONCE:
                    yield await ahead.popleft()
                ahead.append(asyncio.create_task(self._next_segment(source, number, told)))
            while ahead:
                yield await ahead.popleft()
        finally:
            await stop(ahead)

    async def _next_segment(self, source: Source, number: int, told: Told | None) -> Segment:
        known = await told(number) if told is not None else None
        parent, changed = known if known is not None else (None, None)
        return await self.store_segment(source, number, parent=parent, changed=changed)

    async def _kept(self, parent: Segment, runs: Runs) -> tuple[dict[int, Block], Runs]:
        """The blocks that are as they were, and the runs that must be read though nothing changed in them."""
        if parent.is_zeros:
            return {}, []
        try:
            blocks = (await self._reader.read_map(parent)).blocks
        except Damaged as damage:
            log.warning("archive.damaged", where=damage.where, what=damage.what)
            return {}, [(0, blocks_of(parent.length))]
        changed = {number for start, end in runs for number in range(start, end)}
        same = [block for block in blocks if block.number not in changed]
        kept = {block.number: block for block in same if block.place.pack in self._known}
        return kept, [(block.number, block.number + 1) for block in same if block.number not in kept]

    async def _stored(self, source: Source, number: int, length: int, runs: Runs, kept: Mapping[int, Block]) -> Segment:
        async with self._shares.turn():
            packer = Packer(self._target, self._names, self._known, uploads=self._uploads)
            work = _Work(number, length, packer, kept)
            try:
                await self._store_blocks(work, source, runs)
                segment = await self._store_map(work)
                await packer.flush()
            finally:
                await packer.stop()
        self.written.stored += packer.uploaded_bytes
        return msgspec.structs.replace(segment, uploaded=packer.uploaded_bytes)

    def _uploads(self) -> int:
        return max(1, MOST_UPLOADS // max(1, self._shares.running))

    def _ahead(self) -> int:
        return max(LEAST_PIECES, MOST_PIECES // max(1, self._shares.running))

    async def _store_blocks(self, work: _Work, source: Source, runs: Runs) -> None:
        pieces = _pieces(source, work.number, work.length, runs)
        ahead: deque[asyncio.Task[Digest]] = deque()
        try:
            async with aclosing(pieces):
                async for piece in pieces:
                    if len(ahead) >= self._ahead():
                        await self._pack(work, await ahead.popleft())
                    ahead.append(asyncio.create_task(self._digest(work, source, piece)))
            while ahead:
                await self._pack(work, await ahead.popleft())
        finally:
            await stop(ahead)

    async def _digest(self, work: _Work, source: Source, piece: Piece) -> Digest:
        start, end = piece.first * BLOCK_BYTES, min(piece.stop * BLOCK_BYTES, work.length)
        async with self._spending:  # one request at a time, or whoever began first would have asked for all of it
            await self._shares.spend(end - start)
        data = await source.read(work.number * SEGMENT_BYTES + start, end - start)
        if len(data) != end - start:
            raise Damaged("the volume", f"it ended at byte {work.number * SEGMENT_BYTES + start + len(data)}")
        return await self._target.env.threads.run(
            lambda: digested(
                data,
                piece.first,
                keys=self._target.keys,
                known=self._known,
                claimed=work.claimed,
                level=self._level,
            )
        )

    async def _pack(self, work: _Work, digest: Digest) -> None:
        work.hashes.extend(digest.blocks)
        work.placed.update(digest.found)
        work.placed.update(await work.packer.place(digest.fresh))
        fresh = sum(one.plain for one in digest.fresh)
        self.written.new += fresh
        self.written.read += digest.read_bytes
        self.written.skipped += len(digest.blocks) * BLOCK_BYTES - fresh

    async def _store_map(self, work: _Work) -> Segment:
        blocks = work.blocks()
        if not blocks:
            return Segment(work.number, work.length)
        target = self._target
        fresh, place = await target.env.threads.run(lambda: self._build_map(work, blocks))
        if place is None:
            place = (await work.packer.place([fresh]))[fresh.hash]
        packs = dict.fromkeys((place.pack, *(block.place.pack for block in blocks)))
        needs = b"".join(pack_bytes_id(pack) for pack in packs)
        return Segment(work.number, work.length, fresh.hash, *place[1:], needs)

    def _build_map(self, work: _Work, blocks: Sequence[Block]) -> tuple[Fresh, Place | None]:
        """The map as a block, and where it is when the archive has it already."""
        content = build_map(work.number, work.length, blocks)
        hash_ = self._target.keys.hash(content)
        codec, data = Compressor(self._level).shrink(content)
        return Fresh(hash_, data, len(content), codec), self._known.find([hash_]).get(hash_)


def _blocks_changed(changed: Sequence[tuple[int, int]], number: int, length: int) -> Runs:
    """The blocks of a segment that ranges of a volume's bytes touch. Looks at no range before the segment, or behind."""
    begin = number * SEGMENT_BYTES
    runs: Runs = []
    for start, end in islice(changed, bisect_right(changed, begin, key=itemgetter(1)), None):
        if start >= begin + length:
            break
        inside = max(0, start - begin), min(length, end - begin)
        runs.append((inside[0] // BLOCK_BYTES, blocks_of(inside[1])))
    return joined(runs)


async def _pieces(source: Source, number: int, length: int, runs: Runs) -> AsyncGenerator[Piece, None]:
    """What of `runs` may hold data, in pieces. Asks for a run of data when those before it are taken."""
    begin, at = number * SEGMENT_BYTES, 0
    done = 0
    while at < length and (found := await source.next_data(begin + at)) is not None:
        start, end = max(0, found[0] - begin), min(length, found[1] - begin)
        if start >= length:
            return
        end = await _end_of_data(source, begin, min(length, start + LOOK_AHEAD_BYTES), end)
        first, stop_at = max(done, start // BLOCK_BYTES), blocks_of(end)
        if first < stop_at:
            for piece in piece_runs(within(runs, [(first, stop_at)])):
                yield piece
        at, done = end, max(done, stop_at)


async def _end_of_data(source: Source, begin: int, most: int, end: int) -> int:
    """Where the run of data that goes to `end` ends, when short holes are taken as data, up to `most`."""
    while end < most and (found := await source.next_data(begin + end)) is not None:
        if found[0] - begin - end > SHORT_HOLE_BYTES:
            break
        end = min(most, found[1] - begin)
    return end
