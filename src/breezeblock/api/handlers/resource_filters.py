"""Which filters lists take: what the lists themselves ask, so that the two cannot differ."""

from typing import Final

from starlette.responses import Response

from breezeblock.api import answers, paging
from breezeblock.api.call import Call
from breezeblock.api.handlers import (
    attachments,
    backups,
    group_snapshots,
    groups,
    messages,
    pools,
    snapshots,
    transfers,
    types,
    volumes,
)
from breezeblock.api.microversions import RESOURCE_FILTERS_LIST
from breezeblock.api.paging import Filter, Lists
from breezeblock.api.routing import Route
from breezeblock.api.views.shapes import TEXT, many, named, object_of

# By the names that this API has for resources here and nowhere else.
LISTED: Final[dict[str, Lists]] = {
    "attachment": attachments.LISTS,
    "backup": backups.LISTS,
    "group": groups.LISTS,
    "group_snapshot": group_snapshots.LISTS,
    "message": messages.LISTS,
    "pool": pools.LISTS,
    "snapshot": snapshots.LISTS,
    "transfer": transfers.LISTS,
    "volume": volumes.LISTS,
    "volume_type": types.LISTS,
}


async def list_filters(call: Call) -> Response:
    """GET /v3/{project_id}/resource_filters, of all resources or of one. 200: those of the version and the caller that ask."""
    call.permit("discovery")
    wanted = call.query.get("resource")
    shown = [
        {"resource": name, "filters": paging.known(call, lists)}
        for name, lists in LISTED.items()
        if not wanted or wanted == name
    ]
    return answers.json({"resource_filters": shown})


SHOWN: Final = named("resource_filters", many(object_of({"resource": TEXT, "filters": many(TEXT)})))

ROUTES: Final = (
    Route(
        "GET", "resource_filters", list_filters, query={"resource": Filter()}, since=RESOURCE_FILTERS_LIST, answer=SHOWN
    ),
)
