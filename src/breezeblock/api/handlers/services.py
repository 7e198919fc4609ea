"""Services: what runs where, and whether operators want it to."""

from typing import Any

from starlette.responses import Response

from breezeblock.api import answers
from breezeblock.api.call import Call
from breezeblock.api.schemas.services import DisableService, SwitchService
from breezeblock.api.views import services as views
from breezeblock.model.errors import BadRequest
from breezeblock.resources import services


async def list_services(call: Call) -> Response:
    """GET /v3/{project_id}/os-services, filtered by host and binary. 200."""
    call.permit("volume_extension:services:index")
    settings = call.settings.service
    found = await call.store.read(
        services.list_services, own_cluster=settings.cluster, default_zone=settings.availability_zone
    )
    host, binary = call.query.get("host"), call.query.get("binary")
    wanted = [one for one in found if host in (None, one.host) and binary in (None, one.binary)]
    return answers.json({"services": [views.detail(call, one) for one in wanted]})


async def enable(call: Call) -> Response:
    """PUT /v3/{project_id}/os-services/enable. 200."""
    call.permit("volume_extension:services:update")
    return answers.json(await _switch(call, call.body(SwitchService), disabled=False))


async def disable(call: Call) -> Response:
    """PUT /v3/{project_id}/os-services/disable. 200."""
    call.permit("volume_extension:services:update")
    return answers.json(await _switch(call, call.body(SwitchService), disabled=True))


async def disable_log_reason(call: Call) -> Response:
    """PUT /v3/{project_id}/os-services/disable-log-reason. 200; the one answer that repeats the reason."""
    call.permit("volume_extension:services:update")
    body = call.body(DisableService)
    said = await _switch(call, body, disabled=True, reason=body.disabled_reason)
    return answers.json(said | {"disabled_reason": body.disabled_reason})


async def _switch(call: Call, body: SwitchService, *, disabled: bool, reason: str | None = None) -> dict[str, Any]:
    binary = body.binary or body.service
    if binary is None:
        raise BadRequest("Invalid body: one of binary and service is required.")
    if body.host is None:
        raise BadRequest("Invalid input received: Host field is missing.")
    await call.store.run(
        services.set_service,
        binary=binary,
        host=body.host,
        disabled=disabled,
        reason=reason,
        own_cluster=call.settings.service.cluster,
        origin=call.origin,
    )
    return {
        "host": body.host,
        "service": body.service or "",
        "binary": body.binary or "",
        "status": "disabled" if disabled else "enabled",
        "disabled": disabled,
    }
