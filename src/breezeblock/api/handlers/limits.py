"""The limits of a project, and what of them is used."""

from typing import Final

from starlette.responses import Response

from breezeblock.api import answers
from breezeblock.api.call import Call
from breezeblock.api.handlers.quotas import defaults
from breezeblock.api.microversions import LIMITS_PROJECT
from breezeblock.api.paging import Filter
from breezeblock.api.views import limits as views
from breezeblock.resources import quota_sets

# What is looked at in the query, for the description of the API.
SHOWN_BY: Final = {"project_id": Filter(since=LIMITS_PROJECT), "tenant_id": Filter(since=LIMITS_PROJECT)}


async def show(call: Call) -> Response:
    """GET /v3/{project_id}/limits; from 3.39 administrators name another project by `project_id`. 200."""
    call.permit("limits_extension:used_limits")
    project_id: str = call.origin.project_id
    if call.origin.is_admin and call.microversion >= LIMITS_PROJECT:
        project_id = call.query.get("project_id", call.query.get("tenant_id", project_id))
    found = await call.store.read(quota_sets.show, project_id=project_id, defaults=defaults(call, project_id))
    return answers.json(views.limits(found))
