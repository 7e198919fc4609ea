"""Groups of volumes, since 3.13: make, list, show, change, and what POST …/action does."""

from dataclasses import replace
from typing import Any, Final

from msgspec import structs
from starlette.responses import Response

from breezeblock.api import answers, paging
from breezeblock.api.call import Call
from breezeblock.api.microversions import (
    GROUP_OF_VOLUME,
    GROUP_REPLICATION,
    GROUP_RESET,
    GROUP_SNAPSHOT_OF_SNAPSHOT,
    GROUP_VOLUMES,
)
from breezeblock.api.paging import Filter, Kind, Lists
from breezeblock.api.routing import Action, Route
from breezeblock.api.schemas import groups as schemas
from breezeblock.api.schemas.fields import stripped
from breezeblock.api.views import groups as views
from breezeblock.model.errors import BadRequest
from breezeblock.resources import group_listing, group_replication, group_sources, groups
from breezeblock.resources.group_types import CONSISTENT_TYPE_ID, CONSISTENT_TYPE_NAME
from breezeblock.resources.listing import Page

# Not a filter, though it stands among them: what is shown of each.
LIST_VOLUME: Final = "list_volume"
LISTS: Final = Lists(
    collection="groups",
    filters={
        "name": Filter(),
        "id": Filter(public=False),
        "status": Filter(public=False),
        "project_id": Filter(public=False),
        "user_id": Filter(public=False),
        "description": Filter(public=False),
        "host": Filter(Kind.HOST, public=False),
        "cluster_name": Filter(Kind.HOST, public=False, attribute="host"),
        "replication_status": Filter(public=False),
        "availability_zone": Filter(public=False),
        "group_type_id": Filter(public=False),
        "group_snapshot_id": Filter(public=False),
        "source_group_id": Filter(public=False),
    },
    sort_keys=frozenset(group_listing.GROUPS.attributes) - {"replication_status"},
    sort_aliases={},
    ignores=False,
    own={LIST_VOLUME: Filter(Kind.FLAG, since=GROUP_VOLUMES)},
)


async def create(call: Call) -> Response:
    """POST /groups. 202, the new group."""
    call.permit("group:create")
    asked = call.body(schemas.CreateGroupBody).group
    if len(set(asked.volume_types)) < len(asked.volume_types):
        raise BadRequest(f"Invalid group.volume_types = {asked.volume_types}: expected each type once.")
    if asked.group_type in (CONSISTENT_TYPE_ID, CONSISTENT_TYPE_NAME):
        raise reserved("group")
    wanted = groups.NewGroup(
        id=call.new_id(),
        group_type=asked.group_type,
        volume_types=tuple(asked.volume_types),
        name=stripped(asked.name),
        description=stripped(asked.description),
        availability_zone=asked.availability_zone or None,
        default_zone=call.settings.service.availability_zone,
    )
    accepted = await call.store.run(
        groups.create, origin=call.origin, wanted=wanted, quota_defaults=call.quota_defaults
    )
    return answers.json({"group": views.created(accepted.row)}, 202)


async def create_from_source(call: Call) -> Response:
    """create-from-src. 202, the new group."""
    call.permit("group:create")
    asked = call.body(schemas.CreateFromSource)
    if (asked.group_snapshot_id is None) == (asked.source_group_id is None):
        raise BadRequest("Invalid create-from-src: expected one of group_snapshot_id and source_group_id.")
    wanted = group_sources.GroupFromSource(
        id=call.new_id(),
        name=stripped(asked.name),
        description=stripped(asked.description),
        group_snapshot_id=None if asked.group_snapshot_id is None else str(asked.group_snapshot_id),
        source_group_id=None if asked.source_group_id is None else str(asked.source_group_id),
    )
    await _require_generic_source(call, wanted)
    return answers.json({"group": views.created(await run_from_source(call, wanted))}, 202)


async def run_from_source(call: Call, wanted: group_sources.GroupFromSource) -> Any:
    """The row of the new group, also for those who call it otherwise. Its members are new volumes, and asked for as such."""
    call.permit("volume:create", call.own)
    wanted = structs.replace(wanted, no_multiattach=call.refusal("volume:multiattach", call.own))
    accepted = await call.store.run(
        group_sources.begin_create, origin=call.origin, wanted=wanted, quota_defaults=call.quota_defaults
    )
    call.ring(accepted.queue)
    return accepted.row


async def _require_generic_source(call: Call, wanted: group_sources.GroupFromSource) -> None:
    project_id = seen_by(call)
    if wanted.source_group_id is not None:
        await require_generic(call, wanted.source_group_id)
        return
    id_ = str(wanted.group_snapshot_id)
    row = await call.store.read(group_listing.one_snapshot, group_snapshot_id=id_, project_id=project_id)
    if row.group_type_id == CONSISTENT_TYPE_ID:
        raise reserved("group snapshot")


async def list_summary(call: Call) -> Response:
    """GET /groups. 200, ids and names."""
    call.permit("group:get_all")
    return await _list(call, detail=False)


async def list_detail(call: Call) -> Response:
    """GET /groups/detail. 200."""
    call.permit("group:get_all")
    return await _list(call, detail=True)


async def show(call: Call) -> Response:
    """GET /groups/{group_id}; from 3.25 with its volumes, if asked for by list_volume. 200."""
    call.permit("group:get")
    with_volumes = _with_volumes(call)
    found = await call.store.read(
        group_listing.one, group_id=_id(call), project_id=seen_by(call), with_volumes=with_volumes
    )
    if found.rows[0].group_type_id == CONSISTENT_TYPE_ID:
        raise reserved("group")
    (group,) = views.details(call, found, with_volumes=with_volumes)
    return answers.json({"group": group})


async def update(call: Call) -> Response:
    """PUT /groups/{group_id}. 202, empty body."""
    call.permit("group:update")
    asked = call.body(schemas.UpdateGroupBody).group
    await require_generic(call, _id(call))
    await run_update(call, asked, group_id=_id(call))
    return answers.empty(202)


async def run_update(call: Call, asked: schemas.UpdateGroup | schemas.UpdateConsistencyGroup, *, group_id: str) -> None:
    """Change a group, also for those who call it otherwise."""
    await call.store.run(
        groups.update,
        origin=call.origin,
        group_id=group_id,
        name=stripped(asked.name),
        description=stripped(asked.description),
        add=_ids(asked.add_volumes),
        remove=_ids(asked.remove_volumes),
    )


# --- actions ---------------------------------------------------------------------------------------------------------


async def delete(call: Call) -> Response:
    """delete. 202."""
    call.permit("group:delete")
    body = call.body(schemas.DeleteGroup)
    await require_generic(call, _id(call))
    await run_delete(call, group_id=_id(call), with_volumes=bool(body.with_volumes))
    return answers.empty(202)


async def run_delete(call: Call, *, group_id: str, with_volumes: bool) -> None:
    """Delete a group, also for those who call it otherwise."""
    accepted = await call.store.run(
        groups.begin_delete, origin=call.origin, group_id=group_id, with_volumes=with_volumes
    )
    call.ring(accepted.queue)


async def reset_status(call: Call) -> Response:
    """reset_status. 202."""
    call.permit("group:reset_status")
    body = call.body(schemas.ResetStatus)
    await call.store.run(groups.reset_status, origin=call.origin, group_id=_id(call), status=str(body.status))
    return answers.empty(202)


async def enable_replication(call: Call) -> Response:
    """enable_replication. 400 on backends that do not replicate groups, as all those here."""
    call.permit("group:enable_replication")
    call.body(schemas.Nothing)
    return await _replicate(call)


async def disable_replication(call: Call) -> Response:
    """disable_replication. As enable_replication."""
    call.permit("group:disable_replication")
    call.body(schemas.Nothing)
    return await _replicate(call)


async def fail_over(call: Call) -> Response:
    """failover_replication. As enable_replication."""
    call.permit("group:failover_replication")
    call.body(schemas.FailOver)
    return await _replicate(call)


async def list_targets(call: Call) -> Response:
    """list_replication_targets. As enable_replication."""
    call.permit("group:list_replication_targets")
    call.body(schemas.Nothing)
    return await _replicate(call)


async def _replicate(call: Call) -> Response:
    await call.store.read(group_replication.refuse, group_id=_id(call), project_id=seen_by(call), asked=call.action)
    raise AssertionError("nothing here replicates a group")


GROUPS_ACTIONS: Final = {
    "create-from-src": Action(
        create_from_source,
        since=GROUP_SNAPSHOT_OF_SNAPSHOT,
        status=202,
        body=schemas.CreateFromSource,
        answer=views.CREATED,
    )
}
ACTIONS: Final = {
    "delete": Action(delete, status=202, body=schemas.DeleteGroup),
    "reset_status": Action(reset_status, since=GROUP_RESET, status=202, body=schemas.ResetStatus),
    "enable_replication": Action(enable_replication, since=GROUP_REPLICATION, status=202),
    "disable_replication": Action(disable_replication, since=GROUP_REPLICATION, status=202),
    "failover_replication": Action(fail_over, since=GROUP_REPLICATION, status=202, body=schemas.FailOver),
    "list_replication_targets": Action(list_targets, since=GROUP_REPLICATION, status=200),
}

ROUTES: Final = (
    Route(
        "POST", "groups", create, since=GROUP_OF_VOLUME, status=202, body=schemas.CreateGroupBody, answer=views.CREATED
    ),
    Route("GET", "groups", list_summary, since=GROUP_OF_VOLUME, query=LISTS, answer=views.MANY_SHORT),
    Route("GET", "groups/detail", list_detail, since=GROUP_OF_VOLUME, query=LISTS, answer=views.MANY),
    Route("POST", "groups/action", actions=GROUPS_ACTIONS, since=GROUP_OF_VOLUME),
    Route("GET", "groups/{group_id}", show, since=GROUP_OF_VOLUME, query=LISTS.own, answer=views.ONE),
    Route("PUT", "groups/{group_id}", update, since=GROUP_OF_VOLUME, status=202, body=schemas.UpdateGroupBody),
    Route("POST", "groups/{group_id}/action", actions=ACTIONS, since=GROUP_OF_VOLUME),
)


# --- from the call to what transactions take -----------------------------------------------------------------------


def _id(call: Call) -> str:
    return call.path["group_id"]


def _ids(text: str | None) -> tuple[str, ...]:
    """Volumes as they are written in one text, between commas."""
    return tuple(dict.fromkeys(part.strip() for part in (text or "").split(",") if part.strip()))


def seen_by(call: Call) -> str | None:
    """Whose rows this caller sees; None: everybody's."""
    return None if call.origin.is_admin else call.origin.project_id


async def require_generic(call: Call, group_id: str) -> None:
    """Raise BadRequest for a consistency group, and NotFound. What a group is never changes."""
    type_id = await call.store.read(group_listing.group_type_of, group_id=group_id, project_id=seen_by(call))
    if type_id == CONSISTENT_TYPE_ID:
        raise reserved("group")


def reserved(noun: str) -> BadRequest:
    """The refusal of what belongs to the calls for consistency groups."""
    return BadRequest(
        f"Group_type {CONSISTENT_TYPE_ID} is reserved for consistency groups: a {noun} of it can only be operated by "
        "the calls for consistency groups and cgsnapshots."
    )


def _with_volumes(call: Call) -> bool:
    return call.microversion >= GROUP_VOLUMES and paging.flag(call.query, LIST_VOLUME)


async def _list(call: Call, *, detail: bool) -> Response:
    page: Page = paging.read(call, LISTS)
    with_volumes = _with_volumes(call) and detail  # what it says is read in any case
    found = await call.store.read(
        group_listing.page,
        wanted=replace(page, where=(*page.where, group_listing.GENERIC), with_count=False),
        with_types=detail,
        with_volumes=with_volumes,
    )
    shown = views.details(call, found, with_volumes=with_volumes) if detail else [views.summary(r) for r in found.rows]
    content: dict[str, Any] = {"groups": shown}
    links = paging.next_links(call, LISTS, found.rows, detail=detail)
    if links:
        content["group_links"] = links
    return answers.json(content)
