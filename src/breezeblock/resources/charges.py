"""What a volume is charged for, brought back to what it is; and the end of operations that nobody could run."""

import functools
from typing import Any, Final

from sqlalchemy import Connection, Table, and_, case

from breezeblock.model import states
from breezeblock.model.errors import NotFound
from breezeblock.placement import allocate
from breezeblock.protocol import archives, queue
from breezeblock.resources import connections, moves, quotas
from breezeblock.resources.accepted import clear_tombstones, message_for_failure, settle, tables_of, tell_the_truth
from breezeblock.resources.backend_changes import park_failover
from breezeblock.store.tables import attachments, backups, volumes
from breezeblock.store.transitions import Transition, change_row, lock_rows, read_row


def restore_charge(tx: Connection, volume_id: str) -> None:
    """Charge a volume for the size and type that it has: its extend or retype is not going to happen.

    The row must be locked. Doing it twice changes nothing, and a tombstone has been settled already.
    """
    row = read_row(tx, volumes, volume_id)
    if row is None or row["tombstone"]:
        return
    charged, real = row["charged_gib"], row["size_gib"]
    old_type, real_type = row["charged_type_id"], row["volume_type_id"]
    if (charged, old_type) == (real, real_type):
        return
    if row["pool_name"] is not None:
        allocate.record(tx, row["pool_name"], real - charged)
    before = quotas.volume_deltas(volumes=1, gib=charged, type_id=old_type)
    after = quotas.volume_deltas(volumes=1, gib=real, type_id=real_type)
    quotas.refund(tx, row["project_id"], quotas.difference(before, after))
    change_row(tx, volumes, volume_id, charged_gib=real, charged_type_id=real_type)


def park_unknown(tx: Connection, claim: queue.Claim, *, text: str, now_us: int) -> None:
    """End an operation that nobody here understands: every resource it holds and has left transitional goes to `error`, and
    every attachment to `error_detaching`.
    """
    held = [at.resource_id for at in claim.locks if at.exclusive]
    ours = [(table, row_id) for row_id in held for table in tables_of(claim) if read_row(tx, table, row_id) is not None]
    # What it only reads is written too where the end is told as that one's: its events have their order by these writes.
    read = [(table, claim.resource_id) for table in tables_of(claim)]
    told = [(table, row_id) for table, row_id in read if read_row(tx, table, row_id) is not None]
    attached = connections.held_by(tx, claim)
    try:
        lock_rows(tx, [*ours, *told, *((attachments, id_) for id_ in attached)])
    except NotFound:
        queue.guard(tx, claim)  # a survivor has ended it, and with it the row: that says so
        raise
    for table, row_id in ours:
        if table is backups:
            archives.leave(tx, backup_id=row_id)
    if claim.kind == queue.FAILOVER:
        park_failover(tx, claim, now_us=now_us)
    if claim.kind == archives.COLLECTION:
        archives.put_off(tx, archive_id=claim.resource_id)
    queue.close(tx, claim, outcome="parked", detail=text, now_us=now_us)
    for table, row_id in ours:
        if table is volumes:
            moves.park(tx, claim, row_id)
            restore_charge(tx, row_id)
        settle(tx, _park(table), row_id)
    connections.park(tx, claim, ids=attached, text=text, now_us=now_us)
    tell_the_truth(tx, claim)
    message_for_failure(tx, claim, event=claim.kind, text=text, now_us=now_us)
    clear_tombstones(tx, claim)


@functools.cache
def _park(table: Table) -> Transition:
    moves = tuple((status, states.ERROR) for status in sorted(_TRANSITIONAL[table.name]))
    sets: dict[str, Any] = {"status": states.ERROR}
    # Whoever backs a volume up, or restores a backup, only reads it.
    if table is volumes:
        before = table.c.previous_status
        unharmed = and_(table.c.status == states.BACKING_UP, before.in_(states.FOLLOWS_ATTACHMENTS))
        sets = {"status": case((unharmed, before), else_=states.ERROR)}
        moves += tuple((states.BACKING_UP, status) for status in states.FOLLOWS_ATTACHMENTS)
    if table is backups:
        sets = {"status": case((table.c.status == states.RESTORING, states.AVAILABLE), else_=states.ERROR)}
        moves += ((states.RESTORING, states.AVAILABLE),)
    return Transition(table, name=f"{table.name}.park", musts=(), sets=sets, moves=moves)


_TRANSITIONAL: Final = {
    "volumes": states.VOLUME_TRANSITIONAL,
    "snapshots": states.SNAPSHOT_TRANSITIONAL,
    "backups": states.BACKUP_TRANSITIONAL,
    "volume_groups": states.GROUP_TRANSITIONAL,
    "group_snapshots": states.GROUP_TRANSITIONAL,
}
