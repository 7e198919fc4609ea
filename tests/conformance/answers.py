"""Every answer of the tests' runs, held against the API's own description and against ours.

`tests/api` calls `check` with each answer it gets, so a new test is covered by itself. What is compared:

* the status with the one that the route declares, and the body with the keys that it declares (`/openapi.json` has both);
* a refusal with the form of refusals;
* keys and types of everything else with what the description of the API knows of that call at that microversion.
"""

import functools
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import jsonschema_rs
from tests.conformance.errors_of_the_description import KNOWN

from breezeblock.api import errors, openapi
from breezeblock.api.routes import ROUTES
from breezeblock.api.routing import Action, Route, Router
from breezeblock.api.views.shapes import Answer, Shape

HERE: Final = Path(__file__).parent
FORMS: Final[dict[str, Any]] = json.loads((HERE / "answers.json").read_text(encoding="utf-8"))
ROUTER: Final = Router(ROUTES)
REFUSALS: Final = frozenset(openapi.refusals()) | {405}

_VARIABLE = re.compile(r"\{[^}]*\}")
_MINOR = re.compile(r"volume 3\.([0-9]+)")
_INDEX = re.compile(r"\[[0-9]+\]")
KINDS: Final = {
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    type(None): "null",
    list: "array",
    dict: "object",
}


class Answered(NamedTuple):
    """One request and its answer, as far as they are looked at."""

    method: str
    path: str
    content: bytes
    status: int
    body: bytes
    spoken: str
    """The header in which an answer says its microversion."""


def check(answered: Answered) -> None:
    """Fails when the answer is not as described."""
    found = list(problems(answered))
    assert not found, "\n".join(found)


def problems(answered: Answered) -> Iterator[str]:
    """What is wrong with an answer."""
    if answered.path.startswith("/healthcheck"):
        return  # for balancers, in the words of another middleware
    match = ROUTER.find(answered.path)
    route = match.routes.get(answered.method) if match is not None else None
    if answered.status >= 400:
        yield from _refusal(answered)
    elif route is not None:
        key = action_of(answered.content) if route.actions else ""
        one = (route.actions or {}).get(key, route) if key else route
        yield from _status(answered, one, route)
        if answered.body:
            call = f"{answered.method} {_VARIABLE.sub('{}', route.template)} {key}".strip()
            body, minor = json.loads(answered.body), minor_of(answered.spoken)
            yield from _as_declared(call, one, minor, body)
            yield from against_description(call, minor, body)
        elif one.answer is not None:
            yield f"{answered.method} {route.template} {key} declares a body and answers none"


def _as_declared(call: str, one: Route | Action, minor: int, body: Any) -> Iterator[str]:
    """What differs from our own description, as it is for that version."""
    if one.answer is None:
        yield f"{call} answers a body: add answer=… to its route"
        return
    for found in _validator(one.answer, minor).iter_errors(body):
        yield f"{call} at 3.{minor}: {'.'.join(map(str, found.instance_path))} {found.message}"


@functools.cache
def _validator(answer: Answer | Shape, minor: int) -> Any:
    return jsonschema_rs.validator_for(at_version(answer.schema(), minor))


def at_version(form: Any, minor: int) -> Any:
    """A schema of `/openapi.json` without what came after that version; what had come by then is there, or may be."""
    if isinstance(form, list | tuple):
        return [at_version(one, minor) for one in form]
    if not isinstance(form, Mapping):
        return form
    found = {name: at_version(one, minor) for name, one in form.items() if name not in ("properties", "required")}
    properties = form.get("properties", {})
    said = {name: one.get("x-openstack", {}) for name, one in properties.items()}
    if properties:
        found["properties"] = {
            name: at_version(one, minor) for name, one in properties.items() if _since(said[name]) <= minor
        }
    late = [name for name, one in said.items() if 0 < _since(one) <= minor and not one.get("optional")]
    return {**found, "required": [*form["required"], *late]} if "required" in form else found


def _since(said: Mapping[str, Any]) -> int:
    return int(said.get("min-ver", "3.0").partition(".")[2])


def action_of(content: bytes) -> str:
    """The key of an action's body."""
    (key,) = json.loads(content)
    return str(key)


def minor_of(spoken: str) -> int:
    """60 for `volume 3.60`."""
    found = _MINOR.fullmatch(spoken)
    assert found is not None, f"an answer under /v3 says its version, this one {spoken!r}"
    return int(found[1])


def _refusal(answered: Answered) -> Iterator[str]:
    if answered.status not in REFUSALS:
        yield f"{answered.status} is no status of a refusal: {sorted(REFUSALS)}"
        return
    name = errors.FAULT_NAMES.get(answered.status, errors.OTHER_FAULT)
    body = json.loads(answered.body)
    inner = body.get(name, {})
    if list(body) != [name] or inner.get("code") != answered.status or not str(inner.get("message", "")).strip():
        yield f"a refusal with {answered.status} is {{{name!r}: {{code, message}}}}, and this is {body}"


def _status(answered: Answered, one: Route | Action, route: Route) -> Iterator[str]:
    declared = one.status or (200 if route.method == "GET" else 0)
    if answered.status != declared:
        yield f"{route.method} {route.template} declares {declared or 'no status'} and answers {answered.status}"


def _shown(form: Any, at: str) -> Iterator[tuple[str, str]]:
    """What a sample makes right: this place is known, and may be of these types."""
    if isinstance(form, dict):
        for name, one in form.items():
            yield f"{at}.{name}", "is unknown"
            yield from _shown(one, f"{at}.{name}")
    elif isinstance(form, list):
        for one in form:
            yield from _shown(one, f"{at}[]")
    else:
        yield from ((at, f"is {kind}, not {other}") for kind in form.split("|") for other in OTHERS)


OTHERS: Final = ("string", "null|string", "integer", "boolean", "array", "object")
SHOWN: Final = frozenset(
    place
    for name, form in json.loads((HERE / "samples.json").read_text(encoding="utf-8")).items()
    if "request" not in name
    for place in _shown(form, "")
)


# Later than any version.
UNKNOWN: Final = 1000

# --- the description of the API ----------------------------------------------------------------------------------------


def against_description(call: str, minor: int, body: Any) -> Iterator[str]:
    """Keys that the description does not have, or not yet, and values of other types.

    What a sample of an answer shows at the same place is right: samples are recorded by Cinder's own tests, and the description
    is put together by hand. The other errors that are known of it are in a table.
    """
    form = FORMS.get(call)
    if form is None:
        return
    forms = form["any"] if isinstance(form, dict) and list(form) == ["any"] else [form]
    found = min((list(_differences(one, body, "", minor)) for one in forms), key=len)
    for place, what in found:
        if (place, what) not in SHOWN and not any(known.covers(call, place, what) for known in KNOWN):
            yield f"{call} at 3.{minor}: {place} {what}"


def _differences(form: Any, value: Any, at: str, minor: int) -> Iterator[tuple[str, str]]:
    """Places, such as `.volumes[].size`, and what is wrong there."""
    if form == {}:
        return
    kind = KINDS[type(value)]
    if isinstance(form, str):
        if kind not in form.split("|") and not (kind == "integer" and "number" in form):
            yield at, f"is {kind}, not {form}"
    elif isinstance(form, list):
        if kind != "array":
            yield at, f"is {kind}, not array"
        else:
            for one in value:
                yield from _differences(form[0], one, f"{at}[]", minor)
    elif kind != "object":
        yield at, f"is {kind}, not object"
    else:
        known = {name.partition("@")[0]: (int(name.partition("@")[2] or 0), one) for name, one in form.items()}
        for name, one in value.items():
            since, inner = known.get(name) or known.get("*") or (UNKNOWN, None)
            if since == UNKNOWN:
                yield f"{at}.{name}", "is unknown"
            elif since > minor:
                yield f"{at}.{name}", f"is for 3.{since} and later"
            else:
                yield from _differences(inner, one, f"{at}.{name}", minor)
