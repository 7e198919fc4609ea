"""The shape of an answer as a JSON Schema, out of the table of keys that it is made of."""

from dataclasses import dataclass
from typing import Any, Final

from breezeblock.api.microversions import OLDEST
from breezeblock.api.views.template import ID, Form, Key, flag, flag_text, plain, quote, text, time

_TEXT_OR_NULL: Final = {"type": ["string", "null"]}
_BY_FUNCTION: Final[dict[Form, dict[str, Any]]] = {
    text: _TEXT_OR_NULL,
    plain: _TEXT_OR_NULL,
    time: _TEXT_OR_NULL,
    quote: {"type": "string"},
    flag: {"type": "boolean"},
    flag_text: {"enum": ["true", "false"]},
}
_BY_TEXT: Final[dict[str, dict[str, Any]]] = {
    ID: {"type": "string"},
    "null": {"type": "null"},
    "true": {"type": "boolean"},
    "false": {"type": "boolean"},
    "[]": {"type": "array"},
}
LINKS: Final[dict[str, Any]] = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {"rel": {"type": "string"}, "href": {"type": "string"}},
        "required": ["rel", "href"],
    },
}


@dataclass(frozen=True, slots=True)
class Answer:
    """`{"volume": {…}}` of these keys, or with `many` `{"volumes": [{…}, …]}` with what pages have besides."""

    name: str
    keys: tuple[Key, ...]
    links: bool = False
    many: bool = False

    def schema(self) -> dict[str, Any]:
        """For the description of the API."""
        item = schema_of(self.keys, links=self.links)
        if not self.many:
            return _object({self.name: item}, required=[self.name])
        properties = {
            self.name: {"type": "array", "items": item},
            f"{self.name}_links": LINKS,
            "count": {"type": "integer", "minimum": 0},
        }
        return _object(properties, required=[self.name])


def schema_of(keys: tuple[Key, ...], *, links: bool) -> dict[str, Any]:
    """An object of these keys; those are required that every version has, for every caller."""
    properties = {key.name: _property(key) for key in keys} | ({"links": LINKS} if links else {})
    always = [key.name for key in keys if key.since == OLDEST and not key.rule and not key.attribute]
    return _object(properties, required=[*always, *(["links"] if links else [])])


def _property(key: Key) -> dict[str, Any]:
    found = _BY_FUNCTION.get(key.form, {}) if callable(key.form) else _BY_TEXT.get(key.form, {})
    return found if key.since == OLDEST else {**found, "x-openstack": {"min-ver": str(key.since)}}


def _object(properties: dict[str, Any], *, required: list[str]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
