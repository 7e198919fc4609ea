"""Large writes go past the kernel's cache, and leave the same bytes as any other."""

import asyncio
import errno
import fcntl
import os
import random
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

import pytest

from breezeblock.env import direct
from breezeblock.env.files import RealFiles
from breezeblock.env.real import RealThreads

MIB = 1 << 20


@pytest.fixture(params=["disk", "memory"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """On a filesystem that knows a way past its cache, and on one that may not."""
    if request.param == "disk":
        yield tmp_path / "file"
    else:
        with TemporaryDirectory(dir="/dev/shm") as folder:
            yield Path(folder) / "file"


@pytest.mark.parametrize("offset", [0, 4096, 3, 5 * MIB])
@pytest.mark.parametrize("length", [MIB - 1, MIB, 9 * MIB + 4097])
def test_any_piece_at_any_place_is_written_whole(path: Path, offset: int, length: int) -> None:
    """Over and behind what is there, of which the rest stays as it is."""
    before, data = random.Random(1).randbytes(3 * MIB), random.Random(2).randbytes(length)
    path.write_bytes(before)
    threads = RealThreads(max_threads=1)
    try:
        asyncio.run(RealFiles(threads).write_at(PurePosixPath(path), offset=offset, data=data))
    finally:
        threads.close()

    expected = bytearray(before.ljust(offset + length, b"\0"))
    expected[offset : offset + length] = data
    assert path.read_bytes() == expected


def test_what_is_refused_in_the_middle_is_left_to_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some filesystems take the flag and not every write."""
    pwrite, calls = os.pwrite, 0

    def refusing(fd: int, data: memoryview, offset: int) -> int:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise OSError(errno.EINVAL, "not like that")
        return pwrite(fd, data, offset)

    monkeypatch.setattr(os, "pwrite", refusing)
    with (tmp_path / "file").open("wb") as file:
        assert direct.write_pages(file.fileno(), memoryview(bytes(9 * MIB)), 0, nullcontext) == 4 * MIB
        assert not fcntl.fcntl(file.fileno(), fcntl.F_GETFL) & os.O_DIRECT


def test_each_write_asks_first(tmp_path: Path) -> None:
    """Nothing is written any more once the answer is no."""
    asked = 0

    @contextmanager
    def effect() -> Iterator[None]:
        nonlocal asked
        asked += 1
        if asked == 2:
            raise PermissionError
        yield

    with (tmp_path / "file").open("wb") as file, pytest.raises(PermissionError):
        direct.write_pages(file.fileno(), memoryview(b"x" * 9 * MIB), 0, effect)
    assert (tmp_path / "file").stat().st_size == 4 * MIB
