"""Groups of volumes: making, changing and deleting them, and an operator's reset of the status.

A group is a row: it has nothing on storage. So it is there, or in `error`, with its request, and only a deletion that takes
volumes along is an operation. All its volumes are on one backend, so that whatever is done with all of them is one operation
on one queue.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, bindparam, select

from breezeblock.model import states
from breezeblock.model.errors import BadRequest, Contended, InvalidState, NotYet
from breezeblock.model.origin import Origin
from breezeblock.placement import allocate
from breezeblock.placement.choose import Pool, Wish, in_order, refusal
from breezeblock.protocol import queue
from breezeblock.protocol.queue import Claim
from breezeblock.protocol.steps import Failure
from breezeblock.resources import group_types, kinds, quotas, types
from breezeblock.resources.accepted import (
    Accepted,
    at_rest,
    clear_tombstones,
    message_for_failure,
    message_for_request,
    queue_of,
    settle,
    tell_the_truth,
)
from breezeblock.resources.backends import refuse_frozen
from breezeblock.resources.group_members import forget_group, set_types, tell_members, type_ids, volume_ids
from breezeblock.resources.new_volumes import check_zone
from breezeblock.resources.volumes import DELETE_CANCELLED as VOLUME_DELETE_CANCELLED
from breezeblock.resources.volumes import DELETE_FAILED as VOLUME_DELETE_FAILED
from breezeblock.resources.volumes import DELETE_WITH_GROUP, forget_volume
from breezeblock.store.tables import (
    group_snapshots,
    operation_locks,
    volume_groups,
    volume_types,
    volumes,
)
from breezeblock.store.tables import group_types as group_types_table
from breezeblock.store.transitions import (
    Must,
    Transition,
    change_row,
    equals,
    has_no,
    insert_row,
    is_in,
    lock_row,
    lock_rows,
    new,
    read_row,
    read_seen,
)

DELETABLE: Final = ("available", "error", "error_deleting")
JOINABLE: Final = ("available", "in-use")
LEAVABLE: Final = ("available", "in-use", "error", "error_deleting")


class NewGroup(msgspec.Struct, frozen=True, kw_only=True):
    """A group to be made. Types by name or id."""

    id: str
    group_type: str
    volume_types: tuple[str, ...]
    name: str | None = None
    description: str | None = None
    availability_zone: str | None = None
    # What a group says that no backend could take.
    default_zone: str = "nova"


class DeleteGroup(msgspec.Struct, frozen=True, kw_only=True):
    """Payload of `delete_group`: the group, and its volumes, which go first."""

    group_id: str
    volume_ids: list[str]
    forced: bool = False


# --- transitions ----------------------------------------------------------------------------------------------------

_NO_GROUP_SNAPSHOTS = Must(
    has_no(
        select(group_snapshots.c.id).where(
            group_snapshots.c.group_id == volume_groups.c.id, group_snapshots.c.tombstone.is_(False)
        ),
        of=volume_groups,
    ),
    "Group {id} still has group snapshots; delete those first.",
)
# Also by what only reads it: the source of a group that is being made stays until that is.
IDLE: Final = Must(
    has_no(select(operation_locks.c.seq).where(operation_locks.c.resource_id == volume_groups.c.id), of=volume_groups),
    "Group {id} is being worked on, or is the source of a group or group snapshot that is being made; wait for that.",
)
_DELETING: Final = {
    "status": states.DELETING,
    "previous_status": volume_groups.c.status,
    "updated_at_us": new("now_us"),
}
DELETE = Transition(
    volume_groups,
    name="volume_group.delete",
    musts=(
        Must(
            is_in(volume_groups.c.status, DELETABLE),
            "Group {id} has status {status}; to be deleted it must have one of: " + ", ".join(DELETABLE) + ".",
        ),
        IDLE,
        _NO_GROUP_SNAPSHOTS,
    ),
    sets=_DELETING,
    moves=tuple((status, states.DELETING) for status in DELETABLE),
)
# Whatever its status, as in Cinder: a group that was reset to a status of work can be deleted so.
DELETE_ALL = Transition(
    volume_groups,
    name="volume_group.delete_all",
    musts=(IDLE, _NO_GROUP_SNAPSHOTS),
    sets=_DELETING,
    moves=((None, states.DELETING),),
)
DELETE_FAILED = Transition(
    volume_groups,
    name="volume_group.delete_failed",
    musts=(),
    sets={"status": states.ERROR_DELETING},
    moves=((states.DELETING, states.ERROR_DELETING),),
)
CHANGE_MEMBERS = Transition(
    volume_groups,
    name="volume_group.change_members",
    musts=(
        Must(
            equals(volume_groups.c.status, states.AVAILABLE),
            "Group {id} has status {status}; it must be available to get or lose volumes.",
        ),
        at_rest(volume_groups),
    ),
    sets={"updated_at_us": new("now_us")},
)
RESET = Transition(
    volume_groups,
    name="volume_group.reset_status",
    musts=(),
    sets={"status": new("status"), "previous_status": volume_groups.c.status, "updated_at_us": new("now_us")},
    moves=tuple((None, status) for status in states.RESETTABLE_GROUP),
)

# --- create ---------------------------------------------------------------------------------------------------------


def create(tx: Connection, *, origin: Origin, wanted: NewGroup, quota_defaults: Mapping[str, int]) -> Accepted:
    """Make a group. Raises NotFound (types), BadRequest (zone), OverQuota, NotYet.

    When no backend offers what its types want, the request is accepted all the same: the group appears in `error`, with a
    message that says why.
    """
    group_type = group_types.find_type(tx, name_or_id=wanted.group_type, origin=origin)
    found = {row["id"] for row in _types(tx, wanted, origin)}
    pools = allocate.read_pools(tx)
    decided_on = [(group_types_table, group_type["id"]), *((volume_types, type_id) for type_id in found)]
    lock_rows(tx, decided_on, origin=origin)
    chosen = _types(tx, wanted, origin)
    group_type = group_types.find_type(tx, name_or_id=wanted.group_type, origin=origin)
    if {row["id"] for row in chosen} != found or (group_types_table, group_type["id"]) not in decided_on:
        raise Contended("a type was renamed before the rows were ours")
    check_zone(pools, wanted.availability_zone)
    pool, why_not = _place(pools, wanted, group_types.specs_of(group_type), [types.specs_of(row) for row in chosen])
    if pool is not None and not allocate.hold(tx, pool.name):
        raise Contended("the pool was renamed or removed before its row was ours")
    quotas.charge(tx, origin.project_id, quotas.group_deltas(groups=1), defaults=quota_defaults)
    row = new_row(wanted, origin, group_type_id=group_type["id"], pool_name=None if pool is None else pool.name)
    row["availability_zone"] = wanted.availability_zone or (
        wanted.default_zone if pool is None else pool.availability_zone
    )
    insert_row(tx, volume_groups, row)
    set_types(tx, wanted.id, found)
    if pool is None:
        event = "create_group"
        message_for_request(tx, origin=origin, resource_type="group", resource_id=wanted.id, event=event, text=why_not)
    return Accepted(None, row)


def new_row(wanted: Any, origin: Origin, *, group_type_id: str, pool_name: str | None) -> dict[str, Any]:
    """The row of a new group that is complete, or in `error` without a pool."""
    row: dict[str, Any] = {column.name: None for column in volume_groups.c}
    return row | {
        "id": wanted.id,
        "op_seq": 1,
        "tombstone": False,
        "project_id": origin.project_id,
        "user_id": origin.user_id,
        "name": wanted.name,
        "description": wanted.description,
        "status": states.ERROR if pool_name is None else states.AVAILABLE,
        "group_type_id": group_type_id,
        "pool_name": pool_name,
        "created_at_us": origin.at_us,
    }


def _types(tx: Connection, wanted: NewGroup, origin: Origin) -> list[Any]:
    return [types.find_type(tx, name_or_id=name, origin=origin) for name in wanted.volume_types]


def _place(
    pools: Sequence[Pool],
    wanted: NewGroup,
    group_specs: Mapping[str, Any],
    specs: Sequence[Mapping[str, Any]],
) -> tuple[Pool | None, str]:
    """The best pool of a backend that has one for each of the types, or why there is none.

    Nothing is promised yet: whether there is room, each volume asks for itself.
    """
    candidates = in_order(pools)
    if not candidates:
        raise NotYet("No backend has reported its storage yet; try again in a moment.")
    reasons: list[str] = []
    for pool in candidates:
        why = _why_not(pool, group_specs, wanted.availability_zone)
        same = [other for other in candidates if other.queue == pool.queue]
        for one in specs:
            refused = [_why_not(other, one, wanted.availability_zone) for other in same]
            why = why or (refused[0] if all(refused) else None)
        if why is None:
            return pool, ""
        reasons.append(f"{pool.name} {why}")
    return None, "No backend can take the group: " + "; ".join(reasons) + "."


def _why_not(pool: Pool, specs: Mapping[str, Any], zone: str | None) -> str | None:
    wanted = {key: "" if value is None else value for key, value in specs.items()}
    return refusal(pool, Wish(size_gib=0, availability_zone=zone, extra_specs=wanted))


# --- change ---------------------------------------------------------------------------------------------------------


def update(
    tx: Connection,
    *,
    origin: Origin,
    group_id: str,
    name: str | None,
    description: str | None,
    add: Sequence[str],
    remove: Sequence[str],
) -> Accepted:
    """Rename a group, and change which volumes are in it. Raises NotFound, InvalidState, BadRequest.

    Nothing is on storage that tells which volumes are in a group, so there is no operation.
    """
    both = sorted(set(add) & set(remove))
    if both:
        raise BadRequest(f"Volumes {', '.join(both)} are to be added to group {group_id} and removed from it.")
    named = (*add, *remove)
    there = _there(tx, named, origin)
    lock_rows(
        tx,
        [(volume_groups, group_id), *((volumes, volume_id) for volume_id in there)],
        origin=origin,
        asked_for=group_id,
    )
    group = read_row(tx, volume_groups, group_id)
    assert group is not None, "a locked row is there"
    rows = {volume_id: row for volume_id in there if (row := read_row(tx, volumes, volume_id)) and not row["tombstone"]}
    joining = [_joining(tx, origin, group, volume_id, rows) for volume_id in add if _is_new(group, rows.get(volume_id))]
    leaving = [_leaving(group, volume_id, rows) for volume_id in remove]
    fields: dict[str, Any] = {
        column: value
        for column, value in (("name", name), ("description", description))
        if value is not None and value != group[column]
    }
    if not (fields or joining or leaving):
        raise InvalidState(
            f"Cannot update group {group_id}: expected a name or a description that it does not have yet, "
            "volumes to be added or volumes to be removed."
        )
    if joining or leaving:
        group = CHANGE_MEMBERS.apply_locked(tx, group_id, now_us=origin.at_us)
    for volume_id in joining:
        change_row(tx, volumes, volume_id, group_id=group_id)
    for volume_id in leaving:
        change_row(tx, volumes, volume_id, group_id=None)
    fields["updated_at_us"] = origin.at_us
    change_row(tx, volume_groups, group_id, **fields)
    return Accepted(None, group | fields)


def _there(tx: Connection, ids: Sequence[str], origin: Origin) -> set[str]:
    """Those of these volumes that are there, as far as the caller can see: nobody else's is held."""
    asked = {"ids": list(ids), "project": origin.project_id}
    return set(tx.execute(_THERE[origin.is_admin], asked).scalars()) if ids else set()


def _is_new(group: Mapping[str, Any], volume: Mapping[str, Any] | None) -> bool:
    """Whether it is not in the group yet: what is in it already is not looked at."""
    return volume is None or volume["group_id"] != group["id"]


def _joining(
    tx: Connection, origin: Origin, group: Mapping[str, Any], volume_id: str, rows: Mapping[str, Mapping[str, Any]]
) -> str:
    """The volume, if it may be added to the group. Raises InvalidState."""
    volume = rows.get(volume_id)
    if volume is None:
        why = "it could not be found"
    elif volume["project_id"] != group["project_id"]:
        why = "they belong to different projects"
    elif volume["group_id"] is not None:
        why = f"it is already in group {volume['group_id']}"
    elif volume["volume_type_id"] not in type_ids(tx, group["id"]):
        why = f"the group is not for volumes of its type {volume['volume_type_id']}"
    elif volume["status"] not in JOINABLE:
        why = f"it has status {volume['status']}; expected one of {', '.join(JOINABLE)}"
    elif volume["object_name"] is None or volume["managed_from"] is not None:
        why = "it has no storage: its creation has not finished or has failed"
    elif volume["target_pool_name"] is not None:
        why = f"it is being migrated (migration status {volume['migration_status']})"
    elif group["pool_name"] is None or queue_of(volume["pool_name"] or "") != queue_of(group["pool_name"]):
        why = "it is not on the group's backend"
    else:
        return volume_id
    raise InvalidState(f"Cannot add volume {volume_id} to group {group['id']}: {why}.")


def _leaving(group: Mapping[str, Any], volume_id: str, rows: Mapping[str, Mapping[str, Any]]) -> str:
    """The volume, if it may be removed from the group. Raises InvalidState."""
    volume = rows.get(volume_id)
    if volume is None or volume["group_id"] != group["id"]:
        why = "it is not in the group"
    elif volume["status"] not in LEAVABLE:
        why = f"it has status {volume['status']}; expected one of {', '.join(LEAVABLE)}"
    else:
        return volume_id
    raise InvalidState(f"Cannot remove volume {volume_id} from group {group['id']}: {why}.")


def reset_status(tx: Connection, *, origin: Origin, group_id: str, status: str) -> Accepted:
    """An operator's word about a group; operations that change it are cancelled. Raises NotFound."""
    lock_row(tx, volume_groups, group_id, origin=origin)
    queue.cancel_earlier(tx, resource_id=group_id)
    return Accepted(None, RESET.apply_locked(tx, group_id, status=status, now_us=origin.at_us))


# --- delete ---------------------------------------------------------------------------------------------------------


def begin_delete(tx: Connection, *, origin: Origin, group_id: str, with_volumes: bool) -> Accepted:
    """Accept a delete, with all volumes in it or not at all while there are any. Raises NotFound, InvalidState."""
    read_seen(tx, volume_groups, group_id, origin=origin)
    members = volume_ids(tx, group_id)
    targets = [(volume_groups, group_id), *((volumes, volume_id) for volume_id in members)]
    lock_rows(tx, targets, origin=origin, asked_for=group_id)
    if members != volume_ids(tx, group_id):
        raise Contended("a volume joined or left the group before its row was ours")
    refuse_frozen(tx, read_row(tx, volume_groups, group_id))
    if members and not with_volumes:
        raise InvalidState(
            f"Group {group_id} still contains volumes; delete it with delete-volumes, or remove them from it first."
        )
    group = (DELETE_ALL if with_volumes else DELETE).apply_locked(tx, group_id, now_us=origin.at_us)
    rows = [DELETE_WITH_GROUP.apply_locked(tx, volume_id, now_us=origin.at_us) for volume_id in members]
    for row in rows:
        if row["pool_name"] is None:
            forget_volume(tx, row)  # it never had a place on any storage
    placed = [row for row in rows if row["pool_name"] is not None]
    if not placed:
        forget_group(tx, group)
        return Accepted(None, group)
    payload = DeleteGroup(group_id=group_id, volume_ids=[row["id"] for row in placed])
    job = kinds.job("delete_group", queue_of(placed[0]["pool_name"]), "group", group_id, payload)
    queue.enqueue(tx, job, origin=origin, locks=[queue.exclusive(row) for row in (group, *placed)])
    return Accepted(job.queue, group)


def finish_delete(tx: Connection, claim: Claim, payload: DeleteGroup, state: dict[str, Any], *, now_us: int) -> None:
    """Nothing is left on storage: rows, accounts and allocations go."""
    _lock(tx, payload)
    queue.close(tx, claim, outcome="done", detail=None, now_us=now_us)
    for volume_id in payload.volume_ids:
        volume = read_row(tx, volumes, volume_id)
        assert volume is not None, "its lock names the row"
        forget_volume(tx, volume)
    group = read_row(tx, volume_groups, payload.group_id)
    assert group is not None, "its lock names the row"
    forget_group(tx, group)
    clear_tombstones(tx, claim)


def fail_delete(
    tx: Connection, claim: Claim, payload: DeleteGroup, state: dict[str, Any], *, failure: Failure, now_us: int
) -> None:
    """The storage would not let go: group and volumes stay, in `error_deleting`, and can be deleted again."""
    _lock(tx, payload)
    queue.close(tx, claim, outcome=failure.outcome, detail=failure.message, now_us=now_us)
    begun = failure.outcome != "cancelled"  # a cancelled one has not touched the storage
    failed = VOLUME_DELETE_FAILED if begun else VOLUME_DELETE_CANCELLED
    told = [volume_id for volume_id in payload.volume_ids if settle(tx, failed, volume_id)]
    said: Any = {"event": "delete_group", "text": failure.message, "now_us": now_us}
    tell_members(tx, claim, table=volumes, ids=told, **said)
    if settle(tx, DELETE_FAILED, payload.group_id):
        message_for_failure(tx, claim, **said)
    tell_the_truth(tx, claim)
    clear_tombstones(tx, claim)


def _lock(tx: Connection, payload: DeleteGroup) -> None:
    doomed = [(volumes, volume_id) for volume_id in payload.volume_ids]
    lock_rows(tx, [(volume_groups, payload.group_id), *doomed])


# Those of some volumes that are there; for others than administrators, those that are the project's.
_ANYBODYS: Final[Any] = select(volumes.c.id).where(volumes.c.id.in_(bindparam("ids", expanding=True)))
_THERE: Final = {True: _ANYBODYS, False: _ANYBODYS.where(volumes.c.project_id == bindparam("project"))}
