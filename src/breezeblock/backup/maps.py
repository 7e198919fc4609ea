"""The map of a segment: which blocks 1 GiB of a volume consists of, and where they are.

Kept column by column, since most columns shrink to nearly nothing then. Blocks that are absent are zeros.
"""

import struct
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

from breezeblock.backup.damage import Damaged
from breezeblock.backup.packs import BLOCK_BYTES, HEAD_BYTES, SEGMENT_BYTES, Place, pack_bytes_id, pack_id_of
from breezeblock.backup.seal import CODECS

__all__ = ["Block", "SegmentMap", "block_bytes", "blocks_of", "build_map", "parse_map"]

MAGIC: Final = b"BZBMAP1\n"
# Magic; segment; its bytes; how many packs and blocks follow.
_HEAD: Final = struct.Struct("<8sIIII")
_ID_BYTES: Final = 16
_HASH_BYTES: Final = 32
# Of one block in all columns: number, pack, offset, length as stored, codec, hash.
_BLOCK_COLUMNS: Final = 2 + 2 + 4 + 4 + 1 + _HASH_BYTES


class Block(NamedTuple):
    """One block of a segment that is not zeros."""

    number: int
    hash: bytes
    place: Place


class SegmentMap(NamedTuple):
    """The blocks of a segment, by rising number, and all packs that they are in."""

    number: int
    length: int
    packs: Sequence[str]
    blocks: Sequence[Block]


def blocks_of(length: int) -> int:
    """How many blocks so many bytes have."""
    return -(-length // BLOCK_BYTES)


def block_bytes(length: int, number: int) -> int:
    """How long a block of a segment of `length` bytes is: the last one may be shorter."""
    return min(BLOCK_BYTES, length - number * BLOCK_BYTES)


def build_map(number: int, length: int, blocks: Sequence[Block]) -> bytes:
    """The map's bytes, of at least one block. The same blocks at the same places give the same bytes."""
    assert 0 < length <= SEGMENT_BYTES and len(blocks) <= blocks_of(length)
    count = len(blocks)
    numbers, hashes, places = zip(*blocks, strict=True)
    names, offsets, stored, _, codecs = zip(*places, strict=True)
    packs = {pack: index for index, pack in enumerate(dict.fromkeys(names))}
    columns = (
        struct.pack(f"<{count}H", *numbers),
        struct.pack(f"<{count}H", *map(packs.__getitem__, names)),
        struct.pack(f"<{count}I", *offsets),
        struct.pack(f"<{count}I", *stored),
        bytes(codecs),
        *hashes,
    )
    head = _HEAD.pack(MAGIC, number, length, len(packs), count)
    return head + b"".join(map(pack_bytes_id, packs)) + b"".join(columns)


def parse_map(data: bytes, *, number: int, length: int, where: str) -> SegmentMap:
    """The map of segment `number`, which has `length` bytes. Raises Damaged."""
    packs, count = _parse_head(data, number, length, where)
    columns = _columns(data, _HEAD.size + len(packs) * _ID_BYTES, count)
    blocks = []
    for block, pack, offset, stored, codec, hash_ in columns:
        if pack >= len(packs) or offset < HEAD_BYTES or not stored or codec not in CODECS:
            raise Damaged(where, f"block {block} of segment {number} is at no possible place")
        place = Place(packs[pack], offset, stored, block_bytes(length, block), codec)
        blocks.append(Block(block, hash_, place))
    if blocks and blocks[-1].number >= blocks_of(length):
        raise Damaged(where, f"segment {number} has no block {blocks[-1].number}")
    if any(before.number >= after.number for before, after in pairwise(blocks)):
        raise Damaged(where, f"the blocks of segment {number} are out of order")
    return SegmentMap(number, length, packs, blocks)


def _parse_head(data: bytes, number: int, length: int, where: str) -> tuple[list[str], int]:
    if len(data) < _HEAD.size:
        raise Damaged(where, f"the map of segment {number} is cut off")
    magic, seen, bytes_, packs, count = _HEAD.unpack_from(data)
    if magic != MAGIC:
        raise Damaged(where, f"the map of segment {number} is none, or of a format that this reader does not know")
    if (seen, bytes_) != (number, length):
        raise Damaged(where, f"it maps {bytes_} bytes of segment {seen} in place of {length} of segment {number}")
    if packs > count or count > blocks_of(length):
        raise Damaged(where, f"the map of segment {number} has impossible counts: {packs} packs, {count} blocks")
    if len(data) != _HEAD.size + packs * _ID_BYTES + count * _BLOCK_COLUMNS:
        raise Damaged(where, f"the map of segment {number} has not as many bytes as its counts say")
    starts = range(_HEAD.size, _HEAD.size + packs * _ID_BYTES, _ID_BYTES)
    return [pack_id_of(data[start : start + _ID_BYTES]) for start in starts], count


def _columns(data: bytes, at: int, count: int) -> Iterator[tuple[int, int, int, int, int, bytes]]:
    numbers = struct.unpack_from(f"<{count}H", data, at)
    packs = struct.unpack_from(f"<{count}H", data, at + 2 * count)
    offsets = struct.unpack_from(f"<{count}I", data, at + 4 * count)
    stored = struct.unpack_from(f"<{count}I", data, at + 8 * count)
    codecs = data[at + 12 * count : at + 13 * count]
    hashes = range(at + 13 * count, len(data), _HASH_BYTES)
    return zip(
        numbers, packs, offsets, stored, codecs, (data[start : start + _HASH_BYTES] for start in hashes), strict=True
    )
