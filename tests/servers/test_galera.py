"""A cluster does what its verbs say."""

import asyncio
from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from tests.servers.galera import Galera
from tests.servers.haproxy import haproxy
from tests.servers.numbers import engine_for, read, write

from breezeblock.model.errors import Unavailable
from breezeblock.store.endpoints import Endpoints
from breezeblock.store.pooled import PooledLane
from breezeblock.store.servers import Session


@pytest.fixture(scope="module")
def cluster(a_galera: Galera) -> Iterator[Galera]:
    a_galera.create_database("here")
    yield a_galera
    a_galera.drop_database("here")


@pytest.fixture
def engines(cluster: Galera) -> Iterator[list[sa.Engine]]:
    """One for each node, on a database with an empty table."""
    # Longer than the others wait for a silent node before they go on without it.
    sync = {"init_command": "SET SESSION wsrep_sync_wait = 7", "connect_timeout": 5, "read_timeout": 20}
    engines = [engine_for(url, sync) for url in cluster.urls("here")]
    with engines[0].begin() as tx:
        tx.execute(sa.text("CREATE OR REPLACE TABLE numbers (number INT PRIMARY KEY)"))
    yield engines
    for engine in engines:
        engine.dispose()


def test_every_node_takes_writes_and_has_those_of_the_others(engines: list[sa.Engine]) -> None:
    """A real cluster, not three servers."""
    for number, engine in enumerate(engines):
        write(engine, number)

    assert [read(engine) for engine in engines] == [[0, 1, 2]] * 3


def test_a_killed_node_catches_up(cluster: Galera, engines: list[sa.Engine]) -> None:
    """It missed a write."""
    cluster.nodes[2].kill()
    write(engines[0], 1)

    cluster.nodes[2].start()

    assert read(engines[2]) == [1]


def test_a_node_that_leaves_the_primary_component_refuses(cluster: Galera, engines: list[sa.Engine]) -> None:
    """It still lets clients in. Healed, it has what it missed."""
    unsynced = engine_for(cluster.nodes[1].url("here"))
    cluster.leave_primary(1)
    try:
        with pytest.raises(sa.exc.OperationalError, match="1047"):
            write(unsynced, 1)
        write(engines[0], 2)
    finally:
        cluster.heal()

    assert read(engines[1]) == [2]


def test_who_waits_for_the_others_is_told_of_a_lock_there(cluster: Galera, engines: list[sa.Engine]) -> None:
    """A trap: with `wsrep_sync_wait` a node outside the primary component says 1205, as for a row that is locked."""
    alone, other = cluster.nodes[1].url("here"), cluster.nodes[0].url("here")
    cluster.leave_primary(1)
    try:
        with pytest.raises(sa.exc.OperationalError, match="1205"):
            write(engines[1], 1)
        # To us it is a server that is not there: we go on to the next one, and without one say so.
        assert through_a_lane(alone, other, number=2) is None
        assert isinstance(through_a_lane(alone, number=3), Unavailable)
    finally:
        cluster.heal()

    assert read(engines[1]) == [2]


def through_a_lane(*urls: str, number: int) -> Exception | None:
    """Insert a number as our processes do; what comes of it after as many attempts as there are servers."""

    async def main() -> Exception | None:
        lane = PooledLane(Endpoints(urls, Session(connections=2)))
        error: Exception | None = None
        try:
            for _ in urls:
                try:
                    await lane.write(
                        lambda tx: tx.execute(sa.text("INSERT INTO numbers VALUES (:number)"), {"number": number})
                    )
                except Unavailable as unavailable:
                    error = unavailable
                else:
                    return None
        finally:
            lane.close()
        return error

    return asyncio.run(main())


def test_a_cluster_that_died_goes_on_by_itself(cluster: Galera, engines: list[sa.Engine]) -> None:
    """All at once, as by a power cut: nobody has to say which one knows most."""
    write(engines[0], 1)
    read(engines[1])
    cluster.kill()

    cluster.start_again()

    assert [read(engine) for engine in engines] == [[1]] * 3


def test_a_balancer_sends_each_connection_to_the_next_node(cluster: Galera, engines: list[sa.Engine]) -> None:
    """Three connections, three nodes."""
    with haproxy(cluster.nodes) as balancer:
        engine = engine_for(cluster.url("here", via=balancer))
        addresses = set()
        for _ in engines:
            with engine.connect() as tx:
                addresses.add(tx.execute(sa.text("SELECT @@wsrep_node_address")).scalar())

    assert addresses == {node.host for node in cluster.nodes}
