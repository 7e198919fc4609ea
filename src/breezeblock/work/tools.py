"""What the steps of all kinds work with: the bound driver, and names that carry the token."""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection, Table

from breezeblock.drivers.contract import Driver, ObjectName, PoolReport
from breezeblock.env.contract import Clock
from breezeblock.model.errors import BackendFailed
from breezeblock.protocol.steps import Run
from breezeblock.resources import attached
from breezeblock.resources.accepted import published_object
from breezeblock.resources.backends import is_unsorted
from breezeblock.resources.targets import is_left_behind
from breezeblock.store.transitions import read_row

if TYPE_CHECKING:
    from breezeblock.work.archives import Archives

GIB: Final = 1024**3


@dataclass(frozen=True, slots=True)
class Tools:
    """One operation's tools. `driver` asks for the lease before every change."""

    driver: Driver
    clock: Clock
    continues: bool
    """Whether a half-made object of an earlier claim may be continued: only where a lost node is fenced for certain."""
    archives: "Archives | None" = None
    """The stores of backups that this node has; None where it has none."""
    source: Callable[[str | None], Driver] | None = None
    """The driver of the backend that the operation needs besides, to read from, on the target that is in use there; None where
    it needs none. May raise BackendFailed."""


@dataclass(frozen=True, slots=True)
class NodeTools:
    """The tools of work that is meant for one node: all that it serves."""

    queues: tuple[str, ...]
    report: Callable[[str, str | None], Coroutine[Any, Any, tuple[PoolReport, ...]]]
    """Looks at the storage of a queue's backend, on a replication target. Raises BackendFailed."""
    clock: Clock


Working = Run[Any, Tools]


class CopyProgress:
    """Progress of a copy, kept in the operation's state."""

    def __init__(self, run: Working) -> None:
        self._run = run

    @property
    def done_bytes(self) -> int:
        """Everything before this offset is on storage, synced."""
        return int(self._run.state.get("done_bytes", 0))

    async def save(self, done_bytes: int) -> None:
        """Checkpoint. Raises Fenced, Cancelled or HandedBack."""
        await self._run.checkpoint(progress=self._run.tools.continues, done_bytes=done_bytes)


async def own_name(
    run: Working,
    resource_id: str,
    *,
    long: bool,
    keep: str | None = None,
    also: Callable[[Connection, str], None] | None = None,
) -> ObjectName:
    """The name under which this operation makes its object.

    It carries our token. What an earlier claim of the same operation may have left has the same seq and a lower epoch:
    it is continued when it was a long copy and its node is certainly dead, and removed otherwise. One that was begun on
    another replication target, or beside a failover, is not continued: its maker may be alive. With `long` the name is saved
    before anything is made, so that the next claim finds it; `also` is done in the same transaction. `keep`: the object that
    the resource is now, where it is one.
    """
    seq, epoch = run.claim.token(resource_id)
    if (saved := run.state.get("object")) is not None and run.tools.continues and same_target(run):
        return ObjectName.parse(saved)
    for earlier in (ObjectName(resource_id, seq, number) for number in range(1, epoch)):
        if str(earlier) != keep:
            await run.tools.driver.delete(earlier)
    name = ObjectName(resource_id, seq, epoch)
    if long:
        with_name = (lambda tx: also(tx, str(name))) if also is not None else None
        changes = {"object": str(name), "done_bytes": 0, "generation": run.claim.generation}
        await run.checkpoint(progress=False, also=with_name, **changes)
    else:
        run.state["object"] = str(name)
    return name


def same_target(run: Working) -> bool:
    """Whether what the saved name stands for was begun on the storage in use, with no failover beside it."""
    return bool(run.state.get("generation", 0) == run.claim.generation)


async def drop_own(run: Working, resource_id: str) -> None:
    """Remove whatever any claim of this operation has made for a resource."""
    seq, epoch = run.claim.token(resource_id)
    for made in range(1, epoch + 1):
        await run.tools.driver.delete(ObjectName(resource_id, seq, made))


async def drop_all(run: Working, resource_id: str, *, keep: str | None = None) -> None:
    """Remove every object of a resource up to our own token, but for the one that is published."""
    token = run.claim.token(resource_id)
    for name in await run.tools.driver.names_of(resource_id):
        if (name.seq, name.epoch) <= token and str(name) != keep:
            await run.tools.driver.delete(name)


async def drop_accesses_of(run: Working, volume_id: str) -> None:
    """Take back what connections that failed have left of a volume that nobody is connected to."""
    for attachment_id in await run.read(attached.ids_of, volume_id):
        for access in await run.tools.driver.accesses(attachment_id):
            await run.tools.driver.disconnect(access)


async def begin_removal(run: Working, *left: tuple[Table, str]) -> None:
    """Delete nothing of what a failover has left behind: it would stay there, with no row to tell of it.

    The request was accepted before the failover, else it would have been refused. Once a removal has begun, what is not there
    may be its own work: on the storage that it began on, nobody asks again, and after a failover only of what it has not
    removed for certain (`end_removal`). Raises BackendFailed.
    """
    if not run.tools.driver.capabilities.replication or run.state.get("begun_in") == run.claim.generation:
        return
    for table, row_id in left:
        if run.payload.forced or row_id in run.state.get("removed", ()):
            continue
        if await _is_elsewhere(run, table, row_id):
            raise BackendFailed(
                f"{table.name.removesuffix('s').capitalize()} {row_id} is not on the storage that its backend has "
                "failed over to; it can be deleted when that is back."
            )
    if "begun_in" in run.state:  # what has removed something is not cancelled any more
        await run.record(begun_in=run.claim.generation)
    else:
        await run.checkpoint(progress=False, begun_in=run.claim.generation)


async def _is_elsewhere(run: Working, table: Table, row_id: str) -> bool:
    """Whether an object may be on storage that is not in use. Its row says so, once a failover has looked for it.

    Otherwise the storage itself is asked: after a failover that ended before it had seen everything, and by a removal that
    was begun before a failover.
    """
    if await run.read(is_left_behind, table=table, row_id=row_id):
        return True
    name = await run.read(published_object, table=table, row_id=row_id)
    if name is None or not ("begun_in" in run.state or await run.read(is_unsorted, queue=run.claim.queue)):
        return False
    return not await run.tools.driver.exists(ObjectName.parse(name))


async def end_removal(run: Working, resource_id: str) -> None:
    """Save that nothing of a resource is left, where a failover could let that look like something else.

    Once: saved anew by each claim it would count as progress each time, and a cascade whose later removals bring their node
    down would never be given up.
    """
    if run.tools.driver.capabilities.replication and resource_id not in run.state.get("removed", ()):
        await run.record(removed=[*run.state.get("removed", ()), resource_id])


async def own_row(run: Working, table: Table, row_id: str) -> dict[str, Any]:
    """The row that the operation's lock keeps. Raises Fenced: others have the operation by now, or have ended it."""
    row = await run.read(read_row, table, row_id)
    if row is None:
        await run.record()  # a deletion that came after us is over: this finds out
    assert row is not None, "its lock names the row"
    return row


async def object_of(run: Working, table: Table, row_id: str) -> ObjectName:
    """The published object of a resource that our lock keeps from changing. Raises BackendFailed when there is none."""
    name = await run.read(published_object, table=table, row_id=row_id)
    if name is None:
        raise BackendFailed(f"{table.name.removesuffix('s').capitalize()} {row_id} has no object on storage.")
    return ObjectName.parse(name)
