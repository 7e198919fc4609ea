"""The queue: places in line, claims and their races, cancelling, and giving back what the dead have left."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection
from tests.store.given import KINDS, ME, NOW_US, OTHER, QUEUE, Base, note, origin, wanted

from breezeblock.model.errors import Cancelled, Fenced
from breezeblock.protocol import membership, queue, recovery, waiting
from breezeblock.protocol.queue import DO, UNDO, Claim, Job, Lock, NothingWon
from breezeblock.protocol.waiting import Waiting
from breezeblock.store.tables import nodes, operation_locks, operation_log, operations


@pytest.fixture
def base() -> Iterator[Base]:
    base = Base()
    base.node(ME)
    base.node(OTHER)
    yield base
    base.close()


def changes(resource: str, seq: int) -> Lock:
    return Lock(resource, seq, exclusive=True)


def reads(resource: str, seq: int) -> Lock:
    return Lock(resource, seq, exclusive=False)


def save(tx: Connection, claim: Claim, *, direction: str = DO, step: str | None = "copy", state: str = "{}") -> None:
    queue.save(tx, claim, direction=direction, step=step, state_json=state)


def finish(base: Base, claim: Claim) -> None:
    base.run(queue.close, claim, outcome="done", detail=None, now_us=base.now_us)


def lose(base: Base, node: str = ME) -> None:
    """The node is taken for dead, fenced, and what it had is released."""
    heartbeat = base.row(nodes, node)["heartbeat"]
    assert base.run(membership.expire, incarnation=node, heartbeat=heartbeat, fencer=OTHER, note=note())
    assert base.run(membership.record_fenced, incarnation=node, method="same_machine", note=note())
    base.run(recovery.release_dead)


# --- in line ----------------------------------------------------------------------------------------------------------


def test_on_one_resource_changes_come_one_after_another(base: Base) -> None:
    """In the order of their places, whenever they were made."""
    first = base.enqueue(changes("v", 1), at_us=NOW_US + 9)
    second = base.enqueue(changes("v", 2), at_us=NOW_US)

    before = base.claimable()
    finish(base, base.claim(first))

    assert (before, base.claimable()) == ([first], [second])


def test_readers_share_a_resource_until_somebody_wants_to_change_it(base: Base) -> None:
    """The change waits for both readers, and the reader behind it waits for the change."""
    one = base.enqueue(reads("v", 1), changes("s1", 1), at_us=NOW_US)
    two = base.enqueue(reads("v", 2), changes("s2", 1), at_us=NOW_US + 1)
    change = base.enqueue(changes("v", 3), at_us=NOW_US + 2)
    late = base.enqueue(reads("v", 4), changes("s3", 1), at_us=NOW_US + 3)
    seen = [base.claimable()]

    finish(base, base.claim(two))
    seen.append(base.claimable())
    finish(base, base.claim(one))
    seen.append(base.claimable())
    finish(base, base.claim(change))

    assert [*seen, base.claimable()] == [[one, two], [one], [change], [late]]


def test_an_operation_waits_in_all_of_its_lines(base: Base) -> None:
    """First in one and second in the other is not its turn."""
    first = base.enqueue(changes("b", 1))
    both = base.enqueue(changes("a", 1), changes("b", 2))

    assert base.claimable() == [first]
    finish(base, base.claim(first))
    assert base.claimable() == [both]


def test_a_claimed_operation_keeps_its_place(base: Base) -> None:
    """While it runs nobody behind it may begin, on any node."""
    first = base.enqueue(changes("v", 1))
    base.enqueue(changes("v", 2))
    base.claim(first)

    assert base.claimable() == []


def test_other_resources_and_other_queues_do_not_matter(base: Base) -> None:
    """Only conflicts in a line make anybody wait; only one's own queues are asked."""
    base.enqueue(changes("v", 1), job=Job("copy", 1, "c@other", "volume", "v", {}))
    mine = base.enqueue(changes("w", 1))

    assert base.claimable() == [mine]


def test_the_oldest_come_first_and_no_more_than_wanted(base: Base) -> None:
    """Across resources by their age."""
    ids = [base.enqueue(changes(f"v{age}", 1), at_us=NOW_US + age) for age in (3, 1, 2)]

    assert base.claimable(most=2) == [ids[1], ids[2]]


def test_what_this_version_cannot_run_is_left_to_others(base: Base) -> None:
    """A kind or a version that came with a later release."""
    base.enqueue(changes("v", 1), job=Job("copy", 2, QUEUE, "volume", "v", {}))
    base.enqueue(changes("w", 1), job=Job("paint", 1, QUEUE, "volume", "w", {}))

    assert base.claimable() == []


def test_what_this_version_cannot_run_does_not_hide_what_it_can(base: Base) -> None:
    """In a rolling upgrade the oldest operations may all be of a version that only new nodes know."""
    base.enqueue(changes("v", 1), at_us=NOW_US, job=Job("copy", 2, QUEUE, "volume", "v", {}))
    known = base.enqueue(changes("w", 1), at_us=NOW_US + 1)

    assert base.claimable(most=1) == [known]


Line = list[tuple[str, bool]]


@settings(max_examples=60, deadline=None)
@given(
    line=st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), min_size=1, max_size=8),
    more=st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=4),
    chance=st.randoms(use_true_random=False),
)
def test_once_claimable_always_claimable(line: Line, more: Line, chance: Any) -> None:
    """Whatever is enqueued or ends afterwards, and all end at last in the order of their places."""
    assert _walk(line, more, chance) == []


def _walk(line: Line, more: Line, chance: Any) -> list[str]:
    """Enqueue and end operations in a random order; what was claimable and then was not, or ended out of order."""
    base, wrong, more, seqs = Base(), list[str](), list(more), dict.fromkeys("abc", 0)
    base.node(ME)
    places: dict[str, tuple[str, int, bool]] = {}

    def enqueue(resource: str, exclusive: bool) -> None:
        seqs[resource] += 1
        id_ = base.enqueue(Lock(resource, seqs[resource], exclusive), name=f"{resource}{seqs[resource]}")
        places[id_] = (resource, seqs[resource], exclusive)

    for one in line:
        enqueue(*one)
    could: set[str] = set()
    while found := sorted(base.claimable()):  # equally old ones come in any order
        wrong += [f"{id_} is claimable no more" for id_ in could - set(found)]
        if more and chance.random() < 0.5:
            enqueue(*more.pop())
            could = set(found)
            continue
        chosen = chance.choice(found)
        finish(base, base.claim(chosen))
        resource, seq, exclusive = places.pop(chosen)
        wrong += [
            f"{chosen} ended before {id_}"
            for id_, (other, before, alone) in places.items()
            if other == resource and before < seq and (alone or exclusive)
        ]
        could = set(found) - {chosen}
    wrong += [f"{id_} was never claimable" for id_ in places]
    base.close()
    return wrong


# --- claims -----------------------------------------------------------------------------------------------------------


def test_a_claim_brings_what_the_operation_is_and_where_it_stands(base: Base) -> None:
    """Read after the swap that made it ours."""
    job = Job("copy", 1, QUEUE, "volume", "v", {"from": "s"})
    id_ = base.enqueue(changes("v", 3), reads("s", 5), job=job)

    claim = base.claim(id_)

    assert (claim.owner, claim.epoch, claim.payload_json) == (ME, 1, '{"from":"s"}')
    assert claim.locks == (reads("s", 5), changes("v", 3))
    assert (claim.token("v"), claim.token("s")) == ((3, 1), (5, 1))
    assert base.row(nodes, ME)["claims"] == 1


def test_of_two_nodes_that_saw_the_same_one_wins(base: Base) -> None:
    """The other one gets nothing and writes nothing."""
    id_ = base.enqueue(changes("v", 1))
    base.claim(id_, ME, seen=0)

    with pytest.raises(NothingWon):
        base.claim(id_, OTHER, seen=0)

    assert (base.row(operations, id_)["owner"], base.row(nodes, OTHER)["claims"]) == (ME, 0)


def test_of_several_wanted_those_that_are_free_are_won(base: Base) -> None:
    """In the order in which they were asked for."""
    a, b, c = (base.enqueue(changes(name, 1)) for name in "abc")
    base.claim(b, OTHER)

    won = base.run(queue.claim, wanted=[wanted(c, 0), wanted(b, 0), wanted(a, 0)], incarnation=ME, now_us=NOW_US)

    assert [claim.operation_id for claim in won] == [c, a]


@pytest.mark.parametrize("state", ["draining", "expired", "fenced", "gone"])
def test_a_node_that_is_not_up_cannot_claim(base: Base, state: str) -> None:
    """A claim writes the node's row first, so it cannot pass by an expiry unseen."""
    id_ = base.enqueue(changes("v", 1))
    base.change(nodes, ME, state=state)

    with pytest.raises(NothingWon):
        base.claim(id_)

    assert base.row(operations, id_)["owner"] is None


def test_an_operation_is_claimed_only_under_the_epoch_that_was_seen(base: Base) -> None:
    """Between our look and our claim it was claimed, handed back, and is free again: it is not the same any more."""
    id_ = base.enqueue(changes("v", 1))
    base.run(queue.hand_back, base.claim(id_, OTHER))

    with pytest.raises(NothingWon):
        base.claim(id_, ME, seen=0)
    assert base.claim(id_, ME, seen=1).epoch == 2


def test_what_is_marked_ours_is_taken_up_under_a_new_epoch(base: Base) -> None:
    """The claim was committed and its answer lost: we find it in the table, and the lost claim is worth nothing."""
    id_ = base.enqueue(changes("v", 1))
    lost = base.claim(id_)

    found = base.owned(ME), base.owned(OTHER), base.claimable()
    again = base.claim(id_)

    assert (found, again.epoch) == (([id_], [], []), 2)
    with pytest.raises(Fenced):
        base.run(queue.guard, lost)


def test_a_claim_reads_the_checkpoint_of_the_one_before(base: Base) -> None:
    """Step, state and direction go on where they were saved."""
    id_ = base.enqueue(changes("v", 1))
    first = base.claim(id_)
    base.run(save, first, direction=UNDO, step="drop", state='{"done":7}')
    base.run(queue.hand_back, first)

    second = base.claim(id_, OTHER)

    assert (second.direction, second.step, second.state_json) == (UNDO, "drop", '{"done":7}')


# --- while it runs ----------------------------------------------------------------------------------------------------


def guard(tx: Connection, claim: Claim) -> None:
    queue.guard(tx, claim)


def hand_back(tx: Connection, claim: Claim) -> None:
    queue.hand_back(tx, claim)


def postpone(tx: Connection, claim: Claim) -> None:
    queue.postpone(tx, claim, pause_us=1)


def close(tx: Connection, claim: Claim) -> None:
    queue.close(tx, claim, outcome="done", detail=None, now_us=NOW_US)


every_write = pytest.mark.parametrize("write", [save, guard, hand_back, postpone, close])


@every_write
def test_a_node_that_was_expired_writes_nothing_more(base: Base, write: Callable[..., None]) -> None:
    """The expiry has raised the epoch in its own transaction: what comes later matches no row."""
    id_ = base.enqueue(changes("v", 1))
    claim = base.claim(id_)
    base.run(membership.expire, incarnation=ME, heartbeat=1, fencer=OTHER, note=note())
    before = base.rows(operations), base.rows(operation_locks)

    with pytest.raises(Fenced):
        base.run(write, claim)

    assert (base.rows(operations), base.rows(operation_locks)) == before
    assert base.rows(operation_log) == []


@every_write
def test_an_operation_that_has_ended_cannot_be_written(base: Base, write: Callable[..., None]) -> None:
    """Nor ended a second time."""
    claim = base.claim(base.enqueue(changes("v", 1)))
    finish(base, claim)

    with pytest.raises(Fenced):
        base.run(write, claim)


def test_saving_the_same_twice_succeeds(base: Base) -> None:
    """Absolute values: a repeat changes nothing but the number that makes it a write on every database."""
    claim = base.claim(base.enqueue(changes("v", 1)))

    base.run(save, claim, state='{"n":1}')
    (once,) = base.rows(operations)
    base.run(save, claim, state='{"n":1}')

    assert base.rows(operations) == [{**once, "touched": once["touched"] + 1}]


def test_a_guard_changes_the_row_each_time(base: Base) -> None:
    """A write that leaves everything as it is conflicts with nothing on Galera: an expiry beside it would not be seen."""
    claim = base.claim(base.enqueue(changes("v", 1)))

    base.run(queue.guard, claim)
    (once,) = base.rows(operations)
    base.run(queue.guard, claim)

    assert base.rows(operations) != [once]


def test_an_operation_that_ends_leaves_only_its_entry_in_the_log(base: Base) -> None:
    """Row and locks go in the transaction in which the entry comes."""
    claim = base.claim(base.enqueue(changes("v", 1), reads("s", 2)))

    base.run(queue.close, claim, outcome="failed", detail="why", now_us=NOW_US + 5)

    (entry,) = base.rows(operation_log)
    assert (base.rows(operations), base.rows(operation_locks)) == ([], [])
    assert (entry["outcome"], entry["detail"], entry["owner"], entry["epoch"]) == ("failed", "why", ME, 1)
    assert entry["locks_json"] == '[["s",2,false],["v",1,true]]'


def test_who_is_handed_back_can_be_claimed_at_once(base: Base) -> None:
    """A drain is no failure: no attempt is counted."""
    id_ = base.enqueue(changes("v", 1))
    base.run(queue.hand_back, base.claim(id_))

    assert base.claim(id_, OTHER).attempt == 0


def test_a_postponed_operation_waits_and_has_one_attempt_more(base: Base) -> None:
    """By the database's clock; its line waits with it."""
    id_ = base.enqueue(changes("v", 1))
    base.enqueue(changes("v", 2))
    base.run(queue.postpone, base.claim(id_), pause_us=1_000)

    base.now_us += 999
    early = base.claimable()
    base.now_us += 1

    assert (early, base.claimable()) == ([], [id_])
    assert base.claim(id_).attempt == 1


# --- cancelling -------------------------------------------------------------------------------------------------------


def test_cancelling_flags_whoever_changes_the_resource(base: Base) -> None:
    """Queued or running; who only reads it, and who is in another line, goes on."""
    change = base.enqueue(changes("v", 1))
    read = base.enqueue(reads("v", 2), changes("s", 1))
    also = base.enqueue(changes("v", 3), changes("w", 1))
    elsewhere = base.enqueue(changes("x", 1))
    base.claim(change)

    assert base.run(queue.cancel_earlier, resource_id="v") == 2
    assert {row["id"]: row["cancel"] for row in base.rows(operations)} == {
        change: True, read: False, also: True, elsewhere: False
    }  # fmt: skip


def test_a_running_operation_learns_of_it_at_its_next_save(base: Base) -> None:
    """And what it wanted to save is not saved."""
    claim = base.claim(base.enqueue(changes("v", 1)))
    base.run(queue.cancel_earlier, resource_id="v")

    with pytest.raises(Cancelled):
        base.run(save, claim, state='{"n":1}')

    assert base.rows(operations)[0]["state_json"] == "{}"


def test_who_goes_back_already_is_not_cancelled_again(base: Base) -> None:
    """The compensation must come to its end."""
    claim = base.claim(base.enqueue(changes("v", 1)))
    base.run(queue.cancel_earlier, resource_id="v")

    base.run(save, claim, direction=UNDO, step="drop")

    assert base.rows(operations)[0]["step"] == "drop"


def test_a_queued_one_knows_it_when_its_turn_comes(base: Base) -> None:
    """It is claimed as any other: only a claim ends it, with its accounts."""
    id_ = base.enqueue(changes("v", 1))
    base.run(queue.cancel_earlier, resource_id="v")

    assert base.claim(id_).cancel


@pytest.mark.parametrize(("lock", "any_", "exclusive"), [(changes("v", 1), True, True), (reads("v", 1), True, False)])
def test_who_stands_in_line_can_be_asked(base: Base, lock: Lock, any_: bool, exclusive: bool) -> None:
    """For a tombstone anybody counts, for a status only who will change it."""
    base.enqueue(lock, changes("other", 1))

    asked = [base.run(queue.someone_waits, resource_id="v", exclusively=only) for only in (False, True)]

    assert asked == [any_, exclusive]
    assert not base.run(queue.someone_waits, resource_id="nobody")


# --- recovery ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["up", "draining", "expired"])
def test_what_a_node_owns_that_may_still_write_is_not_released(base: Base, state: str) -> None:
    """Expired is not enough: there must be proof."""
    id_ = base.enqueue(changes("v", 1))
    base.claim(id_)
    base.change(nodes, ME, state=state)

    assert base.run(recovery.release_dead) == []
    assert base.row(operations, id_)["owner"] == ME


@pytest.mark.parametrize("state", ["fenced", "gone"])
def test_what_the_dead_own_is_released_by_anybody_at_any_time(base: Base, state: str) -> None:
    """A standing rule: also for what an earlier release has missed. Twice is once."""
    ids = [base.enqueue(changes(name, 1)) for name in "ab"]
    base.claim(ids[0])
    base.claim(ids[1], OTHER)
    base.change(nodes, ME, state=state)

    released = [base.run(recovery.release_dead), base.run(recovery.release_dead)]

    assert released == [[QUEUE], []]
    assert [base.row(operations, id_)["owner"] for id_ in ids] == [None, OTHER]
    assert base.row(operations, ids[0])["attempt"] == 1


def test_an_attempt_counts_that_died_without_a_checkpoint(base: Base) -> None:
    """It may be what killed the node."""
    id_ = base.enqueue(changes("v", 1))
    base.claim(id_)
    lose(base)

    assert base.claim(id_, OTHER).attempt == 1


@pytest.mark.parametrize("write", [save, guard])
def test_an_attempt_that_saved_something_does_not_count(base: Base, write: Callable[..., None]) -> None:
    """A long copy may outlive many nodes."""
    id_ = base.enqueue(changes("v", 1))
    base.run(write, base.claim(id_))
    lose(base)

    assert base.claim(id_, OTHER).attempt == 0


def test_a_checkpoint_of_an_earlier_claim_does_not_excuse_a_later_one(base: Base) -> None:
    """Progress counts under the claim that made it."""
    id_ = base.enqueue(changes("v", 1))
    first = base.claim(id_, OTHER)
    base.run(save, first)
    base.run(queue.hand_back, first)
    base.claim(id_, ME)
    lose(base)

    assert base.row(operations, id_)["attempt"] == 1


def test_epochs_only_rise(base: Base) -> None:
    """Claim, take-up, expiry, claim: no owner ever has the number of another."""
    id_ = base.enqueue(changes("v", 1))
    epochs = [base.claim(id_).epoch, base.claim(id_).epoch]
    lose(base)

    assert [*epochs, base.claim(id_, OTHER).epoch] == [1, 2, 4]


# --- what nobody can run ----------------------------------------------------------------------------------------------


def unserved(base: Base, *, kind: str = "copy", version: int = 1, most: int = 10) -> list[str]:
    found = base.run(waiting.heads, waiting=Waiting(QUEUE, kind, version), most=most)
    return [one.operation_id for one in found]


def test_what_waits_is_told_by_queue_kind_and_version(base: Base) -> None:
    """Each once, however many there are; what somebody owns does not wait, and another cluster's is not our concern."""
    _ = [base.enqueue(changes(f"v{number}", 1)) for number in range(200)]
    base.enqueue(changes("w", 1), job=Job("copy", 2, "c@gone", "volume", "w", {}))
    for number, queue_ in enumerate(("C@gone", "c", "c.d@gone", "cc@gone", "cA", "c@other@gone")):
        base.enqueue(changes(f"o{number}", 1), job=Job("copy", 1, queue_, "volume", f"o{number}", {}))
    base.claim(base.enqueue(changes("x", 1), job=Job("paint", 1, QUEUE, "volume", "x", {})))

    found = base.run(waiting.waiting_kinds, cluster="c")

    assert sorted(found) == [(QUEUE, "copy", 1), ("c@gone", "copy", 2), ("c@other@gone", "copy", 1)]


def test_of_what_nobody_serves_the_heads_of_lines_are_parked(base: Base) -> None:
    """One after another, as they would have run: who is behind follows when the first has ended."""
    first = base.enqueue(changes("v", 1))
    second = base.enqueue(changes("v", 2))
    before = unserved(base)
    finish(base, base.claim(first))

    assert (before, unserved(base)) == ([first], [second])


def test_only_that_queue_kind_and_version_is_parked(base: Base) -> None:
    """The others may be somebody's."""
    base.enqueue(changes("a", 1), job=Job("copy", 1, "c@other", "volume", "a", {}))
    base.enqueue(changes("b", 1), job=Job("paint", 1, QUEUE, "volume", "b", {}))
    newer = base.enqueue(changes("c", 1), job=Job("copy", 2, QUEUE, "volume", "c", {}))

    assert (unserved(base), unserved(base, version=2)) == ([], [newer])


def test_what_must_run_alone_neither_hides_the_others_nor_is_hidden(base: Base) -> None:
    """By the attempts that it has cost already."""
    risky = base.enqueue(changes("v", 1), at_us=NOW_US)
    calm = base.enqueue(changes("w", 1), at_us=NOW_US + 1)
    base.change(operations, risky, attempt=3)

    assert base.claimable(most=1, attempts=range(3)) == [calm]
    assert base.claimable(most=1, attempts=range(3, 100)) == [risky]


@pytest.mark.parametrize("most", [1, 2, 4])
def test_one_look_finds_what_two_would(base: Base, most: int) -> None:
    """The oldest of either kind, however many of the other kind stand before them."""
    ids = [base.enqueue(changes(f"v{number}", 1), at_us=NOW_US + number) for number in range(4)]
    for attempts in itertools.product([0, 3], repeat=4):
        for id_, already in zip(ids, attempts, strict=True):
            base.change(operations, id_, attempt=already)

        normal, risky = base.run(queue.claimable_apart, queue=QUEUE, kinds=KINDS, most=most, risky_from=2)

        apart = base.claimable(most=most, attempts=range(2)), base.claimable(most=1, attempts=range(2, 9))
        assert ([one.operation_id for one in normal], [one.operation_id for one in risky]) == apart


def test_an_operation_without_a_place_is_refused(base: Base) -> None:
    """It would have no order."""
    with pytest.raises(AssertionError):
        base.run(queue.enqueue, Job("copy", 1, QUEUE, "volume", "v", {}), origin=origin(), locks=())
