"""Attachments as JSON."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from breezeblock.api.views.shapes import (
    ANYTHING,
    FLAG,
    TEXT,
    TEXT_OR_NULL,
    Json,
    many,
    map_of,
    named,
    object_of,
)
from breezeblock.api.views.template import format_time

# What this API says where nobody has said how a volume is attached.
NO_MODE = "null"


_SUMMARY: Final = {"id": TEXT, "status": TEXT, "instance": TEXT_OR_NULL, "volume_id": TEXT}
# What a driver says is for os-brick, which knows it by its kind.
_CONNECTION: Final[Json] = {
    "type": "object",
    "properties": {"driver_volume_type": TEXT, "attachment_id": TEXT},
    "additionalProperties": ANYTHING,
}
_NESTED_CONNECTION: Final = object_of({"driver_volume_type": TEXT, "data": map_of(ANYTHING), "enforce_multipath": FLAG})
_DETAIL: Final = object_of(
    {**_SUMMARY, "attached_at": TEXT, "detached_at": TEXT, "attach_mode": TEXT, "connection_info": _CONNECTION}
)
ONE: Final = named("attachment", _DETAIL)
MANY: Final = named("attachments", many(_DETAIL))
MANY_SHORT: Final = named("attachments", many(object_of(_SUMMARY)))
CONNECTION: Final = named("connection_info", _NESTED_CONNECTION)


def summary(row: Mapping[str, Any]) -> dict[str, Any]:
    """An attachment in a list."""
    return {
        "id": row["id"],
        "status": row["status"],
        "instance": row["instance_uuid"],
        "volume_id": row["volume_id"],
    }


def detail(row: Mapping[str, Any]) -> dict[str, Any]:
    """All of it. Times that have not come are empty texts."""
    return summary(row) | {
        "attached_at": _time(row["attached_at_us"]),
        "detached_at": "",
        "attach_mode": row["attach_mode"] or NO_MODE,
        "connection_info": connection_info(row),
    }


def connection_info(row: Mapping[str, Any]) -> dict[str, Any]:
    """What os-brick needs, without the level that separates what drivers say from what they are."""
    if row["connection_json"] is None:
        return {}
    connection: dict[str, Any] = msgspec.json.decode(row["connection_json"])
    return {
        **connection["data"],
        "driver_volume_type": connection["driver_volume_type"],
        "attachment_id": row["id"],
    }


def nested_connection_info(row: Mapping[str, Any]) -> dict[str, Any]:
    """The same as the older action answers it."""
    connection: dict[str, Any] = msgspec.json.decode(row["connection_json"])
    return {**connection, "enforce_multipath": connection["data"]["enforce_multipath"]}


def _time(at_us: int | None) -> str:
    return "" if at_us is None else format_time(at_us)
