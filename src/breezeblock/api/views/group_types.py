"""Group types as JSON: what everybody sees, and their specs for administrators."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Row as ResultRow
from sqlalchemy import RowMapping

from breezeblock.api.call import Call
from breezeblock.api.views.shapes import FLAG, MAP_OF_TEXTS_OR_NULL, TEXT, TEXT_OR_NULL, Shape, named, object_of, paged
from breezeblock.resources.group_types import specs_of

SPECS_RULE: Final = "group:access_group_types_specs"

Row = Mapping[str, Any] | RowMapping


_SHOWN: Final = object_of(
    {"id": TEXT, "name": TEXT, "description": TEXT_OR_NULL, "is_public": FLAG}, {"group_specs": MAP_OF_TEXTS_OR_NULL}
)
ONE: Final = named("group_type", _SHOWN)
MANY: Final = paged("group_types", _SHOWN, links="group_type_links")
SPECS: Final = named("group_specs", MAP_OF_TEXTS_OR_NULL)
ONE_SPEC: Final = Shape(MAP_OF_TEXTS_OR_NULL)


def detail(call: Call, row: Row) -> dict[str, Any]:
    return {"group_type": _shown(call, row)}


def details(call: Call, rows: Sequence[ResultRow[Any]]) -> list[dict[str, Any]]:
    return [_shown(call, row._mapping) for row in rows]


def _shown(call: Call, row: Row) -> dict[str, Any]:
    shown = {
        "id": row["id"],
        "name": row["name"],
        "description": row["description"],
        "is_public": bool(row["is_public"]),
    }
    return shown | {"group_specs": specs_of(row)} if call.may(SPECS_RULE) else shown
