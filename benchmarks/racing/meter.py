"""How much of the processors a run takes: of everything that it has started, whatever else runs on the machine."""

import os
from pathlib import Path
from typing import Final

from tests.servers.guard import descendants_of

_TICKS: Final = os.sysconf("SC_CLK_TCK")
# In /proc/PID/stat, behind the name: user and system time of the process, and of its children that have ended.
_TIMES: Final = slice(11, 15)


def cpu_seconds() -> float:
    """Of this process and all below it. Only differences mean anything."""
    return sum(_cpu_ticks(pid) for pid in (os.getpid(), *descendants_of(os.getpid()))) / _TICKS


def _cpu_ticks(pid: int) -> int:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0  # it has ended: its parent has counted it, or will
    return sum(int(ticks) for ticks in fields[_TIMES])
