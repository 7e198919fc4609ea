"""Backups in a database that is made again (`rebuilding`): what the manifests in the stores say is written down.

Before any garbage is collected: a collection knows only the manifests that rows name, and would take what others need for
rubbish. So every manifest of every archive gets a row, and every pack that it names becomes live.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, delete, insert, select, update

from breezeblock.backup.manifest import manifest_token
from breezeblock.model import states
from breezeblock.protocol import archives as protocol
from breezeblock.protocol.archives import LIVE, LOST
from breezeblock.resources import backups as transitions
from breezeblock.resources.rebuilding import GIB, Outcome, Owner
from breezeblock.store.tables import archives, backups, packs, snapshots, volumes
from breezeblock.store.transitions import change_row, insert_row, lock_row, read_row

__all__ = ["Chest", "Kept", "places_of", "rebuild_backups"]

# The volume of a backup that nobody can read.
NOBODY: Final = "00000000-0000-0000-0000-000000000000"
# Of a statement with so many ids.
_AT_ONCE: Final = 500
_LOST: Final = "Its data is not in the store, or not all of it, as was seen when the database was made again."


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
    missing: frozenset[str] = frozenset()
    """Those of its packs that are not in the store."""


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
    unread: Mapping[str, tuple[str, Chest]],
    owner: Owner | None,
    now_us: int,
) -> None:
    """Let every backup be what its store has. `looked_at` are the stores that answered: of others nothing is said.

    `unread`: manifests that are there and cannot be read, by backup, with their archives. A row names each of them, so that no
    collection goes past it.
    """
    entered = [chest for chest in chests if _enter(tx, outcome, chest, owner, now_us=now_us)]
    found = {kept.backup_id: (chest, kept) for chest in entered for kept in chest.kept}
    for row in tx.execute(select(backups).order_by(backups.c.id)).mappings().all():
        _settle(tx, outcome, dict(row), found.get(row["id"]), looked_at, unread, now_us=now_us)
    for chest in entered:
        for kept in chest.kept:
            if read_row(tx, backups, kept.backup_id) is None:
                _add(tx, outcome, chest, kept, owner, is_whole=not kept.missing, now_us=now_us)
            _let_live(tx, chest, kept, now_us=now_us)
    for backup_id, (manifest, chest) in sorted(unread.items()):
        if backup_id not in found and read_row(tx, backups, backup_id) is None:
            _add_unread(tx, outcome, chest, backup_id, manifest, owner, now_us=now_us)
    # What was uploaded and never published is garbage, and so is what only a deleted backup needed: but for what is named now.
    for id_ in tx.execute(select(backups.c.id).where(backups.c.pin.is_not(None))).scalars().all():
        protocol.leave(tx, backup_id=id_)


def places_of(chests: Sequence[Chest], unread: Mapping[str, tuple[str, Chest]]) -> dict[str, int]:
    """By backup: the place in its line that its manifest was made under."""
    named = {kept.backup_id: kept.manifest for chest in chests for kept in chest.kept}
    return {
        id_: manifest_token(name)[0] for id_, name in ({id_: one for id_, (one, _) in unread.items()} | named).items()
    }


def _settle(
    tx: Connection,
    outcome: Outcome,
    row: dict[str, Any],
    found: tuple[Chest, Kept] | None,
    looked_at: frozenset[str],
    unread: Mapping[str, tuple[str, Chest]],
    *,
    now_us: int,
) -> None:
    """A backup that has a row."""
    shown, id_ = f"Backup {row['id']}", row["id"]
    is_known = row["store"] in looked_at
    if is_known and row["status"] == states.DELETING and found is None and id_ not in unread:
        tx.execute(delete(backups).where(backups.c.id == id_))
        outcome.changed.append(f"{shown} was being deleted, and is gone.")
        return
    lock_row(tx, backups, id_)
    is_there = row["manifest"] is not None
    if found is not None:
        chest, kept = found
        change_row(tx, backups, id_, archive_id=chest.archive_id, manifest=kept.manifest)
        is_there = not kept.missing
        if kept.missing:
            outcome.undecided.append(f"{shown}: {len(kept.missing)} of its packs are not in store {chest.store}.")
    elif id_ in unread:
        is_there = False
        outcome.undecided.append(
            f"{shown}: its manifest {unread[id_][0]} cannot be read. Nothing is collected until it is deleted."
        )
    elif is_known:
        is_there = False
        change_row(tx, backups, id_, manifest=None)
    status = _status(row["status"], is_there=is_there, whole=found is None or not found[1].missing)
    if status != row["status"]:
        change_row(tx, backups, id_, fail_reason=None if status == states.AVAILABLE else _LOST)
        transitions.RESET.apply_locked(tx, id_, status=status, now_us=now_us)
        outcome.changed.append(f"{shown} was {row['status']} and is {status}.")


def _status(before: str, *, is_there: bool, whole: bool) -> str:
    """What a backup is, by what it was. One that was available and has lost a part stays so: restores say which."""
    if before == states.DELETING:
        return states.ERROR_DELETING
    if before in (states.CREATING, states.RESTORING):
        return states.AVAILABLE if is_there else states.ERROR
    if before == states.AVAILABLE and not is_there and whole:
        return states.ERROR
    return before


def _enter(tx: Connection, outcome: Outcome, chest: Chest, owner: Owner | None, *, now_us: int) -> bool:
    """An archive. Returns whether it has a row now."""
    whose = {kept.project_id for kept in chest.kept if kept.project_id is not None}
    if read_row(tx, archives, chest.archive_id) is not None:
        counted = {"publications": archives.c.publications + 1, "op_seq": archives.c.op_seq + 1}
        tx.execute(update(archives).where(archives.c.id == chest.archive_id).values(**counted))
        return True
    if not chest.kept:
        return False  # nobody's, and nothing is in it: its project will begin another one
    project_id = min(whose) if whose else owner and owner.project_id
    if project_id is None:
        outcome.undecided.append(
            f"Archive {chest.archive_id} in store {chest.store} does not say whose it is: run this again with --project."
        )
        return False
    if not _is_free(tx, outcome, chest, project_id):
        return False
    row = {"id": chest.archive_id, "store": chest.store, "project_id": project_id, "created_at_us": now_us}
    tx.execute(insert(archives).values(op_seq=1, tombstone=False, publications=1, key_check=chest.key_check, **row))
    outcome.changed.append(f"Archive {chest.archive_id} of project {project_id} in store {chest.store} is new.")
    return True


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


def _add(
    tx: Connection, outcome: Outcome, chest: Chest, kept: Kept, owner: Owner | None, *, is_whole: bool, now_us: int
) -> None:
    """A backup that no row knows."""
    if any(read_row(tx, table, kept.backup_id) is not None for table in (volumes, snapshots)):
        outcome.undecided.append(f"Backup {kept.backup_id} has the id of a volume: delete that, and run this again.")
        return
    project_id = tx.execute(select(archives.c.project_id).where(archives.c.id == chest.archive_id)).scalar_one()
    size = max(1, -(-kept.size_bytes // GIB))
    row: dict[str, Any] = {
        column.name: column.default.arg if column.default is not None else None  # type: ignore[attr-defined]
        for column in backups.c
    }
    row |= {"id": kept.backup_id, "op_seq": 1, "project_id": project_id, "volume_id": kept.volume_id, "name": kept.name}
    row |= {"user_id": project_id if owner is None else owner.user_id, "size_gib": size, "charged_gib": size}
    row |= (
        {"status": states.AVAILABLE, "fail_reason": None}
        if is_whole
        else {"status": states.ERROR, "fail_reason": _LOST}
    )
    row |= {"store": chest.store, "container": chest.container, "host": chest.host}
    row |= {"archive_id": chest.archive_id, "manifest": kept.manifest, "parent_id": kept.parent_id}
    row |= {"created_at_us": kept.created_us, "data_timestamp_us": kept.data_us, "updated_at_us": now_us}
    insert_row(tx, backups, row)
    outcome.changed.append(f"Backup {kept.backup_id} of volume {kept.volume_id} is new.")
    if kept.missing:
        outcome.undecided.append(
            f"Backup {kept.backup_id}: {len(kept.missing)} of its packs are not in store {chest.store}."
        )


def _add_unread(
    tx: Connection,
    outcome: Outcome,
    chest: Chest,
    backup_id: str,
    manifest: str,
    owner: Owner | None,
    *,
    now_us: int,
) -> None:
    """A backup of which no row knows, and nobody can read what it is: its row keeps what it needs until it is deleted.

    An archive without a row is never collected, so what is in that needs none.
    """
    if read_row(tx, archives, chest.archive_id) is not None:
        kept = Kept(backup_id, manifest, (), NOBODY, 0, now_us, None, None, None, None)
        _add(tx, outcome, chest, kept, owner, is_whole=False, now_us=now_us)
    outcome.undecided.append(
        f"Backup {backup_id}: its manifest {manifest} in store {chest.store} cannot be read. Nothing of its archive is "
        "collected until it is deleted."
    )


def _let_live(tx: Connection, chest: Chest, kept: Kept, *, now_us: int) -> None:
    """Packs that a manifest names: noted where they were not, and never garbage, whatever an older database thought of them.

    Nobody builds upon those that are not in the store.
    """
    for state, ids in ((LIVE, set(kept.packs) - kept.missing), (LOST, kept.missing)):
        named = sorted(ids)
        for at in range(0, len(named), _AT_ONCE):
            some = named[at : at + _AT_ONCE]
            known = set(tx.execute(select(packs.c.id).where(packs.c.id.in_(some))).scalars())
            changed = update(packs).where(packs.c.id.in_(some), packs.c.state != state)
            tx.execute(changed.values(state=state, swept_at_us=None))
            row = {"archive_id": chest.archive_id, "backup_id": kept.backup_id, "state": state, "seq": 0}
            if new := [row | {"id": one, "created_at_us": now_us} for one in some if one not in known]:
                tx.execute(insert(packs), new)
