"""`[events.NAME]` and `[audit]`: what can be written, and what cannot be together."""

from pathlib import Path

import pytest

from breezeblock import settings, wiring
from breezeblock.env.real import real_env
from breezeblock.events.log import LogReceiver
from breezeblock.settings import SettingsError


def load(folder: Path, text: str) -> settings.Loaded:
    file = folder / "settings.toml"
    file.write_text(text)
    return settings.load(file, {})


def test_without_a_section_nobody_is_told(tmp_path: Path) -> None:
    chosen = load(tmp_path, "").settings

    assert (chosen.events, chosen.audit.to) == ({}, "none")
    assert wiring.open_outlets(chosen, real_env()) == {}


def test_an_empty_section_is_the_log(tmp_path: Path) -> None:
    chosen = load(tmp_path, "[events.diary]\n").settings

    (outlet,) = wiring.open_outlets(chosen, real_env()).values()
    assert isinstance(outlet.receiver, LogReceiver)
    assert outlet.keep_s == 7 * 86_400


def test_the_environment_may_name_a_receiver(tmp_path: Path) -> None:
    environ = {
        "BREEZEBLOCK_EVENTS__HOOK__TYPE": "webhook",
        "BREEZEBLOCK_EVENTS__HOOK__URLS": "https://host.example.org/hook",
    }

    assert settings.load(None, environ).settings.events["hook"].urls == ["https://host.example.org/hook"]


@pytest.mark.parametrize(
    "section",
    [
        '[events.a]\ntype = "webhook"\nurls = ["https://host/hook"]\nsecret_file = "secret"\n',
        '[events.a]\ntype = "oslo"\nurls = ["amqp://u:p@one/", "amqps://two/"]\ndurable = true\n',
        '[events.a]\ntype = "nova"\ncredentials_file = "nova.toml"\n',
        '[audit]\nto = "file"\nfile = "audit.log"\n',
        '[audit]\nto = "log"\n',
    ],
)
def test_each_kind_can_be_written_and_opened(tmp_path: Path, section: str) -> None:
    chosen = load(tmp_path, section).settings

    assert len(wiring.open_outlets(chosen, real_env())) == len(chosen.events)
    assert settings.from_json(settings.to_json(chosen)) == chosen


@pytest.mark.parametrize(
    ("section", "key", "expected"),
    [
        ('[events.a]\ntype = "webhook"\n', "events.a.urls", "needs it"),
        ('[events.a]\ntype = "oslo"\n', "events.a.urls", "needs it"),
        ('[events.a]\ntype = "nova"\n', "events.a.credentials_file", "needs it"),
        ('[events.a]\ntype = "webhook"\nurls = ["amqp://host/"]\n', "events.a.urls", "http://"),
        ('[events.a]\ntype = "webhook"\nurls = ["http://one/", "http://two/"]\n', "events.a.urls", "one URL"),
        ('[events.a]\ntype = "oslo"\nurls = ["amqp://host:0/"]\n', "events.a.urls", "amqp://"),
        ('[events.a]\nurls = ["http://host/"]\n', "events.a.urls", "only webhook and oslo and nova"),
        ('[events.a]\ntopic = "mine"\n', "events.a.topic", "only oslo"),
        ('[events.a]\ntype = "telegraph"\n', "events.a.type", "one of log, webhook, oslo, nova"),
        ('[audit]\nto = "file"\n', "audit.file", "needs it"),
        ('[audit]\nfile = "audit.log"\n', "audit.file", "only to = file"),
    ],
)
def test_what_cannot_be_together_is_told(tmp_path: Path, section: str, key: str, expected: str) -> None:
    with pytest.raises(SettingsError) as refused:
        load(tmp_path, section)

    assert [(problem.key, expected in problem.expected) for problem in refused.value.problems] == [(key, True)]


def test_passwords_of_brokers_are_shown_to_nobody(tmp_path: Path) -> None:
    loaded = load(tmp_path, '[events.a]\ntype = "oslo"\nurls = ["amqp://user:s3cret@host/"]\n')

    assert "s3cret" not in settings.render_effective(loaded)
