"""What clients write into their volumes, and whether it is there.

Every block has its place and its writer in it, so that one which is missing, stands elsewhere, or is another volume's is seen.
It is cheap to make again from its tag, so that it can be compared at every opportunity.
"""

import os
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Final

__all__ = ["HEAD_BYTES", "ZEROS", "files_of", "holds", "is_one_of", "pattern", "write"]

# The tag of what nobody has written to.
ZEROS: Final = ""
DATA_BYTES: Final = (256 * 1024, 3 * 1024**2)
# More is in no pattern.
HEAD_BYTES: Final = max(DATA_BYTES)
BLOCK_BYTES: Final = 4096
PLACE_BYTES: Final = 8
PART: Final = ".part"


def pattern(tag: str) -> bytes:
    """What a client writes under a tag; the first bytes of what nobody wrote to are zeros."""
    if tag == ZEROS:
        return bytes(DATA_BYTES[0])
    chance = random.Random(tag)
    blocks = chance.randint(*DATA_BYTES) // BLOCK_BYTES
    rest = chance.randbytes(BLOCK_BYTES - PLACE_BYTES)
    return b"".join(place.to_bytes(PLACE_BYTES, "little") + rest for place in range(blocks))


def write(path: Path, tag: str) -> bool:
    """Write the pattern of a tag. False when not all of it is there: the storage is full or read-only.

    A storage that becomes full takes a part, and says so only by the number of bytes.
    """
    whole = pattern(tag)
    try:
        file = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            written = os.pwrite(file, whole, 0)
            os.fsync(file)
        finally:
            os.close(file)
    except OSError:
        return False
    return written == len(whole)


def is_one_of(head: bytes, tags: Iterable[str]) -> bool:
    """Whether a file that begins so holds what was written under one of the tags."""
    return any(head.startswith(pattern(tag)) for tag in tags)


def files_of(storage: Path, resource_id: str) -> list[Path]:
    """The whole objects of a resource."""
    return [path for path in storage.glob(f"{resource_id[:2]}/{resource_id}.*") if path.suffix != PART]


def holds(storage: Path, resource_id: str, tags: Iterable[str]) -> bool | None:
    """Whether a resource that is at rest holds what was written under one of the tags. None when nobody can tell: it has
    several objects, or none (any more)."""
    found = files_of(storage, resource_id)
    if len(found) != 1:
        return None
    try:
        with found[0].open("rb") as file:
            head = file.read(HEAD_BYTES)
    except FileNotFoundError:
        return None
    return is_one_of(head, tags)
