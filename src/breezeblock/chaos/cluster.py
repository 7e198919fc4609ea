"""A private cluster: a data folder of its own, a small filesystem for its volumes, a free port, and everything recorded."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from breezeblock import wiring
from breezeblock.chaos import agent
from breezeblock.chaos.clock import Clocks
from breezeblock.chaos.database import Database
from breezeblock.chaos.hurry import hurried
from breezeblock.chaos.interpreter import interpreter
from breezeblock.chaos.network import SERVERS, Network, networked
from breezeblock.chaos.plan import SELDOM_GIVEN_UP
from breezeblock.chaos.servers import PrivateServers, private_servers
from breezeblock.chaos.service import Service, start
from breezeblock.chaos.storage import SmallDisk
from breezeblock.chaos.watching import watch
from breezeblock.env.fence_list import FenceList

__all__ = ["STORAGE", "Cluster", "Plan", "running"]

STORAGE: Final = "storage"
BACKUPS: Final = "backups"
# Without a network: one address for single servers, and Galera nodes choose their own.
ALL_HERE: Final = ("127.0.0.1",)

# Each effect on storage that refuses is so long on its way that something often strikes meanwhile.
EFFECT_S: Final = 0.1
# The least that any call has, one after the other: a deletion two, a creation three or four.
EFFECTS_PER_CALL: Final = 2
# Slow enough that copies of a few MiB are under way when something strikes.
COPY_RATE: Final = "8 MiB"
UPLOAD_RATE: Final = "2 MiB"
# How often a worker looks whether there is garbage of backups.
COLLECT_EVERY_S: Final = 3.0
DAY_S: Final = 86_400.0
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
backups = -1
backup_gigabytes = -1
[backends.file]
path = {storage}
driver = "{driver}"
copy_rate_limit = "{copy_rate}"
max_over_subscription_ratio = 1000.0
{fence}
[backup_stores.default]
path = {backups}
rate_limit = "{upload_rate}"
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
    servers: PrivateServers
    network: Network | None
    no_network: str = ""
    """Why there is none, where one was wanted."""

    @property
    def backups(self) -> Path:
        """The store of backups."""
        return self.service.data.parent / BACKUPS

    @property
    def fence_list(self) -> FenceList:
        """Whom the storage refuses, where it does."""
        return FenceList(self.service.data / "fences" / "file")

    @property
    def database(self) -> Database:
        return self.service.database


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What to start. `slow_s`: how long each call of the driver takes at least."""

    nodes: int
    apis: int
    ttl_s: float
    fence: str
    poison_limit: int = SELDOM_GIVEN_UP
    storage_faults: bool = True
    slow_s: float = 0.0
    database: str = "sqlite"
    doorbell: str = "auto"


@contextmanager
def running(folder: Path, plan: Plan) -> Iterator[Cluster]:
    """Start a cluster in an empty folder; afterwards nothing of it runs or is mounted, and its logs are still there.

    Where the database is a server, processes have a network, if that is possible here. Raises NoServers.
    """
    names = [
        f"{kind}-{number + 1}" for kind, count in (("node", plan.nodes), ("api", plan.apis)) for number in range(count)
    ]
    with ExitStack() as stack:
        network: Network | str | None = None
        if plan.database != "sqlite":
            network = stack.enter_context(networked(folder / "network", names))
        there = network if isinstance(network, Network) else None
        hosts = SERVERS if there else ALL_HERE
        servers = stack.enter_context(private_servers(plan.database, plan.doorbell, hosts))
        disk = SmallDisk.make(folder) if plan.storage_faults else None
        if disk is not None:
            stack.callback(disk.drop)
        clocks = Clocks.make(folder) if plan.storage_faults else None
        storage, calls = (disk.backend if disk else folder / "volumes"), folder / "calls"
        calls.mkdir()
        service = _start(folder, plan, storage, calls, servers, interpreter(folder, clocks, there))
        stack.callback(service.end)
        why = network if isinstance(network, str) else ""
        cluster = Cluster(service, disk, clocks, storage, calls, servers, there, why)
        watch(cluster.database)
        yield cluster


def _start(folder: Path, plan: Plan, storage: Path, calls: Path, servers: PrivateServers, python: Path) -> Service:
    config = folder / "breezeblock.toml"
    settings = _settings(folder / "data", storage, ttl_s=plan.ttl_s, fence=plan.fence, poison_limit=plan.poison_limit)
    config.write_text(settings, encoding="utf-8")
    refuses = plan.fence == STORAGE
    slow = {wiring.SLOW_EFFECTS: str(plan.slow_s / EFFECTS_PER_CALL or EFFECT_S)}
    environ = {
        "BREEZEBLOCK_CONFIG": str(config),
        wiring.RECORD_CALLS: str(calls),
        **(slow if refuses else {wiring.SLOW_CALLS: str(plan.slow_s)}),
        **hurried(folder / "site", every_s=COLLECT_EVERY_S, again_s=DAY_S),
        **servers.environ,
    }
    return start(
        folder / "data", nodes=plan.nodes, workers=plan.apis, environ=environ, ttl_s=plan.ttl_s, python=python,
        kills_hung_keepers=not refuses,
    )  # fmt: skip


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
        backups=text(data.parent / BACKUPS),
        upload_rate=UPLOAD_RATE,
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
