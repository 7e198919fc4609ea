"""Group snapshots, since 3.14: take, list, show, delete, and what POST …/action does."""

from dataclasses import replace
from typing import Any, Final

from starlette.responses import Response

from breezeblock.api import answers, paging
from breezeblock.api.call import Call
from breezeblock.api.handlers.groups import require_generic, reserved, seen_by
from breezeblock.api.microversions import GROUP_SNAPSHOT_OF_SNAPSHOT, GROUP_SNAPSHOT_PAGES, GROUP_SNAPSHOT_RESET
from breezeblock.api.paging import Filter, Lists
from breezeblock.api.routing import Action, Route
from breezeblock.api.schemas import groups as schemas
from breezeblock.api.schemas.fields import stripped
from breezeblock.api.views import groups as views
from breezeblock.resources import group_listing, group_snapshots, listing
from breezeblock.resources.group_types import CONSISTENT_TYPE_ID
from breezeblock.resources.listing import Page

LISTS: Final = Lists(
    collection="group_snapshots",
    filters={
        "name": Filter(),
        "status": Filter(),
        "group_id": Filter(),
        "id": Filter(public=False),
        "project_id": Filter(public=False),
        "user_id": Filter(public=False),
        "description": Filter(public=False),
        "group_type_id": Filter(public=False),
    },
    sort_keys=frozenset(group_listing.GROUP_SNAPSHOTS.attributes),
    sort_aliases={},
    ignores=False,
)


async def create(call: Call) -> Response:
    """POST /group_snapshots. 202, the new group snapshot."""
    call.permit("group:create_group_snapshot")
    asked = call.body(schemas.CreateGroupSnapshotBody).group_snapshot
    await require_generic(call, str(asked.group_id))
    row = await run_create(call, group_id=str(asked.group_id), name=asked.name, description=asked.description)
    return answers.json({"group_snapshot": views.created(row) | {"group_type_id": row["group_type_id"]}}, 202)


async def run_create(call: Call, *, group_id: str, name: str | None, description: str | None) -> Any:
    """The row of the new group snapshot, also for those who call it otherwise."""
    wanted = group_snapshots.NewGroupSnapshot(
        id=call.new_id(), group_id=group_id, name=stripped(name), description=stripped(description)
    )
    accepted = await call.store.run(
        group_snapshots.begin_create, origin=call.origin, wanted=wanted, quota_defaults=call.quota_defaults
    )
    call.ring(accepted.queue)
    return accepted.row


async def list_summary(call: Call) -> Response:
    """GET /group_snapshots. 200, ids and names."""
    call.permit("group:get_all_group_snapshots")
    return await _list(call, detail=False)


async def list_detail(call: Call) -> Response:
    """GET /group_snapshots/detail. 200."""
    call.permit("group:get_all_group_snapshots")
    return await _list(call, detail=True)


async def show(call: Call) -> Response:
    """GET /group_snapshots/{group_snapshot_id}. 200."""
    call.permit("group:get_group_snapshot")
    (shown,) = views.snapshots(call, [await _read_generic(call)])
    return answers.json({"group_snapshot": shown})


async def delete(call: Call) -> Response:
    """DELETE /group_snapshots/{group_snapshot_id}. 202."""
    call.permit("group:delete_group_snapshot")
    await _read_generic(call)
    await run_delete(call, group_snapshot_id=_id(call))
    return answers.empty(202)


async def run_delete(call: Call, *, group_snapshot_id: str) -> None:
    """Delete a group snapshot, also for those who call it otherwise."""
    accepted = await call.store.run(
        group_snapshots.begin_delete, origin=call.origin, group_snapshot_id=group_snapshot_id
    )
    call.ring(accepted.queue)


async def reset_status(call: Call) -> Response:
    """reset_status. 202."""
    call.permit("group:reset_group_snapshot_status")
    body = call.body(schemas.ResetStatus)
    await call.store.run(
        group_snapshots.reset_status, origin=call.origin, group_snapshot_id=_id(call), status=str(body.status)
    )
    return answers.empty(202)


ACTIONS: Final = {
    "reset_status": Action(reset_status, since=GROUP_SNAPSHOT_RESET, status=202, body=schemas.ResetStatus)
}

ROUTES: Final = (
    Route(
        "POST",
        "group_snapshots",
        create,
        since=GROUP_SNAPSHOT_OF_SNAPSHOT,
        status=202,
        body=schemas.CreateGroupSnapshotBody,
        answer=views.SNAPSHOT_CREATED,
    ),
    Route(
        "GET",
        "group_snapshots",
        list_summary,
        since=GROUP_SNAPSHOT_OF_SNAPSHOT,
        query=LISTS,
        answer=views.MANY_SNAPSHOTS_SHORT,
    ),
    Route(
        "GET",
        "group_snapshots/detail",
        list_detail,
        since=GROUP_SNAPSHOT_OF_SNAPSHOT,
        query=LISTS,
        answer=views.MANY_SNAPSHOTS,
    ),
    Route(
        "GET", "group_snapshots/{group_snapshot_id}", show, since=GROUP_SNAPSHOT_OF_SNAPSHOT, answer=views.ONE_SNAPSHOT
    ),
    Route("DELETE", "group_snapshots/{group_snapshot_id}", delete, since=GROUP_SNAPSHOT_OF_SNAPSHOT, status=202),
    Route("POST", "group_snapshots/{group_snapshot_id}/action", actions=ACTIONS, since=GROUP_SNAPSHOT_OF_SNAPSHOT),
)


def _id(call: Call) -> str:
    return call.path["group_snapshot_id"]


async def _read_generic(call: Call) -> Any:
    """The row of the URL. Raises NotFound, and BadRequest for a snapshot of a consistency group."""
    row = await call.store.read(group_listing.one_snapshot, group_snapshot_id=_id(call), project_id=seen_by(call))
    if row.group_type_id == CONSISTENT_TYPE_ID:
        raise reserved("group snapshot")
    return row


async def _list(call: Call, *, detail: bool) -> Response:
    """Before 3.29 all of them, whatever the query says of pages, order and filters."""
    paged = call.microversion >= GROUP_SNAPSHOT_PAGES
    page: Page = paging.read(call, LISTS) if paged else paging.read_whole(call)
    wanted = replace(page, where=(*page.where, group_listing.GENERIC), with_count=False)
    found = await call.store.read(listing.page, group_listing.GROUP_SNAPSHOTS, wanted)
    shown = views.snapshots(call, found.rows) if detail else [views.summary(row) for row in found.rows]
    content: dict[str, Any] = {"group_snapshots": shown}
    links = paging.next_links(call, LISTS, found.rows, detail=detail) if paged else []
    if links:
        content["group_snapshot_links"] = links
    return answers.json(content)
