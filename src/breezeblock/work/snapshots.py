"""Taking and deleting snapshots, as steps."""

from breezeblock.protocol.steps import Operation
from breezeblock.resources import snapshots
from breezeblock.store import tables
from breezeblock.work.tools import (
    GIB,
    CopyProgress,
    Working,
    begin_removal,
    drop_all,
    drop_own,
    end_removal,
    object_of,
    own_name,
)


async def copy_volume(run: Working) -> None:
    """Make the snapshot's object as a copy of the volume's. A repeat continues the copy."""
    wanted: snapshots.CreateSnapshot = run.payload
    source = await object_of(run, tables.volumes, wanted.volume_id)
    name = await own_name(run, wanted.snapshot_id, long=True)
    size_bytes = wanted.size_gib * GIB
    await run.tools.driver.copy(source, name, size_bytes=size_bytes, progress=CopyProgress(run))


async def drop_snapshot(run: Working) -> None:
    """Leave nothing half made behind."""
    await drop_own(run, run.payload.snapshot_id)


async def delete_objects(run: Working) -> None:
    """Remove the snapshot's objects."""
    await begin_removal(run, (tables.snapshots, run.payload.snapshot_id))
    await drop_all(run, run.payload.snapshot_id)
    await end_removal(run, run.payload.snapshot_id)


CREATE_SNAPSHOT = Operation(
    kind="create_snapshot",
    version=1,
    payload=snapshots.CreateSnapshot,
    steps=(copy_volume,),
    finish=snapshots.finish_create,
    undo=(drop_snapshot,),
    fail=snapshots.fail_create,
)
DELETE_SNAPSHOT = Operation(
    kind="delete_snapshot",
    version=1,
    payload=snapshots.DeleteSnapshot,
    steps=(delete_objects,),
    finish=snapshots.finish_delete,
    fail=snapshots.fail_delete,
)
