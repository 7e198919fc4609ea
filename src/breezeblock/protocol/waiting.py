"""Operations that no live node can run: found by what they are, and claimed only to be parked."""

from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, FromClause, Integer, Select, bindparam, select, tuple_

from breezeblock.protocol.queue import FREE, SEEN, Wanted
from breezeblock.store.dialects import skips_to_distinct
from breezeblock.store.tables import operations


class Waiting(NamedTuple):
    """What operations that nobody owns are, and where they wait."""

    queue: str
    kind: str
    version: int


def waiting_kinds(tx: Connection, *, cluster: str) -> list[Waiting]:
    """What everything is that nobody owns in a cluster's queues: which of it no node serves is for the caller to know.

    The cost is that of the kinds that there are in each queue, not of all that waits (on SQLite: that of an index).
    """
    statement = _WAITING_KINDS if skips_to_distinct(tx) else _WAITING_KINDS_LED
    # All names that begin with the cluster's and the sign behind it, and none besides.
    within = {"first": f"{cluster}@", "end": f"{cluster}{chr(ord('@') + 1)}"}
    return [Waiting(row.queue, row.kind, row.version) for row in tx.execute(statement, within)]


def heads(tx: Connection, *, waiting: Waiting, most: int) -> list[Wanted]:
    """The heads of lines among operations that no live node can claim: they are claimed only to be parked."""
    values = {**waiting._asdict(), "most": most}
    return [Wanted(row.id, row.epoch, row.queue, row.attempt, row.kind) for row in tx.execute(_HEADS, values)]


def _waiting(of: FromClause) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return of.c.owner.is_(None), of.c.queue < bindparam("end")


def _order(of: FromClause) -> tuple[ColumnElement[Any], ...]:
    """The index's own. The owner, though it is always the same: else databases do not see that the index is in this order."""
    return of.c.owner, of.c.queue, of.c.kind, of.c.version


def _led() -> Select[Any]:
    """From the first operation to the first one of the next kind, and so on: each time one look into the index."""
    first = (
        select(operations.c.id)
        .where(*_waiting(operations), operations.c.queue >= bindparam("first"))
        .order_by(*_order(operations))
        .limit(1)
    )
    walk = select(first.scalar_subquery().label("id")).cte("walk", recursive=True)
    at, later = operations.alias("at"), operations.alias("later")
    behind = tuple_(*_order(later)[1:]) > tuple_(*_order(at)[1:])
    following = select(later.c.id).where(*_waiting(later), behind).order_by(*_order(later)).limit(1)
    walk = walk.union_all(select(following.correlate(at).scalar_subquery()).where(at.c.id == walk.c.id))
    found = operations.alias("found")
    return select(found.c.queue, found.c.kind, found.c.version).where(found.c.id == walk.c.id)


_WAITING_KINDS = (
    select(*_order(operations)).where(*_waiting(operations), operations.c.queue >= bindparam("first")).distinct()
)
_WAITING_KINDS_LED = _led()
_HEADS = (
    select(*SEEN)
    .where(
        operations.c.queue == bindparam("queue"),
        operations.c.kind == bindparam("kind"),
        operations.c.version == bindparam("version"),
        FREE,
    )
    .order_by(operations.c.created_at_us, operations.c.id)
    .limit(bindparam("most", type_=Integer()))
)
