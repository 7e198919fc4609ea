"""Volume transfers as JSON: which keys there are, and since when."""

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import RowMapping

from breezeblock.api.call import Call
from breezeblock.api.microversions import TRANSFER_HISTORY, TRANSFER_SNAPSHOTS
from breezeblock.api.views.template import format_time

# Links have the older of the two URLs, whichever was asked.
COLLECTION: Final = "os-volume-transfer"

Transfer = Mapping[str, Any] | RowMapping


def summary(call: Call, row: Transfer) -> dict[str, Any]:
    return {"id": row["id"], "volume_id": row["volume_id"], "name": row["name"], "links": _links(call, row)}


def detail(call: Call, row: Transfer) -> dict[str, Any]:
    shown = summary(call, row) | {"created_at": format_time(row["created_at_us"])}
    if call.microversion >= TRANSFER_SNAPSHOTS:
        shown["no_snapshots"] = row["no_snapshots"]
    if call.microversion >= TRANSFER_HISTORY:
        # One that was accepted is gone, so nobody sees another word than these here.
        shown |= {"source_project_id": row["project_id"], "destination_project_id": None, "accepted": False}
    return shown


def created(call: Call, row: Transfer, *, auth_key: str) -> dict[str, Any]:
    """The one answer that has the key."""
    return detail(call, row) | {"auth_key": auth_key}


def _links(call: Call, row: Transfer) -> list[dict[str, str]]:
    return [
        {"rel": "self", "href": f"{call.v3_url}/{COLLECTION}/{row['id']}"},
        {"rel": "bookmark", "href": f"{call.bookmark_url}/{COLLECTION}/{row['id']}"},
    ]
