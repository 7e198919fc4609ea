"""The servers of a run: three Galera nodes behind HAProxy, Redis, etcd, and a folder for lock files."""

import contextlib
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pymysql
from sqlalchemy import insert
from tests.servers.database import USER
from tests.servers.etcd import etcd
from tests.servers.galera import galera
from tests.servers.haproxy import haproxy
from tests.servers.home import Home
from tests.servers.redis import redis

from breezeblock.store import schema
from breezeblock.store.servers import Session, open_server
from breezeblock.store.tables import volumes

DATABASE = "races"
# Every worker has a connection to each node besides the one through HAProxy.
CONNECTIONS = 3_000


@dataclass(frozen=True, slots=True)
class Site:
    """Where everything is."""

    nodes: tuple[tuple[str, int], ...]
    """Host and port of each node."""
    url: str
    """Through HAProxy."""
    folder: Path
    redis_url: str
    etcd_url: str


@contextmanager
def site(*, redis_and_etcd: bool) -> Iterator[Site]:
    """All of it for the length of a block, with an empty database."""
    with ExitStack() as stack:
        home = stack.enter_context(Home("race"))
        cluster = stack.enter_context(galera())
        balancer = stack.enter_context(haproxy(cluster.nodes))
        for node in cluster.nodes:
            node.ask(f"SET GLOBAL max_connections = {CONNECTIONS}")
        cluster.create_database(DATABASE)
        schema.upgrade(cluster.url(DATABASE))
        redis_url = etcd_url = ""
        if redis_and_etcd:
            redis_url = f"{stack.enter_context(redis()).url}?lock_timeout=120"
            etcd_url = f"etcd3+{stack.enter_context(etcd()).url}?api_version=v3&timeout=60"
        yield Site(
            nodes=tuple((node.host, node.port) for node in cluster.nodes),
            url=cluster.url(DATABASE, via=balancer).partition("?")[0],
            folder=home.path,
            redis_url=redis_url,
            etcd_url=etcd_url,
        )


def connect(node: tuple[str, int], *, wait: bool) -> "pymysql.connections.Connection[pymysql.cursors.Cursor]":
    """A plain connection. With `wait` it sees everything that was committed anywhere before it asks."""
    host, port = node
    connection = pymysql.connect(
        host=host, port=port, user=USER, password=USER, database=DATABASE, autocommit=True, connect_timeout=30
    )
    with connection.cursor() as cursor:
        cursor.execute("SET SESSION wsrep_sync_wait = %s", (7 if wait else 0,))
    return connection


def make_rows(at: Site, count: int) -> list[str]:
    """New volumes that are available: their ids."""
    engine = open_server(at.url, Session(connections=1), reading=False)
    ids = [str(uuid.uuid4()) for _ in range(count)]
    with engine.connect() as connection:
        connection.execute(insert(volumes), [_volume(id_) for id_ in ids])
        connection.commit()
    engine.dispose()
    return ids


def _volume(id_: str) -> dict[str, object]:
    return {
        "id": id_,
        "project_id": "races",
        "user_id": "races",
        "size_gib": 1,
        "status": "available",
        "availability_zone": "nova",
        "created_at_us": 0,
    }


def unrest(at: Site, row_ids: Sequence[str]) -> list[str]:
    """What is not at rest when all changes are done: rows that are not available, and operations that are left."""
    found: list[str] = []
    for node in at.nodes:
        with connect(node, wait=True) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT id, status, name FROM volumes WHERE status != 'available' AND id IN %s", (row_ids,))
            found += [f"{node[0]} has {row} in the end" for row in cursor.fetchall()]
            cursor.execute("SELECT id, owner FROM operations")
            found += [f"{node[0]} has operation {row} in the end" for row in cursor.fetchall()]
    return found


class Checker:
    """Looks at a row on every node."""

    def __init__(self, nodes: Sequence[tuple[str, int]]) -> None:
        self._nodes = [(f"{node[0]}:{node[1]}", connect(node, wait=True)) for node in nodes]

    def failure(self, row_id: str, mark: str) -> str:
        """What any node has that is not `deleting` with our mark; empty when all are right."""
        for name, connection in self._nodes:
            with connection.cursor() as cursor:
                cursor.execute("SELECT status, name FROM volumes WHERE id = %s", (row_id,))
                found = cursor.fetchone()
            if found != ("deleting", mark):
                return f"{name} has {found} instead of {mark}"
        return ""

    def close(self) -> None:
        """Close the connections."""
        for _, connection in self._nodes:
            with contextlib.suppress(pymysql.err.Error):
                connection.close()
