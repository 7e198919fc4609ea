"""JSON from rows, quickly: an object's constant text is put together once, and rows only fill its gaps.

A view is a table of `Key`s. For a microversion and an audience it becomes a `Template`, which turns rows (values in the
order of the view's columns) into texts, column by column: a thousand volumes with thirty keys each are 31,000 values,
and a function call for each would cost more than the database. It takes half the time of encoding dictionaries.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from json.encoder import encode_basestring
from typing import Any, Final, NamedTuple

from breezeblock.api.microversions import OLDEST, Version

Values = Sequence[Any]
Form = Callable[..., str]

quote: Final = encode_basestring


def text(value: str | None) -> str:
    """Any text, or null."""
    return "null" if value is None else quote(value)


def plain(value: str | None) -> str:
    """A text of ours that needs no escape (an id), or null."""
    return "null" if value is None else f'"{value}"'


def flag(value: bool) -> str:
    return "true" if value else "false"


def flag_text(value: bool) -> str:
    """A flag that this API writes as a text."""
    return '"true"' if value else '"false"'


def time(at_us: int | None) -> str:
    """Microseconds since 1970 as a JSON text, or null."""
    return "null" if at_us is None else f'"{format_time(at_us)}"'


def format_time(at_us: int) -> str:
    """Microseconds since 1970 as `2026-11-21T02:26:49.000000`, UTC without saying so."""
    seconds, rest_us = divmod(at_us, 1_000_000)
    return f"{_second(seconds)}.{rest_us:06d}"


@lru_cache(maxsize=4096)  # what is listed together was often made in the same second
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()[:19]


class Key(NamedTuple):
    """One key of an object: the columns that its value is made of, and how."""

    name: str
    columns: tuple[str, ...] = ()
    # A function of the columns' values; or the value's JSON text, in which `%s` stands for each of them as it is.
    form: Form | str = "null"
    since: Version = OLDEST
    # The policy rule that a caller needs to see it.
    rule: str = ""
    # Only where a resource is shown as it is (show, list), not in the answers to create and update.
    attribute: bool = False
    # Its form is a function whose text has the name as well, or is empty where the object does not have the key.
    optional: bool = False
    # The value as a JSON Schema, where the form does not say it (`shapes.py`).
    shape: Mapping[str, Any] | None = None


ID: Final = '"%s"'  # a text of ours that is never NULL
RAW: Final = "%s"  # numbers, and JSON already


@dataclass(frozen=True, slots=True)
class Template:
    """An object's text with gaps, and what fills each of them: the indexes of columns, and the function, if any."""

    form: str
    gaps: tuple[tuple[tuple[int, ...], Form | None], ...]

    def fill(self, rows: Sequence[Values]) -> Iterable[str]:
        """The objects for these rows."""
        if not rows:
            return ()
        columns = tuple(zip(*rows, strict=True))
        filled = [
            columns[indexes[0]] if form is None else map(form, *(columns[index] for index in indexes))
            for indexes, form in self.gaps
        ]
        return map(self.form.__mod__, zip(*filled, strict=True))

    def with_key(self, name: str, form: str, indexes: Sequence[int]) -> "Template":
        """The same with one more key, whose text has a gap for each of the columns."""
        gaps = tuple(((index,), None) for index in indexes)
        return Template(f'{self.form[:-1]},"{name}":{form}}}', self.gaps + gaps)


def compile_template(keys: Iterable[Key], columns: Sequence[str]) -> Template:
    """The template of these keys for rows of these columns."""
    pieces: list[str] = []
    gaps: list[tuple[tuple[int, ...], Form | None]] = []
    last: list[tuple[tuple[int, ...], Form | None]] = []
    for key in keys:
        indexes = tuple(columns.index(column) for column in key.columns)
        if key.optional:
            assert callable(key.form), f"{key.name}: a function says whether it is there"
            last.append((indexes, key.form))
        elif callable(key.form):
            pieces.append(f"{quote(key.name)}:%s")
            gaps.append((indexes, key.form))
        else:
            assert key.form.count("%s") == len(indexes), f"{key.name}: a gap for each column"
            pieces.append(f"{quote(key.name)}:{key.form}")
            gaps += [((index,), None) for index in indexes]
    return Template(f"{{{','.join(pieces)}{'%s' * len(last)}}}", (*gaps, *last))


def select_keys(
    keys: Iterable[Key], *, version: Version, may: Callable[[str], bool], attributes: bool
) -> tuple[Key, ...]:
    """The keys that this version has and this caller may see."""
    return tuple(
        key
        for key in keys
        if key.since <= version and (not key.rule or may(key.rule)) and (attributes or not key.attribute)
    )
