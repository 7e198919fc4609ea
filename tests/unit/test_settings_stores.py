"""`[backup_stores.NAME]`: defaults, what is refused, what the documentation shows, and what is opened."""

import importlib.util
import re
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from breezeblock import settings, settings_stores
from breezeblock.backup.stores.folder import FolderStore
from breezeblock.backup.stores.s3 import S3Store
from breezeblock.backup.stores.swift import SwiftStore
from breezeblock.env.real import real_env
from breezeblock.settings import SettingsError, load
from breezeblock.wiring import open_stores

PAGE = Path(__file__).resolve().parents[2] / "docs" / "howto" / "back-up-to-s3.md"
S3 = '[backup_stores.a]\ntype = "s3"\nbucket = "backups"\n'
CINDER = '[backup_stores.a]\ntype = "cinder-posix"\npath = "/old"\n'
SWIFT = '[backup_stores.a]\ntype = "swift"\nendpoint = "http://h/v3"\nbucket = "b"\ncredentials_file = "c"\n'


def written(folder: Path, text: str) -> Path:
    file = folder / "breezeblock.toml"
    file.write_text(text, encoding="utf-8")
    return file


def refusal(folder: Path, text: str) -> str:
    with pytest.raises(SettingsError) as refused:
        load(written(folder, text), {})
    return str(refused.value)


def examples() -> list[str]:
    return [
        text for text in re.findall(r"```toml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL) if "[" in text
    ]


def test_without_a_word_there_is_one_folder() -> None:
    """Where everything else is."""
    stores = load(None, {}, {"service.data_dir": "/srv/bb", "service.availability_zone": "here"}).settings.backup_stores

    assert list(stores) == ["default"]
    assert (stores["default"].type, stores["default"].path) == ("folder", Path("/srv/bb/backups"))
    assert stores["default"].availability_zone == "here"


def test_folders_without_a_path_have_one_each(tmp_path: Path) -> None:
    """An empty table asks for every default, and names replace the one that is there without any."""
    stores = load(written(tmp_path, "[backup_stores.one]\n[backup_stores.two]\nslots = 2\n"), {}).settings.backup_stores

    assert {name: str(store.path) for name, store in stores.items()} == {
        "one": "/var/lib/breezeblock/backups-one",
        "two": "/var/lib/breezeblock/backups-two",
    }


def test_paths_start_at_the_file_and_rates_have_units(tmp_path: Path) -> None:
    """As everywhere else."""
    more = (
        'credentials_file = "s3.toml"\nca_file = "/etc/ca.pem"\nrate_limit = "10 MiB"\nrestore_rate_limit = "1 GiB"\n'
    )

    store = load(written(tmp_path, S3 + more), {}).settings.backup_stores["a"]

    assert (store.credentials_file, store.ca_file, store.path) == (tmp_path / "s3.toml", Path("/etc/ca.pem"), None)
    assert (store.rate_limit, store.restore_rate_limit) == (10 << 20, 1 << 30)


def test_the_environment_reaches_a_store(tmp_path: Path) -> None:
    """By its name, whatever signs it has."""
    file = written(tmp_path, '[backup_stores.Off-site]\ntype = "s3"\nbucket = "backups"\n')

    store = load(file, {"BREEZEBLOCK_BACKUP_STORES__OFF_SITE__PREFIX": "p"}).settings.backup_stores["Off-site"]

    assert store.prefix == "p"


@pytest.mark.parametrize("text", ["", S3 + 'credentials_file = "s3.toml"\n', SWIFT])
def test_the_effective_settings_mean_the_same_again(tmp_path: Path, text: str) -> None:
    """A file of a secret is no secret, and no path is written as none."""
    loaded = load(written(tmp_path, text), {})
    shown = settings.render_effective(loaded)

    assert load(written(tmp_path, shown), {}).settings == loaded.settings
    assert settings.from_json(settings.to_json(loaded.settings)) == loaded.settings
    assert ("s3.toml" in shown) == ("s3.toml" in text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('[backup_stores.a]\ntype = "tape"\n', "expected one of folder, s3, swift, cinder-posix"),
        ('[backup_stores.a]\nbucket = "b"\n', "only s3 and swift have this option"),
        ("[backup_stores.a]\npath_style = true\n", "only s3 have this option"),
        ("[backup_stores.a]\ncompression_level = 20\n", "expected int <= 19"),
        ('[backup_stores.a]\nrate_limit = "fast"\n', "expected bytes per second"),
        ('[backup_stores.a]\ntype = "s3"\n', "a store of the type s3 needs it"),
        (S3 + 'path = "/x"\n', "only folder and cinder-posix have this option"),
        (S3 + 'encryption_key_id = "k"\n', "encryption_key_id needs it"),
        (S3 + 'castellan_file = "c"\n', "castellan_file needs it"),
        (S3 + 'encryption_key_id = "k"\ncastellan_file = "c"\nencryption_key_file = "f"\n', "either this or"),
        (S3 + 'interface = "admin"\n', "only swift have this option"),
        (S3 + 'endpoint = "rgw.example.org"\n', "expected a URL such as"),
        (S3 + 'endpoint = "http://h:0/"\n', "expected a URL such as"),
        (S3 + 'endpoint = "ftp://h"\n', "expected a URL such as"),
        (S3 + 'endpoint = "http://h/?x=y"\n', "expected a URL such as"),
        (S3 + 'endpoint = "http://user:hush@h"\n', "expected no user and password in it"),
        (S3 + 'prefix = "/a"\n', "in parts with one slash between them"),
        (S3 + 'prefix = "a/../b"\n', "in parts with one slash between them"),
        (S3.replace("backups", "a b"), "expected 3 to 63 letters"),
        (SWIFT.replace('"b"', '"a/b"'), "expected a name without a slash"),
        (SWIFT.replace("http://h/v3", ""), "a store of the type swift needs it"),
        (SWIFT.replace('credentials_file = "c"\n', ""), "a store of the type swift needs it"),
        ('[backup_stores.a]\npath = "/x"\n[backup_stores.b]\npath = "/x"\n', "backup_stores.a has /x"),
        ('[backup_stores.a]\npath = "/x"\n[backup_stores.b]\npath = "/x/y"\n', "backup_stores.a has /x"),
        ('[backup_stores.a]\ntype = "cinder-posix"\n', "a store of the type cinder-posix needs it"),
        (CINDER + "slots = 2\n", "only folder and s3 and swift have this option"),
        (CINDER + '[backup_stores.b]\npath = "/old/b"\n', "backup_stores.a has /old"),
        ('[backends.f]\npath = "/x"\n[backup_stores.b]\npath = "/x"\n', "backends.f has /x"),
        (S3 + S3.replace(".a]", ".b]"), "backup_stores.a is in the same place"),
        (S3 + S3.replace(".a]", ".b]") + 'prefix = "p"\n', "backup_stores.a is in the same place"),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path: Path, text: str, expected: str) -> None:
    """Before a backup is lost in it; and no password is shown."""
    told = refusal(tmp_path, text)

    assert expected in told
    assert "hush" not in told


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    """Of all stores."""
    text = (
        '[backup_stores.a]\ntype = "swift"\npath = "/x"\n[backup_stores.b]\ntype = "s3"\nbucket = "b"\nendpoint = "h"\n'
    )

    keys = [line.split(" =")[0] for line in refusal(tmp_path, text).splitlines()]

    assert keys == [
        "backup_stores.a.path",
        "backup_stores.a.endpoint",
        "backup_stores.a.bucket",
        "backup_stores.a.credentials_file",
        "backup_stores.b.endpoint",
        "backup_stores.b.bucket",
    ]


@pytest.mark.parametrize("prefixes", [("a", "b"), ("a", "ab"), ("a/b", "a/c")])
def test_two_prefixes_of_one_bucket_are_two_places(tmp_path: Path, prefixes: tuple[str, str]) -> None:
    """As long as neither is below the other."""
    text = S3 + f'prefix = "{prefixes[0]}"\n' + S3.replace(".a]", ".b]") + f'prefix = "{prefixes[1]}"\n'

    assert len(load(written(tmp_path, text), {}).settings.backup_stores) == 2


@pytest.mark.parametrize(("text", "extra"), [(S3, "s3"), (SWIFT, "swift")])
def test_a_library_that_is_missing_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, extra: str
) -> None:
    """At the start, not at the first backup."""

    def without(name: str) -> ModuleSpec | None:
        return None if name in ("boto3", "httpx") else importlib.util.find_spec(name)

    monkeypatch.setattr(settings_stores, "find_spec", without)

    assert f"pip install 'breezeblock[{extra}]'" in refusal(tmp_path, text)


@pytest.mark.parametrize("text", examples())
def test_what_the_documentation_shows_can_be_used(tmp_path: Path, text: str) -> None:
    """Each example, as it is written, is opened."""
    loaded = load(written(tmp_path, text), {}).settings

    kinds = {"folder": FolderStore, "s3": S3Store, "swift": SwiftStore, "cinder-posix": FolderStore}
    stores = open_stores(loaded, real_env())
    assert stores.keys() == loaded.backup_stores.keys()
    for name, store in stores.items():
        assert type(store) is kinds[loaded.backup_stores[name].type]


def test_the_documentation_has_examples() -> None:
    """Of each type, or the test above has nothing to do."""
    assert len(examples()) >= 5
    assert all(f'type = "{kind}"' in "".join(examples()) for kind in ("folder", "s3", "swift", "cinder-posix"))
