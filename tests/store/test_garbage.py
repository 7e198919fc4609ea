"""Collections as operations: begun by whoever finds one due, once, and never forgotten; and pins that nobody keeps."""

from collections.abc import Iterator

import pytest
from tests.store.given import ME, NOW_US, QUEUE, origin
from tests.store.test_archives import ARCHIVE, Backups

from breezeblock.protocol import archives
from breezeblock.protocol.queue import Claim
from breezeblock.protocol.steps import Failure
from breezeblock.resources import charges, garbage
from breezeblock.resources.garbage import CollectGarbage
from breezeblock.store import tables

WANTED = CollectGarbage(archive_id=ARCHIVE, store="default")


@pytest.fixture
def backups() -> Iterator[Backups]:
    """One backup, deleted, and a node that has its store."""
    backups = Backups()
    backups.base.node(ME)
    backups.made("b1", "p1")
    backups.delete("b1")
    backups.now_us += archives.COLLECT_AFTER_US
    yield backups
    backups.base.close()


def begin(backups: Backups, *stores: str) -> bool:
    values = {"where": QUEUE, "stores": stores or ("default",)}
    begun: bool = backups.run(garbage.begin_due, origin=origin(), **values)
    return begun


def claimed(backups: Backups) -> Claim:
    (operation,) = backups.base.claimable()
    return backups.base.claim(operation)


def test_a_collection_that_is_due_is_begun_once(backups: Backups) -> None:
    assert [begin(backups), begin(backups)] == [True, False]
    assert len(backups.base.rows(tables.operations)) == 1


def test_who_does_not_have_the_store_leaves_it_to_others(backups: Backups) -> None:
    assert begin(backups, "elsewhere") is False
    assert backups.run(garbage.has_due, stores=("default",))


def test_a_collection_that_has_ended_says_when_the_next_one_is_due(backups: Backups) -> None:
    """What it has condemned is looked at once more."""
    begin(backups)
    claim = claimed(backups)
    backups.settle(archives.LIVE)
    backups.run(garbage.finish_collection, claim=claim, payload=WANTED, state={}, now_us=backups.now_us)

    assert backups.due_us() == backups.now_us + archives.COLLECT_AFTER_US
    assert backups.base.rows(tables.operations) == []


def test_a_collection_that_fails_is_tried_again(backups: Backups) -> None:
    begin(backups)
    failure = Failure(message="The manifest b1.1.1 cannot be read.", detail_id="backend")
    values = {"claim": claimed(backups), "payload": WANTED, "state": {}, "failure": failure}
    backups.run(garbage.fail_collection, **values, now_us=backups.now_us)

    assert backups.due_us() == backups.now_us + archives.TRY_AGAIN_US


def test_a_collection_that_nobody_understands_is_tried_again(backups: Backups) -> None:
    begin(backups)
    backups.base.run(charges.park_unknown, claimed(backups), text="Nobody knows how.", now_us=backups.now_us)

    assert backups.due_us() == backups.now_us + archives.TRY_AGAIN_US


def test_a_pin_that_nobody_keeps_is_taken_away(backups: Backups) -> None:
    """Its backup is over: whoever parked it did not know of pins."""
    backups.begin("b2")
    backups.allot("b2", "p2")
    assert backups.run(garbage.has_forgotten_pins)

    ended = [backups.run(garbage.end_forgotten_pin, now_us=NOW_US) for _ in range(2)]

    row = backups.base.row(tables.backups, "b2")
    assert (ended, row["status"], row["pin"], backups.states()["p2"]) == (["b2", None], "error", None, "doomed")


def test_a_pin_is_kept_while_anybody_works_on_its_backup(backups: Backups) -> None:
    backups.begin("b2")
    backups.base.add(tables.operation_locks, resource_id="b2", seq=1, operation_id="o1", exclusive=True)

    assert backups.run(garbage.has_forgotten_pins) is False
    assert backups.run(garbage.end_forgotten_pin, now_us=NOW_US) is None


def test_when_a_collection_is_due_is_asked_of_the_database_alone(backups: Backups) -> None:
    """A request whose node is a year ahead makes nothing due, and one that is a year behind keeps nothing from it."""
    year_us = 365 * 24 * 3600 * 1_000_000
    backups.now_us -= 1
    found = []
    for wrong_us in (year_us, -year_us):
        there = origin(at_us=backups.now_us + wrong_us)
        values = {"where": QUEUE, "stores": ("default",)}
        found.append(backups.run(garbage.begin_due, origin=there, **values))
        backups.now_us += 1

    assert found == [False, True]
