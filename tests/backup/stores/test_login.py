"""Who a store is for its server: Keystone's catalog, tokens that expire, and where S3's keys come from."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.backup.stores.keystone import APPLICATION, PASSWORD, Keystone, keystone
from tests.backup.stores.places import S3Place, SwiftPlace, on
from tests.servers.radosgw import Radosgw

from breezeblock.backup.contract import ObjectStore, StoreRefused, StoreUnavailable
from breezeblock.backup.stores.s3 import Bucket, S3Store
from breezeblock.backup.stores.swift import Container, SwiftStore
from breezeblock.backup.stores.swift_login import Session
from breezeblock.env.real import RealThreads

run = asyncio.run


@pytest.fixture
def identity(gateway: Radosgw) -> Iterator[Keystone]:
    with keystone(gateway) as made:
        yield made


def toml(credentials: dict[str, str]) -> str:
    return "".join(f'{name} = "{value}"\n' for name, value in credentials.items())


def by_keystone(
    identity: Keystone,
    folder: Path,
    threads: RealThreads,
    *,
    credentials: dict[str, str] = PASSWORD,
    region: str = "two",
    interface: str = "internal",
    endpoint: str = "",
) -> SwiftStore:
    file = folder / "keystone.toml"
    file.write_text(toml(credentials))
    at = Container(
        endpoint=endpoint or identity.url,
        container="by-keystone",
        credentials_file=file,
        region=region,
        interface=interface,
        prefix=folder.name,
        timeout_s=10.0,
    )
    return SwiftStore(at, name="there", threads=threads)


async def store_and_read(store: ObjectStore) -> bytes:
    try:
        await store.check()
        await store.put("a", [b"x", b"y"])
        return await store.get("a")
    finally:
        await store.close()


@pytest.mark.parametrize("credentials", [PASSWORD, APPLICATION], ids=["password", "application credential"])
def test_keystone_says_where_the_objects_are(
    identity: Keystone, tmp_path: Path, threads: RealThreads, credentials: dict[str, str]
) -> None:
    """By region and interface; once for all calls, also for those that come at once."""

    async def scenario() -> bytes:
        store = by_keystone(identity, tmp_path, threads, credentials=credentials)
        await store.check()
        await asyncio.gather(*(store.put(f"b/{number}", [b"x"]) for number in range(5)))
        return await store_and_read(store)

    assert run(scenario()) == b"xy"
    assert identity.asked == 1


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"credentials": PASSWORD | {"password": "hush"}}, "does not accept the credentials."),
        ({"credentials": APPLICATION | {"application_credential_secret": "hush"}}, "does not accept the credentials."),
        ({"credentials": {"username": "ann", "password": "hush"}}, "is incomplete; expected username and password and"),
        ({"region": "three"}, "Keystone knows no internal endpoint of the type object-store in region three."),
        ({"interface": "admin"}, "Keystone knows no admin endpoint"),
    ],
)
def test_a_wrong_word_for_keystone_is_refused(
    identity: Keystone, tmp_path: Path, threads: RealThreads, change: dict[str, object], expected: str
) -> None:
    """With what is wrong, and no secret."""
    store = by_keystone(identity, tmp_path, threads, **change)  # type: ignore[arg-type]

    with pytest.raises(StoreRefused) as refused:
        run(store_and_read(store))

    assert expected in str(refused.value)
    assert "hush" not in str(refused.value)


@pytest.mark.parametrize(
    ("status", "kind"), [(500, StoreUnavailable), (503, StoreUnavailable), (429, StoreUnavailable), (404, StoreRefused)]
)
def test_keystone_in_trouble_is_an_outage(
    identity: Keystone, tmp_path: Path, threads: RealThreads, status: int, kind: type[Exception]
) -> None:
    """A wrong URL is none."""
    identity.status = status

    with pytest.raises(kind, match=f"its authentication .* {status}"):
        run(store_and_read(by_keystone(identity, tmp_path, threads)))


def test_nobody_at_the_endpoint_is_an_outage(identity: Keystone, tmp_path: Path, threads: RealThreads) -> None:
    """It may come back."""
    with pytest.raises(StoreUnavailable, match="does not answer"):
        run(store_and_read(by_keystone(identity, tmp_path, threads, endpoint="http://127.0.0.1:9/v3")))


def test_what_is_not_swift_at_the_endpoint_is_refused(gateway: Radosgw, tmp_path: Path, threads: RealThreads) -> None:
    """S3, which answers all sorts of questions."""
    file = tmp_path / "credentials.toml"
    file.write_text(toml({"user": "u", "key": "k"}))
    at = Container(endpoint=gateway.s3_url, container="c", credentials_file=file)

    with pytest.raises(StoreRefused, match="at its endpoint is something else"):
        run(store_and_read(SwiftStore(at, name="there", threads=threads)))


def test_a_token_that_has_expired_is_renewed(swift_place: SwiftPlace) -> None:
    """In the middle of a put, with the same parts again."""

    async def scenario(store: ObjectStore) -> bytes:
        assert isinstance(store, SwiftStore)
        assert store._session is not None
        store._session = Session(store._session.storage_url, "AUTH_rgwtk00expired00")
        await store.put("a", [b"x", b"y"])
        return await store.get("a")

    assert on(swift_place, scenario) == b"xy"


def given_no_keys(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(folder / "no-config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(folder / "no-credentials"))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)


def test_without_a_file_s3_looks_where_amazons_tools_look(
    s3_place: S3Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It says so when nothing is there, and finds what comes to be there."""
    given_no_keys(monkeypatch, tmp_path)
    at = Bucket(bucket=s3_place.bucket, prefix=s3_place.prefix, endpoint=s3_place.endpoint, path_style=True)

    async def scenario() -> bytes:
        store = S3Store(at, name="there", threads=s3_place.threads)
        with pytest.raises(StoreRefused, match=r"has no credentials: none were found\."):
            await store.check()
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", Radosgw.ACCESS_KEY)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", Radosgw.SECRET_KEY)
        return await store_and_read(store)

    assert run(scenario()) == b"xy"
