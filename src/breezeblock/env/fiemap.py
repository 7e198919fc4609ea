"""Where the data of a file lies on its device: the FIEMAP call of Linux (Documentation/filesystems/fiemap.rst)."""

import ctypes
import errno
import os
import struct
from typing import Final

from breezeblock.env.contract import Extent

__all__ = ["extents"]

FS_IOC_FIEMAP: Final = 0xC020660B
# Write what is dirty first: data that has no place yet has one then.
FLAG_SYNC: Final = 0x1
EXTENTS_AT_ONCE: Final = 2048

HEAD: Final = struct.Struct("=QQLLLL")
EXTENT: Final = struct.Struct("=QQQQQLLLL")

LAST: Final = 0x1
# Preallocated: reads as zeros, as a hole does. What was written into it has been synced, and is not this any more.
UNWRITTEN: Final = 0x800
# The address says nothing (unknown, not allocated yet, not aligned, within metadata), or it is that of something larger
# (compressed).
_PLACELESS: Final = 0x2 | 0x4 | 0x8 | 0x80 | 0x100 | 0x200 | 0x400

_CANNOT: Final = {errno.EOPNOTSUPP, errno.ENOTTY, errno.EBADR, errno.ENOSYS, errno.EINVAL}

# Those whose places are known to be places: XFS and btrfs. Others answer with the offset itself (SMB), or with a place on one
# of several devices (bcachefs), and nothing in the answer says so.
_TRUE_PLACES: Final = frozenset({0x58465342, 0x9123683E})


def extents(fd: int, offset: int, length: int) -> list[Extent] | None:
    """What of the file's data touches these bytes, in order; None where the filesystem cannot tell. Raises OSError."""
    if _kind_of_filesystem(fd) not in _TRUE_PLACES:
        return None
    found: list[Extent] = []
    at, end = offset, offset + length
    while at < end:
        part = _asked(fd, at, end - at)
        if part is None:
            return None
        if not part:
            break
        found += [extent for extent, flags in part if not flags & UNWRITTEN]
        if part[-1][1] & LAST:
            break
        at = part[-1][0].end
    return found


def _asked(fd: int, offset: int, length: int) -> list[tuple[Extent, int]] | None:
    """One call's worth, with the flags of each."""
    answer = bytearray(HEAD.size + EXTENTS_AT_ONCE * EXTENT.size)
    HEAD.pack_into(answer, 0, offset, length, FLAG_SYNC, 0, EXTENTS_AT_ONCE, 0)
    # Not fcntl.ioctl, which keeps all other threads waiting while this one waits for the disk.
    passed = (ctypes.c_char * len(answer)).from_buffer(answer)
    if _library().ioctl(fd, FS_IOC_FIEMAP, passed) < 0:
        number = ctypes.get_errno()
        if number in _CANNOT:
            return None
        raise OSError(number, os.strerror(number))
    count = HEAD.unpack_from(answer)[3]
    body = memoryview(answer)[HEAD.size : HEAD.size + count * EXTENT.size]
    return [
        (Extent(logical, logical + size, None if flags & _PLACELESS else physical), flags)
        for logical, physical, size, _, _, flags, *_ in EXTENT.iter_unpack(body)
    ]


def _kind_of_filesystem(fd: int) -> int:
    """The magic number of statfs(2)."""
    answer = ctypes.create_string_buffer(256)
    if _library().fstatfs(fd, answer) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    (kind,) = struct.unpack_from("=l" if ctypes.sizeof(ctypes.c_long) == 4 else "=q", answer)
    return int(kind) & 0xFFFFFFFF


def _library() -> ctypes.CDLL:
    library = ctypes.CDLL(None, use_errno=True)
    library.ioctl.argtypes = (ctypes.c_int, ctypes.c_ulong, ctypes.c_void_p)
    library.fstatfs.argtypes = (ctypes.c_int, ctypes.c_void_p)
    return library
