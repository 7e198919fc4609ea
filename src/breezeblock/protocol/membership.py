"""The nodes table as observers use it: expire, fence, release, bury. The keeper's few statements are in `node/`.

    up | draining ──expire──▶ expired ──proof──▶ fenced ──nothing owned──▶ gone

Nothing is released before the proof that the old node cannot write any more.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, and_, delete, exists, or_, select, update

from breezeblock.model.ids import Incarnation
from breezeblock.model.states import NODE_LIVE
from breezeblock.protocol import queue
from breezeblock.store.dialects import db_now_us
from breezeblock.store.tables import nodes, operations

FENCE_RETRY_FIRST_US: Final = 1_000_000
FENCE_RETRY_MOST_US: Final = 60_000_000
# How long the row of a node that is gone stays, for `status` to show.
GONE_KEPT_US: Final = 3600 * 1_000_000


@dataclass(frozen=True, slots=True)
class NodeRow:
    """One incarnation, as the table has it."""

    incarnation: Incarnation
    name: str
    state: str
    heartbeat: int
    fencer: Incarnation | None
    fence_due: bool
    queues: tuple[str, ...]
    kinds: Mapping[str, int]
    lock_path: str
    lock_id: str


def read_nodes(tx: Connection, *, cluster: str) -> list[NodeRow]:
    """All incarnations of a cluster that are not gone."""
    due = (nodes.c.fence_after_us <= db_now_us()).label("fence_due")
    rows = tx.execute(select(nodes, due).where(nodes.c.cluster == cluster, nodes.c.state != "gone")).mappings()
    return [
        NodeRow(
            incarnation=row["incarnation"],
            name=row["name"],
            state=row["state"],
            heartbeat=row["heartbeat"],
            fencer=row["fencer"],
            fence_due=bool(row["fence_due"]),
            queues=tuple(json.loads(row["queues_json"])),
            kinds=json.loads(row["kinds_json"]),
            lock_path=row["lock_path"],
            lock_id=row["lock_id"],
        )
        for row in rows
    ]


def expire(tx: Connection, *, incarnation: Incarnation, heartbeat: int, fencer: Incarnation, now_us: int) -> bool:
    """Declare a silent node expired, if its counter still stands where we saw it, and take its operations from it.

    One transaction: between the two, the node could otherwise finish an operation that a survivor is about to repeat.
    """
    silent = update(nodes).where(
        nodes.c.incarnation == incarnation, nodes.c.heartbeat == heartbeat, nodes.c.state.in_(NODE_LIVE)
    )
    if tx.execute(silent.values(state="expired", fencer=fencer, changed_at_us=now_us)).rowcount == 0:
        return False
    queue.revoke(tx, owner=incarnation)
    return True


def force_expire(tx: Connection, *, incarnation: Incarnation, now_us: int) -> bool:
    """An operator's word: treat the node as expired now. It still has to be fenced."""
    live = update(nodes).where(nodes.c.incarnation == incarnation, nodes.c.state.in_(NODE_LIVE))
    if tx.execute(live.values(state="expired", fencer=None, changed_at_us=now_us)).rowcount == 0:
        return False
    queue.revoke(tx, owner=incarnation)
    return True


def take_over_fence(tx: Connection, *, incarnation: Incarnation, was: Incarnation | None, me: Incarnation) -> bool:
    """Become the fencer of an expired node whose fencer failed or died."""
    same = nodes.c.fencer.is_(None) if was is None else nodes.c.fencer == was
    mine = update(nodes).where(nodes.c.incarnation == incarnation, nodes.c.state == "expired", same)
    return tx.execute(mine.values(fencer=me)).rowcount > 0


def record_fenced(tx: Connection, *, incarnation: Incarnation, now_us: int) -> bool:
    """There is proof that the node writes no more; whoever has the proof may say so."""
    expired = update(nodes).where(nodes.c.incarnation == incarnation, nodes.c.state == "expired")
    return tx.execute(expired.values(state="fenced", fence_error=None, changed_at_us=now_us)).rowcount > 0


def record_fence_failed(tx: Connection, *, incarnation: Incarnation, me: Incarnation, error: str) -> None:
    """No proof: another node tries, after a pause that grows."""
    tries = tx.execute(
        select(nodes.c.fence_tries).where(nodes.c.incarnation == incarnation, nodes.c.fencer == me)
    ).scalar()
    if tries is None:
        return
    pause_us = min(FENCE_RETRY_MOST_US, FENCE_RETRY_FIRST_US * 2 ** min(tries, 10))
    tx.execute(
        update(nodes)
        .where(nodes.c.incarnation == incarnation, nodes.c.fencer == me, nodes.c.state == "expired")
        .values(fencer=None, fence_error=error, fence_tries=tries + 1, fence_after_us=db_now_us() + pause_us)
    )


def housekeeping(tx: Connection, *, cluster: str, now_us: int) -> list[str]:
    """Apply the standing rules: release what the dead own, bury who owns nothing, forget the long gone.

    Returns the queues in which something became claimable.
    """
    released = queue.release_dead(tx)
    owns = exists(select(operations.c.id).where(operations.c.owner == nodes.c.incarnation).correlate(nodes))
    tx.execute(
        update(nodes)
        .where(nodes.c.cluster == cluster, nodes.c.state == "fenced", ~owns)
        .values(state="gone", changed_at_us=now_us)
    )
    old = or_(nodes.c.changed_at_us.is_(None), nodes.c.changed_at_us < now_us - GONE_KEPT_US)
    tx.execute(delete(nodes).where(and_(nodes.c.cluster == cluster, nodes.c.state == "gone", old, ~owns)))
    return released


def needs_housekeeping(tx: Connection, *, cluster: str) -> bool:
    """Whether a standing rule has anything to do. Asked before the transaction, so that idle nodes write nothing."""
    dead: Any = select(nodes.c.incarnation).where(nodes.c.cluster == cluster, nodes.c.state == "fenced").limit(1)
    if tx.execute(dead).first() is not None:
        return True
    stray = (
        select(operations.c.id).join(nodes, nodes.c.incarnation == operations.c.owner).where(nodes.c.state == "gone")
    )
    return tx.execute(stray.limit(1)).first() is not None


def announce(
    tx: Connection, *, incarnation: Incarnation, queues: Sequence[str], kinds: Mapping[str, int], worker_pid: int
) -> bool:
    """A worker's word about what it serves, before it claims anything."""
    mine = update(nodes).where(nodes.c.incarnation == incarnation)
    values = {"queues_json": json.dumps(sorted(queues)), "kinds_json": json.dumps(kinds), "worker_pid": worker_pid}
    return tx.execute(mine.values(**values)).rowcount > 0
