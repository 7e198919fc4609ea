"""Backups that Cinder made, as steps: known here by a look at their files, and read where they are."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

from breezeblock.backup import cinder
from breezeblock.backup.cinder import CinderBackup
from breezeblock.backup.contract import ObjectMissing, ObjectStore, StoreUnavailable
from breezeblock.drivers.contract import ObjectName
from breezeblock.model.errors import BackendFailed
from breezeblock.protocol.steps import Operation
from breezeblock.resources import backup_records, cinder_records
from breezeblock.resources.accepted import published_object
from breezeblock.resources.cinder_records import ImportCinderBackup, Place
from breezeblock.store import tables
from breezeblock.work.archives import cinders_of, patiently
from breezeblock.work.pace import FillProgress
from breezeblock.work.tools import GIB, Working


async def import_cinder_backup(run: Working) -> None:
    """Find a backup's files, and those of the backups that it builds on, and let it exist. A repeat finds it done.

    Nothing is copied, and no data is read: a restore checks each byte.
    """
    await patiently(run, lambda: _import(run))


async def _import(run: Working) -> None:
    wanted: ImportCinderBackup = run.payload
    if await run.read(published_object, table=tables.backups, row_id=wanted.backup_id) is not None:
        return
    name, store = await _find(run)
    chain = await _chain(store, Place(wanted.container, wanted.prefix), wanted.backup_id)
    if chain[0].parent_id != wanted.parent_id:
        raise BackendFailed(
            f"Cinder's backup {wanted.backup_id} builds on {chain[0].parent_id or 'no other'} by its files, and on "
            f"{wanted.parent_id or 'no other'} by its record."
        )
    stored_bytes = await cinder.look_through(store, chain)
    await run.write(cinder_records.adopt, payload=wanted, store=name, stored_bytes=stored_bytes)


async def _find(run: Working) -> tuple[str, ObjectStore]:
    """The store that has the backup. Raises BackendFailed, StoreUnavailable: none of those that answer."""
    wanted: ImportCinderBackup = run.payload
    stores, _ = cinders_of(run)
    key = f"{wanted.container}/{wanted.prefix}{cinder.METADATA}"
    silent: StoreUnavailable | None = None
    for name in wanted.zones:
        if name not in stores:
            raise BackendFailed(f"Backup store {name} is not in the settings of the node that was to use it.")
        try:
            await stores[name].size(key)
        except ObjectMissing:
            continue
        except StoreUnavailable as error:
            silent = error
            continue
        return name, stores[name]
    if silent is not None:
        raise silent
    raise BackendFailed(f"None of the backup stores {', '.join(wanted.zones)} has {key}.")


async def _chain(store: ObjectStore, place: Place, backup_id: str) -> Sequence[CinderBackup]:
    chain = await cinder.open_chain(store, container=place.container, prefix=place.prefix)
    if chain[0].backup_id != backup_id:
        raise BackendFailed(f"What is stored as Cinder's backup {backup_id} is another one: {chain[0].backup_id[:80]}.")
    return chain


async def fill(run: Working, row: dict[str, Any], place: Place, name: ObjectName) -> None:
    """Make an object from a backup that Cinder made. A repeat continues it. Raises BackendFailed, StoreUnavailable."""
    stores, threads = cinders_of(run)
    if row["store"] not in stores:
        raise BackendFailed(f"Backup store {row['store']} is not in the settings of the node that was to use it.")
    store = stores[row["store"]]
    chain = await _chain(store, place, row["id"])

    async def pieces(start: int) -> AsyncGenerator[tuple[int, bytes], None]:
        async with aclosing(cinder.read_volume(store, chain, threads, start=start)) as found:
            async for offset, data in found:
                if offset + len(data) > row["size_gib"] * GIB:
                    raise BackendFailed(
                        f"Cinder's backup {row['id']} has more data than the {row['size_gib']} GiB of its volume."
                    )
                yield offset, data

    size_bytes = run.payload.size_gib * GIB
    progress = FillProgress(run, row["size_gib"] * GIB)
    await run.tools.driver.fill(name, size_bytes=size_bytes, pieces=pieces, progress=progress)


IMPORT_CINDER_BACKUP = Operation(
    kind="import_cinder_backup",
    version=1,
    payload=ImportCinderBackup,
    steps=(import_cinder_backup,),
    finish=backup_records.finish_import,
    fail=backup_records.fail_import,
    is_patient=True,
)
