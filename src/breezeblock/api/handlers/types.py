"""Volume types and their extra specs."""

from dataclasses import replace
from typing import Final

from sqlalchemy import RowMapping
from starlette.responses import Response

from breezeblock.api import answers, paging
from breezeblock.api.call import Call
from breezeblock.api.microversions import TYPE_EXTRA_SPECS_FILTER
from breezeblock.api.paging import Filter, Lists
from breezeblock.api.schemas.types import CreateTypeBody, ExtraSpecsBody, OneSpec, UpdateTypeBody
from breezeblock.api.views import types as views
from breezeblock.model.errors import BadRequest
from breezeblock.model.ids import TypeId
from breezeblock.resources import default_types, types

# What these two mean is more than equality: the handler reads them itself.
SPECIAL: Final = ("is_public", "extra_specs")
LISTS: Final = Lists(
    collection="types",
    filters={
        "is_public": Filter(),
        "extra_specs": Filter(since=TYPE_EXTRA_SPECS_FILTER),  # of administrators always
        "id": Filter(public=False),
        "name": Filter(public=False),
        "description": Filter(public=False),
        "qos_specs_id": Filter(public=False),
    },
    sort_keys=frozenset(types.ATTRIBUTES),
    sort_aliases={},
    refuses=TYPE_EXTRA_SPECS_FILTER,
)
DEFAULT: Final = "default"


async def list_types(call: Call) -> Response:
    """GET /v3/{project_id}/types. 200."""
    call.permit("volume_extension:type_get_all")
    page = paging.read(call, LISTS)
    page = replace(page, where=tuple(one for one in page.where if one.attribute not in SPECIAL))
    extra_specs = _extra_specs_filter(call)
    # To match by a spec that a caller may not see would show it: nothing matches.
    hidden = not call.may(views.SENSITIVE_RULE) and not extra_specs.keys() <= views.USER_VISIBLE_SPECS
    rows = (
        []
        if hidden
        else await call.store.read(
            types.list_types, origin=call.origin, is_public=asked_for_public(call), extra_specs=extra_specs, page=page
        )
    )
    answer: dict[str, object] = {"volume_types": views.details(call, rows)}
    links = paging.next_links(call, LISTS, rows, detail=False)
    if links:
        answer["volume_type_links"] = links
    return answers.json(answer)


async def show(call: Call) -> Response:
    """GET /v3/{project_id}/types/{type_id}, where `default` is the type of volumes that name none. 200."""
    call.permit("volume_extension:type_get")
    if call.path["type_id"] == DEFAULT:
        return answers.json(views.default(call, await _default(call)))
    row = await call.store.read(types.get_type, type_id=call.path["type_id"], origin=call.origin)
    return answers.json(views.detail(call, row))


async def _default(call: Call) -> RowMapping:
    project_id = call.origin.project_id
    return await call.store.read(default_types.for_project, project_id=project_id, origin=call.origin)


async def create(call: Call) -> Response:
    """POST /v3/{project_id}/types. 200."""
    call.permit("volume_extension:type_create")
    body = call.body(CreateTypeBody).volume_type
    row = await call.store.run(
        types.create_type,
        type_id=TypeId(call.new_id()),
        name=body.name,
        description=body.description,
        is_public=bool(body.is_public),
        extra_specs=body.extra_specs,
        origin=call.origin,
    )
    return answers.json(views.changed(call, row, access=True))


async def update(call: Call) -> Response:
    """PUT /v3/{project_id}/types/{type_id}. 200."""
    call.permit("volume_extension:type_update")
    body = call.body(UpdateTypeBody).volume_type
    if body.name is None and body.description is None and body.is_public is None:
        raise BadRequest("Specify volume type name, description, is_public or a combination thereof.")
    row = await call.store.run(
        types.update_type,
        type_id=call.path["type_id"],
        name=body.name,
        description=body.description,
        is_public=None if body.is_public is None else bool(body.is_public),
        origin=call.origin,
    )
    return answers.json(views.changed(call, row, access=False))


async def delete(call: Call) -> Response:
    """DELETE /v3/{project_id}/types/{type_id}. 202, empty body; it is gone by then."""
    call.permit("volume_extension:type_delete")
    await call.store.run(types.delete_type, type_id=call.path["type_id"], origin=call.origin)
    return answers.empty(202)


# --- extra specs ------------------------------------------------------------------------------------------------------


async def list_specs(call: Call) -> Response:
    """GET /v3/{project_id}/types/{type_id}/extra_specs. 200."""
    call.permit("volume_extension:types_extra_specs:index")
    row = await call.store.read(types.get_type, type_id=call.path["type_id"], origin=call.origin)
    return answers.json({"extra_specs": views.visible_specs(call, row)})


async def show_spec(call: Call) -> Response:
    """GET /v3/{project_id}/types/{type_id}/extra_specs/{key}. 200."""
    call.permit("volume_extension:types_extra_specs:show")
    type_id, key = call.path["type_id"], call.path["key"]
    row = await call.store.read(types.get_type, type_id=type_id, origin=call.origin)
    specs = views.visible_specs(call, row)
    if key not in specs:
        raise types.no_such_spec(type_id, key)
    return answers.json({key: specs[key]})


async def create_specs(call: Call) -> Response:
    """POST /v3/{project_id}/types/{type_id}/extra_specs. 200, what was sent."""
    call.permit("volume_extension:types_extra_specs:create")
    specs = call.body(ExtraSpecsBody).extra_specs
    await call.store.run(types.set_extra_specs, type_id=call.path["type_id"], specs=specs, origin=call.origin)
    return answers.json({"extra_specs": specs})


async def update_spec(call: Call) -> Response:
    """PUT /v3/{project_id}/types/{type_id}/extra_specs/{key}. 200, what was sent."""
    call.permit("volume_extension:types_extra_specs:update")
    spec: OneSpec = call.body(OneSpec)
    key = call.path["key"]
    if key not in spec:
        raise BadRequest(f"Request body and URI mismatch: expected the key {key}, found {next(iter(spec))}.")
    await call.store.run(types.set_extra_specs, type_id=call.path["type_id"], specs=spec, origin=call.origin)
    return answers.json(spec)


async def delete_spec(call: Call) -> Response:
    """DELETE /v3/{project_id}/types/{type_id}/extra_specs/{key}. 202, empty body."""
    call.permit("volume_extension:types_extra_specs:delete")
    await call.store.run(
        types.delete_extra_spec, type_id=call.path["type_id"], key=call.path["key"], origin=call.origin
    )
    return answers.empty(202)


# --- the filters of the list ------------------------------------------------------------------------------------------


def asked_for_public(call: Call) -> bool | None:
    """Public, private, or both (`none`). Only administrators are asked: others see the public ones and their own."""
    text = call.query.get("is_public")
    if text is None or not call.origin.is_admin:
        return True
    if text.strip().lower() == "none":
        return None
    if text.strip().lower() in paging.TRUE | paging.FALSE:
        return text.strip().lower() in paging.TRUE
    raise BadRequest(f"Invalid is_public filter [{text}]: expected true, false or none.")


def _extra_specs_filter(call: Call) -> dict[str, str]:
    """A map as Python or JSON writes it. Members have the filter since 3.52; before, it is not looked at."""
    text = call.query.get("extra_specs")
    if text is None or not (call.origin.is_admin or call.microversion >= TYPE_EXTRA_SPECS_FILTER):
        return {}
    return paging.pairs("extra_specs", text)
