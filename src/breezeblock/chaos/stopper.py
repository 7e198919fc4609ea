"""`python -m breezeblock.chaos.stopper DATABASE PID`: stop a process in the middle of a transaction. Status 0 when it is."""

import contextlib
import os
import signal
import sys
import time
from typing import Final

from breezeblock.store.turnstile import holders
from breezeblock.supervisor import proc

# How long a process is watched for a moment in which it is in the middle of a transaction.
TRIES: Final = 1500
PAUSE_S: Final = 0.003
STOPPED_WITHIN_S: Final = 5.0


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
