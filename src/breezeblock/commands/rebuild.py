"""`breezeblock db rebuild`: a database that agrees with the storage again, out of an older one or of an empty one.

First everything is looked at: backends, stores, and whether anybody is alive. Then one transaction changes all, or nothing.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, select

from breezeblock import wiring
from breezeblock.backup.contract import StoreUnavailable
from breezeblock.backup.damage import Damaged
from breezeblock.backup.engine import Archive, root_key
from breezeblock.backup.manifest import manifest_token
from breezeblock.commands import database
from breezeblock.commands.asking import Asking, asking
from breezeblock.commands.failure import Failed
from breezeblock.drivers.contract import Driver, ObjectName
from breezeblock.model.errors import BackendFailed
from breezeblock.model.states import NODE_DEAD
from breezeblock.node.backends import Backend
from breezeblock.resources import rebuilding
from breezeblock.resources.backends import in_use
from breezeblock.resources.rebuilding import Item, Outcome, Owner, Shelf
from breezeblock.resources.rebuilding_backups import Chest, Kept, places_of, rebuild_backups
from breezeblock.settings import Settings
from breezeblock.store import check
from breezeblock.store.tables import backups, kept_objects, nodes
from breezeblock.supervisor.folder import DataFolder, InUse
from breezeblock.work.archives import Archives

__all__ = ["Owner", "Wanted", "rebuild"]

# So many objects are asked for their length at a time.
AT_ONCE: Final = 32


@dataclass(frozen=True)
class Wanted:
    """What an operator has said."""

    owner: Owner | None
    use: frozenset[str]
    dry_run: bool


class _OnlyLooked(Exception):
    """What would have changed; the transaction is rolled back with this."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__()
        self.outcome = outcome


@dataclass(frozen=True)
class _Seen:
    """All that storage and stores have."""

    shelves: Sequence[Shelf]
    chests: Sequence[Chest]
    stores: frozenset[str]


def rebuild(settings: Settings, wanted: Wanted) -> Outcome:
    """Look, then change what differs. Raises Failed: somebody is alive, or something cannot be looked at."""
    folder = DataFolder(Path(settings.service.data_dir).absolute())
    folder.make()
    try:
        folder.lock()  # until this process ends
    except InUse as error:
        raise Failed(f"The service runs on {folder.path}: stop it first, and all others of its cluster.") from error
    database.upgrade(settings)
    return asyncio.run(_rebuild(settings, wanted))


async def _rebuild(settings: Settings, wanted: Wanted) -> Outcome:
    damaged: list[str] = []
    async with asking(settings) as at:
        await _require_silence(at)
        opened = wiring.open_backends(settings, at.env)
        shelves = [await _look_at(at, backend) for backend in opened.values()]
        chests, stores = await _open_chests(at, damaged, host=min(opened, default=None))
        seen = _Seen(shelves, chests, stores)
        try:
            outcome = await at.store.run(_transact, seen=seen, wanted=wanted, now_us=at.env.clock.now_us())
        except _OnlyLooked as looked:
            outcome = looked.outcome
    outcome.undecided[:0] = damaged
    return outcome


def _transact(tx: Connection, *, seen: _Seen, wanted: Wanted, now_us: int) -> Outcome:
    outcome = Outcome()
    rebuilding.end_work(tx, outcome, now_us=now_us)
    copies = {ObjectName.parse(text).resource_id for text in tx.execute(select(kept_objects.c.object_name)).scalars()}
    not_volumes = copies | {kept.backup_id for chest in seen.chests for kept in chest.kept}
    rebuilding.rebuild_resources(
        tx,
        outcome,
        shelves=seen.shelves,
        owner=wanted.owner,
        use=wanted.use,
        not_volumes=frozenset(not_volumes),
        now_us=now_us,
    )
    rebuild_backups(tx, outcome, chests=seen.chests, looked_at=seen.stores, owner=wanted.owner, now_us=now_us)
    rebuilding.raise_tokens(tx, *(shelf.highest for shelf in seen.shelves), places_of(seen.chests))
    rebuilding.settle_accounts(tx)
    outcome.undecided += check.problems(tx)
    if wanted.dry_run:
        raise _OnlyLooked(outcome)
    return outcome


# --- who is alive -----------------------------------------------------------------------------------------------------


async def _require_silence(at: Asking) -> None:
    """Raise Failed if any node that the database knows renews its lease. Of others nobody can tell here."""
    before = await at.store.read(_heartbeats)
    if not before:
        return
    await at.env.clock.sleep(at.settings.nodes.ttl_s)
    after = await at.store.read(_heartbeats)
    alive = sorted(name for key, (name, beat) in after.items() if key not in before or before[key][1] != beat)
    if alive:
        raise Failed(
            f"{', '.join(alive)} renewed its lease just now: stop every node and every API of the cluster first."
        )


def _heartbeats(tx: Connection) -> dict[str, tuple[str, int]]:
    rows = tx.execute(
        select(nodes.c.incarnation, nodes.c.name, nodes.c.heartbeat).where(nodes.c.state.not_in(NODE_DEAD))
    )
    return {row.incarnation: (row.name, row.heartbeat) for row in rows}


# --- what is on storage -----------------------------------------------------------------------------------------------


async def _look_at(at: Asking, backend: Backend) -> Shelf:
    """A backend whole. Raises Failed if it cannot be looked at: what is away must not be taken for gone."""
    use = await at.store.read(in_use, queue=backend.queue)
    driver = backend.driver if use.target is None else backend.driver.on(use.target)
    try:
        await driver.check(known=True)
        names = await driver.every_name()
        accesses = await driver.accesses()
        items = await _whole(driver, names, backend.queue)
    except BackendFailed as error:
        raise Failed(f"Backend {backend.name} cannot be looked at: {error.message}") from error
    highest: dict[str, int] = {}
    for name in (*names, *accesses):
        highest[name.resource_id] = max(highest.get(name.resource_id, 0), name.seq)
    return Shelf(
        queue=backend.queue,
        pool=f"{backend.queue}#{backend.name}",
        zone=backend.availability_zone,
        items=items,
        highest=highest,
        accesses=frozenset(access.resource_id for access in accesses),
    )


async def _whole(driver: Driver, names: Sequence[ObjectName], queue: str) -> list[Item]:
    """Those that are there whole, with their lengths."""
    found: list[Item] = []
    for first in range(0, len(names), AT_ONCE):
        some = names[first : first + AT_ONCE]
        lengths = await asyncio.gather(*(driver.length_of(name) for name in some))
        found += [Item(name, queue, length) for name, length in zip(some, lengths, strict=True) if length is not None]
    return found


# --- what is in stores ------------------------------------------------------------------------------------------------


async def _open_chests(at: Asking, damaged: list[str], *, host: str | None) -> tuple[list[Chest], frozenset[str]]:
    """Every archive of every store, and the names of these stores. Raises Failed for one that cannot be looked at."""
    published = await at.store.read(_published)
    chests: list[Chest] = []
    answered: set[str] = set()
    async with _archives(at) as archives:
        for store, shelf in archives.shelves.items():
            try:
                ids = [stored.key.partition("/")[0] async for stored in shelf.objects.list("") if _is_root(stored.key)]
                for archive_id in ids:
                    archive = await archives.open(store, archive_id, known=True, begin=False)
                    kept = await _kept(archive, published, damaged)
                    chests.append(Chest(store, archive_id, archive.key_check, store, host, kept))
            except (StoreUnavailable, BackendFailed, Damaged) as error:
                raise Failed(f"Backup store {store} cannot be looked at: {error}") from error
            answered.add(store)
    return chests, frozenset(answered)


@asynccontextmanager
async def _archives(at: Asking) -> AsyncIterator[Archives]:
    opened = wiring.open_archives(at.settings, at.env)
    try:
        yield opened
    finally:
        for shelf in opened.shelves.values():
            await shelf.objects.close()


def _is_root(key: str) -> bool:
    return key == root_key(key.partition("/")[0])


async def _kept(archive: Archive, published: dict[str, str], damaged: list[str]) -> list[Kept]:
    """Each backup once: by the manifest that its row names, or by the newest one that can be read."""
    names: dict[str, list[str]] = {}
    for name in await archive.manifest_names():
        names.setdefault(name.partition(".")[0], []).append(name)
    found = []
    for backup_id, its in sorted(names.items()):
        row_names = published.get(backup_id)
        for name in [row_names] if row_names in its else sorted(its, key=manifest_token, reverse=True):
            assert name is not None, "it is one of those that are there"
            try:
                manifest = await archive.read_manifest(name)
            except Damaged as damage:
                damaged.append(f"Manifest {name} in archive {archive.id} cannot be read: {damage.what}.")
                continue
            header, packs = manifest.header, list(manifest.packs)
            missing = len(await archive.missing_packs(packs))
            found.append(
                Kept(
                    backup_id, name, packs, header.volume_id, header.size_bytes, header.created_us, header.data_us,
                    header.name, header.project_id, header.parent, missing,
                )
            )  # fmt: skip
            break
    return found


def _published(tx: Connection) -> dict[str, str]:
    rows = tx.execute(select(backups.c.id, backups.c.manifest).where(backups.c.manifest.is_not(None)))
    return {row.id: row.manifest for row in rows}
