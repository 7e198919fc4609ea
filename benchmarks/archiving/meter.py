"""Runs a program and tells what it took: time, processor time, and memory with all that it starts."""

import contextlib
import json
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.servers.guard import descendants_of

__all__ = ["Command", "Failed", "Used", "drop_caches", "measure"]

LOOK_EVERY_S: Final = 0.05
LONGEST_S: Final = 1800.0
# Of what a program that failed has printed, so many characters are told.
PRINTED: Final = 2000
DROP_CACHES: Final = Path("/proc/sys/vm/drop_caches")
_MIB: Final = 1024**2
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Command:
    """A program to run. One that stands in for a service `tells` its own times, without that of its start."""

    words: Sequence[str]
    folder: Path
    environ: Mapping[str, str] = field(default_factory=dict)
    tells: bool = False


@dataclass(frozen=True, slots=True)
class Used:
    """What it took. `flush_s`: until everything that it wrote was on the disk, afterwards."""

    seconds: float
    cpu_s: float
    peak_mib: float
    flush_s: float


def drop_caches(folder: Path) -> bool:
    """Let nothing of a disk be in memory. False when only root may do that."""
    _flush(folder)
    try:
        DROP_CACHES.write_text("3")
    except OSError:
        return False
    return True


def _flush(folder: Path) -> None:
    """Of that filesystem alone: what others write elsewhere is not to be waited for."""
    subprocess.run(["sync", "--file-system", str(folder)], check=True)


class Failed(Exception):
    """A program did not do it. Says how it ended, and what it printed last."""


def measure(command: Command) -> Used:
    """Run it to its end. Raises Failed."""
    with tempfile.TemporaryFile() as printed, tempfile.TemporaryFile() as complaints:
        began = time.monotonic()
        process = subprocess.Popen(
            command.words,
            cwd=command.folder,
            env={**os.environ, **command.environ},
            stdin=subprocess.DEVNULL,
            stdout=printed,
            stderr=complaints,
            start_new_session=True,
        )
        with _Watch(process.pid) as watch:
            try:
                _, status, usage = os.wait4(process.pid, 0)
            except BaseException:  # whoever ends this run ends what it measures
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                raise
        seconds = time.monotonic() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        _flush(command.folder)
        flush_s = time.monotonic() - began - seconds
        cpu_s = usage.ru_utime + usage.ru_stime
        printed.seek(0)
        complaints.seek(0)
        if process.returncode:
            why = complaints.read().decode(errors="replace") + printed.read().decode(errors="replace")
            raise Failed(f"{' '.join(command.words)}: ended with {process.returncode}\n{why[-PRINTED:]}")
        if command.tells:
            told = json.loads(printed.read().splitlines()[-1])
            seconds, cpu_s = told["seconds"], told["cpu_s"]
    return Used(seconds, cpu_s, watch.peak_bytes / _MIB, flush_s)


class _Watch:
    """Looks at the memory of a process and all below it, from time to time, and ends what takes for ever."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._deadline = time.monotonic() + LONGEST_S
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self.peak_bytes = 0

    def __enter__(self) -> "_Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(LOOK_EVERY_S):
            self.peak_bytes = max(self.peak_bytes, sum(map(_resident, [self._pid, *descendants_of(self._pid)])))
            if time.monotonic() > self._deadline:
                with contextlib.suppress(ProcessLookupError):  # it has ended just now
                    os.killpg(self._pid, signal.SIGKILL)


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES
    except (OSError, IndexError):  # it has ended
        return 0
