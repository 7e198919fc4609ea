"""Volume transfers as JSON: which keys there are, and since when."""

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import RowMapping

from breezeblock.api.call import Call
from breezeblock.api.microversions import TRANSFER_HISTORY, TRANSFER_SNAPSHOTS
from breezeblock.api.views.shapes import FLAG, LINKS, TEXT, TEXT_OR_NULL, late, late_keys, named, object_of, paged
from breezeblock.api.views.template import format_time

# Links have the older of the two URLs, whichever was asked.
COLLECTION: Final = "os-volume-transfer"

Transfer = Mapping[str, Any] | RowMapping


_SUMMARY: Final = {"id": TEXT, "volume_id": TEXT, "name": TEXT_OR_NULL, "links": LINKS}
_DETAIL: Final = {
    **_SUMMARY,
    "created_at": TEXT,
    "no_snapshots": late(TRANSFER_SNAPSHOTS, FLAG),
    **late_keys(
        TRANSFER_HISTORY, {"source_project_id": TEXT, "destination_project_id": TEXT_OR_NULL, "accepted": FLAG}
    ),
}
ONE: Final = named("transfer", object_of(_DETAIL))
ONE_SHORT: Final = named("transfer", object_of(_SUMMARY))
CREATED: Final = named("transfer", object_of({**_DETAIL, "auth_key": TEXT}))
MANY: Final = paged("transfers", object_of(_DETAIL))
MANY_SHORT: Final = paged("transfers", object_of(_SUMMARY))


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
