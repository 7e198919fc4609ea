"""Writing packs past the kernel's cache: one is written once and read, if ever, much later."""

import errno
import mmap
import os
from collections.abc import Sequence
from typing import Final

from breezeblock.backup.contract import Buffer
from breezeblock.env.direct import ALIGNED, SMALLEST, set_direct

__all__ = ["SMALLEST", "write_direct"]

_BUFFER: Final = 1024**2


def write_direct(fd: int, parts: Sequence[Buffer]) -> None:
    """Write the joined parts to the empty file `fd`. Through the cache where the filesystem knows no other way."""
    direct = set_direct(fd, True)
    # Begins at a page, as no bytes do. Goes with the last look into it: an error's traceback may hold one.
    buffer = memoryview(mmap.mmap(-1, _BUFFER))
    filled = 0
    for part in parts:
        left = memoryview(part)
        while left:
            count = min(len(left), _BUFFER - filled)
            buffer[filled : filled + count] = left[:count]
            filled, left = filled + count, left[count:]
            if filled == _BUFFER:
                direct = _write(fd, buffer, direct=direct)
                filled = 0
    whole = filled - filled % ALIGNED
    direct = _write(fd, buffer[:whole], direct=direct)
    if direct:
        set_direct(fd, False)
    _write(fd, buffer[whole:filled], direct=False)


def _write(fd: int, data: memoryview, *, direct: bool) -> bool:
    """Write all of it; returns whether the file is still written past the cache."""
    while data:
        try:
            done = os.write(fd, data)
        except OSError as error:
            if not direct or error.errno != errno.EINVAL:
                raise
            direct = set_direct(fd, False)  # it takes the flag and not the data
            continue
        data = data[done:]
        if direct and done % ALIGNED:
            direct = set_direct(fd, False)
    return direct
