"""The keeper's way to SQLite: one call at a time, also when a cancelled one is still on its thread."""

import asyncio
import sqlite3
import time
from pathlib import Path

from breezeblock.env.real import real_env
from breezeblock.model.errors import Unavailable
from breezeblock.node.lease_lanes import SqliteLane
from breezeblock.node.lease_table import Executor


def test_calls_at_the_same_time_wait_for_each_other(tmp_path: Path) -> None:
    """A second transaction on the same connection would fail, or worse."""
    overlaps: list[int] = []
    inside: list[Executor] = []

    def slowly(tx: Executor) -> None:
        inside.append(tx)
        time.sleep(0.05)
        overlaps.append(len(inside))
        inside.pop()

    async def at_once() -> None:
        lane = SqliteLane(str(tmp_path / "x.db"), real_env().threads, ())
        await asyncio.gather(*(lane.write(slowly) for _ in range(3)))

    asyncio.run(at_once())

    assert overlaps == [1, 1, 1]


def test_a_call_that_fails_does_not_take_the_connection_from_the_next(tmp_path: Path) -> None:
    """A stranger holds the write lock: the first gives up and closes the connection while the second already waits.

    Found as a keeper that ended by SIGSEGV when its lease was lost: it recorded its end beside a cancelled renewal.
    """
    path = str(tmp_path / "x.db")
    stranger = sqlite3.connect(path, isolation_level=None)
    stranger.execute("BEGIN IMMEDIATE")

    async def twice() -> tuple[BaseException | None, BaseException | None]:
        lane = SqliteLane(path, real_env().threads, ("PRAGMA busy_timeout = 300",))
        first = asyncio.ensure_future(lane.write(lambda tx: None))
        await asyncio.sleep(0.1)
        second = asyncio.ensure_future(lane.write(lambda tx: None))
        return await asyncio.gather(first, second, return_exceptions=True)

    results = asyncio.run(twice())
    stranger.close()

    assert [type(result) for result in results] == [Unavailable, Unavailable]
