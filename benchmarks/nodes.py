"""Measure nodes: what idle ones cost, what more of them bring, and whether work is shared fairly. Markdown on standard output.

    python benchmarks/nodes.py              1, 2, 4 and 8 nodes on a PostgreSQL and a MariaDB started for it, then fairness
    python benchmarks/nodes.py --quick      1 and 2 nodes, little work
    python benchmarks/nodes.py --write      the whole, and the tables into docs/explanation/speed.md

Idle: statements that the server counts (without BEGIN, COMMIT and such) while nobody asks for anything.

Throughput: creates are put into the queue at once, and the log of operations tells when the first was claimed and the last had
ended. All nodes share this machine's CPUs, which are busy with a few hundred creates in a second, however many nodes there
are. So it is measured twice: with a driver that takes no time, where the CPUs are the limit, and with one that takes
a second for each create, where it is the slots, and more nodes must bring more.

Fairness, on PostgreSQL: a backend that is flooded beside one with little work; a node whose storage is ten times slower than
another's; a node that is stopped for some seconds.

The servers do not wait for disks; doorbells are what `auto` chooses. Some six minutes on two CPUs; nothing else should run
on the machine. Raw results are kept in .reports/benchmarks/nodes.json; `--from` makes the tables of such a file again.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from measuring import fairness, page
from measuring.page import number, table
from measuring.private import counted_server
from measuring.queue import create_crowd, ended
from measuring.servers import Counter, made
from measuring.services import end_in_order, running, say, target_of, until

from breezeblock import wiring
from breezeblock.chaos.service import Service

REPORTS: Final = Path(__file__).resolve().parent.parent / ".reports" / "benchmarks"
KINDS: Final = {"postgresql": "PostgreSQL", "mariadb": "MariaDB"}
SLOW_S: Final = 1.0
SLOTS: Final = 4
# Each slot so many times in turn: what is lost at the beginning and at the end weighs little then.
WAVES: Final = 4
# Until nodes that had work look as seldom as idle ones.
SETTLE_S: Final = 2.5


def main() -> None:
    """Run what the command line asks for."""
    end_in_order()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--databases", type=lambda text: text.split(","), default=list(KINDS))
    parser.add_argument("--nodes", type=lambda text: [int(n) for n in text.split(",")])
    parser.add_argument("--idle", type=float, help="seconds")
    parser.add_argument("--creates", type=int, help="with a driver that takes no time")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--write", action="store_true", help="the tables into docs/explanation/speed.md")
    parser.add_argument("--json", type=Path, default=REPORTS / "nodes.json", help="where to keep the raw results")
    parser.add_argument("--from", dest="old", type=Path, help="measure nothing: the tables of these results")
    options = parser.parse_args()
    options.nodes = sorted(options.nodes or ([1, 2] if options.quick else [1, 2, 4, 8]), reverse=True)
    options.idle = options.idle or (1.0 if options.quick else 4.0)
    options.creates = options.creates or (40 if options.quick else 240)
    report = json.loads(options.old.read_text()) if options.old else _measured(options)
    text = tables(report)
    print(text)
    if options.write:
        page.write(page.SPEED, "nodes", text)


def _measured(options: argparse.Namespace) -> dict[str, Any]:
    began = time.monotonic()
    report: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d"),
        "cpus": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
        "creates": options.creates,
    }
    for kind in options.databases:
        with counted_server(kind) as server:
            report[kind] = {"idle": {}, "slow": {}, "fast": {}}
            slow_and_idle(server, options, report[kind])
            fast(server, options, report[kind])
            if kind == "postgresql":
                report["fairness"] = {
                    name: asdict(one) for name, one in fairness.measure(server, quick=options.quick).items()
                }
    report["took_s"] = round(time.monotonic() - began)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(report, indent=1))
    say(f"{report['took_s']} s; raw results: {options.json}")
    return report


# --- more and more nodes, from the most to the least ------------------------------------------------------------------


@contextmanager
def _service(server: str, options: argparse.Namespace, chosen: Mapping[str, str]) -> Iterator[Service]:
    slots = {"BREEZEBLOCK_NODES__SLOTS": str(SLOTS)}
    with made(server) as url, tempfile.TemporaryDirectory(prefix="bench-nodes-") as folder:
        calls = Path(folder) / "calls"
        calls.mkdir()
        records = {wiring.RECORD_CALLS: str(calls)}
        with running(
            Path(folder) / "data", url=url, nodes=max(options.nodes), workers=2, chosen=slots | records | dict(chosen)
        ) as service:
            yield service


def _leave(service: Service, nodes: int) -> None:
    """Drain what is more than so many nodes."""
    surplus = [name for name in service.keeper_pids if int(name.removeprefix("node-")) > nodes]
    with ThreadPoolExecutor(2) as pool:
        for done in pool.map(lambda name: service.command("node", "drain", name), surplus):
            assert done.returncode == 0, done.stderr
    until(lambda: len(service.serving_keepers()) == nodes, what=f"{nodes} nodes are left", every_s=0.1)


def slow_and_idle(server: str, options: argparse.Namespace, report: dict[str, Any]) -> None:
    """Statements in a second while idle, and creates in a second whose driver takes its time, by the number of nodes."""
    with ExitStack() as stack:
        service = stack.enter_context(_service(server, options, {wiring.SLOW_CALLS: str(SLOW_S)}))
        counter = stack.enter_context(closing(Counter(server)))
        for nodes in options.nodes:
            _leave(service, nodes)
            report["slow"][str(nodes)] = _throughput(service, nodes * SLOTS * WAVES)
            time.sleep(SETTLE_S)
            report["idle"][str(nodes)] = round(counter.per_second(options.idle), 1)
            told = f"{report['slow'][str(nodes)]:.1f} slow creates/s, {report['idle'][str(nodes)]} idle statements/s"
            say(f"{service.database.kind}: {nodes} nodes: {told}")


def fast(server: str, options: argparse.Namespace, report: dict[str, Any]) -> None:
    """Creates in a second whose driver takes no time."""
    with _service(server, options, {}) as service:
        for nodes in options.nodes:
            _leave(service, nodes)
            report["fast"][str(nodes)] = _throughput(service, options.creates)
            say(f"{service.database.kind}: {nodes} nodes: {report['fast'][str(nodes)]:.1f} creates/s")


def _throughput(service: Service, count: int) -> float:
    with closing(service.database.open()) as reader:
        rows = ended(reader, create_crowd(target_of(service), count))
    took_us = max(row["finished_at_us"] for row in rows) - min(row["claimed_at_us"] for row in rows)
    return float(round(count / took_us * 1e6, 2))


# --- the page ---------------------------------------------------------------------------------------------------------


def tables(report: Mapping[str, Any]) -> str:
    """All of it in Markdown."""
    parts = [
        f"Measured on {report['date']} on {report['cpus']} virtual CPUs in {report['took_s'] / 60:.0f} minutes; load before it "
        f"began: {report['load']:.1f}."
    ]
    kinds = [kind for kind in KINDS if kind in report]
    head = [
        "Nodes",
        *(
            f"{KINDS[kind]}: {what}"
            for kind in kinds
            for what in ("idle, all", "idle, each", "1 s", "of what slots allow", "0 s")
        ),
    ]
    rows = []
    for nodes in sorted(report[kinds[0]]["idle"], key=int):
        row, most = [nodes], int(nodes) * SLOTS / SLOW_S
        for kind in kinds:
            idle, slow, quick = (report[kind][what][nodes] for what in ("idle", "slow", "fast"))
            row += [number(idle), number(idle / int(nodes)), number(slow), f"{slow / most * 100:.0f} %", number(quick)]
        rows.append(row)
    parts.append(table(head, rows))
    if "fairness" in report:
        parts.append(fairness.tables(report["fairness"]))
    return "\n\n".join(parts)


if __name__ == "__main__":
    main()
