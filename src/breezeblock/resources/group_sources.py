"""Groups made from a source: from another group, a copy of each of its volumes; from a group snapshot, one of each snapshot.

All copies are one operation on the source's backend. They are published together, or not at all.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, Table, select

from breezeblock.model import states
from breezeblock.model.errors import Contended, InvalidState
from breezeblock.model.ids import SnapshotId, VolumeId
from breezeblock.model.origin import Origin
from breezeblock.model.requests import NewVolume
from breezeblock.placement import allocate
from breezeblock.placement.choose import Pool, Wish
from breezeblock.protocol import queue
from breezeblock.protocol.queue import Claim, Lock
from breezeblock.protocol.steps import Failure
from breezeblock.resources import kinds, quotas
from breezeblock.resources import volumes as single
from breezeblock.resources.accepted import (
    Accepted,
    clear_tombstones,
    message_for_failure,
    queue_of,
    settle,
    tell_the_truth,
)
from breezeblock.resources.backends import refuse_frozen
from breezeblock.resources.group_members import (
    part_id,
    set_types,
    snapshot_ids,
    tell_members,
    type_ids,
    volume_ids,
)
from breezeblock.resources.group_snapshots import Part
from breezeblock.resources.groups import new_row as new_group
from breezeblock.resources.new_volumes import new_row as new_volume
from breezeblock.store.tables import (
    group_snapshots,
    group_types,
    operation_locks,
    snapshots,
    volume_groups,
    volume_types,
    volumes,
)
from breezeblock.store.transitions import Must, Transition, equals, has_no, insert_row, lock_rows, read_row, read_seen


class GroupFromSource(msgspec.Struct, frozen=True, kw_only=True):
    """A group to be made. Exactly one source is given."""

    id: str
    name: str | None = None
    description: str | None = None
    group_snapshot_id: str | None = None
    source_group_id: str | None = None
    # As of NewVolume: for each of its volumes.
    no_multiattach: str | None = None


class CreateGroupFromSource(msgspec.Struct, frozen=True, kw_only=True):
    """Payload of `create_group_from_source`. `source_type`: the table that the sources of its parts are in."""

    group_id: str
    source_type: str
    parts: list[Part]


# --- transitions ----------------------------------------------------------------------------------------------------


def _available(table: Table, noun: str) -> tuple[Must, Must]:
    changing = select(operation_locks.c.seq).where(
        operation_locks.c.resource_id == table.c.id, operation_locks.c.exclusive
    )
    return (
        Must(
            equals(table.c.status, states.AVAILABLE),
            f"{noun} {{id}} has status {{status}}; it must be available to make a group from it.",
        ),
        Must(has_no(changing, of=table), f"{noun} {{id}} is still being worked on; wait until that has ended."),
    )


BE_COPIED = Transition(volume_groups, name="volume_group.be_copied", musts=_available(volume_groups, "Group"), sets={})
BE_RESTORED = Transition(
    group_snapshots, name="group_snapshot.be_restored", musts=_available(group_snapshots, "Group snapshot"), sets={}
)
BE_SOURCE: Final = {"volume_groups": BE_COPIED, "group_snapshots": BE_RESTORED}
CREATED = Transition(
    volume_groups,
    name="volume_group.created",
    musts=(),
    sets={"status": states.AVAILABLE},
    moves=((states.CREATING, states.AVAILABLE),),
)
CREATE_FAILED = Transition(
    volume_groups,
    name="volume_group.create_failed",
    musts=(),
    sets={"status": states.ERROR},
    moves=((states.CREATING, states.ERROR), (states.AVAILABLE, states.ERROR)),
)


class _Source(msgspec.Struct, frozen=True):
    """What a group is made from: its row's table, the group that it is or was taken of, and its members' table."""

    table: Table
    row_id: str
    members: Table
    ids: list[str]
    group_id: str


def begin_create(
    tx: Connection, *, origin: Origin, wanted: GroupFromSource, quota_defaults: Mapping[str, int]
) -> Accepted:
    """Accept a group with a copy of each member of its source, or nothing of it.

    Raises NotFound (source), InvalidState (source, its members, no room), Forbidden, OverQuota.
    """
    source = _find(tx, wanted, origin)
    read_seen(tx, source.table, source.row_id, origin=origin)
    types = _types(tx, source)
    pools = {pool.name: pool for pool in allocate.read_pools(tx)}
    largest_gib = quotas.largest_volume(tx, origin.project_id, defaults=quota_defaults)
    of = read_row(tx, volume_groups, source.group_id)
    # Its type never changes. Without a row the source's lock says that it is not there.
    group_type_ids = [] if of is None else [of["group_type_id"]]
    targets = [
        (source.table, source.row_id),
        (volume_groups, source.group_id),
        *((group_types, type_id) for type_id in group_type_ids),
        *((source.members, row_id) for row_id in source.ids),
        *((volume_types, type_id) for type_id in types),
    ]
    lock_rows(tx, targets, origin=origin, asked_for=source.row_id)
    if source != _find(tx, wanted, origin) or types != _types(tx, source):
        raise Contended("the source has changed before its rows were ours")
    group = read_row(tx, volume_groups, source.group_id)
    assert group is not None, "a locked row is there"
    refuse_frozen(tx, group)
    read = BE_SOURCE[source.table.name].check_locked(tx, source.row_id)
    members = [_check_member(tx, source.members, row_id) for row_id in source.ids]
    if not members:
        raise InvalidState(f"{_noun(source)} {source.row_id} is empty: no group is made of it.")
    row = new_group(wanted, origin, group_type_id=group["group_type_id"], pool_name=group["pool_name"])
    row |= {
        "status": states.CREATING,
        "availability_zone": group["availability_zone"],
        "source_group_id": wanted.source_group_id,
        "group_snapshot_id": wanted.group_snapshot_id,
    }
    _account(tx, origin, members, pools, quota_defaults=quota_defaults, largest_gib=largest_gib)
    insert_row(tx, volume_groups, row)
    set_types(tx, wanted.id, types)
    parts = [_insert_part(tx, origin, wanted, source, member, pools[member["pool_name"]]) for member in members]
    where = queue_of(group["pool_name"])
    payload = CreateGroupFromSource(group_id=wanted.id, source_type=str(source.members.name), parts=parts)
    job = kinds.job("create_group_from_source", where, "group", wanted.id, payload)
    made = [Lock(id_, 1, exclusive=True) for id_ in (wanted.id, *(part.id for part in parts))]
    queue.enqueue(tx, job, origin=origin, locks=[*made, *(queue.shared(one) for one in (read, *members))])
    return Accepted(job.queue, row)


def _find(tx: Connection, wanted: GroupFromSource, origin: Origin) -> _Source:
    """The source as it is now. Raises NotFound by way of the lock where there is none: ids are enough until then."""
    if wanted.source_group_id is not None:
        id_ = wanted.source_group_id
        return _Source(volume_groups, id_, volumes, volume_ids(tx, id_), id_)
    id_ = str(wanted.group_snapshot_id)
    row = read_row(tx, group_snapshots, id_)
    return _Source(group_snapshots, id_, snapshots, snapshot_ids(tx, id_), id_ if row is None else row["group_id"])


def _types(tx: Connection, source: _Source) -> list[str]:
    """The volume types of the new group: those of its source, and those that its members have."""
    column = source.members.c.volume_type_id
    of_members = tx.execute(select(column).where(source.members.c.id.in_(source.ids), column.is_not(None))).scalars()
    return sorted({*type_ids(tx, source.group_id), *of_members})


def _check_member(tx: Connection, table: Table, row_id: str) -> Mapping[str, Any]:
    row = read_row(tx, table, row_id)
    assert row is not None, "a locked row is there"
    may = single.BE_CLONED if table is volumes else single.BE_SOURCE
    return may.check_locked(tx, row_id, size_gib=row["size_gib"])


def _account(
    tx: Connection,
    origin: Origin,
    members: Sequence[Mapping[str, Any]],
    pools: Mapping[str, Pool],
    *,
    quota_defaults: Mapping[str, int],
    largest_gib: int,
) -> None:
    """Promise room for each copy where its source is, pools in order; then one charge. Raises InvalidState, OverQuota."""
    wanted: dict[str, int] = {}
    deltas = quotas.group_deltas(groups=1)
    for member in members:
        pool, gib = member["pool_name"], member["size_gib"]
        wanted[pool] = wanted.get(pool, 0) + gib
        one = quotas.volume_deltas(volumes=1, gib=gib, type_id=member["volume_type_id"])
        deltas = {resource: deltas.get(resource, 0) + one.get(resource, 0) for resource in deltas.keys() | one.keys()}
        quotas.refuse_larger(gib, largest_gib)
    for name, gib in sorted(wanted.items()):
        wish = Wish(size_gib=gib, availability_zone=None, extra_specs={}, pool_name=name)
        why_not = allocate.fits(tx, name, wish)
        if why_not is None and not allocate.allocate(tx, name, gib):
            why_not = "just filled up"
        if why_not is not None:
            raise InvalidState(f"No room for a copy of {gib} GiB of the group's source: pool {name} {why_not}.")
    assert wanted.keys() <= pools.keys(), "what fits a pool has found it"
    quotas.charge(tx, origin.project_id, deltas, defaults=quota_defaults)


def _insert_part(
    tx: Connection,
    origin: Origin,
    wanted: GroupFromSource,
    source: _Source,
    member: Mapping[str, Any],
    pool: Pool,
) -> Part:
    of_snapshot = source.members is snapshots
    one = NewVolume(
        id=VolumeId(part_id(wanted.id, member["id"])),
        snapshot_id=SnapshotId(member["id"]) if of_snapshot else None,
        source_volid=None if of_snapshot else VolumeId(member["id"]),
        group_id=wanted.id,
        no_multiattach=wanted.no_multiattach,
    )
    size_gib = member["size_gib"]
    volume_type = read_row(tx, volume_types, member["volume_type_id"])
    assert volume_type is not None, "a type with volumes is not deleted"
    row = new_volume(one, origin, size_gib=size_gib, volume_type=volume_type, source=member, pool=pool)
    insert_row(tx, volumes, row)
    return Part(id=one.id, source_id=member["id"], size_gib=size_gib)


def _noun(source: _Source) -> str:
    return "Group" if source.table is volume_groups else "Group snapshot"


def finish_create(
    tx: Connection, claim: Claim, payload: CreateGroupFromSource, state: dict[str, Any], *, now_us: int
) -> None:
    """All objects are whole: publish them together."""
    _lock_made(tx, payload)
    queue.close(tx, claim, outcome="done", detail=None, now_us=now_us)
    for part in payload.parts:
        published = {"object_name": state["parts"][part.id]["object"], "updated_at_us": now_us}
        settle(tx, single.CREATED, part.id, also=published)
    settle(tx, CREATED, payload.group_id, also={"updated_at_us": now_us})
    clear_tombstones(tx, claim)


def fail_create(
    tx: Connection,
    claim: Claim,
    payload: CreateGroupFromSource,
    state: dict[str, Any],
    *,
    failure: Failure,
    now_us: int,
) -> None:
    """Nothing was published: group and volumes stay, in `error`, charged as any other, until they are deleted together."""
    _lock_made(tx, payload)
    queue.close(tx, claim, outcome=failure.outcome, detail=failure.message, now_us=now_us)
    told = [part.id for part in payload.parts if settle(tx, single.CREATE_FAILED, part.id)]
    said: Any = {"event": "create_group_from_source", "text": failure.message, "now_us": now_us}
    tell_members(tx, claim, table=volumes, ids=told, **said)
    if settle(tx, CREATE_FAILED, payload.group_id):
        message_for_failure(tx, claim, **said)
    tell_the_truth(tx, claim)
    clear_tombstones(tx, claim)


def _lock_made(tx: Connection, payload: CreateGroupFromSource) -> None:
    parts = [(volumes, part.id) for part in payload.parts]
    lock_rows(tx, [(volume_groups, payload.group_id), *parts])
