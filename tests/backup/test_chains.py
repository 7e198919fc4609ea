"""Backups and deletions in any order, crashes between and within them: every backup that is left gives its volume back."""

import random
from dataclasses import dataclass, field

import pytest
from tests.backup.given import BLOCK, GIB, KEY, ListBook, MemoryStore, Volume, archive_in, back_up, read_back
from tests.conftest import SEED
from tests.store.given import in_virtual_time, virtual_env

from breezeblock.backup.contract import StoreUnavailable
from breezeblock.backup.engine import Archive, Manifest

BLOCKS = 48


@dataclass
class Life:
    """One volume, its backups, and what has changed since the last of them."""

    chance: random.Random
    volume: Volume
    changed: list[tuple[int, int]] = field(default_factory=list)
    kept: list[tuple[Manifest, Volume]] = field(default_factory=list)
    last: Manifest | None = None

    def write(self) -> None:
        """Somewhere, across the border of two segments too: random data, text, zeros, or what is elsewhere already."""
        middle = GIB if self.volume.size_bytes > GIB and self.chance.random() < 0.5 else BLOCKS * BLOCK // 2
        length = self.chance.randrange(1, 5 * BLOCK)
        offset = min(
            self.volume.size_bytes - length, max(0, middle + self.chance.randrange(-BLOCKS, BLOCKS) * BLOCK // 2)
        )
        at = self.chance.randrange(0, BLOCKS * BLOCK)
        data = self.chance.choice(
            (
                self.chance.randbytes(length),
                (b"text %d " % at * length)[:length],
                bytes(length),
                self.volume.content(at, length),
            )
        )
        self.volume.write(offset, data)
        self.changed.append((offset, offset + length))


async def back_up_after_crashes(archive: Archive, store: MemoryStore, book: ListBook, life: Life) -> None:
    """The store goes away in the middle, some times, and the next attempt goes on with what has arrived."""
    for crash in range(life.chance.choice((0, 0, 1, 3))):
        after = store.calls.get("put", 0) + 1 + crash
        store.away = lambda call, key, after=after: call == "put" and store.calls["put"] > after  # type: ignore[misc]
        try:
            await back_up(archive, life.volume, book=book, parent=life.last, changed=life.changed)
        except StoreUnavailable:
            continue
        finally:
            store.away = lambda call, key: False
        return
    how = life.chance.choice(("full", "changed"))
    parent, changed = (life.last, life.changed) if how == "changed" else (None, None)
    life.last = await back_up(archive, life.volume, book=book, parent=parent, changed=changed)
    life.changed = []
    life.kept.append((life.last, life.volume.copy()))


async def collect(archive: Archive, store: MemoryStore, book: ListBook, kept: list[tuple[Manifest, Volume]]) -> None:
    """Remove all packs that nobody needs, as a collection does when no backup is under way."""
    named = {pack for manifest, _ in kept for pack in manifest.packs}
    book.live = [pack for pack in book.live if pack in named]
    await archive.delete_packs(sorted(store.packs() - named))


async def live(seed: str, key: bytes | None) -> None:
    env = virtual_env(random.Random(seed).randrange(2**31))
    store, book = MemoryStore(), ListBook()
    chance = random.Random(seed)
    life = Life(chance, Volume(chance.choice((BLOCKS * BLOCK - 7, GIB + BLOCKS * BLOCK + 99))))
    for _ in range(8):
        archive = archive_in(store, key=key, env=env, pack_bytes=4 * BLOCK, level=chance.choice((0, 1)))
        for _ in range(chance.randrange(4)):
            life.write()
        await back_up_after_crashes(archive, store, book, life)
        if life.kept and chance.random() < 0.4:
            gone, _ = life.kept.pop(chance.randrange(len(life.kept)))
            await archive.delete_manifests(gone.header.backup_id)
        if chance.random() < 0.4:
            book.allotted.clear()
            await collect(archive, store, book, life.kept)
        for manifest, then in life.kept:
            assert await read_back(archive, manifest) == then.data()


@pytest.mark.parametrize("key", [None, KEY], ids=["plain", "encrypted"])
@pytest.mark.parametrize("run", range(4))
def test_every_backup_that_is_left_gives_its_volume_back(run: int, key: bytes | None) -> None:
    """Whatever came before and after it."""
    in_virtual_time(live(f"{SEED}-{run}", key))


@pytest.mark.proof
@pytest.mark.parametrize("run", range(150))
def test_the_same_for_longer(run: int) -> None:
    """Many more lives."""
    in_virtual_time(live(f"{SEED}-proof-{run}", KEY if run % 2 else None))
