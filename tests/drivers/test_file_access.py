"""Accesses to volumes of a folder: given once, whoever dies while giving or taking them back."""

import asyncio
import uuid

import pytest
from tests.drivers.guards import CrashAt, WithoutLocks, until_it_does_not_crash
from tests.drivers.places import MIB, Place

from breezeblock.drivers.contract import ObjectName
from breezeblock.model.errors import BackendFailed

HOST = {"host": "here"}


def fresh() -> ObjectName:
    return ObjectName(str(uuid.uuid4()), 1, 1)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_an_access_is_whole_or_absent_and_a_repeat_gives_it(place: Place, after: bool) -> None:
    async def story() -> None:
        name, access, driver = fresh(), fresh(), place.driver()
        await driver.check(known=False)
        await driver.create(name, size_bytes=MIB)

        async def attempt(nth: int) -> None:
            bound = driver.bind(WithoutLocks(CrashAt(nth, after=after)))
            given = await bound.connect(name, access, connector=HOST, mode="rw")
            assert given == {"driver_volume_type": "local", "data": {"device_path": str(place.path(name))}}

        assert await until_it_does_not_crash(attempt) > 3
        assert await driver.accesses() == await driver.accesses(access.resource_id) == (access,)
        assert await driver.every_name() == (name,)

        async def take_back(nth: int) -> None:
            await driver.bind(WithoutLocks(CrashAt(nth, after=after))).disconnect(access)

        await until_it_does_not_crash(take_back)
        assert await driver.accesses() == ()
        assert await driver.exists(name)

    asyncio.run(story())


def test_nothing_is_connected_that_is_not_there_and_anything_is_disconnected(place: Place) -> None:
    async def story() -> None:
        driver = place.driver()
        await driver.check(known=False)
        await driver.disconnect(fresh())
        with pytest.raises(BackendFailed, match="not on backend"):
            await driver.connect(fresh(), fresh(), connector=HOST, mode="ro")
        assert await driver.accesses() == ()

    asyncio.run(story())
