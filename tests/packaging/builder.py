"""The container's image, built from the Dockerfile as it is, without a registry and without a daemon.

Buildah does it, in a changed root. The base cannot be had where no registry is reached: in its place, and under its name, is a
Debian of the same release with its own Python. So everything of the file is tried, but for what is special about the base.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from tests.servers.environments import CACHE
from tests.servers.packages import Missing, fetch

__all__ = ["Builder"]

# What the base's name promises, in a Debian of that release: Python as `python`, able to make environments.
_SUITE: Final = re.compile(r"-slim-(\w+)$")
_BASE_HAS: Final = "python3,python3-venv,ca-certificates"
# Debian's mirrors may be slow; the result is kept.
_BASE_S: Final = 1800.0
_BUILD_S: Final = 900.0
# What pip may be told of where packages are. Folders of this machine are left out: they are not in the container.
_PIP_KEYS: Final = ("cert", "index-url", "extra-index-url", "trusted-host")


class Builder:
    """Images and containers below one folder, which `remove` empties."""

    def __init__(self, folder: Path) -> None:
        """Raises Missing."""
        if os.getuid() != 0:
            raise Missing("only root can build an image without a daemon")
        fetch("buildah", "mmdebstrap")
        self._folder = folder
        # Copies of whole roots take minutes; not every filesystem can be a layer of another, though.
        driver = "overlay" if "overlay" in Path("/proc/filesystems").read_text() and _layers(folder) else "vfs"
        self._options = (f"--root={folder}/store", f"--runroot={folder}/run", f"--storage-driver={driver}")

    def run(self, *words: str | Path, seconds: float = 120.0) -> str:
        """What buildah says."""
        command = ["buildah", *self._options, *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
        assert done.returncode == 0, f"{shlex.join(command)}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def start(self, container: str, *words: str) -> "subprocess.Popen[str]":
        """Run a command in a container, as its user."""
        command = ["buildah", *self._options, "run", "--isolation=chroot", container, "--", *words]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def stand_in(self, base: str) -> None:
        """Make an image of the base's name. Raises Missing when Debian's packages cannot be had."""
        suite = _SUITE.search(base)
        assert suite is not None, base
        root = _debian(suite[1])
        self.run("from", "--name=base", "scratch")
        self.run("add", "base", root, "/", seconds=300)
        self.run("run", "--isolation=chroot", "base", "--", "ln", "-s", "/usr/bin/python3", "/usr/local/bin/python")
        self.run("commit", "--rm", "base", f"docker.io/library/{base}", seconds=300)

    def build(self, context: Path, dockerfile: Path, *, name: str) -> None:
        """Build the image; packages come from where pip on this machine has them."""
        mounts = [f"--volume={source}:{target}:ro" for source, target in self._pip()]
        format_ = "--format=docker"  # the one that has health checks
        options = ("--isolation=chroot", "--pull-never", "--layers=false", format_, *mounts)
        self.run("bud", *options, "-t", name, "-f", dockerfile, context, seconds=_BUILD_S)

    def _pip(self) -> Iterator[tuple[Path, Path]]:
        """What is to be seen in the container so that pip works there as it does here."""
        command = [sys.executable, "-m", "pip", "config", "list"]
        told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
        found: dict[str, str] = {}
        for line in told.splitlines():
            option, _, value = line.partition("=")
            key = option.rpartition(".")[2]
            words = [word for word in shlex.split(value)[0].split() if not word.startswith("file:")]
            if key in _PIP_KEYS and words:
                found[key] = " ".join(words)
        file = self._folder / "pip.conf"
        file.write_text("[global]\n" + "".join(f"{key} = {value}\n" for key, value in found.items()))
        yield file, Path("/etc/pip.conf")
        if "cert" in found:
            yield Path(found["cert"]), Path(found["cert"])

    def config(self, image: str) -> dict[str, Any]:
        """What the image says of how it is to be run."""
        told: dict[str, Any] = json.loads(self.run("inspect", "--type=image", image))
        config: dict[str, Any] = told["Docker"]["config"]
        return config

    def remove(self) -> None:
        """Everything of it."""
        self.run("rm", "--all")
        self.run("rmi", "--all", "--force", seconds=300)
        shutil.rmtree(self._folder, ignore_errors=True)


def _layers(folder: Path) -> bool:
    """Whether an overlay can be mounted here: not where the folder is on one itself."""
    parts = [folder / name for name in ("lower", "upper", "work", "merged")]
    for part in parts:
        part.mkdir()
    try:
        told = ",".join(f"{name}dir={part}" for name, part in zip(("lower", "upper", "work"), parts, strict=False))
        command = ["unshare", "--mount", "mount", "-t", "overlay", "overlay", "-o", told, str(parts[3])]
        return subprocess.run(command, capture_output=True, check=False, timeout=30).returncode == 0
    finally:
        for part in parts:
            shutil.rmtree(part)


def _debian(suite: str) -> Path:
    """A root of that release, in a file that is kept."""
    CACHE.mkdir(parents=True, exist_ok=True)
    file = CACHE / f"debian-{suite}.tar"
    if not file.exists():
        half = file.with_suffix(".half.tar")
        command: Sequence[str] = (
            "mmdebstrap", "--quiet", "--variant=minbase", f"--include={_BASE_HAS}", suite, str(half),
        )  # fmt: skip
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_BASE_S, check=False)
        except subprocess.TimeoutExpired as error:
            raise Missing(f"Debian's packages for {suite} did not come within {_BASE_S:.0f} s") from error
        if done.returncode:
            raise Missing(f"Debian's packages for {suite} cannot be had: {done.stderr[-500:]}")
        half.rename(file)
    return file
