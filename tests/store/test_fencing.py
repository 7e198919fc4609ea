"""Fencing backend by backend: what is recorded, what becomes claimable when, and what is told of it."""

from collections.abc import Iterator

import pytest
from tests.store.given import ME, NOW_US, OTHER, QUEUE, Base, note

from breezeblock.model.ids import Incarnation
from breezeblock.protocol import membership, node_events, recovery
from breezeblock.protocol.membership import NodeRow
from breezeblock.protocol.queue import Job, Lock
from breezeblock.resources import retention
from breezeblock.store import tables
from breezeblock.store.tables import node_backends, nodes, operations

FAST, SLOW = QUEUE, "c@slow"
IDENTITIES = {FAST: {"nonce": "1", "machine": "m"}, SLOW: {"machine": "m"}}


@pytest.fixture
def base() -> Iterator[Base]:
    """A node with two backends, and another one."""
    base = Base()
    base.node(ME, queues_json="[]")
    base.node(OTHER)
    announce(base)
    yield base
    base.close()


def announce(base: Base, node: Incarnation = ME) -> bool:
    return base.run(membership.announce, incarnation=node, identities=IDENTITIES, kinds={"copy": 1}, worker_pid=7)


def expire(base: Base) -> bool:
    return base.run(membership.expire, incarnation=ME, heartbeat=1, fencer=OTHER, note=note())


def fenced(base: Base, name: str = FAST, method: str = "storage") -> bool:
    return base.run(membership.record_backend_fenced, incarnation=ME, queue=name, method=method, note=note())


def wholly_fenced(base: Base, method: str = "external") -> bool:
    return base.run(membership.record_fenced, incarnation=ME, method=method, note=note())


def confirmed(base: Base) -> tuple[str, ...] | None:
    return base.run(membership.confirm_fenced, incarnation=ME, note=note("root"))


def owned_on(base: Base, name: str, resource: str) -> str:
    """An operation in a queue that the node runs."""
    id_ = base.enqueue(Lock(resource, 1, exclusive=True), job=Job("copy", 1, name, "volume", resource, {}))
    base.claim(id_, ME)
    return id_


def owner(base: Base, id_: str) -> str | None:
    found: str | None = base.row(operations, id_)["owner"]
    return found


def how(base: Base) -> dict[str, str | None]:
    return {row["queue"]: row["fenced_by"] for row in base.rows(node_backends) if row["incarnation"] == ME}


def state(base: Base) -> str:
    found: str = base.row(nodes, ME)["state"]
    return found


def seen(base: Base) -> NodeRow:
    return next(row for row in base.run(membership.read_nodes, cluster="c") if row.incarnation == ME)


def told(base: Base) -> list[tuple[str, str]]:
    """Events, oldest first."""
    rows = sorted(base.rows(tables.node_events), key=lambda row: str(row["id"]))
    return [(row["event"], row["detail"]) for row in rows]


# --- one backend at a time --------------------------------------------------------------------------------------------


def test_what_was_owned_on_a_fenced_backend_is_released_and_the_rest_waits(base: Base) -> None:
    """The node stays expired: it may still write to the other backend."""
    fast, slow = owned_on(base, FAST, "v"), owned_on(base, SLOW, "w")
    expire(base)
    before = base.run(membership.needs_housekeeping, cluster="c")

    assert fenced(base)
    noticed = base.run(membership.needs_housekeeping, cluster="c")
    released = base.run(membership.housekeeping, cluster="c", now_us=NOW_US)

    assert (before, noticed, released) == (False, True, [FAST])
    assert (owner(base, fast), owner(base, slow), state(base)) == (None, ME, "expired")
    assert not base.run(membership.needs_housekeeping, cluster="c")


def test_the_queue_in_which_an_operation_is_counts(base: Base) -> None:
    """One that was handed over to a queue that is not fenced has another backend's fence to wait for."""
    id_ = owned_on(base, FAST, "v")
    base.change(operations, id_, queue=SLOW)
    expire(base)
    fenced(base)

    assert base.run(recovery.release_dead) == []
    assert owner(base, id_) == ME


def test_another_nodes_operations_on_that_backend_stay_where_they_are(base: Base) -> None:
    """A fence is for one incarnation."""
    id_ = base.enqueue(Lock("v", 1, exclusive=True))
    base.claim(id_, OTHER)
    expire(base)
    fenced(base)

    assert (base.run(recovery.release_dead), owner(base, id_)) == ([], OTHER)


def test_a_released_operation_has_lost_an_attempt_unless_it_made_progress(base: Base) -> None:
    """As with any death: poison is counted in one place."""
    lost, progressed = owned_on(base, FAST, "v"), owned_on(base, FAST, "w")
    base.change(operations, progressed, saved_epoch=1)
    expire(base)
    fenced(base)
    base.run(recovery.release_dead)

    assert [base.row(operations, id_)["attempt"] for id_ in (lost, progressed)] == [1, 0]


def test_with_its_last_backend_the_node_is_fenced(base: Base) -> None:
    """Whatever the methods; then it is buried when it owns nothing."""
    expire(base)

    fenced(base, FAST, "storage")
    between = state(base)
    fenced(base, SLOW, "trust")
    after = state(base)
    base.run(membership.housekeeping, cluster="c", now_us=NOW_US)

    assert (between, after, state(base)) == ("expired", "fenced", "gone")
    assert how(base) == {FAST: "storage", SLOW: "trust"}


def test_who_owns_nothing_is_not_buried_before_its_last_backend_is_fenced(base: Base) -> None:
    """What is left to do stands in its row."""
    expire(base)
    fenced(base, FAST)

    base.run(membership.housekeeping, cluster="c", now_us=NOW_US)

    assert (state(base), how(base)) == ("expired", {FAST: "storage", SLOW: None})


def test_a_fence_is_recorded_once(base: Base) -> None:
    """The first proof counts; a second one, from a fencer that was slow, changes nothing and tells nothing."""
    expire(base)

    said = [fenced(base, FAST, "storage"), fenced(base, FAST, "trust")]

    assert (said, how(base)) == ([True, False], {FAST: "storage", SLOW: None})
    assert [event for event, _ in told(base)] == ["expired", "backend_fenced"]


@pytest.mark.parametrize("before", ["up", "draining", "fenced", "gone"])
def test_only_the_expired_are_fenced(base: Base, before: str) -> None:
    """A node that lives is expired first, so that its operations are taken from it; the dead are fenced already."""
    base.change(nodes, ME, state=before)

    assert [fenced(base), wholly_fenced(base)] == [False, False]
    assert (state(base), how(base)) == (before, {FAST: None, SLOW: None})


def test_a_proof_about_the_whole_node_is_one_about_each_backend_that_is_left(base: Base) -> None:
    """What was fenced before keeps its method."""
    expire(base)
    fenced(base, FAST, "storage")

    assert wholly_fenced(base, "external")

    assert (state(base), how(base)) == ("fenced", {FAST: "storage", SLOW: "external"})
    assert told(base)[-1] == ("fenced", "external, by node-2")


def test_backends_of_a_release_that_did_not_announce_them_one_by_one_are_fenced_as_well(base: Base) -> None:
    """Its row names its queues; a rolling upgrade has both kinds of nodes."""
    with base.tx() as tx:
        tx.execute(node_backends.delete())
    expire(base)
    unfenced = seen(base).unfenced

    fenced(base, FAST)

    assert (unfenced, how(base), state(base)) == ((FAST, SLOW), {FAST: "storage"}, "expired")
    assert (seen(base).unfenced, seen(base).fenced) == ((SLOW,), frozenset({FAST}))
    assert wholly_fenced(base)
    assert how(base) == {FAST: "storage", SLOW: "external"}


def test_a_fence_that_failed_for_some_is_tried_again_for_the_rest(base: Base) -> None:
    """By whoever takes it over; what is fenced stays so."""
    expire(base)
    fenced(base, FAST)
    failed = base.run(membership.record_fence_failed, incarnation=ME, me=OTHER, error="slow: no", note=note())

    assert failed
    assert (seen(base).unfenced, seen(base).fencer) == ((SLOW,), None)
    assert told(base)[-1] == ("fence_failed", "node-2: slow: no")


def test_a_proof_about_the_node_that_not_every_backend_accepts_leaves_the_others(base: Base) -> None:
    """It is told for those for which it counts; twice is once."""
    expire(base)
    news = [
        base.run(membership.record_fenced, incarnation=ME, queues=[FAST], method="same_machine", note=note())
        for _ in range(2)
    ]
    between = (how(base), state(base))
    fenced(base, SLOW)

    assert (news, between, state(base)) == (
        [True, False],
        ({FAST: "same_machine", SLOW: None}, "expired"),
        "fenced",
    )
    assert told(base)[1:] == [
        ("backend_fenced", "c@b: same_machine, by node-2"),
        ("fenced", "c@slow: storage, by node-2"),
    ]


def test_a_failure_after_the_last_backend_was_fenced_tells_nothing(base: Base) -> None:
    """Another fence of the same walk had succeeded."""
    expire(base)
    wholly_fenced(base)

    assert not base.run(membership.record_fence_failed, incarnation=ME, me=OTHER, error="no", note=note())
    assert [event for event, _ in told(base)] == ["expired", "fenced"]


# --- what a node has used ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "can"), [("up", True), ("draining", True), ("expired", False), ("fenced", False), ("gone", False)]
)
def test_who_is_expired_announces_nothing_more(base: Base, before: str, can: bool) -> None:
    """Its worker touches no storage then; so what an expired node has announced is all that it has used."""
    with base.tx() as tx:
        tx.execute(node_backends.delete())
    base.change(nodes, ME, state=before)

    assert announce(base) is can
    assert how(base) == ({FAST: None, SLOW: None} if can else {})


def test_what_storage_knows_a_node_by_is_read_by_its_fencers(base: Base) -> None:
    """With the machine, where that is certain."""
    row = seen(base)

    assert (row.identities, row.machine, row.boot_id) == (IDENTITIES, "m", "b")


def test_who_announced_is_never_recorded_as_unused(base: Base) -> None:
    """Also one whose release did not announce its backends one by one."""
    expire(base)
    announced = base.run(membership.record_unused, incarnation=ME, note=note())
    with base.tx() as tx:
        tx.execute(node_backends.delete())
    listed = base.run(membership.record_unused, incarnation=ME, note=note())
    base.change(nodes, ME, queues_json="[]")
    nothing = base.run(membership.record_unused, incarnation=ME, note=note())

    assert (announced, listed, nothing, state(base)) == (False, False, True, "fenced")
    assert told(base)[1:] == [("fenced", "unused, by node-2")]


def test_announcing_again_is_announcing_once(base: Base) -> None:
    """After a lost answer the whole transaction runs again."""
    announce(base)

    assert how(base) == {FAST: None, SLOW: None}


def test_backends_are_forgotten_with_their_node(base: Base) -> None:
    """And only then: the rule that releases needs them as long as the node may own something."""
    expire(base)
    wholly_fenced(base)
    base.run(membership.housekeeping, cluster="c", now_us=NOW_US)
    kept = len(how(base))
    base.run(membership.housekeeping, cluster="c", now_us=NOW_US + membership.GONE_KEPT_US + 1)

    assert (kept, how(base), [row["incarnation"] for row in base.rows(nodes)]) == (2, {}, [OTHER])


def test_backends_of_a_node_that_is_forgotten_already_are_forgotten_too(base: Base) -> None:
    """A release that knows of no such rows leaves them; the others' rows stay, and then there is nothing left to do."""
    idle = base.run(membership.needs_housekeeping, cluster="c")
    base.add(node_backends, incarnation="long-gone", queue=FAST)
    base.add(node_backends, incarnation="long-gone", queue=SLOW)
    found = base.run(membership.needs_housekeeping, cluster="c")
    base.run(membership.housekeeping, cluster="c", now_us=NOW_US)

    assert (idle, found, base.run(membership.needs_housekeeping, cluster="c")) == (False, True, False)
    assert [(row["incarnation"], row["queue"]) for row in base.rows(node_backends)] == [(ME, FAST), (ME, SLOW)]


# --- an operator's word -----------------------------------------------------------------------------------------------


def test_a_word_fences_what_no_proof_was_found_for(base: Base) -> None:
    """And says which that was."""
    fast, slow = owned_on(base, FAST, "v"), owned_on(base, SLOW, "w")
    expire(base)
    fenced(base, FAST)

    assert confirmed(base) == (SLOW,)

    base.run(membership.housekeeping, cluster="c", now_us=NOW_US)
    assert (owner(base, fast), owner(base, slow), state(base)) == (None, None, "gone")
    assert how(base) == {FAST: "storage", SLOW: "operator"}
    assert told(base)[-1] == ("confirmed", "fenced by the word of root")


def test_a_word_about_a_node_that_passes_for_live_takes_its_operations_in_the_same_transaction(base: Base) -> None:
    """It is never merely expired, so no fence is run on a node whose lease may not be over."""
    id_ = owned_on(base, FAST, "v")

    assert confirmed(base) == (FAST, SLOW)

    assert (state(base), base.row(operations, id_)["epoch"]) == ("fenced", 2)
    assert told(base) == [("forced", "fenced by the word of root")]


def test_a_second_word_has_nothing_to_say(base: Base) -> None:
    """Nor one about a node that is not there."""
    confirmed(base)

    assert confirmed(base) is None
    assert base.run(membership.confirm_fenced, incarnation=Incarnation("nobody"), note=note()) is None
    assert len(told(base)) == 1


# --- history ----------------------------------------------------------------------------------------------------------


def test_what_happens_to_a_node_is_told(base: Base) -> None:
    """By whom, how, and why not, newest first."""
    expire(base)
    base.run(membership.record_fence_failed, incarnation=ME, me=OTHER, error="no route", note=note())
    base.run(membership.take_over_fence, incarnation=ME, was=None, me=OTHER, note=note())
    wholly_fenced(base)

    found = base.run(node_events.recent, cluster="c", most=9)

    assert {(one.node, one.incarnation, one.at_us) for one in found} == {(ME, ME, NOW_US)}
    assert told(base) == [
        ("expired", "silent, says node-2"),
        ("fence_failed", "node-2: no route"),
        ("fence_taken_over", "by node-2"),
        ("fenced", "external, by node-2"),
    ]
    assert base.run(node_events.recent, cluster="c", most=9, node=OTHER) == []
    assert base.run(node_events.recent, cluster="d", most=9) == []


def test_what_did_not_happen_is_not_told(base: Base) -> None:
    """The event is in the transaction of the change; a change that lost changes nothing."""
    base.run(membership.expire, incarnation=ME, heartbeat=9, fencer=OTHER, note=note())
    base.run(membership.take_over_fence, incarnation=ME, was=None, me=OTHER, note=note())

    assert told(base) == []


def test_events_are_forgotten_after_a_month(base: Base) -> None:
    """With the other memories."""
    expire(base)
    base.run(retention.forget_old, now_us=NOW_US + node_events.KEPT_US)
    kept = len(told(base))
    base.run(retention.forget_old, now_us=NOW_US + node_events.KEPT_US + 1)

    assert (kept, told(base)) == (1, [])
