"""Hashes, compression and encryption of blocks, and the keys for them.

One master key (32 bytes) gives each archive a key, and that gives each pack a key of its own. A pack's name is a fresh
UUID and a nonce is a place in it, so no nonce is ever used twice with one key, whatever is repeated after a crash.
"""

import struct
import threading
import uuid
from typing import Final

import zstandard
from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from breezeblock.backup.damage import Damaged

__all__ = [
    "CODECS",
    "MASTER_KEY_BYTES",
    "PLAIN",
    "TAG_BYTES",
    "ZSTD",
    "Compressor",
    "Keys",
    "MasterKeyError",
    "Sealer",
    "master_key",
    "unpacked",
]

Bytes = bytes | memoryview

PLAIN: Final = 0
ZSTD: Final = 1
CODECS: Final = frozenset((PLAIN, ZSTD))
MASTER_KEY_BYTES: Final = 32
TAG_BYTES: Final = 16
# After so many blocks in a row that did not shrink, only each so-manieth is tried.
TRIES_IN_VAIN: Final = 8
TRY_EACH: Final = 4
# Of the manifest's one sealed part; its key is used for nothing else.
_MANIFEST_NONCE: Final = bytes(12)
_NONCE: Final = struct.Struct("<4xQ")

_of_thread = threading.local()

_ARCHIVE: Final = "breezeblock.archive 2026-11-21 archive key"
_PUBLIC: Final = "breezeblock.archive 2026-11-21 hash key of an archive that is not encrypted"
_HASH: Final = "breezeblock.archive 2026-11-21 hash key"
_PACK: Final = "breezeblock.archive 2026-11-21 pack key"
_MANIFEST: Final = "breezeblock.archive 2026-11-21 manifest key"
_CHECK: Final = "breezeblock.archive 2026-11-21 key check"


class MasterKeyError(ValueError):
    """What should be a master key is none. The text says what was expected, and nothing of what was found."""


def master_key(text: bytes) -> bytes:
    """A master key from a file's content: 32 bytes as they are, or as 64 hexadecimal digits. Raises MasterKeyError."""
    if len(text) == MASTER_KEY_BYTES:
        return text
    try:
        made = bytes.fromhex(text.decode("ascii").strip())
    except ValueError:
        made = b""
    if len(made) != MASTER_KEY_BYTES:
        raise MasterKeyError(f"a key is {MASTER_KEY_BYTES} random bytes, or {2 * MASTER_KEY_BYTES} hexadecimal digits")
    return made


class Keys:
    """All keys of one archive; of one that is not encrypted only the hash's, which anybody can derive."""

    def __init__(self, archive_id: str, master: bytes | None) -> None:
        self.encrypted: Final = master is not None
        if master is None:
            self._secret = b""
            self.hash_key = _derive(_PUBLIC, archive_id.encode())
        else:
            assert len(master) == MASTER_KEY_BYTES
            self._secret = _derive(_ARCHIVE, master + archive_id.encode())
            self.hash_key = _derive(_HASH, self._secret)

    @property
    def check(self) -> str:
        """Tells two keys apart, and nothing about either: kept in the open, to refuse a wrong key at once."""
        return _derive(_CHECK, self._secret or self.hash_key).hex()[:32]

    def hash(self, data: Bytes) -> bytes:
        """The name of a block."""
        return blake3(data, key=self.hash_key).digest()

    def sealer(self, pack: str) -> "Sealer":
        """For the blocks of one pack."""
        return Sealer(pack, _derive(_PACK, self._secret + uuid.UUID(pack).bytes) if self.encrypted else None)

    def seal_manifest(self, manifest_id: str, data: bytes) -> bytes:
        """A manifest's content; `manifest_id` is a fresh UUID for each one that is made."""
        raw = uuid.UUID(manifest_id).bytes
        return self._manifest(raw).encrypt(_MANIFEST_NONCE, data, raw) if self.encrypted else data

    def open_manifest(self, manifest_id: str, data: bytes, where: str) -> bytes:
        """The other way round. Raises Damaged."""
        raw = uuid.UUID(manifest_id).bytes
        if not self.encrypted:
            return data
        try:
            return self._manifest(raw).decrypt(_MANIFEST_NONCE, data, raw)
        except InvalidTag:
            raise Damaged(where, "its seal is broken") from None

    def _manifest(self, raw: bytes) -> AESGCM:
        return AESGCM(_derive(_MANIFEST, self._secret + raw))


class Sealer:
    """Seals and opens the blocks of one pack. Where a block begins is its nonce: no two blocks begin at one place."""

    def __init__(self, pack: str, key: bytes | None) -> None:
        self._bound = uuid.UUID(pack).bytes
        self._cipher = AESGCM(key) if key is not None else None

    def seal(self, data: Bytes, offset: int) -> Bytes:
        """The bytes to store at `offset`."""
        if self._cipher is None:
            return data
        return self._cipher.encrypt(_NONCE.pack(offset), data, self._bound)

    def open(self, data: Bytes, offset: int, where: str) -> Bytes:
        """What was sealed. Raises Damaged."""
        if self._cipher is None:
            return data
        try:
            return self._cipher.decrypt(_NONCE.pack(offset), data, self._bound)
        except InvalidTag:
            raise Damaged(where, f"the seal of the block at byte {offset} is broken") from None


class Compressor:
    """Compresses the blocks of one piece, for one thread. Level 0 keeps them as they are.

    What does not shrink comes in long runs: of such a run only some blocks are tried, until one shrinks again.
    """

    def __init__(self, level: int) -> None:
        self._zstd = zstandard.ZstdCompressor(level=level) if level else None
        self._in_vain = 0

    def shrink(self, data: Bytes) -> tuple[int, Bytes]:
        """The codec and what to store: compressed where that was tried and is shorter."""
        if self._zstd is None:
            return PLAIN, data
        if self._in_vain >= TRIES_IN_VAIN and self._in_vain % TRY_EACH:
            self._in_vain += 1
            return PLAIN, data
        small = self._zstd.compress(data)
        if len(small) < len(data):
            self._in_vain = 0
            return ZSTD, small
        self._in_vain += 1
        return PLAIN, data


def unpacked(codec: int, data: Bytes, plain: int, where: str) -> Bytes:
    """What was compressed, `plain` bytes long. Raises Damaged; never makes more bytes than that."""
    if codec == PLAIN:
        if len(data) != plain:
            raise Damaged(where, f"a block has {len(data)} bytes in place of {plain}")
        return data
    try:
        if zstandard.frame_content_size(data) != plain:
            raise Damaged(where, f"a compressed block is not one of {plain} bytes")
        return _decompressor().decompress(data, max_output_size=plain)
    except zstandard.ZstdError as error:
        raise Damaged(where, f"a block cannot be decompressed: {error}") from None


def _decompressor() -> zstandard.ZstdDecompressor:
    """This thread's own: making one takes half as long as using it once."""
    if not hasattr(_of_thread, "decompressor"):
        _of_thread.decompressor = zstandard.ZstdDecompressor()
    found: zstandard.ZstdDecompressor = _of_thread.decompressor
    return found


def _derive(context: str, material: bytes) -> bytes:
    return blake3(material, derive_key_context=context).digest()
