"""The places that every store must behave alike on."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.backup.stores.places import FolderPlace, Place, S3Place, ServedPlace, SwiftPlace
from tests.servers.needed import needed
from tests.servers.proxy import Proxy
from tests.servers.radosgw import Radosgw, radosgw
from tests.servers.swift import Swift, swift

from breezeblock.env.real import RealThreads


@pytest.fixture
def threads() -> Iterator[RealThreads]:
    pool = RealThreads(max_threads=16)
    yield pool
    pool.close()


@pytest.fixture(scope="session")
def gateway() -> Iterator[Radosgw]:
    """For all tests that need one; it runs when a test begins and when it ends."""
    with needed(radosgw()) as server:
        yield server


@pytest.fixture(scope="session")
def openstack() -> Iterator[Swift]:
    """The same for the real Swift."""
    with needed(swift()) as server:
        yield server


@pytest.fixture
def folder_place(tmp_path: Path, threads: RealThreads) -> FolderPlace:
    return FolderPlace(threads, tmp_path / "backups")


@pytest.fixture
def s3_place(tmp_path: Path, threads: RealThreads, gateway: Radosgw) -> S3Place:
    return S3Place(threads, gateway, tmp_path)


@pytest.fixture
def swift_place(tmp_path: Path, threads: RealThreads, gateway: Radosgw) -> SwiftPlace:
    return SwiftPlace(threads, gateway, tmp_path)


@pytest.fixture
def openstack_place(tmp_path: Path, threads: RealThreads, openstack: Swift) -> SwiftPlace:
    return SwiftPlace(threads, openstack, tmp_path)


@pytest.fixture(params=["folder", "s3", "swift", "openstack"])
def place(request: pytest.FixtureRequest) -> Place:
    """Each kind of store in turn; `swift` is the gateway's, `openstack` the real one."""
    found: Place = request.getfixturevalue(f"{request.param}_place")
    return found


@pytest.fixture(params=["s3", "swift", "openstack"])
def served(request: pytest.FixtureRequest) -> ServedPlace:
    """Each kind of store that is reached over the network."""
    found: ServedPlace = request.getfixturevalue(f"{request.param}_place")
    return found


@pytest.fixture(params=["s3", "swift"])
def encrypted(request: pytest.FixtureRequest, gateway: Radosgw) -> ServedPlace:
    """Over TLS."""
    found: ServedPlace = request.getfixturevalue(f"{request.param}_place")
    found.endpoint = found.url(gateway.host, gateway.tls_port, scheme="https")
    return found


@pytest.fixture
def proxy(served: ServedPlace) -> Iterator[Proxy]:
    """What stands between the store and the server."""
    with Proxy(served.server, protocol="plain") as between:
        served.endpoint = served.url(between.host, between.port)
        yield between
