"""Run a command beside a private server, and end with its status.

python -m tests.servers galera -- python -m pytest tests/store

The URLs of an empty database, one for each server, are in BREEZEBLOCK_TEST_DATABASE; that of Redis, etcd or RabbitMQ is in
BREEZEBLOCK_TEST_SERVER.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Final

from tests.servers.database import DatabaseServer
from tests.servers.etcd import Etcd, etcd
from tests.servers.galera import galera
from tests.servers.mariadb import mariadb
from tests.servers.packages import Missing
from tests.servers.postgresql import postgresql
from tests.servers.rabbitmq import RabbitMQ, rabbitmq
from tests.servers.redis import Redis, redis

DATABASES: Final[Mapping[str, Callable[[], AbstractContextManager[DatabaseServer]]]] = {
    "postgresql": postgresql,
    "mariadb": mariadb,
}
OTHERS: Final[Mapping[str, Callable[[], AbstractContextManager[Redis | Etcd | RabbitMQ]]]] = {
    "redis": redis,
    "etcd": etcd,
    "rabbitmq": rabbitmq,
}
KINDS: Final = (*DATABASES, "galera", *OTHERS)
DATABASE: Final = "breezeblock"


@contextmanager
def beside(kind: str) -> Iterator[dict[str, str]]:
    """What a command finds in its environment, while the server runs."""
    if kind in OTHERS:
        with OTHERS[kind]() as other:
            yield {"BREEZEBLOCK_TEST_SERVER": other.url}
    elif kind == "galera":
        with galera() as cluster:
            cluster.create_database(DATABASE)
            yield {"BREEZEBLOCK_TEST_DATABASE": ",".join(cluster.urls(DATABASE))}
    else:
        with DATABASES[kind]() as server:
            server.create_database(DATABASE)
            yield {"BREEZEBLOCK_TEST_DATABASE": server.url(DATABASE)}


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.servers", description="Run a command beside a private server."
    )
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("command", nargs="+", help="after --")
    options = parser.parse_args()
    try:
        with beside(options.kind) as told:
            return subprocess.run(options.command, env={**os.environ, **told}, check=False).returncode
    except Missing as error:
        print(error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
