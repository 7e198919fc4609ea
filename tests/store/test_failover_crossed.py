"""What a failover crosses: a revert, a deletion, a node that starts, a freeze; and where it leaves what it does not end."""

from collections.abc import Callable
from typing import Any

import pytest
from tests.drivers.guards import WithoutLocks
from tests.store.failing_over import S1, V1, V2, Page, Site, bury, dies, given_storage, reset
from tests.store.given import NOW_US, OTHER, QUEUE, create_snapshot, in_virtual_time, origin

from breezeblock.drivers.contract import ObjectName
from breezeblock.model.errors import InvalidState
from breezeblock.model.ids import SnapshotId, VolumeId
from breezeblock.node.gate import Gate
from breezeblock.protocol import queue, recovery
from breezeblock.resources import backend_changes, services, snapshots, volume_changes, volumes
from breezeblock.resources.backends import end_forgotten_failovers, has_forgotten_failover
from breezeblock.store import tables
from breezeblock.testing.replicating import DEFAULT, SECONDARY


def test_a_queue_that_is_closed_for_nobody_is_opened_again(site: Site) -> None:
    """The failover was ended by a release that knows no failover, and left the queue closed."""
    site.fail_over()
    assert not site.base.run(has_forgotten_failover)
    assert site.base.run(end_forgotten_failovers, now_us=NOW_US) == []
    assert site.backend[0] == "failing-over"
    claim = site.claim()
    site.base.run(queue.close, claim, outcome="parked", detail=None, now_us=NOW_US)

    assert site.base.run(has_forgotten_failover)
    assert site.base.run(end_forgotten_failovers, now_us=NOW_US) == [QUEUE]
    assert (site.backend, site.base.problems()) == (("error", None), [])
    assert not site.base.run(has_forgotten_failover)
    site.fail_over()
    assert site.claim().generation == claim.generation + 1


@pytest.mark.parametrize(("target", "shown", "takes_new"), [(SECONDARY, SECONDARY, False), (DEFAULT, None, True)])
def test_one_that_fails_after_the_storage_has_moved_goes_with_it(
    site: Site, target: str, shown: str | None, takes_new: bool
) -> None:
    """The side that was in use dies while it is looked for what is there; later claims work where the storage is."""

    async def story() -> None:
        await given_storage(site)
        if target == DEFAULT:
            site.fail_over(SECONDARY)
            await site.perform(site.claim())
        site.fail_over(target)
        await dies(site.perform(site.claim(), commits=4))  # the storage has moved, and that is saved
        site.array.fail(target)
        bury(site)
        await site.perform(site.claim(OTHER))
        site.array.repair(target)
        create_snapshot(site.base, "22222222-0000-4000-8000-000000000002", V1)
        claim = site.claim(OTHER)
        await site.perform(claim)

        assert (claim.target, site.backend) == (shown, ("error", shown))
        assert await site.has(target, tables.snapshots, claim.resource_id)

    in_virtual_time(story())
    assert ("failover_backend", "failed") in site.outcomes()
    assert bool(site.base.rows(tables.pools)[0]["enabled"]) == takes_new


def test_a_node_that_has_not_announced_itself_yet_is_waited_for(site: Site) -> None:
    """It may be of a release that knows no failover, and serve the backend in a moment."""
    site.base.node("starting", queues_json="[]", kinds_json="{}")
    site.base.node("elsewhere", queues_json="[]", kinds_json="{}", cluster="c2")
    with pytest.raises(InvalidState, match=r"^starting cannot fail over yet: starting"):
        site.fail_over()
    assert site.backend[0] == "enabled"

    before = site.base.row(tables.nodes, "starting")["claims"]
    site.base.change(tables.nodes, "starting", kinds_json='{"copy": 1}')
    site.fail_over()

    after = {row["incarnation"]: row["claims"] for row in site.base.rows(tables.nodes)}
    assert (after["starting"], after["elsewhere"]) == (before + 1, before)


# --- what is under way on a volume ------------------------------------------------------------------------------------------


async def given_half_reverted(site: Site, *, commits: int) -> None:
    """From here on the mirror knows nothing new of the volume, and its revert's process dies; then the storage moves."""
    await given_storage(site)
    site.local.add(V1)
    site.base.run(volume_changes.begin_revert, origin=origin(), volume_id=VolumeId(V1), snapshot_id=SnapshotId(S1))
    await dies(site.perform(site.claim(), commits=commits))
    bury(site)
    site.fail_over()
    await site.perform(site.claim(OTHER))


@pytest.mark.parametrize("again", [1, 2])
@pytest.mark.parametrize(("commits", "step"), [(1, None), (2, "publish_copy"), (3, "publish_copy")])
def test_a_revert_publishes_only_what_was_made_on_the_storage_in_use(
    site: Site, commits: int, step: str | None, again: int
) -> None:
    """Its copy, published or not yet, is on the storage that was left: it is made once more, and whole.

    So also when the next node dies in the middle of it.
    """

    async def story() -> None:
        await given_half_reverted(site, commits=commits)
        assert site.base.rows(tables.operations)[0]["step"] == step
        if step is not None:
            await dies(site.perform(site.claim(OTHER), commits=again))
            site.base.change(tables.nodes, OTHER, state="gone")
            site.base.run(recovery.release_dead)
        await site.perform(site.claim(site.base.node("node-3")))

        assert await site.has(SECONDARY, tables.volumes, V1)
        assert len([name for name in await site.names() if name.startswith(V1)]) == 1

    in_virtual_time(story())
    assert (site.status(V1), site.base.row(tables.volumes, V1)["replication_status"]) == ("available", None)
    assert ("revert_volume", "done") in site.outcomes()


@pytest.mark.parametrize("switches", [True, False])
def test_a_published_revert_never_removes_what_it_has_published(site: Site, switches: bool) -> None:
    """Its copy is the volume by now, on both sides: whether a failover has moved the storage since, or has failed."""

    async def story() -> None:
        await given_storage(site)
        site.base.run(volume_changes.begin_revert, origin=origin(), volume_id=VolumeId(V1), snapshot_id=SnapshotId(S1))
        await dies(site.perform(site.claim(), commits=3))
        bury(site)
        published = site.base.row(tables.volumes, V1)["object_name"]
        if not switches:
            site.array.fail(SECONDARY)
        site.fail_over()
        await site.perform(site.claim(OTHER))
        if switches:  # a second copy could not be made
            snapshot = ObjectName.parse(site.base.row(tables.snapshots, S1)["object_name"])
            guard = Gate(site.env.clock, Page()).guard({})
            await site.driver().on(SECONDARY).bind(WithoutLocks(guard)).delete(snapshot)
        await site.perform(site.claim(OTHER))

        assert await site.has(SECONDARY if switches else DEFAULT, tables.volumes, V1)
        assert (site.status(V1), site.base.row(tables.volumes, V1)["object_name"]) == ("available", published)

    in_virtual_time(story())
    assert ("revert_volume", "done") in site.outcomes()


def test_a_revert_removes_nothing_where_its_volume_is_not(site: Site) -> None:
    """It was published on the storage that was left; what the target has of the volume is the old object, and stays."""

    async def story() -> None:
        await given_half_reverted(site, commits=4)
        assert site.base.rows(tables.operations)[0]["step"] == "drop_unpublished"
        of_volume = [name for name in await site.names() if name.startswith(V1)]
        await site.perform(site.claim(OTHER))

        assert [name for name in await site.names() if name.startswith(V1)] == of_volume == [f"{V1}.1.1"]

    in_virtual_time(story())
    assert (site.status(V1), site.base.row(tables.volumes, V1)["replication_status"]) == ("error", "not-capable")
    assert ("revert_volume", "failed") in site.outcomes()


@pytest.mark.parametrize("cascade", [False, True])
def test_what_was_being_deleted_and_is_not_there_is_kept(site: Site, cascade: bool) -> None:
    """Its object would stay where it is, without a row; after the failback the deletion can be asked for again."""

    async def story() -> list[str]:
        site.local.add(S1)
        await given_storage(site)
        doomed = V1 if cascade else V2
        site.base.run(volumes.begin_delete, origin=origin(), volume_id=VolumeId(doomed), cascade=cascade)
        site.fail_over()
        await site.perform(site.claim())
        await site.perform(site.claim())
        assert site.status(doomed) == "error_deleting"
        site.fail_over(DEFAULT)
        await site.perform(site.claim())
        site.base.run(volumes.begin_delete, origin=origin(), volume_id=VolumeId(doomed), cascade=cascade)
        await site.perform(site.claim())
        return [name.partition(".")[0] for name in await site.names()]

    assert in_virtual_time(story()) == ([V2] if cascade else [V1, S1])
    assert ("delete_volume", "failed") in site.outcomes()


def test_a_snapshot_that_was_being_deleted_and_is_not_there_is_kept(site: Site) -> None:
    async def story() -> None:
        site.local.add(S1)
        await given_storage(site)
        site.base.run(snapshots.begin_delete, origin=origin(), snapshot_id=SnapshotId(S1))
        site.fail_over()
        await site.perform(site.claim())
        await site.perform(site.claim())

    in_virtual_time(story())
    assert site.status(S1, tables.snapshots) == "error_deleting"


def test_force_deletes_what_is_not_there(site: Site) -> None:
    """An operator's word: the row goes, whatever stays on the storage that was left."""

    async def story() -> None:
        site.local.add(S1)
        await given_storage(site)
        site.fail_over()
        await site.perform(site.claim())
        site.base.run(snapshots.begin_force_delete, origin=origin(), snapshot_id=SnapshotId(S1))
        await site.perform(site.claim())
        site.base.run(volumes.begin_force_delete, origin=origin(), volume_id=VolumeId(V2), cascade=False)
        await site.perform(site.claim())

    in_virtual_time(story())
    assert [row["id"] for row in (*site.base.rows(tables.volumes), *site.base.rows(tables.snapshots))] == [V1]


def test_an_error_of_before_is_noted_as_absent_and_not_taken_back(site: Site) -> None:
    """It cannot be deleted while it is not there; and it returns as the `error` that it was."""

    async def story() -> None:
        await given_storage(site)
        reset(site, V2, "error")
        site.fail_over()
        await site.perform(site.claim())
        with pytest.raises(InvalidState, match="not on the storage"):
            site.base.run(volumes.begin_delete, origin=origin(), volume_id=VolumeId(V2), cascade=False)
        site.fail_over(DEFAULT)
        await site.perform(site.claim())

    in_virtual_time(story())
    assert (site.status(V2), site.base.row(tables.volumes, V2)["replication_status"]) == ("error", None)


# --- words of operators -----------------------------------------------------------------------------------------------------


def freeze(site: Site, change: Callable[..., None]) -> None:
    site.base.run(change, host=None, cluster=QUEUE, origin=origin(is_admin=True))


def takes_new(site: Site) -> tuple[bool, str | None]:
    """Whether new volumes are taken, and why not."""
    shown = site.base.run(services.get_cluster, name=QUEUE, binary="cinder-volume")
    assert bool(site.base.rows(tables.pools)[0]["enabled"]) == (not shown.word.disabled)
    return not shown.word.disabled, shown.word.reason


def test_a_frozen_backend_stays_closed_after_its_failback(site: Site) -> None:
    async def story() -> None:
        await given_storage(site)
        site.fail_over()
        await site.perform(site.claim())
        freeze(site, backend_changes.freeze)
        assert takes_new(site) == (False, "failed-over")
        site.fail_over(DEFAULT)
        await site.perform(site.claim())

    in_virtual_time(story())
    assert takes_new(site) == (False, "frozen")
    freeze(site, backend_changes.thaw)
    assert takes_new(site) == (True, None)


def test_a_failed_over_backend_stays_closed_after_its_thaw(site: Site) -> None:
    async def story() -> None:
        await given_storage(site)
        freeze(site, backend_changes.freeze)
        site.fail_over()
        await site.perform(site.claim())

    in_virtual_time(story())
    freeze(site, backend_changes.thaw)
    assert takes_new(site) == (False, "failed-over")


def test_an_operators_word_is_apart_from_the_backends(site: Site) -> None:
    """Also when it is the same one. Who enables the cluster, enables it."""
    said: Any = {"name": QUEUE, "binary": "cinder-volume", "origin": origin(is_admin=True)}
    site.base.run(services.set_cluster, disabled=True, reason="frozen", **said)
    freeze(site, backend_changes.freeze)
    freeze(site, backend_changes.thaw)
    assert takes_new(site) == (False, "frozen")

    freeze(site, backend_changes.freeze)
    site.base.run(services.set_cluster, disabled=False, reason=None, **said)
    assert takes_new(site) == (True, None)


# --- deletions ----------------------------------------------------------------------------------------------------------


async def delete_at_home(site: Site, object_name: str) -> None:
    """Take the storage back, and delete what is in `error_deleting`."""
    site.fail_over(DEFAULT)
    await site.perform(site.claim(OTHER))
    assert await site.driver().on(DEFAULT).exists(ObjectName.parse(object_name))
    site.base.run(volumes.begin_delete, origin=origin(), volume_id=VolumeId(V2), cascade=False)
    await site.perform(site.claim(OTHER))


def test_nothing_is_deleted_of_what_a_failed_failover_has_not_looked_for(site: Site) -> None:
    """The storage has moved, the search has failed: no row says yet that the volume is not there."""

    async def story() -> None:
        await given_storage(site)
        name = site.base.row(tables.volumes, V2)["object_name"]
        site.fail_over()
        await dies(site.perform(site.claim(), commits=4))
        site.array.fail(SECONDARY)
        bury(site)
        await site.perform(site.claim(OTHER))
        site.array.repair(SECONDARY)
        assert (site.backend, site.status(V2)) == (("error", SECONDARY), "available")

        site.base.run(volumes.begin_delete, origin=origin(), volume_id=VolumeId(V2), cascade=False)
        await site.perform(site.claim(OTHER))

        assert site.status(V2) == "error_deleting"
        await delete_at_home(site, name)
        assert not await site.driver().on(DEFAULT).exists(ObjectName.parse(name))

    in_virtual_time(story())


def test_a_deletion_that_has_removed_nothing_yet_is_refused_where_its_volume_is_not(site: Site) -> None:
    """It had begun on the storage that was left; what has become of the object there, nobody knows."""

    async def story() -> None:
        await given_storage(site)
        name = site.base.row(tables.volumes, V2)["object_name"]
        site.base.run(volumes.begin_delete, origin=origin(), volume_id=VolumeId(V2), cascade=False)
        await dies(site.perform(site.claim(), commits=1))
        bury(site)
        site.fail_over()
        await site.perform(site.claim(OTHER))
        await site.perform(site.claim(OTHER))

        assert site.status(V2) == "error_deleting"
        await delete_at_home(site, name)
        assert not await site.driver().on(DEFAULT).exists(ObjectName.parse(name))

    in_virtual_time(story())


def test_a_deletion_that_has_removed_everything_ends_well_on_any_storage(site: Site) -> None:
    """That nothing is left was saved, so that nobody takes it for left behind."""

    async def story() -> None:
        await given_storage(site)
        site.base.run(volumes.begin_delete, origin=origin(), volume_id=VolumeId(V2), cascade=False)
        await dies(site.perform(site.claim(), commits=2))
        bury(site)
        site.fail_over()
        await site.perform(site.claim(OTHER))
        await site.perform(site.claim(OTHER))

        assert V2 not in [row["id"] for row in site.base.rows(tables.volumes) if not row["tombstone"]]

    in_virtual_time(story())
    assert ("delete_volume", "done") in site.outcomes()


def test_a_deletion_that_has_begun_is_not_cancelled_after_a_failover(site: Site) -> None:
    """Its object is gone: a volume that came back to `available` would be a lie."""

    async def story() -> None:
        await given_storage(site)
        site.base.run(volumes.begin_force_delete, origin=origin(is_admin=True), volume_id=VolumeId(V1), cascade=True)
        await dies(site.perform(site.claim(), commits=2))
        reset(site, V1, "available")
        bury(site)
        site.fail_over()
        await site.perform(site.claim(OTHER))
        await site.perform(site.claim(OTHER))

        assert V1 not in [row["id"] for row in site.base.rows(tables.volumes) if not row["tombstone"]]

    in_virtual_time(story())
    assert ("delete_volume", "done") in site.outcomes()
