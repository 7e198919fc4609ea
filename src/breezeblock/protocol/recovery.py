"""Taking operations from those who have lost them. It never runs one, and only ever makes it claimable again.

Revoked, an operation is still its owner's by name, under an epoch that nobody has: what the owner writes matches no row. It is
released when it is certain that the old owner writes no more to the storage that the operation is about.
"""

from typing import Any

from sqlalchemy import Connection, bindparam, case, select, update

from breezeblock.model.ids import Incarnation
from breezeblock.model.states import NODE_DEAD, NODE_LIVE
from breezeblock.protocol.queue import FAILOVER
from breezeblock.store.tables import node_backends, nodes, operations


def revoke(tx: Connection, *, owner: Incarnation) -> int:
    """Take every operation of a node from it at once, in the transaction that expires the node: its epochs are over."""
    return tx.execute(
        update(operations).where(operations.c.owner == owner).values(epoch=operations.c.epoch + 1)
    ).rowcount


def revoke_queue(tx: Connection, *, queue: str) -> None:
    """Take every operation of a queue from whoever works on it; a live owner takes it up again under the new epoch.

    The rows of the cluster's nodes first, as a claim does: the two conflict, and one of them sees the other. No node of
    another cluster claims of this queue. The failover on whose behalf this is done is left alone.

    From now on nothing of them is in flight that counts: that an owner dies while they wait is no attempt of theirs.
    """
    tx.execute(_ORDER_CLAIMS, {"of_cluster": queue.rpartition("@")[0]})
    taken = (operations.c.queue == queue, operations.c.owner.is_not(None), operations.c.kind != FAILOVER)
    waiting = {"epoch": operations.c.epoch + 1, "claim_epoch": operations.c.saved_epoch}
    tx.execute(update(operations).where(*taken).values(**waiting))


def release_dead(tx: Connection) -> list[str]:
    """The standing rule: what a dead node (fenced or gone) still owns becomes claimable, and so does what any lost node
    owns on a backend that is fenced from it. Returns the queues.

    Any node does this at any time; it is not an act of the fencer, who may die before it. `attempt` rises for those that
    died without a checkpoint since their claim.
    """
    # First the few nodes, then what they own, by its index: a database that may choose begins at the many operations.
    dead = tx.execute(select(nodes.c.incarnation).where(nodes.c.state.in_(NODE_DEAD))).scalars().all()
    of_the_dead = select(operations.c.id, operations.c.queue, operations.c.owner).where(operations.c.owner.in_(dead))
    rows = {row.id: row for row in (*tx.execute(of_the_dead), *owned_on_fenced_backends(tx))}
    progressed = operations.c.saved_epoch == operations.c.claim_epoch
    for row in sorted(rows.values(), key=lambda row: str(row.id)):  # by id: several nodes do this at once
        # Its queue, too: an operation that was handed over meanwhile has another backend's fence to wait for.
        same = (operations.c.id == row.id, operations.c.owner == row.owner, operations.c.queue == row.queue)
        attempt = operations.c.attempt + case((progressed, 0), else_=1)
        tx.execute(update(operations).where(*same).values(owner=None, attempt=attempt))
    return sorted({row.queue for row in rows.values()})


def owned_on_fenced_backends(tx: Connection) -> list[Any]:
    """The operations whose owner certainly writes no more to the backend of the queue that they are in: id, queue, owner."""
    # First the few that are fenced, as above. In one statement MariaDB reads all operations, also when nothing is fenced.
    cut = {(row.incarnation, row.queue) for row in tx.execute(_FENCED)}
    if not cut:
        return []
    owners = sorted({incarnation for incarnation, _ in cut})
    return [row for row in tx.execute(_OWNED_BY, {"owners": owners}) if (row.owner, row.queue) in cut]


_FENCED = select(node_backends.c.incarnation, node_backends.c.queue).where(node_backends.c.fenced_by.is_not(None))
_OWNED_BY = select(operations.c.id, operations.c.queue, operations.c.owner).where(
    operations.c.owner.in_(bindparam("owners", expanding=True))
)
_ORDER_CLAIMS = (
    update(nodes)
    .where(nodes.c.cluster == bindparam("of_cluster"), nodes.c.state.in_(NODE_LIVE))
    .values(claims=nodes.c.claims + 1)
)
