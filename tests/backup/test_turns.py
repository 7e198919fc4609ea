"""Restores take turns with each other and with backups: by the segment, so nobody waits for the end of a large one."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing

import pytest
from tests.backup.given import BLOCK, ENV, GIB, ListBook, MemoryStore, Volume, archive_in, back_up, read_back, run
from tests.store.given import in_virtual_time, virtual_env

from breezeblock.backup.engine import Archive, Manifest, Shares

SEGMENTS = 3


def volume_of_segments() -> Volume:
    """Each with two blocks of data."""
    volume = Volume(SEGMENTS * GIB)
    for number in range(SEGMENTS):
        volume.write(number * GIB, bytes([number + 1]) * 2 * BLOCK)
    return volume


class FarStore(MemoryStore):
    """One that takes a while for each answer."""

    def __init__(self, sleep: Callable[[float], Awaitable[None]]) -> None:
        super().__init__()
        self._sleep = sleep

    async def get(self, key: str, *, offset: int = 0, length: int | None = None) -> bytes:
        await self._sleep(1.0)
        return await super().get(key, offset=offset, length=length)


def test_more_restores_than_turns_all_come_to_their_end() -> None:
    """Ten at once, of which two may use memory at a time."""
    env = virtual_env()
    shares = Shares(env.clock, at_once=2)
    store, volume = MemoryStore(), volume_of_segments()
    running: list[int] = []

    def note(call: str, key: str) -> bool:
        if call == "get" and "/packs/" in key:
            running.append(shares.running)
        return False

    store.away = note

    async def main() -> None:
        archive = archive_in(store, env=env, shares=shares)
        manifest = await back_up(archive, volume, book=ListBook())
        running.clear()
        found = await asyncio.gather(*(read_back(archive, manifest) for _ in range(10)))
        assert found == [volume.data()] * 10

    in_virtual_time(main())
    assert (max(running), shares.running, shares.waiting) == (2, 0, 0)


def test_restores_and_a_backup_take_turns_by_the_segment() -> None:
    """There is one turn, and the restores have begun: the backup ends before they do."""
    env = virtual_env()
    shares = Shares(env.clock, at_once=1)
    store, volume = FarStore(env.clock.sleep), volume_of_segments()
    ended: list[str] = []

    async def restore(archive: Archive, manifest: Manifest, name: str) -> None:
        pieces = archive.pieces(manifest)
        async with aclosing(pieces):
            async for _ in pieces:
                await env.clock.sleep(100.0)
        ended.append(name)

    async def small(archive: Archive) -> None:
        await env.clock.sleep(50.0)
        other = Volume(GIB)
        other.write(0, b"x" * BLOCK)
        await back_up(archive, other, book=ListBook())
        ended.append("backup")

    async def main() -> None:
        archive = archive_in(store, env=env, shares=shares)
        manifest = await back_up(archive, volume, book=ListBook())
        names = ("first", "second")
        await asyncio.gather(*(restore(archive, manifest, name) for name in names), small(archive))

    in_virtual_time(main())
    assert ended[0] == "backup"
    assert sorted(ended) == ["backup", "first", "second"]


def test_a_restore_that_is_given_up_gives_its_turn_up() -> None:
    """In the middle of a segment, and while it waits for the next turn."""
    shares = Shares(ENV.clock, at_once=1)

    async def main() -> None:
        archive = archive_in(MemoryStore(), shares=shares)
        manifest = await back_up(archive, volume_of_segments(), book=ListBook())
        pieces = archive.pieces(manifest)
        await anext(pieces)
        assert shares.running == 1
        waiting = asyncio.create_task(read_back(archive, manifest))
        await asyncio.sleep(0)
        assert shares.waiting == 1
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await pieces.aclose()
        assert (shares.running, shares.waiting) == (0, 0)
        assert await read_back(archive, manifest) == volume_of_segments().data()

    run(main())


def test_a_turn_that_was_lost_while_it_was_passed_on_is_not_given_up_twice() -> None:
    shares = Shares(ENV.clock, at_once=1)

    async def passes_on() -> None:
        async with shares.turn() as turn:
            await turn.pass_on()

    async def main() -> None:
        async with shares.turn():
            first = asyncio.create_task(passes_on())
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        async with shares.turn():
            first.cancel()
            await asyncio.gather(first, return_exceptions=True)
            assert shares.running == 1
            other = asyncio.create_task(shares.turn().__aenter__())
            await asyncio.sleep(0)
            assert (shares.running, shares.waiting) == (1, 1)
            other.cancel()
            await asyncio.gather(other, return_exceptions=True)
        assert (shares.running, shares.waiting) == (0, 0)

    run(main())
