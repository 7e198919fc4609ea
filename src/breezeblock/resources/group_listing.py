"""Reading groups and group snapshots. The same few statements however many there are."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, Row, bindparam, literal, select

from breezeblock.model import states
from breezeblock.resources import listing
from breezeblock.resources.group_types import CONSISTENT_TYPE_ID
from breezeblock.resources.listing import PRIVATE, Condition, Listing, Page, missing
from breezeblock.store.tables import group_snapshots, group_volume_types, volume_groups, volumes

GROUPS: Final = Listing(
    noun="Group",
    table=volume_groups,
    source=volume_groups,
    columns=tuple(column for column in volume_groups.c if column.key not in PRIVATE),
    attributes={
        "id": volume_groups.c.id,
        "project_id": volume_groups.c.project_id,
        "user_id": volume_groups.c.user_id,
        "name": volume_groups.c.name,
        "description": volume_groups.c.description,
        "status": volume_groups.c.status,
        "availability_zone": volume_groups.c.availability_zone,
        "host": volume_groups.c.pool_name,
        "replication_status": literal(states.REPLICATION_DISABLED),  # as it is shown of each
        "group_type_id": volume_groups.c.group_type_id,
        "group_snapshot_id": volume_groups.c.group_snapshot_id,
        "source_group_id": volume_groups.c.source_group_id,
        "created_at": volume_groups.c.created_at_us,
        "updated_at": volume_groups.c.updated_at_us,
    },
)
GROUP_SNAPSHOTS: Final = Listing(
    noun="GroupSnapshot",
    table=group_snapshots,
    source=group_snapshots,
    columns=tuple(column for column in group_snapshots.c if column.key not in PRIVATE),
    attributes={
        "id": group_snapshots.c.id,
        "project_id": group_snapshots.c.project_id,
        "user_id": group_snapshots.c.user_id,
        "name": group_snapshots.c.name,
        "description": group_snapshots.c.description,
        "status": group_snapshots.c.status,
        "group_id": group_snapshots.c.group_id,
        "group_type_id": group_snapshots.c.group_type_id,
        "created_at": group_snapshots.c.created_at_us,
        "updated_at": group_snapshots.c.updated_at_us,
    },
)
# What is no consistency group.
GENERIC: Final = Condition("group_type_id", "neq", CONSISTENT_TYPE_ID)

Members = Mapping[str, list[str]]


class Groups(NamedTuple):
    """Some groups, with the volume types of each, and its volumes where they were asked for."""

    rows: Sequence[Row[Any]]
    types: Members
    volumes: Members


def page(tx: Connection, *, wanted: Page, with_types: bool, with_volumes: bool) -> Groups:
    """One page of groups. Raises NotFound for a marker that is not there."""
    rows = listing.page(tx, GROUPS, wanted).rows
    return _with_members(tx, rows, with_types=with_types, with_volumes=with_volumes)


def one(tx: Connection, *, group_id: str, project_id: str | None, with_volumes: bool) -> Groups:
    """One group, if that project (None: anybody) may see it. Raises NotFound."""
    rows = [_read(tx, GROUPS, group_id, project_id)]
    return _with_members(tx, rows, with_types=True, with_volumes=with_volumes)


def group_type_of(tx: Connection, *, group_id: str, project_id: str | None) -> str:
    """The type of a group, which never changes. Raises NotFound."""
    return str(_read(tx, GROUPS, group_id, project_id).group_type_id)


def one_snapshot(tx: Connection, *, group_snapshot_id: str, project_id: str | None) -> Row[Any]:
    """One group snapshot, if that project (None: anybody) may see it. Raises NotFound."""
    return _read(tx, GROUP_SNAPSHOTS, group_snapshot_id, project_id)


def _read(tx: Connection, of: Listing, id_: str, project_id: str | None) -> Row[Any]:
    row = tx.execute(of.base(project_id).where(of.table.c.id == id_)).first()
    if row is None:
        raise missing(of.noun, id_)
    return row


def _with_members(tx: Connection, rows: Sequence[Row[Any]], *, with_types: bool, with_volumes: bool) -> Groups:
    ids = [row.id for row in rows]
    return Groups(
        rows,
        _gather(tx, _TYPES, ids) if with_types and ids else {},
        _gather(tx, _VOLUMES, ids) if with_volumes and ids else {},
    )


def _gather(tx: Connection, query: Any, ids: list[str]) -> Members:
    found: dict[str, list[str]] = {}
    for group_id, member in tx.execute(query, {"ids": ids}):
        found.setdefault(group_id, []).append(member)
    return found


_IDS: Final[Any] = bindparam("ids", expanding=True)
_TYPES: Final[Any] = (
    select(group_volume_types.c.group_id, group_volume_types.c.volume_type_id)
    .where(group_volume_types.c.group_id.in_(_IDS))
    .order_by(group_volume_types.c.group_id, group_volume_types.c.volume_type_id)
)
_VOLUMES: Final[Any] = (
    select(volumes.c.group_id, volumes.c.id)
    .where(volumes.c.group_id.in_(_IDS), volumes.c.tombstone.is_(False))
    .order_by(volumes.c.created_at_us, volumes.c.id)
)
