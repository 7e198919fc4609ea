"""Services: what runs where, and whether operators want it to."""

from typing import Any, Final

from starlette.responses import Response

from breezeblock.api import answers
from breezeblock.api.call import Call
from breezeblock.api.microversions import REPLICATION_CLUSTER
from breezeblock.api.paging import Filter
from breezeblock.api.schemas.services import DisableService, FailOver, FreezeBackend, SwitchService
from breezeblock.api.views import services as views
from breezeblock.model.errors import BadRequest
from breezeblock.resources import backend_changes, services

# What is looked at in the query, for the description of the API.
LISTED_BY: Final = {"host": Filter(), "binary": Filter()}


async def list_services(call: Call) -> Response:
    """GET /v3/{project_id}/os-services, filtered by host and binary. 200."""
    call.permit("volume_extension:services:index")
    settings = call.settings.service
    found = await call.store.read(
        services.list_services,
        own_cluster=settings.cluster,
        default_zone=settings.availability_zone,
        with_backups=True,
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


async def freeze(call: Call) -> Response:
    """PUT /v3/{project_id}/os-services/freeze: nothing on this backend is to change. 200, empty body."""
    call.permit("volume:freeze_host")
    host, cluster = _which(call, call.body(FreezeBackend))
    await call.store.run(backend_changes.freeze, host=host, cluster=cluster, origin=call.origin)
    return answers.empty(200)


async def thaw(call: Call) -> Response:
    """PUT /v3/{project_id}/os-services/thaw. 200, empty body."""
    call.permit("volume:thaw_host")
    host, cluster = _which(call, call.body(FreezeBackend))
    await call.store.run(backend_changes.thaw, host=host, cluster=cluster, origin=call.origin)
    return answers.empty(200)


async def fail_over(call: Call) -> Response:
    """PUT /v3/{project_id}/os-services/failover_host, and failover. 202, empty body.

    Both move the whole backend, whichever of its hosts is named. `failover` came with 3.26; openstacksdk calls it without
    naming a version, so it is there in all.
    """
    call.permit("volume:failover_host")
    body = call.body(FailOver)
    host, cluster = _which(call, body)
    accepted = await call.store.run(
        backend_changes.begin_failover, host=host, cluster=cluster, target=body.backend_id or None, origin=call.origin
    )
    call.ring(accepted.queue)
    return answers.empty(202)


def _which(call: Call, body: FreezeBackend) -> tuple[str | None, str | None]:
    """The host or the cluster that is meant: one of them, and before 3.26 the host. Raises BadRequest."""
    if call.microversion < REPLICATION_CLUSTER:
        if not body.host:
            raise BadRequest("Invalid input received: Host field is missing.")
        return body.host, None
    if bool(body.host) == bool(body.cluster):
        raise BadRequest("Invalid input received: one and only one of cluster and host must be set.")
    return body.host, body.cluster


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
