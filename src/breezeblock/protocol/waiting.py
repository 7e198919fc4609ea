"""Operations that no live node can run: found by what they are, and claimed only to be parked."""

from typing import NamedTuple

from sqlalchemy import Connection, Integer, bindparam, select

from breezeblock.protocol.queue import FREE, SEEN, Wanted
from breezeblock.store.tables import operations


class Waiting(NamedTuple):
    """What operations that nobody owns are, and where they wait."""

    queue: str
    kind: str
    version: int


def waiting_kinds(tx: Connection) -> list[Waiting]:
    """What everything is that nobody owns: which of it no node serves is for the caller to know."""
    return [Waiting(row.queue, row.kind, row.version) for row in tx.execute(_WAITING_KINDS)]


def heads(tx: Connection, *, waiting: Waiting, most: int) -> list[Wanted]:
    """The heads of lines among operations that no live node can claim: they are claimed only to be parked."""
    values = {**waiting._asdict(), "most": most}
    return [Wanted(row.id, row.epoch, row.queue, row.attempt, row.kind) for row in tx.execute(_HEADS, values)]


_WAITING_KINDS = (
    select(operations.c.queue, operations.c.kind, operations.c.version).where(operations.c.owner.is_(None)).distinct()
)
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
