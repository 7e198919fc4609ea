"""/openapi.json: everything that is served is in it, and what it says is what handlers do."""

import inspect
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import msgspec
import pytest
from tests.api.test_frame import ALL_ROUTES
from tests.api.world import Api
from tests.conformance.answers import Answered, at_version, problems
from tests.fuzz.bodies import kinds_of

from breezeblock.api import openapi, routes
from breezeblock.api.microversions import Version
from breezeblock.api.paging import Lists
from breezeblock.api.routing import Action, Handler, Route
from breezeblock.api.schemas.types import OneSpec
from breezeblock.api.views.shapes import NULL, NUMBER, TEXT, late, object_of

# Each handler with what is declared of it.
DECLARED: list[tuple[str, str, Route | Action, Handler]] = [
    (f"{route.method} {route.template} {key}".strip(), route.method, one, one.handler)
    for route in ALL_ROUTES
    for key, one in ((route.actions or {}) if route.actions else {"": route}).items()
    if one.handler is not None
]
every_handler = pytest.mark.parametrize(
    ("name", "method", "one", "handler"), DECLARED, ids=[one[0] for one in DECLARED]
)


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return openapi.describe(routes.ROUTES, routes.TOP.values())


@every_handler
def test_every_route_says_how_it_succeeds(name: str, method: str, one: Route | Action, handler: Handler) -> None:
    """What it says is held against every answer of these tests (tests/conformance/answers.py)."""
    assert method == "GET" or one.status, f"{name}: add status=… to its route; its docstring says {handler.__doc__!r}"


@every_handler
def test_every_route_names_the_bodies_that_it_reads(
    name: str, method: str, one: Route | Action, handler: Handler
) -> None:
    read = {kind for kind in kinds_of(handler) if kind is not dict}
    named = set(openapi.versions_of(one.body).values())

    if OneSpec in openapi.versions_of(one.body).values():
        assert dict in kinds_of(handler)
        named -= {OneSpec}
    # A body that others are made of, or that inherits, is named beside them in the code.
    assert named <= read and all(any(issubclass(other, kind) for other in named) for kind in read), (
        f"{name}: add body=… to its route; it reads {sorted(kind.__name__ for kind in read)}"
    )


def says(handler: Handler, word: str) -> bool:
    """Whether a handler, or a function of its module that it calls, has that in its source."""
    named = [handler, *(handler.__globals__.get(name) for name in handler.__code__.co_names)]
    return any(
        word in inspect.getsource(one)
        for one in named
        if inspect.isfunction(one) and one.__module__ == handler.__module__
    )


@every_handler
def test_every_list_names_its_parameters(name: str, method: str, one: Route | Action, handler: Handler) -> None:
    if says(handler, "paging.read("):
        assert isinstance(one, Route) and isinstance(one.query, Lists), f"{name}: add query=LISTS to its route"
    if says(handler, "call.query"):
        assert isinstance(one, Route) and one.query, f"{name}: add query=… to its route"


def test_it_is_served_to_everybody_and_names_every_url(open_api: Api, document: dict[str, Any]) -> None:
    answer = open_api("GET", "/openapi.json", token=None)

    assert answer.status_code == 200
    assert answer.json() == document
    served = {(route.method.lower(), f"/v3/{route.template}") for route in routes.ROUTES}
    assert {(method, path) for path, item in document["paths"].items() for method in item} >= served


def test_it_is_an_openapi_document_with_schemas_that_can_be_used(document: dict[str, Any]) -> None:
    """Every schema of a body is one, and every reference leads somewhere."""
    for item in document["paths"].values():
        for operation in (one for method, one in item.items() if method != "parameters"):
            if "requestBody" in operation:
                schema = operation["requestBody"]["content"]["application/json"]["schema"]
                jsonschema_rs.validator_for({**schema, "components": document["components"]})
            for answer in operation["responses"].values():
                if "$ref" in answer:
                    assert answer["$ref"].rpartition("/")[2] in document["components"]["responses"]


@pytest.mark.parametrize(
    ("body", "fits"),
    [
        ({"os-extend": {"new_size": 2}}, True),
        ({"os-extend": {"new_size": "2"}}, True),
        ({"os-extend": {"new_size": 0}}, False),
        ({"os-extend": {}}, False),
        ({"os-force_delete": {}}, True),
        ({"os-force_delete": None}, True),
        ({"os-explode": {}}, False),
        ({"os-reset_status": {"status": "error"}}, True),
        ({"os-reset_status": {"status": "error", "odd": 1}}, False),
        ({"os-set_bootable": {"bootable": "yes"}}, True),
        ({"os-set_bootable": {"bootable": "maybe"}}, False),
    ],
)
def test_bodies_of_actions_are_described(document: dict[str, Any], body: Any, fits: bool) -> None:
    operation = document["paths"]["/v3/volumes/{volume_id}/action"]["post"]
    schema = operation["requestBody"]["content"]["application/json"]["schema"]

    assert jsonschema_rs.is_valid({**schema, "components": document["components"]}, body) is fits


def test_versions_are_said_as_cinders_description_says_them(document: dict[str, Any]) -> None:
    """Of URLs, of actions, of parameters, and of bodies that changed."""
    paths = document["paths"]
    actions = paths["/v3/volumes/{volume_id}/action"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    created = paths["/v3/backups"]["post"]["requestBody"]["content"]["application/json"]["schema"]

    assert paths["/v3/volumes/summary"]["get"]["x-openstack"] == {"min-ver": "3.12"}
    assert {"action-name": "revert", "min-ver": "3.40"} in [one["x-openstack"] for one in actions["oneOf"]]
    assert [one["x-openstack"] for one in created["anyOf"]] == [
        {"max-ver": "3.42"},
        {"min-ver": "3.43", "max-ver": "3.50"},
        {"min-ver": "3.51"},
    ]
    cascade, force = paths["/v3/volumes/{volume_id}"]["delete"]["parameters"][1:]
    assert (cascade["name"], "x-openstack" in cascade) == ("cascade", False)
    assert (force["name"], force["x-openstack"]) == ("force", {"min-ver": "3.23"})


# --- answers ---------------------------------------------------------------------------------------------------------

# GETs that only do something, that answer plain texts, and the description itself.
WITHOUT_FORM = {
    *(f"qos-specs/{{qos_id}}/{verb}" for verb in ("associate", "disassociate", "disassociate_all")),
    "/healthcheck",
    "/healthcheck/live",
    "/healthcheck/ready",
    "/metrics",
    "/openapi.json",
}


@every_handler
def test_every_answer_with_a_body_has_a_form(name: str, method: str, one: Route | Action, handler: Handler) -> None:
    """The rest of the run finds what has one and is not named here: a body without a form fails wherever it is tested."""
    if method == "GET" and name.partition(" ")[2] not in WITHOUT_FORM:
        assert one.answer is not None, f"{name}: add answer=… to its route"


def objects(form: Any) -> Iterator[dict[str, Any]]:
    """Every form of an object in a form."""
    if isinstance(form, dict):
        if form.get("type") == "object":
            yield form
        for inner in form.values():
            yield from objects(inner)
    elif isinstance(form, list | tuple):
        for inner in form:
            yield from objects(inner)


@every_handler
def test_no_form_leaves_open_which_keys_there_are(
    name: str, method: str, one: Route | Action, handler: Handler
) -> None:
    """But for maps that are others' to fill, which say what their values are."""
    if one.answer is not None:
        jsonschema_rs.validator_for(dict(one.answer.schema()))
        for form in objects(one.answer.schema()):
            open_ended = form.get("additionalProperties", True)
            assert open_ended is False or isinstance(open_ended, dict), f"{name}: {form}"


@pytest.mark.parametrize(
    ("minor", "body", "fits"),
    [
        (13, {"old": "x"}, True),
        (14, {"old": "x"}, False),
        (14, {"old": "x", "new": 1}, True),
        (14, {"old": "x", "new": "1"}, False),
        (13, {"old": "x", "new": 1}, False),
        (14, {"old": "x", "new": 1, "some": None}, True),
        (13, {"old": "x", "some": None}, False),
        (14, {"new": 1}, False),
        (14, {"old": "x", "new": 1, "odd": 1}, False),
    ],
)
def test_an_answer_is_held_against_the_form_of_its_version(minor: int, body: Any, fits: bool) -> None:
    since = Version(3, 14)
    form = object_of({"old": TEXT, "new": late(since, NUMBER)}, {"some": late(since, NULL, optional=True)})

    assert jsonschema_rs.is_valid(at_version({"anyOf": [form]}, minor), body) is fits


@pytest.mark.parametrize(
    ("path", "body", "says"),
    [
        ("/v3/limits", {"limits": {"rate": []}}, "absolute"),
        ("/v3/os-availability-zone", {"availabilityZoneInfo": [], "more": 1}, "more"),
        ("/v3/qos-specs/x/associate", {}, "add answer="),
        ("/v3/messages", None, "declares a body"),
    ],
)
def test_an_answer_that_is_not_as_described_is_found(path: str, body: Any, says: str) -> None:
    content = b"" if body is None else msgspec.json.encode(body)
    status = 202 if "associate" in path else 200
    found = list(problems(Answered("GET", path, b"", status, content, "volume 3.60")))

    assert any(says in one for one in found), found


def test_actions_that_answer_say_which_of_them_does(document: dict[str, Any]) -> None:
    answers = document["paths"]["/v3/volumes/{volume_id}/action"]["post"]["responses"]
    forms = answers["200"]["content"]["application/json"]["schema"]["anyOf"]

    assert {form["x-openstack"]["action-name"] for form in forms} == {
        "os-set_image_metadata", "os-show_image_metadata", "os-migrate_volume_completion", "os-initialize_connection",
    }  # fmt: skip
    assert "content" not in answers["202"]
