"""What several files of these tests start from."""

import contextlib
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest
from tests.proof import not_here
from tests.servers.database import DatabaseServer
from tests.servers.mariadb import mariadb
from tests.servers.packages import Missing
from tests.servers.postgresql import postgresql
from tests.store.databases import NAMED_BY
from tests.store.failing_over import Site, two_nodes

SERVERS: dict[str, Callable[[], AbstractContextManager[DatabaseServer]]] = {
    "postgresql": postgresql,
    "mariadb": mariadb,
}


MISSING = pytest.StashKey[str]()


def pytest_configure(config: pytest.Config) -> None:
    """`BREEZEBLOCK_DATABASE` names the kind of server that these tests run on. Started before they are collected: some are
    about servers alone."""
    if not (kind := os.environ.get("BREEZEBLOCK_DATABASE")):
        return
    running = contextlib.ExitStack()
    config.add_cleanup(running.close)
    try:
        server = running.enter_context(SERVERS[kind]())
    except Missing as missing:
        config.stash[MISSING] = str(missing)
        return
    server.create_database("tests")
    os.environ[NAMED_BY] = server.url("tests")


@pytest.fixture(scope="session", autouse=True)
def database_server(pytestconfig: pytest.Config) -> None:
    """Tests that were meant for a server do not run on something else."""
    if (reason := pytestconfig.stash.get(MISSING, "")) != "":
        not_here(reason)


@pytest.fixture
def site() -> Iterator[Site]:
    """Two nodes and a backend that replicates."""
    with two_nodes() as site:
        yield site
