"""The page of memory through which a keeper tells its worker how long it may work.

Two aligned 8-byte words, each written and read in one piece. No import but the standard library: the keeper uses it.
"""

import mmap
import os
import struct
from typing import Final

_UNTIL: Final = struct.Struct("=d")
_LAPSES: Final = struct.Struct("=Q")
_SIZE: Final = 4096


class Page:
    """Implements `gate.Deadline` over a memory file that both processes have open."""

    def __init__(self, file: int) -> None:
        self.file = file
        self._memory = mmap.mmap(file, _SIZE)

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
        return float(_UNTIL.unpack_from(self._memory, 0)[0])

    @property
    def lapses(self) -> int:
        """See `gate.Deadline`."""
        return int(_LAPSES.unpack_from(self._memory, 8)[0])

    def publish(self, *, until: float, lapses: int) -> None:
        """The keeper's word. The count of lapses goes first: whoever sees the new instant sees that it was lost before."""
        _LAPSES.pack_into(self._memory, 8, lapses)
        _UNTIL.pack_into(self._memory, 0, until)
