"""The lane of a process on real servers: which ones it reads from, and what a failed COMMIT leaves behind."""

import asyncio
import time
from collections.abc import Iterator
from typing import Final

import pymysql
import pytest
import sqlalchemy as sa
from tests.servers.database import DatabaseServer
from tests.servers.mariadb import MariaDB

from breezeblock import settings
from breezeblock.commands import rebuild, recount, unused
from breezeblock.commands.failure import Failed
from breezeblock.env.real import real_env
from breezeblock.model.errors import Contended, Unavailable
from breezeblock.settings import Settings
from breezeblock.store import pooled
from breezeblock.store.endpoints import Endpoints
from breezeblock.store.others import nodes_of_cluster, others
from breezeblock.store.pooled import PooledLane
from breezeblock.store.servers import STATEMENT_LIMIT_S, Session, open_server
from breezeblock.wiring import Leisure, open_database

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


def test_a_server_tells_who_else_is_there(server: DatabaseServer, url: str) -> None:
    """Also who has been idle for long; not the session that asks, nor one that is gone."""
    mine, another = (open_server(url, Session(connections=1), reading=True) for _ in range(2))
    try:
        with mine.connect() as tx:
            assert others(tx) == []
            tx.rollback()
            with another.connect() as idle:
                idle.rollback()
                (one,) = others(tx)
                assert one.startswith("session ")
                tx.rollback()
            another.dispose()
            for _ in range(100):  # the server ends it in its own time
                if not others(tx):
                    break
                tx.rollback()
                time.sleep(0.02)
            assert others(tx) == []
            assert nodes_of_cluster(tx)[1] == 1
    finally:
        mine.dispose()
        another.dispose()


def settings_for(url: str) -> Settings:
    environ = {"BREEZEBLOCK_DATABASE__URL": url, "BREEZEBLOCK_BACKENDS__FILE__TRUST_SELF_FENCING": "true"}
    return settings.load(None, environ).settings


def test_a_rebuild_is_refused_while_an_api_is_connected(
    server: DatabaseServer, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing but its connection tells of it: it has no lease."""
    monkeypatch.setattr(unused, "PATIENCE_S", 0.2)
    chosen = settings_for(url)

    async def main() -> None:
        api = PooledLane(Endpoints([url], Session(connections=2)))
        try:
            assert await api.read(lambda tx: tx.execute(COUNT).scalar()) == 0
            with pytest.raises(Failed, match="in use by session"):
                await unused.require_unused(chosen, watch_s=0.1)
        finally:
            api.close()

    asyncio.run(main())
    asyncio.run(unused.require_unused(chosen, watch_s=0.1))


SLOW: Final = {"postgresql": "SELECT pg_sleep(0.6)", "mysql": "SELECT SLEEP(0.6)", "mariadb": "SELECT SLEEP(0.6)"}
LIMIT: Final = {
    "postgresql": "SELECT setting::float / 1000 FROM pg_settings WHERE name = 'statement_timeout'",
    "mysql": "SELECT @@max_statement_time",
    "mariadb": "SELECT @@max_statement_time",
}


@pytest.mark.parametrize("leisure", [None, rebuild.LEISURE, recount.LEISURE])
def test_a_command_whose_work_grows_with_the_database_is_given_time(
    server: DatabaseServer, url: str, monkeypatch: pytest.MonkeyPatch, leisure: Leisure | None
) -> None:
    """By the server, which ends statements, and by the lane, which cuts off transactions."""
    monkeypatch.setattr(pooled, "ANSWER_TIMEOUT_S", 0.2)
    monkeypatch.setattr(pooled, "LOOK_EVERY_S", 0.1)
    chosen = settings_for(url)
    kind = sa.make_url(url).get_backend_name()

    async def main() -> float:
        opened = open_database(chosen, real_env(), leisure=leisure)
        try:
            if leisure is None:
                with pytest.raises(Unavailable):
                    await opened.lane.write(lambda tx: tx.execute(sa.text(SLOW[kind])).scalar())
            else:
                await opened.lane.write(lambda tx: tx.execute(sa.text(SLOW[kind])).scalar())
            return float(await opened.lane.write(lambda tx: tx.execute(sa.text(LIMIT[kind])).scalar_one()))
        finally:
            opened.lane.close()

    assert asyncio.run(main()) == (STATEMENT_LIMIT_S if leisure is None else leisure.statement_s)
