"""Run one daemon until it ends or nobody uses it any more, and leave nothing of it behind.

    guard.py FOLDER USER STOP_SIGNAL PROGRAM ARGUMENT...    (USER is - for whoever runs this)
    guard.py FOLDER                                         the folder's janitor: removes it at the very end

Users of a folder hold a shared lock on its file `users`. The kernel takes the lock back when they die, whatever killed them
and however many threads they had; then all guards of the folder kill what they started, and the janitor removes the folder.

A program of its own, without imports of ours: it must start fast and stay small, one runs for each daemon.
"""

import contextlib
import ctypes
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
SIGNALS = (signal.SIGTERM, signal.SIGINT)
LIBC = ctypes.CDLL(None, use_errno=True)


def prctl(option: int, value: int) -> None:
    if LIBC.prctl(option, value, 0, 0, 0):
        raise OSError(ctypes.get_errno(), f"prctl {option} failed")


def wait_until_unused(users: int) -> None:
    """Return when no user is left."""
    fcntl.flock(users, fcntl.LOCK_EX)
    fcntl.flock(users, fcntl.LOCK_UN)  # for the other guards, who wait as well


def children_of(pid: int) -> list[int]:
    found: list[int] = []
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                found += map(int, (thread / "children").read_text().split())
    return found


def descendants_of(pid: int) -> list[int]:
    """Everything below a process, parents first."""
    found = children_of(pid)
    for child in found:  # the list grows while it is read
        found += children_of(child)
    return found


def kill_all_below(pid: int) -> None:
    """Kill until nothing is left: what was forked during one look is found by the next."""
    while alive := [child for child in descendants_of(pid) if not is_zombie(child)]:
        for child in alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)


def is_zombie(pid: int) -> bool:
    return _state(Path(f"/proc/{pid}/stat")) in "ZX"


def is_stopped(pid: int) -> bool:
    """Whether each of its threads is, or has ended."""
    try:
        return all(_state(thread) in "TtZX" for thread in Path(f"/proc/{pid}/task").glob("*/stat"))
    except (FileNotFoundError, ProcessLookupError):
        return True


def _state(stat: Path) -> str:
    """The letter of proc_pid_stat(5); X where there is nothing any more."""
    try:
        return stat.read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "X"


def guard(folder: Path, user: str, stop_signal: int, command: list[str]) -> int:
    """The daemon's exit status. What the daemon left behind is dead before this returns."""
    users = os.open(folder / "users", os.O_RDWR)
    guards = os.open(folder / "guards", os.O_RDWR | os.O_CREAT)
    fcntl.flock(guards, fcntl.LOCK_SH)
    prctl(PR_SET_CHILD_SUBREAPER, 1)  # what the daemon detaches stays below us
    # A signal that comes before we can pass it on waits.
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)

    def become_daemon() -> None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        # After the change of user, which would clear it. The parent it names is this thread, which lasts to the end.
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)

    daemon = subprocess.Popen(
        command,
        cwd="/",
        stdin=subprocess.DEVNULL,
        user=None if user == "-" else user,
        group=None if user == "-" else user,
        extra_groups=None if user == "-" else [],
        preexec_fn=become_daemon,
    )

    def pass_on(number: int, frame: object) -> None:
        with contextlib.suppress(ProcessLookupError):  # it has just ended
            os.kill(daemon.pid, stop_signal)

    # A handler, not SIG_IGN: a daemon inherits what is ignored.
    signal.signal(signal.SIGTERM, pass_on)
    signal.signal(signal.SIGINT, lambda number, frame: None)

    def end() -> None:
        wait_until_unused(users)
        kill_all_below(os.getpid())

    # Its thread never gets a signal: only a signal to this one interrupts what waits below.
    threading.Thread(target=end, daemon=True).start()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    while True:
        pid, status = os.wait()  # orphans too: nobody else would reap them
        if pid == daemon.pid:
            break
    kill_all_below(os.getpid())
    with contextlib.suppress(ChildProcessError):  # until none is left
        while True:
            os.wait()
    return os.waitstatus_to_exitcode(status)


def janitor(folder: Path) -> None:
    users = os.open(folder / "users", os.O_RDWR)
    guards = os.open(folder / "guards", os.O_RDWR | os.O_CREAT)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    wait_until_unused(users)
    fcntl.flock(guards, fcntl.LOCK_EX)
    shutil.rmtree(folder)


if __name__ == "__main__":
    if len(sys.argv) == 2:
        janitor(Path(sys.argv[1]))
    else:
        status = guard(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4:])
        sys.exit(status if status >= 0 else 128 - status)
