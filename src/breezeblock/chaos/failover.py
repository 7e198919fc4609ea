"""How long an operation stood still when its node was hit: from the fault to the claim of another incarnation."""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from breezeblock.chaos.nemesis import Strike
from breezeblock.chaos.witness import NodeSeen, Owned

__all__ = ["Failover", "failovers", "percentile"]

PERCENTILES: Final = (50, 90, 99, 100)


@dataclass(frozen=True, slots=True)
class Failover:
    """One operation that went over to another incarnation."""

    fault: str
    at: float
    seconds: float
    operation: str
    kind: str


def failovers(strikes: Iterable[Strike], owned: Iterable[Owned], nodes: Iterable[NodeSeen]) -> list[Failover]:
    """Each operation that a fault took from its node, with the first fault that can have been the reason.

    A stop is one only while it lasts. An operation that ended where it was did not go over, whatever hit its node.
    """
    hits: dict[str, list[Strike]] = defaultdict(list)
    incarnation_of = {}
    for node in nodes:
        incarnation_of[node.keeper_pid] = node.incarnation
        if node.worker_pid is not None:
            incarnation_of[node.worker_pid] = node.incarnation
    for strike in strikes:
        for incarnation in {incarnation_of[pid] for pid in strike.pids if pid in incarnation_of}:
            hits[incarnation].append(strike)
    lives: dict[str, list[Owned]] = defaultdict(list)
    for one in owned:
        lives[one.operation].append(one)
    found = []
    for life in lives.values():
        found += _of_one(sorted(life, key=lambda one: one.at), hits)
    return sorted(found, key=lambda one: one.at)


def _of_one(life: Sequence[Owned], hits: dict[str, list[Strike]]) -> list[Failover]:
    found = []
    holder: Owned | None = None
    for one in life:
        if holder is not None and one.owner not in (None, holder.owner) and holder.owner is not None:
            reason = _reason(hits.get(holder.owner, []), since=holder.at, until=one.at)
            if reason is not None:
                found.append(Failover(reason.kind, reason.at, one.at - reason.at, one.operation, one.kind))
        if one.owner is not None and (holder is None or one.owner != holder.owner):
            holder = one
    return found


def _reason(strikes: Iterable[Strike], *, since: float, until: float) -> Strike | None:
    """The first fault on the owner that was felt while it had the operation.

    One that struck before the claim counts when it lasted into it: a stopped keeper's worker may claim on for a moment.
    """
    felt = [
        one
        for one in strikes
        if one.at <= until
        and (one.at >= since or one.until > since)
        and one.kind != "clock jump"
        and _lasts(one, until)
    ]
    return min(felt, key=lambda one: one.at, default=None)


def _lasts(strike: Strike, until: float) -> bool:
    """Death is for ever. A stop that was over before the operation went elsewhere was not the reason."""
    return strike.fatal or strike.until >= until


def percentile(values: Sequence[float], percent: float) -> float | None:
    """The smallest value that so many percent do not exceed; None when there is none."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]
