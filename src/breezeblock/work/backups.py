"""Making, deleting and restoring backups, as steps. What a backup consists of is in `docs/explanation/backup.md`."""

from contextlib import aclosing
from typing import Any

import structlog

from breezeblock.backup.contract import StoreUnavailable
from breezeblock.backup.damage import Damaged
from breezeblock.backup.engine import Header, NoArchive, elsewhere
from breezeblock.drivers.contract import ObjectName
from breezeblock.model.errors import BackendFailed
from breezeblock.protocol import archives
from breezeblock.protocol.steps import Operation
from breezeblock.resources import backup_records, backups, cinder_records, restores
from breezeblock.resources.accepted import published_object
from breezeblock.store import tables
from breezeblock.work import cinder, segments
from breezeblock.work.archives import (
    ObjectSource,
    OperationBook,
    key_check_of,
    metered,
    open_archive,
    patiently,
    traffic_of,
)
from breezeblock.work.gaps import Gaps
from breezeblock.work.kept import copy_aside, drop_aside, drop_copy, drop_kept_of, drop_older, source_of, told_since
from breezeblock.work.pace import FillProgress, Pace, Passed
from breezeblock.work.tools import GIB, Working, drop_all, drop_own, own_name, own_row, same_target
from breezeblock.work.traffic import counting
from breezeblock.work.volumes import drop_unpublished

log = structlog.get_logger(__name__)

# --- making one -----------------------------------------------------------------------------------------------------


async def enter_archive(run: Working) -> None:
    """Make the project's archive where there is none, and pin it. A repeat keeps the pin."""
    wanted: backups.CreateBackup = run.payload
    key_check = await patiently(run, lambda: key_check_of(run, wanted.archive_id))
    run.state["archive"] = await run.note(
        backups.enter,
        payload=wanted,
        project_id=run.claim.project_id,
        key_check=key_check,
        now_us=run.tools.clock.now_us(),
    )


async def store_segments(run: Working) -> None:
    """Store what is not there yet, one GiB after the other. A repeat begins with the one after the last checkpoint.

    After a failover all of it is read again: the storage in use may lag behind the one that the first half was read from.
    """
    await patiently(run, lambda: _store_segments(run))


async def _store_segments(run: Working) -> None:
    wanted: backups.CreateBackup = run.payload
    name = await source_of(run)
    archive = await open_archive(run, run.state["archive"])
    done = await segments.count(run)
    source = Passed(ObjectSource(run.tools.driver, name, wanted.size_gib * GIB), whole=done)
    pace = Pace(run, source.size_bytes, start=source.done_bytes)
    async with archive.writing(OperationBook(run, run.state["archive"])) as writer:
        told = await told_since(run, archive, name)  # after the book was asked: what it says is usable stays
        stored = writer.segments(source, start=done, told=told)
        async with aclosing(stored), counting(traffic_of(run), writer.written) as counts:
            while (segment := await pace.while_telling(anext(stored, None), source)) is not None:
                source.pass_over(segment.number + 1)
                counts.count()
                await segments.save(run, [segment], **pace.told(source.done_bytes))


async def publish_backup(run: Working) -> None:
    """Upload the manifest, and name it in the row. Publishing twice is publishing once.

    Each claim uploads it under a name of its own. One that an earlier claim has left unnamed is removed first; if it
    arrives later than that, the backup's deletion finds it. A node that was lost may still do the same: it removes nothing
    that a later claim has made.
    """
    wanted: backups.CreateBackup = run.payload
    if await run.read(published_object, table=tables.backups, row_id=wanted.backup_id) is None:
        await patiently(run, lambda: _publish(run))
    await segments.forget(run)


async def _publish(run: Working) -> None:
    wanted: backups.CreateBackup = run.payload
    archive = await open_archive(run, run.state["archive"])
    seq, epoch = run.claim.token(wanted.backup_id)
    name = f"{wanted.backup_id}.{seq}.{epoch}"
    if epoch > 1:
        await archive.delete_manifests(wanted.backup_id, up_to=(seq, epoch))
    row = await own_row(run, tables.backups, wanted.backup_id)
    published = await archive.put_manifest(name, _header(row), await segments.load(run))
    if missing := await archive.missing_packs(published.named):
        await run.note(archives.lose, archive_id=archive.id, ids=missing)
        raise BackendFailed(
            f"{len(missing)} packs that the backup shares with earlier ones are not in store {wanted.store}: those backups "
            "are damaged. A new one will not build upon them."
        )
    # Saved before it counts: a repeat that finds it published has no other way to know.
    await run.checkpoint(object_count=published.object_count, stored_bytes=published.stored_bytes)
    await run.write(
        backups.publish,
        backup_id=wanted.backup_id,
        manifest=name,
        named=published.named,
    )


def _header(row: dict[str, Any]) -> Header:
    return Header(
        backup_id=row["id"],
        volume_id=row["volume_id"],
        size_bytes=row["size_gib"] * GIB,
        created_us=row["created_at_us"],
        data_us=row["data_timestamp_us"],
        name=row["name"],
        project_id=row["project_id"],
        parent=row["parent_id"],
    )


async def withdraw_backup(run: Working) -> None:
    """Let the row name no manifest, and remove what was uploaded of it.

    A store that does not answer, or will not, keeps it until the backup is deleted: neither the volume nor the copy that was
    made aside is to wait for that.
    """
    wanted: backups.CreateBackup = run.payload
    if "archive" not in run.state:
        return
    await segments.forget(run)
    await run.note(backups.unpublish, backup_id=wanted.backup_id)
    try:
        archive = await open_archive(run, run.state["archive"], begin=False)
        await archive.delete_manifests(wanted.backup_id, up_to=run.claim.token(wanted.backup_id))
    except (StoreUnavailable, BackendFailed) as error:
        log.warning("backup.manifest_left", backup_id=wanted.backup_id, reason=str(error))


# --- knowing one again ----------------------------------------------------------------------------------------------


async def import_backup(run: Working) -> None:
    """Read the manifest that a record names, and let the backup exist with its packs. A repeat finds it done."""
    await patiently(run, lambda: _import(run))


async def _import(run: Working) -> None:
    wanted: backup_records.ImportBackup = run.payload
    if await run.read(published_object, table=tables.backups, row_id=wanted.backup_id) is not None:
        return
    archive = await open_archive(run, wanted.archive_id, begin=False)
    manifest = await archive.read_manifest(wanted.manifest)
    row = await own_row(run, tables.backups, run.payload.backup_id)
    if manifest.header.size_bytes != row["size_gib"] * GIB:
        raise BackendFailed(f"The manifest of backup {wanted.backup_id} is of another size than its record says.")
    if missing := await archive.missing_packs(manifest.packs):
        raise BackendFailed(f"{len(missing)} packs of backup {wanted.backup_id} are not in store {wanted.store}.")
    await run.write(
        backup_records.adopt,
        payload=wanted,
        project_id=run.claim.project_id,
        named=manifest.packs,
        key_check=archive.key_check,
        now_us=run.tools.clock.now_us(),
    )


# --- deleting one ---------------------------------------------------------------------------------------------------


async def delete_backup(run: Working) -> None:
    """Let the row name no manifest, then remove what there is of it. One step: once begun it is not cancelled."""
    doomed: backups.DeleteBackup = run.payload
    row = await own_row(run, tables.backups, doomed.backup_id)
    await drop_kept_of(run, doomed.backup_id)
    if row["temp_volume_id"] is not None:
        await _drop_copies(run)
    if row["archive_id"] is None:
        return
    if row["manifest"] is not None:
        run.state["manifest"] = row["manifest"]  # a listing may lag behind, and then this is all that is known of it
        await run.record()
    await run.note(backups.unpublish, backup_id=doomed.backup_id)
    if doomed.forced:
        await _delete_or_leave(run, row["archive_id"])
    else:
        await patiently(run, lambda: _delete_manifests(run, row["archive_id"]), cancellable=False)


async def _drop_copies(run: Working) -> None:
    """Remove what a backup that failed may have left on the storage of its volume. By force, only if that is there."""
    try:
        await drop_all(run, run.payload.backup_id)
    except BackendFailed as error:
        if not run.payload.forced:
            raise
        log.warning("backup.copy_left", backup_id=run.payload.backup_id, reason=error.message)


async def _delete_or_leave(run: Working, archive_id: str) -> None:
    """By force: a store that is gone for good keeps nobody's row. What is left there is told."""
    try:
        await _delete_manifests(run, archive_id)
    except (StoreUnavailable, BackendFailed) as error:
        log.warning("backup.manifest_left", backup_id=run.payload.backup_id, reason=str(error))


async def _delete_manifests(run: Working, archive_id: str) -> None:
    try:
        archive = await open_archive(run, archive_id, begin=False)
    except NoArchive:
        if "manifest" in run.state:
            raise StoreUnavailable(elsewhere(run.payload.store, archive_id)) from None
        return  # nothing of it was ever stored
    backup_id = run.payload.backup_id
    named = [run.state["manifest"]] if "manifest" in run.state else []
    await archive.delete_manifests(backup_id, up_to=run.claim.token(backup_id), named=named)


# --- restoring one --------------------------------------------------------------------------------------------------


async def fill_volume(run: Working) -> None:
    """Make a new object from the backup, beside the one that the volume may be. A repeat continues it."""
    wanted: restores.RestoreBackup = run.payload
    published = await run.read(published_object, table=tables.volumes, row_id=wanted.volume_id)
    name = await own_name(run, wanted.volume_id, long=True, keep=published)
    await patiently(run, lambda: _fill(run, name))
    run.state["filled"] = str(name)


async def _fill(run: Working, name: ObjectName) -> None:
    wanted: restores.RestoreBackup = run.payload
    row = await own_row(run, tables.backups, run.payload.backup_id)
    if (place := cinder_records.place_of(row)) is not None:
        await cinder.fill(run, row, place, name)
        return
    if row["manifest"] is None or row["archive_id"] is None:
        raise BackendFailed(f"Backup {wanted.backup_id} has no data.")
    archive = await open_archive(run, row["archive_id"], begin=False)
    manifest = await archive.read_manifest(row["manifest"])
    size_bytes = wanted.size_gib * GIB
    if wanted.skip_damaged:
        gaps = Gaps(run, archive, manifest)
        await run.tools.driver.fill(name, size_bytes=size_bytes, pieces=gaps.pieces, progress=gaps)
        gaps.end()
        return
    try:
        await run.tools.driver.fill(
            name,
            size_bytes=size_bytes,
            pieces=lambda start: metered(run, archive.pieces(manifest, start=start)),
            progress=FillProgress(run, row["size_gib"] * GIB),
        )
    except Damaged as damage:
        raise BackendFailed(f"{damage.message}. {restores.how_to_skip(wanted.backup_id)}") from damage


async def publish_filled(run: Working) -> None:
    """Let the volume be the new object. Publishing twice is publishing once.

    As after a revert: one that was made before a failover is made again, and `filled` names what is whole.
    """
    made = run.state["object"]
    published = await run.read(published_object, table=tables.volumes, row_id=run.payload.volume_id) == made
    if published and (same_target(run) or await run.tools.driver.exists(ObjectName.parse(made))):
        return
    if not same_target(run) or run.state.get("filled") != made:
        await fill_volume(run)
    await run.write(
        restores.publish_filled,
        volume_id=run.payload.volume_id,
        object_name=run.state["object"],
        now_us=run.tools.clock.now_us(),
    )


async def drop_filled(run: Working) -> None:
    """Leave nothing half made of a new volume behind."""
    await drop_own(run, run.payload.volume_id)


CREATE_BACKUP = Operation(
    kind="create_backup",
    version=segments.ROWS_FROM,
    payload=backups.CreateBackup,
    steps=(copy_aside, enter_archive, store_segments, drop_copy, publish_backup, drop_older),
    finish=backups.finish_create,
    undo=(withdraw_backup, drop_aside),
    fail=backups.fail_create,
    is_patient=True,
)
DELETE_BACKUP = Operation(
    kind="delete_backup",
    version=1,
    payload=backups.DeleteBackup,
    steps=(delete_backup,),
    finish=backups.finish_delete,
    fail=backups.fail_delete,
    is_patient=True,
)
IMPORT_BACKUP = Operation(
    kind="import_backup",
    version=1,
    payload=backup_records.ImportBackup,
    steps=(import_backup,),
    finish=backup_records.finish_import,
    fail=backup_records.fail_import,
    is_patient=True,
)
RESTORE_BACKUP = Operation(
    kind="restore_backup",
    version=1,
    payload=restores.RestoreBackup,
    steps=(fill_volume, publish_filled, drop_unpublished),
    finish=restores.finish_restore,
    undo=(drop_unpublished,),
    fail=restores.fail_restore,
    is_patient=True,
)
CREATE_FROM_BACKUP = Operation(
    kind="create_from_backup",
    version=1,
    payload=restores.RestoreBackup,
    steps=(fill_volume,),
    finish=restores.finish_create,
    undo=(drop_filled,),
    fail=restores.fail_create,
    is_patient=True,
)
