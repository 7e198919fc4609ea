"""A second reader of archives, written from docs/reference/archive-format.md alone. Imports nothing of the service.

python second_reader.py FOLDER ARCHIVE MANIFEST [KEYFILE] > volume
"""

import json
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import zstandard
from blake3 import blake3
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

CONTEXT = "breezeblock.archive 2026-11-21 "
BLOCK = 65_536
SEGMENT = 1_073_741_824


def derive(context: str, material: bytes) -> bytes:
    return blake3(material, derive_key_context=CONTEXT + context).digest()


@dataclass
class Place:
    pack: UUID
    offset: int
    stored: int
    plain: int
    codec: int
    hash: bytes


class SecondReader:
    """Reads an archive in a folder."""

    def __init__(self, folder: Path, archive: str, master: bytes | None = None) -> None:
        self.root = folder / archive
        said = json.loads((self.root / "archive.json").read_text())
        assert said["format"] == 1, "another format"
        assert said["encrypted"] == (master is not None), "with a key, or without?"
        if master is None:
            self.secret = b""
            self.hash_key = derive("hash key of an archive that is not encrypted", archive.encode())
        else:
            self.secret = derive("archive key", master + archive.encode())
            self.hash_key = derive("hash key", self.secret)
        assert said["key_check"] == derive("key check", self.secret or self.hash_key).hex()[:32], "another key"

    def hash(self, data: bytes) -> bytes:
        return blake3(data, key=self.hash_key).digest()

    def manifest(self, name: str) -> tuple[dict[str, Any], list[tuple[int, Place]], list[UUID]]:
        """The header, the places of the segments' maps, and the packs that they need."""
        data = (self.root / "manifests" / name).read_bytes()
        magic, version, sealed, own, length, small_length, seen = struct.unpack_from("<8sII16sQQ32s", data)
        assert (magic, version) == (b"BZBMANI\n", 1), "no manifest of format 1"
        content = data[struct.calcsize("<8sII16sQQ32s") :]
        if sealed:
            content = AESGCM(derive("manifest key", self.secret + own)).decrypt(bytes(12), content, own)
        assert len(content) == small_length, "the manifest is cut off"
        content = zstandard.ZstdDecompressor().decompress(content, max_output_size=length)
        assert (len(content), self.hash(content)) == (length, seen), "the manifest is damaged"
        return self.content(content)

    def content(self, content: bytes) -> tuple[dict[str, Any], list[tuple[int, Place]], list[UUID]]:
        head, pack_count, segment_count = struct.unpack_from("<III", content)
        header = json.loads(content[12 : 12 + head])
        at = 12 + head
        packs = [UUID(bytes=content[at + 16 * n : at + 16 * n + 16]) for n in range(pack_count)]
        at += 16 * pack_count
        maps = []
        for _ in range(segment_count):
            number, offset, stored, plain, codec, hash_, count = struct.unpack_from("<IIIIB32sI", content, at)
            at += struct.calcsize("<IIIIB32sI")
            needs = struct.unpack_from(f"<{count}I", content, at)
            at += 4 * count
            maps.append((number, Place(packs[needs[0]], offset, stored, plain, codec, hash_)))
        assert at == len(content), "something follows the segments"
        return header, maps, packs

    def block(self, place: Place) -> bytes:
        """A block's own bytes."""
        name = str(place.pack)
        with (self.root / "packs" / name[:2] / name).open("rb") as pack:
            pack.seek(place.offset)
            data = pack.read(place.stored)
        if self.secret:
            cipher = AESGCM(derive("pack key", self.secret + place.pack.bytes))
            data = cipher.decrypt(bytes(4) + struct.pack("<Q", place.offset), data, place.pack.bytes)
        if place.codec == 1:
            data = zstandard.ZstdDecompressor().decompress(data, max_output_size=place.plain)
        assert len(data) == place.plain, "a block has another length"
        assert self.hash(data) == place.hash, "a block is damaged"
        return data

    def map(self, number: int, data: bytes) -> Iterator[tuple[int, Place]]:
        """Where in the volume each block is, and where in the archive."""
        magic, seen, length, pack_count, count = struct.unpack_from("<8sIIII", data)
        assert (magic, seen) == (b"BZBMAP1\n", number), "no map of this segment"
        packs = [UUID(bytes=data[24 + 16 * n : 40 + 16 * n]) for n in range(pack_count)]
        at = 24 + 16 * pack_count
        columns: list[tuple[int, ...]] = []
        for letter, size in (("H", 2), ("H", 2), ("I", 4), ("I", 4), ("B", 1)):
            columns.append(struct.unpack_from(f"<{count}{letter}", data, at))
            at += size * count
        for n, (block, pack, offset, stored, codec) in enumerate(zip(*columns, strict=True)):
            plain = min(BLOCK, length - block * BLOCK)
            hash_ = data[at + 32 * n : at + 32 * n + 32]
            yield number * SEGMENT + block * BLOCK, Place(packs[pack], offset, stored, plain, codec, hash_)

    def volume(self, name: str) -> bytes:
        """The whole volume: for tests, whose volumes are small."""
        header, maps, packs = self.manifest(name)
        assert (header["block_bytes"], header["segment_bytes"]) == (BLOCK, SEGMENT), "other sizes"
        volume = bytearray(header["size_bytes"])
        for number, place in maps:
            for at, found in self.map(number, self.block(place)):
                assert found.pack in packs, "the manifest does not name a pack that is needed"
                volume[at : at + found.plain] = self.block(found)
        return bytes(volume)


def main(folder: str, archive: str, manifest: str, key: str | None = None) -> None:
    reader = SecondReader(Path(folder), archive, Path(key).read_bytes() if key else None)
    sys.stdout.buffer.write(reader.volume(manifest))


if __name__ == "__main__":
    main(*sys.argv[1:])
