"""Mutations: each takes one protection of the protocol away from the running code, and nothing else.

Beside each stands a seed that finds it, or None: `docs/explanation/simulation.md` says how far those were searched.
"""

from collections.abc import Callable
from typing import Any, Final

import pytest
from sqlalchemy import Connection, and_, bindparam, exists, false, select, update

from breezeblock.model.states import NODE_DEAD
from breezeblock.node.gate import Gate
from breezeblock.protocol import membership, queue
from breezeblock.protocol.leases import Terms
from breezeblock.resources import quotas
from breezeblock.store.dialects import db_now_us
from breezeblock.store.run import _Attempt
from breezeblock.store.tables import nodes, operations
from breezeblock.testing.virtual import LockFiles

Patch = pytest.MonkeyPatch


def transactions_without_an_id(patch: Patch) -> None:
    """A commit whose answer was lost runs again without a look for it."""

    def call(self: Any, tx: Connection) -> Any:
        return self._f(tx)

    patch.setattr(_Attempt, "__call__", call)


def no_order(patch: Patch) -> None:
    """Whatever has no owner is claimable, whoever stands before it."""
    patch.setattr(queue, "_someone_before", lambda: exists(select(operations.c.id).where(false())))
    free = and_(operations.c.owner.is_(None), operations.c.not_before_us <= db_now_us())
    patch.setattr(queue, "_FREE", free)
    patch.setattr(queue, "_claimable", queue._claimable.__wrapped__)


def readers_at_the_head_of_the_line(patch: Patch) -> None:
    """Who only reads a resource gets no place of its own in the line."""
    patch.setattr(queue, "shared", lambda row: queue.Lock(row["id"], 0, exclusive=False))


def no_standing_release(patch: Patch) -> None:
    """Nobody releases what the dead own."""
    patch.setattr(queue, "release_dead", lambda tx: [])


def release_before_the_fence(patch: Patch) -> None:
    """Expired counts as dead, and what an expired node owns is given to others while it may still write."""
    patch.setattr(queue, "NODE_DEAD", (*NODE_DEAD, "expired"))
    patch.setattr(membership, "needs_housekeeping", lambda tx, *, cluster: True)

    async def no_proof(self: LockFiles, lock_path: str, lock_id: str) -> bool:
        return False

    patch.setattr(LockFiles, "kill_holders", no_proof)


def a_fence_that_kills_nobody(patch: Patch) -> None:
    """The proof that the old node is gone is only claimed."""

    async def claimed(self: LockFiles, lock_path: str, lock_id: str) -> bool:
        return True

    patch.setattr(LockFiles, "kill_holders", claimed)


def refunds_forgotten(patch: Patch) -> None:
    """What is deleted is still charged."""
    patch.setattr(quotas, "refund", lambda *args, **kwargs: None)


def names_without_a_token(patch: Patch) -> None:
    """Every attempt of every operation on a resource makes the same object."""
    patch.setattr(queue.Claim, "token", lambda self, resource_id: (1, 1))


def _without_the_guard(patch: Patch, name: str, values: dict[str, Any]) -> None:
    patch.setattr(queue, name, update(operations).where(operations.c.id == bindparam("op")).values(**values))


def saves_by_anybody(patch: Patch) -> None:
    """A step is saved whoever owns the operation by now."""
    values = {
        "direction": "new_direction",
        "step": "new_step",
        "state_json": "new_state",
        "failure_json": "new_failure",
    }
    columns: dict[str, Any] = {column: bindparam(value) for column, value in values.items()}
    _without_the_guard(patch, "_SAVE", columns | {"saved_epoch": bindparam("mine")})


def finishes_by_anybody(patch: Patch) -> None:
    """An operation is finished whoever owns it by now."""
    _without_the_guard(patch, "_GUARD", {"saved_epoch": bindparam("mine")})


def storage_calls_without_a_lease(patch: Patch) -> None:
    """The gate is always open."""
    patch.setattr(Gate, "is_open", lambda self: True)


def claims_of_expired_nodes(patch: Patch) -> None:
    """A claim does not look whether its node is still up."""
    counted = update(nodes).where(nodes.c.incarnation == bindparam("me")).values(claims=nodes.c.claims + 1)
    patch.setattr(queue, "_COUNT_CLAIM", counted)


def expiry_without_new_epochs(patch: Patch) -> None:
    """An expired node goes on saving until its operations are claimed by others."""
    patch.setattr(queue, "revoke", lambda tx, *, owner: 0)


def silence_across_gaps(patch: Patch) -> None:
    """What an observer did not read counts as silence."""
    patch.setattr(Terms, "observer_gap_s", property(lambda self: float("inf")))


def own_marks_remembered(patch: Patch) -> None:
    """What a node owns is what it knows of."""
    patch.setattr(queue, "owned", lambda tx, *, incarnation: [])


def charges_forgotten(patch: Patch) -> None:
    """What is made is not charged in its transaction."""
    patch.setattr(quotas, "charge", lambda *args, **kwargs: None)


FOUND_BY: Final[dict[Callable[[Patch], None], int | None]] = {
    transactions_without_an_id: 16,
    no_order: 1,
    readers_at_the_head_of_the_line: 1,
    no_standing_release: 14,
    release_before_the_fence: None,
    a_fence_that_kills_nobody: 4,
    refunds_forgotten: 1,
    names_without_a_token: 117,
    saves_by_anybody: None,
    finishes_by_anybody: None,
    storage_calls_without_a_lease: None,
    claims_of_expired_nodes: None,
    expiry_without_new_epochs: None,
    silence_across_gaps: None,
    own_marks_remembered: None,
    charges_forgotten: 1,
}
