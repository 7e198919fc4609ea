"""Looking whether a backup can be read, as steps: every object that it names, and every block of it, or some."""

import contextlib
from collections.abc import Collection, Sequence
from typing import Final

import msgspec
import structlog

from breezeblock.backup.damage import MISSING, Damaged
from breezeblock.backup.engine import Archive, Damage, Manifest, NoArchive, root_key
from breezeblock.backup.lost import Lost
from breezeblock.backup.packs import pack_key
from breezeblock.model.errors import BackendFailed
from breezeblock.protocol import archives, queue
from breezeblock.protocol.steps import Operation
from breezeblock.resources import verifications
from breezeblock.resources.verifications import GIB, TALLY, Tally
from breezeblock.store import tables
from breezeblock.work.archives import open_archive, patiently
from breezeblock.work.tools import Working, own_row

log = structlog.get_logger(__name__)

# Indexes of packs that are read at a time, with one checkpoint for all of them.
INDEXES_AT_ONCE: Final = 64
# Backups that are named for each damaged object: there may be one for each hour of years.
OTHERS_MOST: Final = 100


class _GivesWay(Exception):
    """A restore or a deletion waits for the backup. A verification can be had at any time."""


async def check_backup(run: Working) -> None:
    """Look at the packs' indexes, then at the blocks, one GiB after the other. A repeat goes on behind what was looked at."""
    with contextlib.suppress(_GivesWay):
        await patiently(run, lambda: _check(run))


async def _check(run: Working) -> None:
    await _give_way(run)  # also while the store is away
    tally = _tally(run)
    row = await own_row(run, tables.backups, run.payload.backup_id)
    if row["manifest"] is None or row["archive_id"] is None:
        raise BackendFailed(f"Backup {run.payload.backup_id} has no data.")
    try:
        archive, manifest = await _opened(run, row["archive_id"], row["manifest"])
    except Damaged as damage:
        # Nothing can be read without it.
        tally = Tally(is_complete=True)
        tally.losses.add(Damage(0, row["size_gib"] * GIB, damage.where, damage.what))
        await _save(run, tally)
        return
    missing = frozenset(await archive.missing_packs(manifest.packs))
    await _check_indexes(run, tally, archive, manifest, missing)
    await _check_blocks(run, tally, archive, manifest, missing)
    tally.is_complete = True
    await run.checkpoint(**{TALLY: msgspec.to_builtins(tally)})


async def _opened(run: Working, archive_id: str, manifest: str) -> tuple[Archive, Manifest]:
    """Raises Damaged also when there is no archive at all: the store is there, since it has said so."""
    try:
        archive = await open_archive(run, archive_id, begin=False)
    except NoArchive:
        raise Damaged(root_key(archive_id), MISSING) from None
    return archive, await archive.read_manifest(manifest)


async def _check_indexes(
    run: Working, tally: Tally, archive: Archive, manifest: Manifest, missing: Collection[str]
) -> None:
    """Without its index a pack's data is as good as before, but nothing can be built upon it."""
    for pack in manifest.packs:
        if pack in missing:
            tally.losses.note(pack_key(archive.id, pack), MISSING)
    while tally.packs < len(manifest.packs):
        some = manifest.packs[tally.packs : tally.packs + INDEXES_AT_ONCE]
        there = [pack for pack in some if pack not in missing]
        for damage in await archive.check_indexes(there, share=run.payload.share):
            tally.losses.note(damage.where, damage.what)
        tally.packs += len(some)
        await _save(run, tally)


async def _check_blocks(
    run: Working, tally: Tally, archive: Archive, manifest: Manifest, missing: Collection[str]
) -> None:
    while tally.segments < len(manifest.segments):
        one = msgspec.structs.replace(manifest, segments=[manifest.segments[tally.segments]])
        verified = await archive.check(one, share=run.payload.share, missing=missing)
        for damage in await _seen_twice(archive, one, verified.damage):
            tally.losses.add(damage)
        tally.blocks += verified.blocks
        tally.bytes += verified.bytes
        tally.segments += 1
        await _save(run, tally)


async def _seen_twice(archive: Archive, manifest: Manifest, damage: Sequence[Damage]) -> list[Damage]:
    """What is damaged when it is read again, too: bits also flip on their way here, and what is said of a pack stays."""
    if not damage:
        return []
    packs = {one.where.rpartition("/")[2] for one in damage}
    again = await archive.check(manifest, share=0.0, missing=packs)
    ranges = {(one.start, one.end) for one in damage}
    return [one for one in again.damage if (one.start, one.end) in ranges]


async def _save(run: Working, tally: Tally) -> None:
    await run.checkpoint(**{TALLY: msgspec.to_builtins(tally)})
    await _give_way(run)


async def _give_way(run: Working) -> None:
    if await run.read(queue.someone_waits, resource_id=run.payload.backup_id, exclusively=True):
        log.info("verification.gave_way", backup_id=run.payload.backup_id)
        raise _GivesWay


async def tell_others(run: Working) -> None:
    """Say of each damaged object which other backups name it, and let no later backup build upon it. A repeat begins anew."""
    if _tally(run).losses:
        with contextlib.suppress(_GivesWay):
            await patiently(run, lambda: _tell_others(run))


async def _tell_others(run: Working) -> None:
    tally = _tally(run)
    row = await own_row(run, tables.backups, run.payload.backup_id)
    archive_id = row["archive_id"]
    packs = {lost.object.rpartition("/")[2]: lost for lost in tally.losses.objects if "/packs/" in lost.object}
    await run.note(archives.lose, archive_id=archive_id, ids=packs)
    picture = await run.read(archives.picture, archive_id=archive_id)
    others = sorted(picture.manifests - {row["manifest"]})
    if tally.losses.objects[0].object == root_key(archive_id):
        for name in others:
            _name(tally.losses.objects[0], name)
    elif packs:
        await _give_way(run)
        archive = await open_archive(run, archive_id, begin=False)
        for name in others:
            await _look_at_other(run, archive, name, packs, tally)
            await run.checkpoint(progress=False)
    await run.checkpoint(**{TALLY: msgspec.to_builtins(tally)})


async def _look_at_other(run: Working, archive: Archive, name: str, packs: dict[str, Lost], tally: Tally) -> None:
    try:
        manifest = await archive.read_manifest(name)
    except Damaged as damage:
        picture = await run.read(archives.picture, archive_id=archive.id)
        if name in picture.manifests:  # else it was deleted meanwhile
            log.warning("verification.other_unread", manifest=name, reason=damage.what)
            tally.unread.append(name.partition(".")[0])
        return
    for pack in packs.keys() & set(manifest.packs):
        _name(packs[pack], name)


def _name(lost: Lost, manifest: str) -> None:
    if len(lost.backups) < OTHERS_MOST:
        lost.backups.append(manifest.partition(".")[0])
    else:
        lost.more_backups += 1


def _tally(run: Working) -> Tally:
    return msgspec.convert(run.state.get(TALLY, {}), Tally)


VERIFY_BACKUP: Final = Operation(
    kind=verifications.KIND,
    version=1,
    payload=verifications.VerifyBackup,
    steps=(check_backup, tell_others),
    finish=verifications.finish_verify,
    fail=verifications.fail_verify,
    is_patient=True,
)
