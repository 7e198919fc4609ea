#!/usr/bin/env python3
"""Take the facts that tests compare with out of the API's own description, and keep them in tests/conformance.

The description is long, and so are the samples; a checkout has neither. What is kept are facts alone, no sentence of theirs:

    calls.json    every call: method, URL, the key of an action, the first and the last microversion
    answers.json  of each call the keys of its answer, since when, and of which type
    samples.json  of each sample the keys of its values and their types

    .venv/bin/python scripts/read_description.py OPENAPI.yaml SAMPLES      write them again, from newer ones

What the description has wrong about *which* calls there are is corrected here, each with its reason; what it has wrong about
answers is in tests/conformance/errors_of_the_description.py.
"""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml

FACTS: Final = Path(__file__).resolve().parent.parent / "tests" / "conformance"
METHODS: Final = ("get", "post", "put", "delete")
_VARIABLE = re.compile(r"\{[^}]*\}")
_MINOR = re.compile(r"v3\.([0-9]+)")

Call = tuple[str, str, str]

# URLs that stand for several: what looks like an id there is the name of what is to be done.
NAMED: Final[dict[tuple[str, str], dict[str, str]]] = {
    ("PUT", "os-services/{}"): {
        **dict.fromkeys(("enable", "disable", "disable-log-reason", "freeze", "thaw", "failover_host"), "3.0"),
        "failover": "3.26",
        "get-log": "3.32",
        "set-log": "3.32",
    },
    ("PUT", "clusters/{}"): {"enable": "3.7", "disable": "3.7"},
}
# Calls that the description makes out of a decorator or a default route, and that Cinder does not answer.
NO_CALLS: Final[dict[Call, str]] = {
    ("POST", "types/{}/action", "create"): "a key for POST types, inside",
    ("POST", "types/{}/action", "update"): "a key for PUT types/{}, inside",
    ("POST", "types/{}/action", "delete"): "a key for DELETE types/{}, inside",
    ("PUT", "os-hosts", ""): "the handler wants a host in the URL",
    ("DELETE", "groups/{}", ""): "groups are deleted by the action `delete`",
    ("POST", "groups/{}/action", "create-from-src"): "there is no group yet: the URL is groups/action",
    **{
        ("POST", "groups/action", key): "the URL is groups/{}/action"
        for key in ("reset_status", "delete", "enable_replication", "disable_replication", "failover_replication",
                    "list_replication_targets")
    },
    ("DELETE", "consistencygroups/{}", ""): "the handler wants a body: the URL is consistencygroups/{}/delete",
}  # fmt: skip
# And calls that it leaves out.
MORE_CALLS: Final[dict[Call, str]] = {
    ("GET", "", ""): "3.0",
    ("GET", "extensions/{}", ""): "3.0",
    ("POST", "volumes/{}/action", "os-extend_volume_completion"): "3.71",
}
# First versions that it does not tell.
SINCE: Final[dict[Call, str]] = {
    ("POST", "volumes/{}/action", "revert"): "3.40",
    ("POST", "attachments/{}/action", "os-complete"): "3.44",
    **{
        (method, f"manageable_{kind}{part}", ""): "3.8"
        for kind in ("volumes", "snapshots")
        for method, part in (("GET", ""), ("GET", "/detail"), ("POST", ""))
    },
}


def main() -> int:
    """Write the three files."""
    description = yaml.load(Path(sys.argv[1]).read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
    _write("calls.json", all_calls(description))
    _write("answers.json", all_answers(description))
    samples = Path(sys.argv[2])
    _write("samples.json", {
        path.relative_to(samples).as_posix(): shape(json.loads(path.read_text(encoding="utf-8")))
        for path in sorted(samples.rglob("*.json"))
    })  # fmt: skip
    return 0


def all_calls(description: Any) -> list[dict[str, str]]:
    """What is kept in calls.json."""
    found = sorted(dict(_calls(description)).items())
    return [{"method": call[0], "url": call[1], "action": call[2], "since": since} for call, since in found]


def all_answers(description: Any) -> dict[str, Any]:
    """What is kept in answers.json."""
    return {" ".join(call).strip(): form for call, form in sorted(_answers(description), key=lambda pair: pair[0])}


def _write(name: str, facts: Any) -> None:
    entries = facts.items() if isinstance(facts, dict) else facts
    lines = (f"{json.dumps(one[0])}: {_line(one[1])}" if isinstance(facts, dict) else _line(one) for one in entries)
    first, last = "{}" if isinstance(facts, dict) else "[]"
    (FACTS / name).write_text(f"{first}\n" + ",\n".join(lines) + f"\n{last}\n", encoding="utf-8")


def _line(fact: Any) -> str:
    return json.dumps(fact, ensure_ascii=False, separators=(",", ":"))


# --- calls ------------------------------------------------------------------------------------------------------------


def _operations(description: Any) -> Iterator[tuple[str, str, Any]]:
    for path, item in description["paths"].items():
        url = _VARIABLE.sub("{}", path.removeprefix("/v3/").removeprefix("{project_id}").strip("/"))
        if "{project_id}" not in path:
            yield from ((method.upper(), url, item[method]) for method in METHODS if method in item)


def _calls(description: Any) -> Iterator[tuple[Call, str]]:
    for method, url, operation in _operations(description):
        since = operation.get("x-openstack", {}).get("min-ver", "3.0")
        if (method, url) in NAMED:
            yield from (((method, url.replace("{}", name), ""), first) for name, first in NAMED[method, url].items())
            continue
        for key, first in _actions(description, operation) or (("", since),):
            call = method, url, key
            if call not in NO_CALLS:
                yield call, SINCE.get(call, max(since, first, key=_minor))
    yield from MORE_CALLS.items()


def _minor(version: str) -> int:
    return int(version.partition(".")[2])


def _actions(description: Any, operation: Any) -> list[tuple[str, str]]:
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    if content.get("x-openstack", {}).get("discriminator") != "action":
        return []
    said = [_resolved(description, one).get("x-openstack", {}) for one in content["oneOf"]]
    return [(one["action-name"], one.get("min-ver", "3.0")) for one in said]


def _resolved(description: Any, schema: Any) -> Any:
    name = schema.get("$ref", "").rpartition("/")[2]
    return description["components"]["schemas"][name] if name else schema


# --- answers ----------------------------------------------------------------------------------------------------------


def _answers(description: Any) -> Iterator[tuple[Call, Any]]:
    for method, url, operation in _operations(description):
        schemas = [
            _resolved(description, one)
            for status, answer in operation["responses"].items()
            if status.startswith("2")
            for content in answer.get("content", {}).values()
            for one in content["schema"].get("oneOf", [content["schema"]])
        ]
        forms = [form for form in (_form(schema) for schema in schemas) if form != {}]
        if not forms:
            continue
        names = NAMED.get((method, url), {"{}": ""})
        for name in names:
            at = url.replace("{}", name) if (method, url) in NAMED else url
            yield (method, at, ""), forms[0] if len(forms) == 1 else {"any": forms}


def _form(schema: Any) -> Any:
    """Types as a text, such as `string|null`; objects with keys, `name@13` for one that came with 3.13; `*` is any key."""
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if "properties" in schema:
        return {_key(name, one): _form(one) for name, one in schema["properties"].items()}
    if "patternProperties" in schema:
        return {"*": _form(next(iter(schema["patternProperties"].values())))}
    if "items" in schema:
        return [_form(schema["items"])]
    if kinds == ["object"] or not kinds:
        return {}
    return "|".join(sorted(kinds))


def _key(name: str, schema: Any) -> str:
    since = schema.get("x-openstack", {}).get("min-ver")
    return f"{name}@{_minor(since)}" if since else name


# --- samples ----------------------------------------------------------------------------------------------------------


def shape(value: Any) -> Any:
    """A value's keys and types; of a list the shape that its items have together."""
    if isinstance(value, dict):
        return {key: shape(one) for key, one in value.items()}
    if isinstance(value, list):
        merged: Any = None
        for one in value:
            merged = shape(one) if merged is None else _merged(merged, shape(one))
        return [] if merged is None else [merged]
    kinds = {bool: "boolean", int: "integer", float: "number", str: "string", type(None): "null"}
    return kinds[type(value)]


def _merged(one: Any, other: Any) -> Any:
    if isinstance(one, dict) and isinstance(other, dict):
        return {key: _merged(one.get(key, other.get(key)), other.get(key, one.get(key))) for key in {**one, **other}}
    if isinstance(one, list) and isinstance(other, list):
        return [_merged(one[0], other[0])] if one and other else one or other
    if isinstance(one, str) and isinstance(other, str):
        return "|".join(sorted({*one.split("|"), *other.split("|")}))
    return other if one == "null" else one


if __name__ == "__main__":
    sys.exit(main())
