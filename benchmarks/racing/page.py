"""The tables of `docs/explanation/races.md`, and whether what was hoped for was reached."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from .figures import Figures
from .plan import WORK_MS, Case
from .solutions import QUEUED

SWAP: Final = "compare_and_swap"
TITLES: Final = {
    "for_update": "SELECT … FOR UPDATE",
    SWAP: "compare and swap",
    "file_change": "Tooz file, each change",
    "file_whole": "Tooz file, whole operation",
    "redis_change": "Tooz Redis, each change",
    "redis_whole": "Tooz Redis, whole operation",
    "etcd_change": "Tooz etcd, each change",
    "etcd_whole": "Tooz etcd, whole operation",
    QUEUED: "**Breezeblock**",
    f"{QUEUED}_polling": "Breezeblock without a doorbell",
    "unprotected": "no protection",
}
Found = Mapping[str, Mapping[str, Figures]]
"""Figures by case and solution."""


def tables(found: Found, *, setting: str) -> str:
    """All of it in Markdown."""
    parts = [setting]
    for case, cells in found.items():
        parts.append(f"### {_heading(case)}\n\n{_table(cells)}")
    parts.append(f"### What a change costs\n\n{_costs(found)}")
    parts.append(f"### What was to be reached\n\n{targets(found)}")
    return "\n\n".join(parts)


def _heading(case: str) -> str:
    read = Case.parse(case)
    each = "1 worker" if read.workers_each == 1 else f"{read.workers_each} workers"
    return f"{read.rows} rows, {each} each" + (f", {read.work_ms} ms of work" if read.work_ms != WORK_MS else "")


def _table(cells: Mapping[str, Figures]) -> str:
    lines = [
        "| | acquire mean | p50 | p99 | max | max/mean | until work | release mean | p50 | p99 | max | deadlock retries"
        " | failed | changes/s | total s |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for name, one in cells.items():
        acquire = (one.acquire_mean, one.acquire_p50, one.acquire_p99, one.acquire_max)
        release = (one.release_mean, one.release_p50, one.release_p99, one.release_max)
        numbers = [
            *(_ms(value) for value in acquire),
            f"{one.unevenness:.1f}",
            _ms(one.working_mean),
            *(_ms(value) for value in release),
            f"{one.retries:,}",
            str(len(one.failures)),
            f"{one.per_second:.0f}",
            f"{one.seconds:.1f}",
        ]
        lines.append(f"| {TITLES[name]} | {' | '.join(numbers)} |")
    return "\n".join(lines)


def _ms(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def _costs(found: Found) -> str:
    """Of each change: what the databases were asked, and whose processor time it took."""
    lines = [
        "| case | | statements | write sets | CPU ms | workers | nodes | databases | balancer, locks |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for case, cells in found.items():
        for name, one in cells.items():
            used = one.used
            times = (used.workers_s, used.nodes_s, used.databases_s, used.between_s)
            numbers = [f"{used.statements:.0f}", f"{used.write_sets:.1f}", f"{one.cpu_ms:.1f}"]
            numbers += [f"{time * 1000:.1f}" for time in times]
            lines.append(f"| {case} | {TITLES[name]} | {' | '.join(numbers)} |")
    return "\n".join(lines)


def targets(found: Found) -> str:
    """What was hoped for, case by case, beside what came out."""
    lines = ["| case | what | wanted | measured | |", "|---|---|--:|--:|---|"]
    for case, cells in found.items():
        for what, wanted, measured, reached in _targets_of(case, cells):
            lines.append(f"| {case} | {what} | {wanted} | {measured} | {'reached' if reached else '**missed**'} |")
    return "\n".join(lines)


def _targets_of(case: str, cells: Mapping[str, Figures]) -> list[tuple[str, str, str, bool]]:
    failed = sum(len(one.failures) for one in cells.values())
    found = [("verification failures, all solutions", "0", str(failed), failed == 0)]
    ours, swap = cells.get(QUEUED), cells.get(SWAP)
    if ours is None or swap is None:
        return found
    if Case.parse(case).workers_each == 1:
        ratio = ours.acquire_mean / swap.acquire_mean
        return [*found, ("mean acquire by that of compare and swap", "≤ 2.5", f"{ratio:.2f}", ratio <= 2.5)]
    best = max(one.per_second for one in cells.values())
    longest, again = ours.acquire_max / swap.acquire_max, ours.retries / max(1, swap.retries)
    share = ours.per_second / best
    return [
        *found,
        ("longest acquire by that of compare and swap", "≤ 0.5", f"{longest:.2f}", longest <= 0.5),
        ("deadlock retries by those of compare and swap", "≤ 0.33", f"{again:.2f}", again <= 1 / 3),
        ("longest acquire by the mean", "< 5", f"{ours.unevenness:.1f}", ours.unevenness < 5),
        ("changes/s by those of the best", "≥ 0.8", f"{share:.2f}", share >= 0.8),
    ]


def setting(*, date: str, took_s: float, writers: int, changes: int, rounds: int, load: tuple[float, float]) -> str:
    """One sentence about the run. `load`: the machine's before it, and at its end."""
    made = f"{changes} changes of each worker in {rounds} round{'s' if rounds > 1 else ''}"
    return (
        f"Measured on {date} on {os.cpu_count()} virtual CPUs, {made}, {writers} synthetic writers, {took_s / 60:.0f} minutes "
        f"in all. Load of the machine (one minute's average) before it began: {load[0]:.1f}; at its end, its own part "
        f"included: {load[1]:.1f}. Times are in milliseconds."
    )


_BEGIN: Final = "<!-- races: made by benchmarks/races.py --write -->"
_END: Final = "<!-- end of races -->"


def write(page: Path, text: str) -> None:
    """Put it between the two marks."""
    was = page.read_text(encoding="utf-8")
    pattern = re.compile(f"{re.escape(_BEGIN)}.*{re.escape(_END)}", re.DOTALL)
    assert pattern.search(was), f"{page} has no place for the tables"
    page.write_text(pattern.sub(lambda _: f"{_BEGIN}\n\n{text}\n\n{_END}", was), encoding="utf-8")
