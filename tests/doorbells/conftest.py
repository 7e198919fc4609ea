"""Servers of rings, started when the first test wants them and ended with the run."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from tests.doorbells.bells import Kind
from tests.doorbells.servers import POSTGRESQL_BIN, RABBITMQ, Postgresql, Rabbitmq
from tests.proof import not_here
from tests.service import running_service

__all__ = ["running_service"]


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[Postgresql]:
    if not POSTGRESQL_BIN:
        not_here("PostgreSQL is not installed: no /usr/lib/postgresql")
    # Not in a folder of pytest: into those only its own user may look, and PostgreSQL refuses to be root.
    with TemporaryDirectory(prefix="bells-") as folder:
        server = Postgresql(Path(folder))
        server.start()
        yield server
        server.end()


@pytest.fixture(scope="session")
def rabbitmq_server() -> Iterator[Rabbitmq]:
    if not RABBITMQ.is_dir():
        not_here(f"RabbitMQ is not installed: no {RABBITMQ}")
    with TemporaryDirectory(prefix="bells-") as folder:
        server = Rabbitmq(Path(folder))
        server.start()
        yield server
        server.end()


@pytest.fixture
def postgresql(postgresql_server: Postgresql) -> Kind:
    return Kind(postgresql_server)


@pytest.fixture
def rabbitmq(rabbitmq_server: Rabbitmq) -> Kind:
    return Kind(rabbitmq_server)


@pytest.fixture(params=["postgresql", "rabbitmq"])
def kind(request: pytest.FixtureRequest) -> Kind:
    """Each doorbell that has a server."""
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Kind)
    return found
