"""Filesystems in loop-mounted images, made and taken away by the test run. Needs root; never skips: what it lacks it
installs, and what it cannot install fails."""

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PACKAGES = {"mkfs.xfs": "xfsprogs", "mkfs.ext4": "e2fsprogs", "mount": "mount"}


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}"


def _need(tool: str) -> None:
    if shutil.which(tool) is not None:
        return
    with (Path(tempfile.gettempdir()) / "breezeblock-tests-apt.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # test workers run side by side
        if shutil.which(tool) is None:
            apt = ("env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq", "-o", "DPkg::Lock::Timeout=300")
            _run(*apt, "update")
            _run(*apt, "install", "-y", PACKAGES[tool])


@contextmanager
def mounted(folder: Path, *make: str, size_mib: int) -> Iterator[Path]:
    """A fresh filesystem made by the command `make`, mounted below `folder`."""
    assert os.geteuid() == 0, "these tests mount filesystems: run them as root"
    _need(make[0])
    _need("mount")
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
