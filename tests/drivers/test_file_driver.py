"""The file driver keeps each promise of the driver contract, on real filesystems and in memory."""

import asyncio
import errno
import hashlib
import os
import uuid
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.drivers import filesystems
from tests.drivers.guards import ClosingGate, Crash, CrashAt, FakeClock, Meanwhile, Saved, until_it_does_not_crash
from tests.drivers.places import MIB, Place, pieces_of

from breezeblock.drivers.contract import Driver, FenceScope, ObjectName
from breezeblock.drivers.file import MARKER, PIECE_BYTES, SAVE_EVERY_BYTES, FileDriver
from breezeblock.drivers.sentences import SENTENCES
from breezeblock.env.contract import Files
from breezeblock.env.files import RealFiles
from breezeblock.env.real import RealIds, RealThreads
from breezeblock.model.errors import BackendFailed, Cancelled, Fenced
from breezeblock.testing.memory_files import MemoryFiles

run = asyncio.run
Extent = tuple[int, bytes]
BLOCK = 4096


def fresh(seq: int = 1, epoch: int = 1) -> ObjectName:
    return ObjectName(str(uuid.uuid4()), seq, epoch)


async def content(files: Files, path: PurePosixPath) -> str:
    """The hash of a file's length and bytes; of runs of zeros only their place."""
    digest, offset = hashlib.sha256(), 0
    size = await files.size(path)
    while offset < size:
        data = await files.read_at(path, offset=offset, length=BLOCK * 64)
        if data.strip(b"\0"):
            digest.update(offset.to_bytes(8, "big") + data)
        offset += len(data)
    return f"{size} {digest.hexdigest()}"


async def given_volume(place: Place, *extents: Extent, size_bytes: int = MIB) -> ObjectName:
    name = fresh()
    await place.driver().check(known=False)
    await place.driver().create(name, size_bytes=size_bytes)
    for offset, data in extents:
        await place.files.write_at(place.path(name), offset=offset, data=data)
    await place.files.sync(place.path(name))
    return name


async def data_of(files: Files, path: PurePosixPath) -> int:
    """Bytes of data that are no hole."""
    total, offset = 0, 0
    while (found := await files.next_data(path, offset)) is not None:
        total, offset = total + found[1] - found[0], found[1]
    return total


class Watched:
    """Files that note each call, and fail those of one name with an error number."""

    def __init__(self, files: Files, *, fail: str = "", number: int = 0) -> None:
        self._files = files
        self._fail = fail
        self._number = number
        self.calls: list[tuple[str, dict[str, int]]] = []

    def __getattr__(self, call: str) -> Callable[..., Awaitable[object]]:
        async def wrapped(*args: object, **kwargs: int) -> object:
            self.calls.append((call, kwargs))
            if call == self._fail:
                raise OSError(self._number, os.strerror(self._number))
            return await getattr(self._files, call)(*args, **kwargs)

        return wrapped

    def offsets(self, call: str) -> list[int]:
        return [kwargs["offset"] for name, kwargs in self.calls if name == call]


class NoReflink(Watched):
    """A filesystem that must copy."""

    def guarded(self, guard: object) -> "NoReflink":
        return NoReflink(self._files.guarded(guard))  # type: ignore[arg-type]

    async def reflink(self, source: PurePosixPath, target: PurePosixPath) -> bool:
        return False


# Creating.


def test_a_new_volume_reads_as_zeros(place: Place) -> None:
    """All of it, and it takes no space."""

    async def story() -> None:
        name = await given_volume(place, size_bytes=4 * MIB)

        assert await place.files.read_at(place.path(name), offset=0, length=8 * MIB) == bytes(4 * MIB)
        assert await data_of(place.files, place.path(name)) <= BLOCK

    run(story())


def test_creating_again_leaves_what_was_written(place: Place) -> None:
    """A repeat after a lost answer meets a volume that may be in use."""

    async def story() -> None:
        name = await given_volume(place, (5, b"precious"))

        await place.driver().create(name, size_bytes=MIB)

        assert await place.files.read_at(place.path(name), offset=5, length=8) == b"precious"

    run(story())


def test_what_is_half_made_does_not_exist_and_is_no_volume_s_content(place: Place) -> None:
    """A part left by a crash is not seen as whole, and what is in it does not shine through."""

    async def story() -> None:
        await place.driver().check(known=False)
        name = fresh()
        await place.files.make_folder(place.part(name).parent)
        await place.files.create(place.part(name), size_bytes=0)
        await place.files.write_at(place.part(name), offset=0, data=b"garbage")
        assert not await place.driver().exists(name)

        await place.driver().create(name, size_bytes=MIB)

        assert await place.driver().exists(name)
        assert await place.files.read_at(place.path(name), offset=0, length=MIB) == bytes(MIB)

    run(story())


@pytest.mark.parametrize(
    "resource_id", ["../../etc/passwd", "", "A" * 36, "0a0b/0c0d", "0A0B0C0D-0000-4000-8000-000000000000"]
)
def test_only_an_id_ever_becomes_a_file_name(place: Place, resource_id: str) -> None:
    """Whatever else arrives is a mistake of ours, and stops there."""

    async def story() -> None:
        await place.driver().check(known=False)
        with pytest.raises(AssertionError):
            await place.driver().create(ObjectName(resource_id, 1, 1), size_bytes=1)

    run(story())


# Copying.


def test_a_copy_is_independent_of_its_source(place: Place) -> None:
    """Whether its blocks were copied or shared."""

    async def story() -> None:
        source, target = await given_volume(place, (0, b"old")), fresh()
        await place.driver().copy(source, target, size_bytes=MIB, progress=Saved())

        await place.files.write_at(place.path(source), offset=0, data=b"new")

        assert await place.files.read_at(place.path(target), offset=0, length=3) == b"old"

    run(story())


def test_a_larger_copy_ends_in_zeros(place: Place) -> None:
    """A volume may be larger than the snapshot it comes from."""

    async def story() -> None:
        source, target = await given_volume(place, (MIB - 4, b"tail")), fresh()

        await place.driver().copy(source, target, size_bytes=2 * MIB, progress=Saved())

        assert await place.files.size(place.path(target)) == 2 * MIB
        tail = await place.files.read_at(place.path(target), offset=MIB - 4, length=2 * MIB)
        assert tail == b"tail" + bytes(MIB)

    run(story())


def test_a_copy_is_at_least_as_long_as_its_source(place: Place) -> None:
    """Also when the source ends in a hole, which is not copied."""

    async def story() -> None:
        source, target = await given_volume(place, (0, b"x"), size_bytes=2 * MIB), fresh()

        await place.driver().copy(source, target, size_bytes=MIB, progress=Saved())

        assert await place.files.size(place.path(target)) == 2 * MIB

    run(story())


def test_copying_again_leaves_what_was_written(place: Place) -> None:
    """A finished copy is in use; its source may even be gone."""

    async def story() -> None:
        source, target = await given_volume(place, (0, b"old")), fresh()
        await place.driver().copy(source, target, size_bytes=MIB, progress=Saved())
        await place.files.write_at(place.path(target), offset=0, data=b"new")
        await place.driver().delete(source)

        await place.driver().copy(source, target, size_bytes=MIB, progress=Saved())

        assert await place.files.read_at(place.path(target), offset=0, length=3) == b"new"

    run(story())


def test_a_copy_of_nothing_fails_and_leaves_nothing(place: Place) -> None:
    """The message says whose fault it is."""

    async def story() -> None:
        await place.driver().check(known=False)
        target = fresh()
        with pytest.raises(BackendFailed, match="source of the copy is not on backend fast"):
            await place.driver().copy(fresh(), target, size_bytes=MIB, progress=Saved())
        assert await place.driver().names_of(target.resource_id) == ()

    run(story())


extents = st.lists(
    st.tuples(st.integers(0, 24 * MIB), st.binary(min_size=1, max_size=3 * BLOCK), st.integers(1, 200)),
    max_size=6,
).map(lambda found: [(offset, data * times) for offset, data, times in found])


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(extents=extents, shared=st.booleans())
def test_any_sparse_content_is_copied_and_its_holes_stay_holes(
    place: Place, extents: list[Extent], shared: bool
) -> None:
    """With and without shared blocks."""

    async def story() -> None:
        source, target = await given_volume(place, *extents), fresh()
        files = place.files if shared else NoReflink(place.files)

        await place.driver(files=files).copy(source, target, size_bytes=MIB, progress=Saved())  # type: ignore[arg-type]

        assert await content(place.files, place.path(target)) == await content(place.files, place.path(source))
        copied = await data_of(place.files, place.path(target))
        assert copied <= await data_of(place.files, place.path(source)) + BLOCK
        await place.driver().delete(source)
        await place.driver().delete(target)

    run(story())


def test_a_copy_in_memory_of_a_sparse_gib_is_cheap() -> None:
    """One call per run of data, none per hole."""

    async def story() -> None:
        place = Place(MemoryFiles(), PurePosixPath("/fast"))
        source, target = await given_volume(place, (0, b"a"), (1023 * MIB, b"b"), size_bytes=1024 * MIB), fresh()
        watched = Watched(place.files)

        await place.driver(files=watched).copy(source, target, size_bytes=1, progress=Saved())  # type: ignore[arg-type]

        assert watched.offsets("copy_range") == [0, 1023 * MIB]

    run(story())


# Resuming.


async def given_interrupted_copy(
    place: Place, then: BaseException, *, nth: int = 2
) -> tuple[ObjectName, ObjectName, Saved]:
    """A copy of 20 MiB of data over 28 MiB that stopped at its nth save; time passes fast, so each piece is saved."""
    source, target = await given_volume(place, (0, b"ab" * 5 * MIB), (18 * MIB, b"cd" * 5 * MIB)), fresh()
    progress = Saved(nth=nth, then=then)
    slow = place.driver(files=NoReflink(place.files), clock=FakeClock(tick=1.0))  # type: ignore[arg-type]
    with pytest.raises(type(then)):
        await slow.copy(source, target, size_bytes=MIB, progress=progress)
    return source, target, progress


@pytest.mark.parametrize("then", [Fenced(), Cancelled(), Crash()], ids=lambda error: type(error).__name__)
def test_an_interrupted_copy_goes_on_where_it_was_saved(place: Place, then: BaseException) -> None:
    """No byte before the saved offset is copied again, and the result is right."""

    async def story() -> None:
        source, target, progress = await given_interrupted_copy(place, then)
        assert not await place.driver().exists(target)
        watched = NoReflink(place.files)

        resumed = Saved(progress.done_bytes)
        await place.driver(files=watched).copy(source, target, size_bytes=MIB, progress=resumed)  # type: ignore[arg-type]

        assert progress.done_bytes >= PIECE_BYTES
        assert min(watched.offsets("copy_range")) >= progress.done_bytes
        assert await content(place.files, place.path(target)) == await content(place.files, place.path(source))

    run(story())


def test_progress_without_its_part_is_worth_nothing(place: Place) -> None:
    """The part is gone: progress is set back before the first byte, and everything is copied."""

    async def story() -> None:
        source, target, progress = await given_interrupted_copy(place, Fenced())
        await place.files.remove(place.part(target))

        resumed = Saved(progress.done_bytes)
        await place.driver(files=NoReflink(place.files)).copy(  # type: ignore[arg-type]
            source, target, size_bytes=MIB, progress=resumed
        )

        assert resumed.saves[0] == 0
        assert await content(place.files, place.path(target)) == await content(place.files, place.path(source))

    run(story())


def test_progress_beyond_a_shorter_part_is_worth_nothing(place: Place) -> None:
    """A part that lost its end is copied anew."""

    async def story() -> None:
        source, target, progress = await given_interrupted_copy(place, Fenced())
        await place.files.remove(place.part(target))
        await place.files.create(place.part(target), size_bytes=progress.done_bytes - 1)

        await place.driver().copy(source, target, size_bytes=MIB, progress=Saved(progress.done_bytes))

        assert await content(place.files, place.path(target)) == await content(place.files, place.path(source))

    run(story())


def test_a_copy_is_saved_after_each_64_mib(threads: RealThreads, tmp_path: Path) -> None:
    """When no time passes; and each piece is small enough to ask the guard often."""

    async def story() -> None:
        place = Place(RealFiles(threads), PurePosixPath(tmp_path / "fast"))
        source = await given_volume(place, *((at * MIB, b"x" * MIB) for at in range(130)), size_bytes=130 * MIB)
        watched, progress = NoReflink(place.files), Saved()

        await place.driver(files=watched).copy(source, fresh(), size_bytes=1, progress=progress)  # type: ignore[arg-type]

        assert progress.saves == [SAVE_EVERY_BYTES, 2 * SAVE_EVERY_BYTES]
        assert max(kwargs["length"] for call, kwargs in watched.calls if call == "copy_range") <= PIECE_BYTES

    run(story())


def test_what_progress_covers_survives_a_power_cut() -> None:
    """The sync comes before the save: a machine that loses power resumes to the right bytes."""

    async def story() -> None:
        disk = MemoryFiles()
        place = Place(disk, PurePosixPath("/fast"))
        source, target, progress = await given_interrupted_copy(place, Crash())

        disk.lose_power()
        watched, resumed = NoReflink(disk), Saved(progress.done_bytes)
        await place.driver(files=watched).copy(source, target, size_bytes=MIB, progress=resumed)  # type: ignore[arg-type]

        assert min(watched.offsets("copy_range")) >= progress.done_bytes >= PIECE_BYTES
        assert await content(disk, place.path(target)) == await content(disk, place.path(source))

    run(story())


# Speed.


@pytest.mark.parametrize("rate", [100_000, MIB, 100 * MIB])
def test_copies_keep_to_the_rate_limit(place: Place, rate: int) -> None:
    """Two at once share it: both together take as long as their bytes need, give or take one piece."""

    async def story() -> None:
        source = await given_volume(place, (0, b"x" * 2 * MIB), size_bytes=2 * MIB)
        clock = FakeClock()
        driver = place.driver(files=NoReflink(place.files), clock=clock, rate=rate)  # type: ignore[arg-type]
        began = clock.boottime()

        for _ in range(2):
            await driver.copy(source, fresh(), size_bytes=1, progress=Saved())

        piece = min(rate, 2 * MIB)
        assert (4 * MIB - piece) / rate <= clock.boottime() - began + 0.001 <= 4 * MIB / rate + 0.01

    run(story())


# Extending, deleting, listing.


def test_extending_keeps_the_data_and_adds_zeros(place: Place) -> None:
    """And twice is as good as once."""

    async def story() -> None:
        name = await given_volume(place, (MIB - 4, b"tail"))

        await place.driver().extend(name, size_bytes=3 * MIB)
        await place.driver().extend(name, size_bytes=3 * MIB)

        found = await place.files.read_at(place.path(name), offset=MIB - 4, length=4 * MIB)
        assert found == b"tail" + bytes(2 * MIB)
        assert await data_of(place.files, place.path(name)) <= 2 * BLOCK

    run(story())


def test_extending_never_shrinks(place: Place) -> None:
    """A call that lands late changes nothing."""

    async def story() -> None:
        name = await given_volume(place, (2 * MIB - 4, b"tail"), size_bytes=2 * MIB)

        await place.driver().extend(name, size_bytes=MIB)

        assert await place.files.size(place.path(name)) == 2 * MIB
        assert await place.files.read_at(place.path(name), offset=2 * MIB - 4, length=4) == b"tail"

    run(story())


def test_extending_what_is_not_there_fails(place: Place) -> None:
    """It does not make an empty volume in its place."""

    async def story() -> None:
        await place.driver().check(known=False)
        name = fresh()
        with pytest.raises(BackendFailed, match="not on backend fast"):
            await place.driver().extend(name, size_bytes=MIB)
        assert not await place.driver().exists(name)

    run(story())


def test_deleting_takes_the_half_made_along(place: Place) -> None:
    """And deleting again, or what never was, succeeds."""

    async def story() -> None:
        name = await given_volume(place)
        await place.files.create(place.part(name), size_bytes=5)

        await place.driver().delete(name)
        await place.driver().delete(name)
        await place.driver().delete(fresh())

        assert await place.driver().every_name() == ()

    run(story())


def test_a_resource_s_names_come_in_the_order_of_their_tokens(place: Place) -> None:
    """As numbers, not as text; half-made ones too, each once; those of others not."""

    async def story() -> None:
        driver, resource_id = place.driver(), str(uuid.uuid4())
        await driver.check(known=False)
        names = [ObjectName(resource_id, *token) for token in ((2, 1), (9, 10), (10, 2))]
        for name in reversed(names):
            await driver.create(name, size_bytes=1)
        await place.files.create(place.part(names[0]), size_bytes=1)
        half_made = ObjectName(resource_id, 11, 1)
        await place.files.create(place.part(half_made), size_bytes=1)
        other = ObjectName(resource_id[:2] + str(uuid.uuid4())[2:], 1, 1)
        await driver.create(other, size_bytes=1)

        assert await driver.names_of(resource_id) == (*names, half_made)
        assert set(await driver.every_name()) == {*names, half_made, other}
        await driver.extend(other, size_bytes=5)
        assert [await driver.length_of(name) for name in (*names, half_made, other)] == [1, 1, 1, None, 5]

    run(story())


def test_foreign_files_are_left_alone(place: Place) -> None:
    """They are no names of ours, and a volume of ours beside them is."""

    async def story() -> None:
        name = await given_volume(place)
        folder = place.path(name).parent
        for path in (place.root / "notes.txt", folder / "notes.txt", folder / f"{name}.bak", folder / "x.01.2"):
            await place.files.create(path, size_bytes=1)

        await place.driver().check(known=False)

        assert await place.driver().every_name() == (name,)
        assert await place.files.size(place.root / "notes.txt") == 1

    run(story())


def test_the_report_is_what_the_filesystem_says(place: Place) -> None:
    """One pool, named after the backend."""

    async def story() -> None:
        await place.driver().check(known=False)
        space = await place.files.space(place.root)

        (pool,) = await place.driver().report()

        assert (pool.name, pool.total_bytes) == ("fast", space.total_bytes)
        assert 0 < pool.free_bytes <= pool.total_bytes
        assert pool.capabilities["storage_protocol"] == "file"

    run(story())


def test_the_driver_says_what_it_can() -> None:
    """On a folder that machines share, killing processes of one machine is no proof."""
    made = {
        "files": MemoryFiles(),
        "name": "fast",
        "path": PurePosixPath("/fast"),
        "clock": FakeClock(),
        "ids": RealIds(),
    }

    local = FileDriver(**made, extra={"tier": "gold"}).capabilities  # type: ignore[arg-type]
    shared = FileDriver(**made, trusted_shared=True).capabilities  # type: ignore[arg-type]

    assert local.fence is FenceScope.SAME_MACHINE and local.online_extend and local.extra == {"tier": "gold"}
    assert local.storage_protocol == "file"
    assert shared.fence is FenceScope.NONE and shared.settle_s > 0


# Crashes.

Act = Callable[[Driver, ObjectName, ObjectName], Awaitable[None]]


async def _create(driver: Driver, _source: ObjectName, target: ObjectName) -> None:
    await driver.create(target, size_bytes=MIB)


async def _copy(driver: Driver, source: ObjectName, target: ObjectName) -> None:
    await driver.copy(source, target, size_bytes=2 * MIB, progress=Saved())


async def _fill(driver: Driver, _source: ObjectName, target: ObjectName) -> None:
    await driver.fill(target, size_bytes=2 * MIB, pieces=pieces_of((3, b"data"), (MIB, b"more")), progress=Saved())


SIZES: dict[Act, int] = {_create: MIB, _copy: 2 * MIB, _fill: 2 * MIB}
ACTS = pytest.mark.parametrize("act", [_create, _copy, _fill], ids=["create", "copy", "fill"])


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@ACTS
def test_a_crash_at_any_effect_leaves_the_object_whole_or_absent(place: Place, act: Act, after: bool) -> None:
    """And calling again completes it, whatever the crash left."""

    async def story() -> None:
        source = await given_volume(place, (3, b"data"))

        async def attempt(nth: int) -> None:
            target = fresh()
            try:
                await act(place.driver().bind(CrashAt(nth, after=after)), source, target)
            finally:
                whole = await place.driver().exists(target)
                assert not whole or await place.files.size(place.path(target)) == SIZES[act]
                await act(place.driver(), source, target)
                assert await place.driver().exists(target)
                assert await place.files.size(place.path(target)) == SIZES[act]
                assert await place.driver().names_of(target.resource_id) == (target,)
                expected = bytes(4) if act is _create else b"data"
                assert await place.files.read_at(place.path(target), offset=3, length=4) == expected
                with pytest.raises(FileNotFoundError):
                    await place.files.size(place.part(target))

        assert await until_it_does_not_crash(attempt) >= 3

    run(story())


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_crash_at_any_effect_of_an_extend_keeps_the_data(place: Place, after: bool) -> None:
    """And calling again completes it."""

    async def story() -> None:
        name = await given_volume(place, (0, b"data"))
        size = MIB

        async def attempt(nth: int) -> None:
            nonlocal size
            size += MIB
            try:
                await place.driver().bind(CrashAt(nth, after=after)).extend(name, size_bytes=size)
            finally:
                await place.driver().extend(name, size_bytes=size)
                assert await place.files.size(place.path(name)) == size
                assert await place.files.read_at(place.path(name), offset=0, length=4) == b"data"

        await until_it_does_not_crash(attempt)

    run(story())


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_crash_at_any_effect_of_a_delete_is_completed_by_the_next(place: Place, after: bool) -> None:
    """Nothing of the object is left in the end."""

    async def story() -> None:
        async def attempt(nth: int) -> None:
            name = await given_volume(place)
            await place.files.create(place.part(name), size_bytes=1)
            try:
                await place.driver().bind(CrashAt(nth, after=after)).delete(name)
            finally:
                await place.driver().delete(name)
                assert await place.driver().names_of(name.resource_id) == ()

        await until_it_does_not_crash(attempt)

    run(story())


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_crash_at_any_effect_of_the_first_check_is_completed_by_the_next(place: Place, after: bool) -> None:
    """A half-made marker is nobody's."""

    async def story() -> None:
        async def attempt(nth: int) -> None:
            root = place.root.with_name(f"fast{nth}")
            other = Place(place.files, root)
            try:
                await other.driver(files=other.files.guarded(CrashAt(nth, after=after))).check(known=False)
            finally:
                await other.driver().check(known=False)
                assert await other.driver().every_name() == ()
                assert await other.files.list_folder(root) == [MARKER]

        await until_it_does_not_crash(attempt)

    run(story())


@ACTS
def test_a_power_cut_at_any_effect_leaves_the_object_whole_or_absent(act: Act) -> None:
    """What was not synced is lost; what exists then is whole, and what was called done is there."""

    async def story() -> None:
        disk = MemoryFiles()
        place = Place(disk, PurePosixPath("/fast"))
        source = await given_volume(place, (3, b"data"))

        async def attempt(nth: int) -> None:
            target = fresh()
            done = False
            try:
                await act(place.driver().bind(CrashAt(nth, after=True)), source, target)
                done = True
            finally:
                disk.lose_power()
                whole = await place.driver().exists(target)
                assert whole or not done
                assert not whole or await disk.size(place.path(target)) == SIZES[act]
                await act(place.driver(), source, target)
                disk.lose_power()
                assert await disk.size(place.path(target)) == SIZES[act]

        await until_it_does_not_crash(attempt)

    run(story())


@ACTS
def test_what_a_repeat_calls_done_survives_a_power_cut(act: Act) -> None:
    """Also when the first attempt died between the rename and the sync of the folder."""

    async def story() -> None:
        disk = MemoryFiles()
        place = Place(disk, PurePosixPath("/fast"))
        source = await given_volume(place, (3, b"data"))

        async def attempt(nth: int) -> None:
            target = fresh()
            try:
                await act(place.driver().bind(CrashAt(nth, after=True)), source, target)
            finally:
                await act(place.driver(), source, target)
                disk.lose_power()
                assert await place.driver().exists(target)
                assert await disk.size(place.path(target)) == SIZES[act]

        await until_it_does_not_crash(attempt)

    run(story())


# The guard.


@pytest.mark.parametrize("nth", range(1, 7))
def test_nothing_lands_while_the_guard_is_closed(place: Place, nth: int) -> None:
    """It closes right before the nth effect; the copy waits, goes on when it opens, and the result is right."""

    async def story() -> None:
        source, target = await given_volume(place, (0, b"x" * 3 * PIECE_BYTES)), fresh()
        gate = ClosingGate(nth)
        driver = place.driver(files=NoReflink(place.files)).bind(gate)  # type: ignore[arg-type]
        copying = asyncio.create_task(driver.copy(source, target, size_bytes=1, progress=Saved()))
        await asyncio.wait([asyncio.create_task(gate.was_closed.wait()), copying], return_when="FIRST_COMPLETED")
        before = gate.effects
        for _ in range(20):
            await asyncio.sleep(0)
        assert gate.effects == before
        assert not copying.done()

        gate.open()
        await copying

        assert await content(place.files, place.path(target)) == await content(place.files, place.path(source))

    run(story())


def test_a_guard_that_never_opens_again_ends_the_call(place: Place) -> None:
    """Fenced passes through, and nothing was made."""

    class Over(CrashAt):
        async def wait_open(self) -> None:
            raise Fenced

    async def story() -> None:
        await place.driver().check(known=False)
        name = fresh()
        with pytest.raises(Fenced):
            await place.driver().bind(Over(1, after=False)).create(name, size_bytes=1)
        assert await place.driver().names_of(name.resource_id) == ()

    run(story())


# What the storage refuses.


def test_a_full_disk_leaves_nothing_half_made(small_place: Place) -> None:
    """The space that the copy took is free again, and the message says what to do about it."""

    async def story() -> None:
        place = small_place
        source = await given_volume(place, (0, b"x" * 9 * MIB), size_bytes=9 * MIB)
        free = (await place.files.space(place.root)).free_bytes
        target = fresh()

        with pytest.raises(BackendFailed, match="Backend fast has no space left"):
            await place.driver().copy(source, target, size_bytes=1, progress=Saved())
            await place.driver().copy(source, fresh(), size_bytes=1, progress=Saved())

        assert len(await place.driver().every_name()) <= 2
        assert not [name for name in await place.files.list_folder(place.path(target).parent) if "part" in name]
        assert (await place.files.space(place.root)).free_bytes >= free - 10 * MIB

    run(story())


def test_a_read_only_filesystem_says_so(tiny_ext4: Path, threads: RealThreads) -> None:
    """Nothing changes, reading goes on."""

    async def story() -> None:
        place = Place(RealFiles(threads), PurePosixPath(tiny_ext4 / "fast"))
        name = await given_volume(place)
        filesystems.remount(tiny_ext4, "ro")

        for act in (
            place.driver().create(fresh(), size_bytes=1),
            place.driver().copy(name, fresh(), size_bytes=1, progress=Saved()),
            place.driver().extend(name, size_bytes=2 * MIB),
            place.driver().delete(name),
        ):
            with pytest.raises(BackendFailed, match="Backend fast is mounted read-only"):
                await act

        assert await place.driver().every_name() == (name,)

    run(story())


@pytest.mark.parametrize("number", [*SENTENCES, errno.ENXIO], ids=lambda number: errno.errorcode[number])
def test_each_error_number_becomes_a_sentence(number: int) -> None:
    """It names the backend and no path."""

    async def story() -> None:
        place = Place(MemoryFiles(), PurePosixPath("/fast"))
        name = await given_volume(place)
        failing = Watched(place.files, fail="grow", number=number)

        with pytest.raises(BackendFailed) as failed:
            await place.driver(files=failing).extend(name, size_bytes=1)  # type: ignore[arg-type]

        assert failed.value.message.startswith("Backend fast ")
        assert failed.value.message.endswith(".")
        assert "/" not in failed.value.message.replace("input/output", "")

    run(story())


# The folder.


def test_a_filesystem_that_can_be_mounted_is_empty_but_for_lost_and_found(
    tiny_ext4: Path, threads: RealThreads
) -> None:
    """A fresh ext4 is nobody's yet."""

    async def story() -> None:
        driver = Place(RealFiles(threads), PurePosixPath(tiny_ext4)).driver()
        await driver.check(known=False)
        assert await driver.every_name() == ()

    run(story())


def test_a_folder_with_other_things_in_it_is_refused(place: Place) -> None:
    """And left as it was."""

    async def story() -> None:
        await place.files.make_folder(place.root)
        await place.files.create(place.root / "thesis.odt", size_bytes=1)

        with pytest.raises(BackendFailed, match=r"not ours; it contains thesis\.odt"):
            await place.driver().check(known=False)

        assert await place.files.list_folder(place.root) == ["thesis.odt"]

    run(story())


@pytest.mark.parametrize("text", [b"", b"breezeblock file backend\nformat: 2\nname: fast\n", b"\xff\n\xff\n"])
def test_the_marker_of_another_backend_is_refused(place: Place, text: bytes) -> None:
    """By check and by every other call."""

    async def story() -> None:
        await place.files.make_folder(place.root)
        await place.files.create(place.root / MARKER, size_bytes=0)
        await place.files.write_at(place.root / MARKER, offset=0, data=text)

        for act in (place.driver().check(known=False), place.driver().every_name(), place.driver().report()):
            with pytest.raises(BackendFailed, match="belongs to something else"):
                await act

    run(story())


def test_a_backend_whose_parent_folder_is_missing_is_refused(place: Place) -> None:
    """A whole path is not made up."""

    async def story() -> None:
        with pytest.raises(BackendFailed):
            await Place(place.files, place.root / "a" / "b").driver().check(known=False)

    run(story())


def every_call(driver: Driver, name: ObjectName) -> list[Awaitable[object]]:
    return [
        driver.report(),
        driver.create(name, size_bytes=1),
        driver.copy(fresh(), name, size_bytes=1, progress=Saved()),
        driver.extend(name, size_bytes=1),
        driver.delete(name),
        driver.exists(name),
        driver.names_of(name.resource_id),
        driver.every_name(),
    ]


@pytest.mark.parametrize("nth", range(8))
def test_on_an_unmounted_filesystem_every_call_fails(place: Place, nth: int) -> None:
    """An empty folder in its place does not make every volume deleted."""

    async def story() -> None:
        await place.files.make_folder(place.root)
        calls = every_call(place.driver(), fresh())
        with pytest.raises(BackendFailed, match="probably not mounted"):
            await calls.pop(nth)
        for call in calls:
            call.close()  # type: ignore[attr-defined]

        assert await place.files.list_folder(place.root) == []

    run(story())


def test_a_backend_that_was_there_is_never_made_anew(place: Place) -> None:
    """Its filesystem went away between two checks."""

    async def story() -> None:
        driver = place.driver()
        await driver.check(known=False)
        await place.files.remove(place.root / MARKER)

        with pytest.raises(BackendFailed, match="probably not mounted"):
            await driver.check(known=False)

    run(story())


def test_a_backend_known_to_be_in_use_is_never_initialised(place: Place) -> None:
    """The first check after a start finds an empty mount point."""

    async def story() -> None:
        await place.files.make_folder(place.root)
        made = {"name": "fast", "path": place.root, "clock": FakeClock(), "ids": RealIds()}
        driver = FileDriver(place.files, **made, may_initialise=False)  # type: ignore[arg-type]

        with pytest.raises(BackendFailed, match="probably not mounted"):
            await driver.check(known=False)

    run(story())


def test_many_nodes_may_begin_at_once(place: Place) -> None:
    """All of them find the backend in order."""

    async def story() -> None:
        await asyncio.gather(*(place.driver().check(known=False) for _ in range(5)))

        assert await place.driver().every_name() == ()

    run(story())


@pytest.mark.parametrize("nth", range(1, 7))
def test_a_node_may_begin_between_any_two_steps_of_another(place: Place, nth: int) -> None:
    """Whether it gets through, with its first volume, or dies after any of its own steps."""

    async def begin_and_work(at: Place) -> None:
        await at.driver().check(known=False)
        await at.driver().create(fresh(), size_bytes=1)

    async def begin_and_die(after: int, at: Place) -> None:
        with suppress(Crash):
            await at.driver().bind(CrashAt(after, after=True)).check(known=False)

    async def story() -> None:
        others: list[Callable[[Place], Awaitable[None]]] = [begin_and_work]
        others += [partial(begin_and_die, after) for after in range(1, 7)]
        for number, act in enumerate(others):
            at = Place(place.files, place.root.with_name(f"fast{number}"))
            await at.driver().bind(Meanwhile(nth, partial(act, at))).check(known=False)

            await at.driver().check(known=True)
            await at.driver().create(fresh(), size_bytes=1)

    run(story())
