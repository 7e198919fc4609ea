"""Who may use a private volume type."""

from starlette.responses import Response

from breezeblock.api import answers
from breezeblock.api.call import Call
from breezeblock.api.schemas.type_access import ProjectAccess
from breezeblock.resources import types


async def list_access(call: Call) -> Response:
    """GET /v3/{project_id}/types/{type_id}/os-volume-type-access. 200."""
    call.permit("volume_extension:volume_type_access:get_all_for_type")
    type_id = call.path["type_id"]
    projects = await call.store.read(types.list_access, type_id=type_id, origin=call.origin)
    access = [{"volume_type_id": type_id, "project_id": project} for project in projects]
    return answers.json({"volume_type_access": access})


async def add(call: Call) -> Response:
    """POST /v3/{project_id}/types/{type_id}/action with addProjectAccess. 202, empty body."""
    call.permit("volume_extension:volume_type_access:addProjectAccess")
    project_id = call.body(ProjectAccess).project
    await call.store.run(types.add_access, type_id=call.path["type_id"], project_id=project_id, origin=call.origin)
    return answers.empty(202)


async def remove(call: Call) -> Response:
    """POST /v3/{project_id}/types/{type_id}/action with removeProjectAccess. 202, empty body."""
    call.permit("volume_extension:volume_type_access:removeProjectAccess")
    project_id = call.body(ProjectAccess).project
    await call.store.run(types.remove_access, type_id=call.path["type_id"], project_id=project_id, origin=call.origin)
    return answers.empty(202)
