"""A small filesystem of its own for the volumes of a run, that can be filled and made read-only while it is in use.

ext4 in a sparse file on a loop device; where there is none, a tmpfs. Both need root.
"""

import contextlib
import os
import subprocess
import time
from pathlib import Path
from typing import Final

__all__ = ["SmallDisk"]

SIZE_MIB: Final = 3072
MIB: Final = 1024**2
FILLER: Final = ".filler"
# A filesystem is not made read-only while a file on it is open for writing; each of ours is for an instant.
REMOUNT_TRIES: Final = 40
REMOUNT_PAUSE_S: Final = 0.005
UNMOUNT_TRIES: Final = 100
UNMOUNT_PAUSE_S: Final = 0.1


class SmallDisk:
    """Mounted from `make` until `drop`. `path` is the folder to give to a backend."""

    def __init__(self, path: Path, kind: str) -> None:
        self.path = path
        self.kind = kind

    @classmethod
    def make(cls, folder: Path) -> "SmallDisk | None":
        """None when nothing can be mounted here."""
        if os.geteuid() != 0:
            return None
        path, image = folder / "disk", folder / "disk.img"
        path.mkdir(parents=True, exist_ok=True)
        with image.open("wb") as file:
            file.truncate(SIZE_MIB * MIB)
        made = _done("mkfs.ext4", "-q", "-F", "-m", "0", "-E", "lazy_itable_init=1", str(image))
        if made and _done("mount", "-o", "loop", str(image), str(path)):
            return cls(path, "ext4 on a loop device")
        image.unlink()
        if _done("mount", "-t", "tmpfs", "-o", f"size={SIZE_MIB}m", "breezeblock-chaos", str(path)):
            return cls(path, "tmpfs")
        return None

    @property
    def backend(self) -> Path:
        """The backend's folder; below the mount point, which may hold other things (`lost+found`)."""
        return self.path / "volumes"

    def fill(self) -> None:
        """Leave no space."""
        file = os.open(self.path / FILLER, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            for piece in (64 * MIB, MIB, 4096):
                self._fill_by(file, piece)
        finally:
            os.close(file)

    @staticmethod
    def _fill_by(file: int, piece: int) -> None:
        with contextlib.suppress(OSError):  # ENOSPC is what is wanted
            while True:
                os.posix_fallocate(file, os.fstat(file).st_size, piece)

    def empty(self) -> None:
        """Give the space back."""
        (self.path / FILLER).unlink(missing_ok=True)

    def read_only(self) -> bool:
        """Refuse writing. False when some file was open for writing at every look."""
        for _ in range(REMOUNT_TRIES):
            if _done("mount", "-o", "remount,ro", str(self.path)):
                return True
            time.sleep(REMOUNT_PAUSE_S)
        return False

    def writable(self) -> None:
        """Allow writing again."""
        subprocess.run(["mount", "-o", "remount,rw", str(self.path)], check=True, capture_output=True)

    def drop(self) -> None:
        """Unmount. The files are gone afterwards."""
        for _ in range(UNMOUNT_TRIES):
            if _done("umount", str(self.path)):
                return
            time.sleep(UNMOUNT_PAUSE_S)
        subprocess.run(["umount", "-l", str(self.path)], check=True, capture_output=True)


def _done(*command: str) -> bool:
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False
