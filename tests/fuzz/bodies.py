"""What a handler takes, found in its code, and bodies that are nearly that."""

import dis
import enum
import json
from collections.abc import Iterator
from types import CodeType, ModuleType
from typing import Any, Final, Literal, get_args, get_origin

import msgspec
from hypothesis import strategies as st
from tests.fuzz.world import KNOWN

from breezeblock.api.routing import Handler
from breezeblock.api.schemas.types import OneSpec
from breezeblock.model.states import RESETTABLE_VOLUME

# --- values -----------------------------------------------------------------------------------------------------------

NASTY_TEXTS: Final = (
    "", " ", "\x00", "a\x00b", "\ud800", "\udfff\ud800", "😀", "\U0010ffff", "ﷺ" * 300, "a" * 255, "a" * 256,
    "a" * 70_000, "é" * 256, "'; DROP TABLE volumes; --", "%", "_", "%s", "{0}", "{id}", "{status}", "{}", "..",
    "../../etc/passwd", "null", "NaN", "true", "1e400", "-1", "0x10", "٣", "²", "1_000", "+1", " 1", "\u202e", "\ufeff",
    "9" * 5000, "[" * 500, "http://[::1", "\r\nX: y",
)  # fmt: skip
GOOD_TEXTS: Final = (*KNOWN, *RESETTABLE_VOLUME, "100%", "never", "on-demand", "cinder-volume", "nova", "1", "2")
BIG_NUMBERS: Final = (
    0, -1, 1, 2, 3, 2**31 - 1, 2**31, 2**32, 2**53, 2**63 - 1, 2**63, -(2**63) - 1, 2**64, 10**30, 10**400,
    1.5, -0.0, 1e308, float("inf"), float("-inf"), float("nan"),
)  # fmt: skip

texts = st.one_of(
    st.sampled_from(GOOD_TEXTS), st.sampled_from(NASTY_TEXTS), st.text(st.characters(codec=None), max_size=20)
)
numbers = st.one_of(st.sampled_from(BIG_NUMBERS), st.integers(), st.floats())
scalars = st.one_of(st.none(), st.booleans(), numbers, texts)
junk: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(texts, inner, max_size=4)),
    max_leaves=8,
)


# --- nearly right bodies ----------------------------------------------------------------------------------------------


def kinds_of(handler: Handler) -> list[Any]:
    """The body types that a handler names, itself or through functions of the handlers' modules."""
    return list(dict.fromkeys(_named(handler, set())))


def _named(function: Any, seen: set[CodeType]) -> Iterator[Any]:
    code = function.__code__
    if code in seen:
        return
    seen.add(code)
    own = function.__globals__
    # `schemas.CreateBody` is an attribute of the module that was named right before it, and nothing else is one of ours.
    holder: dict[str, Any] = {}
    for one in dis.get_instructions(code):
        space = {"LOAD_GLOBAL": own, "LOAD_ATTR": holder, "LOAD_METHOD": holder}.get(one.opname, {})
        found = space.get(str(one.argval))
        holder = vars(found) if isinstance(found, ModuleType) and _ours(found.__name__) else {}
        if isinstance(found, type) and issubclass(found, msgspec.Struct) and ".api.schemas." in found.__module__:
            yield found
        elif found is OneSpec:
            yield dict
        elif hasattr(found, "__code__") and _ours(found.__module__):
            yield from _named(found, seen)


def _ours(module: str) -> bool:
    return module.startswith(("breezeblock.api.handlers.", "breezeblock.api.schemas."))


def near(kind: Any) -> st.SearchStrategy[Any]:
    """Values of a body type, with some parts left out, wrong, or of no such name."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        fields = {field.encode_name: near(field.type) for field in msgspec.structs.fields(kind)}
        required = {
            field.encode_name: fields[field.encode_name] for field in msgspec.structs.fields(kind) if field.required
        }
        optional = {name: one for name, one in fields.items() if name not in required}
        right = st.fixed_dictionaries(required, optional=optional)
        return st.one_of(right, right, right, st.fixed_dictionaries({}, optional=fields | {"unknown": scalars}), junk)
    origin = get_origin(kind)
    if origin is Literal:
        return st.one_of(st.sampled_from(get_args(kind)), junk)
    if origin is dict or kind is dict:
        return st.one_of(st.dictionaries(texts, texts, max_size=3), st.just({"key": "value"}), junk)
    if get_args(kind):
        meant = [one for one in get_args(kind) if isinstance(one, type) or get_args(one)]
        return st.one_of([near(one) for one in meant if not issubclass_of(one, enum.Enum)] or [scalars])
    return scalars


def issubclass_of(kind: Any, parent: type) -> bool:
    return isinstance(kind, type) and issubclass(kind, parent)


# --- from values to bytes ---------------------------------------------------------------------------------------------

RAW_BODIES: Final = (
    b"", b"{", b"null", b"[]", b"{}", b'""', b"\x00", b"\xff\xfe", b"\xef\xbb\xbf{}", b"{\"a\":1}{}", b"nul",
    b"{'volume': {}}", b'{"volume": {"size": 1}, "volume": {"size": "x"}}', b'{"volume":{"size":1,"size":[]}}',
    b'{"volume":{"name":"\\ud800","size":1}}', b'{"volume":{"name":"\xed\xa0\x80","size":1}}', b"1" * 5000,
    b"[" * 100_000, b'{"a":' * 20_000, b'{"volume":' + b"[" * 50_000, b'{"os-extend":' + b'{"a":' * 15_000,
    b'{"volume":{"size":1,"metadata":' + b"[" * 5_000 + b"]" * 5_000 + b"}}",
    b'{"volume":{"size":1},"OS-SCH-HNT:scheduler_hints":{"a":' + b"[" * 40_000 + b"]" * 40_000 + b"}}",
    b"x" * 200_000, b"size=1&name=x", b"--x\r\nContent-Disposition: form-data\r\n\r\n1\r\n--x--",
)  # fmt: skip


def encoded(value: Any, how: int) -> bytes:
    """A value as some client might write it: escaped, raw UTF-8 with lone surrogates, other encodings, twice over."""
    text = json.dumps(value)
    match how:
        case 0:
            return text.encode()
        case 1:
            return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")
        case 2:
            return text.encode("utf-16")
        case 3:
            return b"\xef\xbb\xbf" + text.encode()
        case 4:
            return json.dumps(value, ensure_ascii=False).encode("latin-1", "replace")
        case 5 if text.startswith("{") and len(text) > 2:
            return (text[:-1] + "," + text[1:]).encode()  # every key twice
        case _:
            return text.encode()[:-1]


def bodies(kinds: list[Any], *, action: str | None) -> st.SearchStrategy[bytes]:
    """Bytes for a route that takes these kinds, under the key of an action where there is one."""
    meant: st.SearchStrategy[Any] = st.one_of([near(kind) for kind in kinds] or [junk])
    if action is not None:
        meant = st.one_of(meant.map(lambda inner: {action: inner}), meant.map(lambda inner: {action: inner}), junk)
    how = st.sampled_from((0, 0, 0, 0, 0, 1, 1, 2, 3, 4, 5, 6))
    return st.one_of(
        st.builds(encoded, meant, how),
        st.builds(encoded, meant, how),
        st.builds(encoded, junk, how),
        st.sampled_from(RAW_BODIES),
        st.binary(max_size=40),
    )
