"""`breezeblock detach`: disconnect this host and delete its attachment, or find that done.

Who dies after any line leaves an attachment that the next run finds as this one did.
"""

from typing import NamedTuple

from breezeblock.commands.api_client import Api, Refused
from breezeblock.commands.attached_here import (
    Found,
    Patience,
    at_once,
    attachments_of,
    find_volume,
    held,
    let_go,
    mine_of,
    remove,
    told_of,
)
from breezeblock.commands.failure import Failed
from breezeblock.commands.host_folder import HostFolder
from breezeblock.env.contract import Clock
from breezeblock.model.ids import is_uuid

__all__ = ["detach"]


class _Meant(NamedTuple):
    """A volume, and if it was named the attachment."""

    volume_id: str
    attachment_id: str | None = None


def detach(api: Api, folder: HostFolder, wanted: str, *, host: str, force: bool, wait_s: float, clock: Clock) -> str:
    """What has become of it, in words. Raises Failed."""
    patience = Patience(clock, wait_s)
    meant = _find(api, wanted)
    if meant is None:
        return f"There is no attachment and no volume {wanted} in project {api.project}: nothing is attached."
    try:
        with held(folder, meant.volume_id, patience):
            rows = patience.insist(lambda: attachments_of(api, meant.volume_id))
            mine = patience.insist(lambda: mine_of(api, meant.volume_id, host))
            row = _choose(meant, rows, mine, host=host, force=force)
            if row is None:
                return _nothing_to_do(meant)
            if row["id"] in {one["id"] for one in mine}:
                let_go(api, folder, row, patience, force=force)
                return f"Volume {meant.volume_id} is detached from host {host}."
            remove(api, row["id"], patience)
            return f"Attachment {row['id']} of volume {meant.volume_id} is taken away from whoever had it."
    except Refused as refused:
        raise Failed(refused.message) from refused


def _find(api: Api, wanted: str) -> _Meant | None:
    """By the id of an attachment or of a volume, or by a volume's name; None if no such id is there. Raises Failed."""
    if not is_uuid(wanted):
        return _Meant(find_volume(api, wanted)["id"])
    for collection in ("attachments", "volumes"):
        try:
            found: Found = _get(api, collection, wanted)
        except Refused as refused:
            if refused.status == 404:
                continue
            raise Failed(refused.message) from refused
        return _Meant(found["id"]) if collection == "volumes" else _Meant(found["volume_id"], found["id"])
    return None


def _get(api: Api, collection: str, id_: str) -> Found:
    found: Found = at_once(lambda: api.get(f"{collection}/{id_}"))[collection.removesuffix("s")]
    return found


def _choose(meant: _Meant, rows: list[Found], mine: list[Found], *, host: str, force: bool) -> Found | None:
    """The one attachment that is meant; None if there is none any more. Raises Failed."""
    if meant.attachment_id is not None:
        chosen = next((row for row in rows if row["id"] == meant.attachment_id), None)
        if chosen is None or force or chosen["id"] in {one["id"] for one in mine}:
            return chosen
        raise Failed(
            f"Attachment {told_of([chosen])} of volume {meant.volume_id} is not one of host {host} itself: detach it where "
            "it is used. --force takes it away from there, and may lose what is not written back."
        )
    if len(mine) > 1:
        raise Failed(f"Host {host} has several attachments of volume {meant.volume_id}; say which: {told_of(mine)}.")
    if not mine and rows:
        raise Failed(
            f"Volume {meant.volume_id} is not attached to host {host}, but elsewhere: {told_of(rows)}. Detach it there; or "
            "give the attachment's id and --force, which takes it away."
        )
    return mine[0] if mine else None


def _nothing_to_do(meant: _Meant) -> str:
    if meant.attachment_id is not None:
        return f"Attachment {meant.attachment_id} of volume {meant.volume_id} is gone already."
    return f"Volume {meant.volume_id} is not attached."
