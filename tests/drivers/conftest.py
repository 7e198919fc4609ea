"""The places that the file driver must behave alike on."""

import shutil
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest
from tests.drivers import filesystems
from tests.drivers.places import MIB, Place

from breezeblock.env.files import RealFiles
from breezeblock.env.real import RealThreads
from breezeblock.testing.memory_files import MemoryFiles


@pytest.fixture
def threads() -> Iterator[RealThreads]:
    pool = RealThreads(max_threads=2)
    yield pool
    pool.close()


@pytest.fixture(scope="session")
def xfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The smallest XFS there is; it can reflink."""
    with filesystems.mounted(tmp_path_factory.mktemp("xfs"), "mkfs.xfs", "-q", "-m", "reflink=1", size_mib=320) as at:
        yield at


@pytest.fixture
def tiny_ext4(tmp_path: Path) -> Iterator[Path]:
    """A real filesystem that is soon full."""
    with filesystems.mounted(tmp_path, "mkfs.ext4", "-q", "-F", size_mib=24) as at:
        yield at


@pytest.fixture(params=["disk", "xfs", "memory", "memory_reflink"])
def place(request: pytest.FixtureRequest, tmp_path: Path, threads: RealThreads) -> Iterator[Place]:
    """Each kind of place in turn."""
    if request.param == "disk":
        yield Place(RealFiles(threads), PurePosixPath(tmp_path / "fast"))
    elif request.param == "xfs":
        folder = request.getfixturevalue("xfs") / tmp_path.name
        folder.mkdir()
        yield Place(RealFiles(threads), PurePosixPath(folder / "fast"))
        shutil.rmtree(folder)  # it is small, and many tests share it
    else:
        yield Place(MemoryFiles(reflink=request.param == "memory_reflink"), PurePosixPath("/fast"))


@pytest.fixture(params=["ext4", "memory"])
def small_place(request: pytest.FixtureRequest, threads: RealThreads) -> Place:
    """A place for about 16 MiB."""
    if request.param == "ext4":
        return Place(RealFiles(threads), PurePosixPath(request.getfixturevalue("tiny_ext4") / "fast"))
    return Place(MemoryFiles(capacity_bytes=16 * MIB), PurePosixPath("/fast"))
