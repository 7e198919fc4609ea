"""A connection is kept up whatever ends it, and asked for at a bearable pace."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from structlog.testing import capture_logs
from tests.store.given import in_virtual_time, virtual_env

from breezeblock.doorbells.postgresql import CHANNEL_BYTES_MOST, channel_of
from breezeblock.doorbells.served import PAUSE_LONGEST_S, Kept
from breezeblock.doorbells.tally import Rings


class Connection:
    closed = 0

    def close(self) -> None:
        self.closed += 1


def keep(
    minutes: float, open_one: Callable[[str], Awaitable[Connection]], use: Callable[[Connection], Awaitable[None]]
) -> None:
    """Keep a connection to one of two servers for so long."""

    async def main() -> None:
        env, urls = virtual_env(), ("one", "two")
        kept = Kept(kind="k", end="e", urls=urls, open_one=open_one, use=use, env=env, tally=Rings())
        await env.clock.sleep(minutes * 60)
        kept.close()

    in_virtual_time(main())


@pytest.mark.parametrize(
    "error", [ValueError("of a library"), asyncio.CancelledError(), OSError("gone"), TimeoutError()]
)
def test_whatever_ends_a_connection_the_next_one_is_opened(error: BaseException) -> None:
    """Libraries cancel what waits on a connection that they lost, and have mistakes of their own."""
    connections: list[Connection] = []

    async def open_one(url: str) -> Connection:
        connections.append(Connection())
        return connections[-1]

    async def use(connection: Connection) -> None:
        raise error

    keep(1, open_one, use)

    assert len(connections) > 10
    assert [connection.closed for connection in connections[:-1]] == [1] * (len(connections) - 1)


def test_a_server_that_is_not_there_is_asked_seldom_and_in_turn() -> None:
    """And told of once in an hour."""
    asked: list[str] = []

    async def open_one(url: str) -> Connection:
        asked.append(url)
        raise OSError("refused")

    async def use(connection: Connection) -> None:
        raise AssertionError("there is none")

    with capture_logs() as logs:
        keep(60, open_one, use)

    assert asked[:4] == ["one", "two", "one", "two"]
    assert 3600 / PAUSE_LONGEST_S <= len(asked) < 2 * 3600 / PAUSE_LONGEST_S + 20
    assert [line["event"] for line in logs] == ["doorbell.lost"]


def test_a_server_that_takes_connections_and_drops_them_does_not_fill_the_log() -> None:
    """One that holds at last is told of."""
    opened: list[Connection] = []

    async def open_one(url: str) -> Connection:
        opened.append(Connection())
        return opened[-1]

    async def use(connection: Connection) -> None:
        if len(opened) < 100:
            raise OSError("dropped")
        await asyncio.Event().wait()

    with capture_logs() as logs:
        keep(60, open_one, use)

    told = [line["event"].removeprefix("doorbell.") for line in logs]
    assert len(opened) == 100
    assert told == ["connected", "lost", "connected", "lost", "connected"]


def test_channels_are_no_longer_than_the_server_reads() -> None:
    """Two queues whose names begin alike have two channels."""
    long = f"{'c' * 63}@{'b' * 62}"

    found = [channel_of(queue) for queue in ("c@b", f"{long}1", f"{long}2")]

    assert found[0] == "breezeblock c@b"
    assert len(set(found)) == 3
    assert max(len(name.encode()) for name in found) <= CHANNEL_BYTES_MOST
