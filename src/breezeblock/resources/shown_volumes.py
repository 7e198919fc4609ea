"""Volumes as clients are to see them: with how far work on them is, and with who has attached them.

At most one statement more than without, and none where nothing is attached.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import Connection

from breezeblock.model import states
from breezeblock.resources import attached, progress
from breezeblock.resources.listing import VOLUMES, Found, Page

__all__ = ["COLUMN", "Shown", "one", "page"]

COLUMN: Final = "attachments_json"
_NAMES: Final = tuple(str(column.key) for column in VOLUMES.columns)
_ID, _ATTACHED, _PLACE = map(_NAMES.index, ("id", "attach_status", COLUMN))


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """One attachment, as its volume shows it. `mode` where it was attached by the older action, which tells it to everybody."""

    attachment_id: str
    server_id: str | None
    host_name: str | None
    device: str | None
    attached_at_us: int | None
    mode: str | None


def page(tx: Connection, wanted: Page, *, detail: bool) -> tuple[Found, Sequence[Sequence[Any]]]:
    """One page of the list, and its rows as clients are to see them."""
    found, rows = progress.page(tx, VOLUMES, wanted, detail=detail)
    texts = _texts(tx, [row[_ID] for row in rows if row[_ATTACHED] == states.ATTACHED]) if detail else {}
    if not texts:
        return found, rows
    return found, [(*row[:_PLACE], texts[row[_ID]], *row[_PLACE + 1 :]) if row[_ID] in texts else row for row in rows]


def one(tx: Connection, *, id_: str, project_id: str | None) -> dict[str, Any]:
    """One volume, in the same way. Raises NotFound."""
    row = progress.one(tx, VOLUMES, id_=id_, project_id=project_id)
    if row["attach_status"] == states.ATTACHED:
        row[COLUMN] = _texts(tx, [id_]).get(id_)
    return row


def _texts(tx: Connection, ids: Sequence[str]) -> Mapping[str, str]:
    return {
        volume_id: msgspec.json.encode([_shown(row) for row in rows]).decode()
        for volume_id, rows in attached.shown_of(tx, ids).items()
    }


def _shown(row: Mapping[str, Any]) -> Shown:
    return Shown(
        attachment_id=row["id"],
        server_id=row["instance_uuid"],
        host_name=row["attached_host"],
        device=row["mountpoint"],
        attached_at_us=row["attached_at_us"],
        mode=row["attach_mode"] if row["connector_json"] is None and row["mountpoint"] is not None else None,
    )
