"""Breezeblock's way: the request is a transition and an operation in one transaction, and a node's worker runs the operation.

A free row is taken by the request itself. One that others have, or wait for, gets a place in its line, and is taken by the
operation when its turn comes. Nobody polls for a row: the line is the order.
"""

from typing import Any, Final

import msgspec
from sqlalchemy import Connection, and_, or_, select

from breezeblock.model.errors import InvalidState
from breezeblock.model.origin import Origin
from breezeblock.protocol import queue
from breezeblock.protocol.queue import Claim, Job
from breezeblock.protocol.steps import Failure
from breezeblock.store.tables import operation_locks, volumes
from breezeblock.store.transitions import Must, Transition, equals, has_no, lock_row, new, read_row

from .plan import AVAILABLE, DELETING

KIND: Final = "change_row"
QUEUE: Final = "races@rows"


class ChangeRow(msgspec.Struct, frozen=True, kw_only=True):
    """Payload. `taken`: the request has changed the row already. `answer_to`: who waits for the end."""

    volume_id: str
    mark: str
    work_s: float
    answer_to: str
    taken: bool = False


_IN_LINE = select(operation_locks.c.seq).where(operation_locks.c.resource_id == volumes.c.id)
TAKE_FREE = Transition(
    volumes,
    name="races.take_free",
    musts=(
        Must(equals(volumes.c.status, AVAILABLE), "Volume {id} is {status}."),
        # Who comes while a row goes from one to the next must not overtake those who wait.
        Must(has_no(_IN_LINE, of=volumes), "Others wait for volume {id}."),
    ),
    sets={"status": DELETING, "name": new("mark")},
    moves=((AVAILABLE, DELETING),),
)
TAKE_NEXT = Transition(
    volumes,
    name="races.take_next",
    musts=(
        Must(
            or_(
                equals(volumes.c.status, AVAILABLE),
                # This step has run before.
                and_(equals(volumes.c.status, DELETING), equals(volumes.c.name, new("mark"))),
            ),
            "Volume {id} is {status}.",
        ),
    ),
    sets={"status": DELETING, "name": new("mark")},
    moves=((AVAILABLE, DELETING),),
)
GIVE_BACK = Transition(
    volumes,
    name="races.give_back",
    musts=(
        Must(
            and_(equals(volumes.c.status, DELETING), equals(volumes.c.name, new("mark"))),
            "Volume {id} is {status} for {name}.",
        ),
    ),
    sets={"status": AVAILABLE},
    moves=((DELETING, AVAILABLE),),
)


def begin_change(tx: Connection, *, origin: Origin, change: ChangeRow) -> bool:
    """The whole request: all of it is there, or nothing. Returns whether the row is ours at once."""
    lock_row(tx, volumes, change.volume_id)
    try:
        row, taken = TAKE_FREE.apply_locked(tx, change.volume_id, mark=change.mark), True
    except InvalidState:
        row, taken = _read(tx, change.volume_id), False
    job = Job(KIND, 1, QUEUE, "volume", change.volume_id, msgspec.structs.replace(change, taken=taken))
    queue.enqueue(tx, job, origin=origin, locks=[queue.exclusive(row)])
    return taken


def _read(tx: Connection, volume_id: str) -> dict[str, Any]:
    row = read_row(tx, volumes, volume_id)
    assert row is not None, "we have just written it"
    return row


def take_next(tx: Connection, *, volume_id: str, mark: str) -> None:
    """An operation whose turn has come takes the row. The caller guards the claim after it."""
    TAKE_NEXT.apply(tx, volume_id, mark=mark)


def finish_change(tx: Connection, claim: Claim, payload: ChangeRow, state: dict[str, Any], *, now_us: int) -> None:
    """Give the row back and end the operation."""
    GIVE_BACK.apply(tx, payload.volume_id, mark=payload.mark)
    queue.close(tx, claim, outcome="done", detail=None, now_us=now_us)


def fail_change(
    tx: Connection, claim: Claim, payload: ChangeRow, state: dict[str, Any], *, failure: Failure, now_us: int
) -> None:
    """Nothing here can fail but by a mistake: the row stays as it is, and the run ends with an error."""
    queue.close(tx, claim, outcome="failed", detail=failure.message, now_us=now_us)
