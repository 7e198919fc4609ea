"""Stop processes in the middle of a transaction, or outside of any.

`python -m breezeblock.chaos.stopper DATABASE PID` does the first. Status 0 when it is stopped there.
"""

import contextlib
import os
import signal
import sqlite3
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from breezeblock.store.turnstile import holders
from breezeblock.supervisor import proc

# How long a process is watched for a moment in which it is in the middle of a transaction.
TRIES: Final = 1500
PAUSE_S: Final = 0.003
STOPPED_WITHIN_S: Final = 5.0
# How often a process is stopped and continued until it is in no transaction, and how long others are seen to be in one.
OUTSIDE_TRIES: Final = 40
WRITE_LIMIT_S: Final = 0.3


def stop(database: str, pid: int) -> bool:
    """SIGSTOP it at a moment when it holds the turnstile or SQLite's write lock. False when none came; then it runs."""
    for _ in range(TRIES):
        if not _signal(pid, signal.SIGSTOP):
            return False
        if _is_stopped(pid) and pid in holders(database)[:1]:
            return True
        _signal(pid, signal.SIGCONT)
        time.sleep(PAUSE_S)
    return False


def stop_outside(database: Path, pids: Sequence[int]) -> None:
    """SIGSTOP all of them while none holds the write lock: who is stopped with it is killed for it (`supervisor/guard.py`)."""
    for _ in range(OUTSIDE_TRIES):
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        if _can_write(database):
            return
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
        time.sleep(PAUSE_S)
    raise AssertionError(f"{pids} are in a transaction whenever they are looked at")


def _can_write(database: Path) -> bool:
    with contextlib.closing(sqlite3.connect(database, timeout=WRITE_LIMIT_S)) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return False
        connection.rollback()
        return True


def _is_stopped(pid: int) -> bool:
    until = time.monotonic() + STOPPED_WITHIN_S
    while (state := proc.state(pid)) not in (None, "Z", "X") and time.monotonic() < until:
        if state == proc.STOPPED:
            return True
    return False


def _signal(pid: int, number: signal.Signals) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
        return True
    return False


if __name__ == "__main__":
    sys.exit(0 if stop(sys.argv[1], int(sys.argv[2])) else 1)
