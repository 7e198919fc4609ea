"""Hosts: the older view of services, what is on each of them, and whether it takes new volumes."""

from typing import Final

from starlette.responses import Response

from breezeblock.api import answers
from breezeblock.api.call import Call
from breezeblock.api.paging import Filter
from breezeblock.api.routing import Route
from breezeblock.api.views import hosts as views
from breezeblock.model.errors import BadRequest
from breezeblock.resources import hosts, services

RULE: Final = "volume_extension:hosts"
WORDS: Final = {"enable": True, "disable": False}


async def list_hosts(call: Call) -> Response:
    """GET /v3/{project_id}/os-hosts, of one zone or of all. 200: what nobody has disabled."""
    call.permit(RULE)
    settings = call.settings.service
    found = await call.store.read(
        services.list_services, own_cluster=settings.cluster, default_zone=settings.availability_zone
    )
    zone = call.query.get("zone")
    wanted = [one for one in found if not one.word.disabled and zone in (None, "", one.zone)]
    return answers.json({"hosts": [views.summary(one) for one in wanted]})


async def show(call: Call) -> Response:
    """GET /v3/{project_id}/os-hosts/{host}. 200: what is on it, in all and of each project."""
    call.permit(RULE)
    host = call.path["host"]
    found = await call.store.read(hosts.held_on, host=host, own_cluster=call.settings.service.cluster)
    return answers.json({"host": views.resources(host, found)})


async def update(call: Call) -> Response:
    """PUT /v3/{project_id}/os-hosts/{host}: `{"status": "enable"}`, or `disable`. 200."""
    call.permit(RULE)
    host, own_cluster = call.path["host"], call.settings.service.cluster
    word = _status(call.body(dict[str, str]))
    if word is None:
        await call.store.read(hosts.require_host, host=host, own_cluster=own_cluster)
        return answers.json({})
    enabled = WORDS[word]
    await call.store.run(hosts.set_enabled, host=host, enabled=enabled, own_cluster=own_cluster, origin=call.origin)
    return answers.json({"host": host, "status": "enabled" if enabled else "disabled"})


def _status(body: dict[str, str]) -> str | None:
    """The one setting that there is, in any case, as clients have always written it. Raises BadRequest."""
    found = None
    for name, value in body.items():
        if name.lower().strip() != "status":
            raise BadRequest(f"Invalid update setting: {name!r}. Known here: status.")
        found = value.lower().strip()
        if found not in WORDS:
            raise BadRequest(f"Invalid status: {value!r}: expected one of {', '.join(WORDS)}.")
    return found


ROUTES: Final = (
    Route("GET", "os-hosts", list_hosts, query={"zone": Filter()}, answer=views.MANY),
    Route("GET", "os-hosts/{host}", show, answer=views.RESOURCES),
    Route("PUT", "os-hosts/{host}", update, status=200, answer=views.SWITCHED),
)
