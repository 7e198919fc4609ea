"""Puts tables into a page of the documentation, each between two marks that name it."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

__all__ = ["SPEED", "number", "table", "write"]

SPEED: Final = Path(__file__).resolve().parents[2] / "docs" / "explanation" / "speed.md"


def write(page: Path, name: str, text: str) -> None:
    """Replace what is between the marks of `name`."""
    begin, end = f"<!-- {name}: written by the benchmark -->", f"<!-- end of {name} -->"
    was = page.read_text(encoding="utf-8")
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if not pattern.search(was):
        raise SystemExit(f"{page} has no place for {name}: {begin} … {end}")
    page.write_text(pattern.sub(lambda _: f"{begin}\n\n{text}\n\n{end}", was), encoding="utf-8")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """In Markdown; all columns but the first are numbers."""
    lines = [f"| {' | '.join(head)} |", f"|---|{'--:|' * (len(head) - 1)}"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def number(value: float | None) -> str:
    """As exact as it matters."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 30 else f"{value:.1f}" if value >= 3 else f"{value:.2f}"
