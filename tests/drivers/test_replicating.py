"""The simulated array that replicates, and its driver: what tests of failovers may rely on."""

import asyncio
from collections.abc import Coroutine
from pathlib import PurePosixPath
from typing import Any, TypeVar

import pytest
from tests.drivers.guards import FakeClock

from breezeblock.drivers.contract import ObjectName
from breezeblock.drivers.file import FileDriver
from breezeblock.env.real import RealIds
from breezeblock.model.errors import BackendFailed
from breezeblock.testing.memory_files import MemoryFiles
from breezeblock.testing.replicating import DEFAULT, SECONDARY, Array, ReplicatingDriver, _ArrayFiles

T = TypeVar("T")
MIB = 1 << 20
ONE = ObjectName("11111111-0000-4000-8000-000000000001", 1, 1)
OTHER = ObjectName("11111111-0000-4000-8000-000000000002", 1, 1)


class NoProgress:
    done_bytes = 0

    async def save(self, done_bytes: int) -> None:
        """Nothing is kept."""


@pytest.fixture
def disk() -> MemoryFiles:
    return MemoryFiles()


@pytest.fixture
def array(disk: MemoryFiles) -> Array:
    """An array on which ONE is replicated and OTHER is not."""
    roots = {"primary": PurePosixPath("/array/a"), "secondary": PurePosixPath("/array/b")}
    return Array(disk, **roots, replicates=lambda resource_id: resource_id == ONE.resource_id)


@pytest.fixture
def driver(disk: MemoryFiles, array: Array) -> ReplicatingDriver:
    made = ReplicatingDriver(disk, array=array, name="fast", clock=FakeClock(), ids=RealIds())
    run(made.check(known=False))
    run(made.create(ONE, size_bytes=MIB))
    run(made.create(OTHER, size_bytes=MIB))
    return made


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


def content(disk: MemoryFiles, root: PurePosixPath, name: ObjectName) -> bytes:
    return run(disk.read_at(root / name.resource_id[:2] / str(name), offset=0, length=8))


def test_it_says_where_it_can_fail_over_to(driver: ReplicatingDriver) -> None:
    assert driver.capabilities.replication == (SECONDARY,)
    with pytest.raises(BackendFailed, match="north"):
        driver.on("north")


def test_what_is_replicated_is_on_both_sides(driver: ReplicatingDriver) -> None:
    there = driver.on(SECONDARY)

    assert (run(there.exists(ONE)), run(there.exists(OTHER))) == (True, False)
    assert run(there.every_name()) == (ONE,)


def test_every_effect_is_mirrored_as_it_lands(disk: MemoryFiles, array: Array, driver: ReplicatingDriver) -> None:
    """Data, lengths, copies and deletions."""
    two = ObjectName(ONE.resource_id, 2, 1)
    primary, secondary = array.roots[DEFAULT], array.roots[SECONDARY]
    run(driver._files.write_at(primary / "11" / str(ONE), offset=0, data=b"contents"))
    run(driver.copy(ONE, two, size_bytes=MIB, progress=NoProgress()))
    run(driver.extend(two, size_bytes=2 * MIB))
    run(driver.delete(ONE))

    assert content(disk, secondary, two) == b"contents"
    assert run(disk.size(secondary / "11" / str(two))) == 2 * MIB
    assert run(driver.on(SECONDARY).every_name()) == (two,)


def test_only_the_active_side_takes_effects(array: Array, driver: ReplicatingDriver) -> None:
    """What arrives late for the side that was left reaches neither."""
    two = ObjectName(ONE.resource_id, 2, 1)
    with pytest.raises(BackendFailed, match="read-only"):
        run(driver.on(SECONDARY).delete(ONE))
    run(driver.failover(SECONDARY))

    with pytest.raises(BackendFailed, match="read-only"):
        run(driver.create(two, size_bytes=MIB))
    run(driver.on(SECONDARY).create(two, size_bytes=MIB))

    assert array.root == array.roots[SECONDARY]
    assert (run(driver.exists(two)), run(driver.on(SECONDARY).exists(two))) == (False, True)


def test_a_failback_brings_back_what_was_done_meanwhile(driver: ReplicatingDriver) -> None:
    """Of what is replicated; the rest is where it was."""
    two = ObjectName(ONE.resource_id, 2, 1)
    run(driver.failover(SECONDARY))
    run(driver.on(SECONDARY).create(two, size_bytes=MIB))
    run(driver.on(SECONDARY).delete(ONE))

    run(driver.failover(DEFAULT))
    run(driver.failover(DEFAULT))

    assert run(driver.every_name()) == (two, OTHER)


def test_a_failed_side_fails_its_calls_and_no_others(array: Array, driver: ReplicatingDriver) -> None:
    array.fail(DEFAULT)
    with pytest.raises(BackendFailed):
        run(driver.exists(ONE))
    with pytest.raises(BackendFailed):
        run(driver.extend(ONE, size_bytes=2 * MIB))

    run(driver.failover(SECONDARY))

    run(driver.on(SECONDARY).extend(ONE, size_bytes=2 * MIB))
    with pytest.raises(BackendFailed):
        run(driver.failover(DEFAULT))
    array.repair(DEFAULT)
    run(driver.failover(DEFAULT))
    assert run(driver.exists(ONE))


def test_the_secondary_catches_up_after_its_repair(array: Array, driver: ReplicatingDriver) -> None:
    two = ObjectName(ONE.resource_id, 2, 1)
    array.fail(SECONDARY)
    run(driver.create(two, size_bytes=MIB))
    run(driver.delete(ONE))

    array.repair(SECONDARY)

    assert run(driver.on(SECONDARY).every_name()) == (two,)


def test_a_call_that_hung_through_a_failover_lands_nowhere(array: Array, driver: ReplicatingDriver) -> None:
    """It goes on when its side answers again, and is refused."""
    two = ObjectName(ONE.resource_id, 2, 1)

    async def story() -> None:
        array.hang(DEFAULT)
        hung = asyncio.ensure_future(driver.create(two, size_bytes=MIB))
        await asyncio.sleep(0)
        await driver.failover(SECONDARY)
        assert not hung.done()
        array.repair(DEFAULT)
        with pytest.raises(BackendFailed):
            await hung

    run(story())
    assert run(driver.on(SECONDARY).every_name()) == (ONE,)


def test_a_failover_that_hung_through_a_later_one_changes_nothing(array: Array, driver: ReplicatingDriver) -> None:
    """Its time was up, the operator went on with another one, and the service works where that has led."""

    async def story() -> None:
        array.hang(SECONDARY)
        hung = asyncio.ensure_future(driver.failover(SECONDARY))
        await asyncio.sleep(0)
        await driver.failover(DEFAULT)
        array.repair(SECONDARY)
        with pytest.raises(BackendFailed):
            await hung

    run(story())
    assert array.active == DEFAULT
    assert run(driver.exists(OTHER))


def test_a_call_asks_for_its_lease_before_it_hangs_and_not_after(disk: MemoryFiles, array: Array) -> None:
    """A lease that ends while the call is with the array was there when the call began (seed 2059, *Lease*)."""
    began: list[str] = []

    async def stalled(call: str, path: PurePosixPath, guarded: bool) -> None:
        began.append(call)

    async def story() -> None:
        files = _ArrayFiles.over(disk.view(stalled=stalled), array)
        array.hang(DEFAULT)
        hung = asyncio.ensure_future(files.create(PurePosixPath("/array/a/new"), size_bytes=MIB))
        for _ in range(10):
            await asyncio.sleep(0)
        assert (began, hung.done()) == (["create"], False)
        array.repair(DEFAULT)
        await hung

    run(story())


def test_the_file_driver_has_no_targets(disk: MemoryFiles) -> None:
    plain = FileDriver(disk, name="fast", path=PurePosixPath("/fast"), clock=FakeClock(), ids=RealIds())

    assert plain.capabilities.replication == ()
    assert plain.on("default") is plain
    with pytest.raises(BackendFailed, match="no replication target"):
        run(plain.failover("east"))
