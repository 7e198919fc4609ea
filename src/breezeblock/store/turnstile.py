"""A fair queue in front of SQLite's single write lock, shared by all processes on one database file.

SQLite waits for its write lock by polling with growing sleeps, so under load some process is always unlucky for
seconds: long enough to lose a lease. Writers therefore first take a blocking record lock on a file beside the database,
for which the kernel keeps a queue. It protects nothing: whoever writes without it (the sqlite3 shell) is still kept out
by SQLite itself. No import of SQLAlchemy here: the keeper uses it, too.
"""

import errno
import fcntl
import os
import struct
from types import TracebackType

# struct flock on 64-bit Linux: l_type, l_whence, (padding), l_start, l_len, l_pid
_FLOCK = struct.Struct("hhqqi4x")
# SQLite's write lock in WAL mode: byte 120 of the -shm file (os_unix.c, UNIX_SHM_BASE; WAL_WRITE_LOCK is slot 0).
_WAL_WRITE_LOCK_OFFSET = 120
# Whoever has a database open in WAL mode holds this byte of the -shm file for reading (os_unix.c, UNIX_SHM_DMS).
_WAL_OPEN_OFFSET = 128


class Turnstile:
    """The queue of one database file. One instance a process, used by one thread at a time."""

    def __init__(self, database_path: str) -> None:
        self._file = os.open(database_path + "-turn", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def __enter__(self) -> None:
        fcntl.lockf(self._file, fcntl.LOCK_EX)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        fcntl.lockf(self._file, fcntl.LOCK_UN)

    def close(self) -> None:
        """Give the place in the queue up. Closing drops every record lock that this process has on the file."""
        os.close(self._file)


def holders(database_path: str) -> tuple[int, ...]:
    """Pids that hold the turnstile or SQLite's write lock at this instant, from F_GETLK. None of them is us."""
    found: list[int] = []
    for suffix, offset in (("-shm", _WAL_WRITE_LOCK_OFFSET), ("-turn", 0)):
        pid = _holder(database_path + suffix, offset)
        if pid is not None and pid not in found:
            found.append(pid)
    return tuple(found)


def user_of(database_path: str) -> int | None:
    """The pid of another process that has the database open at this instant: 0 for one that has none here; None for nobody.

    Nothing is closed: that would drop the record locks of this very process, which may have it open, too. So this is for
    commands, which end soon.
    """
    try:
        file = os.open(database_path + "-shm", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    kind, pid = _asked(file, _WAL_OPEN_OFFSET)
    return None if kind == fcntl.F_UNLCK else max(pid, 0)


def _holder(path: str, offset: int) -> int | None:
    try:
        file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ENOENT:
            return None
        raise
    try:
        kind, pid = _asked(file, offset)
    finally:
        # Closing drops our own record locks on this file. The caller must be a process that has none: the supervisor.
        os.close(file)
    return None if kind == fcntl.F_UNLCK or pid <= 0 else pid


def _asked(file: int, offset: int) -> tuple[int, int]:
    """What kind of lock would keep us from writing there, and whose it is."""
    asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, offset, 1, 0)
    kind, _, _, _, pid = _FLOCK.unpack(fcntl.fcntl(file, fcntl.F_GETLK, asked))
    return kind, pid
