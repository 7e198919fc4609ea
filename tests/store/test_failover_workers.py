"""Workers around a failover that does not go as it should: what hangs, what is not known, and what must run alone."""

import asyncio
from collections.abc import Iterator

import pytest
from tests.store.failing_over import V1, V2, Site, bury
from tests.store.given import ME, OTHER, QUEUE, create_volume, in_virtual_time, origin

from breezeblock.model.ids import VolumeId
from breezeblock.node.identity import Limits
from breezeblock.node.worker import Worker
from breezeblock.protocol import queue
from breezeblock.protocol.queue import Claim
from breezeblock.resources import volumes
from breezeblock.resources.backends import backend_id
from breezeblock.store import tables
from breezeblock.testing.replicating import DEFAULT, SECONDARY


@pytest.fixture
def site() -> Iterator[Site]:
    made = Site()
    yield made
    made.base.close()


async def given_worker(site: Site, *, ttl_s: float = 6.0, slots: int = 2) -> None:
    """One that has reported."""
    site.start("node-1", ttl_s=ttl_s, slots=slots, limits=Limits(park_after_s=60.0))
    await site.until(lambda: bool(site.base.rows(tables.pools)))


def test_a_target_that_hangs_keeps_nobody_from_going_back(site: Site) -> None:
    """Its failover ends in time, and another one is accepted."""

    async def story() -> None:
        await given_worker(site)
        create_volume(site.base, V1)
        await site.until(lambda: site.status(V1) == "available")
        site.array.hang(SECONDARY)
        site.fail_over()
        await site.until(lambda: site.backend[0] == "error", within_s=1800)
        site.fail_over(DEFAULT)
        await site.until(lambda: site.backend == ("enabled", None))
        site.base.run(volumes.begin_delete, origin=origin(), volume_id=VolumeId(V1), cascade=False)
        await site.until(lambda: not site.base.rows(tables.operations))

    in_virtual_time(story())
    assert [one for one in site.outcomes() if one[0] != "create_volume"] == [
        ("delete_volume", "done"),
        ("failover_backend", "done"),
        ("failover_backend", "failed"),
    ]


def test_who_measured_the_storage_that_hangs_measures_the_target(site: Site) -> None:
    """Placement must not go on with what the dead side said last."""

    async def story() -> None:
        await given_worker(site)
        site.array.hang(DEFAULT)
        await asyncio.sleep(30.0)
        site.fail_over()
        await site.until(lambda: site.backend == ("failed-over", SECONDARY))
        site.base.change(tables.pools, f"{QUEUE}#p", free_gib=0)
        await site.until(lambda: site.base.rows(tables.pools)[0]["free_gib"] > 0, within_s=60)

    in_virtual_time(story())


def test_a_backend_that_fails_at_the_start_is_taken_into_use_later(site: Site) -> None:
    """It is made on its first use, whichever attempt that is."""

    async def story() -> None:
        site.array.fail(DEFAULT)
        site.start("node-1")
        await asyncio.sleep(30.0)
        assert site.base.rows(tables.pools) == []
        site.array.repair(DEFAULT)
        await site.until(lambda: bool(site.base.rows(tables.pools)), within_s=60)

    in_virtual_time(story())


def test_what_waits_for_a_target_that_no_node_knows_is_parked(site: Site) -> None:
    """The last one that knew it is gone, or has another configuration: a delete must not wait for ever."""

    async def story() -> None:
        await given_worker(site)
        create_volume(site.base, V1)
        await site.until(lambda: site.status(V1) == "available")
        row = {"replication_status": "failed-over", "active_backend_id": "gone"}
        site.base.change(tables.backends, backend_id(QUEUE), **row)
        site.base.run(volumes.begin_delete, origin=origin(), volume_id=VolumeId(V1), cascade=False)
        await site.until(lambda: not site.base.rows(tables.operations), within_s=600)

    in_virtual_time(story())
    assert (site.status(V1), site.outcomes()[-1]) == ("error_deleting", ("delete_volume", "parked"))


def test_as_long_as_one_node_knows_the_target_nothing_is_parked(site: Site) -> None:
    """It says so, however long it has no slot for it."""

    async def story() -> None:
        await given_worker(site)
        site.base.node(OTHER)
        knows = {"incarnation": OTHER, "queue": QUEUE, "identity_json": '{"targets": "third gone"}'}
        site.base.add(tables.node_backends, **knows)
        row = {"replication_status": "failed-over", "active_backend_id": "gone"}
        site.base.change(tables.backends, backend_id(QUEUE), **row)
        create_volume(site.base, V1)
        for heartbeat in range(600):
            site.base.change(tables.nodes, OTHER, heartbeat=heartbeat + 1)
            await asyncio.sleep(0.5)
        assert site.status(V1) == "creating"

    in_virtual_time(story())


def test_what_must_run_alone_is_taken_up_alone_after_a_failover(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is suspected to bring nodes down, and would take others with it."""
    seen: list[list[int]] = []
    start = Worker._start

    def noted(self: Worker, claim: Claim) -> None:
        start(self, claim)
        seen.append([one.attempt for one in self._running.values() if one.kind != queue.FAILOVER])

    monkeypatch.setattr(Worker, "_start", noted)

    async def story() -> None:
        await given_worker(site, ttl_s=1e9, slots=4)
        site.array.hang(DEFAULT)
        create_volume(site.base, V1)
        (operation,) = site.base.rows(tables.operations)
        site.base.change(tables.operations, operation["id"], attempt=3)
        await site.until(lambda: bool(site.base.rows(tables.operations)[0]["owner"]))
        create_volume(site.base, V2)
        await asyncio.sleep(60.0)
        site.fail_over()
        await site.until(lambda: (site.status(V1), site.status(V2)) == ("available", "available"))

    in_virtual_time(story())
    assert [3] in seen and [0] in seen
    assert not [attempts for attempts in seen if len(attempts) > 1 and 3 in attempts]


def test_waiting_for_a_failover_is_no_attempt(site: Site) -> None:
    """Nothing of it was in flight when its owner died: it is no nearer to being parked."""
    site.base.node(ME)
    site.base.node(OTHER)
    site.given_backend()
    create_volume(site.base, V1)
    site.claim()
    site.fail_over()

    async def story() -> None:
        await site.initialise()
        await site.perform(site.claim(OTHER))

    in_virtual_time(story())
    bury(site)

    assert [(row["kind"], row["attempt"], row["owner"]) for row in site.base.rows(tables.operations)] == [
        ("create_volume", 0, None)
    ]
