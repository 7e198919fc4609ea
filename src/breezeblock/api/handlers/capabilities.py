"""What a backend offers, as its last report has it: no driver is asked, so it is told also while no node serves it."""

from typing import Final

from starlette.responses import Response

from breezeblock.api import answers
from breezeblock.api.call import Call
from breezeblock.api.routing import Route
from breezeblock.api.views import capabilities as views
from breezeblock.resources import hosts


async def show(call: Call) -> Response:
    """GET /v3/{project_id}/capabilities/{host}: of `node@backend`, `cluster@backend`, or a pool of it. 200."""
    call.permit("volume_extension:capabilities")
    pool = await call.store.read(hosts.find_pool, host=call.path["host"], own_cluster=call.settings.service.cluster)
    return answers.json(views.detail(pool))


ROUTES: Final = (Route("GET", "capabilities/{host}", show, answer=views.SHOWN),)
