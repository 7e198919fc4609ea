"""The first release, from this repository's history, and services of both releases on one database and one storage."""

import io
import os
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.proof import not_here
from tests.service import Service, eventually, start

__all__ = ["FIRST_RELEASE", "ROOT", "Site", "drain", "fill", "unpack"]

ROOT: Final = Path(__file__).resolve().parents[2]
# v0.1.0, by its name for ever.
FIRST_RELEASE: Final = "ecd4551d2e7ad06e787565c7b9701a7aeddea4da"
READY_S: Final = 60.0
# Leases that a busy machine can keep, and looks often enough: doorbells do not ring from one data folder to another.
OPTIONS: Final = {
    "BREEZEBLOCK_NODES__POLL_S": "0.2",
    "BREEZEBLOCK_QUOTA__VOLUMES": "-1",
    "BREEZEBLOCK_QUOTA__SNAPSHOTS": "-1",
    "BREEZEBLOCK_QUOTA__GIGABYTES": "-1",
}


def unpack(commit: str, to: Path) -> Path:
    """The sources of a commit; returns where Python finds them. Skips where there is no history."""
    archive = subprocess.run(["git", "archive", commit, "src"], cwd=ROOT, capture_output=True, check=False)
    if archive.returncode:
        not_here(f"the history of this checkout does not have {commit}: {archive.stderr.decode().strip()}")
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
        files.extractall(to, filter="data")
    return to / "src"


@dataclass
class Site:
    """One database, one storage, and the services on them, each in a data folder of its own."""

    folder: Path
    ttl_s: float = 4.0

    @property
    def database(self) -> Path:
        return self.folder / "old" / "breezeblock.db"

    @property
    def storage(self) -> Path:
        return self.folder / "volumes"

    def start(self, name: str, *, nodes: int, sources: Path | None = None) -> Service:
        """`sources`: of another release than this one."""
        environ = {
            **OPTIONS,
            "BREEZEBLOCK_DATABASE__URL": f"sqlite:///{self.database}",
            "BREEZEBLOCK_BACKENDS__FILE__PATH": str(self.storage),
            "PYTHONPATH": os.pathsep.join([str(sources or ROOT / "src"), str(ROOT)]),
        }
        service = start(self.folder / name, nodes=nodes, workers=1, ttl_s=self.ttl_s, environ=environ, wait=False)
        self.wait_ready(service)
        return service

    @staticmethod
    def wait_ready(service: Service) -> None:
        """It answers, and its storage can be used."""

        def ready() -> bool:
            assert service.process.poll() is None, service.output.read_text()
            return service.is_ready

        eventually(ready, within_s=READY_S, message="the service is not ready")


def drain(service: Service) -> None:
    """Take all its nodes out; they hand back what they run."""
    for name in [keeper["name"] for keeper in service.told["keepers"]]:
        (service.data / "nodes" / f"{name}.drained").touch()
    eventually(lambda: not service.keeper_pids, within_s=READY_S, message="the nodes do not leave")


def fill(service: Service) -> None:
    """Let them come back."""
    for mark in (service.data / "nodes").glob("*.drained"):
        mark.unlink()
    eventually(lambda: service.keeper_pids, within_s=READY_S, message="the nodes do not come back")
