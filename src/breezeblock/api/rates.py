"""How fast somebody may ask: buckets of tokens in the memory of each API process. A project has one for its reads and one for
its writes; an address has one for everything, which is looked at before anybody is known.

Of a rate that is configured for the service each process gives its share, so that all together give no more. What is
forgotten, by a restart or because too many projects or addresses ask, is a bucket that is full again: that lets somebody ask
a little more, once, and refuses nobody wrongly.
"""

import math
from collections import OrderedDict
from collections.abc import Iterator
from typing import Final, Generic, NamedTuple, TypeVar

from breezeblock.api.addresses import counted_as
from breezeblock.env.contract import Clock
from breezeblock.options_limits import Limits

__all__ = ["READS", "WRITES", "Rate", "Rates", "Standing"]

K = TypeVar("K")

# Buckets that are remembered at a time, of projects and of addresses, some hundred bytes each.
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


class Buckets(Generic[K]):
    """One process's share of rates, by whose they are."""

    def __init__(self, clock: Clock, *, processes: int) -> None:
        self._clock = clock
        self._processes = processes
        # Tokens, and when that was. The one that was used last is at the end.
        self._filled: OrderedDict[K, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._filled)

    def take(self, key: K, rate: Rate) -> int:
        """Use one token, which is 0; without one, after how many seconds there is one again."""
        tokens = self.tokens(key, rate)
        left, wait_s = (tokens - 1, 0) if tokens >= 1 else (tokens, max(1, math.ceil(self.wait_s(tokens, rate))))
        self._filled[key] = (left, self._clock.boottime())
        self._filled.move_to_end(key)
        if len(self._filled) > BUCKETS_MOST:
            self._filled.popitem(last=False)
        return wait_s

    def tokens(self, key: K, rate: Rate) -> float:
        """What is in a bucket now."""
        most = max(1.0, rate.burst / self._processes)
        found = self._filled.get(key)
        if found is None:
            return most
        tokens, at = found
        return min(most, tokens + (self._clock.boottime() - at) * self._per_s(rate))

    def wait_s(self, tokens: float, rate: Rate) -> float:
        """How long it takes until there is a whole token."""
        return max(0.0, (1 - tokens) / self._per_s(rate))

    def _per_s(self, rate: Rate) -> float:
        return rate.per_s / self._processes


class Rates:
    """The rates of `[limits]`, one process's share of them, and who has used how much of it."""

    def __init__(self, limits: Limits, clock: Clock, *, processes: int) -> None:
        self._clock = clock
        self._processes = processes
        given = {
            READS: Rate(limits.reads_per_s, limits.reads_burst or limits.reads_per_s),
            WRITES: Rate(limits.writes_per_s, limits.writes_burst or limits.writes_per_s),
        }
        self._rates = {verbs: rate for verbs, rate in given.items() if rate.per_s}
        self._buckets: Buckets[tuple[str, tuple[str, ...]]] = Buckets(clock, processes=processes)
        self._of_address = Rate(limits.address_per_s, limits.address_burst or limits.address_per_s)
        self._addresses: Buckets[str] = Buckets(clock, processes=processes)

    def take(self, project: str, method: str) -> tuple[Rate, int] | None:
        """Use one token; None when there was one. Else the rate, and after how many seconds there is one again."""
        if not self._rates:
            return None
        verbs = READS if method in READS else WRITES
        rate = self._rates.get(verbs)
        if rate is None:
            return None
        wait_s = self._buckets.take((project, verbs), rate)
        return (rate, wait_s) if wait_s else None

    def take_of_address(self, address: str) -> tuple[Rate, int] | None:
        """The same, of what an address may ask whoever it is."""
        if not self._of_address.per_s:
            return None
        wait_s = self._addresses.take(counted_as(address), self._of_address)
        return (self._of_address, wait_s) if wait_s else None

    def standing(self, project: str) -> Iterator[Standing]:
        """Where a project stands, as this process knows it: the share of the others is taken to be used alike."""
        for verbs, rate in self._rates.items():
            tokens = self._buckets.tokens((project, verbs), rate)
            next_us = self._clock.now_us() + int(self._buckets.wait_s(tokens, rate) * 1_000_000)
            yield Standing(verbs, rate, int(tokens) * self._processes, next_us)
