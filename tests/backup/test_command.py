"""`breezeblock archive`: backups are found, checked and got back with nothing but the store."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.backup.given import ARCHIVE, ENV, KEY, ListBook, Volume, archive_in, back_up, random_volume, run

from breezeblock import cli
from breezeblock.backup.engine import Manifest
from breezeblock.backup.packs import pack_key
from breezeblock.backup.stores.folder import FolderStore

MIB = 1024**2


@dataclass(frozen=True)
class Kept:
    folder: Path
    volume: Volume
    manifest: Manifest
    arguments: list[str]


@pytest.fixture(params=[None, KEY], ids=["plain", "encrypted"])
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Kept:
    """A backup of a sparse volume in a folder, and how to name it."""
    folder = tmp_path / "store"
    folder.mkdir()
    volume = random_volume(9 * MIB + 5, share=0.3)
    volume.write(2 * MIB, b"text " * 30_000)

    async def make() -> Manifest:
        store = FolderStore(folder, name="s", ids=ENV.ids, threads=ENV.threads)
        await store.check()
        archive = archive_in(store, key=request.param, pack_bytes=MIB)
        return await back_up(archive, volume, book=ListBook(), backup_id="b0c")

    manifest = run(make())
    arguments = ["--store", f"folder:{folder}"]
    if request.param is not None:
        (tmp_path / "key").write_text(f"{request.param.hex()}\n")
        arguments += ["--key", str(tmp_path / "key")]
    return Kept(folder, volume, manifest, arguments)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Type a command: its exit status, and what it prints on either side."""

    def typed(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["breezeblock", "archive", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        told = capsys.readouterr()
        return int(ended.value.code or 0), told.out, told.err

    return typed


Command = Callable[..., tuple[int, str, str]]


def test_backups_are_listed(kept: Kept, command: Command) -> None:
    """First the archives, then what is in one of them."""
    _, archives, _ = command("list", "--json", *kept.arguments)
    _, backups, _ = command("list", ARCHIVE, "--json", *kept.arguments)
    _, text, _ = command("list", ARCHIVE, *kept.arguments)

    assert json.loads(archives) == [{"archive": ARCHIVE}]
    (one,) = json.loads(backups)
    assert (one["backup_id"], one["size_bytes"], one["manifest"]) == ("b0c", 9 * MIB + 5, "b0c.1.1")
    assert "b0c.1.1" in text


def test_a_backup_is_written_to_a_sparse_file(kept: Kept, command: Command, tmp_path: Path) -> None:
    """The same bytes, and holes where there was nothing; never over a file that is there."""
    target = tmp_path / "volume"

    status, _, _ = command("extract", ARCHIVE, "b0c", str(target), *kept.arguments)

    assert status == 0
    assert target.read_bytes() == kept.volume.content(0, kept.volume.size_bytes)
    assert target.stat().st_blocks * 512 < 7 * MIB
    status, _, error = command("extract", ARCHIVE, "b0c", str(target), *kept.arguments)
    assert (status, "is there already" in error) == (1, True)


def test_a_backup_that_is_well_is_told_so(kept: Kept, command: Command) -> None:
    """Of all blocks, or of some."""
    status, told, _ = command("verify", ARCHIVE, "b0c.1.1", *kept.arguments)
    some, _, _ = command("verify", ARCHIVE, "b0c", "--sample", "10", *kept.arguments)

    assert (status, some) == (0, 0)
    assert told.startswith(f"{len(kept.volume.data())} blocks")


def test_damage_is_told_and_can_be_skipped(kept: Kept, command: Command, tmp_path: Path) -> None:
    """A pack is gone: which parts of the volume that is, and all the rest in a file."""
    (kept.folder / pack_key(ARCHIVE, kept.manifest.packs[1])).unlink()

    status, told, _ = command("verify", ARCHIVE, "b0c", *kept.arguments)
    assert (status, kept.manifest.packs[1] in told) == (1, True)

    refused, _, error = command("extract", ARCHIVE, "b0c", str(tmp_path / "one"), *kept.arguments)
    assert (refused, "it is missing" in error) == (1, True)
    assert not (tmp_path / "one").exists()

    status, told, _ = command("extract", ARCHIVE, "b0c", str(tmp_path / "two"), "--skip-damaged", *kept.arguments)
    lost = [line.split()[1:4:2] for line in told.splitlines() if line.startswith("bytes ")]
    written = bytearray((tmp_path / "two").read_bytes())
    for start, end in lost:
        written[int(start) : int(end)] = kept.volume.content(int(start), int(end) - int(start))
    assert status == 1
    assert 0 < len(lost) < len(kept.volume.data())
    assert bytes(written) == kept.volume.content(0, kept.volume.size_bytes)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["list", "no-such-archive"], "There is no archive"),
        (["extract", ARCHIVE, "nothing", "/nonexistent/x"], "has no backup nothing"),
        (["extract", ARCHIVE, "b0c", "/nonexistent/x"], "cannot be made"),
        (["verify", ARCHIVE, "b0c", "--key", "/nonexistent/key"], "The key cannot be read"),
    ],
)
def test_refusals_say_why(arguments: list[str], why: str, kept: Kept, command: Command) -> None:
    """In a line, with status 1."""
    first = kept.arguments if "--key" not in arguments else kept.arguments[:2]
    status, _, error = command(*arguments, *first)

    assert (status, why in error) == (1, True), error


def test_a_key_that_is_none_is_refused(kept: Kept, command: Command, tmp_path: Path) -> None:
    """Too short; and one that is another."""
    for content, why in ((b"short", "64 hexadecimal digits"), (bytes(32), "key")):
        (tmp_path / "bad").write_bytes(content)
        status, _, error = command("list", ARCHIVE, *kept.arguments[:2], "--key", str(tmp_path / "bad"))
        assert (status, why in error) == (1, True)


def test_a_store_of_the_settings_is_taken_by_its_name(kept: Kept, command: Command, tmp_path: Path) -> None:
    """With its key; and one that they do not have is refused with those that they have."""
    key = f'encryption_key_file = "{kept.arguments[3]}"' if len(kept.arguments) > 2 else ""
    (tmp_path / "settings.toml").write_text(f'[backup_stores.mine]\ntype = "folder"\npath = "{kept.folder}"\n{key}\n')
    config = ["--config", str(tmp_path / "settings.toml")]

    _, archives, _ = command("list", "--store", "mine", *config)
    status, backups, _ = command("list", ARCHIVE, "--store", "mine", *config)
    refused, _, error = command("list", "--store", "yours", *config)

    assert (status, archives.strip()) == (0, ARCHIVE)
    assert backups.startswith("b0c.1.1")
    assert (refused, "mine" in error) == (1, True)
