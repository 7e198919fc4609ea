"""The databases of a run: private servers with memory as servers have it, and an SQLite file."""

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.servers.home import Home
from tests.servers.mariadb import MariaDB
from tests.servers.postgresql import PostgreSQL

from breezeblock.store import schema

DATABASE: Final = "scale"
# So that the tables of the largest size are in memory, as an operator would have it: indexes above all.
_POSTGRESQL: Final = ("--shared_buffers=1GB", "--max_wal_size=8GB", "--autovacuum_naptime=10s", "--max_connections=200")
_MARIADB: Final = (
    "--innodb-buffer-pool-size=2G",
    "--innodb-log-file-size=1G",
    "--local-infile=1",
    "--innodb-io-capacity=4000",
)


@dataclass(frozen=True)
class Site:
    """One database, with the newest schema."""

    kind: str
    url: str
    folder: Path
    server: PostgreSQL | MariaDB | None = None

    def cpu_s(self) -> float:
        """What the server has used of the processors, all its processes, also those that have ended."""
        if self.server is None:
            return 0.0
        ticks = sum(_ticks(pid) for pid in self.server.daemon.pids())
        return ticks / os.sysconf("SC_CLK_TCK")


def own_cpu_s() -> float:
    """What this process has used."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _ticks(pid: int) -> int:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0  # it ended meanwhile: whoever waits for it counts it
    return sum(int(field) for field in fields[11:15])


@contextmanager
def site(kind: str) -> Iterator[Site]:
    """One for the length of a block."""
    with Home("scale") as home:
        if kind == "sqlite":
            folder = home.folder("sqlite", user=None)
            found = Site(kind, f"sqlite:///{folder}/breezeblock.db", folder)
        else:
            server = PostgreSQL(home) if kind == "postgresql" else MariaDB(home)
            server.launch(*(_POSTGRESQL if kind == "postgresql" else _MARIADB))
            server.wait_ready()
            server.create_database(DATABASE)
            found = Site(kind, server.url(DATABASE), home.folder("rows", user=server.user), server)
        schema.upgrade(found.url)
        yield found
