"""Other processes of this machine, found and ended by the lock file that they hold."""

import os
import select
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial

from breezeblock.env import cgroups
from breezeblock.env.contract import Clock, Threads

__all__ = ["RealProcesses"]

# How long the end of killed processes is waited for. Longer means one of them hangs in the kernel: then there is no
# proof, and the caller tries again later, with backoff, rather than block here.
KILL_WAIT_S = 10.0
KILL_PAUSE_S = 0.05
# More than any id that we write into a lock file.
MAX_LOCK_ID_BYTES = 256


class RealProcesses:
    """`Processes` by /proc, pidfds and flock."""

    def __init__(self, threads: Threads, clock: Clock) -> None:
        self._threads = threads
        self._clock = clock

    async def kill_holders(self, lock_path: str, lock_id: str) -> bool:
        """Kill -9 every process that holds the lock of `lock_path`, and wait until none is left.

        The proof is the lock, not the list of processes. A node takes an exclusive flock and all its processes inherit
        that one open file description over fork and exec. The kernel drops the lock when the last of them has closed
        it, and a dying process closes it only after all its threads have left their system calls (and after its own
        asynchronous I/O has ended). So when another lock is granted on a file that still names `lock_id`, no process
        of that node runs, and nothing it began is under way.

        Who merely has the file open does not hold the lock and is left alone: it may be another observer, at the same
        proof. For the same reason we probe with a shared lock: it is granted exactly when no exclusive one is held,
        and two observers neither refuse nor, seeing each other with an exclusive lock, kill one another.

        A process that a node started with the lock file closed is not found by it. Where the node has a control group that
        we can see, everything in that is killed as well, and there is no proof before it is empty.
        """
        give_up_at = self._clock.boottime() + KILL_WAIT_S
        while True:
            proof = await self._threads.run(partial(_probe_or_kill, lock_path, lock_id))
            if proof is not None:
                return proof
            if self._clock.boottime() >= give_up_at:
                return False
            await self._clock.sleep(KILL_PAUSE_S)

    async def nobody_holds(self, lock_path: str, lock_id: str) -> bool:
        """The same proof without killing anyone."""
        return await self._threads.run(lambda: _probe(lock_path, lock_id) is True and _group_is_gone(lock_id))


def _probe_or_kill(lock_path: str, lock_id: str) -> bool | None:
    """True: proof. False: there will be none. None: look again soon, something was or may have been killed."""
    proof = _probe(lock_path, lock_id)
    if proof is False or (proof and _group_is_gone(lock_id)):
        return proof
    try:
        found = os.stat(lock_path)
    except OSError:
        return None
    file = (found.st_dev, found.st_ino)
    if _holds(os.getpid(), file):
        return False  # to kill ourselves proves nothing to us
    group = cgroups.find(lock_id)
    if group is not None:
        group.kill()
    if proof:
        return None
    for pid in _pids():
        if pid != os.getpid() and _holds(pid, file):
            _kill_if_it_still_holds(pid, file)
    return None


def _probe(lock_path: str, lock_id: str) -> bool | None:
    """True: nobody holds the lock, and the file names `lock_id`. False: no such file, or another id. None: held."""
    import fcntl

    try:
        with _opened(lock_path) as fd:
            try:
                fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return None if _names(fd, lock_id) else False
            return _names(fd, lock_id)  # read under the lock, so that both are true at one moment
    except OSError:
        return False


def _group_is_gone(lock_id: str) -> bool:
    """Whether the control group of an incarnation, if it has one here, is empty; then it is removed."""
    group = cgroups.find(lock_id)
    if group is None:
        return True
    if group.is_populated():
        return False
    group.remove()
    return True


def _names(fd: int, lock_id: str) -> bool:
    return lock_id != "" and os.pread(fd, MAX_LOCK_ID_BYTES, 0).strip() == lock_id.encode()


def _kill_if_it_still_holds(pid: int, file: tuple[int, int]) -> None:
    """SIGKILL through a pidfd that was open before the last look.

    The process behind a pidfd never changes. If the pid was reused before we opened it, the look finds a process that
    does not hold the lock; if it is reused after the look, the signal finds the old process dead and hits nobody.
    """
    with suppress(OSError):  # it ended meanwhile, or it is not ours to kill: then the lock stays taken and tells
        pidfd = os.pidfd_open(pid)
        try:
            if _holds(pid, file):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
                select.select([pidfd], [], [], KILL_PAUSE_S)  # readable once it has ended
        finally:
            os.close(pidfd)


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _holds(pid: int, file: tuple[int, int]) -> bool:
    """Whether a process has an exclusive flock on that file through one of its descriptors.

    fdinfo shows the locks of the open file description, so also one that a parent took. It is read first because that
    asks no filesystem: a stat of just any process's file could hang on somebody's dead NFS server.
    """
    try:
        fds = os.listdir(f"/proc/{pid}/fd")
    except OSError:
        return False
    return any(_has_exclusive_flock(pid, fd) and _is_file(pid, fd, file) for fd in fds)


def _has_exclusive_flock(pid: int, fd: str) -> bool:
    try:
        with open(f"/proc/{pid}/fdinfo/{fd}", "rb") as info:
            return any(b"FLOCK" in line and b"WRITE" in line for line in info if line.startswith(b"lock:"))
    except OSError:
        return False


def _is_file(pid: int, fd: str, file: tuple[int, int]) -> bool:
    try:
        found = os.stat(f"/proc/{pid}/fd/{fd}")
    except OSError:
        return False
    return (found.st_dev, found.st_ino) == file


@contextmanager
def _opened(path: str) -> Iterator[int]:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)
