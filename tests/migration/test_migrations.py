"""Volumes that are moved to another backend by nodes that may die anywhere: what a volume was before is what it is there."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.backup.given import BLOCK, GIB
from tests.migration.bench import NEW, NEW_POOL, OLD, OLD_POOL, SIZE_GIB, VOLUME, Bench, bench
from tests.store.given import origin

from breezeblock.model.errors import BadRequest, InvalidState, NotFound
from breezeblock.model.ids import VolumeId
from breezeblock.resources import migrations, strays
from breezeblock.resources.backends import backend_id
from breezeblock.store import tables

MARKS = {0: b"first", GIB: b"middle", SIZE_GIB * GIB - BLOCK: b"last"}
# More transactions than a migration and the removal after it have.
MOST = 8
HERE, THERE = ("available", None, OLD_POOL), ("available", "success", NEW_POOL)


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Bench]:
    """A volume on the old backend, with data at its beginning, in its middle and at its end."""
    with bench(tmp_path) as one:
        one.create_volume()
        one.write(MARKS)
        yield one


def require(made: Bench, states: tuple[str, str | None, str]) -> None:
    """The volume is whole, in this state, and nothing else is anywhere."""
    assert (made.states(), made.holds(MARKS)) == (states, True)
    made.check()


@pytest.mark.parametrize("to", [NEW, NEW_POOL, "watcher@new", "watcher@new#p"])
def test_a_volume_is_moved_with_its_data(made: Bench, to: str) -> None:
    """To a backend, to a pool, or to the service of a node."""
    made.migrate(to)
    assert made.states() == ("available", "starting", OLD_POOL)
    made.work()

    require(made, THERE)
    assert made.base.accounts()[NEW_POOL] == SIZE_GIB
    assert OLD_POOL not in made.base.accounts()


def test_while_it_moves_both_pools_have_promised_room(made: Bench) -> None:
    made.migrate()

    accounts = made.base.accounts()
    assert (accounts[OLD_POOL], accounts[NEW_POOL]) == (SIZE_GIB, SIZE_GIB)
    assert made.base.problems() == []


def test_a_locked_volume_is_in_maintenance_meanwhile(made: Bench) -> None:
    made.migrate(lock=True)
    assert made.states() == ("maintenance", "starting", OLD_POOL)
    made.work()

    require(made, THERE)


def test_it_comes_back(made: Bench) -> None:
    """And is moved again: what was there once is in nobody's way."""
    for to in (NEW, OLD, NEW):
        made.migrate(to)
        made.work()

    require(made, THERE)


def test_a_type_that_only_another_backend_has_moves_the_volume(made: Bench) -> None:
    before = made.base.accounts()
    made.retype()
    assert made.states() == ("retyping", "starting", OLD_POOL), made.messages()
    made.work()

    require(made, THERE)
    assert made.volume()["volume_type_id"] == "quick"
    after = made.base.accounts()
    assert (before["gigabytes_plain"], after["gigabytes_quick"]) == (SIZE_GIB, SIZE_GIB)
    assert "gigabytes_plain" not in after


def test_a_volume_that_moved_may_be_attached_as_its_new_type_says(made: Bench) -> None:
    """By several hosts or by one, as after a retype in its place."""
    made.base.change(tables.volumes, VOLUME, multiattach=True)
    made.retype()
    made.work()

    assert (made.volume()["pool_name"], made.volume()["multiattach"]) == (NEW_POOL, False)


@pytest.mark.parametrize("policy", ["never", "on-demand"])
def test_a_type_that_is_not_to_be_had_leaves_the_volume(made: Bench, policy: str) -> None:
    """With a reason: its owner did not want it to move, or there is no room where it could."""
    made.base.change(tables.pools, NEW_POOL, total_gib=1)
    before = made.base.accounts()
    made.retype(policy=policy)

    require(made, HERE)
    assert (made.base.accounts(), made.volume()["volume_type_id"]) == (before, "plain")
    (message,) = made.messages()
    assert ("migration policy 'never'" if policy == "never" else f"{NEW_POOL} may promise 1 GiB more") in message


# --- nodes that die --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["migrate", "locked", "retype"])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("at", range(1, MOST))
def test_a_migration_survives_its_nodes(made: Bench, at: int, after: bool, how: str) -> None:
    """Whoever comes next finishes it, and the removal that follows."""
    {"migrate": made.migrate, "locked": lambda: made.migrate(lock=True), "retype": made.retype}[how]()
    died = made.die(at=at, after=after)
    made.work()

    assert died or at > 5
    require(made, THERE)


def by_force(made: Bench) -> None:
    made.force_delete()


def by_its_column(made: Bench) -> None:
    made.reset(migration_status="none")


def by_its_status(made: Bench) -> None:
    made.reset(status="available", migration_status="none")


@pytest.mark.parametrize(
    ("after", "lock"), [(False, True), (True, False), (True, True)], ids=["before", "free", "after"]
)
@pytest.mark.parametrize("at", [2, 4, 5, 6])
@pytest.mark.parametrize("word", [by_force, by_its_column, by_its_status])
def test_a_word_that_ends_it_leaves_one_volume_or_none(
    made: Bench, word: Any, at: int, after: bool, lock: bool
) -> None:
    """Its node dies anywhere, then somebody deletes the volume, or ends the migration: nothing is left on the other backend."""
    made.migrate(lock=lock)
    made.die(at=at, after=after)
    moved = made.volume()["pool_name"] == NEW_POOL
    word(made)
    made.work()
    made.tidy()

    if word is by_force:
        assert made.base.rows(tables.volumes) == []
        assert made.base.accounts() == {}
        made.check()
    else:
        require(made, ("available", None, NEW_POOL if moved else OLD_POOL))


@pytest.mark.parametrize("word", [by_force, by_its_column, by_its_status])
def test_a_word_in_the_middle_ends_it(made: Bench, word: Any) -> None:
    made.retype()
    made.work(during=lambda: word(made))

    if word is by_force:
        assert made.base.rows(tables.volumes) == []
        made.check()
    else:
        require(made, HERE)
        assert made.volume()["volume_type_id"] == "plain"


@pytest.mark.parametrize("word", ["maintenance", "error"])
def test_an_operators_word_outlives_a_migration_that_fails(made: Bench, word: str) -> None:
    """Also the very word that the request had set."""
    made.migrate(lock=True)
    made.work(during=lambda: made.reset(status=word))

    assert made.states() == (word, "error", OLD_POOL)
    made.check()


def test_a_word_about_its_status_is_not_taken_back_by_one_about_the_migration(made: Bench) -> None:
    """In one request, or one after the other."""
    made.migrate()
    made.reset(status="maintenance", migration_status="none")
    made.reset(migration_status="none")
    made.work()

    assert made.states() == ("maintenance", None, OLD_POOL)
    made.check()


# --- storage that will not, nodes that are away -----------------------------------------------------------------------


def test_a_source_that_is_not_there_fails_it_alone(made: Bench) -> None:
    """The volume is what and where it was, and its owner is told."""
    whole = made.path()
    aside = whole.rename(whole.with_name("aside"))
    made.retype()
    made.work()
    aside.rename(whole)

    require(made, ("available", "error", OLD_POOL))
    assert made.volume()["volume_type_id"] == "plain"
    assert len(made.messages()) == 1


@pytest.mark.parametrize("unknown", [False, True])
@pytest.mark.parametrize("how", ["locked", "retype"])
@pytest.mark.parametrize("at", [1, 2, 4])
def test_a_parked_migration_leaves_the_volume_where_it_was(made: Bench, at: int, how: str, unknown: bool) -> None:
    """What its nodes have left on the new backend is removed later, by whoever serves that."""
    {"locked": lambda: made.migrate(lock=True), "retype": made.retype}[how]()
    made.die(at=at, after=True)
    made.park(unknown=unknown)
    made.tidy()

    require(made, ("available", "error", OLD_POOL))


def test_an_old_object_that_the_storage_keeps_is_removed_later(made: Bench) -> None:
    """The volume is moved all the same, and its owner need not know."""
    made.refuses.add(OLD)
    made.migrate()
    made.work()
    assert (made.states(), made.messages(), len(made.files(OLD))) == (THERE, [], 1)
    made.tidy()

    require(made, THERE)


def test_what_is_left_of_a_volume_outlives_it_and_goes(made: Bench) -> None:
    made.refuses.add(OLD)
    made.migrate()
    made.work()
    made.force_delete()
    made.work()
    assert (made.base.rows(tables.volumes), len(made.files(OLD))) == ([], 1)
    made.tidy()

    made.check()


def test_what_was_left_is_not_taken_for_the_volume_that_has_come_back(made: Bench) -> None:
    """A removal that is begun late finds the volume where it was to remove it."""
    made.refuses.add(OLD)
    made.migrate()
    made.work()
    made.refuses.clear()
    made.migrate(OLD)
    made.work()
    made.base.add(tables.stray_objects, volume_id=VOLUME, queue=OLD, not_before_us=0)
    made.tidy()

    require(made, ("available", "success", OLD_POOL))


def test_a_removal_that_waits_is_not_begun_twice(made: Bench) -> None:
    made.migrate()
    made.die(at=5, after=True)
    made.base.now_us += 10**10
    made.base.run(strays.begin_due, origin=origin(), queues=(OLD, NEW))

    assert len(made.base.rows(tables.operations)) == 1


def test_a_failover_of_the_old_backend_ends_it(made: Bench) -> None:
    """Half of the copy may be of one storage, and half of the other."""
    made.base.add(tables.backends, id=backend_id(OLD), queue=OLD, op_seq=0)
    made.migrate()
    made.die(at=4, after=True)
    made.base.change(tables.backends, backend_id(OLD), generation=1)
    made.work()

    require(made, ("available", "error", OLD_POOL))
    assert "failed over" in made.messages()[0]


def test_only_a_node_of_both_backends_can_claim_it(made: Bench) -> None:
    made.migrate()

    assert made.claimable(serves=(NEW,)) == made.claimable(serves=(OLD,)) == []
    assert len(made.claimable()) == 1


# --- requests that are refused ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"status": "in-use"}, "in use"),
        ({"status": "error"}, "must be available"),
        ({"migration_status": "migrating"}, "being migrated"),
        ({"object_name": None}, "no storage"),
    ],
)
def test_a_volume_that_cannot_be_moved_is_refused(made: Bench, given: dict[str, Any], says: str) -> None:
    made.base.change(tables.volumes, VOLUME, **given)
    before = made.base.accounts()

    with pytest.raises(InvalidState, match=says):
        made.migrate()
    assert made.base.accounts() == before


def test_a_volume_with_snapshots_stays(made: Bench) -> None:
    made.create_snapshot()

    with pytest.raises(InvalidState, match="has snapshots"):
        made.migrate()
    made.retype()
    assert "has snapshots" in made.messages()[0]
    require(made, HERE)


def test_a_replicated_volume_stays(made: Bench) -> None:
    made.base.add(tables.backends, id=backend_id(OLD), queue=OLD, op_seq=0, replication_status="enabled")

    with pytest.raises(InvalidState, match="replicated"):
        made.migrate()
    made.retype()
    assert "replicated" in made.messages()[0]
    require(made, HERE)


def test_a_volume_in_use_needs_the_compute_service_for_a_type_elsewhere(made: Bench) -> None:
    made.base.change(tables.volumes, VOLUME, status="in-use")

    with pytest.raises(InvalidState, match="in use"):
        made.retype()


@pytest.mark.parametrize("to", [OLD, OLD_POOL, "watcher@old"])
def test_where_it_is_already_it_is_not_moved_to(made: Bench, to: str) -> None:
    with pytest.raises(InvalidState, match="on backend c@old already"):
        made.migrate(to)


@pytest.mark.parametrize("to", ["", "nowhere", "c@none", f"{NEW}#q", "other@new", "#p"])
def test_a_destination_that_is_not_there_is_named(made: Bench, to: str) -> None:
    with pytest.raises(BadRequest, match=f"No available service named '{to}'"):
        made.migrate(to)


@pytest.mark.parametrize("given", [{"enabled": False}, {"queue": "c@elsewhere"}])
def test_a_destination_that_takes_nothing_is_as_none(made: Bench, given: dict[str, Any]) -> None:
    """It is disabled, or no node that lives serves it."""
    made.base.change(tables.pools, NEW_POOL, **given)

    with pytest.raises(BadRequest, match="No available service"):
        made.migrate(NEW_POOL)


@pytest.mark.parametrize(
    ("given", "why"),
    [({"total_gib": 1}, "may promise 1 GiB more"), ({"availability_zone": "south"}, "in availability zone south")],
)
def test_a_destination_without_room_leaves_the_volume_with_a_reason(
    made: Bench, given: dict[str, Any], why: str
) -> None:
    made.base.change(tables.pools, NEW_POOL, **given)
    made.migrate()

    require(made, ("available", "error", OLD_POOL))
    assert why in made.messages()[0]


def test_backends_that_no_node_has_together_are_told(made: Bench) -> None:
    made.base.change(tables.nodes, "node-1", state="gone")
    made.base.change(tables.nodes, "watcher", queues_json=f'["{OLD}"]')
    made.base.node("other", queues_json=f'["{NEW}"]')
    made.migrate()

    require(made, ("available", "error", OLD_POOL))
    assert f"{NEW_POOL} is served by no running node that serves {OLD}, too" in made.messages()[0]


def test_another_project_does_not_see_it(made: Bench) -> None:
    asked: dict[str, Any] = {"volume_id": VolumeId(VOLUME), "destination": NEW, "lock_volume": False}

    with pytest.raises(NotFound):
        made.base.run(migrations.begin_migrate, origin=origin(project_id="p2", is_admin=False), **asked)
