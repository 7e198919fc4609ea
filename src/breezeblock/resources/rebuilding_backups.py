"""Backups in a database that is made again (`rebuilding`): what the manifests in the stores say is written down.

Before any garbage is collected: a collection knows only the manifests that rows name, and would take what others need for
rubbish. So every manifest of every archive gets a row, and every pack that it names becomes live.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, delete, insert, select, update

from breezeblock.backup.manifest import manifest_token
from breezeblock.model import states
from breezeblock.protocol.archives import LIVE
from breezeblock.resources import backups as transitions
from breezeblock.resources.rebuilding import GIB, Outcome, Owner
from breezeblock.store.tables import archives, backups, packs
from breezeblock.store.transitions import change_row, insert_row, lock_row, read_row

__all__ = ["Chest", "Kept", "places_of", "rebuild_backups"]

# Of a statement with so many ids.
_AT_ONCE: Final = 500
_LOST: Final = "Its data is not in the store: the database was made again, and there is no manifest of it."


class Kept(NamedTuple):
    """A backup as its manifest tells of it."""

    backup_id: str
    manifest: str
    packs: Sequence[str]
    volume_id: str
    size_bytes: int
    created_us: int
    data_us: int | None
    name: str | None
    project_id: str | None
    parent_id: str | None
    missing: int = 0
    """How many of its packs are not in the store."""


class Chest(NamedTuple):
    """An archive: all that one project keeps in one store."""

    store: str
    archive_id: str
    key_check: str
    container: str | None
    host: str | None
    kept: Sequence[Kept]


def rebuild_backups(
    tx: Connection,
    outcome: Outcome,
    *,
    chests: Sequence[Chest],
    looked_at: frozenset[str],
    owner: Owner | None,
    now_us: int,
) -> None:
    """Let every backup be what its store has. `looked_at` are the stores that answered: of others nothing is said."""
    found = {kept.backup_id: (chest.archive_id, kept) for chest in chests for kept in chest.kept}
    for row in tx.execute(select(backups).order_by(backups.c.id)).mappings().all():
        if row["store"] in looked_at:
            archive_id, kept = found.get(row["id"], (row["archive_id"], None))
            _settle(tx, outcome, dict(row), kept, archive_id, now_us=now_us)
    for chest in chests:
        _enter(tx, outcome, chest, owner, now_us=now_us)
        outcome.undecided += [
            f"Backup {kept.backup_id}: {kept.missing} of its {len(kept.packs)} packs are not in store {chest.store}."
            for kept in chest.kept
            if kept.missing
        ]


def places_of(chests: Sequence[Chest]) -> dict[str, int]:
    """By backup: the place in its line that its manifest was made under."""
    return {kept.backup_id: manifest_token(kept.manifest)[0] for chest in chests for kept in chest.kept}


def _settle(
    tx: Connection, outcome: Outcome, row: dict[str, Any], kept: Kept | None, archive_id: str | None, *, now_us: int
) -> None:
    """A backup that has a row. What was made for it and never published is garbage now."""
    shown = f"Backup {row['id']}"
    if row["status"] == states.DELETING and kept is None:
        tx.execute(delete(backups).where(backups.c.id == row["id"]))
        outcome.changed.append(f"{shown} was being deleted, and is gone.")
        return
    lock_row(tx, backups, row["id"])
    is_cinders = row["manifest"] is not None and ".cinder." in row["manifest"]
    if not is_cinders:
        named = None if kept is None else kept.manifest
        change_row(tx, backups, row["id"], pin=None, archive_id=archive_id, manifest=named)
    there = is_cinders or kept is not None
    status = states.AVAILABLE if there else states.ERROR
    if row["status"] == states.DELETING:
        status = states.ERROR_DELETING
    elif there and row["status"] not in (states.CREATING, states.RESTORING):
        return
    if status != row["status"]:
        change_row(tx, backups, row["id"], fail_reason=None if there else _LOST)
        transitions.RESET.apply_locked(tx, row["id"], status=status, now_us=now_us)
        outcome.changed.append(f"{shown} was {row['status']} and is {status}.")


def _enter(tx: Connection, outcome: Outcome, chest: Chest, owner: Owner | None, *, now_us: int) -> None:
    """An archive, its backups without rows, and its packs."""
    whose = {kept.project_id for kept in chest.kept if kept.project_id is not None}
    there = read_row(tx, archives, chest.archive_id)
    if there is None and not chest.kept:
        return  # nobody's, and nothing is in it: its project will begin another one
    project_id = there["project_id"] if there is not None else (min(whose) if whose else owner and owner.project_id)
    if project_id is None:
        outcome.undecided.append(
            f"Archive {chest.archive_id} in store {chest.store} does not say whose it is: run this again with --project."
        )
        return
    if there is None:
        if not _is_free(tx, outcome, chest, project_id):
            return
        row = {"id": chest.archive_id, "store": chest.store, "project_id": project_id, "created_at_us": now_us}
        tx.execute(insert(archives).values(op_seq=1, tombstone=False, publications=0, key_check=chest.key_check, **row))
        outcome.changed.append(f"Archive {chest.archive_id} of project {project_id} in store {chest.store} is new.")
    for kept in chest.kept:
        if read_row(tx, backups, kept.backup_id) is None:
            _add(tx, chest, kept, project_id, owner, now_us=now_us)
            outcome.changed.append(f"Backup {kept.backup_id} of volume {kept.volume_id} is new.")
        _let_live(tx, chest, kept, now_us=now_us)
    counted = {"publications": archives.c.publications + max(1, len(chest.kept)), "op_seq": archives.c.op_seq + 1}
    tx.execute(update(archives).where(archives.c.id == chest.archive_id).values(**counted))


def _is_free(tx: Connection, outcome: Outcome, chest: Chest, project_id: str) -> bool:
    """Whether the project has no other archive in the store, which a backup after the dump cannot have made."""
    other = select(archives.c.id).where(archives.c.store == chest.store, archives.c.project_id == project_id)
    found = tx.execute(other).scalar()
    if found is not None:
        outcome.undecided.append(
            f"Project {project_id} has the archive {found} in store {chest.store}, and {chest.archive_id} is its as well: "
            "its backups stay readable by `breezeblock archive`."
        )
    return found is None


def _add(tx: Connection, chest: Chest, kept: Kept, project_id: str, owner: Owner | None, *, now_us: int) -> None:
    size = max(1, -(-kept.size_bytes // GIB))
    row: dict[str, Any] = {
        column.name: column.default.arg if column.default is not None else None  # type: ignore[attr-defined]
        for column in backups.c
    }
    row |= {"id": kept.backup_id, "op_seq": 1, "project_id": project_id, "volume_id": kept.volume_id, "name": kept.name}
    row |= {"user_id": project_id if owner is None else owner.user_id, "status": states.AVAILABLE, "size_gib": size}
    row |= {"charged_gib": size, "store": chest.store, "container": chest.container, "host": chest.host}
    row |= {"archive_id": chest.archive_id, "manifest": kept.manifest, "parent_id": kept.parent_id}
    row |= {"created_at_us": kept.created_us, "data_timestamp_us": kept.data_us, "updated_at_us": now_us}
    insert_row(tx, backups, row)


def _let_live(tx: Connection, chest: Chest, kept: Kept, *, now_us: int) -> None:
    """Packs that a manifest names: noted where they were not, and never garbage, whatever an older database thought of them."""
    for at in range(0, len(kept.packs), _AT_ONCE):
        some = list(kept.packs[at : at + _AT_ONCE])
        known = set(tx.execute(select(packs.c.id).where(packs.c.id.in_(some))).scalars())
        tx.execute(
            update(packs).where(packs.c.id.in_(some), packs.c.state != LIVE).values(state=LIVE, swept_at_us=None)
        )
        row = {
            "archive_id": chest.archive_id,
            "backup_id": kept.backup_id,
            "state": LIVE,
            "seq": 0,
            "created_at_us": now_us,
        }
        if new := [row | {"id": one} for one in some if one not in known]:
            tx.execute(insert(packs), new)
