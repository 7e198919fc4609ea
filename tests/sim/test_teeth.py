"""The simulation bites: each rule that is taken away here lets an invariant fall within some seeds.

The rules are those of the protocol; each mutation takes one away from the running code, and nothing else.
"""

from collections.abc import Callable
from typing import Any, Final

import pytest
from sqlalchemy import Connection, exists, false, select
from tests.sim.seeds import BASE

from breezeblock.model.states import NODE_DEAD
from breezeblock.protocol import membership, queue
from breezeblock.resources import quotas
from breezeblock.store.run import _Attempt
from breezeblock.store.tables import operations
from breezeblock.testing.database import Database
from breezeblock.testing.run import Failed, simulate
from breezeblock.testing.virtual import LockFiles

Patch = pytest.MonkeyPatch
SEEDS_MOST: Final = 400


def transactions_without_an_id(patch: Patch) -> None:
    """A commit whose answer was lost runs again without a look for it."""

    def call(self: Any, tx: Connection) -> Any:
        return self._f(tx)

    patch.setattr(_Attempt, "__call__", call)


def no_order(patch: Patch) -> None:
    """Whatever has no owner is claimable, whoever stands before it."""
    patch.setattr(queue, "_someone_before", lambda: exists(select(operations.c.id).where(false())))
    patch.setattr(queue, "_CLAIMABLE", queue._claimable())


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


MUTATIONS: Final[tuple[Callable[[Patch], None], ...]] = (
    transactions_without_an_id,
    no_order,
    readers_at_the_head_of_the_line,
    no_standing_release,
    release_before_the_fence,
    a_fence_that_kills_nobody,
    refunds_forgotten,
    names_without_a_token,
)


@pytest.mark.parametrize("mutate", MUTATIONS, ids=lambda mutate: mutate.__name__)
def test_a_removed_rule_is_found(database: Database, monkeypatch: Patch, mutate: Callable[[Patch], None]) -> None:
    """Within some hundred seeds; which one found it is printed."""
    mutate(monkeypatch)

    for seed in range(BASE, BASE + SEEDS_MOST):
        try:
            simulate(seed, database=database)
        except Failed as found:
            print(f"{mutate.__name__}: seed {seed}: {found.violations[0]}")
            return
    pytest.fail(f"{mutate.__name__} was not found in {SEEDS_MOST} seeds from {BASE}")
