"""Quotas of projects, and of quota classes."""

from collections.abc import Mapping
from typing import Final

from starlette.responses import Response

from breezeblock.api import answers, paging
from breezeblock.api.call import Call
from breezeblock.api.paging import Filter, Kind
from breezeblock.api.policy import Target
from breezeblock.api.schemas.quotas import QuotaClassSetBody, QuotaSetBody
from breezeblock.api.views import quotas as views
from breezeblock.model.errors import BadRequest
from breezeblock.resources import quota_sets

OWNER_MAX = 255
# What is looked at in the query, for the description of the API.
SHOWN_BY: Final = {"usage": Filter(Kind.FLAG)}
CHANGED_BY: Final = {"skip_validation": Filter(Kind.FLAG)}


async def show(call: Call) -> Response:
    """GET /v3/{project_id}/os-quota-sets/{owner}; `usage=true` adds what is used. 200."""
    owner = _permit_own(call)
    found = await call.store.read(quota_sets.show, project_id=owner, defaults=defaults(call, owner))
    shown = views.usage(found) if paging.flag(call.query, "usage") else views.limits(found)
    return answers.json({"quota_set": {"id": owner, **shown}})


async def show_defaults(call: Call) -> Response:
    """GET /v3/{project_id}/os-quota-sets/{owner}/defaults. 200."""
    owner = _permit_own(call)
    limits = await call.store.read(quota_sets.show_defaults, defaults=defaults(call, owner))
    return answers.json({"quota_set": {"id": owner, **limits}})


async def update(call: Call) -> Response:
    """PUT /v3/{project_id}/os-quota-sets/{owner}; `skip_validation=true` allows limits below what is used. 200."""
    owner = _owner(call)
    call.permit("volume_extension:quotas:update", Target(project_id=owner, user_id=""))
    limits = await call.store.run(
        quota_sets.update,
        project_id=owner,
        limits=call.body(QuotaSetBody).limits(),
        defaults=defaults(call, owner),
        below_usage=paging.flag(call.query, "skip_validation"),
    )
    return answers.json({"quota_set": limits})


async def delete(call: Call) -> Response:
    """DELETE /v3/{project_id}/os-quota-sets/{owner}: back to the defaults. 200, empty body."""
    owner = _owner(call)
    call.permit("volume_extension:quotas:delete", Target(project_id=owner, user_id=""))
    await call.store.run(quota_sets.reset, project_id=owner)
    return answers.empty(200)


async def show_class(call: Call) -> Response:
    """GET /v3/{project_id}/os-quota-class-sets/{owner}. 200."""
    call.permit("volume_extension:quota_classes:get")
    name = _owner(call)
    limits = await call.store.read(quota_sets.show_class, class_name=name, defaults=call.quota_settings)
    return answers.json({"quota_class_set": {"id": name, **limits}})


async def update_class(call: Call) -> Response:
    """PUT /v3/{project_id}/os-quota-class-sets/{owner}. 200."""
    call.permit("volume_extension:quota_classes:update")
    limits = await call.store.run(
        quota_sets.update_class,
        class_name=_owner(call),
        limits=call.body(QuotaClassSetBody).limits(),
        defaults=call.quota_settings,
    )
    return answers.json({"quota_class_set": limits})


def defaults(call: Call, project_id: str) -> Mapping[str, int]:
    """A project's limits by resource where nothing was set by the API."""
    return call.quotas_of_owner.of(project_id)


def _permit_own(call: Call) -> str:
    """Whose quotas are asked for: by default a member's own project, or any for administrators. Raises Forbidden."""
    owner = _owner(call)
    call.permit("volume_extension:quotas:show", Target(project_id=owner, user_id=""))
    return owner


def _owner(call: Call) -> str:
    owner = call.path["owner"]
    if not 0 < len(owner) <= OWNER_MAX:
        raise BadRequest(f"Invalid id of {len(owner)} characters in the URL: expected 1 to {OWNER_MAX}.")
    return owner
