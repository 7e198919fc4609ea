"""The page of memory through which a keeper tells its worker how long it may work.

Two aligned 8-byte words, each written and read in one piece: by views of the memory as such words, since `struct` writes a
float byte by byte. No import but the standard library: the keeper uses it.
"""

import mmap
import os
from typing import Final

_SIZE: Final = 4096


class Page:
    """Implements `gate.Deadline` over a memory file that both processes have open."""

    def __init__(self, file: int) -> None:
        self.file = file
        memory = memoryview(mmap.mmap(file, _SIZE))
        self._until = memory[:8].cast("d")
        self._lapses = memory[8:16].cast("Q")

    @classmethod
    def make(cls) -> "Page":
        """A new page, at first without any right to work."""
        file = os.memfd_create("breezeblock-lease", 0)
        os.ftruncate(file, _SIZE)
        os.set_inheritable(file, True)
        page = cls(file)
        page.publish(until=float("-inf"), lapses=0)
        return page

    @property
    def until(self) -> float:
        """See `gate.Deadline`."""
        return self._until[0]

    @property
    def lapses(self) -> int:
        """See `gate.Deadline`."""
        return self._lapses[0]

    def publish(self, *, until: float, lapses: int) -> None:
        """The keeper's word. The count of lapses goes first: whoever sees the new instant sees that it was lost before."""
        self._lapses[0] = lapses
        self._until[0] = until
