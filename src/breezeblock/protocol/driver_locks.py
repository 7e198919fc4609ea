"""Locks of drivers in the database: one line for each name, first come, first served, and no time in it.

A call takes its places in the lines of all its names in one transaction, which writes each line first. So the lines agree on
who came before whom, no two calls can wait for each other, and on every database two that want the same name conflict. A
place is granted when nothing conflicting stands before it. Lower places can no longer appear: *once granted, always granted*,
so asking is a plain read.

A row goes in one of three ways: its call gives it up; its node finds that it has no such call (any more); or its node is
fenced, for all or on that backend: then in the transaction that releases the node's operations. Time takes nothing from
anybody.
"""

import hashlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, and_, bindparam, delete, exists, func, insert, or_, select, update

from breezeblock.model.errors import Fenced
from breezeblock.model.ids import Incarnation
from breezeblock.model.states import NODE_DEAD, NODE_LIVE
from breezeblock.protocol.queue import Claim
from breezeblock.store.tables import driver_lock_lines, driver_locks, node_backends, nodes, operations

# What is kept of a name for people to read.
SHOWN_MOST: Final = 255
# Rows that a living node has forgotten are few: a call was cut off while it took its places.
FORGOTTEN_MOST: Final = 1_000


@dataclass(frozen=True, slots=True, order=True)
class Line:
    """The line of one name in one scope. `id` is what its rows have: names come from drivers and may be anything."""

    id: str
    shown: str


def line_of(scope: str, target: str | None, name: str) -> Line:
    """The same for all who mean the same scope, target of replication and name."""
    where = scope if target is None else f"{scope} on {target}"
    shown = f"{where}: {name if name.isprintable() else ascii(name)}"
    return Line(key_of(scope, target, name), shown[:SHOWN_MOST])


def key_of(scope: str, target: str | None, name: str) -> str:
    """A lock's name for whoever keeps it: names come from drivers and may be anything.

    Each target has locks of its own: who hangs in an array that failed over keeps nobody waiting on the one that took over.
    """
    return hashlib.sha256(f"{scope}\0{target or ''}\0{name}".encode("utf-8", "surrogatepass")).hexdigest()


def take_places(tx: Connection, claimed: Claim, *, call_id: str, lines: Collection[Line], exclusive: bool) -> None:
    """Stand in all these lines at once. Raises Fenced when the operation is not ours any more.

    The node's row is written first, as a claim does: this and the node's expiry then conflict, and so do this and a failover
    of the queue. So after its expiry no node gets a place, and its release sees all that it has.
    """
    if tx.execute(_COUNT, {"me": claimed.owner}).rowcount == 0:
        raise Fenced(claimed.operation_id)
    _require_claim(tx, claimed)
    for line in sorted(lines):
        if tx.execute(_NEXT_PLACE, {"at_line": line.id}).rowcount == 0:
            tx.execute(insert(driver_lock_lines).values(id=line.id, last_place=1))
        place = tx.execute(_LAST_PLACE, {"at_line": line.id}).scalar_one()
        tx.execute(
            _INSERT,
            {
                "line": line.id,
                "place": place,
                "call_id": call_id,
                "operation_id": claimed.operation_id,
                "epoch": claimed.epoch,
                "incarnation": claimed.owner,
                "queue": claimed.queue,
                "exclusive": exclusive,
                "shown": line.shown,
            },
        )


def count_before(tx: Connection, claimed: Claim, *, call_id: str, places: int) -> int:
    """How many calls are before this one in its lines: with none, it is granted. Raises Fenced when it must not go on waiting.

    Its own places are looked for as well: without them nothing is known of those before it. That they are gone although
    nobody took them from us can only be the view of a database node that lags behind; the operation is then taken up anew.
    """
    _require_claim(tx, claimed)
    if len(tx.execute(_PLACES, {"call": call_id}).all()) != places:
        raise Fenced(claimed.operation_id)
    before: int = tx.execute(_COUNT_BEFORE, {"call": call_id}).scalar_one()
    return before


def give_up(tx: Connection, *, call_id: str) -> list[str]:
    """Leave all lines. Returns the queues of those who still wait in them. Repeating it changes nothing."""
    return _remove(tx, tx.execute(_PLACES, {"call": call_id}).all())


def of_node(tx: Connection, *, incarnation: Incarnation) -> set[str]:
    """The calls for which a node has places."""
    return set(tx.execute(_CALLS_OF, {"me": incarnation}).scalars())


def release_dead(tx: Connection) -> list[str]:
    """The standing rule: places of who is dead, or fenced from the backend that they are about, go.

    Called in the transaction that releases the operations of the same nodes. Returns the queues of those who wait behind.
    """
    return _remove(tx, tx.execute(_OF_THE_LOST).all())


def has_dead(tx: Connection) -> bool:
    """Whether the standing rule has anything to do."""
    return tx.execute(_ONE_OF_THE_LOST).first() is not None


def _require_claim(tx: Connection, claimed: Claim) -> None:
    owned = tx.execute(_OWNED, {"op": claimed.operation_id, "me": claimed.owner, "mine": claimed.epoch}).first()
    if owned is None:
        raise Fenced(claimed.operation_id)


def _remove(tx: Connection, places: Sequence[Any]) -> list[str]:
    """Take places away, line by line in everybody's order; a line in which nobody is left goes, too.

    Each line is written before anything about it is asked. Its number rises, although nobody gets a place: some databases
    take a row that is written with what it holds already for one that was not touched.
    """
    queues: set[str] = set()
    for line in sorted({row.line for row in places}):
        tx.execute(_NEXT_PLACE, {"at_line": line})
        mine = [row.place for row in places if row.line == line]
        tx.execute(delete(driver_locks).where(driver_locks.c.line == line, driver_locks.c.place.in_(mine)))
        left: Iterable[str] = tx.execute(_QUEUES_OF, {"at_line": line}).scalars().all()
        if not left:
            tx.execute(_DELETE_LINE, {"at_line": line})
        queues.update(left)
    return sorted(queues)


_mine = driver_locks.alias("mine")
_before = driver_locks.alias("earlier")

_COUNT = (
    update(nodes)
    .where(nodes.c.incarnation == bindparam("me"), nodes.c.state.in_(NODE_LIVE))
    .values(claims=nodes.c.claims + 1)
)
_OWNED = select(operations.c.id).where(
    operations.c.id == bindparam("op"), operations.c.owner == bindparam("me"), operations.c.epoch == bindparam("mine")
)
_NEXT_PLACE = (
    update(driver_lock_lines)
    .where(driver_lock_lines.c.id == bindparam("at_line"))
    .values(last_place=driver_lock_lines.c.last_place + 1)
)
_LAST_PLACE = select(driver_lock_lines.c.last_place).where(driver_lock_lines.c.id == bindparam("at_line"))
_DELETE_LINE = delete(driver_lock_lines).where(driver_lock_lines.c.id == bindparam("at_line"))
_INSERT = insert(driver_locks)
_PLACES = select(driver_locks.c.line, driver_locks.c.place).where(driver_locks.c.call_id == bindparam("call"))
_QUEUES_OF = select(driver_locks.c.queue).where(driver_locks.c.line == bindparam("at_line")).distinct()
_CALLS_OF = (
    select(driver_locks.c.call_id).where(driver_locks.c.incarnation == bindparam("me")).distinct().limit(FORGOTTEN_MOST)
)
_COUNT_BEFORE: Final[Any] = (
    select(func.count(_before.c.call_id.distinct()))
    .select_from(
        _mine.join(
            _before,
            and_(
                _before.c.line == _mine.c.line,
                _before.c.place < _mine.c.place,
                or_(_mine.c.exclusive, _before.c.exclusive),
            ),
        )
    )
    .where(_mine.c.call_id == bindparam("call"))
)
_HAS_NODE: Final = exists(
    select(nodes.c.incarnation).where(nodes.c.incarnation == driver_locks.c.incarnation).correlate(driver_locks)
)
_IS_DEAD: Final = exists(
    select(nodes.c.incarnation)
    .where(nodes.c.incarnation == driver_locks.c.incarnation, nodes.c.state.in_(NODE_DEAD))
    .correlate(driver_locks)
)
_IS_CUT: Final = exists(
    select(node_backends.c.queue)
    .where(
        node_backends.c.incarnation == driver_locks.c.incarnation,
        node_backends.c.queue == driver_locks.c.queue,
        node_backends.c.fenced_by.is_not(None),
    )
    .correlate(driver_locks)
)
# A node's row outlives the operations that it owns, and these its places: who has no row any more is dead.
_OF_THE_LOST: Final[Any] = select(driver_locks.c.line, driver_locks.c.place).where(or_(_IS_DEAD, _IS_CUT, ~_HAS_NODE))
_ONE_OF_THE_LOST: Final[Any] = _OF_THE_LOST.limit(1)
