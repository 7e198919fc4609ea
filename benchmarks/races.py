"""Change rows in a race, in every way side by side: locks of a database, a swap, locks of services, and Breezeblock.

    python benchmarks/races.py                                 the whole table: 15 minutes at most
    python benchmarks/races.py --quick                         a small one: two minutes at most
    python benchmarks/races.py --cases 50x3 --only compare_and_swap,breezeblock
    python benchmarks/races.py --write                         the whole table, into docs/explanation/races.md

Three MariaDB Galera nodes behind HAProxy, Redis and etcd are started for it. For each row some workers change its status
from available to deleting, look at it on all three nodes, work for 10 ms, and change it back; each does so some times, with
pauses of 10 ms. Meanwhile synthetic writers keep the databases busy. The solutions take turns within each round, so that a
machine whose speed drifts does so for all. It ends with 1 when any solution failed the verification.
"""

import argparse
import dataclasses
import gc
import json
import os
import sys
import time
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from racing import page, plot
from racing.crowd import Crowd, nodes, writers
from racing.figures import Figures, figures
from racing.meter import cpu_seconds
from racing.plan import Case, Order, Round
from racing.sites import Site, make_rows, site, unrest
from racing.solutions import NAMES, NEED_SERVICES, QUEUED, UNPROTECTED, USUAL

ROOT: Final = Path(__file__).resolve().parent.parent
PAGE: Final = ROOT / "docs" / "explanation" / "races.md"
# The source's with a quarter of its rows (of its workers, where there are five rows), and its last case with longer work.
CASES: Final = ("25x1", "100x1", "25x3", "25x5", "5x25", "5x25@100")
KNOWN: Final = (*NAMES, f"{QUEUED}_polling", UNPROTECTED)
# Until the writers' rhythm is steady, and how long it is listened to.
SETTLE_S: Final = 1.0
LISTEN_S: Final = 3.0
QUICK: Final = ("20x1", "20x3", "5x10")


def main() -> int:
    """Run what the command line asks for."""
    options = _options()
    unknown = set(options.only) - set(KNOWN)
    if unknown:
        raise SystemExit(f"no such solution: {', '.join(sorted(unknown))}; there are {', '.join(KNOWN)}")
    began, load = time.monotonic(), os.getloadavg()[0]
    gc.freeze()
    with site(redis_and_etcd=bool(NEED_SERVICES & set(options.only))) as at:
        print(f"ready after {time.monotonic() - began:.0f} s", file=sys.stderr)
        found = race(at, options)
    took_s = time.monotonic() - began
    print(f"{took_s:.0f} s", file=sys.stderr)
    text = page.tables(
        found,
        setting=page.setting(
            date=time.strftime("%Y-%m-%d"),
            took_s=took_s,
            writers=options.writers,
            changes=options.changes,
            rounds=options.rounds,
            load=(load, os.getloadavg()[0]),
        ),
    )
    print(text)
    if options.write:
        page.write(PAGE, text)
        (PAGE.parent / "races-acquire.svg").write_text(plot.acquires(found), encoding="utf-8")
        (PAGE.parent / "races-throughput.svg").write_text(plot.throughput(found), encoding="utf-8")
    if options.json:
        told = {case: {name: dataclasses.asdict(one) for name, one in cells.items()} for case, cells in found.items()}
        options.json.write_text(json.dumps(told, indent=1))
    return int(any(one.failures for cells in found.values() for one in cells.values()))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--cases", type=lambda text: text.split(","))
    parser.add_argument("--only", type=lambda text: text.split(","), default=list(USUAL))
    parser.add_argument("--changes", type=int, help="of each worker, in all rounds together")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--writers", type=int, default=50)
    parser.add_argument(
        "--listen", type=float, default=LISTEN_S, help="seconds to find out what the writers alone take"
    )
    parser.add_argument("--write", action="store_true", help="tables and pictures into docs/explanation")
    parser.add_argument("--json", type=Path, help="all figures into a file")
    options = parser.parse_args()
    options.cases = [Case.parse(text) for text in options.cases or (QUICK if options.quick else CASES)]
    options.changes = options.changes or (4 if options.quick else 10)
    options.rounds = options.rounds or (1 if options.quick else 2)
    return options


def race(at: Site, options: argparse.Namespace) -> dict[str, dict[str, Figures]]:
    """Figures by case and solution."""
    found: dict[str, dict[str, Figures]] = {}
    row_ids = make_rows(at, max(case.rows + case.workers for case in options.cases))
    quiet = make_rows(at, options.writers)
    with Crowd(at, max(case.workers for case in options.cases)) as crowd, writers(at, quiet):
        idle_cpu = _idle_cpu(options.listen) if options.listen else 0.0
        for case in options.cases:
            found[case.name] = _case(at, crowd, case, row_ids, idle_cpu, options)
    return found


def _idle_cpu(seconds: float) -> float:
    """The part of one CPU that the writers take, and all servers for them."""
    time.sleep(SETTLE_S)
    before, began = cpu_seconds(), time.monotonic()
    time.sleep(seconds)
    return (cpu_seconds() - before) / (time.monotonic() - began)


def _case(
    at: Site, crowd: Crowd, case: Case, row_ids: list[str], idle_cpu: float, options: argparse.Namespace
) -> dict[str, Figures]:
    rounds: dict[str, list[Round]] = {name: [] for name in options.only}
    failures: dict[str, list[str]] = {name: [] for name in options.only}
    each = options.changes // options.rounds
    for number in range(options.rounds):
        for name in options.only:
            orders = [
                Order(
                    solution=name,
                    row=worker % case.rows,
                    row_id=row_ids[worker % case.rows],
                    changes=each,
                    first=number * each,
                    work_s=case.work_ms / 1000,
                    own_row_id=row_ids[case.rows + worker],
                )
                for worker in range(case.workers)
            ]
            began = time.monotonic()
            if name.startswith(QUEUED):
                with nodes(at, doorbell=name == QUEUED) as working:
                    rounds[name].append(crowd.run(orders, working.retries))
            else:
                rounds[name].append(crowd.run(orders))
            failures[name] += unrest(at, row_ids)
            print(f"{case.name} {name}: {time.monotonic() - began:.0f} s", file=sys.stderr)
    return {name: figures(rounds[name], idle_cpu=idle_cpu, more_failures=failures[name]) for name in options.only}


if __name__ == "__main__":
    sys.exit(main())
