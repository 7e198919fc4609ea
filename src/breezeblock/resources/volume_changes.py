"""Volumes: extend, revert to a snapshot, retype, and an operator's reset of the status."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, select

from breezeblock.model import states
from breezeblock.model.errors import BadRequest, Conflict, Contended, InvalidState
from breezeblock.model.ids import SnapshotId, VolumeId
from breezeblock.model.origin import Origin
from breezeblock.placement import allocate
from breezeblock.placement.choose import Pool, Wish
from breezeblock.protocol import queue
from breezeblock.protocol.queue import Claim
from breezeblock.protocol.steps import Failure
from breezeblock.resources import connections, kinds, moves, quotas, types
from breezeblock.resources.accepted import (
    Accepted,
    at_rest,
    clear_tombstones,
    message_for_failure,
    message_for_request,
    queue_of,
    refuse_a_lie,
    settle,
    tell_the_truth,
)
from breezeblock.resources.attached import AS_BEFORE, AS_BEFORE_WORDS, UNCONNECTED, of_volume, refuse_a_false_word
from breezeblock.resources.backends import refuse_frozen
from breezeblock.resources.charges import restore_charge
from breezeblock.resources.qos_specs import refuse_other_limits
from breezeblock.resources.type_encryption import why_no_retype
from breezeblock.resources.volume_conditions import NOT_MIGRATING, PLACED
from breezeblock.store.tables import attachments, snapshots, volume_types, volumes
from breezeblock.store.transitions import (
    Must,
    Transition,
    change_row,
    differs,
    equals,
    is_in,
    lock_row,
    lock_rows,
    new,
    read_row,
    read_seen,
)


class ExtendVolume(msgspec.Struct, frozen=True, kw_only=True):
    """Payload of `extend_volume`. Sizes in GiB."""

    volume_id: str
    size_gib_new: int


class RevertVolume(msgspec.Struct, frozen=True, kw_only=True):
    """Payload of `revert_volume`."""

    volume_id: str
    snapshot_id: str
    size_gib: int


class RetypeVolume(msgspec.Struct, frozen=True, kw_only=True):
    """Payload of `retype_volume`: within its pool, so no data moves."""

    volume_id: str
    type_id_old: str | None
    type_id_new: str


_AT_REST = at_rest(volumes)

EXTEND = Transition(
    volumes,
    name="volume.extend",
    musts=(
        Must(
            equals(volumes.c.status, states.AVAILABLE),
            "Volume {id} has status {status}; it must be available to be extended.",
        ),
        _AT_REST,
        PLACED,
        Must(
            volumes.c.size_gib < new("size_gib_new"),
            "The new size of {size_gib_new} GiB must be greater than the current size of {size_gib} GiB.",
            error=BadRequest,
        ),
    ),
    sets={
        "status": states.EXTENDING,
        "previous_status": volumes.c.status,
        "charged_gib": new("size_gib_new"),
        "updated_at_us": new("now_us"),
    },
    moves=((states.AVAILABLE, states.EXTENDING),),
)
# Whoever has it attached goes on using it, where its backend lets a volume grow so.
EXTEND_IN_USE = Transition(
    volumes,
    name="volume.extend_in_use",
    musts=(
        Must(
            is_in(volumes.c.status, (states.AVAILABLE, states.IN_USE)),
            "Volume {id} has status {status}; it must be available or in-use to be extended.",
        ),
        *EXTEND.musts[1:],
    ),
    sets=EXTEND.sets,
    moves=((states.AVAILABLE, states.EXTENDING), (states.IN_USE, states.EXTENDING)),
)
EXTENDED = Transition(
    volumes,
    name="volume.extended",
    musts=(),
    sets={"status": AS_BEFORE},
    moves=tuple((states.EXTENDING, status) for status in AS_BEFORE_WORDS),
)
EXTEND_FAILED = Transition(
    volumes,
    name="volume.extend_failed",
    musts=(),
    sets={"status": states.ERROR_EXTENDING},
    moves=((states.EXTENDING, states.ERROR_EXTENDING),),
)
REVERT = Transition(
    volumes,
    name="volume.revert",
    musts=(
        Must(
            equals(volumes.c.status, states.AVAILABLE),
            "Volume {id} has status {status}; it must be available to be reverted.",
            error=Conflict,
        ),
        _AT_REST,
        PLACED,
        UNCONNECTED,
    ),
    sets={"status": states.REVERTING, "previous_status": volumes.c.status, "updated_at_us": new("now_us")},
    moves=((states.AVAILABLE, states.REVERTING),),
)
RESTORE = Transition(
    snapshots,
    name="snapshot.restore",
    musts=(
        Must(
            equals(snapshots.c.status, states.AVAILABLE),
            "Snapshot {id} has status {status}; it must be available to revert its volume to it.",
            error=Conflict,
        ),
        at_rest(snapshots),
    ),
    sets={"status": states.RESTORING, "previous_status": snapshots.c.status},
    moves=((states.AVAILABLE, states.RESTORING),),
)
REVERTED = Transition(
    volumes,
    name="volume.reverted",
    musts=(),
    sets={"status": states.AVAILABLE},
    moves=((states.REVERTING, states.AVAILABLE),),
)
REVERT_FAILED = Transition(
    volumes,
    name="volume.revert_failed",
    musts=(),
    sets={"status": states.ERROR},
    moves=((states.REVERTING, states.ERROR),),
)
RESTORED = Transition(
    snapshots,
    name="snapshot.restored",
    musts=(),
    sets={"status": states.AVAILABLE},
    moves=((states.RESTORING, states.AVAILABLE),),
)
RETYPE = Transition(
    volumes,
    name="volume.retype",
    musts=(
        Must(
            is_in(volumes.c.status, (states.AVAILABLE, states.IN_USE)),
            "Volume {id} has status {status}; it must be available or in-use to be retyped.",
        ),
        NOT_MIGRATING,
        Must(
            equals(volumes.c.group_id, None),
            "Volume {id} belongs to group {group_id}, which has types of its own; remove it from that to retype it.",
        ),
        _AT_REST,
        PLACED,
        Must(differs(volumes.c.volume_type_id, new("type_id")), "Volume {id} already has this type."),
    ),
    sets={
        "status": states.RETYPING,
        "previous_status": volumes.c.status,
        "charged_type_id": new("type_id"),
        "updated_at_us": new("now_us"),
    },
    moves=((states.AVAILABLE, states.RETYPING), (states.IN_USE, states.RETYPING)),
)
RETYPED = Transition(
    volumes,
    name="volume.retyped",
    musts=(),
    # Not simply the previous status: an operator may have reset this one to `retyping` meanwhile.
    sets={"status": AS_BEFORE},
    moves=tuple((states.RETYPING, status) for status in AS_BEFORE_WORDS),
)
RESET = Transition(
    volumes,
    name="volume.reset_status",
    musts=(),
    sets={"status": new("status"), "previous_status": volumes.c.status, "updated_at_us": new("now_us")},
    moves=tuple((None, status) for status in states.RESETTABLE_VOLUME),
)

# --- extend ---------------------------------------------------------------------------------------------------------


def begin_extend(
    tx: Connection,
    *,
    origin: Origin,
    volume_id: VolumeId,
    size_gib_new: int,
    quota_defaults: quotas.Defaults,
    in_use: bool = False,
) -> Accepted:
    """Accept an extend: status, quota, allocation and operation row, all or none. `in_use`: also of a volume in use.

    Raises NotFound, InvalidState, BadRequest (not larger), OverQuota. When its pool has no room left, the volume stays
    as it is and a message says so: the request is answered as accepted, as clients of this API expect.
    """
    lock_row(tx, volumes, volume_id, origin=origin)
    refuse_frozen(tx, read_row(tx, volumes, volume_id))
    extend = EXTEND_IN_USE if in_use else EXTEND
    row = extend.check_locked(tx, volume_id, size_gib_new=size_gib_new, now_us=origin.at_us)
    if row["status"] == states.IN_USE:
        allocate.require_capability(tx, row["pool_name"], "online_extend_support", "extend volumes in use")
    more_gib = size_gib_new - row["size_gib"]
    wish = Wish(size_gib=more_gib, availability_zone=None, extra_specs={}, pool_name=row["pool_name"])
    why_not = allocate.fits(tx, row["pool_name"], wish)
    if why_not is None and not allocate.allocate(tx, row["pool_name"], more_gib):
        why_not = "just filled up"
    if why_not is not None:
        text = f"The volume cannot grow to {size_gib_new} GiB: pool {row['pool_name']} {why_not}."
        message_for_request(
            tx, origin=origin, resource_type="volume", resource_id=volume_id, event="extend_volume", text=text
        )
        return Accepted(None, row)
    quotas.check_volume_size(tx, row["project_id"], size_gib_new, defaults=quota_defaults)
    deltas = quotas.volume_deltas(volumes=0, gib=more_gib, type_id=row["charged_type_id"])
    quotas.charge(tx, row["project_id"], deltas, defaults=quota_defaults)
    changed = extend.apply_locked(tx, volume_id, size_gib_new=size_gib_new, now_us=origin.at_us)
    payload = ExtendVolume(volume_id=volume_id, size_gib_new=size_gib_new)
    job = kinds.job("extend_volume", queue_of(row["pool_name"]), "volume", volume_id, payload)
    queue.enqueue(tx, job, origin=origin, locks=(queue.exclusive(changed),))
    return Accepted(job.queue, changed)


def finish_extend(tx: Connection, claim: Claim, payload: ExtendVolume, state: dict[str, Any], *, now_us: int) -> None:
    """The object has its new size."""
    lock_row(tx, volumes, payload.volume_id)
    queue.close(tx, claim, outcome="done", detail=None, now_us=now_us)
    change_row(tx, volumes, payload.volume_id, size_gib=payload.size_gib_new, updated_at_us=now_us)
    settle(tx, EXTENDED, payload.volume_id)
    clear_tombstones(tx, claim)


def fail_extend(
    tx: Connection, claim: Claim, payload: ExtendVolume, state: dict[str, Any], *, failure: Failure, now_us: int
) -> None:
    """The volume keeps its size, and what was charged for the rest is given back."""
    lock_row(tx, volumes, payload.volume_id)
    queue.close(tx, claim, outcome=failure.outcome, detail=failure.message, now_us=now_us)
    restore_charge(tx, payload.volume_id)
    if settle(tx, EXTEND_FAILED, payload.volume_id):
        message_for_failure(tx, claim, event="extend_volume", text=failure.message, now_us=now_us)
    tell_the_truth(tx, claim)
    clear_tombstones(tx, claim)


# --- revert ---------------------------------------------------------------------------------------------------------


def begin_revert(tx: Connection, *, origin: Origin, volume_id: VolumeId, snapshot_id: SnapshotId) -> Accepted:
    """Accept a revert to the volume's latest snapshot. Raises NotFound, BadRequest (not the latest), Conflict (status)."""
    read_seen(tx, volumes, volume_id, origin=origin)  # NotFound comes before anything else about the volume
    if (latest := _latest_snapshot(tx, volume_id)) is None:
        raise BadRequest(f"Volume {volume_id} has no snapshots.")
    lock_rows(tx, [(volumes, volume_id), (snapshots, latest["id"])], origin=origin, asked_for=volume_id)
    latest = _latest_snapshot(tx, volume_id)  # again: nobody can change it now
    # One that stayed with who gave the volume away is none that this caller knows of.
    seen = latest is not None and (origin.is_admin or latest["project_id"] == origin.project_id)
    if latest is None or latest["id"] != snapshot_id or not seen:
        raise BadRequest(f"Snapshot {snapshot_id} is not the latest one of volume {volume_id}.")
    refuse_frozen(tx, read_row(tx, volumes, volume_id))
    row = REVERT.apply_locked(tx, volume_id, now_us=origin.at_us)
    snapshot = RESTORE.apply_locked(tx, snapshot_id)
    if row["size_gib"] != snapshot["size_gib"]:
        raise BadRequest(
            f"Volume {volume_id} has {row['size_gib']} GiB and its snapshot {snapshot['size_gib']} GiB; "
            "a volume that was extended since cannot be reverted."
        )
    payload = RevertVolume(volume_id=volume_id, snapshot_id=snapshot_id, size_gib=row["size_gib"])
    job = kinds.job("revert_volume", queue_of(row["pool_name"]), "volume", volume_id, payload)
    # Exclusive on the snapshot, too: its status is ours until the end, so nobody else may close it meanwhile.
    queue.enqueue(tx, job, origin=origin, locks=(queue.exclusive(row), queue.exclusive(snapshot)))
    return Accepted(job.queue, row)


def publish_reverted(tx: Connection, *, volume_id: str, object_name: str, now_us: int) -> None:
    """From here on the volume is the copy of the snapshot; the old object may go. Runs inside a step.

    Wherever the old one is, the new one is on the storage in use: the volume is not left behind by a failover any more.
    """
    lock_row(tx, volumes, volume_id)
    change_row(tx, volumes, volume_id, object_name=object_name, replication_status=None, updated_at_us=now_us)


def finish_revert(tx: Connection, claim: Claim, payload: RevertVolume, state: dict[str, Any], *, now_us: int) -> None:
    """The new object is published and the old one is gone."""
    lock_rows(tx, ((volumes, payload.volume_id), (snapshots, payload.snapshot_id)))
    queue.close(tx, claim, outcome="done", detail=None, now_us=now_us)
    settle(tx, REVERTED, payload.volume_id)
    settle(tx, RESTORED, payload.snapshot_id)
    clear_tombstones(tx, claim)


def fail_revert(
    tx: Connection, claim: Claim, payload: RevertVolume, state: dict[str, Any], *, failure: Failure, now_us: int
) -> None:
    """The volume is what it was, or what the snapshot is, never a mixture; it ends in `error` for somebody to look at."""
    lock_rows(tx, ((volumes, payload.volume_id), (snapshots, payload.snapshot_id)))
    queue.close(tx, claim, outcome=failure.outcome, detail=failure.message, now_us=now_us)
    settle(tx, RESTORED, payload.snapshot_id)
    if settle(tx, REVERT_FAILED, payload.volume_id):
        message_for_failure(tx, claim, event="revert_volume", text=failure.message, now_us=now_us)
    tell_the_truth(tx, claim)
    clear_tombstones(tx, claim)


def _latest_snapshot(tx: Connection, volume_id: str) -> Mapping[str, Any] | None:
    latest = (
        select(snapshots)
        .where(snapshots.c.volume_id == volume_id, snapshots.c.tombstone.is_(False))
        .order_by(snapshots.c.created_at_us.desc(), snapshots.c.id.desc())
        .limit(1)
    )
    row = tx.execute(latest).mappings().one_or_none()
    return None if row is None else dict(row)


# --- retype ---------------------------------------------------------------------------------------------------------


def begin_retype(
    tx: Connection,
    *,
    origin: Origin,
    volume_id: VolumeId,
    new_type: str,
    migration_policy: str,
    quota_defaults: quotas.Defaults,
    no_multiattach: str | None = None,
) -> Accepted:
    """Accept a change of type: within the volume's pool, or where that does not offer the type, by a move to one that does.

    Raises NotFound, InvalidState, Forbidden (`no_multiattach` says why), OverQuota. Where nothing is found, or a move is
    needed and not wanted (`migration_policy`), the volume keeps its type and a message says so.
    """
    among = allocate.read_pools(tx)
    type_id = types.find_type(tx, name_or_id=new_type, origin=origin)["id"]
    lock_rows(tx, [(volumes, volume_id), (volume_types, type_id)], origin=origin)
    target = read_row(tx, volume_types, type_id)
    assert target is not None, "a locked row is there"
    refuse_frozen(tx, read_row(tx, volumes, volume_id))
    row = RETYPE.check_locked(tx, volume_id, type_id=type_id, now_us=origin.at_us)
    if row["status"] == states.IN_USE:
        refuse_other_limits(tx, volume=row, type_id_new=type_id)
    specs = msgspec.json.decode(target["extra_specs_json"])
    wish = Wish(size_gib=0, availability_zone=None, extra_specs=specs, pool_name=row["pool_name"])
    types.refuse_other_multiattach(specs, volume=row, why_not=no_multiattach)
    never = why_no_retype(tx, type_id_old=row["volume_type_id"], target=target)
    pool, why_not = None, never or allocate.fits(tx, row["pool_name"], wish)
    if why_not is not None:
        text = f"The volume keeps its type: pool {row['pool_name']} {why_not}, and its data is not moved"
        if never is None and migration_policy == "on-demand":
            pool, why_not = _elsewhere(tx, row, specs, among)
            text += f". {why_not}"
        else:
            text += f" (migration policy '{migration_policy}')."
    if why_not:
        message_for_request(tx, origin=origin, resource_type="volume", resource_id=volume_id, event="retype", text=text)
        return Accepted(None, row)
    before = quotas.volume_deltas(volumes=1, gib=row["charged_gib"], type_id=row["charged_type_id"])
    after = quotas.volume_deltas(volumes=1, gib=row["charged_gib"], type_id=type_id)
    quotas.charge(tx, row["project_id"], quotas.difference(after, before), defaults=quota_defaults)
    moving = {} if pool is None else {"target_pool_name": pool.name, "migration_status": moves.STARTING}
    changed = RETYPE.apply_locked(tx, volume_id, type_id=type_id, now_us=origin.at_us, also=moving)
    if pool is not None:
        return moves.enqueue(tx, changed, origin=origin, pool=pool, type_id_new=type_id)
    payload = RetypeVolume(volume_id=volume_id, type_id_old=row["volume_type_id"], type_id_new=type_id)
    job = kinds.job("retype_volume", queue_of(row["pool_name"]), "volume", volume_id, payload)
    queue.enqueue(tx, job, origin=origin, locks=(queue.exclusive(changed),))
    return Accepted(job.queue, changed)


def _elsewhere(
    tx: Connection, row: Mapping[str, Any], specs: Mapping[str, str], among: Sequence[Pool]
) -> tuple[Pool | None, str]:
    """A pool on another backend that offers a type and has promised room, or the reasons why there is none."""
    if row["status"] == states.IN_USE:
        raise InvalidState(
            f"Volume {row['id']} is in use, and its new type needs a move to another backend, which needs the compute service; "
            "none is configured here. Detach it first."
        )
    if (why_bound := moves.why_bound(tx, row)) is not None:
        return None, why_bound
    return moves.place(tx, row, specs=specs, among=among)


def finish_retype(tx: Connection, claim: Claim, payload: RetypeVolume, state: dict[str, Any], *, now_us: int) -> None:
    """The volume has its new type; it has been charged for it since the request."""
    lock_row(tx, volumes, payload.volume_id)
    queue.close(tx, claim, outcome="done", detail=None, now_us=now_us)
    new_type = read_row(tx, volume_types, payload.type_id_new)
    assert new_type is not None, "a type that a volume is charged for stays, as do its extra specs"
    multiattach = types.is_multiattach(msgspec.json.decode(new_type["extra_specs_json"]))
    values = {"volume_type_id": payload.type_id_new, "multiattach": multiattach, "updated_at_us": now_us}
    change_row(tx, volumes, payload.volume_id, **values)
    settle(tx, RETYPED, payload.volume_id)
    clear_tombstones(tx, claim)


def fail_retype(
    tx: Connection, claim: Claim, payload: RetypeVolume, state: dict[str, Any], *, failure: Failure, now_us: int
) -> None:
    """The volume keeps its old type, and its charge goes back to it."""
    lock_row(tx, volumes, payload.volume_id)
    queue.close(tx, claim, outcome=failure.outcome, detail=failure.message, now_us=now_us)
    restore_charge(tx, payload.volume_id)
    if settle(tx, RETYPED, payload.volume_id):
        message_for_failure(tx, claim, event="retype", text=failure.message, now_us=now_us)
    tell_the_truth(tx, claim)
    clear_tombstones(tx, claim)


# --- reset ----------------------------------------------------------------------------------------------------------


def reset_status(
    tx: Connection,
    *,
    origin: Origin,
    volume_id: VolumeId,
    status: str | None,
    attach_status: str | None,
    migration_status: str | None,
) -> Accepted:
    """An operator's word about a volume. Operations under way on it are cancelled: the last word wins, there is one truth.

    Detached means that every attachment goes, and whoever is connected is disconnected.

    Raises NotFound, BadRequest (in-use, but not attached), InvalidState (it has no storage; its attachments say otherwise).
    """
    held = [(attachments, row["id"]) for row in of_volume(tx, volume_id)] if attach_status == states.DETACHED else []
    lock_rows(tx, [(volumes, volume_id), *held], origin=origin, asked_for=volume_id)
    there = read_row(tx, volumes, volume_id)
    assert there is not None, "a locked row is there"
    if status == states.IN_USE and (attach_status or there["attach_status"]) != "attached":
        raise BadRequest(f"Volume {volume_id} is not attached, so it cannot be reset to in-use.")
    refuse_a_false_word(tx, volume_id, attach_status)
    if status is not None:
        refuse_a_lie(tx, volumes, there, status)
    rung = None
    rows = of_volume(tx, volume_id) if attach_status == states.DETACHED else []
    if len(rows) != len(held):
        raise Contended("an attachment came before the volume's row was ours")
    if rows:
        rung = connections.begin_removal(tx, origin=origin, volume=there, rows=rows)
    if status is not None:
        queue.cancel_earlier(tx, resource_id=volume_id)
        RESET.apply_locked(tx, volume_id, status=status, now_us=origin.at_us)
    values: dict[str, str | None] = {}
    if attach_status is not None:
        values["attach_status"] = attach_status
    if migration_status is not None:
        if migration_status in moves.ENDING:
            moves.cancel(tx, volume_id=volume_id)
        values["migration_status"] = None if migration_status == "none" else migration_status
    if values:
        change_row(tx, volumes, volume_id, **values)
    row = read_row(tx, volumes, volume_id)
    assert row is not None, "a locked row is there"
    return Accepted(rung, row)
