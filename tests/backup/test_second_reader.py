"""Archives are read by a program that shares no code with the one that wrote them."""

from pathlib import Path

import pytest
from tests.backup.given import (
    ARCHIVE,
    BLOCK,
    GIB,
    KEY,
    ListBook,
    MemoryStore,
    Volume,
    archive_in,
    back_up,
    random_volume,
    run,
)
from tests.backup.second_reader import SecondReader

MIB = 1024**2


def on_disk(store: MemoryStore, folder: Path) -> Path:
    for key, data in store.objects.items():
        path = folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


@pytest.mark.parametrize("key", [None, KEY], ids=["plain", "encrypted"])
@pytest.mark.parametrize("level", [0, 1])
def test_the_second_reader_reads_the_same(key: bytes | None, level: int, tmp_path: Path) -> None:
    """Many packs, a second backup that shares them, compressed and not, a short last block."""
    store, book = MemoryStore(), ListBook()
    archive = archive_in(store, key=key, level=level, pack_bytes=MIB)
    volume = random_volume(6 * MIB + 77, share=0.7)
    volume.write(MIB, b"text " * 100_000)
    first = run(back_up(archive, volume, book=book))
    later = volume.copy()
    later.write(2 * MIB + 5, b"changed")
    second = run(back_up(archive, later, book=book, parent=first, changed=[(2 * MIB, 3 * MIB)]))

    reader = SecondReader(on_disk(store, tmp_path), ARCHIVE, key)

    assert reader.volume(first.name) == volume.content(0, volume.size_bytes)
    assert reader.volume(second.name) == later.content(0, later.size_bytes)


def test_the_second_reader_finds_segments(tmp_path: Path) -> None:
    """One without data between two that have some."""
    store = MemoryStore()
    volume = Volume(2 * GIB + 3 * BLOCK)
    volume.write(BLOCK, b"first")
    volume.write(2 * GIB + BLOCK, b"last")
    manifest = run(back_up(archive_in(store), volume, book=ListBook()))

    reader = SecondReader(on_disk(store, tmp_path), ARCHIVE)
    _, maps, _ = reader.manifest(manifest.name)
    places = {at: reader.block(place) for number, one in maps for at, place in reader.map(number, reader.block(one))}

    assert places == {number * BLOCK: data for number, data in volume.data().items()}
