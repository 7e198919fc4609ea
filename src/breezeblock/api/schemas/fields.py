"""Fields with rules of their own, which bodies of several resources share.

Each has `read(value)`: the value as it came out of JSON, or ValueError with what was expected (`bodies.py` adds the
key and the value).
"""

import re
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Final

from msgspec import UNSET, Meta, UnsetType

from breezeblock.model.ids import is_uuid

SIZE_GIB_MAX: Final = 2**31 - 1
KEY_FORM: Final = r"^[a-zA-Z0-9\-_:. /]{1,255}$"
_DIGITS = re.compile(r"[0-9]+\Z")

# The spellings that this API has always taken, and no others.
_TRUE = frozenset({"True", "TRUE", "true", "1", "ON", "On", "on", "YES", "Yes", "yes", "y", "t"})
_FALSE = frozenset({"False", "FALSE", "false", "0", "OFF", "Off", "off", "NO", "No", "no", "n", "f"})

Name = Annotated[str, Meta(max_length=255)]
Description = Annotated[str, Meta(max_length=255)]
Text = Annotated[str, Meta(max_length=255)]
Metadata = dict[Annotated[str, Meta(pattern=KEY_FORM)], Annotated[str, Meta(max_length=255)]]


class Flag(int):
    """True or false, also as one of the words that mean it. Use it as `bool(flag)`."""

    form: ClassVar = {"anyOf": [{"type": "boolean"}, {"enum": sorted(_TRUE | _FALSE)}]}

    @classmethod
    def read(cls, value: object) -> "Flag":
        if value is True or (isinstance(value, str) and value in _TRUE):
            return cls(1)
        if value is False or (isinstance(value, str) and value in _FALSE):
            return cls(0)
        raise ValueError("expected true or false")


class Size(int):
    """A size in GiB, as a number or as its digits."""

    form: ClassVar = {
        "anyOf": [
            {"type": "integer", "minimum": 1, "maximum": SIZE_GIB_MAX},
            {"type": "string", "pattern": "^[1-9][0-9]{0,8}$"},
        ]
    }

    @classmethod
    def read(cls, value: object) -> "Size":
        if isinstance(value, str) and _DIGITS.match(value):
            value = int(value) if len(value) <= 10 else SIZE_GIB_MAX + 1
        if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= SIZE_GIB_MAX:
            return cls(value)
        raise ValueError(f"expected a whole number of GiB, 1 to {SIZE_GIB_MAX}")


class Uuid(str):
    """An id of something that exists elsewhere. Kept as we store ids: lower case, with dashes."""

    __slots__ = ()
    form: ClassVar = {"type": "string", "format": "uuid"}

    @classmethod
    def read(cls, value: object) -> "Uuid":
        if not isinstance(value, str) or not is_uuid(value):
            raise ValueError("expected a UUID")
        digits = value.replace("-", "").lower()
        return cls("-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:])))


def word_of(value: object, words: Sequence[str]) -> str:
    """One of some words, in any case, as we write it. Raises ValueError with the words."""
    if isinstance(value, str) and value.lower() in words:
        return value.lower()
    raise ValueError(f"expected one of {', '.join(words)}")


def stripped(text: str | UnsetType | None) -> Any:
    """A name or description as it is kept: without white space around it; what was not sent stays not sent."""
    return text.strip() if isinstance(text, str) else text


def first_sent(*values: str | UnsetType | None) -> str | UnsetType | None:
    """The first of several spellings of one field that was sent."""
    return next((value for value in values if value is not UNSET), UNSET)
