"""Looking an archive through for packs that no backup needs: as an operation, begun by any worker when it is due.

`protocol/archives.py` decides; this is how it becomes work that finishes wherever it was begun.
"""

from collections.abc import Collection
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, bindparam, exists, select, update

from breezeblock.model import states
from breezeblock.model.errors import Contended, NotFound
from breezeblock.model.origin import Origin
from breezeblock.protocol import archives, queue
from breezeblock.protocol.queue import Claim, Lock
from breezeblock.protocol.steps import Failure
from breezeblock.resources import kinds
from breezeblock.store.tables import archives as archives_table
from breezeblock.store.tables import backups, operation_locks
from breezeblock.store.transitions import lock_row, read_row

KIND: Final = archives.COLLECTION


class CollectGarbage(msgspec.Struct, frozen=True, kw_only=True):
    """Payload of `collect_garbage`."""

    archive_id: str
    store: str


def has_due(tx: Connection, *, stores: Collection[str]) -> bool:
    """Whether there is anything to begin, in one of these stores. One read of an index."""
    return any(
        store in stores and not queue.someone_waits(tx, resource_id=archive_id)
        for archive_id, store in archives.due(tx)
    )


def begin_due(tx: Connection, *, origin: Origin, where: str, stores: Collection[str]) -> bool:
    """Enqueue the collection of one archive that is due, in one of these stores, to wait in queue `where`.

    Any node that has the store can do it, and needs no storage: so whoever finds it due takes a queue of its own. Returns
    whether there was one.
    """
    for archive_id, store in archives.due(tx):
        if store not in stores or queue.someone_waits(tx, resource_id=archive_id):
            continue  # one that is in line sees what has become garbage meanwhile, or the next one does
        if archives.begin_collection(tx, archive_id=archive_id):
            row = read_row(tx, archives_table, archive_id)
            assert row is not None, "a row that was just written is there"
            payload = CollectGarbage(archive_id=archive_id, store=store)
            job = kinds.job(KIND, where, "archive", archive_id, payload)
            queue.enqueue(tx, job, origin=origin, locks=(Lock(archive_id, row["op_seq"], exclusive=True),))
            return True
    return False


def finish_collection(
    tx: Connection, claim: Claim, payload: CollectGarbage, state: dict[str, Any], *, now_us: int
) -> None:
    """Say when the next one is due."""
    archives.end_collection(tx, archive_id=payload.archive_id)
    queue.close(tx, claim, outcome="done", detail=None, now_us=now_us)


def fail_collection(
    tx: Connection, claim: Claim, payload: CollectGarbage, state: dict[str, Any], *, failure: Failure, now_us: int
) -> None:
    """Nothing was decided on half a picture. Another one will try."""
    archives.put_off(tx, archive_id=payload.archive_id)
    queue.close(tx, claim, outcome=failure.outcome, detail=failure.message, now_us=now_us)


# --- pins that nobody keeps -------------------------------------------------------------------------------------------


def has_forgotten_pins(tx: Connection) -> bool:
    """Whether a backup keeps an archive pinned that nobody makes any more. One read of an index."""
    return tx.execute(_FORGOTTEN.limit(1)).first() is not None


def end_forgotten_pin(tx: Connection, *, now_us: int) -> str | None:
    """The standing rule: a backup that is pinned with nobody in its line is over, in `error`. One of them; None: there is none.

    So it is left by a node of a release that parks what it does not understand, and knows of no backups. Lock first, ask later:
    a request that has just enqueued something is seen with its operation.
    """
    for backup_id in tx.execute(_FORGOTTEN.limit(1)).scalars().all():
        try:
            lock_row(tx, backups, backup_id)
        except NotFound as error:
            raise Contended(f"backup {backup_id} has gone since it was read") from error
        if tx.execute(_FORGOTTEN.where(backups.c.id == backup_id)).first() is not None:
            archives.leave(tx, backup_id=backup_id)
            tx.execute(_END, {"backup": backup_id, "now_us": now_us})
            return str(backup_id)
    return None


_FORGOTTEN: Final = (
    select(backups.c.id)
    .where(backups.c.pin.is_not(None), ~exists().where(operation_locks.c.resource_id == backups.c.id))
    .order_by(backups.c.id)
)
_END: Final = (
    update(backups)
    .where(backups.c.id == bindparam("backup"), backups.c.status == states.CREATING)
    .values(status=states.ERROR, fail_reason="Nobody was there who could make it.", updated_at_us=bindparam("now_us"))
)
