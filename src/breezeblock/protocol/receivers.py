"""Receivers of events as operators see them: which there are, what waits for each, what it refused, and the end of one.

A receiver's row is written before anything is decided about it: by a node that names it, and by whoever removes it. So one of
two comes first, and the other sees it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from sqlalchemy import (
    Connection,
    Integer,
    Select,
    Table,
    bindparam,
    delete,
    func,
    insert,
    literal,
    select,
    union_all,
    update,
)

from breezeblock.model.errors import InvalidState, NotFound
from breezeblock.model.ids import Incarnation
from breezeblock.protocol.posting import forget
from breezeblock.store.dialects import db_now_us
from breezeblock.store.tables import event_receivers, events, events_aside, nodes, usage_periods

__all__ = ["Removed", "Waiting", "again", "enrol", "named", "remove", "waiting", "would_remove"]

# Of one transaction: long enough to get on, short enough to be in nobody's way.
AT_ONCE: Final = 500
_LIVE: Final = ("up", "draining")


def enrol(tx: Connection, *, receivers: Sequence[str], incarnation: Incarnation) -> None:
    """Say that a node names these, and make the rows of those that are new. Two that make one at once: one runs again.

    Who names none says that too: until a live node has said something nobody can know that it does not name a receiver.
    """
    for name in sorted(set(receivers)):
        if tx.execute(_TOUCH, {"receiver": name}).rowcount == 0:
            tx.execute(insert(event_receivers).values(name=name))
    named = msgspec.json.encode(sorted(set(receivers))).decode()
    mine = update(nodes).where(nodes.c.incarnation == incarnation)
    tx.execute(mine.values(receivers_json=named, claims=nodes.c.claims + 1))


@dataclass(frozen=True, slots=True)
class Waiting:
    """What there is to say of a receiver. `oldest_us` is the wall clock of its oldest event; None when none waits.

    `aside` is what it has refused and is still there.
    """

    receiver: str
    waiting: int
    oldest_us: int | None
    aside: int
    sent: int
    failed: int
    refused: int
    dropped: int
    error: str | None


def waiting(tx: Connection) -> list[Waiting]:
    """All receivers that ever were in some node's settings, or for which anything waits. Two statements: scrapers ask often."""
    counts = {(row.is_aside, row.receiver): row for row in tx.execute(_COUNTS)}
    rows = {row.name: row for row in tx.execute(_ALL)}
    found = []
    for name in sorted({*(name for _, name in counts), *rows}):
        row, count, aside = rows.get(name), counts.get((0, name)), counts.get((1, name))
        found.append(
            Waiting(
                receiver=name,
                waiting=0 if count is None else count.many,
                oldest_us=None if count is None else count.oldest,
                aside=0 if aside is None else aside.many,
                sent=0 if row is None else row.sent,
                failed=0 if row is None else row.failed,
                refused=0 if row is None else row.refused,
                dropped=0 if row is None else row.dropped,
                error=None if row is None else row.error,
            )
        )
    return found


def again(tx: Connection, *, receiver: str) -> int:
    """Put some of what was set aside back among what waits, at its old place. Returns how many.

    It waits as what is told now does. Raises NotFound. What came after it in its line may have been sent since: whoever reads
    `seq` knows.
    """
    _hold(tx, receiver)
    now_us: int = tx.execute(select(db_now_us())).scalar_one()
    rows = [dict(row) for row in tx.execute(_SOME_ASIDE, {"receiver": receiver, "most": AT_ONCE}).mappings()]
    if rows:
        back = [{column.name: row[column.name] for column in events.c} | {"at_us": now_us} for row in rows]
        tx.execute(insert(events), back)
        forget(tx, events_aside, receiver, [row["id"] for row in rows])
    return len(rows)


@dataclass(frozen=True, slots=True)
class Removed:
    """What one transaction of a removal has removed; `is_whole`: nothing of the receiver is left."""

    events: int
    is_whole: bool


def remove(tx: Connection, *, receiver: str) -> Removed:
    """Forget some of what there is for a receiver, and the receiver itself once that is all. To be called until it is whole.

    Raises NotFound; and InvalidState while a live node names it or has not said yet whether it does, also in the middle: then
    it is in use, and keeps the rest.
    """
    _hold(tx, receiver)
    _check_unnamed(tx, receiver)
    found = 0
    for table in (events, events_aside):
        ids = list(tx.execute(_ids(table), {"receiver": receiver, "most": AT_ONCE - found}).scalars())
        forget(tx, table, receiver, ids)
        found += len(ids)
        if found == AT_ONCE:
            return Removed(found, is_whole=False)
    tx.execute(delete(usage_periods).where(usage_periods.c.receiver == receiver))
    tx.execute(delete(event_receivers).where(event_receivers.c.name == receiver))
    return Removed(found, is_whole=True)


def would_remove(tx: Connection, *, receiver: str) -> int:
    """How many events `remove` would forget. Raises NotFound and InvalidState as it does."""
    found = next((one for one in waiting(tx) if one.receiver == receiver), None)
    if found is None:
        raise _not_found(receiver)
    _check_unnamed(tx, receiver)
    return found.waiting + found.aside


def _check_unnamed(tx: Connection, receiver: str) -> None:
    """Raises InvalidState. Who starts after this was asked makes the receiver anew when it says that it names it."""
    if names := named(tx).get(receiver):
        raise InvalidState(
            f"Receiver {receiver} is in the settings of {', '.join(names)}; take [events.{receiver}] out of the settings of "
            "all APIs and nodes first, and start them again."
        )
    if silent := tx.execute(_SILENT).scalars().all():
        raise InvalidState(
            f"Receiver {receiver} may be in the settings of {', '.join(silent)}: a node says within moments of its start which "
            "receivers it has, so try again then; one of an older release never does, so upgrade or stop it first."
        )


def _not_found(receiver: str) -> NotFound:
    return NotFound(f"Receiver {receiver} could not be found; `breezeblock events list` shows those that there are.")


def _hold(tx: Connection, receiver: str) -> None:
    """Write the receiver's row; one that only events know gets a row first, so that there is something to hold."""
    if tx.execute(_TOUCH, {"receiver": receiver}).rowcount:
        return
    known = any(tx.execute(_ids(table), {"receiver": receiver, "most": 1}).first() for table in (events, events_aside))
    if not known:
        raise _not_found(receiver)
    tx.execute(insert(event_receivers).values(name=receiver))


def named(tx: Connection) -> dict[str, list[str]]:
    """By receiver: the live nodes that have it in their settings."""
    found: dict[str, list[str]] = {}
    for row in tx.execute(_NAMED):
        for name in msgspec.json.decode(row.receivers_json, type=list[str]):
            found.setdefault(name, []).append(row.name)
    return found


def _ids(table: Table) -> Any:
    line = select(table.c.id).where(table.c.receiver == bindparam("receiver"))
    return line.order_by(table.c.id).limit(bindparam("most", type_=Integer()))


_TOUCH: Final = (
    update(event_receivers)
    .where(event_receivers.c.name == bindparam("receiver"))
    .values(touched=event_receivers.c.touched + 1)
)
_NAMED: Final = (
    select(nodes.c.name, nodes.c.receivers_json)
    .where(nodes.c.state.in_(_LIVE), nodes.c.receivers_json.is_not(None))
    .order_by(nodes.c.name)
)
_SILENT: Final = (
    select(nodes.c.name).where(nodes.c.state.in_(_LIVE), nodes.c.receivers_json.is_(None)).order_by(nodes.c.name)
)


def _counted(table: Table, *, is_aside: int) -> Select[Any]:
    many, oldest = func.count().label("many"), func.min(table.c.at_us).label("oldest")
    return select(literal(is_aside).label("is_aside"), table.c.receiver, many, oldest).group_by(table.c.receiver)


_COUNTS: Final = union_all(_counted(events, is_aside=0), _counted(events_aside, is_aside=1))
_SOME_ASIDE: Final = (
    select(events_aside)
    .where(events_aside.c.receiver == bindparam("receiver"))
    .order_by(events_aside.c.at_us, events_aside.c.id)
    .limit(bindparam("most", type_=Integer()))
)
_ALL: Final = select(event_receivers)
