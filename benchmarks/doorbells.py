"""Measure doorbells side by side: how soon work is taken, and what idle nodes cost. A Markdown table on standard output.

    python benchmarks/doorbells.py                        all of them, on a PostgreSQL and a RabbitMQ started for it
    python benchmarks/doorbells.py --only none,datagram   some

For each doorbell one service on the same PostgreSQL (without fsync). Dispatch: volumes are created one after the other with
pauses between, so that nothing waits for a slot; the latency is from the time in the operation's row, taken just before its
commit, to the time of its claim, both by this machine's clock. Idle: statements that the database counts (without BEGIN,
COMMIT and such) while nobody asks for anything, for each node; its heartbeats and its looks are among them.

Less than two minutes. The first creates of a service are left out. Nothing else should run on the machine.
"""

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.servers.database import USER
from tests.servers.home import Home
from tests.servers.postgresql import PostgreSQL
from tests.servers.rabbitmq import RabbitMQ

KINDS = ("none", "datagram", "postgresql", "rabbitmq")
STATEMENTS = "SELECT sum(calls) FROM pg_stat_statements WHERE query !~* '^(begin|commit|rollback|set|show|listen)'"
LATENCIES = """
SELECT (claimed_at_us - created_at_us) / 1000.0 FROM operation_log
WHERE kind = 'create_volume' AND claimed_at_us IS NOT NULL ORDER BY created_at_us
"""


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", type=lambda text: text.split(","), default=list(KINDS))
    parser.add_argument("--creates", type=int, default=24)
    parser.add_argument("--warm", type=int, default=5, help="creates before those that count")
    parser.add_argument("--idle", type=float, default=5.0, help="seconds")
    parser.add_argument("--nodes", type=int, default=3)
    options = parser.parse_args()
    print(f"{options.nodes} nodes, {options.creates} creates, load before: {os.getloadavg()[0]:.2f}\n")
    print("| doorbell | p50 ms | p99 ms | longest ms | idle statements/s of a node |")
    print("|---|---|---|---|---|")
    with servers(rabbitmq="rabbitmq" in options.only) as (database, broker):
        for kind in options.only:
            latencies, idle = measure(kind, options, database, broker)
            figures = [quantile(latencies, 0.5), quantile(latencies, 0.99), max(latencies), idle]
            print(f"| {kind} | {' | '.join(f'{figure:.1f}' for figure in figures)} |", flush=True)


@contextlib.contextmanager
def servers(*, rabbitmq: bool) -> Iterator[tuple[PostgreSQL, RabbitMQ | None]]:
    """The database that counts, and the broker."""
    with Home("bells") as home:
        database, broker = PostgreSQL(home), RabbitMQ(home) if rabbitmq else None
        database.launch(
            "--shared_preload_libraries=pg_stat_statements",
            "--pg_stat_statements.track_utility=off",
        )
        database.wait_ready()
        with database.admin() as connection:
            connection.execute("CREATE EXTENSION pg_stat_statements")
            connection.execute(f"GRANT pg_read_all_stats TO {USER}".encode())
        if broker is not None:
            broker.start()
        yield database, broker


def measure(
    kind: str, options: argparse.Namespace, database: PostgreSQL, broker: RabbitMQ | None
) -> tuple[list[float], float]:
    """Latencies in milliseconds, and the statements of an idle node in a second."""
    name = f"bench_{kind}"
    database.create_database(name)
    url = database.libpq_url(name)
    chosen = {"BREEZEBLOCK_DATABASE__URL": url, "BREEZEBLOCK_DOORBELL__KIND": kind}
    if kind == "rabbitmq":
        assert broker is not None
        chosen["BREEZEBLOCK_DOORBELL__URLS"] = broker.url
    with service(chosen, nodes=options.nodes) as endpoint, psycopg.connect(url, autocommit=True) as connection:
        pauses = random.Random(kind)
        for _ in range(options.warm + options.creates):
            create(endpoint)
            time.sleep(pauses.uniform(0.15, 0.45))  # so that looks of nodes and creates are in no step
        until(lambda: count(connection) >= options.warm + options.creates)
        latencies = [float(row[0]) for row in connection.execute(LATENCIES)]
        time.sleep(2.5)  # until nodes are idle again
        before, began = statements(connection), time.monotonic()
        time.sleep(options.idle)
        idle = (statements(connection) - before - 1) / (time.monotonic() - began) / options.nodes
    return latencies[options.warm :], idle


@contextlib.contextmanager
def service(chosen: dict[str, str], *, nodes: int) -> Iterator[str]:
    """A service that is ready: its address."""
    environ = os.environ | chosen | {"BREEZEBLOCK_NODES__ONE_MACHINE": "true", "BREEZEBLOCK_QUOTA__VOLUMES": "-1"}
    with tempfile.TemporaryDirectory(prefix="bells-") as folder:
        data, output = Path(folder) / "data", Path(folder) / "up.out"
        command = [sys.executable, "-m", "breezeblock.cli", "up", "--data", str(data), "--port", "0"]
        with output.open("wb") as out:
            process = subprocess.Popen(
                [*command, "--nodes", str(nodes), "--workers", "1"], env=environ, stdout=out, stderr=out
            )
        try:
            told = data / "run" / "up.json"
            until(lambda: process.poll() is not None or (told.exists() and json.loads(told.read_text())["ready"]))
            assert process.poll() is None, output.read_text()
            yield str(json.loads(told.read_text())["endpoint"])
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=60)


def create(endpoint: str) -> None:
    """Ask for a volume."""
    body = json.dumps({"volume": {"size": 1}}).encode()
    asked = urllib.request.Request(
        f"{endpoint}/v3/admin/volumes", data=body, headers={"content-type": "application/json"}
    )
    with urllib.request.urlopen(asked, timeout=30) as answer:
        assert answer.status == 202, answer.status


def count(connection: psycopg.Connection[Any]) -> int:
    """How many creates have ended."""
    return len(connection.execute(LATENCIES).fetchall())


def statements(connection: psycopg.Connection[Any]) -> int:
    """How many the server has executed, in all of its databases: only one is in use."""
    with psycopg.connect(connection.info.dsn, dbname="postgres", autocommit=True) as asking:
        row = asking.execute(STATEMENTS.encode()).fetchone()
    assert row is not None
    return int(row[0])


def quantile(values: list[float], share: float) -> float:
    """What `share` of the values do not exceed."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def until(holds: Any, *, patience_s: float = 60.0) -> None:
    """Return when it holds."""
    limit = time.monotonic() + patience_s
    while not holds():
        assert time.monotonic() < limit, "it did not come"
        time.sleep(0.05)


if __name__ == "__main__":
    main()
