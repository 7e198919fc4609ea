"""What a storage that was full or read-only explains: operation by operation, row by row and file by file, and nothing besides.

An operation may fail if a call of the very claim that turned it back was refused while the fault lasted, with the error of just
that fault. It may be given up if it lost as many nodes as the limit says. Its resource rests in the status of such an end, as
long as nothing else has changed it since. Only files of its own may be left over, and only a deletion takes one away.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from breezeblock.chaos.asked import UNKNOWN, Asked
from breezeblock.chaos.evidence import Call, Rest, Row
from breezeblock.chaos.load import CREATES
from breezeblock.chaos.nemesis import Strike
from breezeblock.chaos.plan import FULL, NEEDS_SERVERS, NEEDS_STORAGE
from breezeblock.chaos.watching import Event
from breezeblock.chaos.witness import DEAD, Mark
from breezeblock.drivers.file import PART

__all__ = ["ERRORS", "NONE", "Pardons", "given_up", "met_by_storage", "no_room", "pardons"]

ERRORS: Final = ("error", "error_deleting", "error_extending", "error_restoring")
# Between the end of a storage fault and the end of a call that it made fail.
FAULT_SLACK_S: Final = 2.0
# What a call fails with for that reason; one that fails with anything else, for one a fence, does so for another.
ERROR_OF: Final[Mapping[str, str]] = {FULL: "ENOSPC", "read-only storage": "EROFS"}
# A pool that was full is so until somebody measures it again: each node every 12 s at the latest (`node/reports.py`), and one
# that is lost is replaced within a few.
NO_ROOM_SLACK_S: Final = 30.0
KEEP_FROM_MEASURING: Final = NEEDS_SERVERS | {"read-only storage"}

DELETIONS: Final = ("delete_volume", "delete_snapshot", "delete_backup")
MAKERS: Final = ("create_volume", "create_snapshot", "revert_volume", "restore_backup", "create_from_backup")
LEAVING_OTHERS: Final = ("revert_volume", "create_backup", "restore_backup", "create_from_backup")
# What an operation that did not succeed leaves its resource as. A deletion that had not begun leaves it as it was.
RESTING: Final[Mapping[str, frozenset[str]]] = {
    "create_volume": frozenset({"error"}),
    "create_snapshot": frozenset({"error"}),
    "extend_volume": frozenset({"error_extending"}),
    "revert_volume": frozenset({"error"}),
    "retype_volume": frozenset({"available"}),
    "create_backup": frozenset({"error"}),
    "restore_backup": frozenset({"error_restoring"}),
    "create_from_backup": frozenset({"error"}),
    # Theirs is the attachment, which the load takes back at last.
    **dict.fromkeys(("collect_garbage", "connect_attachment", "disconnect_attachments"), frozenset()),
    **dict.fromkeys(DELETIONS, frozenset({"available", *ERRORS})),
}


@dataclass(frozen=True)
class Pardons:
    """What is excused. By default nothing is."""

    operations: frozenset[str] = frozenset()
    rests: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Resource -> the statuses in which it may rest."""
    left: frozenset[tuple[str, int]] = frozenset()
    """(resource, seq) of operations that may have left what they had made."""
    removed: Mapping[str, int] = field(default_factory=dict)
    """Resource -> the last place of a deletion that may have removed its file."""
    grown: frozenset[str] = frozenset()
    """Resources whose file may be larger than their row says: nothing ever shrinks one."""

    def may_stay(self, file: str, published: str | None) -> bool:
        """Whether a file that no row names is what one of the operations could not remove: its own, or the one before it."""
        resource, seq = _place(file)
        if (resource, seq) in self.left:
            return True
        last = _place(published)[1] if published else -1
        return (resource, last) in self.left and 0 <= seq < last

    def may_be_gone(self, published: str) -> bool:
        """Whether one of the operations may have removed the file that a row names."""
        resource, seq = _place(published)
        return self.removed.get(resource, -1) > seq


NONE: Final = Pardons()


def _place(file: str) -> tuple[str, int]:
    """The resource of a file and the place under which it was made. -1 for a name that is not one of the service's."""
    words = file.removesuffix(PART).split(".")
    whole = len(words) == 3 and words[1].isdigit() and words[2].isdigit()
    return words[0], int(words[1]) if whole else -1


def met_by_storage(
    log: Iterable[Row], calls: Iterable[Call], strikes: Iterable[Strike], events: Iterable[Event]
) -> set[str]:
    """Operations that failed because a call was refused for want of space, or of a right to write, while the storage was full
    or read-only: a call of the claim that turned them back."""
    windows = [(one.at, one.until + FAULT_SLACK_S, ERROR_OF[one.kind]) for one in strikes if one.kind in NEEDS_STORAGE]
    refused: set[tuple[str, int, int]] = set()
    for call in calls:
        at = call.end
        if at is not None and any(low <= at <= high and call.errno == error for low, high, error in windows):
            refused |= {(resource, seq, epoch) for resource, (seq, epoch) in call.tokens.items()}
    turned = {event.id: int(event.before or 0) for event in events if event.what == "turned"}
    return {
        row["operation_id"]
        for row in log
        if row["outcome"] == "failed"
        and any((resource, seq, turned.get(row["operation_id"])) in refused for resource, seq, _ in row["locks"])
    }


def given_up(log: Iterable[Row], events: Iterable[Event], marks: Iterable[Mark], *, limit: int) -> set[str]:
    """Operations that were given up after as many of their owners had been lost as the limit says."""
    lost = {mark.incarnation for mark in marks if mark.what in DEAD}
    deaths: dict[str, int] = {}
    for event in events:
        if event.what == "claimed" and event.before in lost:
            deaths[event.id] = deaths.get(event.id, 0) + 1
    return {
        row["operation_id"]
        for row in log
        if row["outcome"] == "parked" and row["attempt"] >= limit and deaths.get(row["operation_id"], 0) >= limit
    }


def no_room(asked: Iterable[Asked], rest: Rest, strikes: Iterable[Strike], unplaced: set[str]) -> set[str]:
    """Volumes that no pool took, each asked for while the storage was full or had not been measured since."""
    full = full_times(strikes)
    names = {
        one.name
        for one in asked
        if one.kind in CREATES and (one.request_id in unplaced or (one.outcome == UNKNOWN and within(one, full)))
    }
    return {
        row["id"]
        for row in rest.volumes
        if row["pool_name"] is None and row["status"] == "error" and row["name"] in names
    }


def full_times(strikes: Iterable[Strike]) -> list[tuple[float, float]]:
    """From when to when there was no room, or nobody knew that there was some again: nobody can measure it who does not reach
    the storage, nor tell who does not reach the database."""
    strikes = sorted(strikes, key=lambda one: one.at)
    found = []
    for full in (one for one in strikes if one.kind == FULL):
        end = full.until + NO_ROOM_SLACK_S
        for one in strikes:
            if one.kind in KEEP_FROM_MEASURING and full.at <= one.at <= end:
                end = max(end, one.until + NO_ROOM_SLACK_S)
        found.append((full.at, end))
    return found


def within(one: Asked, times: Iterable[tuple[float, float]]) -> bool:
    """Whether a request was under way in one of these times."""
    return any(begin <= one.sent_at + one.took_s and one.sent_at <= end for begin, end in times)


def pardons(rest: Rest, operations: set[str], unplaced: Iterable[str] = ()) -> Pardons:
    """What these operations explain, and that these volumes are in error."""
    last: dict[str, tuple[int, Row]] = {}
    left: set[tuple[str, int]] = set()
    removed: dict[str, int] = {}
    grown: set[str] = set()
    for row in rest.log:
        for resource, seq in [(resource, seq) for resource, seq, exclusive in row["locks"] if exclusive]:
            if seq >= last.get(resource, (-1, row))[0]:
                last[resource] = seq, row
            if row["operation_id"] not in operations:
                continue
            if row["kind"] in MAKERS:
                left.add((resource, seq))
            elif row["kind"] in DELETIONS:
                removed[resource] = max(seq, removed.get(resource, seq))
            elif row["kind"] == "extend_volume":
                grown.add(resource)
    rests = dict.fromkeys(unplaced, frozenset({"error"}))
    for resource, (_, row) in last.items():
        if row["operation_id"] in operations:
            rests[resource] = _rests(row, resource)
    return Pardons(frozenset(operations), rests, frozenset(left), removed, frozenset(grown))


def _rests(row: Mapping[str, object], resource: str) -> frozenset[str]:
    """A failed revert leaves its snapshot as it was; a failed backup its volume, and a failed restore its backup."""
    kind = str(row["kind"])
    if kind in LEAVING_OTHERS and resource != row["resource_id"]:
        return frozenset({"available"})
    return RESTING[kind]
