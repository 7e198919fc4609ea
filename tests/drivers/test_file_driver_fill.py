"""The file driver reads objects for backups, and makes them of pieces; crashes of it are in `test_file_driver.py`."""

import asyncio
import uuid
from collections.abc import AsyncGenerator
from pathlib import PurePosixPath

import pytest
from tests.drivers.guards import FakeClock, Saved
from tests.drivers.places import MIB, Place, pieces_of

from breezeblock.drivers.contract import ObjectName
from breezeblock.model.errors import BackendFailed, Cancelled, Fenced
from breezeblock.testing.memory_files import MemoryFiles

run = asyncio.run
PIECE = 4 * MIB
# 96 MiB: a save after each 64.
MANY = tuple((number * PIECE, bytes([number + 1]) * PIECE) for number in range(24))


class Away(Exception):
    """Where the pieces come from does not answer."""


def fresh() -> ObjectName:
    return ObjectName(str(uuid.uuid4()), 1, 1)


async def checked(place: Place) -> Place:
    await place.driver().check(known=False)
    return place


def test_what_is_read_is_what_was_filled(place: Place) -> None:
    """Bytes anywhere, fewer at the end; and where the data is, which may be told too widely but never too narrowly."""

    async def story() -> None:
        driver, name = (await checked(place)).driver(), fresh()
        await driver.fill(name, size_bytes=3 * MIB, pieces=pieces_of((MIB, b"x" * 65536)), progress=Saved())

        assert await driver.read(name, offset=MIB - 1, length=3) == b"\0xx"
        assert await driver.read(name, offset=3 * MIB - 2, length=65536) == bytes(2)
        first = await driver.next_data(name, 0)
        assert first is not None
        assert first[0] <= MIB and first[1] >= MIB + 65536
        assert await driver.next_data(name, 3 * MIB) is None

    run(story())


def test_an_object_that_is_not_there_cannot_be_read(place: Place) -> None:
    async def story() -> None:
        driver = (await checked(place)).driver()

        with pytest.raises(BackendFailed):
            await driver.read(fresh(), offset=0, length=1)
        with pytest.raises(BackendFailed):
            await driver.next_data(fresh(), 0)

    run(story())


def test_pieces_of_nothing_make_zeros(place: Place) -> None:
    async def story() -> None:
        driver, name = (await checked(place)).driver(), fresh()
        await driver.fill(name, size_bytes=MIB, pieces=pieces_of(), progress=Saved())

        assert await place.files.size(place.path(name)) == MIB
        assert await driver.read(name, offset=0, length=MIB) == bytes(MIB)

    run(story())


@pytest.mark.parametrize("error", [Away(), Cancelled("o"), Fenced()])
def test_what_the_pieces_raise_passes_and_a_repeat_goes_on(error: BaseException) -> None:
    """Only from what was saved, and the object is not there before it is whole."""

    async def story() -> None:
        place, name, progress = await checked(Place(MemoryFiles(), PurePosixPath("/fast"))), fresh(), Saved()
        asked: list[int] = []

        async def failing(start: int) -> AsyncGenerator[tuple[int, bytes], None]:
            for offset, data in MANY[:20]:
                yield offset, data
            raise error

        async def rest(start: int) -> AsyncGenerator[tuple[int, bytes], None]:
            asked.append(start)
            async for offset, data in pieces_of(*MANY)(start):
                yield offset, data

        driver = place.driver(clock=FakeClock())
        with pytest.raises(type(error)):
            await driver.fill(name, size_bytes=100 * MIB, pieces=failing, progress=progress)
        assert not await driver.exists(name)
        await driver.fill(name, size_bytes=100 * MIB, pieces=rest, progress=Saved(progress.done_bytes))

        assert asked == [progress.done_bytes]
        assert progress.done_bytes >= 64 * MIB
        assert [await driver.read(name, offset=at, length=1) for at, _ in MANY] == [data[:1] for _, data in MANY]

    run(story())


def test_filling_again_leaves_what_was_written(place: Place) -> None:
    """A finished object is in use; nobody is asked for pieces any more."""

    async def story() -> None:
        driver, name = (await checked(place)).driver(), fresh()
        await driver.fill(name, size_bytes=MIB, pieces=pieces_of((0, b"first")), progress=Saved())
        await place.files.write_at(place.path(name), offset=0, data=b"later")

        await driver.fill(name, size_bytes=MIB, pieces=pieces_of((0, b"first")), progress=Saved())

        assert await driver.read(name, offset=0, length=5) == b"later"

    run(story())


def test_a_full_disk_keeps_nothing_half_made(small_place: Place) -> None:
    async def story() -> None:
        driver, name = (await checked(small_place)).driver(), fresh()

        with pytest.raises(BackendFailed, match="has no space left"):
            await driver.fill(name, size_bytes=96 * MIB, pieces=pieces_of(*MANY), progress=Saved())

        assert await driver.every_name() == ()

    run(story())
