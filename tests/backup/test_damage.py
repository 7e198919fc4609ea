"""Whatever is done to stored bytes, readers say what is damaged, or give the right data: never anything else."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.backup.given import (
    BLOCK,
    KEY,
    ListBook,
    MemoryStore,
    Volume,
    archive_in,
    back_up,
    random_volume,
    read_back,
    run,
)

from breezeblock.backup.damage import Damaged
from breezeblock.backup.engine import Archive, Damage, Manifest
from breezeblock.backup.manifest import manifest_key, parse_manifest
from breezeblock.backup.maps import build_map, parse_map
from breezeblock.backup.packs import pack_key, parse_index
from breezeblock.backup.seal import Keys

MIB = 1024**2


@dataclass(frozen=True)
class Stored:
    store: MemoryStore
    archive: Archive
    volume: Volume
    manifest: Manifest


def stored(key: bytes | None) -> Stored:
    store = MemoryStore()
    volume = random_volume(2 * MIB + 99, share=0.5)
    volume.write(MIB, b"text " * 40_000)
    archive = archive_in(store, key=key, pack_bytes=MIB // 2)
    return Stored(store, archive, volume, run(back_up(archive, volume, book=ListBook(), backup_id="b")))


STORED = {name: stored(key) for name, key in (("plain", None), ("encrypted", KEY))}
kinds = st.sampled_from(sorted(STORED))


@st.composite
def harm(draw: st.DrawFn) -> Callable[[bytes], bytes]:
    """One of the ways in which bytes go bad."""
    way = draw(st.sampled_from(("flip", "cut", "zero", "insert", "empty", "swap")))
    where, much = draw(st.floats(0, 1)), draw(st.integers(1, 300))
    bit = draw(st.integers(0, 7))

    def do(data: bytes) -> bytes:
        at = min(len(data) - 1, int(where * len(data)))
        return {
            "flip": data[:at] + bytes([data[at] ^ (1 << bit)]) + data[at + 1 :],
            "cut": data[:at],
            "zero": data[:at] + bytes(len(data[at : at + much])) + data[at + much :],
            "insert": data[:at] + bytes([bit]) * much + data[at:],
            "empty": b"",
            "swap": data[at:] + data[:at],
        }[way]

    return do


async def what_comes_back(one: Stored, store: MemoryStore, key: bytes | None) -> dict[int, bytes] | None:
    archive = archive_in(store, key=key)
    try:
        return await read_back(archive, await archive.read_manifest("b.1.1"))
    except Damaged:
        return None


@settings(max_examples=100, deadline=None)
@given(kind=kinds, number=st.integers(0, 100), harm=harm())
def test_damaged_objects_are_told_or_do_not_matter(kind: str, number: int, harm: Callable[[bytes], bytes]) -> None:
    """Any object of the archive, in any place. What is read is right, or there is Damaged."""
    one = STORED[kind]
    keys = sorted(one.store.objects)
    harmed = MemoryStore()
    harmed.objects = dict(one.store.objects)
    victim = keys[number % len(keys)]
    harmed.objects[victim] = harm(harmed.objects[victim])

    got = asyncio.run(what_comes_back(one, harmed, KEY if kind == "encrypted" else None))

    assert got in (None, one.volume.data())


@settings(max_examples=100, deadline=None)
@given(kind=kinds, harm=harm())
def test_a_manifest_is_whole_or_damaged(kind: str, harm: Callable[[bytes], bytes]) -> None:
    """No other exception, whatever its bytes are, and never another content.

    Some bits of a plain one mean nothing: its own id, which only a seal is made with, and a few of Zstandard's.
    """
    one = STORED[kind]
    keys = Keys(one.archive.id, KEY if kind == "encrypted" else None)
    data = one.store.objects[manifest_key(one.archive.id, "b.1.1")]
    bad = harm(data)
    try:
        found = parse_manifest("b.1.1", bad, keys, "it")
    except Damaged:
        return
    assert found == parse_manifest("b.1.1", data, keys, "it")


@settings(max_examples=100, deadline=None)
@given(harm=harm(), content=st.booleans())
def test_an_index_is_whole_or_damaged(harm: Callable[[bytes], bytes], content: bool) -> None:
    """Harmed, or of another pack."""
    one = STORED["plain"]
    keys = Keys(one.archive.id, None)
    pack = one.manifest.packs[0]
    data = one.store.objects[pack_key(one.archive.id, pack)]
    entries = run(archive_index(one.archive, pack))
    start = entries[-1].offset + entries[-1].stored
    whole = data[start:]
    bad = harm(whole)

    assert parse_index(pack, "it", whole, keys) == entries
    with suppress(Damaged):  # a few of Zstandard's bits mean nothing
        assert parse_index(pack, "it", bad, keys) == entries
    with pytest.raises(Damaged):
        parse_index(one.manifest.packs[1], "it", whole, keys)


async def archive_index(archive: Archive, pack: str):  # type: ignore[no-untyped-def]
    return await archive._reader.read_index(pack)


@settings(max_examples=100, deadline=None)
@given(harm=harm(), junk=st.binary(max_size=2000))
def test_a_map_that_is_read_is_a_possible_one(harm: Callable[[bytes], bytes], junk: bytes) -> None:
    """A map's hash is checked before; without that, it still gives blocks of the segment, in order, or Damaged."""
    one = STORED["plain"]
    (segment,) = one.manifest.segments
    blocks = run(one.archive._reader.read_map(segment)).blocks
    whole = build_map(0, segment.length, blocks)
    assert parse_map(whole, number=0, length=segment.length, where="it").blocks == blocks
    for bad in (harm(whole), junk):
        try:
            parsed = parse_map(bad, number=0, length=segment.length, where="it")
        except Damaged:
            continue
        numbers = [block.number for block in parsed.blocks]
        assert numbers == sorted(set(numbers))
        assert all(number * BLOCK < segment.length for number in numbers)


@pytest.mark.parametrize("kind", sorted(STORED))
def test_what_is_whole_can_be_had_without_what_is_damaged(kind: str) -> None:
    """One pack is gone, a byte of another is bad: both are told as ranges of the volume, and all the rest is given."""
    one = STORED[kind]
    store = MemoryStore()
    store.objects = dict(one.store.objects)
    gone, bad = one.manifest.packs[1:3]
    del store.objects[pack_key(one.archive.id, gone)]
    key = pack_key(one.archive.id, bad)
    store.objects[key] = store.objects[key][:40] + b"\xff\xfe" + store.objects[key][42:]
    archive = archive_in(store, key=KEY if kind == "encrypted" else None)
    told: list[Damage] = []

    async def read() -> dict[int, bytes]:
        pieces = archive.pieces(one.manifest, on_damage=told.append)
        return {
            (offset + at) // BLOCK: data[at : at + BLOCK]
            async for offset, data in pieces
            for at in range(0, len(data), BLOCK)
        }

    got = run(read())

    lost = {number for damage in told for number in range(damage.start // BLOCK, -(-damage.end // BLOCK))}
    assert {damage.where for damage in told} == {pack_key(one.archive.id, gone), key}
    assert got == {number: data for number, data in one.volume.data().items() if number not in lost}
    assert 1 < len(lost) < len(one.volume.data())


def test_verify_tells_what_is_affected() -> None:
    """Everything is looked at; and with a share of nothing, at least whether all packs are there."""
    one = STORED["plain"]
    whole = run(one.archive.verify(one.manifest))
    assert (whole.blocks, whole.damage) == (len(one.volume.data()), [])
    store = MemoryStore()
    store.objects = dict(one.store.objects)
    del store.objects[pack_key(one.archive.id, one.manifest.packs[1])]
    archive = archive_in(store)

    for share in (1.0, 0.0):
        verified = run(archive.verify(one.manifest, share))
        assert {damage.where for damage in verified.damage} == {pack_key(one.archive.id, one.manifest.packs[1])}
        assert verified.packs == len(one.manifest.packs)


def test_a_damaged_pack_is_not_built_upon() -> None:
    """The next backup of the same volume stores anew what its index does not give."""
    store, book, volume = MemoryStore(), ListBook(), random_volume(2 * MIB)
    archive = archive_in(store, pack_bytes=MIB)
    first = run(back_up(archive, volume, book=book))
    key = pack_key(archive.id, first.packs[1])
    store.objects[key] = store.objects[key][:-1]

    second = run(back_up(archive, volume, book=book, parent=first, changed=[]))

    assert first.packs[1] not in second.packs
    assert run(read_back(archive, second)) == volume.data()


def test_a_manifest_of_another_backup_is_told() -> None:
    """Somebody copied it in the store."""
    one = STORED["plain"]
    store = MemoryStore()
    store.objects = dict(one.store.objects)
    store.objects[manifest_key(one.archive.id, "c.1.1")] = store.objects[manifest_key(one.archive.id, "b.1.1")]

    with pytest.raises(Damaged, match="another backup"):
        run(archive_in(store).read_manifest("c.1.1"))
