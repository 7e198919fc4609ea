"""Who sends the events that wait to a receiver, which, and what is forgotten.

To each receiver one node sends at a time: the holder of its row, which it stays as long as its own lease lives. Nothing is
measured but that: another takes over when the holder is up no more, or has given the receiver back because it could not
reach it. A holder that was expired without knowing may send once more what it has in hand: its events then come twice. They
are forgotten only by who holds the receiver, and only after it has taken them: none is lost.

There is no position by number. Numbers of rows become visible in any order; so what is there is read, resource by resource
from the lowest place on, and removed. Within a resource, whoever sees a place sees all before it (`store.outbox`).
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from sqlalchemy import (
    BigInteger,
    Connection,
    Delete,
    Integer,
    Select,
    Table,
    bindparam,
    case,
    delete,
    func,
    insert,
    select,
    update,
)

from breezeblock.model.events import Event
from breezeblock.model.ids import Incarnation
from breezeblock.store.dialects import db_now_us
from breezeblock.store.tables import event_receivers, events, events_aside, nodes

__all__ = [
    "Aged",
    "Held",
    "NotHeld",
    "Seen",
    "age",
    "forget",
    "give_back",
    "look",
    "passed",
    "put_back",
    "refused",
    "sent",
    "sent_past",
    "set_aside",
    "since",
    "step_aside",
    "take",
]

# One reading: far below what a message may be long, and enough that reading is not what takes the time.
BATCH_MOST: Final = 100
AGED_AT_ONCE: Final = 500
NOT_TAKEN: Final = "It was not taken for as long as events wait for this receiver."
_LIVE: Final = ("up", "draining")


class NotHeld(Exception):
    """Another node sends to this receiver now, or is about to."""


@dataclass(frozen=True, slots=True)
class Held:
    """A receiver that is ours to send to."""

    receiver: str
    incarnation: Incarnation
    epoch: int


@dataclass(frozen=True, slots=True)
class Seen:
    """A receiver as it was at one instant. `held`: by us. `is_free`: we may take it."""

    held: Held | None
    is_free: bool
    failures: int
    events: list[Event]


def look(tx: Connection, *, receiver: str, incarnation: Incarnation, after: str) -> Seen:
    """The receiver, and some of what waits for it: whole beginnings of resources' lines, from the id `after` on.

    Within a resource in their order; resources among each other by the times that they were told, as far as clocks agree.
    """
    row = tx.execute(_ROW, {"name": receiver}).mappings().one_or_none()
    if row is None:  # it was removed under a node that nobody took for live
        raise NotHeld(receiver)
    held = None
    if row["holder"] == incarnation:
        held = Held(receiver, incarnation, row["epoch"])
    is_free = held is None and row["holder_lives"] == 0 and row["may_try"] == 1
    found: list[Event] = []
    if held is not None or is_free:
        values = {"receiver": receiver, "after": after, "most": BATCH_MOST}
        found = [msgspec.json.decode(text, type=Event) for text in tx.execute(_BATCH, values).scalars()]
    return Seen(held, is_free, row["failures"], _by_time(found))


def take(tx: Connection, *, receiver: str, incarnation: Incarnation) -> Held:
    """Become its holder. Raises NotHeld.

    The receiver's row is written first; who held it is asked by a later statement, which sees the present. A node that is up
    no more never is again, so it does not matter which instant the answer is of.
    """
    if tx.execute(_TOUCH, {"receiver": receiver}).rowcount == 0:
        raise NotHeld(receiver)
    row = tx.execute(_ROW, {"name": receiver}).mappings().one()
    mine = tx.execute(select(nodes.c.state).where(nodes.c.incarnation == incarnation)).scalar()
    if mine not in _LIVE or (row["holder"] != incarnation and (row["holder_lives"] or not row["may_try"])):
        raise NotHeld(receiver)
    tx.execute(_TAKE, {"receiver": receiver, "me": incarnation})
    return Held(receiver, incarnation, row["epoch"] + 1)


def sent(tx: Connection, held: Held, *, ids: Sequence[str]) -> None:
    """The receiver has taken these: they are forgotten. Raises NotHeld: then whoever holds it sends them again."""
    values = {"sent": event_receivers.c.sent + len(ids), "failures": 0, "error": None}
    if tx.execute(_OURS.values(**values), _own(held)).rowcount == 0:
        raise NotHeld(held.receiver)
    forget(tx, events, held.receiver, ids)


def give_back(tx: Connection, held: Held, *, error: str, pause_us: int) -> None:
    """The receiver has not taken them: any node may try, after a pause. Raises NotHeld."""
    values: dict[str, Any] = {
        "holder": None,
        "failed": event_receivers.c.failed + 1,
        "failures": event_receivers.c.failures + 1,
        "error": error,
        "not_before_us": db_now_us() + pause_us,
    }
    if tx.execute(_OURS.values(**values), _own(held)).rowcount == 0:
        raise NotHeld(held.receiver)


def refused(tx: Connection, held: Held, *, error: str) -> None:
    """The receiver has refused what it was sent, and is there all the same: it stays ours. Raises NotHeld."""
    values = {"failed": event_receivers.c.failed + 1, "error": error}
    if tx.execute(_OURS.values(**values), _own(held)).rowcount == 0:
        raise NotHeld(held.receiver)


def set_aside(tx: Connection, held: Held, *, event_id: str, reason: str, is_sure: bool) -> None:
    """Take out of the way what the receiver will not take, so that what is behind it goes on. Raises NotHeld.

    `is_sure`: the receiver takes others. If nobody knows, it counts as one more try without success.
    """
    values = {
        "failed": event_receivers.c.failed + 1,
        "refused": event_receivers.c.refused + 1,
        "failures": 0 if is_sure else event_receivers.c.failures + 1,
        "error": reason,
    }
    if tx.execute(_OURS.values(**values), _own(held)).rowcount == 0:
        raise NotHeld(held.receiver)
    _put_aside(tx, held.receiver, [event_id], reason)


def since(tx: Connection, *, receiver: str, ids: Sequence[str]) -> dict[str, int]:
    """From when on these wait, as `put_back` is to know it."""
    return {id_: at_us for id_ in ids for at_us in tx.execute(_SINCE, {"of": receiver, "event": id_}).scalars()}


def step_aside(tx: Connection, held: Held, *, event_id: str, reason: str) -> None:
    """Take an event out of the way before what is behind it in its line is offered. Raises NotHeld.

    So nothing is ever taken that an earlier one of its resource still waits behind, whoever dies in between.
    """
    if tx.execute(_OURS.values(error=reason), _own(held)).rowcount == 0:
        raise NotHeld(held.receiver)
    _put_aside(tx, held.receiver, [event_id], reason)


def put_back(tx: Connection, held: Held, *, since: Mapping[str, int]) -> None:
    """What was behind these was refused as well: they wait where they did, and from when on they did. Raises NotHeld.

    What somebody has called again meanwhile waits already.
    """
    if tx.execute(_OURS, _own(held)).rowcount == 0:
        raise NotHeld(held.receiver)
    if since:
        tx.execute(_PUT_BACK, [{"of": held.receiver, "event": id_, "at": since[id_]} for id_ in sorted(since)])
        forget(tx, events_aside, held.receiver, list(since))


def sent_past(tx: Connection, held: Held, *, ids: Sequence[str], passed: int, reason: str) -> None:
    """The receiver has taken these, and they have passed so many that had stepped aside. Raises NotHeld."""
    values = {
        "sent": event_receivers.c.sent + len(ids),
        "refused": event_receivers.c.refused + passed,
        "failures": 0,
        "error": reason,
    }
    if tx.execute(_OURS.values(**values), _own(held)).rowcount == 0:
        raise NotHeld(held.receiver)
    forget(tx, events, held.receiver, ids)


def passed(tx: Connection, held: Held, *, events: int) -> None:
    """So many stay aside, since nobody knows whether what was behind them was taken. Raises NotHeld."""
    if tx.execute(_OURS.values(refused=event_receivers.c.refused + events), _own(held)).rowcount == 0:
        raise NotHeld(held.receiver)


@dataclass(frozen=True, slots=True)
class Aged:
    """How many events were put aside that have waited for too long, and how many given up that were aside for too long."""

    aside: int
    dropped: int


def age(tx: Connection, held: Held, *, keep_us: int) -> Aged:
    """Put aside some of what was not taken for so long, and give up what was aside for so long. Raises NotHeld.

    By the database's clock, which is read apart: by a running clock no index is used. Nothing is given up by the call that
    puts it aside.
    """
    if tx.execute(_OURS, _own(held)).rowcount == 0:  # before it is read: what is set aside may be put back meanwhile
        raise NotHeld(held.receiver)
    now_us: int = tx.execute(select(db_now_us())).scalar_one()
    old = {"receiver": held.receiver, "most": AGED_AT_ONCE, "before": now_us - keep_us}
    dropped = list(tx.execute(_old(events_aside), old).scalars())
    late = list(tx.execute(_old(events), old).scalars())
    if dropped:
        tx.execute(_OURS.values(dropped=event_receivers.c.dropped + len(dropped)), _own(held))
        forget(tx, events_aside, held.receiver, dropped)
    _put_aside(tx, held.receiver, late, NOT_TAKEN)
    return Aged(len(late), len(dropped))


def _put_aside(tx: Connection, receiver: str, ids: Sequence[str], reason: str) -> None:
    """Each a microsecond after the one before it: in that order `receivers.again` puts them back."""
    if ids:
        now_us: int = tx.execute(select(db_now_us())).scalar_one()
        at = {id_: now_us + place for place, id_ in enumerate(dict.fromkeys(ids))}
        tx.execute(_PUT_ASIDE, [{"of": receiver, "event": id_, "why": reason, "at": at[id_]} for id_ in sorted(at)])
        forget(tx, events, receiver, list(at))


def forget(tx: Connection, table: Table, receiver: str, ids: Sequence[str]) -> None:
    """Remove events of a receiver whose row the caller has written.

    One by one by their keys, in their order: no range is locked in which others are about to write.
    """
    if ids:
        tx.execute(_gone(table), [{"of": receiver, "event": id_} for id_ in sorted(ids)])


@functools.cache
def _gone(table: Table) -> Delete:
    return delete(table).where(table.c.receiver == bindparam("of"), table.c.id == bindparam("event"))


@functools.cache
def _old(table: Table) -> Select[Any]:
    return (
        select(table.c.id)
        .where(table.c.receiver == bindparam("receiver"), table.c.at_us < bindparam("before"))
        .order_by(table.c.at_us)
        .limit(bindparam("most", type_=Integer()))
    )


def _own(held: Held) -> dict[str, Any]:
    return {"receiver": held.receiver, "me": held.incarnation, "mine": held.epoch}


def _by_time(found: Sequence[Event]) -> list[Event]:
    """By time, but never against the order of a resource: an event counts as no older than those before it in its line."""
    latest: dict[str, int] = {}
    at: list[tuple[int, int]] = []
    for place, event in enumerate(found):
        latest[event.resource_id] = max(event.at_us, latest.get(event.resource_id, 0))
        at.append((latest[event.resource_id], place))
    return [found[place] for _, place in sorted(at)]


_holder_lives = (
    select(func.count())
    .where(nodes.c.incarnation == event_receivers.c.holder, nodes.c.state.in_(_LIVE))
    .correlate(event_receivers)
    .scalar_subquery()
)
_ROW: Final = select(
    event_receivers.c.holder,
    event_receivers.c.epoch,
    event_receivers.c.failures,
    _holder_lives.label("holder_lives"),
    case((event_receivers.c.not_before_us <= db_now_us(), 1), else_=0).label("may_try"),
).where(event_receivers.c.name == bindparam("name"))
_BATCH: Final = (
    select(events.c.event_json)
    .where(events.c.receiver == bindparam("receiver"), events.c.resource_id > bindparam("after"))
    .order_by(events.c.resource_id, events.c.op_seq, events.c.number)
    .limit(bindparam("most", type_=Integer()))
)
_TOUCH: Final = (
    update(event_receivers)
    .where(event_receivers.c.name == bindparam("receiver"))
    .values(touched=event_receivers.c.touched + 1)
)
_TAKE: Final = _TOUCH.values(holder=bindparam("me"), epoch=event_receivers.c.epoch + 1)
_OURS: Final = _TOUCH.where(event_receivers.c.holder == bindparam("me"), event_receivers.c.epoch == bindparam("mine"))
_SINCE: Final = select(events.c.at_us).where(events.c.receiver == bindparam("of"), events.c.id == bindparam("event"))


def _as_it_was(table: Table) -> list[Any]:
    """The columns of an event, but from when on it is there."""
    at = bindparam("at", type_=BigInteger())
    return [at if column.name == "at_us" else table.c[column.name] for column in events.c]


_PUT_ASIDE: Final = insert(events_aside).from_select(
    [*events.c.keys(), "reason"],
    select(*_as_it_was(events), bindparam("why", type_=events_aside.c.reason.type)).where(
        events.c.receiver == bindparam("of"), events.c.id == bindparam("event")
    ),
)
_PUT_BACK: Final = insert(events).from_select(
    events.c.keys(),
    select(*_as_it_was(events_aside)).where(
        events_aside.c.receiver == bindparam("of"), events_aside.c.id == bindparam("event")
    ),
)
