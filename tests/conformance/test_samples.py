"""Every sample of the API's documentation: requests like it are read here, and answers like it are given."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from scripts.read_description import shape
from tests.api.world import Api
from tests.conformance.samples import (
    ADMIN,
    IN_USE,
    LACKED,
    NOT_OURS,
    REFUSED,
    REQUESTS,
    RESPONSES,
    SAMPLES,
    base_of,
    minor_of,
    used_world,
    world,
)

from breezeblock.api import openapi, routes
from breezeblock.testing import calls

HERE: Final = Path(__file__).parent
COPIES: Final = HERE.parents[2] / "shared" / "reference" / "block-storage-api-v3" / "samples"
SERVED: Final = {str(call) for call in calls.served_calls()}
BASES: Final = sorted({base_of(name) for name in SAMPLES})
# What is under them is the user's, or a driver's: any keys.
FREE: Final = frozenset(
    {
        "metadata",
        "meta",
        "extra_specs",
        "capabilities",
        "specs",
        "levels",
        "group_specs",
        "connection_info",
        "properties",
    }
)
ANSWERS: Final = [name for name in SAMPLES if base_of(name) in {*RESPONSES, *IN_USE}]
ASKING: Final = [name for name in SAMPLES if base_of(name) in REQUESTS and REQUESTS[base_of(name)] in SERVED]
DOCUMENT: Final = openapi.describe(routes.ROUTES, routes.TOP.values())


def test_the_facts_are_those_of_the_samples() -> None:
    """Where a copy of the samples lies beside the checkout."""
    if not COPIES.is_dir():
        pytest.skip("no copy of the API's samples beside this checkout")
    found = {path.relative_to(COPIES).as_posix(): json.loads(path.read_bytes()) for path in COPIES.rglob("*.json")}

    assert {name: shape(one) for name, one in found.items()} == SAMPLES


def test_every_sample_has_its_call() -> None:
    """A request's, an answer's, one that is always refused, or a reason why none."""
    known = (*REQUESTS, *RESPONSES, *IN_USE, *REFUSED, *NOT_OURS)

    assert [base for base in BASES if base not in known] == []
    assert [base for base in known if base not in BASES] == []


def test_only_what_is_always_refused_has_no_answer() -> None:
    assert set(REFUSED.values()) <= calls.refused(HERE).keys()


# --- answers ----------------------------------------------------------------------------------------------------------


def differences(sample: Any, ours: Any, at: str = "") -> Iterator[str]:
    """Keys and types that are not the same. Null is of any type, and an empty list of any items."""
    if isinstance(sample, dict) and isinstance(ours, dict):
        if at.rpartition(".")[2] in FREE:
            return
        yield from (f"{at}.{key} is missing" for key in sorted(sample.keys() - ours.keys()))
        yield from (f"{at}.{key} is not in the sample" for key in sorted(ours.keys() - sample.keys()))
        for key in sample.keys() & ours.keys():
            yield from differences(sample[key], ours[key], f"{at}.{key}")
    elif isinstance(sample, list) and isinstance(ours, list):
        if sample and ours:
            yield from differences(sample[0], ours[0], f"{at}[]")
    elif isinstance(sample, str) and isinstance(ours, str):
        theirs, own = {*sample.split("|")}, {*ours.split("|")}
        if not (theirs & own or theirs == {"null"} or own == {"null"}):
            yield f"{at} is {ours}, not {sample}"
    elif "null" not in (sample, ours):
        yield f"{at} is {type(ours).__name__}, not {type(sample).__name__}"


class Worlds:
    """A world in which types were made, one in which none was, and one where storage is in use."""

    def __init__(self, folders: pytest.TempPathFactory) -> None:
        self.loop = asyncio.new_event_loop()
        places = [folders.mktemp("samples") for _ in range(3)]
        self._apis = [Api(place, self.loop) for place in places]
        self._ids = [world(api, types=types) for types, api in zip((False, True), self._apis[:2], strict=True)]
        self._ids.append(used_world(self._apis[2], places[2]))

    def of(self, base: str) -> tuple[Api, dict[str, str]]:
        """The one for a sample."""
        which = 2 if base in IN_USE else int(not base.startswith("quota"))
        return self._apis[which], self._ids[which]

    def close(self) -> None:
        for api in self._apis:
            api.close()
        self.loop.close()


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worlds]:
    worlds = Worlds(tmp_path_factory)
    yield worlds
    worlds.close()


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_has_the_shape_of_the_sample(worlds: Worlds, name: str) -> None:
    base = base_of(name)
    api, ids = worlds.of(base)
    asked = {**RESPONSES, **IN_USE}[base]
    named = {**ids, "new": name}
    if "{fresh}" in json.dumps(asked.body):
        named["fresh"] = api.given_volume()
    body = None if asked.body is None else json.loads(_filled(json.dumps(asked.body), named))

    answer = api(
        asked.method,
        f"/v3/{_filled(asked.path, named)}",
        body,
        version=f"3.{minor_of(name, asked.minor)}",
        token=ADMIN,
    )

    assert answer.status_code < 300, answer.text
    assert {*differences(SAMPLES[name], shape(answer.json()))} == LACKED.get(base, set())


def _filled(text: str, named: dict[str, str]) -> str:
    for name, value in named.items():
        text = text.replace(f"{{{name}}}", value)
    return text


# --- requests ---------------------------------------------------------------------------------------------------------


def schema_of(call: str) -> Any:
    """The described body of a call."""
    method, url, *action = call.split(" ")
    (item,) = (item for path, item in DOCUMENT["paths"].items() if calls.plain(path) == f"/v3/{url}")
    schema = item[method.lower()]["requestBody"]["content"]["application/json"]["schema"]
    if action:
        (schema,) = (one for one in schema["oneOf"] if one["x-openstack"]["action-name"] == action[0])
    return schema


def unknown(sample: Any, schema: Any, at: str = "") -> Iterator[str]:
    """Keys of a sample that no form of the described body has."""
    forms = list(_forms(schema))
    if not isinstance(sample, dict) or not any("properties" in form for form in forms):
        return
    for key, one in sample.items():
        found = [form["properties"][key] for form in forms if key in form.get("properties", {})]
        if not found:
            yield f"{at}.{key}"
        yield from unknown(one, {"anyOf": found}, f"{at}.{key}")


def _forms(schema: Any) -> Iterator[Any]:
    if "$ref" in schema:
        schema = DOCUMENT["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    if "anyOf" in schema:
        for one in schema["anyOf"]:
            yield from _forms(one)
    else:
        yield schema


@pytest.mark.parametrize("name", ASKING)
def test_a_request_like_the_sample_is_described(name: str) -> None:
    assert list(unknown(SAMPLES[name], schema_of(REQUESTS[base_of(name)]))) == []
