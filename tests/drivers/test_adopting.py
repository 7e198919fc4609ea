"""Which names reach a file, on a disk in memory and on a real one: those of plain files in one folder, and nothing else."""

import asyncio
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from breezeblock.drivers.adopting import LISTED_MOST, is_plain_name
from breezeblock.drivers.contract import ObjectName
from breezeblock.drivers.file import FileDriver
from breezeblock.env.contract import Env, Files
from breezeblock.env.real import real_env
from breezeblock.model.errors import BackendFailed
from breezeblock.testing.memory_files import MemoryFiles

ENV: Env = real_env(max_threads=2)
NAME = ObjectName("11111111-0000-4000-8000-000000000001", 1, 1)
LATER = ObjectName(NAME.resource_id, 1, 2)


def driver_on(files: Files, root: PurePosixPath) -> FileDriver:
    made = FileDriver(files, name="b", path=root, clock=ENV.clock, ids=ENV.ids)
    asyncio.run(made.check(known=False))
    asyncio.run(files.make_folder(root / "unmanaged"))
    return made


@pytest.fixture(params=["memory", "real"])
def at(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[FileDriver, Files, PurePosixPath]]:
    """A driver, its files, and the folder for what is not managed."""
    files: Files = MemoryFiles() if request.param == "memory" else ENV.files
    root = PurePosixPath("/b") if request.param == "memory" else PurePosixPath(tmp_path / "b")
    yield driver_on(files, root), files, root / "unmanaged"


def put(files: Files, path: PurePosixPath, data: bytes = b"data") -> None:
    async def write() -> None:
        await files.create(path, size_bytes=len(data))
        await files.write_at(path, offset=0, data=data)

    asyncio.run(write())


def test_adopting_is_a_rename_that_may_be_repeated(at: tuple[FileDriver, Files, PurePosixPath]) -> None:
    driver, files, folder = at
    put(files, folder / "disk")
    for _ in range(2):
        assert asyncio.run(driver.adopt("disk", NAME)) == 4
    assert asyncio.run(driver.names_of(NAME.resource_id)) == (NAME,)
    assert asyncio.run(driver.read(NAME, offset=0, length=9)) == b"data"
    with pytest.raises(BackendFailed, match="no such file"):
        asyncio.run(driver.adopt("disk", LATER))


def test_releasing_is_a_rename_that_may_be_repeated(at: tuple[FileDriver, Files, PurePosixPath]) -> None:
    """And that replaces nothing."""
    driver, files, folder = at
    asyncio.run(driver.create(NAME, size_bytes=4))
    put(files, folder / "taken", b"precious")
    with pytest.raises(BackendFailed, match="another file taken"):
        asyncio.run(driver.release(NAME, "taken"))
    assert asyncio.run(files.read_at(folder / "taken", offset=0, length=9)) == b"precious"
    assert asyncio.run(driver.exists(NAME))
    for _ in range(2):
        asyncio.run(driver.release(NAME, "free"))
    assert [one.reference for one in asyncio.run(driver.manageable())] == ["free", "taken"]
    assert asyncio.run(driver.every_name()) == ()


def test_what_is_listed_is_bounded(
    at: tuple[FileDriver, Files, PurePosixPath], monkeypatch: pytest.MonkeyPatch
) -> None:
    driver, files, folder = at
    monkeypatch.setattr("breezeblock.drivers.adopting.LISTED_MOST", 2)
    for number in range(3):
        put(files, folder / f"{number}")
    assert LISTED_MOST > 2
    with pytest.raises(BackendFailed, match="has 3 files"):
        asyncio.run(driver.manageable())
    assert asyncio.run(driver.adopt("1", NAME)) == 4


def test_a_backend_without_the_folder_has_nothing(tmp_path: Path) -> None:
    driver = FileDriver(ENV.files, name="b", path=PurePosixPath(tmp_path / "x"), clock=ENV.clock, ids=ENV.ids)
    asyncio.run(driver.check(known=False))
    assert asyncio.run(driver.manageable()) == ()
    with pytest.raises(BackendFailed, match="no such file"):
        asyncio.run(driver.adopt("disk", NAME))


def test_a_link_that_takes_a_files_place_is_given_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody exchanges it between the look and the rename: it is looked at again where nobody else can."""
    driver = driver_on(ENV.files, PurePosixPath(tmp_path / "b"))
    disk, secret = tmp_path / "b" / "unmanaged" / "disk", tmp_path / "secret"
    secret.write_bytes(b"not yours")
    disk.write_bytes(b"data")
    move = ENV.files.move

    async def exchanged(source: PurePosixPath, target: PurePosixPath) -> None:
        if source.name == "disk":
            disk.unlink()
            disk.symlink_to(secret)
        await move(source, target)

    monkeypatch.setattr(driver._files, "move", exchanged)
    with pytest.raises(BackendFailed, match="a link"):
        asyncio.run(driver.adopt("disk", NAME))
    assert disk.is_symlink()
    assert asyncio.run(driver.names_of(NAME.resource_id)) == ()


nasty = st.one_of(
    st.sampled_from(
        ["", ".", "..", "/", "a/b", "../x", "x/..", ".x", "\x00", "a\x00b", "\ud800", "é" * 128, "x" * 256, "\n"]
    ),
    st.lists(st.sampled_from(["..", ".", "/", "x", "\x00", "~", "\\", " "]), max_size=6).map("".join),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(name=nasty)
def test_no_name_reaches_anything_else(name: str, tmp_path: Path) -> None:
    """It names a file in the folder, or is refused; what is outside stays."""
    root = tmp_path / "b"
    driver = driver_on(ENV.files, PurePosixPath(root))
    outside = [tmp_path / "x", root / "x"]
    for path in outside:
        path.write_bytes(b"outside")
    with pytest.raises(BackendFailed):
        asyncio.run(driver.adopt(name, NAME))
    if is_plain_name(name):
        assert (PurePosixPath("/f") / name).parent == PurePosixPath("/f")
        assert (PurePosixPath("/f") / name).name == name
    assert all(path.read_bytes() == b"outside" for path in outside)
