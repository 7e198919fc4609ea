"""Creating, deleting, extending, reverting and retyping volumes, as steps."""

from typing import Final

from breezeblock.drivers.contract import ObjectName
from breezeblock.model.errors import BackendFailed
from breezeblock.protocol.steps import Operation
from breezeblock.resources import volume_changes, volumes
from breezeblock.resources.accepted import published_object
from breezeblock.store import tables
from breezeblock.work.kept import drop_kept
from breezeblock.work.tools import (
    GIB,
    CopyProgress,
    Working,
    begin_removal,
    drop_accesses_of,
    drop_all,
    drop_own,
    end_removal,
    object_of,
    own_name,
    same_target,
)

SOURCES: Final = {"volumes": tables.volumes, "snapshots": tables.snapshots}


async def make_volume(run: Working) -> None:
    """Make the volume's object, empty or as a copy. A repeat continues the copy or finds the work done."""
    wanted: volumes.CreateVolume = run.payload
    size_bytes = wanted.size_gib * GIB
    if wanted.source_type is None or wanted.source_id is None:
        name = await own_name(run, wanted.volume_id, long=False)
        await run.tools.driver.create(name, size_bytes=size_bytes)
        return
    source = await object_of(run, SOURCES[wanted.source_type], wanted.source_id)
    name = await own_name(run, wanted.volume_id, long=True)
    await run.tools.driver.copy(source, name, size_bytes=size_bytes, progress=CopyProgress(run))


async def drop_volume(run: Working) -> None:
    """Leave nothing half made behind."""
    await drop_own(run, run.payload.volume_id)


async def delete_objects(run: Working) -> None:
    """Remove the volume's objects, those of its doomed snapshots first. One step: once begun it is not cancelled."""
    doomed: volumes.DeleteVolume = run.payload
    snapshots = [(tables.snapshots, snapshot_id) for snapshot_id in doomed.snapshot_ids]
    await begin_removal(run, *snapshots, (tables.volumes, doomed.volume_id))
    await drop_kept(run, doomed.volume_id)
    await drop_accesses_of(run, doomed.volume_id)
    for resource_id in (*doomed.snapshot_ids, doomed.volume_id):
        await drop_all(run, resource_id)
        await end_removal(run, resource_id)


async def grow_object(run: Working) -> None:
    """Make the object larger, by a call that cannot shrink it."""
    wanted: volume_changes.ExtendVolume = run.payload
    name = await object_of(run, tables.volumes, wanted.volume_id)
    await run.tools.driver.extend(name, size_bytes=wanted.size_gib_new * GIB)


async def copy_snapshot(run: Working) -> None:
    """Make a new object from the snapshot, beside the one that the volume still is."""
    wanted: volume_changes.RevertVolume = run.payload
    source = await object_of(run, tables.snapshots, wanted.snapshot_id)
    published = await object_of(run, tables.volumes, wanted.volume_id)
    name = await own_name(run, wanted.volume_id, long=True, keep=str(published))
    size_bytes = wanted.size_gib * GIB
    await run.tools.driver.copy(source, name, size_bytes=size_bytes, progress=CopyProgress(run))
    run.state["copied"] = str(name)


async def publish_copy(run: Working) -> None:
    """Let the volume be the new object. Publishing twice is publishing once.

    A copy that was made before a failover is not on the storage in use, or nobody knows: it is made again. Whoever comes after
    a crash in the middle of that makes it to its end: `copied` names what is whole, and nothing else is ever published. But
    what is published is the volume, and is made again only where the storage in use does not have it.
    """
    made = run.state["object"]
    published = await run.read(published_object, table=tables.volumes, row_id=run.payload.volume_id) == made
    if published and (same_target(run) or await run.tools.driver.exists(ObjectName.parse(made))):
        return
    if not same_target(run) or run.state.get("copied") != made:
        await copy_snapshot(run)
    await run.write(
        volume_changes.publish_reverted,
        volume_id=run.payload.volume_id,
        object_name=run.state["object"],
        now_us=run.tools.clock.now_us(),
    )


async def drop_unpublished(run: Working) -> None:
    """Remove every object of the volume but the published one: the old one after a revert, the new one after a failed one.

    Nothing is removed when the published one is not there, as after a failover to storage that lags behind: what is left
    may be all that there is of the volume.
    """
    volume_id = run.payload.volume_id
    published = await object_of(run, tables.volumes, volume_id)
    if not await run.tools.driver.exists(published):
        raise BackendFailed(f"Volume {volume_id} is not on the storage in use: nothing of it was removed.")
    await drop_all(run, volume_id, keep=str(published))


CREATE_VOLUME = Operation(
    kind="create_volume",
    version=1,
    payload=volumes.CreateVolume,
    steps=(make_volume,),
    finish=volumes.finish_create,
    undo=(drop_volume,),
    fail=volumes.fail_create,
)
DELETE_VOLUME = Operation(
    kind="delete_volume",
    version=1,
    payload=volumes.DeleteVolume,
    steps=(delete_objects,),
    finish=volumes.finish_delete,
    fail=volumes.fail_delete,
)
EXTEND_VOLUME = Operation(
    kind="extend_volume",
    version=1,
    payload=volume_changes.ExtendVolume,
    steps=(grow_object,),
    finish=volume_changes.finish_extend,
    fail=volume_changes.fail_extend,
)
REVERT_VOLUME = Operation(
    kind="revert_volume",
    version=1,
    payload=volume_changes.RevertVolume,
    steps=(copy_snapshot, publish_copy, drop_unpublished),
    finish=volume_changes.finish_revert,
    undo=(drop_unpublished,),
    fail=volume_changes.fail_revert,
)
RETYPE_VOLUME = Operation(
    kind="retype_volume",
    version=1,
    payload=volume_changes.RetypeVolume,
    steps=(),
    finish=volume_changes.finish_retype,
    fail=volume_changes.fail_retype,
)
