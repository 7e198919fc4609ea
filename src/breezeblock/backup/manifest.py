"""The root of one backup: what it is of, its segments, and every pack that it needs.

A manifest can be read with the archive's key alone. The segments' maps are in packs, as blocks are.
"""

import struct
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

import msgspec
import zstandard

from breezeblock.backup.damage import Damaged
from breezeblock.backup.packs import (
    BLOCK_BYTES,
    HEAD_BYTES,
    MAX_PLAIN_BYTES,
    SEGMENT_BYTES,
    Place,
    pack_bytes_id,
    pack_id_of,
)
from breezeblock.backup.seal import CODECS, ZSTD, Keys, unpacked
from breezeblock.model.errors import BackendFailed

__all__ = [
    "Header",
    "Manifest",
    "Published",
    "Segment",
    "build_manifest",
    "manifest_key",
    "manifest_prefix",
    "manifest_token",
    "parse_manifest",
    "segment_bytes",
    "segments_of",
]

FORMAT: Final = 1
MAGIC: Final = b"BZBMANI\n"
# Magic, format, 1 when sealed, its own id, the content's length, the length of that compressed, the content's keyed hash.
_HEAD: Final = struct.Struct("<8sII16sQQ32s")
# Number, offset, stored, plain, codec, hash, how many packs it needs; their numbers follow, that of the map's pack first.
_SEGMENT: Final = struct.Struct("<IIIIB32sI")
_ID_BYTES: Final = 16
# A volume of 64 TiB, each of whose segments needs 64 packs of its own, takes 85 MiB.
MAX_CONTENT_BYTES: Final = 256 * 1024**2
COMPRESSION_LEVEL: Final = 3


class Header(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=False):
    """What a backup is of. `details` is for whoever writes it: what one needs to know of a volume to make it again."""

    backup_id: str
    volume_id: str
    size_bytes: int
    created_us: int
    """When the backup was begun, microseconds since 1970 UTC."""
    data_us: int | None = None
    """Of when the data is."""
    name: str | None = None
    volume_name: str | None = None
    project_id: str | None = None
    parent: str | None = None
    """The backup that this one was taken as incremental from. Nothing of it is needed to read this one."""
    details: Mapping[str, Any] = {}
    block_bytes: int = BLOCK_BYTES
    segment_bytes: int = SEGMENT_BYTES


class Segment(msgspec.Struct, frozen=True, array_like=True):
    """One segment of a backup: where its map is, and which packs it needs. Small, and JSON by msgspec.

    A segment of zeros has no map: its hash is empty.
    """

    number: int
    length: int
    hash: bytes = b""
    offset: int = 0
    stored: int = 0
    plain: int = 0
    codec: int = 0
    needs: bytes = b""
    """The ids of all packs, 16 bytes each, that of the map's pack first."""
    uploaded: int = 0
    """How many bytes were uploaded for it by whoever stored it: nothing where it was taken over."""

    @property
    def is_zeros(self) -> bool:
        return not self.hash

    @property
    def packs(self) -> list[str]:
        """All packs that are needed to read it."""
        return [pack_id_of(raw) for raw in self.raw_packs]

    @property
    def raw_packs(self) -> list[bytes]:
        """The same, as 16 bytes each."""
        return [self.needs[at : at + _ID_BYTES] for at in range(0, len(self.needs), _ID_BYTES)]

    @property
    def place(self) -> Place:
        """Where its map is."""
        return Place(pack_id_of(self.needs[:_ID_BYTES]), self.offset, self.stored, self.plain, self.codec)


class Manifest(msgspec.Struct, frozen=True):
    """A backup, as it was read. `segments` has those that are not zeros, by rising number."""

    name: str
    header: Header
    segments: Sequence[Segment]
    packs: Sequence[str]

    def segment(self, number: int) -> Segment:
        """A segment by its number; one of zeros where nothing is stored of it."""
        for segment in self.segments:
            if segment.number == number:
                return segment
        return Segment(number, segment_bytes(self.header.size_bytes, number))


class Published(msgspec.Struct, frozen=True):
    """A manifest that is in the store: the packs that it names, and what the backup takes there.

    `stored_bytes` counts what was uploaded for this backup: its manifest, and its packs, also those by earlier attempts.
    """

    named: Sequence[str]
    object_count: int
    stored_bytes: int


def segments_of(size: int) -> int:
    """How many segments a volume has."""
    return -(-size // SEGMENT_BYTES)


def segment_bytes(size: int, number: int) -> int:
    """How many bytes of a volume of `size` bytes a segment covers."""
    return max(0, min(SEGMENT_BYTES, size - number * SEGMENT_BYTES))


def manifest_prefix(archive_id: str, backup_id: str | None = None) -> str:
    """What the keys of the manifests begin with: of a backup, or of all."""
    return f"{archive_id}/manifests/" + (f"{backup_id}." if backup_id is not None else "")


def manifest_token(name: str) -> tuple[int, int]:
    """The token (seq, epoch) of whoever made a manifest, from its name. What has none is older than all."""
    _, *token = name.split(".")
    return (int(token[0]), int(token[1])) if len(token) == 2 and all(map(str.isdecimal, token)) else (0, 0)


def manifest_key(archive_id: str, name: str) -> str:
    """Where a manifest is kept in a store."""
    return manifest_prefix(archive_id) + name


def build_manifest(header: Header, segments: Sequence[Segment], *, manifest_id: str, keys: Keys) -> bytes:
    """The manifest's bytes. `manifest_id` is a fresh UUID. `segments` may include those of zeros."""
    stored = sorted((segment for segment in segments if not segment.is_zeros), key=lambda segment: segment.number)
    packs: dict[bytes, int] = {}
    for pack in (one for each in stored for one in each.raw_packs):
        packs.setdefault(pack, len(packs))
    head = msgspec.json.encode(header)
    parts = [struct.pack("<III", len(head), len(packs), len(stored)), head]
    parts.extend(packs)
    for one in stored:
        needs = [packs[raw] for raw in one.raw_packs]
        fields = (one.number, one.offset, one.stored, one.plain, one.codec, one.hash, len(needs))
        parts.append(_SEGMENT.pack(*fields) + struct.pack(f"<{len(needs)}I", *needs))
    content = b"".join(parts)
    if len(content) > MAX_CONTENT_BYTES:
        raise BackendFailed(f"The backup needs too many packs: its manifest would take {len(content) >> 20} MiB.")
    small = zstandard.ZstdCompressor(level=COMPRESSION_LEVEL).compress(content)
    own = pack_bytes_id(manifest_id)
    front = _HEAD.pack(MAGIC, FORMAT, keys.encrypted, own, len(content), len(small), keys.hash(content))
    return front + keys.seal_manifest(manifest_id, small)


def parse_manifest(name: str, data: bytes, keys: Keys, where: str) -> Manifest:
    """A manifest from its bytes. Raises Damaged."""
    content = _content(data, keys, where)
    try:
        return _parse_content(name, content, where)
    except (struct.error, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Damaged(where, f"its content cannot be read: {error}") from None


def _content(data: bytes, keys: Keys, where: str) -> bytes:
    if len(data) < _HEAD.size:
        raise Damaged(where, f"{len(data)} bytes are too few for a manifest")
    magic, version, sealed, own, length, small_length, hash_ = _HEAD.unpack_from(data)
    if magic != MAGIC:
        raise Damaged(where, "it does not begin as a manifest does")
    if version != FORMAT:
        raise Damaged(where, f"its format is {version}, and this reader knows {FORMAT} only")
    if sealed != keys.encrypted or length > MAX_CONTENT_BYTES:
        raise Damaged(where, "its head is not that of a manifest of this archive")
    small = keys.open_manifest(pack_id_of(own), data[_HEAD.size :], where)
    if len(small) != small_length:
        raise Damaged(where, f"{len(small)} bytes of content are not the {small_length} in its head")
    content = bytes(unpacked(ZSTD, small, length, where))
    if keys.hash(content) != hash_:
        raise Damaged(where, "its content does not have the hash in its head")
    return content


def _parse_content(name: str, content: bytes, where: str) -> Manifest:
    head, pack_count, count = struct.unpack_from("<III", content)
    at = 12 + head
    header = msgspec.json.decode(content[12:at], type=Header)
    if (header.block_bytes, header.segment_bytes) != (BLOCK_BYTES, SEGMENT_BYTES) or header.size_bytes < 0:
        raise Damaged(where, "it has sizes that this reader does not know")
    if pack_count * _ID_BYTES > len(content) - at:
        raise Damaged(where, "its packs are cut off")
    raw = [content[at + number * _ID_BYTES : at + (number + 1) * _ID_BYTES] for number in range(pack_count)]
    at += pack_count * _ID_BYTES
    segments = []
    for _ in range(count):
        segment, at = _parse_segment(content, at, raw, header.size_bytes, where)
        segments.append(segment)
    if at != len(content):
        raise Damaged(where, "something follows its segments")
    if any(before.number >= after.number for before, after in pairwise(segments)):
        raise Damaged(where, "its segments are out of order")
    return Manifest(name, header, segments, [pack_id_of(one) for one in raw])


def _parse_segment(content: bytes, at: int, packs: Sequence[bytes], size: int, where: str) -> tuple[Segment, int]:
    number, offset, stored, plain, codec, hash_, count = _SEGMENT.unpack_from(content, at)
    at += _SEGMENT.size
    if not 0 < count <= (len(content) - at) // 4 or number >= segments_of(size):
        raise Damaged(where, f"segment {number} cannot be one of this backup")
    needs = struct.unpack_from(f"<{count}I", content, at)
    if max(needs) >= len(packs) or offset < HEAD_BYTES or not stored or plain > MAX_PLAIN_BYTES or codec not in CODECS:
        raise Damaged(where, f"the map of segment {number} is at no possible place")
    needed = b"".join(packs[need] for need in needs)
    segment = Segment(number, segment_bytes(size, number), hash_, offset, stored, plain, codec, needed)
    return segment, at + 4 * count
