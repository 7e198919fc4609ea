"""Who judges failures, on made-up histories: each operation needs a reason of its own, whatever else went wrong in the run."""

import asyncio
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath
from typing import Any

import pytest
import structlog
from tests.store.given import QUEUE, Base

from breezeblock.drivers.contract import ObjectName
from breezeblock.drivers.file import FileDriver
from breezeblock.model.errors import BackendFailed
from breezeblock.node.observer import Watch
from breezeblock.protocol import queue
from breezeblock.protocol.queue import DO, UNDO
from breezeblock.resources import (
    backups,
    connections,
    group_snapshots,
    groups,
    moves,
    snapshots,
    targets,
    volume_changes,
    volumes,
)
from breezeblock.store.tables import backends, operations
from breezeblock.store.transitions import Transition
from breezeblock.testing.cluster import _FAILED_OVER
from breezeblock.testing.database import Database
from breezeblock.testing.excuses import BY_HAND, CANCELLING, LEFT_BEHIND, Excuses, Remains, may_have_removed
from breezeblock.testing.loop import Process
from breezeblock.testing.memory_files import MemoryFiles
from breezeblock.testing.replicating import DEFAULT, Array, _ArrayFiles
from breezeblock.testing.rules import Rules
from breezeblock.testing.run import Failed, simulate

ONE, OTHER = "op-one", "op-other"
VOLUME = "11111111-1111-4111-8111-111111111111"


class Judged(Excuses):
    """With what it has found."""

    def __init__(self) -> None:
        self.found: list[str] = []
        super().__init__(lambda invariant, what: self.found.append(f"{invariant}: {what}"), lambda resource: False)

    def hit(self, operation: str, *, epoch: int) -> None:
        """A storage call of an operation fails by a fault."""
        structlog.contextvars.bind_contextvars(operation_id=operation, epoch=epoch)
        self.met_a_fault()

    def end(self, outcome: str, *, lost_owners: int = 0) -> list[str]:
        self.ended(ONE, "extend_volume", outcome, lost_owners=lost_owners)
        return self.found


@pytest.fixture(autouse=True)
def nobody_runs() -> Iterator[None]:
    structlog.contextvars.clear_contextvars()
    yield
    structlog.contextvars.clear_contextvars()


def test_a_failure_is_excused_by_a_fault_in_the_claim_that_turned_back() -> None:
    judged = Judged()
    judged.hit(ONE, epoch=2)
    judged.saved(ONE, f"2 {UNDO} ")
    judged.saved(ONE, f"3 {UNDO} ")

    assert judged.end("failed") == []


@pytest.mark.parametrize(("operation", "epoch"), [(OTHER, 2), (ONE, 1), (ONE, 3)])
def test_a_fault_of_another_operation_or_claim_excuses_nothing(operation: str, epoch: int) -> None:
    judged = Judged()
    judged.hit(operation, epoch=epoch)
    judged.saved(ONE, f"1 {DO} copy_volume")
    judged.saved(ONE, f"2 {UNDO} ")

    assert judged.end("failed") == [
        f"Once: extend_volume {ONE} was accepted and is failed, though no storage call of it failed"
    ]


def test_a_fault_that_hits_no_operation_excuses_none() -> None:
    judged = Judged()
    judged.met_a_fault()
    judged.saved(ONE, f"1 {UNDO} ")

    assert len(judged.end("failed")) == 1


def test_only_who_lost_enough_owners_is_parked() -> None:
    judged = Judged()
    judged.poison_limit = 3

    assert judged.end("parked", lost_owners=3) == []
    assert judged.end("parked", lost_owners=2) == [
        f"Once: extend_volume {ONE} was accepted and is parked, and lost 2 owners"
    ]


# What became of a node since the run began at 0, when a check of it was asked for, and whether one that is parked at 200 is
# excused: who waits for a node waits for a minute.
@pytest.mark.parametrize(
    ("moves", "asked_at", "excused"),
    [
        pytest.param([], 150.0, True, id="it never came"),
        pytest.param([("a", "up", 10.0)], 20.0, False, id="it was there all the time"),
        pytest.param([("a", "up", 10.0), ("a", "expired", 139.0)], 20.0, True, id="it was lost a minute ago"),
        pytest.param([("a", "up", 10.0), ("a", "expired", 141.0)], 20.0, False, id="it was lost later"),
        pytest.param([("a", "up", 10.0), ("a", "draining", 20.0)], 20.0, False, id="it is leaving"),
        pytest.param([("a", "up", 10.0), ("a", "gone", 20.0), ("b", "up", 100.0)], 30.0, True, id="it came back later"),
        pytest.param([("a", "up", 10.0), ("a", "gone", 20.0), ("b", "up", 60.0)], 30.0, False, id="it came back soon"),
        pytest.param(
            [("a", "up", 10.0), ("a", "gone", 20.0), ("b", "up", 100.0)], 101.0, False, id="before it was asked"
        ),
        pytest.param([("a", "up", 10.0), ("b", "up", 11.0), ("a", "gone", 20.0)], 30.0, False, id="another is there"),
        pytest.param(
            [("a", "up", 10.0), ("a", "gone", 120.0), ("b", "up", 170.0), ("b", "gone", 174.0)],
            30.0,
            True,
            id="a moment",
        ),
    ],
)
def test_work_for_a_node_is_parked_only_when_the_node_was_not_there(
    moves: list[tuple[str, str, float]], asked_at: float, excused: bool
) -> None:
    judged = Judged()
    judged.poison_limit = 3
    judged.presence.began, judged.presence.park_after_s = 0.0, 60.0
    for incarnation, state, at in moves:
        if state == "up":
            judged.presence.came(incarnation, "node0", at)
        judged.presence.moved(incarnation, state, at)
    judged.presence.asked(ONE, "node0", asked_at)

    judged.ended(ONE, "check_node", "parked", lost_owners=1, at=200.0)

    assert (judged.found == []) is excused


def test_a_node_that_is_given_up_too_early_is_found_out(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever was parked of what only one node can do used to pass."""
    unserved_for = Watch.unserved_for

    def soon(self: Watch, queue: str, *what: Any) -> float:
        return float("inf") if "@@" in queue else unserved_for(self, queue, *what)

    monkeypatch.setattr(Watch, "unserved_for", soon)

    for seed in range(60):
        try:
            simulate(seed, database=database, only=["crash", "rename"], brief=True)
        except Failed as failed:
            assert failed.violations[0].startswith("Once: check_node ")
            assert " was accepted and is parked, and lost " in failed.violations[0]
            return
    pytest.fail("60 seeds did not find it")


@pytest.mark.parametrize(
    ("first", "kind", "there", "problems"),
    [
        ("failover", "delete_volume", False, 0),
        ("deletion", "delete_volume", False, 0),
        ("failover", "delete_volume", True, 1),
        ("failover", "extend_volume", False, 1),
        ("nothing", "delete_volume", False, 1),
    ],
)
def test_only_a_deletion_that_a_failover_crosses_may_find_nothing(
    first: str, kind: str, there: bool, problems: int
) -> None:
    """Seed 120081: a failover began right after the object was removed, and before that was saved."""
    found: list[str] = []
    excuses = Excuses(lambda invariant, what: found.append(what), lambda resource: there)
    order = {
        "failover": ((OTHER, "failover_backend"), (ONE, kind)),
        "deletion": ((ONE, kind), (OTHER, "failover_backend")),
    }
    for operation, what in order.get(first, ((ONE, kind),)):
        excuses.enqueued(operation, what)
    excuses.saved(ONE, f"1 {UNDO} ")

    excuses.ended(ONE, kind, "failed", lost_owners=0, resources=[VOLUME])

    assert len(found) == problems


@pytest.mark.parametrize(
    ("deletion", "there", "problems"),
    [("failed", False, 0), ("failed", True, 1), ("parked", False, 0), ("done", False, 1)],
)
@pytest.mark.parametrize("how", ["resources", "reads"])
def test_who_needs_what_a_failed_deletion_has_removed_may_fail(
    deletion: str, there: bool, problems: int, how: str
) -> None:
    """Seed 2734160478: an operator had called it available."""
    found: list[str] = []
    excuses = Excuses(lambda invariant, what: found.append(what), lambda resource: there)
    excuses.poison_limit = 0
    structlog.contextvars.bind_contextvars(operation_id=OTHER, epoch=1)
    excuses.met_a_fault()
    for operation, kind, outcome in ((OTHER, "delete_volume", deletion), (ONE, "create_snapshot", "failed")):
        excuses.enqueued(operation, kind)
        excuses.saved(operation, f"1 {UNDO} ")
        named: dict[str, Any] = {"resources" if operation == OTHER else how: [VOLUME]}
        excuses.ended(operation, kind, outcome, lost_owners=0, **named)

    assert len(found) == problems


class Nowhere:
    """A world in which nothing writes."""

    def still_writes(self, incarnation: str, backends: Iterable[str] = ()) -> str | None:
        return None

    def holds_lease(self, incarnation: str) -> bool:
        return False

    def is_healthy(self, incarnation: str) -> bool:
        return False


@pytest.mark.parametrize("releaser", ["node", "survivor"])
def test_an_owner_is_lost_whoever_releases_its_operation_and_not_when_it_hands_it_back(releaser: str) -> None:
    """Seed 70192: the dead node's own housekeeping was on its way when it died, and released what it had owned."""
    worker = Process("node.worker1")
    worker.incarnation, worker.works = "node", True
    other = Process(f"{releaser}.worker1")
    other.incarnation, other.works = releaser, True
    found: list[str] = []
    rules = Rules(Nowhere(), {}, lambda invariant, what: found.append(what))
    rules.see([("nodes", "node", None, "up"), ("enqueued", ONE, "extend_volume", "{}")], None)
    rules.see([("owner", ONE, "node", "1 sim@fast 1")], worker)
    rules.see([("owner", ONE, None, "1 sim@fast 1")], worker)
    assert rules.lost_owners[ONE] == 0

    rules.see([("owner", ONE, "node", "2 sim@fast 1")], worker)
    rules.see([("nodes", "node", "up", "expired"), ("nodes", "node", "expired", "fenced")], None)
    rules.see([("owner", ONE, None, "3 sim@fast 0")], other)

    assert rules.lost_owners[ONE] == 1
    assert found == []


def test_only_who_was_in_line_at_a_cancelling_request_is_cancelled() -> None:
    judged = Judged()
    judged.applied([("volumes", VOLUME, volume_changes.EXTEND)], lambda resource: [OTHER])
    assert len(judged.end("cancelled")) == 1
    judged.found.clear()

    judged.applied([("volumes", VOLUME, volume_changes.RESET)], lambda resource: [ONE] if resource == VOLUME else [])

    assert judged.end("cancelled") == []


@pytest.mark.parametrize(
    ("transition", "ended", "problems"),
    [
        (volume_changes.EXTEND_FAILED, {ONE: [VOLUME]}, 0),
        (volume_changes.EXTEND_FAILED, {ONE: ["another"]}, 1),
        (volume_changes.EXTEND_FAILED, {}, 1),
        (volume_changes.RESET, {}, 0),
        (targets.LEAVE["volumes"], {}, 0),
    ],
)
def test_an_error_comes_from_a_failed_operation_or_an_operator(
    transition: Transition, ended: dict[str, list[str]], problems: int
) -> None:
    judged = Judged()

    judged.moved(VOLUME, "available", [("volumes", VOLUME, transition)], {})
    judged.moved(VOLUME, "error", [("volumes", VOLUME, transition)], ended)

    assert len(judged.found) == problems


def test_who_cleaned_up_undisturbed_leaves_nothing_behind() -> None:
    judged = Judged()
    judged.hit(ONE, epoch=1)
    judged.saved(ONE, f"1 {UNDO} drop_volume")
    assert not judged.may_have_left(ONE, "create_volume", "failed", epoch=1)

    judged.hit(ONE, epoch=2)

    assert judged.may_have_left(ONE, "create_volume", "failed", epoch=2)
    assert not judged.may_have_left(ONE, "create_volume", "done", epoch=2)


def test_what_is_parked_and_undone_in_the_same_claim_leaves_nothing_behind() -> None:
    judged = Judged()
    assert judged.may_have_left(ONE, "create_volume", "parked", epoch=4)  # nobody served it
    judged.saved(ONE, f"4 {UNDO} ")

    assert not judged.may_have_left(ONE, "create_volume", "parked", epoch=4)
    assert judged.may_have_left(ONE, "create_volume", "parked", epoch=5)  # its undoing was interrupted


@pytest.mark.parametrize("kind", ["extend_volume", "delete_volume", "retype_volume"])
@pytest.mark.parametrize("outcome", ["failed", "parked", "cancelled"])
def test_who_makes_no_object_leaves_none(kind: str, outcome: str) -> None:
    judged = Judged()
    judged.saved(ONE, f"1 {UNDO} ")
    judged.hit(ONE, epoch=1)

    assert not judged.may_have_left(ONE, kind, outcome, epoch=2)


@pytest.mark.parametrize(
    ("kind", "outcome", "may"),
    [
        ("delete_volume", "failed", True),
        ("delete_snapshot", "parked", True),
        ("delete_volume", "done", False),
        ("delete_volume", "cancelled", False),
        ("create_volume", "parked", False),
        ("revert_volume", "failed", False),
    ],
)
def test_only_a_deletion_that_was_begun_may_have_removed_what_a_row_names(kind: str, outcome: str, may: bool) -> None:
    assert may_have_removed(kind, outcome) is may


def test_an_interrupted_creation_of_a_resource_does_not_excuse_what_later_operations_need() -> None:
    """It used to: whatever was interrupted counted as a deletion."""
    found: list[str] = []
    excuses = Excuses(lambda invariant, what: found.append(what), lambda resource: False)
    excuses.poison_limit = 0
    for operation, kind, outcome in ((OTHER, "revert_volume", "parked"), (ONE, "create_snapshot", "failed")):
        excuses.enqueued(operation, kind)
        excuses.ended(operation, kind, outcome, lost_owners=0, resources=[VOLUME])

    assert len(found) == 1


@pytest.mark.parametrize(
    ("seq", "epoch", "published", "may"),
    [
        (5, 1, None, True),
        (5, 3, None, True),
        (5, 4, None, False),  # of a claim that there never was
        (4, 1, None, False),  # of another operation, before
        (6, 1, None, False),  # and after
        (2, 1, 5, True),  # what the volume was before a revert that published its copy and was then interrupted
        (2, 1, 6, False),
        (6, 1, 5, False),
    ],
)
def test_an_interrupted_operation_excuses_only_objects_of_its_own(
    seq: int, epoch: int, published: int | None, may: bool
) -> None:
    """One used to excuse every orphan of its resource for ever."""
    remains = Remains()
    remains.left(VOLUME, 5, 3)

    named = None if published is None else f"{VOLUME}.{published}.1"
    assert remains.may_stay(ObjectName(VOLUME, seq, epoch), named) is may
    assert not remains.may_stay(ObjectName(OTHER, seq, epoch), named)


@pytest.mark.parametrize(("tidied", "may"), [(4, True), (5, True), (6, False)])
def test_what_a_later_revert_should_have_removed_is_excused_no_more(tidied: int, may: bool) -> None:
    remains = Remains()
    remains.left(VOLUME, 5, 1)
    remains.tidied(VOLUME, tidied)
    remains.tidied(VOLUME, 1)

    assert remains.may_stay(ObjectName(VOLUME, 5, 1), f"{VOLUME}.{tidied}.1") is may


@pytest.mark.parametrize(("published", "may"), [(1, True), (6, True), (7, False), (8, False)])
def test_a_deletion_may_only_have_removed_what_was_there_before_it(published: int, may: bool) -> None:
    remains = Remains()
    remains.left(VOLUME, 9, 1)  # making something removes nothing
    remains.removed(VOLUME, 7)
    remains.removed(VOLUME, 3)

    assert remains.may_be_gone(f"{VOLUME}.{published}.1") is may
    assert not remains.may_be_gone(f"{OTHER}.{published}.1")


MODULES = (backups, connections, group_snapshots, groups, moves, snapshots, targets, volume_changes, volumes)


def test_the_names_are_those_of_the_transitions() -> None:
    known = {
        one.name
        for module in MODULES
        for one in (*vars(module).values(), *targets.LEAVE.values())
        if isinstance(one, Transition)
    } | {one.name for one in targets.LEAVE.values()}

    assert known >= CANCELLING | BY_HAND | LEFT_BEHIND


@pytest.mark.parametrize("mutating", [True, False])
def test_a_failed_side_of_an_array_is_a_fault_and_one_that_is_not_in_use_is_none(mutating: bool) -> None:
    disk, hits = MemoryFiles(), list[str]()
    array = Array(disk, primary=PurePosixPath("/array/a"), secondary=PurePosixPath("/array/b"))
    array.on_fault = lambda: hits.append("hit")
    files = _ArrayFiles.over(disk, array)
    beside = PurePosixPath("/array/b")

    async def call() -> None:
        await (files.make_folder(beside / "aa") if mutating else files.list_folder(beside / "aa"))

    with pytest.raises(OSError, match="Read-only" if mutating else "No such file"):
        asyncio.run(call())
    assert hits == []

    if mutating:
        array.is_astray = lambda: True  # a failover failed, and was done all the same (seed 110028)
        with pytest.raises(OSError, match="Read-only"):
            asyncio.run(call())
        assert hits == ["hit"]
        hits.clear()

    array.fail("secondary")
    with pytest.raises(OSError, match="Input/output"):
        asyncio.run(call())
    assert hits == ["hit"]
    assert array.active == DEFAULT


@pytest.mark.parametrize(
    ("status", "step", "astray"),
    [
        ("error", None, True),
        pytest.param(
            "failing-over", None, True, id="the next failover was accepted and has not begun (seed 2427004698)"
        ),
        pytest.param("failing-over", "fail_over", False, id="it has revoked what was begun there"),
        ("enabled", None, False),
    ],
)
def test_an_array_is_astray_until_the_next_failover_begins(
    database: Database, status: str, step: str | None, astray: bool
) -> None:
    base = Base()
    base.add(backends, id="b", queue=QUEUE, replication_status=status, active_backend_id=None)
    if status == "failing-over":
        failover = base.enqueue(queue.Lock("b", 1, exclusive=True))
        base.change(operations, failover, kind=queue.FAILOVER, step=step)

    with base.tx() as tx:
        rows = tx.exec_driver_sql(_FAILED_OVER, (QUEUE,)).scalars().all()

    assert (rows == ["default"]) is astray
    base.close()


def test_a_driver_that_gives_up_on_its_own_is_found_out_among_storage_faults(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While faults of the storage were on, any failure used to pass."""

    async def gives_up(self: FileDriver, *args: object, **kwargs: object) -> None:
        raise BackendFailed("Not today.")

    monkeypatch.setattr(FileDriver, "extend", gives_up)

    for seed in range(20):
        try:
            simulate(seed, database=database, only=["storage", "poison", "backend"], brief=True)
        except Failed as failed:
            assert "extend_volume" in failed.violations[0]
            assert failed.violations[0].endswith("is failed, though no storage call of it failed")
            return
    pytest.fail("20 seeds did not find it")
