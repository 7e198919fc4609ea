"""GET /openapi.json: the API described for machines (OpenAPI 3.1), out of the tables that serve it.

URLs, versions and statuses are from the table of routes, bodies from the structs that read them, parameters of lists from
their filters, refusals from the table of errors. Nothing here is written a second time, so nothing here can be wrong alone.

What OpenAPI has no word for stands under `x-openstack`, in the words of the description that Cinder's API has: `min-ver` and
`max-ver` of a URL, a parameter, a body or an action, and what tells several forms of one body apart (`discriminator`).
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec
from starlette.responses import Response

from breezeblock import __version__
from breezeblock.api import errors
from breezeblock.api.call import Call
from breezeblock.api.microversions import HEADER, LIKE_FILTER, NEWEST, OLDEST, SERVICE, Version
from breezeblock.api.paging import LIST_NUMBERS, LIST_TEXTS, NUMBER_MAX, Filter, Kind, Lists
from breezeblock.api.routing import PREFIX, Action, Body, Handler, Route

SCHEMAS: Final = "#/components/schemas/{name}"
RESPONSES: Final = "#/components/responses/{name}"
PARAMETERS: Final = "#/components/parameters/{name}"
_VARIABLE = re.compile(r"\{([^}]+)\}")
# What the layer of HTTP answers before a handler runs; the rest is in the table of errors.
REFUSED_ALWAYS: Final = (400, 401, 403, 404, 406, 414, 429, 431, 500)
REFUSED_BODIES: Final = (408, 413, 415)
# Whoever only reads cannot be in the way of others.
ONLY_WRITERS: Final = (409, 412, 413)
LIST_FLAGS: Final = ("all_tenants", "with_count")

ABOUT: Final = """The Block Storage API v3, as this service serves it.

Every URL is also served below `/v3/{project_id}`. A request speaks the microversion that its header
`OpenStack-API-Version: volume 3.60` names, and the oldest without it; what its version does not have is answered with 404.
"""

Json = dict[str, Any]
Tables = Callable[[], tuple[Iterable[Route], Iterable[Route]]]


def handler(tables: Tables) -> Handler:
    """The handler of /openapi.json. `tables` gives the routes under /v3 and those outside, one of which is its own."""
    made: list[bytes] = []

    async def show(call: Call) -> Response:
        """GET /openapi.json. 200; put together by the first request, and kept."""
        call.permit("discovery")
        if not made:
            made.append(msgspec.json.encode(describe(*tables())))
        return Response(made[0], media_type="application/json")

    return show


def describe(routes: Iterable[Route], top: Iterable[Route]) -> Json:
    """The whole description."""
    kinds = list(dict.fromkeys(kind for route in routes for kind in _kinds(route)))
    forms, components = msgspec.json.schema_components(kinds, schema_hook=form_of, ref_template=SCHEMAS)
    form = dict(zip(kinds, forms, strict=True))
    paths: dict[str, Json] = {}
    for route in top:
        paths.setdefault(route.template, {})[route.method.lower()] = _operation(route, route.template, form)
    for route in routes:
        url = f"/{PREFIX}/{route.template}"
        paths.setdefault(url, {})[route.method.lower()] = _operation(route, url, form)
    for url, item in paths.items():
        if names := _VARIABLE.findall(url):
            item["parameters"] = [_in_path(name) for name in names]
    return {
        "openapi": "3.1.0",
        "info": {"title": "Breezeblock: the Block Storage API", "description": ABOUT, "version": __version__},
        "x-openstack": {"service": SERVICE, "min-ver": str(OLDEST), "max-ver": str(NEWEST)},
        "paths": paths,
        "components": {
            "schemas": components,
            "responses": {f"Refused{status}": _refusal(status) for status in refusals()},
            "parameters": {"Microversion": _version()},
            "securitySchemes": {"token": {"type": "apiKey", "in": "header", "name": "X-Auth-Token"}},
        },
        "security": [{}, {"token": []}],
    }


# --- bodies -----------------------------------------------------------------------------------------------------------


def form_of(kind: type) -> Json:
    """The form of a type that reads its values itself (`bodies.py`): it says so, or it is known by what it becomes."""
    said: Json | None = getattr(kind, "form", None)
    if said is not None:
        return said
    if issubclass(kind, dict):
        return {"type": "object"}
    if issubclass(kind, str):
        return {"type": "string"}
    if issubclass(kind, int):
        return {"type": ["integer", "string", "boolean"]}
    raise NotImplementedError(kind)  # msgspec's own sign for a type that it does not know


def versions_of(body: Body) -> dict[Version, Any]:
    """Every form of a body, by the version from which on it is read."""
    if body is None:
        return {}
    return dict(body) if isinstance(body, Mapping) else {OLDEST: body}


def _kinds(route: Route) -> Iterator[Any]:
    said: list[Route | Action] = [route, *(route.actions or {}).values()]
    for one in said:
        yield from versions_of(one.body).values()


def _form(body: Body, form: Mapping[Any, Json]) -> Json:
    """The schema of a body; of one that changed with the versions, all its schemas."""
    found = sorted(versions_of(body).items(), key=lambda pair: pair[0])
    if len(found) == 1:
        return form[found[0][1]]
    ends = [Version(since.major, since.minor - 1) for since, _ in found[1:]]
    said = [
        {**form[kind], "x-openstack": _between(since, until)}
        for (since, kind), until in zip(found, [*ends, NEWEST], strict=True)
    ]
    return {"anyOf": said, "x-openstack": {"discriminator": "microversion"}}


def _action(key: str, action: Action, form: Mapping[Any, Json]) -> Json:
    inner = {} if action.body is None else _form(action.body, form)
    return {
        "type": "object",
        "properties": {key: inner},
        "required": [key],
        "additionalProperties": False,
        "x-openstack": {"action-name": key, **_between(action.since, action.until)},
    }


# What answers by another status than 200, and refuses nothing by it.
NOT_ALWAYS_READY: Final = "/healthcheck/ready"

# --- operations -------------------------------------------------------------------------------------------------------


def _operation(route: Route, url: str, form: Mapping[Any, Json]) -> Json:
    handlers = [route.handler] if route.handler else [one.handler for one in (route.actions or {}).values()]
    summary = (handlers[0].__doc__ or "").split("\n")[0] if route.handler else ""
    versioned = url.startswith(f"/{PREFIX}")
    parameters = [*([{"$ref": PARAMETERS.format(name="Microversion")}] if versioned else []), *_queries(route.query)]
    operation: Json = {
        "operationId": f"{route.method.lower()}:{url}",
        "tags": [_tag(url)],
        "parameters": parameters,
        "responses": {str(status): _success(route, status) for status in statuses(route)},
    }
    for status in _refused(route) if versioned else ():
        operation["responses"][str(status)] = {"$ref": RESPONSES.format(name=f"Refused{status}")}
    if url == NOT_ALWAYS_READY:
        operation["responses"]["503"] = {"description": "It is not ready to serve; the body says why."}
    if summary:
        operation["summary"] = summary
    if between := _between(route.since, route.until):
        operation["x-openstack"] = between
    if route.actions is not None:
        schema: Json = {
            "oneOf": [_action(key, one, form) for key, one in route.actions.items()],
            "x-openstack": {"discriminator": "action"},
        }
        operation["requestBody"] = _content(schema)
    elif route.body is not None:
        operation["requestBody"] = _content(_form(route.body, form))
    return operation


def _success(route: Route, status: int) -> Json:
    found: Json = {"description": "Done."}
    forms = _answers(route, status)
    if forms:
        found["content"] = {"application/json": {"schema": forms[0] if len(forms) == 1 else {"anyOf": forms}}}
    return found


def _answers(route: Route, status: int) -> list[Mapping[str, Any]]:
    """The forms of the bodies with that status: one, or those of several actions, which say whose they are."""
    if route.actions is None:
        return [] if route.answer is None else [route.answer.schema()]
    return [
        {**one.answer.schema(), "x-openstack": {"action-name": key, **_between(one.since, one.until)}}
        for key, one in route.actions.items()
        if one.answer is not None and one.status == status
    ]


def statuses(route: Route) -> tuple[int, ...]:
    """How the route succeeds."""
    if route.actions is not None:
        return tuple(sorted({one.status for one in route.actions.values()}))
    return (route.status or (200 if route.method == "GET" else 0),)


def _refused(route: Route) -> list[int]:
    reads = route.method == "GET"
    return [
        status
        for status in refusals()
        if not (reads and status in ONLY_WRITERS)
        and not (route.method in ("GET", "DELETE") and status in REFUSED_BODIES)
    ]


def refusals() -> list[int]:
    """Every status of a refusal."""
    return sorted({*REFUSED_ALWAYS, *REFUSED_BODIES, *(fault.status for fault in errors.FAULTS.values())})


def _refusal(status: int) -> Json:
    name = errors.FAULT_NAMES.get(status, errors.OTHER_FAULT)
    inner = {
        "type": "object",
        "properties": {
            "code": {"const": status},
            "message": {"type": "string", "minLength": 1},
            "retryAfter": {"type": "string"},
        },
        "required": ["code", "message"],
        "additionalProperties": False,
    }
    form = {"type": "object", "properties": {name: inner}, "required": [name], "additionalProperties": False}
    return {"description": f"Refused: {name}.", "content": {"application/json": {"schema": form}}}


def _content(schema: Json) -> Json:
    return {"required": True, "content": {"application/json": {"schema": schema}}}


def _tag(url: str) -> str:
    parts = url.strip("/").split("/")
    return parts[1] if len(parts) > 1 and parts[0] == PREFIX else "discovery"


def _between(since: Version, until: Version) -> Json:
    between = {} if since == OLDEST else {"min-ver": str(since)}
    return between if until == NEWEST else between | {"max-ver": str(until)}


# --- parameters -------------------------------------------------------------------------------------------------------


def _version() -> Json:
    return {
        "name": HEADER,
        "in": "header",
        "description": "The microversion; without it the oldest.",
        "schema": {"enum": [f"{SERVICE} {NEWEST.major}.{minor}" for minor in range(OLDEST.minor, NEWEST.minor + 1)]},
    }


def _in_path(name: str) -> Json:
    return {
        "name": name,
        "in": "path",
        "required": True,
        "schema": {"type": "string", "minLength": 1, "maxLength": 255},
    }


def _queries(query: Lists | Mapping[str, Filter]) -> Sequence[Json]:
    if not isinstance(query, Lists):
        return [_filter(name, one) for name, one in query.items()]
    own = [
        *(_query(name, {"type": "boolean"}) for name in LIST_FLAGS),
        *(_query(name, {"type": "integer", "minimum": 0}) for name in LIST_NUMBERS),
        *(_query(name, {"type": "string"}) for name in LIST_TEXTS),
    ]
    likes = [
        _query(f"{name}~", {"type": "string"}, {"min-ver": str(max(one.since, LIKE_FILTER))})
        for name, one in query.filters.items()
        if one.kind is Kind.TEXT
    ]
    own += [_filter(name, one) for name, one in query.own.items()]
    return own + [_filter(name, one) for name, one in query.filters.items()] + likes


def _filter(name: str, one: Filter) -> Json:
    schema: Json
    match one.kind:
        case Kind.NUMBER:
            schema = {"type": "integer", "minimum": 0, "maximum": NUMBER_MAX}
        case Kind.FLAG:
            schema = {"type": "boolean"}
        case _:
            schema = {"type": "string"}
    return _query(name, schema, _between(one.since, NEWEST))


def _query(name: str, schema: Json, between: Json | None = None) -> Json:
    found: Json = {"name": name, "in": "query", "schema": schema}
    return found | {"x-openstack": between} if between else found
