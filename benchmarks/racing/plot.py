"""Two pictures of a run as SVG: how long it took to get a row, and how many changes came of it."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from .figures import Figures
from .page import TITLES, Found
from .solutions import QUEUED

WIDTH: Final = 860
_LEFT: Final = 190
_RIGHT: Final = 30
_LINE: Final = 17
_HEAD: Final = 26
_OURS: Final = "#c2410c"
_OTHERS: Final = "#64748b"
_FAINT: Final = "#cbd5e1"
Row = Callable[[Figures, float, str], Iterator[str]]
"""What is drawn for one solution, at this height and in this colour."""
_STYLE: Final = "text{font:11px sans-serif;fill:#1e293b}.c{font-weight:bold}.s{fill:#64748b;font-size:10px}"


def acquires(found: Found) -> str:
    """For each solution a line from the median to the longest, with marks at the mean and the 99th of 100; logarithmic."""
    values = [
        value for cells in found.values() for one in cells.values() for value in (one.acquire_p50, one.acquire_max)
    ]
    low, high = math.floor(math.log10(max(0.1, min(values)))), math.ceil(math.log10(max(values)))

    def x(value: float) -> float:
        return _LEFT + (math.log10(max(10**low, value)) - low) / (high - low) * (WIDTH - _LEFT - _RIGHT)

    def row(one: Figures, y: float, colour: str) -> Iterator[str]:
        middle = y - 4
        yield _line(x(one.acquire_p50), x(one.acquire_max), middle, colour, 2)
        yield f'<circle cx="{x(one.acquire_p50):.1f}" cy="{middle}" r="4" fill="{colour}"/>'
        yield _tick(x(one.acquire_mean), middle, colour, 4)
        yield _tick(x(one.acquire_p99), middle, colour, 4)
        yield _tick(x(one.acquire_max), middle, colour, 6)

    marks = [
        (x(10.0**power), f"{10**power:,} ms" if power >= 0 else f"{10.0**power} ms") for power in range(low, high + 1)
    ]
    return _picture("Time to get a row: dot p50, marks mean and p99, end max", found, marks, row)


def throughput(found: Found) -> str:
    """Changes in a second, linear."""
    most = max(one.per_second for cells in found.values() for one in cells.values())
    step = 10 ** math.floor(math.log10(most))

    def x(value: float) -> float:
        return _LEFT + value / most * (WIDTH - _LEFT - _RIGHT)

    def row(one: Figures, y: float, colour: str) -> Iterator[str]:
        yield f'<rect x="{_LEFT}" y="{y - 10}" width="{x(one.per_second) - _LEFT:.1f}" height="11" fill="{colour}"/>'

    marks = [(x(step * number), f"{step * number:g}/s") for number in range(int(most / step) + 1)]
    return _picture("Changes in a second", found, marks, row)


def _picture(title: str, found: Found, marks: Sequence[tuple[float, str]], row: Row) -> str:
    lines: list[str] = [f'<text class="c" x="8" y="16">{title}</text>']
    y = float(_HEAD)
    for case, cells in found.items():
        y = _panel(lines, case, cells, y, row)
    grid = [
        f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{_HEAD}" y2="{y}" stroke="{_FAINT}"/>'
        f'<text class="s" x="{at:.1f}" y="{y + 12}" text-anchor="middle">{text}</text>'
        for at, text in marks
    ]
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y + 20:.0f}"><style>{_STYLE}</style>'
    return "\n".join([head, '<rect width="100%" height="100%" fill="white"/>', *grid, *lines, "</svg>\n"])


def _panel(lines: list[str], case: str, cells: Mapping[str, Figures], y: float, row: Row) -> float:
    y += _LINE
    lines.append(f'<text class="c" x="8" y="{y}">{case}</text>')
    for name, one in cells.items():
        y += _LINE
        colour = _OURS if name.startswith(QUEUED) else _OTHERS
        lines.append(f'<text x="{_LEFT - 8}" y="{y}" text-anchor="end">{TITLES[name].replace("*", "")}</text>')
        lines += row(one, y, colour)
    return y + 8


def _line(left: float, right: float, y: float, colour: str, width: int) -> str:
    return f'<line x1="{left:.1f}" x2="{right:.1f}" y1="{y}" y2="{y}" stroke="{colour}" stroke-width="{width}"/>'


def _tick(x: float, y: float, colour: str, half: int) -> str:
    return f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{y - half}" y2="{y + half}" stroke="{colour}" stroke-width="2"/>'
