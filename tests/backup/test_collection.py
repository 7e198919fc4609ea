"""Garbage collected for real: by nodes that die anywhere, beside backups that come and go."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.backup.bench import ARCHIVE, BACKUP, BLOCK, NEW_VOLUME, QUEUE, Bench, bench, id_of
from tests.store.given import origin

from breezeblock.protocol import archives
from breezeblock.resources import garbage
from breezeblock.store import tables

OTHER, THIRD = id_of(4, 2), id_of(4, 3)
# More transactions than a collection has here.
MOST = 9
LATER_US = 2 * archives.COLLECT_AFTER_US


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Bench]:
    """Two backups of a volume that share a block, each with one of its own; the first one is deleted."""
    with bench(tmp_path) as one:
        chance = random.Random(1)
        one.create_volume()
        one.write(0, chance.randbytes(BLOCK))
        one.write(BLOCK, chance.randbytes(BLOCK))
        backed_up(one, BACKUP)
        one.write(BLOCK, chance.randbytes(BLOCK))
        backed_up(one, OTHER)
        one.delete()
        one.work()
        yield one


def backed_up(made: Bench, id_: str) -> None:
    made.back_up(id_)
    made.work()
    assert made.backup(id_)["status"] == "available"


def collect(made: Bench) -> bool:
    """Begin a collection, as a worker that finds one due, some minutes later."""
    made.base.now_us += LATER_US
    values = {"where": QUEUE, "stores": ("default",)}
    begun: bool = made.base.run(garbage.begin_due, origin=origin(), **values)
    return begun


def test_what_only_a_deleted_backup_needed_goes(made: Bench) -> None:
    """All of a pack is kept for one block of it."""
    made.write(0, random.Random(2).randbytes(BLOCK))
    made.write(BLOCK, bytes(BLOCK))
    backed_up(made, THIRD)
    made.delete(OTHER)
    made.work()
    for _ in range(2):
        assert collect(made)
        made.work()

    live = {pack for pack, state in made.pack_states().items() if state == "live"}
    assert made.objects.packs() == live
    assert "doomed" in made.pack_states().values()
    made.check()


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("at", range(1, MOST))
def test_a_collection_survives_its_nodes(made: Bench, at: int, after: bool) -> None:
    """The first and the second one die at a transaction, and another node goes on; nothing is lost, and nothing stays."""
    made.write(0, random.Random(2).randbytes(2 * BLOCK))
    before = made.content()
    backed_up(made, THIRD)
    made.delete(OTHER)
    made.work()
    collections = 0
    while collect(made):
        collections += 1
        made.die(at=at, after=after)
        made.work()

    assert collections in {1, 2}  # one that is begun again after it has condemned does the second one's work

    live = {pack for pack, state in made.pack_states().items() if state == "live"}
    assert made.objects.packs() == live
    made.restore(THIRD)
    made.work()
    assert made.content(NEW_VOLUME) == before
    made.check()


def test_a_backup_that_comes_between_two_collections_keeps_what_it_finds(made: Bench) -> None:
    """It has entered before the condemnation, and names the pack after it."""
    assert collect(made)
    made.work()
    made.delete(OTHER)
    made.work()
    before = made.content()
    made.back_up(THIRD)

    # Its node dies after it has entered, stored nothing new since all was there, and has not published yet.
    for at in range(1, 12):
        if made.backup(THIRD)["pin"] is None:
            made.die(at=at, after=True)
    assert made.backup(THIRD)["pin"] is not None
    for _ in range(3):
        made.base.change(tables.archives, ARCHIVE, collect_after_us=1)
        assert collect(made)
        made.base.change(tables.operations, _waiting(made, "create_backup"), not_before_us=2**60)
        made.work()
    made.base.change(tables.operations, _waiting(made, "create_backup"), not_before_us=0)
    made.work()

    assert made.backup(THIRD)["status"] == "available"
    made.restore(THIRD)
    made.work()
    assert made.content(NEW_VOLUME) == before
    made.check()


def _waiting(made: Bench, kind: str) -> str:
    (found,) = [row["id"] for row in made.base.rows(tables.operations) if row["kind"] == kind]
    return str(found)


def test_a_manifest_that_cannot_be_read_ends_the_collection(made: Bench) -> None:
    """Nothing is condemned on half a picture; it is tried again."""
    (key,) = [key for key in made.objects.objects if "/manifests/" in key]
    made.objects.objects[key] = b"damaged"
    states = made.pack_states()
    assert collect(made)
    made.work()

    (logged,) = [row for row in made.base.rows(tables.operation_log) if row["kind"] == garbage.KIND]
    assert (logged["outcome"], "cannot be read" in logged["detail"]) == ("failed", True)
    assert made.pack_states() == states
    assert made.base.row(tables.archives, ARCHIVE)["collect_after_us"] > made.base.now_us
