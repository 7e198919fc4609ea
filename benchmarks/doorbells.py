"""Measure doorbells side by side: how soon work is taken, and what idle nodes cost. A Markdown table on standard output.

    python benchmarks/doorbells.py                        all of them, on a PostgreSQL and a RabbitMQ started for it
    python benchmarks/doorbells.py --only none,datagram   some
    python benchmarks/doorbells.py --write                all, and the table into docs/explanation/speed.md

For each doorbell one service on the same PostgreSQL (without fsync). Dispatch: volumes are created one after the other with
pauses between, so that nothing waits for a slot; the latency is from the time in the operation's row, taken just before its
commit, to the time of its claim, both by this machine's clock. Idle: statements that the database counts (without BEGIN,
COMMIT and such) while nobody asks for anything, for each node; its heartbeats and its looks are among them.

Less than two minutes. The first creates of a service are left out. Nothing else should run on the machine.
"""

import argparse
import json
import os
import random
import sys
import tempfile
import time
from contextlib import ExitStack, closing
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from measuring.lifecycle import CREATE
from measuring.page import SPEED, number, table, write
from measuring.private import counted_server
from measuring.servers import Counter, made
from measuring.services import end_in_order, quantile, running, say, target_of, until
from tests.servers.rabbitmq import RabbitMQ, rabbitmq

KINDS = ("none", "datagram", "postgresql", "rabbitmq")
LATENCIES = """
SELECT (claimed_at_us - created_at_us) / 1000.0 AS ms FROM operation_log
WHERE kind = 'create_volume' AND claimed_at_us IS NOT NULL ORDER BY created_at_us
"""


def main() -> None:
    """Run what the command line asks for."""
    end_in_order()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", type=lambda text: text.split(","), default=list(KINDS))
    parser.add_argument("--creates", type=int, default=24)
    parser.add_argument("--warm", type=int, default=5, help="creates before those that count")
    parser.add_argument("--idle", type=float, default=5.0, help="seconds")
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="the table into docs/explanation/speed.md")
    options = parser.parse_args()
    load, rows = os.getloadavg()[0], []
    with ExitStack() as stack:
        server = stack.enter_context(counted_server("postgresql"))
        broker = stack.enter_context(rabbitmq()) if "rabbitmq" in options.only else None
        for kind in options.only:
            latencies, idle = measure(kind, options, server, broker)
            figures = [quantile(latencies, 0.5), quantile(latencies, 0.99), max(latencies), idle]
            rows.append((kind, *(number(figure) for figure in figures)))
            say(" ".join(rows[-1]))
    head = ("Doorbell", "p50 ms", "p99 ms", "longest ms", "idle statements/s of a node")
    setting = (
        f"Measured on {time.strftime('%Y-%m-%d')} with {options.nodes} nodes, {options.creates} creates each; load before it "
        f"began: {load:.1f}."
    )
    text = f"{setting}\n\n{table(head, rows)}"
    print(text)
    if options.write:
        write(SPEED, "doorbells", text)


def measure(kind: str, options: argparse.Namespace, server: str, broker: RabbitMQ | None) -> tuple[list[float], float]:
    """Latencies in milliseconds, and the statements of an idle node in a second."""
    chosen = {"BREEZEBLOCK_DOORBELL__KIND": kind}
    if kind == "rabbitmq":
        assert broker is not None
        chosen["BREEZEBLOCK_DOORBELL__URLS"] = json.dumps([broker.url])
    with ExitStack() as stack:
        url = stack.enter_context(made(server))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bells-")))
        service = stack.enter_context(running(folder / "data", url=url, nodes=options.nodes, chosen=chosen))
        reader = stack.enter_context(closing(service.database.open()))
        counter = stack.enter_context(closing(Counter(server)))
        client, pauses = target_of(service).client(), random.Random(kind)
        for _ in range(options.warm + options.creates):
            status, body = client.ask(CREATE)
            assert status == 202, body
            time.sleep(pauses.uniform(0.15, 0.45))  # so that looks of nodes and creates are in no step
        until(lambda: len(reader.rows(LATENCIES)) >= options.warm + options.creates, what="all creates have ended")
        latencies = [float(row["ms"]) for row in reader.rows(LATENCIES)]
        time.sleep(2.5)  # until nodes are idle again
        idle = counter.per_second(options.idle) / options.nodes
    return latencies[options.warm :], idle


if __name__ == "__main__":
    main()
