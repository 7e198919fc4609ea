"""Nothing that a process started outlives it: what has lost its parent comes to us, and is ended here.

A process that became a subreaper gets every descendant whose own parent has died. So whatever a worker started and
forgot, in whatever session or with whatever files closed, is a child of its keeper as soon as it is nobody else's.
"""

import contextlib
import ctypes
import os
import signal
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Final

import structlog

from breezeblock.env.contract import Clock

log = structlog.get_logger(__name__)

_PR_SET_CHILD_SUBREAPER: Final = 36
LOOK_EVERY_S: Final = 1.0
END_LOOK_EVERY_S: Final = 0.01
# Longer than any process needs to die that is not inside a system call that hangs.
SAY_SO_AFTER_LOOKS: Final = 500


def adopt_orphans() -> None:
    """Be the new parent of every descendant that loses its own."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER) failed")


async def end_orphans(clock: Clock, known: Callable[[], Collection[int] | None]) -> None:
    """For ever: kill, reap and report children that are not `known`: none of ours, but come to us.

    `known` answers None while a child is being started that it cannot name yet. One is killed when it is seen for the second
    time, since one that is dying anyhow needs no word.
    """
    before: set[int] = set()
    while True:
        await clock.sleep(LOOK_EVERY_S)
        ours = known()
        if ours is None:
            continue
        strangers = {pid for pid in children() - set(ours) if not _reap(pid)}
        for pid in strangers & before:
            log.warning("orphan.killed", pid=pid, command=_command(pid))
            _kill(pid)
        before = strangers


async def end_children(clock: Clock) -> None:
    """Kill and reap children, and theirs as they come to us, until there are none. Nobody else may wait for one of them.

    It does not give up: as long as one hangs inside a system call, nobody may believe that all are gone.
    """
    looks = 0
    while _any_left():
        for pid in children():
            if not _reap(pid):
                _kill(pid)
        looks += 1
        if looks == SAY_SO_AFTER_LOOKS:
            log.warning("children.do_not_end", left={pid: _command(pid) for pid in children()})
        if _any_left():
            await clock.sleep(END_LOOK_EVERY_S)


def children() -> set[int]:
    """The pids of our children, zombies among them. One may be missing while others end: look again."""
    found: set[int] = set()
    for task in Path("/proc/self/task").iterdir():
        try:
            found.update(map(int, (task / "children").read_text().split()))
        except FileNotFoundError:
            if not (task / "stat").exists():
                continue  # a thread that has ended
            return _children_by_parent()  # a kernel without these files
        except ProcessLookupError:
            continue
    return found


def _children_by_parent() -> set[int]:
    me = str(os.getpid())
    found = set()
    for path in Path("/proc").iterdir():
        if path.name.isdigit():
            with contextlib.suppress(OSError):
                # The name stands in parentheses and may have anything in it; the state and the parent follow.
                if (path / "stat").read_text(errors="replace").rpartition(")")[2].split()[1] == me:
                    found.add(int(path.name))
    return found


def _any_left() -> bool:
    """The kernel's own word, zombies included."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _reap(pid: int) -> bool:
    """Whether it has ended; then it is gone from the table, too."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True


def _kill(pid: int) -> None:
    # A child of ours that nobody else reaps keeps its number, so this hits nobody else.
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""
