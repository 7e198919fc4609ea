"""The report for people: one HTML file that needs no other, with the run drawn as lanes and bars."""

import html
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from breezeblock.chaos.evidence import Call
from breezeblock.chaos.failover import percentile
from breezeblock.chaos.nemesis import Strike
from breezeblock.chaos.report import History

__all__ = ["write_html"]

LEFT: Final = 90
PIXELS_PER_S: Final = 14.0
WIDTH_MOST: Final = 16_000
ROW: Final = 7
ROWS_MOST: Final = 10
GAP: Final = 12
LANE_STORAGE: Final = "storage"
COLOURS: Final[Mapping[str, str]] = {"create": "#3a7", "copy": "#37a", "extend": "#a70", "delete": "#a35"}
FAULTS: Final[Mapping[str, str]] = {
    "kill": "#d00", "stop": "#808", "full": "#c60", "read-only": "#c60", "clock": "#088", "part": "#06c", "cut": "#06c",
    "half-cut": "#06c", "store": "#06c",
}  # fmt: skip
STYLE: Final = """
body { font: 14px/1.45 sans-serif; margin: 2em; color: #222; background: #fff }
h1 { font-size: 1.5em } h2 { font-size: 1.15em; margin-top: 1.6em }
table { border-collapse: collapse } td, th { border: 1px solid #ccc; padding: .2em .6em; text-align: left }
td.n { text-align: right } .right { color: #171 } .wrong { color: #b00 }
.scroll { overflow-x: auto; border: 1px solid #ccc } svg text { font: 11px sans-serif }
pre { white-space: pre-wrap }
"""


class Bar(NamedTuple):
    """One operation's work on storage under one claim: from its first call to its last."""

    start: float
    end: float
    kind: str
    unfinished: bool
    title: str


def write_html(report: Mapping[str, Any], history: History, path: Path) -> None:
    """Write the page."""
    path.write_text("\n".join(_page(report, history)), encoding="utf-8")


def _page(report: Mapping[str, Any], history: History) -> Iterator[str]:
    options = " ".join(f"{key}={value}" for key, value in report["options"].items())
    verdict = report["verdict"]
    yield f"<!doctype html><html lang=en><meta charset=utf-8><title>Breezeblock chaos: {verdict}</title>"
    yield f"<style>{STYLE}</style><h1>Chaos: <span class={verdict}>{verdict}</span></h1><p>{_safe(options)}</p>"
    requests = report["requests"]
    yield "<h2>Counts</h2>"
    yield _table(
        {
            "requests accepted": requests["accepted"],
            "finished": requests["finished"],
            "stuck": requests["stuck"],
            "doubled": requests["doubled"],
            "lost": requests["lost"],
            "overlapping writers": report["overlapping_writers"],
            "failed because storage was full or read-only": requests["of_these_failed_by_storage"],
            "answers 5xx": ", ".join(f"{code}: {n}" for code, n in report["answers_5xx"].items()) or "none",
            "storage calls checked": report["storage_calls"]["recorded"],
            "effects on storage that refuses": report["storage_effects"] or "other fence",
            "commits checked": report["commits_checked"],
            "contents compared": report["contents_compared"],
            "operations taken over": report["operations_taken_over"],
            "seconds until all was at rest": report["settled_s"],
        }
    )
    yield f"<h2>Faults</h2>{_table(report['faults'])}"
    yield "<h2>What happened</h2><p>Bars: work on storage (create, copy, extend, delete), framed where a dead process left it"
    yield "unfinished. Lines: faults; the shaded part is how long they lasted. Triangles: a node was declared lost (open), and"
    yield f"proved dead (filled).</p><div class=scroll>{_timeline(history)}</div>"
    yield "<h2>Fail-over times</h2><p>From a fault to the claim of another incarnation, for each operation that a node"
    yield "lost.</p>"
    yield _distribution([one["seconds"] for one in report["failover_s"]["values"]])
    if report["findings"]:
        yield f"<h2 class=wrong>{report['findings_in_all']} findings</h2><pre>"
        yield from (_safe(f"{one['invariant']}: {one['text']}") for one in report["findings"])
        yield "</pre>"


def _table(values: Mapping[str, Any]) -> str:
    cells = (f"<tr><td>{_safe(key)}</td><td class=n>{_safe(value)}</td></tr>" for key, value in values.items())
    return f"<table>{''.join(cells)}</table>"


def _safe(value: object) -> str:
    return html.escape(str(value))


# --- the time line ----------------------------------------------------------------------------------------------------


def _timeline(history: History) -> str:
    began, ended = history.began, max([history.ended, *(call.end or 0.0 for call in history.calls)])
    scale = min(PIXELS_PER_S, WIDTH_MOST / max(ended - began, 1.0))

    def x(at: float) -> float:
        return round(LEFT + (at - began) * scale, 1)

    names = {node.incarnation: node.name for node in history.nodes}
    bars: dict[str, list[Bar]] = defaultdict(list)
    for incarnation, bar in _bars(history.calls, history.alive):
        bars[names.get(incarnation, incarnation[:8])].append(bar)
    lanes = sorted({*names.values(), *bars, *(strike.name for strike in history.strikes)})
    parts: list[str] = []
    y = 24
    for lane in lanes:
        height, drawn = _lane(lane, bars.get(lane, []), [one for one in history.strikes if one.name == lane], y, x)
        parts += drawn
        parts += _marks(history, lane, y, height, x)
        y += height + GAP
    width = x(ended) + 20
    grid = [
        f'<text x="{x(began + second)}" y="12">{second} s</text>'
        f'<line x1="{x(began + second)}" x2="{x(began + second)}" y1="16" y2="{y}" stroke="#eee"/>'
        for second in range(0, int(ended - began) + 1, 5)
    ]
    return f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{y}">{"".join(grid + parts)}</svg>'


def _lane(lane: str, bars: Sequence[Bar], strikes: Sequence[Strike], y: int, x: Any) -> tuple[int, list[str]]:
    placed = list(_stacked(bars))
    height = max(2, 1 + max((row for row, _ in placed), default=0)) * ROW + 6
    parts = [
        f'<text x="4" y="{y + 12}">{_safe(lane)}</text>',
        f'<line x1="0" x2="100%" y1="{y + height + GAP / 2}" y2="{y + height + GAP / 2}" stroke="#ccc"/>',
    ]
    for one in strikes:
        colour = FAULTS[one.kind.partition(" ")[0]]
        title = f"<title>{_safe(one.kind)} {_safe(one.amount or '')} {one.pids}</title>"
        if one.until:
            parts.append(
                f'<rect x="{x(one.at)}" y="{y}" width="{max(1.0, x(one.until) - x(one.at)):.1f}" height="{height}"'
                f' fill="{colour}" opacity=".12">{title}</rect>'
            )
        parts.append(
            f'<line x1="{x(one.at)}" x2="{x(one.at)}" y1="{y - 4}" y2="{y + height}" stroke="{colour}"'
            f' stroke-width="1.5">{title}</line>'
        )
    for row, bar in placed:
        frame = ' stroke="#000"' if bar.unfinished else ""
        parts.append(
            f'<rect x="{x(bar.start)}" y="{y + row * ROW}" width="{max(1.0, x(bar.end) - x(bar.start)):.1f}"'
            f' height="{ROW - 2}" fill="{COLOURS.get(bar.kind, "#777")}"{frame}><title>{_safe(bar.title)}</title></rect>'
        )
    return height, parts


def _marks(history: History, lane: str, y: int, height: int, x: Any) -> Iterator[str]:
    """Fences: declared lost, and proved dead."""
    names = {node.incarnation: node.name for node in history.nodes}
    for mark in history.marks:
        if names.get(mark.incarnation) == lane and mark.what in ("expired", "cut off"):
            at, fill = x(mark.at), "none" if mark.what == "expired" else "#000"
            points = f"{at},{y + height} {at - 4},{y + height + 7} {at + 4},{y + height + 7}"
            title = (
                f"<title>{mark.incarnation[:8]} {mark.what} by {_safe(mark.by or 'its keeper or successor')}</title>"
            )
            yield f'<polygon points="{points}" fill="{fill}" stroke="#000">{title}</polygon>'


def _bars(calls: Iterable[Call], alive: Mapping[tuple[str, int], float]) -> Iterator[tuple[str, Bar]]:
    """One bar for all changing calls under one claim."""
    works: dict[tuple[str, tuple[tuple[str, tuple[int, int]], ...]], list[Call]] = defaultdict(list)
    for call in calls:
        if call.changes:
            works[call.incarnation, tuple(sorted(call.tokens.items()))].append(call)
    for (incarnation, _), work in works.items():
        ends = [one.end if one.end is not None else alive.get((one.incarnation, one.pid), one.start) for one in work]
        main = next((one for one in work if one.call != "delete"), work[0])
        unfinished = any(one.end is None for one in work)
        token = main.tokens.get(main.object.split(".")[0])
        title = f"{main.call} {main.object} under {token}, {len(work)} calls"
        yield incarnation, Bar(min(one.start for one in work), max(ends), main.call, unfinished, title)


def _stacked(bars: Iterable[Bar]) -> Iterator[tuple[int, Bar]]:
    """Each bar in the first row that is free; the last row takes what finds none."""
    free = [float("-inf")] * ROWS_MOST
    for bar in sorted(bars):
        row = next((number for number, at in enumerate(free) if at <= bar.start), ROWS_MOST - 1)
        free[row] = max(free[row], bar.end)
        yield row, bar


# --- the distribution -------------------------------------------------------------------------------------------------


def _distribution(values: Sequence[float]) -> str:
    """Each value a point, in rising order: how many percent of all took at most so long."""
    if not values:
        return "<p>No operation went over to another node.</p>"
    ordered = sorted(values)
    width, height, most = 640, 260, max(ordered) * 1.05
    points = [
        (50 + value / most * (width - 70), height - 30 - (number + 1) / len(ordered) * (height - 50))
        for number, value in enumerate(ordered)
    ]
    parts = [f'<circle cx="{px:.1f}" cy="{py:.1f}" r="2.5" fill="#37a"/>' for px, py in points]
    parts.append(
        f'<polyline fill="none" stroke="#37a" points="{" ".join(f"{px:.1f},{py:.1f}" for px, py in points)}"/>'
    )
    for percent in (50, 90, 100):
        py = height - 30 - percent / 100 * (height - 50)
        told = f"{percent} %: {percentile(ordered, percent):.2f} s"
        parts.append(f'<line x1="50" x2="{width - 20}" y1="{py}" y2="{py}" stroke="#ddd"/>')
        parts.append(f'<text x="54" y="{py - 3}">{told}</text>')
    parts += [
        f'<text x="{50 + part * (width - 70) / 4}" y="{height - 12}">{most * part / 4:.1f} s</text>'
        for part in range(5)
    ]
    return f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}">{"".join(parts)}</svg>'
