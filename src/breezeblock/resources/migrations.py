"""Volumes: moving one to another backend, and how that ends. What a retype shares with it is in `moves.py`."""

import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, bindparam, select, update

from breezeblock.model import states
from breezeblock.model.errors import BackendFailed, BadRequest, Cancelled, InvalidState, NotFound
from breezeblock.model.ids import MessageId, OperationId, ProjectId, UserId, VolumeId
from breezeblock.model.origin import Origin
from breezeblock.placement import allocate
from breezeblock.placement.choose import Pool
from breezeblock.protocol import queue
from breezeblock.protocol.queue import Claim
from breezeblock.protocol.steps import Failure
from breezeblock.resources import attached, moves, strays, types
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
from breezeblock.resources.backends import NAMESPACE, in_use, refuse_frozen
from breezeblock.resources.charges import restore_charge
from breezeblock.resources.moves import MigrateVolume
from breezeblock.resources.services import list_services
from breezeblock.resources.volume_changes import RETYPED
from breezeblock.store.tables import operation_locks, operations, pools, volume_types, volumes
from breezeblock.store.transitions import (
    Must,
    Transition,
    change_row,
    differs,
    equals,
    lock_row,
    new,
    read_row,
)

MIGRATE: Final = Transition(
    volumes,
    name="volume.migrate",
    musts=(
        Must(
            equals(volumes.c.status, states.AVAILABLE),
            "Volume {id} has status {status}; it must be available to be migrated.",
        ),
        moves.NOT_MIGRATING,
        attached.UNCONNECTED,
        moves.IN_NO_GROUP,
        at_rest(volumes),
        Must(
            differs(volumes.c.object_name, None),
            "Volume {id} has no storage: its creation has not finished or has failed.",
        ),
        moves.NO_SNAPSHOTS,
    ),
    sets={
        "status": new("meanwhile"),
        "previous_status": volumes.c.status,
        "migration_status": moves.STARTING,
        "target_pool_name": new("pool_name"),
        "updated_at_us": new("now_us"),
    },
    moves=((states.AVAILABLE, states.MAINTENANCE),),
)
MIGRATED: Final = Transition(
    volumes,
    name="volume.migrated",
    musts=(),
    sets={"status": states.AVAILABLE},
    moves=((states.MAINTENANCE, states.AVAILABLE),),
)


# --- begin ----------------------------------------------------------------------------------------------------------


def begin_migrate(
    tx: Connection, *, origin: Origin, volume_id: VolumeId, destination: str, lock_volume: bool
) -> Accepted:
    """Accept a migration: status, allocation and operation row, all or none. `destination` is a backend or pool, by its name.

    Raises NotFound, BadRequest (no such destination), InvalidState. When the destination cannot take it, the volume stays as
    it is, with migration status `error` and a message: the request is answered as accepted, as clients of this API expect.
    """
    among = allocate.read_pools(tx)
    lock_row(tx, volumes, volume_id, origin=origin)
    at = _destination(tx, destination, among)
    row = read_row(tx, volumes, volume_id)
    assert row is not None, "a locked row is there"
    refuse_frozen(tx, row)
    meanwhile = states.MAINTENANCE if lock_volume else states.AVAILABLE
    if row["status"] == states.IN_USE:
        raise InvalidState(
            f"Volume {volume_id} is in use; moving it then needs the compute service, and none is configured here. "
            "Detach it first."
        )
    MIGRATE.check_locked(tx, volume_id, meanwhile=meanwhile, pool_name=None, now_us=origin.at_us)
    moves.refuse_replicated(tx, row)
    if at[0].queue == queue_of(row["pool_name"]):
        raise InvalidState(f"Volume {volume_id} is on backend {at[0].queue} already; a migration is to another one.")
    pool, why_not = moves.place(tx, row, specs=_specs_of(tx, row["volume_type_id"]), among=at)
    if pool is None:
        change_row(tx, volumes, volume_id, migration_status=moves.ERROR, updated_at_us=origin.at_us)
        text = f"The volume cannot be moved to {destination}: {why_not}"
        message_for_request(
            tx, origin=origin, resource_type="volume", resource_id=volume_id, event="migrate_volume", text=text
        )
        return Accepted(None, row | {"migration_status": moves.ERROR})
    changed = MIGRATE.apply_locked(tx, volume_id, meanwhile=meanwhile, pool_name=pool.name, now_us=origin.at_us)
    return moves.enqueue(tx, changed, origin=origin, pool=pool, locked=lock_volume)


def _destination(tx: Connection, name: str, among: Sequence[Pool]) -> list[Pool]:
    """The pools that an operator means: `cluster@backend`, with or without `#pool`, or a service of it, `node@backend`.

    Raises BadRequest when no live node serves it, or it takes no volumes.
    """
    whole, _, pool_name = name.partition("#")
    queues = {pool.queue for pool in among}
    if whole not in queues:
        own = list_services(tx, own_cluster="", default_zone="") if "@" in whole else []
        whole = next((one.queue or "" for one in own if one.host == whole and one.up and not one.word.disabled), "")
    found = [pool for pool in among if pool.queue == whole and pool.live and pool.enabled]
    found = [pool for pool in found if pool_name in ("", pool.name.partition("#")[2])]
    if not found:
        raise BadRequest(
            f"No available service named '{name}'; expected a backend or pool that is up, as in the list of pools."
        )
    return found


def _specs_of(tx: Connection, type_id: str | None) -> Mapping[str, str]:
    row = None if type_id is None else read_row(tx, volume_types, type_id)
    return {} if row is None else msgspec.json.decode(row["extra_specs_json"])


# --- what a compute service asks for -----------------------------------------------------------------------------------


def complete(tx: Connection, *, origin: Origin, volume_id: VolumeId, new_volume_id: VolumeId) -> VolumeId:
    """A compute service has copied a volume to another one, and asks which of both ids the data has from now on.

    Where nobody has asked this service to migrate either of them, they stay two volumes. Raises NotFound; InvalidState: no
    migration here ever has a second volume, so there is none that the compute service could end.
    """
    rows = [_seen(tx, id_, origin) for id_ in (volume_id, new_volume_id)]
    if not any(row["migration_status"] for row in rows):
        return new_volume_id
    for row, what in zip(rows, ("Source volume", "Destination volume"), strict=True):
        if not row["migration_status"]:
            raise InvalidState(f"{what} {row['id']} is not in the middle of a migration.")
    raise InvalidState(
        f"Volume {new_volume_id} has migration status {rows[1]['migration_status']}; expected: target:{volume_id}."
    )


def _seen(tx: Connection, volume_id: str, origin: Origin) -> dict[str, Any]:
    """A volume as a request sees it. Raises NotFound."""
    row = read_row(tx, volumes, volume_id)
    if row is None or row["tombstone"] or not (origin.is_admin or row["project_id"] == origin.project_id):
        raise NotFound(f"Volume {volume_id} could not be found.")
    return row


# --- while it runs ----------------------------------------------------------------------------------------------------


def say_migrating(tx: Connection, *, volume_id: str) -> None:
    """Its data is being copied. Runs inside a step."""
    lock_row(tx, volumes, volume_id)
    row = read_row(tx, volumes, volume_id)
    if row is not None and row["migration_status"] == moves.STARTING:
        change_row(tx, volumes, volume_id, migration_status=moves.MIGRATING)


# --- its end ----------------------------------------------------------------------------------------------------------


def finish_migrate(tx: Connection, claim: Claim, payload: MigrateVolume, state: dict[str, Any], *, now_us: int) -> None:
    """The new object is whole: from here on the volume is that, there. What is left on the old backend is to be removed.

    Raises Cancelled: asked for under the volume's row, so whoever deletes it by force has either seen the old backend, and is
    seen here, or comes after this and sees the new one. Raises BackendFailed where the old backend has failed over since the
    copy was begun: one half of it may be of the one storage, and one of the other.
    """
    volume_id, here, there = payload.volume_id, queue_of(payload.to_pool), queue_of(payload.from_pool)
    lock_row(tx, volumes, volume_id)
    queue.guard(tx, claim)
    if queue.was_cancelled(tx, claim):
        raise Cancelled(claim.operation_id)
    if in_use(tx, queue=there).generation != state["source_generation"]:
        raise BackendFailed(f"Backend {there} has failed over while the volume was copied from it; migrate it again.")
    queue.close(tx, claim, outcome="done", detail=None, now_us=now_us)
    row = read_row(tx, volumes, volume_id)
    assert row is not None, "its lock names the row"
    values = {
        "pool_name": payload.to_pool,
        "object_name": state["object"],
        "availability_zone": tx.execute(_ZONE, {"pool": payload.to_pool}).scalar() or row["availability_zone"],
        "target_pool_name": None,
        "replication_status": None,
        "updated_at_us": now_us,
    }
    if payload.type_id_new is not None:
        specs = _specs_of(tx, payload.type_id_new)
        values |= {"volume_type_id": payload.type_id_new, "multiattach": types.is_multiattach(specs)}
    if row["migration_status"] in moves.UNDER_WAY:
        values["migration_status"] = moves.SUCCESS
    change_row(tx, volumes, volume_id, **values)
    _settle(tx, payload)
    _send_after(tx, volume_id, was=there, now=here)
    strays.forget(tx, volume_id=volume_id, queue_name=here)
    strays.remember(tx, volume_id=volume_id, queue_name=there)
    strays.enqueue_removal(tx, origin=_on_behalf(claim, now_us), volume_id=volume_id, queue_name=there)
    allocate.record(tx, payload.from_pool, -row["charged_gib"])
    clear_tombstones(tx, claim)


def fail_migrate(
    tx: Connection, claim: Claim, payload: MigrateVolume, state: dict[str, Any], *, failure: Failure, now_us: int
) -> None:
    """The volume is what and where it was; what was charged and promised for the other place is given back.

    Where the half-made object could not be removed, its row stays, and somebody else removes it.
    """
    lock_row(tx, volumes, payload.volume_id)
    # A word that came meanwhile has set the status already, perhaps to the very one that the request had set.
    is_superseded = queue.was_cancelled(tx, claim)
    queue.close(tx, claim, outcome=failure.outcome, detail=failure.message, now_us=now_us)
    moves.take_back(tx, payload.volume_id)
    if payload.type_id_new is not None:
        restore_charge(tx, payload.volume_id)
    if state.get("target_dropped"):
        strays.forget(tx, volume_id=payload.volume_id, queue_name=claim.queue)
    if payload.type_id_new is not None or not is_superseded:
        _settle(tx, payload)
    if not is_superseded:
        event = "migrate_volume" if payload.type_id_new is None else "retype"
        message_for_failure(tx, claim, event=event, text=failure.message, now_us=now_us)
    tell_the_truth(tx, claim)
    clear_tombstones(tx, claim)


def _settle(tx: Connection, payload: MigrateVolume) -> None:
    if payload.type_id_new is not None:
        settle(tx, RETYPED, payload.volume_id)
    elif payload.locked:
        settle(tx, MIGRATED, payload.volume_id)


def _send_after(tx: Connection, volume_id: str, *, was: str, now: str) -> None:
    """What was accepted while the volume moved waits where the volume was: let it wait where it is.

    Nobody has begun any of it, or can have, while the migration's place is before it.
    """
    for operation_id in tx.execute(_BEHIND, {"of_volume": volume_id, "was": was}).scalars().all():
        tx.execute(_SEND, {"op": operation_id, "now": now})


def _on_behalf(claim: Claim, now_us: int) -> Origin:
    """For the removal that follows. Its id follows from the migration's: a Finish that runs twice begins one."""
    return Origin(
        project_id=ProjectId(claim.project_id),
        user_id=UserId(claim.user_id),
        is_admin=True,
        request_id=claim.request_id,
        at_us=now_us,
        operation_id=OperationId(str(uuid.uuid5(NAMESPACE, f"removal after {claim.operation_id}"))),
        message_id=MessageId(""),
    )


_ZONE: Final[Any] = select(pools.c.availability_zone).where(pools.c.name == bindparam("pool"))
_BEHIND: Final[Any] = (
    select(operations.c.id)
    .join(operation_locks, operation_locks.c.operation_id == operations.c.id)
    .where(
        operation_locks.c.resource_id == bindparam("of_volume"),
        operations.c.resource_id == bindparam("of_volume"),
        operations.c.queue == bindparam("was"),
        operations.c.owner.is_(None),
    )
    .order_by(operations.c.id)
)
_SEND: Final[Any] = update(operations).where(operations.c.id == bindparam("op")).values(queue=bindparam("now"))
