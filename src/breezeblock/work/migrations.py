"""Moving volumes between backends, and removing what that leaves, as steps.

The operation waits in the queue of the backend that it writes to, so it is fenced there as any other. Of the old backend it
only reads: what removes the old object later waits in that one's queue.
"""

from collections.abc import AsyncGenerator
from typing import Final

from sqlalchemy import Connection

from breezeblock.drivers.contract import Driver, ObjectName
from breezeblock.model.errors import BackendFailed
from breezeblock.protocol.steps import Operation
from breezeblock.resources import migrations, moves, strays
from breezeblock.resources.accepted import queue_of
from breezeblock.resources.backends import in_use
from breezeblock.store import tables
from breezeblock.store.transitions import read_row
from breezeblock.work.kept import drop_kept
from breezeblock.work.pace import FillProgress
from breezeblock.work.tools import GIB, Working, drop_own, object_of, own_name

# So much of the old object is in memory at a time.
PIECE_BYTES: Final = 4 << 20


async def copy_over(run: Working) -> None:
    """Make the volume's new object from its old one. A repeat goes on from the last checkpoint, where that may be.

    The old one does not change meanwhile: the volume is attached to nobody, and our lock keeps everybody else from it.
    """
    wanted: moves.MigrateVolume = run.payload
    old = await run.read(in_use, queue=queue_of(wanted.from_pool))
    if run.state.setdefault("source_generation", old.generation) != old.generation:
        raise BackendFailed(f"The backend of {wanted.from_pool} has failed over while the volume was copied from it.")
    assert run.tools.source is not None, "whoever claims it serves both backends"
    source = run.tools.source(old.target)
    await run.note(migrations.say_migrating, volume_id=wanted.volume_id)

    def remember(tx: Connection, object_name: str) -> None:
        strays.remember(tx, volume_id=wanted.volume_id, queue_name=run.claim.queue)

    name = await own_name(run, wanted.volume_id, long=True, also=remember)
    await _drop_older(run, name)
    size_bytes = wanted.size_gib * GIB
    original = await object_of(run, tables.volumes, wanted.volume_id)
    await run.tools.driver.fill(
        name,
        size_bytes=size_bytes,
        pieces=lambda start: _pieces(source, original, start, size_bytes),
        progress=FillProgress(run, size_bytes),
    )


async def _drop_older(run: Working, name: ObjectName) -> None:
    """Remove what earlier migrations to this backend have left: once we are published, nobody looks for it."""
    for other in await run.tools.driver.names_of(name.resource_id):
        if other.seq < name.seq:
            await run.tools.driver.delete(other)


async def _pieces(
    source: Driver, name: ObjectName, start: int, size_bytes: int
) -> AsyncGenerator[tuple[int, bytes], None]:
    """What there is of an object from byte `start` on; not what it has behind that size, where an extend has failed."""
    offset = start
    while (run := await source.next_data(name, offset)) is not None:
        offset, end = run[0], min(run[1], size_bytes)
        while offset < end:
            data = await source.read(name, offset=offset, length=min(PIECE_BYTES, end - offset))
            if not data:  # going on would ask for the same bytes for ever
                raise BackendFailed("The old backend returned no data in the middle of the volume.")
            yield offset, data
            offset += len(data)
        if offset >= size_bytes:
            return


async def drop_target(run: Working) -> None:
    """Leave nothing half made on the new backend."""
    await drop_own(run, run.payload.volume_id)
    run.state["target_dropped"] = True


async def drop_strays(run: Working) -> None:
    """Remove everything of a volume from a backend that it is not on. What is gone already stays gone."""
    doomed: strays.DropStrays = run.payload
    row = await run.read(read_row, tables.volumes, doomed.volume_id)
    if row is not None and not row["tombstone"] and row["pool_name"] and queue_of(row["pool_name"]) == run.claim.queue:
        return  # it has come back, and what is there is the volume
    await drop_kept(run, doomed.volume_id)
    own = next(iter(run.claim.locks))
    token = (own.seq, run.claim.epoch) if own.resource_id == doomed.volume_id else None
    for name in await run.tools.driver.names_of(doomed.volume_id):
        # Of a volume that is gone nothing is ever made again.
        if token is None or (name.seq, name.epoch) <= token:
            await run.tools.driver.delete(name)


MIGRATE_VOLUME: Final = Operation(
    kind=moves.KIND,
    version=1,
    payload=moves.MigrateVolume,
    steps=(copy_over,),
    finish=migrations.finish_migrate,
    undo=(drop_target,),
    fail=migrations.fail_migrate,
)
DROP_STRAYS: Final = Operation(
    kind=strays.KIND,
    version=1,
    payload=strays.DropStrays,
    steps=(drop_strays,),
    finish=strays.finish_removal,
    fail=strays.fail_removal,
)
