"""A backend of which an operator says that it is served from another target than the older database knows.

What is not on that target is not lost: it is on the other side, and becomes what it was when the backend is back there. So the
rows are treated as by a failover (`targets.py`), but in one transaction, and with nobody at work.
"""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Table, update

from breezeblock.model import states
from breezeblock.model.errors import InvalidState
from breezeblock.resources.backend_changes import close_or_open
from breezeblock.resources.backends import DEFAULT_TARGET
from breezeblock.resources.targets import LEAVE, RETURN
from breezeblock.store.tables import backends
from breezeblock.store.transitions import Transition, change_row, lock_row, read_row

__all__ = ["come_back", "move", "stay_behind"]


def move(tx: Connection, *, backend_id: str, queue: str, target: str, now_us: int) -> None:
    """Let a backend's row say which target it is served from, and the cluster take new volumes as it does after a failover."""
    lock_row(tx, backends, backend_id)
    active = None if target == DEFAULT_TARGET else target
    status = states.REPLICATION_ENABLED if active is None else states.REPLICATION_FAILED_OVER
    values = {"active_backend_id": active, "replication_status": status}
    change_row(tx, backends, backend_id, **values)
    close_or_open(tx, queue_name=queue, at_us=now_us)


def come_back(tx: Connection, table: Table, row: Mapping[str, Any], *, now_us: int) -> dict[str, Any]:
    """A resource that was on the other side, and is here now: what it was before, if nobody has said otherwise since."""
    lock_row(tx, table, row["id"])
    if not _apply(tx, RETURN[table.name], row["id"], now_us):
        change_row(tx, table, row["id"], replication_status=None)
    found = read_row(tx, table, row["id"])
    assert found is not None, "a locked row is there"
    return dict(found)


def stay_behind(
    tx: Connection,
    table: Table,
    row: Mapping[str, Any],
    *,
    reset: Transition,
    transitional: frozenset[str],
    now_us: int,
) -> None:
    """A resource that is not here. What could be used is in `error` meanwhile; what was in the middle of something stays so."""
    lock_row(tx, table, row["id"])
    if row["status"] in transitional:
        reset.apply_locked(tx, row["id"], status=states.ERROR, now_us=now_us)
    if row["status"] in transitional or not _apply(tx, LEAVE[table.name], row["id"], now_us):
        # An `error` of before, or of now, is none that is to be taken back later.
        forgotten = {"previous_status": None} if row["status"] in (states.ERROR, *transitional) else {}
        change_row(tx, table, row["id"], replication_status=states.NOT_CAPABLE, **forgotten)
    charged = {"charged_gib": row["size_gib"], "charged_type_id": row["volume_type_id"]}
    tx.execute(update(table).where(table.c.id == row["id"]).values(**charged))


def _apply(tx: Connection, transition: Transition, row_id: str, now_us: int) -> bool:
    """Make the change where its conditions hold. Returns whether they did."""
    try:
        transition.apply_locked(tx, row_id, now_us=now_us)
    except InvalidState:
        return False
    return True
