"""The lane of a process on real servers: which ones it reads from, and what a failed COMMIT leaves behind."""

import asyncio
from collections.abc import Iterator

import pymysql
import pytest
import sqlalchemy as sa
from tests.servers.database import DatabaseServer
from tests.servers.mariadb import MariaDB

from breezeblock.model.errors import Contended, Unavailable
from breezeblock.store.endpoints import Endpoints
from breezeblock.store.pooled import PooledLane
from breezeblock.store.servers import Session, open_server

COUNT = sa.text("SELECT count(*) FROM numbers")
INSERT = sa.text("INSERT INTO numbers VALUES (:number)")


@pytest.fixture
def url(server: DatabaseServer) -> Iterator[str]:
    """Of a database with one empty table."""
    server.create_database("here")
    engine = sa.create_engine(server.url("here"), poolclass=sa.NullPool)
    with engine.begin() as tx:
        tx.execute(sa.text("CREATE TABLE numbers (number INT PRIMARY KEY)"))
    yield server.url("here")
    server.drop_database("here")


def test_nothing_is_read_from_a_server_that_takes_no_writes(server: DatabaseServer, url: str) -> None:
    """What it has may be the past, and nothing would take a process away from it that only reads."""

    async def main() -> None:
        lane = PooledLane(Endpoints([url], Session(connections=2)))
        try:
            with pytest.raises(Unavailable):
                await lane.read(lambda tx: tx.execute(COUNT).scalar())
            server.read_only(False)
            assert await lane.read(lambda tx: tx.execute(COUNT).scalar()) == 0
        finally:
            lane.close()

    server.read_only(True)
    try:
        asyncio.run(main())
    finally:
        server.read_only(False)


def test_whoever_asks_for_it_reads_a_standby(server: DatabaseServer, url: str) -> None:
    """As an operator's command does."""
    engine = open_server(url, Session(connections=1, reads_standbys=True), reading=True)
    server.read_only(True)
    try:
        with engine.connect() as tx:
            assert tx.execute(COUNT).scalar() == 0
    finally:
        server.read_only(False)
        engine.dispose()


@pytest.mark.parametrize("server", ["mariadb"], indirect=True)
def test_what_a_failed_commit_leaves_open_is_not_committed_with_the_next(
    a_mariadb: MariaDB, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLAlchemy takes a failed COMMIT for an end, and sends no ROLLBACK."""
    commit, failing = pymysql.Connection.commit, [True]

    def fail_once(connection: "pymysql.Connection[object]") -> None:
        if failing:
            failing.clear()
            raise pymysql.err.OperationalError(1205, "not now")
        commit(connection)

    async def main() -> int | None:
        lane = PooledLane(Endpoints([url], Session(connections=2)))
        try:
            monkeypatch.setattr(pymysql.Connection, "commit", fail_once)
            with pytest.raises(Contended):
                await lane.write(lambda tx: tx.execute(INSERT, {"number": 1}))
            await lane.write(lambda tx: tx.execute(INSERT, {"number": 2}))
            return await lane.read(lambda tx: tx.execute(COUNT).scalar())
        finally:
            lane.close()

    assert asyncio.run(main()) == 1
