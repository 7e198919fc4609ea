"""A page of the documentation as somebody reads it who does what it says: pieces to type, and what is seen then."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["COMPUTER", "MACHINES", "Piece", "is_seen", "pieces"]

MACHINES: Final = ("alpha", "beta", "gamma")
COMPUTER: Final = "computer"

_FENCE: Final = re.compile(r"^```(\w+)\n(.*?)^```$|^## ([^\n]*)$", re.MULTILINE | re.DOTALL)
_EACH: Final = "each machine"
_IN_TURN: Final = "one after the other"
_MINE: Final = "your computer"


@dataclass(frozen=True)
class Piece:
    """One block of a page."""

    section: str
    language: str
    where: tuple[str, ...]
    """On which machines it is typed, in this order; of what is not typed, nowhere."""
    text: str
    seen: tuple[str, ...] = ()
    """Lines that are seen then; `…` in one stands for anything."""

    @property
    def in_turn(self) -> bool:
        """Whether it is done on one machine after the other has done it."""
        return self.text.splitlines()[0].endswith(f", {_IN_TURN}")


def pieces(page: Path) -> list[Piece]:
    """All of them in order, each with the heading that it is under."""
    section = ""
    found: list[Piece] = []
    for language, text, heading in _FENCE.findall(page.read_text(encoding="utf-8")):
        if heading:
            section = heading
        elif language == "text":
            found[-1] = Piece(**{**vars(found[-1]), "seen": tuple(text.splitlines())})
        else:
            where = tuple(_where(text)) if language == "sh" else ()
            found.append(Piece(section, language, where, text))
    return found


def _where(text: str) -> Iterator[str]:
    """The first line says it: `# on alpha, beta`."""
    first = text.splitlines()[0]
    assert first.startswith("# on "), f"nobody knows where this is typed: {text}"
    for word in first.removeprefix("# on ").split(", "):
        if word == _EACH:
            yield from MACHINES
        elif word == _MINE:
            yield COMPUTER
        elif word != _IN_TURN:
            assert word in MACHINES, f"there is no machine {word}: {first}"
            yield word


def is_seen(line: str, output: str) -> bool:
    """Whether a line of the page is among what a program said; how wide columns are is no matter."""
    parts = ["\\s+".join(map(re.escape, part.split())) for part in line.split("…")]
    return re.search(rf"(?<!\w){'.*'.join(parts)}(?!\w)", output) is not None
