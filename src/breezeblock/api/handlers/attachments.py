"""Attachments: reserve, connect, complete, delete. What a driver has to say is waited for, and found by asking again."""

from typing import Any, Final

from starlette.responses import Response

from breezeblock.api import answers, paging
from breezeblock.api.answers_of_operations import wait_for
from breezeblock.api.call import Call
from breezeblock.api.microversions import ATTACH_COMPLETION, ATTACH_MODE, ATTACHMENTS
from breezeblock.api.paging import Filter, Lists
from breezeblock.api.routing import Action, Route
from breezeblock.api.schemas import attachments as schemas
from breezeblock.api.views import attachments as views
from breezeblock.model.errors import BadRequest
from breezeblock.model.ids import AttachmentId, VolumeId
from breezeblock.resources import attachments, connections, listing
from breezeblock.resources.attachments import Change, NewAttachment
from breezeblock.resources.listing import Condition, Page

LISTS: Final = Lists(
    collection="attachments",
    filters={
        "volume_id": Filter(),
        "status": Filter(),
        "attach_status": Filter(attribute="status"),
        "instance_id": Filter(),
        # Cinder has it for administrators. By it a host that has lost the answer to a request finds its own attachment.
        "attached_host": Filter(),
        "instance_uuid": Filter(public=False, attribute="instance_id"),
        "id": Filter(public=False),
        "project_id": Filter(public=False),
        "mountpoint": Filter(public=False),
        "attach_mode": Filter(public=False),
    },
    sort_keys=frozenset(attachments.LISTING.attributes) - {"bare"},
    sort_aliases={"instance_uuid": "instance_id", "attach_status": "status"},
)


async def list_summary(call: Call) -> Response:
    """GET /attachments. 200."""
    return await _list(call, detail=False)


async def list_detail(call: Call) -> Response:
    """GET /attachments/detail. 200."""
    return await _list(call, detail=True)


async def show(call: Call) -> Response:
    """GET /attachments/{attachment_id}. 200."""
    call.permit("volume:attachment_get")
    row = await call.store.read(attachments.get, attachment_id=_id(call), origin=call.origin)
    return answers.json({"attachment": views.detail(row)})


async def create(call: Call) -> Response:
    """POST /attachments. 200, the attachment; with a connector when it is connected."""
    call.permit("volume:attachment_create")
    asked: Any
    if call.microversion >= ATTACH_MODE:
        asked = call.body(schemas.CreateWithModeBody).attachment
    else:
        asked = call.body(schemas.CreateBody).attachment
    mode = getattr(asked, "mode", None)
    wanted = NewAttachment(
        id=AttachmentId(call.new_id()),
        volume_id=VolumeId(str(asked.volume_uuid)),
        instance_uuid=None if asked.instance_uuid is None else str(asked.instance_uuid),
        mode=None if mode is None else str(mode),
        connector=dict(asked.connector) if asked.connector else None,
        no_second_boot=call.refusal("volume:multiattach_bootable_volume"),
    )
    return await _connected(call, await call.store.run(attachments.begin_create, origin=call.origin, wanted=wanted))


async def update(call: Call) -> Response:
    """PUT /attachments/{attachment_id}. 200, the attachment when it is connected."""
    call.permit("volume:attachment_update")
    connector = dict(call.body(schemas.UpdateBody).attachment.connector)
    if not connector:
        raise BadRequest("Invalid attachment.connector = {}: expected what the host says of itself.")
    change = await call.store.run(
        attachments.begin_update, origin=call.origin, attachment_id=_id(call), connector=connector
    )
    return await _connected(call, change)


async def complete(call: Call) -> Response:
    """os-complete. 204."""
    call.permit("volume:attachment_complete")
    await call.store.run(attachments.complete, origin=call.origin, attachment_id=_id(call))
    return answers.empty(204)


async def delete(call: Call) -> Response:
    """DELETE /attachments/{attachment_id}. 200, the attachments that the volume still has."""
    call.permit("volume:attachment_delete")
    change = await call.store.run(
        attachments.begin_delete,
        origin=call.origin,
        attachment_id=_id(call),
        spares_instances=call.spares_instances,
    )
    await gone(call, change)
    return answers.json({"attachments": [views.summary(row) for row in change.rest]})


ROUTES: Final = (
    Route("GET", "attachments", list_summary, since=ATTACHMENTS, query=LISTS, answer=views.MANY_SHORT),
    Route(
        "POST",
        "attachments",
        create,
        since=ATTACHMENTS,
        status=200,
        body={ATTACHMENTS: schemas.CreateBody, ATTACH_MODE: schemas.CreateWithModeBody},
        answer=views.ONE,
    ),
    Route("GET", "attachments/detail", list_detail, since=ATTACHMENTS, query=LISTS, answer=views.MANY),
    Route("GET", "attachments/{attachment_id}", show, since=ATTACHMENTS, answer=views.ONE),
    Route(
        "PUT",
        "attachments/{attachment_id}",
        update,
        since=ATTACHMENTS,
        status=200,
        body=schemas.UpdateBody,
        answer=views.ONE,
    ),
    Route("DELETE", "attachments/{attachment_id}", delete, since=ATTACHMENTS, status=200, answer=views.MANY_SHORT),
    Route(
        "POST",
        "attachments/{attachment_id}/action",
        since=ATTACHMENTS,
        actions={"os-complete": Action(complete, since=ATTACH_COMPLETION, status=204)},
    ),
)


# --- what is waited for ----------------------------------------------------------------------------------------------


async def gone(call: Call, change: Change) -> None:
    """Wait until what is on its way out is gone. Raises StorageFailed, StillRunning."""
    call.ring(change.queue)
    if change.going:
        what = f"Disconnecting volume {change.row['volume_id']}"
        await wait_for(call, what, connections.removed, ids=change.going)


async def connected(call: Call, change: Change) -> Any:
    """The attachment's row when its operation has connected it. Raises NotFound, Conflict, StorageFailed, StillRunning."""
    call.ring(change.queue)
    what = f"Connecting volume {change.row['volume_id']}"
    attachment_id = change.row["id"]
    return await wait_for(
        call, what, connections.connected, attachment_id=attachment_id, operation_id=change.operation_id
    )


async def _connected(call: Call, change: Change) -> Response:
    row = change.row
    if change.operation_id is not None:
        row = await connected(call, change)
    return answers.json({"attachment": views.detail(row)})


async def _list(call: Call, *, detail: bool) -> Response:
    call.permit("volume:attachment_get_all")
    read = paging.read(call, LISTS)
    wanted = Page(
        project_id=read.project_id,
        limit=read.limit,
        sort=read.sort,
        where=(*read.where, Condition("bare", "eq", False)),
        marker=read.marker,
        offset=read.offset,
    )
    found = await call.store.read(listing.page, attachments.LISTING, wanted)
    view = views.detail if detail else views.summary
    return answers.json({"attachments": [view(dict(row._mapping)) for row in found.rows]})


def _id(call: Call) -> AttachmentId:
    return AttachmentId(call.path["attachment_id"])
