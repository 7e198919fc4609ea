"""Failing a backend over: one operation decides for all nodes, and may die anywhere on the way."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from tests.drivers.guards import CrashAt
from tests.store.failing_over import S1, V1, V2, Site, bury, dies, given_storage, reset
from tests.store.given import ME, NOW_US, OTHER, QUEUE, create_snapshot, create_volume, in_virtual_time, origin

from breezeblock.protocol import queue
from breezeblock.protocol.queue import NothingWon
from breezeblock.resources import services, volume_changes, volumes
from breezeblock.resources.backends import backend_id
from breezeblock.resources.charges import park_unknown
from breezeblock.store import tables
from breezeblock.testing.replicating import DEFAULT, SECONDARY

# --- what a failover does -----------------------------------------------------------------------------------------------


def test_later_claims_work_on_the_target(site: Site) -> None:
    """What is created then is there and not on the backend that is configured; nobody was told."""

    async def story() -> None:
        await given_storage(site)
        site.fail_over()
        await site.perform(site.claim())
        site.base.change(tables.pools, "c@b#p", enabled=True)
        create_volume(site.base, "11111111-0000-4000-8000-000000000003")
        claim = site.claim(OTHER)
        await site.perform(claim)

        assert (claim.target, claim.generation) == (SECONDARY, 2)
        assert await site.has(SECONDARY, tables.volumes, claim.resource_id)
        assert not await site.has(DEFAULT, tables.volumes, claim.resource_id)

    in_virtual_time(story())
    assert site.backend == ("failed-over", SECONDARY)


def test_what_is_not_there_is_in_error_until_it_is_again(site: Site) -> None:
    """It keeps what it was; its owner is told; only force deletes it meanwhile."""

    async def story() -> None:
        await given_storage(site)
        site.fail_over(SECONDARY)
        await site.perform(site.claim())

    in_virtual_time(story())

    assert (site.status(V1), site.status(V2), site.status(S1, tables.snapshots)) == ("available", "error", "available")
    (message,) = site.base.rows(tables.messages)
    assert (message["resource_id"], message["project_id"]) == (V2, "p1")
    with pytest.raises(Exception, match="not on the storage"):
        site.base.run(volumes.begin_delete, origin=origin(), volume_id=V2, cascade=False)

    site.fail_over(DEFAULT)
    in_virtual_time(site.perform(site.claim()))

    assert (site.status(V2), site.base.row(tables.volumes, V2)["replication_status"]) == ("available", None)
    assert site.backend == ("enabled", None)


def test_an_operators_error_is_not_taken_back(site: Site) -> None:
    """Only what the failover has put into `error` returns from it."""

    async def story() -> None:
        await given_storage(site)
        reset(site, V1, "error")
        site.fail_over()
        await site.perform(site.claim())
        site.fail_over(DEFAULT)
        await site.perform(site.claim())

    in_virtual_time(story())

    assert (site.status(V1), site.status(V2)) == ("error", "available")


def test_what_was_written_meanwhile_is_there_after_the_failback(site: Site) -> None:
    """The array brings it back before the configured backend is used again."""

    async def story() -> None:
        await given_storage(site)
        site.fail_over()
        await site.perform(site.claim())
        create_snapshot(site.base, "22222222-0000-4000-8000-000000000002", V1)
        await site.perform(site.claim())
        site.fail_over(DEFAULT)
        await site.perform(site.claim())

        assert await site.has(DEFAULT, tables.snapshots, "22222222-0000-4000-8000-000000000002")

    in_virtual_time(story())
    assert {row["status"] for row in site.base.rows(tables.snapshots)} == {"available"}


def test_new_volumes_wait_for_an_operators_word_while_it_is_failed_over(site: Site) -> None:
    """They would not be on the configured backend after the failback."""

    async def story() -> tuple[bool, bool]:
        await given_storage(site)
        site.fail_over()
        await site.perform(site.claim())
        meanwhile = site.base.rows(tables.pools)[0]["enabled"]
        site.fail_over(DEFAULT)
        await site.perform(site.claim())
        return meanwhile, site.base.rows(tables.pools)[0]["enabled"]

    assert in_virtual_time(story()) == (False, True)


# --- while it is under way ------------------------------------------------------------------------------------------------


def test_nothing_else_is_claimed_from_the_request_on(site: Site) -> None:
    """Neither what waits nor what is marked as a node's; the failover itself is."""

    async def story() -> queue.Claim:
        await given_storage(site)
        create_snapshot(site.base, "22222222-0000-4000-8000-000000000002", V1)
        site.claim(OTHER)
        create_snapshot(site.base, "22222222-0000-4000-8000-000000000003", V1)
        site.fail_over()
        with pytest.raises(NothingWon):
            site.base.run(
                queue.claim,
                wanted=site.base.run(queue.owned, incarnation=OTHER),
                incarnation=OTHER,
                now_us=NOW_US,
            )
        return site.claim()

    assert in_virtual_time(story()).kind == "failover_backend"


def test_other_backends_go_on(site: Site) -> None:
    site.fail_over()
    job = queue.Job("copy", 1, "c@other", "volume", "v9", {})
    id_ = site.base.enqueue(queue.Lock("v9", 1, exclusive=True), job=job)

    found = site.base.run(queue.claimable, queue="c@other", kinds={"copy": 1}, most=1, attempts=range(9))
    (claimed,) = site.base.run(queue.claim, wanted=found, incarnation=ME, now_us=NOW_US)

    assert (claimed.operation_id, claimed.target, claimed.generation) == (id_, None, 0)


def test_who_works_on_the_old_target_has_lost_its_operation(site: Site) -> None:
    """It stops at its next save, and is taken up again on the new target, from the beginning and under a new name."""

    async def story() -> None:
        await given_storage(site)
        create_volume(site.base, "11111111-0000-4000-8000-000000000003", source_volid=V1)
        before = site.claim(OTHER)
        await dies(site.perform(before, commits=1))  # it has saved under which name it makes its copy
        site.fail_over()
        await site.perform(site.claim())
        assert await site.lost(before)
        after = site.claim(OTHER)
        await site.perform(after)

        row = site.base.row(tables.volumes, after.resource_id)
        assert (after.epoch > before.epoch, after.target) == (True, SECONDARY)
        assert row["object_name"].endswith(f".{after.epoch}")
        assert await site.has(SECONDARY, tables.volumes, after.resource_id)

    in_virtual_time(story())
    assert {row["status"] for row in site.base.rows(tables.volumes)} == {"available", "error"}  # V2 is not there


def test_what_fails_on_a_dying_storage_is_no_failed_operation(site: Site) -> None:
    """Its error comes when the operation is not its own any more; the new target does the work."""

    async def story() -> None:
        await given_storage(site)
        words: Any = {"volume_id": V1, "size_gib_new": 2, "quota_defaults": {}}
        site.base.run(volume_changes.begin_extend, origin=origin(), **words)
        before = site.claim(OTHER)
        site.array.fail(DEFAULT)
        site.fail_over()
        await dies(site.perform(site.claim(), commits=1))  # others are revoked, the storage is not switched yet
        assert await site.lost(before)
        bury(site)
        await site.perform(site.claim(OTHER))
        await site.perform(site.claim(OTHER))

    in_virtual_time(story())
    assert (site.status(V1), site.base.row(tables.volumes, V1)["size_gib"]) == ("available", 2)
    assert ("extend_volume", "done") in site.outcomes()


def test_a_dead_primary_does_not_hinder(site: Site) -> None:
    async def story() -> None:
        await given_storage(site)
        site.array.fail(DEFAULT)
        site.fail_over()
        await site.perform(site.claim())

    in_virtual_time(story())

    assert (site.backend, site.status(V1)) == (("failed-over", SECONDARY), "available")


# --- when it goes wrong -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("commits", range(1, 9))
def test_it_may_die_between_any_two_transactions(site: Site, commits: int) -> None:
    """Another node ends it, once; and while nobody does, the queue stays closed."""

    async def story() -> None:
        await given_storage(site)
        site.fail_over()
        await dies(site.perform(site.claim(), commits=commits))
        assert (site.backend[0], site.base.problems()) == ("failing-over", [])
        bury(site)
        await site.perform(site.claim(OTHER))

        assert await site.has(SECONDARY, tables.volumes, V1)

    in_virtual_time(story())
    assert site.backend == ("failed-over", SECONDARY)
    assert (site.status(V1), site.status(V2)) == ("available", "error")
    assert len(site.base.rows(tables.messages)) == 1
    assert site.outcomes().count(("failover_backend", "done")) == 1
    assert site.base.problems() == []


def test_its_answer_may_be_lost(site: Site) -> None:
    """Its process dies right after the Finish: there is nothing left to do."""

    async def story() -> None:
        await given_storage(site)
        site.fail_over()
        await dies(site.perform(site.claim(), commits=9))

    in_virtual_time(story())
    assert (site.backend, site.base.rows(tables.operations)) == (("failed-over", SECONDARY), [])


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("effect", [1, 2])
@pytest.mark.parametrize("target", [SECONDARY, DEFAULT])
def test_it_may_die_in_the_storage_call(site: Site, target: str, effect: int, after: bool) -> None:
    """Half-way between two sides: whoever repeats it brings it to its end."""

    async def story() -> None:
        await given_storage(site)
        site.array.switch(SECONDARY if target == DEFAULT else DEFAULT, number=site.array.begin_failover())
        was = {"active_backend_id": SECONDARY, "replication_status": "failed-over"} if target == DEFAULT else {}
        site.base.change(tables.backends, backend_id(QUEUE), **was, frozen=False)
        site.fail_over(target)
        await dies(site.perform(site.claim(), guard=CrashAt(effect, after=after)))
        bury(site)
        await site.perform(site.claim(OTHER))

    in_virtual_time(story())
    assert (site.array.active, site.status(V1)) == (target, "available")
    assert site.base.problems() == []


def test_a_failed_one_leaves_the_backend_where_it_was(site: Site) -> None:
    """In `error`, open again, with a message; and it can be repeated."""

    async def story() -> None:
        await given_storage(site)
        site.array.fail(SECONDARY)
        site.fail_over()
        await site.perform(site.claim())
        create_snapshot(site.base, "22222222-0000-4000-8000-000000000002", V1)
        claim = site.claim()
        await site.perform(claim)
        assert (site.backend, claim.target) == (("error", None), None)

        site.array.repair(SECONDARY)
        site.fail_over()
        await site.perform(site.claim())

    in_virtual_time(story())
    assert site.backend == ("failed-over", SECONDARY)
    assert [row["event_id"] for row in site.base.rows(tables.messages)].count("failover_backend") == 2  # and V2's
    assert [outcome for kind, outcome in site.outcomes() if kind == "failover_backend"] == ["done", "failed"]


def test_a_queue_that_is_closed_for_nobody_is_found(site: Site) -> None:
    """`db check` says so."""
    site.base.change(tables.backends, backend_id(QUEUE), replication_status="failing-over")

    assert site.base.problems() == ["Backend c@b is failing over, but no operation works on it."]


def test_one_that_nobody_can_run_does_not_close_the_queue_for_ever(site: Site) -> None:
    site.fail_over()

    site.base.run(park_unknown, site.claim(), text="Nobody understands it.", now_us=NOW_US)

    assert site.backend == ("error", None)


# --- with whole workers -----------------------------------------------------------------------------------------------------


@pytest.fixture
def empty() -> Iterator[Site]:
    made = Site()
    yield made
    made.base.close()


def test_workers_whose_slots_all_hang_fail_over(empty: Site) -> None:
    """Calls to a dead storage fill every slot and never return; the volumes are made on the other side all the same."""
    ids = [f"11111111-0000-4000-8000-00000000000{n}" for n in range(1, 5)]

    async def story() -> None:
        empty.start("node-1", slots=2)
        empty.start("node-2", slots=2)
        await empty.until(lambda: bool(empty.base.rows(tables.pools)))
        empty.array.hang(DEFAULT)
        for id_ in ids:
            create_volume(empty.base, id_)
        await empty.until(lambda: all(row["owner"] for row in empty.base.rows(tables.operations)))
        empty.fail_over()
        await empty.until(lambda: not empty.base.rows(tables.operations))
        there = [await empty.has(SECONDARY, tables.volumes, id_) for id_ in ids]
        empty.array.repair(DEFAULT)  # what hung goes on, and finds out
        await asyncio.sleep(60.0)

        assert there == [True, True, True, True]

    in_virtual_time(story())
    assert empty.backend == ("failed-over", SECONDARY)
    assert [empty.status(id_) for id_ in ids] == ["available"] * 4
    assert empty.outcomes() == [("create_volume", "done")] * 4 + [("failover_backend", "done")]


def test_after_a_failed_one_nobody_works_beside_a_call_that_hangs(empty: Site) -> None:
    """The backend stays where it was: its operation goes on when the old call has ended, and leaves nothing behind."""

    async def story() -> None:
        empty.start("node-1")
        await empty.until(lambda: bool(empty.base.rows(tables.pools)))
        empty.array.hang(DEFAULT)
        create_volume(empty.base, V1)
        await empty.until(lambda: bool(empty.base.rows(tables.operations)[0]["owner"]))
        empty.array.fail(SECONDARY)
        empty.fail_over()
        await empty.until(lambda: empty.backend == ("error", None))
        await asyncio.sleep(60.0)
        assert empty.status(V1) == "creating"
        empty.array.repair(DEFAULT)
        await empty.until(lambda: empty.status(V1) == "available")
        await asyncio.sleep(60.0)

        assert await empty.names() == [empty.base.row(tables.volumes, V1)["object_name"]]

    in_virtual_time(story())
    assert empty.outcomes() == [("create_volume", "done"), ("failover_backend", "failed")]


def test_a_worker_that_starts_later_finds_the_target(empty: Site) -> None:
    """The configured backend is dead by then; the worker reports and works all the same."""

    async def story() -> None:
        empty.start("node-1")
        await empty.until(lambda: bool(empty.base.rows(tables.pools)))
        empty.array.fail(DEFAULT)
        empty.fail_over()
        await empty.until(lambda: empty.backend[0] == "failed-over")
        words: Any = {"name": QUEUE, "binary": "cinder-volume", "disabled": False, "reason": None}
        empty.base.run(services.set_cluster, origin=origin(is_admin=True), **words)
        empty.base.change(tables.pools, "c@b#p", free_gib=0)
        empty.start("node-2")
        await empty.until(lambda: empty.base.rows(tables.pools)[0]["free_gib"] > 0)
        create_volume(empty.base, V1)
        await empty.until(lambda: empty.status(V1) == "available")

    in_virtual_time(story())


# --- words of operators -----------------------------------------------------------------------------------------------------


def say(site: Site, host: str, *, disabled: bool) -> None:
    words: Any = {"binary": "cinder-volume", "host": host, "disabled": disabled, "reason": None, "own_cluster": "c"}
    site.base.run(services.set_service, origin=origin(is_admin=True), **words)


def test_a_disabled_node_still_finishes_its_work(empty: Site) -> None:
    """It only takes no new volumes: what it holds is snapshot, extended and deleted as ever."""

    async def story() -> None:
        empty.start("node-1")
        await empty.until(lambda: bool(empty.base.rows(tables.pools)))
        create_volume(empty.base, V1)
        say(empty, "node-1@b", disabled=True)
        await empty.until(lambda: empty.status(V1) == "available")
        create_snapshot(empty.base, S1, V1)
        await empty.until(lambda: not empty.base.rows(tables.operations))
        empty.base.run(volumes.begin_delete, origin=origin(), volume_id=V1, cascade=True)
        create_volume(empty.base, V2)
        await empty.until(lambda: not empty.base.rows(tables.operations))

    in_virtual_time(story())
    assert [(row["id"], row["status"]) for row in empty.base.rows(tables.volumes)] == [(V2, "error")]


def test_a_node_that_comes_later_obeys_the_words_about_its_service(empty: Site) -> None:
    """All others are disabled: with it, the backend takes new volumes again."""

    def enabled() -> bool:
        return bool(empty.base.rows(tables.pools)[0]["enabled"])

    async def story() -> None:
        empty.start("node-1")
        await empty.until(lambda: bool(empty.base.rows(tables.pools)))
        say(empty, "node-1@b", disabled=True)
        assert not enabled()
        empty.start("node-2")
        await empty.until(enabled)

    in_virtual_time(story())
