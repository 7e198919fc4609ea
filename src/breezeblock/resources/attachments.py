"""Attachments as their API has them: reserve, connect, complete, delete; each a whole request in one transaction.

The older actions on volumes, which do the same in other pieces, are in `old_attachments.py`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, bindparam, select

from breezeblock.model import states
from breezeblock.model.errors import BadRequest, Conflict, Forbidden, InvalidState, NotFound
from breezeblock.model.ids import AttachmentId, VolumeId
from breezeblock.model.origin import Origin
from breezeblock.resources import connections
from breezeblock.resources.accepted import queue_of
from breezeblock.resources.attached import another_of, of_volume, refuse_under_instances, summarize
from breezeblock.resources.listing import Listing
from breezeblock.store.tables import attachments, volumes
from breezeblock.store.transitions import Must, Transition, insert_row, is_in, lock_row, lock_rows, new, read_row

__all__ = [
    "LISTING",
    "Change",
    "NewAttachment",
    "begin_create",
    "begin_delete",
    "begin_update",
    "complete",
    "get",
    "new_row",
]

MODES: Final = (connections.READ_WRITE, connections.READ_ONLY)
# What else may be done with an attached volume while a host is connected to it.
_BESIDE: Final = (states.EXTENDING, states.RETYPING, states.BACKING_UP)
TEXT_MAX: Final = 255
# In a connector: its host, not a server on it, wants one attachment of the volume, however often the request comes. A request
# whose answer was lost may arrive after its repeat; only whoever holds the volume's row can tell.
ONCE: Final = "once_per_host"


class NewAttachment(msgspec.Struct, frozen=True, kw_only=True):
    """An attachment to be made; with a connector it is connected at once."""

    id: AttachmentId
    volume_id: VolumeId
    instance_uuid: str | None = None
    mode: str | None = None
    connector: dict[str, Any] | None = None
    # Why this caller may not attach what one can boot from beside somebody else; None: he may.
    no_second_boot: str | None = None


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """What a request has done: the attachment, if it is there, and what the caller may have to wait for.

    `operation_id` is the operation that connects it; `going` are attachments that are on their way out; `rest` are the others.
    """

    queue: str | None
    row: Mapping[str, Any]
    operation_id: str | None = None
    going: tuple[str, ...] = ()
    rest: Sequence[Mapping[str, Any]] = ()


COMPLETE = Transition(
    attachments,
    name="attachment.complete",
    musts=(
        Must(
            is_in(attachments.c.status, (states.RESERVED, states.ATTACHING, states.ATTACHED)),
            "Attachment {id} has status {status}; it must be attaching to be completed.",
        ),
        Must(
            attachments.c.operation_id.is_(None), "Attachment {id} is still being connected; wait until that has ended."
        ),
    ),
    sets={"status": states.ATTACHED, "updated_at_us": new("now_us")},
    moves=tuple((status, states.ATTACHED) for status in (states.RESERVED, states.ATTACHING, states.ATTACHED)),
)

LISTING: Final = Listing(
    noun="Attachment",
    table=attachments,
    source=attachments,
    columns=tuple(column for column in attachments.c if column.key != "op_seq"),
    attributes={
        "id": attachments.c.id,
        "volume_id": attachments.c.volume_id,
        "instance_id": attachments.c.instance_uuid,
        "status": attachments.c.status,
        "project_id": attachments.c.project_id,
        "attached_host": attachments.c.attached_host,
        "attach_mode": attachments.c.attach_mode,
        "mountpoint": attachments.c.mountpoint,
        "bare": attachments.c.bare,
        "created_at": attachments.c.created_at_us,
        "updated_at": attachments.c.updated_at_us,
    },
)


def get(tx: Connection, *, attachment_id: str, origin: Origin) -> Mapping[str, Any]:
    """An attachment that this caller may see. Raises NotFound."""
    asked = {"id_": attachment_id, "project": origin.project_id}
    row = tx.execute(_ANYBODYS if origin.is_admin else _OWN, asked).mappings().one_or_none()
    if row is None or row["bare"]:
        raise NotFound(f"Attachment {attachment_id} could not be found.")
    return dict(row)


# In one statement, so that it takes as long for another project's as for none.
_ANYBODYS: Final = select(attachments).where(attachments.c.id == bindparam("id_"))
_OWN: Final = _ANYBODYS.join(volumes, volumes.c.id == attachments.c.volume_id).where(
    attachments.c.project_id == bindparam("project"), volumes.c.project_id == bindparam("project")
)


def _is_seen(origin: Origin, volume: Mapping[str, Any] | None, row: Mapping[str, Any]) -> bool:
    """By its project, while the volume is that one's: what a transfer leaves behind gives nobody the other's volume."""
    if origin.is_admin:
        return True
    return volume is not None and origin.project_id == row["project_id"] == volume["project_id"]


# --- create ---------------------------------------------------------------------------------------------------------


def begin_create(tx: Connection, *, origin: Origin, wanted: NewAttachment) -> Change:
    """Reserve a volume for somebody, and connect that one if it is known already.

    Raises NotFound, InvalidState, BadRequest, Forbidden.
    """
    lock_row(tx, volumes, wanted.volume_id, origin=origin)
    volume = read_row(tx, volumes, wanted.volume_id)
    assert volume is not None, "a locked row is there"
    _require_attachable(volume, of_volume(tx, wanted.volume_id), wanted)
    mode = connections.READ_ONLY if volume["readonly"] else wanted.mode
    row = new_row(origin, volume, id_=wanted.id, instance_uuid=wanted.instance_uuid, attach_mode=mode)
    insert_row(tx, attachments, row)
    if wanted.connector is None:
        summarize(tx, wanted.volume_id, now_us=origin.at_us)
        return Change(queue=None, row=row)
    return _connect(tx, origin, volume, row, wanted.connector)


def new_row(origin: Origin, volume: Mapping[str, Any], *, id_: str, **values: Any) -> dict[str, Any]:
    """The row of a new attachment, reserved if nothing else is said."""
    row: dict[str, Any] = {column.name: None for column in attachments.c}
    return row | {
        "id": id_,
        "op_seq": 1,
        "volume_id": volume["id"],
        "project_id": volume["project_id"],
        "status": states.RESERVED,
        "bare": False,
        "created_at_us": origin.at_us,
        **values,
    }


def _require_attachable(volume: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], asked: NewAttachment) -> None:
    """One at a time, unless it is multiattach, or the same server has it already: then that one moves to another host."""
    status, instance_uuid = volume["status"], asked.instance_uuid
    if asked.no_second_boot is not None and volume["multiattach"] and volume["bootable"] and status == states.IN_USE:
        raise Forbidden(asked.no_second_boot)
    if "error" in status:
        raise InvalidState(f"Volume {volume['id']} has status {status}; a volume with an error cannot be attached.")
    host = None if asked.connector is None else host_of(asked.connector)
    if asked.connector is not None and instance_uuid is None and asked.connector.get(ONCE) is True:
        _require_first(rows, volume_id=volume["id"], host=host)
    wanted = (states.AVAILABLE, states.IN_USE) if volume["multiattach"] else (states.AVAILABLE,)
    moves = status in (states.IN_USE, states.RESERVED) and any(
        instance_uuid is not None and row["instance_uuid"] == instance_uuid and not row["bare"] for row in rows
    )
    if status not in wanted and not moves:
        raise InvalidState(
            f"Volume {volume['id']} has status {status}; it must be {' or '.join(wanted)} to be reserved."
        )
    if volume["object_name"] is None:
        raise InvalidState(f"Volume {volume['id']} has no storage: its creation has not finished or has failed.")
    if not volume["multiattach"] and (other := another_of(rows, instance_uuid=instance_uuid, host=host)):
        raise InvalidState(_held_by(other))


def _require_first(rows: Sequence[Mapping[str, Any]], *, volume_id: str, host: str | None) -> None:
    for row in rows:
        if row["attached_host"] == host and row["instance_uuid"] is None and not row["bare"]:
            raise InvalidState(
                f"Host {host} has volume {volume_id} already, by attachment {row['id']} ({row['status']}), and its connector "
                f"wants one only ({ONCE}); go on with that one, or delete it first."
            )


def _held_by(other: Mapping[str, Any]) -> str:
    who = f"host {other['attached_host']}" if other["bare"] else f"attachment {other['id']}"
    return (
        f"Volume {other['volume_id']} is connected by {who} already, or may be, and is not multiattach; "
        "disconnect or delete that one first."
    )


# --- update ---------------------------------------------------------------------------------------------------------


def begin_update(tx: Connection, *, origin: Origin, attachment_id: AttachmentId, connector: dict[str, Any]) -> Change:
    """Connect an attachment to the host that the connector describes. Raises NotFound, InvalidState, Conflict, BadRequest."""
    volume, row = _lock(tx, origin, attachment_id)
    if "error" in volume["status"]:
        raise Conflict(
            f"Volume {volume['id']} has status {volume['status']}; a volume with an error cannot be attached."
        )
    beside = volume["status"] in _BESIDE and volume["attach_status"] != states.DETACHED
    if volume["status"] not in states.FOLLOWS_ATTACHMENTS and not beside:
        raise InvalidState(f"Volume {volume['id']} has status {volume['status']}; nobody can be connected to it now.")
    if not volume["multiattach"] and not connections.joins(row, connector):
        # No server here: not even the same one has it twice by a connection that it changes.
        rows = of_volume(tx, volume["id"])
        if other := another_of(rows, instance_uuid=None, host=host_of(connector), but=row["id"]):
            raise Conflict(_held_by(other))
    return _connect(tx, origin, volume, row, connector)


def _connect(
    tx: Connection, origin: Origin, volume: Mapping[str, Any], row: Mapping[str, Any], connector: Mapping[str, Any]
) -> Change:
    facts = {
        "attached_host": text_of(connector, "host"),
        "mountpoint": text_of(connector, "mountpoint") or row["mountpoint"],
        "attach_mode": row["attach_mode"] or mode_of(connector),
    }
    rung, changed = connections.begin_connection(
        tx, origin=origin, volume=volume, row=row, connector=connector, facts=facts
    )
    if rung is not None:
        summarize(tx, volume["id"], now_us=origin.at_us)
    return Change(queue=rung, row=changed, operation_id=changed["operation_id"])


def mode_of(connector: Mapping[str, Any]) -> str:
    """How the host may use the volume, by its connector. Raises BadRequest."""
    mode = connector.get("mode")
    if mode in (None, "null"):
        return connections.READ_WRITE
    if mode not in MODES:
        raise BadRequest(f"Invalid connector.mode = {str(mode)[:80]!r}: expected rw or ro.")
    return str(mode)


def host_of(connector: Mapping[str, Any]) -> str:
    """The connector's host; empty, and nobody's, if it does not say. Raises BadRequest."""
    return text_of(connector, "host") or ""


def text_of(connector: Mapping[str, Any], key: str) -> str | None:
    """A text of the connector. Raises BadRequest."""
    value = connector.get(key)
    if value is not None and (not isinstance(value, str) or len(value) > TEXT_MAX):
        raise BadRequest(f"Invalid connector.{key}: expected a text of at most {TEXT_MAX} characters.")
    return value


# --- complete and delete --------------------------------------------------------------------------------------------


def complete(tx: Connection, *, origin: Origin, attachment_id: AttachmentId) -> Change:
    """The host uses the volume now. Raises NotFound, InvalidState, Conflict.

    One that was only reserved is of somebody who reaches the volume without us. Whom else it may have is asked here then, as
    it was never asked by a connection; Cinder does not ask, and has two that are attached to what only one may have.
    """
    volume, row = _lock(tx, origin, attachment_id)
    if row["status"] == states.RESERVED and not volume["multiattach"]:
        rows = of_volume(tx, row["volume_id"])
        if other := another_of(rows, instance_uuid=row["instance_uuid"], host=None, but=attachment_id):
            raise Conflict(_held_by(other))
    at_us = origin.at_us if row["attached_at_us"] is None else row["attached_at_us"]
    changed = COMPLETE.apply_locked(tx, attachment_id, also={"attached_at_us": at_us}, now_us=origin.at_us)
    summarize(tx, row["volume_id"], now_us=origin.at_us)
    return Change(queue=None, row=changed)


def begin_delete(
    tx: Connection, *, origin: Origin, attachment_id: AttachmentId, spares_instances: bool = False
) -> Change:
    """Let an attachment go, disconnected first if anybody was connected by it.

    Raises NotFound, and Conflict if that was an instance and those are to be spared.
    """
    volume, row = _lock(tx, origin, attachment_id)
    if spares_instances:
        refuse_under_instances([row])
    rung = connections.begin_removal(tx, origin=origin, volume=volume, rows=[row])
    left = [one for one in of_volume(tx, row["volume_id"]) if not one["bare"]]
    going = tuple(one["id"] for one in left if one["id"] == attachment_id)
    rest = [one for one in left if one["id"] != attachment_id]
    again = queue_of(volume["pool_name"]) if going else None  # of one that is joined the first ring may have been lost
    return Change(queue=rung or again, row=row, going=going, rest=rest)


def _lock(tx: Connection, origin: Origin, attachment_id: str) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """The attachment and its volume, which stay as they are until we commit. Raises NotFound."""
    volume_id = get(tx, attachment_id=attachment_id, origin=origin)["volume_id"]
    lock_rows(tx, [(volumes, volume_id), (attachments, attachment_id)], asked_for=attachment_id, origin=origin)
    volume, row = read_row(tx, volumes, volume_id), read_row(tx, attachments, attachment_id)
    assert volume is not None and row is not None, "locked rows are there"
    if not _is_seen(origin, volume, row):
        raise NotFound(f"Attachment {attachment_id} could not be found.")
    return volume, row
