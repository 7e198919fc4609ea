"""Run a command with the URLs of a private server's empty database in BREEZEBLOCK_TEST_DATABASE, and end with its status.

python -m tests.servers galera -- python -m pytest tests/store
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from tests.servers.galera import galera
from tests.servers.mariadb import mariadb
from tests.servers.packages import Missing
from tests.servers.postgresql import postgresql

KINDS: Final = ("postgresql", "mariadb", "galera")
DATABASE: Final = "breezeblock"


@contextmanager
def urls_of(kind: str) -> Iterator[tuple[str, ...]]:
    """One URL for each server."""
    if kind == "galera":
        with galera() as cluster:
            cluster.create_database(DATABASE)
            yield cluster.urls(DATABASE)
    else:
        with postgresql() if kind == "postgresql" else mariadb() as server:
            server.create_database(DATABASE)
            yield (server.url(DATABASE),)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.servers", description="Run a command beside a private server."
    )
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("command", nargs="+", help="after --")
    options = parser.parse_args()
    try:
        with urls_of(options.kind) as urls:
            environ = {**os.environ, "BREEZEBLOCK_TEST_DATABASE": ",".join(urls)}
            return subprocess.run(options.command, env=environ, check=False).returncode
    except Missing as error:
        print(error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
