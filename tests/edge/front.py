"""The server of one API process with the whole application behind it, on a socket of its own, in a thread."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from breezeblock import settings
from breezeblock.api.app import build_app
from breezeblock.api.call import Services
from breezeblock.env.real import real_env
from breezeblock.processes.server import Front
from breezeblock.settings import Settings
from breezeblock.store import schema
from breezeblock.wiring import open_database

__all__ = ["HOST", "Raw", "front", "say"]

HOST: Final = "127.0.0.1"
START_S: Final = 20.0
ANSWER_S: Final = 15.0


class NobodyListens:
    def ring(self, queue: str) -> None:
        """No node is there."""


@contextlib.contextmanager
def front(folder: Path, environ: Mapping[str, str] | None = None) -> Iterator[int]:
    """Serve, and give the port."""
    folder.mkdir(parents=True, exist_ok=True)
    named = {f"BREEZEBLOCK_{name}": value for name, value in (environ or {}).items()}
    # Requests here are for a host called x.
    base = {"BREEZEBLOCK_SERVICE__DATA_DIR": str(folder), "BREEZEBLOCK_AUTH__HOSTS": '["x"]'}
    chosen = settings.load(None, base | named).settings
    schema.upgrade(chosen.database.url)
    with socket.create_server((HOST, 0), backlog=1024) as listening:
        listening.setblocking(False)
        running = _Running(chosen, listening.fileno())
        thread = threading.Thread(target=running.run, daemon=True)
        thread.start()
        if not running.started.wait(START_S):
            raise AssertionError(f"the server did not start: {running.broken!r}")
        try:
            yield int(listening.getsockname()[1])
        finally:
            running.stop()
            thread.join(START_S)
            assert not thread.is_alive(), "the server does not stop"


class _Running:
    def __init__(self, chosen: Settings, listening_file: int) -> None:
        self._chosen = chosen
        self._listening_file = listening_file
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self.started = threading.Event()
        self.broken: BaseException | None = None

    def run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:
            self.broken = error
            raise

    async def _serve(self) -> None:
        env = real_env()
        opened = open_database(self._chosen, env)
        app = build_app(Services(store=opened.store, env=env, doorbell=NobodyListens(), settings=self._chosen))
        front = Front(app, self._listening_file, api=self._chosen.api, limits=self._chosen.limits, clock=env.clock)
        front.start()
        renewing = asyncio.ensure_future(front.renew())
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        self.started.set()
        await self._stop.wait()
        renewing.cancel()
        await front.stop()
        opened.lane.close()

    def stop(self) -> None:
        assert self._loop is not None and self._stop is not None
        self._loop.call_soon_threadsafe(self._stop.set)


class Raw:
    """What came back on a connection, as bytes and in parts."""

    def __init__(self, content: bytes, *, ended: bool) -> None:
        self.content = content
        self.ended = ended
        """Whether the other end has closed the connection."""

    @property
    def statuses(self) -> list[int]:
        """Of each answer, in order."""
        marks = self.content.split(b"HTTP/1.1 ")[1:]
        return [int(one[:3]) for one in marks]

    @property
    def status(self) -> int:
        assert self.statuses, f"no answer: {self.content[:200]!r}, ended: {self.ended}"
        return self.statuses[0]

    @property
    def headers(self) -> dict[str, str]:
        head = self.content.split(b"\r\n\r\n", 1)[0].decode("latin-1").split("\r\n")[1:]
        return {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head)}

    @property
    def body(self) -> bytes:
        return self.content.split(b"\r\n\r\n", 1)[1]


def say(port: int, *parts: bytes, until: int = 1, within_s: float = ANSWER_S, shut: bool = False) -> Raw:
    """Send bytes, and read until so many answers are whole, the connection ends, or time is over."""
    with socket.create_connection((HOST, port), timeout=within_s) as connection:
        for part in parts:
            try:
                connection.sendall(part)
            except (BrokenPipeError, ConnectionResetError):
                break  # refused before all of it was sent; the answer may be there
        if shut:
            connection.shutdown(socket.SHUT_WR)
        return read(connection, until=until)


def read(connection: socket.socket, *, until: int) -> Raw:
    """What comes until so many answers are whole, the connection ends, or its time is over."""
    content = b""
    while _whole(content) < until:
        try:
            more = connection.recv(65_536)
        except TimeoutError:
            return Raw(content, ended=False)
        except ConnectionResetError:
            return Raw(content, ended=True)
        if not more:
            return Raw(content, ended=True)
        content += more
    return Raw(content, ended=False)


def _whole(content: bytes) -> int:
    """How many answers are complete: all of ours say how long they are."""
    found = 0
    while b"\r\n\r\n" in content:
        head, rest = content.split(b"\r\n\r\n", 1)
        lengths = [
            line.partition(b":")[2] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")
        ]
        length = int(lengths[0]) if lengths else 0
        if len(rest) < length:
            return found
        found, content = found + 1, rest[length:]
    return found
