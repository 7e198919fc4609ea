"""One control group for each incarnation, where such groups (version 2) can be made here: what is in it ends with it.

    …/breezeblock-LOCK_ID           the keeper
    …/breezeblock-LOCK_ID/worker    the worker, and everything that it starts, whatever that does to hide

It is named by the id in the incarnation's lock file, so nobody who has that id can hit another's. All incarnations of one
machine lie beside each other, and each finds the others there. The kernel kills a whole group at once (`cgroup.kill`,
Linux 5.14), also what forks faster than anybody can look.

A group proves nothing by itself: where none can be made (no right to it, version 1, an old kernel) processes are found by
the lock that they hold and by descent, so the lock stays the proof of death, and the group comes on top.
"""

import errno
import os
from contextlib import suppress
from pathlib import Path
from typing import Final

__all__ = ["Cgroup", "base_of", "find", "make"]

PREFIX: Final = "breezeblock-"
WORKER: Final = "worker"
# Who made a group enters it within milliseconds: one this much older than ours, and empty, is somebody's remains.
REMAINS_AFTER_S: Final = 600.0


class Cgroup:
    """The group of one incarnation."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def add_worker(self, pid: int) -> None:
        """Put the worker in, before it has started anything. Where that fails it stays with the keeper."""
        with suppress(OSError):
            _write(self.path / WORKER / "cgroup.procs", str(pid))

    def kill_worker(self) -> None:
        """SIGKILL for the worker and all that it started."""
        with suppress(OSError):
            _write(self.path / WORKER / "cgroup.kill", "1")

    def kill(self) -> None:
        """SIGKILL for everything of the incarnation."""
        with suppress(OSError):
            _write(self.path / "cgroup.kill", "1")

    def is_populated(self) -> bool:
        """Whether a process is left in it. Zombies are not, nor is a process before all its threads have ended."""
        try:
            return "populated 1" in (self.path / "cgroup.events").read_text()
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENODEV):
                return False  # somebody has removed it, which only an empty one allows: before the file was opened, or after
            raise

    def leave(self) -> None:
        """Take this process out again, and remove the group."""
        with suppress(OSError):
            _write(self.path.parent / "cgroup.procs", str(os.getpid()))
        self.remove()

    def remove(self) -> None:
        """Remove it if it is empty."""
        for path in (self.path / WORKER, self.path):
            with suppress(OSError):
                path.rmdir()


def make(lock_id: str) -> Cgroup | None:
    """Make the group of a new incarnation and move this process, its keeper, there. None where that cannot be done."""
    base = base_of(_own())
    if base is None:
        return None
    group = Cgroup(base / f"{PREFIX}{lock_id}")
    try:
        (group.path / WORKER).mkdir(parents=True)
        if not (group.path / WORKER / "cgroup.kill").exists():
            raise FileNotFoundError
        _remove_remains(group.path)
        _write(group.path / "cgroup.procs", str(os.getpid()))
    except OSError:
        group.remove()
        return None
    return group


def find(lock_id: str) -> Cgroup | None:
    """The group of an incarnation that lies beside ours; None when there is none that we can see."""
    base = base_of(_own())
    if base is None or not lock_id or "/" in lock_id:
        return None
    group = Cgroup(base / f"{PREFIX}{lock_id}")
    return group if group.path.is_dir() else None


def base_of(own: Path | None) -> Path | None:
    """Where the groups of incarnations lie, for a process in the group `own`."""
    if own is None:
        return None
    for path in (own, *own.parents):
        # A service manager's units may begin so, too; their names end with the kind of unit after a dot.
        if path.name.startswith(PREFIX) and "." not in path.name:
            return path.parent
    return own


def _own() -> Path | None:
    """The folder of this process's group in the hierarchy of version 2."""
    try:
        ours = [line for line in Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::")]
        mounts = [
            line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines() if " - cgroup2 " in line
        ]
    except OSError:
        return None
    if not ours or not mounts:
        return None
    root, mounted_at = mounts[0][3:5]
    inside = os.path.relpath(ours[0].removeprefix("0::"), root)
    if inside.startswith(".."):
        return None  # our group is not below what is mounted here
    return Path(os.path.normpath(Path(mounted_at) / inside))


def _remove_remains(new: Path) -> None:
    """Remove what incarnations left whose keepers were killed and never followed. The kernel keeps one that is in use."""
    for path in new.parent.glob(f"{PREFIX}*"):
        with suppress(OSError):
            if path.stat().st_ctime < new.stat().st_ctime - REMAINS_AFTER_S:
                Cgroup(path).remove()


def _write(path: Path, text: str) -> None:
    file = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(file, text.encode())
    finally:
        os.close(file)
