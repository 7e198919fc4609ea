"""Volume types as JSON: what everybody sees, and what is for administrators."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Row as ResultRow
from sqlalchemy import RowMapping

from breezeblock.api.call import Call
from breezeblock.api.views.shapes import (
    FLAG,
    MAP_OF_TEXTS_OR_NULL,
    TEXT,
    TEXT_OR_NULL,
    Shape,
    many,
    named,
    object_of,
    paged,
)
from breezeblock.resources.types import specs_of

SENSITIVE_RULE: Final = "volume_extension:types_extra_specs:read_sensitive"
ACCESS_RULE: Final = "volume_extension:volume_type_access"
# Of the extra specs, what a user needs to choose a type. The others tell how the storage is built.
USER_VISIBLE_SPECS: Final = frozenset({"RESKEY:availability_zones", "multiattach", "replication_enabled"})

Row = Mapping[str, Any] | RowMapping


_BASE: Final = {"id": TEXT, "name": TEXT, "is_public": FLAG, "description": TEXT_OR_NULL}
_ACCESS: Final = {"os-volume-type-access:is_public": FLAG}
_SECRETS: Final = {"extra_specs": MAP_OF_TEXTS_OR_NULL, "qos_specs_id": TEXT_OR_NULL}
# The type that `default` names is shown without who has access.
ONE: Final = named("volume_type", object_of(_BASE, {**_SECRETS, **_ACCESS}))
MANY: Final = paged("volume_types", object_of(_BASE, {**_SECRETS, **_ACCESS}), links="volume_type_links")
CREATED: Final = named("volume_type", object_of({**_BASE, "extra_specs": MAP_OF_TEXTS_OR_NULL}, _ACCESS))
UPDATED: Final = named("volume_type", object_of({**_BASE, "extra_specs": MAP_OF_TEXTS_OR_NULL}))
SPECS: Final = named("extra_specs", MAP_OF_TEXTS_OR_NULL)
ONE_SPEC: Final = Shape(MAP_OF_TEXTS_OR_NULL)
PROJECTS: Final = named("volume_type_access", many(object_of({"volume_type_id": TEXT, "project_id": TEXT})))


def changed(call: Call, row: Row, *, access: bool) -> dict[str, Any]:
    """The answer to create (with `access`) and update."""
    shown = {
        "id": row["id"],
        "name": row["name"],
        "is_public": bool(row["is_public"]),
        "description": row["description"],
        "extra_specs": specs_of(row),
    }
    return {"volume_type": shown | _access(call, row) if access else shown}


def detail(call: Call, row: Row) -> dict[str, Any]:
    return {"volume_type": _shown(call, row) | _access(call, row)}


def default(call: Call, row: Row) -> dict[str, Any]:
    """As `detail`, but for the one key that this answer never had."""
    return {"volume_type": _shown(call, row)}


def details(call: Call, rows: Sequence[ResultRow[Any]]) -> list[dict[str, Any]]:
    return [_shown(call, row._mapping) | _access(call, row._mapping) for row in rows]


def visible_specs(call: Call, row: Row) -> dict[str, str | None]:
    """The extra specs that this caller may see."""
    specs = specs_of(row)
    if call.may(SENSITIVE_RULE):
        return specs
    return {key: value for key, value in specs.items() if key in USER_VISIBLE_SPECS}


def _shown(call: Call, row: Row) -> dict[str, Any]:
    shown = {
        "id": row["id"],
        "name": row["name"],
        "is_public": bool(row["is_public"]),
        "description": row["description"],
    }
    if call.may("volume_extension:access_types_extra_specs"):
        shown["extra_specs"] = visible_specs(call, row)
    if call.may("volume_extension:access_types_qos_specs_id"):
        shown["qos_specs_id"] = row["qos_specs_id"]
    return shown


def _access(call: Call, row: Row) -> dict[str, bool]:
    """Whether a type is for all projects once more, under the name by which Cinder's extension shows it to members."""
    if not call.may(ACCESS_RULE):
        return {}
    return {"os-volume-type-access:is_public": bool(row["is_public"])}
