"""Cleaning up after lost services, for operators who do not want to wait for it."""

from typing import Any

from starlette.responses import Response

from breezeblock.api import answers
from breezeblock.api.call import Call
from breezeblock.api.schemas.workers import CleanUp
from breezeblock.resources import cleanup
from breezeblock.resources.services import Service


async def clean_up(call: Call) -> Response:
    """POST /v3/{project_id}/workers/cleanup. 202; what is being cleaned, and what cannot be yet."""
    call.permit("workers:cleanup")
    body = call.body(CleanUp)
    wanted = cleanup.Wanted(
        cluster_name=body.cluster_name,
        service_id=body.service_id,
        host=body.host,
        binary=body.binary,
        is_up=bool(body.is_up),
        disabled=None if body.disabled is None else bool(body.disabled),
        resource_id=body.resource_id,
        resource_type=body.resource_type,
    )
    done = await call.store.run(
        cleanup.clean_up, wanted=wanted, own_cluster=call.settings.service.cluster, now_us=call.origin.at_us
    )
    for queue in done.queues:
        call.ring(queue)
    shown = {"cleaning": [_item(one) for one in done.cleaning], "unavailable": [_item(one) for one in done.unavailable]}
    return answers.json(shown, 202)


def _item(service: Service) -> dict[str, Any]:
    return {
        "id": cleanup.service_id(service),
        "host": service.host,
        "binary": service.binary,
        "cluster_name": service.queue,
    }
