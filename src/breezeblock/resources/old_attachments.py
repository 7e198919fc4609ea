"""The older way to attach a volume, in pieces that clients put together: actions on the volume.

Reserving and detaching are words in the volume's row alone, as these clients know them. A connection that is asked for without
an attachment is a bare one: a row that only disconnecting, and the end of the volume's last attachment, know of.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Connection

from breezeblock.model import states
from breezeblock.model.errors import BadRequest, Contended, InvalidState, NotFound
from breezeblock.model.ids import AttachmentId, VolumeId
from breezeblock.model.origin import Origin
from breezeblock.resources import connections
from breezeblock.resources.attached import (
    another_of,
    ids_of,
    is_same_name,
    may_be_connected,
    may_be_host,
    of_volume,
    refuse_under_instances,
    spelled,
    summarize,
)
from breezeblock.resources.attachments import COMPLETE, Change, mode_of, new_row, text_of
from breezeblock.store.tables import attachments, volumes
from breezeblock.store.transitions import (
    Must,
    Transition,
    change_row,
    equals,
    insert_row,
    is_in,
    lock_row,
    lock_rows,
    new,
    read_row,
    read_seen,
)

__all__ = [
    "attach",
    "begin_connection",
    "begin_detach",
    "begin_detaching",
    "begin_disconnection",
    "begin_force_detach",
    "reserve",
    "roll_detaching",
    "unreserve",
]

_MULTIATTACH: Final = equals(volumes.c.multiattach, True)
_NOW: Final = {"updated_at_us": new("now_us")}

RESERVE = Transition(
    volumes,
    name="volume.reserve",
    musts=(
        Must(
            equals(volumes.c.status, states.AVAILABLE),
            "Volume {id} has status {status}; it must be available to be reserved.",
        ),
    ),
    sets={"status": states.ATTACHING, **_NOW},
    moves=((states.AVAILABLE, states.ATTACHING),),
)
RESERVE_AGAIN = Transition(
    volumes,
    name="volume.reserve_again",
    musts=(
        Must(
            is_in(volumes.c.status, (states.AVAILABLE, states.IN_USE)),
            "Volume {id} has status {status}; it must be available or in-use to be reserved.",
        ),
    ),
    sets={"status": states.ATTACHING, **_NOW},
    moves=((states.AVAILABLE, states.ATTACHING), (states.IN_USE, states.ATTACHING)),
)
BEGIN_DETACHING = Transition(
    volumes,
    name="volume.begin_detaching",
    musts=(
        Must(
            equals(volumes.c.status, states.IN_USE),
            "Volume {id} has status {status}; it must be in-use to be detached.",
        ),
        Must(
            equals(volumes.c.attach_status, states.ATTACHED),
            "Volume {id} has the attach status {attach_status}; it must be attached to be detached.",
        ),
    ),
    sets={"status": states.DETACHING, **_NOW},
    moves=((states.IN_USE, states.DETACHING),),
)
ROLL_DETACHING = Transition(
    volumes,
    name="volume.roll_detaching",
    musts=(),
    sets={"status": states.IN_USE, **_NOW},
    moves=((states.DETACHING, states.IN_USE),),
)

# --- words of the volume --------------------------------------------------------------------------------------------


def reserve(tx: Connection, *, origin: Origin, volume_id: VolumeId) -> Change:
    """Keep others from attaching it. Raises NotFound, InvalidState."""
    volume = _lock(tx, origin, volume_id)
    transition = RESERVE_AGAIN if volume["multiattach"] else RESERVE
    return Change(queue=None, row=transition.apply_locked(tx, volume_id, now_us=origin.at_us))


def unreserve(tx: Connection, *, origin: Origin, volume_id: VolumeId) -> Change:
    """The opposite, on what is reserved; nothing else is changed. Raises NotFound."""
    volume = _lock(tx, origin, volume_id)
    if volume["status"] == states.ATTACHING:
        volume = summarize(tx, volume_id, now_us=origin.at_us, ends_word=True)
    return Change(queue=None, row=volume)


def begin_detaching(tx: Connection, *, origin: Origin, volume_id: VolumeId) -> Change:
    """Say that somebody is about to detach it. Raises NotFound, InvalidState."""
    _lock(tx, origin, volume_id)
    return Change(queue=None, row=BEGIN_DETACHING.apply_locked(tx, volume_id, now_us=origin.at_us))


def roll_detaching(tx: Connection, *, origin: Origin, volume_id: VolumeId) -> Change:
    """Say that it was not detached after all; nothing, if nobody was about to. Raises NotFound."""
    volume = _lock(tx, origin, volume_id)
    if volume["status"] == states.DETACHING and volume["attach_status"] == states.ATTACHED:
        volume = ROLL_DETACHING.apply_locked(tx, volume_id, now_us=origin.at_us)
    return Change(queue=None, row=volume)


# --- attachments ----------------------------------------------------------------------------------------------------


def attach(
    tx: Connection,
    *,
    origin: Origin,
    volume_id: VolumeId,
    attachment_id: AttachmentId,
    instance_uuid: str | None,
    host_name: str | None,
    mountpoint: str,
    mode: str,
) -> Change:
    """Note that a server or a host has attached the volume. Once more of the same one changes nothing.

    Raises NotFound, InvalidState, BadRequest (it may only be read).
    """
    volume = _lock(tx, origin, volume_id)
    rows = of_volume(tx, volume_id)
    for row in rows:
        # `node-1` and `node-1.example.org` are two hosts here: taken for one, the second would be told that it has the volume.
        same = row["instance_uuid"] == instance_uuid if instance_uuid else is_same_name(row["attached_host"], host_name)
        if same and not row["bare"] and row["status"] == states.ATTACHED:
            return Change(queue=None, row=summarize(tx, volume_id, now_us=origin.at_us, ends_word=True))
    _require_attachable(volume)
    if not volume["multiattach"]:
        _require_unattached(volume, rows, instance_uuid, host_name)
    if volume["readonly"] and mode != connections.READ_ONLY:
        raise BadRequest(f"Invalid os-attach.mode = {mode!r}: volume {volume_id} may only be read; expected ro.")
    row = new_row(
        origin,
        volume,
        id_=attachment_id,
        status=states.ATTACHING,
        instance_uuid=instance_uuid,
        attached_host=None if host_name is None else spelled(host_name),
        mountpoint=mountpoint,
        attach_mode=mode,
        attached_at_us=origin.at_us,
        updated_at_us=origin.at_us,
    )
    insert_row(tx, attachments, row)
    COMPLETE.apply_locked(tx, attachment_id, now_us=origin.at_us)
    if volume["readonly"] is None:
        change_row(tx, volumes, volume_id, readonly=False)
    return Change(queue=None, row=summarize(tx, volume_id, now_us=origin.at_us, ends_word=True))


def _require_attachable(volume: Mapping[str, Any]) -> None:
    wanted = (states.AVAILABLE, states.ATTACHING) + ((states.IN_USE,) if volume["multiattach"] else ())
    if volume["status"] not in wanted:
        raise InvalidState(
            f"Volume {volume['id']} has status {volume['status']}; it must be {' or '.join(wanted)} to be attached."
        )
    if volume["object_name"] is None:
        raise InvalidState(f"Volume {volume['id']} has no storage: its creation has not finished or has failed.")


def _require_unattached(
    volume: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], instance_uuid: str | None, host_name: str | None
) -> None:
    """Nobody else has it, and `attaching` is the word of the one who asks: not of an attachment that is being connected."""
    host = None if instance_uuid else _as_connected(rows, host_name)
    other = another_of(rows, instance_uuid=instance_uuid, host=host)
    if volume["status"] == states.ATTACHING:
        other = other or next((row for row in rows if row["status"] == states.ATTACHING and not row["bare"]), None)
    if other is not None:
        raise InvalidState(
            f"Volume {volume['id']} is connected already, or may be, by attachment {other['id']}, and is not multiattach; "
            "detach that one first."
        )


def _as_connected(rows: Sequence[Mapping[str, Any]], host_name: str | None) -> str | None:
    """The host as its connector has called it: the name that comes with `os-attach` is often spelled in another way.

    Or is without the domain. Here that counts as the same: Cinder does not ask at all who is connected, and to refuse whoever
    is connected because its two names are not one would keep it from what it has.
    """
    names = (row["attached_host"] for row in rows if row["bare"])
    return next((name for name in names if may_be_host(name, host_name)), host_name)


def begin_detach(
    tx: Connection,
    *,
    origin: Origin,
    volume_id: VolumeId,
    attachment_id: str | None,
    spares_instances: bool = False,
) -> Change:
    """Let one attachment go; without an id the only one. With the last one all connections go.

    Raises NotFound, InvalidState, and Conflict if an instance is connected by it and those are to be spared.
    """
    volume, rows = _lock_all(tx, origin, volume_id)
    if spares_instances:
        refuse_under_instances(row for row in rows if attachment_id in (None, row["id"]))
    if volume["status"] == states.MAINTENANCE:
        raise InvalidState(f"Volume {volume_id} is in maintenance and cannot be detached.")
    return _detach(tx, origin, volume, rows, _chosen(rows, volume_id, attachment_id))


def _chosen(rows: Sequence[Mapping[str, Any]], volume_id: str, attachment_id: str | None) -> list[Mapping[str, Any]]:
    """The attachment that is meant, if it is there."""
    shown = [row for row in rows if not row["bare"]]
    if attachment_id is not None:
        return [row for row in shown if row["id"] == attachment_id]
    if len(shown) > 1:
        raise InvalidState(f"Volume {volume_id} has {len(shown)} attachments; say by attachment_id which one is to go.")
    return shown


def _detach(
    tx: Connection,
    origin: Origin,
    volume: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    going: Sequence[Mapping[str, Any]],
) -> Change:
    stay = [row for row in rows if not row["bare"] and row not in going]
    doomed = [*going, *(row for row in rows if row["bare"] and not stay and row not in going)]
    rung = connections.begin_removal(tx, origin=origin, volume=volume, rows=doomed)
    summarize(tx, volume["id"], now_us=origin.at_us, ends_word=True)
    left = set(ids_of(tx, volume["id"]))
    return Change(queue=rung, row=_named(volume), going=tuple(row["id"] for row in doomed if row["id"] in left))


# --- connections ----------------------------------------------------------------------------------------------------


def begin_connection(
    tx: Connection,
    *,
    origin: Origin,
    volume_id: VolumeId,
    attachment_id: AttachmentId,
    connector: Mapping[str, Any],
) -> Change:
    """Connect a host, with no attachment. The same host again gets the same connection. Raises NotFound, InvalidState."""
    volume, rows = _lock_all(tx, origin, volume_id)
    if volume["status"] not in states.FOLLOWS_ATTACHMENTS:
        raise InvalidState(f"Volume {volume_id} has status {volume['status']}; nobody can be connected to it now.")
    if volume["object_name"] is None:
        raise InvalidState(f"Volume {volume_id} has no storage: its creation has not finished or has failed.")
    said = connections.connector_text(connector)
    gone = (states.DETACHING, states.ERROR_DETACHING)
    row: Mapping[str, Any] | None = next(
        (row for row in rows if row["bare"] and row["connector_json"] == said and row["status"] not in gone), None
    )
    if not (volume["multiattach"] or (row and connections.joins(row, connector))):
        _refuse_another_host(volume, rows, text_of(connector, "host"))
    if row is None:
        row = new_row(origin, volume, id_=attachment_id, bare=True)
        insert_row(tx, attachments, row)
    mode = connections.READ_ONLY if volume["readonly"] else mode_of(connector)
    facts = {"attached_host": text_of(connector, "host"), "attach_mode": mode}
    rung, changed = connections.begin_connection(
        tx, origin=origin, volume=volume, row=row, connector=connector, facts=facts
    )
    return Change(queue=rung, row=changed, operation_id=changed["operation_id"])


def _refuse_another_host(volume: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], host: str | None) -> None:
    """One host at a time; two while it is in use, as its server may be moving from one to the other. Raises InvalidState."""
    others = [row for row in rows if may_be_connected(row) and (host is None or row["attached_host"] != host)]
    if volume["status"] == states.IN_USE:
        hosts = {row["attached_host"] for row in others if row["bare"]}
        others = others if len(hosts) > 1 else []
    if others:
        raise InvalidState(
            f"Volume {volume['id']} is connected already, or may be, to host {others[0]['attached_host']}, and is not "
            "multiattach; disconnect that one first."
        )


def begin_disconnection(
    tx: Connection,
    *,
    origin: Origin,
    volume_id: VolumeId,
    connector: Mapping[str, Any] | None,
    spares_instances: bool = False,
) -> Change:
    """Take back what a host was connected by; of all hosts, if none is named.

    Raises NotFound, and Conflict if an instance is connected to the volume and those are to be spared.
    """
    volume, rows = _lock_all(tx, origin, volume_id)
    if spares_instances:
        refuse_under_instances(rows)
    meant = [row for row in rows if row["bare"] and _is_hosts(row, connector)]
    rung = connections.begin_removal(tx, origin=origin, volume=volume, rows=meant) if meant else None
    return Change(queue=rung, row=_named(volume), going=tuple(row["id"] for row in meant))


def _is_hosts(row: Mapping[str, Any], connector: Mapping[str, Any] | None) -> bool:
    return not connector or row["attached_host"] == connector.get("host")


def begin_force_detach(
    tx: Connection,
    *,
    origin: Origin,
    volume_id: VolumeId,
    attachment_id: str | None,
    connector: Mapping[str, Any] | None,
    spares_instances: bool = False,
) -> Change:
    """Both at once, for when a server is gone: the connections of its host, and its attachment.

    Raises NotFound, InvalidState, and Conflict as both do.
    """
    volume, rows = _lock_all(tx, origin, volume_id)
    if spares_instances:
        refuse_under_instances(rows)
    if attachment_id is not None and not any(row["id"] == attachment_id for row in rows):
        raise NotFound(f"Attachment {attachment_id} could not be found.")
    going = _chosen(rows, volume_id, attachment_id)
    bare = [row for row in rows if row["bare"] and _is_hosts(row, connector)]
    return _detach(tx, origin, volume, rows, [*going, *bare])


# --- rows -----------------------------------------------------------------------------------------------------------


def _named(volume: Mapping[str, Any]) -> Mapping[str, Any]:
    """The volume as `Change` names it."""
    return {"id": volume["id"], "volume_id": volume["id"]}


def _lock(tx: Connection, origin: Origin, volume_id: str) -> Mapping[str, Any]:
    lock_row(tx, volumes, volume_id, origin=origin)
    volume = read_row(tx, volumes, volume_id)
    assert volume is not None, "a locked row is there"
    return volume


def _lock_all(tx: Connection, origin: Origin, volume_id: str) -> tuple[Mapping[str, Any], Sequence[Mapping[str, Any]]]:
    """A volume and all its attachments, which stay as they are until we commit. Raises NotFound."""
    read_seen(tx, volumes, volume_id, origin=origin)
    ids = ids_of(tx, volume_id)
    together = [(volumes, volume_id), *((attachments, id_) for id_ in ids)]
    lock_rows(tx, together, origin=origin, asked_for=volume_id)
    volume, rows = read_row(tx, volumes, volume_id), of_volume(tx, volume_id)
    assert volume is not None, "a locked row is there"
    if len(rows) != len(ids):
        raise Contended("an attachment came before the volume's row was ours")
    return volume, rows
