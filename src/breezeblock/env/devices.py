"""What a host does with a device or a file that is a disk: who uses it, writing back, forbidding to write.

Only the kernel knows who uses a block device, and tells it by refusing it to who wants it alone. Of a file it does not say;
but the two ways to use one as a disk, a loop device and swap space, are in tables of its own.
"""

import errno
import fcntl
import os
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

__all__ = ["flush", "forbid_writing", "permit_writing", "users_of"]

# Of <linux/fs.h>.
BLKROSET: Final = 0x125D
BLKROGET: Final = 0x125E
# What is in /dev may have no device behind it any more, or not yet.
GONE: Final = (errno.ENOENT, errno.ENXIO, errno.ENODEV)
LOOPS: Final = Path("/sys/block")
MOUNTS: Final = Path("/proc/self/mountinfo")
SWAPS: Final = Path("/proc/swaps")


def users_of(path: Path) -> list[str]:
    """Who uses it as a disk, as words for people; nobody, if it is not there. Raises OSError."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return []
    if stat.S_ISBLK(found.st_mode):
        return _mounts(found) + _swaps(found) or _held(path)
    return [user for loop in _loops(found) for user in _loop_users(loop)] + _swaps(found)


def flush(path: Path) -> None:
    """Let everything that was written to it be on it. Nothing, if it is not there. Raises OSError."""
    with _opened(path) as file:
        if file is not None:
            os.fsync(file)


def forbid_writing(path: Path) -> bool:
    """Let the kernel refuse to write to a block device; False for a file, where it cannot. Needs root. Raises OSError."""
    with _opened(path) as file:
        if file is None or not stat.S_ISBLK(os.fstat(file).st_mode):
            return False
        fcntl.ioctl(file, BLKROSET, struct.pack("i", 1))
        return True


def permit_writing(path: Path) -> None:
    """Take that back, if it was so: a device may outlive what it is connected to, and be the next volume's. Raises OSError."""
    with _opened(path) as file:
        if file is not None and stat.S_ISBLK(os.fstat(file).st_mode):
            (forbidden,) = struct.unpack("i", fcntl.ioctl(file, BLKROGET, struct.pack("i", 0)))
            if forbidden:
                fcntl.ioctl(file, BLKROSET, struct.pack("i", 0))


@contextmanager
def _opened(path: Path) -> Iterator[int | None]:
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        if error.errno not in GONE:
            raise
        yield None
        return
    try:
        yield file
    finally:
        os.close(file)


def _held(path: Path) -> list[str]:
    """What claims a device is a mount, swap space, another device upon it, or a program that wants it alone."""
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_EXCL | os.O_CLOEXEC))
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        return ["something that holds the device"]
    return []


def _mounts(device: os.stat_result) -> list[str]:
    wanted = f"{os.major(device.st_rdev)}:{os.minor(device.st_rdev)}"
    lines = [line.split() for line in MOUNTS.read_text(errors="surrogateescape").splitlines()]
    return [f"the filesystem at {_spelled(words[4])}" for words in lines if words[2] == wanted]


def _swaps(wanted: os.stat_result) -> list[str]:
    try:
        lines = SWAPS.read_text(errors="surrogateescape").splitlines()[1:]
    except FileNotFoundError:  # a kernel without swap
        return []
    return ["swap space" for line in lines if _is_it(Path(_spelled(line.split()[0])), wanted)]


def _loops(file: os.stat_result) -> Iterator[Path]:
    """The loop devices upon a file."""
    for backing in sorted(LOOPS.glob("loop*/loop/backing_file")):
        try:
            of = Path(backing.read_text(errors="surrogateescape").rstrip("\n"))
        except OSError:  # let go of while we looked
            continue
        if _is_it(of, file):
            yield Path("/dev") / backing.parent.parent.name


def _loop_users(loop: Path) -> list[str]:
    try:
        mounts = _mounts(os.stat(loop))
    except FileNotFoundError:  # a container may have the table and not the device
        mounts = []
    return [f"{loop} under {mount}" for mount in mounts] or [str(loop)]


def _is_it(path: Path, wanted: os.stat_result) -> bool:
    try:
        found = os.stat(path)
    except OSError:
        return False
    if stat.S_ISBLK(wanted.st_mode):
        return stat.S_ISBLK(found.st_mode) and found.st_rdev == wanted.st_rdev
    return os.path.samestat(found, wanted)


def _spelled(text: str) -> str:
    """A path as it is, of the form that the kernel's tables have: blanks as octal numbers."""
    for octal, letter in ((r"\040", " "), (r"\011", "\t"), (r"\012", "\n"), (r"\134", "\\")):
        text = text.replace(octal, letter)
    return text
