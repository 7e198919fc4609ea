"""Group types and their specs, since 3.11."""

from typing import Final

from starlette.responses import Response

from breezeblock.api import answers, paging
from breezeblock.api.call import Call
from breezeblock.api.handlers.types import DEFAULT, asked_for_public
from breezeblock.api.microversions import GROUP_TYPES
from breezeblock.api.paging import Filter, Lists
from breezeblock.api.routing import Route
from breezeblock.api.schemas.group_types import CreateGroupTypeBody, GroupSpecsBody, OneSpec, UpdateGroupTypeBody
from breezeblock.api.views import group_types as views
from breezeblock.model.errors import BadRequest
from breezeblock.resources import group_types
from breezeblock.resources.listing import Page

LISTS: Final = Lists(
    collection="group_types",
    filters={},
    sort_keys=frozenset(group_types.ATTRIBUTES),
    sort_aliases={},
    own={"is_public": Filter()},
)


async def list_types(call: Call) -> Response:
    """GET /group_types. 200."""
    call.permit("group:group_types:get_all")
    is_public = asked_for_public(call)
    page: Page = paging.read_unfiltered(call, LISTS)
    rows = await call.store.read(group_types.list_types, origin=call.origin, is_public=is_public, page=page)
    answer: dict[str, object] = {"group_types": views.details(call, rows)}
    links = paging.next_links(call, LISTS, rows, detail=False)
    if links:
        answer["group_type_links"] = links
    return answers.json(answer)


async def show(call: Call) -> Response:
    """GET /group_types/{group_type_id}, where `default` is the one that the settings name. 200."""
    call.permit("group:group_types:get")
    if _id(call) == DEFAULT:
        name = call.settings.service.default_group_type
        return answers.json(views.detail(call, await call.store.read(group_types.default_type, name=name)))
    row = await call.store.read(group_types.get_type, type_id=_id(call), origin=call.origin)
    return answers.json(views.detail(call, row))


async def create(call: Call) -> Response:
    """POST /group_types. 202, the new type; it is there by then."""
    call.permit("group:group_types:create")
    body = call.body(CreateGroupTypeBody).group_type
    row = await call.store.run(
        group_types.create_type,
        type_id=call.new_id(),
        name=body.name,
        description=body.description,
        is_public=bool(body.is_public),
        specs=body.group_specs,
        origin=call.origin,
    )
    return answers.json(views.detail(call, row), 202)


async def update(call: Call) -> Response:
    """PUT /group_types/{group_type_id}. 200."""
    call.permit("group:group_types:update")
    body = call.body(UpdateGroupTypeBody).group_type
    if body.name is None and body.description is None and body.is_public is None:
        raise BadRequest("Specify group type name, description or a combination thereof.")
    row = await call.store.run(
        group_types.update_type,
        type_id=_id(call),
        name=body.name,
        description=body.description,
        is_public=None if body.is_public is None else bool(body.is_public),
        origin=call.origin,
    )
    return answers.json(views.detail(call, row))


async def delete(call: Call) -> Response:
    """DELETE /group_types/{group_type_id}. 202, empty body; it is gone by then."""
    call.permit("group:group_types:delete")
    await call.store.run(group_types.delete_type, type_id=_id(call), origin=call.origin)
    return answers.empty(202)


# --- specs ------------------------------------------------------------------------------------------------------------


async def list_specs(call: Call) -> Response:
    """GET /group_types/{group_type_id}/group_specs. 200."""
    call.permit("group:group_types_specs:get_all")
    row = await call.store.read(group_types.get_type, type_id=_id(call), origin=call.origin)
    return answers.json({"group_specs": group_types.specs_of(row)})


async def show_spec(call: Call) -> Response:
    """GET /group_types/{group_type_id}/group_specs/{key}. 200."""
    call.permit("group:group_types_specs:get")
    key = call.path["key"]
    specs = group_types.specs_of(await call.store.read(group_types.get_type, type_id=_id(call), origin=call.origin))
    if key not in specs:
        raise group_types.no_such_spec(_id(call), key)
    return answers.json({key: specs[key]})


async def create_specs(call: Call) -> Response:
    """POST /group_types/{group_type_id}/group_specs. 202, what was sent."""
    call.permit("group:group_types_specs:create")
    specs = call.body(GroupSpecsBody).group_specs
    await call.store.run(group_types.set_specs, type_id=_id(call), specs=specs, origin=call.origin)
    return answers.json({"group_specs": specs}, 202)


async def update_spec(call: Call) -> Response:
    """PUT /group_types/{group_type_id}/group_specs/{key}. 200, what was sent."""
    call.permit("group:group_types_specs:update")
    spec: OneSpec = call.body(OneSpec)
    key = call.path["key"]
    if key not in spec:
        raise BadRequest(f"Request body and URI mismatch: expected the key {key}, found {next(iter(spec))}.")
    await call.store.run(group_types.set_specs, type_id=_id(call), specs=spec, origin=call.origin)
    return answers.json(spec)


async def delete_spec(call: Call) -> Response:
    """DELETE /group_types/{group_type_id}/group_specs/{key}. 202, empty body."""
    call.permit("group:group_types_specs:delete")
    await call.store.run(group_types.delete_spec, type_id=_id(call), key=call.path["key"], origin=call.origin)
    return answers.empty(202)


ROUTES: Final = (
    Route("GET", "group_types", list_types, since=GROUP_TYPES, query=LISTS, answer=views.MANY),
    Route("POST", "group_types", create, since=GROUP_TYPES, status=202, body=CreateGroupTypeBody, answer=views.ONE),
    Route("GET", "group_types/{group_type_id}", show, since=GROUP_TYPES, answer=views.ONE),
    Route(
        "PUT",
        "group_types/{group_type_id}",
        update,
        since=GROUP_TYPES,
        status=200,
        body=UpdateGroupTypeBody,
        answer=views.ONE,
    ),
    Route("DELETE", "group_types/{group_type_id}", delete, since=GROUP_TYPES, status=202),
    Route("GET", "group_types/{group_type_id}/group_specs", list_specs, since=GROUP_TYPES, answer=views.SPECS),
    Route(
        "POST",
        "group_types/{group_type_id}/group_specs",
        create_specs,
        since=GROUP_TYPES,
        status=202,
        body=GroupSpecsBody,
        answer=views.SPECS,
    ),
    Route("GET", "group_types/{group_type_id}/group_specs/{key}", show_spec, since=GROUP_TYPES, answer=views.ONE_SPEC),
    Route(
        "PUT",
        "group_types/{group_type_id}/group_specs/{key}",
        update_spec,
        since=GROUP_TYPES,
        status=200,
        body=OneSpec,
        answer=views.ONE_SPEC,
    ),
    Route("DELETE", "group_types/{group_type_id}/group_specs/{key}", delete_spec, since=GROUP_TYPES, status=202),
)


def _id(call: Call) -> str:
    return call.path["group_type_id"]
