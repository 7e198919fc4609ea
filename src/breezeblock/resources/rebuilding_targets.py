"""A backend of which an operator says that it is served from another target than the older database knows.

What is not on that target is not lost: it is on the other side, and becomes what it was when the backend is back there. So the
rows are treated as by a failover (`targets.py`), but in one transaction, and with nobody at work.
"""

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import Connection, Table, update

from breezeblock.model import states
from breezeblock.model.errors import InvalidState
from breezeblock.resources.backend_changes import close_or_open
from breezeblock.resources.backends import DEFAULT_TARGET
from breezeblock.resources.rebuilding_statuses import usable_before
from breezeblock.resources.targets import LEAVE, RETURN, USABLE
from breezeblock.store.tables import backends
from breezeblock.store.transitions import Transition, change_row, lock_row, read_row

__all__ = ["move", "sort_out"]


def move(tx: Connection, *, backend_id: str, queue: str, target: str, now_us: int) -> None:
    """Let a backend's row say which target it is served from, and the cluster take new volumes as it does after a failover."""
    lock_row(tx, backends, backend_id)
    active = None if target == DEFAULT_TARGET else target
    status = states.REPLICATION_ENABLED if active is None else states.REPLICATION_FAILED_OVER
    values = {"active_backend_id": active, "replication_status": status}
    change_row(tx, backends, backend_id, **values)
    close_or_open(tx, queue_name=queue, at_us=now_us)


def sort_out(
    tx: Connection, table: Table, row: dict[str, Any], reset: Transition, *, is_here: bool, now_us: int
) -> tuple[dict[str, Any], str | None]:
    """Say of a resource whether it is on that target, and let it be what it was if it was left behind before.

    Returns the row as it is then, and in words what has changed.
    """
    was_away = row["replication_status"] == states.NOT_CAPABLE
    if is_here and not was_away:
        return row, None
    lock_row(tx, table, row["id"])
    if not is_here:
        _stay_behind(tx, table, row, reset, now_us=now_us)
    elif not _apply(tx, RETURN[table.name], row["id"], now_us):
        change_row(tx, table, row["id"], replication_status=None)
    found = read_row(tx, table, row["id"])
    assert found is not None, "a locked row is there"
    if is_here:
        return dict(found), f"was left behind, and is {found['status']} here"
    return dict(found), None if was_away else f"is not on this side, and waits for {row['object_name']} on the other"


def _stay_behind(tx: Connection, table: Table, row: Mapping[str, Any], reset: Transition, *, now_us: int) -> None:
    """What could be used is in `error` meanwhile. What was in the middle of something is an operator's to look at."""
    if row["status"] in USABLE[table.name]:
        LEAVE[table.name].apply_locked(tx, row["id"], now_us=now_us)
    else:
        if row["status"] in _TRANSITIONAL[table.name]:
            reset.apply_locked(tx, row["id"], status=states.ERROR, now_us=now_us)
        # An `error` of before, or of now, is none that is to be taken back later; that of an earlier failover is, and that of a
        # rebuild before this one, which was not told of the target.
        known = row["replication_status"] == states.NOT_CAPABLE
        kept = {} if known else {"previous_status": usable_before(table, row)}
        change_row(tx, table, row["id"], replication_status=states.NOT_CAPABLE, **kept)
    charged = {"charged_gib": row["size_gib"], "charged_type_id": row["volume_type_id"]}
    tx.execute(update(table).where(table.c.id == row["id"]).values(**charged))


_TRANSITIONAL: Final = {"volumes": states.VOLUME_TRANSITIONAL, "snapshots": states.SNAPSHOT_TRANSITIONAL}


def _apply(tx: Connection, transition: Transition, row_id: str, now_us: int) -> bool:
    """Make the change where its conditions hold. Returns whether they did."""
    try:
        transition.apply_locked(tx, row_id, now_us=now_us)
    except InvalidState:
        return False
    return True
