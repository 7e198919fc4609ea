"""Locks among the processes of this machine, by flock on files in one folder.

The kernel keeps them: when a process dies, however it dies, they are free at that moment. A stopped process keeps its own, and
that is right, for it may still be in the middle of what it holds them for.

A file is removed by the last who lets go of it, so names that never come again leave nothing behind; what a killed process
left is taken over by the next who wants that name. Since a file may be removed between opening and locking it, a lock
counts only if the file is still there under its name.
"""

import fcntl
import os
from contextlib import suppress
from pathlib import Path

__all__ = ["HostLock", "HostLocks"]

FILE_MODE = 0o600
FOLDER_MODE = 0o700


class HostLock:
    """A lock that is held until `release`. Its file is open in this process only, never in its children."""

    def __init__(self, fd: int, path: Path) -> None:
        self._fd = fd
        self._path = path

    def release(self) -> None:
        """Let go of it, and remove its file when nobody else holds it."""
        try:
            # Exclusively now, if it was shared. On the way there somebody else may have had it and removed the file, which is
            # why its name is looked at only then: from there on only we could remove it.
            with suppress(BlockingIOError):
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _is_there(self._fd, self._path):
                    os.unlink(self._path)
        finally:
            os.close(self._fd)


class HostLocks:
    """The locks of one folder. All methods block, for as long as the filesystem takes, and never for another process."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def try_take(self, key: str, *, shared: bool) -> HostLock | None:
        """The lock of that key, or None while somebody else has it. `key` is a file name. Raises OSError."""
        path = self._folder / key
        fd = self._open(path)
        try:
            fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
            if _is_there(fd, path):
                return HostLock(fd, path)
        except BlockingIOError:
            pass
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)
        return None

    def _open(self, path: Path) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            return os.open(path, flags, FILE_MODE)
        except FileNotFoundError:
            self._folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
            return os.open(path, flags, FILE_MODE)


def _is_there(fd: int, path: Path) -> bool:
    """Whether the open file still has its name."""
    try:
        named = os.stat(path)
    except FileNotFoundError:
        return False
    return os.path.samestat(os.fstat(fd), named)
