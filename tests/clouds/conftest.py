"""A running service in the catalogue of a Keystone, whose tokens it asks for, and clients that will not do without one."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Final, NamedTuple

import pytest
from tests.servers.database import Address
from tests.servers.keystone import Keystone, keystone
from tests.servers.needed import needed
from tests.service import OnServers, Service, start

OPTIONS: Final = {
    "BREEZEBLOCK_QUOTA__VOLUMES": "-1",
    "BREEZEBLOCK_QUOTA__SNAPSHOTS": "-1",
    "BREEZEBLOCK_QUOTA__GIGABYTES": "-1",
    "BREEZEBLOCK_NODES__POLL_S": "0.5",
    "BREEZEBLOCK_BACKENDS__FAST__DRIVER": "file",
    "BREEZEBLOCK_BACKUP_STORES__DEFAULT__TYPE": "folder",
}
# What the service is called in catalogues: today's name, and the one that older clients look for.
TYPES: Final = ("block-storage", "volumev3")
SERVICE_USER: Final = ("breezeblock", "passwordofbreezeblock")


class Cloud(NamedTuple):
    """What clients are told."""

    identity: Keystone
    service: Service


@pytest.fixture(scope="session")
def cloud(tmp_path_factory: pytest.TempPathFactory, database_proxy: Address | None) -> Iterator[Cloud]:
    """Two nodes and two API processes, and the identity service."""
    data = tmp_path_factory.mktemp("cloud") / "data"
    with ExitStack() as stack:
        identity = stack.enter_context(needed(keystone()))
        identity.add_user(*SERVICE_USER, project="service", roles=("service",))
        auth = {
            "STRATEGY": "keystone",
            "AUTH_URL": identity.url,
            "USERNAME": SERVICE_USER[0],
            "PASSWORD": SERVICE_USER[1],
        }
        environ = OPTIONS | {f"BREEZEBLOCK_AUTH__{name}": value for name, value in auth.items()}
        given = OnServers(stack, database_proxy).options(data, ttl_s=2.0, environ=environ)
        service = start(data, nodes=2, workers=2, **given)
        stack.callback(service.end)
        for type_ in TYPES:
            identity.offer(type_, f"cinder-{type_}", f"{service.endpoint}/v3/%(project_id)s")
        yield Cloud(identity, service)


@pytest.fixture(autouse=True)
def logs_of_a_failure(cloud: Cloud) -> Iterator[None]:
    """The ends of the service's logs, which pytest shows when a test failed."""
    yield
    print(cloud.service.tail())
