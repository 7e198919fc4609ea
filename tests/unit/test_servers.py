"""Database servers, as far as no server is needed: what their errors mean, and what becomes of one that does not answer."""

import asyncio
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pymysql
import pytest
from sqlalchemy.exc import DBAPIError

from breezeblock import settings
from breezeblock.database_urls import problem_of
from breezeblock.env.real import RealThreads
from breezeblock.model.errors import Ambiguous, Contended, Unavailable
from breezeblock.node.lease_lanes import ServerLane, SqliteLane, open_lane
from breezeblock.store import pooled
from breezeblock.store.dialects import translate
from breezeblock.store.endpoints import Endpoints
from breezeblock.store.pooled import PooledLane
from breezeblock.store.servers import NoWrites, Session

SERVERS = ["postgresql://u:p@127.0.0.1:{port}/d", "mariadb://u:p@127.0.0.1:{port}/d"]


# --- errors -----------------------------------------------------------------------------------------------------------


def postgresql(state: str | None) -> Exception:
    made: Exception = psycopg.errors.lookup(state)("no") if state else psycopg.OperationalError("no")
    return made


def mariadb(code: int) -> Exception:
    made: Exception = pymysql.err.OperationalError(code, "no")
    return made


@pytest.mark.parametrize(
    ("error", "running", "committing"),
    [
        (postgresql("40001"), Contended, Contended),
        (postgresql("40P01"), Contended, Contended),
        (postgresql("23505"), Contended, Contended),
        (postgresql("55P03"), Contended, Ambiguous),
        (postgresql("57014"), Contended, Ambiguous),
        (postgresql("57P01"), Unavailable, Ambiguous),
        (postgresql("25P03"), Unavailable, Ambiguous),
        (postgresql("25006"), Unavailable, Ambiguous),
        (postgresql("53100"), Unavailable, Ambiguous),
        (postgresql(None), Unavailable, Ambiguous),
        (postgresql("42601"), psycopg.errors.SyntaxError, Ambiguous),
        (postgresql("23503"), psycopg.errors.ForeignKeyViolation, Ambiguous),
        (mariadb(1213), Contended, Contended),
        (mariadb(1205), Contended, Contended),
        (mariadb(1020), Contended, Contended),
        (mariadb(1062), Contended, Contended),
        (mariadb(1969), Contended, Ambiguous),
        (mariadb(1047), Unavailable, Ambiguous),
        (mariadb(1290), Unavailable, Ambiguous),
        (mariadb(1021), Unavailable, Ambiguous),
        (mariadb(2013), Unavailable, Ambiguous),
        (pymysql.err.InterfaceError(0, ""), Unavailable, Ambiguous),
        (mariadb(1064), pymysql.err.OperationalError, Ambiguous),
        (NoWrites("a standby"), Unavailable, Unavailable),
    ],
    ids=repr,
)
def test_an_error_is_named_by_what_it_says_about_the_transaction(
    error: Exception, running: type[Exception], committing: type[Exception]
) -> None:
    """Running: nothing was written. Committing: only an error that the server raises before the commit is certain."""
    wrapped = error if isinstance(error, NoWrites) else DBAPIError("SELECT 1", {}, error)

    named, in_commit = translate(wrapped, committing=False), translate(wrapped, committing=True)

    assert type(getattr(named, "orig", named)) is running
    assert type(in_commit) is committing


# --- servers that do not answer ---------------------------------------------------------------------------------------


@pytest.fixture
def silent() -> Iterator[int]:
    """A port on which somebody accepts connections and says nothing, as a stopped server."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listening:
        yield listening.getsockname()[1]


@pytest.fixture
def closed() -> int:
    """A port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port


@pytest.mark.parametrize("server", SERVERS)
def test_a_server_that_is_not_there_is_left_for_the_next(server: str, closed: int) -> None:
    """Round the whole list, one at each failure."""

    async def main() -> list[int]:
        endpoints = Endpoints([server.format(port=closed)] * 3, Session(connections=2))
        lane, used = PooledLane(endpoints), []
        for attempt in range(4):
            used.append(endpoints.current.number)
            with pytest.raises(Unavailable):
                await (lane.write, lane.read)[attempt % 2](lambda tx: None)
        lane.close()
        return used

    assert asyncio.run(main()) == [0, 1, 2, 0]


def test_servers_of_different_kinds_are_not_one_database() -> None:
    with pytest.raises(ValueError, match="same kind"):
        Endpoints(["postgresql://h/d", "mariadb://h/d"], Session())


@pytest.mark.parametrize("server", SERVERS)
def test_a_server_that_says_nothing_keeps_nobody_for_ever(
    server: str, silent: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not those on its threads, and not those who wait for a thread."""
    monkeypatch.setattr(pooled, "BEGIN_TIMEOUT_S", 0.5)

    async def main() -> list[Any]:
        lane = PooledLane(Endpoints([server.format(port=silent)], Session(connections=2, statement_limit_s=1.0)))
        asked = [lane.write(lambda tx: None) for _ in range(5)]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        lane.close()
        return answers

    assert [type(answer) for answer in asyncio.run(main())] == [Unavailable] * 5


@pytest.mark.parametrize("server", SERVERS)
def test_a_keeper_goes_on_to_the_next_server(server: str, closed: int, silent: int) -> None:
    """Each call ends, and the next one asks another server."""
    threads = RealThreads(max_threads=2)

    async def main() -> float:
        lane = ServerLane([server.format(port=silent), server.format(port=closed)], threads, ttl_s=1.5)
        began = time.monotonic()
        for next_one in (1, 0):
            with pytest.raises(Unavailable):
                await lane.write(lambda tx: tx.execute("SELECT 1", ()))
            assert lane._at == next_one
        return time.monotonic() - began

    took = asyncio.run(main())
    threads.close()
    assert took < 30


def test_the_keepers_lane_is_that_of_its_database(tmp_path: Path) -> None:
    threads = RealThreads(max_threads=1)
    assert isinstance(open_lane(["postgresql://h/d"], threads, ttl_s=6), ServerLane)
    assert isinstance(open_lane([f"sqlite:///{tmp_path}/x.db"], threads, ttl_s=6), SqliteLane)
    threads.close()


# --- settings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("postgresql://h/d", ""),
        ("postgresql+psycopg://u:p@h:5432/d", ""),
        ("mysql+pymysql://h/d", ""),
        ("postgresql://h", "name of a database"),
        ("mariadb://h:port/d", "expected a URL"),
        ("postgresql+asyncpg://h/d", "without a driver"),
    ],
)
def test_a_servers_url_is_checked(url: str, says: str) -> None:
    assert says in problem_of(url)
    assert bool(says) == bool(problem_of(url))


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"database.url": "oracle://h/d"}, "expected sqlite:///PATH, postgresql://"),
        ({"database.failover_urls": ["postgresql://h/d"]}, "a file has no other servers"),
        (
            {"database.url": "postgresql://h/d", "database.failover_urls": ["mariadb://h/d"]},
            "the same kind of database as database.url, postgresql",
        ),
        ({"database.url": "mariadb://h/d", "nodes.ttl_s": 3.0}, "MariaDB ends idle transactions by whole seconds"),
        ({"database.url": "postgresql://h/d"}, "nothing proves that a lost node has stopped"),
    ],
)
def test_what_cannot_work_is_refused(given: dict[str, Any], says: str) -> None:
    with pytest.raises(settings.SettingsError, match=says):
        settings.load(None, {}, given)


def test_a_server_serves_one_machine_when_told_so() -> None:
    """Then what is left of a lost node can be killed there."""
    chosen = settings.load(None, {}, {"database.url": "postgresql://u:p@h/d", "nodes.one_machine": True}).settings

    assert chosen.one_machine
    assert "same_machine" in chosen.backends["file"].fence
