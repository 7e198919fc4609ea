"""Leases by counter, as pure state: no I/O, no clock of its own. Used by the keeper, the observers and the simulation.

A node is alive while its counter moves. Nobody compares clocks between machines: the holder counts from the moment
*before* it sent a renewal that succeeded, an observer from the moment *after* it first read the counter's value. So the
holder always stops believing before an observer may, up to the drift between their clocks' rates, which is bounded.

No import of SQLAlchemy here: the keeper uses it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from breezeblock.model.ids import Incarnation

RENEWALS_PER_TTL: Final = 6
# The worker's gate shuts this share of a ttl before the lease ends, so that calls already begun end inside it.
GATE_MARGIN: Final = 0.2


@dataclass(frozen=True, slots=True)
class Terms:
    """How leases work in this cluster: the same on every node. Times in seconds on CLOCK_BOOTTIME."""

    ttl_s: float
    drift: float

    @property
    def renew_every_s(self) -> float:
        return self.ttl_s / RENEWALS_PER_TTL

    @property
    def observer_gap_s(self) -> float:
        """Silence counts only across successful reads no further apart than this."""
        return self.ttl_s / 3

    @property
    def own_gap_s(self) -> float:
        """So long an observer's own counter may seem to stand still. Longer than the other gap, since it is seen to move only
        where a renewal and a reading, each a sixth of a ttl apart, have come one after the other. Whoever could not renew for
        that long has renewed again well before its silence is over: after half a ttl and two sixths."""
        return self.ttl_s / 2

    @property
    def silence_s(self) -> float:
        """How long a counter must stand still before its node may be expired."""
        return self.ttl_s * (1 + self.drift)


class Lease:
    """The holder's side: until when this incarnation may work."""

    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        self._until = float("-inf")

    def renewed(self, *, sent_at: float, answered_at: float) -> bool:
        """A renewal sent at `sent_at` succeeded. One that was answered after its own end renews nothing."""
        until = sent_at + self._terms.ttl_s
        if answered_at >= until:
            return False
        self._until = max(self._until, until)
        return True

    @property
    def until(self) -> float:
        """The instant at which the lease ends; minus infinity before the first renewal."""
        return self._until

    @property
    def gate_until(self) -> float:
        """The instant from which no storage call may start any more."""
        return self._until - self._terms.ttl_s * GATE_MARGIN


class Observer:
    """The survivor's side: which nodes have been silent for too long."""

    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        self._last_read: float | None = None
        self._since: float | None = None
        self._own: tuple[int, float] | None = None
        self._first_seen: dict[Incarnation, tuple[int, float]] = {}

    def read(self, *, at: float, counters: Mapping[Incarnation, int], own: int | None) -> list[tuple[Incarnation, int]]:
        """Take in a successful read that ended `at`; returns (incarnation, counter) of those that may be expired.

        After a gap (a database outage, or our own pause) all timers start anew: nobody could renew during an outage, so
        silence across it proves nothing. Without this rule an outage kills healthy nodes when it ends.

        A read is of no use either while our `own` node's counter stands still in it: then the database can be read and not be
        written, or what we read is the past, and the others would look silent for the same reason. None: it has no counter.
        """
        gap_s = float("inf") if self._last_read is None else at - self._last_read
        self._last_read = at
        still_s = self._own_stands_still(own, at)
        if gap_s > self._terms.observer_gap_s or still_s > self._terms.own_gap_s:
            self._first_seen.clear()
        if max(gap_s, still_s) > self._terms.ttl_s:
            self._since = at
        silent = []
        for incarnation, counter in counters.items():
            known = self._first_seen.get(incarnation)
            if known is None or known[0] != counter:  # changed means different, not greater
                self._first_seen[incarnation] = (counter, at)
            elif at - known[1] > self._terms.silence_s:
                silent.append((incarnation, counter))
        for incarnation in self._first_seen.keys() - counters.keys():
            del self._first_seen[incarnation]
        return silent

    def _own_stands_still(self, own: int | None, at: float) -> float:
        """For how long our own counter was not seen to change."""
        if own is None:
            self._own = None
            return float("inf")
        if self._own is None or self._own[0] != own:
            self._own = (own, at)
        return at - self._own[1]

    def watched_for(self, moment: float | None) -> float:
        """The seconds between `moment` and our last read, of those that we have watched without a break; None: all of them.

        For how long something was *not there*, minutes as a rule. A break is a whole ttl here: a node that comes and is lost
        again in less is still in the table when we read it, and now and then a reading is late on every busy machine.
        """
        if self._since is None or self._last_read is None:
            return 0.0
        return self._last_read - (self._since if moment is None else max(self._since, moment))
