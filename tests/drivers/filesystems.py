"""Filesystems in loop-mounted images, made and taken away by the test run. Needs root; never skips: what it lacks it
installs, and what it cannot install fails."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.servers.packages import fetch


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}"


@contextmanager
def mounted(folder: Path, *make: str, size_mib: int) -> Iterator[Path]:
    """A fresh filesystem made by the command `make`, mounted below `folder`."""
    assert os.geteuid() == 0, "these tests mount filesystems: run them as root"
    fetch("xfsprogs", "e2fsprogs", "mount")
    image, mount_point = folder / "image", folder / "mnt"
    with image.open("wb") as file:
        file.truncate(size_mib << 20)
    mount_point.mkdir()
    _run(*make, str(image))
    _run("mount", "-o", "loop", str(image), str(mount_point))
    try:
        yield mount_point
    finally:
        _run("umount", str(mount_point))
        image.unlink()


def remount(mount_point: Path, option: str) -> None:
    _run("mount", "-o", f"remount,{option}", str(mount_point))
