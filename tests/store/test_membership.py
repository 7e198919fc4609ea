"""The nodes table from both sides: observers through SQLAlchemy, keepers through plain SQL."""

import asyncio
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from sqlalchemy import select
from tests.databases import urls
from tests.store.given import KINDS, ME, NOW_US, OTHER, QUEUE, Base, in_virtual_time, note

from breezeblock.env.real import RealThreads
from breezeblock.model.errors import Unavailable
from breezeblock.model.ids import Incarnation
from breezeblock.node.lease_lanes import SqliteLane
from breezeblock.node.lease_table import Executor, LeaseTable, Registration
from breezeblock.protocol import membership
from breezeblock.protocol.queue import Lock
from breezeblock.store.dialects import open_engine, sqlite_pragmas
from breezeblock.store.plain import PlainConnection
from breezeblock.store.tables import metadata, node_events, nodes, operations
from breezeblock.testing.invariants import is_quiet

T = TypeVar("T")
THIRD = Incarnation("node-3")


@pytest.fixture
def base() -> Iterator[Base]:
    base = Base()
    base.node(ME)
    yield base
    base.close()


def expire(base: Base, *, heartbeat: int = 1, fencer: Incarnation = OTHER) -> bool:
    return base.run(membership.expire, incarnation=ME, heartbeat=heartbeat, fencer=fencer, note=note())


def owned(base: Base, node: Incarnation = ME, resource: str = "v") -> str:
    """An operation that a node runs."""
    id_ = base.enqueue(Lock(resource, 1, exclusive=True))
    base.claim(id_, node)
    return id_


def state(base: Base, node: str = ME) -> tuple[str, str | None]:
    row = base.row(nodes, node)
    return row["state"], row["fencer"]


# --- expiry -----------------------------------------------------------------------------------------------------------


def test_a_silent_node_is_expired_and_its_operations_are_taken_from_it(base: Base) -> None:
    """In one transaction; they are not released before there is proof."""
    id_ = owned(base)

    assert expire(base)

    assert state(base) == ("expired", OTHER)
    row = base.row(operations, id_)
    assert (row["owner"], row["epoch"], row["claim_epoch"]) == (ME, 2, 1)


def test_a_node_whose_counter_moved_meanwhile_is_left_alone(base: Base) -> None:
    """Its renewal came between our look and our word."""
    id_ = owned(base)
    base.change(nodes, ME, heartbeat=2)

    assert not expire(base, heartbeat=1)

    assert (state(base), base.row(operations, id_)["epoch"]) == (("up", None), 1)


def test_of_two_observers_one_expires(base: Base) -> None:
    """And is the fencer; epochs rise once."""
    id_ = owned(base)

    assert [expire(base, fencer=OTHER), expire(base, fencer=THIRD)] == [True, False]
    assert (state(base), base.row(operations, id_)["epoch"]) == (("expired", OTHER), 2)


@pytest.mark.parametrize(
    ("before", "can"), [("up", True), ("draining", True), ("expired", False), ("fenced", False), ("gone", False)]
)
def test_only_the_living_can_be_expired(base: Base, before: str, can: bool) -> None:
    """By silence or by an operator's word."""
    base.change(nodes, ME, state=before)
    by_silence = expire(base)
    base.change(nodes, ME, state=before)

    assert (by_silence, base.run(membership.force_expire, incarnation=ME, now_us=NOW_US)) == (can, can)


def test_an_operators_word_leaves_the_fence_to_whoever_comes_first(base: Base) -> None:
    """It is expired without a fencer; its operations are taken from it as at any expiry."""
    id_ = owned(base)

    base.run(membership.force_expire, incarnation=ME, now_us=NOW_US)

    assert (state(base), base.row(operations, id_)["epoch"]) == (("expired", None), 2)
    assert base.run(membership.take_over_fence, incarnation=ME, was=None, me=THIRD, note=note())


# --- fencing ----------------------------------------------------------------------------------------------------------


def test_a_fence_passes_on_to_one_other_node(base: Base) -> None:
    """Whoever still finds the fencer that it saw."""
    expire(base)

    taken = [
        base.run(membership.take_over_fence, incarnation=ME, was=was, me=me, note=note())
        for was, me in ((None, THIRD), (OTHER, THIRD), (OTHER, ME))
    ]

    assert (taken, state(base)) == ([False, True, False], ("expired", THIRD))


def test_a_node_that_is_fenced_has_no_fence_to_take_over(base: Base) -> None:
    """Nor one that lives."""
    alive = base.run(membership.take_over_fence, incarnation=ME, was=None, me=OTHER, note=note())
    expire(base)
    base.run(membership.record_fenced, incarnation=ME, method="same_machine", note=note())

    assert (alive, base.run(membership.take_over_fence, incarnation=ME, was=OTHER, me=THIRD, note=note())) == (
        False,
        False,
    )


@pytest.mark.parametrize(
    ("before", "can"), [("up", False), ("draining", False), ("expired", True), ("fenced", False), ("gone", False)]
)
def test_proof_counts_for_the_expired(base: Base, before: str, can: bool) -> None:
    """A node that lives is expired first, so that its operations are taken from it."""
    base.change(nodes, ME, state=before)

    assert base.run(membership.record_fenced, incarnation=ME, method="same_machine", note=note()) is can
    assert state(base)[0] == ("fenced" if can else before)


def test_a_fence_that_failed_is_tried_by_others_after_a_pause_that_grows(base: Base) -> None:
    """One second, two, four, up to a minute; by the database's clock."""
    pauses = [_fail(base) for _ in range(9)]

    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert (state(base), base.row(nodes, ME)["fence_error"]) == (("expired", None), "no proof")


def _fail(base: Base) -> float:
    base.change(nodes, ME, state="expired", fencer=OTHER)
    base.run(membership.record_fence_failed, incarnation=ME, me=OTHER, error="no proof", note=note())
    return float(base.row(nodes, ME)["fence_after_us"] - base.now_us) / 1_000_000


def test_a_fence_is_due_when_its_pause_is_over(base: Base) -> None:
    """Read with the nodes, by the clock that all of them share."""
    expire(base)
    base.run(membership.record_fence_failed, incarnation=ME, me=OTHER, error="no proof", note=note())
    base.now_us += 999_999
    early = base.run(membership.read_nodes, cluster="c")[0].fence_due
    base.now_us += 1

    assert (early, base.run(membership.read_nodes, cluster="c")[0].fence_due) == (False, True)


def test_who_is_the_fencer_no_more_cannot_report_a_failure(base: Base) -> None:
    """Its answer came late; another node has proof by now, or tries."""
    expire(base)
    base.run(membership.take_over_fence, incarnation=ME, was=OTHER, me=THIRD, note=note())

    base.run(membership.record_fence_failed, incarnation=ME, me=OTHER, error="no proof", note=note())

    assert (state(base), base.row(nodes, ME)["fence_tries"]) == (("expired", THIRD), 0)


def test_a_failure_after_the_proof_takes_nothing_back(base: Base) -> None:
    """Two nodes tried; the one with proof was faster."""
    expire(base)
    base.run(membership.record_fenced, incarnation=ME, method="same_machine", note=note())

    base.run(membership.record_fence_failed, incarnation=ME, me=OTHER, error="no proof", note=note())

    assert state(base) == ("fenced", OTHER)


# --- the standing rules -----------------------------------------------------------------------------------------------


def housekeep(base: Base, *, now_us: int = NOW_US) -> list[str]:
    return base.run(membership.housekeeping, cluster="c", now_us=now_us)


def needed(base: Base) -> bool:
    return base.run(membership.needs_housekeeping, cluster="c")


def test_a_fenced_node_is_released_and_buried(base: Base) -> None:
    """Afterwards there is nothing left to do."""
    base.node(OTHER)
    id_ = owned(base)
    expire(base)
    base.run(membership.record_fenced, incarnation=ME, method="same_machine", note=note())
    before = needed(base)

    released = housekeep(base)

    assert (before, released, needed(base)) == (True, [QUEUE], False)
    assert (state(base)[0], base.row(operations, id_)["owner"]) == ("gone", None)
    assert (base.claimable(), state(base, OTHER)[0]) == ([id_], "up")


@pytest.mark.parametrize("before", ["up", "draining", "expired"])
def test_the_others_are_left_as_they_are(base: Base, before: str) -> None:
    """Whoever may still write keeps its operations."""
    id_ = owned(base)
    base.change(nodes, ME, state=before)

    assert (needed(base), housekeep(base)) == (False, [])
    assert (state(base)[0], base.row(operations, id_)["owner"]) == (before, ME)


def test_what_one_that_is_gone_still_owns_is_found(base: Base) -> None:
    """However it came to be: the rule stands."""
    id_ = owned(base)
    base.change(nodes, ME, state="gone", changed_at_us=0)

    assert (needed(base), housekeep(base)) == (True, [QUEUE])
    assert base.row(operations, id_)["owner"] is None


def test_the_row_of_a_node_that_is_gone_stays_for_a_while(base: Base) -> None:
    """For people to see; then it goes."""
    base.change(nodes, ME, state="gone", changed_at_us=NOW_US)
    housekeep(base, now_us=NOW_US + membership.GONE_KEPT_US)
    kept = len(base.rows(nodes))
    housekeep(base, now_us=NOW_US + membership.GONE_KEPT_US + 1)

    assert (kept, len(base.rows(nodes))) == (1, 0)


def test_clusters_in_one_database_do_not_see_each_other(base: Base) -> None:
    """Neither their nodes nor their dead."""
    base.node(OTHER, cluster="d", state="fenced")

    housekeep(base)

    assert [row.incarnation for row in base.run(membership.read_nodes, cluster="c")] == [ME]
    assert state(base, OTHER)[0] == "fenced"


def test_a_worker_announces_what_it_serves(base: Base) -> None:
    """Before it claims anything; the observers read it back."""
    base.run(
        membership.announce,
        incarnation=ME,
        identities={"c@z": {}, "c@a": {"nonce": "n"}},
        kinds={"copy": 3},
        worker_pid=7,
    )

    (row,) = base.run(membership.read_nodes, cluster="c")
    assert (row.queues, row.kinds) == (("c@a", "c@z"), {"copy": 3})
    assert (row.identities, row.fenced) == ({"c@z": {}, "c@a": {"nonce": "n"}}, frozenset())
    assert not base.run(membership.announce, incarnation=OTHER, identities={}, kinds=KINDS, worker_pid=7)


# --- the keeper's side ------------------------------------------------------------------------------------------------


class Raw:
    """The bare driver over the same database: implements `lease_table.Lane`."""

    def __init__(self, base: Base) -> None:
        self._base = base

    async def write(self, f: Callable[[Executor], T]) -> T:
        with self._base.tx() as tx:
            raw: Any = tx.connection.dbapi_connection
            if urls():
                tx.execute(select(1))  # SQLAlchemy has begun, too
                return f(PlainConnection(raw, (Exception,)))
            return f(raw)


def registration(incarnation: str = "new", **values: Any) -> Registration:
    known: dict[str, Any] = {
        "incarnation": incarnation, "name": ME, "cluster": "c", "boot_id": "b", "version": "1",
        "lock_path": "/run/new", "lock_id": "l", "keeper_pid": 2,
    }  # fmt: skip
    return Registration(**(known | values))


def test_registering_twice_is_registering_once(base: Base) -> None:
    """Its answer may be lost; a counter that moved since does not go back."""
    table = LeaseTable(Raw(base))

    async def main() -> list[bool]:
        await table.register(registration(), now_us=NOW_US)
        renewed = await table.renew("new", now_us=NOW_US + 1)
        await table.register(registration(), now_us=NOW_US + 2)
        return [renewed]

    assert in_virtual_time(main()) == [True]
    row = base.row(nodes, "new")
    assert (row["heartbeat"], row["state"], row["started_at_us"], row["renewed_at_us"]) == (2, "up", NOW_US, NOW_US + 1)


def test_what_a_keeper_registers_is_what_observers_read(base: Base) -> None:
    """The two spellings of the table agree, defaults included."""
    in_virtual_time(LeaseTable(Raw(base)).register(registration(), now_us=NOW_US))

    row = next(row for row in base.run(membership.read_nodes, cluster="c") if row.incarnation == "new")
    assert (row.name, row.state, row.heartbeat, row.fencer, row.queues, row.kinds) == (ME, "up", 1, None, (), {})
    assert (row.lock_path, row.lock_id) == ("/run/new", "l")


@pytest.mark.parametrize(
    ("before", "lives"), [("up", True), ("draining", True), ("expired", False), ("fenced", False), ("gone", False)]
)
def test_a_renewal_tells_a_node_that_it_was_expired(base: Base, before: str, lives: bool) -> None:
    """And moves no counter of the dead."""
    base.change(nodes, ME, state=before)

    assert in_virtual_time(LeaseTable(Raw(base)).renew(ME, now_us=NOW_US)) is lives
    assert base.row(nodes, ME)["heartbeat"] == 1 + lives


def test_draining_is_for_who_is_up(base: Base) -> None:
    """An expired node stays expired."""
    table = LeaseTable(Raw(base))
    in_virtual_time(table.drain(ME))
    drained = state(base)[0]
    expire(base)
    in_virtual_time(table.drain(ME))

    assert (drained, state(base)[0]) == ("draining", "expired")


@pytest.mark.parametrize("before", ["up", "draining", "expired"])
def test_burying_fences_and_takes_the_operations(base: Base, before: str) -> None:
    """Proof in hand: fenced at once, and a late write of its worker matches nothing. Twice is once."""
    id_ = owned(base)
    base.change(nodes, ME, state=before)
    table = LeaseTable(Raw(base))

    buried = [
        in_virtual_time(table.bury(ME, now_us=NOW_US, event_id=str(uuid.uuid4()), detail="gone")) for _ in range(2)
    ]

    assert (buried, state(base)[0]) == ([True, False], "fenced")
    assert [(row["node"], row["cluster"], row["event"], row["detail"]) for row in base.rows(node_events)] == [
        (ME, "c", "fenced", "gone")
    ]
    assert (base.row(operations, id_)["epoch"], base.row(operations, id_)["owner"]) == (2, ME)


# --- the keeper's lane ------------------------------------------------------------------------------------------------


@pytest.fixture
def path(tmp_path: Path) -> str:
    path = str(tmp_path / "test.db")
    with open_engine(f"sqlite:///{path}", now_us=lambda: 0).connect() as connection:
        metadata.create_all(connection)
    return path


def test_the_keepers_own_lane_works_on_the_real_file(path: str) -> None:
    """The bare driver, its thread and its turnstile."""
    threads = RealThreads(max_threads=2)

    async def main() -> list[bool]:
        table = LeaseTable(SqliteLane(path, threads, sqlite_pragmas()))
        await table.register(registration(), now_us=NOW_US)
        return [
            await table.renew("new", now_us=NOW_US),
            await table.bury("new", now_us=NOW_US, event_id=str(uuid.uuid4()), detail="gone"),
        ]

    assert asyncio.run(main()) == [True, True]
    threads.close()


def test_a_keepers_lane_that_failed_opens_the_database_anew(path: str) -> None:
    """One error for everything, and the next call begins from the start."""
    threads = RealThreads(max_threads=1)

    async def main() -> int:
        lane = SqliteLane(path, threads, sqlite_pragmas())
        with pytest.raises(Unavailable):
            await lane.write(lambda tx: tx.execute("SELECT nothing", ()))
        return int((await lane.write(lambda tx: tx.execute("SELECT 7", ()).fetchall()))[0][0])

    assert asyncio.run(main()) == 7
    threads.close()


def test_a_keeper_may_leave_while_it_renews(path: str) -> None:
    """SIGTERM comes while a renewal is under way: draining and renewing are on two threads then, and both must count."""
    threads = RealThreads(max_threads=2)
    begun, waiting = threading.Event(), threading.Event()

    def slowly(tx: Executor) -> str:
        begun.set()
        waiting.wait(0.3)
        return "renewed"

    async def main() -> list[Any]:
        lane = SqliteLane(path, threads, sqlite_pragmas())
        renewal = asyncio.ensure_future(lane.write(slowly))
        await asyncio.to_thread(begun.wait, 5)
        drain = asyncio.ensure_future(lane.write(lambda tx: "drained"))
        return list(await asyncio.gather(renewal, drain, return_exceptions=True))

    assert asyncio.run(main()) == ["renewed", "drained"]
    threads.close()


# --- quiet ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("state", "queues", "expected"), [
    ("up", "[]", False), ("draining", "[]", False), ("up", '["c@b"]', True), ("gone", "[]", True), ("expired", "[]", False),
])  # fmt: skip
def test_a_simulated_cluster_is_quiet_only_when_nobody_starts(
    base: Base, state: str, queues: str, expected: bool
) -> None:
    """Who has not said yet what it serves may still find work; one that is lost, or not fenced yet, is another matter."""
    base.node(OTHER, state=state, queues_json=queues)

    assert base.run(is_quiet) is expected
