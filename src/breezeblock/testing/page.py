"""A history as one HTML page that needs nothing else: a picture of lanes, and the time line as a table below it.

It is built as a tree and written as XML, so nothing that a run said can become markup. The browser shows what a mark is
when the mouse is on it; the script does nothing but stretch the time axis.
"""

import re
from collections.abc import Sequence
from typing import Final
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from breezeblock.testing.chart import EVERYBODY, Chart, Lane
from breezeblock.testing.history import Entry
from breezeblock.testing.timeline import Names, matters, rows

__all__ = ["page"]

WIDTH: Final = 1100  # of the time axis, before it is stretched
LEFT: Final = 150
ROW: Final = 16
GAP: Final = 8
AXIS: Final = 24
LABEL: Final = 42  # a bar that is narrower has no room for its label; the script knows this number, too
TICKS_ABOUT: Final = 12
# What XML cannot hold, not even escaped.
_UNSPEAKABLE: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd]")

_STYLE: Final = """
body { font: 14px/1.4 system-ui, sans-serif; margin: 1.5em; color: #222; background: #fff }
.chart { overflow-x: auto; border: 1px solid #ccc; margin: .5em 0 1em }
svg text { font: 11px system-ui, sans-serif }
.life { fill: #b8c4cc } .lane { stroke: #e2e2e2 } .tick { stroke: #eee }
.bar { stroke: #333; stroke-width: .6 } .bar.done { fill: #8fcf9b } .bar.failed { fill: #f0b46a } .bar.open { fill: #d9d9d9 }
.bar.cancelled { fill: #c3b5e6 } .bar.parked { fill: #e38fb6 }
.span { opacity: .3 } .span.cut { fill: #e8a33d } .span.stop { fill: #4a86d8 } .span.storage { fill: #9b6b43 }
.span.fence { fill: #7a4fb5 } .span.burst { fill: #d8c24a } .span.late { fill: #3fa7a0 } .span.lost { fill: #888 }
.mark { stroke: #fff; stroke-width: .5 } .mark.fault { fill: #d1542b } .mark.request { fill: #6a8fb5 }
.mark.phase { fill: #555 } .mark.draining { fill: #55aa99 }
.mark.expired { fill: #e0a100 } .mark.fenced, .mark.refused { fill: #7a4fb5 } .mark.gone { fill: #777 }
.violation { stroke: #e00000; stroke-width: 2 }
table { border-collapse: collapse } td, th { text-align: left; padding: 1px 10px 1px 0; vertical-align: top }
td.at { text-align: right; font-variant-numeric: tabular-nums } tr.violation td { color: #d00000; font-weight: 600 }
tr.fault td { color: #b0461f } .key span { padding: 0 .5em; margin-right: .4em }
"""
_KEY: Final = (
    ("done", "#8fcf9b"),
    ("failed", "#f0b46a"),
    ("cancelled", "#c3b5e6"),
    ("parked", "#e38fb6"),
    ("not ended", "#d9d9d9"),
    ("cut", "#f6ddb5"),
    ("stopped", "#b9d0f1"),
    ("fault", "#d1542b"),
    ("expired", "#e0a100"),
    ("fenced", "#b79fdb"),
    ("violation", "#e00000"),
)
# No comparison signs in it: they would be escaped.
_SCRIPT: Final = """
const svg = document.querySelector('svg'), zoom = document.querySelector('#zoom');
const room = 42, left = Number(svg.dataset.left), width = Number(svg.dataset.width), length = Number(svg.dataset.length);
zoom.addEventListener('input', () => {
  const scale = zoom.value * width / length, x = (s) => left + s * scale;
  svg.setAttribute('width', left + width * zoom.value + 20);
  for (const one of svg.querySelectorAll('[data-a]')) {
    const a = x(Number(one.dataset.a)), b = x(Number(one.dataset.b || one.dataset.a));
    if (one.tagName === 'rect') { one.setAttribute('x', a); one.setAttribute('width', Math.max(2, b - a)); }
    else if (one.tagName === 'line') { one.setAttribute('x1', a); one.setAttribute('x2', a); }
    else if (one.tagName === 'circle') { one.setAttribute('cx', a); }
    else {
      one.setAttribute('x', a);
      if (one.dataset.b) { one.style.display = Math.max(room, b - a) === room ? 'none' : ''; }
    }
  }
  for (const one of svg.querySelectorAll('.lane')) { one.setAttribute('x2', left + width * zoom.value); }
});
"""


def page(title: str, history: Sequence[Entry]) -> str:
    """The whole page."""
    names = Names.given(history)
    root = Element("html", lang="en")
    head, body = SubElement(root, "head"), SubElement(root, "body")
    SubElement(head, "meta", charset="utf-8")
    _add(head, "title", f"{title} - Breezeblock simulation")
    _add(head, "style", _STYLE)
    _add(body, "h1", title)
    for entry in history:
        if entry.kind in ("run", "violation"):
            _add(body, "p", names.shorten(entry.text))
    key = SubElement(body, "p", {"class": "key"})
    for word, colour in _KEY:
        _add(key, "span", word, style=f"background: {colour}")
    zoom = _add(body, "label", "zoom ")
    SubElement(zoom, "input", id="zoom", type="range", min="1", max="40", step="0.5", value="1")
    _Drawing(Chart(history, names), SubElement(body, "div", {"class": "chart"}))
    _table(body, history, names)
    _add(body, "script", _SCRIPT)
    indent(root)
    return "<!DOCTYPE html>\n" + tostring(root, encoding="unicode", short_empty_elements=True) + "\n"


def _add(parent: Element, tag: str, text: str, **attributes: str) -> Element:
    child = SubElement(parent, tag, attributes)
    child.text = _UNSPEAKABLE.sub("\ufffd", text)
    return child


def _table(body: Element, history: Sequence[Entry], names: Names) -> None:
    shown = matters(history)
    table = SubElement(body, "table")
    header = SubElement(table, "tr")
    for word in ("seconds", "whose", "kind", "what"):
        _add(header, "th", word)
    for entry, row in zip(shown, rows(shown, history[0].at, names), strict=True):
        line = SubElement(table, "tr", {"class": entry.kind})
        for place, text in enumerate(row):
            _add(line, "td", text, **({"class": "at"} if place == 0 else {}))


class _Drawing:
    """Lays a chart out, lane below lane."""

    def __init__(self, chart: Chart, parent: Element) -> None:
        self._scale = WIDTH / max(chart.length_s, 0.001)
        self._y = AXIS
        size = {"data-left": str(LEFT), "data-width": str(WIDTH), "data-length": f"{max(chart.length_s, 0.001):.6f}"}
        self._svg = SubElement(parent, "svg", {"width": str(LEFT + WIDTH + 20), **size})
        everywhere = SubElement(self._svg, "g")
        for lane in chart.lanes.values():
            self._lane(lane)
        self._svg.set("height", str(self._y + GAP))
        for span in chart.lanes[EVERYBODY].spans:  # what hit everybody is shaded over all lanes
            self._rect(everywhere, f"span {span.kind}", span.begin, span.end, AXIS, self._y - AXIS, span.title)
        self._ticks(everywhere, chart.length_s)
        for mark in chart.violations:
            self._line("violation", mark.at, 0, self._y, mark.title)

    def _lane(self, lane: Lane) -> None:
        top = self._y
        ys = {"": top}
        for number, row in enumerate(sorted(lane.lives) or [""]):
            ys[row] = top + number * ROW
        self._y += max(len(lane.lives), 1) * ROW
        bars_at = self._y
        self._y += len(lane.bars) * ROW + GAP
        _add(self._svg, "text", lane.name, x="4", y=str(top + 12))
        SubElement(
            self._svg,
            "line",
            {"class": "lane", "x1": "0", "x2": str(LEFT + WIDTH), "y1": str(top - 4), "y2": str(top - 4)},
        )
        for row, lives in lane.lives.items():
            _add(self._svg, "text", row, x=str(LEFT - 50), y=str(ys[row] + 12))
            for begin, end in lives:
                self._rect(self._svg, "life", begin, end, ys[row] + 6, 4, f"{lane.name} {row} runs")
        for span in lane.spans if lane.name != EVERYBODY else ():
            height = ROW if span.row in lane.lives else self._y - GAP - top
            self._rect(self._svg, f"span {span.kind}", span.begin, span.end, ys.get(span.row, top), height, span.title)
        for number, bars in enumerate(lane.bars):
            y = bars_at + number * ROW
            for bar in bars:
                self._rect(self._svg, f"bar {bar.outcome}", bar.begin, bar.end, y + 2, ROW - 4, bar.title)
                label = self._text(f"{bar.operation} e{bar.epoch}", bar.begin, y + 12)
                label.set("data-b", f"{bar.end:.6f}")
                if (bar.end - bar.begin) * self._scale <= LABEL:  # the script shows it when the bar is stretched
                    label.set("style", "display: none")
        for mark in lane.marks:
            self._dot(f"mark {mark.kind}", mark.at, ys.get(mark.row, top) + ROW // 2, mark.title)

    def _x(self, at: float) -> str:
        return f"{LEFT + at * self._scale:.2f}"

    def _rect(self, parent: Element, kind: str, begin: float, end: float, y: int, height: int, title: str) -> None:
        wide = {"x": self._x(begin), "width": f"{max(2.0, (end - begin) * self._scale):.2f}"}
        high = {"y": str(y), "height": str(height), "data-a": f"{begin:.6f}", "data-b": f"{end:.6f}"}
        _add(SubElement(parent, "rect", {"class": kind, **wide, **high}), "title", title)

    def _dot(self, kind: str, at: float, y: int, title: str) -> None:
        place = {"cx": self._x(at), "cy": str(y), "r": "4", "data-a": f"{at:.6f}"}
        _add(SubElement(self._svg, "circle", {"class": kind, **place}), "title", title)

    def _line(self, kind: str, at: float, top: int, bottom: int, title: str, parent: Element | None = None) -> None:
        place = {"x1": self._x(at), "x2": self._x(at), "y1": str(top), "y2": str(bottom), "data-a": f"{at:.6f}"}
        line = SubElement(self._svg if parent is None else parent, "line", {"class": kind, **place})
        _add(line, "title", title)

    def _text(self, text: str, at: float, y: int, parent: Element | None = None) -> Element:
        place = {"x": self._x(at), "y": str(y), "data-a": f"{at:.6f}"}
        return _add(self._svg if parent is None else parent, "text", text, **place)

    def _ticks(self, parent: Element, length_s: float) -> None:
        step = next((step for step in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50) if length_s / step <= TICKS_ABOUT), 100.0)
        for number in range(int(length_s / step) + 1):
            self._line("tick", number * step, AXIS - 8, self._y, f"{number * step:g} s", parent)
            self._text(f"{number * step:g} s", number * step, AXIS - 10, parent)
