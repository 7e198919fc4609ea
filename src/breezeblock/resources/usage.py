"""What there was in a period, for those who bill: an event `exists` for each volume, snapshot and backup, once.

How far a receiver has been told is a row of its own, written by the transaction that tells: whoever repeats it, after a death
or a year later, goes on from there, and tells nothing twice. A period is told when it has been over for a while, so nothing can
come into it any more. What was deleted by then is not there to be told of; that it was deleted has been told when it was.
"""

from typing import Final

from sqlalchemy import Connection, Integer, Table, bindparam, delete, insert, select, update

from breezeblock.model.errors import Contended
from breezeblock.store import tables
from breezeblock.store.outbox import outbox_of
from breezeblock.store.tables import usage_periods
from breezeblock.store.transitions import lock_rows

__all__ = ["COUNTED", "KEPT_US", "SETTLE_S", "tell_some"]

# In this order.
COUNTED: Final[tuple[tuple[str, Table], ...]] = (
    ("volume", tables.volumes),
    ("snapshot", tables.snapshots),
    ("backup", tables.backups),
)
# Of one transaction: its rows are held until it ends, and requests about them wait.
AT_ONCE: Final = 50
# A request that was made in the period may commit after it, and clocks differ.
SETTLE_S: Final = 30.0
# How long it is known that a period was told; an older one is told to nobody.
KEPT_US: Final = 1200 * 86_400 * 1_000_000


def tell_some(
    tx: Connection, *, receiver: str, begins_us: int, ends_us: int, resource_type: str, now_us: int
) -> tuple[int, bool]:
    """Tell of some more of that type. Returns how many, and whether that was all. To be called until it was.

    Each row is written before it is told of, so its event has a place among the others of that resource. Raises Contended when
    somebody else tells the same at the same time.
    """
    table = dict(COUNTED)[resource_type]
    period = {"of": receiver, "begins": begins_us, "ends": ends_us, "type": resource_type}
    known = tx.execute(_KNOWN, period).one_or_none()
    if known is not None and known.is_whole:
        return 0, True
    after = "" if known is None else known.after_id
    there = table.c.tombstone.is_(False) & (table.c.created_at_us < ends_us) & (table.c.id > after)
    query = select(table.c.id).where(there).order_by(table.c.id).limit(bindparam("most", type_=Integer()))
    ids = list(tx.execute(query, {"most": AT_ONCE}).scalars())
    lock_rows(tx, [(table, id_) for id_ in ids], asked_for=frozenset())
    box = outbox_of(tx)
    assert box is not None, "a period is told by a store that has somebody to tell"
    # Asked again: one that was deleted before its row was ours has told its end.
    living = set(tx.execute(select(table.c.id).where(table.c.id.in_(ids), table.c.tombstone.is_(False))).scalars())
    for id_ in ids:
        if id_ in living:
            box.exists(table, id_, begins_us=begins_us, ends_us=ends_us)
    is_whole = len(ids) < AT_ONCE
    reached = {"after_id": ids[-1] if ids else after, "is_whole": is_whole}
    if known is None:
        key = {"receiver": receiver, "begins_us": begins_us, "ends_us": ends_us, "resource_type": resource_type}
        tx.execute(insert(usage_periods).values(**key, **reached, told=len(ids)))
    else:
        on = update(usage_periods).where(_THIS, usage_periods.c.after_id == after, usage_periods.c.is_whole.is_(False))
        if tx.execute(on.values(**reached, told=usage_periods.c.told + len(ids)), period).rowcount == 0:
            raise Contended("somebody else tells of the same period")
    if is_whole:
        old = (usage_periods.c.begins_us < now_us - KEPT_US) & (usage_periods.c.ends_us < now_us - KEPT_US)
        tx.execute(delete(usage_periods).where(usage_periods.c.receiver == receiver, old))
    return len(ids), is_whole


_THIS: Final = (
    (usage_periods.c.receiver == bindparam("of"))
    & (usage_periods.c.begins_us == bindparam("begins"))
    & (usage_periods.c.ends_us == bindparam("ends"))
    & (usage_periods.c.resource_type == bindparam("type"))
)
_KNOWN: Final = select(usage_periods.c.after_id, usage_periods.c.is_whole).where(_THIS)
