"""Files in memory behave as files on a disk do, and let a simulation stop and watch them."""

import asyncio
import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from breezeblock.env.contract import Files
from breezeblock.env.files import RealFiles
from breezeblock.env.real import RealThreads
from breezeblock.testing.memory_files import MemoryFiles

run = asyncio.run
MIB = 1 << 20
A, B = PurePosixPath("/a"), PurePosixPath("/b")

names = st.sampled_from("ab")
numbers = st.one_of(st.integers(0, 40_000), st.integers(0, 10).map(lambda blocks: blocks * 4096))
steps = st.lists(
    st.one_of(
        st.tuples(st.just("grow"), names, numbers),
        st.tuples(st.just("write_at"), names, numbers, st.binary(min_size=1, max_size=4), st.integers(1, 3000)),
        st.tuples(st.just("copy_range"), names, numbers, numbers),
    ),
    max_size=8,
)


async def play(files: Files, folder: PurePosixPath, story: list[tuple[object, ...]]) -> list[object]:
    """Do the steps; return all that can be seen of them."""
    seen: list[object] = []
    for made in "ab":
        await files.create(folder / made, size_bytes=1)
    for step in story:
        call, name, rest = step[0], step[1], step[2:]
        path, other = folder / str(name), folder / ("b" if name == "a" else "a")
        if call == "grow":
            await files.grow(path, size_bytes=int(str(rest[0])))
        elif call == "write_at":
            offset, data, times = rest
            assert isinstance(offset, int) and isinstance(data, bytes) and isinstance(times, int)
            await files.write_at(path, offset=offset, data=data * times)
        else:
            seen.append(await _copied(files, path, other, int(str(rest[0])), int(str(rest[1]))))
        seen.append([(await files.size(one), await files.read_at(one, offset=0, length=MIB)) for one in (path, other)])
    return seen


async def _copied(files: Files, source: PurePosixPath, target: PurePosixPath, offset: int, length: int) -> int:
    """Repeat a copy until it copied all: a filesystem may do it in pieces."""
    copied = 0
    while copied < length and (
        n := await files.copy_range(source, target, offset=offset + copied, length=length - copied)
    ):
        copied += n
    return copied


@settings(max_examples=60, deadline=None)
@given(story=steps)
def test_memory_and_disk_agree(story: list[tuple[object, ...]]) -> None:
    """Any growing, writing and copying ends in the same bytes and lengths."""
    threads = RealThreads(max_threads=1)
    try:
        with tempfile.TemporaryDirectory() as folder:
            on_disk = run(play(RealFiles(threads), PurePosixPath(folder), story))
    finally:
        threads.close()

    assert run(play(MemoryFiles(), PurePosixPath("/"), story)) == on_disk


class Token:
    """An open guard with a token; notes when it is inside."""

    def __init__(self) -> None:
        self.inside = False

    async def wait_open(self) -> None:
        return

    @contextmanager
    def enter(self) -> Iterator[bool]:
        self.inside = True
        yield True
        self.inside = False

    def tokens(self) -> dict[str, tuple[int, int]]:
        return {"a volume": (3, 4)}


def test_each_effect_is_told_with_its_token() -> None:
    """In the moment in which it lands, one by one: making a file and growing it are two."""
    told: list[tuple[str, PurePosixPath, dict[str, tuple[int, int]]]] = []
    files = MemoryFiles(effect=lambda *what: told.append(what))

    run(files.guarded(Token()).create(A, size_bytes=1))
    run(files.size(A))

    assert told == [("create", A, {"a volume": (3, 4)})] * 2


def test_a_call_may_be_stopped_between_the_guard_and_its_effect() -> None:
    """A stopped process: the guard said yes long ago, and the write lands now."""

    async def story() -> None:
        reached, go_on, guard = asyncio.Event(), asyncio.Event(), Token()

        async def stalled(call: str, _path: PurePosixPath, _mutating: bool) -> None:
            if call == "write_at":
                reached.set()
                await go_on.wait()

        disk = MemoryFiles()
        await disk.create(A, size_bytes=4)
        late = asyncio.create_task(disk.view(stalled=stalled).guarded(guard).write_at(A, offset=0, data=b"late"))
        await reached.wait()
        assert guard.inside
        await disk.write_at(A, offset=0, data=b"soon")
        go_on.set()
        await late

        assert await disk.read_at(A, offset=0, length=4) == b"late"

    run(story())


def test_a_hook_can_fail_any_call() -> None:
    """Before anything happened."""

    async def failing(call: str, path: PurePosixPath, mutating: bool) -> None:
        if mutating:
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))

    files = MemoryFiles(before=failing)

    with pytest.raises(OSError, match="Input/output"):
        run(files.create(A, size_bytes=1))
    assert run(files.list_folder(PurePosixPath("/"))) == []


def test_shared_blocks_take_space_once_they_differ() -> None:
    """A reflink of 8 MiB fits where a copy does not."""

    async def story() -> None:
        files = MemoryFiles(capacity_bytes=10 * MIB, reflink=True)
        await files.create(A, size_bytes=0)
        await files.write_at(A, offset=0, data=b"x" * 8 * MIB)

        assert await files.reflink(A, B)
        assert (await files.space(A)).free_bytes == 2 * MIB
        await files.write_at(B, offset=0, data=b"y" * MIB)
        assert (await files.space(A)).free_bytes == MIB
        with pytest.raises(OSError, match="No space"):
            await files.write_at(B, offset=0, data=b"z" * 4 * MIB)

    run(story())


def test_losing_power_loses_what_was_not_synced() -> None:
    """Data, length and names."""

    async def story() -> None:
        files = MemoryFiles()
        await files.create(A, size_bytes=4)
        await files.write_at(A, offset=0, data=b"kept")
        await files.sync(A)
        await files.write_at(A, offset=0, data=b"lost and longer")

        files.lose_power()

        assert await files.read_at(A, offset=0, length=99) == b"kept"

    run(story())
