"""Fencing by hand: an administrator's word that a lost node writes no more. Ours; Cinder has nothing like it."""

import structlog
from starlette.responses import Response

from breezeblock.api import answers
from breezeblock.api.call import Call
from breezeblock.api.schemas.fences import FenceNode
from breezeblock.model.errors import BadRequest, NotFound
from breezeblock.protocol.node_events import Note
from breezeblock.resources import nodes

log = structlog.get_logger(__name__)


async def fence(call: Call) -> Response:
    """PUT /v3/{project_id}/os-services/fence. 200 with what was fenced; 400 unless confirmed, 409 for what seems to live."""
    call.permit("services:fence")
    body = call.body(FenceNode)
    found = await call.store.read(nodes.to_fence, cluster=call.settings.service.cluster, name=body.host)
    if not body.confirm:
        raise BadRequest(f'{nodes.RISK.format(name=body.host)} When you are certain, say so with "confirm": true.')
    env = call.services.env
    await nodes.refuse_the_living(env, found)
    nodes.refuse_unnamed(body.host, found)
    by = f"{call.origin.user_id} by the API ({call.origin.request_id})"
    fenced = await call.store.run(nodes.confirm, found=found, notes=[Note.of(env, by) for _ in found])
    if not fenced:
        raise NotFound(f"There is nothing to fence any more: {body.host} was fenced meanwhile.")
    log.warning("node.fenced_by_hand", node=body.host, incarnations=list(fenced), by=by)
    return answers.json(
        {
            "host": body.host,
            "fenced": [{"incarnation": one, "backends": list(queues)} for one, queues in fenced.items()],
        }
    )
