"""Bytes that backups and restores move, counted for each store in the memory that `up` shares among its processes.

It is the memory in which a process counts its rings (`doorbells.tally`), behind those: nothing is lost by a kill. Each word has
one writer, who is told the same stores as all that read.
"""

import mmap
import os
from collections.abc import Iterable
from typing import Final

__all__ = ["WHAT", "ByteCounts", "bytes_counted_in"]

# The first page is the rings'.
_BEGIN: Final = mmap.PAGESIZE
WHAT: Final = ("read", "stored", "deduplicated", "restored")
_WORD: Final = 8


class ByteCounts:
    """What one process counts for one of the stores. Without a file it counts for itself."""

    def __init__(self, file: int, store: str, *, stores: Iterable[str]) -> None:
        names = sorted(stores)
        words = _words_of(os.memfd_create("breezeblock-bytes") if file < 0 else file, len(names))
        self._words = words[names.index(store) * len(WHAT) :]

    def add(self, *, read: int = 0, stored: int = 0, deduplicated: int = 0, restored: int = 0) -> None:
        """See `work.traffic.Traffic`."""
        for at, size in enumerate((read, stored, deduplicated, restored)):
            self._words[at] += size


def bytes_counted_in(file: int, *, stores: Iterable[str]) -> dict[str, dict[str, int]]:
    """What the process with this file has counted, by store."""
    names = sorted(stores)
    words = _words_of(file, len(names))
    return {
        name: dict(zip(WHAT, words[at * len(WHAT) : (at + 1) * len(WHAT)], strict=True))
        for at, name in enumerate(names)
    }


def _words_of(file: int, stores: int) -> "memoryview[int]":
    size = _BEGIN + max(1, stores) * len(WHAT) * _WORD
    if os.fstat(file).st_size < size:
        os.posix_fallocate(file, 0, size)  # all of it now: memory that runs out later would end the process
    return memoryview(mmap.mmap(file, size - _BEGIN, offset=_BEGIN)).cast("Q")
