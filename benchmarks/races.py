"""Change rows in a race, in every way side by side: locks of a database, a swap, locks of services, and Breezeblock.

    python benchmarks/races.py                                 the whole table: 15 minutes at most
    python benchmarks/races.py --quick                         a small one: two minutes at most
    python benchmarks/races.py --cases 50x3 --only compare_and_swap,breezeblock
    python benchmarks/races.py --write                         the whole table, into docs/explanation/races.md

Three MariaDB Galera nodes behind HAProxy, Redis and etcd are started for it. For each row some workers change its status
from available to deleting, look at it on all three nodes, work for 10 ms, and change it back; each does so some times, with
pauses of 10 ms. Meanwhile synthetic writers keep the databases busy. All solutions take their turns in each round, so that a
machine whose speed drifts does so for all. It ends with 1 when any solution failed the verification, and keeps every
change in a file with --json.
"""

import argparse
import dataclasses
import gc
import json
import os
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from racing import page, plot
from racing.crowd import Crowd, nodes, writers
from racing.figures import Figures, figures
from racing.meter import Meter
from racing.plan import Case, Change, Order, Round
from racing.sites import Site, make_rows, site, unrest
from racing.solutions import NAMES, NEED_SERVICES, QUEUED, UNPROTECTED, USUAL

ROOT: Final = Path(__file__).resolve().parent.parent
PAGE: Final = ROOT / "docs" / "explanation" / "races.md"
# The source's with a fifth of its rows (of its workers, where there are five rows), and one with longer work.
CASES: Final = ("20x1", "80x1", "20x3", "20x5", "5x20", "5x10@100")
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
    gc.freeze()  # what is there is shared with two hundred children, as long as nobody touches it
    with site(redis_and_etcd=bool(NEED_SERVICES & set(options.only))) as at:
        print(f"ready after {time.monotonic() - began:.0f} s", file=sys.stderr)
        found, rounds = race(at, options)
    took_s = time.monotonic() - began
    print(f"{took_s:.0f} s", file=sys.stderr)
    setting = page.setting(
        date=time.strftime("%Y-%m-%d"),
        took_s=took_s,
        writers=options.writers,
        changes=options.changes // options.rounds * rounds,
        rounds=rounds,
        load=(load, os.getloadavg()[0]),
    )
    text = page.tables(found, setting=setting)
    print(text)
    if options.write:
        page.write(PAGE, text)
        (PAGE.parent / "races-acquire.svg").write_text(plot.acquires(found), encoding="utf-8")
        (PAGE.parent / "races-throughput.svg").write_text(plot.throughput(found), encoding="utf-8")
    if options.json:
        cells = {case: {name: _told(one) for name, one in cells.items()} for case, cells in found.items()}
        options.json.write_text(json.dumps({"setting": setting, "columns": _COLUMNS, "cases": cells}))
    return int(any(one.failures for cells in found.values() for one in cells.values()))


_COLUMNS: Final = [field.name for field in dataclasses.fields(Change)]


def _told(one: Figures) -> dict[str, object]:
    """With every single change, as a row of `_COLUMNS`."""
    told = dataclasses.asdict(one)
    return told | {"single_changes": [dataclasses.astuple(change) for change in one.single_changes]}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--cases", type=lambda text: text.split(","))
    parser.add_argument("--only", type=lambda text: text.split(","), default=list(USUAL))
    parser.add_argument("--changes", type=int, help="of each worker, in all rounds together")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--minutes", type=float, default=14.0, help="no round is begun that would end later")
    parser.add_argument("--writers", type=int, default=50)
    parser.add_argument(
        "--listen", type=float, default=LISTEN_S, help="seconds to find out what the writers alone take"
    )
    parser.add_argument("--write", action="store_true", help="tables and pictures into docs/explanation")
    parser.add_argument("--json", type=Path, help="all figures, and every change, into a file")
    options = parser.parse_args()
    options.cases = [Case.parse(text) for text in options.cases or (QUICK if options.quick else CASES)]
    options.changes = options.changes or (4 if options.quick else 10)
    options.rounds = options.rounds or (1 if options.quick else 2)
    return options


def race(at: Site, options: argparse.Namespace) -> tuple[dict[str, dict[str, Figures]], int]:
    """Figures by case and solution, and how many rounds they are of."""
    row_ids = make_rows(at, max(case.rows + case.workers for case in options.cases))
    quiet = make_rows(at, options.writers)
    with Crowd(at, max(case.workers for case in options.cases)) as crowd, writers(at, quiet) as written:
        meter = Meter(at, written)
        if options.listen:
            time.sleep(SETTLE_S)
            meter.listen(options.listen)
        course = Course(at, crowd, meter, row_ids, options.changes // options.rounds)
        done, began = 0, time.monotonic()
        while done < options.rounds:
            for case in options.cases:
                for name in options.only:
                    course.turn(case, name, number=done)
            done += 1
            if (time.monotonic() - began) / done * (done + 1) > options.minutes * 60:
                break  # all have made the same number of changes, and nobody another that takes too long
    return {case.name: {name: course.figures(case, name) for name in options.only} for case in options.cases}, done


class Course:
    """Where all take their turns, and what has come of them so far."""

    def __init__(self, at: Site, crowd: Crowd, meter: Meter, row_ids: list[str], changes: int) -> None:
        self._at, self._crowd, self._meter, self._row_ids, self._changes = at, crowd, meter, row_ids, changes
        self._rounds: dict[tuple[Case, str], list[Round]] = defaultdict(list)
        self._unrest: dict[tuple[Case, str], list[str]] = defaultdict(list)

    def turn(self, case: Case, name: str, *, number: int) -> None:
        """One solution makes its changes of one round."""
        orders = [self._order(case, name, worker, number) for worker in range(case.workers)]
        began = time.monotonic()
        if name.startswith(QUEUED):
            with nodes(self._at, self._meter, doorbell=name == QUEUED) as working:
                made = self._crowd.run(orders, self._meter, working.retries)
        else:
            made = self._crowd.run(orders, self._meter)
        self._rounds[case, name].append(made)
        self._unrest[case, name] += unrest(self._at, self._row_ids)
        print(f"round {number + 1}, {case.name} {name}: {time.monotonic() - began:.0f} s", file=sys.stderr)

    def _order(self, case: Case, name: str, worker: int, number: int) -> Order:
        return Order(
            solution=name,
            row=worker % case.rows,
            row_id=self._row_ids[worker % case.rows],
            changes=self._changes,
            first=number * self._changes,
            work_s=case.work_ms / 1000,
            own_row_id=self._row_ids[case.rows + worker],
        )

    def figures(self, case: Case, name: str) -> Figures:
        """Of all its rounds."""
        return figures(self._rounds[case, name], more_failures=self._unrest[case, name])


if __name__ == "__main__":
    sys.exit(main())
