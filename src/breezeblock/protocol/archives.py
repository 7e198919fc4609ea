"""Which packs of an archive may be used, and which are garbage: pins, publications, and the collection in two steps.

`docs/explanation/backup.md` argues why nothing that a backup needs is ever removed, `models/archive.pml` checks it. Every
transaction here that decides anything writes the archive's row, so they come one after another for each archive; where it
is about a backup, the backup's row before that.

    pending ──publish──▶ live ◀──▶ condemned ──▶ doomed ──▶ (no row)
        └──────────────── leave, or not named ────▲

A pack whose object is not in the store although it should be is `lost`: nobody refers to it any more, and it is doomed when
nothing names it.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from sqlalchemy import Connection, and_, bindparam, case, delete, func, insert, or_, select, update

from breezeblock.model.errors import BackendFailed, Contended
from breezeblock.protocol import segments
from breezeblock.store.dialects import db_now_us
from breezeblock.store.tables import archives, backups, packs
from breezeblock.store.transitions import lock_row

# The kind of operation that looks an archive through.
COLLECTION: Final = "collect_garbage"

PENDING: Final = "pending"
LIVE: Final = "live"
CONDEMNED: Final = "condemned"
DOOMED: Final = "doomed"
LOST: Final = "lost"

# Ids in one statement.
AT_ONCE: Final = 500
# Rows of packs that one transaction of a collection decides on.
DECIDED_MOST: Final = 2_000
# How long after the end of a backup or a deletion its archive is looked through: many end together.
COLLECT_AFTER_US: Final = 60 * 1_000_000
# After a collection that has failed: what is wrong is for an operator to mend.
TRY_AGAIN_US: Final = 3600 * 1_000_000
# An upload by a node that was fenced may still land, for as long as anything can be on its way.
SWEPT_AGAIN_AFTER_US: Final = 24 * 3600 * 1_000_000


@dataclass(frozen=True, slots=True)
class Picture:
    """What was to be seen of an archive's backups at one instant: `manifests` are the names in the rows."""

    publications: int
    manifests: frozenset[str]


class Outdated(Exception):
    """Something was published since the picture was taken: the new manifests have to be read first."""


# --- backups --------------------------------------------------------------------------------------------------------


def enter(
    tx: Connection, *, backup_id: str, store: str, project_id: str, archive_id: str, key_check: str, now_us: int
) -> str:
    """Pin the archive for a backup. Returns the archive's id. Raises NotFound: the backup has gone.

    `archive_id` is the id of the archive if this makes it, and `key_check` tells the key that it will be begun with. Whoever
    enters again keeps the pin: what was found usable since then is protected by it.
    """
    lock_row(tx, backups, backup_id)
    there = tx.execute(select(archives.c.id).where(archives.c.store == store, archives.c.project_id == project_id))
    found = there.scalar_one_or_none()
    if found is None:
        row = {"id": archive_id, "store": store, "project_id": project_id, "created_at_us": now_us}
        begun = {"op_seq": 1, "tombstone": False, "publications": 0, "key_check": key_check}
        tx.execute(insert(archives).values(row | begun))
        found = archive_id
    else:
        _hold(tx, found)
    pin = tx.execute(select(archives.c.op_seq).where(archives.c.id == found)).scalar_one()
    tx.execute(
        update(backups).where(backups.c.id == backup_id).values(archive_id=found, pin=func.coalesce(backups.c.pin, pin))
    )
    return str(found)


def allot(tx: Connection, *, archive_id: str, backup_id: str, ids: Iterable[str], now_us: int) -> None:
    """Note packs before they are uploaded. Not repeated but by a transaction that runs again: their ids are fresh."""
    row = {"archive_id": archive_id, "backup_id": backup_id, "state": PENDING, "seq": 0, "created_at_us": now_us}
    tx.execute(insert(packs), [row | {"id": one} for one in ids])


def usable(tx: Connection, *, archive_id: str, backup_id: str) -> list[str]:
    """The packs that a backup which has entered may refer to: the live ones and its own."""
    return list(tx.execute(_USABLE, {"archive": archive_id, "backup": backup_id}).scalars())


def publish(tx: Connection, *, backup_id: str, manifest: str, named: Collection[str]) -> str:
    """Let a backup exist: its manifest names these packs, of which some are its own. Returns the manifest that it has.

    That is another one when an earlier claim has published it already. The caller guards with the operation's epoch. Raises
    BackendFailed when packs are missing that cannot be, or the pin is gone; NotFound.
    """
    needed = frozenset(named)  # a TiB has 64,000 packs, and each of our own is looked for
    lock_row(tx, backups, backup_id)
    row = tx.execute(_BACKUP, {"backup": backup_id}).one()
    if row.manifest is not None:
        return str(row.manifest)
    if row.pin is None:  # it was over, and left, before whoever has lost it came so far
        raise BackendFailed(f"Backup {backup_id} does not hold its archive any more.")
    _hold(tx, row.archive_id)
    seq = tx.execute(select(archives.c.op_seq).where(archives.c.id == row.archive_id)).scalar_one()
    for own in _own(tx, row.archive_id, backup_id):
        _turn(tx, [one for one in own if one in needed], LIVE, seq=seq)
    tx.execute(_DOOM_OWN, {"backup": backup_id})
    _require_there(tx, backup_id, needed)
    counted = archives.c.publications + 1
    tx.execute(update(archives).where(archives.c.id == row.archive_id).values(publications=counted))
    _collect(tx, row.archive_id, after_us=COLLECT_AFTER_US)
    tx.execute(update(backups).where(backups.c.id == backup_id).values(manifest=manifest, pin=None))
    return manifest


def lose(tx: Connection, *, archive_id: str, ids: Collection[str]) -> None:
    """These packs are not in the store: no backup is to build upon them."""
    _hold(tx, archive_id)
    seq = tx.execute(select(archives.c.op_seq).where(archives.c.id == archive_id)).scalar_one()
    for some in _slices(ids):
        there = and_(packs.c.id.in_(some), packs.c.archive_id == archive_id, packs.c.state.in_((LIVE, CONDEMNED)))
        tx.execute(update(packs).where(there).values(state=LOST, seq=seq))


def leave(tx: Connection, *, backup_id: str) -> None:
    """Give up the pin of a backup that is not going to be published, and all that it has uploaded or saved.

    Part of every end of a backup; changes nothing for one that was published, or has never entered.
    """
    lock_row(tx, backups, backup_id)
    segments.forget(tx, backup_id=backup_id)
    row = tx.execute(_BACKUP, {"backup": backup_id}).one()
    if row.archive_id is None or row.pin is None:
        return
    _hold(tx, row.archive_id)
    tx.execute(_DOOM_OWN, {"backup": backup_id})
    tx.execute(update(backups).where(backups.c.id == backup_id).values(pin=None))
    _collect(tx, row.archive_id, after_us=COLLECT_AFTER_US)


def unpublish(tx: Connection, *, backup_id: str) -> None:
    """Let a backup name no manifest any more, before the manifest goes: no collection may miss one that a row names."""
    lock_row(tx, backups, backup_id)
    row = tx.execute(_BACKUP, {"backup": backup_id}).one()
    if row.manifest is None:
        return
    _hold(tx, row.archive_id)
    tx.execute(update(backups).where(backups.c.id == backup_id).values(manifest=None))
    _collect(tx, row.archive_id, after_us=COLLECT_AFTER_US)


# --- the collection -------------------------------------------------------------------------------------------------


def picture(tx: Connection, *, archive_id: str) -> Picture:
    """What to read the manifests of. It may be of the past: whatever is decided by it is decided by `settle`."""
    publications = tx.execute(select(archives.c.publications).where(archives.c.id == archive_id)).scalar_one()
    names = select(backups.c.manifest).where(backups.c.archive_id == archive_id, backups.c.manifest.is_not(None))
    return Picture(publications, frozenset(tx.execute(names).scalars()))


@dataclass(frozen=True, slots=True)
class Settled:
    """What one transaction has decided. `last`: behind it the next one begins; None where it was the last one."""

    last: str | None
    condemned: int = 0
    saved: int = 0
    doomed: int = 0


def settle(
    tx: Connection, *, archive_id: str, publications: int, named: Collection[str], state: str, after: str = ""
) -> Settled:
    """Decide on packs in one state, LIVE, CONDEMNED or LOST, behind `after` in the order of their ids.

    `named` is what all manifests of that many publications name. Raises Outdated when there are more by now. What was condemned
    waits for every backup that had entered before: it may have seen the pack live, and be about to name it.
    """
    _hold(tx, archive_id)
    row = tx.execute(select(archives.c.op_seq, archives.c.publications).where(archives.c.id == archive_id)).one()
    if row.publications != publications:
        raise Outdated(archive_id)
    seen = tx.execute(_TO_SETTLE, {"archive": archive_id, "state": state, "after": after}).all()
    last = seen[-1].id if len(seen) == DECIDED_MOST else None
    if state == LIVE:
        unnamed = [one.id for one in seen if one.id not in named]
        _turn(tx, unnamed, CONDEMNED, seq=row.op_seq)
        return Settled(last, condemned=len(unnamed))
    oldest = tx.execute(_OLDEST_PIN, {"archive": archive_id}).scalar_one()
    over = [one.id for one in seen if oldest is None or one.seq < oldest]
    saved = [one for one in over if one in named and state == CONDEMNED]
    doomed = [one for one in over if one not in named]
    _turn(tx, saved, LIVE, seq=row.op_seq)
    _turn(tx, doomed, DOOMED, seq=row.op_seq)
    return Settled(last, saved=len(saved), doomed=len(doomed))


def to_sweep(tx: Connection, *, archive_id: str) -> list[str]:
    """Doomed packs whose objects are to be deleted: for the first time, or once more. At most `AT_ONCE` of them."""
    due = or_(packs.c.swept_at_us.is_(None), packs.c.swept_at_us < db_now_us() - SWEPT_AGAIN_AFTER_US)
    found = select(packs.c.id).where(packs.c.archive_id == archive_id, packs.c.state == DOOMED, due)
    return list(tx.execute(found.order_by(packs.c.id).limit(AT_ONCE)).scalars())


def note_swept(tx: Connection, *, archive_id: str, ids: Sequence[str]) -> None:
    """Their objects are deleted. Those for which that was the second time, a day after the first, are forgotten."""
    _hold(tx, archive_id)
    mine = and_(packs.c.id.in_(ids), packs.c.state == DOOMED)
    tx.execute(delete(packs).where(mine, packs.c.swept_at_us < db_now_us() - SWEPT_AGAIN_AFTER_US))
    tx.execute(update(packs).where(mine, packs.c.swept_at_us.is_(None)).values(swept_at_us=db_now_us()))


def begin_collection(tx: Connection, *, archive_id: str) -> bool:
    """Take it on to look an archive through, if that is (still) due. Whoever ends something meanwhile makes it due again."""
    _hold(tx, archive_id)
    wanted = tx.execute(select(archives.c.collect_after_us).where(archives.c.id == archive_id)).scalar_one()
    if wanted is None or wanted > _now_us(tx):
        return False
    tx.execute(update(archives).where(archives.c.id == archive_id).values(collect_after_us=None))
    return True


def end_collection(tx: Connection, *, archive_id: str) -> None:
    """Say when the next one is due, if this one has left anything to do.

    Condemned packs wait for backups that are under way, whose ends make it due; or, where there are none, for a second look.
    """
    _hold(tx, archive_id)
    left = dict(tx.execute(_LEFT, {"archive": archive_id}).all())
    if CONDEMNED in left and tx.execute(_OLDEST_PIN, {"archive": archive_id}).scalar_one() is None:
        _collect(tx, archive_id, after_us=COLLECT_AFTER_US)
    if DOOMED in left:
        swept_us = left[DOOMED]
        wait_us = 0 if swept_us is None else swept_us + SWEPT_AGAIN_AFTER_US + 1 - _now_us(tx)
        _collect(tx, archive_id, after_us=wait_us)


@dataclass(frozen=True, slots=True)
class Said:
    """What the tables say of an archive, before anything in its store is touched."""

    known: bool
    """Whether anything of ours may be in the store: one that is empty then is not there."""
    key_check: str | None
    """Tells its key. None: it was made by an older release, and nobody has said so since."""
    witness: str | None
    """An archive that has backups in the store, itself where it has: a store without that one is another store."""


def said(tx: Connection, *, store: str, archive_id: str) -> Said:
    """Not held: what is said of the key is never unsaid, and a backup is published after its archive is in the store."""
    key_check = tx.execute(select(archives.c.key_check).where(archives.c.id == archive_id)).scalar()
    # One after the other by its index, and mostly the first is one: in one statement, servers read all backups there are.
    there = tx.execute(select(archives.c.id).where(archives.c.store == store)).scalars().all()
    own_first = sorted(there, key=lambda one: (one != archive_id, one))
    witness = next((one for one in own_first if tx.execute(_HAS_BACKUPS, {"archive": one}).first() is not None), None)
    return Said(holds_packs(tx, store=store), key_check, witness)


def say_key(tx: Connection, *, archive_id: str, key_check: str) -> None:
    """Say which key an archive has, where nobody has said so."""
    _hold(tx, archive_id)
    unsaid = and_(archives.c.id == archive_id, archives.c.key_check.is_(None))
    tx.execute(update(archives).where(unsaid).values(key_check=key_check))


def holds_packs(tx: Connection, *, store: str) -> bool:
    """Whether anything of ours may be in a store: one that is empty then is not there."""
    of_store = archives.c.store == store
    if tx.execute(select(archives.c.id).where(of_store, archives.c.publications > 0).limit(1)).first() is not None:
        return True
    begun = tx.execute(select(archives.c.id).where(of_store)).scalars().all()
    return any(tx.execute(_HAS_PACKS, {"archive": one}).first() is not None for one in begun)


def put_off(tx: Connection, *, archive_id: str) -> None:
    """A collection has failed: say when the next one is due."""
    _hold(tx, archive_id)
    _collect(tx, archive_id, after_us=TRY_AGAIN_US)


def due(tx: Connection) -> list[tuple[str, str]]:
    """Archives that are to be looked through, as (id, store)."""
    found = select(archives.c.id, archives.c.store).where(archives.c.collect_after_us <= _now_us(tx))
    return [(row.id, row.store) for row in tx.execute(found.order_by(archives.c.id))]


def _hold(tx: Connection, archive_id: str) -> None:
    """Write the archive's row: whoever decides anything else about it waits, or runs again."""
    if tx.execute(_HOLD, {"archive": archive_id}).rowcount == 0:
        raise Contended(f"archive {archive_id} was not there a moment ago")


def _require_there(tx: Connection, backup_id: str, needed: frozenset[str]) -> None:
    """Refuse a manifest that names what may be gone. By the protocol there is no such one, and a backup must not be believed in
    for that alone: tables may have been restored from yesterday's.
    """
    there = sum(len(tx.execute(_THERE, {"ids": some}).all()) for some in _slices(sorted(needed)))
    if missing := len(needed) - there:
        raise BackendFailed(f"Backup {backup_id} needs {missing} packs that its archive does not have any more.")


def _now_us(tx: Connection) -> int:
    """By the database's clock, which all nodes share: one whose own is wrong collects neither early nor never."""
    return int(tx.execute(select(db_now_us())).scalar_one())


def _collect(tx: Connection, archive_id: str, *, after_us: int) -> None:
    """Make a collection due, at the latest then: a stream of backups must not put it off for ever."""
    at_us = db_now_us() + after_us
    earlier = case((archives.c.collect_after_us < at_us, archives.c.collect_after_us), else_=at_us)
    tx.execute(update(archives).where(archives.c.id == archive_id).values(collect_after_us=earlier))


def _turn(tx: Connection, ids: Sequence[str], state: str, *, seq: int) -> None:
    for some in _slices(ids):
        tx.execute(update(packs).where(packs.c.id.in_(some)).values(state=state, seq=seq))


def _own(tx: Connection, archive_id: str, backup_id: str) -> Iterator[Sequence[str]]:
    """The packs that a backup makes, some at a time: those that change meanwhile are behind us."""
    after: str | None = ""
    while after is not None:
        some = tx.execute(_OWN, {"archive": archive_id, "backup": backup_id, "after": after}).scalars().all()
        yield some
        after = some[-1] if len(some) == DECIDED_MOST else None


def _slices(ids: Iterable[str]) -> Iterator[list[str]]:
    rest = iter(ids)
    while some := list(islice(rest, AT_ONCE)):
        yield some


_HAS_BACKUPS: Final[Any] = (
    select(backups.c.id).where(backups.c.archive_id == bindparam("archive"), backups.c.manifest.is_not(None)).limit(1)
)
_HAS_PACKS: Final[Any] = select(packs.c.id).where(packs.c.archive_id == bindparam("archive")).limit(1)
_HOLD: Final = update(archives).where(archives.c.id == bindparam("archive")).values(op_seq=archives.c.op_seq + 1)
_BACKUP: Final = select(backups.c.archive_id, backups.c.manifest, backups.c.pin).where(
    backups.c.id == bindparam("backup")
)
_OWN: Final = (
    select(packs.c.id)
    .where(
        packs.c.archive_id == bindparam("archive"),  # of the index that is in this order
        packs.c.state == PENDING,
        packs.c.id > bindparam("after"),
        packs.c.backup_id == bindparam("backup"),
    )
    .order_by(packs.c.id)
    .limit(DECIDED_MOST)
)
_DOOM_OWN: Final = (
    update(packs).where(packs.c.backup_id == bindparam("backup"), packs.c.state == PENDING).values(state=DOOMED)
)
_THERE: Final = select(packs.c.id).where(
    packs.c.id.in_(bindparam("ids", expanding=True)), packs.c.state.in_((LIVE, CONDEMNED))
)
_USABLE: Final = select(packs.c.id).where(
    packs.c.archive_id == bindparam("archive"),
    or_(packs.c.state == LIVE, and_(packs.c.state == PENDING, packs.c.backup_id == bindparam("backup"))),
)
_OLDEST_PIN: Final = select(func.min(backups.c.pin)).where(backups.c.archive_id == bindparam("archive"))
_LEFT: Final = (
    # A doomed pack that was not swept yet is first: NULL sorts as it likes, so it becomes 0.
    select(packs.c.state, func.nullif(func.min(func.coalesce(packs.c.swept_at_us, 0)), 0))
    .where(packs.c.archive_id == bindparam("archive"), packs.c.state.in_((CONDEMNED, DOOMED)))
    .group_by(packs.c.state)
)
_TO_SETTLE: Final = (
    select(packs.c.id, packs.c.seq)
    .where(
        packs.c.archive_id == bindparam("archive"),
        packs.c.state == bindparam("state"),
        packs.c.id > bindparam("after"),
    )
    .order_by(packs.c.id)
    .limit(DECIDED_MOST)
)
