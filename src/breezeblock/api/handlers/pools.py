"""Pools, as placement sees them."""

import json
from typing import Any, Final

from sqlalchemy import RowMapping
from starlette.responses import Response

from breezeblock.api import answers, paging
from breezeblock.api.call import Call
from breezeblock.api.microversions import POOL_FILTER, POOL_TYPE_FILTER, RESOURCE_FILTERS
from breezeblock.api.paging import Filter, Kind, Lists
from breezeblock.api.views import pools as views
from breezeblock.model.errors import BadRequest
from breezeblock.resources import pools

LISTS: Final = Lists(
    collection="scheduler-stats/get_pools",
    filters={"name": Filter(since=POOL_FILTER), "volume_type": Filter(since=POOL_TYPE_FILTER)},
    sort_keys=frozenset(),
    sort_aliases={},
)
# What is looked at in the query, for the description of the API.
LISTED_BY: Final = {"detail": Filter(Kind.FLAG), **LISTS.filters}


async def get_pools(call: Call) -> Response:
    """GET /v3/{project_id}/scheduler-stats/get_pools. Filtered since 3.28, by volume type since 3.35. 200."""
    call.permit("scheduler_extension:scheduler_stats:get_pools")
    detail = paging.flag(call.query, "detail")
    filters = _filters(call)
    name, volume_type = filters.pop("name", None), filters.pop("volume_type", None)
    rows = await call.store.read(pools.list_pools, origin=call.origin, name=name, volume_type=volume_type)
    wanted = [row for row in rows if _has(row, filters)]
    return answers.json({"pools": [views.detail(row) if detail else views.summary(row) for row in wanted]})


def _filters(call: Call) -> dict[str, str]:
    """The filters that this version has. Raises BadRequest."""
    if call.microversion < POOL_FILTER:
        return {}
    filters = {name: value for name, value in call.query.items() if name != "detail"}
    unknown = sorted(filters.keys() - LISTS.filters.keys())
    if unknown and call.microversion >= RESOURCE_FILTERS:
        raise BadRequest(f"Invalid filters: {', '.join(unknown)}. Known here: {', '.join(LISTS.filters)}.")
    if call.microversion < POOL_TYPE_FILTER:
        filters.pop("volume_type", None)
    return filters


def _has(row: RowMapping, filters: dict[str, str]) -> bool:
    """Whether the pool has these capabilities: from 3.28 to 3.30 each of them was a filter."""
    if not filters:
        return True
    offered: dict[str, Any] = views.capabilities(row)
    return all(name in offered and _text(offered[name]) == value.lower() for name, value in filters.items())


def _text(value: object) -> str:
    return (value if isinstance(value, str) else json.dumps(value)).lower()
