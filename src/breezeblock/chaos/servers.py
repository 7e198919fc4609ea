"""The database servers and the broker of a private cluster.

They are the very ones that the tests start (`tests/servers`), imported when they are wanted. So `chaos --database` needs a
checkout, which is where people who run it are; in an installed package it says so. A second copy of them in here would be one
more thing to keep right, and the service itself never starts a server.
"""

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Protocol

__all__ = ["DATABASES", "DOORBELLS", "NoServers", "PrivateServers", "Server", "private_servers"]

DATABASES: Final = ("sqlite", "postgresql", "mariadb", "galera")
# The last one: whatever is the default with the database.
DOORBELLS: Final = ("datagram", "postgresql", "rabbitmq", "auto")
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


class Member(Server, Protocol):
    """One of a cluster."""

    def isolate(self, on: bool) -> None:
        """Cut it off from the others, while its clients still reach it; or let it back."""
        ...

    def wait_ready(self) -> None:
        """Until it has all that the cluster has, and takes writes."""
        ...


@dataclass(frozen=True)
class PrivateServers:
    """What runs. `urls` are the database's, none for SQLite; `broker` is what rings, where that is a server of its own."""

    doorbell: str
    doorbell_urls: tuple[str, ...] = ()
    broker: Server | None = None
    urls: tuple[str, ...] = ()
    databases: dict[str, Server] = field(default_factory=dict)
    """By name."""
    members: dict[str, Member] = field(default_factory=dict)
    """Those of them that can lose sight of the others, and go on running."""

    @property
    def environ(self) -> dict[str, str]:
        """Settings by which the service uses them."""
        found = {"BREEZEBLOCK_DOORBELL__KIND": self.doorbell}
        if self.doorbell_urls:
            found["BREEZEBLOCK_DOORBELL__URLS"] = json.dumps(self.doorbell_urls)
        if self.urls:
            found |= {
                "BREEZEBLOCK_DATABASE__URL": self.urls[0],
                "BREEZEBLOCK_DATABASE__FAILOVER_URLS": json.dumps(self.urls[1:]),
                "BREEZEBLOCK_NODES__ONE_MACHINE": "true",
            }
        return found


@contextmanager
def private_servers(database: str, doorbell: str, hosts: Sequence[str]) -> Iterator[PrivateServers]:
    """Start them with an empty database; afterwards nothing of them is left. Raises NoServers.

    They listen on the first of `hosts`, and members of a cluster on one each.
    """
    if database == "sqlite" and doorbell in ("auto", "datagram"):
        yield PrivateServers(doorbell)
        return
    _find_checkout()
    from tests.servers.home import Home
    from tests.servers.packages import Missing

    try:
        with Home("ch") as home:
            yield replace(_database(home, database, hosts), **_broker(home, database, doorbell, hosts[0]))
    except Missing as error:
        raise NoServers(str(error)) from error


def _find_checkout() -> None:
    if not (CHECKOUT / "tests" / "servers").is_dir():
        raise NoServers(
            f"The private servers are the tests' own, and {CHECKOUT} has none: run it from a checkout, or without them."
        )
    if str(CHECKOUT) not in sys.path:
        sys.path.append(str(CHECKOUT))


def _database(home: Any, kind: str, hosts: Sequence[str]) -> PrivateServers:
    from tests.servers.mariadb import MariaDB
    from tests.servers.postgresql import PostgreSQL

    if kind == "sqlite":
        return PrivateServers("auto")
    if kind == "galera":
        return _galera(home, hosts)
    server = PostgreSQL(home, host=hosts[0]) if kind == "postgresql" else MariaDB(home, host=hosts[0])
    server.start()
    server.create_database(NAME)
    return PrivateServers("auto", urls=(server.url(NAME),), databases={kind: server})


def _galera(home: Any, hosts: Sequence[str]) -> PrivateServers:
    """Round robin as long as the proxy answers, so that every process writes to all of them at once."""
    from tests.servers.galera import Galera
    from tests.servers.haproxy import HAProxy

    cluster = Galera(home, size=GALERA_NODES, hosts=tuple(hosts[1 : 1 + GALERA_NODES]))
    cluster.start()
    cluster.create_database(NAME)
    for node in cluster.nodes:
        node.ask("SET GLOBAL log_bin_trust_function_creators = ON")  # else our triggers would take SUPER
    proxy = HAProxy(home, cluster.nodes, host=hosts[0])
    proxy.start()
    named = {f"galera-{number}": node for number, node in enumerate(cluster.nodes, start=1)}
    urls = (cluster.url(NAME, via=proxy), *cluster.urls(NAME))
    return PrivateServers("auto", urls=urls, databases=dict(named), members=dict(named))


def _broker(home: Any, database: str, doorbell: str, host: str) -> dict[str, Any]:
    from tests.servers.postgresql import PostgreSQL
    from tests.servers.rabbitmq import RabbitMQ

    if doorbell == "rabbitmq":
        broker = RabbitMQ(home, host=host)
        broker.start()
        return {"doorbell": doorbell, "doorbell_urls": (broker.url,), "broker": broker}
    if doorbell == "postgresql" and database != "postgresql":
        server = PostgreSQL(home, "bell", host=host)
        server.start()
        server.create_database(NAME)
        return {"doorbell": doorbell, "doorbell_urls": (server.libpq_url(NAME),), "broker": server}
    return {"doorbell": doorbell}
