"""What a backup has stored so far is kept in rows, which say as much as the checkpoint, and go with the operation."""

import random
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from tests.backup.bench import ARCHIVE, BACKUP, BLOCK, GIB, NEW_VOLUME, Bench, bench
from tests.store.given import Base

from breezeblock.backup.engine import Segment
from breezeblock.protocol import segments
from breezeblock.store import tables
from breezeblock.work.segments import ROWS_FROM

SIZE_GIB = 4


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Bench]:
    """A volume of 4 GiB with a block of data at the beginning of each."""
    with bench(tmp_path) as one:
        one.create_volume(size_gib=SIZE_GIB)
        chance = random.Random(3)
        for number in range(SIZE_GIB):
            one.write(number * GIB, chance.randbytes(BLOCK))
        yield one


def rows(made: Bench) -> list[int]:
    return [row["number"] for row in made.base.rows(tables.backup_segments)]


def read_segments(made: Bench) -> list[int]:
    """Which segments whoever works from now on reads."""
    found: list[int] = []
    real = made.driver.read

    async def read(name, *, offset, length):  # type: ignore[no-untyped-def]
        found.append(offset // GIB)
        return await real(name, offset=offset, length=length)

    made.driver.read = read  # type: ignore[method-assign]
    return found


def die_with(made: Bench, count: int) -> int:
    """Let nodes work and die until so many segments are saved, or one more. How many there are.

    Three transactions each: two may get names of packs, since the next segment begins while one is uploaded.
    """
    while len(rows(made)) < count:
        assert made.die(at=3, after=True), "it was done before"
    return len(rows(made))


def restored(made: Bench) -> dict[int, bytes]:
    made.restore()
    made.work()
    return made.content(NEW_VOLUME)


@pytest.mark.parametrize("count", [1, 3, SIZE_GIB])
def test_whoever_goes_on_begins_with_the_segment_after_the_last_row(made: Bench, count: int) -> None:
    before = made.content()
    made.back_up()
    done = die_with(made, count)
    read = read_segments(made)
    made.work()

    assert set(read) == set(range(done, SIZE_GIB))
    assert made.backup()["status"] == "available"
    made.check()
    assert restored(made) == before


def test_a_checkpoint_does_not_grow_with_the_volume(made: Bench) -> None:
    """What the operation's row keeps is the same after one segment as after all."""
    made.back_up()
    sizes = []
    for count in (1, SIZE_GIB):
        die_with(made, count)
        sizes.append(len(made.base.rows(tables.operations)[0]["state_json"]))

    assert sizes[0] == sizes[1]


def test_what_was_read_of_other_storage_is_read_again(made: Bench) -> None:
    """A failover has come between: the storage in use may lag behind."""
    before = made.content()
    made.back_up()
    die_with(made, 2)
    for row in made.base.rows(tables.backup_segments):
        made.base.run(segments.put, backup_id=BACKUP, read_in=-1, rows=[(row["number"], row["segment_json"])])
    read = read_segments(made)
    made.work()

    assert set(read) == set(range(SIZE_GIB))
    made.check()
    assert restored(made) == before


def test_a_backup_of_the_release_before_goes_on_in_its_way(made: Bench) -> None:
    """Its operation has the version that nodes of that release take, and they look for segments in its state."""
    before = made.content()
    made.back_up()
    operation = made.base.rows(tables.operations)[0]
    made.base.change(tables.operations, operation["id"], version=ROWS_FROM - 1)
    saved: list[object] = []
    while len(saved) < 2:
        assert made.die(at=3, after=True)
        saved = msgspec.json.decode(made.base.rows(tables.operations)[0]["state_json"]).get("segments", [])
    assert rows(made) == []
    read = read_segments(made)
    made.work()

    assert set(read) == set(range(len(saved), SIZE_GIB))
    made.check()
    assert restored(made) == before


def test_a_backup_that_is_given_up_leaves_no_rows(made: Bench) -> None:
    """Also by nodes that do not understand it, and by its deletion."""
    made.back_up()
    die_with(made, 2)
    made.park(unknown=True)
    assert rows(made) == []

    made.delete()
    made.work()
    made.check()


@pytest.fixture
def base() -> Iterator[Base]:
    base = Base()
    yield base
    base.close()


def saved(base: Base, numbers: range, *, read_in: int = 0) -> None:
    rows = [(number, msgspec.json.encode(Segment(number, GIB)).decode()) for number in numbers]
    base.run(segments.put, backup_id=BACKUP, read_in=read_in, rows=rows)


def test_rows_are_removed_some_at_a_time(base: Base) -> None:
    """Those of other backups stay."""
    saved(base, range(5))
    base.run(segments.put, backup_id=ARCHIVE, read_in=0, rows=[(0, "{}")])

    more = [base.run(segments.forget_some, backup_id=BACKUP, most=2) for _ in range(4)]

    assert more == [True, True, False, False]
    assert [row["backup_id"] for row in base.rows(tables.backup_segments)] == [ARCHIVE]


def test_rows_are_read_in_pages(base: Base) -> None:
    saved(base, range(5))

    pages = [base.run(segments.page, backup_id=BACKUP, start=start, most=2) for start in (0, 2, 4, 6)]

    assert [[number for number, _ in page] for page in pages] == [[0, 1], [2, 3], [4], []]


def test_a_segment_that_is_stored_again_replaces_the_row(base: Base) -> None:
    """Read in another generation: what is left of the one before does not count."""
    saved(base, range(4), read_in=1)
    saved(base, range(2), read_in=2)

    assert [base.run(segments.count, backup_id=BACKUP, read_in=of) for of in (1, 2)] == [2, 2]
    assert len(base.rows(tables.backup_segments)) == 4
