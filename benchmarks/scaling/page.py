"""The tables of `docs/explanation/scale.md`, and what is and is not flat, from the results."""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from .latency import Figure
from .plan import CLUSTERS, PROJECTS
from .results import Of, Results

WORDS: Final = {
    "show": "show a volume",
    "list": "list, first page of 50, a small project",
    "list_big": "list, first page of 50, the big project",
    "list_detail": "list, a page of 1,000, the big project",
    "list_marker": "list, 50 after a marker in the middle",
    "list_all": "list, 50 of all projects",
    "list_name": "list by name",
    "list_status": "list by status, 1 in 1,000 has it",
    "list_metadata": "list by metadata, 1 in 50 has it",
    "list_rare": "list by metadata, 1 in 500 has it",
    "create": "create a volume (accepted)",
    "look": "look into a queue",
    "claim": "claim an operation",
    "finish": "finish an operation",
    "renew": "heartbeat of a node",
    "observe": "a node's look at the others of its cluster",
    "kinds": "which kinds of operations wait",
    "expire": "expire a node that owns up to 16 operations",
    "release": "release these operations",
}
DATABASES: Final = {"postgresql": "PostgreSQL", "mariadb": "MariaDB", "sqlite": "SQLite"}
LOADS: Final = {
    "heartbeats": "heartbeats",
    "nodes": "seconds of an idle node: heartbeat, observe, look",
    "operations": "operations: look, claim, finish",
    "creates": "creates accepted",
}
# These must stay flat: at the largest size no more than so many times what they take at the smallest.
MUST: Final = ("show", "look", "claim")
FLAT: Final = 1.5
# What is not full at small sizes (a page, or the queue that is looked into) is compared from the size on at which it is.
_FULL_FROM: Final = {
    "list_detail": 10_000,
    "look": 10_000,
    "list_big": 1_000,
    "list_marker": 1_000,
    "list_metadata": 100_000,
}
_BEGIN: Final = "<!-- scale: made by benchmarks/scale.py --write -->"
_END: Final = "<!-- end of scale -->"


def growth(of: Of, name: str) -> float | None:
    """How many times the median of the smallest size it takes at the largest."""
    sizes = [size for size in sorted(of.figures) if name in of.figures[size] and size >= _FULL_FROM.get(name, 0)]
    if len(sizes) < 2:
        return None
    return of.figures[sizes[-1]][name].p50 / of.figures[sizes[0]][name].p50


def text(results: Results) -> str:
    """All of it in Markdown."""
    parts = [_setting(results), "### Is it flat?\n\n" + _verdicts(results)]
    parts += [f"### {DATABASES[kind]}\n\n{_table(of)}" for kind, of in results.of.items()]
    parts.append("### While nodes renew their leases\n\n" + _beating(results))
    parts.append("### What one database bears\n\n" + _loads(results))
    return "\n\n".join(parts)


def _setting(results: Results) -> str:
    told = results.setting
    return (
        f"Measured on {told['date']} on {os.cpu_count()} virtual CPUs, servers and clients together, in {told['minutes']:.0f} "
        f"minutes; load of the machine before: {told['load']:.1f}. {PROJECTS:,} projects, {CLUSTERS} clusters, "
        f"{told['nodes']:,} nodes; one volume in ten has a queued operation. Times are in milliseconds, as p50 / p99 of up to "
        f"{told['rounds']} each."
    )


def _verdicts(results: Results) -> str:
    lines = [
        "| | " + " | ".join(DATABASES[kind] for kind in results.of) + " |",
        "|---|" + "--:|" * len(results.of),
    ]
    for name, words in WORDS.items():
        cells = [_verdict(growth(of, name), must=name in MUST) for of in results.of.values()]
        lines.append(f"| {words}{' (must)' if name in MUST else ''} | {' | '.join(cells)} |")
    return (
        "How many times the median of the smallest size the largest takes; up to "
        f"{FLAT} counts as flat.\n\n" + "\n".join(lines)
    )


def _verdict(ratio: float | None, *, must: bool) -> str:
    if ratio is None:
        return ""
    return f"{ratio:.2f}" if ratio <= FLAT else f"**{ratio:.2f}, missed**" if must else f"**{ratio:.2f}**"


def _table(of: Of) -> str:
    sizes = sorted(of.figures)
    lines = [
        "| volumes: | " + " | ".join(f"{size:,}" for size in sizes) + " |",
        "|---|" + "--:|" * len(sizes),
    ]
    for name, words in WORDS.items():
        cells = [_cell(of.figures[size].get(name)) for size in sizes]
        lines.append(f"| {words} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(one: Figure | None) -> str:
    return "" if one is None else f"{ms(one.p50)} / {ms(one.p99)}"


def ms(value: float) -> str:
    """A time in milliseconds, with as many digits as mean something."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _beating(results: Results) -> str:
    names = [name for name in WORDS if any(name in of.beating for of in results.of.values())]
    lines = ["| | " + " | ".join(_beats(kind, of) for kind, of in results.of.items()) + " |"]
    lines.append("|---|" + "--:|" * len(results.of))
    for name in names:
        cells = [_cell(of.beating.get(name)) for of in results.of.values()]
        lines.append(f"| {WORDS[name]} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _beats(kind: str, of: Of) -> str:
    return f"{DATABASES[kind]}, {of.beats:,.0f}/s"


def _loads(results: Results) -> str:
    lines = [
        "| | database | a second | p50 / p99 of a turn | processor time of the server for each | one processor bears |",
        "|---|---|--:|--:|--:|--:|",
    ]
    lines += list(_load_rows(results.of))
    return "\n".join(lines)


def _load_rows(of: Mapping[str, Of]) -> Iterator[str]:
    for name, words in LOADS.items():
        for kind, one in of.items():
            if (load := one.loads.get(name)) is None:
                continue
            turn = f"{ms(load.p50_ms)} / {ms(load.p99_ms)}"
            bears = f"{1000 / load.server_ms:,.0f}/s" if load.server_ms else ""  # nothing, where it was too short
            yield f"| {words} | {DATABASES[kind]} | {load.per_second:,.0f} | {turn} | {load.server_ms:.2f} | {bears} |"


def write(page: Path, made: str) -> None:
    """Put it between the two marks."""
    was = page.read_text(encoding="utf-8")
    pattern = re.compile(f"{re.escape(_BEGIN)}.*{re.escape(_END)}", re.DOTALL)
    assert pattern.search(was), f"{page} has no place for the tables"
    page.write_text(pattern.sub(lambda _: f"{_BEGIN}\n\n{made}\n\n{_END}", was), encoding="utf-8")
