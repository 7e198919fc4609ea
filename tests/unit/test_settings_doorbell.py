"""The doorbell's options: what is taken by itself, and what is refused with a sentence."""

from pathlib import Path

import pytest
from msgspec import structs

from breezeblock.options import Settings
from breezeblock.settings import SettingsError, from_json, load, render_effective, to_json

BROKER = "amqp://rings:hunter2@broker:5672/"


def chosen(text: str, tmp_path: Path) -> Settings:
    file = tmp_path / "breezeblock.toml"
    file.write_text(text)
    return load(file, {}).settings


def with_database(settings: Settings, url: str) -> Settings:
    """The same settings with another database, whichever this release accepts."""
    return structs.replace(settings, database=structs.replace(settings.database, url=url))


@pytest.mark.parametrize(
    ("url", "kind", "urls"),
    [
        ("sqlite:////var/lib/breezeblock/breezeblock.db", "datagram", []),
        ("postgresql://host/name", "postgresql", ["postgresql://host/name"]),
        ("postgresql+psycopg://host/name", "postgresql", ["postgresql+psycopg://host/name"]),
        ("mysql+pymysql://host/name", "datagram", []),
    ],
)
def test_the_doorbell_follows_the_database(url: str, kind: str, urls: list[str]) -> None:
    """A database that can ring does."""
    settings = with_database(load(None, {}).settings, url)

    assert (settings.doorbell_kind, settings.doorbell_urls) == (kind, urls)


def test_a_doorbell_may_have_servers_of_its_own(tmp_path: Path) -> None:
    """As behind a pooler of connections, through which nobody can listen."""
    direct = "postgresql://direct/name"
    settings = chosen(f'[doorbell]\nkind = "postgresql"\nurls = ["{direct}"]\n', tmp_path)

    assert with_database(settings, "postgresql://pooler/name").doorbell_urls == [direct]


@pytest.mark.parametrize(("urls", "quorum"), [([BROKER], False), ([BROKER, "amqps://other/vhost"], True)])
def test_a_broker_of_several_nodes_gets_quorum_queues(tmp_path: Path, urls: list[str], quorum: bool) -> None:
    """Unless the operator says otherwise."""
    text = f'[doorbell]\nkind = "rabbitmq"\nurls = {urls!r}\n'

    assert chosen(text, tmp_path).doorbell.quorum is quorum
    assert chosen(f"{text}quorum = {str(not quorum).lower()}\n", tmp_path).doorbell.quorum is not quorum


def test_the_pause_beside_a_doorbell_is_that_of_nodes(tmp_path: Path) -> None:
    """Until somebody chooses to look less often."""
    assert chosen("[nodes]\npoll_s = 2.5\n", tmp_path).doorbell.idle_poll_s == 2.5
    assert chosen("[doorbell]\nidle_poll_s = 20\n", tmp_path).doorbell.idle_poll_s == 20.0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('kind = "pigeon"', "expected one of auto, datagram, postgresql, rabbitmq, none"),
        ('kind = "rabbitmq"', "rabbitmq needs the URL of a broker"),
        ('kind = "rabbitmq"\nurls = ["http://broker/"]', "expected a URL such as amqp://user:password@host:5672/"),
        ('kind = "rabbitmq"\nurls = ["amqp://"]', "expected a URL such as amqp://"),
        ('kind = "rabbitmq"\nurls = ["amqp://broker:70000/"]', "expected a port between 1 and 65535"),
        ('kind = "postgresql"', "the database is not PostgreSQL, so doorbell.urls must name a server that is"),
        ('kind = "postgresql"\nurls = ["mysql://host/name"]', "expected a URL such as postgresql://"),
        (f'kind = "none"\nurls = ["{BROKER}"]', "a doorbell of the kind none has no servers"),
        (f'urls = ["{BROKER}"]', "a doorbell of the kind datagram has no servers"),
        ("idle_poll_s = 0.5", "expected at least nodes.poll_s"),
        ("idle_poll_s = 600", "expected less than nodes.park_after_s"),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path: Path, text: str, expected: str) -> None:
    """With a sentence, and without a password."""
    with pytest.raises(SettingsError) as caught:
        chosen(f"[doorbell]\n{text}\n", tmp_path)

    assert expected in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_brokers_password_is_not_shown(tmp_path: Path) -> None:
    """Where it comes from is."""
    file = tmp_path / "breezeblock.toml"
    file.write_text(f'[doorbell]\nkind = "rabbitmq"\nurls = ["{BROKER}"]\n')

    shown = render_effective(load(file, {}))

    assert 'urls = ["amqp://rings:***@broker:5672/"]' in shown
    assert "hunter2" not in shown


def test_processes_get_the_same_doorbell(tmp_path: Path) -> None:
    """Through their briefs."""
    settings = chosen(f'[doorbell]\nkind = "rabbitmq"\nurls = ["{BROKER}"]\n', tmp_path)

    assert from_json(to_json(settings)) == settings
