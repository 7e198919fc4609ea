"""A private cluster: a data folder of its own, a small filesystem for its volumes, a free port, and everything recorded."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from breezeblock import wiring
from breezeblock.chaos import agent
from breezeblock.chaos.clock import Clocks
from breezeblock.chaos.evidence import watch
from breezeblock.chaos.plan import SELDOM_GIVEN_UP
from breezeblock.chaos.service import Service, start
from breezeblock.chaos.storage import SmallDisk
from breezeblock.env.fence_list import FenceList

__all__ = ["STORAGE", "Cluster", "running"]

STORAGE: Final = "storage"

# Each effect on storage that refuses is so long on its way that something often strikes meanwhile.
EFFECT_S: Final = 0.1
# The least that any call has, one after the other: a deletion two, a creation three or four.
EFFECTS_PER_CALL: Final = 2
# Slow enough that copies of a few MiB are under way when something strikes.
COPY_RATE: Final = "8 MiB"
SETTINGS: Final = """
[service]
data_dir = {data}
[nodes]
ttl_s = {ttl_s}
poison_limit = {poison_limit}
{fence_agent}
[quota]
volumes = -1
snapshots = -1
gigabytes = -1
[backends.file]
path = {storage}
driver = "{driver}"
copy_rate_limit = "{copy_rate}"
max_over_subscription_ratio = 1000.0
{fence}
"""
EXTERNAL: Final = """
[fences.chaos]
command = {command}
scope = "node"
timeout_s = 30.0
{options}
"""


@dataclass(frozen=True)
class Cluster:
    """What runs, and where it leaves its traces."""

    service: Service
    disk: SmallDisk | None
    clocks: Clocks | None
    storage: Path
    calls: Path

    @property
    def fence_list(self) -> FenceList:
        """Whom the storage refuses, where it does."""
        return FenceList(self.service.data / "fences" / "file")

    @property
    def database(self) -> Path:
        return self.service.data / "breezeblock.db"


@contextmanager
def running(
    folder: Path,
    *,
    nodes: int,
    apis: int,
    ttl_s: float,
    fence: str,
    poison_limit: int = SELDOM_GIVEN_UP,
    storage_faults: bool = True,
    slow_s: float = 0.0,
) -> Iterator[Cluster]:
    """Start a cluster in an empty folder; afterwards nothing of it runs or is mounted, and its logs are still there."""
    disk = SmallDisk.make(folder) if storage_faults else None
    clocks = Clocks.make(folder) if storage_faults else None
    service: Service | None = None
    try:
        storage, calls = (disk.backend if disk else folder / "volumes"), folder / "calls"
        calls.mkdir()
        config = folder / "breezeblock.toml"
        settings = _settings(folder / "data", storage, ttl_s=ttl_s, fence=fence, poison_limit=poison_limit)
        config.write_text(settings, encoding="utf-8")
        refuses = fence == STORAGE
        slow = {wiring.SLOW_EFFECTS: str(slow_s / EFFECTS_PER_CALL or EFFECT_S)}
        environ = {
            "BREEZEBLOCK_CONFIG": str(config),
            wiring.RECORD_CALLS: str(calls),
            **(slow if refuses else {wiring.SLOW_CALLS: str(slow_s)}),
        }
        service = start(
            folder / "data", nodes=nodes, workers=apis, environ=environ, ttl_s=ttl_s,
            python=clocks.python if clocks else Path(sys.executable), kills_hung_keepers=not refuses,
        )  # fmt: skip
        cluster = Cluster(service, disk, clocks, storage, calls)
        watch(cluster.database)
        yield cluster
    finally:
        if service is not None:
            service.end()
        if disk is not None:
            disk.drop()


def _settings(data: Path, storage: Path, *, ttl_s: float, fence: str, poison_limit: int) -> str:
    def text(value: object) -> str:
        return json.dumps(str(value))

    methods = {"kill": "same_machine", "external": "external", "lying": "external", STORAGE: "storage"}
    external = fence in ("external", "lying")
    options = 'options = { lie = "yes" }' if fence == "lying" else ""
    command = json.dumps([sys.executable, str(Path(agent.__file__))])
    return SETTINGS.format(
        data=text(data),
        storage=text(storage),
        ttl_s=ttl_s,
        poison_limit=poison_limit,
        copy_rate=COPY_RATE,
        fence_agent='fence_agent = "chaos"' if external else "",
        driver="fenced_file" if fence == STORAGE else "file",
        fence=f'fence = ["{methods[fence]}"]',
    ) + (EXTERNAL.format(command=command, options=options) if external else "")


def db_check(service: Service) -> list[str]:
    """What `breezeblock db check` finds."""
    done: subprocess.CompletedProcess[str] = service.command("db", "check")
    if done.returncode == 0:
        return []
    return [line for line in (done.stdout + done.stderr).splitlines() if line] or [f"status {done.returncode}"]


def machine() -> str:
    """The machine in a few words, for the report."""
    return f"{os.cpu_count()} CPUs, Linux {os.uname().release}, Python {sys.version.split()[0]}"
