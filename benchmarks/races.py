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
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from racing.crowd import Crowd, nodes, writers
from racing.figures import Figures, figures
from racing.plan import Case, Change, Order
from racing.sites import Site, make_rows, site
from racing.solutions import NAMES, NEED_SERVICES, QUEUED, UNPROTECTED

CASES: Final = ("50x1", "200x1", "50x3", "50x5", "5x30")
QUICK: Final = ("20x1", "20x3", "3x15")


def main() -> int:
    """Run what the command line asks for."""
    options = _options()
    unknown = set(options.only) - {*NAMES, UNPROTECTED, f"{QUEUED}_polling"}
    if unknown:
        raise SystemExit(f"no such solution: {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    began = time.monotonic()
    gc.freeze()
    with site(redis_and_etcd=bool(NEED_SERVICES & set(options.only))) as at:
        found = race(at, options)
    print(f"{time.monotonic() - began:.0f} s", file=sys.stderr)
    if options.json:
        told = {case: {name: dataclasses.asdict(one) for name, one in cells.items()} for case, cells in found.items()}
        options.json.write_text(json.dumps(told, indent=1))
    return int(any(one.failures for cells in found.values() for one in cells.values()))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--cases", type=lambda text: text.split(","))
    parser.add_argument("--only", type=lambda text: text.split(","), default=list(NAMES))
    parser.add_argument("--changes", type=int, help="of each worker, in all rounds together")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--writers", type=int, default=50)
    parser.add_argument("--json", type=Path, help="all figures into a file")
    options = parser.parse_args()
    options.cases = [Case.parse(text) for text in options.cases or (QUICK if options.quick else CASES)]
    options.changes = options.changes or (4 if options.quick else 10)
    options.rounds = options.rounds or (1 if options.quick else 2)
    return options


def race(at: Site, options: argparse.Namespace) -> dict[str, dict[str, Figures]]:
    """Figures by case and solution."""
    found: dict[str, dict[str, Figures]] = {}
    row_ids = make_rows(at, max(case.rows for case in options.cases))
    quiet = make_rows(at, options.writers)
    with Crowd(at, max(case.workers for case in options.cases)) as crowd, writers(at, quiet):
        for case in options.cases:
            found[case.name] = _case(at, crowd, case, row_ids, options)
            _tell(case, found[case.name])
    return found


def _case(
    at: Site, crowd: Crowd, case: Case, row_ids: list[str], options: argparse.Namespace
) -> dict[str, Figures]:
    rounds: dict[str, list[list[Change]]] = {name: [] for name in options.only}
    more_retries = dict.fromkeys(options.only, 0)
    each = options.changes // options.rounds
    for number in range(options.rounds):
        for name in options.only:
            orders = [
                Order(name, worker % case.rows, row_ids[worker % case.rows], each, number * each)
                for worker in range(case.workers)
            ]
            if name.startswith(QUEUED):
                with nodes(at, doorbell=name == QUEUED) as counted:
                    rounds[name].append(crowd.run(orders))
                more_retries[name] += counted.retries
            else:
                rounds[name].append(crowd.run(orders))
    return {name: figures(rounds[name], more_retries=more_retries[name]) for name in options.only}


def _tell(case: Case, cells: dict[str, Figures]) -> None:
    print(f"\n{case.name}, load {os.getloadavg()[0]:.1f}", flush=True)
    for name, one in cells.items():
        print(
            f"  {name:20} acquire {one.acquire_mean:8.1f} p50 {one.acquire_p50:8.1f} p99 {one.acquire_p99:8.1f}"
            f" max {one.acquire_max:8.1f} working {one.working_mean:8.1f} release {one.release_mean:7.1f}"
            f" max {one.release_max:7.1f} retries {one.retries:6} failed {len(one.failures):4}"
            f" {one.per_second:7.1f}/s {one.seconds:6.1f} s",
            flush=True,
        )


if __name__ == "__main__":
    sys.exit(main())
