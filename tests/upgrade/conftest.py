"""A fresh database of each kind for each test; the servers run once for all of them."""

import itertools
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

import pytest
from tests.servers.database import DatabaseServer
from tests.servers.galera import Galera, galera
from tests.servers.mariadb import mariadb
from tests.servers.needed import needed
from tests.servers.postgresql import postgresql
from tests.upgrade.databases import Database

_SERVERS: Final[Mapping[str, Callable[[], AbstractContextManager[DatabaseServer | Galera]]]] = {
    "postgresql": postgresql,
    "mariadb": mariadb,
    "galera": galera,
}
_NUMBERS: Final = itertools.count()


def _served(kind: str) -> Iterator[DatabaseServer | Galera]:
    with needed(_SERVERS[kind]()) as server:
        yield server


@pytest.fixture(scope="session")
def a_postgresql() -> Iterator[DatabaseServer | Galera]:
    yield from _served("postgresql")


@pytest.fixture(scope="session")
def a_mariadb() -> Iterator[DatabaseServer | Galera]:
    yield from _served("mariadb")


@pytest.fixture(scope="session")
def a_galera() -> Iterator[DatabaseServer | Galera]:
    yield from _served("galera")


@pytest.fixture
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """An empty one, of the kind that the test asks for."""
    kind: str = request.param
    if kind == "sqlite":
        yield Database(kind, (f"sqlite:///{tmp_path}/breezeblock.db",))
        return
    server: DatabaseServer | Galera = request.getfixturevalue(f"a_{kind}")
    name = f"upgrade_{next(_NUMBERS)}"
    server.create_database(name)
    yield Database(kind, server.urls(name) if isinstance(server, Galera) else (server.url(name),))
    server.drop_database(name)
