"""Writing large files past the kernel's cache.

A pack is written once and read, if ever, much later: what the cache costs (to copy it there, to find pages for it, to write
them back, and to push out what others would read) was more than hashing and compressing the pack had taken.
"""

import errno
import fcntl
import mmap
import os
from collections.abc import Sequence
from typing import Final

from breezeblock.backup.contract import Buffer

__all__ = ["SMALLEST", "write_direct"]

# Below this the cache is the faster way.
SMALLEST: Final = 1024**2
_BUFFER: Final = 1024**2
# What a device may want addresses and lengths to be multiples of.
_ALIGNED: Final = 4096


def write_direct(fd: int, parts: Sequence[Buffer]) -> None:
    """Write the joined parts to the empty file `fd`. Through the cache where the filesystem knows no other way."""
    direct = _set_direct(fd, True)
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
    whole = filled - filled % _ALIGNED
    direct = _write(fd, buffer[:whole], direct=direct)
    if direct:
        _set_direct(fd, False)
    _write(fd, buffer[whole:filled], direct=False)


def _write(fd: int, data: memoryview, *, direct: bool) -> bool:
    """Write all of it; returns whether the file is still written past the cache."""
    while data:
        try:
            done = os.write(fd, data)
        except OSError as error:
            if not direct or error.errno != errno.EINVAL:
                raise
            direct = _set_direct(fd, False)  # it takes the flag and not the data
            continue
        data = data[done:]
        if direct and done % _ALIGNED:
            direct = _set_direct(fd, False)
    return direct


def _set_direct(fd: int, wanted: bool) -> bool:
    """Switch it on or off; returns what it is now."""
    flags = fcntl.fcntl(fd, fcntl.F_GETFL)
    try:
        fcntl.fcntl(fd, fcntl.F_SETFL, flags | os.O_DIRECT if wanted else flags & ~os.O_DIRECT)
    except OSError as error:
        if wanted and error.errno in (errno.EINVAL, errno.EOPNOTSUPP):
            return False
        raise
    return wanted
