"""What is done with a piece of a volume beside the event loop: split, hash, look up, compress.

One call of a thread does all of it for a few MiB, so that little of the time is Python's.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from breezeblock.backup.contract import Buffer
from breezeblock.backup.known import Known
from breezeblock.backup.packs import BLOCK_BYTES, Place
from breezeblock.backup.seal import PLAIN, Compressor, Keys

__all__ = ["PIECE_BYTES", "Digest", "Fresh", "Piece", "digested", "joined", "piece_runs", "within"]

# Long enough that Python's part is small, short enough that a few of them in flight are no memory.
PIECE_BYTES: Final = 4 * 1024**2
# Holes shorter than this are read through: a read of zeros costs less than asking for one more run of data.
SHORT_HOLE_BYTES: Final = 512 * 1024
_ZEROS: Final = bytes(BLOCK_BYTES)


class Piece(NamedTuple):
    """Adjacent blocks of a segment: from which one, up to which."""

    first: int
    stop: int


class Fresh(NamedTuple):
    """A block that nobody has yet, ready to be packed."""

    hash: bytes
    data: Buffer
    plain: int
    codec: int


@dataclass(slots=True)
class Digest:
    """What a piece consists of: the hash of each block that is not zeros, and which of them are new."""

    blocks: list[tuple[int, bytes]] = field(default_factory=list)
    fresh: list[Fresh] = field(default_factory=list)
    found: dict[bytes, Place] = field(default_factory=dict)
    read_bytes: int = 0


def digested(data: bytes, first: int, *, keys: Keys, known: Known, claimed: dict[bytes, int], level: int) -> Digest:
    """Look through a piece that begins with block `first`. Blocks that are claimed already are somebody else's to pack.

    `claimed` is shared with the threads that look through other pieces: `setdefault` gives each hash to one of them.
    """
    digest = Digest(read_bytes=len(data))
    view = memoryview(data)
    mine: list[tuple[bytes, int]] = []
    for at in range(0, len(data), BLOCK_BYTES):
        if data.startswith(_ZEROS if len(data) - at >= BLOCK_BYTES else _ZEROS[: len(data) - at], at):
            continue
        number = first + at // BLOCK_BYTES
        hash_ = keys.hash(view[at : at + BLOCK_BYTES])
        digest.blocks.append((number, hash_))
        if claimed.setdefault(hash_, number) == number:
            mine.append((hash_, at))
    digest.found = known.find([hash_ for hash_, _ in mine])
    compressor = Compressor(level)
    for hash_, at in mine:
        if hash_ not in digest.found:
            block = view[at : at + BLOCK_BYTES]
            codec, small = compressor.shrink(block)
            digest.fresh.append(Fresh(hash_, small, len(block), codec))
    _let_go(digest, len(data))
    return digest


def _let_go(digest: Digest, size: int) -> None:
    """Copy the few blocks that look into a piece: each would keep all of it in memory until its pack is uploaded."""
    plain = sum(fresh.plain for fresh in digest.fresh if fresh.codec == PLAIN)
    if 0 < plain < size // 8 * 7:
        digest.fresh = [
            fresh._replace(data=bytes(fresh.data)) if fresh.codec == PLAIN else fresh for fresh in digest.fresh
        ]


def joined(runs: list[tuple[int, int]], *, gap: int = 0) -> list[tuple[int, int]]:
    """Runs as few as possible, in order; those no more than `gap` apart become one."""
    made: list[tuple[int, int]] = []
    for start, end in sorted(run for run in runs if run[0] < run[1]):
        if made and start <= made[-1][1] + gap:
            made[-1] = (made[-1][0], max(end, made[-1][1]))
        else:
            made.append((start, end))
    return made


def within(runs: list[tuple[int, int]], allowed: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """What of `runs` lies within `allowed`. Both in order and apart."""
    made = []
    at = 0
    for start, end in runs:
        while at < len(allowed) and allowed[at][1] <= start:
            at += 1
        ahead = at
        while ahead < len(allowed) and allowed[ahead][0] < end:
            made.append((max(start, allowed[ahead][0]), min(end, allowed[ahead][1])))
            ahead += 1
    return made


def piece_runs(runs: list[tuple[int, int]]) -> Iterator[Piece]:
    """Runs of blocks, cut into pieces at multiples of a piece, so that the same data is cut alike each time."""
    step = PIECE_BYTES // BLOCK_BYTES
    for start, end in runs:
        while start < end:
            stop = min(end, (start // step + 1) * step)
            yield Piece(start, stop)
            start = stop
