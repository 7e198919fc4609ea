"""Database servers that take a connection and then say nothing more, or refuse it: nobody waits for them for ever."""

import asyncio
import os
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import SimpleNamespace
from typing import Any, Final, cast

import pytest

from breezeblock.database_urls import problem_of
from breezeblock.env.real import RealThreads
from breezeblock.model.errors import Unavailable
from breezeblock.node.lease_lanes import ServerLane
from breezeblock.settings import Settings
from breezeblock.store import plain, pooled
from breezeblock.store.endpoints import Endpoints
from breezeblock.store.pooled import PooledLane
from breezeblock.store.servers import Session
from breezeblock.supervisor import ready, up
from breezeblock.supervisor.notify import Manager

TTL_S: Final = 0.6
_ASKS_FOR_ENCRYPTION: Final = (80877103, 80877104)


@contextmanager
def serving(talk: Callable[[socket.socket], None]) -> Iterator[int]:
    """A port on which each connection is spoken to by `talk`, and then left open."""
    taken: list[socket.socket] = []

    def speak(connection: socket.socket) -> None:
        with suppress(OSError):  # whoever connected has gone
            talk(connection)

    def serve(listening: socket.socket) -> None:
        with suppress(OSError):  # closed at the end
            while True:
                taken.append(listening.accept()[0])
                threading.Thread(target=speak, args=(taken[-1],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0), backlog=64) as listening:
        threading.Thread(target=serve, args=(listening,), daemon=True).start()
        try:
            yield listening.getsockname()[1]
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            for connection in taken:
                connection.close()


def let_in(connection: socket.socket) -> None:
    """As PostgreSQL, or a pooler before it, until the first question. That is never answered."""
    while True:
        length, code = struct.unpack("!II", connection.recv(8))
        if code not in _ASKS_FOR_ENCRYPTION:
            break
        connection.sendall(b"N")
    connection.recv(length)
    encoding = b"client_encoding\0UTF8\0"
    connection.sendall(b"R" + struct.pack("!II", 8, 0) + b"S" + struct.pack("!I", 4 + len(encoding)) + encoding)
    connection.sendall(b"Z" + struct.pack("!I", 5) + b"I")


def let_in_late(connection: socket.socket) -> None:
    """When the keeper's limit for a call is over, and the one for connecting is not."""
    time.sleep(TTL_S)
    let_in(connection)


def refuse(code: int) -> Callable[[socket.socket], None]:
    """As MariaDB refuses a client at the door."""

    def talk(connection: socket.socket) -> None:
        text = b"\xff" + struct.pack("<H", code) + b"no"
        connection.sendall(struct.pack("<I", len(text)) + text)

    return talk


def url(port: int, kind: str = "postgresql") -> str:
    return f"{kind}://u:p@127.0.0.1:{port}/d"


async def write(urls: Sequence[str], *, times: int) -> list[Any]:
    """What so many transactions come to, one after the other."""
    lane = PooledLane(Endpoints(urls, Session(connections=2)))
    try:
        return [(await asyncio.gather(lane.write(lambda tx: None), return_exceptions=True))[0] for _ in range(times)]
    finally:
        lane.close()


def test_a_server_that_falls_silent_while_a_session_is_set_up_keeps_no_transaction(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The next server is asked after that."""
    monkeypatch.setattr(pooled, "LOOK_EVERY_S", 0.1)
    monkeypatch.setattr(pooled, "ANSWER_TIMEOUT_S", 0.3)
    with serving(let_in) as silent:
        answers = asyncio.run(asyncio.wait_for(write([url(silent)], times=2), 20))

    assert [type(answer) for answer in answers] == [Unavailable] * 2


def test_a_keepers_call_ends_also_when_the_server_let_it_in_late() -> None:
    threads = RealThreads(max_threads=2)

    async def main(port: int) -> None:
        lane = ServerLane([url(port)], threads, ttl_s=TTL_S)
        with pytest.raises(Unavailable):
            await asyncio.wait_for(lane.write(lambda tx: tx.execute("SELECT 1", ())), 20)

    with serving(let_in_late) as silent:
        asyncio.run(main(silent))
    threads.close()


def test_up_does_not_wait_for_a_silent_server_to_say_whether_it_is_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread that asks would keep the process from ending."""
    monkeypatch.setattr(ready, "CUT_AFTER_S", 0.3)
    with serving(let_in) as silent:
        assert asyncio.run(asyncio.wait_for(ready.storage_is_ready([url(silent)], [1]), 20)) is False


@pytest.mark.parametrize("code", [1044, 1045, 1049, 1130, 1226])
def test_a_server_that_refuses_us_at_the_door_is_left_for_the_next(code: int) -> None:
    """Whatever its reason: nothing was written, and there may be one that takes us."""
    with serving(refuse(code)) as first, serving(refuse(code)) as second:
        answers = asyncio.run(write([url(first, "mariadb"), url(second, "mariadb")], times=3))

    assert [type(answer) for answer in answers] == [Unavailable] * 3


@pytest.mark.parametrize("query", ["charset=utf8mb4", "read_timeout=30", "program_name=x", "no_such_option=1"])
def test_what_a_url_asks_for_keeps_no_keeper_from_starting(query: str) -> None:
    """What we ask for ourselves is ours to choose, and what there is not is said."""
    with serving(refuse(1045)) as port, pytest.raises(plain.Failed):
        plain.connect(f"{url(port, 'mariadb')}?{query}", statement_limit_s=1.0, idle_limit_s=1.0)


def test_a_password_with_a_slash_is_not_quoted_back() -> None:
    said = problem_of("postgresql://user:half/other@host/name")

    assert "half" not in said
    assert "%2F" in said


def test_an_upgrade_that_was_killed_is_no_upgrade(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has said nothing, and that is no yes."""
    monkeypatch.setattr(up, "_upgrade", lambda urls: os.kill(os.getpid(), signal.SIGKILL))
    database = SimpleNamespace(urls=("sqlite:////nowhere/x.db",), url="sqlite:////nowhere/x.db")

    with pytest.raises(up.CannotStart, match="signal 9"):
        up._prepare_database(cast(Settings, SimpleNamespace(database=database)), Manager({}))
