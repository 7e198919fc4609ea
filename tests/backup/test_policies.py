"""Runs of backup policies for real: by nodes that die anywhere, with backups that are made and deleted."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert
from tests.backup.bench import ENV, QUEUE, SNAPSHOT, VOLUME, Bench, bench, id_of
from tests.store.given import origin

from breezeblock.model.keeping import Keep
from breezeblock.resources import backup_policies
from breezeblock.resources.backup_policies import Ended, Policy
from breezeblock.resources.keeping import MARK, Chosen, Rule
from breezeblock.store import tables

OTHER, POLICY = id_of(1, 2), id_of(9)
OLD, OLDER = id_of(4, 8), id_of(4, 9)
DAY_US = 24 * 3600 * 1_000_000
NAME = "nightly"


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Bench]:
    """Two volumes, one with two backups of yesterday that the policy has made, and one by hand."""
    with bench(tmp_path) as one:
        one.base.now_us = ENV.clock.now_us()
        one.create_volume()
        one.create_volume(OTHER)
        for number, id_ in enumerate((OLDER, OLD)):
            one.back_up(id_, metadata={MARK: NAME})
            one.work()
            one.base.change(tables.backups, id_, data_timestamp_us=one.base.now_us - 2 * DAY_US + number)
        one.back_up(id_of(4, 3), name="by hand")
        one.work()
        yield one


def begin(made: Bench, **values: Any) -> None:
    """A run of a policy that keeps a backup of each day, and makes one."""
    said: dict[str, Any] = {
        "keep": Keep(daily=3),
        "mark": NAME,
        "only_marked": True,
        "takes": True,
        "incremental": True,
    }
    said |= {"chosen": Chosen(), "store": "default"}
    rule = Rule(**(said | values))
    made.base.run(backup_policies.set_policy, policy_id=POLICY, name=NAME, rule=rule)
    made.base.run(backup_policies.run_soon, name=NAME)
    begun = made.base.run(
        backup_policies.begin_due_policy, origin=origin(project_id=""), where=QUEUE, quota_defaults={"backups": 100}
    )
    assert begun == NAME


def policy(made: Bench) -> Policy:
    (found,) = made.base.run(backup_policies.policies)
    return found


def ended(made: Bench) -> Ended:
    found = policy(made).ended
    assert found is not None
    return found


def marked(made: Bench) -> list[tuple[str, str]]:
    """Volume and status of each backup of the policy's."""
    rows = made.base.rows(tables.backups)
    return sorted(
        (row["volume_id"], row["status"]) for row in rows if json.loads(row["metadata_json"]).get(MARK) == NAME
    )


def test_a_run_makes_what_is_due_and_deletes_what_need_not_stay(made: Bench) -> None:
    """Of its own; and tells what it has come to."""
    begin(made)
    made.work()

    assert marked(made) == [(VOLUME, "available"), (VOLUME, "available"), (OTHER, "available")]
    ids = {row["id"] for row in made.base.rows(tables.backups)}
    assert OLD in ids
    assert OLDER not in ids
    assert [row["name"] for row in made.base.rows(tables.backups)].count("by hand") == 1
    told = ended(made)
    assert (told.outcome, told.taken, told.removed, told.refused) == ("done", 2, 1, 0)
    assert not policy(made).is_running
    made.check()


def test_a_second_run_in_the_same_period_does_nothing(made: Bench) -> None:
    """Everything is there."""
    begin(made)
    made.work()
    before = made.base.rows(tables.backups)

    begin(made)
    made.work()

    assert made.base.rows(tables.backups) == before
    assert (ended(made).taken, ended(made).removed) == (0, 0)


@pytest.mark.parametrize("at", [1, 3, 5, 6, *(pytest.param(at, marks=pytest.mark.proof) for at in (2, 4, 7))])
def test_a_run_survives_its_nodes(made: Bench, at: int) -> None:
    """One dies before a transaction, the next one after it, and another one goes on: nothing twice, and nothing forgotten.

    A run has six transactions here; the seventh is of what it has asked for.
    """
    begin(made)
    assert made.die(at=at, after=False)
    assert made.die(at=1, after=True)
    made.work()

    assert marked(made) == [(VOLUME, "available"), (VOLUME, "available"), (OTHER, "available")]
    assert len(made.base.rows(tables.backups)) == 4
    kinds = [row["kind"] for row in made.base.rows(tables.operation_log)]
    assert kinds.count("create_backup") == 3 + 2
    assert kinds.count("delete_backup") == 1
    told = ended(made)
    assert (told.outcome, told.taken, told.removed) == ("done", 2, 1)
    made.check()


def test_a_backup_that_failed_after_its_node_is_not_asked_for_again(made: Bench) -> None:
    """Its due time has had its request; the next one has another."""
    begin(made, chosen=Chosen(volume_id=OTHER))
    assert made.die(at=1, after=True)
    (creating,) = (row for row in made.base.rows(tables.operations) if row["kind"] == "create_backup")
    made.base.change(tables.backups, creating["resource_id"], status="error")
    made.work()

    assert [row["kind"] for row in made.base.rows(tables.operation_log)].count("create_backup") == 3 + 1
    assert (ended(made).taken, ended(made).refused) == (1, 0)


def test_what_is_refused_is_told_and_the_rest_is_done(made: Bench) -> None:
    """To the project, by a message; to operators, by the policy. The next time it is tried again."""
    with made.base.tx() as tx:
        tx.execute(insert(tables.quotas).values(project_id="p1", resource="backups", hard_limit=4))
    begin(made)
    made.work()

    told = ended(made)
    assert (told.taken, told.removed, told.refused) == (1, 1, 1)
    assert list(told.reasons) == [OTHER]
    (message,) = made.base.rows(tables.messages)
    assert (message["resource_id"], message["project_id"]) == (OTHER, "p1")
    assert NAME in message["user_message"]
    assert told.reasons[OTHER] in message["user_message"]

    begin(made)
    made.work()

    assert ended(made).taken == 1
    assert marked(made).count((OTHER, "available")) == 1
    made.check()


def test_a_volume_that_is_busy_has_its_turn_the_next_time(made: Bench) -> None:
    """And the others have theirs now."""
    made.base.change(tables.volumes, OTHER, status="extending")
    begin(made)
    made.work()

    assert "extending" in ended(made).reasons[OTHER]
    assert ended(made).taken == 1
    made.base.change(tables.volumes, OTHER, status="available")


def test_a_backup_that_is_restored_now_is_left_to_the_next_time(made: Bench) -> None:
    """It counts as what it is."""
    made.base.change(tables.backups, OLDER, status="restoring")
    begin(made)
    made.work()

    assert "restoring" in ended(made).reasons[OLDER]
    assert (ended(made).removed, ended(made).refused) == (0, 1)


def test_a_volume_in_use_is_backed_up_from_a_copy(made: Bench) -> None:
    """A policy is for what is in use, above all."""
    made.base.change(tables.volumes, OTHER, status="in-use")
    begin(made)
    made.work()

    assert (OTHER, "available") in marked(made)
    assert made.volume(OTHER)["status"] == "in-use"
    made.check()


def test_a_policy_may_say_that_it_is_for_all_backups(made: Bench) -> None:
    """Then those made by hand go, too."""
    begin(made, only_marked=False, takes=False, keep=Keep(yearly=1))
    made.work()

    assert len(made.base.rows(tables.backups)) == 1
    assert ended(made).removed == 2


def test_a_policy_that_is_removed_stops_its_run(made: Bench) -> None:
    """At the next volume: what was asked for by then is made."""
    begin(made)
    made.work(during=lambda: made.base.run(backup_policies.remove_policy, name=NAME))

    assert made.base.rows(tables.backup_policies) == []
    log = [row["outcome"] for row in made.base.rows(tables.operation_log) if row["kind"] == backup_policies.KIND]
    assert log == ["cancelled"]
    made.check()


def test_a_run_that_nobody_can_do_leaves_it_to_the_next_one(made: Bench) -> None:
    """And says so."""
    begin(made)
    made.park()

    assert (ended(made).outcome, ended(made).detail) == ("parked", "Nobody serves it.")
    begin(made)
    made.work()
    assert ended(made).taken == 2
    made.check()


def test_a_backup_of_a_snapshot_is_as_old_as_its_data(made: Bench) -> None:
    """So it does not stand for what the volume is today."""
    made.create_snapshot()
    made.base.change(tables.snapshots, SNAPSHOT, created_at_us=made.base.now_us - DAY_US)
    made.back_up(id_of(4, 4), snapshot_id=SNAPSHOT, metadata={MARK: NAME})
    made.work()
    begin(made, chosen=Chosen(volume_id=VOLUME))
    made.work()

    assert ended(made).taken == 1
