"""An installation that every user of the machine can read, for a service that runs as somebody else than the tests do.

The tests' own interpreter may be in a folder of root's, and the packages and the checkout as well: so they are copied, and
run by an interpreter of the same version that everybody may start.
"""

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import Distribution
from pathlib import Path
from typing import Final, NamedTuple

import breezeblock

__all__ = ["Installation", "NotHere", "install"]

ROOT: Final = Path(__file__).resolve().parents[2]
_VERSION: Final = f"{sys.version_info.major}.{sys.version_info.minor}"
_CANDIDATES: Final = (sys.executable, f"/usr/bin/python{_VERSION}", f"/usr/local/bin/python{_VERSION}")
_NAME: Final = re.compile(r"[A-Za-z0-9._-]+")
_EXTRAS: Final = re.compile(r"\[([^]]*)\]")


class NotHere(Exception):
    """No interpreter that this user may start; the sentence says which were tried."""


class Installation(NamedTuple):
    """An interpreter, and what is to be its PYTHONPATH."""

    python: Path
    packages: Path

    def environ(self) -> dict[str, str]:
        return {"PYTHONPATH": str(self.packages), "PYTHONNOUSERSITE": "1", "PYTHONDONTWRITEBYTECODE": "1"}


def install(folder: Path, *, user: int, extra: str) -> Installation:
    """Copy the service and what it depends on, also for one extra, into a folder that the user can reach. Raises NotHere."""
    packages = folder / "packages"
    packages.mkdir(parents=True)
    shutil.copytree(
        Path(breezeblock.__file__).parent, packages / "breezeblock", ignore=shutil.ignore_patterns("__pycache__")
    )
    for distribution in _needed(extra):
        _copy(distribution, packages)
    for path in (folder, packages, *packages.rglob("*")):
        path.chmod(path.stat().st_mode | (0o755 if path.is_dir() else 0o444))
    for candidate in _CANDIDATES:
        made = Installation(Path(candidate), packages)
        if _can_run(made, user):
            return made
    raise NotHere(f"user {user} can start none of {', '.join(_CANDIDATES)}")


def _needed(extra: str) -> Iterator[Distribution]:
    """What the project depends on, and what that does."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    seen: set[str] = set()
    todo = [*project["dependencies"], *project["optional-dependencies"][extra]]
    while todo:
        line, _, marker = todo.pop().partition(";")
        match = _NAME.match(line.strip())
        assert match is not None, line
        if "extra" in marker:
            continue  # nobody asked for it
        extras = _EXTRAS.search(line)
        names = [match[0], *(f"{match[0]}-{extra.strip()}" for extra in (extras[1].split(",") if extras else ()))]
        for one in names:
            if _plain(one) in seen:
                continue
            seen.add(_plain(one))
            try:
                distribution = importlib.metadata.distribution(one)
            except importlib.metadata.PackageNotFoundError:
                continue  # for another system or another version of Python, or the name of an extra alone
            todo += distribution.requires or ()
            yield distribution


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _copy(distribution: Distribution, to: Path) -> None:
    """With its compiled files and their times: whoever may not write here would compile it anew in each process."""
    for file in distribution.files or ():
        source = Path(str(distribution.locate_file(file)))
        if ".." in file.parts or not source.is_file():
            continue
        target = to / file
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target)


def _can_run(made: Installation, user: int) -> bool:
    command = [str(made.python), "-c", "import breezeblock.cli, breezeblock.wiring"]
    environ = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")} | made.environ()
    try:
        done = subprocess.run(
            command, user=user, group=user, extra_groups=[], cwd="/", env=environ, capture_output=True, check=False
        )
    except PermissionError:
        return False
    return done.returncode == 0
