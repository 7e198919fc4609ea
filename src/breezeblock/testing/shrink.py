"""From a run that failed to the fewest faults and requests with which it still does.

Each fault and each request of a run has a number. A run is repeated with all numbers left out but some: what is left out is
drawn all the same, so the run goes the same way up to there. What is late is left out first: it disturbs least of what is kept.
"""

import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from breezeblock.testing.database import Database
from breezeblock.testing.history import Entry
from breezeblock.testing.run import Failed, simulate

__all__ = ["AllBut", "Shrunk", "numbers_of", "shrink"]

# Enough for some ten faults and requests that are needed, out of hundreds.
RUNS_MOST: Final = 150
CPU_S_MOST: Final = 60.0


@dataclass(frozen=True)
class AllBut:
    """All numbers but these."""

    kept: frozenset[int]

    def __contains__(self, number: object) -> bool:
        return number not in self.kept

    def __repr__(self) -> str:
        return f"AllBut(frozenset({sorted(self.kept)}))"


@dataclass(frozen=True)
class Shrunk:
    """The smallest run that was found. `complete`: none of its faults and requests could be left out by itself."""

    failed: Failed
    runs: int
    complete: bool

    @property
    def faults(self) -> list[int]:
        """The numbers of the faults that are left."""
        return numbers_of(self.failed.history, "fault")

    @property
    def requests(self) -> list[int]:
        """The numbers of the requests that are left."""
        return numbers_of(self.failed.history, "request")

    def replay(self) -> str:
        """The Python call that runs it again."""
        options = {name: value for name, value in self.failed.options.items() if value}
        return (
            f"simulate({', '.join([str(self.failed.seed), *(f'{name}={value!r}' for name, value in options.items())])})"
        )


def shrink(failed: Failed, *, database: Database, runs_most: int = RUNS_MOST, cpu_s_most: float = CPU_S_MOST) -> Shrunk:
    """Leave out whole kinds of faults, then single faults, then requests, as long as the same invariant falls first."""
    return _Search(failed, database, runs_most, time.process_time() + cpu_s_most).go()


class _Search:
    """The smallest failing run so far, and what may still be spent on the search."""

    def __init__(self, failed: Failed, database: Database, runs_most: int, give_up_at: float) -> None:
        self._best = failed
        self._invariant = _invariant(failed)
        self._database = database
        self._runs = 0
        self._runs_most = runs_most
        self._give_up_at = give_up_at

    def go(self) -> Shrunk:
        """Until nothing can be left out any more, or nothing may be spent any more."""
        self._without_what_came_later()
        self._without_kinds()
        complete = False
        while not complete and self._may_go_on():
            before = self._size()
            self._minimise("fault")
            self._minimise("request")
            complete = self._may_go_on() and self._size() == before
        return Shrunk(self._best, self._runs, complete)

    def _size(self) -> int:
        return len(self._left("fault")) + len(self._left("request"))

    def _left(self, kind: str) -> list[int]:
        return numbers_of(self._best.history, kind)

    def _may_go_on(self) -> bool:
        return self._runs < self._runs_most and time.process_time() < self._give_up_at

    def _fails_with(self, *, faults: Collection[int], requests: Collection[int]) -> bool:
        """Whether the same invariant falls with these alone. Then that run is the best."""
        if not self._may_go_on():
            return False
        self._runs += 1
        left_out = {"without": AllBut(frozenset(faults)), "unasked": AllBut(frozenset(requests)), "brief": True}
        try:
            simulate(self._best.seed, database=self._database, **{**self._best.options, **left_out})
        except Failed as failed:
            if _invariant(failed) == self._invariant:
                self._best = failed
                return True
        return False

    def _without_what_came_later(self) -> None:
        """The same run again, but only up to the violation: what comes afterwards is not its cause."""
        self._fails_with(faults=self._left("fault"), requests=self._left("request"))

    def _without_kinds(self) -> None:
        kinds = {entry.data["fault"] for entry in self._best.history if entry.kind == "fault"}
        for kind in sorted(kinds):
            others = [
                entry.data["number"]
                for entry in self._best.history
                if entry.kind == "fault" and entry.data["fault"] != kind
            ]
            if len(others) < len(self._left("fault")):
                self._fails_with(faults=others, requests=self._left("request"))

    def _minimise(self, kind: str) -> None:
        """Leave out all, then halves, quarters and so on, down to one at a time."""
        size = len(self._left(kind))
        while size >= 1 and self._may_go_on():
            end = len(self._left(kind))
            while end > 0 and self._may_go_on():
                left = self._left(kind)
                end = min(end, len(left))
                start = max(0, end - size)
                self._fails_without(kind, left[start:end])
                end = start
            size //= 2

    def _fails_without(self, kind: str, numbers: Collection[int]) -> bool:
        kept = {name: self._left(name) for name in ("fault", "request")}
        kept[kind] = [number for number in kept[kind] if number not in numbers]
        return self._fails_with(faults=kept["fault"], requests=kept["request"])


def _invariant(failed: Failed) -> str:
    return failed.violations[0].partition(":")[0]


def numbers_of(history: Collection[Entry], kind: str) -> list[int]:
    """The numbers of its faults ("fault") or requests ("request")."""
    return [entry.data["number"] for entry in history if entry.kind == kind]
