"""Snapshots of all volumes of a group: taking and deleting them, and an operator's reset of the status.

One operation takes all of them, one after another: what is written meanwhile to a volume in use is in those that come later. A
driver that can take them at one instant says so by a capability, and takes that step's place.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, select

from breezeblock.model import states
from breezeblock.model.errors import Contended
from breezeblock.model.ids import SnapshotId, VolumeId
from breezeblock.model.origin import Origin
from breezeblock.model.requests import NewSnapshot
from breezeblock.placement import allocate
from breezeblock.protocol import queue
from breezeblock.protocol.queue import Claim, Lock
from breezeblock.protocol.steps import Failure
from breezeblock.resources import kinds, quotas
from breezeblock.resources import snapshots as single
from breezeblock.resources.accepted import (
    Accepted,
    clear_tombstones,
    message_for_failure,
    queue_of,
    settle,
    tell_the_truth,
    vanish,
)
from breezeblock.resources.backends import refuse_frozen
from breezeblock.resources.group_members import part_id, snapshot_ids, tell_members, volume_ids
from breezeblock.resources.volumes import SNAPSHOT_DELETE_CANCELLED, SNAPSHOT_DELETE_FAILED, forget_snapshot
from breezeblock.store.tables import group_snapshots, operation_locks, snapshots, volume_groups, volumes
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


class NewGroupSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """A group snapshot to be taken."""

    id: str
    group_id: str
    name: str | None = None
    description: str | None = None


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One copy that an operation on a group makes: what of, under which id. The source's kind is the operation's."""

    id: str
    source_id: str
    size_gib: int


class CreateGroupSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """Payload of `create_group_snapshot`: its parts are snapshots of volumes."""

    group_snapshot_id: str
    group_id: str
    parts: list[Part]


class DeleteGroupSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """Payload of `delete_group_snapshot`."""

    group_snapshot_id: str
    group_id: str
    snapshot_ids: list[str]
    forced: bool = False


# --- transitions ----------------------------------------------------------------------------------------------------

BE_SNAPSHOT = Transition(
    volume_groups,
    name="volume_group.be_snapshot",
    musts=(
        Must(
            equals(volume_groups.c.status, states.AVAILABLE),
            "Group {id} has status {status}; it must be available to be snapshot.",
        ),
    ),
    sets={},
)
CREATED = Transition(
    group_snapshots,
    name="group_snapshot.created",
    musts=(),
    sets={"status": states.AVAILABLE},
    moves=((states.CREATING, states.AVAILABLE),),
)
CREATE_FAILED = Transition(
    group_snapshots,
    name="group_snapshot.create_failed",
    musts=(),
    sets={"status": states.ERROR},
    moves=((states.CREATING, states.ERROR), (states.AVAILABLE, states.ERROR)),
)
DELETE = Transition(
    group_snapshots,
    name="group_snapshot.delete",
    musts=(
        Must(
            is_in(group_snapshots.c.status, DELETABLE),
            "Group snapshot {id} has status {status}; to be deleted it must have one of: " + ", ".join(DELETABLE) + ".",
        ),
        Must(
            has_no(
                select(operation_locks.c.seq).where(operation_locks.c.resource_id == group_snapshots.c.id),
                of=group_snapshots,
            ),
            "Group snapshot {id} is being worked on, or is the source of a group that is being made; wait for that.",
        ),
    ),
    sets={"status": states.DELETING, "previous_status": group_snapshots.c.status, "updated_at_us": new("now_us")},
    moves=tuple((status, states.DELETING) for status in DELETABLE),
)
DELETE_FAILED = Transition(
    group_snapshots,
    name="group_snapshot.delete_failed",
    musts=(),
    sets={"status": states.ERROR_DELETING},
    moves=((states.DELETING, states.ERROR_DELETING),),
)
RESET = Transition(
    group_snapshots,
    name="group_snapshot.reset_status",
    musts=(),
    sets={"status": new("status"), "previous_status": group_snapshots.c.status, "updated_at_us": new("now_us")},
    moves=tuple((None, status) for status in states.RESETTABLE_GROUP),
)

# --- create ---------------------------------------------------------------------------------------------------------


def begin_create(
    tx: Connection, *, origin: Origin, wanted: NewGroupSnapshot, quota_defaults: Mapping[str, int]
) -> Accepted:
    """Accept a snapshot of every volume of a group. Raises NotFound, InvalidState (group, volumes), OverQuota.

    That of a group without volumes is there at once: nothing has to be taken.
    """
    read_seen(tx, volume_groups, wanted.group_id, origin=origin)
    members = volume_ids(tx, wanted.group_id)
    targets = [(volume_groups, wanted.group_id), *((volumes, volume_id) for volume_id in members)]
    lock_rows(tx, targets, origin=origin, asked_for=wanted.group_id)
    if members != volume_ids(tx, wanted.group_id):
        raise Contended("a volume joined or left the group before its row was ours")
    refuse_frozen(tx, read_row(tx, volume_groups, wanted.group_id))
    group = BE_SNAPSHOT.check_locked(tx, wanted.group_id)
    taken = [single.BE_SNAPSHOT_IN_USE.check_locked(tx, volume_id) for volume_id in members]
    _account(tx, origin, taken, quota_defaults)
    row = _new_row(origin, wanted, group, is_empty=not taken)
    insert_row(tx, group_snapshots, row)
    if not taken:
        return Accepted(None, row)
    parts = _insert_parts(tx, origin, wanted, taken)
    payload = CreateGroupSnapshot(group_snapshot_id=wanted.id, group_id=wanted.group_id, parts=parts)
    job = kinds.job("create_group_snapshot", queue_of(group["pool_name"]), "group_snapshot", wanted.id, payload)
    made = [Lock(id_, 1, exclusive=True) for id_ in (wanted.id, *(part.id for part in parts))]
    queue.enqueue(tx, job, origin=origin, locks=[*made, *(queue.shared(one) for one in (group, *taken))])
    return Accepted(job.queue, row)


def _account(
    tx: Connection, origin: Origin, taken: Sequence[Mapping[str, Any]], quota_defaults: Mapping[str, int]
) -> None:
    """Allocate and charge for a snapshot of each volume: pools in order, then all of it in one charge."""
    for volume in sorted(taken, key=lambda volume: (str(volume["pool_name"]), str(volume["id"]))):
        allocate.record(tx, volume["pool_name"], volume["size_gib"])
    deltas: dict[str, int] = {}
    for volume in taken:
        one = quotas.snapshot_deltas(snapshots=1, gib=volume["size_gib"], type_id=volume["volume_type_id"])
        deltas = {resource: deltas.get(resource, 0) + one.get(resource, 0) for resource in deltas.keys() | one.keys()}
    quotas.charge(tx, origin.project_id, deltas, defaults=quota_defaults, of_snapshots=deltas)


def _insert_parts(
    tx: Connection, origin: Origin, wanted: NewGroupSnapshot, taken: Sequence[Mapping[str, Any]]
) -> list[Part]:
    parts = []
    for volume in taken:
        one = NewSnapshot(
            id=SnapshotId(part_id(wanted.id, volume["id"])),
            volume_id=VolumeId(volume["id"]),
            name=wanted.name,
            description=wanted.description,
            group_snapshot_id=wanted.id,
        )
        insert_row(tx, snapshots, single.new_row(one, origin, volume))
        parts.append(Part(id=one.id, source_id=volume["id"], size_gib=volume["size_gib"]))
    return parts


def _new_row(origin: Origin, wanted: NewGroupSnapshot, group: Mapping[str, Any], *, is_empty: bool) -> dict[str, Any]:
    row: dict[str, Any] = {column.name: None for column in group_snapshots.c}
    return row | {
        "id": wanted.id,
        "op_seq": 1,
        "tombstone": False,
        "project_id": origin.project_id,
        "user_id": origin.user_id,
        "name": wanted.name,
        "description": wanted.description,
        "status": states.AVAILABLE if is_empty else states.CREATING,
        "group_id": wanted.group_id,
        "group_type_id": group["group_type_id"],
        "created_at_us": origin.at_us,
    }


def finish_create(
    tx: Connection, claim: Claim, payload: CreateGroupSnapshot, state: dict[str, Any], *, now_us: int
) -> None:
    """All objects are whole: publish them together."""
    _lock_made(tx, payload)
    queue.close(tx, claim, outcome="done", detail=None, now_us=now_us)
    for part in payload.parts:
        change_row(tx, snapshots, part.id, object_name=state["parts"][part.id]["object"], updated_at_us=now_us)
        settle(tx, single.CREATED, part.id)
    settle(tx, CREATED, payload.group_snapshot_id, also={"updated_at_us": now_us})
    clear_tombstones(tx, claim)


def fail_create(
    tx: Connection,
    claim: Claim,
    payload: CreateGroupSnapshot,
    state: dict[str, Any],
    *,
    failure: Failure,
    now_us: int,
) -> None:
    """Nothing was published: group snapshot and snapshots stay, in `error`, until they are deleted together."""
    _lock_made(tx, payload)
    queue.close(tx, claim, outcome=failure.outcome, detail=failure.message, now_us=now_us)
    told = [part.id for part in payload.parts if settle(tx, single.CREATE_FAILED, part.id)]
    said: Any = {"event": "create_group_snapshot", "text": failure.message, "now_us": now_us}
    tell_members(tx, claim, table=snapshots, ids=told, **said)
    if settle(tx, CREATE_FAILED, payload.group_snapshot_id):
        message_for_failure(tx, claim, **said)
    tell_the_truth(tx, claim)
    clear_tombstones(tx, claim)


def _lock_made(tx: Connection, payload: CreateGroupSnapshot) -> None:
    parts = [(snapshots, part.id) for part in payload.parts]
    lock_rows(tx, [(group_snapshots, payload.group_snapshot_id), *parts])


# --- delete ---------------------------------------------------------------------------------------------------------


def begin_delete(tx: Connection, *, origin: Origin, group_snapshot_id: str) -> Accepted:
    """Accept a delete of all snapshots in a group snapshot. Raises NotFound, InvalidState."""
    there = read_seen(tx, group_snapshots, group_snapshot_id, origin=origin)
    doomed = snapshot_ids(tx, group_snapshot_id)
    of = {row["volume_id"] for id_ in doomed if (row := read_row(tx, snapshots, id_)) is not None}
    targets = [
        (group_snapshots, group_snapshot_id),
        (volume_groups, there["group_id"]),
        *((snapshots, snapshot_id) for snapshot_id in doomed),
        *((volumes, volume_id) for volume_id in of),
    ]
    lock_rows(tx, targets, origin=origin, asked_for=group_snapshot_id)
    group = read_row(tx, volume_groups, there["group_id"])
    assert group is not None, "a locked row is there"
    refuse_frozen(tx, group)
    row = DELETE.apply_locked(tx, group_snapshot_id, now_us=origin.at_us)
    if not doomed:
        vanish(tx, group_snapshots, group_snapshot_id)
        return Accepted(None, row)
    parts = [single.DELETE_WITH_GROUP.apply_locked(tx, snapshot_id, now_us=origin.at_us) for snapshot_id in doomed]
    read = [group, *(_locked(tx, volume_id) for volume_id in sorted(of))]
    payload = DeleteGroupSnapshot(group_snapshot_id=group_snapshot_id, group_id=group["id"], snapshot_ids=doomed)
    where = queue_of(parts[0]["pool_name"])
    job = kinds.job("delete_group_snapshot", where, "group_snapshot", group_snapshot_id, payload)
    locks = [*(queue.exclusive(one) for one in (row, *parts)), *(queue.shared(one) for one in read)]
    queue.enqueue(tx, job, origin=origin, locks=locks)
    return Accepted(job.queue, row)


def finish_delete(
    tx: Connection, claim: Claim, payload: DeleteGroupSnapshot, state: dict[str, Any], *, now_us: int
) -> None:
    """Nothing is left on storage: rows, accounts and allocations go.

    The rows of the group and of the volumes are written as well: whether they have snapshots is a fact that others decide on.
    """
    named = [(snapshots, snapshot_id) for snapshot_id in payload.snapshot_ids]
    shared = [at.resource_id for at in claim.locks if not at.exclusive and at.resource_id != payload.group_id]
    read = [(volume_groups, payload.group_id), *((volumes, volume_id) for volume_id in shared)]
    lock_rows(tx, [(group_snapshots, payload.group_snapshot_id), *named, *read])
    queue.close(tx, claim, outcome="done", detail=None, now_us=now_us)
    for snapshot_id in payload.snapshot_ids:
        snapshot = read_row(tx, snapshots, snapshot_id)
        assert snapshot is not None, "its lock names the row"
        forget_snapshot(tx, snapshot)
    vanish(tx, group_snapshots, payload.group_snapshot_id)
    clear_tombstones(tx, claim)


def fail_delete(
    tx: Connection,
    claim: Claim,
    payload: DeleteGroupSnapshot,
    state: dict[str, Any],
    *,
    failure: Failure,
    now_us: int,
) -> None:
    """The storage would not let go: all stay, in `error_deleting`, and can be deleted again."""
    named = [(snapshots, snapshot_id) for snapshot_id in payload.snapshot_ids]
    lock_rows(tx, [(group_snapshots, payload.group_snapshot_id), *named])
    queue.close(tx, claim, outcome=failure.outcome, detail=failure.message, now_us=now_us)
    begun = failure.outcome != "cancelled"  # a cancelled one has not touched the storage
    failed = SNAPSHOT_DELETE_FAILED if begun else SNAPSHOT_DELETE_CANCELLED
    told = [snapshot_id for snapshot_id in payload.snapshot_ids if settle(tx, failed, snapshot_id)]
    said: Any = {"event": "delete_group_snapshot", "text": failure.message, "now_us": now_us}
    tell_members(tx, claim, table=snapshots, ids=told, **said)
    if settle(tx, DELETE_FAILED, payload.group_snapshot_id):
        message_for_failure(tx, claim, **said)
    tell_the_truth(tx, claim)
    clear_tombstones(tx, claim)


def reset_status(tx: Connection, *, origin: Origin, group_snapshot_id: str, status: str) -> Accepted:
    """An operator's word about a group snapshot; operations that change it are cancelled. Raises NotFound."""
    lock_row(tx, group_snapshots, group_snapshot_id, origin=origin)
    queue.cancel_earlier(tx, resource_id=group_snapshot_id)
    return Accepted(None, RESET.apply_locked(tx, group_snapshot_id, status=status, now_us=origin.at_us))


def _locked(tx: Connection, volume_id: str) -> Mapping[str, Any]:
    row = read_row(tx, volumes, volume_id)
    assert row is not None, "a locked row is there"
    return row
