"""Waiting, turns, bandwidth, and how much is on its way at a time."""

import asyncio
import random
from collections.abc import Callable

import pytest
from tests.backup.given import (
    ENV,
    ListBook,
    MemoryStore,
    Volume,
    archive_in,
    back_up,
    random_volume,
    read_back,
    run,
    writing,
)
from tests.store.given import in_virtual_time, virtual_env

from breezeblock.backup.contract import Buffer, StoreUnavailable
from breezeblock.backup.engine import Shares
from breezeblock.backup.manifest import Header, Segment, build_manifest, parse_manifest
from breezeblock.backup.seal import Keys
from breezeblock.model.errors import Fenced

MIB = 1024**2


def test_a_store_may_be_away_for_hours() -> None:
    """The backup waits, with pauses of a minute at most, and then ends as if nothing had been."""
    env = virtual_env()
    store, volume = MemoryStore(), random_volume(4 * MIB)
    store.away = lambda call, key: call == "put" and store.calls["put"] > 2 and env.clock.boottime() - began < 5 * 3600
    archive = archive_in(store, env=env, pack_bytes=MIB, patience_s=6 * 3600.0)
    began = 0.0

    async def main() -> None:
        nonlocal began
        began = env.clock.boottime()
        manifest = await back_up(archive, volume, book=ListBook())
        assert env.clock.boottime() - began < 5 * 3600 + 120
        assert await read_back(archive, manifest) == volume.data()

    in_virtual_time(main())
    assert 5 * 60 < store.calls["put"] < 4 * 5 * 130  # four uploads, each asked again every 30 to 60 s


def test_a_store_that_stays_away_is_told() -> None:
    """After the patience, which the caller has chosen; nothing of the backup runs on."""
    env = virtual_env()
    store = MemoryStore()
    archive = archive_in(store, env=env, pack_bytes=MIB, patience_s=3600.0)

    async def main() -> None:
        await archive.open()
        store.away = lambda call, key: call == "put"
        with pytest.raises(StoreUnavailable):
            await back_up(archive, random_volume(4 * MIB), book=ListBook())
        calls = dict(store.calls)
        await env.clock.sleep(1000.0)
        assert store.calls == calls

    in_virtual_time(main())


class LostBook(ListBook):
    """Its owner is fenced when it asks for names once more."""

    async def allot(self, count: int) -> list[str]:
        if len(self.allotted) > 4:
            raise Fenced("lost")
        return list(await super().allot(count))


def test_who_is_fenced_stops_at_once() -> None:
    """With the book's own error, and nothing under way."""
    env = virtual_env()
    store = MemoryStore()
    archive = archive_in(store, env=env, pack_bytes=MIB)

    async def main() -> None:
        with pytest.raises(Fenced):
            await back_up(archive, random_volume(16 * MIB), book=LostBook())
        puts = store.calls["put"]
        await env.clock.sleep(1000.0)
        assert store.calls["put"] == puts
        assert len(asyncio.all_tasks()) == 1

    in_virtual_time(main())


def test_uploads_go_in_parallel_and_no_more_than_four() -> None:
    """Memory is bounded by the packs that wait."""
    store = MemoryStore()
    run(back_up(archive_in(store, pack_bytes=MIB // 2), random_volume(16 * MIB), book=ListBook()))

    assert 2 <= store.most_at_once <= 4


class SlowStore(MemoryStore):
    """Takes its time for each object."""

    def __init__(self, sleep: Callable[[float], "asyncio.Future[None]"]) -> None:
        super().__init__()
        self._sleep = sleep

    async def put(self, key: str, parts: "list[Buffer]") -> None:  # type: ignore[override]
        await self._sleep(10.0)
        await super().put(key, parts)


def test_reading_waits_for_uploads() -> None:
    """A store that is slow holds the reader back: never more is read than what a few packs and pieces take."""
    env = virtual_env()
    store = SlowStore(env.clock.sleep)  # type: ignore[arg-type]
    volume = random_volume(64 * MIB)
    ahead = []

    class Watched(Volume):
        async def read(self, offset: int, length: int) -> bytes:
            ahead.append(offset + length - sum(len(data) for key, data in store.objects.items() if "/packs/" in key))
            return await volume.read(offset, length)

    watched = Watched(volume.size_bytes)
    watched.blocks = volume.blocks
    in_virtual_time(back_up(archive_in(store, env=env, pack_bytes=2 * MIB), watched, book=ListBook()))

    assert max(ahead) <= (1 + 4 + 1) * 2 * MIB + 7 * 4 * MIB


def test_backups_share_the_bandwidth_fairly() -> None:
    """Three volumes of one size, begun together, end within a piece's time of each other, and not before their time."""
    env = virtual_env()
    shares = Shares(env.clock, bytes_per_s=MIB, at_once=3)
    ended = []

    async def one(seed: int) -> None:
        archive = archive_in(MemoryStore(), env=env, shares=shares)
        await back_up(archive, random_volume(16 * MIB, seed=seed), book=ListBook())
        ended.append(env.clock.boottime())

    async def main() -> None:
        began = env.clock.boottime()
        await asyncio.gather(one(1), one(2), one(3))
        assert min(ended) - began > 3 * 16 - 3 * 4 * 2
        assert max(ended) - min(ended) <= 3 * 4 * 2

    in_virtual_time(main())


def test_more_backups_than_turns_all_come_to_their_end() -> None:
    """Ten at once, of which two may use memory at a time."""
    env = virtual_env()
    shares = Shares(env.clock, at_once=2)
    most = 0

    async def one(seed: int) -> None:
        nonlocal most
        archive = archive_in(MemoryStore(), env=env, shares=shares, pack_bytes=MIB)
        volume = random_volume(2 * MIB, seed=seed)
        manifest = await back_up(archive, volume, book=ListBook())
        most = max(most, shares.running)
        assert await read_back(archive, manifest) == volume.data()

    async def main() -> None:
        await asyncio.gather(*(one(seed) for seed in range(10)))

    in_virtual_time(main())
    assert (most, shares.running) == (2, 0) or (most, shares.running) == (1, 0)


def test_the_manifest_of_a_tebibyte_is_small() -> None:
    """1,024 segments that need 65 packs each, 64 of them their own."""
    chance = random.Random(1)
    segments = [
        Segment(number, 1024**3, chance.randbytes(32), 5 * MIB, 700_000, 738_328, 1, chance.randbytes(65 * 16))
        for number in range(1024)
    ]
    header = Header(backup_id="b", volume_id="v", size_bytes=1024**4, created_us=1)
    keys = Keys("a", None)

    data = build_manifest(header, segments, manifest_id=ENV.ids.uuid(), keys=keys)

    assert len(data) < 1.5 * MIB
    assert parse_manifest("b.1.1", data, keys, "it").segments == segments


def test_a_segment_costs_no_more_than_its_share_of_names() -> None:
    """Names are rows in a database: those that are taken and not used are few."""
    book, store = ListBook(), MemoryStore()

    async def main() -> None:
        archive = archive_in(store, pack_bytes=MIB)
        async with writing(archive, book) as writer:
            await writer.store_segment(random_volume(32 * MIB), 0, parent=None, changed=None)

    run(main())
    assert len(store.packs()) <= len(book.allotted) <= 2 * len(store.packs())
