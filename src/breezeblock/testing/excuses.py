"""*Once*, for what was accepted and did not come to a good end: each such end needs a reason of its own.

An operation may end as failed only if a fault of the storage met it in the very claim that turned it back; as parked only if
it lost as many owners as the poison limit says, or asks for a node that was not there for as long as one waits for it; as
cancelled only if a later request cancelled it. A fence that made the
storage refuse somebody is no reason, and neither is a target that was failed over from: whoever meets those has lost the
operation. But a deletion that a failover crosses may fail if its object is not there: it cannot know whose work that is; and so
may what needs an object that a deletion has removed before it failed, if an operator has called that available since. A
resource may get a status of error only from such an end, or by an operator's word, or when it is not there after a failover.
What is to be managed is asked for by a name that may be nothing's, or may be too large: such a request may fail at any time.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import structlog

from breezeblock.drivers.contract import ObjectName
from breezeblock.model.states import ERROR_MANAGING_DELETING, NODE_LIVE
from breezeblock.protocol.queue import FAILOVER, UNDO
from breezeblock.store.transitions import Transition
from breezeblock.testing.contents import MANAGES

__all__ = ["TIDIES", "Applied", "Excuses", "Presence", "Remains", "may_have_removed"]

Applied = tuple[str, str, Transition]
# What cancels all that is under way on a resource.
CANCELLING: Final = frozenset(
    {
        *("volume.reset_status", "snapshot.reset_status", "volume.force_delete", "volume.force_delete_cascade"),
        "volume.cancel_migration",
        *("snapshot.force_delete", "snapshot.doomed_by_force", "backup.reset_status", "backup.force_delete"),
        "attachment.disconnect",
        *("volume_group.reset_status", "group_snapshot.reset_status"),
    }
)
BY_HAND: Final = frozenset(
    {
        *("volume.reset_status", "snapshot.reset_status", "snapshot.update_status", "backup.reset_status"),
        *("volume_group.reset_status", "group_snapshot.reset_status"),
    }
)
LEFT_BEHIND: Final = frozenset({"volume.left_behind", "snapshot.left_behind"})
# They have no compensation: what they have half removed stays so, and the status says it. An extension has none either, but it
# makes and removes no object: one that fails may leave it larger (`contents.Contents.may_be_larger`), and nothing else.
WITHOUT_UNDO: Final = (
    *("delete_volume", "delete_snapshot", "delete_backup", "delete_group", "delete_group_snapshot"),
    *("unmanage_volume", "unmanage_snapshot"),
)
# They make objects, under names with their own tokens.
MAKERS: Final = (
    *("create_volume", "create_snapshot", "revert_volume"),
    *("create_backup", "restore_backup", "create_from_backup", "connect_attachment"),
    *("create_group_snapshot", "create_group_from_source"),
    *("manage_volume", "manage_snapshot"),
)
# They remove every object of their volume but the one that they have published.
TIDIES: Final = ("revert_volume", "restore_backup", "disconnect_attachments")
# A node that comes and goes within this time may be missed by all who look: they look at least once a second, on a view of
# the tables that may be some seconds old.
MISSED_S: Final = 5.0


class Presence:
    """When each node was there, by its name: announced, and not lost or gone, as the tables say it."""

    def __init__(self) -> None:
        self.began = float("-inf")
        """Since when anybody could have been there."""
        self.park_after_s = 0.0
        """How long one waits for a node, by the fastest of all clocks."""
        self._names: dict[str, str] = {}
        self._there: dict[str, set[str]] = defaultdict(set)
        self._since: dict[str, float] = {}
        self._stays: dict[str, list[tuple[float, float]]] = defaultdict(list)
        self._asked: dict[str, tuple[str, float]] = {}

    def came(self, incarnation: str, name: str, at: float) -> None:
        """An incarnation has announced what it runs."""
        self._names[incarnation] = name
        if not self._there[name]:
            self._since[name] = at
        self._there[name].add(incarnation)

    def moved(self, incarnation: str, state: str, at: float) -> None:
        """An incarnation's state has changed."""
        name = self._names.get(incarnation)
        if name is not None and state not in NODE_LIVE and incarnation in self._there[name]:
            self._there[name].discard(incarnation)
            if not self._there[name]:
                self._stays[name].append((self._since[name], at))

    def asked(self, operation: str, name: str, at: float) -> None:
        """Somebody wants something of a node."""
        self._asked[operation] = name, at

    def was_missed(self, operation: str, at: float) -> bool:
        """Whether an operation asks for a node that nobody has seen for long enough, at some moment since it was asked for.

        Not only until now: who found that out may have been slow to say so, and the node have come back meanwhile.
        """
        if operation not in self._asked:
            return False
        name, asked_at = self._asked[operation]
        stays = [(begin, end) for begin, end in self._stays[name] if end - begin > MISSED_S]
        if self._there[name] and at - self._since[name] > MISSED_S:
            stays.append((self._since[name], at))
        ends, begins = [self.began, *(end for _, end in stays)], [*(begin for begin, _ in stays), at]
        return any(
            begin > asked_at and begin - end >= self.park_after_s for end, begin in zip(ends, begins, strict=True)
        )


class Excuses:
    """What has met each operation."""

    def __init__(self, violated: Callable[[str, str], None], is_there: Callable[[str], bool]) -> None:
        """`is_there` tells whether the object that a resource's row names is on storage."""
        self._violated = violated
        self._is_there = is_there
        self._met: set[tuple[str, int]] = set()
        self._met_on_the_way_back: set[str] = set()
        self._turned: dict[str, int] = {}
        self._cancelled: set[str] = set()
        self._half_done: set[str] = set()
        self._open: set[str] = set()
        self._failovers: set[str] = set()
        self._crossed: set[str] = set()
        self.poison_limit = 1
        self.presence = Presence()

    def enqueued(self, operation: str, kind: str) -> None:
        """An operation was accepted. Whatever is under way at any time of a failover is crossed by it."""
        self._open.add(operation)
        if kind == FAILOVER:
            self._failovers.add(operation)
            self._crossed |= self._open
        elif self._failovers:
            self._crossed.add(operation)

    def met_a_fault(self) -> None:
        """A storage call of whoever is running now fails by a fault."""
        context = structlog.contextvars.get_contextvars()
        if (operation := context.get("operation_id")) is not None:
            self._met.add((operation, context["epoch"]))
            if operation in self._turned:
                self._met_on_the_way_back.add(operation)

    def saved(self, operation: str, after: str) -> None:
        """A checkpoint. The first one on the way back is where an operation has failed."""
        epoch, direction, _ = after.split(" ")
        if direction == UNDO:
            self._turned.setdefault(operation, int(epoch))

    def applied(self, applied: Iterable[Applied], in_line: Callable[[str], Iterable[str]]) -> None:
        """The transitions of one transaction. `in_line` has the operations that are changing a resource, or will."""
        for _, row_id, transition in applied:
            if transition.name in CANCELLING:
                self._cancelled.update(in_line(row_id))

    def ended(
        self,
        operation: str,
        kind: str,
        outcome: str,
        *,
        lost_owners: int,
        resources: Iterable[str] = (),
        reads: Iterable[str] = (),
        at: float = 0.0,
    ) -> None:
        """Judge how an operation has ended. It has changed `resources`, and read `reads` besides."""
        resources = tuple(resources)
        self._open.discard(operation)
        self._failovers.discard(operation)
        met = (operation, self._turned.get(operation, -1)) in self._met
        excused = kind in MANAGES or self._may_be_elsewhere(operation, kind, resources)
        excused = excused or self._was_half_deleted((*resources, *reads))
        if may_have_removed(kind, outcome):
            self._half_done.update(resources)
        if outcome == "failed" and not met and not excused:
            self._violated(
                "Once", f"{kind} {operation} was accepted and is failed, though no storage call of it failed"
            )
        if outcome == "parked" and lost_owners < self.poison_limit and not self.presence.was_missed(operation, at):
            self._violated("Once", f"{kind} {operation} was accepted and is parked, and lost {lost_owners} owners")
        if outcome == "cancelled" and operation not in self._cancelled:
            self._violated("Once", f"{kind} {operation} was accepted and is cancelled, and nobody asked for that")

    def _may_be_elsewhere(self, operation: str, kind: str, resources: Iterable[str]) -> bool:
        """Whether a deletion was crossed by a failover and its object is not there.

        It may have removed that itself, or the object may be on the side that was left: it does not know, and does not guess.
        """
        deletes = kind in WITHOUT_UNDO and operation in self._crossed
        return deletes and not all(self._is_there(resource) for resource in resources)

    def _was_half_deleted(self, resources: Iterable[str]) -> bool:
        """Whether an operation needs an object that an earlier one has removed before it failed.

        Its resource was left in an error status, and an operator has called it available all the same.
        """
        return any(one in self._half_done and not self._is_there(one) for one in resources)

    def moved(self, resource: str, after: str, applied: Iterable[Applied], ended: Mapping[str, Iterable[str]]) -> None:
        """Judge a change of status. `ended` are the resources of operations that did not end well in this transaction."""
        if not after.startswith("error") or after == ERROR_MANAGING_DELETING:
            return
        names = {transition.name for _, row_id, transition in applied if row_id == resource}
        if names & BY_HAND or any(resource in resources for resources in ended.values()):
            return
        if not (names & LEFT_BEHIND and not self._is_there(resource)):
            self._violated("Once", f"{resource} became {after}, and no operation on it has failed")

    def may_have_left(self, operation: str, kind: str, outcome: str, *, epoch: int) -> bool:
        """Whether it made objects and ended, in this epoch, without having been able to remove them.

        What is parked is undone first. Only if nobody serves it, or if that was interrupted as well, something stays.
        """
        if outcome == "done" or kind not in MAKERS:
            return False
        parked = outcome == "parked" and self._turned.get(operation) != epoch
        return parked or operation in self._met_on_the_way_back


def may_have_removed(kind: str, outcome: str) -> bool:
    """Whether it is a deletion that was begun and did not come to its end: what its row names may be gone."""
    return kind in WITHOUT_UNDO and outcome not in ("done", "cancelled")


class Remains:
    """What interrupted operations have left on storage, each under its own token, and what deletions may have taken away."""

    def __init__(self) -> None:
        self._left: dict[str, dict[int, int]] = defaultdict(dict)
        self._tidied: dict[str, int] = {}
        self._removed: dict[str, int] = {}

    def left(self, resource: str, seq: int, epoch: int) -> None:
        """An operation at that place of the line ended in that epoch and may have left what it had made."""
        self._left[resource][seq] = epoch

    def removed(self, resource: str, seq: int) -> None:
        """A deletion at that place may have removed what was there before it."""
        self._removed[resource] = max(seq, self._removed.get(resource, seq))

    def tidied(self, resource: str, seq: int) -> None:
        """An operation at that place has removed whatever earlier ones had left."""
        self._tidied[resource] = max(seq, self._tidied.get(resource, seq))

    def may_stay(self, name: ObjectName, published: str | None) -> bool:
        """Whether an object that no row names is one that an interrupted operation could not remove.

        That is one of its own; or an older one beside its own that is published, as by a revert whose removals failed.
        """
        if name.seq < self._tidied.get(name.resource_id, 0):
            return False
        left = self._left.get(name.resource_id, {})
        if name.seq in left:
            return name.epoch <= left[name.seq]
        last = ObjectName.parse(published).seq if published is not None else 0
        return name.seq < last and last in left

    def may_be_gone(self, published: str) -> bool:
        """Whether a deletion that was interrupted may have removed the object that a row names."""
        name = ObjectName.parse(published)
        return self._removed.get(name.resource_id, 0) > name.seq
