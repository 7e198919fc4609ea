"""Volume types: what an administrator offers, and what a volume of that type asks of its pool.

A type is used by volumes that name it, so everything that must not happen to a used type (deletion, other extra specs)
is decided on the type's row: each transaction here writes it first, and so does each request that gives a volume the
type. Of two such requests one waits, and then sees the other's outcome.
"""

import json
import uuid
from collections.abc import Mapping
from operator import attrgetter
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    RowMapping,
    and_,
    delete,
    exists,
    insert,
    or_,
    select,
    true,
    update,
)

from breezeblock.model import states
from breezeblock.model.errors import BadRequest, Conflict, Forbidden, InvalidState, NotFound
from breezeblock.model.ids import ProjectId, TypeId, is_uuid
from breezeblock.model.origin import Origin
from breezeblock.resources import quota_limits
from breezeblock.resources.listing import Condition, Direction, Page, contains, missing
from breezeblock.store.dialects import db_now_us
from breezeblock.store.tables import (
    default_types,
    group_volume_types,
    snapshots,
    volume_type_access,
    volume_types,
    volumes,
)
from breezeblock.store.transitions import lock_row
from breezeblock.store.type_accounts import ALL, move_to_ids

DEFAULT_TYPE_NAME: Final = "__DEFAULT__"
# Fixed, so that every installation and every run of the migration means the same row, whatever it is called by now.
DEFAULT_TYPE_ID: Final = TypeId("9532fb20-ad3d-52df-ad3b-1eda074c6e3c")
DEFAULT_TYPE_DESCRIPTION: Final = "Default Volume Type"

IN_USE: Final = "Volume Type is currently in use."


# --- finding ----------------------------------------------------------------------------------------------------------


def find_type(tx: Connection, *, name_or_id: str, origin: Origin) -> RowMapping:
    """The type with that id, or else with that name, as far as this caller may use it. Raises NotFound."""
    type_id = str(uuid.UUID(name_or_id)) if is_uuid(name_or_id) else None
    meant = or_(volume_types.c.id == type_id, volume_types.c.name == name_or_id)
    # A name may look like an id, and be another type's: then the id counts.
    found = tx.execute(select(volume_types).where(meant, _visible_to(origin))).mappings().all()
    for row in sorted(found, key=lambda row: bool(row["id"] != type_id)):
        return row
    if type_id is not None:
        raise NotFound(f"Volume type {name_or_id} could not be found.")
    raise NotFound(f"Volume type with name {name_or_id} could not be found.")


def get_type(tx: Connection, *, type_id: str, origin: Origin) -> RowMapping:
    """The type with that id, as far as this caller may use it. Raises NotFound."""
    row = tx.execute(select(volume_types).where(volume_types.c.id == type_id, _visible_to(origin))).mappings().first()
    if row is None:
        raise NotFound(f"Volume type {type_id} could not be found.")
    return row


def is_multiattach(specs: Mapping[str, str | None]) -> bool:
    """Whether volumes of a type with these extra specs may be attached to several hosts at the same time."""
    return specs.get("multiattach") == "<is> True"


def refuse_other_multiattach(
    specs: Mapping[str, str | None], *, volume: Mapping[str, Any], why_not: str | None
) -> None:
    """Whether several hosts may attach a volume changes at rest alone, and to yes only for whom the policy lets.

    `why_not` is None for them; else it says why not. Raises InvalidState, Forbidden.
    """
    if is_multiattach(specs) == volume["multiattach"]:
        return
    if volume["status"] == states.IN_USE:
        raise InvalidState(f"Volume {volume['id']} is in use; whether several hosts may attach it cannot change now.")
    if why_not is not None and is_multiattach(specs):
        raise Forbidden(why_not)


def may_use(tx: Connection, *, type_id: str, origin: Origin) -> bool:
    """Whether this caller may use the type with that id."""
    found = select(volume_types.c.id).where(volume_types.c.id == type_id, _visible_to(origin))
    return tx.execute(found).first() is not None


# What types can be filtered and sorted by.
ATTRIBUTES: Final = {
    "id": volume_types.c.id,
    "name": volume_types.c.name,
    "description": volume_types.c.description,
    "is_public": volume_types.c.is_public,
    "qos_specs_id": volume_types.c.qos_specs_id,
    "created_at": volume_types.c.created_at_us,
    "updated_at": volume_types.c.updated_at_us,
}


def list_types(
    tx: Connection, *, origin: Origin, is_public: bool | None, extra_specs: Mapping[str, str], page: Page
) -> list[Row[Any]]:
    """One page of the types that match. Raises NotFound for a marker that is not there.

    `is_public` asks for public (True) or private (False) ones, None for both; who is no administrator sees the public
    ones and those its project was given. One statement: there are as many types as operators thought
    of, so all are read, and the page is cut here, where extra specs are more than text.
    """
    wanted = [_visible_to(origin), _public(is_public, origin)]
    wanted += [_holds(one) for one in page.where]
    rows = tx.execute(select(volume_types).where(*wanted))
    return _cut([row for row in rows if _has_specs(specs_of(row._mapping), extra_specs)], page)


def _holds(condition: Condition) -> ColumnElement[bool]:
    column = ATTRIBUTES[condition.attribute]
    if condition.op == "like":
        return contains(column, condition.value)
    assert condition.op == "eq", f"types are not filtered by {condition.op}"
    equal: ColumnElement[bool] = column == condition.value
    return equal


def _cut(rows: list[Row[Any]], page: Page) -> list[Row[Any]]:
    direction: Direction = page.sort[0][1] if page.sort else "desc"
    # From the last key to the first: the sort keeps the order of equals. The id, always last, leaves no two equal.
    for key, way in reversed((*page.sort, ("created_at", direction), ("id", direction))):
        value = attrgetter(ATTRIBUTES[key].name)
        rows.sort(key=lambda row: (value(row) is not None, value(row)), reverse=way == "desc")
    start = page.offset
    if page.marker is not None:
        ids = [row.id for row in rows]
        if page.marker not in ids:
            raise missing("Volume type", page.marker)
        start += ids.index(page.marker) + 1
    return rows[start : start + page.limit]


def specs_of(row: Mapping[str, Any] | RowMapping) -> dict[str, str | None]:
    """The extra specs of a type's row."""
    specs: dict[str, str | None] = json.loads(row["extra_specs_json"])
    return specs


def _visible_to(origin: Origin) -> ColumnElement[bool]:
    return true() if origin.is_admin else or_(volume_types.c.is_public.is_(True), _given_to(origin.project_id))


def _given_to(project_id: ProjectId) -> ColumnElement[bool]:
    given = select(volume_type_access.c.project_id).where(
        volume_type_access.c.volume_type_id == volume_types.c.id, volume_type_access.c.project_id == project_id
    )
    return exists(given.correlate(volume_types))


def _public(is_public: bool | None, origin: Origin) -> ColumnElement[bool]:
    if is_public is None:
        return true()
    if not is_public:
        return volume_types.c.is_public.is_(False)
    return or_(volume_types.c.is_public.is_(True), _given_to(origin.project_id))


def _has_specs(specs: Mapping[str, str | None], wanted: Mapping[str, str]) -> bool:
    # Zones are one value, "zone1, zone2": asked for is one of them.
    return all(
        value in (specs.get(key) or "") if key == "RESKEY:availability_zones" else specs.get(key) == value
        for key, value in wanted.items()
    )


# --- making and changing ----------------------------------------------------------------------------------------------


def ensure_default_type(tx: Connection) -> None:
    """Make the default type where it is missing. Safe to repeat, also when it was renamed."""
    if tx.execute(select(volume_types.c.id).where(volume_types.c.id == DEFAULT_TYPE_ID)).first() is None:
        values = {"id": DEFAULT_TYPE_ID, "name": DEFAULT_TYPE_NAME, "description": DEFAULT_TYPE_DESCRIPTION}
        tx.execute(insert(volume_types).values(**values, created_at_us=db_now_us()))


def create_type(
    tx: Connection,
    *,
    type_id: TypeId,
    name: str,
    description: str | None,
    is_public: bool,
    extra_specs: Mapping[str, str | None],
    origin: Origin,
) -> RowMapping:
    """Make a type. Raises Conflict when the name is taken (two at once meet at its unique index and run again)."""
    _require_free(tx, name=name, type_id=type_id)
    _require_sound(extra_specs)
    tx.execute(
        insert(volume_types).values(
            id=type_id,
            name=name,
            description=description,
            is_public=is_public,
            extra_specs_json=json.dumps(dict(extra_specs)),
            created_at_us=origin.at_us,
        )
    )
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
    """Change what is given. Raises NotFound, Conflict (also two at once who want one name: the second runs again)."""
    lock_row(tx, volume_types, type_id, origin=origin)
    if name is not None:
        _require_free(tx, name=name, type_id=type_id)
        move_to_ids(tx, only=type_id, most=ALL)  # what the release before has charged under the old name
    given = {"name": name, "description": description, "is_public": is_public}
    values = {key: value for key, value in given.items() if value is not None}
    tx.execute(update(volume_types).where(volume_types.c.id == type_id).values(**values, updated_at_us=origin.at_us))
    return get_type(tx, type_id=type_id, origin=origin)


def delete_type(tx: Connection, *, type_id: str, origin: Origin) -> None:
    """Remove a type that no volume, snapshot or group has, with its access list and quotas. Raises NotFound, InvalidState."""
    lock_row(tx, volume_types, type_id, origin=origin)
    if type_id == DEFAULT_TYPE_ID or _is_a_default(tx, type_id):
        raise InvalidState(f"The volume type {type_id} is a default volume type and cannot be deleted.")
    if in_use(tx, type_id) or _has_snapshots(tx, type_id) or _has_groups(tx, type_id):
        raise InvalidState("Target volume type is still in use.")
    move_to_ids(tx, only=type_id, most=ALL)  # else a later type of that name would get them
    tx.execute(delete(volume_type_access).where(volume_type_access.c.volume_type_id == type_id))
    tx.execute(delete(volume_types).where(volume_types.c.id == type_id))
    quota_limits.forget_type(tx, type_id=type_id)


def _require_free(tx: Connection, *, name: str, type_id: str) -> None:
    taken = select(volume_types.c.id).where(volume_types.c.name == name, volume_types.c.id != type_id)
    if tx.execute(taken).first() is not None:
        raise Conflict(f"Volume Type {name} already exists.")


def in_use(tx: Connection, type_id: str) -> bool:
    """Whether a volume has the type, or is on its way to it and charged for it already."""
    there = volumes.c.tombstone.is_(False)
    named = exists(select(volumes.c.id).where(there, volumes.c.volume_type_id == type_id))
    charged = exists(select(volumes.c.id).where(there, volumes.c.charged_type_id == type_id))
    return bool(tx.execute(select(or_(named, charged))).scalar())


def _has_groups(tx: Connection, type_id: str) -> bool:
    """Whether a group is for volumes of the type. Who makes one writes the type's row."""
    listed = exists(select(group_volume_types.c.group_id).where(group_volume_types.c.volume_type_id == type_id))
    return bool(tx.execute(select(listed)).scalar())


def _is_a_default(tx: Connection, type_id: str) -> bool:
    """Whether it is the default type of a project. Who makes it one writes the type's row."""
    return bool(tx.execute(select(exists().where(default_types.c.volume_type_id == type_id))).scalar())


def _has_snapshots(tx: Connection, type_id: str) -> bool:
    """Whether a snapshot has the type. It keeps that of its volume, also when the volume gets another one.

    None can come unseen: while it is being taken its volume has the type, and a retype waits for the volume's row.
    """
    meant = or_(snapshots.c.volume_type_id == type_id, snapshots.c.charged_type_id == type_id)
    return bool(
        tx.execute(select(exists(select(snapshots.c.id).where(snapshots.c.tombstone.is_(False), meant)))).scalar()
    )


# --- extra specs ------------------------------------------------------------------------------------------------------


def set_extra_specs(tx: Connection, *, type_id: str, specs: Mapping[str, str | None], origin: Origin) -> None:
    """Add or replace extra specs of a type that no volume has. Raises NotFound, InvalidState, BadRequest."""
    now = specs_of(_lock_unused(tx, type_id, origin)) | dict(specs)
    _require_sound(now)
    _save_specs(tx, type_id, now, origin)


def delete_extra_spec(tx: Connection, *, type_id: str, key: str, origin: Origin) -> None:
    """Take one extra spec from a type that no volume has. Raises NotFound, InvalidState."""
    specs = specs_of(_lock_unused(tx, type_id, origin))
    if key not in specs:
        raise no_such_spec(type_id, key)
    _save_specs(tx, type_id, {k: v for k, v in specs.items() if k != key}, origin)


def no_such_spec(type_id: str, key: str) -> NotFound:
    return NotFound(f"Volume Type {type_id} has no extra specs with key {key}.")


def _lock_unused(tx: Connection, type_id: str, origin: Origin) -> RowMapping:
    """The locked type. A volume's pool was chosen by the specs, so they stay as they are while there is one."""
    lock_row(tx, volume_types, type_id, origin=origin)
    if in_use(tx, type_id):
        raise InvalidState(IN_USE)
    return get_type(tx, type_id=type_id, origin=origin)


def _save_specs(tx: Connection, type_id: str, specs: Mapping[str, str | None], origin: Origin) -> None:
    values = {"extra_specs_json": json.dumps(dict(specs)), "updated_at_us": origin.at_us}
    tx.execute(update(volume_types).where(volume_types.c.id == type_id).values(**values))


def _require_sound(specs: Mapping[str, str | None]) -> None:
    # A cache in one host does not see what another host writes.
    if specs.get("cacheable") == specs.get("multiattach") == "<is> True":
        raise BadRequest("cacheable cannot be set with multiattach.")


# --- access -----------------------------------------------------------------------------------------------------------


def list_access(tx: Connection, *, type_id: str, origin: Origin) -> list[str]:
    """The projects that may use a private type, sorted. Raises NotFound, also for a public one, which has no list."""
    if get_type(tx, type_id=type_id, origin=origin)["is_public"]:
        raise NotFound("Access list not available for public volume types.")
    rows = select(volume_type_access.c.project_id).where(volume_type_access.c.volume_type_id == type_id)
    return sorted(tx.execute(rows).scalars())


def add_access(tx: Connection, *, type_id: str, project_id: str, origin: Origin) -> None:
    """Let a project use a private type. Raises NotFound, BadRequest (public type), Conflict (it may already)."""
    _lock_private(tx, type_id, origin)
    if tx.execute(select(volume_type_access).where(_access(type_id, project_id))).first() is not None:
        raise Conflict(f"Volume type access for {type_id} / {project_id} combination already exists.")
    tx.execute(insert(volume_type_access).values(volume_type_id=type_id, project_id=project_id))


def remove_access(tx: Connection, *, type_id: str, project_id: str, origin: Origin) -> None:
    """Take a private type from a project; volumes that have it keep it. Raises NotFound, BadRequest (public type)."""
    _lock_private(tx, type_id, origin)
    if tx.execute(delete(volume_type_access).where(_access(type_id, project_id))).rowcount == 0:
        raise NotFound(f"Volume type access not found for {type_id} / {project_id} combination.")


def _lock_private(tx: Connection, type_id: str, origin: Origin) -> None:
    lock_row(tx, volume_types, type_id, origin=origin)
    if get_type(tx, type_id=type_id, origin=origin)["is_public"]:
        raise BadRequest("Invalid volume type: Type access modification is not applicable to public volume type.")


def _access(type_id: str, project_id: str) -> ColumnElement[bool]:
    return and_(volume_type_access.c.volume_type_id == type_id, volume_type_access.c.project_id == project_id)
