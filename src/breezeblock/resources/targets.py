"""Which resources are there on the storage target that a backend has moved to, and what becomes of the others.

A volume that is not there goes to `error`, keeps what it was in `previous_status`, and gets a message. When the backend
moves on to a target that has it (back to the configured one), it is what it was again.
"""

import functools
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, Integer, Select, Table, bindparam, select

from breezeblock.model import states
from breezeblock.model.errors import InvalidState
from breezeblock.protocol.queue import Claim
from breezeblock.resources.accepted import add_message
from breezeblock.resources.backends import NAMESPACE
from breezeblock.store.tables import pools, snapshots, volumes
from breezeblock.store.transitions import (
    Must,
    Transition,
    change_row,
    differs,
    equals,
    is_in,
    lock_rows,
    new,
    read_row,
)

TABLES: Final[dict[str, Table]] = {"volumes": volumes, "snapshots": snapshots}
# What can be used; whatever else a volume is, it is in the middle of something, or an operator has to look at it anyway.
USABLE: Final = {"volumes": (states.AVAILABLE, states.IN_USE, states.MAINTENANCE), "snapshots": (states.AVAILABLE,)}


class Published(NamedTuple):
    """A resource and the object that it is, as they were read."""

    table: str
    row_id: str
    object_name: str


def _left_behind(table: Table) -> Transition:
    noun, usable = table.name.removesuffix("s"), USABLE[table.name]
    return Transition(
        table,
        name=f"{noun}.left_behind",
        musts=(
            Must(is_in(table.c.status, usable), f"{noun.capitalize()} {{id}} has status {{status}}, and keeps it."),
        ),
        sets={
            "status": states.ERROR,
            "previous_status": table.c.status,
            "replication_status": states.NOT_CAPABLE,
            "updated_at_us": new("now_us"),
        },
        moves=tuple((status, states.ERROR) for status in usable),
    )


def _found_again(table: Table) -> Transition:
    noun, usable = table.name.removesuffix("s"), USABLE[table.name]
    what = f"{noun.capitalize()} {{id}}"
    return Transition(
        table,
        name=f"{noun}.found_again",
        musts=(
            Must(equals(table.c.status, states.ERROR), f"{what} has status {{status}}: somebody has set it since."),
            Must(equals(table.c.replication_status, states.NOT_CAPABLE), f"{what} was never away."),
            Must(is_in(table.c.previous_status, usable), f"{what} was {{previous_status}} before."),
        ),
        sets={"status": table.c.previous_status, "replication_status": None, "updated_at_us": new("now_us")},
        moves=tuple((states.ERROR, status) for status in usable),
    )


def published_after(tx: Connection, *, queue: str, table: str, after: str, most: int) -> list[Published]:
    """The next resources of a queue's pools that have an object, by id."""
    values = {"queue": queue, "after": after, "most": most}
    return [Published(table, row.id, row.object_name) for row in tx.execute(_published(TABLES[table]), values)]


def sort_out(
    tx: Connection, claim: Claim, *, there: Sequence[Published], missing: Sequence[Published], target: str, now_us: int
) -> None:
    """Let some resources be what they were, and others be in `error`. Doing it twice changes nothing more.

    Whatever has a new object since it was read is left as it is. So is the status of what cannot be used: it has its own
    operation, or its own operator. That its object is not there is noted all the same, for the sake of its deletion.
    """
    lock_rows(tx, [(TABLES[one.table], one.row_id) for one in (*there, *missing) if _same(tx, one) is not None])
    for one in missing:
        row = _same(tx, one)
        if row is None:
            continue
        if not _apply(tx, LEAVE[one.table], one, now_us):
            _note_absence(tx, one, row)
        else:
            add_message(
                tx,
                # Of the row's place, which is never handed out twice.
                message_id=str(uuid.uuid5(NAMESPACE, f"{one.row_id} {row['op_seq']}")),
                project_id=row["project_id"],
                request_id=claim.request_id,
                resource_type=one.table.removesuffix("s"),
                resource_id=one.row_id,
                event=claim.kind,
                text=f"Its storage has failed over to '{target}', where it does not exist. "
                "It becomes what it was as soon as its own storage is back.",
                now_us=now_us,
            )
    for one in there:
        row = _same(tx, one)
        if row is not None and row["replication_status"] is not None and not _apply(tx, RETURN[one.table], one, now_us):
            change_row(tx, TABLES[one.table], one.row_id, replication_status=None)


def _note_absence(tx: Connection, one: Published, row: Mapping[str, Any]) -> None:
    """Say of what keeps its status that it is not there. An `error` of before is none of ours to take back later."""
    if row["replication_status"] == states.NOT_CAPABLE:
        return
    forgotten = {"previous_status": None} if row["status"] == states.ERROR else {}
    change_row(tx, TABLES[one.table], one.row_id, replication_status=states.NOT_CAPABLE, **forgotten)


def is_left_behind(tx: Connection, *, table: Table, row_id: str) -> bool:
    """Whether a resource is not on the storage that its backend has failed over to."""
    row = read_row(tx, table, row_id)
    return row is not None and row["replication_status"] == states.NOT_CAPABLE


def _same(tx: Connection, one: Published) -> dict[str, Any] | None:
    """The row, if it still is what was looked for."""
    row = read_row(tx, TABLES[one.table], one.row_id)
    return row if row is not None and not row["tombstone"] and row["object_name"] == one.object_name else None


def _apply(tx: Connection, transition: Transition, one: Published, now_us: int) -> bool:
    """Make the change where its conditions hold. Returns whether they did."""
    try:
        transition.apply_locked(tx, one.row_id, now_us=now_us)
    except InvalidState:
        return False
    return True


LEAVE: Final = {name: _left_behind(table) for name, table in TABLES.items()}
RETURN: Final = {name: _found_again(table) for name, table in TABLES.items()}


@functools.cache
def _published(table: Table) -> Select[Any]:
    return (
        select(table.c.id, table.c.object_name)
        .where(
            table.c.pool_name.in_(select(pools.c.name).where(pools.c.queue == bindparam("queue"))),
            table.c.id > bindparam("after"),
            differs(table.c.object_name, None),
            table.c.tombstone.is_(False),
        )
        .order_by(table.c.id)
        .limit(bindparam("most", type_=Integer()))
    )
