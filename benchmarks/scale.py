"""Measure what becomes of latencies with a million volumes, and what one database bears.

    python benchmarks/scale.py                     everything, on servers started for it: 12 minutes at most when idle
    python benchmarks/scale.py --small             up to 10,000 volumes: two minutes at most
    python benchmarks/scale.py --write             everything, into docs/explanation/scale.md; raw figures into --json
    python benchmarks/scale.py --from FILE --write  the page once more, from the raw figures of an earlier run

On PostgreSQL, MariaDB and SQLite, at each size: requests, claims, finishes, heartbeats and expiries by the service's own
functions, one at a time; then, at the largest size, as many of each as two processes can ask for. Rows are put in in bulk, and
are consistent as `breezeblock db check` would have them. The servers do not wait for the disk, SQLite does.
"""

import argparse
import asyncio
import os
import sys
import time
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scaling import filling, loads, page, plot
from scaling.acts import world
from scaling.latency import Samples, figure, measure, under_heartbeats
from scaling.loads import note
from scaling.plan import FULL, KINDS, SMALL, TINY, Plan
from scaling.results import Of, Results, read
from scaling.sites import Site, site

ROOT: Final = Path(__file__).resolve().parent.parent
PAGE: Final = ROOT / "docs" / "explanation" / "scale.md"
PLANS: Final = {"full": FULL, "small": SMALL, "tiny": TINY}


def main() -> None:
    """Run what the command line asks for."""
    options = _options()
    results = read(options.read) if options.read else run(PLANS[options.plan], options.only)
    made = page.text(results)
    print(made)
    if options.json:
        results.write(options.json)
    if options.write:
        page.write(PAGE, made)
        for name, names in plot.PICTURES.items():
            (PAGE.parent / f"scale-{name}.svg").write_text(plot.picture(results, names), encoding="utf-8")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plan", choices=tuple(PLANS), default="full")
    parser.add_argument("--small", dest="plan", action="store_const", const="small")
    parser.add_argument("--only", type=lambda text: text.split(","), default=list(KINDS))
    parser.add_argument("--write", action="store_true", help="tables and pictures into docs/explanation")
    parser.add_argument("--json", type=Path, help="all figures into a file")
    parser.add_argument("--from", dest="read", type=Path, help="figures of an earlier run, instead of a new one")
    return parser.parse_args()


def run(plan: Plan, kinds: list[str]) -> Results:
    """All of it."""
    began, load = time.monotonic(), os.getloadavg()[0]
    found: dict[str, Of] = {}
    for kind in kinds:
        with site(kind) as at:
            found[kind] = one(at, plan)
    setting = {
        "date": time.strftime("%Y-%m-%d"),
        "minutes": (time.monotonic() - began) / 60,
        "load": load,
        "nodes": plan.nodes,
        "rounds": plan.rounds,
    }
    return Results(setting, found)


def one(at: Site, plan: Plan) -> Of:
    """One database, at each size."""
    found, filled = Of(), 0
    filling.begin(at, plan)
    for size in plan.sizes:
        began = time.monotonic()
        filling.grow(at, range(filled, size))
        filling.settle(at)
        filled = size
        found.filled_s += time.monotonic() - began
        note(f"{at.kind}: {size:,} volumes after {time.monotonic() - began:.0f} s")
        began = time.monotonic()
        samples = asyncio.run(_measure(at, plan, size))
        found.figures[size] = {name: figure(values) for name, values in samples.items()}
        note(f"{at.kind}: measured in {time.monotonic() - began:.0f} s")
    with loads.heartbeats(at, plan, filled) as end:
        samples = asyncio.run(_under_heartbeats(at, plan, filled))
        found.beats = end()
    found.beating = {name: figure(values) for name, values in samples.items()}
    note(f"{at.kind}: measured under {found.beats:.0f} heartbeats/s")
    for kind in loads.TURNS:
        found.loads[kind] = loads.bear(at, plan, kind, filled)
        note(f"{at.kind}: {found.loads[kind].per_second:.0f} {kind}/s")
    return found


async def _measure(at: Site, plan: Plan, size: int) -> Samples:
    with world(at.url, str(at.folder), connections=4) as here:
        return await measure(here, plan, size)


async def _under_heartbeats(at: Site, plan: Plan, size: int) -> Samples:
    with world(at.url, str(at.folder), connections=4) as here:
        return await under_heartbeats(here, plan, size)


if __name__ == "__main__":
    main()
