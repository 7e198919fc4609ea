"""How fast one project may ask: a bucket of tokens for its reads and one for its writes, in the memory of each API process.

Of a rate that is configured for the service each process gives its share, so that all together give no more. What is
forgotten, by a restart or because too many projects ask, is a bucket that is full again: that lets somebody ask a little
more, once, and refuses nobody wrongly.
"""

import math
from collections import OrderedDict
from collections.abc import Iterator
from typing import Final, NamedTuple

from breezeblock.env.contract import Clock
from breezeblock.options_limits import Limits

__all__ = ["READS", "WRITES", "Rate", "Rates", "Standing"]

# Buckets that are remembered at a time, some hundred bytes each.
BUCKETS_MOST: Final = 20_000
READS: Final = ("GET", "HEAD")
WRITES: Final = ("POST", "PUT", "DELETE")


class Rate(NamedTuple):
    """So many a second for the whole service, and so many at once."""

    per_s: int
    burst: int


class Standing(NamedTuple):
    """Where a project stands with one rate: what is left of it now, and when there is more."""

    verbs: tuple[str, ...]
    rate: Rate
    remaining: int
    next_us: int


class Rates:
    """The rates of `[limits]`, one process's share of them, and who has used how much of it."""

    def __init__(self, limits: Limits, clock: Clock, *, processes: int) -> None:
        self._clock = clock
        self._processes = processes
        self._rates: dict[tuple[str, ...], Rate] = {}
        for verbs, per_s, burst in (
            (READS, limits.reads_per_s, limits.reads_burst),
            (WRITES, limits.writes_per_s, limits.writes_burst),
        ):
            if per_s:
                self._rates[verbs] = Rate(per_s, burst or per_s)
        # By project and verbs: tokens, and when that was. The one that was used last is at the end.
        self._buckets: OrderedDict[tuple[str, tuple[str, ...]], tuple[float, float]] = OrderedDict()

    def take(self, project: str, method: str) -> tuple[Rate, int] | None:
        """Use one token; None when there was one. Else the rate, and after how many seconds there is one again."""
        if not self._rates:
            return None
        verbs = READS if method in READS else WRITES
        rate = self._rates.get(verbs)
        if rate is None:
            return None
        now = self._clock.boottime()
        tokens = self._tokens(project, verbs, rate, now)
        if tokens < 1:
            self._keep(project, verbs, tokens, now)
            return rate, max(1, math.ceil((1 - tokens) / self._per_s(rate)))
        self._keep(project, verbs, tokens - 1, now)
        return None

    def standing(self, project: str) -> Iterator[Standing]:
        """Where a project stands, as this process knows it: the share of the others is taken to be used alike."""
        now = self._clock.boottime()
        for verbs, rate in self._rates.items():
            tokens = self._tokens(project, verbs, rate, now)
            wait_s = max(0.0, (1 - tokens) / self._per_s(rate))
            next_us = self._clock.now_us() + int(wait_s * 1_000_000)
            yield Standing(verbs, rate, int(tokens) * self._processes, next_us)

    def _tokens(self, project: str, verbs: tuple[str, ...], rate: Rate, now: float) -> float:
        most = max(1.0, rate.burst / self._processes)
        found = self._buckets.get((project, verbs))
        if found is None:
            return most
        tokens, at = found
        return min(most, tokens + (now - at) * self._per_s(rate))

    def _keep(self, project: str, verbs: tuple[str, ...], tokens: float, now: float) -> None:
        self._buckets[project, verbs] = (tokens, now)
        self._buckets.move_to_end((project, verbs))
        if len(self._buckets) > BUCKETS_MOST:
            self._buckets.popitem(last=False)

    def _per_s(self, rate: Rate) -> float:
        return rate.per_s / self._processes
