"""One running service for all client tests, and the clients."""

import os
import random
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

import cinderclient.client
import keystoneauth1.session
import openstack
import pytest
from cinderclient.contrib.noauth import CinderNoAuthPlugin
from tests.backup.cinder.made import ARCHIVE as MADE_BY_CINDER
from tests.clients.commands import watching
from tests.clients.programs import Programs
from tests.clients.requests import Asked
from tests.servers.database import Address
from tests.service import OnServers, Service, start

PROJECT = "clients"
# The copies of this backend take their time, so that a test can step in between.
SLOW_BYTES_PER_S = 8 * 1024**2

OPTIONS = {
    "BREEZEBLOCK_QUOTA__VOLUMES": "-1",
    "BREEZEBLOCK_QUOTA__SNAPSHOTS": "-1",
    "BREEZEBLOCK_QUOTA__GIGABYTES": "-1",
    "BREEZEBLOCK_NODES__POLL_S": "0.5",
    "BREEZEBLOCK_BACKENDS__FAST__DRIVER": "file",
    "BREEZEBLOCK_BACKENDS__SLOW__DRIVER": "file",
    "BREEZEBLOCK_BACKENDS__SLOW__COPY_RATE_LIMIT": str(SLOW_BYTES_PER_S),
    "BREEZEBLOCK_BACKUP_STORES__DEFAULT__TYPE": "folder",
    "BREEZEBLOCK_BACKUP_STORES__SLOW__RATE_LIMIT": str(2 * SLOW_BYTES_PER_S),
    "BREEZEBLOCK_BACKUP_STORES__SLOW__AVAILABILITY_ZONE": "attic",
    "BREEZEBLOCK_BACKUP_STORES__CINDERS__TYPE": "cinder-posix",
}

HERE = Path(__file__).parent
PAGE = HERE.parent.parent / "docs" / "reference" / "clients.md"
LAST = ("test_every_call.py", "test_every_command.py")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What the clients warn of in themselves is theirs to change. And what asks about the whole session comes last."""
    mine = [item for item in items if item.path.parent == HERE]
    for item in mine:
        item.add_marker(pytest.mark.filterwarnings("ignore"))
    last = [item for item in mine if item.path.name in LAST]
    items[:] = [item for item in items if item not in last]
    whole = {path.name for path in HERE.glob("test_*.py")} == {item.path.name for item in mine}
    if whole and not config.option.keyword:
        items += last
    else:
        config.hook.pytest_deselected(items=last)


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory, database_proxy: Address | None) -> Iterator[Service]:
    """Two nodes, two API processes, two backends and two stores: of each a fast one, and `slow`; and what Cinder has left."""
    data = tmp_path_factory.mktemp("service") / "data"
    of_cinder = data.with_name("cinder")
    with tarfile.open(MADE_BY_CINDER) as archive:
        archive.extractall(of_cinder, filter="data")
    environ = OPTIONS | {"BREEZEBLOCK_BACKUP_STORES__CINDERS__PATH": str(of_cinder)}
    with ExitStack() as stack:
        given = OnServers(stack, database_proxy).options(data, ttl_s=2.0, environ=environ)
        running = start(data, nodes=2, workers=2, **given)
        stack.callback(running.end)
        yield running


@pytest.fixture(autouse=True)
def logs_of_a_failure(service: Service) -> Iterator[None]:
    """The ends of the service's logs, which pytest shows when a test failed."""
    yield
    print(service.tail())


@pytest.fixture(scope="session")
def asked() -> Iterator[Asked]:
    """Every request of this session."""
    asked = Asked()
    with asked.watching(), watching(asked.ran):
        yield asked


class CinderAt(Protocol):
    """Makes a cinderclient that speaks a version, for a project."""

    def __call__(self, version: str, project: str = PROJECT) -> Any: ...


@pytest.fixture(scope="session")
def cinder_at(service: Service, asked: Asked) -> CinderAt:
    """cinderclient with its own plugin for services without an identity service."""

    def connect(version: str, project: str = PROJECT) -> Any:
        auth = CinderNoAuthPlugin("ann", project, endpoint=f"{service.endpoint}/v3")
        return cinderclient.client.Client(version, session=keystoneauth1.session.Session(auth=auth))

    return connect


@pytest.fixture(scope="session")
def cinder(cinder_at: CinderAt) -> Any:
    """cinderclient, speaking the newest version."""
    return cinder_at("3.71")


class CloudAt(Protocol):
    """Makes an openstacksdk connection; without a version the library chooses for each resource."""

    def __call__(self, version: str | None = None) -> Any: ...


@pytest.fixture(scope="session")
def cloud_at(service: Service, asked: Asked) -> Iterator[CloudAt]:
    """openstacksdk, as it is used without an identity service: the endpoint has the project."""
    endpoint = f"{service.endpoint}/v3/{PROJECT}"
    opened = []

    def connect(version: str | None = None) -> Any:
        connection = openstack.connect(
            load_envvars=False,
            load_yaml_config=False,
            auth_type="none",
            auth={"endpoint": endpoint},
            block_storage_endpoint_override=endpoint,
            block_storage_default_microversion=version,
        )
        opened.append(connection)
        return connection

    yield connect
    for connection in opened:
        connection.close()


@pytest.fixture(scope="session")
def cloud(cloud_at: CloudAt) -> Any:
    """openstacksdk, choosing the version of each request itself."""
    return cloud_at()


@pytest.fixture(scope="session")
def programs(service: Service, asked: Asked, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Programs]:
    """The programs `openstack` and `cinder`."""
    with ExitStack() as stack:
        yield Programs(service.endpoint, PROJECT, asked, tmp_path_factory.mktemp("home"), stack)


@pytest.fixture(scope="session")
def numbers() -> random.Random:
    """From the run's seed."""
    return random.Random(int(os.environ.get("BREEZEBLOCK_SEED", "1")))
