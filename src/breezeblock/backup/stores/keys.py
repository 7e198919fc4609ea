"""What a key may be, for every store."""

import re
from collections.abc import Sequence
from typing import Final

from breezeblock.backup.contract import Buffer, StoreRefused

__all__ = ["check_key", "check_prefix", "check_size", "is_key", "is_part_of_a_key"]

LONGEST: Final = 200
_PART: Final = r"[A-Za-z0-9_-][A-Za-z0-9._-]*"
_PART_FORM: Final = re.compile(_PART)
_KEY: Final = re.compile(f"{_PART}(?:/{_PART})*")
_PREFIX: Final = re.compile(f"(?:{_PART}/)*(?:{_PART})?")


def check_key(key: str) -> None:
    """Raises StoreRefused. Keys are read from manifests too, which anybody may have written: none leads out of the store."""
    if not is_key(key):
        raise StoreRefused(f"{key[:LONGEST]!r} cannot be the name of an object in a backup store.")


def check_prefix(prefix: str) -> None:
    """The same for how a key begins; nothing begins every key."""
    if len(prefix) > LONGEST or not _PREFIX.fullmatch(prefix):
        raise StoreRefused(f"{prefix[:LONGEST]!r} cannot be how the name of an object in a backup store begins.")


def check_size(parts: Sequence[Buffer], *, at_most: int, store: str) -> int:
    """The joined parts' length. Raises StoreRefused when it is more than the store takes."""
    size_bytes = sum(len(part) for part in parts)
    if size_bytes > at_most:
        raise StoreRefused(f"Backup store {store} takes objects of at most {at_most} bytes; this one has {size_bytes}.")
    return size_bytes


def is_key(text: str) -> bool:
    """Whether it can be a key: others may keep things beside ours."""
    return len(text) <= LONGEST and _KEY.fullmatch(text) is not None


def is_part_of_a_key(name: str) -> bool:
    """Whether a key may have it between two slashes."""
    return _PART_FORM.fullmatch(name) is not None
