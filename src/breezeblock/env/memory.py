"""How this process keeps memory that it will need again."""

import ctypes
from typing import Final

__all__ = ["keep_freed_memory"]

_TRIM_THRESHOLD: Final = -1
_MMAP_THRESHOLD: Final = -3
_ARENA_MAX: Final = -8
# Pieces and packs come and go by some MiB: given back to the kernel and taken again, each page is filled with zeros anew,
# which took as long as hashing what is then put into it.
_KEPT_BYTES: Final = 32 * 1024**2
_LARGE_BYTES: Final = 32 * 1024**2
# Each further arena keeps freed memory of its own.
_ARENAS: Final = 2


def keep_freed_memory() -> None:
    """Let freed memory stay with the process. Where the C library is not glibc, nothing happens."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for option, value in ((_TRIM_THRESHOLD, _KEPT_BYTES), (_MMAP_THRESHOLD, _LARGE_BYTES), (_ARENA_MAX, _ARENAS)):
            mallopt(option, value)
