"""Servers that these tests have to themselves, one test after the other."""

from collections.abc import Iterator

import pytest
from tests.servers.database import DatabaseServer
from tests.servers.galera import Galera, galera
from tests.servers.mariadb import MariaDB, mariadb
from tests.servers.needed import needed
from tests.servers.postgresql import PostgreSQL, postgresql


@pytest.fixture(scope="session")
def a_postgresql() -> Iterator[PostgreSQL]:
    with needed(postgresql()) as server:
        yield server


@pytest.fixture(scope="session")
def a_mariadb() -> Iterator[MariaDB]:
    with needed(mariadb()) as server:
        yield server


@pytest.fixture(scope="session")
def a_galera() -> Iterator[Galera]:
    """For all tests that are about a cluster: each leaves it whole."""
    with needed(galera()) as cluster:
        yield cluster


@pytest.fixture(params=["postgresql", "mariadb"])
def server(request: pytest.FixtureRequest) -> DatabaseServer:
    """Each kind of single server; it runs when a test begins, and is started again by a test that stops it."""
    found: DatabaseServer = request.getfixturevalue(f"a_{request.param}")
    return found
