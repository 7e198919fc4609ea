"""Servers that one module of these tests has to itself, one test after the other."""

from collections.abc import Iterator

import pytest
from tests.proof import not_here
from tests.servers.database import DatabaseServer
from tests.servers.galera import Galera, galera
from tests.servers.mariadb import MariaDB, mariadb
from tests.servers.packages import Missing
from tests.servers.postgresql import PostgreSQL, postgresql


@pytest.fixture(scope="module")
def a_postgresql() -> Iterator[PostgreSQL]:
    try:
        with postgresql() as server:
            yield server
    except Missing as error:
        not_here(str(error))


@pytest.fixture(scope="module")
def a_mariadb() -> Iterator[MariaDB]:
    try:
        with mariadb() as server:
            yield server
    except Missing as error:
        not_here(str(error))


@pytest.fixture(scope="session")
def a_galera() -> Iterator[Galera]:
    """For all tests that are about a cluster: each leaves it whole."""
    try:
        with galera() as cluster:
            yield cluster
    except Missing as error:
        not_here(str(error))


@pytest.fixture(params=["postgresql", "mariadb"])
def server(request: pytest.FixtureRequest) -> DatabaseServer:
    """Each kind of single server; it runs when a test begins, and is started again by a test that stops it."""
    found: DatabaseServer = request.getfixturevalue(f"a_{request.param}")
    return found
