"""The data folder: where each thing lies, who may run on it, and what the running service says of itself."""

import contextlib
import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

Part = Literal["whole", "api", "nodes"]
"""What one `up` runs. Two may share a folder when one has only the API and the other only nodes."""

# What is the API's alone has names of its own, so that the other part is told apart also by those who know of no parts.
NODES_NAME: Final = "up"
API_NAME: Final = "up-api"
LOCKED: Final[dict[Part, tuple[str, ...]]] = {
    "whole": (NODES_NAME, API_NAME),
    "api": (API_NAME,),
    "nodes": (NODES_NAME,),
}

LOCK_TRIES: Final = 10
LOCK_PAUSE_S: Final = 0.05
# A log that has grown this long begins anew; one older part is kept.
LOG_BYTES_MOST: Final = 64 * 1024**2
COPY_BYTES: Final = 256 * 1024
# Longer than one start of a child may take.
SILENT_S: Final = 90.0


class InUse(Exception):
    """Another `up` runs on this folder."""


@dataclass(frozen=True, slots=True)
class DataFolder:
    """The places inside one data folder."""

    path: Path
    part: Part = "whole"

    @property
    def name(self) -> str:
        """What this part's own files are called."""
        return LOCKED[self.part][0]

    @property
    def told(self) -> Path:
        """What this part of the running service says of itself, for `status`: pids and the endpoint."""
        return self._told(self.name)

    def node(self, name: str) -> Path:
        """Where a node keeps its lock files."""
        return self.path / "nodes" / name

    def log(self, name: str) -> Path:
        """Where a process's log lines go."""
        return self.path / "log" / f"{name}.log"

    def drained(self, name: str) -> Path:
        """The mark of a node that an operator has taken out: it stays out, over restarts too, until it is removed."""
        return self.path / "nodes" / f"{name}.drained"

    def carry_marks(self, names: Sequence[str]) -> list[tuple[str, str]]:
        """Let each mark follow its node, when the machine's nodes are called otherwise now. Returns the old and new names.

        This part of the folder is locked: so nobody else's nodes are here, and the last one with a number is the one that has
        it now. Of a number that is not used any more the mark stays as it is.
        """
        numbered = {name.rpartition("-")[2]: name for name in names}
        carried = []
        for mark in sorted((self.path / "nodes").glob("*.drained")):
            before = mark.name.removesuffix(".drained")
            now = numbered.get(before.rpartition("-")[2])
            if before not in names and now is not None:
                mark.replace(self.drained(now))
                carried.append((before, now))
        return carried

    def make(self) -> None:
        """Make the folders. Readable by nobody else: the database has everybody's volumes."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in ("run", "log", "nodes", "volumes"):
            (self.path / name).mkdir(mode=0o700, exist_ok=True)

    def lock(self) -> list[int]:
        """Claim this part of the folder for this process's life; returns the open files. Raises InUse."""
        files: list[int] = []
        for name in LOCKED[self.part]:
            try:
                files.append(self._lock(name))
            except InUse:
                for file in files:
                    os.close(file)
                raise
        return files

    def _lock(self, name: str) -> int:
        file = os.open(self._lock_file(name), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        for _ in range(LOCK_TRIES):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(LOCK_PAUSE_S)  # it may be a `status` that is only asking
        else:
            pid = os.pread(file, 32, 0).decode(errors="replace").strip()
            os.close(file)
            raise InUse(f"breezeblock is running on {self.path} already (pid {pid or 'unknown'}).")
        os.ftruncate(file, 0)
        os.pwrite(file, f"{os.getpid()}\n".encode(), 0)
        return file

    def is_in_use(self) -> bool:
        """Whether an `up` that may have nodes runs on this folder now."""
        return self._is_locked(NODES_NAME)

    def _is_locked(self, name: str) -> bool:
        try:
            file = os.open(self._lock_file(name), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(file)
        return False

    def _lock_file(self, name: str) -> Path:
        return self.path / f"{name}.lock"

    def _told(self, name: str) -> Path:
        return self.path / "run" / f"{name}.json"

    def tell(self, told: dict[str, Any]) -> None:
        """Replace what the service says of itself, in one piece."""
        new = self.told.with_suffix(".new")
        new.write_text(json.dumps(told, indent=1), encoding="utf-8")
        _stamp(new)
        new.replace(self.told)

    def read_told(self) -> dict[str, Any]:
        """What the running service says of itself, its parts together; empty when none runs, whatever an earlier one has left
        here."""
        parts = [told for name in (NODES_NAME, API_NAME) if (told := self._read_told(name))]
        if len(parts) < 2:
            return parts[0] if parts else {}
        nodes, api = parts
        return nodes | {"endpoint": api["endpoint"], "api": api["api"], "ready": nodes["ready"] and api["ready"]}

    def lives(self) -> None:
        """Note that this part is well now, for `unwell`."""
        with contextlib.suppress(OSError):  # somebody tidied up, or the disk fails: no reason to end what serves
            _stamp(self.told)

    def unwell(self) -> str:
        """Why what runs on this folder is not ready, or has said for too long that it is well; empty when all is well."""
        running = [name for name in (NODES_NAME, API_NAME) if self._is_locked(name)]
        if not running:
            return f"nothing runs on {self.path}"
        if self._read_told(NODES_NAME).get("api"):  # one `up` holds both locks, and tells of both in one file
            running = [NODES_NAME]
        for name in running:
            told = self._read_told(name)
            if not told.get("ready"):
                return f"not ready yet (pid {told.get('pid', 'unknown')})"
            silent_s = time.clock_gettime(time.CLOCK_BOOTTIME) - self._told(name).stat().st_mtime
            if silent_s > SILENT_S:
                return f"none of its processes has answered for {silent_s:.0f} s (pid {told['pid']})"
        return ""

    def _read_told(self, name: str) -> dict[str, Any]:
        if not self._is_locked(name):
            return {}
        try:
            told: dict[str, Any] = json.loads(self._told(name).read_text(encoding="utf-8"))
        except (FileNotFoundError, json.JSONDecodeError):
            return {}
        return told

    def open_log(self, name: str) -> int:
        """Open a log for appending, for a child to inherit."""
        return os.open(self.log(name), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def bound_logs(self, names: Iterable[str]) -> None:
        """Begin anew those of these logs that have grown too long. Their writers append, so they go on at the new beginning.

        Copying takes its time: not for an event loop. A line that is written between the copy's end and the cut is lost.
        """
        for path in map(self.log, names):
            with contextlib.suppress(OSError):
                if path.stat().st_size > LOG_BYTES_MOST:
                    with path.open("r+b") as log, path.with_suffix(".log.1").open("wb") as old:
                        shutil.copyfileobj(log, old, COPY_BYTES)
                        log.truncate(0)


def _stamp(path: Path) -> None:
    """Give a file the time of now, counted from the machine's start: nobody sets that clock, and it goes on in a suspended one.

    Who wrote the file is gone when the machine is started again, and its lock with it, so nobody reads it then.
    """
    now_s = time.clock_gettime(time.CLOCK_BOOTTIME)
    os.utime(path, (now_s, now_s))
