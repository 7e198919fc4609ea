"""Operations that no live node can run: found by what they are, and claimed only to be parked."""

from typing import Any, Final, NamedTuple

from sqlalchemy import ColumnElement, Connection, FromClause, Integer, Select, bindparam, select, true, tuple_

from breezeblock.protocol.queue import FREE, OLDEST_FIRST, SEEN, Wanted
from breezeblock.store.dialects import skips_to_distinct
from breezeblock.store.tables import operations

# The kinds that work on two backends (`queue.Job.needs`): few wait at a time, so each of them is looked at.
NEED_TWO: Final = frozenset({"migrate_volume"})


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


def needing_two(tx: Connection, *, waiting: Waiting, most: int) -> list[tuple[str, Wanted]]:
    """The heads of lines among operations that only a node can run which serves a second queue, each with that queue."""
    rows = tx.execute(_NEEDING_TWO, {**waiting._asdict(), "most": most})
    return [(row.needs, Wanted(row.id, row.epoch, row.queue, row.attempt, row.kind)) for row in rows]


def _order(of: FromClause) -> tuple[ColumnElement[Any], ...]:
    """The index's own. The owner, though it is always the same: else databases do not see that the index is in this order."""
    return of.c.owner, of.c.queue, of.c.kind, of.c.version


_NOBODYS = (operations.c.owner.is_(None), operations.c.queue < bindparam("end"))
_FROM_FIRST = operations.c.queue >= bindparam("first")


def _led() -> Select[Any]:
    """From the first operation to the first one of the next kind, and so on: each time one look into the index."""
    kinds = _order(operations)[1:]
    one = select(*kinds).where(*_NOBODYS).order_by(*_order(operations)).limit(1)
    walk = select(one.where(_FROM_FIRST).subquery("one")).cte("walk", recursive=True)
    behind = (
        one.where(tuple_(*kinds) > tuple_(walk.c.queue, walk.c.kind, walk.c.version)).correlate(walk).lateral("behind")
    )
    return select(
        walk.union_all(select(behind.c.queue, behind.c.kind, behind.c.version).select_from(walk.join(behind, true())))
    )


_WAITING_KINDS = select(*_order(operations)).where(*_NOBODYS, _FROM_FIRST).distinct()
_WAITING_KINDS_LED = _led()
_HEADS = (
    select(*SEEN)
    .where(
        operations.c.queue == bindparam("queue"),
        operations.c.kind == bindparam("kind"),
        operations.c.version == bindparam("version"),
        FREE,
    )
    .order_by(*OLDEST_FIRST)
    .limit(bindparam("most", type_=Integer()))
)
_NEEDING_TWO = _HEADS.add_columns(operations.c.needs).where(operations.c.needs.is_not(None))
