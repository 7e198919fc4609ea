"""What happened to nodes, written in the same transaction as the change that it tells of: for operators to read."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, delete, insert, select

from breezeblock.env.contract import Env
from breezeblock.model.ids import Incarnation
from breezeblock.store.tables import node_events, nodes

KEPT_US: Final = 30 * 24 * 3600 * 1_000_000


@dataclass(frozen=True, slots=True)
class Note:
    """Who changes something about a node, and when by the wall clock. `event_id` is drawn before the first attempt."""

    event_id: str
    by: str
    at_us: int

    @classmethod
    def of(cls, env: Env, by: str) -> "Note":
        """A note of now."""
        return cls(env.ids.uuid(), by, env.clock.now_us())


@dataclass(frozen=True, slots=True)
class NodeEvent:
    """One line of a node's history."""

    at_us: int
    node: str
    incarnation: Incarnation
    event: str
    detail: str


def tell(tx: Connection, *, incarnation: Incarnation, event: str, detail: str, note: Note) -> None:
    """Write an event down, at most one in a transaction: the note's id is its key."""
    node = tx.execute(select(nodes.c.cluster, nodes.c.name).where(nodes.c.incarnation == incarnation)).first()
    if node is None:
        return  # forgotten meanwhile; so is what there was to tell
    values = {"id": note.event_id, "cluster": node.cluster, "node": node.name, "incarnation": incarnation}
    tx.execute(insert(node_events).values(**values, event=event, detail=detail, at_us=note.at_us))


def recent(tx: Connection, *, cluster: str, most: int, node: str | None = None) -> list[NodeEvent]:
    """The newest events of a cluster, or of one node of it, newest first."""
    which = [node_events.c.cluster == cluster] + ([node_events.c.node == node] if node is not None else [])
    query: Any = select(node_events).where(*which).order_by(node_events.c.at_us.desc(), node_events.c.id).limit(most)
    return [
        NodeEvent(row["at_us"], row["node"], row["incarnation"], row["event"], row["detail"])
        for row in tx.execute(query).mappings()
    ]


def forget_old(tx: Connection, *, now_us: int, most: int) -> int:
    """Remove events older than a month, so many at once. Returns how many went."""
    old = select(node_events.c.id).where(node_events.c.at_us < now_us - KEPT_US).limit(most)
    ids: Sequence[str] = tx.execute(old).scalars().all()
    return tx.execute(delete(node_events).where(node_events.c.id.in_(ids))).rowcount if ids else 0
