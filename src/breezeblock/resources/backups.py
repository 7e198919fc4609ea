"""Backups: making and deleting them, and an operator's reset of the status. Restores are in `restores.py`.

What a backup consists of, and when it may go, is in `docs/explanation/backup.md`; the packs are `archives`' affair.
"""

from collections.abc import Collection, Mapping
from typing import Any

import msgspec
from sqlalchemy import Connection, select

from breezeblock.model import states
from breezeblock.model.errors import InvalidState
from breezeblock.model.ids import BackupId
from breezeblock.model.origin import Origin
from breezeblock.model.requests import NewBackup
from breezeblock.placement import allocate
from breezeblock.protocol import archives, queue, segments
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
    vanish,
)
from breezeblock.resources.attached import AS_BEFORE, AS_BEFORE_WORDS
from breezeblock.resources.backends import refuse_frozen
from breezeblock.store.tables import backups, snapshots, volumes
from breezeblock.store.transitions import (
    Must,
    Transition,
    differs,
    equals,
    insert_row,
    is_in,
    lock_row,
    lock_rows,
    new,
    read_row,
)


class CreateBackup(msgspec.Struct, frozen=True, kw_only=True):
    """Payload of `create_backup`. The source's object is looked up when it runs: the lock keeps it there.

    `aside`: the volume is in use, so the data is read from a copy that is made first.
    """

    backup_id: str
    volume_id: str
    size_gib: int
    store: str
    archive_id: str
    snapshot_id: str | None = None
    aside: bool = False


class DeleteBackup(msgspec.Struct, frozen=True, kw_only=True):
    """Payload of `delete_backup`."""

    backup_id: str
    store: str
    forced: bool = False


DELETABLE = (states.AVAILABLE, states.ERROR, states.ERROR_DELETING)
_PLACED = Must(
    differs(volumes.c.object_name, None), "Volume {id} has no storage: its creation has not finished or has failed."
)
_BACKING_UP = {"status": states.BACKING_UP, "previous_status": volumes.c.status, "updated_at_us": new("now_us")}

BACK_UP = Transition(
    volumes,
    name="volume.back_up",
    musts=(
        Must(
            equals(volumes.c.status, states.AVAILABLE),
            "Volume {id} has status {status}; it must be available to be backed up, or in-use with force.",
        ),
        at_rest(volumes),
        _PLACED,
    ),
    sets=_BACKING_UP,
    moves=((states.AVAILABLE, states.BACKING_UP),),
)
BACK_UP_IN_USE = Transition(
    volumes,
    name="volume.back_up_in_use",
    musts=(
        Must(
            is_in(volumes.c.status, (states.AVAILABLE, states.IN_USE)),
            "Volume {id} has status {status}; it must be available or in-use to be backed up.",
        ),
        at_rest(volumes),
        _PLACED,
    ),
    sets=_BACKING_UP,
    moves=((states.AVAILABLE, states.BACKING_UP), (states.IN_USE, states.BACKING_UP)),
)
# However the backup has ended: the volume was only read.
BACKED_UP = Transition(
    volumes,
    name="volume.backed_up",
    musts=(),
    sets={"status": AS_BEFORE},
    moves=tuple((states.BACKING_UP, status) for status in AS_BEFORE_WORDS),
)
BE_BACKED_UP = Transition(
    snapshots,
    name="snapshot.be_backed_up",
    musts=(
        Must(equals(snapshots.c.volume_id, new("volume_id")), "Snapshot {id} is not of volume {volume_id}."),
        Must(
            equals(snapshots.c.status, states.AVAILABLE),
            "Snapshot {id} has status {status}; it must be available to be backed up.",
        ),
        at_rest(snapshots),
        Must(
            differs(snapshots.c.object_name, None),
            "Snapshot {id} has no storage: its creation has failed, whatever its status was reset to.",
        ),
    ),
    sets={},
)
DELETE = Transition(
    backups,
    name="backup.delete",
    musts=(
        Must(
            is_in(backups.c.status, DELETABLE),
            "Backup {id} has status {status}; to be deleted it must be available, error or error_deleting.",
        ),
    ),
    sets={"status": states.DELETING, "previous_status": backups.c.status, "updated_at_us": new("now_us")},
    moves=tuple((status, states.DELETING) for status in DELETABLE),
)
FORCE_DELETE = Transition(
    backups,
    name="backup.force_delete",
    musts=(),
    sets={"status": states.DELETING, "previous_status": backups.c.status, "updated_at_us": new("now_us")},
    moves=((None, states.DELETING),),
)
CREATED = Transition(
    backups,
    name="backup.created",
    musts=(),
    sets={"status": states.AVAILABLE},
    moves=((states.CREATING, states.AVAILABLE),),
)
CREATE_FAILED = Transition(
    backups,
    name="backup.create_failed",
    musts=(),
    sets={"status": states.ERROR},
    moves=((states.CREATING, states.ERROR), (states.AVAILABLE, states.ERROR)),
)
DELETE_FAILED = Transition(
    backups,
    name="backup.delete_failed",
    musts=(),
    sets={"status": states.ERROR_DELETING},
    # From any status: a reset in the meantime cannot make a backup whole of which a part may be gone.
    moves=((None, states.ERROR_DELETING),),
)
DELETE_CANCELLED = Transition(
    backups,
    name="backup.delete_cancelled",
    musts=(),
    sets={"status": states.ERROR_DELETING},
    moves=((states.DELETING, states.ERROR_DELETING),),
)
RESET = Transition(
    backups,
    name="backup.reset_status",
    musts=(),
    sets={"status": new("status"), "previous_status": backups.c.status, "updated_at_us": new("now_us")},
    moves=tuple((None, status) for status in states.RESETTABLE_BACKUP),
)

# --- create ---------------------------------------------------------------------------------------------------------


def begin_create(tx: Connection, *, origin: Origin, wanted: NewBackup, quota_defaults: Mapping[str, int]) -> Accepted:
    """Accept a backup: statuses, quota and operation row, all or none.

    Raises NotFound, InvalidState (status; nothing to be incremental from), OverQuota.
    """
    rows: list[tuple[Any, str]] = [(volumes, wanted.volume_id)]
    if wanted.snapshot_id is not None:
        rows.append((snapshots, wanted.snapshot_id))
    lock_rows(tx, rows, origin=origin)
    volume = read_row(tx, volumes, wanted.volume_id)
    assert volume is not None, "a locked row is there"
    refuse_frozen(tx, volume)
    source, lock, aside = _hold_source(tx, origin, wanted)
    data_us = source["created_at_us"] if wanted.snapshot_id is not None else origin.at_us
    parent_id = _parent(tx, origin, wanted, data_us) if wanted.incremental else None
    wanted = _placed(tx, wanted, volume, parent_id)
    deltas = quotas.backup_deltas(backups=1, gib=source["size_gib"])
    quotas.charge(tx, origin.project_id, deltas, defaults=quota_defaults)
    host = queue_of(source["pool_name"])
    row = _new_row(wanted, origin, source, host=host, parent_id=parent_id, data_us=data_us)
    row["temp_volume_id"] = wanted.id  # what it will be read from has the backup's id, where that is a copy
    insert_row(tx, backups, row)
    row["dependent_backups"] = 0  # as a list would show it
    payload = CreateBackup(
        backup_id=wanted.id,
        volume_id=wanted.volume_id,
        size_gib=source["size_gib"],
        store=wanted.store,
        archive_id=wanted.archive_id,
        snapshot_id=wanted.snapshot_id,
        aside=aside,
    )
    job = kinds.job("create_backup", host, "backup", wanted.id, payload)
    queue.enqueue(tx, job, origin=origin, locks=(Lock(wanted.id, 1, exclusive=True), lock))
    return Accepted(host, row)


def _hold_source(tx: Connection, origin: Origin, wanted: NewBackup) -> tuple[Mapping[str, Any], Lock, bool]:
    """What is read, the place in its line, and whether it has to be copied first. Raises InvalidState."""
    if wanted.snapshot_id is not None:
        snapshot = BE_BACKED_UP.check_locked(tx, wanted.snapshot_id, volume_id=wanted.volume_id)
        return snapshot, queue.shared(snapshot), False
    may = BACK_UP_IN_USE if wanted.force else BACK_UP
    volume = may.apply_locked(tx, wanted.volume_id, now_us=origin.at_us)
    # Exclusive, although it is only read: its status is ours until the end.
    return volume, queue.exclusive(volume), volume["previous_status"] == states.IN_USE


def _parent(tx: Connection, origin: Origin, wanted: NewBackup, data_us: int) -> str:
    """The project's backup with the volume's latest data before this one's. Raises InvalidState when there is none.

    Not held: it may be deleted at any time, since nothing of this backup depends on it.
    """
    latest = (
        select(backups.c.id)
        .where(
            backups.c.volume_id == wanted.volume_id,
            backups.c.project_id == origin.project_id,
            backups.c.status == states.AVAILABLE,
            backups.c.tombstone.is_(False),
        )
        .order_by(backups.c.data_timestamp_us.desc(), backups.c.id.desc())
        .limit(1)
    )
    if wanted.snapshot_id is not None:
        latest = latest.where(backups.c.data_timestamp_us < data_us)
    found: str | None = tx.execute(latest).scalar()
    if found is None:
        raise InvalidState(f"Volume {wanted.volume_id} has no available backup that this one could be incremental to.")
    return found


def _placed(tx: Connection, wanted: NewBackup, volume: Mapping[str, Any], parent_id: str | None) -> NewBackup:
    """The same in the store that suits it best: where its parent is, so that little is stored; or in the volume's zone."""
    if not wanted.stores:
        return wanted
    parent = None if parent_id is None else read_row(tx, backups, parent_id)
    store = wanted.store
    if parent is not None and parent["store"] in wanted.stores:
        store = parent["store"]
    elif wanted.stores.get(store) != volume["availability_zone"]:
        near = [name for name, zone in wanted.stores.items() if zone == volume["availability_zone"]]
        store = min(near, default=store)
    container = store if wanted.container == wanted.store else wanted.container
    return msgspec.structs.replace(
        wanted, store=store, container=container, availability_zone=wanted.stores[store], stores={}
    )


def _new_row(
    wanted: NewBackup, origin: Origin, source: Mapping[str, Any], *, host: str, parent_id: str | None, data_us: int
) -> dict[str, Any]:
    row: dict[str, Any] = {column.name: None for column in backups.c}
    return row | {
        "id": wanted.id,
        "op_seq": 1,
        "tombstone": False,
        "project_id": origin.project_id,
        "user_id": origin.user_id,
        "name": wanted.name,
        "description": wanted.description,
        "volume_id": wanted.volume_id,
        "snapshot_id": wanted.snapshot_id,
        "parent_id": parent_id,
        "status": states.CREATING,
        "size_gib": source["size_gib"],
        "object_count": 0,
        "stored_bytes": 0,
        "store": wanted.store,
        "container": wanted.container,
        "availability_zone": wanted.availability_zone,
        "host": host,
        "metadata_json": msgspec.json.encode(wanted.metadata).decode(),
        "data_timestamp_us": data_us,
        "created_at_us": origin.at_us,
        "charged_gib": source["size_gib"],
        "image_metadata_json": source["image_metadata_json"],
        "consumes_quota": True,
    }


def enter(tx: Connection, *, payload: CreateBackup, project_id: str, key_check: str, now_us: int) -> str:
    """Pin the project's archive, which is made where there is none, and return its id. Runs inside a step."""
    asked = {"store": payload.store, "project_id": project_id, "archive_id": payload.archive_id}
    return archives.enter(tx, backup_id=payload.backup_id, **asked, key_check=key_check, now_us=now_us)


def publish(tx: Connection, *, backup_id: str, manifest: str, named: Collection[str]) -> None:
    """From here on the backup exists. Runs inside a step; one that an earlier claim has published keeps its manifest."""
    archives.publish(tx, backup_id=backup_id, manifest=manifest, named=named)


def unpublish(tx: Connection, *, backup_id: str) -> None:
    """From here on its manifest may go. Runs inside a step."""
    archives.unpublish(tx, backup_id=backup_id)


def finish_create(tx: Connection, claim: Claim, payload: CreateBackup, state: dict[str, Any], *, now_us: int) -> None:
    """The backup is published: it exists."""
    lock_rows(tx, _held(payload))
    segments.forget(tx, backup_id=payload.backup_id)
    queue.close(tx, claim, outcome="done", detail=None, now_us=now_us)
    facts = {"object_count": state["object_count"], "stored_bytes": state["stored_bytes"], "updated_at_us": now_us}
    settle(tx, CREATED, payload.backup_id, also=facts | {"temp_volume_id": None})
    if payload.snapshot_id is None:
        settle(tx, BACKED_UP, payload.volume_id)
    clear_tombstones(tx, claim)


def fail_create(
    tx: Connection, claim: Claim, payload: CreateBackup, state: dict[str, Any], *, failure: Failure, now_us: int
) -> None:
    """The backup stays, in `error`, charged as any other, until its owner deletes it. The volume is what it was."""
    lock_rows(tx, _held(payload))
    archives.unpublish(tx, backup_id=payload.backup_id)
    archives.leave(tx, backup_id=payload.backup_id)
    queue.close(tx, claim, outcome=failure.outcome, detail=failure.message, now_us=now_us)
    facts: dict[str, Any] = {"fail_reason": failure.message, "updated_at_us": now_us}
    if state.get("aside_dropped"):
        facts["temp_volume_id"] = None
    if settle(tx, CREATE_FAILED, payload.backup_id, also=facts):
        message_for_failure(tx, claim, event="create_backup", text=failure.message, now_us=now_us)
    if payload.snapshot_id is None:
        settle(tx, BACKED_UP, payload.volume_id)
    tell_the_truth(tx, claim)
    clear_tombstones(tx, claim)


def _held(payload: CreateBackup) -> list[tuple[Any, str]]:
    """The rows whose status is the operation's."""
    rows: list[tuple[Any, str]] = [(backups, payload.backup_id)]
    return rows if payload.snapshot_id is not None else [*rows, (volumes, payload.volume_id)]


# --- delete ---------------------------------------------------------------------------------------------------------


def begin_delete(tx: Connection, *, origin: Origin, backup_id: BackupId) -> Accepted:
    """Accept a delete, also of one that others were incremental to. Raises NotFound, InvalidState."""
    return _begin_delete(tx, DELETE, origin, backup_id)


def begin_force_delete(tx: Connection, *, origin: Origin, backup_id: BackupId) -> Accepted:
    """Accept a delete whatever the status; what is under way on the backup is cancelled."""
    return _begin_delete(tx, FORCE_DELETE, origin, backup_id, force=True)


def _begin_delete(
    tx: Connection, transition: Transition, origin: Origin, backup_id: str, *, force: bool = False
) -> Accepted:
    live = sorted({pool.queue for pool in allocate.read_pools(tx) if pool.live})
    lock_row(tx, backups, backup_id, origin=origin)
    row = transition.apply_locked(tx, backup_id, now_us=origin.at_us)
    if force:
        queue.cancel_earlier(tx, resource_id=backup_id)
    # Any node that has the store can do it; those of the volume's backend come first, since a copy may be left there.
    where = row["host"] if row["host"] in live or not live else live[0]
    payload = DeleteBackup(backup_id=backup_id, store=row["store"], forced=force)
    job = kinds.job("delete_backup", where, "backup", backup_id, payload)
    queue.enqueue(tx, job, origin=origin, locks=(queue.exclusive(row),))
    return Accepted(where, row)


def finish_delete(tx: Connection, claim: Claim, payload: DeleteBackup, state: dict[str, Any], *, now_us: int) -> None:
    """Its manifest is gone: row and accounts go. The packs that only it needed are garbage, which is collected."""
    lock_row(tx, backups, payload.backup_id)
    archives.leave(tx, backup_id=payload.backup_id)
    queue.close(tx, claim, outcome="done", detail=None, now_us=now_us)
    row = read_row(tx, backups, payload.backup_id)
    assert row is not None, "its lock names the row"
    vanish(tx, backups, row["id"])
    if not row["tombstone"]:  # else its accounts were settled when it became one
        quotas.refund(tx, row["project_id"], quotas.backup_deltas(backups=1, gib=row["charged_gib"]))
    clear_tombstones(tx, claim)


def fail_delete(
    tx: Connection, claim: Claim, payload: DeleteBackup, state: dict[str, Any], *, failure: Failure, now_us: int
) -> None:
    """The store would not let go: the backup stays, in `error_deleting`, and can be deleted again."""
    lock_row(tx, backups, payload.backup_id)
    queue.close(tx, claim, outcome=failure.outcome, detail=failure.message, now_us=now_us)
    begun = failure.outcome != "cancelled"  # a cancelled one has not touched the store
    if settle(tx, DELETE_FAILED if begun else DELETE_CANCELLED, payload.backup_id, also={"updated_at_us": now_us}):
        message_for_failure(tx, claim, event="delete_backup", text=failure.message, now_us=now_us)
    tell_the_truth(tx, claim)
    clear_tombstones(tx, claim)


# --- reset ----------------------------------------------------------------------------------------------------------


def reset_status(tx: Connection, *, origin: Origin, backup_id: BackupId, status: str) -> Accepted:
    """An operator's word about a backup; operations under way on it are cancelled.

    Raises NotFound, InvalidState (it has no manifest).
    """
    lock_row(tx, backups, backup_id, origin=origin)
    there = read_row(tx, backups, backup_id)
    assert there is not None, "a locked row is there"
    refuse_a_lie(tx, backups, there, status)
    queue.cancel_earlier(tx, resource_id=backup_id)
    return Accepted(None, RESET.apply_locked(tx, backup_id, status=status, now_us=origin.at_us))
