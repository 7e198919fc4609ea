"""Measure each call of the API beside a running Cinder's, on the same database server, in one run.

    python benchmarks/calls.py --database mariadb://root@127.0.0.1:13306 --peer http://127.0.0.1:28776/v3
    python benchmarks/calls.py                 Breezeblock alone, on SQLite
    python benchmarks/calls.py --quick …       to try it out
    python benchmarks/calls.py --write …       and the table into docs/explanation/speed.md

Both targets get the same: --fill volumes, and of everything else a tenth of that, made through their own APIs. Then every
list and every single thing is read by one client for a while, and by eight; and things are made, changed and removed, each
once, until they are settled. The targets take turns within each call; each figure is the median of --runs rounds. Backups
are measured when --backups is given: the peer's backup service has to run then.

What is compared is how long one client waits (p50 in ms), and how many answers eight clients get in a second.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from calling import page as tables
from calling.asks import KEYS, READS, WRITES, Made, Write
from calling.given import Given, give, ids_of, settle
from load import Ask, Target, crowd
from measuring import page, servers
from measuring.services import PROJECT, end_in_order, running, say, target_of

REPORT: Final = Path(__file__).resolve().parent.parent / ".reports" / "benchmarks" / "calls.json"
ALONE, MANY = 1, 8
WITH: Final = {
    "BREEZEBLOCK_QUOTA__SNAPSHOTS": "-1",
    "BREEZEBLOCK_BACKUP_STORES__DEFAULT__TYPE": "folder",
    "BREEZEBLOCK_BACKENDS__FILE__DRIVER": "file",
}


def main() -> None:
    """Run what the command line asks for."""
    end_in_order()
    options = _options()
    report = json.loads(options.old.read_text()) if options.old else _measured(options)
    text = tables.tables(report)
    print(text)
    if options.write:
        page.write(page.SPEED, "each call", text)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database", help="URL of a server without a database's name; default SQLite")
    parser.add_argument("--peer", help="URL of a running Cinder with noauth, ending in /v3")
    parser.add_argument("--backups", action="store_true", help="back volumes up, too")
    parser.add_argument("--fill", type=int, default=500, help="volumes that there are")
    parser.add_argument("--count", type=int, default=40, help="of each request that changes something, in a round")
    parser.add_argument("--seconds", type=float, default=1.0, help="for each reading")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="small, for trying it out")
    parser.add_argument("--write", action="store_true", help="the table into docs/explanation/speed.md")
    parser.add_argument("--json", type=Path, default=REPORT, help="where to keep the raw results")
    parser.add_argument("--from", dest="old", type=Path, help="measure nothing: the table of these results")
    options = parser.parse_args()
    if options.quick:
        options.fill, options.count, options.seconds, options.runs = 40, 8, 0.2, 1
    return options


def _measured(options: argparse.Namespace) -> dict[str, Any]:
    began, load = time.monotonic(), os.getloadavg()[0]
    peer = Target("peer", f"{options.peer.rstrip('/')}/{PROJECT}", f"admin:{PROJECT}") if options.peer else None
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="breezeblock-bench-")))
        url = stack.enter_context(servers.made(options.database)) if options.database else None
        service = stack.enter_context(running(folder / "ours", url=url, nodes=2, workers=2, chosen=WITH))
        both = []
        for target in (target_of(service), *([peer] if peer else [])):
            both.append(give(target, many=options.fill, backups=options.backups))
            say(f"{target.name} has what is to be listed")
        calls = _reads(both, options) | _writes(both, options)
    report = {
        "date": time.strftime("%Y-%m-%d"),
        "took_s": round(time.monotonic() - began),
        "machine": {"cpus": os.cpu_count(), "load": round(load, 2)},
        "fill": options.fill,
        "runs": options.runs,
        "calls": calls,
    }
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(report, indent=1))
    say(f"{report['took_s']} s; raw results: {options.json}")
    return report


Rounds = dict[str, dict[str, list[float]]]


def _reads(both: list[Given], options: argparse.Namespace) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for read in READS:
        rounds: Rounds = {}
        for _ in range(options.runs):
            for given in both:
                ask = read.ask(given)
                if ask is not None:
                    _note(rounds, given, [ask], expected=200, seconds=options.seconds)
        if rounds:
            found[read.name] = _medians(rounds)
    say("all is read")
    return found


def _writes(both: list[Given], options: argparse.Namespace) -> dict[str, Any]:
    """Each round makes, changes and removes its own things; first for one client, then for many."""
    rounds: dict[str, Rounds] = {write.name: {} for write in WRITES}
    for _ in range(options.runs):
        for clients in (ALONE, MANY):
            made: dict[str, Made] = {given.target.name: {} for given in both}
            for write in WRITES:
                for given in both:
                    _write(write, given, made[given.target.name], clients, options.count, rounds[write.name])
        say("all is written")
    return {name: _medians(one) for name, one in rounds.items()}


def _write(write: Write, given: Given, made: Made, clients: int, count: int, rounds: Rounds) -> None:
    asks = write.asks(given, made, count)
    seen = crowd(given.target, asks, clients=clients, expected=write.expected, keep=bool(write.key))
    if seen.others:
        raise SystemExit(f"{given.target.name}: {write.name}: {seen.others} instead of {write.expected}")
    if write.key:
        made[write.key] = ids_of(seen.bodies, KEYS[write.key])
    settle(given, *write.settles)
    of_target = rounds.setdefault(given.target.name, {})
    if clients == ALONE:
        of_target.setdefault("p50_ms", []).append(seen.quantile_ms(0.5) or 0.0)
        of_target.setdefault("p99_ms", []).append(seen.quantile_ms(0.99) or 0.0)
    else:
        of_target.setdefault("per_s", []).append(seen.per_s())


def _note(rounds: Rounds, given: Given, asks: list[Ask], *, expected: int, seconds: float) -> None:
    of_target = rounds.setdefault(given.target.name, {})
    for clients in (ALONE, MANY):
        seen = crowd(given.target, asks, clients=clients, expected=expected, seconds=seconds)
        if seen.others:
            raise SystemExit(f"{given.target.name}: {asks[0].path}: {seen.others} instead of {expected}")
        if clients == ALONE:
            of_target.setdefault("p50_ms", []).append(seen.quantile_ms(0.5) or 0.0)
            of_target.setdefault("p99_ms", []).append(seen.quantile_ms(0.99) or 0.0)
        else:
            of_target.setdefault("per_s", []).append(seen.per_s())


def _medians(rounds: Rounds) -> dict[str, dict[str, float]]:
    return {
        target: {key: round(statistics.median(values), 3) for key, values in by_key.items()}
        for target, by_key in rounds.items()
    }


if __name__ == "__main__":
    main()
