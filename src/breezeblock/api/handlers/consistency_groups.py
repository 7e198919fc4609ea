"""Consistency groups and their snapshots: the older names of groups, group snapshots and what is done with them.

They are groups of one group type, whose snapshots are of one instant; where no backend can take such, they appear in `error`.
"""

from dataclasses import replace
from typing import Any, Final

from starlette.responses import Response

from breezeblock.api import answers, paging
from breezeblock.api.call import Call
from breezeblock.api.handlers import group_snapshots as snapshot_calls
from breezeblock.api.handlers import groups as group_calls
from breezeblock.api.handlers.groups import seen_by
from breezeblock.api.microversions import CG_BLANK_UPDATE
from breezeblock.api.paging import Lists
from breezeblock.api.routing import Route
from breezeblock.api.schemas import groups as schemas
from breezeblock.api.schemas.fields import stripped
from breezeblock.api.views import groups as views
from breezeblock.model.errors import BadRequest
from breezeblock.resources import group_listing, groups, listing
from breezeblock.resources.group_sources import GroupFromSource
from breezeblock.resources.group_types import CONSISTENT_TYPE_ID

LISTS: Final = Lists(
    collection="consistencygroups",
    filters={name: one._replace(public=True) for name, one in group_calls.LISTS.filters.items()},
    sort_keys=frozenset(group_listing.GROUPS.attributes) - {"replication_status"},
    sort_aliases={},
    refuses=None,
    ignores=False,
)
SNAPSHOT_LISTS: Final = Lists(
    collection="cgsnapshots",
    filters={},
    sort_keys=frozenset(group_listing.GROUP_SNAPSHOTS.attributes),
    sort_aliases={},
)


async def create(call: Call) -> Response:
    """POST /consistencygroups. 202, the new group."""
    call.permit("group:create")
    asked = call.body(schemas.CreateConsistencyGroupBody).consistencygroup
    wanted = groups.NewGroup(
        id=call.new_id(),
        group_type=CONSISTENT_TYPE_ID,
        volume_types=tuple(dict.fromkeys(name.strip() for name in asked.volume_types.split(",") if name.strip())),
        name=stripped(asked.name),
        description=stripped(asked.description),
        availability_zone=asked.availability_zone or None,
        default_zone=call.settings.service.availability_zone,
    )
    accepted = await call.store.run(
        groups.create, origin=call.origin, wanted=wanted, quota_defaults=call.quota_defaults
    )
    return answers.json({"consistencygroup": views.created(accepted.row)}, 202)


async def create_from_source(call: Call) -> Response:
    """POST /consistencygroups/create_from_src. 202, the new group."""
    call.permit("group:create")
    asked = call.body(schemas.ConsistencyGroupFromSourceBody).source
    if bool(asked.cgsnapshot_id) == bool(asked.source_cgid):
        raise BadRequest("Invalid consistencygroup-from-src: expected one of cgsnapshot_id and source_cgid.")
    wanted = GroupFromSource(
        id=call.new_id(),
        name=stripped(asked.name),
        description=stripped(asked.description),
        group_snapshot_id=asked.cgsnapshot_id or None,
        source_group_id=asked.source_cgid or None,
    )
    return answers.json({"consistencygroup": views.created(await group_calls.run_from_source(call, wanted))}, 202)


async def list_summary(call: Call) -> Response:
    """GET /consistencygroups. 200, ids and names of all groups."""
    call.permit("group:get_all")
    return await _list(call, detail=False)


async def list_detail(call: Call) -> Response:
    """GET /consistencygroups/detail. 200."""
    call.permit("group:get_all")
    return await _list(call, detail=True)


async def show(call: Call) -> Response:
    """GET /consistencygroups/{group_id}. 200."""
    call.permit("group:get")
    found = await call.store.read(group_listing.one, group_id=_id(call), project_id=seen_by(call), with_volumes=False)
    return answers.json({"consistencygroup": views.consistency_group(found.rows[0], found)})


async def update(call: Call) -> Response:
    """PUT /consistencygroups/{group_id}[/update]. 202. Since 3.6 a name or description may become empty."""
    call.permit("group:update")
    asked = call.body(schemas.UpdateConsistencyGroupBody).consistencygroup
    texts = (asked.name, asked.description)
    blank = call.microversion >= CG_BLANK_UPDATE and any(text is not None for text in texts)
    if not (blank or any(texts) or asked.add_volumes or asked.remove_volumes):
        raise BadRequest("Name, description, add_volumes, and remove_volumes can not be all empty in the request body.")
    await group_calls.run_update(call, asked, group_id=_id(call))
    return answers.empty(202)


async def delete(call: Call) -> Response:
    """POST /consistencygroups/{group_id}/delete, with or without a body. 202. By force it goes with its volumes."""
    call.permit("group:delete")
    body = call.body(schemas.DeleteConsistencyGroupBody) if bytes(call.raw) else None
    asked = None if body is None else body.consistencygroup
    forced = asked is not None and bool(asked.force)
    await group_calls.run_delete(call, group_id=_id(call), with_volumes=forced)
    return answers.empty(202)


# --- their snapshots -------------------------------------------------------------------------------------------------


async def create_snapshot(call: Call) -> Response:
    """POST /cgsnapshots. 202, the new snapshot."""
    call.permit("group:create_group_snapshot")
    asked = call.body(schemas.CreateCgsnapshotBody).cgsnapshot
    row = await snapshot_calls.run_create(
        call, group_id=asked.consistencygroup_id, name=asked.name, description=asked.description
    )
    return answers.json({"cgsnapshot": views.created(row)}, 202)


async def list_snapshots(call: Call) -> Response:
    """GET /cgsnapshots. 200, ids and names of all group snapshots."""
    call.permit("group:get_all_group_snapshots")
    return await _list_snapshots(call, detail=False)


async def list_snapshot_details(call: Call) -> Response:
    """GET /cgsnapshots/detail. 200."""
    call.permit("group:get_all_group_snapshots")
    return await _list_snapshots(call, detail=True)


async def show_snapshot(call: Call) -> Response:
    """GET /cgsnapshots/{group_snapshot_id}. 200."""
    call.permit("group:get_group_snapshot")
    id_ = call.path["group_snapshot_id"]
    row = await call.store.read(group_listing.one_snapshot, group_snapshot_id=id_, project_id=seen_by(call))
    return answers.json({"cgsnapshot": views.cgsnapshot(row)})


async def delete_snapshot(call: Call) -> Response:
    """DELETE /cgsnapshots/{group_snapshot_id}. 202."""
    call.permit("group:delete_group_snapshot")
    await snapshot_calls.run_delete(call, group_snapshot_id=call.path["group_snapshot_id"])
    return answers.empty(202)


ROUTES: Final = (
    Route(
        "POST",
        "consistencygroups",
        create,
        status=202,
        body=schemas.CreateConsistencyGroupBody,
        answer=views.CONSISTENCY_GROUP_CREATED,
    ),
    Route("GET", "consistencygroups", list_summary, query=LISTS, answer=views.MANY_CONSISTENCY_GROUPS_SHORT),
    Route("GET", "consistencygroups/detail", list_detail, query=LISTS, answer=views.MANY_CONSISTENCY_GROUPS),
    Route(
        "POST",
        "consistencygroups/create_from_src",
        create_from_source,
        status=202,
        body=schemas.ConsistencyGroupFromSourceBody,
        answer=views.CONSISTENCY_GROUP_CREATED,
    ),
    Route("GET", "consistencygroups/{group_id}", show, answer=views.ONE_CONSISTENCY_GROUP),
    Route("PUT", "consistencygroups/{group_id}", update, status=202, body=schemas.UpdateConsistencyGroupBody),
    Route("PUT", "consistencygroups/{group_id}/update", update, status=202, body=schemas.UpdateConsistencyGroupBody),
    Route(
        "POST",
        "consistencygroups/{group_id}/delete",
        delete,
        status=202,
        body=schemas.DeleteConsistencyGroupBody,
    ),
    Route(
        "POST",
        "cgsnapshots",
        create_snapshot,
        status=202,
        body=schemas.CreateCgsnapshotBody,
        answer=views.CGSNAPSHOT_CREATED,
    ),
    Route("GET", "cgsnapshots", list_snapshots, query=SNAPSHOT_LISTS, answer=views.MANY_CGSNAPSHOTS_SHORT),
    Route("GET", "cgsnapshots/detail", list_snapshot_details, query=SNAPSHOT_LISTS, answer=views.MANY_CGSNAPSHOTS),
    Route("GET", "cgsnapshots/{group_snapshot_id}", show_snapshot, answer=views.ONE_CGSNAPSHOT),
    Route("DELETE", "cgsnapshots/{group_snapshot_id}", delete_snapshot, status=202),
)


def _id(call: Call) -> str:
    return call.path["group_id"]


async def _list(call: Call, *, detail: bool) -> Response:
    page = replace(paging.read(call, LISTS), with_count=False)
    found = await call.store.read(group_listing.page, wanted=page, with_types=detail, with_volumes=False)
    shown = [views.consistency_group(row, found) if detail else views.summary(row) for row in found.rows]
    content: dict[str, Any] = {"consistencygroups": shown}
    links = paging.next_links(call, LISTS, found.rows, detail=detail)
    if links:
        content["consistencygroup_links"] = links
    return answers.json(content)


async def _list_snapshots(call: Call, *, detail: bool) -> Response:
    page = paging.read_unfiltered(call, SNAPSHOT_LISTS)
    found = await call.store.read(listing.page, group_listing.GROUP_SNAPSHOTS, page)
    shown = [views.cgsnapshot(row) if detail else views.summary(row) for row in found.rows]
    return answers.json({"cgsnapshots": shown})
