"""What backups are read from, and what is kept of it: the source of what a volume has changed since its last backup.

`docs/explanation/backup.md` tells why any of it may vanish at any time.
"""

from collections.abc import Sequence

import structlog
from sqlalchemy import Connection

from breezeblock.backup.damage import Damaged
from breezeblock.backup.engine import Archive, Segment, Told
from breezeblock.backup.packs import SEGMENT_BYTES
from breezeblock.drivers.contract import ObjectName
from breezeblock.model.errors import BackendFailed
from breezeblock.resources import backups, kept
from breezeblock.resources.accepted import published_object
from breezeblock.store import tables
from breezeblock.work import segments
from breezeblock.work.tools import GIB, CopyProgress, Working, drop_own, object_of, own_name, own_row

__all__ = [
    "copy_aside",
    "drop_aside",
    "drop_copy",
    "drop_kept",
    "drop_kept_of",
    "drop_older",
    "source_of",
    "told_since",
]

log = structlog.get_logger(__name__)


# --- what a backup is read from -------------------------------------------------------------------------------------


async def copy_aside(run: Working) -> None:
    """Make what the backup is read from: what the storage can keep of the source at once, or a copy of a volume in use.

    A repeat begins anew, also in the same claim, and with it whatever was read: half of it would be of another moment. It is
    made under the backup's own id, so that nothing else ever takes it for a volume, and has its row before. Storage that
    replicates keeps nothing: what a failover leaves behind would be nobody's.
    """
    wanted: backups.CreateBackup = run.payload
    if await run.read(published_object, table=tables.backups, row_id=wanted.backup_id) is not None:
        return  # what it is of has been read
    if run.state.get("object") is not None:
        await drop_own(run, wanted.backup_id)
        await segments.forget(run)
        run.state |= {"object": None, "kept": None, "segments": []}
    source = await _original(run)
    keeps = not run.tools.driver.capabilities.replication
    if not (keeps or wanted.aside):
        return

    def remember(tx: Connection, object_name: str) -> None:
        row = {"backup_id": wanted.backup_id, "volume_id": wanted.volume_id, "queue": run.claim.queue}
        kept.remember(tx, object_name=object_name, **row)

    name = await own_name(run, wanted.backup_id, long=True, also=remember)
    if keeps and await _keep(run, source, name):
        run.state["kept"] = str(name)
    elif wanted.aside:
        await run.tools.driver.copy(source, name, size_bytes=wanted.size_gib * GIB, progress=CopyProgress(run))
    else:
        await run.note(kept.forget, backup_id=wanted.backup_id, object_name=str(name))


async def _keep(run: Working, source: ObjectName, name: ObjectName) -> bool:
    """Whether the storage keeps the source as it is. One that fails at that may be read all the same: it may be full."""
    try:
        return await run.tools.driver.keep(source, name)
    except BackendFailed as error:
        log.warning("backup.not_kept", backup_id=run.payload.backup_id, reason=error.message)
        await run.tools.driver.delete(name)
        return False


async def source_of(run: Working) -> ObjectName:
    """What is read: what was made aside, or where nothing had to be, the snapshot or the volume itself."""
    wanted: backups.CreateBackup = run.payload
    if not wanted.aside and run.state.get("kept") is None:
        return await _original(run)
    name = ObjectName.parse(run.state["object"])
    if await run.tools.driver.exists(name):
        return name
    if wanted.aside:
        raise BackendFailed("The copy of the volume that was to be backed up is not on the storage in use any more.")
    run.state["kept"] = None
    return await _original(run)  # nobody has written to it: it is ours, or a snapshot


async def _original(run: Working) -> ObjectName:
    wanted: backups.CreateBackup = run.payload
    if wanted.snapshot_id is not None:
        return await object_of(run, tables.snapshots, wanted.snapshot_id)
    return await object_of(run, tables.volumes, wanted.volume_id)


async def drop_aside(run: Working) -> None:
    """Remove what was made aside, whichever claim has made it. Nothing will be read from it any more."""
    await drop_own(run, run.payload.backup_id)
    if (name := run.state.get("object")) is not None:
        await run.note(kept.forget, backup_id=run.payload.backup_id, object_name=name)
    run.state |= {"aside_dropped": True, "kept": None}


async def drop_copy(run: Working) -> None:
    """Remove what was made aside when everything has been read, unless it is kept."""
    if run.payload.aside and run.state.get("kept") is None:
        await drop_aside(run)


# --- what has changed -----------------------------------------------------------------------------------------------


async def told_since(run: Working, archive: Archive, source: ObjectName) -> Told | None:
    """What the storage can tell of the changes since an earlier backup, where this one is to be incremental; None: nothing.

    That is the latest of which something is kept: perhaps not the one that was the latest when this was asked for. It is not
    held. Deleted meanwhile, its packs are there as long as our pin is, and what was kept of it is missed.
    """
    wanted: backups.CreateBackup = run.payload
    row = await own_row(run, tables.backups, wanted.backup_id)
    if row["parent_id"] is None or run.state.get("kept") is None:
        return None
    where = {"queue": run.claim.queue, "archive_id": archive.id}
    base = await run.read(kept.base_of_volume, volume_id=wanted.volume_id, **where)
    if base is None:
        return None
    try:
        manifest = await archive.read_manifest(base.manifest)
    except Damaged as error:
        log.warning("backup.base_not_used", backup_id=row["id"], base_id=base.backup_id, reason=str(error))
        return None
    there: Sequence[Segment] = manifest.segments
    since = ObjectName.parse(base.object_name)

    async def told(number: int) -> tuple[Segment, Sequence[tuple[int, int]]] | None:
        if number >= len(there):
            return None
        at = number * SEGMENT_BYTES
        try:
            changed = await run.tools.driver.changes(source, since=since, offset=at, length=SEGMENT_BYTES)
        except BackendFailed as error:
            log.warning("backup.changes_not_told", backup_id=row["id"], segment=number, reason=error.message)
            return None
        return (there[number], changed) if changed is not None else None

    return told


# --- its end --------------------------------------------------------------------------------------------------------


async def drop_older(run: Working) -> None:
    """Remove what earlier backups of the volume have kept: the next one is compared with this one.

    This backup is whole, and must not wait for that, nor be brought down by it: what the storage does not remove at the first
    attempt keeps its row, for the next backup or the end of the volume.
    """
    if run.claim.attempt > 0:
        return
    wanted: backups.CreateBackup = run.payload
    where = {"volume_id": wanted.volume_id, "queue": run.claim.queue}
    for backup_id, object_name in await run.read(kept.older_of_volume, than=wanted.backup_id, **where):
        await _drop_or_leave(run, backup_id, object_name)


async def drop_kept(run: Working, volume_id: str) -> None:
    """Remove all that is kept of a volume on this backend. Raises BackendFailed: the volume is not to go before."""
    for backup_id, object_name in await run.read(kept.kept_of_volume, volume_id=volume_id, queue=run.claim.queue):
        await _drop(run, backup_id, object_name)


async def drop_kept_of(run: Working, backup_id: str) -> None:
    """Remove what a backup has kept, if it is on this backend, and that lets it go. Else its volume's end does."""
    if (object_name := await run.read(kept.kept_of_backup, backup_id=backup_id, queue=run.claim.queue)) is not None:
        await _drop_or_leave(run, backup_id, object_name)


async def _drop_or_leave(run: Working, backup_id: str, object_name: str) -> None:
    try:
        await _drop(run, backup_id, object_name)
    except BackendFailed as error:
        log.warning("backup.kept_left", backup_id=backup_id, object=object_name, reason=error.message)


async def _drop(run: Working, backup_id: str, object_name: str) -> None:
    await run.tools.driver.delete(ObjectName.parse(object_name))
    await run.note(kept.forget, backup_id=backup_id, object_name=object_name)
