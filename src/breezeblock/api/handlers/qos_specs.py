"""Quality of service: specs, and which volume types have them."""

from dataclasses import replace
from typing import Any, Final

import msgspec
from starlette.responses import Response

from breezeblock.api import answers, paging
from breezeblock.api.call import Call
from breezeblock.api.paging import Filter, Kind, Lists
from breezeblock.api.routing import Route
from breezeblock.api.schemas.qos_specs import CreateQosBody, DeleteKeysBody, UpdateQosBody
from breezeblock.api.views.shapes import LINKS, MAP_OF_TEXTS_OR_NULL, TEXT, Shape, many, named, object_of, one_of, paged
from breezeblock.model.errors import BadRequest
from breezeblock.resources import qos_specs

LISTS: Final = Lists(
    collection="qos-specs",
    filters={"id": Filter(), "name": Filter(), "consumer": Filter()},
    sort_keys=frozenset(qos_specs.LISTING.attributes),
    sort_aliases={},
    refuses=None,
)


async def list_specs(call: Call) -> Response:
    """GET /v3/{project_id}/qos-specs. 200."""
    call.permit("volume_extension:qos_specs_manage:get_all")
    page = replace(paging.read(call, LISTS), project_id=None, with_count=False)
    found = await call.store.read(qos_specs.list_specs, wanted=page)
    answer: dict[str, Any] = {"qos_specs": [_shown(row._mapping) for row in found.rows]}
    links = paging.next_links(call, LISTS, found.rows, detail=False)
    if links:
        answer["qos_specs_links"] = links
    return answers.json(answer)


async def create(call: Call) -> Response:
    """POST /v3/{project_id}/qos-specs. 200, the new specs."""
    call.permit("volume_extension:qos_specs_manage:create")
    body = call.body(CreateQosBody)
    row = await call.store.run(
        qos_specs.create_specs,
        specs_id=call.new_id(),
        name=body.name(),
        consumer=body.consumer(),
        specs=body.specs(),
        origin=call.origin,
    )
    return answers.json(_detail(call, row))


async def show(call: Call) -> Response:
    """GET /v3/{project_id}/qos-specs/{qos_id}. 200."""
    call.permit("volume_extension:qos_specs_manage:get")
    return answers.json(_detail(call, await call.store.read(qos_specs.get_specs, specs_id=call.path["qos_id"])))


async def update(call: Call) -> Response:
    """PUT /v3/{project_id}/qos-specs/{qos_id}: add or replace keys. 200, what was sent."""
    call.permit("volume_extension:qos_specs_manage:update")
    body = call.body(UpdateQosBody)
    await call.store.run(
        qos_specs.update_specs,
        specs_id=call.path["qos_id"],
        consumer=body.consumer(),
        specs=body.specs(),
        origin=call.origin,
    )
    return answers.json({"qos_specs": body.qos_specs})


async def delete(call: Call) -> Response:
    """DELETE /v3/{project_id}/qos-specs/{qos_id}; `force=true` also while types have them. 202, empty body."""
    call.permit("volume_extension:qos_specs_manage:delete")
    force = paging.flag(call.query, "force")
    await call.store.run(qos_specs.delete_specs, specs_id=call.path["qos_id"], force=force, origin=call.origin)
    return answers.empty(202)


async def delete_keys(call: Call) -> Response:
    """PUT /v3/{project_id}/qos-specs/{qos_id}/delete_keys. 202, empty body."""
    call.permit("volume_extension:qos_specs_manage:delete")
    keys = call.body(DeleteKeysBody).distinct()
    await call.store.run(qos_specs.delete_keys, specs_id=call.path["qos_id"], keys=keys, origin=call.origin)
    return answers.empty(202)


async def list_associations(call: Call) -> Response:
    """GET /v3/{project_id}/qos-specs/{qos_id}/associations: the types that have them. 200."""
    call.permit("volume_extension:qos_specs_manage:get_all")
    rows = await call.store.read(qos_specs.list_associations, specs_id=call.path["qos_id"])
    shown = [{"association_type": "volume_type", "name": row["name"], "id": row["id"]} for row in rows]
    return answers.json({"qos_associations": shown})


async def associate(call: Call) -> Response:
    """GET /v3/{project_id}/qos-specs/{qos_id}/associate?vol_type_id=…; a GET that changes something. 202, empty body."""
    call.permit("volume_extension:qos_specs_manage:update")
    specs_id = call.path["qos_id"]
    await call.store.run(qos_specs.associate, specs_id=specs_id, type_id=_type_id(call), origin=call.origin)
    return answers.empty(202)


async def disassociate(call: Call) -> Response:
    """GET /v3/{project_id}/qos-specs/{qos_id}/disassociate?vol_type_id=…; a GET that changes something. 202, empty body."""
    call.permit("volume_extension:qos_specs_manage:update")
    specs_id = call.path["qos_id"]
    await call.store.run(qos_specs.disassociate, specs_id=specs_id, type_id=_type_id(call), origin=call.origin)
    return answers.empty(202)


async def disassociate_all(call: Call) -> Response:
    """GET /v3/{project_id}/qos-specs/{qos_id}/disassociate_all; a GET that changes something. 202, empty body."""
    call.permit("volume_extension:qos_specs_manage:update")
    await call.store.run(qos_specs.disassociate_all, specs_id=call.path["qos_id"], origin=call.origin)
    return answers.empty(202)


NAMED_BY: Final = {"vol_type_id": Filter()}
_SPECS: Final = object_of({"id": TEXT, "name": TEXT, "consumer": TEXT, "specs": MAP_OF_TEXTS_OR_NULL})
ONE: Final = Shape(object_of({"qos_specs": _SPECS, "links": LINKS}))
MANY: Final = paged("qos_specs", _SPECS)
CHANGED: Final = named("qos_specs", MAP_OF_TEXTS_OR_NULL)
ASSOCIATIONS: Final = named(
    "qos_associations", many(object_of({"association_type": one_of("volume_type"), "name": TEXT, "id": TEXT}))
)

ROUTES: Final = (
    Route("GET", "qos-specs", list_specs, query=LISTS, answer=MANY),
    Route("POST", "qos-specs", create, status=200, body=CreateQosBody, answer=ONE),
    Route("GET", "qos-specs/{qos_id}", show, answer=ONE),
    Route("PUT", "qos-specs/{qos_id}", update, status=200, body=UpdateQosBody, answer=CHANGED),
    Route("DELETE", "qos-specs/{qos_id}", delete, status=202, query={"force": Filter(Kind.FLAG)}),
    Route("PUT", "qos-specs/{qos_id}/delete_keys", delete_keys, status=202, body=DeleteKeysBody),
    Route("GET", "qos-specs/{qos_id}/associations", list_associations, answer=ASSOCIATIONS),
    Route("GET", "qos-specs/{qos_id}/associate", associate, status=202, query=NAMED_BY),
    Route("GET", "qos-specs/{qos_id}/disassociate", disassociate, status=202, query=NAMED_BY),
    Route("GET", "qos-specs/{qos_id}/disassociate_all", disassociate_all, status=202),
)


def _type_id(call: Call) -> str:
    type_id = call.query.get("vol_type_id")
    if not type_id:
        raise BadRequest("Volume Type id must not be None: expected vol_type_id=ID in the URL.")
    return type_id


def _shown(row: Any) -> dict[str, Any]:
    specs = msgspec.Raw(row["specs_json"].encode())
    return {"id": row["id"], "name": row["name"], "consumer": row["consumer"], "specs": specs}


def _detail(call: Call, row: Any) -> dict[str, Any]:
    path = f"qos-specs/{row['id']}"
    links = [
        {"rel": "self", "href": f"{call.v3_url}/{path}"},
        {"rel": "bookmark", "href": f"{call.bookmark_url}/{path}"},
    ]
    return {"qos_specs": _shown(row), "links": links}
