"""Asking one node whether it reaches its storage: work that no other node can do.

The operation waits in the node's own queue (`queue.node_queue`). It changes nothing, so it stands in a line of its own: nothing
waits for it, and it waits for nothing but its node. The answer is in the operation's log row.
"""

from typing import Any, Final

import msgspec
from sqlalchemy import Connection, select

from breezeblock.model.errors import NotFound
from breezeblock.model.ids import OperationId
from breezeblock.model.origin import Origin
from breezeblock.protocol import queue
from breezeblock.protocol.queue import Claim, Lock
from breezeblock.protocol.steps import Failure
from breezeblock.resources import kinds
from breezeblock.resources.accepted import Accepted
from breezeblock.store.tables import nodes, operation_log

KIND: Final = "check_node"
# Where an operation's state keeps what was found so far.
ANSWERS: Final = "answers"


class CheckNode(msgspec.Struct, frozen=True, kw_only=True):
    """Payload of `check_node`. `node` is the node's name, which outlives its incarnations."""

    node: str


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What one backend's storage said to the node. `error` None: all is well. Sizes in GiB, as in the API."""

    queue: str
    target: str | None
    took_ms: int
    error: str | None = None
    free_gib: int = 0
    total_gib: int = 0


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """How a check has ended. `incarnation` did it; `outcome` is `done`, or why there is no answer."""

    outcome: str
    incarnation: str | None
    detail: str | None
    answers: tuple[Answer, ...] = ()


def begin_check(tx: Connection, *, cluster: str, node: str, origin: Origin) -> Accepted:
    """Ask a node. Raises NotFound: no such node has been seen lately."""
    known = select(nodes.c.incarnation).where(nodes.c.cluster == cluster, nodes.c.name == node).limit(1)
    if tx.execute(known).first() is None:
        raise NotFound(f"There is no node {node} in cluster {cluster}.")
    own = queue.node_queue(cluster, node)
    alone = Lock(origin.operation_id, 1, exclusive=True)
    job = kinds.job(KIND, own, "node", origin.operation_id, CheckNode(node=node))
    queue.enqueue(tx, job, origin=origin, locks=(alone,))
    return Accepted(own, {})


def withdraw(tx: Connection, *, operation_id: OperationId) -> bool:
    """Nobody waits for the answer any more. Returns whether it was still to come."""
    return queue.cancel_earlier(tx, resource_id=operation_id) > 0


def result(tx: Connection, *, operation_id: OperationId) -> Result | None:
    """How a check has ended; None while it has not."""
    row = tx.execute(select(operation_log).where(operation_log.c.operation_id == operation_id)).mappings().first()
    if row is None:
        return None
    answers = msgspec.json.decode(row["detail"], type=tuple[Answer, ...]) if row["outcome"] == "done" else ()
    return Result(outcome=row["outcome"], incarnation=row["owner"], detail=row["detail"], answers=answers)


def finish_check(tx: Connection, claim: Claim, payload: CheckNode, state: dict[str, Any], *, now_us: int) -> None:
    """Log what the storages said."""
    detail = msgspec.json.encode(state.get(ANSWERS, [])).decode()
    queue.close(tx, claim, outcome="done", detail=detail, now_us=now_us)


def fail_check(
    tx: Connection, claim: Claim, payload: CheckNode, state: dict[str, Any], *, failure: Failure, now_us: int
) -> None:
    """Log why there is no answer: it was withdrawn, or no such node came."""
    queue.close(tx, claim, outcome=failure.outcome, detail=failure.message, now_us=now_us)
