"""Managing and letting go of volumes and snapshots, and listing what could be managed, as steps.

Whatever is under the id of what is being managed is one file, adopted by some claim of this operation: it has either its old
name or exactly one of ours, since each change is a rename. So a claim looks for what earlier ones have adopted, and removes
nothing, ever. An earlier claim's adoption that lands late takes the file under its own name, where we then find it.
"""

from sqlalchemy import Table

from breezeblock.drivers.contract import ObjectName
from breezeblock.model.errors import BackendFailed, OverQuota
from breezeblock.protocol.steps import Operation
from breezeblock.resources import manageable, managing, managing_snapshots, snapshots, volumes
from breezeblock.resources.accepted import published_object
from breezeblock.store import tables
from breezeblock.work.kept import drop_kept
from breezeblock.work.tools import GIB, Working, begin_removal, drop_accesses_of, drop_all, end_removal, own_row

# --- manage ---------------------------------------------------------------------------------------------------------


async def adopt_volume(run: Working) -> None:
    """Take the file by its name. A repeat finds it under the name that an earlier claim has given it."""
    await _adopt(run, run.payload.volume_id)


async def adopt_snapshot(run: Working) -> None:
    """As of a volume."""
    await _adopt(run, run.payload.snapshot_id)


async def _adopt(run: Working, resource_id: str) -> None:
    name = await _adopted(run, resource_id) or ObjectName(resource_id, *run.claim.token(resource_id))
    try:
        size_bytes = await run.tools.driver.adopt(run.payload.reference, name)
    except BackendFailed:
        late = await _adopted(run, resource_id)
        if late is None or late == name:
            raise
        name, size_bytes = late, await run.tools.driver.adopt(run.payload.reference, late)
    run.state |= {"object": str(name), "size_gib": -(-size_bytes // GIB)}


async def _adopted(run: Working, resource_id: str) -> ObjectName | None:
    """What a claim of this operation has adopted."""
    token = run.claim.token(resource_id)
    names = [name for name in await run.tools.driver.names_of(resource_id) if (name.seq, name.epoch) <= token]
    return names[-1] if names else None


async def charge_volume(run: Working) -> None:
    """Charge the volume for its size, once: a repeat sees it in the row. Raises BackendFailed when that is too much."""
    wanted: managing.ManageVolume = run.payload
    try:
        await run.write(
            managing.charge_volume,
            volume_id=wanted.volume_id,
            size_gib=run.state["size_gib"],
            quota_defaults=wanted.quota_defaults,
        )
    except OverQuota as error:
        raise BackendFailed(error.message) from error


async def charge_snapshot(run: Working) -> None:
    """Charge the snapshot for its size; one that is larger than its volume is none of it. A repeat changes nothing."""
    wanted: managing_snapshots.ManageSnapshot = run.payload
    size_gib = run.state["size_gib"]
    if size_gib > wanted.size_gib_most:
        raise BackendFailed(
            f"'{wanted.reference}' has {size_gib} GiB; a snapshot of volume {wanted.volume_id} has at most "
            f"{wanted.size_gib_most} GiB."
        )
    await run.write(managing_snapshots.charge_snapshot, snapshot_id=wanted.snapshot_id, size_gib=size_gib)


async def round_up(run: Working) -> None:
    """Let it have whole GiB, as its row says. What is added reads as zeros."""
    name = ObjectName.parse(run.state["object"])
    await run.tools.driver.extend(name, size_bytes=run.state["size_gib"] * GIB)


async def return_volume(run: Working) -> None:
    """Give the file its old name back, whichever claim had adopted it."""
    await _return(run, run.payload.volume_id, managing.RELEASED_AS)


async def return_snapshot(run: Working) -> None:
    """As of a volume."""
    await _return(run, run.payload.snapshot_id, managing_snapshots.RELEASED_AS)


async def _return(run: Working, resource_id: str, otherwise: str) -> None:
    """Somebody else may have the old name by now: then it is the one that a release has."""
    if (name := await _adopted(run, resource_id)) is not None:
        try:
            await run.tools.driver.release(name, run.payload.reference)
        except BackendFailed:
            await run.tools.driver.release(name, otherwise.format(resource_id))


# --- unmanage -------------------------------------------------------------------------------------------------------


async def release_volume(run: Working) -> None:
    """Let the volume's file go, and remove what else is under its id. One step: once begun it is not cancelled."""
    wanted: volumes.DeleteVolume = run.payload
    row = await own_row(run, tables.volumes, wanted.volume_id)
    await begin_removal(run, (tables.volumes, wanted.volume_id))
    await drop_kept(run, wanted.volume_id)
    await drop_accesses_of(run, wanted.volume_id)
    await _release(run, tables.volumes, wanted.volume_id, managing.RELEASED_AS, row["managed_from"] is not None)


async def release_snapshot(run: Working) -> None:
    """As of a volume."""
    wanted: snapshots.DeleteSnapshot = run.payload
    row = await own_row(run, tables.snapshots, wanted.snapshot_id)
    await begin_removal(run, (tables.snapshots, wanted.snapshot_id))
    await _release(
        run, tables.snapshots, wanted.snapshot_id, managing_snapshots.RELEASED_AS, row["managed_from"] is not None
    )


async def _release(run: Working, table: Table, resource_id: str, released_as: str, half_managed: bool) -> None:
    """`half_managed`: what is there is the file that was to be managed, and is published nowhere."""
    if half_managed:
        kept = await _adopted(run, resource_id)
    else:
        published = await run.read(published_object, table=table, row_id=resource_id)
        kept = None if published is None else ObjectName.parse(published)
        await drop_all(run, resource_id, keep=published)
    if kept is not None:
        await run.tools.driver.release(kept, released_as.format(resource_id))
    await end_removal(run, resource_id)


# --- list -----------------------------------------------------------------------------------------------------------


async def look_around(run: Working) -> None:
    """Ask the storage what it has besides our objects. Nothing is changed."""
    run.state[manageable.FOUND] = [
        {
            "reference": one.reference,
            "size_gib": -(-one.size_bytes // GIB),
            "is_snapshot": one.is_snapshot,
            "why_not": one.why_not,
        }
        for one in await run.tools.driver.manageable()
    ]


MANAGE_VOLUME = Operation(
    kind="manage_volume",
    version=1,
    payload=managing.ManageVolume,
    steps=(adopt_volume, charge_volume, round_up),
    finish=managing.finish_manage,
    undo=(return_volume,),
    fail=managing.fail_manage,
)
UNMANAGE_VOLUME = Operation(
    kind="unmanage_volume",
    version=1,
    payload=volumes.DeleteVolume,
    steps=(release_volume,),
    finish=volumes.finish_delete,
    fail=managing.fail_unmanage,
)
MANAGE_SNAPSHOT = Operation(
    kind="manage_snapshot",
    version=1,
    payload=managing_snapshots.ManageSnapshot,
    steps=(adopt_snapshot, charge_snapshot, round_up),
    finish=managing_snapshots.finish_manage,
    undo=(return_snapshot,),
    fail=managing_snapshots.fail_manage,
)
UNMANAGE_SNAPSHOT = Operation(
    kind="unmanage_snapshot",
    version=1,
    payload=snapshots.DeleteSnapshot,
    steps=(release_snapshot,),
    finish=snapshots.finish_delete,
    fail=managing_snapshots.fail_unmanage,
)
LIST_MANAGEABLE = Operation(
    kind=manageable.KIND,
    version=1,
    payload=manageable.ListManageable,
    steps=(look_around,),
    finish=manageable.finish_list,
    fail=manageable.fail_list,
)
