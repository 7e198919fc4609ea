"""Stands in for `protocol/archives.py` until that is there: pins, packs and publications, without their collection.

The functions and their arguments are the same, so that callers change one import.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, insert, select, update

from breezeblock.store.tables import archives, backups, packs
from breezeblock.store.transitions import change_row, lock_row, read_row


def enter(tx: Connection, *, backup_id: str, store: str, project_id: str, archive_id: str, now_us: int) -> str:
    """Make the project's archive in a store where there is none, and pin it for a backup. Returns the archive's id.

    A backup that has a pin keeps it: what its checkpoint refers to was found under that one.
    """
    there = tx.execute(
        select(archives.c.id).where(archives.c.store == store, archives.c.project_id == project_id)
    ).scalar()
    if there is None:
        row = {"id": archive_id, "op_seq": 0, "tombstone": False, "store": store, "project_id": project_id}
        tx.execute(insert(archives).values(**row, publications=0, collect_after_us=None, created_at_us=now_us))
        there = archive_id
    lock_row(tx, archives, there)
    archive = _there(tx, archives, there)
    backup = _there(tx, backups, backup_id)
    if backup["pin"] is None:
        change_row(tx, backups, backup_id, archive_id=there, pin=archive["op_seq"])
    return str(there)


def allot(tx: Connection, *, archive_id: str, backup_id: str, ids: Sequence[str], now_us: int) -> None:
    """Rows for packs that a backup is about to upload."""
    lock_row(tx, archives, archive_id)
    seq = _there(tx, archives, archive_id)["op_seq"]
    same = {"archive_id": archive_id, "state": "pending", "seq": seq, "backup_id": backup_id}
    tx.execute(insert(packs), [{"id": id_, **same, "size_bytes": 0, "created_at_us": now_us} for id_ in ids])


def usable(tx: Connection, *, archive_id: str, backup_id: str) -> list[str]:
    """The packs whose blocks may be referred to: live ones, and this backup's own."""
    own = (packs.c.state == "pending") & (packs.c.backup_id == backup_id)
    found = select(packs.c.id).where(packs.c.archive_id == archive_id, (packs.c.state == "live") | own)
    return list(tx.execute(found.order_by(packs.c.id)).scalars())


def publish(tx: Connection, *, backup_id: str, manifest: str, named: Sequence[str], now_us: int) -> None:
    """From here on the backup exists. Doing it twice changes nothing."""
    archive = _hold(tx, backup_id)
    if archive is None or _there(tx, backups, backup_id)["manifest"] == manifest:
        return
    own = (packs.c.backup_id == backup_id) & (packs.c.state == "pending")
    tx.execute(update(packs).where(own, packs.c.id.in_(named)).values(state="live", seq=archive["op_seq"]))
    tx.execute(update(packs).where(own, packs.c.id.not_in(named)).values(state="doomed", seq=archive["op_seq"]))
    change_row(tx, archives, archive["id"], publications=archive["publications"] + 1)
    change_row(tx, backups, backup_id, manifest=manifest, pin=None)


def leave(tx: Connection, *, backup_id: str, now_us: int) -> None:
    """End what is not published: the pin goes, and packs that nothing names are garbage. Without a pin, nothing."""
    archive = _hold(tx, backup_id)
    if archive is None or _there(tx, backups, backup_id)["pin"] is None:
        return
    own = (packs.c.backup_id == backup_id) & (packs.c.state == "pending")
    tx.execute(update(packs).where(own).values(state="doomed", seq=archive["op_seq"]))
    change_row(tx, archives, archive["id"], collect_after_us=now_us)
    change_row(tx, backups, backup_id, pin=None)


def unpublish(tx: Connection, *, backup_id: str, now_us: int) -> None:
    """The backup does not exist any more: its row names no manifest."""
    archive = _hold(tx, backup_id)
    if archive is None:
        return
    change_row(tx, archives, archive["id"], collect_after_us=now_us)
    change_row(tx, backups, backup_id, manifest=None)


def _hold(tx: Connection, backup_id: str) -> dict[str, Any] | None:
    """The archive that a backup has entered, held, and then the backup; None where there is none."""
    backup = read_row(tx, backups, backup_id)
    if backup is None or backup["archive_id"] is None:
        return None
    lock_row(tx, archives, backup["archive_id"])
    lock_row(tx, backups, backup_id)
    return _there(tx, archives, backup["archive_id"])


def _there(tx: Connection, table: Any, row_id: str) -> dict[str, Any]:
    row = read_row(tx, table, row_id)
    assert row is not None, f"the row of {row_id} is held, so it is there"
    return row
