"""The older actions by which volumes are attached and detached, under POST /volumes/{volume_id}/action."""

from collections.abc import Callable
from typing import Final

import msgspec
from starlette.responses import Response

from breezeblock.api import answers, bodies
from breezeblock.api.call import Call
from breezeblock.api.handlers.attachments import connected, gone
from breezeblock.api.routing import Action
from breezeblock.api.schemas import attachments as schemas
from breezeblock.api.views import attachments as views
from breezeblock.model.errors import BadRequest
from breezeblock.model.ids import AttachmentId, VolumeId
from breezeblock.resources import old_attachments
from breezeblock.resources.attachments import Change
from breezeblock.resources.connections import READ_WRITE

RULES: Final = "volume_extension:volume_actions:"


async def reserve(call: Call) -> Response:
    """os-reserve. 202."""
    call.permit(f"{RULES}reserve")
    return await _word(call, old_attachments.reserve)


async def unreserve(call: Call) -> Response:
    """os-unreserve. 202."""
    call.permit(f"{RULES}unreserve")
    return await _word(call, old_attachments.unreserve)


async def begin_detaching(call: Call) -> Response:
    """os-begin_detaching. 202."""
    call.permit(f"{RULES}begin_detaching")
    return await _word(call, old_attachments.begin_detaching)


async def roll_detaching(call: Call) -> Response:
    """os-roll_detaching. 202."""
    call.permit(f"{RULES}roll_detaching")
    return await _word(call, old_attachments.roll_detaching)


async def attach(call: Call) -> Response:
    """os-attach. 202."""
    call.permit(f"{RULES}attach")
    body = call.body(schemas.Attach)
    if body.instance_uuid is None and body.host_name is None:
        raise BadRequest("Invalid os-attach: expected instance_uuid or host_name.")
    await call.store.run(
        old_attachments.attach,
        origin=call.origin,
        volume_id=_id(call),
        attachment_id=AttachmentId(call.new_id()),
        instance_uuid=None if body.instance_uuid is None else str(body.instance_uuid),
        host_name=body.host_name,
        mountpoint=body.mountpoint,
        mode=str(body.mode or READ_WRITE),
    )
    return answers.empty(202)


async def detach(call: Call) -> Response:
    """os-detach. 202, when it is detached."""
    call.permit(f"{RULES}detach")
    body = schemas.Detach() if _is_null(call) else call.body(schemas.Detach)
    chosen = None if body.attachment_id is None else str(body.attachment_id)
    change = await call.store.run(
        old_attachments.begin_detach,
        origin=call.origin,
        volume_id=_id(call),
        attachment_id=chosen,
        spares_instances=call.spares_instances,
    )
    await gone(call, change)
    return answers.empty(202)


async def initialize_connection(call: Call) -> Response:
    """os-initialize_connection. 200, how to connect."""
    call.permit(f"{RULES}initialize_connection")
    connector = dict(call.body(schemas.Connection).connector)
    change = await call.store.run(
        old_attachments.begin_connection,
        origin=call.origin,
        volume_id=_id(call),
        attachment_id=AttachmentId(call.new_id()),
        connector=connector,
    )
    row = await connected(call, change)
    return answers.json({"connection_info": views.nested_connection_info(row)})


async def terminate_connection(call: Call) -> Response:
    """os-terminate_connection. 202, when the host is disconnected."""
    call.permit(f"{RULES}terminate_connection")
    connector = call.body(schemas.Disconnection).connector
    change = await call.store.run(
        old_attachments.begin_disconnection,
        origin=call.origin,
        volume_id=_id(call),
        connector=connector,
        spares_instances=call.spares_instances,
    )
    await gone(call, change)
    return answers.empty(202)


async def force_detach(call: Call) -> Response:
    """os-force_detach. 202, when it is detached."""
    call.permit("volume_extension:volume_admin_actions:force_detach")
    body = call.body(schemas.ForceDetach)
    change = await call.store.run(
        old_attachments.begin_force_detach,
        origin=call.origin,
        volume_id=_id(call),
        attachment_id=None if body.attachment_id is None else str(body.attachment_id),
        connector=body.connector,
        spares_instances=call.spares_instances,
    )
    await gone(call, change)
    return answers.empty(202)


ACTIONS: Final = {
    "os-attach": Action(attach, status=202, body=schemas.Attach),
    "os-detach": Action(detach, status=202, body=schemas.Detach),
    "os-reserve": Action(reserve, status=202),
    "os-unreserve": Action(unreserve, status=202),
    "os-begin_detaching": Action(begin_detaching, status=202),
    "os-roll_detaching": Action(roll_detaching, status=202),
    "os-initialize_connection": Action(
        initialize_connection, status=200, body=schemas.Connection, answer=views.CONNECTION
    ),
    "os-terminate_connection": Action(terminate_connection, status=202, body=schemas.Disconnection),
    "os-force_detach": Action(force_detach, status=202, body=schemas.ForceDetach),
}


async def _word(call: Call, f: Callable[..., Change]) -> Response:
    await call.store.run(f, origin=call.origin, volume_id=_id(call))
    return answers.empty(202)


def _is_null(call: Call) -> bool:
    """Whether nothing is under the action's key, as older clients send it."""
    try:
        return bool(msgspec.json.decode(call.raw) is None)
    except bodies.NOT_JSON:
        return False  # which the body's own reading will say


def _id(call: Call) -> VolumeId:
    return VolumeId(call.path["volume_id"])
