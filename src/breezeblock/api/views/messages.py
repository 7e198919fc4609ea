"""User messages as JSON."""

from typing import Any, Final

from sqlalchemy import Row

from breezeblock.api.call import Call
from breezeblock.api.views.shapes import LINKS, TEXT, TEXT_OR_NULL, named, object_of, paged
from breezeblock.api.views.template import format_time

_SHOWN: Final = object_of(
    {
        "id": TEXT,
        "event_id": TEXT,
        "user_message": TEXT,
        "message_level": TEXT,
        "created_at": TEXT,
        "guaranteed_until": TEXT,
        "request_id": TEXT_OR_NULL,
        "links": LINKS,
    },
    {"resource_type": TEXT, "resource_uuid": TEXT},
)
ONE: Final = named("message", _SHOWN)
MANY: Final = paged("messages", _SHOWN)


def detail(call: Call, row: Row[Any]) -> dict[str, Any]:
    """One message; which resource it is about is left out where there is none."""
    shown = {
        "id": row.id,
        "event_id": row.event_id,
        "user_message": row.user_message,
        "message_level": row.message_level,
        "created_at": format_time(row.created_at_us),
        "guaranteed_until": format_time(row.guaranteed_until_us),
        "request_id": row.request_id,
        "links": [
            {"rel": "self", "href": f"{call.v3_url}/messages/{row.id}"},
            {"rel": "bookmark", "href": f"{call.bookmark_url}/messages/{row.id}"},
        ],
    }
    if row.resource_type:
        shown["resource_type"] = row.resource_type
    if row.resource_id:
        shown["resource_uuid"] = row.resource_id
    return shown
