"""What was answered with 5xx, and whether a client was owed better.

A 500, and whatever else is not a 503, is never right: the service did not know what it was doing. But who connects a host to
a volume waits for the storage: that it takes longer is 504, and that the storage refused, while something was done to it, 500.
A 503 is right only while nobody can write or nobody is there, and only when it says when to try again.
"""

from collections.abc import Collection, Iterable, Iterator
from typing import Final, NamedTuple

from breezeblock.chaos.asked import Asked
from breezeblock.chaos.attaching import waits_for_storage
from breezeblock.chaos.checker import Finding
from breezeblock.chaos.nemesis import Strike
from breezeblock.chaos.plan import CUTS_API, NEEDS_SERVERS, NEEDS_STORAGE

__all__ = ["SLACK_S", "Outage", "broken_answers", "outages"]

UNAVAILABLE: Final = 503
STILL_RUNNING: Final = 504
IN_A_TRANSACTION: Final = "stop in a transaction"
# Whose stops at the same time leave nobody to answer, or nobody to work.
API: Final = "stop api"
NODE: Final = ("stop worker", "stop keeper", "stop node")
# What an outage has held up is worked off after it.
SLACK_S: Final = 5.0


class Outage(NamedTuple):
    """A time in which a client may be answered 503."""

    start: float
    end: float


def outages(strikes: Iterable[Strike], holders: Collection[int], *, nodes: int, apis: int) -> list[Outage]:
    """When a server of the database was gone or silent, an API process cut off from it, nobody could write to it, the storage
    was full or read-only, or all nodes or all APIs stood still.

    `holders` are the processes that were killed for standing in the way of every writer: by chance a plain stop, too, finds
    one in the middle of a transaction. A single stop or kill of anything else is what a client must not notice.
    """
    strikes = list(strikes)
    found = [
        Outage(one.at, one.until + SLACK_S)
        for one in strikes
        if one.kind in (*NEEDS_STORAGE, *NEEDS_SERVERS, *CUTS_API, IN_A_TRANSACTION)
        or (one.kind.startswith("stop") and not set(holders).isdisjoint(one.pids))
    ]
    found += _all_stopped([one for one in strikes if one.kind in NODE], nodes)
    found += _all_stopped([one for one in strikes if one.kind == API], apis)
    return found


def _all_stopped(stops: list[Strike], of: int) -> Iterator[Outage]:
    """It is so from the last of them on, until the first of them goes on; each such time begins with one of the stops."""
    for one in stops:
        beside = {other.name: other.until for other in stops if other.at <= one.at < other.until}
        if len(beside) >= of:
            yield Outage(one.at, min(beside.values()) + SLACK_S)


def broken_answers(asked: Iterable[Asked], allowed: Collection[Outage]) -> list[Finding]:
    """Every answer 5xx that a client should not have got."""
    found = []
    for one in asked:
        if one.status is None or one.status < 500:
            continue
        answered_at = one.sent_at + one.took_s
        explained = any(outage.start <= answered_at and one.sent_at <= outage.end for outage in allowed)
        if waits_for_storage(one.kind, one.status) and (explained or one.status == STILL_RUNNING):
            continue
        if one.status != UNAVAILABLE:
            found.append(Finding("Answers", f"{one} is the service's own mistake"))
        elif not one.retry_after:
            found.append(Finding("Answers", f"{one} does not say when to try again"))
        elif not explained:
            found.append(Finding("Answers", f"{one}: nothing that was done to the service explains it"))
    return found
