"""The file with the key of an archive: 32 random bytes as 64 hexadecimal digits, as `openssl rand -hex 32` writes them."""

from pathlib import Path
from typing import Final

__all__ = ["read_key"]

KEY_BYTES: Final = 32


def read_key(path: Path) -> bytes:
    """The key in a file. Raises ValueError with a sentence that does not show it; OSError."""
    try:
        key = bytes.fromhex(path.read_text(encoding="ascii").strip())
    except ValueError:
        raise ValueError(f"{path}: expected {2 * KEY_BYTES} hexadecimal digits") from None
    if len(key) != KEY_BYTES:
        raise ValueError(f"{path}: expected {2 * KEY_BYTES} hexadecimal digits, and there are {2 * len(key)}")
    return key
