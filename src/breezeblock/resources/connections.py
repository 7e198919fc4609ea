"""Connecting attachments to hosts and disconnecting them: what the operations carry, how they begin and how they end.

Both have a shared place in the volume's line, so that nothing replaces or removes its object meanwhile while several hosts are
connected at once, and an exclusive one in the line of each attachment: a disconnection waits for the connection before it.
Nothing ever stands in an attachment's line behind a disconnection: who asks for another one joins the first. So the row may go
with it.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, bindparam, delete, select

from breezeblock.model import states
from breezeblock.model.errors import Conflict, NotFound, StorageFailed
from breezeblock.model.origin import Origin
from breezeblock.protocol import queue
from breezeblock.protocol.queue import Claim
from breezeblock.protocol.steps import Failure
from breezeblock.resources import kinds
from breezeblock.resources.accepted import clear_tombstones, message_for_failure, queue_of
from breezeblock.resources.attached import summarize
from breezeblock.store.outbox import outbox_of
from breezeblock.store.tables import attachments, volumes
from breezeblock.store.transitions import Must, Transition, change_row, is_in, lock_rows, new, read_row

__all__ = [
    "DROPPED",
    "ConnectAttachment",
    "DisconnectAttachments",
    "begin_connection",
    "begin_removal",
    "connected",
    "fail_connect",
    "fail_disconnect",
    "finish_connect",
    "finish_disconnect",
    "held_by",
    "joins",
    "park",
    "removed",
]

CONNECT_KIND: Final = "connect_attachment"
DISCONNECT_KIND: Final = "disconnect_attachments"
READ_WRITE, READ_ONLY = "rw", "ro"
# In the state of a connection that has failed: no access is left, of it or of an earlier one of the attachment.
DROPPED: Final = "dropped"


class ConnectAttachment(msgspec.Struct, frozen=True, kw_only=True):
    """Payload of `connect_attachment`. `connector` is what the host says of itself, as the client has sent it."""

    attachment_id: str
    volume_id: str
    connector: dict[str, Any]
    mode: str


class DisconnectAttachments(msgspec.Struct, frozen=True, kw_only=True):
    """Payload of `disconnect_attachments`: one, or all that go together, of one volume."""

    volume_id: str
    attachment_ids: list[str]


_CONNECTABLE: Final = (states.RESERVED, states.ATTACHING, states.ATTACHED, states.ERROR_ATTACHING)
_ANY: Final = (*_CONNECTABLE, states.DETACHING, states.ERROR_DETACHING)

CONNECT = Transition(
    attachments,
    name="attachment.connect",
    musts=(
        Must(
            is_in(attachments.c.status, _CONNECTABLE),
            "Attachment {id} has status {status}; it must not be on its way out to be connected.",
        ),
    ),
    sets={"status": states.ATTACHING, "operation_id": new("operation_id"), "updated_at_us": new("now_us")},
    moves=tuple((status, states.ATTACHING) for status in _CONNECTABLE),
)
CONNECT_FAILED = Transition(
    attachments,
    name="attachment.connect_failed",
    musts=(),
    sets={"status": states.ERROR_ATTACHING},
    moves=((states.ATTACHING, states.ERROR_ATTACHING),),
)
# Not even taken back what was made: it is to be deleted, which tries that again.
CONNECT_LEFT = Transition(
    attachments,
    name="attachment.connect_left",
    musts=(),
    sets={"status": states.ERROR_DETACHING},
    moves=((states.ATTACHING, states.ERROR_DETACHING),),
)
DISCONNECT = Transition(
    attachments,
    name="attachment.disconnect",
    musts=(),
    sets={"status": states.DETACHING, "operation_id": new("operation_id"), "updated_at_us": new("now_us")},
    moves=tuple((status, states.DETACHING) for status in _ANY if status != states.DETACHING),
)
DISCONNECT_FAILED = Transition(
    attachments,
    name="attachment.disconnect_failed",
    musts=(),
    sets={"status": states.ERROR_DETACHING},
    moves=((states.DETACHING, states.ERROR_DETACHING),),
)

# --- connect --------------------------------------------------------------------------------------------------------


def begin_connection(
    tx: Connection,
    *,
    origin: Origin,
    volume: Mapping[str, Any],
    row: Mapping[str, Any],
    connector: Mapping[str, Any],
    facts: Mapping[str, Any],
) -> tuple[str | None, Mapping[str, Any]]:
    """Connect an attachment; both rows are the caller's. Returns the queue to ring, and the attachment with its operation.

    The same connector again joins the operation that is under way, or finds its result. `facts` are columns that the connector
    decides. Raises InvalidState, Conflict (it is being connected to somebody else).
    """
    said = connector_text(connector)
    if joins(row, connector):
        # Rung again: the first ring may have been lost.
        return (queue_of(volume["pool_name"]) if row["operation_id"] is not None else None), row
    if row["operation_id"] is not None and row["status"] == states.ATTACHING:
        raise Conflict(f"Attachment {row['id']} is being connected with another connector; wait until that has ended.")
    changed = CONNECT.apply_locked(
        tx,
        row["id"],
        also={**facts, "connector_json": said, "connection_json": None, "fail_reason": None},
        operation_id=origin.operation_id,
        now_us=origin.at_us,
    )
    payload = ConnectAttachment(
        attachment_id=row["id"],
        volume_id=volume["id"],
        connector=dict(connector),
        mode=changed["attach_mode"] or READ_WRITE,
    )
    job = kinds.job(CONNECT_KIND, queue_of(volume["pool_name"]), "volume", volume["id"], payload)
    queue.enqueue(tx, job, origin=origin, locks=(queue.shared(volume), queue.exclusive(changed)))
    return job.queue, changed


def joins(row: Mapping[str, Any], connector: Mapping[str, Any]) -> bool:
    """Whether an attachment is connected by this connector, or is being: then there is nothing to be done."""
    if row["status"] not in (states.ATTACHING, states.ATTACHED) or row["connector_json"] != connector_text(connector):
        return False
    return row["operation_id"] is not None or row["connection_json"] is not None


def connector_text(connector: Mapping[str, Any]) -> str:
    """The same text for the same connector, in whatever order it was written."""
    return msgspec.json.encode(connector, order="deterministic").decode()


def finish_connect(
    tx: Connection, claim: Claim, payload: ConnectAttachment, state: dict[str, Any], *, now_us: int
) -> None:
    """The host may connect. It says by itself when it has (`attachments.complete`)."""
    row = _lock_what_is_there(tx, payload.volume_id, [payload.attachment_id]).get(payload.attachment_id)
    queue.close(tx, claim, outcome="done", detail=None, now_us=now_us)
    if row is None:
        clear_tombstones(tx, claim)
        return
    values = {"connection_json": msgspec.json.encode(state["connection"]).decode(), "attached_at_us": now_us}
    change_row(tx, attachments, payload.attachment_id, **values, **_let_go(row, claim), updated_at_us=now_us)
    summarize(tx, payload.volume_id, now_us=now_us)


def fail_connect(
    tx: Connection, claim: Claim, payload: ConnectAttachment, state: dict[str, Any], *, failure: Failure, now_us: int
) -> None:
    """Nobody is connected, unless the storage would not take back what it had given: then that is still to be done.

    Who has asked for the attachment's end meanwhile gets that.
    """
    row = _lock_what_is_there(tx, payload.volume_id, [payload.attachment_id]).get(payload.attachment_id)
    queue.close(tx, claim, outcome=failure.outcome, detail=failure.message, now_us=now_us)
    if row is None:
        clear_tombstones(tx, claim)
        return
    values = {"connection_json": None, "fail_reason": failure.message, "updated_at_us": now_us}
    change_row(tx, attachments, payload.attachment_id, **values, **_let_go(row, claim))
    if row["status"] == states.ATTACHING:
        failed = CONNECT_FAILED if state.get(DROPPED) else CONNECT_LEFT
        failed.apply_locked(tx, payload.attachment_id)
        message_for_failure(tx, claim, event="attach_volume", text=failure.message, now_us=now_us)
    summarize(tx, payload.volume_id, now_us=now_us)


def connected(tx: Connection, *, attachment_id: str, operation_id: str | None) -> Mapping[str, Any] | None:
    """The attachment when that operation has connected it; None while it has not.

    Raises NotFound (deleted meanwhile), StorageFailed, Conflict (somebody else has changed it again).
    """
    row = read_row(tx, attachments, attachment_id)
    if row is None or row["status"] == states.DETACHING:
        raise NotFound(f"Attachment {attachment_id} was deleted before it was connected.")
    if operation_id is not None and row["operation_id"] == operation_id:
        return None
    if row["status"] in (states.ERROR_ATTACHING, states.ERROR_DETACHING):
        raise StorageFailed(row["fail_reason"] or f"Attachment {attachment_id} could not be connected.")
    if row["connection_json"] is None:
        raise Conflict(f"Attachment {attachment_id} is being connected anew; ask again to wait for that.")
    return row


# --- disconnect -----------------------------------------------------------------------------------------------------


def begin_removal(
    tx: Connection, *, origin: Origin, volume: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]
) -> str | None:
    """Let attachments of a volume go, whose rows and own rows the caller has locked. Returns the queue to ring, if any.

    Those that nobody was ever connected to go at once, the others with an operation. What connects one now is cancelled.
    """
    joined = [row for row in rows if row["status"] == states.DETACHING and row["operation_id"] is not None]
    going = [row for row in rows if row not in joined]
    connected_ones = [row for row in going if row["connector_json"] is not None]
    for row in going:
        if row not in connected_ones:
            if row["status"] == states.ATTACHED:  # by the word of somebody who connects without us
                row = DISCONNECT.apply_locked(tx, row["id"], operation_id=None, now_us=origin.at_us)
            _remove(tx, [row])
    places = []
    for row in connected_ones:
        queue.cancel_earlier(tx, resource_id=row["id"])
        changed = DISCONNECT.apply_locked(tx, row["id"], operation_id=origin.operation_id, now_us=origin.at_us)
        places.append(queue.exclusive(changed))
    if places:
        ids = [place.resource_id for place in places]
        payload = DisconnectAttachments(volume_id=volume["id"], attachment_ids=ids)
        job = kinds.job(DISCONNECT_KIND, queue_of(volume["pool_name"]), "volume", volume["id"], payload)
        queue.enqueue(tx, job, origin=origin, locks=(queue.shared(volume), *places))
    summarize(tx, volume["id"], now_us=origin.at_us)
    return queue_of(volume["pool_name"]) if places else None


def finish_disconnect(
    tx: Connection, claim: Claim, payload: DisconnectAttachments, state: dict[str, Any], *, now_us: int
) -> None:
    """No host reaches the volume by these attachments any more: their rows go."""
    there = _lock_what_is_there(tx, payload.volume_id, payload.attachment_ids)
    queue.close(tx, claim, outcome="done", detail=None, now_us=now_us)
    if there:
        _remove(tx, there.values())
        summarize(tx, payload.volume_id, now_us=now_us)
    clear_tombstones(tx, claim)


def fail_disconnect(
    tx: Connection,
    claim: Claim,
    payload: DisconnectAttachments,
    state: dict[str, Any],
    *,
    failure: Failure,
    now_us: int,
) -> None:
    """The storage would not let go: the attachments stay, and can be deleted again."""
    there = _lock_what_is_there(tx, payload.volume_id, payload.attachment_ids)
    queue.close(tx, claim, outcome=failure.outcome, detail=failure.message, now_us=now_us)
    values = {"operation_id": None, "fail_reason": failure.message, "updated_at_us": now_us}
    for attachment_id in there:
        DISCONNECT_FAILED.apply_locked(tx, attachment_id, also=values)
    if there:
        summarize(tx, payload.volume_id, now_us=now_us)
        message_for_failure(tx, claim, event="detach_volume", text=failure.message, now_us=now_us)
    clear_tombstones(tx, claim)


def removed(tx: Connection, *, ids: Sequence[str]) -> bool | None:
    """True when none of these attachments is there any more; None while one may still go. Raises StorageFailed."""
    rows = tx.execute(_THESE, {"ids": list(ids)}).mappings().all()
    for row in rows:
        if row["status"] == states.ERROR_DETACHING and row["operation_id"] is None:
            raise StorageFailed(row["fail_reason"] or f"Attachment {row['id']} could not be disconnected.")
    return None if rows else True


# --- what nobody can run ---------------------------------------------------------------------------------------------


def held_by(tx: Connection, claim: Claim) -> list[str]:
    """The attachments that an operation connects or disconnects, as far as they are there."""
    if claim.kind not in (CONNECT_KIND, DISCONNECT_KIND):
        return []
    ids = [at.resource_id for at in claim.locks if at.exclusive]
    return [row.id for row in tx.execute(_THESE, {"ids": ids})]


def park(tx: Connection, claim: Claim, *, ids: Sequence[str], text: str, now_us: int) -> None:
    """Nobody knows what an earlier owner has given or taken back: they are to be deleted, which takes back what there is.

    Their rows are the caller's, and the volume's. One that a later disconnection has taken over stays that one's.
    """
    failed = CONNECT_LEFT if claim.kind == CONNECT_KIND else DISCONNECT_FAILED
    values: dict[str, Any] = {"operation_id": None, "fail_reason": text, "updated_at_us": now_us}
    if claim.kind == CONNECT_KIND:
        values["connection_json"] = None
    for row in tx.execute(_THESE, {"ids": list(ids)}).mappings().all():
        if row["operation_id"] == claim.operation_id:
            failed.apply_locked(tx, row["id"], also=values)
    if ids:
        summarize(tx, claim.resource_id, now_us=now_us)


# --- both -----------------------------------------------------------------------------------------------------------


def _lock_what_is_there(tx: Connection, volume_id: str, ids: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """Lock the volume and those of these attachments that there are; returns these.

    All of them, unless a deletion of the volume stood before us, whose status an operator had reset: it took them along. None
    goes between the look and the locks, as what takes them along has places in the same line as we.
    """
    there = [row["id"] for row in tx.execute(_THESE, {"ids": list(ids)}).mappings()]
    lock_rows(tx, [(volumes, volume_id), *((attachments, id_) for id_ in there)])
    return {row["id"]: dict(row) for row in tx.execute(_THESE, {"ids": there}).mappings()}


def _remove(tx: Connection, rows: Collection[Mapping[str, Any]]) -> None:
    tx.execute(_REMOVE, {"ids": [row["id"] for row in rows]})
    if (box := outbox_of(tx)) is not None:
        for row in rows:
            box.gone(attachments, row)


def _let_go(row: Mapping[str, Any], claim: Claim) -> dict[str, Any]:
    """A disconnection that has come meanwhile, and waits behind us, stays the one that is under way."""
    return {"operation_id": None} if row["operation_id"] == claim.operation_id else {}


_REMOVE: Final = delete(attachments).where(attachments.c.id.in_(bindparam("ids", expanding=True)))
_THESE: Final = select(attachments).where(attachments.c.id.in_(bindparam("ids", expanding=True)))
