"""What the protocol promises about its own tables, checked at every commit and not only when it has come to harm.

An invariant falls late and seldom: most of what a missing rule lets through does no damage in that run. So each rule is
also checked where it acts: who saves owns, who claims or says what it serves is up, nothing is released before its owner
is silenced, nobody is expired while its lease holds, no checkpoint goes back.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, Protocol

from breezeblock.model.states import NODE_DEAD, NODE_LIVE
from breezeblock.protocol.queue import DO
from breezeblock.protocol.steps import Operation
from breezeblock.testing.cluster import queue_of
from breezeblock.testing.database import Seen
from breezeblock.testing.loop import Process

__all__ = ["Rules", "World"]

# A step of the way back comes after every step of the way there.
_BACK: Final = 100


class World(Protocol):
    """What really holds, which nobody in the cluster can know."""

    def still_writes(self, incarnation: str, backends: Iterable[str] = ()) -> str | None:
        """Why something of this incarnation may still reach these backends (or any), or None when nothing can."""
        ...

    def holds_lease(self, incarnation: str) -> bool:
        """Whether its lease has not ended by its own clock."""
        ...

    def is_healthy(self, incarnation: str) -> bool:
        """Whether its keeper runs and nothing has lately been in its way, but for an outage that hit everybody."""
        ...


class Rules:
    """The tables as commits have made them, and what each commit may do to them."""

    def __init__(self, world: World, catalogue: Mapping[str, Operation], violated: Callable[[str, str], None]) -> None:
        self._world = world
        self._catalogue = catalogue
        self._violated = violated
        self._states: dict[str, str] = {}
        self._fenced: set[tuple[str, str]] = set()
        self._owners: dict[str, tuple[str | None, int]] = {}
        self._kinds: dict[str, str] = {}
        self._reached: dict[str, tuple[int, str]] = {}
        self.lost_owners: Counter[str] = Counter()
        """How often each operation has been released from a node that was lost."""
        self.forced: set[str] = set()
        """Incarnations that an operator declared lost: silence says nothing about those."""

    def see(self, seen: Sequence[Seen], writer: Process | None) -> None:
        """Take in what one transaction did, in its order."""
        me = writer.incarnation if writer is not None else None
        works = writer is not None and writer.works
        for what, id_, before, after in seen:
            if what == "nodes":
                self._node(id_, before, str(after), me)
            elif what == "announced":
                self._announced(id_, str(after), me)
            elif what == "fenced":
                self._backend_fenced(id_, str(before), str(after))
            elif what == "enqueued":
                self._owners[id_], self._kinds[id_] = (None, 0), str(before)
            elif what == "owner":
                epoch, queue, claimed = str(after).split(" ")
                self._owner(id_, before, int(epoch), queue, me, works=works and claimed == "1")
            elif what == "saved":
                self._saved(id_, str(after), me)
            elif what == "closed":
                self._guarded(id_, "ended", int(str(after)), me)
            elif what == "ended":
                self._reached.pop(id_, None)

    def is_silenced(self, incarnation: str, queue: str) -> bool:
        """Whether it counts as fenced, for all or on that backend."""
        return self._states.get(incarnation) in NODE_DEAD or (incarnation, queue) in self._fenced

    def on_effect(self, writer: Process, what: str, *, backend: str) -> None:
        """Something landed on storage."""
        me = writer.incarnation
        if me is not None and self.is_silenced(me, queue_of(backend)):
            self._violated("Fence", f"{writer.name} did {what}, although it counts as fenced")

    def _node(self, incarnation: str, before: str | None, state: str, me: str | None) -> None:
        self._states[incarnation] = state
        if state == "fenced" and (why := self._world.still_writes(incarnation)) is not None:
            self._violated("Fence", f"{incarnation} counts as fenced, but {why}")
        if state == "expired" and me != incarnation and incarnation not in self.forced:
            if self._world.holds_lease(incarnation):
                self._violated("Lease", f"{incarnation} was expired while its lease holds")
            if self._world.is_healthy(incarnation):
                self._violated("Calm", f"{incarnation} was expired although nothing kept it from renewing")

    def _backend_fenced(self, incarnation: str, queue: str, method: str) -> None:
        self._fenced.add((incarnation, queue))
        if (why := self._world.still_writes(incarnation, (queue.rpartition("@")[2],))) is not None:
            self._violated("Fence", f"{incarnation} counts as fenced on {queue} by {method}, but {why}")

    def _announced(self, incarnation: str, queue: str, me: str | None) -> None:
        if me == incarnation and self._states.get(me) not in NODE_LIVE:
            self._violated("Fence", f"{me} announced that it serves {queue} while it was {self._states.get(me)}")

    def _owner(self, operation: str, owner: str | None, epoch: int, queue: str, me: str | None, *, works: bool) -> None:
        was, before = self._owners.get(operation, (None, 0))
        self._owners[operation] = owner, epoch
        if epoch < before:
            self._violated("Once", f"operation {operation} goes back from epoch {before} to {epoch}")
        if owner is not None and owner == me and works:
            if epoch == before:
                self._violated("Once", f"operation {operation} was claimed without a new epoch")
            if self._states.get(owner) != "up":
                self._violated("Fence", f"{owner} claimed {operation} while it was {self._states.get(owner)}")
        elif owner is not None and owner != was:
            self._violated("Once", f"operation {operation} was given to {owner} by {me}")
        if owner is None and was is not None:
            if self.is_silenced(
                was, queue
            ):  # released, perhaps by a transaction of its own that was still on its way; else handed back
                self.lost_owners[operation] += 1
            elif was != me:
                self._violated("Fence", f"{operation} was released while its owner {was} is {self._states.get(was)}")

    def _guarded(self, operation: str, what: str, epoch: int, me: str | None) -> None:
        owner, current = self._owners.get(operation, (None, 0))
        if owner is None or owner != me or epoch != current:
            self._violated(
                "Once", f"{me} {what} {operation} under epoch {epoch}; it belongs to {owner} under epoch {current}"
            )
        if me is not None and self._states.get(me) not in NODE_LIVE:
            self._violated("Fence", f"{me} {what} {operation} while it was {self._states.get(me)}")

    def _saved(self, operation: str, after: str, me: str | None) -> None:
        epoch, direction, step = after.split(" ")
        self._guarded(operation, "saved", int(epoch), me)
        declared = self._catalogue.get(self._kinds.get(operation, ""))
        if declared is None:
            return
        steps = declared.steps if direction == DO else declared.undo
        names = [str(one.__name__) for one in steps]
        position = (0 if direction == DO else _BACK) + (names.index(step) if step in names else 0)
        reached, name = self._reached.get(operation, (0, ""))
        if position < reached:
            self._violated(
                "Once", f"{me} saved {operation} at {step or 'its first step'}, but {name} was reached before"
            )
        self._reached[operation] = max((position, step), (reached, name))
