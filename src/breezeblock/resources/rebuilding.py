"""A database that agrees with the storage again, made out of an older one or of an empty one: what `db rebuild` changes.

Nothing runs meanwhile, and all of it is one transaction. `docs/explanation/disaster.md` has the reasons of each rule:

* What was under way is not done again: it may have been done since, and its result been used.
* A token that is on storage is never given out again.
* Where nobody can tell which of several objects a row means, nobody guesses.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec
from sqlalchemy import Connection, Table, delete, insert, select, update

from breezeblock.drivers.contract import ObjectName
from breezeblock.model import states
from breezeblock.resources import group_snapshots, groups, snapshots, volume_changes
from breezeblock.resources.accepted import queue_of
from breezeblock.resources.attached import summarize
from breezeblock.resources.backends import introduce
from breezeblock.resources.types import DEFAULT_TYPE_ID, ensure_default_type
from breezeblock.store import tables
from breezeblock.store.check import Rows, allocation_due, usage_due
from breezeblock.store.transitions import Transition, change_row, insert_row, lock_row

__all__ = [
    "ENDED", "GIB", "Item", "Outcome", "Owner", "Shelf", "end_work", "raise_tokens", "rebuild_resources", "settle_accounts",
]  # fmt: skip

GIB: Final = 1024**3
ENDED: Final = "The database was made again from the storage: whether this was done nobody knows."
RECOVERED: Final = "recovered"
# Rows that stand only while an operation names them, and those whose line of operations has a place that objects are named by.
_TOMBSTONED: Final = (tables.volumes, tables.snapshots, tables.backups, tables.volume_groups, tables.group_snapshots)


class Item(NamedTuple):
    """A whole object on a backend."""

    name: ObjectName
    queue: str
    length: int
    """In bytes."""

    def __str__(self) -> str:
        return f"{self.name} on {self.queue}, {self.length / GIB:.2f} GiB"


class Shelf(NamedTuple):
    """A backend as its storage shows it: all that it has under names of ours."""

    queue: str
    pool: str
    zone: str
    items: Sequence[Item]
    highest: Mapping[str, int]
    """By id: the highest place in its line that anything was made under, half-made things and accesses included."""
    accesses: frozenset[str]
    """The attachments that somebody was let in for."""


class Owner(NamedTuple):
    """Whose a volume becomes of which only the storage knows."""

    project_id: str
    user_id: str


class Outcome:
    """What was done, and what is left to a person, as sentences."""

    def __init__(self) -> None:
        self.changed: list[str] = []
        self.undecided: list[str] = []


# --- work -------------------------------------------------------------------------------------------------------------


def end_work(tx: Connection, outcome: Outcome, *, now_us: int) -> None:
    """End every operation as failed, with a message for whoever asked for it; forget what only ended work had in its way."""
    held: dict[str, list[list[Any]]] = defaultdict(list)
    for lock in tx.execute(select(tables.operation_locks)):
        held[lock.operation_id].append([lock.resource_id, lock.seq, lock.exclusive])
    for row in tx.execute(select(tables.operations)).mappings().all():
        same = (
            "kind",
            "queue",
            "resource_type",
            "resource_id",
            "project_id",
            "request_id",
            "attempt",
            "owner",
            "epoch",
        )
        ended = {name: row[name] for name in (*same, "created_at_us", "claimed_at_us")}
        ended |= {"operation_id": row["id"], "outcome": "failed", "detail": ENDED, "finished_at_us": now_us}
        ended["locks_json"] = msgspec.json.encode(held[row["id"]]).decode()
        tx.execute(insert(tables.operation_log).values(ended))
        outcome.changed.append(f"Operation {row['id']} ({row['kind']} of {row['resource_id']}) has ended as failed.")
    for work in (tables.operations, tables.operation_locks, tables.driver_locks, tables.driver_lock_lines):
        tx.execute(delete(work))
    tx.execute(delete(tables.backup_segments))
    # What they name may have been used for something else since: it stays on the storage, and `db check` tells of it.
    tx.execute(delete(tables.stray_objects))
    for row in tx.execute(select(tables.attachments).where(tables.attachments.c.operation_id.is_not(None))).mappings():
        word = states.ERROR_DETACHING if row["status"] == states.DETACHING else states.ERROR_ATTACHING
        tx.execute(
            update(tables.attachments)
            .where(tables.attachments.c.id == row["id"])
            .values(operation_id=None, status=word, op_seq=row["op_seq"] + 1)
        )
        outcome.changed.append(f"Attachment {row['id']} was {row['status']} and is {word}.")


# --- volumes and snapshots --------------------------------------------------------------------------------------------


class _Kind(NamedTuple):
    """What volumes and snapshots do not share."""

    noun: str
    table: Table
    reset: Transition
    transitional: frozenset[str]


_KINDS: Final = (
    _Kind("Volume", tables.volumes, volume_changes.RESET, states.VOLUME_TRANSITIONAL),
    _Kind("Snapshot", tables.snapshots, snapshots.RESET, states.SNAPSHOT_TRANSITIONAL),
)


def rebuild_resources(
    tx: Connection,
    outcome: Outcome,
    *,
    shelves: Sequence[Shelf],
    owner: Owner | None,
    use: frozenset[str],
    not_volumes: frozenset[str],
    now_us: int,
) -> None:
    """Let every volume and snapshot be what is on storage, and every object be somebody's.

    `use` are the names of objects that an operator has chosen where there are several; without an `owner` objects that no row
    knows are only told; `not_volumes` are ids that are known to be something else's.
    """
    ensure_default_type(tx)
    for shelf in shelves:
        row_id = introduce(tx, queue=shelf.queue, replicates=False)
        raised = {"generation": tables.backends.c.generation + 1, "op_seq": tables.backends.c.op_seq + 1}
        tx.execute(update(tables.backends).where(tables.backends.c.id == row_id).values(**raised))
        if tx.execute(select(tables.pools.c.name).where(tables.pools.c.name == shelf.pool)).first() is None:
            # What it can do is for the first report to say; until then nothing new is placed there.
            pool = {"name": shelf.pool, "queue": shelf.queue, "availability_zone": shelf.zone}
            tx.execute(insert(tables.pools).values(pool))
    there = _by_resource(shelves)
    pools = {shelf.queue: shelf for shelf in shelves}
    known = {id_ for table in _TOMBSTONED for id_ in tx.execute(select(table.c.id)).scalars()}
    gone = {id_ for table in _TOMBSTONED for id_ in tx.execute(select(table.c.id).where(table.c.tombstone)).scalars()}
    for table in _TOMBSTONED:
        tx.execute(delete(table).where(table.c.tombstone))
    for kind in _KINDS:
        for row in tx.execute(select(kind.table).order_by(kind.table.c.id)).mappings().all():
            _settle(tx, outcome, kind, dict(row), there.get(row["id"], []), use, pools, now_us=now_us)
    for id_ in sorted(there.keys() - known - not_volumes):
        _adopt(tx, outcome, id_, there[id_], use, pools, owner, now_us=now_us)
    for id_ in sorted(there.keys() & gone):
        outcome.undecided += [
            f"{item} is of something that was deleted: remove it from the storage." for item in there[id_]
        ]
    _settle_groups(tx, outcome, now_us=now_us)
    _tell_accesses(tx, outcome, shelves)


def _by_resource(shelves: Sequence[Shelf]) -> dict[str, list[Item]]:
    found: dict[str, list[Item]] = defaultdict(list)
    for shelf in shelves:
        for item in shelf.items:
            found[item.name.resource_id].append(item)
    return found


def _choose(candidates: Sequence[Item], use: frozenset[str]) -> tuple[Item | None, str | None]:
    """The object that is meant; or None, and why nobody can tell."""
    wanted = [item for item in candidates if str(item.name) in use]
    if len(wanted or candidates) == 1:
        return (wanted or candidates)[0], None
    if not candidates:
        return None, None
    shown = "; ".join(map(str, sorted(candidates, key=lambda item: item.name)))
    return None, f"it may be any of: {shown}. Look at them, and run this again with --use NAME"


def _settle(
    tx: Connection,
    outcome: Outcome,
    kind: _Kind,
    row: dict[str, Any],
    candidates: Sequence[Item],
    use: frozenset[str],
    pools: Mapping[str, Shelf],
    *,
    now_us: int,
) -> None:
    """One row: what it is, where it is, how large it is, and a status that is true."""
    shown, (chosen, why) = f"{kind.noun} {row['id']}", _choose(candidates, use)
    looked_at = row["pool_name"] is None or queue_of(row["pool_name"]) in pools
    if chosen is None and why is None and looked_at and row["status"] == states.DELETING and _end(tx, kind, row["id"]):
        outcome.changed.append(f"{shown} was being deleted, and is gone.")
        return
    lock_row(tx, kind.table, row["id"])
    values = _values(row, chosen, pools)
    if chosen is None and looked_at and row["object_name"] not in map(str, (one.name for one in candidates)):
        values["object_name"] = None
    if kind.table is tables.volumes:
        values |= {"target_pool_name": None, "migration_status": None}
    change_row(tx, kind.table, row["id"], **values)
    if values["object_name"] != row["object_name"]:
        what = values["object_name"] or "nothing on storage"
        outcome.changed.append(f"{shown} is {what} ({values['pool_name']}, {values['size_gib']} GiB).")
    if why is not None:
        outcome.undecided.append(f"{shown}: {why}.")
    if chosen is not None and chosen.length < values["size_gib"] * GIB:
        outcome.undecided.append(f"{shown} has {values['size_gib']} GiB, and its object is shorter: {chosen}.")
    status = _status(kind, row, chosen, doubtful=why is not None, looked_at=looked_at)
    if status is not None and status != row["status"]:
        kind.reset.apply_locked(tx, row["id"], status=status, now_us=now_us)
        outcome.changed.append(f"{shown} was {row['status']} and is {status}.")
    if kind.table is tables.volumes:
        summarize(tx, row["id"], now_us=now_us)


def _end(tx: Connection, kind: _Kind, id_: str) -> bool:
    """Remove the row of what is deleted already. Returns whether nothing that is still there names it."""
    if kind.table is tables.volumes:
        of_it = select(tables.snapshots.c.id).where(tables.snapshots.c.volume_id == id_)
        if tx.execute(of_it).first() is not None:
            return False
        for named in (tables.attachments, tables.transfers):
            tx.execute(delete(named).where(named.c.volume_id == id_))
    tx.execute(delete(kind.table).where(kind.table.c.id == id_))
    return True


def _values(row: Mapping[str, Any], chosen: Item | None, pools: Mapping[str, Shelf]) -> dict[str, Any]:
    """The columns that the storage knows better. Of what is on no backend here nothing is known."""
    values = {name: row[name] for name in ("object_name", "pool_name", "size_gib")}
    if chosen is not None:
        values["object_name"] = str(chosen.name)
        if row["pool_name"] is None or queue_of(row["pool_name"]) != chosen.queue:
            values["pool_name"] = pools[chosen.queue].pool
        values["size_gib"] = max(row["size_gib"], _gib(chosen.length))
    return values | {"charged_gib": values["size_gib"], "charged_type_id": row["volume_type_id"], "managed_from": None}


def _status(kind: _Kind, row: Mapping[str, Any], chosen: Item | None, *, doubtful: bool, looked_at: bool) -> str | None:
    """The status that the row is to have; None: its own."""
    if chosen is None and (doubtful or looked_at or row["status"] in kind.transitional):
        own_words = (states.ERROR_DELETING, states.ERROR_EXTENDING, states.ERROR_RESTORING, states.ERROR_MANAGING)
        return None if row["status"] in own_words else states.ERROR
    if row["status"] == states.DELETING:
        return states.ERROR_DELETING
    came_to_be = row["status"] == states.ERROR and row["object_name"] is None and chosen is not None
    return states.AVAILABLE if row["status"] in kind.transitional or came_to_be else None


def _adopt(
    tx: Connection,
    outcome: Outcome,
    id_: str,
    candidates: Sequence[Item],
    use: frozenset[str],
    pools: Mapping[str, Shelf],
    owner: Owner | None,
    *,
    now_us: int,
) -> None:
    """An object that no row knows becomes a volume, under its own id: whoever has it attached asks for that."""
    chosen, why = _choose(candidates, use)
    if owner is None:
        told = "; ".join(map(str, candidates))
        outcome.undecided.append(f"No row knows {id_}: {told}. Run this again with --project to make it a volume.")
        return
    if why is not None:
        outcome.undecided.append(f"Volume {id_}: {why}.")
    item = chosen or max(candidates, key=lambda one: one.name)
    shelf, size = pools[item.queue], _gib(item.length)
    row: dict[str, Any] = {
        column.name: column.default.arg if column.default is not None else None  # type: ignore[attr-defined]
        for column in tables.volumes.c
    }
    row |= {
        "id": id_,
        "op_seq": 1,
        "project_id": owner.project_id,
        "user_id": owner.user_id,
        "name": f"{RECOVERED}-{id_}",
    }
    row |= {
        "size_gib": size,
        "charged_gib": size,
        "volume_type_id": DEFAULT_TYPE_ID,
        "charged_type_id": DEFAULT_TYPE_ID,
    }
    row |= {"availability_zone": shelf.zone, "pool_name": shelf.pool, "created_at_us": now_us}
    row |= {"status": states.ERROR if chosen is None else states.AVAILABLE, "object_name": chosen and str(chosen.name)}
    insert_row(tx, tables.volumes, row)
    outcome.changed.append(f"Volume {id_} is new: {item}.")


def _gib(length: int) -> int:
    return max(1, -(-length // GIB))


# --- what hangs on them -----------------------------------------------------------------------------------------------


def raise_tokens(tx: Connection, *seen: Mapping[str, int]) -> None:
    """No place in a line is given out that anything on storage was made under. `seen`: by id, the highest places."""
    highest: dict[str, int] = defaultdict(int)
    for one in seen:
        for id_, seq in one.items():
            highest[id_] = max(highest[id_], seq)
    for table in (tables.volumes, tables.snapshots, tables.attachments, tables.backups):
        for id_, op_seq in tx.execute(select(table.c.id, table.c.op_seq)).all():
            if op_seq < highest[id_]:
                tx.execute(update(table).where(table.c.id == id_).values(op_seq=highest[id_]))


def _settle_groups(tx: Connection, outcome: Outcome, *, now_us: int) -> None:
    for noun, table, reset in (
        ("Group", tables.volume_groups, groups.RESET),
        ("Group snapshot", tables.group_snapshots, group_snapshots.RESET),
    ):
        under_way = select(table.c.id, table.c.status).where(table.c.status.in_(states.GROUP_TRANSITIONAL))
        for id_, status in tx.execute(under_way).all():
            lock_row(tx, table, id_)
            reset.apply_locked(tx, id_, status=states.ERROR, now_us=now_us)
            outcome.changed.append(f"{noun} {id_} was {status} and is {states.ERROR}.")


def _tell_accesses(tx: Connection, outcome: Outcome, shelves: Sequence[Shelf]) -> None:
    known = set(tx.execute(select(tables.attachments.c.id)).scalars())
    for shelf in shelves:
        outcome.undecided += [
            f"On {shelf.queue} somebody was let in for attachment {id_}, which no row knows: ask whose it is before its "
            "volume is used by others."
            for id_ in sorted(shelf.accesses - known)
        ]


def settle_accounts(tx: Connection) -> None:
    """Count anew what projects use and pools have promised. The last of all: it is of what the rows say then."""
    failing = update(tables.backends).where(tables.backends.c.replication_status == states.REPLICATION_FAILING_OVER)
    tx.execute(failing.values(replication_status=states.REPLICATION_ERROR))
    tx.execute(delete(tables.kept_objects).where(tables.kept_objects.c.volume_id.not_in(select(tables.volumes.c.id))))
    rows = Rows(tx)
    counted = ("volumes", "snapshots", "gigabytes", "backups", "backup", "groups")
    for used in tx.execute(select(tables.quota_usage)).all():
        if used.resource.partition("_")[0] in counted:
            gone = (tables.quota_usage.c.project_id == used.project_id, tables.quota_usage.c.resource == used.resource)
            tx.execute(delete(tables.quota_usage).where(*gone))
    for (project_id, resource), amount in usage_due(rows).items():
        tx.execute(insert(tables.quota_usage).values(project_id=project_id, resource=resource, in_use=amount))
    due = allocation_due(rows)
    for name in tx.execute(select(tables.pools.c.name)).scalars().all():
        tx.execute(update(tables.pools).where(tables.pools.c.name == name).values(allocated_gib=due.get(name, 0)))
