"""Whether what clients were answered can be put into one line that agrees with the clock: linearizability, per resource.

The commits are that line: each status that a resource has had is known with its instant. So every answer is a claim about
some instant between the question and the answer, and every two accepted requests, one asked after the other was answered,
have places in that order.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

__all__ = ["Answered", "Claims", "Line", "claims_of"]

# What refusals say of a resource: that it is not there, or which status it has.
_GONE: Final = re.compile(r"(?:Volume|Snapshot) ([0-9a-f-]{36}) could not be found")
_STATUS: Final = re.compile(r"(?:Volume|Snapshot) ([0-9a-f-]{36}) has status ([a-z_-]+)")

Claims = tuple[tuple[str, str | None], ...]


@dataclass(frozen=True)
class Answered:
    """One answer: which operation it accepted, if any, and what it claims (resource, status; None: it is not there)."""

    kind: str
    resource: str
    asked_at: float
    answered_at: float
    operation: str | None = None
    claims: Claims = ()

    def __str__(self) -> str:
        return f"{self.kind} of {self.resource}, asked at {self.asked_at:.6f} and answered at {self.answered_at:.6f}"


def claims_of(refusal: str) -> Claims:
    """What a refusal's sentence says of resources."""
    gone: list[tuple[str, str | None]] = [(found[1], None) for found in _GONE.finditer(refusal)]
    return (*gone, *((found[1], found[2]) for found in _STATUS.finditer(refusal)))


class Line:
    """The statuses that every resource has had, and every answer about it."""

    def __init__(self) -> None:
        self._had: dict[str, list[tuple[float, str | None]]] = {}
        self._answers: list[Answered] = []

    def moved(self, resource: str, at: float, status: str | None) -> None:
        """From this commit on it has that status; None: it is not there any more, for anybody who asks."""
        status = None if status == "deleted" else status
        self._had.setdefault(resource, [(float("-inf"), None)]).append((at, status))

    def answered(self, answer: Answered) -> None:
        """Somebody was answered."""
        self._answers.append(answer)

    def problems(self, places: Mapping[str, Mapping[str, int]]) -> list[str]:
        """Every answer that no instant agrees with. `places`: operation -> resource -> its place in that line."""
        found = [problem for answer in self._answers for problem in self._judge(answer)]
        by_resource: dict[str, list[Answered]] = {}
        for answer in self._answers:
            if answer.operation is not None:
                by_resource.setdefault(answer.resource, []).append(answer)
        for resource, accepted in by_resource.items():
            accepted.sort(key=lambda one: one.answered_at)
            for earlier, later in pairwise(accepted):
                before = places.get(str(earlier.operation), {}).get(resource)
                after = places.get(str(later.operation), {}).get(resource)
                if earlier.answered_at < later.asked_at and before is not None and after is not None and before > after:
                    found.append(f"{later} stands before {earlier}")
        return found

    def _judge(self, answer: Answered) -> list[str]:
        found = []
        for resource, status in answer.claims:
            if status not in (had := self._between(resource, answer)):
                found.append(f"{answer} said that {resource} is {status or 'gone'}; it was {_said(had)}")
        known = answer.resource in self._had and not answer.kind.startswith("create")
        if known and answer.operation is not None and self._between(answer.resource, answer) == {None}:
            found.append(f"{answer} was accepted, and there was none")
        return found

    def _between(self, resource: str, answer: Answered) -> set[str | None]:
        """What a resource was at any instant from the question to the answer."""
        had = self._had.get(resource, [(float("-inf"), None)])
        found = {status for at, status in had if answer.asked_at <= at <= answer.answered_at}
        return found | {[status for at, status in had if at <= answer.asked_at][-1]}


def _said(statuses: set[str | None]) -> str:
    return " and ".join(sorted(status or "gone" for status in statuses))
