"""A webhook on a real server of HTTP: what it is sent, and what counts as taken."""

import asyncio
import hashlib
import hmac
import json
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import pytest
from tests.events.given import given_event

from breezeblock.events.contract import NotTaken
from breezeblock.events.webhook import SIGNATURE, WebhookReceiver
from breezeblock.model.events import Event

EVENTS = [given_event(id="1"), given_event(id="2", seq=4)]


class Server:
    """Answers each request with the next of these statuses; 0 closes the connection, -1 never answers."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = list(statuses)
        self.heads: list[str] = []
        self.bodies: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                (line,) = (line for line in head.splitlines() if line.lower().startswith("content-length"))
                length = int(line.partition(":")[2])
                self.heads.append(head)
                self.bodies.append(await reader.readexactly(length))
                status = self.statuses.pop(0)
                if status == -1:
                    await reader.read()
                if status <= 0:
                    return
                writer.write(f"HTTP/1.1 {status} x\r\nLocation: /other\r\nContent-Length: 0\r\n\r\n".encode())
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()


def with_server(server: Server, use: Callable[[str], Awaitable[None]]) -> None:
    async def main() -> None:
        async with await asyncio.start_server(server.serve, "127.0.0.1") as listening:
            port = listening.sockets[0].getsockname()[1]
            await use(f"http://127.0.0.1:{port}/hook?token=s3cret")

    asyncio.run(main())


def send(server: Server, times: int = 1, *, secret_file: Path | None = None, timeout_s: float = 5.0) -> None:
    async def use(url: str) -> None:
        receiver = WebhookReceiver(url, secret_file=secret_file, ca_file=None, timeout_s=timeout_s)
        try:
            for _ in range(times):
                await receiver.send(EVENTS)
        finally:
            await receiver.close()

    with_server(server, use)


def test_all_events_come_in_one_request_and_in_order() -> None:
    server = Server(200)

    send(server)

    told = json.loads(server.bodies[0])["events"]
    assert [one["id"] for one in told] == ["1", "2"]
    assert told[0]["resource"]["size_gib"] == 3
    assert "content-type: application/json" in server.heads[0].lower()


def test_the_body_is_signed_with_the_secret(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("key\n")
    server = Server(204)

    send(server, secret_file=secret)

    expected = hmac.new(b"key", server.bodies[0], hashlib.sha256).hexdigest()
    assert f"{SIGNATURE}: sha256={expected}".lower() in server.heads[0].lower()


@pytest.mark.parametrize("status", [301, 400, 404, 500, 503])
def test_any_answer_but_2xx_takes_nothing(status: int) -> None:
    with pytest.raises(NotTaken, match=str(status)):
        send(Server(status))


@pytest.mark.parametrize("status", [0, -1], ids=["closes", "hangs"])
def test_no_answer_takes_nothing_and_tells_no_secret(status: int) -> None:
    with pytest.raises(NotTaken) as refused:
        send(Server(status), timeout_s=0.2)

    assert "s3cret" not in str(refused.value)


def test_after_a_failure_the_next_try_finds_the_server_again() -> None:
    server = Server(0, 200)

    async def use(url: str) -> None:
        receiver = WebhookReceiver(url, secret_file=None, ca_file=None, timeout_s=5)
        with pytest.raises(NotTaken):
            await receiver.send(EVENTS)
        await receiver.send(EVENTS)
        await receiver.close()

    with_server(server, use)

    assert server.bodies[0] == server.bodies[1]


@pytest.mark.parametrize("text", [None, "", " \n"])
def test_without_a_secret_to_sign_with_nothing_is_sent(tmp_path: Path, text: str | None) -> None:
    secret = tmp_path / "secret"
    if text is not None:
        secret.write_text(text)
    server = Server(200)

    with pytest.raises(NotTaken, match="secret_file"):
        send(server, secret_file=secret)

    assert server.bodies == []


def test_where_nobody_listens_nothing_is_taken() -> None:
    async def main(events: Sequence[Event]) -> None:
        receiver = WebhookReceiver("http://127.0.0.1:1/", secret_file=None, ca_file=None, timeout_s=5)
        await receiver.send(events)

    with pytest.raises(NotTaken, match="ConnectError"):
        asyncio.run(main(EVENTS))
