"""Stores that are reached over a network: what it and the server do to them, and who may use them."""

import asyncio
import io
import time
from collections.abc import Awaitable, Callable, Iterator

import pytest
from tests.backup.stores.places import MIB, ServedPlace, on
from tests.backup.stores.test_contract import keys, listed
from tests.servers.proxy import Proxy
from tests.servers.radosgw import Radosgw

from breezeblock import logs
from breezeblock.backup.contract import ObjectMissing, ObjectStore, StoreRefused, StoreUnavailable

Call = Callable[[ObjectStore], Awaitable[object]]

# Each method. `prefix` of the listing is what the others store under.
CALLS: dict[str, Call] = {
    "check": lambda store: store.check(),
    "put": lambda store: store.put("a", [b"x"]),
    "get": lambda store: store.get("a"),
    "size": lambda store: store.size("a"),
    "delete": lambda store: store.delete("a"),
    "list": lambda store: listed(store, "a"),
}


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    """All that is logged, by us and by libraries, with everything that can be."""
    stream = io.StringIO()
    logs.configure("debug", "json", stream)
    yield stream
    logs.configure("info", "json")


async def outcome(call: Call, store: ObjectStore) -> str:
    try:
        await call(store)
    except (StoreRefused, StoreUnavailable, ObjectMissing) as error:
        return f"{type(error).__name__}: {error}"
    return "done"


@pytest.mark.parametrize("size_bytes", [2 * MIB, 12 * MIB])
def test_a_put_that_is_cut_leaves_nothing(served: ServedPlace, proxy: Proxy, size_bytes: int) -> None:
    """In the middle, in one piece and in several. Repeated, it succeeds."""
    data = b"x" * size_bytes

    async def scenario(store: ObjectStore) -> tuple[list[str], bytes]:
        proxy.cut_after(size_bytes - MIB)
        with pytest.raises(StoreUnavailable, match="does not answer"):
            await store.put("a", [data])
        proxy.cut_after(None)
        before = await keys(store)
        with pytest.raises(ObjectMissing):
            await store.size("a")
        await store.put("a", [data])
        return before, await store.get("a")

    assert on(served, scenario) == ([], data)


def test_a_put_that_is_cut_leaves_what_was_there(served: ServedPlace, proxy: Proxy) -> None:
    """An object is replaced as a whole."""

    async def scenario(store: ObjectStore) -> bytes:
        await store.put("a", [b"former"])
        proxy.cut_after(MIB)
        with pytest.raises(StoreUnavailable):
            await store.put("a", [b"x" * 3 * MIB])
        proxy.cut_after(None)
        return await store.get("a")

    assert on(served, scenario) == b"former"


@pytest.mark.parametrize("length", [None, 3 * MIB])
def test_a_get_that_is_cut_is_an_outage(served: ServedPlace, proxy: Proxy, length: int | None) -> None:
    """Not an object that is shorter."""
    data = bytes(range(256)) * (4 * MIB // 256)

    async def scenario(store: ObjectStore) -> bytes:
        await store.put("a", [data])
        proxy.cut_after(2 * MIB, "to client")
        with pytest.raises(StoreUnavailable, match="does not answer"):
            await store.get("a", offset=1, length=length)
        proxy.cut_after(None, "to client")
        return await store.get("a", offset=1, length=length)

    assert on(served, scenario) == data[1:][:length]


def test_a_put_that_is_cancelled_leaves_nothing_half(served: ServedPlace, proxy: Proxy) -> None:
    """Its sender has lost the operation. What is there later, if anything, is whole."""
    data = b"x" * 12 * MIB

    async def scenario(store: ObjectStore) -> tuple[list[int], bytes]:
        proxy.hang(to_server=True, to_client=False)
        put = asyncio.create_task(store.put("a", [data]))
        await asyncio.sleep(0.5)
        put.cancel()
        proxy.hang(to_server=False, to_client=False)
        with pytest.raises(asyncio.CancelledError):
            await put
        sizes = [found.size_bytes for found in await listed(store)]
        await store.put("a", [data])
        return sizes, await store.get("a")

    sizes, whole = on(served, scenario)

    assert sizes in ([], [len(data)])
    assert whole == data


def test_a_server_that_is_silent_is_an_outage(served: ServedPlace, proxy: Proxy) -> None:
    """The connection is there, and nothing comes: it is given up in time."""
    served.timeout_s = 1.0

    async def scenario(store: ObjectStore) -> tuple[list[str], float]:
        proxy.hang()
        started = time.monotonic()
        told = [await outcome(CALLS[name], store) for name in ("put", "get")]
        took_s = time.monotonic() - started
        proxy.hang(to_server=False, to_client=False)
        return [one.partition(" (")[0] for one in told], took_s

    told, took_s = on(served, scenario)

    assert told == ["StoreUnavailable: Backup store there does not answer"] * 2
    assert took_s < 10  # a second each, and no attempts behind our back


def test_a_wrong_secret_is_refused_and_told_nobody(served: ServedPlace, logged: io.StringIO) -> None:
    """Neither is what was wrong in a sentence or a log, nor what is right."""
    served.login("wrongsecretwrongsecret")

    async def scenario() -> list[str]:
        store = served.store()
        told = [await outcome(call, store) for call in CALLS.values()]
        await store.close()
        return told

    told = asyncio.run(scenario())

    assert told == ["StoreRefused: Backup store there does not accept the credentials."] * len(CALLS), told
    assert "store.call_failed" in logged.getvalue()
    assert "wrongsecret" not in logged.getvalue()


def test_the_right_secret_is_told_nobody(served: ServedPlace, logged: io.StringIO) -> None:
    """Whatever is logged of calls that work."""

    async def scenario(store: ObjectStore) -> None:
        await store.put("a", [b"x"])
        await store.get("a")

    on(served, scenario)

    assert served.secret not in logged.getvalue()


def test_new_credentials_are_taken_from_the_file(served: ServedPlace) -> None:
    """Nobody starts anything anew."""

    async def scenario(store: ObjectStore) -> list[str]:
        served.login("wrongsecretwrongsecret")
        await store.close()  # what it had got with the former ones
        fresh = served.store()
        refused = await outcome(CALLS["put"], fresh)
        served.login()
        accepted = await outcome(CALLS["put"], fresh)
        await fresh.close()
        return [refused.partition(":")[0], accepted]

    assert on(served, scenario) == ["StoreRefused", "done"]


def test_who_may_not_write_is_told_so_by_the_check(served: ServedPlace) -> None:
    """Not by the first backup."""
    on(served, lambda store: store.put("a", [b"x"]))
    served.be_somebody_else()

    async def scenario() -> str:
        store = served.store()
        told = await outcome(CALLS["check"], store)
        await store.close()
        return told

    assert "StoreRefused: Backup store there denies access to" in asyncio.run(scenario())


def test_a_file_with_no_credentials_is_refused(served: ServedPlace) -> None:
    """The sentence names the option, and nothing of what is in the file."""

    async def scenario(content: str) -> str:
        served.credentials_file.write_text(content)
        return await outcome(CALLS["put"], served.store())

    contents = ("", "user = 1", 'user = "x"', "]hush", 'access_key_id = "x"\nhush = "y"')
    told = [asyncio.run(scenario(content)) for content in contents]

    assert all(one.startswith("StoreRefused: The credentials_file of backup store there ") for one in told)
    assert "hush" not in "".join(told)


def test_a_file_that_is_not_there_is_refused(served: ServedPlace) -> None:
    """With the system's word for it."""
    served.credentials_file.unlink()

    async def scenario() -> str:
        return await outcome(CALLS["put"], served.store())

    assert asyncio.run(scenario()).endswith("cannot be read: No such file or directory.")


def test_a_bucket_is_made_on_first_use_and_never_again(served: ServedPlace) -> None:
    """One that is known to have been there and is gone is not made anew: it would look like an empty store."""
    served.bucket = f"fresh-{served.prefix[-12:]}-{type(served).__name__.lower()}"

    async def scenario() -> list[str]:
        store = served.store()
        told = [await outcome(lambda it: it.check(known=True), store)]
        told += [await outcome(CALLS[name], store) for name in ("put", "get", "size", "list")]
        told += [await outcome(CALLS[name], store) for name in ("check", "put", "get")]
        told += [await outcome(lambda it: it.check(known=True), store)]
        await store.close()
        return told

    told = asyncio.run(scenario())

    assert {one.partition(f" {served.bucket}")[0] for one in told[:5]} <= {
        "StoreRefused: Backup store there has no bucket",
        "StoreRefused: Backup store there has no container",
    }
    assert told[5:] == ["done"] * 4


def test_a_certificate_is_checked(encrypted: ServedPlace, gateway: Radosgw) -> None:
    """Nobody vouches for it but the file that is named."""

    async def scenario() -> list[str]:
        told = []
        for trusted in (None, gateway.trusted):
            encrypted.ca_file = trusted
            store = encrypted.store()
            told += [await outcome(CALLS["put"], store)]
            await store.close()
        return told

    refused, accepted = asyncio.run(scenario())

    assert refused.startswith("StoreRefused: Backup store there has a certificate that nobody vouches for here")
    assert accepted == "done"


def test_what_somebody_else_keeps_beside_ours_is_not_listed(served: ServedPlace) -> None:
    """Another prefix, and one that begins like ours."""
    ours = served.prefix

    async def scenario() -> list[str]:
        for prefix in (ours, f"{ours}-too", f"{ours}/below"):
            served.prefix = prefix
            store = served.store()
            await store.check()
            await store.put("a", [b"x"])
            await store.close()
        served.prefix = ours
        store = served.store()
        found = await keys(store)
        await store.close()
        return found

    assert asyncio.run(scenario()) == ["a", "below/a"]


# The last ones: for half a minute the server waits for its former self whenever a bucket is made.
def test_a_server_that_is_killed_and_started_is_an_outage(served: ServedPlace) -> None:
    """Every call says so, and works again as soon as the server does, on the store that was open all the time."""

    async def scenario(store: ObjectStore) -> tuple[list[str], list[str], bytes]:
        await store.put("b", [b"stays"])
        served.server.kill()
        try:
            without = [await outcome(call, store) for call in CALLS.values()]
        finally:
            await asyncio.to_thread(served.server.start)
        again = [await outcome(call, store) for call in CALLS.values()]
        return without, again, await store.get("b")

    without, again, stays = on(served, scenario)

    assert [told.partition(" (")[0] for told in without] == [
        "StoreUnavailable: Backup store there does not answer"
    ] * len(CALLS)
    assert again == ["done"] * len(CALLS)
    assert stays == b"stays"
