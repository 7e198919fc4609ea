"""Other processes, as /proc shows them, and how to signal one without hitting another that got its number."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Final

STOPPED: Final = "T"


def state(pid: int) -> str | None:
    """The kernel's letter: R, S, D, T (stopped), Z; None when there is no such process."""
    fields = _stat(pid)
    return fields[0] if fields else None


def parent(pid: int) -> int | None:
    """The pid of its parent; None when there is no such process."""
    fields = _stat(pid)
    return int(fields[1]) if fields else None


def command(pid: int) -> str:
    """Its command line, or nothing when it is gone or not ours to read."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def descends_from(pid: int, ancestor: int) -> bool:
    """Whether a process is a child, grandchild, … of another."""
    at: int | None = pid
    for _ in range(64):  # deeper than any tree of ours, so a table that changes while we read it cannot hold us
        at = parent(at) if at else None
        if at == ancestor:
            return True
    return False


def kill_if(pid: int, still: Callable[[], bool]) -> bool:
    """SIGKILL, if `still` holds once the process is pinned. Returns whether the signal was sent.

    The process behind a pidfd never changes: if the number was reused before, `still` says no; if afterwards, nobody is
    hit.
    """
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        if not still():
            return False
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    except OSError:
        return False
    finally:
        os.close(pidfd)
    return True


def _stat(pid: int) -> list[str] | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    # The name stands in parentheses and may have anything in it, parentheses too.
    return text.rpartition(")")[2].split()
