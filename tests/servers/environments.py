"""Environments of Python for what a proof tests with but nothing of ours imports: made once, in the user's cache.

A file of requirements names every package with its version, so that an environment is the same tomorrow. A changed file is a
new environment; old ones may be removed at any time.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from typing import Final

from tests.servers.packages import Missing

__all__ = ["CACHE", "environment"]

CACHE: Final = (
    Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()) / "breezeblock" / "test-environments"
)
# A proof waits so long for the package index at most.
_INSTALL_S: Final = 900.0
_DONE: Final = ".installed"


def environment(name: str, requirements: Path) -> Path:
    """The folder of an environment that has exactly these packages. Raises Missing when they cannot be had."""
    base = CACHE
    wanted = hashlib.sha256(f"{sys.version} {requirements.read_text()}".encode()).hexdigest()[:16]
    folder = base / f"{name}-{wanted}"
    base.mkdir(parents=True, exist_ok=True)
    with (base / f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests run side by side; whoever comes second finds it done
        if not (folder / _DONE).exists():
            # A half-made one is of somebody who died in between. None is made elsewhere and moved: programs know their path.
            shutil.rmtree(folder, ignore_errors=True)
            _install(folder, requirements)
            (folder / _DONE).touch()
    return folder


def _install(folder: Path, requirements: Path) -> None:
    print(f"installing {requirements.name}", flush=True)
    venv.create(folder, with_pip=True)
    command = [str(folder / "bin" / "python"), "-m", "pip", "install", "-q", "--no-deps", "-r", str(requirements)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_INSTALL_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise Missing(f"{requirements.name} could not be installed within {_INSTALL_S:.0f} s") from error
    if done.returncode:
        raise Missing(f"{requirements.name} could not be installed from the package index:\n{done.stderr[-1000:]}")
