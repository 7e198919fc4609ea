"""Servers of rings, one of each for all tests."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from tests.doorbells.bells import Kind
from tests.proof import not_here
from tests.servers.home import Home
from tests.servers.needed import needed
from tests.servers.packages import Missing
from tests.servers.postgresql import PostgreSQL
from tests.servers.rabbitmq import RabbitMQ
from tests.servers.server import running
from tests.service import running_service

__all__ = ["running_service"]


def wants_broker(item: pytest.Item) -> bool:
    return isinstance(item, pytest.Function) and ("rabbitmq" in item.fixturenames or "[rabbitmq" in item.name)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Those that want the broker come last: it needs seconds to start. Those with whole services, which wait a lot, first."""
    items.sort(key=lambda item: (wants_broker(item), "running_service" not in getattr(item, "fixturenames", ())))


@pytest.fixture(scope="session", autouse=True)
def broker(request: pytest.FixtureRequest) -> Iterator[RabbitMQ | Missing | None]:
    """It starts while the first tests run, if any of them will want it."""
    with ExitStack() as stack:
        found: RabbitMQ | Missing | None = None
        if any(map(wants_broker, request.session.items)):
            try:
                found = RabbitMQ(stack.enter_context(Home("mq")))
                found.launch()
            except Missing as missing:
                found = missing
        yield found


@pytest.fixture(scope="session")
def rabbitmq_server(broker: RabbitMQ | Missing | None) -> RabbitMQ:
    if isinstance(broker, Missing):
        not_here(str(broker))
    assert broker is not None, "no test seemed to want it"
    broker.wait_ready()
    return broker


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[PostgreSQL]:
    with needed(running("pg", PostgreSQL)) as server:
        yield server


@pytest.fixture
def postgresql(postgresql_server: PostgreSQL) -> Kind:
    return Kind("postgresql", postgresql_server.libpq_url("postgres"), postgresql_server)


@pytest.fixture
def rabbitmq(rabbitmq_server: RabbitMQ) -> Kind:
    return Kind("rabbitmq", rabbitmq_server.url, rabbitmq_server)


@pytest.fixture(params=["postgresql", "rabbitmq"])
def kind(request: pytest.FixtureRequest) -> Kind:
    """Each doorbell that has a server."""
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Kind)
    return found
