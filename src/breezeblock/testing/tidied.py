"""What must hold of backups and of their store when all has come to rest, and garbage has been collected.

*Data*: what is available can be read whole from the store alone, and is what was backed up. *Once*: the store has exactly
what rows tell of.
"""

from collections import defaultdict
from collections.abc import Collection
from random import Random

from sqlalchemy import Connection, func, select

from breezeblock.backup.damage import Damaged
from breezeblock.backup.manifest import manifest_key, manifest_prefix
from breezeblock.backup.packs import pack_key
from breezeblock.model.errors import BackendFailed
from breezeblock.protocol.archives import LIVE
from breezeblock.store.tables import archives, backups, packs, stray_objects
from breezeblock.testing.cluster import Cluster
from breezeblock.testing.invariants import Watcher
from breezeblock.testing.virtual import LockFiles, VirtualClock, VirtualEnv, VirtualIds, VirtualThreads

__all__ = ["check_backups", "next_due", "onlooker"]


def next_due(tx: Connection) -> int | None:
    """When the next archive is to be looked through, or what a migration has left is to be removed; None when nothing is."""
    columns = (archives.c.collect_after_us, stray_objects.c.not_before_us)
    found = (tx.execute(select(func.min(column))).scalar_one() for column in columns)
    return min((due_us for due_us in found if due_us is not None), default=None)


async def check_backups(tx: Connection, watcher: Watcher, cluster: Cluster) -> None:
    """Everything that must hold once all has come to rest."""
    rows = tx.execute(select(backups).where(backups.c.manifest.is_not(None), ~backups.c.tombstone)).mappings().all()
    named: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        named[row["archive_id"]] |= await _check_backup(dict(row), watcher, cluster)
    for pinned in tx.execute(select(backups.c.id).where(backups.c.pin.is_not(None))).scalars():
        watcher.violated("Once", f"backup {pinned} still pins its archive")
    manifests = {manifest_key(row["archive_id"], row["manifest"]) for row in rows}
    kept = dict(tx.execute(select(backups.c.id, backups.c.status).where(~backups.c.tombstone)).all())
    for archive_id in tx.execute(select(archives.c.id)).scalars().all():
        _check_packs(tx, archive_id, named[archive_id], watcher, cluster)
        _check_manifests(archive_id, manifests, kept, watcher, cluster)


async def _check_backup(row: dict[str, str], watcher: Watcher, cluster: Cluster) -> set[str]:
    """Returns the packs that its manifest names."""
    env = onlooker()
    try:
        found = await cluster.safe.read_whole(row["archive_id"], row["manifest"], env)
        manifest = await cluster.safe.at_rest(row["archive_id"], env).read_manifest(row["manifest"])
    except (Damaged, BackendFailed) as error:
        watcher.violated("Data", f"backup {row['id']} ({row['status']}) cannot be read: {error}")
        return set()
    if watcher.contents.knows(row["id"]) and (problem := watcher.contents.judge(row["id"], found)) is not None:
        watcher.violated("Data", f"backup {row['id']} {problem}")
    return set(manifest.packs)


def _check_packs(tx: Connection, archive_id: str, named: Collection[str], watcher: Watcher, cluster: Cluster) -> None:
    """Those that are named have rows and objects, and there are no others."""
    rows = dict(tx.execute(select(packs.c.id, packs.c.state).where(packs.c.archive_id == archive_id)).all())
    for pack, state in rows.items():
        if state != LIVE or pack not in named:
            how = "named" if pack in named else "not named"
            watcher.violated("Once", f"pack {pack} is {state}, and {how} by any backup")
    shelf, known = cluster.safe.shelf, {pack_key(archive_id, pack) for pack in rows}
    for key in sorted(shelf.objects.keys() - known):
        if key.startswith(f"{archive_id}/packs/"):
            watcher.violated("Once", f"object {key} is in the store, and no row tells of it")
    for pack in named - rows.keys():
        watcher.violated("Once", f"pack {pack} is named by a backup and has no row")


def _check_manifests(
    archive_id: str, manifests: Collection[str], kept: dict[str, str], watcher: Watcher, cluster: Cluster
) -> None:
    """Those that no row names are what an attempt has left that could not remove it; the deletion of its backup does.

    By force it does not insist: what a store that does not answer keeps then, stays.
    """
    shelf, prefix = cluster.safe.shelf, manifest_prefix(archive_id)
    deletions = watcher.payloads("delete_backup").items()
    left = {one["backup_id"] for id_, one in deletions if one["forced"] and id_ in shelf.refused}
    for key in sorted(key for key in shelf.objects if key.startswith(prefix) and key not in manifests):
        backup_id = key.removeprefix(prefix).partition(".")[0]
        if backup_id not in kept and key not in shelf.landed_late and backup_id not in left:
            watcher.violated("Once", f"manifest {key} is in the store, and its backup is gone")


def onlooker() -> VirtualEnv:
    """Of whoever looks: nothing that it does is drawn from the seed."""
    random, locks = Random("tidied"), LockFiles()
    return VirtualEnv(VirtualClock(), random, VirtualIds(random), _NoFiles(), locks, VirtualThreads())  # type: ignore[arg-type]


class _NoFiles:
    """An archive touches no files but its cache, and here it has none."""
