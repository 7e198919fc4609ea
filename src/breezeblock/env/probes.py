"""What a folder of this machine can do, and where it lies: tried, since rights and mount options say only half of it.

What is tried leaves nothing behind: files that never have a name where the filesystem has such, else one that is unlinked as
soon as it is open.
"""

import errno
import fcntl
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from breezeblock.env.direct import ALIGNED, set_direct
from breezeblock.env.files import FICLONE

__all__ = ["NETWORK", "Mount", "Probed", "mount_of", "probe"]

# Filesystems that other machines may change, or whose locks may live elsewhere. FUSE hides what is behind it.
NETWORK: Final = frozenset(
    {"9p", "afs", "beegfs", "ceph", "cifs", "fuse", "gfs2", "glusterfs", "lustre", "nfs", "nfs4", "ocfs2", "smb3"}
)
_NO_NAMELESS: Final = frozenset({errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL})
_NO_REFLINK: Final = frozenset({errno.EOPNOTSUPP, errno.ENOTTY, errno.EXDEV, errno.EINVAL, errno.ENOSYS})
_ESCAPES: Final = {"\\040": " ", "\\011": "\t", "\\012": "\n", "\\134": "\\"}


@dataclass(frozen=True, slots=True)
class Mount:
    """The filesystem that a path is on."""

    kind: str
    point: str
    device: str

    @property
    def is_network(self) -> bool:
        """Whether other machines may use it."""
        return self.kind.partition(".")[0] in NETWORK


@dataclass(frozen=True, slots=True)
class Probed:
    """What a folder can do for this process."""

    failed: str
    """Which call failed, and why; empty when all of them worked."""
    direct: bool = False
    reflink: bool = False


def mount_of(path: Path, mountinfo: Path = Path("/proc/self/mountinfo")) -> Mount:
    """Where a path, or the nearest folder above it that exists, is mounted; of mounts on one place, the last."""
    here = os.path.realpath(_existing(path))
    found = Mount("unknown", "/", "")
    for line in mountinfo.read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        before, _, after = line.partition(" - ")
        point = _unescaped(before.split()[4])
        if len(point) >= len(found.point) and (here == point or here.startswith(point.rstrip("/") + "/")):
            kind, device = after.split()[:2]
            found = Mount(kind, point, _unescaped(device))
    return found


def _existing(path: Path) -> Path:
    return next(one for one in (path, *path.parents) if one.exists())


def _unescaped(text: str) -> str:
    for escape, sign in _ESCAPES.items():
        text = text.replace(escape, sign)
    return text


def probe(folder: Path, *, name: str) -> Probed:
    """Make a file, allocate, write and sync it, lock it and clone it. `name` is for filesystems without nameless files."""
    doing = "make a file"
    try:
        with _nameless(folder, name) as file, _nameless(folder, f"{name}2") as other:
            doing = "allocate space"
            os.posix_fallocate(file, 0, ALIGNED)
            doing = "write"
            os.pwrite(file, b"x" * ALIGNED, 0)
            direct = _writes_direct(file)
            doing = "sync"
            os.fsync(file)
            doing = "lock a file"
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            doing = "clone a file"
            return Probed("", direct=direct, reflink=_clones(file, other))
    except OSError as error:
        return Probed(f"cannot {doing}: {error.strerror or error}")


def _writes_direct(file: int) -> bool:
    with mmap.mmap(-1, ALIGNED) as page:
        try:
            if not set_direct(file, True):
                return False
            os.pwrite(file, page, 0)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            return False
        finally:
            set_direct(file, False)
        return True


def _clones(file: int, other: int) -> bool:
    try:
        fcntl.ioctl(other, FICLONE, file)
    except OSError as error:
        if error.errno not in _NO_REFLINK:
            raise
        return False
    return True


@contextmanager
def _nameless(folder: Path, name: str) -> Iterator[int]:
    try:
        file = os.open(folder, os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno not in _NO_NAMELESS or not folder.is_dir():
            raise
        file = os.open(folder / name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with suppress(FileNotFoundError):
            (folder / name).unlink()
    try:
        yield file
    finally:
        os.close(file)
