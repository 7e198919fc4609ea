"""The bytes of a pack: a head, blocks one after the other, an index of them, and a tail by which a reader finds it.

`docs/reference/archive-format.md` has the tables. Everything is little-endian.
"""

import struct
import uuid
from collections.abc import Sequence
from itertools import pairwise
from typing import Final, NamedTuple

from breezeblock.backup.damage import Damaged
from breezeblock.backup.seal import CODECS, Keys

__all__ = [
    "BLOCK_BYTES",
    "HEAD_BYTES",
    "MAX_BLOCKS",
    "MAX_PLAIN_BYTES",
    "SEGMENT_BYTES",
    "TAIL_BYTES",
    "Entry",
    "Place",
    "index_span",
    "pack_bytes_id",
    "pack_head",
    "pack_id_of",
    "pack_index",
    "pack_key",
    "parse_index",
]

BLOCK_BYTES: Final = 64 * 1024
SEGMENT_BYTES: Final = 1024**3
# The longest plain text of a block: the map of a full segment takes three quarters of it.
MAX_PLAIN_BYTES: Final = 1024 * 1024
# Of many tiny blocks the index would outgrow them: a reader fetches it whole.
MAX_BLOCKS: Final = 4096

FORMAT: Final = 1
HEAD_MAGIC: Final = b"BZBPACK\n"
TAIL_MAGIC: Final = b"BZBPEND\n"
_HEAD: Final = struct.Struct("<8sI4x16s")
_ENTRY: Final = struct.Struct("<32sIIIB")
# Where the index begins, how many entries it has, zero, the keyed hash of head, index and the first two; magic.
_TAIL: Final = struct.Struct("<QII32s8s")
HEAD_BYTES: Final = _HEAD.size
TAIL_BYTES: Final = _TAIL.size
MAX_INDEX_BYTES: Final = MAX_BLOCKS * _ENTRY.size


class Place(NamedTuple):
    """Where a block is: in which pack, from which byte on, how long as stored and as it was, and its codec."""

    pack: str
    offset: int
    stored: int
    plain: int
    codec: int


class Entry(NamedTuple):
    """One block in the index of a pack."""

    hash: bytes
    offset: int
    stored: int
    plain: int
    codec: int


def pack_key(archive_id: str, pack: str) -> str:
    """Where a pack is kept in a store."""
    return f"{archive_id}/packs/{pack[:2]}/{pack}"


def pack_bytes_id(pack: str) -> bytes:
    """A pack's id as 16 bytes. Raises ValueError for what is no UUID in its usual spelling."""
    made = uuid.UUID(pack)
    if str(made) != pack:
        raise ValueError(f"{pack!r} is not a UUID in lower case with dashes")
    return made.bytes


def pack_id_of(raw: bytes) -> str:
    """A pack's id from its 16 bytes."""
    return str(uuid.UUID(bytes=raw))


def pack_head(pack: str) -> bytes:
    """What a pack begins with."""
    return _HEAD.pack(HEAD_MAGIC, FORMAT, pack_bytes_id(pack))


def pack_index(pack: str, entries: Sequence[Entry], keys: Keys) -> bytes:
    """What a pack ends with: the index of its blocks, in their order, and the tail."""
    index = b"".join(_ENTRY.pack(*entry) for entry in entries)
    start = entries[-1].offset + entries[-1].stored if entries else HEAD_BYTES
    return index + _TAIL.pack(start, len(entries), 0, _index_hash(pack, index, start, keys), TAIL_MAGIC)


def index_span(where: str, size: int, tail: bytes) -> tuple[int, int]:
    """From where to where in a pack of `size` bytes the index is, told by the pack's last bytes. Raises Damaged."""
    if size < HEAD_BYTES + TAIL_BYTES or len(tail) < TAIL_BYTES:
        raise Damaged(where, f"{size} bytes are too few for a pack")
    start, count, _, _, magic = _TAIL.unpack(tail[-TAIL_BYTES:])
    if magic != TAIL_MAGIC:
        raise Damaged(where, "it does not end as a pack does")
    end = size - TAIL_BYTES
    if count > MAX_BLOCKS or start < HEAD_BYTES or start + count * _ENTRY.size != end:
        raise Damaged(where, f"an index of {count} blocks from byte {start} on does not fit a pack of {size} bytes")
    return start, end


def parse_index(pack: str, where: str, end_of_pack: bytes, keys: Keys) -> list[Entry]:
    """The blocks of a pack, from its index and tail. Raises Damaged."""
    if len(end_of_pack) < TAIL_BYTES:
        raise Damaged(where, "its end is missing")
    start, count, zero, seen, magic = _TAIL.unpack(end_of_pack[-TAIL_BYTES:])
    index = end_of_pack[:-TAIL_BYTES]
    if magic != TAIL_MAGIC or zero or len(index) != count * _ENTRY.size:
        raise Damaged(where, "its index is not as long as its tail says")
    if _index_hash(pack, index, start, keys) != seen:
        raise Damaged(where, "its index does not have the hash in its tail")
    entries = [Entry(*fields) for fields in _ENTRY.iter_unpack(index)]
    ends = [HEAD_BYTES, *(entry.offset + entry.stored for entry in entries)]
    if ends[-1] != start or any(entry.offset != before for entry, before in zip(entries, ends, strict=False)):
        raise Damaged(where, "its blocks do not follow one another")
    if any(entry.plain > MAX_PLAIN_BYTES or entry.codec not in CODECS or not entry.stored for entry in entries):
        raise Damaged(where, "a block in its index has an impossible length or codec")
    assert all(before < after for before, after in pairwise(ends))
    return entries


def _index_hash(pack: str, index: bytes, start: int, keys: Keys) -> bytes:
    return keys.hash(pack_head(pack) + index + struct.pack("<QI", start, len(index) // _ENTRY.size))
