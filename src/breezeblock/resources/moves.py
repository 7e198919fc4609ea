"""Moving a volume to another backend, as a migration and a retype begin it: where to, what must hold, what is promised.

The new object is made on the other backend while the volume stays what and where it is. Until it is published, every failure
leaves the volume as it was; after that nothing turns back, and removing the old object is work of its own (`strays.py`).
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, bindparam, case, select, update

from breezeblock.model import states
from breezeblock.model.errors import InvalidState
from breezeblock.model.origin import Origin
from breezeblock.model.states import NODE_LIVE
from breezeblock.placement import allocate
from breezeblock.placement.choose import Pool, Wish
from breezeblock.protocol import queue
from breezeblock.resources import kinds
from breezeblock.resources.accepted import Accepted, queue_of, settle
from breezeblock.resources.attached import UNCONNECTED, of_volume
from breezeblock.resources.backends import UNTOUCHED, read_states
from breezeblock.resources.volume_conditions import SNAPSHOTS_OF
from breezeblock.store.tables import nodes, operation_locks, operations, snapshots, volumes
from breezeblock.store.transitions import Must, Transition, change_row, equals, has_no, is_in, read_row

KIND: Final = "migrate_volume"
STARTING: Final = "starting"
MIGRATING: Final = "migrating"
SUCCESS: Final = "success"
ERROR: Final = "error"
# What stands while the operation is under way.
UNDER_WAY: Final = (STARTING, MIGRATING)
# What an operator's word of the same column means as a wish to end it.
ENDING: Final = ("none", ERROR, SUCCESS)


class MigrateVolume(msgspec.Struct, frozen=True, kw_only=True):
    """Payload of `migrate_volume`. `locked`: its status is `maintenance` meanwhile. `type_id_new` is a retype's; None: none."""

    volume_id: str
    size_gib: int
    from_pool: str
    to_pool: str
    locked: bool = False
    type_id_new: str | None = None


NOT_MIGRATING: Final = Must(
    is_in(volumes.c.migration_status, (None, "deleting", ERROR, SUCCESS)),
    "Volume {id} is being migrated already (migration status {migration_status}).",
)
IN_NO_GROUP: Final = Must(
    equals(volumes.c.group_id, None),
    "Volume {id} belongs to group {group_id}, which is on one backend; remove it from that to migrate it.",
)
NO_SNAPSHOTS: Final = Must(
    has_no(SNAPSHOTS_OF, of=volumes),
    "Volume {id} has snapshots, which stay where they are: it cannot be moved to another backend before they are deleted.",
)
_OURS = volumes.c.status == states.MAINTENANCE
# An operator ends a migration by its column alone: what the request has locked is free again.
CANCEL: Final = Transition(
    volumes,
    name="volume.cancel_migration",
    musts=(),
    sets={
        "status": case(
            (_OURS & (volumes.c.previous_status == states.AVAILABLE), states.AVAILABLE), else_=volumes.c.status
        )
    },
    moves=((states.MAINTENANCE, states.AVAILABLE),),
)

# It has been moved nowhere, and what it was before it is again.
PARK: Final = Transition(
    volumes,
    name="volume.park_migration",
    musts=(),
    sets={"status": case((volumes.c.previous_status == states.AVAILABLE, states.AVAILABLE), else_=volumes.c.status)},
    moves=((states.MAINTENANCE, states.AVAILABLE), (states.RETYPING, states.AVAILABLE)),
)


def why_bound(tx: Connection, row: Mapping[str, Any]) -> str | None:
    """Why a volume cannot leave its backend, as a sentence; None when it can."""
    if row["group_id"] is not None:
        return IN_NO_GROUP.otherwise.format_map(row)
    if tx.execute(_ANY_SNAPSHOT, {"of_volume": row["id"]}).first() is not None:
        return NO_SNAPSHOTS.otherwise.format_map(row)
    if any(one["status"] not in (states.RESERVED, states.ERROR_ATTACHING) for one in of_volume(tx, row["id"])):
        return UNCONNECTED.otherwise.format_map(row)
    try:
        refuse_replicated(tx, row)
    except InvalidState as error:
        return error.message
    return None


def refuse_replicated(tx: Connection, row: Mapping[str, Any]) -> None:
    """Refuse what is on storage that replicates: its other copy would not come along. Raises InvalidState."""
    where = queue_of(row["pool_name"])
    if read_states(tx).get(where, UNTOUCHED).replication_status != states.REPLICATION_DISABLED:
        raise InvalidState(
            f"Volume {row['id']} is replicated by its backend {where}, so it cannot be moved to another one."
        )


def place(
    tx: Connection, row: Mapping[str, Any], *, specs: Mapping[str, str], among: Sequence[Pool]
) -> tuple[Pool | None, str]:
    """Find a pool on another backend than the volume's, and let it promise room. Returns it, or None and the reasons.

    In the volume's own zone: whoever uses it has chosen that. And only where some node serves both backends, since it has to
    read from the one and write to the other.
    """
    here = queue_of(row["pool_name"])
    reached = _served_with(tx, here)
    elsewhere = [pool for pool in among if pool.queue != here]
    near = [pool for pool in elsewhere if pool.queue in reached]
    wish = Wish(size_gib=row["charged_gib"], availability_zone=row["availability_zone"], extra_specs=specs)
    pool, why_not = allocate.place(tx, wish, among=near) if near else (None, "")
    if pool is not None:
        return pool, ""
    far = [
        f"{pool.name} is served by no running node that serves {here}, too" for pool in elsewhere if pool not in near
    ]
    reasons = [why_not, f"{'; '.join(far)}." if far else "", "There is no other backend." if not elsewhere else ""]
    return None, " ".join(reason for reason in reasons if reason)


def enqueue(
    tx: Connection,
    row: Mapping[str, Any],
    *,
    origin: Origin,
    pool: Pool,
    locked: bool = False,
    type_id_new: str | None = None,
) -> Accepted:
    """Add the operation to the new backend's queue, where the object is made. `row` is the volume's after its transition."""
    payload = MigrateVolume(
        volume_id=row["id"],
        size_gib=row["size_gib"],
        from_pool=row["pool_name"],
        to_pool=pool.name,
        locked=locked,
        type_id_new=type_id_new,
    )
    job = kinds.job(KIND, pool.queue, "volume", row["id"], payload, needs=queue_of(row["pool_name"]))
    queue.enqueue(tx, job, origin=origin, locks=(queue.exclusive(row),))
    return Accepted(job.queue, row)


def cancel(tx: Connection, *, volume_id: str) -> None:
    """End the migration that is under way, if one is; the caller holds the volume's row. Nothing else of it is touched.

    Who has ended it before has had the word about its status as well.
    """
    ids = tx.execute(_UNDER_WAY, {"of_volume": volume_id}).scalars().all()
    for operation_id in ids:
        tx.execute(_CANCEL, {"op": operation_id})
    if ids:
        CANCEL.apply_locked(tx, volume_id)


def take_back(tx: Connection, volume_id: str) -> None:
    """Let no other pool promise room any more for a volume that is not going to move.

    The row must be locked. Doing it twice changes nothing.
    """
    row = read_row(tx, volumes, volume_id)
    if row is None or row["target_pool_name"] is None:
        return
    allocate.record(tx, row["target_pool_name"], -row["charged_gib"])
    values: dict[str, str | None] = {"target_pool_name": None}
    if row["migration_status"] in UNDER_WAY:
        values["migration_status"] = ERROR
    change_row(tx, volumes, volume_id, **values)


def park(tx: Connection, claim: queue.Claim, volume_id: str) -> None:
    """Nobody understands the migration: the volume is what and where it was, whoever was to say so."""
    take_back(tx, volume_id)
    if claim.kind == KIND and not claim.cancel:
        settle(tx, PARK, volume_id)


def _served_with(tx: Connection, here: str) -> frozenset[str]:
    """The queues that are served by live nodes which serve this one, too."""
    served = (json.loads(text) for text in tx.execute(_LIVE_QUEUES).scalars())
    return frozenset(name for queues in served if here in queues for name in queues)


_ANY_SNAPSHOT: Final[Any] = (
    select(snapshots.c.id)
    .where(snapshots.c.volume_id == bindparam("of_volume"), snapshots.c.tombstone.is_(False))
    .limit(1)
)
_LIVE_QUEUES: Final[Any] = select(nodes.c.queues_json).where(nodes.c.state.in_(NODE_LIVE)).distinct()
_UNDER_WAY: Final[Any] = (
    select(operations.c.id)
    .join(operation_locks, operation_locks.c.operation_id == operations.c.id)
    .where(
        operation_locks.c.resource_id == bindparam("of_volume"),
        operations.c.kind == KIND,
        operations.c.cancel.is_(False),
    )
    .order_by(operations.c.id)
)
_CANCEL: Final[Any] = update(operations).where(operations.c.id == bindparam("op")).values(cancel=True)
