"""Quotas as JSON."""

from collections.abc import Mapping
from typing import Any, Final

from breezeblock.api.views.shapes import NUMBER, TEXT, Json, Shape, named, object_of
from breezeblock.resources.quota_sets import Quota

# Each resource, also of each volume type, has a key: which they are is not the same from one moment to the next.
_LIMITS: Final[Json] = {"type": "object", "additionalProperties": NUMBER}
_USAGE: Final[Json] = {
    "type": "object",
    "additionalProperties": object_of({"limit": NUMBER, "in_use": NUMBER, "reserved": NUMBER}),
}
_OWNED: Final[Json] = {"properties": {"id": TEXT}, "required": ["id"]}


def _owned(name: str, *forms: Json) -> Shape:
    """These, and whose they are."""
    return named(name, {"anyOf": [{**form, **_OWNED} for form in forms]})


SET: Final = _owned("quota_set", _LIMITS, _USAGE)
DEFAULTS: Final = _owned("quota_set", _LIMITS)
CHANGED: Final = named("quota_set", _LIMITS)
CLASS: Final = _owned("quota_class_set", _LIMITS)
CLASS_CHANGED: Final = named("quota_class_set", _LIMITS)


def limits(quotas: Mapping[str, Quota]) -> dict[str, Any]:
    return {resource: quota.limit for resource, quota in quotas.items()}


def usage(quotas: Mapping[str, Quota]) -> dict[str, Any]:
    """A charge is made with the resource itself, so nothing is ever only reserved."""
    return {
        resource: {"limit": quota.limit, "in_use": quota.in_use, "reserved": 0} for resource, quota in quotas.items()
    }
