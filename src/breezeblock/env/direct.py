"""Writing past the kernel's cache what nobody is going to read soon.

What the cache costs (to copy there, to find pages for it, to write them back, and to push out what others would read) is more
than hashing and compressing the same data takes.
"""

import errno
import fcntl
import mmap
import os
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Final

__all__ = ["ALIGNED", "SMALLEST", "set_direct", "write_pages"]

# Below this the cache is the faster way.
SMALLEST: Final = 1024**2
# What a device may want addresses and lengths to be multiples of.
ALIGNED: Final = 4096
_BUFFER: Final = 4 * 1024**2

_of_thread = threading.local()


def write_pages(fd: int, data: memoryview, offset: int, effect: Callable[[], AbstractContextManager[None]]) -> int:
    """Write whole pages of `data` to `offset`, a multiple of a page, each call within `effect`; returns how many bytes.

    The rest is the caller's: less than a page, or all from where the filesystem wants it to go through the cache.
    """
    if not set_direct(fd, True):
        return 0
    whole, done = len(data) - len(data) % ALIGNED, 0
    try:
        buffer = _pages()
        while done < whole:
            count = min(whole - done, len(buffer))
            buffer[:count] = data[done : done + count]
            try:
                with effect():
                    written = os.pwrite(fd, buffer[:count], offset + done)
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
                break  # it takes the flag and not the data
            done += written
            if written % ALIGNED:
                break
    finally:
        set_direct(fd, False)
    return done


def _pages() -> memoryview:
    """A buffer of this thread that begins at a page, as no bytes do."""
    if not hasattr(_of_thread, "buffer"):
        _of_thread.buffer = memoryview(mmap.mmap(-1, _BUFFER))
    found: memoryview = _of_thread.buffer
    return found


def set_direct(fd: int, wanted: bool) -> bool:
    """Switch it on or off; returns what it is now."""
    flags = fcntl.fcntl(fd, fcntl.F_GETFL)
    try:
        fcntl.fcntl(fd, fcntl.F_SETFL, flags | os.O_DIRECT if wanted else flags & ~os.O_DIRECT)
    except OSError as error:
        if wanted and error.errno in (errno.EINVAL, errno.EOPNOTSUPP):
            return False
        raise
    return wanted
