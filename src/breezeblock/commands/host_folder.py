"""What a host keeps of its connected volumes while it runs: locks of commands, and how os-brick has called each device.

The folder is in a place that a restart of the host empties, as that also takes the devices away. Nothing depends on a
record being there: who died before it was written is helped by the connection alone. No record has a secret.
"""

import json
import os
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from breezeblock.commands.failure import Failed
from breezeblock.env.host_locks import HostLock, HostLocks

__all__ = ["HostFolder", "usual_folder"]

MODE: Final = 0o700
# What os-brick says of a device that its own disconnection wants to know again.
TEXTS: Final = (str, int, bool, float)


def usual_folder(environ: Mapping[str, str]) -> Path:
    """Where it is if nobody says otherwise: root's is the host's, everybody else has an own one."""
    if os.geteuid() == 0:
        return Path("/run/breezeblock")
    if at := environ.get("XDG_RUNTIME_DIR"):
        return Path(at) / "breezeblock"
    return Path(tempfile.gettempdir()) / f"breezeblock-{os.geteuid()}"


class HostFolder:
    """One folder."""

    def __init__(self, path: Path, *, os_brick_locks: Path | None = None) -> None:
        """`os_brick_locks`: where others of this host that use os-brick have its locks, as Nova does."""
        self.path = path.absolute()
        self.os_brick_locks = os_brick_locks or self.path / "os-brick"
        self._records = self.path / "devices"
        self._locks = HostLocks(self.path / "locks")

    def make(self) -> None:
        """Raises Failed when it cannot be made, or is somebody else's."""
        try:
            self.path.mkdir(mode=MODE, parents=True, exist_ok=True)
            found = self.path.lstat()
            # In a folder that everybody may write to, somebody may have been there before us.
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
                raise Failed(f"{self.path} belongs to somebody else: say another folder by --run-dir.")
            for folder in (self.os_brick_locks, self._records):
                folder.mkdir(mode=MODE, exist_ok=True)
        except OSError as error:
            raise Failed(f"{self.path} cannot be used ({error.strerror}): say another folder by --run-dir.") from error

    def try_lock(self, volume_id: str) -> HostLock | None:
        """Keep other commands of this host from attaching or detaching this volume; None while one does."""
        try:
            return self._locks.try_take(volume_id, shared=False)
        except OSError as error:
            raise Failed(f"{self.path} cannot be used ({error.strerror}): say another folder by --run-dir.") from error

    def remember(self, attachment_id: str, device: Mapping[str, Any]) -> None:
        """What os-brick has said of a device, in one piece. Raises Failed."""
        kept = {key: value for key, value in device.items() if isinstance(value, TEXTS)}
        new = self._record(attachment_id).with_suffix(".new")
        try:
            new.write_text(json.dumps(kept), encoding="utf-8", errors="surrogateescape")
            new.replace(self._record(attachment_id))
        except OSError as error:
            raise Failed(f"{new} cannot be written ({error.strerror}): say another folder by --run-dir.") from error

    def recall(self, attachment_id: str) -> dict[str, Any] | None:
        """The same, if it is known."""
        try:
            found: dict[str, Any] = json.loads(
                self._record(attachment_id).read_text(encoding="utf-8", errors="surrogateescape")
            )
        except (FileNotFoundError, ValueError):
            return None  # never written, or not whole after a loss of power
        return found

    def noted(self, *, but: str) -> list[str]:
        """The devices of all attachments but one, by their paths. Raises Failed."""
        try:
            others = {file.stem for file in self._records.glob("*.json")} - {but}
        except OSError as error:
            raise Failed(f"{self._records} cannot be read ({error.strerror}).") from error
        devices = [device for device in map(self.recall, sorted(others)) if device is not None]
        return [path for device in devices if isinstance(path := device.get("path"), str)]

    def forget(self, attachment_id: str) -> None:
        """The device is gone."""
        self._record(attachment_id).unlink(missing_ok=True)

    def _record(self, attachment_id: str) -> Path:
        return self._records / f"{attachment_id}.json"
