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


@pytest.fixture(scope="session", autouse=True)
def database_server() -> Iterator[None]:
    """`BREEZEBLOCK_DATABASE` names the kind of database that these tests run on; SQLite in memory without it."""
    kind = os.environ.get("BREEZEBLOCK_DATABASE")
    if not kind:
        yield
        return
    with contextlib.ExitStack() as running:
        try:
            server = running.enter_context(SERVERS[kind]())
        except Missing as missing:
            not_here(str(missing))
        server.create_database("tests")
        os.environ[NAMED_BY] = server.url("tests")
        yield
        del os.environ[NAMED_BY]


@pytest.fixture
def site() -> Iterator[Site]:
    """Two nodes and a backend that replicates."""
    with two_nodes() as site:
        yield site
