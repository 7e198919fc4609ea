"""A run as pictures (SVG): a bar for each way, in panels of acts and data, on a logarithmic scale."""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from .page import MIB, shown, speed
from .plan import ACTS, DATA, OURS, TITLES, TOLD
from .results import Figure, Results

__all__ = ["PICTURES", "links", "picture"]

WIDTH: Final = 860
_LEFT: Final = 300
_RIGHT: Final = 70
_LINE: Final = 17
_HEAD: Final = 26
_COLOURS: Final = {OURS: "#c2410c", TOLD: "#c2410c"}
_OTHERS: Final = "#64748b"
_FAINT: Final = "#cbd5e1"
_STYLE: Final = "text{font:11px sans-serif;fill:#1e293b}.c{font-weight:bold}.s{fill:#64748b;font-size:10px}"

Value = Callable[[Results, Figure], float]
PICTURES: Final[Mapping[str, tuple[str, Value]]] = {
    "throughput": ("GiB of the volume in a second", lambda results, one: speed(results, one.seconds)),
    "cpu": ("CPU seconds", lambda results, one: one.cpu_s),
    "memory": ("Peak memory, MiB", lambda results, one: one.peak_mib),
    "stored": ("Stored, MiB", lambda results, one: one.stored_bytes / MIB),
}
# What a bar has at least, where something takes nothing at all.
_LEAST: Final = 0.001


def links() -> str:
    """To all pictures, for the page beside them."""
    return "\n\n".join(f"![{title}](backup-{name}.svg)" for name, (title, _) in PICTURES.items())


def picture(results: Results, name: str) -> str:
    """One of `PICTURES`."""
    title, value = PICTURES[name]
    panels = [
        (
            f"{ACTS[act]}, {DATA[data]}",
            {way: max(_LEAST, value(results, one)) for way, one in shown(act, by_way).items()},
        )
        for data, acts in results.figures.items()
        for act, by_way in acts.items()
        if (name, act) != ("stored", "restore")
    ]
    values = [value for _, bars in panels for value in bars.values()]
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    high = max(high, low + 1)

    def x(value: float) -> float:
        return _LEFT + (math.log10(value) - low) / (high - low) * (WIDTH - _LEFT - _RIGHT)

    lines: list[str] = [f'<text class="c" x="8" y="16">{title}</text>']
    y = _HEAD
    for heading, bars in panels:
        lines += _panel(heading, bars, y, x)
        y += (len(bars) + 1) * _LINE + 8
    grid = [
        f'<line x1="{x(10.0**power):.1f}" x2="{x(10.0**power):.1f}" y1="{_HEAD}" y2="{y}" stroke="{_FAINT}"/>'
        f'<text class="s" x="{x(10.0**power):.1f}" y="{y + 12}" text-anchor="middle">{10.0**power:g}</text>'
        for power in range(low, high + 1)
    ]
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y + 20}"><style>{_STYLE}</style>'
    return "\n".join([head, '<rect width="100%" height="100%" fill="white"/>', *grid, *lines, "</svg>\n"])


def _panel(heading: str, bars: Mapping[str, float], y: int, x: Callable[[float], float]) -> Iterator[str]:
    y += _LINE
    yield f'<text class="c" x="8" y="{y}">{heading}</text>'
    for way, value in bars.items():
        y += _LINE
        colour = _COLOURS.get(way, _OTHERS)
        yield f'<text x="{_LEFT - 8}" y="{y}" text-anchor="end">{TITLES[way].replace("*", "")}</text>'
        yield f'<rect x="{_LEFT}" y="{y - 10}" width="{x(value) - _LEFT:.1f}" height="11" fill="{colour}"/>'
        yield f'<text class="s" x="{x(value) + 4:.1f}" y="{y}">{value:,.3g}</text>'
