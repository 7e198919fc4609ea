"""Nova's server events through keystoneauth1, on a real server of HTTP that stands where Nova would."""

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tests.events.given import VOLUME, given_event

from breezeblock.events.contract import NotTaken
from breezeblock.events.nova import NovaReceiver, server_events
from breezeblock.model.events import Event

ATTACHED = [
    {"id": "a1", "instance_uuid": "i1"},
    {"id": "a2", "instance_uuid": None},
    {"id": "a3", "instance_uuid": "i2"},
]
EXTENDED = given_event(kind="extend_volume", attachments=ATTACHED, resource=VOLUME | {"status": "in-use"})


class Nova(ThreadingHTTPServer):
    """Answers with `status`, and remembers what it was told. Of the words in `slow` each is answered once it is let go."""

    status = 200
    daemon_threads = True

    def __init__(self) -> None:
        self.told: list[tuple[str, str, Any]] = []
        self.slow: dict[int, threading.Event] = {}
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v2.1"


class _Handler(BaseHTTPRequestHandler):
    server: Nova

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.told.append((self.path, self.headers.get("OpenStack-API-Version", ""), body))
        if (waits := self.server.slow.get(len(self.server.told))) is not None:
            waits.wait(10)
        self.send_response(self.server.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""


@pytest.fixture
def nova() -> Iterator[Nova]:
    with Nova() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def receiver_of(nova: Nova, folder: Path, *, timeout_s: float = 5) -> NovaReceiver:
    credentials = folder / "nova.toml"
    credentials.write_text(f'auth_type = "none"\nendpoint = "{nova.url}"\n')
    return NovaReceiver(
        credentials_file=credentials,
        url=nova.url,
        region="",
        interface="internal",
        ca_file=None,
        timeout_s=timeout_s,
        now=time.monotonic,
    )


def send(receiver: NovaReceiver, *events: Event) -> None:
    asyncio.run(receiver.send(events))


def test_each_instance_that_has_the_volume_is_told(nova: Nova, tmp_path: Path) -> None:
    send(receiver_of(nova, tmp_path), EXTENDED)

    assert [path for path, _, _ in nova.told] == ["/v2.1/os-server-external-events"] * 2
    assert [body["events"] for _, _, body in nova.told] == [
        [{"name": "volume-extended", "server_uuid": instance, "tag": "v1"}] for instance in ("i1", "i2")
    ]
    assert {version for _, version, _ in nova.told} == {"compute 2.51"}


@pytest.mark.parametrize(
    "event",
    [
        given_event(kind="extend_volume", attachments=[]),
        given_event(kind="extend_volume", attachments=ATTACHED, outcome="failed"),
        given_event(kind="create_volume", attachments=ATTACHED),
        given_event(what="begun", kind="extend_volume", attachments=ATTACHED, outcome=""),
    ],
)
def test_nothing_else_is_nova_s_affair(event: Event) -> None:
    assert server_events(event) == []


def test_a_new_image_is_told_in_the_version_that_knows_it() -> None:
    (one, _) = server_events(given_event(kind="reimage_volume", attachments=ATTACHED))

    assert (one.name, one.microversion) == ("volume-reimaged", "2.93")


@pytest.mark.parametrize("status", [207, 400, 404])
def test_what_nova_has_understood_is_taken(nova: Nova, tmp_path: Path, status: int) -> None:
    nova.status = status

    send(receiver_of(nova, tmp_path), EXTENDED)

    assert len(nova.told) == 2


@pytest.mark.parametrize("status", [401, 403, 500, 503])
def test_what_nova_could_not_do_is_sent_again(nova: Nova, tmp_path: Path, status: int) -> None:
    receiver = receiver_of(nova, tmp_path)
    nova.status = status
    with pytest.raises(NotTaken, match=str(status)):
        send(receiver, EXTENDED)

    nova.status = 200
    send(receiver, EXTENDED)

    assert len(nova.told) == 3


@pytest.mark.parametrize("text", [None, "= no toml", 'auth_type = "nobody"', 'auth_type = "none"\nunknown = 1'])
def test_credentials_that_cannot_be_used_take_nothing(nova: Nova, tmp_path: Path, text: str | None) -> None:
    receiver = receiver_of(nova, tmp_path)
    (tmp_path / "nova.toml").unlink()
    if text is not None:
        (tmp_path / "nova.toml").write_text(text)

    with pytest.raises(NotTaken, match="credentials_file"):
        send(receiver, EXTENDED)


def volume_of(number: int) -> Event:
    return given_event(
        id=str(number), kind="extend_volume", attachments=[{"id": "a", "instance_uuid": "i"}], resource_id=f"v{number}"
    )


def test_a_try_that_runs_out_of_time_says_how_far_it_got(nova: Nova, tmp_path: Path) -> None:
    """By itself, before the sender would cut it off."""
    nova.slow[2] = threading.Event()
    began = time.monotonic()

    with pytest.raises(NotTaken) as late:
        send(receiver_of(nova, tmp_path, timeout_s=0.5), volume_of(0), volume_of(1), volume_of(2))
    took_s = time.monotonic() - began
    nova.slow[2].set()

    assert late.value.taken == 1
    assert took_s < 0.5
    assert [body["events"][0]["tag"] for _, _, body in nova.told] == ["v0", "v1"]


def test_who_is_cut_off_tells_nothing_more_and_nothing_beside_the_next_try(nova: Nova, tmp_path: Path) -> None:
    nova.slow[1] = let_go = threading.Event()

    async def main() -> None:
        receiver = receiver_of(nova, tmp_path)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(receiver.send([volume_of(0), volume_of(1)]), 0.2)
        again = asyncio.ensure_future(receiver.send([volume_of(0), volume_of(1)]))
        await asyncio.sleep(0.1)
        assert len(nova.told) == 1
        let_go.set()
        await again

    asyncio.run(main())

    assert [body["events"][0]["tag"] for _, _, body in nova.told] == ["v0", "v0", "v1"]
