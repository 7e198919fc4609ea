"""What a crowd's changes amount to."""

import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from .meter import Usage
from .plan import Change, Round


@dataclass(frozen=True)
class Figures:
    """One solution in one case. Times in milliseconds, but for `seconds`."""

    changes: int
    seconds: float
    """From the first wish to the last release of each round, added up."""
    acquire_mean: float
    acquire_p50: float
    acquire_p99: float
    acquire_max: float
    working_mean: float
    """From the wish until somebody works on the row."""
    release_mean: float
    release_p50: float
    release_p99: float
    release_max: float
    retries: int
    used: Usage
    """By each change, in seconds."""
    failures: tuple[str, ...]
    single_changes: tuple[Change, ...]

    @property
    def per_second(self) -> float:
        return self.changes / self.seconds

    @property
    def cpu_ms(self) -> float:
        """Of all processes, for each change."""
        return (self.used.workers_s + self.used.nodes_s + self.used.databases_s + self.used.between_s) * 1000

    @property
    def unevenness(self) -> float:
        """The longest acquire by the mean."""
        return self.acquire_max / self.acquire_mean


def figures(rounds: Sequence[Round], *, more_failures: Sequence[str] = ()) -> Figures:
    """Of all rounds together. `more_failures`: what was wrong when all were done."""
    changes = [change for one in rounds for change in one.changes]
    used = sum((one.used for one in rounds), Usage())
    acquires = [(change.acquired - change.wanted) * 1000 for change in changes]
    releases = [(change.released - change.releasing) * 1000 for change in changes]
    return Figures(
        changes=len(changes),
        seconds=sum(max(c.released for c in one.changes) - min(c.wanted for c in one.changes) for one in rounds),
        acquire_mean=statistics.fmean(acquires),
        acquire_p50=quantile(acquires, 0.5),
        acquire_p99=quantile(acquires, 0.99),
        acquire_max=max(acquires),
        working_mean=statistics.fmean((change.working - change.wanted) * 1000 for change in changes),
        release_mean=statistics.fmean(releases),
        release_p50=quantile(releases, 0.5),
        release_p99=quantile(releases, 0.99),
        release_max=max(releases),
        retries=sum(change.retries for change in changes) + sum(one.more_retries for one in rounds),
        used=used * (1 / len(changes)),
        failures=(*(change.failure for change in changes if change.failure), *overlaps(changes), *more_failures),
        single_changes=tuple(changes),
    )


def overlaps(changes: Sequence[Change]) -> list[str]:
    """Where two had one row at the same instant, whatever the nodes said."""
    found: list[str] = []
    by_row: dict[int, list[Change]] = defaultdict(list)
    for change in changes:
        by_row[change.row].append(change)
    for row, mine in by_row.items():
        mine.sort(key=lambda change: change.acquired)
        held = mine[0]
        for change in mine[1:]:
            if change.acquired < held.releasing:
                found.append(f"row {row} was held by {held.worker} and {change.worker} at once")
            held = max(held, change, key=lambda one: one.releasing)
    return found


def quantile(values: Sequence[float], share: float) -> float:
    """What `share` of the values do not exceed."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]
