"""Request bodies: bytes to structs, with refusals that name the key, the value and what was expected.

Fields with rules of their own are types of their own (`Flag`, `Size`…): a class with a classmethod `read(value)`
that returns an instance or raises ValueError with what was expected.
"""

import re
from typing import Any, Final, TypeVar

import msgspec

from breezeblock.model.errors import BadRequest

T = TypeVar("T")

MALFORMED: Final = "Malformed request body: it must be JSON"
# What the decoder raises for bytes that it does not take: not JSON, not UTF-8, or nested without an end in sight.
NOT_JSON: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_PLACE = re.compile(r"(?P<what>.*?)(?: - at (?P<key>`key` in )?`(?P<path>[^`]*)`)?\Z", re.DOTALL)
# A value in a message is for recognising it, not for echoing a whole body.
_SHOWN_VALUE_MAX: Final = 80
# How the decoder names the place of a value in a map, and how many entries we try to find out which it was.
IN_MAP: Final = "[...]"
_TRIED_ENTRIES_MAX: Final = 200


def read(raw: bytes | msgspec.Raw, kind: type[T], *, at: str = "") -> T:
    """Decode a body. `at` names the place of a part inside the whole body. Raises BadRequest."""
    try:
        return msgspec.json.decode(raw, type=kind, dec_hook=_read_custom)
    except msgspec.ValidationError as error:
        raise BadRequest(_explain(str(error), raw, kind, at)) from error
    except NOT_JSON as error:
        raise BadRequest(f"{MALFORMED}.") from error


def single_key(raw: bytes) -> tuple[str, msgspec.Raw]:
    """The one key of an action's body, and what is under it. Raises BadRequest."""
    try:
        found = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
    except NOT_JSON as error:
        raise BadRequest(f"{MALFORMED} with one key, the name of the action.") from error
    if len(found) != 1:
        raise BadRequest(f"Malformed request body: expected one key, the name of the action, and found {len(found)}.")
    return next(iter(found.items()))


def _read_custom(kind: type, value: object) -> object:
    read_value = getattr(kind, "read", None)
    if read_value is None:
        raise NotImplementedError(kind)  # msgspec's own sign for a type that it cannot make
    return read_value(value)


def _explain(problem: str, raw: bytes | msgspec.Raw, kind: Any, at: str) -> str:
    """`volume.size = 0: expected a whole number…`, from the decoder's words."""
    found = _PLACE.match(problem)
    assert found is not None, "the pattern ends in an optional part and matches everything"
    path = found["path"] or "$"
    what = found["what"].replace("`", "")
    what = what[0].lower() + what[1:]
    name = ".".join(part for part in (at, path.removeprefix("$").lstrip(".")) if part) or "body"
    if found["key"]:
        return f"Invalid key in {name}: {what}."
    try:
        body = msgspec.json.decode(raw)
    except NOT_JSON:
        return f"{MALFORMED}."  # the first mistake was seen before the decoder came to the end
    if path.endswith(IN_MAP):
        entry = _bad_entry(body, path.removesuffix(IN_MAP), kind)
        path, name = path.replace(IN_MAP, f".{entry}"), name.replace(IN_MAP, f".{entry}")
    value, known = _value_at(body, path)
    if not known or isinstance(value, dict | list):
        return f"Invalid {name}: {what}."
    shown = msgspec.json.encode(value).decode()
    if len(shown) > _SHOWN_VALUE_MAX:
        shown = shown[:_SHOWN_VALUE_MAX] + "…"
    return f"Invalid {name} = {shown}: {what}."


def _bad_entry(body: Any, path: str, kind: Any) -> str:
    """The key of a map's entry that is wrong, which the decoder does not tell: found by trying each alone."""
    entries, known = _value_at(body, path)
    if not known or not isinstance(entries, dict):
        return "[...]"
    for key, value in list(entries.items())[:_TRIED_ENTRIES_MAX]:
        entries.clear()
        entries[key] = value
        try:
            msgspec.convert(body, kind, dec_hook=_read_custom)
        except msgspec.ValidationError:
            return str(key)
    return "[...]"


def _value_at(body: Any, path: str) -> tuple[Any, bool]:
    """The value that a path such as `$.volume.size` means. False for places inside lists and maps: they say `[...]`."""
    value = body
    for part in path.removeprefix("$").lstrip(".").split("."):
        if not part:
            continue
        if not isinstance(value, dict) or part not in value:
            return None, False
        value = value[part]
    return value, True
