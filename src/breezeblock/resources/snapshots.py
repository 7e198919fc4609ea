"""Snapshots: taking and deleting them, and an operator's reset of the status."""

from collections.abc import Mapping
from typing import Any

import msgspec
from sqlalchemy import Connection

from breezeblock.model import states
from breezeblock.model.errors import InvalidState
from breezeblock.model.ids import SnapshotId
from breezeblock.model.origin import Origin
from breezeblock.model.requests import NewSnapshot
from breezeblock.placement import allocate
from breezeblock.protocol import queue
from breezeblock.protocol.queue import Claim, Lock
from breezeblock.protocol.steps import Failure
from breezeblock.resources import kinds, quotas
from breezeblock.resources.accepted import (
    Accepted,
    at_rest,
    clear_tombstones,
    message_for_failure,
    queue_of,
    refuse_a_lie,
    settle,
    tell_the_truth,
)
from breezeblock.resources.backends import refuse_frozen
from breezeblock.resources.volumes import SNAPSHOT_DELETE_CANCELLED, SNAPSHOT_DELETE_FAILED, forget_snapshot
from breezeblock.store.tables import snapshots, volumes
from breezeblock.store.transitions import (
    Must,
    Transition,
    change_row,
    differs,
    equals,
    insert_row,
    is_in,
    lock_row,
    lock_rows,
    new,
    read_row,
    read_seen,
)


class CreateSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """Payload of `create_snapshot`. The volume's object is looked up when it runs: the shared lock keeps it there."""

    snapshot_id: str
    volume_id: str
    size_gib: int


class DeleteSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """Payload of `delete_snapshot`."""

    snapshot_id: str
    volume_id: str
    forced: bool = False


_PLACED = Must(
    differs(volumes.c.object_name, None), "Volume {id} has no storage: its creation has not finished or has failed."
)
BE_SNAPSHOT = Transition(
    volumes,
    name="volume.be_snapshot",
    musts=(
        Must(
            is_in(volumes.c.status, (states.AVAILABLE,)),
            "Volume {id} has status {status}; it must be available to be snapshot, or in-use with force.",
        ),
        at_rest(volumes),
        _PLACED,
    ),
    sets={},
)
BE_SNAPSHOT_IN_USE = Transition(
    volumes,
    name="volume.be_snapshot_in_use",
    musts=(
        Must(
            is_in(volumes.c.status, (states.AVAILABLE, states.IN_USE)),
            "Volume {id} has status {status}; it must be available or in-use to be snapshot.",
        ),
        at_rest(volumes),
        _PLACED,
    ),
    sets={},
)
ALONE = Must(
    equals(snapshots.c.group_snapshot_id, None),
    "Snapshot {id} is a part of group snapshot {group_snapshot_id}; delete that instead.",
)
DELETE = Transition(
    snapshots,
    name="snapshot.delete",
    musts=(
        ALONE,
        Must(
            is_in(snapshots.c.status, (states.AVAILABLE, states.ERROR, states.ERROR_DELETING)),
            "Snapshot {id} has status {status}; to be deleted it must be available, error or error_deleting.",
        ),
        Must(
            differs(snapshots.c.replication_status, states.NOT_CAPABLE),
            "Snapshot {id} is not on the storage that its backend has failed over to; it can be deleted when that is back.",
        ),
    ),
    sets={"status": states.DELETING, "previous_status": snapshots.c.status, "updated_at_us": new("now_us")},
    moves=tuple((status, states.DELETING) for status in (states.AVAILABLE, states.ERROR, states.ERROR_DELETING)),
)
# What the deletion of a group snapshot asks of each snapshot in it, and does to it.
DELETE_WITH_GROUP = Transition(
    snapshots, name="snapshot.delete_with_group", musts=DELETE.musts[1:], sets=DELETE.sets, moves=DELETE.moves
)
FORCE_DELETE = Transition(
    snapshots,
    name="snapshot.force_delete",
    musts=(ALONE,),
    sets={"status": states.DELETING, "previous_status": snapshots.c.status, "updated_at_us": new("now_us")},
    moves=((None, states.DELETING),),
)
CREATED = Transition(
    snapshots,
    name="snapshot.created",
    musts=(),
    sets={"status": states.AVAILABLE, "progress": "100%"},
    moves=((states.CREATING, states.AVAILABLE),),
)
CREATE_FAILED = Transition(
    snapshots,
    name="snapshot.create_failed",
    musts=(),
    sets={"status": states.ERROR},
    moves=((states.CREATING, states.ERROR), (states.AVAILABLE, states.ERROR)),
)
RESET = Transition(
    snapshots,
    name="snapshot.reset_status",
    musts=(),
    sets={"status": new("status"), "previous_status": snapshots.c.status, "updated_at_us": new("now_us")},
    moves=tuple((None, status) for status in states.RESETTABLE_SNAPSHOT),
)
# What an outside snapshot tool (a compute service) may report, and from where (os-update_snapshot_status).
UPDATE_STATUS = Transition(
    snapshots,
    name="snapshot.update_status",
    musts=(
        Must(
            is_in(
                snapshots.c.status, (states.CREATING, states.AVAILABLE, states.DELETING, states.ERROR, "error_deleting")
            ),
            "Snapshot {id} has status {status}, which cannot be updated from outside.",
        ),
    ),
    sets={"status": new("status_new"), "progress": new("progress"), "updated_at_us": new("now_us")},
    moves=(
        (states.CREATING, states.CREATING),
        (states.CREATING, states.AVAILABLE),
        (states.CREATING, states.ERROR),
        (states.DELETING, states.DELETING),
        (states.DELETING, states.ERROR_DELETING),
    ),
)


def begin_create(tx: Connection, *, origin: Origin, wanted: NewSnapshot, quota_defaults: Mapping[str, int]) -> Accepted:
    """Accept a snapshot. Raises NotFound, InvalidState, OverQuota.

    The volume's row is written although it is only read later: a delete of the volume asks for its snapshots under the
    same row, so one of the two sees the other.
    """
    lock_row(tx, volumes, wanted.volume_id, origin=origin)
    may = BE_SNAPSHOT_IN_USE if wanted.force else BE_SNAPSHOT
    refuse_frozen(tx, read_row(tx, volumes, wanted.volume_id))
    volume = may.check_locked(tx, wanted.volume_id)
    allocate.record(tx, volume["pool_name"], volume["size_gib"])
    deltas = quotas.snapshot_deltas(snapshots=1, gib=volume["size_gib"], type_id=volume["volume_type_id"])
    quotas.charge(tx, origin.project_id, deltas, defaults=quota_defaults, of_snapshots=deltas)
    row = new_row(wanted, origin, volume)
    insert_row(tx, snapshots, row)
    payload = CreateSnapshot(snapshot_id=wanted.id, volume_id=wanted.volume_id, size_gib=volume["size_gib"])
    job = kinds.job("create_snapshot", queue_of(volume["pool_name"]), "snapshot", wanted.id, payload)
    queue.enqueue(tx, job, origin=origin, locks=(Lock(wanted.id, 1, exclusive=True), queue.shared(volume)))
    return Accepted(job.queue, row)


def new_row(wanted: NewSnapshot, origin: Origin, volume: Mapping[str, Any]) -> dict[str, Any]:
    """The row of a new snapshot, as it is before its operation."""
    row: dict[str, Any] = {column.name: None for column in snapshots.c}
    return row | {
        "id": wanted.id,
        "op_seq": 1,
        "tombstone": False,
        "project_id": origin.project_id,
        "user_id": origin.user_id,
        "name": wanted.name,
        "description": wanted.description,
        "volume_id": wanted.volume_id,
        "size_gib": volume["size_gib"],
        "status": states.CREATING,
        "progress": "0%",
        "volume_type_id": volume["volume_type_id"],
        "bootable": volume["bootable"],
        "image_metadata_json": volume["image_metadata_json"] if volume["bootable"] else None,
        "encryption_key_id": volume["encryption_key_id"],
        "pool_name": volume["pool_name"],
        "metadata_json": msgspec.json.encode(wanted.metadata).decode(),
        "charged_gib": volume["size_gib"],
        "charged_type_id": volume["volume_type_id"],
        "consumes_quota": True,
        "created_at_us": origin.at_us,
        "group_snapshot_id": wanted.group_snapshot_id,
    }


def finish_create(tx: Connection, claim: Claim, payload: CreateSnapshot, state: dict[str, Any], *, now_us: int) -> None:
    """The snapshot's object is whole: publish it."""
    lock_row(tx, snapshots, payload.snapshot_id)
    queue.close(tx, claim, outcome="done", detail=None, now_us=now_us)
    change_row(tx, snapshots, payload.snapshot_id, object_name=state["object"], updated_at_us=now_us)
    settle(tx, CREATED, payload.snapshot_id)
    clear_tombstones(tx, claim)


def fail_create(
    tx: Connection, claim: Claim, payload: CreateSnapshot, state: dict[str, Any], *, failure: Failure, now_us: int
) -> None:
    """The snapshot stays, in `error`, until its owner deletes it."""
    lock_row(tx, snapshots, payload.snapshot_id)
    queue.close(tx, claim, outcome=failure.outcome, detail=failure.message, now_us=now_us)
    if settle(tx, CREATE_FAILED, payload.snapshot_id):
        message_for_failure(tx, claim, event="create_snapshot", text=failure.message, now_us=now_us)
    tell_the_truth(tx, claim)
    clear_tombstones(tx, claim)


def begin_delete(tx: Connection, *, origin: Origin, snapshot_id: SnapshotId) -> Accepted:
    """Accept a delete. Raises NotFound, InvalidState."""
    return _begin_delete(tx, DELETE, origin, snapshot_id)


def begin_force_delete(tx: Connection, *, origin: Origin, snapshot_id: SnapshotId) -> Accepted:
    """Accept a delete whatever the status; what is under way on the snapshot is cancelled."""
    return _begin_delete(tx, FORCE_DELETE, origin, snapshot_id, force=True)


def _begin_delete(
    tx: Connection, transition: Transition, origin: Origin, snapshot_id: str, *, force: bool = False
) -> Accepted:
    there = read_seen(tx, snapshots, snapshot_id, origin=origin)
    lock_rows(tx, ((snapshots, snapshot_id), (volumes, there["volume_id"])), origin=origin, asked_for=snapshot_id)
    refuse_frozen(tx, there)
    row = transition.apply_locked(tx, snapshot_id, now_us=origin.at_us)
    volume = read_row(tx, volumes, row["volume_id"])
    assert volume is not None, "a volume with a snapshot is there"
    if force:
        queue.cancel_earlier(tx, resource_id=snapshot_id)
    payload = DeleteSnapshot(snapshot_id=snapshot_id, volume_id=row["volume_id"], forced=force)
    # What may still be somebody's file is given back instead.
    kind = "delete_snapshot" if row["managed_from"] is None else "unmanage_snapshot"
    job = kinds.job(kind, queue_of(row["pool_name"]), "snapshot", snapshot_id, payload)
    queue.enqueue(tx, job, origin=origin, locks=(queue.exclusive(row), queue.shared(volume)))
    return Accepted(job.queue, row)


def finish_delete(tx: Connection, claim: Claim, payload: DeleteSnapshot, state: dict[str, Any], *, now_us: int) -> None:
    """Nothing is left on storage: row, accounts and allocation go.

    The volume's row is written as well: whether it has snapshots is a fact that others decide on.
    """
    lock_rows(tx, ((snapshots, payload.snapshot_id), (volumes, payload.volume_id)))
    queue.close(tx, claim, outcome="done", detail=None, now_us=now_us)
    row = read_row(tx, snapshots, payload.snapshot_id)
    assert row is not None, "its lock names the row"
    forget_snapshot(tx, row)
    clear_tombstones(tx, claim)


def fail_delete(
    tx: Connection, claim: Claim, payload: DeleteSnapshot, state: dict[str, Any], *, failure: Failure, now_us: int
) -> None:
    """The storage would not let go: the snapshot stays, in `error_deleting`, and can be deleted again."""
    lock_row(tx, snapshots, payload.snapshot_id)
    queue.close(tx, claim, outcome=failure.outcome, detail=failure.message, now_us=now_us)
    # A cancelled one has not touched the storage; after any other a part may be gone, whatever the status says by now.
    begun = failure.outcome != "cancelled"
    if settle(tx, SNAPSHOT_DELETE_FAILED if begun else SNAPSHOT_DELETE_CANCELLED, payload.snapshot_id):
        message_for_failure(tx, claim, event="delete_snapshot", text=failure.message, now_us=now_us)
    tell_the_truth(tx, claim)
    clear_tombstones(tx, claim)


def reset_status(tx: Connection, *, origin: Origin, snapshot_id: SnapshotId, status: str) -> Accepted:
    """An operator's word about a snapshot; operations under way on it are cancelled.

    Raises NotFound, InvalidState (it has no storage).
    """
    lock_row(tx, snapshots, snapshot_id, origin=origin)
    there = read_row(tx, snapshots, snapshot_id)
    assert there is not None, "a locked row is there"
    refuse_a_lie(tx, snapshots, there, status)
    queue.cancel_earlier(tx, resource_id=snapshot_id)
    return Accepted(None, RESET.apply_locked(tx, snapshot_id, status=status, now_us=origin.at_us))


def update_status(
    tx: Connection, *, origin: Origin, snapshot_id: SnapshotId, status: str, progress: str | None
) -> Accepted:
    """A compute service's word about a snapshot that it is taking. Raises NotFound, InvalidState."""
    lock_row(tx, snapshots, snapshot_id, origin=origin)
    row = UPDATE_STATUS.check_locked(tx, snapshot_id, status_new=status, progress=progress, now_us=origin.at_us)
    if (row["status"], status) not in UPDATE_STATUS.moves:
        raise InvalidState(f"Snapshot {snapshot_id} has status {row['status']}, which cannot become {status}.")
    progress = row["progress"] if progress is None else progress
    changed = UPDATE_STATUS.apply_locked(tx, snapshot_id, status_new=status, progress=progress, now_us=origin.at_us)
    return Accepted(None, changed)
