"""The ways to back up one volume: how each is begun, and which program does what."""

import json
import os
import shutil
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.servers import packages

from .meter import Command
from .plan import AFAR, CINDER, CINDER_ZSTD, OURS, TOLD

__all__ = ["Tools", "Way", "found", "keep_ranges", "ways"]

HERE: Final = Path(__file__).resolve().parent
DEBIAN: Final = {"restic": ("restic", "restic"), "borg": ("borgbackup", "borg")}
# None asks for a password in a benchmark.
RESTIC: Final = {"RESTIC_PASSWORD": "benchmark"}
BORG: Final = {"BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes", "BORG_RELOCATED_REPO_ACCESS_IS_OK": "yes"}
BENJI: Final = """\
configurationVersion: '1'
databaseEngine: sqlite:///{folder}/benji.sqlite
defaultStorage: folder
storages:
  - {{name: folder, storageId: 1, module: file, configuration: {{path: {folder}/store, activeTransforms: [zstd]}}}}
transforms:
  - {{name: zstd, module: zstd, configuration: {{level: 1}}}}
ios:
  - {{name: file, module: file, configuration: {{}}}}
"""


@dataclass(frozen=True, slots=True)
class Tools:
    """Programs of others that are here, by the way they are for; and why the rest is left out."""

    programs: Mapping[str, str]
    missing: Mapping[str, str]


def found(
    names: Sequence[str], *, cinder_python: Path | None, benji: Path | None, elsewhere: Path | None = None
) -> Tools:
    """Look for what the ways need, and install Debian's packages."""
    programs: dict[str, str] = {}
    missing: dict[str, str] = {}
    given = {CINDER: cinder_python, CINDER_ZSTD: cinder_python, "benji": benji}
    options = {CINDER: "--cinder-python", CINDER_ZSTD: "--cinder-python", "benji": "--benji"}
    for name in names:
        if name in DEBIAN:
            package, program = DEBIAN[name]
            packages.PACKAGES.setdefault(package, program)
            try:
                packages.fetch(package)
                programs[name] = packages.find(program, package=package)
            except packages.Missing as error:
                missing[name] = str(error)
        elif name == AFAR and elsewhere is None:
            missing[name] = "--elsewhere was not given"
        elif name in given:
            if (path := given[name]) is None:
                missing[name] = f"{options[name]} was not given"
            else:
                programs[name] = str(path.absolute())
    return Tools(programs, missing)


class Way(ABC):
    """One way, with a folder of its own. `begin` is not measured; what it stores is in `store`."""

    def __init__(self, name: str, folder: Path, image: Path, program: str) -> None:
        self.name, self.folder, self.image, self.program = name, folder, image, program
        self.store = folder / "store"
        self.target = folder / "restored"

    def begin(self) -> None:
        """Make an empty repository."""
        self.store.mkdir()

    @abstractmethod
    def full(self) -> Command:
        """The volume as it is, into an empty repository."""

    @abstractmethod
    def incremental(self, changed: Path) -> Command:
        """`changed`: a file with the ranges that changed, for those who may be told."""

    @abstractmethod
    def restore(self) -> Command:
        """The last backup, into `target`, which is an empty folder."""

    def restored(self) -> Path:
        """The one file that a restore has made, of the volume's size."""
        size = self.image.stat().st_size
        (one,) = (path for path in self.target.rglob("*") if path.is_file() and path.stat().st_size == size)
        return one

    def stored_bytes(self) -> int:
        """How long all files of the store are."""
        return sum(path.stat().st_size for path in self.store.rglob("*") if path.is_file())

    def _command(self, *words: object, environ: Mapping[str, str] | None = None, tells: bool = False) -> Command:
        return Command([self.program, *map(str, words)], self.folder, environ or {}, tells)

    def _ask(self, *words: str, environ: Mapping[str, str] | None = None) -> None:
        command = self._command(*words, environ=environ)
        subprocess.run(
            command.words, cwd=self.folder, env={**os.environ, **command.environ}, check=True, stdout=sys.stderr
        )


class Ours(Way):
    def full(self) -> Command:
        return self._act("full", "--image", self.image)

    def incremental(self, changed: Path) -> Command:
        told = ("--changed", changed) if self.name == TOLD else ()
        return self._act("incremental", "--image", self.image, *told)

    def restore(self) -> Command:
        return self._act("restore", "--to", self.target)

    def _act(self, *words: object) -> Command:
        return self._command(HERE / "ours.py", *words, "--folder", self.folder, tells=True)


class Cinder(Way):
    def full(self) -> Command:
        return self._act("full", self.image)

    def incremental(self, changed: Path) -> Command:
        return self._act("incremental", self.image)

    def restore(self) -> Command:
        """Into a new volume: it has its size already, and reads as zeros."""
        with (self.target / "volume").open("wb") as file:
            file.truncate(self.image.stat().st_size)
        return self._act("restore", self.target / "volume")

    def _act(self, act: str, image: Path) -> Command:
        compression = self.name.rpartition("_")[2]
        # -P: the folder of the script is no place to import from, as its own modules have names that others have too.
        words = ("-P", HERE / "peer.py", compression, act, "--folder", self.folder, "--image", image)
        return self._command(*words, environ={"PYTHONPATH": ""}, tells=True)


class Restic(Way):
    def begin(self) -> None:
        self._ask("init", "--repository-version", "2", "-r", str(self.store), environ=self._environ())

    def full(self) -> Command:
        return self._command("-r", self.store, "backup", self.image, environ=self._environ())

    def incremental(self, changed: Path) -> Command:
        return self.full()

    def restore(self) -> Command:
        return self._command("-r", self.store, "restore", "latest", "--target", self.target, environ=self._environ())

    def _environ(self) -> dict[str, str]:
        return RESTIC | {"RESTIC_CACHE_DIR": str(self.folder / "cache")}


class Borg(Way):
    def begin(self) -> None:
        self._ask("init", "-e", "none", str(self.store), environ=self._environ())

    def full(self) -> Command:
        return self._command("create", f"{self.store}::full", self.image, environ=self._environ())

    def incremental(self, changed: Path) -> Command:
        return self._command("create", f"{self.store}::incremental", self.image, environ=self._environ())

    def restore(self) -> Command:
        words = [self.program, "extract", "--sparse", f"{self.store}::incremental"]
        return Command(words, self.target, self._environ())

    def _environ(self) -> dict[str, str]:
        return BORG | {"BORG_BASE_DIR": str(self.folder / "cache")}


class Benji(Way):
    def begin(self) -> None:
        super().begin()
        (self.folder / "benji.yaml").write_text(BENJI.format(folder=self.folder))
        self._ask("-c", "benji.yaml", "database-init")

    def full(self) -> Command:
        return self._command("-c", "benji.yaml", "backup", "-u", "full", f"file:{self.image}", "volume")

    def incremental(self, changed: Path) -> Command:
        return self._command("-c", "benji.yaml", "backup", "-u", "incremental", f"file:{self.image}", "volume")

    def restore(self) -> Command:
        return self._command("-c", "benji.yaml", "restore", "--sparse", "incremental", f"file:{self.target}/volume")


_KINDS: Final[Mapping[str, type[Way]]] = {
    OURS: Ours,
    TOLD: Ours,
    AFAR: Ours,
    CINDER: Cinder,
    CINDER_ZSTD: Cinder,
    "restic": Restic,
    "borg": Borg,
    "benji": Benji,
}


def ways(names: Sequence[str], folder: Path, image: Path, tools: Tools, *, elsewhere: Path | None = None) -> list[Way]:
    """Those that there are, each with an empty repository, and in this order."""
    made = []
    for name in names:
        if name in tools.missing:
            continue
        own = (elsewhere if elsewhere and name == AFAR else folder) / name
        shutil.rmtree(own, ignore_errors=True)
        own.mkdir()
        made.append(_KINDS[name](name, own, image, tools.programs.get(name, sys.executable)))
        made[-1].begin()
    return made


def keep_ranges(path: Path, ranges: Sequence[tuple[int, int]]) -> None:
    """For whoever may be told what changed."""
    path.write_text(json.dumps(ranges))
