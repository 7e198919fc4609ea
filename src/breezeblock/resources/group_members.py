"""What is in a group: its volumes and types, how a new volume joins one, and ids for what is made of each member.

Who is in a group is a fact about the group: whoever changes it writes the group's row and the volume's in one transaction. So
whoever has written the group's row knows them all, once it has read them again.
"""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Connection, Table, bindparam, delete, insert, select

from breezeblock.model import states
from breezeblock.model.errors import BadRequest, InvalidState
from breezeblock.model.origin import Origin
from breezeblock.model.requests import NewVolume
from breezeblock.placement.choose import Pool
from breezeblock.protocol import queue
from breezeblock.resources import quotas
from breezeblock.resources.accepted import add_message, queue_of, vanish
from breezeblock.resources.new_volumes import zone_of
from breezeblock.store.tables import group_volume_types, snapshots, volume_groups, volumes
from breezeblock.store.transitions import lock_rows, read_row


def volume_ids(tx: Connection, group_id: str) -> list[str]:
    """The volumes of a group, in the order of their ids."""
    return list(tx.execute(_VOLUMES, {"group_id": group_id}).scalars())


def snapshot_ids(tx: Connection, group_snapshot_id: str) -> list[str]:
    """The snapshots of a group snapshot, in the order of their ids."""
    return list(tx.execute(_SNAPSHOTS, {"group_snapshot_id": group_snapshot_id}).scalars())


def type_ids(tx: Connection, group_id: str) -> list[str]:
    """The volume types that a group is for, in the order of their ids."""
    return list(tx.execute(_TYPES, {"group_id": group_id}).scalars())


def set_types(tx: Connection, group_id: str, types: Iterable[str]) -> None:
    """Say which volume types a new group is for."""
    tx.execute(_ADD_TYPES, [{"group_id": group_id, "volume_type_id": type_id} for type_id in sorted(set(types))])


def part_id(made: str, of: str) -> str:
    """The id of what is made of one member, when `made` is made of a group.

    How many members there are is known only in the transaction, which may run twice and draws nothing: so the ids follow from
    the one that was drawn for all of it.
    """
    return str(uuid.uuid5(uuid.UUID(made), of))


def forget_group(tx: Connection, group: dict[str, Any]) -> None:
    """Remove a group's row, types and account, in a transaction that holds its lock."""
    vanish(tx, volume_groups, group["id"])
    if group["tombstone"]:
        return  # its account was settled when it became one
    tx.execute(_FORGET_TYPES, {"group_id": group["id"]})
    quotas.refund(tx, group["project_id"], quotas.group_deltas(groups=1))


def tell_members(
    tx: Connection, claim: queue.Claim, *, table: Table, ids: Sequence[str], event: str, text: str, now_us: int
) -> None:
    """A message for each member of what failed, besides that of the operation. Run twice, it leaves each once."""
    for row_id in ids:
        add_message(
            tx,
            message_id=part_id(claim.operation_id, row_id),
            project_id=claim.project_id,
            request_id=claim.request_id,
            resource_type=table.name.removesuffix("s"),
            resource_id=row_id,
            event=event,
            text=text,
            now_us=now_us,
        )


# --- a new volume in a group ------------------------------------------------------------------------------------------


def lock_for_creation(
    tx: Connection, wanted: NewVolume, decided_on: Iterable[tuple[Table, str]], *, of: str, origin: Origin
) -> None:
    """Lock what a new volume is decided by: its type, what it is made `of` (or an empty text), and the group that it joins.

    Raises NotFound for what was asked for and is not there, or not for this caller. A type that nobody named came along with
    what was read, and is looked for again when it has gone: Contended.
    """
    group = [] if wanted.group_id is None else [(volume_groups, wanted.group_id)]
    asked_for = None if wanted.volume_type else {of, *(row_id for _, row_id in group)}
    lock_rows(tx, [*decided_on, *group], origin=origin, asked_for=asked_for)


def check_join(
    tx: Connection, wanted: NewVolume, *, type_id: str, pools: list[Pool], source: Mapping[str, Any] | None
) -> tuple[str | None, list[Pool]]:
    """The zone and the pools that a new volume may have: those of its group's backend, if it is to be in a group.

    The group's row is ours. Raises BadRequest (a zone, no type, or one that the group is not for), InvalidState (the group's
    status).
    """
    if wanted.group_id is None:
        return zone_of(pools, wanted, source), pools
    group = read_row(tx, volume_groups, wanted.group_id)
    assert group is not None, "a locked row is there"
    if wanted.volume_type is None:
        raise BadRequest("Invalid volume.volume_type: it must be said for a volume in a group.")
    if type_id not in type_ids(tx, wanted.group_id):
        raise BadRequest(
            f"Invalid volume.volume_type = '{wanted.volume_type}': group {wanted.group_id} is not for volumes of this type."
        )
    if group["status"] != states.AVAILABLE or group["pool_name"] is None:
        raise InvalidState(
            f"Group {wanted.group_id} has status {group['status']}; it must be available to get a new volume."
        )
    if queue.someone_waits(tx, resource_id=wanted.group_id, exclusively=True):
        # An operator may have called it available meanwhile: a deletion takes along what was in it when it was asked for.
        raise InvalidState(f"Group {wanted.group_id} is still being worked on; wait until that has ended.")
    where = queue_of(group["pool_name"])
    among = [pool for pool in pools if pool.queue == where]
    if not among:
        raise InvalidState(f"Group {wanted.group_id} is on backend {where}, which has no pools any more.")
    return group["availability_zone"], among


_VOLUMES: Final[Any] = (
    select(volumes.c.id)
    .where(volumes.c.group_id == bindparam("group_id"), volumes.c.tombstone.is_(False))
    .order_by(volumes.c.id)
)
_SNAPSHOTS: Final[Any] = (
    select(snapshots.c.id)
    .where(snapshots.c.group_snapshot_id == bindparam("group_snapshot_id"), snapshots.c.tombstone.is_(False))
    .order_by(snapshots.c.id)
)
_TYPES: Final[Any] = (
    select(group_volume_types.c.volume_type_id)
    .where(group_volume_types.c.group_id == bindparam("group_id"))
    .order_by(group_volume_types.c.volume_type_id)
)
_ADD_TYPES: Final = insert(group_volume_types)
_FORGET_TYPES: Final[Any] = delete(group_volume_types).where(group_volume_types.c.group_id == bindparam("group_id"))
