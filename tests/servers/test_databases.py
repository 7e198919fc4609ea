"""The private servers do what their verbs say."""

from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from tests.servers.database import DatabaseServer
from tests.servers.numbers import numbers, read, write


@pytest.fixture
def engine(server: DatabaseServer) -> Iterator[sa.Engine]:
    """On a database with one table that has the row 1."""
    with numbers(server) as engine:
        write(engine, 1)
        yield engine


def test_what_was_committed_survives_a_kill(server: DatabaseServer, engine: sa.Engine) -> None:
    """The data folder is the same, and so is the port."""
    server.kill()
    with pytest.raises(sa.exc.OperationalError):
        read(engine)

    server.start()

    assert read(engine) == [1]


def test_what_was_committed_survives_a_stop(server: DatabaseServer, engine: sa.Engine) -> None:
    """An open connection does not hold it up."""
    with engine.connect() as idle:
        idle.execute(sa.text("SELECT 1"))
        server.stop()
        with pytest.raises(sa.exc.DBAPIError):
            idle.execute(sa.text("SELECT 1"))

    server.start()

    assert read(engine) == [1]


def test_a_paused_server_answers_nobody(server: DatabaseServer, engine: sa.Engine) -> None:
    """The kernel still accepts connections for it. When it goes on, all is as before."""
    server.pause()
    try:
        with pytest.raises(sa.exc.OperationalError):
            read(engine)
    finally:
        server.resume()

    assert read(engine) == [1]


def test_a_read_only_server_refuses_to_write(server: DatabaseServer, engine: sa.Engine) -> None:
    """And reads."""
    server.read_only(True)
    try:
        with pytest.raises(sa.exc.DBAPIError, match=r"read-only"):
            write(engine, 2)
        assert read(engine) == [1]
    finally:
        server.read_only(False)

    write(engine, 2)

    assert read(engine) == [1, 2]


def test_a_database_is_dropped_with_those_who_are_connected(server: DatabaseServer) -> None:
    """A test that failed may have left a transaction open."""
    server.create_database("gone")
    engine = sa.create_engine(server.url("gone"))
    with engine.connect() as forgotten:
        forgotten.execute(sa.text("CREATE TABLE t (a INT)"))
        forgotten.execute(sa.text("INSERT INTO t VALUES (1)"))

        server.drop_database("gone")

        with pytest.raises(sa.exc.DBAPIError):
            forgotten.execute(sa.text("SELECT a FROM t"))
        forgotten.invalidate()
    engine.dispose()
