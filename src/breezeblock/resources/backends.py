"""Backends as resources of their own: what holds for all that a cluster keeps on one storage.

There is one row for each queue (`cluster@backend`), made with the first report of its pools. Its id follows from the queue's
name, so that everybody finds it without a look-up and two who make it meet at the same key.
"""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, and_, bindparam, exists, insert, select, update

from breezeblock.model import states
from breezeblock.model.errors import InvalidState
from breezeblock.resources.accepted import queue_of
from breezeblock.store.tables import backends, operation_locks
from breezeblock.store.transitions import lock_row

# The name of the backend that is configured, as a target of a failover: what the API calls a failback.
DEFAULT_TARGET: Final = "default"
# Drawn once, for the ids of all backends everywhere.
NAMESPACE: Final = uuid.UUID("6f1c7a52-3d0b-4b0e-9a6e-2f6d9c1e84b7")


@dataclass(frozen=True, slots=True)
class BackendState:
    """What operators are shown of a backend. The defaults are what holds before it has a row."""

    frozen: bool = False
    replication_status: str = states.REPLICATION_DISABLED
    active_backend_id: str | None = None


UNTOUCHED: Final = BackendState()


def backend_id(queue: str) -> str:
    """The id of a queue's backend."""
    return str(uuid.uuid5(NAMESPACE, queue))


def read_states(tx: Connection) -> dict[str, BackendState]:
    """All backends that have a row, by queue."""
    return {
        row.queue: BackendState(row.frozen, row.replication_status, row.active_backend_id)
        for row in tx.execute(_STATES)
    }


class InUse(NamedTuple):
    """The storage that a queue's nodes work on. `target` None is the backend that is configured."""

    target: str | None
    generation: int
    """Rises with each beginning and each end of a failover."""


def in_use(tx: Connection, *, queue: str) -> InUse:
    """The storage that a queue's nodes work on now."""
    row = tx.execute(_IN_USE, {"row_id": backend_id(queue)}).one_or_none()
    return InUse(None, 0) if row is None else InUse(row.active_backend_id, row.generation)


def is_unsorted(tx: Connection, *, queue: str) -> bool:
    """Whether the last failover of a queue ended before it had seen what is there: what is where, nobody knows for certain."""
    return tx.execute(_STATUS, {"row_id": backend_id(queue)}).scalar() == states.REPLICATION_ERROR


def introduce(tx: Connection, *, queue: str, replicates: bool) -> str:
    """Make the row if there is none, and note whether the backend replicates. Returns its id.

    Part of each report of a pool, so it only reads when there is nothing new. A backend in the middle of a failover, or
    after one, is what the failover made of it, whatever its configuration says now.
    """
    row_id = backend_id(queue)
    offered = states.REPLICATION_ENABLED if replicates else states.REPLICATION_DISABLED
    row = tx.execute(_STATUS, {"row_id": row_id}).one_or_none()
    if row is None:
        tx.execute(
            insert(backends).values(
                id=row_id, op_seq=0, queue=queue, frozen=False, replication_status=offered, generation=0
            )
        )
    elif row.replication_status != offered and row.replication_status in _UNUSED:
        tx.execute(
            update(backends)
            .where(backends.c.id == row_id, backends.c.replication_status == row.replication_status)
            .values(replication_status=offered, op_seq=backends.c.op_seq + 1)
        )
    return row_id


def lock_backend(tx: Connection, queue: str) -> None:
    """Write the row, which is made if there is none: who decides about all pools of a queue, also those to come, does so.

    What replicates is for the reports to say.
    """
    row_id = backend_id(queue)
    if tx.execute(_LOCK, {"row_id": row_id}).rowcount == 0:
        introduce(tx, queue=queue, replicates=False)


def refuse_frozen(tx: Connection, row: Mapping[str, Any] | None) -> None:
    """Refuse a change of a volume or snapshot on a frozen backend, or a copy of it. Raises InvalidState.

    Only read, never written: if each request wrote the backend's row to be ordered with a freeze, all of them would stand
    in one line behind it. A request that commits beside a freeze is simply ordered before it, as if it had come a moment
    earlier; its operation runs, as those do that were accepted before.
    """
    if row is None or row["pool_name"] is None:
        return
    queue = queue_of(row["pool_name"])
    if tx.execute(_FROZEN, {"row_id": backend_id(queue)}).scalar():
        raise InvalidState(f"Backend {queue} is frozen: what is on it can be read, but not be changed.")


def has_forgotten_failover(tx: Connection) -> bool:
    """Whether a queue is closed for a failover that nobody works on any more. One read of a small table."""
    return tx.execute(_FORGOTTEN).first() is not None


def end_forgotten_failovers(tx: Connection, *, now_us: int) -> list[str]:
    """The standing rule: a backend that is failing over with nobody in its line is in `error`, and its queue open again.

    So it is left by a node of a release that ends a failover it cannot run, but does not know that the queue is closed.
    Any node does this at any time. How far the failover got is not known: what was half made is begun anew, and an operator
    decides what next. Returns the queues.

    Lock first, ask later: a request that has just closed the queue is seen with its operation.
    """
    ended = []
    for row in tx.execute(_FORGOTTEN).all():
        lock_row(tx, backends, row.id)
        if tx.execute(_END_FORGOTTEN, {"row_id": row.id, "now_us": now_us}).rowcount:
            ended.append(row.queue)
    return ended


_LOCK: Any = update(backends).where(backends.c.id == bindparam("row_id")).values(op_seq=backends.c.op_seq + 1)
_UNUSED: Final = (states.REPLICATION_DISABLED, states.REPLICATION_ENABLED)
_STATUS: Any = select(backends.c.replication_status).where(backends.c.id == bindparam("row_id"))
_IN_USE: Any = select(backends.c.active_backend_id, backends.c.generation).where(backends.c.id == bindparam("row_id"))
_FROZEN: Any = select(backends.c.frozen).where(backends.c.id == bindparam("row_id"))
_STATES: Any = select(backends.c.queue, backends.c.frozen, backends.c.replication_status, backends.c.active_backend_id)
_CLOSED_FOR_NOBODY: Any = and_(
    backends.c.replication_status == states.REPLICATION_FAILING_OVER,
    ~exists().where(operation_locks.c.resource_id == backends.c.id),
)
_FORGOTTEN: Any = select(backends.c.id, backends.c.queue).where(_CLOSED_FOR_NOBODY).order_by(backends.c.id)
_END_FORGOTTEN: Any = (
    update(backends)
    .where(backends.c.id == bindparam("row_id"), _CLOSED_FOR_NOBODY)
    .values(
        replication_status=states.REPLICATION_ERROR,
        generation=backends.c.generation + 1,
        updated_at_us=bindparam("now_us"),
    )
)
