"""JSON from rows, quickly: an object's constant text is put together once, and a row only fills the gaps.

A view is a table of `Key`s. For a microversion and an audience it becomes a `Template`; that one turns a row (values in
the order of the view's columns) into text. Lists of a thousand items are why: dictionaries of thirty keys for each row,
encoded afterwards, take twice the time.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from json.encoder import encode_basestring
from typing import Any, NamedTuple

from breezeblock.api.microversions import OLDEST, Version

Values = Sequence[Any]
# Makes, for the column at some index, the function from a row to the JSON text of one key.
Form = Callable[[int], Callable[[Values], str]]


class Key(NamedTuple):
    """One key of an object. A constant has no column; `form` is then its JSON text."""

    name: str
    column: str
    form: Form | str
    since: Version = OLDEST
    until: Version | None = None
    # The policy rule that a caller needs to see it.
    rule: str = ""
    # Only where a resource is shown as it is (show, list), not in the answers to create and update.
    attribute: bool = False


Template = Callable[[Values], str]


def compile_template(keys: Sequence[Key], columns: Sequence[str]) -> Template:
    """A function from a row to the JSON object of these keys."""
    pieces: list[str] = []
    fills: list[Callable[[Values], str]] = []
    for key in keys:
        name = encode_basestring(key.name).replace("%", "%%")
        if isinstance(key.form, str):
            pieces.append(f"{name}:{key.form.replace('%', '%%')}")
        else:
            pieces.append(f"{name}:%s")
            fills.append(key.form(columns.index(key.column)))
    text = "{" + ",".join(pieces) + "}"
    return lambda row: text % tuple([fill(row) for fill in fills])


def select_keys(
    keys: Sequence[Key], *, version: Version, may: Callable[[str], bool], attributes: bool
) -> tuple[Key, ...]:
    """The keys that this version has and this caller may see."""
    return tuple(
        key
        for key in keys
        if key.since <= version
        and (key.until is None or version < key.until)
        and (not key.rule or may(key.rule))
        and (attributes or not key.attribute)
    )


def text(index: int) -> Callable[[Values], str]:
    """Any text, or null."""

    def fill(row: Values) -> str:
        value = row[index]
        return "null" if value is None else encode_basestring(value)

    return fill


def plain(index: int) -> Callable[[Values], str]:
    """A text that we chose ourselves and that needs no escape: an id, a status. Or null."""

    def fill(row: Values) -> str:
        value = row[index]
        return "null" if value is None else f'"{value}"'

    return fill


def number(index: int) -> Callable[[Values], str]:
    return lambda row: str(row[index])


def flag(index: int) -> Callable[[Values], str]:
    return lambda row: "true" if row[index] else "false"


def flag_text(index: int) -> Callable[[Values], str]:
    """A flag that this API writes as a text."""
    return lambda row: '"true"' if row[index] else '"false"'


def raw(index: int) -> Callable[[Values], str]:
    """JSON already."""
    return lambda row: row[index]


def time(index: int) -> Callable[[Values], str]:
    """Microseconds since 1970 as `2026-11-21T02:26:49.000000`, UTC without saying so; or null."""

    def fill(row: Values) -> str:
        at_us = row[index]
        return "null" if at_us is None else f'"{format_time(at_us)}"'

    return fill


def format_time(at_us: int) -> str:
    seconds, rest_us = divmod(at_us, 1_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC).isoformat()[:19]}.{rest_us:06d}"
