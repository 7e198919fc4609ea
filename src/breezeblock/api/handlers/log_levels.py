"""Log levels of services, while they run."""

from typing import Final

from starlette.responses import Response

from breezeblock.api import answers
from breezeblock.api.call import Call
from breezeblock.api.microversions import LOG_LEVELS
from breezeblock.api.routing import Route
from breezeblock.api.schemas.services import GetLog, SetLog
from breezeblock.api.views.shapes import MAP_OF_TEXTS, TEXT, many, named, object_of
from breezeblock.resources import log_levels
from breezeblock.resources.log_levels import Said

RULE: Final = "volume_extension:services:update"


async def set_log(call: Call) -> Response:
    """PUT /v3/{project_id}/os-services/set-log. 202, empty body: every process that is meant obeys within a few seconds."""
    call.permit(RULE)
    body = call.body(SetLog)
    said = Said(
        binary=str(body.binary or ""),
        server=body.server or "",
        prefix=body.prefix or "",
        level=str(body.level),
    )
    await call.store.run(log_levels.say, said=said)
    return answers.empty(202)


async def get_log(call: Call) -> Response:
    """PUT /v3/{project_id}/os-services/get-log. 200: what each live service uses."""
    call.permit(RULE)
    body = call.body(GetLog)
    settings = call.settings.service
    found = await call.store.read(
        log_levels.reports,
        binary=str(body.binary or ""),
        server=body.server or "",
        prefix=body.prefix or "",
        own_cluster=settings.cluster,
        default_zone=settings.availability_zone,
    )
    shown = [{"binary": one.binary, "host": one.host, "levels": one.levels} for one in found]
    return answers.json({"log_levels": shown})


LEVELS: Final = named("log_levels", many(object_of({"binary": TEXT, "host": TEXT, "levels": MAP_OF_TEXTS})))

ROUTES: Final = (
    Route("PUT", "os-services/set-log", set_log, since=LOG_LEVELS, status=202, body=SetLog),
    Route("PUT", "os-services/get-log", get_log, since=LOG_LEVELS, status=200, body=GetLog, answer=LEVELS),
)
