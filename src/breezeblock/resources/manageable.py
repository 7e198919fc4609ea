"""What is on a backend and could be managed: where that is, what of it is ours already, and the list of all of it.

Only the driver knows what else is on its storage. So the list is an operation, in a line of its own: it changes nothing, and
its answer is in its log row. Requests that come while one is under way wait for the same.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, Table, bindparam, select

from breezeblock.model.errors import BadRequest, InvalidState, StorageFailed
from breezeblock.model.ids import OperationId, is_canonical_uuid
from breezeblock.model.origin import Origin
from breezeblock.model.states import NODE_LIVE
from breezeblock.placement import allocate
from breezeblock.placement.choose import Pool
from breezeblock.protocol import queue
from breezeblock.protocol.queue import Claim, Lock
from breezeblock.protocol.steps import Failure
from breezeblock.resources import kinds
from breezeblock.store.tables import nodes, operation_log, operations, snapshots, volumes
from breezeblock.store.transitions import read_row

KIND: Final = "list_manageable"
# Where an operation's state keeps what it found.
FOUND: Final = "found"


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where somebody says that something is: one of both is given. A pool may be named behind a `#`."""

    host: str | None = None
    cluster: str | None = None

    def __str__(self) -> str:
        return f"Host '{self.host}'" if self.host else f"Cluster '{self.cluster}'"


class ListManageable(msgspec.Struct, frozen=True, kw_only=True):
    """Payload of `list_manageable`: nothing, its queue says it all."""


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One thing on storage. `cinder_id` is the volume or snapshot that it is; `why_not` why it cannot be managed."""

    reference: str
    size_gib: int
    is_snapshot: bool = False
    why_not: str | None = None
    cinder_id: str | None = None
    source: str | None = None


def pool_at(tx: Connection, place: Place) -> Pool:
    """The pool that a place means. Raises BadRequest: there is none, it is disabled or down, or it has to be named."""
    given = place.host or place.cluster or ""
    wanted, _, pool_name = given.partition("#")
    queues = _queues(tx, wanted, by_host=place.host is not None)
    found = [pool for pool in allocate.read_pools(tx) if pool.queue in queues]
    if pool_name:
        found = [pool for pool in found if pool.name.partition("#")[2] == pool_name]
    if not found:
        raise BadRequest(f"{place} not found; expected one of those that os-services or get_pools list.")
    if len(found) > 1:
        names = ", ".join(sorted(pool.name for pool in found))
        raise BadRequest(f"{place} has several pools; name one of them: {names}.")
    (pool,) = found
    if not pool.enabled:
        raise BadRequest(f"{place} is disabled; enable it first.")
    if not pool.live:
        raise BadRequest(f"{place} is down: no node serves it now.")
    return pool


def _queues(tx: Connection, wanted: str, *, by_host: bool) -> set[str]:
    """`cluster@backend`, or a node's `host@backend` as services are listed."""
    found = {wanted}
    host, _, backend = wanted.partition("@")
    if by_host and backend:
        for queues_json in tx.execute(_OF_HOST, {"host": host}).scalars():
            found.update(one for one in json.loads(queues_json) if one.partition("@")[2] == backend)
    return found


def refuse_managed(tx: Connection, reference: str) -> None:
    """Raise InvalidState for the name of something that is ours: as it is called here, or on storage."""
    for table, noun in ((volumes, "volume"), (snapshots, "snapshot")):
        id_ = _id_in(reference, noun)
        row = None if id_ is None else read_row(tx, table, id_)
        if row is not None and not row["tombstone"]:
            raise InvalidState(f"'{reference}' is {noun} {id_} and is managed already.")


def _id_in(reference: str, noun: str) -> str | None:
    id_ = reference.removeprefix(f"{noun}-")
    if id_ == reference:
        id_ = reference.rsplit(".", 2)[0]  # an object's name begins with its id
    return id_ if is_canonical_uuid(id_) else None


# --- the list -------------------------------------------------------------------------------------------------------


def begin_list(tx: Connection, *, place: Place, origin: Origin) -> tuple[OperationId, Pool]:
    """Ask a backend what it has, or join who asks already. Returns the operation, to ring for, and the pool.

    Raises BadRequest.
    """
    pool = pool_at(tx, place)
    under_way = tx.execute(_UNDER_WAY, {"queue": pool.queue, "kind": KIND}).scalar()
    if under_way is not None:
        return OperationId(under_way), pool
    job = kinds.job(KIND, pool.queue, "backend", origin.operation_id, ListManageable())
    alone = Lock(origin.operation_id, 1, exclusive=True)
    queue.enqueue(tx, job, origin=origin, locks=(alone,))
    return origin.operation_id, pool


def found(tx: Connection, *, operation_id: OperationId, pool: str, of_snapshots: bool) -> list[Entry] | None:
    """What could be managed as volumes, or as snapshots; None while that is not known. Raises StorageFailed.

    What is managed already is among it, as the tables have it now.
    """
    row = tx.execute(_RESULT, {"operation_id": operation_id}).mappings().first()
    if row is None:
        return None
    if row["outcome"] != "done":
        raise StorageFailed(row["detail"] or f"What is on {pool} could not be listed.")
    entries = msgspec.json.decode(row["detail"], type=list[Entry])
    table = snapshots if of_snapshots else volumes
    ours = tx.execute(_OURS[table.name], {"pool": pool}).mappings()
    return [one for one in entries if one.is_snapshot == of_snapshots] + [_managed(table, dict(one)) for one in ours]


def _managed(table: Table, row: Mapping[str, Any]) -> Entry:
    return Entry(
        reference=row["object_name"],
        size_gib=row["size_gib"],
        is_snapshot=table is snapshots,
        why_not="already managed",
        cinder_id=row["id"],
        source=row["volume_object"] if table is snapshots else None,
    )


def finish_list(tx: Connection, claim: Claim, payload: ListManageable, state: dict[str, Any], *, now_us: int) -> None:
    """Log what the storage said."""
    detail = msgspec.json.encode(state.get(FOUND, [])).decode()
    queue.close(tx, claim, outcome="done", detail=detail, now_us=now_us)


def fail_list(
    tx: Connection, claim: Claim, payload: ListManageable, state: dict[str, Any], *, failure: Failure, now_us: int
) -> None:
    """Log why there is no answer."""
    queue.close(tx, claim, outcome=failure.outcome, detail=failure.message, now_us=now_us)


_OF_HOST: Final[Any] = select(nodes.c.queues_json).where(
    nodes.c.name == bindparam("host"), nodes.c.state.in_(NODE_LIVE)
)
_UNDER_WAY: Final[Any] = (
    select(operations.c.id)
    .where(operations.c.queue == bindparam("queue"), operations.c.kind == bindparam("kind"))
    .order_by(operations.c.id)
    .limit(1)
)
_RESULT: Final[Any] = select(operation_log.c.outcome, operation_log.c.detail).where(
    operation_log.c.operation_id == bindparam("operation_id")
)
_SOURCE: Final = volumes.alias("source")
_OURS: Final[Mapping[str, Any]] = {
    "volumes": select(volumes.c.id, volumes.c.object_name, volumes.c.size_gib).where(
        volumes.c.pool_name == bindparam("pool"),
        volumes.c.object_name.is_not(None),
        volumes.c.tombstone.is_(False),
    ),
    "snapshots": select(
        snapshots.c.id, snapshots.c.object_name, snapshots.c.size_gib, _SOURCE.c.object_name.label("volume_object")
    )
    .join(_SOURCE, _SOURCE.c.id == snapshots.c.volume_id)
    .where(
        _SOURCE.c.pool_name == bindparam("pool"),  # where its snapshots are as well, and by an index
        snapshots.c.object_name.is_not(None),
        snapshots.c.tombstone.is_(False),
    ),
}
