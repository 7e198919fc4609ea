"""Snapshots that become ours without a copy, and snapshots that are let go with their data. As volumes: `managing.py`.

A snapshot on storage is a whole copy, so any file may become a snapshot of any volume that is at least as large.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from sqlalchemy import Connection

from breezeblock.model import states
from breezeblock.model.errors import BadRequest
from breezeblock.model.ids import SnapshotId
from breezeblock.model.origin import Origin
from breezeblock.model.requests import NewSnapshot
from breezeblock.placement import allocate
from breezeblock.protocol import queue
from breezeblock.protocol.queue import Claim
from breezeblock.protocol.steps import Failure
from breezeblock.resources import kinds, quotas
from breezeblock.resources.accepted import (
    Accepted,
    clear_tombstones,
    message_for_failure,
    queue_of,
    settle,
    tell_the_truth,
)
from breezeblock.resources.backends import refuse_frozen
from breezeblock.resources.manageable import refuse_managed
from breezeblock.resources.snapshots import ALONE, BE_SNAPSHOT_IN_USE, CREATE_FAILED, CREATED, DeleteSnapshot, new_row
from breezeblock.store.tables import snapshots, volumes
from breezeblock.store.transitions import (
    Must,
    Transition,
    change_row,
    differs,
    insert_row,
    is_in,
    lock_row,
    lock_rows,
    new,
    read_row,
    read_seen,
)

RELEASED_AS: Final = "snapshot-{}"
_UNMANAGEABLE: Final = (states.AVAILABLE, states.ERROR, states.ERROR_DELETING)


class ManageSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """Payload of `manage_snapshot`. `size_gib_most` is the volume's size."""

    snapshot_id: str
    volume_id: str
    size_gib_most: int
    reference: str
    quota_defaults: dict[str, int]


UNMANAGE = Transition(
    snapshots,
    name="snapshot.unmanage",
    musts=(
        ALONE,
        Must(
            is_in(snapshots.c.status, _UNMANAGEABLE),
            "Snapshot {id} has status {status}; to be unmanaged it must be available, error or error_deleting.",
            error=BadRequest,
        ),
        Must(
            differs(snapshots.c.replication_status, states.NOT_CAPABLE),
            "Snapshot {id} is not on the storage that its backend has failed over to; unmanage it when that is back.",
        ),
    ),
    sets={"status": states.UNMANAGING, "previous_status": snapshots.c.status, "updated_at_us": new("now_us")},
    moves=tuple((status, states.UNMANAGING) for status in _UNMANAGEABLE),
)
UNMANAGE_FAILED = Transition(
    snapshots,
    name="snapshot.unmanage_failed",
    musts=(),
    sets={"status": states.ERROR_DELETING},
    moves=((states.UNMANAGING, states.ERROR_DELETING), (states.DELETING, states.ERROR_DELETING)),
)

# --- manage ---------------------------------------------------------------------------------------------------------


def begin_manage(
    tx: Connection, *, origin: Origin, wanted: NewSnapshot, reference: str, quota_defaults: Mapping[str, int]
) -> Accepted:
    """Accept a snapshot that is on its volume's storage already. It counts as large as its volume until its size is known.

    Raises NotFound, InvalidState (the volume, or managed already), OverQuota.
    """
    lock_row(tx, volumes, wanted.volume_id, origin=origin)
    refuse_frozen(tx, read_row(tx, volumes, wanted.volume_id))
    volume = BE_SNAPSHOT_IN_USE.check_locked(tx, wanted.volume_id)
    refuse_managed(tx, reference)
    allocate.record(tx, volume["pool_name"], volume["size_gib"])
    deltas = quotas.snapshot_deltas(snapshots=1, gib=volume["size_gib"], type_id=volume["volume_type_id"])
    quotas.charge(tx, origin.project_id, deltas, defaults=quota_defaults, of_snapshots=deltas)
    row = new_row(wanted, origin, volume) | {"managed_from": reference}
    insert_row(tx, snapshots, row)
    payload = ManageSnapshot(
        snapshot_id=wanted.id,
        volume_id=wanted.volume_id,
        size_gib_most=volume["size_gib"],
        reference=reference,
        quota_defaults=dict(quota_defaults),
    )
    job = kinds.job("manage_snapshot", queue_of(volume["pool_name"]), "snapshot", wanted.id, payload)
    queue.enqueue(tx, job, origin=origin, locks=(queue.exclusive(row), queue.shared(volume)))
    return Accepted(job.queue, row)


def charge_snapshot(tx: Connection, *, snapshot_id: str, size_gib: int) -> None:
    """Charge a snapshot for the size that it has, at most its volume's, for which it is charged. Runs inside a step."""
    lock_row(tx, snapshots, snapshot_id)
    row = read_row(tx, snapshots, snapshot_id)
    assert row is not None, "a locked row is there"
    less = row["charged_gib"] - size_gib
    assert less >= 0, "it is not larger than its volume"
    allocate.record(tx, row["pool_name"], -less)
    deltas = quotas.snapshot_deltas(snapshots=0, gib=less, type_id=row["charged_type_id"])
    quotas.refund(tx, row["project_id"], deltas)
    change_row(tx, snapshots, snapshot_id, size_gib=size_gib, charged_gib=size_gib)


def finish_manage(tx: Connection, claim: Claim, payload: ManageSnapshot, state: dict[str, Any], *, now_us: int) -> None:
    """The object is ours: publish it."""
    lock_row(tx, snapshots, payload.snapshot_id)
    queue.close(tx, claim, outcome="done", detail=None, now_us=now_us)
    values = {"object_name": state["object"], "managed_from": None, "updated_at_us": now_us}
    change_row(tx, snapshots, payload.snapshot_id, **values)
    settle(tx, CREATED, payload.snapshot_id)
    clear_tombstones(tx, claim)


def fail_manage(
    tx: Connection, claim: Claim, payload: ManageSnapshot, state: dict[str, Any], *, failure: Failure, now_us: int
) -> None:
    """The snapshot stays, in `error`, until its owner deletes it."""
    lock_row(tx, snapshots, payload.snapshot_id)
    queue.close(tx, claim, outcome=failure.outcome, detail=failure.message, now_us=now_us)
    if settle(tx, CREATE_FAILED, payload.snapshot_id):
        message_for_failure(tx, claim, event="manage_existing_snapshot", text=failure.message, now_us=now_us)
    tell_the_truth(tx, claim)
    clear_tombstones(tx, claim)


# --- unmanage -------------------------------------------------------------------------------------------------------


def begin_unmanage(tx: Connection, *, origin: Origin, snapshot_id: SnapshotId) -> Accepted:
    """Accept that a snapshot is let go; its data stays on storage. Raises NotFound, BadRequest, InvalidState."""
    there = read_seen(tx, snapshots, snapshot_id, origin=origin)
    lock_rows(tx, ((snapshots, snapshot_id), (volumes, there["volume_id"])), origin=origin, asked_for=snapshot_id)
    row = UNMANAGE.apply_locked(tx, snapshot_id, now_us=origin.at_us)
    volume = read_row(tx, volumes, row["volume_id"])
    assert volume is not None, "a volume with a snapshot is there"
    payload = DeleteSnapshot(snapshot_id=snapshot_id, volume_id=row["volume_id"])
    job = kinds.job("unmanage_snapshot", queue_of(row["pool_name"]), "snapshot", snapshot_id, payload)
    queue.enqueue(tx, job, origin=origin, locks=(queue.exclusive(row), queue.shared(volume)))
    return Accepted(job.queue, row)


def fail_unmanage(
    tx: Connection, claim: Claim, payload: DeleteSnapshot, state: dict[str, Any], *, failure: Failure, now_us: int
) -> None:
    """The storage would not let go: the snapshot stays, in `error_deleting`, and can be unmanaged or deleted again."""
    lock_row(tx, snapshots, payload.snapshot_id)
    queue.close(tx, claim, outcome=failure.outcome, detail=failure.message, now_us=now_us)
    if settle(tx, UNMANAGE_FAILED, payload.snapshot_id):
        message_for_failure(tx, claim, event="unmanage_snapshot", text=failure.message, now_us=now_us)
    tell_the_truth(tx, claim)
    clear_tombstones(tx, claim)
