"""Volumes and snapshots: status and accounts before and after each begin, finish and fail, exactly."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from tests.databases import urls
from tests.proof import PROOF
from tests.store.given import (
    ME,
    NOW_US,
    POOL,
    QUEUE,
    UNLIMITED,
    Base,
    create_snapshot,
    create_volume,
    new_snapshot,
    new_volume,
    origin,
)

from breezeblock.model.errors import BadRequest, InvalidState, NotFound, OverQuota, Rejected
from breezeblock.model.ids import SnapshotId, VolumeId
from breezeblock.protocol import queue
from breezeblock.protocol.queue import Claim
from breezeblock.protocol.steps import Failure
from breezeblock.resources import accepted, accounts, charges, snapshots, volume_changes, volumes
from breezeblock.resources.types import DEFAULT_TYPE_ID
from breezeblock.store import tables
from breezeblock.work.catalogue import CATALOGUE

TYPE = DEFAULT_TYPE_ID
V, S = VolumeId("v1"), SnapshotId("s1")
BROKEN = Failure(message="The disk is broken.", detail_id="broken")
CANCELLED = Failure(message="Cancelled.", detail_id="cancelled", outcome="cancelled")
ADMIN: dict[str, Any] = {"is_admin": True}


@pytest.fixture
def base() -> Iterator[Base]:
    base = Base()
    base.node(ME)
    base.pool()
    yield base
    base.close()


# --- the small model of a node: claim what is next, and end it ---------------------------------------------------------


def end(base: Base, *, failure: Failure | None = None, claim: Claim | None = None) -> Claim:
    """Claim the next operation, unless it is given, and end it in its one transaction."""
    claim = claim or base.claim(base.claimable()[0])
    operation = CATALOGUE[claim.kind]
    payload = msgspec.json.decode(claim.payload_json, type=operation.payload)
    made = f"{claim.resource_id}.{claim.token(claim.resource_id)[0]}.{claim.epoch}"
    failure = CANCELLED if claim.cancel and failure is None else failure
    if failure is None:
        base.run(operation.finish, claim, payload, {"object": made}, now_us=NOW_US)
    else:
        base.run(operation.fail, claim, payload, {"object": made}, failure=failure, now_us=NOW_US)
    return claim


def given_volume(base: Base, id_: str = V, **values: Any) -> None:
    create_volume(base, id_, **values)
    end(base)


def given_snapshot(base: Base, id_: str = S, volume_id: str = V) -> None:
    create_snapshot(base, id_, volume_id)
    end(base)


def status(base: Base, row_id: str = V) -> str | None:
    rows = [*base.rows(tables.volumes), *base.rows(tables.snapshots)]
    return next((row["status"] for row in rows if row["id"] == row_id and not row["tombstone"]), None)


def messages(base: Base) -> list[str]:
    return [row["user_message"] for row in base.rows(tables.messages)]


def extend(base: Base, size_gib: int, **quota: int) -> accepted.Accepted:
    return base.run(
        volume_changes.begin_extend, origin=origin(), volume_id=V, size_gib_new=size_gib, quota_defaults=quota
    )


def retype(base: Base, name: str) -> accepted.Accepted:
    return base.run(
        volume_changes.begin_retype,
        origin=origin(),
        volume_id=V,
        new_type=name,
        migration_policy="never",
        quota_defaults=UNLIMITED,
    )


def revert(base: Base) -> accepted.Accepted:
    return base.run(volume_changes.begin_revert, origin=origin(), volume_id=V, snapshot_id=S)


def delete(base: Base, *, cascade: bool = False) -> accepted.Accepted:
    return base.run(volumes.begin_delete, origin=origin(), volume_id=V, cascade=cascade)


def force_delete(base: Base, *, cascade: bool = True) -> accepted.Accepted:
    return base.run(volumes.begin_force_delete, origin=origin(**ADMIN), volume_id=V, cascade=cascade)


def delete_snapshot(base: Base) -> accepted.Accepted:
    return base.run(snapshots.begin_delete, origin=origin(), snapshot_id=S)


def force_delete_snapshot(base: Base) -> accepted.Accepted:
    return base.run(snapshots.begin_force_delete, origin=origin(**ADMIN), snapshot_id=S)


def reset(base: Base, to: str = "available") -> accepted.Accepted:
    return base.run(
        volume_changes.reset_status,
        origin=origin(**ADMIN),
        volume_id=V,
        status=to,
        attach_status=None,
        migration_status=None,
    )


def reset_snapshot(base: Base, to: str = "available") -> accepted.Accepted:
    return base.run(snapshots.reset_status, origin=origin(**ADMIN), snapshot_id=S, status=to)


def account(*, volumes: int = 0, snapshots: int = 0, gib: int = 0, name: str = TYPE) -> dict[str, int]:
    """What is charged and promised for so many of one type, zeros left out."""
    full = {
        "volumes": volumes, f"volumes_{name}": volumes, "snapshots": snapshots, f"snapshots_{name}": snapshots,
        "gigabytes": gib, f"gigabytes_{name}": gib, POOL: gib,
    }  # fmt: skip
    return {resource: amount for resource, amount in full.items() if amount}


# --- each operation: how it begins, and how it ends -------------------------------------------------------------------


Begin = Callable[[Base], Any]


def begin_create(base: Base) -> None:
    create_volume(base, size_gib=3)


def begin_extend(base: Base) -> None:
    given_volume(base, size_gib=3)
    extend(base, 5)


def begin_retype(base: Base) -> None:
    base.volume_type("gold")
    given_volume(base, size_gib=3)
    retype(base, "gold")


def begin_delete(base: Base) -> None:
    given_volume(base, size_gib=3)
    delete(base)


def begin_cascade(base: Base) -> None:
    given_volume(base, size_gib=3)
    given_snapshot(base)
    delete(base, cascade=True)


def begin_snapshot(base: Base) -> None:
    given_volume(base, size_gib=3)
    create_snapshot(base)


def begin_delete_snapshot(base: Base) -> None:
    given_volume(base, size_gib=3)
    given_snapshot(base)
    delete_snapshot(base)


def begin_revert(base: Base) -> None:
    given_volume(base, size_gib=3)
    given_snapshot(base)
    revert(base)


ONE = account(volumes=1, gib=3)
BOTH = account(volumes=1, snapshots=1, gib=6)
GOLD = account(volumes=1, gib=3, name="gold")

CELLS: list[tuple[Begin, tuple[str, Any], tuple[Any, Any, dict[str, int]], tuple[Any, Any, dict[str, int]]]] = [
    # begin, (volume, accounts) meanwhile, (volume, snapshot, accounts) after success, and after failure
    (begin_create, ("creating", ONE), ("available", None, ONE), ("error", None, ONE)),
    (begin_extend, ("extending", account(volumes=1, gib=5)), ("available", None, account(volumes=1, gib=5)),
     ("error_extending", None, ONE)),
    (begin_retype, ("retyping", GOLD), ("available", None, GOLD), ("available", None, ONE)),
    (begin_delete, ("deleting", ONE), (None, None, {}), ("error_deleting", None, ONE)),
    (begin_cascade, ("deleting", BOTH), (None, None, {}), ("error_deleting", "error_deleting", BOTH)),
    (begin_snapshot, ("available", BOTH), ("available", "available", BOTH), ("available", "error", BOTH)),
    (begin_delete_snapshot, ("available", BOTH), ("available", None, ONE), ("available", "error_deleting", BOTH)),
    (begin_revert, ("reverting", BOTH), ("available", "available", BOTH), ("error", "available", BOTH)),
]  # fmt: skip
every_operation = pytest.mark.parametrize(
    ("begin", "meanwhile", "done", "failed"), CELLS, ids=[cell[0].__name__ for cell in CELLS]
)
every_begin = pytest.mark.parametrize("begin", [cell[0] for cell in CELLS], ids=lambda begin: begin.__name__)


@every_operation
def test_an_operation_that_does_its_work(base: Base, begin: Begin, meanwhile: Any, done: Any, failed: Any) -> None:
    """Status and accounts while it is under way, and after it: no message, and nothing left of it."""
    begin(base)
    before = status(base), base.accounts()
    end(base)

    assert (before, (status(base), status(base, S), base.accounts())) == (meanwhile, done)
    assert (base.rows(tables.operations), base.rows(tables.operation_locks), messages(base)) == ([], [], [])
    assert base.problems() == []


@every_operation
def test_an_operation_that_fails(base: Base, begin: Begin, meanwhile: Any, done: Any, failed: Any) -> None:
    """The error status, the accounts of what is there, and one message for the user."""
    begin(base)
    end(base, failure=BROKEN)

    assert (status(base), status(base, S), base.accounts()) == failed
    assert messages(base) == ["The disk is broken."]
    assert (base.rows(tables.operations), base.rows(tables.operation_locks), base.problems()) == ([], [], [])


@pytest.mark.parametrize("is_running", [False, True], ids=["queued", "running"])
@pytest.mark.parametrize("finishes", [False, True], ids=["cancelled", "too_late"])
@every_begin
def test_a_forced_delete_in_the_middle_of_anything_leaves_nothing(
    base: Base, begin: Begin, is_running: bool, finishes: bool
) -> None:
    """It waits behind what is under way, which neither touches the status any more nor leaves a charge behind."""
    begin(base)
    claim = base.claim(base.claimable()[0]) if is_running else None
    force_delete(base)
    seen = [status(base)]
    first = claim or base.claim(base.claimable()[0])
    end(base, claim=msgspec_replace(first, cancel=not finishes))
    seen.append(status(base))
    end(base)

    assert seen in (["deleting", "deleting"], ["deleting", None])
    assert (base.accounts(), base.problems(), base.rows(tables.volumes), base.rows(tables.snapshots)) == (
        {},
        [],
        [],
        [],
    )


def msgspec_replace(claim: Claim, **values: Any) -> Claim:
    return Claim(**{name: getattr(claim, name) for name in Claim.__slots__} | values)


@pytest.mark.parametrize("finishes", [False, True], ids=["cancelled", "too_late"])
@pytest.mark.parametrize("to", ["available", "error"])
@every_begin
def test_after_a_reset_the_operators_word_stays(base: Base, begin: Begin, to: str, finishes: bool) -> None:
    """What was under way ends without touching that status, and the accounts are those of what is there."""
    begin(base)
    claim = base.claim(base.claimable()[0])
    held = {lock.resource_id for lock in claim.locks if lock.exclusive}
    reset(base, to) if V in held else reset_snapshot(base, to)
    end(base, claim=msgspec_replace(claim, cancel=not finishes))

    told = status(base, V if V in held else S)
    expected = {to, None} if claim.kind.startswith("delete") and finishes else {to}
    expected |= {"error"} if claim.kind.startswith("create") and not finishes else set()
    assert told in expected
    assert base.problems() == []


@pytest.mark.parametrize("begin", [begin_create, begin_extend, begin_retype, begin_delete, begin_revert])
def test_what_is_being_worked_on_cannot_be_changed_although_its_status_was_reset(base: Base, begin: Begin) -> None:
    """Its size, its type and its charge are in flux until that has ended."""
    base.volume_type("silver")
    begin(base)
    reset(base)

    with pytest.raises(InvalidState, match="still being worked on"):
        extend(base, 9)
    with pytest.raises(InvalidState, match="still being worked on"):
        retype(base, "silver")
    with pytest.raises(InvalidState, match="still being worked on"):
        create_snapshot(base, "s9")


# --- single rules -----------------------------------------------------------------------------------------------------


def test_without_a_pool_the_volume_appears_in_error_with_the_reason(base: Base) -> None:
    """The request is accepted all the same, and charged like every volume that is there."""
    taken = create_volume(base, size_gib=1001)

    assert (taken.queue, status(base), base.row(tables.volumes, V)["pool_name"]) == (None, "error", None)
    assert messages(base) == [f"No pool can take it: {POOL} may promise 1000 GiB more."]
    assert base.accounts() == {name: amount for name, amount in account(volumes=1, gib=1001).items() if name != POOL}
    assert base.problems() == []


def test_a_volume_that_never_had_a_place_is_deleted_at_once(base: Base) -> None:
    """There is nothing that an operation could do."""
    create_volume(base, size_gib=1001)

    gone = delete(base)

    assert (gone.queue, status(base), base.accounts(), base.rows(tables.operations)) == (None, None, {}, [])


def test_a_pool_fills_up_to_its_limit_and_no_further(base: Base) -> None:
    """The next one finds no room."""
    sizes = [create_volume(base, f"v{number}", size_gib=400).queue for number in range(3)]

    assert sizes == [QUEUE, QUEUE, None]
    assert base.accounts()[POOL] == 800


def test_an_extend_without_room_leaves_the_volume_as_it_is(base: Base) -> None:
    """Answered as accepted, and a message says why nothing happened."""
    given_volume(base, size_gib=3)
    before = base.accounts()

    taken = extend(base, 1001)

    assert (taken.queue, status(base), base.accounts()) == (None, "available", before)
    assert messages(base) == [f"The volume cannot grow to 1001 GiB: pool {POOL} may promise 997 GiB more."]


@pytest.mark.parametrize("size_gib", [2, 3])
def test_a_volume_only_grows(base: Base, size_gib: int) -> None:
    """The same size is no extend."""
    given_volume(base, size_gib=3)

    with pytest.raises(BadRequest, match="must be greater than the current size of 3 GiB"):
        extend(base, size_gib)


def test_a_retype_to_the_type_that_it_has_is_refused(base: Base) -> None:
    """Nothing changes, nothing is charged."""
    given_volume(base)

    with pytest.raises(InvalidState, match="already has this type"):
        retype(base, TYPE)


def test_a_retype_that_the_pool_does_not_offer_leaves_a_message(base: Base) -> None:
    """Data is not moved."""
    base.volume_type("fast", extra_specs_json=json.dumps({"disk": "ssd"}))
    given_volume(base)
    before = base.accounts()

    taken = retype(base, "fast")

    assert (taken.queue, status(base), base.accounts()) == (None, "available", before)
    assert "does not offer disk=ssd" in messages(base)[0]


def test_a_delete_waits_for_snapshots_unless_they_go_along(base: Base) -> None:
    """Refused without cascade."""
    given_volume(base)
    given_snapshot(base)

    with pytest.raises(InvalidState, match="still has snapshots"):
        delete(base)


def test_a_cascade_is_refused_while_a_snapshot_is_under_way(base: Base) -> None:
    """It is neither available nor in error."""
    begin_snapshot(base)

    with pytest.raises(InvalidState, match="neither available nor in error"):
        delete(base, cascade=True)


def test_a_deleted_source_stays_as_a_tombstone_while_it_is_read(base: Base) -> None:
    """Deletion, reset, and a forced second one: the row stays while a line names it, and nobody sees it."""
    given_volume(base)
    delete(base)
    force_delete(base)
    running = base.claim(base.claimable()[0])
    end(base, claim=msgspec_replace(running, cancel=False))
    tombstones = [row["tombstone"] for row in base.rows(tables.volumes)]
    with pytest.raises(NotFound):
        extend(base, 9)
    accounts = base.accounts()
    end(base)

    assert (tombstones, accounts, base.rows(tables.volumes), base.accounts()) == ([True], {}, [], {})


def test_a_source_is_deleted_after_those_who_read_it(base: Base) -> None:
    """The clone stands before the deletion in the source's line."""
    given_volume(base)
    create_volume(base, "v2", size_gib=2, source_volid=V)
    delete(base)

    kinds = [end(base).kind, end(base).kind]

    assert (kinds, status(base), status(base, "v2")) == (["create_volume", "delete_volume"], None, "available")


@pytest.mark.parametrize(
    ("project", "by_class", "default", "limit"),
    [(2, 9, 9, 2), (None, 2, 9, 2), (None, None, 2, 2), (9, 2, 2, 9), (None, 9, 2, 9), (-1, 1, 1, None)],
)
def test_the_projects_limit_counts_before_the_class_and_that_before_the_default(
    base: Base, project: int | None, by_class: int | None, default: int, limit: int | None
) -> None:
    """One more than the limit is refused, in its words."""
    rows = [(tables.quotas, "project_id", "p1", project), (tables.quota_classes, "class_name", "default", by_class)]
    for table, owner, name, value in rows:
        if value is not None:
            base.add(table, **{owner: name, "resource": "gigabytes", "hard_limit": value})

    assert _largest(base, default) == (limit or 20)


def _largest(base: Base, default: int) -> int:
    """The largest volume, up to 20 GiB, that the quota lets through."""
    fits = [size for size in range(1, 21) if _fits(base, size, default)]
    return max(fits)


def _fits(base: Base, size_gib: int, default: int) -> bool:
    try:
        with base.tx() as tx:
            wanted = new_volume(size_gib=size_gib)
            volumes.begin_create(tx, origin=origin(), wanted=wanted, quota_defaults={"gigabytes": default})
            raise Undo
    except OverQuota:
        return False
    except Undo:
        return True


class Undo(Exception):
    """Take the transaction back."""


def test_over_quota_leaves_nothing(base: Base) -> None:
    """Neither a volume nor a charge nor an allocation."""
    with pytest.raises(OverQuota, match="requested 5, in use 0, limit 4"):
        base.run(volumes.begin_create, origin=origin(), wanted=new_volume(size_gib=5), quota_defaults={"gigabytes": 4})

    assert (base.accounts(), base.rows(tables.volumes)) == ({}, [])


def test_a_projects_limit_of_one_volume_counts_for_growing_too(base: Base) -> None:
    """per_volume_gigabytes: at the creation and at each extend."""
    given_volume(base, size_gib=3)
    base.add(tables.quotas, project_id="p1", resource="per_volume_gigabytes", hard_limit=4)

    with pytest.raises(OverQuota, match="5 GiB is larger than the limit of 4 GiB"):
        extend(base, 5)

    assert (status(base), base.accounts()) == ("available", ONE)


@every_begin
def test_what_nobody_understands_ends_in_error(base: Base, begin: Begin) -> None:
    """Parked: every resource that it held is left in a status at rest, and the accounts are those of what is there."""
    begin(base)
    claim = base.claim(base.claimable()[0])
    base.run(charges.park_unknown, claim, text="Nobody knows how.", now_us=NOW_US)

    held = {lock.resource_id for lock in claim.locks if lock.exclusive}
    assert {status(base, row_id) for row_id in held} == {"error"}
    assert (messages(base), base.rows(tables.operations), base.problems()) == (["Nobody knows how."], [], [])


# --- anything in any order --------------------------------------------------------------------------------------------


class Anything(RuleBasedStateMachine):
    """Requests, operators' words, and operations that end well, badly or cancelled, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.base = Base()
        self.base.node(ME)
        self.base.pool(total_gib=40, free_gib=40)
        self.base.volume_type("gold")
        self.count = 0
        self.running: list[Claim] = []

    def teardown(self) -> None:
        self.base.close()

    def attempt(self, f: Callable[..., Any], **values: Any) -> None:
        """A request may be refused; then it has done nothing."""
        try:
            self.base.run(f, **values)
        except Rejected:
            return

    def ids(self, table: Any) -> list[str]:
        return sorted(row["id"] for row in self.base.rows(table) if not row["tombstone"])

    def some(self, table: Any, number: int) -> str:
        ids = self.ids(table) or ["nobody"]
        return ids[number % len(ids)]

    def volume(self, number: int) -> VolumeId:
        return VolumeId(self.some(tables.volumes, number))

    def snapshot(self, number: int) -> SnapshotId:
        return SnapshotId(self.some(tables.snapshots, number))

    def fresh(self) -> str:
        self.count += 1
        return f"r{self.count}"

    def asked(self) -> Any:
        return origin(
            is_admin=True, operation_id=f"o{self.count}-{len(self.base.rows(tables.operation_log))}-{self.fresh()}"
        )

    @initialize()
    def begin_with_some(self) -> None:
        """Two volumes and a snapshot, all at rest."""
        given_volume(self.base, "v1", size_gib=1)
        given_volume(self.base, "v2", size_gib=2)
        given_snapshot(self.base, "s1", "v1")

    @rule(size=st.integers(1, 3), source=st.sampled_from(["none", "volume", "snapshot"]), n=st.integers(0, 9))
    def create(self, size: int, source: str, n: int) -> None:
        values: dict[str, Any] = {"size_gib": size}
        values |= {"source_volid": self.volume(n)} if source == "volume" else {}
        values |= {"snapshot_id": self.snapshot(n)} if source == "snapshot" else {}
        wanted = new_volume(self.fresh(), **values)
        limits = {"gigabytes": 30, "volumes": 4}
        self.attempt(volumes.begin_create, origin=self.asked(), wanted=wanted, quota_defaults=limits)

    @rule(n=st.integers(0, 9), force=st.booleans())
    def take_snapshot(self, n: int, force: bool) -> None:
        wanted = new_snapshot(self.fresh(), self.volume(n), force=force)
        self.attempt(snapshots.begin_create, origin=self.asked(), wanted=wanted, quota_defaults={"gigabytes": 30})

    @rule(n=st.integers(0, 9), more=st.integers(0, 3))
    def grow(self, n: int, more: int) -> None:
        sizes = {row["id"]: row["size_gib"] for row in self.base.rows(tables.volumes)}
        volume_id = self.volume(n)
        values = {
            "volume_id": volume_id,
            "size_gib_new": sizes.get(volume_id, 0) + more,
            "quota_defaults": {"gigabytes": 30},
        }
        self.attempt(volume_changes.begin_extend, origin=self.asked(), **values)

    @rule(n=st.integers(0, 9), name=st.sampled_from([TYPE, "gold"]))
    def change_type(self, n: int, name: str) -> None:
        values: dict[str, Any] = {"new_type": name, "migration_policy": "never", "quota_defaults": UNLIMITED}
        self.attempt(volume_changes.begin_retype, origin=self.asked(), volume_id=self.volume(n), **values)

    @rule(n=st.integers(0, 9))
    def go_back(self, n: int) -> None:
        of = {row["id"]: row["volume_id"] for row in self.base.rows(tables.snapshots)}
        snapshot_id = self.snapshot(n)
        values = {"volume_id": VolumeId(of.get(snapshot_id, "nobody")), "snapshot_id": snapshot_id}
        self.attempt(volume_changes.begin_revert, origin=self.asked(), **values)

    @rule(n=st.integers(0, 9), cascade=st.booleans(), force=st.booleans())
    def remove(self, n: int, cascade: bool, force: bool) -> None:
        begin = volumes.begin_force_delete if force else volumes.begin_delete
        self.attempt(begin, origin=self.asked(), volume_id=self.volume(n), cascade=cascade)

    @rule(n=st.integers(0, 9), force=st.booleans())
    def remove_snapshot(self, n: int, force: bool) -> None:
        begin = snapshots.begin_force_delete if force else snapshots.begin_delete
        self.attempt(begin, origin=self.asked(), snapshot_id=self.snapshot(n))

    @rule(n=st.integers(0, 9), to=st.sampled_from(["available", "error", "in-use"]))
    def say(self, n: int, to: str) -> None:
        values = {"status": to, "attach_status": None, "migration_status": None}
        self.attempt(volume_changes.reset_status, origin=self.asked(), volume_id=self.volume(n), **values)

    @rule(n=st.integers(0, 9), to=st.sampled_from(["available", "error"]))
    def say_of_snapshot(self, n: int, to: str) -> None:
        self.attempt(snapshots.reset_status, origin=self.asked(), snapshot_id=self.snapshot(n), status=to)

    @rule(n=st.integers(0, 9))
    def begin_work(self, n: int) -> None:
        running = {claim.operation_id for claim in self.running}
        free = [id_ for id_ in self.base.claimable() if id_ not in running]
        if free:
            self.running.append(self.base.claim(free[n % len(free)]))

    @rule(how=st.lists(st.sampled_from(["done", "failed"]), min_size=1, max_size=4))
    def work_for_a_while(self, how: list[str]) -> None:
        """Most of what is asked for comes to its end before the next request."""
        for one in how:
            self.begin_work(0)
            self.end_work(-1, one)

    @rule(n=st.integers(0, 9))
    def finish_one(self, n: int) -> None:
        self.begin_work(n)
        self.end_work(n, "done")

    @rule(n=st.integers(0, 9))
    def fail_one(self, n: int) -> None:
        self.begin_work(n)
        self.end_work(n, "failed")

    @rule(n=st.integers(0, 9), how=st.sampled_from(["done", "failed", "cancelled"]))
    def end_work(self, n: int, how: str) -> None:
        if not self.running:
            return
        claim = self.running.pop(n % len(self.running))
        if claim.cancel or (how == "cancelled" and self.base.row(tables.operations, claim.operation_id)["cancel"]):
            end(self.base, claim=claim, failure=CANCELLED)
        else:
            end(self.base, claim=claim, failure=BROKEN if how == "failed" else None)

    @invariant()
    def sums_are_usage(self) -> None:
        """Every contradiction between the tables, the accounts first of all, also as nodes look at them."""
        assert (self.base.problems(), self.base.run(accounts.differences, "p1")) == ([], [])


Anything.TestCase.settings = settings(
    max_examples=20 if urls() and not PROOF else 60, stateful_step_count=40, deadline=None
)
TestAnything = Anything.TestCase


def test_what_was_left_over_is_refunded_to_the_last_gib(base: Base) -> None:
    """A volume's whole life, and at its end every account is at zero."""
    base.volume_type("gold")
    given_volume(base, size_gib=3)
    extend(base, 5)
    end(base)
    retype(base, "gold")
    end(base)
    given_snapshot(base)
    revert(base)
    end(base)
    delete(base, cascade=True)
    end(base)

    assert (base.accounts(), base.problems()) == ({}, [])


def test_cancelling_a_queued_delete_leaves_the_volume_to_the_operator(base: Base) -> None:
    """A reset of what waits to be deleted: it is not deleted."""
    given_volume(base, size_gib=3)
    delete(base)
    reset(base)
    end(base)

    assert (status(base), base.accounts(), base.problems()) == ("available", ONE, [])
    assert base.run(queue.someone_waits, resource_id=V) is False
