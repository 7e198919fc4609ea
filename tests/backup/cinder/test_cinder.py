"""Backups that Cinder's own driver made (`made.py`) are read as what the volume held, or not at all."""

import asyncio
import gzip
import hashlib
import json
import random
import shutil
import tarfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.backup.cinder.made import ARCHIVE, BACKUPS, BLOCK, OBJECT, VOLUME_ID, volume

from breezeblock.backup import cinder
from breezeblock.backup.cinder import look_through, open_chain, read_volume
from breezeblock.backup.contract import StoreRefused, StoreUnavailable
from breezeblock.backup.stores.folder import FolderStore
from breezeblock.env.real import RealIds, RealThreads
from breezeblock.model.errors import BackendFailed

IDS = [backup_id for backup_id, _ in BACKUPS]
run = asyncio.run


@pytest.fixture
def threads() -> Iterator[RealThreads]:
    pool = RealThreads(max_threads=4)
    yield pool
    pool.close()


@pytest.fixture
def made(tmp_path: Path, threads: RealThreads) -> "Made":
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path / "made", filter="data")
    return Made(tmp_path / "made", threads)


class Made:
    """Cinder's folder, which a test may damage."""

    def __init__(self, root: Path, threads: RealThreads) -> None:
        self.root = root
        self.threads = threads
        self.store = FolderStore(root, name="cinder", ids=RealIds(), threads=threads, ours=False)

    def file(self, version: int, ending: str) -> Path:
        """The first file of a backup whose name ends so."""
        return sorted(self.root.rglob(f"*_backup_{IDS[version]}{ending}"))[0]

    def prefix(self, version: int) -> tuple[str, str]:
        """Container and prefix."""
        path = self.file(version, "_metadata")
        return path.parent.relative_to(self.root).as_posix(), path.name.removesuffix("_metadata")

    def edit(self, version: int, ending: str, change: Callable[[Any], object]) -> None:
        """Change a JSON file."""
        path = self.file(version, ending)
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))

    def read(self, version: int, start: int = 0) -> bytes:
        """The volume from a byte on, put together with zeros before it."""

        async def scenario() -> bytes:
            await self.store.check()
            container, prefix = self.prefix(version)
            chain = await open_chain(self.store, container=container, prefix=prefix)
            whole = bytearray()
            async for offset, data in read_volume(self.store, chain, self.threads, start=start):
                assert offset >= max(start, len(whole))
                assert data
                whole += bytes(offset - len(whole)) + data
            return bytes(whole)

        return run(scenario())

    def refusal(self, version: int) -> str:
        """Why it cannot be read."""
        with pytest.raises(BackendFailed, match="cannot be restored") as refused:
            self.read(version)
        return str(refused.value)


@pytest.mark.parametrize("version", range(len(BACKUPS)))
def test_a_backup_is_what_the_volume_held(made: Made, version: int) -> None:
    """A full one, and incremental ones on top of one another, each compressed in another way."""
    assert made.read(version) == volume(version)


@pytest.mark.parametrize("start", [1, BLOCK - 1, BLOCK, OBJECT, OBJECT + 1, 20_000, 29_696, 30_000, 30_001, 40_000])
@pytest.mark.parametrize("version", [0, 3])
def test_it_can_be_read_from_anywhere_on(made: Made, monkeypatch: pytest.MonkeyPatch, version: int, start: int) -> None:
    """As whoever goes on with a restore does. Nothing that ends before is read, but for the hashes."""
    monkeypatch.setattr(cinder, "_PIECE_BYTES", 700)
    before = made.file(version, "-00001") if version == 0 else made.file(0, "-00001")
    if start > OBJECT:
        before.unlink()

    assert made.read(version, start) == (bytes(start) + volume(version)[start:] if start < 30_001 else b"")


def test_zeros_are_left_out(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cinder stores the holes of a volume as data; what is restored shall have them again."""
    monkeypatch.setattr(cinder, "_HOLE_BYTES", 100)
    monkeypatch.setattr(cinder, "_ZEROS", bytes(100))
    seen: list[tuple[int, bytes]] = []

    async def scenario() -> None:
        container, prefix = made.prefix(2)
        chain = await open_chain(made.store, container=container, prefix=prefix)
        seen.extend([piece async for piece in read_volume(made.store, chain, made.threads)])

    run(scenario())

    given = sum(len(data) for _, data in seen)
    zeros = sum(volume(2)[at : at + 100] == bytes(100) for at in range(0, 30_000, 100))
    assert zeros > 0
    assert given <= 30_001 - (zeros - len(seen)) * 100
    whole = bytearray(30_001)
    for offset, data in seen:
        whole[offset : offset + len(data)] = data
    assert bytes(whole) == volume(2)


def test_hashes_are_read_in_parts(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    """However they fall apart; those of a TiB do not fit into memory at once."""
    for part in (71, 72, 1000):
        monkeypatch.setattr(cinder, "_PIECE_BYTES", part)
        assert made.read(0) == volume(0)


def test_what_is_there_of_a_chain_is_known_without_reading_it(made: Made) -> None:
    """By the lengths of its files, of the first backup alone."""

    async def scenario() -> int:
        container, prefix = made.prefix(1)
        chain = await open_chain(made.store, container=container, prefix=prefix)
        return await look_through(made.store, chain)

    own = [path for path in made.root.rglob(f"*_backup_{IDS[1]}*") if path.is_file()]
    assert run(scenario()) == sum(path.stat().st_size for path in own)


@pytest.mark.parametrize("is_there", [False, True])
def test_an_empty_folder_is_one_that_is_not_mounted(made: Made, is_there: bool) -> None:
    """As a missing one: whoever wants to read it waits, and does not take all for lost."""
    container, prefix = made.prefix(0)
    shutil.rmtree(made.root)
    if is_there:
        made.root.mkdir()

    with pytest.raises(StoreUnavailable, match="missing or empty"):
        run(open_chain(made.store, container=container, prefix=prefix))


def test_pieces_are_small_whatever_objects_are(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    """Objects are read in several requests and given in several pieces."""
    monkeypatch.setattr(cinder, "_PIECE_BYTES", 100)
    monkeypatch.setattr(cinder, "_SLICE_BYTES", 7)

    assert made.read(3) == volume(3)


def test_a_chain_tells_what_it_is_of(made: Made) -> None:
    """The newest first, with the volume's metadata as Cinder wrote it."""

    async def scenario() -> None:
        container, prefix = made.prefix(2)
        chain = await open_chain(made.store, container=container, prefix=prefix)
        assert [one.backup_id for one in chain] == [IDS[2], IDS[1], IDS[0]]
        assert {one.volume_id for one in chain} == {VOLUME_ID}
        assert chain[0].volume_metadata == '{"version": 2}'

    run(scenario())


def test_a_chain_in_one_container_is_found(made: Made) -> None:
    """As with a container that the user named, or one for all."""
    together = made.root / "all-of-them"
    together.mkdir()
    for path in [path for path in made.root.rglob("volume_*") if path.is_file()]:
        path.rename(together / path.name)

    assert made.read(3) == volume(3)


def test_a_volume_that_was_larger_before_is_cut(made: Made) -> None:
    """The newest backup's blocks say how long it is."""
    blocks = 10
    made.edit(1, "_sha256file", lambda it: it.update(sha256s=it["sha256s"][:blocks]))

    assert made.read(1) == volume(1)[: blocks * BLOCK]


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("version", range(len(BACKUPS)))
def test_a_bit_that_changed_is_found(made: Made, version: int) -> None:
    """In whatever compression. What is broken of the full backup breaks the others."""
    flip(made.file(version, "-00001"))

    assert "-00001 " in made.refusal(version)
    assert "-00001 " in made.refusal(3)


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        pytest.param(lambda made: made.file(1, "-00002").unlink(), "-00002 is not there", id="object gone"),
        pytest.param(lambda made: made.file(1, "_metadata").unlink(), "is not there", id="parent gone"),
        pytest.param(lambda made: made.file(2, "_sha256file").unlink(), "_sha256file is not there", id="hashes gone"),
        pytest.param(lambda made: made.file(2, "_metadata").write_text("{"), "cannot be read", id="no JSON"),
        pytest.param(
            lambda made: made.edit(2, "_metadata", lambda it: it.update(version="2.0.0")),
            "version is '2.0.0'",
            id="version",
        ),
        pytest.param(
            lambda made: made.edit(0, "_metadata", lambda it: it.update(parent_id=IDS[2])), "a circle", id="circle"
        ),
        pytest.param(
            lambda made: made.edit(1, "_metadata", lambda it: it.update(volume_id="x")),
            "another backup or volume",
            id="volume",
        ),
        pytest.param(
            lambda made: made.edit(0, "_metadata", lambda it: it["objects"].pop(1)),
            "nothing has its bytes from",
            id="gap",
        ),
        pytest.param(
            lambda made: made.edit(2, "_sha256file", lambda it: it["sha256s"].append("0" * 64)),
            "last blocks are missing",
            id="no end",
        ),
        pytest.param(
            lambda made: made.edit(2, "_sha256file", lambda it: it["sha256s"].__setitem__(7, "0" * 64)),
            f"bytes from {7 * BLOCK} on are not",
            id="block",
        ),
        pytest.param(
            lambda made: made.edit(2, "_sha256file", lambda it: it.update(chunk_size=0)),
            "without a length",
            id="no block size",
        ),
        pytest.param(
            lambda made: made.edit(
                2, "_metadata", lambda it: it["objects"].append({"../../x": it["objects"][0].popitem()[1]})
            ),
            "objects that cannot be its own",
            id="foreign name",
        ),
        pytest.param(
            lambda made: made.edit(0, "_metadata", lambda it: next(iter(it["objects"][1].values())).update(offset=1)),
            "overlap",
            id="overlap",
        ),
        pytest.param(
            lambda made: made.edit(
                0, "_metadata", lambda it: next(iter(it["objects"][1].values())).update(compression="rar")
            ),
            "nobody knows how to decompress 'rar'",
            id="compression",
        ),
    ],
)
def test_what_is_damaged_is_named(made: Made, damage: Callable[[Made], object], expected: str) -> None:
    """Nobody gets something else than what was backed up."""
    damage(made)

    assert expected in made.refusal(2)


@pytest.mark.parametrize("seed", range(4))
def test_any_bit_that_changed_is_found_or_does_not_matter(made: Made, seed: int) -> None:
    """In any file: what is read is what the volume held, or the error is one of ours."""
    chance = random.Random(seed)
    files = sorted(path for path in made.root.rglob("volume_*") if path.is_file())

    for _ in range(25):
        path = chance.choice(files)
        whole = path.read_bytes()
        at = chance.randrange(len(whole))
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << chance.randrange(8)]) + whole[at + 1 :])
        try:
            assert made.read(3) == volume(3), f"{path.name}, byte {at}"
        except BackendFailed as error:
            assert str(error)
        path.write_bytes(whole)


def test_an_object_that_never_ends_is_given_up_at_its_length(made: Made) -> None:
    """A few bytes can be decompressed into more than there is memory: no more is made of them than was said."""
    made.file(0, "-00001").write_bytes(zlib.compress(bytes(200 << 20)))

    assert "-00001 is longer than it should be" in made.refusal(0)


def test_a_compression_has_all_its_names(made: Made) -> None:
    """Those that Cinder's option takes."""

    def rename(content: Any) -> None:
        told = [it for one in content["objects"] for it in one.values() if it["compression"] == "zlib"]
        assert told
        for it in told:
            it["compression"] = "GZIP"

    made.edit(0, "_metadata", rename)

    assert made.read(0) == volume(0)


def test_the_format_gzip_is_not_meant_by_its_name(made: Made) -> None:
    """Cinder's gzip is zlib's format; the other one is refused, not taken for data."""
    made.file(0, "-00001").write_bytes(gzip.compress(volume(0)[:OBJECT]))
    made.edit(0, "_metadata", lambda it: next(iter(it["objects"][0].values())).update(compression="gzip"))

    assert "-00001 cannot be decompressed" in made.refusal(0)


def test_somebody_elses_folder_is_only_read(made: Made) -> None:
    """Nothing is written into it, not even a mark."""
    before = {path: hashlib.sha256(path.read_bytes()).digest() for path in made.root.rglob("*") if path.is_file()}

    async def scenario() -> None:
        await made.store.check()
        key = made.file(0, "_metadata").relative_to(made.root).as_posix()
        for call in (made.store.put("x", [b"x"]), made.store.delete(key)):
            with pytest.raises(StoreRefused, match="is somebody else's"):
                await call

    run(scenario())

    after = {path: hashlib.sha256(path.read_bytes()).digest() for path in made.root.rglob("*") if path.is_file()}
    assert before == after
