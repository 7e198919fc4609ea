"""What a backup was read from is kept, and tells what has changed since: on each kind of place, or not at all."""

import asyncio
import itertools
import random
import subprocess
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.drivers.guards import CrashAt, FakeClock, until_it_does_not_crash
from tests.drivers.places import MIB, Place

from breezeblock.drivers.contract import ObjectName
from breezeblock.drivers.extents import differing
from breezeblock.drivers.file import FileDriver
from breezeblock.env.contract import Extent
from breezeblock.env.files import RealFiles
from breezeblock.env.real import RealIds, RealThreads
from breezeblock.testing.memory_files import BLOCK, MemoryFiles

run = asyncio.run
VOLUME = ObjectName("11111111-0000-4000-8000-000000000001", 1, 1)
BACKUP = ObjectName("22222222-0000-4000-8000-000000000001", 1, 1)
SIZE = 4 * MIB


@pytest.fixture
def shares(place: Place) -> bool:
    """Whether files can share their data there."""
    return "xfs" in str(place.root) or getattr(getattr(place.files, "_disk", None), "reflink", False)


async def _volume(place: Place) -> None:
    driver = place.driver()
    await driver.check(known=False)
    await driver.create(VOLUME, size_bytes=SIZE)
    await place.files.write_at(place.path(VOLUME), offset=MIB, data=random.Random(1).randbytes(MIB))


def test_what_is_written_freed_and_grown_is_told(place: Place, shares: bool) -> None:
    """Only that: and what the kept object is does not change."""

    async def story() -> None:
        await _volume(place)
        driver, path = place.driver(), place.path(VOLUME)
        assert await driver.keep(VOLUME, BACKUP) is shares
        if not shares:
            assert await driver.every_name() == (VOLUME,), "nothing is left of the attempt"
            assert await driver.changes(VOLUME, since=BACKUP, offset=0, length=SIZE) is None
            return
        before = await driver.read(BACKUP, offset=0, length=SIZE)
        assert await driver.changes(VOLUME, since=BACKUP, offset=0, length=SIZE) == []

        await place.files.write_at(path, offset=MIB + 8 * BLOCK, data=b"x" * BLOCK)
        await place.files.write_at(path, offset=3 * MIB, data=b"y")
        changed = await driver.changes(VOLUME, since=BACKUP, offset=0, length=SIZE)
        assert changed == [(MIB + 8 * BLOCK, MIB + 9 * BLOCK), (3 * MIB, 3 * MIB + BLOCK)]
        assert await driver.changes(VOLUME, since=BACKUP, offset=3 * MIB, length=MIB) == changed[1:]
        assert await driver.read(BACKUP, offset=0, length=SIZE) == before

        await driver.extend(VOLUME, size_bytes=2 * SIZE)
        await place.files.write_at(path, offset=SIZE + MIB, data=b"z")
        found = await driver.changes(VOLUME, since=BACKUP, offset=SIZE, length=SIZE)
        assert found and any(start <= SIZE + MIB < end for start, end in found)

    run(story())


def test_a_hole_that_was_data_is_a_change(xfs: Path, tmp_path: Path, threads: RealThreads) -> None:
    """As after a discard by whoever uses the volume."""
    place = Place(RealFiles(threads), PurePosixPath(xfs / f"{tmp_path.name}-holes"))

    async def story() -> None:
        await _volume(place)
        driver = place.driver()
        assert await driver.keep(VOLUME, BACKUP)
        hole = ["fallocate", "-p", "-o", str(MIB), "-l", str(16 * BLOCK), str(place.path(VOLUME))]
        await asyncio.to_thread(subprocess.run, hole, check=True)
        assert await driver.changes(VOLUME, since=BACKUP, offset=0, length=SIZE) == [(MIB, MIB + 16 * BLOCK)]

    run(story())


def test_what_is_not_kept_any_more_tells_nothing(place: Place) -> None:
    async def story() -> None:
        await _volume(place)
        driver = place.driver()
        await driver.keep(VOLUME, BACKUP)
        await driver.delete(BACKUP)
        assert await driver.changes(VOLUME, since=BACKUP, offset=0, length=SIZE) is None
        assert await driver.every_name() == (VOLUME,)

    run(story())


def test_keeping_twice_is_keeping_once(place: Place, shares: bool) -> None:
    """What is there by that name is what was kept first."""

    async def story() -> None:
        await _volume(place)
        driver = place.driver()
        assert await driver.keep(VOLUME, BACKUP) is shares
        await place.files.write_at(place.path(VOLUME), offset=0, data=b"later")
        assert await driver.keep(VOLUME, BACKUP) is shares
        if shares:
            assert await driver.read(BACKUP, offset=0, length=5) == bytes(5)

    run(story())


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_crash_or_a_power_cut_at_any_effect_keeps_it_whole_or_not(place: Place, shares: bool, after: bool) -> None:
    """And keeping it again completes it; deleting it leaves nothing."""

    async def story() -> None:
        await _volume(place)
        await place.files.sync(place.path(VOLUME))
        before = await place.driver().read(VOLUME, offset=0, length=SIZE)

        async def attempt(nth: int) -> None:
            try:
                await place.driver().bind(CrashAt(nth, after=after)).keep(VOLUME, BACKUP)
            finally:
                if isinstance(place.files, MemoryFiles):
                    place.files.lose_power()
                if await place.driver().exists(BACKUP):
                    assert await place.driver().read(BACKUP, offset=0, length=SIZE) == before
                assert await place.driver().keep(VOLUME, BACKUP) is shares
                if isinstance(place.files, MemoryFiles):
                    place.files.lose_power()
                if shares:
                    assert await place.driver().read(BACKUP, offset=0, length=SIZE) == before
                await place.driver().delete(BACKUP)
                assert await place.driver().every_name() == (VOLUME,)

        assert await until_it_does_not_crash(attempt) >= (2 if shares else 1)

    run(story())


def test_nothing_is_kept_where_that_is_turned_off(place: Place) -> None:
    async def story() -> None:
        await _volume(place)
        given = {"name": "fast", "path": place.root, "clock": FakeClock(), "ids": RealIds()}
        driver = FileDriver(place.files, **given, track_changes=False)  # type: ignore[arg-type]
        assert not await driver.keep(VOLUME, BACKUP)
        assert await driver.every_name() == (VOLUME,)

    run(story())


# --- what differs, from places alone ------------------------------------------------------------------------------------

LONGEST = 24


@st.composite
def _files(draw: st.DrawFn) -> tuple[list[Extent], dict[int, int | None]]:
    """The extents of a file, and where each of its bytes lies; None: somewhere. A byte in a hole is in no place."""
    extents: list[Extent] = []
    at = 0
    while at < LONGEST:
        at += draw(st.integers(0, 4))
        length = draw(st.integers(1, 6))
        place = draw(st.one_of(st.none(), st.integers(0, 3), st.just(at)))
        extents.append(Extent(at, at + length, place))
        at += length
    places = {
        byte: None if extent.place is None else extent.place + byte - extent.start
        for extent in extents
        for byte in range(extent.start, extent.end)
    }
    return extents, places


@settings(max_examples=300, deadline=None)
@given(old=_files(), now=_files(), start=st.integers(0, LONGEST), length=st.integers(0, LONGEST))
def test_what_differs_is_what_differs_byte_by_byte(
    old: tuple[list[Extent], dict[int, int | None]],
    now: tuple[list[Extent], dict[int, int | None]],
    start: int,
    length: int,
) -> None:
    def same(byte: int) -> bool:
        if (byte in old[1]) != (byte in now[1]):
            return False
        return byte not in old[1] or (old[1][byte] is not None and old[1][byte] == now[1][byte])

    found = differing(old[0], now[0], start=start, end=start + length)

    assert {byte for a, b in found for byte in range(a, b)} == {
        byte for byte in range(start, start + length) if not same(byte)
    }
    assert all(a < b for a, b in found)
    assert all(one[1] < two[0] for one, two in itertools.pairwise(found))
