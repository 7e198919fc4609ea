"""What a volume is by its attachments: the summary of them in its row, written whenever one of them changes.

Every change of an attachment writes its volume's row first, so that the summary is of all that there are, and whoever decides
about the volume by it meets the change.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Connection, bindparam, case, delete, select

from breezeblock.model import states
from breezeblock.model.errors import Conflict, InvalidState
from breezeblock.store.tables import attachments, volumes
from breezeblock.store.transitions import Must, Transition, change_row, has_no, new, read_row

__all__ = [
    "AS_BEFORE",
    "AS_BEFORE_WORDS",
    "FOLLOW",
    "UNCONNECTED",
    "another_of",
    "ids_of",
    "is_same_name",
    "may_be_connected",
    "may_be_host",
    "of_volume",
    "refuse_a_false_word",
    "refuse_under_instances",
    "remove_all",
    "shown_of",
    "spelled",
    "summarize",
    "summary_of",
]

# Words of one attachment, those that decide first coming first.
_ORDER: Final = tuple(states.BY_ATTACHMENTS)

FOLLOW = Transition(
    volumes,
    name="volume.follow_attachments",
    musts=(),
    sets={"status": new("status"), "attach_status": new("attach_status"), "updated_at_us": new("now_us")},
    moves=tuple(
        (before, after)
        for before in states.FOLLOWS_ATTACHMENTS
        for after in states.FOLLOWS_ATTACHMENTS
        if before != after
    ),
)
# Nobody reaches the volume, and nobody is about to: what is only reserved goes with it, as does what could not be connected.
UNCONNECTED = Must(
    has_no(
        select(attachments.c.id).where(
            attachments.c.volume_id == volumes.c.id,
            attachments.c.status.not_in((states.RESERVED, states.ERROR_ATTACHING)),
        ),
        of=volumes,
    ),
    "Volume {id} has attachments, or hosts are connected to it; delete or disconnect them first.",
)

# What an operation that leaves a volume as it was goes back to. Attachments may have changed meanwhile: then that was written
# as the previous status.
AS_BEFORE: Final = case(
    (volumes.c.previous_status.in_(states.FOLLOWS_ATTACHMENTS), volumes.c.previous_status), else_=states.AVAILABLE
)
AS_BEFORE_WORDS: Final = states.FOLLOWS_ATTACHMENTS


def summary_of(words: Collection[str]) -> tuple[str, str]:
    """A volume's status and attach status, by the statuses of all its attachments."""
    for word in _ORDER:
        if word in words:
            return states.BY_ATTACHMENTS[word], word
    return states.AVAILABLE, states.DETACHED


def refuse_under_instances(rows: Iterable[Mapping[str, Any]]) -> None:
    """Nobody but the compute service takes a volume away that an instance is connected to. Raises Conflict.

    The instance's host would keep a device that leads to somebody else's data tomorrow (CVE-2023-2088).
    """
    for row in rows:
        # While it is connected anew there is no connection, and still somebody who may be connected.
        has_host = row["connection_json"] is not None or row["connector_json"] is not None
        if row["instance_uuid"] is not None and has_host:
            raise Conflict(
                f"Attachment {row['id']} connects volume {row['volume_id']} to instance {row['instance_uuid']}: detach it "
                "there, by the Compute API. Only a service, with its service token, may do it here."
            )


def ids_of(tx: Connection, volume_id: str) -> list[str]:
    """The ids of all attachments of a volume."""
    return [row["id"] for row in of_volume(tx, volume_id)]


def of_volume(tx: Connection, volume_id: str) -> list[dict[str, Any]]:
    """All attachments of a volume, whose row the caller has locked, oldest first; bare connections too."""
    return [dict(row) for row in tx.execute(_OF_VOLUME, {"volume_id": volume_id}).mappings()]


def may_be_connected(row: Mapping[str, Any]) -> bool:
    """Whether somebody may reach the volume by this attachment, now or as soon as what is under way has ended.

    Not by what could not be connected: that status says that no access was left. By what could not be disconnected, however.
    """
    return row["status"] != states.ERROR_ATTACHING and (
        row["connector_json"] is not None or row["status"] == states.ATTACHED
    )


def another_of(
    rows: Sequence[Mapping[str, Any]], *, instance_uuid: str | None, host: str | None, but: str | None = None
) -> Mapping[str, Any] | None:
    """Who else may be connected, among the attachments of a volume that only one may have; None if nobody is.

    Statuses of volumes do not say it: operators reset them, and bare connections are not in them. A server that has the volume
    already moves to another host, and its bare connections along with it. Without a `host` it is not known whose those are.
    """
    there = [row for row in rows if row["id"] != but and may_be_connected(row)]
    shown = [row for row in there if not row["bare"]]
    if shown:
        return next((row for row in shown if instance_uuid is None or row["instance_uuid"] != instance_uuid), None)
    return next((row for row in there if host is not None and row["attached_host"] != host), None)


def spelled(host: str) -> str:
    """A host's name as it is shown of those who attach by the older action, whatever they write: as Cinder spells it."""
    plain = re.sub(r"[^\w.-]+", "", re.sub(r"[ _]", "-", host.encode("latin-1", "ignore").decode("latin-1")))
    return plain.lower().strip(".-")


def is_same_name(one: str | None, other: str | None) -> bool:
    """Whether two names are one host's in different spellings. The domain is a part of it, for Cinder as well as for us."""
    return one == other if one is None or other is None else spelled(one) == spelled(other)


def may_be_host(one: str | None, other: str | None) -> bool:
    """Whether two names may be of one host: the same name, or one has the domain and the other has not."""
    if one is None or other is None:
        return one == other
    short, long = sorted((spelled(one), spelled(other)), key=len)
    return short == long or (short != "" and long.startswith(f"{short}."))


def summarize(tx: Connection, volume_id: str, *, now_us: int, ends_word: bool = False) -> dict[str, Any]:
    """Write the summary into a volume's row, which the caller has locked; returns the row as it is then.

    While something else is done with the volume its status is not ours: then the summary is what that goes back to. Nor is the
    word of a client of the older actions, who is about to attach or detach it, until that one `ends_word`.
    """
    volume = read_row(tx, volumes, volume_id)
    assert volume is not None, "a locked row is there"
    words = [row["status"] for row in of_volume(tx, volume_id) if not row["bare"]]
    status, attach_status = summary_of(words)
    keeps_word = not ends_word and _is_word(volume) and _outlasts(volume, attach_status)
    if volume["status"] in states.FOLLOWS_ATTACHMENTS and not keeps_word:
        return FOLLOW.apply_locked(tx, volume_id, status=status, attach_status=attach_status, now_us=now_us)
    values: dict[str, Any] = {"attach_status": attach_status, "updated_at_us": now_us}
    if volume["previous_status"] in states.FOLLOWS_ATTACHMENTS:
        values["previous_status"] = status
    change_row(tx, volumes, volume_id, **values)
    return volume | values


def _is_word(volume: Mapping[str, Any]) -> bool:
    """Whether the status was said by somebody (os-reserve, os-begin_detaching), and is not by the attachments."""
    return volume["status"] in (states.ATTACHING, states.DETACHING) and volume["attach_status"] != volume["status"]


def _outlasts(volume: Mapping[str, Any], attach_status: str) -> bool:
    """Whether a word still says something about the attachments that there are now.

    Reserved it stays also when what could not be connected goes, which for a while is on its way out.
    """
    unattached = (states.DETACHED, states.DETACHING)
    if volume["status"] == states.ATTACHING and volume["attach_status"] in unattached and attach_status in unattached:
        return True
    return bool(volume["attach_status"] == attach_status)


def refuse_a_false_word(tx: Connection, volume_id: str, attach_status: str | None) -> None:
    """Refuse an operator's word that a volume is attached, which its attachments contradict. Raises InvalidState.

    Without attachments it may be: whoever has attached it has done so without us.
    """
    words = [row["status"] for row in of_volume(tx, volume_id) if not row["bare"]]
    if attach_status == states.ATTACHED and words and states.ATTACHED not in words:
        raise InvalidState(
            f"Volume {volume_id} cannot be reset to attached: its attachments are {', '.join(sorted(set(words)))}; "
            "complete or delete them."
        )


def remove_all(tx: Connection, volume_id: str) -> None:
    """Forget what is left of a deleted volume's attachments."""
    tx.execute(_REMOVE_ALL, {"volume_id": volume_id})


def shown_of(tx: Connection, ids: Collection[str]) -> Mapping[str, Sequence[Mapping[str, Any]]]:
    """The attachments that are complete, by volume, oldest first. One statement, and none without volumes."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    if ids:
        for row in tx.execute(_SHOWN, {"ids": list(ids)}).mappings():
            found.setdefault(row["volume_id"], []).append(dict(row))
    return found


_OF_VOLUME: Final = (
    select(attachments)
    .where(attachments.c.volume_id == bindparam("volume_id"))
    .order_by(attachments.c.created_at_us, attachments.c.id)
)
_REMOVE_ALL: Final = delete(attachments).where(attachments.c.volume_id == bindparam("volume_id"))
_SHOWN: Final = (
    select(attachments)
    .where(
        attachments.c.volume_id.in_(bindparam("ids", expanding=True)),
        attachments.c.status == states.ATTACHED,
        ~attachments.c.bare,
    )
    .order_by(attachments.c.created_at_us, attachments.c.id)
)
