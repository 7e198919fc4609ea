"""The guard of SQLite's write lock: nobody may hold it while stopped.

A process that is stopped inside a transaction blocks every writer of the machine, also the renewals of all leases, and
no lease can end it: its own may be all right as far as anybody can tell. The kernel names it (F_GETLK), so it is found
here, and killed after a lease without progress if it is ours, or after a third of one if it is seen to be stopped: until
then no survivor has a reading, and the silence of a lost node counts only from the next one. A keeper that is stopped, too,
goes with its worker: its node is free at once. A stranger (somebody's sqlite3 shell) is only reported.

Progress is read from the write-ahead log's size and time of change, by stat: each commit appends to it. This process must
not have the database open for that: closing any descriptor of a file drops all record locks that a process has on it, and
looking for the holder opens and closes those very files.
"""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

import structlog

from breezeblock.store.turnstile import holders
from breezeblock.supervisor import proc

log = structlog.get_logger(__name__)

LOOKS_PER_TTL: Final = 6
# Whoever is stopped makes no progress by waiting.
STOPPED_SHARE: Final = 1 / 3
# Shorter than this says nothing: a disk may take as long for one sync.
PATIENCE_LEAST_S: Final = 1.0
REPORT_EVERY_S: Final = 60.0

Seen = tuple[int, int, int]


class WriteLockGuard:
    """Watches one database file."""

    def __init__(self, database_path: str, *, ttl_s: float, say: Callable[[str], None]) -> None:
        self._path = database_path
        self._look_every_s = ttl_s / LOOKS_PER_TTL
        self._patience_s = max(ttl_s, PATIENCE_LEAST_S)
        self._patience_with_stopped_s = ttl_s * STOPPED_SHARE
        self._say = say
        self._since_report_s: dict[int, float] = {}

    async def watch(self) -> None:
        """Look, for ever."""
        seen: Seen | None = None
        looks = 0
        while True:
            await asyncio.sleep(self._look_every_s)
            before, seen = seen, self._look()
            # Looks are counted, not seconds: a pause of this process must not count as one of somebody else.
            looks = looks + 1 if seen is not None and seen == before else 0
            if seen is None:
                continue
            stopped = proc.state(seen[0]) == proc.STOPPED
            if looks * self._look_every_s > (self._patience_with_stopped_s if stopped else self._patience_s):
                self._resolve(seen)

    def _look(self) -> Seen | None:
        """Who is in the way, and how far the log has got; None when nobody is."""
        found = holders(self._path)
        if not found:
            return None
        try:
            log_file = Path(self._path + "-wal").stat()
        except FileNotFoundError:
            return found[0], 0, 0
        # The write lock's holder comes first. Who has only the turnstile may be waiting for that very lock, and is the one
        # to blame only when nobody has it.
        return found[0], log_file.st_size, log_file.st_mtime_ns

    def _resolve(self, seen: Seen) -> None:
        pid = seen[0]
        if not proc.descends_from(pid, os.getpid()):
            self._report(pid)
            return
        command, state, keeper = proc.command(pid), proc.state(pid), proc.parent(pid)
        if proc.kill_if(pid, lambda: self._look() == seen and proc.descends_from(pid, os.getpid())):
            log.error("database.holder_killed", pid=pid, state=state, command=command)
            self._say(f"process {pid} held the database's write lock and did not move (state {state}): killed")
            if keeper is not None:
                self._end_if_stopped(keeper)

    @staticmethod
    def _end_if_stopped(pid: int) -> None:
        """A stopped keeper cannot see that its worker is gone, nor record it; its successor does both."""
        if proc.kill_if(pid, lambda: proc.state(pid) == proc.STOPPED and proc.descends_from(pid, os.getpid())):
            log.error("keeper.stopped_without_worker", pid=pid)

    def _report(self, pid: int) -> None:
        since_s = self._since_report_s.get(pid)
        if since_s is not None and since_s < REPORT_EVERY_S:
            self._since_report_s[pid] = since_s + self._look_every_s
            return
        self._since_report_s = {pid: 0.0}
        command = proc.command(pid)
        log.error("database.held_by_stranger", pid=pid, command=command)
        self._say(f"process {pid} ({command}) holds the database's write lock: nothing can be written until it lets go")
