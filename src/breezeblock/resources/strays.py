"""Objects of a volume on a backend that the volume is not on, and how they are removed.

A migration makes the new object on one backend while the volume is on another, and leaves the old one behind. Each of both
has a row for as long as it may be there without being what the volume is. So a migration that is given up, or storage that
does not let go, leaves nothing that nobody knows of: whoever serves the backend removes it, by an operation of its own, whether
the volume is still there or not.
"""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, Integer, bindparam, delete, insert, select, update

from breezeblock.model.errors import Contended, NotFound
from breezeblock.model.origin import Origin
from breezeblock.protocol import queue
from breezeblock.protocol.queue import Claim, Lock
from breezeblock.protocol.steps import Failure
from breezeblock.resources import kinds
from breezeblock.resources.accepted import clear_tombstones
from breezeblock.store.dialects import db_now_us
from breezeblock.store.tables import stray_objects, volumes
from breezeblock.store.transitions import lock_row, read_row

KIND: Final = "drop_strays"
# After a removal was begun, the next one is not before that: storage that refuses is not asked all the time.
TRY_AGAIN_US: Final = 10 * 60 * 1_000_000
DUE_MOST: Final = 20


class DropStrays(msgspec.Struct, frozen=True, kw_only=True):
    """Payload of `drop_strays`: what the operation's own backend has of this volume."""

    volume_id: str


def remember(tx: Connection, *, volume_id: str, queue_name: str) -> None:
    """Objects of a volume may be on a backend from now on. Whoever calls this holds the volume exclusively.

    Nobody looks for them at once: who has made the row sees to them, unless it dies.
    """
    forget(tx, volume_id=volume_id, queue_name=queue_name)
    tx.execute(_INSERT, {"volume_id": volume_id, "queue": queue_name, "not_before_us": _later(tx)})


def forget(tx: Connection, *, volume_id: str, queue_name: str) -> None:
    """There are none of them any more, or they are what the volume is now."""
    tx.execute(_FORGET, {"of_volume": volume_id, "on_queue": queue_name})


def enqueue_removal(tx: Connection, *, origin: Origin, volume_id: str, queue_name: str) -> None:
    """Have a backend's objects of a volume removed. The volume's row, if it is there, was written in this transaction.

    It only reads the volume: it waits for whoever changes it, and a later migration waits for it, while the volume may be used.
    """
    row = read_row(tx, volumes, volume_id)
    # Of a volume that is gone nothing else is under way: its removal stands in a line of its own.
    lock = Lock(origin.operation_id, 1, exclusive=True) if row is None else queue.shared(row)
    job = kinds.job(KIND, queue_name, "volume", volume_id, DropStrays(volume_id=volume_id))
    queue.enqueue(tx, job, origin=origin, locks=(lock,))


def has_due(tx: Connection, *, queues: Sequence[str]) -> bool:
    """Whether something may have been left on one of these backends. One read of a small table."""
    return bool(_due(tx, queues))


def begin_due(tx: Connection, *, origin: Origin, queues: Sequence[str]) -> str | None:
    """The standing rule: what was left is removed by whoever serves its backend. Returns the queue; None: nothing was due.

    Lock first, ask later: the volume, if it is there, then the row of what was left. What somebody works on is left to them,
    and looked at again later.
    """
    for volume_id, queue_name in _due(tx, queues):
        if read_row(tx, volumes, volume_id) is not None:
            try:
                lock_row(tx, volumes, volume_id)
            except NotFound as error:
                raise Contended(f"volume {volume_id} has gone since it was read") from error
        values = {"of_volume": volume_id, "on_queue": queue_name, "later_us": _later(tx)}
        if tx.execute(_PUT_OFF, values).rowcount == 0:
            continue  # another node was faster
        if queue.someone_waits(tx, resource_id=volume_id):
            continue
        enqueue_removal(tx, origin=origin, volume_id=volume_id, queue_name=queue_name)
        return queue_name
    return None


def finish_removal(tx: Connection, claim: Claim, payload: DropStrays, state: dict[str, Any], *, now_us: int) -> None:
    """Nothing of the volume is left there."""
    _lock_what_is_there(tx, payload.volume_id)
    queue.close(tx, claim, outcome="done", detail=None, now_us=now_us)
    forget(tx, volume_id=payload.volume_id, queue_name=claim.queue)
    clear_tombstones(tx, claim)


def fail_removal(
    tx: Connection, claim: Claim, payload: DropStrays, state: dict[str, Any], *, failure: Failure, now_us: int
) -> None:
    """The storage would not let go. The row stays: somebody tries again later. No user is told, whose volume is well."""
    _lock_what_is_there(tx, payload.volume_id)
    queue.close(tx, claim, outcome=failure.outcome, detail=failure.message, now_us=now_us)
    clear_tombstones(tx, claim)


def _lock_what_is_there(tx: Connection, volume_id: str) -> None:
    """Write the volume's row, if it has one. Nothing of it changes, but its events have their order by these writes."""
    with suppress(NotFound):
        lock_row(tx, volumes, volume_id)


def _later(tx: Connection) -> int:
    return int(tx.execute(select(db_now_us())).scalar_one()) + TRY_AGAIN_US


def _due(tx: Connection, queues: Sequence[str]) -> list[tuple[str, str]]:
    found = tx.execute(_DUE, {"queues": list(queues), "most": DUE_MOST})
    return [(row.volume_id, row.queue) for row in found]


_INSERT: Final[Any] = insert(stray_objects)
_FORGET: Final[Any] = delete(stray_objects).where(
    stray_objects.c.volume_id == bindparam("of_volume"), stray_objects.c.queue == bindparam("on_queue")
)
_IS_DUE: Final[Any] = stray_objects.c.not_before_us <= db_now_us()
_DUE: Final[Any] = (
    select(stray_objects.c.volume_id, stray_objects.c.queue)
    .where(_IS_DUE, stray_objects.c.queue.in_(bindparam("queues", expanding=True)))
    .order_by(stray_objects.c.volume_id, stray_objects.c.queue)
    .limit(bindparam("most", type_=Integer()))
)
_PUT_OFF: Final[Any] = (
    update(stray_objects)
    .where(stray_objects.c.volume_id == bindparam("of_volume"), stray_objects.c.queue == bindparam("on_queue"), _IS_DUE)
    .values(not_before_us=bindparam("later_us"))
)
