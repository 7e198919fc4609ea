"""The database servers of a private cluster, and what can happen to them.

They are the very ones that the tests start (`tests/servers`), imported when they are wanted. So `chaos --database` needs a
checkout, which is where people who run it are; in an installed package it says so. A second copy of them in here would be one
more thing to keep right, and the service itself never starts a server.
"""

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

__all__ = ["DATABASES", "NoServers", "PrivateServers", "Server", "private_servers"]

DATABASES: Final = ("sqlite", "postgresql", "mariadb", "galera")
NAME: Final = "breezeblock"
CHECKOUT: Final = Path(__file__).resolve().parents[3]
GALERA_NODES: Final = 3


class NoServers(Exception):
    """Such servers cannot be had here. The sentence says why, and what to do."""


class Server(Protocol):
    """One of them. After each verb but `pause` it is settled: ready, or gone."""

    def start(self) -> None:
        """Again, on the same data."""
        ...

    def kill(self) -> None:
        """SIGKILL for all its processes."""
        ...

    def pause(self) -> None:
        """SIGSTOP for all its processes."""
        ...

    def resume(self) -> None:
        """SIGCONT."""
        ...


@dataclass(frozen=True)
class PrivateServers:
    """What runs. `urls` are the database's, one for each server, none for SQLite."""

    kind: str
    urls: tuple[str, ...] = ()
    databases: dict[str, Server] = field(default_factory=dict)
    """By name."""
    galera: Any = None

    @property
    def environ(self) -> dict[str, str]:
        """Settings by which the service uses them."""
        if not self.urls:
            return {}
        return {
            "BREEZEBLOCK_DATABASE__URL": self.urls[0],
            "BREEZEBLOCK_DATABASE__FAILOVER_URLS": json.dumps(self.urls[1:]),
            "BREEZEBLOCK_NODES__ONE_MACHINE": "true",
        }


@contextmanager
def private_servers(kind: str) -> Iterator[PrivateServers]:
    """Start them with an empty database; afterwards nothing of them is left. Raises NoServers."""
    if kind == "sqlite":
        yield PrivateServers(kind)
        return
    _find_checkout()
    from tests.servers.packages import Missing

    try:
        with _started(kind) as servers:
            yield servers
    except Missing as error:
        raise NoServers(str(error)) from error


def _find_checkout() -> None:
    if not (CHECKOUT / "tests" / "servers").is_dir():
        raise NoServers(
            f"The private servers are the tests' own, and {CHECKOUT} has none: run it from a checkout, or without --database."
        )
    if str(CHECKOUT) not in sys.path:
        sys.path.append(str(CHECKOUT))


@contextmanager
def _started(kind: str) -> Iterator[PrivateServers]:
    from tests.servers.galera import Galera
    from tests.servers.home import Home
    from tests.servers.mariadb import MariaDB
    from tests.servers.postgresql import PostgreSQL

    with Home("ch") as home:
        if kind == "galera":
            cluster = Galera(home, size=GALERA_NODES)
            cluster.start()
            cluster.create_database(NAME)
            nodes: Sequence[Server] = cluster.nodes
            named = {f"galera-{number}": node for number, node in enumerate(nodes, start=1)}
            yield PrivateServers(kind, cluster.urls(NAME), named, cluster)
        else:
            server = PostgreSQL(home) if kind == "postgresql" else MariaDB(home)
            server.start()
            server.create_database(NAME)
            yield PrivateServers(kind, (server.url(NAME),), {kind: server})
