"""Mutations: each takes one protection of the protocol away from the running code, and nothing else.

Beside each stands what finds it, and which invariant falls.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import pytest
from sqlalchemy import Connection, Table, and_, bindparam, delete, func, or_, select, update
from tests.sim.archive_mutations import (
    collections_that_see_no_pin,
    garbage_in_one_step,
    manifests_that_go_first,
    packs_left_behind,
)
from tests.sim.event_mutations import (
    events_by_their_times,
    events_forgotten_before_they_are_taken,
    events_set_aside_whoever_refuses,
)

from breezeblock.model.errors import NotFound
from breezeblock.model.ids import Incarnation
from breezeblock.model.states import NODE_DEAD, NODE_LIVE
from breezeblock.node.gate import Gate, OperationGuard
from breezeblock.node.observer import Watch
from breezeblock.node.worker import Worker
from breezeblock.protocol import driver_locks, membership, queue, recovery, steps
from breezeblock.protocol.leases import GATE_MARGIN, Lease, Terms
from breezeblock.protocol.membership import NodeRow
from breezeblock.resources import quotas, snapshots, volumes
from breezeblock.store import transitions
from breezeblock.store.dialects import db_now_us
from breezeblock.store.run import Store, _Attempt
from breezeblock.store.tables import driver_locks as driver_locks_table
from breezeblock.store.tables import node_backends, nodes, operation_locks, operations, volume_types
from breezeblock.store.tables import volumes as volumes_table
from breezeblock.testing.database import SimLane
from breezeblock.testing.virtual import LockFiles, VirtualClock

Patch = pytest.MonkeyPatch


def transactions_without_an_id(patch: Patch) -> None:
    """A commit whose answer was lost runs again without a look for it."""

    def call(self: Any, tx: Connection) -> Any:
        return self._f(tx)

    patch.setattr(_Attempt, "__call__", call)


def no_order(patch: Patch) -> None:
    """Whatever has no owner is claimable, whoever stands before it."""
    free = and_(operations.c.owner.is_(None), operations.c.not_before_us <= db_now_us())
    patch.setattr(queue, "FREE", free)
    patch.setattr(queue, "_claimable", queue._claimable.__wrapped__)


def readers_at_the_head_of_the_line(patch: Patch) -> None:
    """Who only reads a resource gets no place of its own in the line."""
    patch.setattr(queue, "shared", lambda row: queue.Lock(row["id"], 0, exclusive=False))


def no_standing_release(patch: Patch) -> None:
    """Nobody releases what the dead own."""
    patch.setattr(recovery, "release_dead", lambda tx: [])


def release_before_the_fence(patch: Patch) -> None:
    """Expired counts as dead, and what an expired node owns is given to others while it may still write."""
    patch.setattr(recovery, "NODE_DEAD", (*NODE_DEAD, "expired"))
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
    _without_the_guard(patch, "_NOTE", columns)


def finishes_by_anybody(patch: Patch) -> None:
    """An operation is finished whoever owns it by now."""
    patch.setattr(queue, "_DELETE_OPERATION", delete(operations).where(operations.c.id == bindparam("op")))


def storage_calls_without_a_lease(patch: Patch) -> None:
    """The gate is always open."""
    patch.setattr(Gate, "is_open", lambda self: True)


def claims_of_expired_nodes(patch: Patch) -> None:
    """A claim does not look whether its node is still up."""
    counted = update(nodes).where(nodes.c.incarnation == bindparam("me")).values(claims=nodes.c.claims + 1)
    patch.setattr(queue, "_COUNT_CLAIM", counted)


def expiry_without_new_epochs(patch: Patch) -> None:
    """An expired node goes on saving until its operations are claimed by others."""
    patch.setattr(recovery, "revoke", lambda tx, *, owner: 0)


def silence_across_gaps(patch: Patch) -> None:
    """What an observer did not read counts as silence."""
    patch.setattr(Terms, "observer_gap_s", property(lambda self: float("inf")))


def own_marks_remembered(patch: Patch) -> None:
    """What a node owns is what it knows of."""
    patch.setattr(queue, "owned", lambda tx, *, incarnation: [])


def charges_forgotten(patch: Patch) -> None:
    """What is made is not charged in its transaction."""
    patch.setattr(quotas, "charge", lambda *args, **kwargs: None)


def checkpoints_as_they_were_seen(patch: Patch) -> None:
    """A claim swaps whatever epoch there is, and goes on from the checkpoint that was there when it looked."""
    seen: dict[tuple[str, str], queue.Claim] = {}
    checkpoint = ("direction", "step", "state_json", "failure_json", "cancel")
    look, claimed = Worker._look, queue.claim

    def looked(self: Worker, tx: Connection, **kwargs: Any) -> Any:
        found = look(self, tx, **kwargs)
        wanted = [*found.ours, *found.normal, *found.risky, *found.failovers]
        for one in queue._read_claims(tx, [one.operation_id for one in wanted], queue._backends(tx)):
            seen[self._me.incarnation, one.operation_id] = one
        return found

    def claim(tx: Connection, *, incarnation: str, **kwargs: Any) -> list[queue.Claim]:
        return [
            replace(one, **{name: getattr(seen.get((incarnation, one.operation_id), one), name) for name in checkpoint})
            for one in claimed(tx, incarnation=Incarnation(incarnation), **kwargs)
        ]

    patch.setattr(Worker, "_look", looked)
    patch.setattr(queue, "claim", claim)
    free = or_(operations.c.owner.is_(None), operations.c.owner == bindparam("me"))
    values = {"owner": bindparam("me"), "claim_epoch": operations.c.epoch + 1, "claimed_at_us": bindparam("now_us")}
    whatever_epoch = bindparam("seen") >= 0
    swap = update(operations).where(operations.c.id == bindparam("op"), free, whatever_epoch)
    patch.setattr(queue, "_CLAIM", swap.values(epoch=operations.c.epoch + 1, **values))


def reads_without_the_barrier(patch: Patch) -> None:
    """A transaction begins on whatever its database node has by now."""
    patch.setattr(SimLane, "barrier", False)


def claims_that_only_read_their_node(patch: Patch) -> None:
    """A claim looks at its node's state and writes nothing there."""

    def claim(tx: Connection, *, wanted: Sequence[queue.Wanted], incarnation: str, now_us: int) -> list[queue.Claim]:
        state = tx.execute(select(nodes.c.state).where(nodes.c.incarnation == incarnation)).scalar()
        ids = [one.operation_id for one in wanted if state == "up" and _swapped(tx, one, incarnation, now_us)]
        if not ids:
            raise queue.NothingWon
        return queue._read_claims(tx, ids, queue._backends(tx))

    patch.setattr(queue, "claim", claim)


def _swapped(tx: Connection, one: queue.Wanted, me: str, now_us: int) -> bool:
    values = {"op": one.operation_id, "seen": one.epoch, "me": me, "now_us": now_us}
    return tx.execute(queue._CLAIM, values).rowcount > 0


def sources_that_are_only_read(patch: Patch) -> None:
    """A clone reads its source, takes the place that its row would give out next, and leaves the row as it is."""

    def lock_rows(tx: Connection, targets: Sequence[tuple[Table, str]], **kwargs: Any) -> None:
        transitions.lock_rows(tx, [(table, id_) for table, id_ in targets if table is volume_types], **kwargs)
        for table, id_ in targets:
            if transitions.read_row(tx, table, id_) is None:
                raise NotFound(f"{id_} could not be found.")

    def shared(row: Mapping[str, Any]) -> queue.Lock:
        return queue.Lock(row["id"], row["op_seq"] + 1, exclusive=False)

    patch.setattr(volumes, "lock_rows", lock_rows)
    patch.setattr(queue, "shared", shared)


def fences_remembered(patch: Patch) -> None:
    """A node does not go on with a fence that is marked its own, but with those that it knows of."""
    seen_to = Watch._see_to_fence

    async def see_to(self: Watch, row: NodeRow, live: Mapping[Incarnation, NodeRow]) -> None:
        if row.fencer != self._me:
            await seen_to(self, row, live)

    patch.setattr(Watch, "_see_to_fence", see_to)


def fences_of_the_dead(patch: Patch) -> None:
    """Nobody takes a fence over."""
    patch.setattr(membership, "take_over_fence", lambda tx, **kwargs: False)


def leases_that_count_from_the_answer(patch: Patch) -> None:
    """A renewal holds for a ttl from when it was answered."""

    def renewed(self: Lease, *, sent_at: float, answered_at: float) -> bool:
        self._until = answered_at + self._terms.ttl_s
        return True

    patch.setattr(Lease, "renewed", renewed)


def silence_without_a_margin(patch: Patch) -> None:
    """An observer waits as long as the lease lasts on its own clock, whatever the others' clocks do."""
    patch.setattr(Terms, "silence_s", property(lambda self: self.ttl_s * (1 - GATE_MARGIN)))


def burials_without_proof(patch: Patch) -> None:
    """A node that starts takes every earlier one of its name for dead."""

    async def nobody(self: LockFiles, lock_path: str, lock_id: str) -> bool:
        return True

    patch.setattr(LockFiles, "nobody_holds", nobody)


def poison_is_never_parked(patch: Patch) -> None:
    """What brings down each node that takes it is taken again and again."""
    made = Worker.__init__

    def init(self: Worker, **kwargs: Any) -> None:
        made(self, **kwargs | {"limits": replace(kwargs["limits"], poison_limit=1_000_000)})

    patch.setattr(Worker, "__init__", init)


def announcements_of_the_expired(patch: Patch) -> None:
    """A worker whose node was expired before it began says what it serves, and begins."""
    patch.setattr(membership, "NODE_LIVE", (*NODE_LIVE, "expired", "fenced"))

    def expire(tx: Connection, **kwargs: Any) -> bool:
        with pytest.MonkeyPatch.context() as again:
            again.setattr(membership, "NODE_LIVE", NODE_LIVE)
            return expired(tx, **kwargs)

    expired = membership.expire
    patch.setattr(membership, "expire", expire)


def releases_on_every_backend(patch: Patch) -> None:
    """What a node owns is released as soon as it is fenced on any backend."""

    def owned(tx: Connection) -> Any:
        cut = node_backends.c.incarnation == operations.c.owner
        rows = select(operations.c.id, operations.c.queue, operations.c.owner).join(node_backends, cut)
        return tx.execute(rows.where(node_backends.c.fenced_by.is_not(None))).all()

    patch.setattr(recovery, "owned_on_fenced_backends", owned)


def failovers_that_revoke_nothing(patch: Patch) -> None:
    """What was begun on the old target goes on, and its errors count."""
    patch.setattr(recovery, "revoke_queue", lambda tx, **kwargs: 0)


def revoked_tasks_that_go_on(patch: Patch) -> None:
    """A revoked operation is taken up again at once, and its old task goes on calling the storage."""
    patch.setattr(OperationGuard, "revoke", lambda self: None)
    patch.setattr(Worker, "_still_works", lambda self, one, on: False)


def charges_in_a_transaction_of_their_own(patch: Patch) -> None:
    """A request is charged right after the transaction that accepts it."""
    due: list[Callable[[Connection], None]] = []
    charge, run = quotas.charge, Store.run

    async def run_and_charge(self: Store, f: Any, *args: Any, **kwargs: Any) -> Any:
        result = await run(self, f, *args, **kwargs)
        while due:
            await run(self, due.pop(0))
        return result

    def later(tx: Connection, *args: Any, **kwargs: Any) -> None:
        due.append(lambda later: charge(later, *args, **kwargs))

    patch.setattr(quotas, "charge", later)
    patch.setattr(Store, "run", run_and_charge)


def snapshots_that_only_read_their_volume(patch: Patch) -> None:
    """Whether a volume may be snapshot is asked of its row, which is left as it is."""

    def lock_row(tx: Connection, table: Table, row_id: str, **kwargs: Any) -> None:
        if table is not volumes_table:
            locked(tx, table, row_id, **kwargs)
        elif transitions.read_row(tx, table, row_id) is None:
            raise NotFound(f"{row_id} could not be found.")

    locked = transitions.lock_row
    patch.setattr(snapshots, "lock_row", lock_row)


def readers_that_become_writers(patch: Patch) -> None:
    """A clone whose turn has come makes its place in the line of its source an exclusive one."""
    execute = steps.execute

    def upgrade(tx: Connection, claim: queue.Claim) -> None:
        tx.execute(
            update(operation_locks)
            .where(operation_locks.c.operation_id == claim.operation_id, ~operation_locks.c.exclusive)
            .values(exclusive=True)
        )

    async def upgraded(operation: Any, run: Any, store: Store, *rest: Any) -> None:
        await store.insist(upgrade, run.claim)
        await execute(operation, run, store, *rest)

    patch.setattr(steps, "execute", upgraded)


def operations_that_wait_for_others(patch: Patch) -> None:
    """A clone begins when nobody else is in the line of its source."""
    execute = steps.execute

    def is_alone(tx: Connection, claim: queue.Claim) -> bool:
        sources = [lock.resource_id for lock in claim.locks if not lock.exclusive]
        others = operation_locks.c.operation_id != claim.operation_id
        return (
            tx.execute(select(operation_locks).where(operation_locks.c.resource_id.in_(sources), others)).first()
            is None
        )

    async def patient(operation: Any, run: Any, store: Store, *rest: Any) -> None:
        while not await store.insist(is_alone, run.claim):
            await VirtualClock().sleep(0.5)
        await execute(operation, run, store, *rest)

    patch.setattr(steps, "execute", patient)


def locks_released_before_the_fence(patch: Patch) -> None:
    """What an expired node has locked for its drivers is free for others, who may use it while it still writes."""
    dead = select(nodes.c.incarnation).where(nodes.c.state.in_((*NODE_DEAD, "expired")))
    lost = select(driver_locks_table.c.line, driver_locks_table.c.place).where(
        driver_locks_table.c.incarnation.in_(dead)
    )
    patch.setattr(driver_locks, "_OF_THE_LOST", lost)
    patch.setattr(driver_locks, "_ONE_OF_THE_LOST", lost.limit(1))


def locks_of_the_dead_that_stay(patch: Patch) -> None:
    """Nobody releases what the dead have locked for their drivers."""
    patch.setattr(driver_locks, "release_dead", lambda tx: [])
    patch.setattr(driver_locks, "has_dead", lambda tx: False)


def locks_out_of_turn(patch: Patch) -> None:
    """A driver's lock is granted to whoever has a place in line, whoever stands before it."""
    count = driver_locks.count_before
    patch.setattr(driver_locks, "count_before", lambda tx, claimed, **said: min(0, count(tx, claimed, **said)))


def shared_locks_that_keep_nobody_out(patch: Patch) -> None:
    """Who wants a driver's lock alone waits for others who want that, and not for those who share it."""
    mine, before = driver_locks_table.alias("mine"), driver_locks_table.alias("earlier")
    earlier = and_(before.c.line == mine.c.line, before.c.place < mine.c.place, mine.c.exclusive, before.c.exclusive)
    count = select(func.count(before.c.call_id.distinct())).select_from(mine.join(before, earlier))
    patch.setattr(driver_locks, "_COUNT_BEFORE", count.where(mine.c.call_id == bindparam("call")))


@dataclass(frozen=True)
class By:
    """What finds a mutation: a seed, and for those that need a rare meeting of faults, which kinds alone are on."""

    seed: int
    fell: str
    """Which invariant falls: the one that the rule is there for, and no other by chance."""
    only: tuple[str, ...] = ()
    fence: str | None = None
    theme: str | None = None
    """What requests are about, where it takes many of a kind."""

    @property
    def options(self) -> dict[str, Any]:
        """For `simulate`."""
        return {"only": self.only or None, "fence": self.fence, "theme": self.theme}

    def __str__(self) -> str:
        fence = f", and a fence by {self.fence}" if self.fence else ""
        theme = f", about {self.theme}" if self.theme else ""
        return f"{self.seed}" + (f", with {', '.join(self.only)} alone" if self.only else "") + fence + theme


FOUND_BY: Final[dict[Callable[[Patch], None], By]] = {
    transactions_without_an_id: By(10, "Once"),
    no_order: By(1, "Order"),
    readers_at_the_head_of_the_line: By(1, "Order"),
    sources_that_are_only_read: By(1, "Order"),
    snapshots_that_only_read_their_volume: By(10, "Order"),
    readers_that_become_writers: By(1, "Order"),
    operations_that_wait_for_others: By(1, "Termination"),
    no_standing_release: By(3, "Termination"),
    release_before_the_fence: By(3, "Fence"),
    releases_on_every_backend: By(6, "Fence", only=("crash", "fence", "rename"), fence="storage"),
    a_fence_that_kills_nobody: By(10, "Fence"),
    fences_remembered: By(77, "Termination", only=("crash", "cut", "fence", "rename")),
    fences_of_the_dead: By(81, "Termination"),
    burials_without_proof: By(10, "Fence"),
    announcements_of_the_expired: By(33, "Fence", only=("crash", "evict")),
    refunds_forgotten: By(2, "Accounts"),
    charges_forgotten: By(1, "Accounts"),
    charges_in_a_transaction_of_their_own: By(1, "Accounts"),
    names_without_a_token: By(12, "Data"),
    saves_by_anybody: By(48, "Once"),
    finishes_by_anybody: By(11, "Once"),
    storage_calls_without_a_lease: By(18, "Lease"),
    claims_of_expired_nodes: By(10, "Fence"),
    claims_that_only_read_their_node: By(10, "Fence", only=("evict",)),
    checkpoints_as_they_were_seen: By(34, "Once"),
    expiry_without_new_epochs: By(49, "Fence"),
    silence_across_gaps: By(4, "Calm", only=("outage",)),
    silence_without_a_margin: By(30, "Lease"),
    leases_that_count_from_the_answer: By(18, "Lease", only=("slow",)),
    own_marks_remembered: By(11, "Termination"),
    reads_without_the_barrier: By(1, "Order", only=("lag",)),
    poison_is_never_parked: By(3, "Termination"),
    failovers_that_revoke_nothing: By(11, "Once"),
    revoked_tasks_that_go_on: By(129, "Exclusion", only=("array",)),
    collections_that_see_no_pin: By(6, "Once", theme="backups"),
    garbage_in_one_step: By(6, "Once", theme="backups"),
    packs_left_behind: By(1, "Once", theme="backups"),
    manifests_that_go_first: By(1, "Data", theme="backups"),
    locks_released_before_the_fence: By(29, "Fence"),
    locks_of_the_dead_that_stay: By(29, "Termination"),
    locks_out_of_turn: By(29, "Exclusion"),
    shared_locks_that_keep_nobody_out: By(29, "Exclusion"),
    events_forgotten_before_they_are_taken: By(2, "Told"),
    events_by_their_times: By(1, "Told"),
    events_set_aside_whoever_refuses: By(16, "Told"),
}
