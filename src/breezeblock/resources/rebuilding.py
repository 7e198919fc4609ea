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
from sqlalchemy import Connection, delete, insert, select, update

from breezeblock.drivers.contract import ObjectName
from breezeblock.model import states
from breezeblock.resources import group_snapshots, groups, rebuilding_targets
from breezeblock.resources.accepted import add_message, queue_of
from breezeblock.resources.attached import summarize
from breezeblock.resources.backends import introduce
from breezeblock.resources.rebuilding_statuses import KINDS, Kind, status_of, with_its_loss
from breezeblock.resources.types import DEFAULT_TYPE_ID, ensure_default_type
from breezeblock.store import tables
from breezeblock.store.outbox import outbox_of
from breezeblock.store.transitions import change_row, insert_row, lock_row, read_row

__all__ = ["ENDED", "GIB", "Item", "Outcome", "Owner", "Shelf", "end_work", "rebuild_resources"]

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
    accesses: Mapping[str, tuple[str | None, str | None]]
    """By attachment: the id of what somebody was let in to, and the host; None where the storage does not say."""
    replicates: bool = False
    target: str | None = None
    """Where an operator says that it is served from now; None: where the database says."""


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
        about = {name: row[name] for name in ("project_id", "request_id", "resource_type", "resource_id")}
        add_message(tx, message_id=row["id"], event=row["kind"], text=ENDED, now_us=now_us, **about)
        outcome.changed.append(f"Operation {row['id']} ({row['kind']} of {row['resource_id']}) has ended as failed.")
    for work in (tables.operations, tables.operation_locks, tables.driver_locks, tables.driver_lock_lines):
        tx.execute(delete(work))
    tx.execute(delete(tables.backup_segments))
    # What they name may have been used for something else since: it stays on the storage, and `db check` tells of it.
    tx.execute(delete(tables.stray_objects))
    under_way = select(tables.attachments).where(tables.attachments.c.operation_id.is_not(None))
    for row in tx.execute(under_way).mappings().all():
        _doubt(tx, outcome, dict(row))


def _doubt(tx: Connection, outcome: Outcome, row: Mapping[str, Any]) -> None:
    """Somebody may reach the volume by this attachment, whatever was under way. Deleting it ends the doubt."""
    values = {"operation_id": None, "status": states.ERROR_DETACHING, "connector_json": row["connector_json"] or "{}"}
    tx.execute(update(tables.attachments).where(tables.attachments.c.id == row["id"]).values(values))
    outcome.changed.append(f"Attachment {row['id']} was {row['status']} and is {states.ERROR_DETACHING}.")


# --- volumes and snapshots --------------------------------------------------------------------------------------------


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
        row_id = introduce(tx, queue=shelf.queue, replicates=shelf.replicates)
        if shelf.target is not None:
            rebuilding_targets.move(tx, backend_id=row_id, queue=shelf.queue, target=shelf.target, now_us=now_us)
        raised = {"generation": tables.backends.c.generation + 1, "op_seq": tables.backends.c.op_seq + 1}
        tx.execute(update(tables.backends).where(tables.backends.c.id == row_id).values(**raised))
        if tx.execute(select(tables.pools.c.name).where(tables.pools.c.name == shelf.pool)).first() is None:
            # What it can do is for the first report to say; until then nothing new is placed there.
            pool = {"name": shelf.pool, "queue": shelf.queue, "availability_zone": shelf.zone}
            tx.execute(insert(tables.pools).values(pool))
    there = _by_resource(shelves)
    pools = {shelf.queue: shelf for shelf in shelves}
    _end_deletions(tx, outcome, there, pools)
    known = {id_ for table in _TOMBSTONED for id_ in tx.execute(select(table.c.id)).scalars()}
    for kind in KINDS:
        for row in tx.execute(select(kind.table).order_by(kind.table.c.id)).mappings().all():
            items = there.get(row["id"], [])
            at = _sorted(tx, outcome, kind, dict(row), items, use, pools, now_us=now_us)
            if at is not None:
                _settle(tx, outcome, kind, at, items, use, pools, now_us=now_us)
    for id_ in sorted(there.keys() - known - not_volumes):
        _adopt(tx, outcome, id_, there[id_], use, pools, owner, now_us=now_us)
    _settle_groups(tx, outcome, now_us=now_us)
    _settle_accesses(tx, outcome, shelves, now_us=now_us)
    for id_ in tx.execute(select(tables.volumes.c.id).where(tables.volumes.c.id.in_(_attached()))).scalars().all():
        lock_row(tx, tables.volumes, id_)
        summarize(tx, id_, now_us=now_us)


def _attached() -> Any:
    return select(tables.attachments.c.volume_id)


def _end_deletions(
    tx: Connection, outcome: Outcome, there: Mapping[str, Sequence[Item]], pools: Mapping[str, Shelf]
) -> None:
    """Rows that stood only in somebody's way go. Where something is left of them on storage their deletion has not ended.

    Nor has it, for all that is known, where an object is named that may be on the other side of a replication.
    """
    for table in _TOMBSTONED:
        for row in tx.execute(select(table).where(table.c.tombstone)).mappings().all():
            items = there.get(row["id"], [])
            if items:
                why = f"since it is there: {'; '.join(map(str, items))}"
            elif row.get("object_name") is not None and _is_moved(dict(row), pools):
                why = f"since {row['object_name']} may be on the other side"
            else:
                continue
            back = {"tombstone": False, "status": states.ERROR_DELETING}
            tx.execute(update(table).where(table.c.id == row["id"]).values(back))
            outcome.changed.append(f"{row['id']} was deleted and is {states.ERROR_DELETING}, {why}.")
        tx.execute(delete(table).where(table.c.tombstone))


def _by_resource(shelves: Sequence[Shelf]) -> dict[str, list[Item]]:
    found: dict[str, list[Item]] = defaultdict(list)
    for shelf in shelves:
        for item in shelf.items:
            found[item.name.resource_id].append(item)
    return found


def _choose(
    candidates: Sequence[Item], use: frozenset[str], *, named: str | None = None
) -> tuple[Item | None, str | None]:
    """The object that is meant; or None, and why nobody can tell. `named` is what the row has named.

    What a resource is only ever gets later tokens, so what is older than that is left over from before.
    """
    wanted = [item for item in candidates if str(item.name) in use]
    if len(wanted) == 1:
        return wanted[0], None
    at_least = None if named is None else ObjectName.parse(named)
    possible = [item for item in candidates if at_least is None or item.name >= at_least]
    if len(possible) == 1:
        return possible[0], None
    if not candidates:
        return None, None
    shown = "; ".join(map(str, sorted(candidates, key=lambda item: item.name)))
    return None, f"it may be any of: {shown}. Look at them, and run this again with --use NAME"


def _settle(
    tx: Connection,
    outcome: Outcome,
    kind: Kind,
    row: dict[str, Any],
    candidates: Sequence[Item],
    use: frozenset[str],
    pools: Mapping[str, Shelf],
    *,
    now_us: int,
) -> None:
    """One row: what it is, where it is, how large it is, and a status that is true."""
    shown = f"{kind.noun} {row['id']}"
    looked_at = row["pool_name"] is None or queue_of(row["pool_name"]) in pools
    given = any(str(item.name) in use for item in candidates)
    if (row["managed_from"] is not None and not given) or row["replication_status"] == states.NOT_CAPABLE:
        _leave(tx, outcome, kind, row, candidates, now_us=now_us)
        return
    chosen, why = _choose(candidates, use, named=row["object_name"])
    if not looked_at and not given:
        # It is on a backend that is configured elsewhere; what is here may be left over from before it was moved there.
        if candidates:
            outcome.undecided.append(
                f"{shown} is in {row['pool_name']}, which is not configured here; here is {candidates[0]}."
            )
        chosen, why, candidates = None, None, ()
    if chosen is None and why is None and looked_at and row["status"] == states.DELETING and _end(tx, kind, row["id"]):
        outcome.changed.append(f"{shown} was being deleted, and is gone.")
        return
    _write(tx, outcome, kind, row, chosen, why, pools, looked_at=looked_at, now_us=now_us)


def _write(
    tx: Connection,
    outcome: Outcome,
    kind: Kind,
    row: Mapping[str, Any],
    chosen: Item | None,
    why: str | None,
    pools: Mapping[str, Shelf],
    *,
    looked_at: bool,
    now_us: int,
) -> None:
    """Let the row be what was chosen; or what it is without, and `why` nothing was."""
    shown = f"{kind.noun} {row['id']}"
    lock_row(tx, kind.table, row["id"])
    values = _values(row, chosen, pools)
    if kind.table is tables.volumes:
        values |= {"target_pool_name": None, "migration_status": None}
    if chosen is not None:
        values["managed_from"] = None
    change_row(tx, kind.table, row["id"], **values)
    if values["object_name"] != row["object_name"]:
        outcome.changed.append(f"{shown} is {values['object_name']} ({values['pool_name']}, {values['size_gib']} GiB).")
    if why is not None:
        outcome.undecided.append(f"{shown}: {why}.")
    if chosen is not None and chosen.length < values["size_gib"] * GIB:
        outcome.undecided.append(f"{shown} has {values['size_gib']} GiB, and its object is shorter: {chosen}.")
    found = chosen is not None
    status = status_of(tx, kind, row, is_found=found, doubtful=why is not None, looked_at=looked_at) or row["status"]
    if status != row["status"]:
        kept = with_its_loss(kind, row, status=status)
        kind.reset.apply_locked(tx, row["id"], status=status, now_us=now_us, also=kept)
    if kind.table is tables.volumes:
        status = summarize(tx, row["id"], now_us=now_us)["status"]
    if status != row["status"]:
        outcome.changed.append(f"{shown} was {row['status']} and is {status}.")


def _sorted(
    tx: Connection,
    outcome: Outcome,
    kind: Kind,
    row: dict[str, Any],
    items: Sequence[Item],
    use: frozenset[str],
    pools: Mapping[str, Shelf],
    *,
    now_us: int,
) -> dict[str, Any] | None:
    """The row after what an operator has said of the side that its backend is on; None when it waits for the other."""
    if not _is_moved(row, pools) or row["object_name"] is None or row["managed_from"] is not None:
        return row
    # An older one, and what lies on another backend, may be left over from before: then it is the other side that has it.
    named, own = ObjectName.parse(row["object_name"]), queue_of(row["pool_name"])
    newer = [item for item in items if item.name >= named]
    is_here = any(item.queue == own for item in newer) or any(str(item.name) in use for item in items)
    shown = f"{kind.noun} {row['id']}"
    row, said = rebuilding_targets.sort_out(tx, kind.table, row, kind.reset, is_here=is_here, now_us=now_us)
    outcome.changed += [f"{shown} {said}."] if said else []
    if is_here:
        return row
    if newer:
        outcome.undecided.append(
            f"{shown} waits for the other side of {own}, if it was not moved to where there is now: "
            f"{'; '.join(map(str, newer))}. Look at that; --use NAME makes it the {kind.noun.lower()}."
        )
    return None


def _is_moved(row: Mapping[str, Any], pools: Mapping[str, Shelf]) -> bool:
    """Whether an operator has said where the row's backend is served from now."""
    shelf = None if row["pool_name"] is None else pools.get(queue_of(row["pool_name"]))
    return shelf is not None and shelf.target is not None


def _leave(
    tx: Connection, outcome: Outcome, kind: Kind, row: Mapping[str, Any], items: Sequence[Item], *, now_us: int
) -> None:
    """What may be a user's own file under another name, or is on the other side of a replication, stays as it is."""
    if row["managed_from"] is not None and items:
        outcome.undecided.append(
            f"{kind.noun} {row['id']} was made from '{row['managed_from']}', which may have been done; there is now: "
            f"{'; '.join(map(str, items))}. Deleting it gives that back; --use NAME makes it the {kind.noun.lower()}."
        )
    if row["status"] in kind.transitional:
        word = states.ERROR_MANAGING if kind.table is tables.volumes else states.ERROR
        lock_row(tx, kind.table, row["id"])
        kind.reset.apply_locked(tx, row["id"], status=word, now_us=now_us)
        outcome.changed.append(f"{kind.noun} {row['id']} was {row['status']} and is {word}.")
    charged = {"charged_gib": row["size_gib"], "charged_type_id": row["volume_type_id"]}
    tx.execute(update(kind.table).where(kind.table.c.id == row["id"]).values(**charged))


def _end(tx: Connection, kind: Kind, id_: str) -> bool:
    """Remove the row of what is deleted already. Returns whether nothing that is still there names it."""
    if kind.table is tables.volumes:
        of_it = select(tables.snapshots.c.id).where(tables.snapshots.c.volume_id == id_)
        if tx.execute(of_it).first() is not None:
            return False
        for named in (tables.attachments, tables.transfers):
            tx.execute(delete(named).where(named.c.volume_id == id_))
    row = read_row(tx, kind.table, id_)
    assert row is not None, "it was read in this transaction"
    tx.execute(delete(kind.table).where(kind.table.c.id == id_))
    if (box := outbox_of(tx)) is not None:
        box.gone(kind.table, row)
    return True


def _values(row: Mapping[str, Any], chosen: Item | None, pools: Mapping[str, Shelf]) -> dict[str, Any]:
    """The columns that the storage knows better.

    What is not found keeps the name that it had: a repeat has to know how old whatever else is there may be.
    """
    values = {name: row[name] for name in ("object_name", "pool_name", "size_gib")}
    if chosen is not None:
        values["object_name"] = str(chosen.name)
        if row["pool_name"] is None or queue_of(row["pool_name"]) != chosen.queue:
            values["pool_name"] = pools[chosen.queue].pool
        values["size_gib"] = max(row["size_gib"], _gib(chosen.length))
    return values | {"charged_gib": values["size_gib"], "charged_type_id": row["volume_type_id"]}


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


def _settle_accesses(tx: Connection, outcome: Outcome, shelves: Sequence[Shelf], *, now_us: int) -> None:
    """Whoever was let in to a volume, and is not known to be, may use it now: nobody else gets it before that was looked at."""
    known = {row["id"]: row for row in tx.execute(select(tables.attachments)).mappings()}
    for shelf in shelves:
        for id_, (resource_id, host) in sorted(shelf.accesses.items()):
            if id_ not in known:
                volume = None if resource_id is None else read_row(tx, tables.volumes, resource_id)
                _let_in(tx, outcome, shelf, id_, volume, host, now_us=now_us)
            elif known[id_]["status"] in (states.RESERVED, states.ERROR_ATTACHING):
                _doubt(tx, outcome, dict(known[id_]))


def _let_in(
    tx: Connection,
    outcome: Outcome,
    shelf: Shelf,
    id_: str,
    volume: Mapping[str, Any] | None,
    host: str | None,
    *,
    now_us: int,
) -> None:
    if volume is None:
        outcome.undecided.append(
            f"On {shelf.queue} host {host} was let in for attachment {id_}, to something that no row knows: ask whose it is."
        )
        return
    row = {"id": id_, "op_seq": 1, "volume_id": volume["id"], "project_id": volume["project_id"], "bare": False}
    row |= {"status": states.ERROR_DETACHING, "attached_host": host, "created_at_us": now_us}
    row |= {"connector_json": msgspec.json.encode({"host": host}).decode()}
    tx.execute(insert(tables.attachments).values(**row))
    outcome.changed.append(
        f"Attachment {id_} of volume {volume['id']} is new: host {host} was let in, and may use it. Delete it when it does not."
    )
