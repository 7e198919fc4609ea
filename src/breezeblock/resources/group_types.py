"""Group types and their specs: rows of their own, changed in one short transaction each.

Whether a type is in use is a fact that requests for groups change, so each of them writes the type's row first, as every
transaction here does. The specs of a type count when a group's pool is chosen; what is changed later is for later groups.
"""

import json
import uuid
from collections.abc import Mapping
from operator import attrgetter
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Row, RowMapping, bindparam, delete, exists, insert, or_, select, true

from breezeblock.model.errors import Conflict, InvalidState, NotFound
from breezeblock.model.ids import is_uuid
from breezeblock.model.origin import Origin
from breezeblock.resources.listing import Direction, Page, missing
from breezeblock.store.dialects import db_now_us
from breezeblock.store.tables import group_types, volume_groups
from breezeblock.store.transitions import change_row, lock_row

# The type of what is made as a consistency group. Fixed, so that every installation means the same row.
CONSISTENT_TYPE_ID: Final = "af08d391-5c03-529a-9d6a-c3fad33b7f17"
CONSISTENT_TYPE_NAME: Final = "default_cgsnapshot_type"
CONSISTENT_TYPE_DESCRIPTION: Final = "Default group type for consistency groups"
CONSISTENT_SPECS_JSON: Final = '{"consistent_group_snapshot_enabled":"<is> True"}'

# What group types can be sorted by.
ATTRIBUTES: Final = {
    "id": group_types.c.id,
    "name": group_types.c.name,
    "description": group_types.c.description,
    "is_public": group_types.c.is_public,
    "created_at": group_types.c.created_at_us,
    "updated_at": group_types.c.updated_at_us,
}

# --- finding ----------------------------------------------------------------------------------------------------------


def find_type(tx: Connection, *, name_or_id: str, origin: Origin) -> RowMapping:
    """The group type with that id, or else with that name, as far as this caller may use it. Raises NotFound."""
    type_id = str(uuid.UUID(name_or_id)) if is_uuid(name_or_id) else None
    meant = or_(group_types.c.id == type_id, group_types.c.name == name_or_id)
    # A name may look like an id, and be another type's: then the id counts.
    found = tx.execute(select(group_types).where(meant, _visible_to(origin))).mappings().all()
    for row in sorted(found, key=lambda row: bool(row["id"] != type_id)):
        return row
    raise NotFound(f"Group type {name_or_id} could not be found.")


def get_type(tx: Connection, *, type_id: str, origin: Origin) -> RowMapping:
    """The group type with that id, as far as this caller may use it. Raises NotFound."""
    row = tx.execute(select(group_types).where(group_types.c.id == type_id, _visible_to(origin))).mappings().first()
    if row is None:
        raise NotFound(f"Group type {type_id} could not be found.")
    return row


def default_type(tx: Connection, *, name: str) -> RowMapping:
    """The group type that the settings name. Raises NotFound where they name none, or one that is not there."""
    row = tx.execute(select(group_types).where(group_types.c.name == name)).mappings().first() if name else None
    if row is None:
        raise NotFound("Default group type can not be found: the setting service.default_group_type names none.")
    return row


def list_types(tx: Connection, *, origin: Origin, is_public: bool | None, page: Page) -> list[Row[Any]]:
    """One page of the types. Raises NotFound for a marker that is not there.

    `is_public` asks for public (True) or private (False) ones, None for both. One statement: there are as many types as
    operators thought of, so all are read, and the page is cut here.
    """
    public = true() if is_public is None else group_types.c.is_public.is_(is_public)
    rows = list(tx.execute(select(group_types).where(_visible_to(origin), public)))
    direction: Direction = page.sort[0][1] if page.sort else "desc"
    # From the last key to the first: the sort keeps the order of equals. The id, always last, leaves no two equal.
    for key, way in reversed((*page.sort, ("created_at", direction), ("id", direction))):
        value = attrgetter(ATTRIBUTES[key].name)
        rows.sort(key=lambda row: (value(row) is not None, value(row)), reverse=way == "desc")
    start = page.offset
    if page.marker is not None:
        ids = [row.id for row in rows]
        if page.marker not in ids:
            raise missing("Group type", page.marker)
        start += ids.index(page.marker) + 1
    return rows[start : start + page.limit]


def specs_of(row: Mapping[str, Any] | RowMapping) -> dict[str, str | None]:
    """The specs of a group type's row."""
    specs: dict[str, str | None] = json.loads(row["group_specs_json"])
    return specs


def _visible_to(origin: Origin) -> ColumnElement[bool]:
    return true() if origin.is_admin else group_types.c.is_public.is_(True)


# --- making and changing ----------------------------------------------------------------------------------------------


def ensure_consistent_type(tx: Connection) -> None:
    """Make the type of consistency groups where it is missing, as the migration does. Safe to repeat."""
    if tx.execute(select(group_types.c.id).where(group_types.c.id == CONSISTENT_TYPE_ID)).first() is None:
        tx.execute(
            insert(group_types).values(
                id=CONSISTENT_TYPE_ID,
                name=CONSISTENT_TYPE_NAME,
                description=CONSISTENT_TYPE_DESCRIPTION,
                group_specs_json=CONSISTENT_SPECS_JSON,
                created_at_us=db_now_us(),
            )
        )


def create_type(
    tx: Connection,
    *,
    type_id: str,
    name: str,
    description: str | None,
    is_public: bool,
    specs: Mapping[str, str | None],
    origin: Origin,
) -> RowMapping:
    """Make a group type. Raises Conflict when the name is taken (two at once meet at its unique index and run again)."""
    _require_free(tx, name=name, type_id=type_id)
    row = {
        "id": type_id,
        "name": name,
        "description": description,
        "is_public": is_public,
        "group_specs_json": json.dumps(dict(specs)),
        "created_at_us": origin.at_us,
    }
    tx.execute(insert(group_types), row)
    return get_type(tx, type_id=type_id, origin=origin)


def update_type(
    tx: Connection,
    *,
    type_id: str,
    name: str | None,
    description: str | None,
    is_public: bool | None,
    origin: Origin,
) -> RowMapping:
    """Change what is given. Raises NotFound, Conflict."""
    lock_row(tx, group_types, type_id, origin=origin)
    if name is not None:
        _require_free(tx, name=name, type_id=type_id)
    given = {"name": name, "description": description, "is_public": is_public}
    values = {key: value for key, value in given.items() if value is not None}
    change_row(tx, group_types, type_id, **values, updated_at_us=origin.at_us)
    return get_type(tx, type_id=type_id, origin=origin)


def delete_type(tx: Connection, *, type_id: str, origin: Origin) -> None:
    """Remove a group type that no group has. Raises NotFound, InvalidState."""
    lock_row(tx, group_types, type_id, origin=origin)
    if type_id == CONSISTENT_TYPE_ID:
        raise InvalidState(f"Group type {type_id} is that of consistency groups and cannot be deleted.")
    if tx.execute(_IN_USE, {"type_id": type_id}).scalar():
        raise InvalidState("Target group type is still in use.")
    tx.execute(delete(group_types).where(group_types.c.id == type_id))


def set_specs(tx: Connection, *, type_id: str, specs: Mapping[str, str | None], origin: Origin) -> None:
    """Add or replace specs. Raises NotFound."""
    lock_row(tx, group_types, type_id, origin=origin)
    now = specs_of(get_type(tx, type_id=type_id, origin=origin)) | dict(specs)
    change_row(tx, group_types, type_id, group_specs_json=json.dumps(now), updated_at_us=origin.at_us)


def delete_spec(tx: Connection, *, type_id: str, key: str, origin: Origin) -> None:
    """Take one spec from a type. Raises NotFound."""
    lock_row(tx, group_types, type_id, origin=origin)
    specs = specs_of(get_type(tx, type_id=type_id, origin=origin))
    if key not in specs:
        raise no_such_spec(type_id, key)
    rest = {k: v for k, v in specs.items() if k != key}
    change_row(tx, group_types, type_id, group_specs_json=json.dumps(rest), updated_at_us=origin.at_us)


def no_such_spec(type_id: str, key: str) -> NotFound:
    return NotFound(f"Group Type {type_id} has no specs with key {key}.")


def _require_free(tx: Connection, *, name: str, type_id: str) -> None:
    taken = select(group_types.c.id).where(group_types.c.name == name, group_types.c.id != type_id)
    if tx.execute(taken).first() is not None:
        raise Conflict(f"Group Type {name} already exists.")


# A group snapshot has its group's type, and is there only while that is.
_IN_USE: Final[Any] = select(
    exists(
        select(volume_groups.c.id).where(
            ~volume_groups.c.tombstone, volume_groups.c.group_type_id == bindparam("type_id")
        )
    )
)
