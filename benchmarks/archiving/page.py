"""The tables of `docs/explanation/backup-speed.md`, and whether what was hoped for was reached."""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from .plan import ACTS, AFAR, CINDER, CINDER_ZSTD, DATA, OURS, TITLES, TOLD
from .results import Figure, Results

__all__ = ["ALL", "OURS_ALONE", "bounds", "shown", "speed", "tables", "targets", "write"]

GIB: Final = 1024**3
MIB: Final = 1024**2
OTHERS: Final = ("restic", "borg", "benji")
BOUNDS: Final = {"read": "read", "hash": "read and hash", "compress": "read, hash and compress", "write": "and write"}
# What is to be reached: times Cinder's, the share of the bound, and memory.
FULL_TIMES: Final = {CINDER: 10.0, CINDER_ZSTD: 3.0}
INCREMENTAL_TIMES: Final = 20.0
BOUND_SHARE: Final = 0.8
PEAK_MIB: Final = 300.0
# Where the page has what a run found; one of ours alone, stored elsewhere as well, has a place of its own.
ALL: Final = "backups"
OURS_ALONE: Final = "backups stored elsewhere"


def shown(act: str, figures: Mapping[str, Figure]) -> dict[str, Figure]:
    """Without what is the same twice: whoever is told what changed differs in incremental backups only.

    Where a backup is stored is of interest where most is written.
    """
    left_out = {TOLD: act != "incremental", AFAR: act != "full"}
    return {name: one for name, one in figures.items() if not left_out.get(name)}


def speed(results: Results, seconds: float) -> float:
    """GiB of the volume in a second."""
    return float(results.setting["size_bytes"]) / GIB / seconds


def tables(results: Results) -> str:
    """All of it in Markdown."""
    parts = [_setting(results)]
    parts += [f"{TITLES[name]}: not measured; {why.rstrip('.')}." for name, why in results.missing.items()]
    parts += [f"**Failed:** {failure}" for failure in results.failures]
    for data, acts in results.figures.items():
        for act, figures in acts.items():
            parts.append(f"### {ACTS[act]}, {DATA[data]}\n\n{_table(results, data, act, figures)}")
    if results.bound:
        parts.append(f"### What the machine allows\n\n{_bounds(results)}")
    parts.append(f"### What was to be reached\n\n{_reached(results)}")
    return "\n\n".join(parts)


def _setting(results: Results) -> str:
    one = results.setting
    before = "caches dropped before each" if one["caches_dropped"] else "caches **not** dropped"
    return (
        f"Measured on {one['date']} on {one['cpus']} virtual CPUs in {one['took_s'] / 60:.0f} minutes: volumes of "
        f"{one['size_bytes'] / MIB:,.0f} MiB, {one['rounds']} round{'s' * (one['rounds'] != 1)}, {before}. Load of the machine "
        f"(one minute's average) before it began: {one['load']:.1f}. GiB/s are of the volume, whatever of it is read."
    )


def _table(results: Results, data: str, act: str, figures: Mapping[str, Figure]) -> str:
    stores = act != "restore"
    lines = [
        "| | GiB/s | seconds | CPU s | peak MiB |" + (" stored MiB |" if stores else "") + " until on disk, more s |",
        "|---|--:|--:|--:|--:|--:|" + ("--:|" if stores else ""),
    ]
    for name, one in shown(act, figures).items():
        numbers = [
            f"{speed(results, one.seconds):.2f}",
            f"{one.seconds:.1f}",
            f"{one.cpu_s:.1f}",
            f"{one.peak_mib:,.0f}",
            *([f"{one.stored_bytes / MIB:,.0f}"] * stores),
            f"{one.flush_s:.1f}",
        ]
        lines.append(f"| {TITLES[name]} | {' | '.join(numbers)} |")
    return "\n".join(lines)


def _bounds(results: Results) -> str:
    """Of full backups; the last columns are ours, to the same disk and to another, and its shares of the two before."""
    beside = ("Breezeblock, full", "of that with writing", "without")
    head = (*BOUNDS.values(), *beside, "stored elsewhere", *beside[1:])
    lines = [f"| GiB/s | {' | '.join(head)} |", f"|---|{'--:|' * len(head)}"]
    for data, took in results.bound.items():
        cells = [f"{speed(results, took[what]):.2f}" for what in BOUNDS]
        for way in (OURS, AFAR):
            one = results.figures[data]["full"].get(way)
            shares = [f"{took[what] / one.seconds:.0%}" for what in ("write", "compress")] if one else ["", ""]
            cells += [f"{speed(results, one.seconds):.2f}" if one else "", *shares]
        lines.append(f"| {DATA[data]} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _reached(results: Results) -> str:
    lines = ["| what | data | wanted | measured | |", "|---|---|--:|--:|---|"]
    for what, data, wanted, measured, reached in targets(results):
        lines.append(f"| {what} | {data} | {wanted} | {measured} | {'reached' if reached else '**missed**'} |")
    return "\n".join(lines)


def targets(results: Results) -> list[tuple[str, str, str, str, bool]]:
    """(what, on which data, what was wanted, what came, whether that is reached)."""
    count = len(results.failures)
    found = [("failures", "all", "0", str(count), count == 0)]
    for data, acts in results.figures.items():
        found += _of_data(results, data, acts)
    peaks = [one.peak_mib for acts in results.figures.values() for by_way in acts.values() for one in _ours(by_way)]
    if peaks:
        found.append(("peak memory", "all", f"< {PEAK_MIB:.0f} MiB", f"{max(peaks):.0f}", max(peaks) < PEAK_MIB))
    return found


def _ours(by_way: Mapping[str, Figure]) -> list[Figure]:
    return [one for name, one in by_way.items() if name in (OURS, TOLD, AFAR)]


def _of_data(
    results: Results, data: str, acts: Mapping[str, Mapping[str, Figure]]
) -> Iterator[tuple[str, str, str, str, bool]]:
    title, full = DATA[data], acts.get("full", {})

    def times(
        what: str, ours: Figure | None, theirs: Figure | None, least: float
    ) -> Iterator[tuple[str, str, str, str, bool]]:
        if ours is not None and theirs is not None:
            ratio = theirs.seconds / ours.seconds
            yield what, title, f"≥ {least:g} times", f"{ratio:.2f}", ratio >= least

    for name, least in FULL_TIMES.items():
        yield from times(f"full, by {TITLES[name]}", full.get(OURS), full.get(name), least)
    told = acts.get("incremental", {})
    yield from times(f"incremental, told, by {TITLES[CINDER]}", told.get(TOLD), told.get(CINDER), INCREMENTAL_TIMES)
    for act, by_way in acts.items():
        for name in OTHERS:
            yield from times(f"{ACTS[act].lower()}, by {TITLES[name]}", by_way.get(OURS), by_way.get(name), 1.0)
    for way, where, beside in ((OURS, "", "write"), (AFAR, ", stored elsewhere", "compress")):
        if data in results.bound and way in full:
            share = results.bound[data][beside] / full[way].seconds
            what = f"full{where}, of what the machine allows"
            yield what, title, f"≥ {BOUND_SHARE:.0%}", f"{share:.0%}", share >= BOUND_SHARE


def bounds(results: Results) -> str:
    """What the machine allows, and how near to that our own full backups come."""
    return "\n\n".join((_setting(results), _bounds(results), _reached(results)))


def write(page: Path, text: str, *, place: str = ALL) -> None:
    """Put it between the two marks of that place."""
    begin, end = f"<!-- {place}: made by benchmarks/backup.py --write -->", f"<!-- end of {place} -->"
    was = page.read_text(encoding="utf-8")
    pattern = re.compile(f"{re.escape(begin)}.*{re.escape(end)}", re.DOTALL)
    assert pattern.search(was), f"{page} has no place for the tables"
    page.write_text(pattern.sub(lambda _: f"{begin}\n\n{text}\n\n{end}", was), encoding="utf-8")


def cpus() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0))
