"""What took effect on storage that refuses who is fenced: on it, calls of a node that lives on prove nothing, effects do.

A node that was fenced by its storage goes on as long as it pleases: it may be in the middle of a call when another one takes
its work over, and begin the next. None of that is wrong while the storage lets nothing of it through.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from breezeblock.chaos.checker import Finding
from breezeblock.chaos.evidence import Call, Token, files_of_workers
from breezeblock.chaos.witness import Mark
from breezeblock.env import fence_list

__all__ = ["Landed", "late", "parse_effects", "read_effects", "took_effect"]


@dataclass(frozen=True, slots=True)
class Landed:
    """One effect that reached the storage, or was refused by it. `end` is None when its process died in the middle."""

    incarnation: str
    pid: int
    tokens: Mapping[str, Token]
    start: float
    end: float | None
    refused: bool = False


def read_effects(folder: Path) -> list[Landed]:
    """Every effect of every worker."""
    files = files_of_workers(folder, "effects")
    return [one for who, pid, text in files for one in parse_effects(text, incarnation=who, pid=pid)]


def parse_effects(text: bytes, *, incarnation: str, pid: int) -> Iterator[Landed]:
    """The effects of one worker from its file."""
    lines = [msgspec.json.decode(line, type=fence_list.Effect) for line in text.splitlines()]
    ends = {line.number: line.boot_s for line in lines if line.ended}
    for line in lines:
        if not line.ended:
            end = line.boot_s if line.refused else ends.get(line.number)
            yield Landed(incarnation, pid, dict(line.tokens), line.boot_s, end, line.refused)


def late(effects: Iterable[Landed], marks: Iterable[Mark]) -> list[Finding]:
    """Effects of nodes that were recorded as fenced before."""
    cut_off: dict[str, float] = {}
    for mark in marks:
        if mark.what == "cut off":
            cut_off[mark.incarnation] = min(mark.at, cut_off.get(mark.incarnation, mark.at))
    return [
        Finding("Fence", f"{one} took effect; its node had been fenced by {cut_off[one.incarnation]:.3f}")
        for one in effects
        if not one.refused and one.start > cut_off.get(one.incarnation, float("inf"))
    ]


def took_effect(calls: Iterable[Call], effects: Iterable[Landed]) -> list[Call]:
    """The changing calls that changed anything, each from its first effect to its last. The rest as they are.

    An operation makes its calls one after the other, so what took effect under its tokens belongs to the call that had begun
    last.
    """
    by_claim: dict[object, list[Call]] = defaultdict(list)
    found = []
    for call in calls:
        if call.changes:
            by_claim[_claim(call)].append(call)
        else:
            found.append(call)
    landed: dict[object, list[Landed]] = defaultdict(list)
    for one in effects:
        if not one.refused:
            landed[_claim(one)].append(one)
    assert landed.keys() <= by_claim.keys(), "an effect of no call"
    for claim, line in by_claim.items():
        line.sort(key=lambda call: call.start)
        found += _of_one_claim(line, landed[claim])
    return found


def _of_one_claim(line: Sequence[Call], landed: Iterable[Landed]) -> Iterator[Call]:
    starts = [call.start for call in line]
    mine: dict[int, list[Landed]] = defaultdict(list)
    for one in landed:
        mine[max(0, bisect_right(starts, one.start) - 1)].append(one)
    for number, made in mine.items():
        ends = [one.end for one in made if one.end is not None]
        whole = len(ends) == len(made)
        yield replace(line[number], start=min(one.start for one in made), end=max(ends) if whole else None)


def _claim(one: Call | Landed) -> object:
    return one.incarnation, one.pid, tuple(sorted(one.tokens.items()))
