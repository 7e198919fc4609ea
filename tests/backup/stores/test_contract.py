"""Every store keeps each promise of `contract.ObjectStore`, on what it is really for."""

import asyncio
import random
from collections.abc import Iterable, Sequence

import pytest
from tests.backup.stores.places import MIB, Place, on

from breezeblock.backup.contract import ObjectMissing, ObjectStore, Stored, StoreRefused

# All that a key may consist of, and what lies next to the slash in the alphabet.
EVERY_CHARACTER = "ABCDEFGHIJKLMNOPQRSTUVWXYZ/abcdefghijklmnopqrstuvwxyz/0123456789/x.y-z_/_-."
BYTES = random.Random(5).randbytes(100_000)


async def listed(store: ObjectStore, prefix: str = "") -> list[Stored]:
    return [found async for found in store.list(prefix)]


async def keys(store: ObjectStore, prefix: str = "") -> list[str]:
    return [found.key for found in await listed(store, prefix)]


async def put_all(store: ObjectStore, names: Iterable[str]) -> None:
    await asyncio.gather(*(store.put(key, [key.encode()]) for key in names))


@pytest.mark.parametrize(
    "parts",
    [
        pytest.param([], id="nothing"),
        pytest.param([b""], id="one part of nothing"),
        pytest.param([b"x"], id="one byte"),
        pytest.param([b"", b"ab", b"", b"c"], id="parts of nothing between others"),
        pytest.param([BYTES], id="one part"),
        pytest.param(
            [BYTES[at : at + 37] for at in range(0, len(BYTES), 37)], id="more parts than one system call takes"
        ),
    ],
)
def test_what_was_put_is_there(place: Place, parts: Sequence[bytes]) -> None:
    """Its bytes, its length, and its line in the listing."""

    async def scenario(store: ObjectStore) -> tuple[bytes, int, list[Stored]]:
        await store.put("a/b", parts)
        return await store.get("a/b"), await store.size("a/b"), await listed(store)

    whole = b"".join(parts)
    assert on(place, scenario) == (whole, len(whole), [Stored("a/b", len(whole))])


def test_an_object_above_the_size_of_a_part_is_whole(place: Place) -> None:
    """12 MiB in pieces that fit nowhere: to S3 they go in three parts."""
    data = random.Random(7).randbytes(12 * MIB + 12_345)
    parts = [data[at : at + 65_521] for at in range(0, len(data), 65_521)]

    async def scenario(store: ObjectStore) -> tuple[bytes, bytes, list[Stored]]:
        await store.put("big", parts)
        return await store.get("big"), await store.get("big", offset=5 * MIB - 3, length=7), await listed(store)

    whole, over_the_edge, found = on(place, scenario)

    assert whole == data
    assert over_the_edge == data[5 * MIB - 3 : 5 * MIB + 4]
    assert found == [Stored("big", len(data))]


def test_a_range_is_what_a_slice_is(place: Place) -> None:
    """Also where it begins at the end, or behind it. One object for all: on a server each costs time."""
    data = bytes(range(100))
    edges = (0, 1, 50, 99, 100, 101, 5000)
    ranges = [(offset, length) for offset in edges for length in (None, *edges)]

    async def scenario(store: ObjectStore) -> list[bytes]:
        await store.put("a", [data])
        return await asyncio.gather(*(store.get("a", offset=offset, length=length) for offset, length in ranges))

    assert on(place, scenario) == [data[offset:][:length] for offset, length in ranges]


def test_nothing_can_be_read_of_an_object_of_no_bytes(place: Place) -> None:
    """A range of it is no error either."""

    async def scenario(store: ObjectStore) -> list[bytes]:
        await store.put("a", [])
        return [await store.get("a"), await store.get("a", offset=0, length=5), await store.get("a", offset=5)]

    assert on(place, scenario) == [b"", b"", b""]


def test_a_repeated_put_replaces_what_was_there(place: Place) -> None:
    """Longer by shorter, and by the same."""

    async def scenario(store: ObjectStore) -> tuple[bytes, list[Stored]]:
        for data in (b"long and longer", b"short", b"short"):
            await store.put("a", [data])
        return await store.get("a"), await listed(store)

    assert on(place, scenario) == (b"short", [Stored("a", 5)])


def test_what_is_not_there_is_missing(place: Place) -> None:
    """Whatever is asked of it, and whether or not something else is near."""

    async def scenario(store: ObjectStore) -> None:
        await store.put("a/b", [b"x"])
        for key in ("b", "a/c", "a/b/c", "a"):
            for call in (store.size(key), store.get(key), store.get(key, offset=1, length=3), store.get(key, length=0)):
                with pytest.raises(ObjectMissing):
                    await call

    on(place, scenario)


def test_a_deleted_object_is_missing_and_can_be_deleted_again(place: Place) -> None:
    """One that was never there, too, with or without a folder for it."""

    async def scenario(store: ObjectStore) -> list[str]:
        await put_all(store, ["a/b", "a/c"])
        for key in ("a/b", "a/b", "a/z", "z/z", "a/c/d"):
            await store.delete(key)
        with pytest.raises(ObjectMissing):
            await store.get("a/b")
        return await keys(store)

    assert on(place, scenario) == ["a/c"]


def test_a_listing_is_in_the_order_of_keys(place: Place) -> None:
    """By their letters, not by their folders; over several pages."""
    names = [
        "a-b",
        "a.b",
        "a/b",
        "a/b-c/d",
        "a/b.c",
        "a/b0",
        "a/c/d",
        "a/c/e/f",
        "a0",
        "aB",
        "a_b",
        "ab",
        "A/b",
        "B",
        "_",
        "z",
    ]

    async def scenario(store: ObjectStore) -> list[str]:
        await put_all(store, names)
        return await keys(store)

    assert on(place, scenario) == sorted(names)


def test_a_listing_has_what_begins_so(place: Place) -> None:
    """Whether or not the prefix ends where a folder does."""
    names = ["a/b/c", "a/b/cd", "a/b/c-d", "a/bc/d", "a/c", "ab/c", "aa", "a-a", "c"]
    prefixes = ["", "a", "a/", "a/b", "a/b/", "a/b/c", "a/b/c/", "b", "a/x", "x/y/z", "aa"]

    async def scenario(store: ObjectStore) -> list[list[str]]:
        await put_all(store, names)
        return [await keys(store, prefix) for prefix in prefixes]

    assert on(place, scenario) == [sorted(name for name in names if name.startswith(prefix)) for prefix in prefixes]


def test_a_key_may_be_all_that_the_contract_says(place: Place) -> None:
    """It is told in the listing as it was given."""
    names = [EVERY_CHARACTER, "x" * 200, "/".join(["y" * 19] * 10), "-", "_", "0"]

    async def scenario(store: ObjectStore) -> tuple[list[bytes], list[str]]:
        await put_all(store, names)
        return [await store.get(key) for key in names], await keys(store)

    assert on(place, scenario) == ([key.encode() for key in names], sorted(names))


NO_KEYS = ("", "/", "a/", "/a", "a//b", ".", "..", "../a", "a/../b", "a/.b", "é", "a b", "a\n", "a\0", "a~", "x" * 201)


def test_what_is_no_key_is_refused(place: Place) -> None:
    """A manifest that somebody else wrote leads nowhere."""

    async def scenario(store: ObjectStore) -> None:
        for key in NO_KEYS:
            for call in (store.put(key, [b"x"]), store.get(key), store.size(key), store.delete(key)):
                with pytest.raises(StoreRefused, match="cannot be the name"):
                    await call

    on(place, scenario)


def test_what_no_key_begins_with_is_refused(place: Place) -> None:
    """The listing of another folder would be no better than its files."""

    async def scenario(store: ObjectStore) -> None:
        for prefix in ("../", "a//", "/a", "a/../", "é", "."):
            with pytest.raises(StoreRefused, match="begins"):
                await keys(store, prefix)

    on(place, scenario)


def test_of_parallel_puts_of_one_key_one_wins(place: Place) -> None:
    """What is read, meanwhile and afterwards, is one of them from end to end."""
    versions = [bytes([number]) * MIB for number in range(6)]

    async def scenario(store: ObjectStore) -> list[bytes]:
        await store.put("a", [versions[0]])
        found = await asyncio.gather(
            *(store.put("a", [version[: MIB // 2], version[MIB // 2 :]]) for version in versions),
            *(store.get("a") for _ in versions),
        )
        return [*(data for data in found if data is not None), await store.get("a")]

    found = on(place, scenario)

    assert len(found) == len(versions) + 1
    assert all(data in versions for data in found)


def test_what_one_node_stored_another_one_finds(place: Place) -> None:
    """Both have checked the store, one after the other and at once."""

    async def scenario(store: ObjectStore) -> tuple[bytes, list[str]]:
        await store.put("a/b", [b"x"])
        async with place.opened() as other:
            await asyncio.gather(store.check(), other.check(known=True), other.check())
            await other.put("a/c", [b"y"])
            return await other.get("a/b"), await keys(store)

    assert on(place, scenario) == (b"x", ["a/b", "a/c"])


def test_a_store_says_how_large_an_object_may_be(place: Place) -> None:
    """Larger than any pack."""

    async def scenario(store: ObjectStore) -> int:
        return store.max_object_bytes

    assert on(place, scenario) >= 1 << 30
