"""The shape of an answer as a JSON Schema: out of the table of keys that it is made of, or as its view says it.

A view that fills a template has its keys in a table, and `Answer` reads that. A view that makes a map says its keys
beside it, with the words below. Both end up in `/openapi.json`, and every tested answer is held against what that says
(`tests/conformance/answers.py`): a key that is missing, of another type, too early for its version, or not said here fails.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from breezeblock.api.microversions import OLDEST, Version
from breezeblock.api.views.template import ID, Form, Key, flag, flag_text, plain, quote, text, time

Json = Mapping[str, Any]

# Where the description says since when there is something.
SINCE: Final = "x-openstack"

TEXT: Final[Json] = {"type": "string"}
TEXT_OR_NULL: Final[Json] = {"type": ["string", "null"]}
NUMBER: Final[Json] = {"type": "integer"}
FLAG: Final[Json] = {"type": "boolean"}
NULL: Final[Json] = {"type": "null"}
ANYTHING: Final[Json] = {}


def one_of(*texts: str) -> Json:
    """One of these texts."""
    return {"enum": list(texts)}


def many(item: Json) -> Json:
    """A list of these."""
    return {"type": "array", "items": item}


def map_of(value: Json) -> Json:
    """A map whose keys are not ours to say."""
    return {"type": "object", "additionalProperties": value}


def object_of(always: Mapping[str, Json], sometimes: Mapping[str, Json] | None = None) -> Json:
    """An object of these keys and no others; `sometimes` has those that only some of them have, or only some callers see."""
    properties = {**always, **(sometimes or {})}
    required = [name for name, form in always.items() if SINCE not in form]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def late(since: Version, form: Json, *, optional: bool = False) -> Json:
    """What came with a later version: it is there from then on or, if it is optional, may be."""
    return {**form, SINCE: {"min-ver": str(since)} | ({"optional": True} if optional else {})}


def late_keys(since: Version, found: Mapping[str, Json]) -> dict[str, Json]:
    """The same of several."""
    return {name: late(since, form) for name, form in found.items()}


MAP_OF_TEXTS: Final = map_of(TEXT)
MAP_OF_TEXTS_OR_NULL: Final = map_of(TEXT_OR_NULL)
LINKS: Final = many(object_of({"rel": TEXT, "href": TEXT}))
COUNT: Final[Json] = {"type": "integer", "minimum": 0}

_BY_FUNCTION: Final[dict[Form, Json]] = {
    text: TEXT_OR_NULL,
    plain: TEXT_OR_NULL,
    time: TEXT_OR_NULL,
    quote: TEXT,
    flag: FLAG,
    flag_text: one_of("true", "false"),
}
_BY_TEXT: Final[dict[str, Json]] = {
    ID: TEXT,
    "null": NULL,
    "true": FLAG,
    "false": FLAG,
}


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """`{"volume": {…}}` of these keys, or with `many` `{"volumes": [{…}, …]}` with what pages have besides."""

    name: str
    keys: tuple[Key, ...]
    links: bool = False
    many: bool = False

    def schema(self) -> Json:
        """For the description of the API."""
        item = schema_of(self.keys, links=self.links)
        return paged(self.name, item, counted=True).form if self.many else object_of({self.name: item})


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """An answer that says its form itself."""

    form: Json

    def schema(self) -> Json:
        """For the description of the API."""
        return self.form


def named(name: str, item: Json) -> Shape:
    """`{"volume": {…}}`."""
    return Shape(object_of({name: item}))


def paged(name: str, item: Json, *, links: str = "", counted: bool = False) -> Shape:
    """`{"volumes": [{…}, …]}`, with the link to the next page, which is under `links`, and the count if it was asked for."""
    sometimes: dict[str, Json] = {links or f"{name}_links": LINKS}
    if counted:
        sometimes["count"] = COUNT
    return Shape(object_of({name: many(item)}, sometimes))


def schema_of(found: tuple[Key, ...], *, links: bool) -> Json:
    """An object of these keys."""
    always = {key.name: _property(key) for key in found if not _is_optional(key)}
    sometimes = {key.name: _property(key) for key in found if _is_optional(key)}
    return object_of({**always, "links": LINKS} if links else always, sometimes)


def _is_optional(key: Key) -> bool:
    """Whether not every caller sees it, or not in every answer."""
    return bool(key.rule) or key.attribute or key.optional


def _property(key: Key) -> Json:
    form = key.shape
    if form is None:
        form = _BY_FUNCTION[key.form] if callable(key.form) else _BY_TEXT[key.form]
    return form if key.since == OLDEST else late(key.since, form, optional=_is_optional(key))
