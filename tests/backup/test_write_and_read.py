"""What was stored is read back, and only what is new is stored."""

import msgspec
import pytest
from tests.backup.given import (
    BLOCK,
    GIB,
    KEY,
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

from breezeblock.backup.contract import StoreRefused, StoreUnavailable
from breezeblock.backup.engine import Header, Segment
from breezeblock.backup.packs import pack_key

KINDS = pytest.mark.parametrize("key", [None, KEY], ids=["plain", "encrypted"])
LEVELS = pytest.mark.parametrize("level", [0, 1])
MIB = 1024**2


@KINDS
@LEVELS
def test_a_volume_comes_back(key: bytes | None, level: int) -> None:
    """Random and compressible blocks, holes, zeros, and an end in the middle of a block."""
    store = MemoryStore()
    volume = random_volume(9 * MIB + 1234, share=0.6)
    volume.write(3 * MIB, b"compressible " * 50_000)
    volume.write(5 * MIB, bytes(MIB))
    archive = archive_in(store, key=key, level=level, pack_bytes=MIB)

    manifest = run(back_up(archive, volume, book=ListBook()))

    assert run(read_back(archive, manifest)) == volume.data()
    assert set(manifest.packs) <= store.packs()


def test_a_volume_of_several_segments_comes_back() -> None:
    """One in the middle is a hole, and data lies on both sides of a border."""
    volume = Volume(3 * GIB + BLOCK + 5)
    volume.write(0, b"first")
    volume.write(GIB - 3, b"across the border")
    volume.write(3 * GIB + BLOCK, b"last")
    archive = archive_in(MemoryStore())

    manifest = run(back_up(archive, volume, book=ListBook()))

    assert [segment.number for segment in manifest.segments] == [0, 1, 3]
    assert run(read_back(archive, manifest)) == volume.data()


def test_reading_may_begin_anywhere() -> None:
    """As a restore does that goes on."""
    volume = random_volume(8 * MIB)
    archive = archive_in(MemoryStore())
    manifest = run(back_up(archive, volume, book=ListBook()))

    read = run(read_back(archive, manifest, start=3 * MIB + 5))

    assert read == {number: data for number, data in volume.data().items() if (number + 1) * BLOCK > 3 * MIB + 5}


def test_zeros_and_holes_cost_nothing() -> None:
    """No pack is made for them, and holes are not read."""
    store, volume = MemoryStore(), Volume(2 * GIB)
    volume.write(GIB, bytes(MIB))
    archive = archive_in(store)

    manifest = run(back_up(archive, volume, book=ListBook()))

    assert store.packs() == set()
    assert (manifest.packs, manifest.segments) == ([], [])
    assert sum(length for _, length in volume.reads) == MIB


def test_a_block_is_stored_once_in_an_archive() -> None:
    """Twice in a volume, and in another volume: the second backup stores its manifest only."""
    store, book = MemoryStore(), ListBook()
    volume = random_volume(4 * MIB)
    volume.blocks |= {number + 100: data for number, data in volume.blocks.items()}
    volume.size_bytes = 16 * MIB
    archive = archive_in(store)
    run(back_up(archive, volume, book=book))
    packs = store.packs()

    again = run(back_up(archive, volume.copy(), book=book))

    assert store.packs() == packs
    assert 4 * MIB < sum(len(data) for key, data in store.objects.items() if "/packs/" in key) < 4.2 * MIB
    assert run(read_back(archive, again)) == volume.data()


def test_only_what_changed_is_read_where_that_is_known() -> None:
    """A segment without changes is taken over as it is; in another one the blocks that are the same are."""
    store, book = MemoryStore(), ListBook()
    volume = Volume(2 * GIB)
    volume.blocks = random_volume(4 * MIB, seed=1).blocks | {
        number + GIB // BLOCK: data for number, data in random_volume(4 * MIB, seed=2).blocks.items()
    }
    archive = archive_in(store)
    first = run(back_up(archive, volume, book=book))
    changed = volume.copy()
    changed.write(GIB + 3 * BLOCK + 7, b"new")
    changed.write(GIB + 9 * BLOCK, bytes(BLOCK))

    ranges = [(GIB + 3 * BLOCK + 7, GIB + 3 * BLOCK + 10), (GIB + 9 * BLOCK, GIB + 10 * BLOCK)]
    second = run(back_up(archive, changed, book=book, parent=first, changed=ranges))

    assert changed.reads == [(GIB + 3 * BLOCK, BLOCK), (GIB + 9 * BLOCK, BLOCK)]
    assert second.segments[0] == first.segments[0]
    assert run(read_back(archive, second)) == changed.data()
    assert run(read_back(archive, first)) == volume.data()


def test_packs_that_are_not_usable_are_never_referred_to() -> None:
    """A collection has condemned one of the parent's packs: what is in it is read and stored again."""
    store, book = MemoryStore(), ListBook()
    volume = random_volume(8 * MIB)
    archive = archive_in(store, pack_bytes=2 * MIB)
    first = run(back_up(archive, volume, book=book))
    lost = book.live.pop(0)

    second = run(back_up(archive, volume, book=book, parent=first, changed=[]))

    assert lost in first.packs
    assert lost not in second.packs
    assert 0 < sum(length for _, length in volume.reads[-40:]) < 16 * MIB
    del store.objects[pack_key(archive.id, lost)]
    assert run(read_back(archive, second)) == volume.data()


def test_a_grown_volume_is_not_taken_for_its_parent() -> None:
    """The last segment was shorter."""
    book, archive = ListBook(), archive_in(MemoryStore())
    volume = random_volume(MIB + 100)
    first = run(back_up(archive, volume, book=book))
    grown = volume.copy()
    grown.size_bytes = 2 * MIB
    grown.write(MIB + 100, b"more")

    second = run(back_up(archive, grown, book=book, parent=first, changed=[(MIB + 100, MIB + 104)]))

    assert run(read_back(archive, second)) == grown.data()


def test_who_goes_on_uploads_only_what_did_not_arrive() -> None:
    """The first attempt dies in its sixth upload; its packs are pending, ours, and some of them are there."""
    store, book = MemoryStore(), ListBook()
    volume = random_volume(16 * MIB)
    archive = archive_in(store, pack_bytes=MIB)
    run(archive.open())
    store.away = lambda call, key: call == "put" and len(store.packs()) >= 5
    with pytest.raises(StoreUnavailable):
        run(back_up(archive, volume, book=book))
    arrived = len(store.packs())
    store.away = lambda call, key: False

    async def again() -> tuple[Segment, int]:
        async with writing(archive, book) as writer:
            return await writer.store_segment(volume, 0, parent=None, changed=None), writer.written.new

    _, new = run(again())

    assert arrived >= 5
    assert new == 16 * MIB - arrived * MIB
    assert len(store.packs()) <= 18


def test_a_cache_on_disk_outlives_its_process(tmp_path) -> None:  # type: ignore[no-untyped-def]
    """A second archive object asks for no index, and forgets what is not usable any more."""
    store, book, volume = MemoryStore(), ListBook(), random_volume(4 * MIB)
    run(back_up(archive_in(store, cache=tmp_path, pack_bytes=MIB), volume, book=book))
    store.calls.clear()

    archive = archive_in(store, cache=tmp_path, pack_bytes=MIB)
    run(back_up(archive, volume, book=book))

    assert store.calls["get"] == 2  # archive.json and, by the test, the manifest
    gone = book.live.pop()
    assert gone not in run(back_up(archive, volume, book=book)).packs


def test_a_segment_goes_through_a_checkpoint() -> None:
    """As JSON, small, and as it was."""
    archive = archive_in(MemoryStore(), pack_bytes=MIB)
    manifest = run(back_up(archive, random_volume(8 * MIB), book=ListBook()))
    (segment,) = manifest.segments

    text = msgspec.json.encode(segment)

    assert msgspec.json.decode(text, type=Segment) == segment
    assert len(text) < 400


def test_no_object_is_larger_than_the_store_takes() -> None:
    """Also with the index, and a map at the end."""
    store = MemoryStore(max_object_bytes=2 * MIB)
    volume = random_volume(8 * MIB)
    archive = archive_in(store)

    manifest = run(back_up(archive, volume, book=ListBook()))

    assert run(read_back(archive, manifest)) == volume.data()


@pytest.mark.parametrize(("begun", "opened"), [(None, KEY), (KEY, None), (KEY, bytes(32))])
def test_another_key_is_refused(begun: bytes | None, opened: bytes | None) -> None:
    """Before anything is read or written."""
    store = MemoryStore()
    run(archive_in(store, key=begun).open())

    with pytest.raises(StoreRefused):
        run(archive_in(store, key=opened).open())


def test_an_archive_in_the_clear_shows_nothing_when_encrypted() -> None:
    """None of the data, and none of the names."""
    store, volume = MemoryStore(), Volume(MIB)
    volume.write(0, b"a secret that nobody reads" * 100)

    run(back_up(archive_in(store, key=KEY, level=0), volume, book=ListBook()))

    assert not any(b"secret" in data or b"volume-1" in data for data in store.objects.values())


def test_deleting_removes_what_is_named() -> None:
    """The manifests of a backup, up to a token, and packs; what is not there is fine."""
    store, archive = MemoryStore(), archive_in(MemoryStore())
    archive = archive_in(store)
    manifest = run(back_up(archive, random_volume(MIB), book=ListBook(), backup_id="b1"))
    run(back_up(archive, random_volume(MIB), book=ListBook(), backup_id="b10"))

    run(archive.delete_manifests("b1", up_to=(1, 0)))
    kept = run(archive.manifest_names("b1"))
    run(archive.delete_manifests("b1", up_to=(1, 1)))
    run(archive.delete_packs([*manifest.packs, *manifest.packs]))

    assert (kept, run(archive.manifest_names())) == (["b1.1.1"], ["b10.1.1"])
    assert not store.packs() & set(manifest.packs)


def test_segments_come_in_order_while_the_next_is_read() -> None:
    """Each is complete when it is given, from wherever one begins; and both ways give the same data."""
    store, book = MemoryStore(), ListBook()
    volume = Volume(4 * GIB)
    for number in range(4):
        volume.write(number * GIB, random_volume(2 * MIB, seed=number).content(0, 2 * MIB))
    archive = archive_in(store, pack_bytes=MIB)

    async def make() -> list[Segment]:
        given = []
        async with writing(archive, book) as writer:
            async for segment in writer.segments(volume, start=1):
                assert set(segment.packs) <= store.packs()
                given.append(segment)
        return given

    segments = run(make())

    assert [segment.number for segment in segments] == [1, 2, 3]
    header = Header(backup_id="b", volume_id="v", size_bytes=volume.size_bytes, created_us=1)
    run(archive.put_manifest("b.1.1", header, segments))
    read = run(read_back(archive, run(archive.read_manifest("b.1.1"))))
    assert read == {number: data for number, data in volume.data().items() if number >= GIB // BLOCK}
