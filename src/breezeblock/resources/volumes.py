"""Volumes: creating and deleting them. Their other changes are in `volume_changes.py`.

Each `begin_` is a whole request: transition, accounts and operation row, all or none. Each `finish_` and `fail_` is the
one transaction that ends its operation.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, Table, bindparam, case, or_, select

from breezeblock.model import states
from breezeblock.model.errors import BadRequest, Contended, InvalidState
from breezeblock.model.ids import VolumeId
from breezeblock.model.origin import Origin
from breezeblock.model.requests import NewVolume
from breezeblock.placement import allocate
from breezeblock.placement.choose import Pool, Wish
from breezeblock.placement.hints import read_hints
from breezeblock.protocol import queue
from breezeblock.protocol.queue import Claim
from breezeblock.protocol.steps import Failure
from breezeblock.resources import attached, group_members, kinds, quotas
from breezeblock.resources.accepted import (
    Accepted,
    at_rest,
    clear_tombstones,
    message_for_failure,
    queue_of,
    settle,
    tell_the_truth,
    vanish,
)
from breezeblock.resources.backends import refuse_frozen
from breezeblock.resources.new_volumes import new_row, placed_nowhere, type_of
from breezeblock.resources.transfers import forget_offers
from breezeblock.resources.type_encryption import refuse_encrypted
from breezeblock.resources.volume_conditions import (
    DELETABLE,
    IN_NO_GROUP,
    MAY_BE_DELETED,
    NO_SNAPSHOTS,
    NONE_HALF_MANAGED,
    NOT_LEFT_BEHIND,
    NOT_MIGRATING,
    OF_NO_GROUP_SNAPSHOT,
    SNAPSHOTS_OF,
    UNATTACHED,
    WHOLLY_MANAGED,
)
from breezeblock.store.tables import attachments, snapshots, volume_types, volumes
from breezeblock.store.transitions import (
    Must,
    Transition,
    differs,
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

SNAPSHOT_DELETABLE: Final = ("available", "error", "error_deleting")


class CreateVolume(msgspec.Struct, frozen=True, kw_only=True):
    """Payload of `create_volume`. The source's object is looked up when it runs: the shared lock keeps it there."""

    volume_id: str
    size_gib: int
    source_type: str | None = None
    source_id: str | None = None


class DeleteVolume(msgspec.Struct, frozen=True, kw_only=True):
    """Payload of `delete_volume`: the volume, and with `cascade` the snapshots that go first."""

    volume_id: str
    snapshot_ids: list[str] = []
    forced: bool = False


_FOREIGN = (
    select(snapshots.c.id)
    .where(
        snapshots.c.volume_id == bindparam("volume"),
        snapshots.c.tombstone.is_(False),
        snapshots.c.project_id != bindparam("project"),
    )
    .limit(1)
)

# --- transitions ----------------------------------------------------------------------------------------------------

# As Cinder has it: what was never wholly managed is not simply deleting.
_DOOM: Final = case((volumes.c.status == states.ERROR_MANAGING, states.ERROR_MANAGING_DELETING), else_=states.DELETING)
_DELETING: Final = {"status": _DOOM, "previous_status": volumes.c.status, "updated_at_us": new("now_us")}
_TO_DELETING: Final = (
    *((status, states.DELETING) for status in DELETABLE if status != states.ERROR_MANAGING),
    (states.ERROR_MANAGING, states.ERROR_MANAGING_DELETING),
)
_ANY_TO_DELETING: Final = ((None, states.DELETING), (states.ERROR_MANAGING, states.ERROR_MANAGING_DELETING))
_AWAY: Final = equals(snapshots.c.replication_status, states.NOT_CAPABLE)

DELETE = Transition(
    volumes,
    name="volume.delete",
    musts=(
        UNATTACHED,
        attached.UNCONNECTED,
        IN_NO_GROUP,
        NOT_MIGRATING,
        MAY_BE_DELETED,
        NOT_LEFT_BEHIND,
        NO_SNAPSHOTS,
    ),
    sets=_DELETING,
    moves=_TO_DELETING,
)
# What the deletion of a group asks of each volume in it, and does to it.
DELETE_WITH_GROUP = Transition(
    volumes,
    name="volume.delete_with_group",
    musts=(
        UNATTACHED,
        attached.UNCONNECTED,
        NOT_MIGRATING,
        MAY_BE_DELETED,
        NOT_LEFT_BEHIND,
        NO_SNAPSHOTS,
        WHOLLY_MANAGED,
    ),
    sets=_DELETING,
    moves=_TO_DELETING,
)
DELETE_CASCADE = Transition(
    volumes,
    name="volume.delete_cascade",
    musts=(
        UNATTACHED,
        attached.UNCONNECTED,
        IN_NO_GROUP,
        OF_NO_GROUP_SNAPSHOT,
        NOT_MIGRATING,
        MAY_BE_DELETED,
        NOT_LEFT_BEHIND,
        Must(
            has_no(SNAPSHOTS_OF.where(or_(snapshots.c.status.not_in(SNAPSHOT_DELETABLE), _AWAY)), of=volumes),
            "Volume {id} has snapshots that are neither available nor in error, or not on the storage in use; wait for them.",
        ),
        NONE_HALF_MANAGED,
    ),
    sets=_DELETING,
    moves=_TO_DELETING,
)
FORCE_DELETE = Transition(
    volumes,
    name="volume.force_delete",
    musts=(UNATTACHED, attached.UNCONNECTED, IN_NO_GROUP, NO_SNAPSHOTS),
    sets=_DELETING,
    moves=_ANY_TO_DELETING,
)
FORCE_DELETE_CASCADE = Transition(
    volumes,
    name="volume.force_delete_cascade",
    musts=(UNATTACHED, attached.UNCONNECTED, IN_NO_GROUP, OF_NO_GROUP_SNAPSHOT, NONE_HALF_MANAGED),
    sets=_DELETING,
    moves=_ANY_TO_DELETING,
)
# What a deletion with cascade does to the snapshots; whether it may, the volume's transition has asked.
DOOMED = Transition(
    snapshots,
    name="snapshot.doomed",
    musts=(),
    sets={"status": states.DELETING, "previous_status": snapshots.c.status},
    moves=tuple((status, states.DELETING) for status in SNAPSHOT_DELETABLE),
)
DOOMED_BY_FORCE = Transition(
    snapshots, name="snapshot.doomed_by_force", musts=(), sets=DOOMED.sets, moves=((None, states.DELETING),)
)
BE_CLONED = Transition(
    volumes,
    name="volume.be_cloned",
    musts=(
        Must(
            is_in(volumes.c.status, (states.AVAILABLE, states.IN_USE)),
            "Source volume {id} has status {status}; it must be available or in-use to be copied.",
        ),
        at_rest(volumes),
        Must(
            differs(volumes.c.object_name, None),
            "Source volume {id} has no storage: its creation has failed, whatever its status was reset to.",
        ),
        Must(
            volumes.c.size_gib <= new("size_gib"),
            "The new volume's size of {size_gib} GiB is smaller than its source's; it must be at least as large.",
        ),
    ),
    sets={},
)
BE_SOURCE = Transition(
    snapshots,
    name="snapshot.be_source",
    musts=(
        Must(
            equals(snapshots.c.status, states.AVAILABLE),
            "Snapshot {id} has status {status}; it must be available to make a volume from it.",
        ),
        at_rest(snapshots),
        Must(
            differs(snapshots.c.object_name, None),
            "Snapshot {id} has no storage: its creation has failed, whatever its status was reset to.",
        ),
        Must(
            snapshots.c.size_gib <= new("size_gib"),
            "The new volume's size of {size_gib} GiB is smaller than the snapshot's; it must be at least as large.",
        ),
    ),
    sets={},
)
CREATED = Transition(
    volumes,
    name="volume.created",
    musts=(),
    sets={"status": states.AVAILABLE},
    moves=((states.CREATING, states.AVAILABLE),),
)
CREATE_FAILED = Transition(
    volumes,
    name="volume.create_failed",
    musts=(),
    sets={"status": states.ERROR},
    # `available` without an object would be two truths: a creation that was cut short by a reset ends in error as well.
    moves=((states.CREATING, states.ERROR), (states.AVAILABLE, states.ERROR)),
)
DELETE_FAILED = Transition(
    volumes,
    name="volume.delete_failed",
    musts=(),
    sets={"status": states.ERROR_DELETING},
    # From any status: a reset in the meantime cannot make a volume whole of which a part may be gone.
    moves=((None, states.ERROR_DELETING),),
)
DELETE_CANCELLED = Transition(
    volumes,
    name="volume.delete_cancelled",
    musts=(),
    sets={"status": states.ERROR_DELETING},
    moves=((states.DELETING, states.ERROR_DELETING), (states.ERROR_MANAGING_DELETING, states.ERROR_DELETING)),
)
SNAPSHOT_DELETE_CANCELLED = Transition(
    snapshots,
    name="snapshot.delete_cancelled",
    musts=(),
    sets={"status": states.ERROR_DELETING},
    moves=((states.DELETING, states.ERROR_DELETING),),
)
SNAPSHOT_DELETE_FAILED = Transition(
    snapshots,
    name="snapshot.delete_failed",
    musts=(),
    sets={"status": states.ERROR_DELETING},
    moves=((None, states.ERROR_DELETING),),
)

# --- create ---------------------------------------------------------------------------------------------------------


def begin_create(tx: Connection, *, origin: Origin, wanted: NewVolume, quota_defaults: Mapping[str, int]) -> Accepted:
    """Accept a volume: empty, from a snapshot, or from another volume.

    Raises NotFound (source, type), BadRequest (no size), InvalidState (source), OverQuota. When no pool can take it the
    request is accepted all the same: the volume appears in `error`, with a message that says why.
    """
    source_table, source_id = _source_of(wanted)
    guess = None if source_table is None else read_seen(tx, source_table, source_id, origin=origin)
    type_id = type_of(tx, wanted, guess, origin)["id"]
    # Before the rows are ours, for which others wait: what of it changes decides by its own columns, or may be a moment old.
    pools = allocate.read_pools(tx)
    largest_gib = quotas.largest_volume(tx, origin.project_id, defaults=quota_defaults)
    hints = read_hints(tx, wanted.scheduler_hints, origin=origin)
    decided_on = [(volume_types, type_id)] + ([] if source_table is None else [(source_table, source_id)])
    group_members.lock_for_creation(tx, wanted, decided_on, of=source_id, origin=origin)
    source = None if source_table is None else read_row(tx, source_table, source_id)
    volume_type = type_of(tx, wanted, source, origin)
    if volume_type["id"] != type_id:
        raise Contended("the type was renamed, or the source retyped, before the rows were ours")
    refuse_encrypted(volume_type)
    refuse_frozen(tx, source)
    size_gib = _size(wanted, source)
    if source_table is volumes:
        BE_CLONED.check_locked(tx, source_id, size_gib=size_gib)
    elif source_table is snapshots:
        BE_SOURCE.check_locked(tx, source_id, size_gib=size_gib)
    zone, among = group_members.check_join(tx, wanted, type_id=type_id, pools=pools, source=source)

    wish = Wish(
        size_gib=size_gib,
        availability_zone=zone,
        extra_specs=msgspec.json.decode(volume_type["extra_specs_json"]),
        pool_name=None if source is None else source["pool_name"],
        hints=hints,
    )
    pool, why_not = allocate.place(tx, wish, among=among)
    quotas.refuse_larger(size_gib, largest_gib)
    deltas = quotas.volume_deltas(volumes=1, gib=size_gib, type_id=type_id)
    quotas.charge(tx, origin.project_id, deltas, defaults=quota_defaults)

    row = new_row(wanted, origin, size_gib=size_gib, volume_type=volume_type, source=source, pool=pool)
    insert_row(tx, volumes, row)
    row["volume_type_name"] = volume_type["name"]
    if pool is None:
        return placed_nowhere(tx, row, why_not, origin=origin)
    _enqueue_create(tx, origin, row, pool, source_table=source_table, source=source)
    return Accepted(pool.queue, row)


def _enqueue_create(
    tx: Connection,
    origin: Origin,
    row: Mapping[str, Any],
    pool: Pool,
    *,
    source_table: Table | None,
    source: Mapping[str, Any] | None,
) -> None:
    payload = CreateVolume(
        volume_id=row["id"],
        size_gib=row["size_gib"],
        source_type=None if source_table is None else str(source_table.name),
        source_id=None if source is None else source["id"],
    )
    locks = [queue.exclusive(row)] + ([] if source is None else [queue.shared(source)])
    queue.enqueue(tx, kinds.job("create_volume", pool.queue, "volume", row["id"], payload), origin=origin, locks=locks)


def finish_create(tx: Connection, claim: Claim, payload: CreateVolume, state: dict[str, Any], *, now_us: int) -> None:
    """The volume's object is whole: publish it."""
    lock_row(tx, volumes, payload.volume_id)
    queue.close(tx, claim, outcome="done", detail=None, now_us=now_us)
    settle(tx, CREATED, payload.volume_id, also={"object_name": state["object"], "updated_at_us": now_us})
    clear_tombstones(tx, claim)


def fail_create(
    tx: Connection, claim: Claim, payload: CreateVolume, state: dict[str, Any], *, failure: Failure, now_us: int
) -> None:
    """The volume stays, in `error`, charged as any other, until its owner deletes it."""
    lock_row(tx, volumes, payload.volume_id)
    queue.close(tx, claim, outcome=failure.outcome, detail=failure.message, now_us=now_us)
    if settle(tx, CREATE_FAILED, payload.volume_id):
        message_for_failure(tx, claim, event="create_volume", text=failure.message, now_us=now_us)
    tell_the_truth(tx, claim)
    clear_tombstones(tx, claim)


# --- delete ---------------------------------------------------------------------------------------------------------


def begin_delete(tx: Connection, *, origin: Origin, volume_id: VolumeId, cascade: bool) -> Accepted:
    """Accept a delete. Raises NotFound, InvalidState."""
    return _begin_delete(tx, DELETE_CASCADE if cascade else DELETE, origin, volume_id, cascade=cascade)


def begin_force_delete(tx: Connection, *, origin: Origin, volume_id: VolumeId, cascade: bool) -> Accepted:
    """Accept a delete whatever the status. What is under way on the volume is cancelled, and the delete waits behind it."""
    return _begin_delete(
        tx, FORCE_DELETE_CASCADE if cascade else FORCE_DELETE, origin, volume_id, cascade=cascade, force=True
    )


def _begin_delete(
    tx: Connection, transition: Transition, origin: Origin, volume_id: str, *, cascade: bool, force: bool = False
) -> Accepted:
    if cascade:
        read_seen(tx, volumes, volume_id, origin=origin)
    doomed = _snapshot_ids(tx, volume_id) if cascade else []
    together = [(volumes, volume_id), *((snapshots, snapshot_id) for snapshot_id in doomed)]
    lock_rows(tx, together, origin=origin, asked_for=volume_id)
    if cascade and doomed != _snapshot_ids(tx, volume_id):
        raise Contended("a snapshot came or went before the volume's row was ours")
    refuse_frozen(tx, read_row(tx, volumes, volume_id))
    row = transition.apply_locked(tx, volume_id, now_us=origin.at_us)
    if doomed and not origin.is_admin:
        _refuse_foreign(tx, volume_id, origin)
    if force:
        for resource_id in (volume_id, *doomed):
            queue.cancel_earlier(tx, resource_id=resource_id)
    for snapshot_id in doomed:
        (DOOMED_BY_FORCE if force else DOOMED).apply_locked(tx, snapshot_id)
    if row["pool_name"] is None:
        # It never had a place on any storage: there is nothing that an operation could do.
        _forget(tx, volumes, row)
        return Accepted(None, row)
    locks = [queue.exclusive(row)] + [queue.exclusive(_locked(tx, snapshots, snapshot_id)) for snapshot_id in doomed]
    payload = DeleteVolume(volume_id=volume_id, snapshot_ids=doomed, forced=force)
    # What may still be somebody's file is given back instead.
    kind = "delete_volume" if row["managed_from"] is None else "unmanage_volume"
    job = kinds.job(kind, queue_of(row["pool_name"]), "volume", volume_id, payload)
    queue.enqueue(tx, job, origin=origin, locks=locks)
    return Accepted(job.queue, row)


def _refuse_foreign(tx: Connection, volume_id: str, origin: Origin) -> None:
    """What stayed with who gave the volume away goes by their word only. Raises InvalidState."""
    if tx.execute(_FOREIGN, {"volume": volume_id, "project": origin.project_id}).first() is not None:
        raise InvalidState(
            f"Volume {volume_id} has snapshots that belong to another project, since it was transferred without them; "
            "it can be deleted when that project has deleted them."
        )


def finish_delete(tx: Connection, claim: Claim, payload: DeleteVolume, state: dict[str, Any], *, now_us: int) -> None:
    """Nothing is left on storage: rows, accounts and allocation go."""
    doomed = [(snapshots, snapshot_id) for snapshot_id in payload.snapshot_ids]
    doomed += [(attachments, attachment_id) for attachment_id in attached.ids_of(tx, payload.volume_id)]
    lock_rows(tx, [(volumes, payload.volume_id), *doomed])
    queue.close(tx, claim, outcome="done", detail=None, now_us=now_us)
    for snapshot_id in payload.snapshot_ids:
        _forget(tx, snapshots, _locked(tx, snapshots, snapshot_id))
    _forget(tx, volumes, _locked(tx, volumes, payload.volume_id))
    clear_tombstones(tx, claim)


def fail_delete(
    tx: Connection, claim: Claim, payload: DeleteVolume, state: dict[str, Any], *, failure: Failure, now_us: int
) -> None:
    """The storage would not let go: the volume stays, in `error_deleting`, and can be deleted again."""
    doomed = [(snapshots, snapshot_id) for snapshot_id in payload.snapshot_ids]
    lock_rows(tx, [(volumes, payload.volume_id), *doomed])
    queue.close(tx, claim, outcome=failure.outcome, detail=failure.message, now_us=now_us)
    begun = failure.outcome != "cancelled"  # a cancelled one has not touched the storage
    for snapshot_id in payload.snapshot_ids:
        settle(tx, SNAPSHOT_DELETE_FAILED if begun else SNAPSHOT_DELETE_CANCELLED, snapshot_id)
    if settle(tx, DELETE_FAILED if begun else DELETE_CANCELLED, payload.volume_id):
        message_for_failure(tx, claim, event="delete_volume", text=failure.message, now_us=now_us)
    tell_the_truth(tx, claim)
    clear_tombstones(tx, claim)


# --- helpers --------------------------------------------------------------------------------------------------------


def forget_volume(tx: Connection, volume: Mapping[str, Any]) -> None:
    """Remove a volume's row, accounts and allocation, in a transaction that holds its lock."""
    _forget(tx, volumes, volume)


def forget_snapshot(tx: Connection, snapshot: Mapping[str, Any]) -> None:
    """Remove a snapshot's row, accounts and allocation, in a transaction that holds its lock."""
    _forget(tx, snapshots, snapshot)


def _forget(tx: Connection, table: Any, row: Mapping[str, Any]) -> None:
    if table is volumes:
        attached.remove_all(tx, row["id"])
        forget_offers(tx, volume_id=row["id"])  # an operator may have reset it while it awaited its transfer
    vanish(tx, table, row["id"])
    if row["tombstone"]:
        return  # its accounts were settled when it became one
    if row["pool_name"] is not None:
        allocate.record(tx, row["pool_name"], -row["charged_gib"])
    type_id = row["charged_type_id"]
    if table is volumes:
        quotas.refund(tx, row["project_id"], quotas.volume_deltas(volumes=1, gib=row["charged_gib"], type_id=type_id))
    else:
        deltas = quotas.snapshot_deltas(snapshots=1, gib=row["charged_gib"], type_id=type_id)
        quotas.refund(tx, row["project_id"], deltas)


def _locked(tx: Connection, table: Any, row_id: str) -> dict[str, Any]:
    row = read_row(tx, table, row_id)
    assert row is not None, f"{table.name} {row_id} is named by a lock, so its row is there"
    return row


def _snapshot_ids(tx: Connection, volume_id: str) -> list[str]:
    alive = select(snapshots.c.id).where(snapshots.c.volume_id == volume_id, snapshots.c.tombstone.is_(False))
    return sorted(tx.execute(alive).scalars())


def _source_of(wanted: NewVolume) -> tuple[Any, str]:
    if wanted.snapshot_id is not None:
        return snapshots, wanted.snapshot_id
    if wanted.source_volid is not None:
        return volumes, wanted.source_volid
    return None, ""


def _size(wanted: NewVolume, source: Mapping[str, Any] | None) -> int:
    if wanted.size_gib is not None:
        return wanted.size_gib
    if source is None:
        raise BadRequest("A new volume without a source needs a size in GiB.")
    return int(source["size_gib"])
