"""A failover is what gets a backend out of trouble: nothing that is in trouble may keep nodes from it."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace

import pytest
from tests.store.failing_over import V1, Site
from tests.store.given import ME, NOW_US, QUEUE, create_volume, in_virtual_time, origin

from breezeblock.resources import volume_changes
from breezeblock.resources.backends import backend_id
from breezeblock.resources.charges import park_unknown
from breezeblock.store import tables
from breezeblock.testing.replicating import DEFAULT, SECONDARY


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    site.given_backend()
    yield site
    site.base.close()


def test_a_worker_that_starts_while_the_storage_hangs_fails_it_over(site: Site) -> None:
    async def story() -> None:
        await site.initialise()
        site.array.hang(DEFAULT)
        site.start("node-1")
        await asyncio.sleep(5)
        site.fail_over(SECONDARY)
        await site.until(lambda: site.backend[0] == "failed-over", within_s=60)

    in_virtual_time(story())


def test_a_worker_that_runs_something_alone_which_hangs_fails_over_all_the_same(site: Site) -> None:
    """It is suspected to bring nodes down, and hangs: nothing else is claimed but this."""

    async def story() -> None:
        await site.initialise()
        site.array.hang(DEFAULT)
        create_volume(site.base, V1)
        (operation,) = site.base.rows(tables.operations)
        site.base.change(tables.operations, operation["id"], attempt=4)
        site.start("node-1")
        await asyncio.sleep(30)
        site.fail_over(SECONDARY)
        await site.until(lambda: site.backend[0] == "failed-over", within_s=120)

    in_virtual_time(story())


def test_a_node_that_does_not_know_the_target_leaves_its_operations_to_others(site: Site) -> None:
    async def story() -> None:
        await site.initialise()
        site.base.change(
            tables.backends, backend_id(QUEUE), active_backend_id="third", replication_status="failed-over"
        )
        site.start("node-1")
        create_volume(site.base, V1)
        await asyncio.sleep(30)
        assert site.status(V1) == "creating"
        assert len(site.base.rows(tables.operations)) == 1

    in_virtual_time(story())


def test_what_was_never_made_is_not_available_after_its_creation_was_given_up(site: Site) -> None:
    """An operator's `available` stands while somebody makes it; when nobody does any more, it is a lie."""

    site.base.node(ME)

    async def story() -> None:
        await site.initialise()
        create_volume(site.base, V1)
        word = {"status": "available", "attach_status": None, "migration_status": None}
        site.base.run(volume_changes.reset_status, origin=origin(is_admin=True), volume_id=V1, **word)
        site.base.run(park_unknown, site.claim(), text="nobody understands it", now_us=NOW_US)
        assert site.status(V1) == "error"

    in_virtual_time(story())


def test_a_failover_that_is_given_up_after_the_switch_leaves_the_queue_where_its_storage_is(site: Site) -> None:
    site.base.node(ME)

    async def story() -> None:
        await site.initialise()
        site.fail_over(SECONDARY)
        claim = site.claim()
        switched = replace(claim, state_json='{"switched": true}')
        site.base.run(park_unknown, switched, text="nobody understands it", now_us=NOW_US)
        assert site.backend == ("error", SECONDARY)
        assert not site.base.rows(tables.pools)[0]["enabled"], "it takes new volumes only by an operator's word"

    in_virtual_time(story())
