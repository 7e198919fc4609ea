"""The proxy in front of the real servers."""

from collections.abc import Iterator

import psycopg
import pytest
import sqlalchemy as sa
from tests.servers.database import USER, DatabaseServer
from tests.servers.numbers import engine_for, numbers, read, write
from tests.servers.postgresql import PostgreSQL
from tests.servers.proxy import Proxy


@pytest.fixture
def proxy(server: DatabaseServer) -> Iterator[Proxy]:
    with Proxy(server, protocol="postgresql" if isinstance(server, PostgreSQL) else "mysql") as proxy:
        yield proxy


@pytest.fixture
def direct(server: DatabaseServer) -> Iterator[sa.Engine]:
    """Past the proxy, to a database with an empty table."""
    with numbers(server) as engine:
        yield engine


@pytest.fixture
def engine(server: DatabaseServer, proxy: Proxy, direct: sa.Engine) -> Iterator[sa.Engine]:
    """Through the proxy."""
    engine = engine_for(server.url(str(direct.url.database), via=proxy), server.patience)
    yield engine
    engine.dispose()


def test_a_commit_that_loses_its_answer_has_happened(proxy: Proxy, engine: sa.Engine, direct: sa.Engine) -> None:
    """The client gets an error, the row is there, and the next commit is answered."""
    proxy.lose_commits()

    with pytest.raises(sa.exc.OperationalError):
        write(engine, 1)
    write(engine, 2)

    assert (proxy.lost, proxy.undelivered) == (1, 0)
    assert read(direct) == [1, 2]


def test_a_commit_that_is_not_delivered_has_not_happened(proxy: Proxy, engine: sa.Engine, direct: sa.Engine) -> None:
    """For the client the two look the same."""
    proxy.lose_commits(delivered=False)

    with pytest.raises(sa.exc.OperationalError):
        write(engine, 1)

    assert (proxy.lost, proxy.undelivered) == (0, 1)
    assert read(direct) == []


def test_a_cut_ends_connections_and_new_ones_are_welcome(proxy: Proxy, engine: sa.Engine) -> None:
    """A transaction that was open is gone."""
    with pytest.raises(sa.exc.OperationalError), engine.begin() as tx:
        tx.execute(sa.text("INSERT INTO numbers VALUES (1)"))
        proxy.cut()
        tx.execute(sa.text("INSERT INTO numbers VALUES (2)"))

    assert read(engine) == []


def test_a_refusing_proxy_lets_nobody_new_in(proxy: Proxy, engine: sa.Engine) -> None:
    """Who is in stays in."""
    with engine.connect() as inside:
        proxy.refuse(True)

        with pytest.raises(sa.exc.OperationalError):
            read(engine)
        assert inside.execute(sa.text("SELECT 1")).scalar() == 1

    proxy.refuse(False)
    assert read(engine) == []


@pytest.mark.parametrize(("to_server", "to_client"), [(True, False), (False, True)])
def test_a_hanging_proxy_forwards_nothing_one_way(
    proxy: Proxy, engine: sa.Engine, to_server: bool, to_client: bool
) -> None:
    """Connections are neither refused nor closed: only a timeout tells."""
    proxy.hang(to_server=to_server, to_client=to_client)

    with pytest.raises(sa.exc.OperationalError):
        read(engine)

    proxy.hang(to_server=False, to_client=False)
    assert read(engine) == []


def test_a_commit_in_the_extended_protocol_is_seen(a_postgresql: PostgreSQL) -> None:
    """As Parse, Bind, Execute; and as a statement that was prepared earlier."""
    proxy = Proxy(a_postgresql, protocol="postgresql")
    with proxy, psycopg.connect(host=proxy.host, port=proxy.port, user=USER, dbname="postgres", autocommit=True) as one:
        one.execute("BEGIN", prepare=True)
        one.execute("COMMIT", prepare=True)
        one.execute("BEGIN", prepare=True)
        proxy.lose_commits()

        with pytest.raises(psycopg.OperationalError):
            one.execute("COMMIT", prepare=True)

    assert proxy.lost == 1
