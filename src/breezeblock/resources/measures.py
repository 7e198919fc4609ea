"""What the database says of the service's health, as numbers for monitoring: by a fixed number of small statements."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, case, func, select

from breezeblock.protocol import receivers
from breezeblock.store.dialects import db_now_us
from breezeblock.store.tables import node_backends, node_events, nodes, operation_log, operations, pools

# Of the log of operations only its newest part is looked at, by its index.
RECENT_US: Final = 300 * 1_000_000
HOUR_US: Final = 3600 * 1_000_000


@dataclass(frozen=True, slots=True)
class Waiting:
    """The operations of one kind on one queue, `running` or not: how many, since when, and how many outlived a node."""

    kind: str
    queue: str
    running: bool
    count: int
    oldest_s: float
    retried: int


@dataclass(frozen=True, slots=True)
class Node:
    """One incarnation that is not gone.

    `renewed_s`: since its last renewal, by the wall clocks, None before the first; below 0 where the node's clock is ahead of
    the database's. `unfenced`: the queues whose storage it may still write to, unless the whole of it is proven dead.
    """

    name: str
    incarnation: str
    state: str
    renewed_s: float | None
    unfenced: tuple[str, ...]
    fence_tries: int
    fence_failed: bool


@dataclass(frozen=True, slots=True)
class Pool:
    """What a backend reported, and how long ago."""

    name: str
    total_gib: int
    free_gib: int
    allocated_gib: int
    enabled: bool
    reported_s: float | None


@dataclass(frozen=True, slots=True)
class Receiver:
    """Who is told of events, how many wait for it, and since when."""

    name: str
    waiting: int
    oldest_s: float
    aside: int
    sent: int
    failed: int
    refused: int
    dropped: int


@dataclass(frozen=True, slots=True)
class Measures:
    """All of it, as of one instant."""

    operations: list[Waiting]
    finished: list[tuple[str, str, int]]
    """Kind, outcome, and how many ended so within the last five minutes."""
    nodes: list[Node]
    fenced: list[tuple[str, str, int]]
    """Queue, method, and how many incarnations that are still listed were fenced so."""
    events: list[tuple[str, str, int, int]]
    """Node, what happened to it, and how often within the last hour, and within the last five minutes."""
    pools: list[Pool]
    receivers: list[Receiver]


def measure(tx: Connection) -> Measures:
    """Read everything. Nine statements."""
    now_us: int = tx.execute(select(db_now_us())).scalar_one()
    since = now_us - RECENT_US
    log, events = operation_log.c, node_events.c
    finished = select(log.kind, log.outcome, func.count()).where(log.finished_at_us >= since)
    lately = func.sum(case((events.at_us >= since, 1), else_=0))
    happened = select(events.node, events.event, func.count(), lately).where(events.at_us >= now_us - HOUR_US)
    known: dict[str, dict[str, str | None]] = {}
    for row in tx.execute(select(node_backends.c.incarnation, node_backends.c.queue, node_backends.c.fenced_by)):
        known.setdefault(row.incarnation, {})[row.queue] = row.fenced_by
    methods = Counter((queue, by) for backends in known.values() for queue, by in backends.items() if by is not None)
    return Measures(
        operations=_operations(tx, now_us),
        finished=[tuple(row) for row in tx.execute(finished.group_by(log.kind, log.outcome))],
        nodes=_nodes(tx, now_us, known),
        fenced=[(*which, count) for which, count in sorted(methods.items())],
        events=[
            (node, event, count, int(recent))
            for node, event, count, recent in tx.execute(happened.group_by(events.node, events.event))
        ],
        pools=_pools(tx, now_us),
        receivers=_receivers(tx, now_us),
    )


def _operations(tx: Connection, now_us: int) -> list[Waiting]:
    at = operations.c
    running = at.owner.is_not(None).label("running")
    retried = func.sum(case((at.attempt > 0, 1), else_=0))
    query = select(at.kind, at.queue, running, func.count(), func.min(at.created_at_us), retried)
    return [
        Waiting(kind, queue, bool(is_running), count, _since(oldest_us, now_us) or 0.0, int(again))
        for kind, queue, is_running, count, oldest_us, again in tx.execute(query.group_by(at.kind, at.queue, running))
    ]


def _nodes(tx: Connection, now_us: int, known: Mapping[str, Mapping[str, str | None]]) -> list[Node]:
    """`known`: how each incarnation was fenced from each backend that it ever used, or None."""

    def unfenced(incarnation: str, served: Iterable[str]) -> tuple[str, ...]:
        used = known.get(incarnation, {})
        return tuple(sorted(queue for queue in {*served, *used} if used.get(queue) is None))

    query = select(nodes).where(nodes.c.state != "gone").order_by(nodes.c.name, nodes.c.started_at_us)
    return [
        Node(
            name=row.name,
            incarnation=row.incarnation,
            state=row.state,
            renewed_s=None if row.renewed_at_us is None else (now_us - row.renewed_at_us) / 1_000_000,
            unfenced=unfenced(row.incarnation, json.loads(row.queues_json)),
            fence_tries=row.fence_tries,
            fence_failed=row.fence_error is not None,
        )
        for row in tx.execute(query)
    ]


def _pools(tx: Connection, now_us: int) -> list[Pool]:
    return [
        Pool(
            name=row.name,
            total_gib=row.total_gib,
            free_gib=row.free_gib,
            allocated_gib=row.allocated_gib,
            enabled=row.enabled,
            reported_s=_since(row.reported_at_us, now_us),
        )
        for row in tx.execute(select(pools).order_by(pools.c.name))
    ]


def _receivers(tx: Connection, now_us: int) -> list[Receiver]:
    return [
        Receiver(
            name=one.receiver,
            waiting=one.waiting,
            oldest_s=_since(one.oldest_us, now_us) or 0.0,
            aside=one.aside,
            sent=one.sent,
            failed=one.failed,
            refused=one.refused,
            dropped=one.dropped,
        )
        for one in receivers.waiting(tx)
    ]


def _since(at_us: int | None, now_us: int) -> float | None:
    return None if at_us is None else max(0.0, (now_us - at_us) / 1_000_000)
