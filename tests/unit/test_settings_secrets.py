"""Secrets beside the settings: in files of their own and in credentials of systemd."""

from pathlib import Path

import pytest

from breezeblock.settings import SettingsError, load, render_effective
from breezeblock.settings_secrets import SECRET_BYTES_MAX, is_path, is_secret

URL = "postgresql://bb:marked-secret@db.example.org/bb"
# A lost node on another machine is a question of its own.
NODES = {"BREEZEBLOCK_NODES__ONE_MACHINE": "true"}


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def refusal(environ: dict[str, str], file: Path | None = None) -> str:
    with pytest.raises(SettingsError) as refused:
        load(file, NODES | environ)
    return str(refused.value)


def test_a_secret_may_be_in_a_file_that_the_settings_name(tmp_path: Path) -> None:
    """Its path starts at the settings' file, and the end of the line is no part of it."""
    written(tmp_path, "url", URL + "\n")
    file = written(tmp_path, "breezeblock.toml", '[database]\nurl_file = "url"\n')

    loaded = load(file, NODES)

    assert loaded.settings.database.url == URL
    assert loaded.sources["database.url"] == f"file {file}, database.url_file"
    assert "marked-secret" not in render_effective(loaded)


def test_a_secret_may_be_in_a_file_that_the_environment_names(tmp_path: Path) -> None:
    environ = NODES | {"BREEZEBLOCK_DATABASE__URL_FILE": str(written(tmp_path, "url", URL))}

    assert load(None, environ).settings.database.url == URL


def test_a_list_of_secrets_is_a_line_for_each(tmp_path: Path) -> None:
    other = URL.replace("db.", "db-2.")
    environ = NODES | {
        "BREEZEBLOCK_DATABASE__URL": URL,
        "BREEZEBLOCK_DATABASE__FAILOVER_URLS_FILE": str(written(tmp_path, "urls", f"{other}\n{other}?x=1\n")),
    }

    assert load(None, environ).settings.database.failover_urls == [other, f"{other}?x=1"]


def test_a_credential_of_systemd_is_the_option_that_it_is_called_as(tmp_path: Path) -> None:
    """The content of a secret, the file itself where the option is a path, and nothing of what is somebody else's."""
    written(tmp_path, "database.url", URL)
    key = written(tmp_path, "backup_stores.far.encryption_key_file", "key")
    written(tmp_path, "a-tool.password", "not ours")

    loaded = load(
        None, NODES | {"CREDENTIALS_DIRECTORY": str(tmp_path), "BREEZEBLOCK_BACKUP_STORES__FAR__TYPE": "folder"}
    )

    assert loaded.settings.database.url == URL
    assert loaded.sources["database.url"].startswith("credential database.url")
    assert loaded.settings.backup_stores["far"].encryption_key_file == key


def test_the_environment_beats_a_credential(tmp_path: Path) -> None:
    written(tmp_path, "database.url", URL)
    environ = NODES | {"CREDENTIALS_DIRECTORY": str(tmp_path), "BREEZEBLOCK_DATABASE__URL": "mariadb://bb@other/bb"}

    assert load(None, environ).settings.database.url == "mariadb://bb@other/bb"


@pytest.mark.parametrize(
    ("content", "expected"),
    [(b"", "1 to"), (b"\n", "1 to"), (b"x" * (SECRET_BYTES_MAX + 1), "1 to"), (b"\xff", "it is no text")],
)
def test_what_is_no_secret_is_refused(tmp_path: Path, content: bytes, expected: str) -> None:
    path = tmp_path / "url"
    path.write_bytes(content)

    assert expected in refusal({"BREEZEBLOCK_DATABASE__URL_FILE": str(path)})


def test_all_that_is_wrong_with_secrets_is_told_at_once_without_any(tmp_path: Path) -> None:
    written(tmp_path, "quota.volumes", "7")
    written(tmp_path, "database.url", URL)
    environ = {
        "CREDENTIALS_DIRECTORY": str(tmp_path),
        "BREEZEBLOCK_DOORBELL__URLS_FILE": str(tmp_path / "absent"),
        "BREEZEBLOCK_API__PORT_FILE": "x",
        "BREEZEBLOCK_API__TLS_KEY_PASSWORD": "marked-secret",
        "BREEZEBLOCK_API__TLS_KEY_PASSWORD_FILE": str(tmp_path / "database.url"),
    }

    told = refusal(environ)

    assert "quota.volumes" in told and "expected the name of an option that is a secret" in told
    assert "doorbell.urls_file" in told and "No such file" in told
    assert "api.port_file" in told and "unknown key" in told
    assert "api.tls_key_password_file" in told and "expected either this or tls_key_password" in told
    assert "marked-secret" not in told


def test_a_folder_of_credentials_that_is_not_there_is_told(tmp_path: Path) -> None:
    assert "expected a folder" in refusal({"CREDENTIALS_DIRECTORY": str(tmp_path / "absent")})


def test_options_with_urls_and_passwords_are_secrets_and_places_are_none() -> None:
    for key in ("database.url", "database.failover_urls", "doorbell.urls", "events.x.urls", "api.tls_key_password"):
        assert is_secret(tuple(key.split("."))), key
    for key in ("events.x.secret_file", "backup_stores.x.credentials_file", "api.tls_key"):
        assert is_path(tuple(key.split("."))), key
        assert not is_secret(tuple(key.split("."))), key
    for key in ("api.port", "database.nothing", "nothing", "backends.x", "api.tls_key.more"):
        assert not is_secret(tuple(key.split("."))), key


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"API__TLS_CERTIFICATE": "/c"}, "tls_certificate needs it"),
        ({"API__TLS_KEY": "/k"}, "without tls_certificate the API speaks no TLS"),
        ({"API__TLS_CLIENT_CA": "/k"}, "without tls_certificate the API speaks no TLS"),
        ({"API__TRUSTED_PROXIES": "everyone"}, "expected an address or a network"),
        ({"API__TRUSTED_PROXIES": "10.0.0.1/24"}, "expected an address or a network"),
        ({"API__TRUSTED_PROXIES": '["10.0.0.1", "::/0"]'}, "everybody would be believed"),
        ({"LIMITS__READS_BURST": "5"}, "expected reads_per_s as well"),
        ({"LIMITS__ADDRESS_BURST": "5"}, "expected address_per_s as well"),
        ({"LIMITS__WRITES_PER_S": "9", "LIMITS__WRITES_BURST": "5"}, "expected at least writes_per_s, 9"),
        ({"LIMITS__BODY_TIMEOUT_S": "0"}, "expected float >= 0.1"),
    ],
)
def test_what_cannot_be_together_at_the_service_s_edge(environ: dict[str, str], expected: str) -> None:
    assert expected in refusal({f"BREEZEBLOCK_{name}": value for name, value in environ.items()})
