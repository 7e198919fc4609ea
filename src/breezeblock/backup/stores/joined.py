"""Several pieces of bytes as one file that can be read: nothing is copied but what is asked for."""

import io
import os
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

from breezeblock.backup.contract import Buffer

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

__all__ = ["Joined"]


class Joined(io.RawIOBase):
    """The joined pieces from `start` to `end`, by default all of them."""

    def __init__(self, pieces: Sequence[Buffer], *, start: int = 0, end: int | None = None) -> None:
        super().__init__()
        self._pieces = [memoryview(piece) for piece in pieces if piece]
        self._ends = list(accumulate(len(piece) for piece in self._pieces))
        self._start = start
        self._size = (self._ends[-1] if self._ends else 0) - start if end is None else end - start
        self._at = 0

    def __len__(self) -> int:
        return self._size

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Whoever sends it measures it so, and goes back to send it again."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer: "WriteableBuffer") -> int:
        """Fills the buffer unless the end comes first."""
        target = memoryview(buffer).cast("B")
        done = 0
        while done < len(target) and self._at < self._size:
            where = self._start + self._at
            number = bisect_right(self._ends, where)
            piece = self._pieces[number]
            inside = where - (self._ends[number] - len(piece))
            count = min(len(target) - done, len(piece) - inside, self._size - self._at)
            target[done : done + count] = piece[inside : inside + count]
            done += count
            self._at += count
        return done
