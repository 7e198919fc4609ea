"""Extra specs of a volume type against the capabilities of a pool.

A key without a scope, or with the scope `capabilities`, must match; other scopes (`quality:iops`) are for drivers. The
operators are those of the Block Storage service's capabilities filter: `<in>`, `<is>`, `<or>`, `<all-in>`, `s==` and
relatives, `=`, `==`, `!=`, `>=`, `<=`; without one the value must be equal.
"""

import operator
from collections.abc import Callable, Mapping

_TEXT: dict[str, Callable[[str, str], bool]] = {
    "s==": operator.eq,
    "s!=": operator.ne,
    "s<": operator.lt,
    "s<=": operator.le,
    "s>": operator.gt,
    "s>=": operator.ge,
}
# `=` means "at least", as it always did in this service.
_NUMBER: dict[str, Callable[[float, float], bool]] = {
    "=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
    ">=": operator.ge,
    "<=": operator.le,
}
_TRUE = {"1", "t", "true", "on", "y", "yes"}


def unmet(extra_specs: Mapping[str, str], capabilities: Mapping[str, str]) -> str | None:
    """The first requirement that a pool does not meet, as `key=value`, or None when it meets all."""
    for key, required in sorted(extra_specs.items()):
        scope, _, name = key.rpartition(":")
        if scope not in ("", "capabilities"):
            continue
        found = capabilities.get(name)
        if found is None or not matches(found, required):
            return f"{key}={required}"
    return None


def matches(found: str, required: str) -> bool:
    """Whether one capability meets one requirement."""
    words = required.split()
    if not words:
        return found == required
    sign, rest = words[0], words[1:]
    if sign == "<is>":
        return bool(rest) and (found.lower() in _TRUE) == (rest[0].lower() in _TRUE)
    if sign == "<in>":
        return bool(rest) and " ".join(rest) in found
    if sign == "<all-in>":
        return all(word in found.split() for word in rest)
    if sign == "<or>":
        return found in [word for word in rest if word != "<or>"]
    if sign in _TEXT:
        return _TEXT[sign](found, " ".join(rest))
    if sign in _NUMBER:
        return _compare(_NUMBER[sign], found, " ".join(rest))
    return found == required or _booleans_agree(found, required)


def _compare(test: Callable[[float, float], bool], found: str, required: str) -> bool:
    try:
        return test(float(found), float(required))
    except ValueError:
        return False


def _booleans_agree(found: str, required: str) -> bool:
    words = {"true", "false"}
    return found.lower() in words and found.lower() == required.lower()
