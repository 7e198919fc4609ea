"""A history as lanes, bars, marks and spans: what a picture of it shows, before it is drawn (`page.py`).

Every node and every API is a lane. Its processes come first, a row each; below them the operations that it owned, as many rows
as ran at once. Times are seconds since the start.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from breezeblock.testing.history import Entry
from breezeblock.testing.timeline import Names, lane_of, said

__all__ = ["EVERYBODY", "Bar", "Chart", "Lane", "Mark", "Span"]

EVERYBODY: Final = "everybody"
# Bars closer than this go into rows of their own: their labels would lie upon each other.
APART_S: Final = 0.05
_NODE_MARKS: Final = ("expired", "fenced", "gone", "draining")


@dataclass
class Bar:
    """One ownership of an operation: from a claim to its end, or to the next epoch."""

    operation: str
    epoch: int
    begin: float
    end: float = 0.0
    outcome: str = "open"
    title: str = ""


@dataclass(frozen=True)
class Mark:
    """An instant: a fault, a step of a fence, a request, a violation."""

    at: float
    kind: str
    title: str
    row: str = ""


@dataclass(frozen=True)
class Span:
    """A while during which something was cut off, stopped, or slow."""

    begin: float
    end: float
    kind: str
    title: str
    row: str = ""


@dataclass
class Lane:
    """One node or API, or `EVERYBODY`."""

    name: str
    lives: dict[str, list[list[float]]] = field(default_factory=dict)
    """Process rows, by keeper, worker or api: when one of them ran, from and to."""
    bars: list[list[Bar]] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)


class Chart:
    """Built by reading a history once."""

    def __init__(self, history: Sequence[Entry], names: Names) -> None:
        self._names = names
        self._start = history[0].at if history else 0.0
        # A long wait for rest, in which nothing happens, would press all else into a corner.
        eventful = [entry.at for entry in history if entry.kind != "phase"]
        self.length_s = max(eventful, default=self._start) - self._start
        self.lanes: dict[str, Lane] = {EVERYBODY: Lane(EVERYBODY)}
        self.violations: list[Mark] = []
        self._bars: dict[str, list[tuple[str, Bar]]] = {}
        for entry in history:
            self._read(entry)
        for lane in self.lanes.values():
            for lives in lane.lives.values():
                for life in lives:
                    life[1:] = life[1:] or [self.length_s]
        for owned in self._bars.values():
            for lane_name, bar in owned:
                bar.end = bar.end or self.length_s
                _put(self.lane(lane_name).bars, bar)
        self.lanes = dict(
            sorted(self.lanes.items(), key=lambda item: (item[0] != EVERYBODY, item[0][:3] == "api", item[0]))
        )

    def lane(self, name: str) -> Lane:
        """The lane of a process, an incarnation or a node."""
        node = name.partition(".")[0].partition("/")[0] or EVERYBODY
        return self.lanes.setdefault(node, Lane(node))

    def _read(self, entry: Entry) -> None:
        at, whose, title = entry.at - self._start, lane_of(entry, self._names), said(entry, self._names)
        row = whose.partition(".")[2].rstrip("0123456789")
        lane = self.lane(whose)
        if entry.kind == "start":
            lane.lives.setdefault(row, []).append([at])
        elif entry.kind == "end" and lane.lives.get(row):
            lane.lives[row][-1][1:] = [at]
        elif entry.kind == "fault":
            self._fault(entry, at, lane, row, title)
        elif entry.kind == "violation":
            self.violations.append(Mark(at, "violation", title))
        elif entry.kind in ("owned", "ended"):
            self._operation(entry, at)
        elif entry.kind == "refused" or (entry.kind == "node" and entry.data["after"] in _NODE_MARKS):
            lane.marks.append(Mark(at, entry.data.get("after", "refused"), title))
        elif entry.kind == "request" or (entry.kind == "phase" and at <= self.length_s):
            lane.marks.append(Mark(at, entry.kind, title, row))

    def _fault(self, entry: Entry, at: float, lane: Lane, row: str, title: str) -> None:
        kind, seconds = str(entry.data["fault"]), float(entry.data.get("seconds", 0.0))
        title = f"fault {entry.data['number']}: {title}"
        lane.marks.append(Mark(at, f"fault {kind}", title, row))
        if seconds > 0 and (lane.name != EVERYBODY or entry.data.get("target") == "*"):
            lane.spans.append(Span(at, min(at + seconds, self.length_s), kind, title, row))

    def _operation(self, entry: Entry, at: float) -> None:
        id_ = entry.data["operation"]
        owned = self._bars.setdefault(id_, [])
        if owned and not owned[-1][1].end:
            owned[-1][1].end = at
        if entry.kind == "ended":
            for _, bar in owned:
                bar.outcome = entry.data["outcome"]
                bar.title = f"{bar.title}; {said(entry, self._names)}"
        elif entry.data["owner"] is not None:
            bar = Bar(self._names.shorten(id_), entry.data["epoch"], at, title=said(entry, self._names))
            owned.append((lane_of(entry, self._names), bar))


def _put(rows: list[list[Bar]], bar: Bar) -> None:
    """Into the first row in which nothing is in its way."""
    for row in rows:
        if all(other.end + APART_S < bar.begin or bar.end + APART_S < other.begin for other in row):
            row.append(bar)
            return
    rows.append([bar])
