"""`breezeblock db rebuild`: a database that agrees with the storage again, out of an older one or of an empty one.

First everything is looked at: backends, stores, and whether anybody is alive. Then one transaction changes all, or nothing.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, select

from breezeblock import wiring
from breezeblock.backup.contract import StoreUnavailable
from breezeblock.backup.damage import MISSING, Damaged
from breezeblock.backup.engine import Archive, NoArchive, root_key
from breezeblock.backup.manifest import Manifest, manifest_token
from breezeblock.commands import database
from breezeblock.commands.asking import Asking, asking
from breezeblock.commands.failure import Failed
from breezeblock.commands.unused import in_use_by, require_unused
from breezeblock.database_urls import sqlite_path
from breezeblock.drivers.contract import Driver, ObjectName
from breezeblock.env.real import real_env
from breezeblock.model.errors import BackendFailed
from breezeblock.model.states import NODE_DEAD
from breezeblock.node.backends import Backend
from breezeblock.resources import rebuilding_database
from breezeblock.resources.backends import DEFAULT_TARGET, in_use
from breezeblock.resources.rebuilding import Item, Outcome, Owner, Shelf
from breezeblock.resources.rebuilding_backups import Chest, Kept
from breezeblock.resources.rebuilding_database import Stock
from breezeblock.settings import Settings
from breezeblock.store import check, schema
from breezeblock.store.others import others
from breezeblock.store.tables import archives as archives_table
from breezeblock.store.tables import backups, log_reports, nodes
from breezeblock.supervisor.folder import DataFolder, InUse
from breezeblock.work.archives import Archives

__all__ = ["Owner", "Wanted", "rebuild"]

# By incarnation: the node's name, and its heartbeat.
Beats = dict[str, tuple[str, int]]
# By backup: its manifest, and the archive that it is in.
Unread = dict[str, tuple[str, Chest]]

# So many objects are asked for their length at a time.
AT_ONCE: Final = 32
# Everything there is, in one transaction, while nobody else is there.
LEISURE: Final = wiring.Leisure(statement_s=3600.0, transaction_s=24 * 3600.0, is_alone=True)


@dataclass(frozen=True)
class Wanted:
    """What an operator has said."""

    owner: Owner | None
    use: frozenset[str]
    dry_run: bool
    targets: Mapping[str, str]
    """By backend: the target that its storage is served from now, where the database does not know."""


class _OnlyLooked(Exception):
    """What would have changed; the transaction is rolled back with this."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__()
        self.outcome = outcome


def rebuild(settings: Settings, wanted: Wanted) -> Outcome:
    """Look, then change what differs. Raises Failed: somebody is alive, or something cannot be looked at."""
    folder = DataFolder(Path(settings.service.data_dir).absolute())
    folder.make()
    try:
        folder.lock()  # until this process ends
    except InUse as error:
        raise Failed(f"The service runs on {folder.path}: stop it first, and all others of its cluster.") from error
    asyncio.run(require_unused(settings))
    is_empty = _is_empty(settings)
    beats = {} if is_empty else asyncio.run(_heard(settings))
    if is_empty or not wanted.dry_run:
        database.upgrade(settings)
    return asyncio.run(_rebuild(settings, wanted, beats))


def _is_empty(settings: Settings) -> bool:
    path = sqlite_path(settings.database.url)
    if path is not None and not Path(path).exists():
        return True
    with database.reading(settings) as tx:
        return schema.revision_of(tx) is None


async def _rebuild(settings: Settings, wanted: Wanted, beats: Beats) -> Outcome:
    async with asking(settings, leisure=LEISURE) as at:
        opened = wiring.open_backends(settings, at.env)
        if unknown := sorted(wanted.targets.keys() - settings.backends.keys()):
            expected = ", ".join(sorted(settings.backends))
            raise Failed(f"--target {unknown[0]}: there is no such backend here; expected one of {expected}.")
        shelves = [await _look_at(at, one, told=wanted.targets.get(one.name)) for one in opened.values()]
        chests, stores, unread = await _open_chests(at, host=min(opened, default=None))
        stock = Stock(shelves, chests, stores, unread)
    await require_unused(settings, watch_s=0.0)  # also that what has looked is gone, which would be taken for another's
    async with asking(settings, leisure=LEISURE) as at:
        now_us = at.env.clock.now_us()
        try:
            outcome = await at.store.run(_transact, stock=stock, beats=beats, wanted=wanted, now_us=now_us)
        except _OnlyLooked as looked:
            outcome = looked.outcome
    return outcome


def _transact(tx: Connection, *, stock: Stock, beats: Beats, wanted: Wanted, now_us: int) -> Outcome:
    _require_silence(tx, before=beats)  # somebody may have been started while all was looked at
    if found := others(tx):
        raise in_use_by(found)
    outcome = rebuilding_database.rebuild(tx, stock=stock, owner=wanted.owner, use=wanted.use, now_us=now_us)
    outcome.undecided += check.problems(tx)
    if wanted.dry_run:
        raise _OnlyLooked(outcome)
    return outcome


# --- who is alive -----------------------------------------------------------------------------------------------------


async def _heard(settings: Settings) -> Beats:
    """What was heard of every node last, after a lease's length in which nobody was heard. Before anything is changed."""
    with database.reading(settings) as tx:
        beats = _heartbeats(tx)
    if beats:
        await real_env().clock.sleep(settings.nodes.ttl_s)
        with database.reading(settings) as tx:
            _require_silence(tx, before=beats)
    return beats


def _require_silence(tx: Connection, *, before: Beats) -> None:
    """Raise Failed if anybody whom the database knows has told of itself since. Of others `require_unused` finds out."""
    alive = sorted(name for id_, (name, beat) in _heartbeats(tx).items() if id_ not in before or before[id_][1] != beat)
    if alive:
        raise Failed(f"{', '.join(alive)} told of itself just now: stop every node and every API of the cluster first.")


def _heartbeats(tx: Connection) -> Beats:
    """Of nodes, and of APIs and all others that tell what they log: those do so once a minute."""
    kept = select(nodes.c.incarnation, nodes.c.name, nodes.c.heartbeat).where(nodes.c.state.not_in(NODE_DEAD))
    told = select(log_reports.c.id, log_reports.c.binary, log_reports.c.host, log_reports.c.reported_at_us)
    return {row.incarnation: (row.name, row.heartbeat) for row in tx.execute(kept)} | {
        row.id: (f"{row.binary} on {row.host}", row.reported_at_us) for row in tx.execute(told)
    }


# --- what is on storage -----------------------------------------------------------------------------------------------


async def _look_at(at: Asking, backend: Backend, *, told: str | None) -> Shelf:
    """A backend whole, on the target that an operator has told or the database knows.

    Raises Failed if it cannot be looked at: what is away must not be taken for gone.
    """
    use = await at.store.read(in_use, queue=backend.queue)
    offered = (DEFAULT_TARGET, *backend.driver.capabilities.replication)
    if told is not None and told not in offered:
        raise Failed(
            f"--target {backend.name}={told}: this backend has no such target; expected one of {', '.join(offered)}."
        )
    target = told or use.target
    try:
        driver = backend.driver if target is None else backend.driver.on(target)
        await driver.check(known=True)
        names = await driver.every_name()
        accesses = await driver.accesses()
        items = await _whole(driver, names, backend.queue)
    except BackendFailed as error:
        raise Failed(f"Backend {backend.name} cannot be looked at: {error.message}") from error
    reached = {access.resource_id: await _reached(driver, access) for access in accesses}
    highest: dict[str, int] = {}
    for name in (*names, *accesses):
        highest[name.resource_id] = max(highest.get(name.resource_id, 0), name.seq)
    return Shelf(
        queue=backend.queue,
        pool=f"{backend.queue}#{backend.name}",
        zone=backend.availability_zone,
        items=items,
        highest=highest,
        accesses=reached,
        replicates=bool(backend.driver.capabilities.replication),
        target=told,
    )


async def _reached(driver: Driver, access: ObjectName) -> tuple[str | None, str | None]:
    """The id of what an access is to, and the host that has it."""
    found = await driver.reached_by(access)
    return (None, None) if found is None else (found[0].resource_id, found[1])


async def _whole(driver: Driver, names: Sequence[ObjectName], queue: str) -> list[Item]:
    """Those that are there whole, with their lengths."""
    found: list[Item] = []
    for first in range(0, len(names), AT_ONCE):
        some = names[first : first + AT_ONCE]
        lengths = await asyncio.gather(*(driver.length_of(name) for name in some))
        found += [Item(name, queue, length) for name, length in zip(some, lengths, strict=True) if length is not None]
    return found


# --- what is in stores ------------------------------------------------------------------------------------------------


async def _open_chests(at: Asking, *, host: str | None) -> tuple[list[Chest], frozenset[str], Unread]:
    """Every archive of every store, the names of these stores, and what cannot be read. Raises Failed: one is out of reach.

    An archive that the database knows is looked for whether it is listed or not: a listing may lag behind.
    """
    chests: list[Chest] = []
    answered: set[str] = set()
    unread: Unread = {}
    async with _archives(at) as archives:
        for store, shelf in archives.shelves.items():
            known = await at.store.read(_archives_of, store=store)
            try:
                listed = {
                    stored.key.partition("/")[0] async for stored in shelf.objects.list("") if _is_root(stored.key)
                }
                for archive_id in sorted(listed | known):
                    with suppress(NoArchive):  # of one that is known and not there: its backups are lost
                        archive = await archives.open(store, archive_id, known=True, begin=False)
                        published = await at.store.read(_published, archive_id=archive_id)
                        kept, damaged = await _kept(archive, published)
                        chest = Chest(store, archive_id, archive.key_check, store, host, kept)
                        chests.append(chest)
                        unread |= {backup_id: (name, chest) for backup_id, name in damaged.items()}
            except (StoreUnavailable, BackendFailed, Damaged) as error:
                raise Failed(f"Backup store {store} cannot be looked at: {error}") from error
            answered.add(store)
    return chests, frozenset(answered), unread


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


async def _kept(archive: Archive, published: dict[str, str]) -> tuple[list[Kept], dict[str, str]]:
    """Each backup once: by the manifest that its row names, or by the newest one that can be read; and those that cannot be.

    The one that a row names is asked for whether it is listed or not: a listing may lag behind.
    """
    names: dict[str, list[str]] = {}
    for name in await archive.manifest_names():
        names.setdefault(name.partition(".")[0], []).append(name)
    read: dict[str, tuple[str, Manifest]] = {}
    unread: dict[str, str] = {}
    for backup_id in sorted(names.keys() | published.keys()):
        its = [published[backup_id]] if backup_id in published else sorted(names[backup_id], key=manifest_token)[::-1]
        for name in its:
            try:
                read[backup_id] = name, await archive.read_manifest(name)
                break
            except Damaged as damage:
                if name in names.get(backup_id, ()) or damage.what != MISSING:
                    unread.setdefault(backup_id, name)
    needed = {pack for _, manifest in read.values() for pack in manifest.packs}
    missing = frozenset(await archive.missing_packs(needed))
    found = []
    for backup_id, (name, manifest) in read.items():
        header, packs = manifest.header, frozenset(manifest.packs)
        found.append(
            Kept(
                backup_id, name, sorted(packs), header.volume_id, header.size_bytes, header.created_us, header.data_us,
                header.name, header.project_id, header.parent, packs & missing,
            )
        )  # fmt: skip
    return found, {backup_id: name for backup_id, name in unread.items() if backup_id not in read}


def _archives_of(tx: Connection, *, store: str) -> set[str]:
    return set(tx.execute(select(archives_table.c.id).where(archives_table.c.store == store)).scalars())


def _published(tx: Connection, *, archive_id: str) -> dict[str, str]:
    named = select(backups.c.id, backups.c.manifest).where(
        backups.c.manifest.is_not(None), backups.c.archive_id == archive_id
    )
    return {row.id: row.manifest for row in tx.execute(named)}
