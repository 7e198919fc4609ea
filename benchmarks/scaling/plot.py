"""Latency against the number of rows, as SVG: a panel for each database, both axes logarithmic."""

import math
from collections.abc import Iterator, Sequence
from typing import Final

from .page import DATABASES
from .results import Of, Results

_WIDTH: Final = 300
_HEIGHT: Final = 240
_LEFT: Final = 46
_TOP: Final = 30
_BETWEEN: Final = 30
_COLOURS: Final = ("#c2410c", "#0369a1", "#15803d", "#7e22ce", "#a16207", "#be123c", "#475569")
_FAINT: Final = "#cbd5e1"
_STYLE: Final = "text{font:11px sans-serif;fill:#1e293b}.c{font-weight:bold}.s{fill:#64748b;font-size:10px}"
PICTURES: Final = {
    "requests": ("show", "list", "list_detail", "list_marker", "list_name", "list_metadata", "create"),
    "nodes": ("look", "claim", "finish", "renew", "kinds", "expire", "release"),
}


def picture(results: Results, names: Sequence[str]) -> str:
    """A line for each name through its medians; a faint bar up to the 99th of 100."""
    values = [
        value
        for of in results.of.values()
        for found in of.figures.values()
        for name in names
        if name in found
        for value in (found[name].p50, found[name].p99)
    ]
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    width = _LEFT + len(results.of) * (_WIDTH + _BETWEEN)
    height = _TOP + _HEIGHT + 26 + 16 * math.ceil(len(names) / 3)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}"><style>{_STYLE}</style>',
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    for number, (kind, of) in enumerate(results.of.items()):
        left = _LEFT + number * (_WIDTH + _BETWEEN)
        lines += _panel(left, DATABASES[kind], of, names, (low, high))
    for number, name in enumerate(names):
        x, y = _LEFT + number % 3 * 200, _TOP + _HEIGHT + 36 + number // 3 * 16
        lines.append(f'<rect x="{x}" y="{y - 8}" width="14" height="3" fill="{_COLOURS[number]}"/>')
        lines.append(f'<text x="{x + 20}" y="{y - 3}">{name.replace("_", " ")}</text>')
    return "\n".join([*lines, "</svg>\n"])


def _panel(left: float, title: str, of: Of, names: Sequence[str], powers: tuple[int, int]) -> Iterator[str]:
    sizes = sorted(of.figures)
    first, last = math.log10(sizes[0]), math.log10(sizes[-1])
    low, high = powers

    def x(size: int) -> float:
        return left + 8 + (math.log10(size) - first) / (last - first) * (_WIDTH - 16)

    def y(value: float) -> float:
        return _TOP + _HEIGHT - (math.log10(value) - low) / (high - low) * _HEIGHT

    yield f'<text class="c" x="{left}" y="18">{title}</text>'
    for power in range(low, high + 1):
        at = y(10.0**power)
        yield f'<line x1="{left}" x2="{left + _WIDTH}" y1="{at:.1f}" y2="{at:.1f}" stroke="{_FAINT}"/>'
        yield f'<text class="s" x="{left - 4}" y="{at + 3:.1f}" text-anchor="end">{10.0**power:g} ms</text>'
    for size in sizes:
        yield f'<text class="s" x="{x(size):.1f}" y="{_TOP + _HEIGHT + 14}" text-anchor="middle">{size:,}</text>'
    for number, name in enumerate(names):
        found = [(x(size), of.figures[size][name]) for size in sizes if name in of.figures[size]]
        colour = _COLOURS[number]
        for at, one in found:
            ends = f'y1="{y(one.p50):.1f}" y2="{y(one.p99):.1f}"'
            yield f'<line x1="{at:.1f}" x2="{at:.1f}" {ends} stroke="{colour}" opacity="0.25" stroke-width="3"/>'
        points = " ".join(f"{at:.1f},{y(one.p50):.1f}" for at, one in found)
        yield f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>'
