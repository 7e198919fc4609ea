"""Clusters: the nodes that share a backend, seen as one."""

from collections.abc import Callable
from typing import Any, Final

from starlette.responses import Response

from breezeblock.api import answers, paging
from breezeblock.api.call import Call
from breezeblock.api.microversions import REPLICATION_CLUSTER
from breezeblock.api.paging import Filter, Kind
from breezeblock.api.schemas.clusters import DisableCluster, EnableCluster
from breezeblock.api.views import clusters as views
from breezeblock.model.errors import BadRequest
from breezeblock.resources import services
from breezeblock.resources.services import VOLUME, Cluster

# How each filter reads a cluster, as the text that it is compared with.
FILTERS: Final[dict[str, Callable[[Cluster], str]]] = {
    "name": lambda cluster: cluster.name,
    "binary": lambda cluster: VOLUME,
    "is_up": lambda cluster: str(cluster.up),
    "disabled": lambda cluster: str(cluster.word.disabled),
    "num_hosts": lambda cluster: str(cluster.hosts),
    "num_down_hosts": lambda cluster: str(cluster.hosts_down),
}
REPLICATION_FILTERS: Final[dict[str, Callable[[Cluster], str]]] = {
    "replication_status": lambda cluster: cluster.backend.replication_status,
    "frozen": lambda cluster: str(cluster.backend.frozen),
    "active_backend_id": lambda cluster: cluster.backend.active_backend_id or "",
}
FLAGS: Final = ("is_up", "disabled", "frozen")
# The same for the description of the API.
LISTED_BY: Final = {
    **{name: Filter(Kind.FLAG if name in FLAGS else Kind.TEXT) for name in FILTERS},
    **{
        name: Filter(Kind.FLAG if name in FLAGS else Kind.TEXT, since=REPLICATION_CLUSTER)
        for name in REPLICATION_FILTERS
    },
}


async def list_clusters(call: Call) -> Response:
    """GET /v3/{project_id}/clusters. 200."""
    return await _list(call, views.summary)


async def list_details(call: Call) -> Response:
    """GET /v3/{project_id}/clusters/detail. 200."""
    return await _list(call, views.detail)


async def show(call: Call) -> Response:
    """GET /v3/{project_id}/clusters/{cluster_name}?binary=cinder-volume. 200."""
    call.permit("clusters:get")
    binary = call.query.get("binary", VOLUME)
    cluster = await call.store.read(services.get_cluster, name=call.path["cluster_name"], binary=binary)
    return answers.json({"cluster": views.detail(call, cluster)})


async def enable(call: Call) -> Response:
    """PUT /v3/{project_id}/clusters/enable. 200."""
    call.permit("clusters:update")
    return await _switch(call, call.body(EnableCluster), disabled=False, reason=None)


async def disable(call: Call) -> Response:
    """PUT /v3/{project_id}/clusters/disable. 200."""
    call.permit("clusters:update")
    body = call.body(DisableCluster)
    return await _switch(call, body, disabled=True, reason=body.disabled_reason)


async def _list(call: Call, view: Callable[[Call, Cluster], dict[str, Any]]) -> Response:
    call.permit("clusters:get_all")
    wanted = _filters(call)
    found = await call.store.read(services.list_clusters)
    shown = [view(call, one) for one in found if all(read(one) == value for read, value in wanted)]
    return answers.json({"clusters": shown})


def _filters(call: Call) -> list[tuple[Callable[[Cluster], str], str]]:
    """What must be equal to what. Raises BadRequest."""
    known = FILTERS | (REPLICATION_FILTERS if call.microversion >= REPLICATION_CLUSTER else {})
    unknown = sorted(call.query.keys() - known.keys())
    if unknown:
        raise BadRequest(f"Invalid filter keys: {', '.join(unknown)}. Known here: {', '.join(sorted(known))}.")
    return [
        (known[name], str(paging.flag(call.query, name)) if name in FLAGS else value)
        for name, value in call.query.items()
    ]


async def _switch(call: Call, body: EnableCluster, *, disabled: bool, reason: str | None) -> Response:
    cluster = await call.store.run(
        services.set_cluster,
        name=body.name,
        binary=body.binary or VOLUME,
        disabled=disabled,
        reason=reason.strip() if reason else None,
        origin=call.origin,
    )
    return answers.json({"cluster": views.summary(call, cluster) | {"disabled_reason": cluster.word.reason}})
