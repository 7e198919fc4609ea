"""What type the volumes of a project get when they name none, since 3.62."""

from typing import Any, Final

from starlette.responses import Response

from breezeblock.api import answers
from breezeblock.api.call import Call
from breezeblock.api.microversions import DEFAULT_TYPES
from breezeblock.api.policy import Target
from breezeblock.api.routing import Route
from breezeblock.api.schemas.default_types import DefaultTypeBody
from breezeblock.api.views.shapes import TEXT, many, named, object_of
from breezeblock.model.errors import BadRequest
from breezeblock.resources import default_types

PROJECT_MAX: Final = 255


async def list_defaults(call: Call) -> Response:
    """GET /v3/default-types: every project for which something was said. 200."""
    call.permit("volume_extension:default_get_all")
    rows = await call.store.read(default_types.list_defaults)
    return answers.json({"default_types": [_shown(row) for row in rows]})


async def show(call: Call) -> Response:
    """GET /v3/default-types/{owner}. 200."""
    call.permit("volume_extension:default_get", Target(project_id=call.path["owner"], user_id=""))
    row = await call.store.read(default_types.get_default, project_id=call.path["owner"])
    return answers.json({"default_type": _shown(row)})


async def put(call: Call) -> Response:
    """PUT /v3/default-types/{owner}. 200, what counts now."""
    call.permit("volume_extension:default_set_or_update", Target(project_id=call.path["owner"], user_id=""))
    project_id = call.path["owner"]
    if not 0 < len(project_id) <= PROJECT_MAX:
        raise BadRequest(f"Invalid project of {len(project_id)} characters in the URL: expected 1 to {PROJECT_MAX}.")
    named = call.body(DefaultTypeBody).default_type.volume_type
    row = await call.store.run(default_types.set_default, project_id=project_id, name_or_id=named, origin=call.origin)
    return answers.json({"default_type": _shown(row)})


async def delete(call: Call) -> Response:
    """DELETE /v3/default-types/{owner}: back to the service's default. 204, also where nothing was said."""
    call.permit("volume_extension:default_unset", Target(project_id=call.path["owner"], user_id=""))
    await call.store.run(default_types.unset_default, project_id=call.path["owner"])
    return answers.empty(204)


_SHOWN: Final = object_of({"project_id": TEXT, "volume_type_id": TEXT})
ONE: Final = named("default_type", _SHOWN)
MANY: Final = named("default_types", many(_SHOWN))

ROUTES: Final = (
    Route("GET", "default-types", list_defaults, since=DEFAULT_TYPES, answer=MANY),
    Route("GET", "default-types/{owner}", show, since=DEFAULT_TYPES, answer=ONE),
    Route("PUT", "default-types/{owner}", put, since=DEFAULT_TYPES, status=200, body=DefaultTypeBody, answer=ONE),
    Route("DELETE", "default-types/{owner}", delete, since=DEFAULT_TYPES, status=204),
)


def _shown(row: Any) -> dict[str, Any]:
    return {"project_id": row["project_id"], "volume_type_id": row["volume_type_id"]}
