"""What is done on storage with all volumes of a group, as steps: each is one for all of them.

A group's own row is nothing on storage. What is made is one copy for each member, under that copy's own id and token, and each
keeps its own checkpoint, so that whoever goes on repeats at most the copy that was under way.
"""

from typing import Any, Final

from breezeblock.protocol.steps import Operation
from breezeblock.resources import group_snapshots, group_sources, groups
from breezeblock.resources.group_snapshots import Part
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


class PartRun(Working):
    """An operation as the copy of one of its parts sees it: the state is that part's own."""

    def __init__(self, whole: Working, part_id: str) -> None:
        # Not a run of its own: claim, tools and store are those of the whole, and so is every save.
        self.__dict__.update(whole.__dict__)
        self._whole = whole
        self.state = whole.state.setdefault("parts", {}).setdefault(part_id, {})

    async def checkpoint(self, *, progress: bool = True, also: Any = None, **changes: Any) -> None:
        """As that of the whole, of this part's state."""
        self.state |= changes
        await self._whole.checkpoint(progress=progress, also=also, parts=self._whole.state["parts"])


async def copy_volumes(run: Working) -> None:
    """Make each snapshot's object as a copy of its volume's. A repeat goes on with the copy that was under way."""
    for part in run.payload.parts:
        await _copy(run, part, tables.volumes)


async def copy_sources(run: Working) -> None:
    """Make each volume's object as a copy of its source's. A repeat goes on with the copy that was under way."""
    for part in run.payload.parts:
        await _copy(run, part, SOURCES[run.payload.source_type])


async def _copy(run: Working, part: Part, table: Any) -> None:
    """One copy. What is whole is not made again, unless a failover has left it on storage that is not in use any more."""
    copying = PartRun(run, part.id)
    if copying.state.get("whole") and same_target(copying):
        return
    copying.state["whole"] = False  # saved with the new name: what a failover left whole is not what is made now
    source = await object_of(run, table, part.source_id)
    name = await own_name(copying, part.id, long=True)
    progress = CopyProgress(copying)
    await run.tools.driver.copy(source, name, size_bytes=part.size_gib * GIB, progress=progress)
    await copying.checkpoint(whole=True)


async def drop_parts(run: Working) -> None:
    """Leave nothing half made behind, and nothing whole either: none of it was published."""
    for part in run.payload.parts:
        await drop_own(run, part.id)


async def delete_volumes(run: Working) -> None:
    """Remove the objects of all volumes. One step: once begun it is not cancelled."""
    doomed: groups.DeleteGroup = run.payload
    await begin_removal(run, *((tables.volumes, volume_id) for volume_id in doomed.volume_ids))
    for volume_id in doomed.volume_ids:
        await drop_kept(run, volume_id)
        await drop_accesses_of(run, volume_id)
        await drop_all(run, volume_id)
        await end_removal(run, volume_id)


async def delete_snapshots(run: Working) -> None:
    """Remove the objects of all snapshots. One step: once begun it is not cancelled."""
    doomed: group_snapshots.DeleteGroupSnapshot = run.payload
    await begin_removal(run, *((tables.snapshots, snapshot_id) for snapshot_id in doomed.snapshot_ids))
    for snapshot_id in doomed.snapshot_ids:
        await drop_all(run, snapshot_id)
        await end_removal(run, snapshot_id)


CREATE_GROUP_SNAPSHOT = Operation(
    kind="create_group_snapshot",
    version=1,
    payload=group_snapshots.CreateGroupSnapshot,
    steps=(copy_volumes,),
    finish=group_snapshots.finish_create,
    undo=(drop_parts,),
    fail=group_snapshots.fail_create,
)
DELETE_GROUP_SNAPSHOT = Operation(
    kind="delete_group_snapshot",
    version=1,
    payload=group_snapshots.DeleteGroupSnapshot,
    steps=(delete_snapshots,),
    finish=group_snapshots.finish_delete,
    fail=group_snapshots.fail_delete,
)
CREATE_GROUP_FROM_SOURCE = Operation(
    kind="create_group_from_source",
    version=1,
    payload=group_sources.CreateGroupFromSource,
    steps=(copy_sources,),
    finish=group_sources.finish_create,
    undo=(drop_parts,),
    fail=group_sources.fail_create,
)
DELETE_GROUP = Operation(
    kind="delete_group",
    version=1,
    payload=groups.DeleteGroup,
    steps=(delete_volumes,),
    finish=groups.finish_delete,
    fail=groups.fail_delete,
)
