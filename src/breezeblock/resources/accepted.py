"""What an accepted request hands back to its handler, and the small things all resources share."""

import functools
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, Delete, Select, Table, and_, bindparam, delete, exists, insert, select, update

from breezeblock.model import states
from breezeblock.model.errors import InvalidState
from breezeblock.model.origin import Origin
from breezeblock.protocol import queue
from breezeblock.resources import message_ids
from breezeblock.store.outbox import outbox_of
from breezeblock.store.tables import (
    backups,
    group_snapshots,
    messages,
    operation_locks,
    snapshots,
    volume_groups,
    volumes,
)
from breezeblock.store.transitions import NOUNS, Must, Transition, change_row, has_no, read_row

MESSAGE_KEPT_US = 30 * 24 * 3600 * 1_000_000
# The column that names what a resource is: its object on storage, or a backup's manifest.
CONTENT: Final = {"volumes": "object_name", "snapshots": "object_name", "backups": "manifest"}


class Accepted(msgspec.Struct, frozen=True):
    """`row` is the resource as it is after the change; `queue` is to be rung after the commit, None when nothing waits."""

    queue: str | None
    row: Mapping[str, Any]


def queue_of(pool_name: str) -> str:
    """`cluster@backend` of `cluster@backend#pool`: where the operations of a volume in this pool wait."""
    return pool_name.partition("#")[0]


def add_message(
    tx: Connection,
    *,
    message_id: str,
    project_id: str,
    request_id: str | None,
    resource_type: str,
    resource_id: str,
    event: str,
    text: str,
    now_us: int,
    refused: bool = False,
) -> None:
    """Leave a message for the user, who learns of a failure that came after the 202 in no other way."""
    tx.execute(
        insert(messages).values(
            id=message_id,
            project_id=project_id,
            request_id=request_id,
            resource_type=message_ids.resource_type(resource_type),
            resource_id=resource_id,
            event_id=message_ids.event_id(event, noun=resource_type, refused=refused),
            message_level="ERROR",
            user_message=text,
            created_at_us=now_us,
            guaranteed_until_us=now_us + MESSAGE_KEPT_US,
        )
    )


def message_for_request(
    tx: Connection, *, origin: Origin, resource_type: str, resource_id: str, event: str, text: str
) -> None:
    """The same within the request itself: it was accepted, and already cannot be done."""
    add_message(
        tx,
        message_id=origin.message_id,
        project_id=origin.project_id,
        request_id=origin.request_id,
        resource_type=resource_type,
        resource_id=resource_id,
        event=event,
        text=text,
        now_us=origin.at_us,
        refused=True,
    )


def message_for_failure(tx: Connection, claim: queue.Claim, *, event: str, text: str, now_us: int) -> None:
    """The message of a failed operation. It has the operation's id: a Finish that runs twice leaves one."""
    add_message(
        tx,
        message_id=claim.operation_id,
        project_id=claim.project_id,
        request_id=claim.request_id,
        resource_type=claim.resource_type,
        resource_id=claim.resource_id,
        event=event,
        text=text,
        now_us=now_us,
    )


def settle(tx: Connection, transition: Transition, row_id: str, *, also: Mapping[str, Any] = {}) -> bool:
    """Make an operation's closing status change, if the status is still the operation's to change.

    It is not when a later request has set another one (a reset, a forced delete), or stands in line to set it: what came
    later wins, and the operation ends without touching the status. Returns whether it was changed.

    The columns of `also` are changed in any case.
    """
    row = read_row(tx, transition.table, row_id)
    before = {status for status, _ in transition.moves}
    if (
        row is None
        or row["tombstone"]
        or not (None in before or row["status"] in before)
        or queue.someone_waits(tx, resource_id=row_id, exclusively=True)
    ):
        if also:
            change_row(tx, transition.table, row_id, **also)
        return False
    transition.apply_locked(tx, row_id, known=row, also=also)
    return True


def tell_the_truth(tx: Connection, claim: queue.Claim) -> None:
    """Let no resource rest in a status that promises an object when there is none. The last word but one of each Fail.

    An operator may have reset the status of what was still being made, and the deletion that stood in line behind it been
    cancelled by the same word: then no other Finish is left to say that there is nothing.
    """
    for at in claim.locks:
        for table in tables_of(claim):
            row = read_row(tx, table, at.resource_id) if at.exclusive else None
            if (
                row is not None
                and table.name in CONTENT
                and row["status"] in states.WITH_STORAGE
                and row[CONTENT[table.name]] is None
            ):
                settle(tx, _nothing_there(table), at.resource_id)


def tables_of(claim: queue.Claim) -> tuple[Table, ...]:
    """Where the rows are that an operation's locks may name. Only what is about backups or groups looks for those."""
    if "group" in claim.kind:
        return volumes, snapshots, volume_groups, group_snapshots
    return (volumes, snapshots, backups) if "backup" in claim.kind else (volumes, snapshots)


def refuse_a_lie(tx: Connection, table: Table, row: Mapping[str, Any], status: str) -> None:
    """Refuse an operator's word that promises an object which is not there, and which nobody is making. Raises InvalidState.

    While somebody is, the word stands until that has ended: then `tell_the_truth` has the last one.
    """
    promised = status in states.WITH_STORAGE and row[CONTENT[table.name]] is None
    if promised and not queue.someone_waits(tx, resource_id=row["id"], exclusively=True):
        raise InvalidState(
            f"{NOUNS[table.name]} {row['id']} has no storage: its creation has failed, so it cannot be reset to {status}."
        )


@functools.cache
def _nothing_there(table: Table) -> Transition:
    sets = {"status": states.ERROR}
    moves = tuple((status, states.ERROR) for status in states.WITH_STORAGE)
    return Transition(table, name=f"{table.name}.nothing_there", musts=(), sets=sets, moves=moves)


def at_rest(table: Table) -> Must:
    """Nothing is changing the resource, nor stands in line to.

    A status alone does not say so: an operator may have reset it while the operation that it stood for still runs. A second
    extend would then be charged from the size before the first one, and a snapshot be taken of what is being deleted.
    """
    changing = select(operation_locks.c.seq).where(
        operation_locks.c.resource_id == table.c.id, operation_locks.c.exclusive
    )
    return Must(
        has_no(changing, of=table),
        f"{NOUNS[table.name]} {{id}} is still being worked on, although its status was reset; wait until that has ended.",
    )


def vanish(tx: Connection, table: Table, row_id: str) -> None:
    """Remove a deleted resource's row, or leave it as a tombstone while operations still stand in its line."""
    if queue.someone_waits(tx, resource_id=row_id):
        _bury(table).apply_locked(tx, row_id)
        return
    if (box := outbox_of(tx)) is not None:
        row = read_row(tx, table, row_id)
        if row is not None and row["tombstone"]:  # that it is deleted was told when it became one
            box.last(table, row)
        elif row is not None:
            box.gone(table, row)
    tx.execute(_remove(table), {"row_id": row_id})


@functools.cache
def _bury(table: Table) -> Transition:
    # From any status: an operator may have reset it while the deletion was already under way.
    sets = {"status": "deleted", "tombstone": True} | ({CONTENT[table.name]: None} if table.name in CONTENT else {})
    return Transition(table, name=f"{table.name}.bury", musts=(), sets=sets, moves=((None, "deleted"),))


def clear_tombstones(tx: Connection, claim: queue.Claim) -> None:
    """Remove the deleted rows that this operation was the last one to name. The last word of each Finish.

    Written before it is asked who else names them: of two that end together, the second sees that the first is gone. No
    row becomes a tombstone meanwhile, since a deletion that stands in line behind us has not run, and one before us has.
    """
    ids = [at.resource_id for at in claim.locks]
    for table in tables_of(claim):
        touch, doomed, remove = _clearing(table)
        if tx.execute(touch, {"ids": ids}).rowcount:
            if (box := outbox_of(tx)) is not None:
                for row in tx.execute(doomed, {"ids": ids}).mappings():
                    box.last(table, dict(row))
            tx.execute(remove, {"ids": ids})


@functools.cache
def _clearing(table: Table) -> tuple[Any, Any, Any]:
    ours = and_(table.c.id.in_(bindparam("ids", expanding=True)), table.c.tombstone.is_(True))
    named = exists().where(operation_locks.c.resource_id == table.c.id)
    touch = update(table).where(ours).values(op_seq=table.c.op_seq + 1)
    return touch, select(table).where(ours, ~named), delete(table).where(ours, ~named)


def published_object(tx: Connection, *, table: Table, row_id: str) -> str | None:
    """The object on storage that a resource is, or a backup's manifest, as its row says now; None when there is none."""
    name: str | None = tx.execute(_object(table), {"row_id": row_id}).scalar()
    return name


@functools.cache
def _object(table: Table) -> Select[Any]:
    return select(table.c[CONTENT[table.name]]).where(table.c.id == bindparam("row_id"))


@functools.cache
def _remove(table: Table) -> Delete:
    return delete(table).where(table.c.id == bindparam("row_id"))
