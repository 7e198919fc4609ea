"""`[auth]`: what of it cannot be together."""

from pathlib import Path

import pytest

from breezeblock.settings import SettingsError, from_json, load, render_effective, to_json

KEYSTONE = '[auth]\nstrategy = "keystone"\nauth_url = "https://identity.example.org/v3"\npassword_file = "secret"\n'
BASIC = '[auth]\nstrategy = "http_basic"\nhtpasswd_file = "htpasswd"\nusers_file = "users.toml"\n'


def written(folder: Path, text: str) -> Path:
    file = folder / "breezeblock.toml"
    file.write_text(text)
    return file


@pytest.mark.parametrize("text", [KEYSTONE, BASIC])
def test_who_knows_his_callers_may_listen_anywhere(tmp_path: Path, text: str) -> None:
    """Files are found beside the settings, and nothing is lost on the way to a child process."""
    settings = load(written(tmp_path, f'{text}[api]\nhost = "0.0.0.0"\n'), {}).settings

    assert settings.api.host == "0.0.0.0"
    assert tmp_path / "secret" == settings.auth.password_file or tmp_path / "htpasswd" == settings.auth.htpasswd_file
    assert from_json(to_json(settings)) == settings


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('[auth]\nstrategy = "magic"\n', "expected one of none, http_basic, keystone"),
        ('[auth]\nauth_url = "http://a"\n', "only keystone have this option; expected none with none"),
        ('[auth]\nstrategy = "http_basic"\n', "auth.htpasswd_file"),
        ('[auth]\nstrategy = "http_basic"\n', "auth.users_file"),
        (f"{BASIC}outage_s = 1.0\n", "only keystone have this option; expected none with http_basic"),
        ('[auth]\nstrategy = "keystone"\npassword = "p"\n', "auth.auth_url"),
        (f'{KEYSTONE}username = ""\n', "auth.username"),
        (f'{KEYSTONE}password = "geheim"\n', "expected one of both"),
        (KEYSTONE.replace('password_file = "secret"', ""), "expected one of both"),
        (KEYSTONE.replace("https://", "ftp://"), "expected a URL such as https://identity.example.org/v3"),
        (KEYSTONE.replace("https://", "https://me:geheim@"), "expected a URL such as"),
        (KEYSTONE.replace("example.org", "example.org:99999"), "expected a URL such as"),
        (f"{KEYSTONE}www_authenticate_uri = 'http://a\"b'\n", "expected a URL such as"),
        (f'{KEYSTONE}insecure = true\nca_file = "ca.pem"\n', "with a ca_file its certificate can be checked"),
        (f"{KEYSTONE}service_roles = []\n", "length >= 1"),
        (f"{KEYSTONE}cache_s = -1.0\n", "expected float >= 0"),
        ('[api]\nauth = "none"\n', "unknown key"),
        ('[auth]\nhosts = ["a:8776"]\n', "without a port"),
        ('[auth]\nhosts = ["http://a"]\n', "as in a URL"),
        (f'{KEYSTONE}hosts = ["a"]\n', "only none have this option; expected none with keystone"),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path: Path, text: str, expected: str) -> None:
    """By name, and without the password."""
    with pytest.raises(SettingsError) as raised:
        load(written(tmp_path, text), {})

    assert expected in str(raised.value)
    assert "geheim" not in str(raised.value)


def test_a_password_is_not_shown(tmp_path: Path) -> None:
    """Where there is none, that is."""
    text = KEYSTONE.replace('password_file = "secret"', 'password = "geheim"')

    shown = render_effective(load(written(tmp_path, text), {}))

    assert 'auth.password = "***"' in shown
    assert 'auth.password = ""' in render_effective(load(None, {}))
    assert "geheim" not in shown
