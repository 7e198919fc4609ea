"""Snapshots: create, list, show, change, delete, and what POST …/action does."""

from collections.abc import Mapping
from typing import Any, Final

from msgspec import UNSET
from starlette.responses import Response

from breezeblock.api import answers, paging
from breezeblock.api.call import Call
from breezeblock.api.handlers import managing
from breezeblock.api.microversions import (
    RESOURCE_FILTERS,
    SNAPSHOT_IN_USE,
    SNAPSHOT_METADATA_FILTER,
    SNAPSHOT_SORT_NAME,
)
from breezeblock.api.paging import Filter, Kind, Lists
from breezeblock.api.routing import Action, Route
from breezeblock.api.schemas import snapshots as schemas
from breezeblock.api.schemas.fields import first_sent, stripped
from breezeblock.api.views import snapshots as views
from breezeblock.model.errors import BadRequest
from breezeblock.model.ids import SnapshotId, VolumeId
from breezeblock.model.requests import NewSnapshot
from breezeblock.resources import listing, snapshot_edits, snapshots

LISTS: Final = Lists(
    collection="snapshots",
    filters={
        "name": Filter(),
        "display_name": Filter(public=False, attribute="name"),
        "status": Filter(),
        "volume_id": Filter(),
        "metadata": Filter(Kind.PAIRS, since=SNAPSHOT_METADATA_FILTER),
        "availability_zone": Filter(),
        "consumes_quota": Filter(Kind.FLAG, since=RESOURCE_FILTERS),
        "id": Filter(public=False),
        "project_id": Filter(public=False),
        "user_id": Filter(public=False),
        "host": Filter(Kind.HOST, public=False),
        "cluster_name": Filter(Kind.HOST, public=False, attribute="host"),
        "description": Filter(public=False),
        "display_description": Filter(public=False, attribute="description"),
        "volume_size": Filter(Kind.NUMBER, public=False, attribute="size"),
        "volume_type_id": Filter(public=False),
        "group_snapshot_id": Filter(public=False),
        "progress": Filter(public=False),
        "use_quota": Filter(Kind.FLAG, public=False, attribute="consumes_quota"),
        "cgsnapshot_id": Filter(Kind.NOTHING, public=False),  # no snapshot here has one
    },
    sort_keys=frozenset(listing.SNAPSHOTS.attributes) - {"metadata", "consumes_quota", "availability_zone"},
    sort_aliases={"display_name": "name", "display_description": "description", "volume_size": "size"},
    sort_since={"name": SNAPSHOT_SORT_NAME},
)


async def create(call: Call) -> Response:
    """POST /snapshots. 202, the new snapshot."""
    call.permit("volume:create_snapshot")
    body = call.body(schemas.CreateSnapshotBody).snapshot
    wanted = _wanted(call, body)
    accepted = await call.store.run(
        snapshots.begin_create, origin=call.origin, wanted=wanted, quota_defaults=call.quota_defaults
    )
    call.ring(accepted.queue)
    return answers.json(views.detail(call, accepted.row, attributes=False), 202)


async def list_summary(call: Call) -> Response:
    """GET /snapshots. 200."""
    call.permit("volume:get_all_snapshots")
    return await _list(call, detail=False)


async def list_detail(call: Call) -> Response:
    """GET /snapshots/detail. 200."""
    call.permit("volume:get_all_snapshots")
    return await _list(call, detail=True)


async def show(call: Call) -> Response:
    """GET /snapshots/{snapshot_id}. 200."""
    call.permit("volume:get_snapshot")
    project_id = None if call.origin.is_admin else call.origin.project_id
    row = await call.store.read(listing.one, listing.SNAPSHOTS, id_=_id(call), project_id=project_id)
    return answers.json(views.detail(call, row, attributes=True))


async def update(call: Call) -> Response:
    """PUT /snapshots/{snapshot_id}. 200, the snapshot afterwards."""
    call.permit("volume:update_snapshot")
    body = call.body(schemas.UpdateSnapshotBody).snapshot
    sent = {
        "name": stripped(first_sent(body.name, body.display_name)),
        "description": stripped(first_sent(body.description, body.display_description)),
    }
    fields: Mapping[str, Any] = {column: value for column, value in sent.items() if value is not UNSET}
    if not fields:
        raise BadRequest("Invalid snapshot: expected name or description.")
    row = await call.store.run(snapshot_edits.update_fields, origin=call.origin, snapshot_id=_id(call), fields=fields)
    return answers.json(views.detail(call, row, attributes=False))


async def delete(call: Call) -> Response:
    """DELETE /snapshots/{snapshot_id}. 202."""
    call.permit("volume:delete_snapshot")
    accepted = await call.store.run(snapshots.begin_delete, origin=call.origin, snapshot_id=_id(call))
    call.ring(accepted.queue)
    return answers.empty(202)


# --- actions ---------------------------------------------------------------------------------------------------------


async def force_delete(call: Call) -> Response:
    """os-force_delete. 202."""
    call.permit("volume_extension:snapshot_admin_actions:force_delete")
    accepted = await call.store.run(snapshots.begin_force_delete, origin=call.origin, snapshot_id=_id(call))
    call.ring(accepted.queue)
    return answers.empty(202)


async def reset_status(call: Call) -> Response:
    """os-reset_status. 202."""
    call.permit("volume_extension:snapshot_admin_actions:reset_status")
    body = call.body(schemas.ResetStatus)
    accepted = await call.store.run(
        snapshots.reset_status, origin=call.origin, snapshot_id=_id(call), status=str(body.status)
    )
    call.ring(accepted.queue)
    return answers.empty(202)


async def update_status(call: Call) -> Response:
    """os-update_snapshot_status. 202."""
    call.permit("snapshot_extension:snapshot_actions:update_snapshot_status")
    body = call.body(schemas.UpdateStatus)
    accepted = await call.store.run(
        snapshots.update_status,
        origin=call.origin,
        snapshot_id=_id(call),
        status=body.status,
        progress=None if body.progress is None else str(body.progress),
    )
    call.ring(accepted.queue)
    return answers.empty(202)


ACTIONS: Final = {
    "os-force_delete": Action(force_delete, status=202),
    "os-reset_status": Action(reset_status, status=202, body=schemas.ResetStatus),
    "os-update_snapshot_status": Action(update_status, status=202, body=schemas.UpdateStatus),
    **managing.SNAPSHOT_ACTIONS,
}

ROUTES: Final = (
    Route("POST", "snapshots", create, status=202, body=schemas.CreateSnapshotBody, answer=views.ONE),
    Route("GET", "snapshots", list_summary, query=LISTS, answer=views.MANY_SHORT),
    Route("GET", "snapshots/detail", list_detail, query=LISTS, answer=views.MANY),
    Route("GET", "snapshots/{snapshot_id}", show, answer=views.ONE),
    Route("PUT", "snapshots/{snapshot_id}", update, status=200, body=schemas.UpdateSnapshotBody, answer=views.ONE),
    Route("DELETE", "snapshots/{snapshot_id}", delete, status=202),
    Route("POST", "snapshots/{snapshot_id}/action", actions=ACTIONS),
)


# --- from the call to what transactions take -----------------------------------------------------------------------


def _id(call: Call) -> SnapshotId:
    return SnapshotId(call.path["snapshot_id"])


async def _list(call: Call, *, detail: bool) -> Response:
    found = await call.store.read(listing.page, listing.SNAPSHOTS, paging.read(call, LISTS))
    content: dict[str, Any] = {"snapshots": (views.details if detail else views.summaries)(call, found.rows)}
    links = paging.next_links(call, LISTS, found.rows, detail=detail)
    if links:
        content["snapshots_links"] = links
    if found.total is not None:
        content["count"] = found.total
    return answers.json(content)


def _wanted(call: Call, asked: schemas.CreateSnapshot) -> NewSnapshot:
    """What is asked for. From 3.66 on a volume in use needs no force, and a false one is refused. Raises BadRequest."""
    implied = call.microversion >= SNAPSHOT_IN_USE
    if implied and asked.force is not None and not asked.force:
        raise BadRequest(
            f"Invalid snapshot.force = false: since version {SNAPSHOT_IN_USE} volumes in use are always included."
        )
    name = stripped(first_sent(asked.name, asked.display_name))
    return NewSnapshot(
        id=SnapshotId(call.new_id()),
        volume_id=VolumeId(str(asked.volume_id)),
        name=None if name is UNSET else name,
        description=stripped(asked.description),
        metadata=asked.metadata or {},
        force=implied or bool(asked.force),
    )
