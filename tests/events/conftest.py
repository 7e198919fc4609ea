"""A broker for all of these tests, if one is wanted: it starts while the others run."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from tests.proof import not_here
from tests.servers.home import Home
from tests.servers.packages import Missing
from tests.servers.rabbitmq import RabbitMQ


def wants_broker(item: pytest.Item) -> bool:
    return isinstance(item, pytest.Function) and "broker_url" in item.fixturenames


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Those that want the broker come last."""
    items.sort(key=wants_broker)


@pytest.fixture(scope="session", autouse=True)
def events_broker(request: pytest.FixtureRequest) -> Iterator[RabbitMQ | Missing | None]:
    """It starts at once, and is waited for by the first test that needs it."""
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
def broker_url(events_broker: RabbitMQ | Missing | None) -> str:
    if isinstance(events_broker, Missing):
        not_here(str(events_broker))
    assert events_broker is not None, "no test seemed to want it"
    events_broker.wait_ready()
    return events_broker.url
