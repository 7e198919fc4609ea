"""Whole services on servers that fail in every way: clients get 503 with Retry-After at worst, and nothing is lost or stuck.

Nobody does anything for the service to go on: it is enough that the server comes back, or that there is another one.
"""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.servers.database import DatabaseServer
from tests.servers.galera import Galera
from tests.servers.haproxy import haproxy
from tests.servers.whole import Load, Site, running

pytestmark = pytest.mark.timeout(400)


@contextlib.contextmanager
def database(server: DatabaseServer | Galera, name: str) -> Iterator[str]:
    server.create_database(name)
    yield name
    server.drop_database(name)


@pytest.fixture
def site(server: DatabaseServer, tmp_path: Path) -> Iterator[Site]:
    """On one server."""
    with database(server, "whole") as name, running(tmp_path, [server.url(name)]) as site:
        yield site


@pytest.fixture
def behind_a_balancer(a_galera: Galera, tmp_path: Path) -> Iterator[Site]:
    """Each connection to the next node."""
    with (
        haproxy(a_galera.nodes) as balancer,
        database(a_galera, "balanced") as name,
        running(tmp_path, [a_galera.url(name, via=balancer)]) as site,
    ):
        yield site


@pytest.fixture
def on_nodes_of_their_own(a_galera: Galera, tmp_path: Path) -> Iterator[Site]:
    """Two services, as on two machines, each with another node first."""
    with database(a_galera, "apart") as name:
        urls = a_galera.urls(name)
        with running(tmp_path, urls, [*urls[1:], urls[0]], nodes=1) as site:
            yield site


def told(load: Load, site: Site) -> list[str]:
    """What went wrong; the counts are shown when it is not nothing."""
    wrongs = site.wrongs(load)
    print(load.statuses(), "slowest", max((one.took_s for one in load.asked), default=0.0))
    return wrongs


def test_a_server_that_fails_in_every_way(site: Site, server: DatabaseServer) -> None:
    """Killed and started again; stopped for a while; read-only for longer than a lease."""
    with site.load() as load:
        load.goes_on()
        server.kill()
        time.sleep(1.0)
        server.start()
        print("after a kill", load.goes_on())
        server.pause()
        time.sleep(3.0)
        server.resume()
        print("after a pause", load.goes_on())
        server.read_only(True)
        time.sleep(8.0)
        server.read_only(False)
        print("after read-only", load.goes_on())

    assert told(load, site) == []


def test_a_cluster_behind_a_balancer_loses_nodes(behind_a_balancer: Site, a_galera: Galera) -> None:
    """One leaves the primary component and still lets clients in; one is killed."""
    site = behind_a_balancer
    with site.load() as load:
        load.goes_on()
        a_galera.leave_primary(1)
        print("beside one outside", load.goes_on())
        a_galera.heal()
        a_galera.nodes[2].kill()
        print("beside a dead one", load.goes_on())
        a_galera.nodes[2].start()
        print("together again", load.goes_on())

    assert told(load, site) == []


def test_services_on_nodes_of_their_own_lose_them(on_nodes_of_their_own: Site, a_galera: Galera) -> None:
    """Each goes on to another node."""
    site = on_nodes_of_their_own
    with site.load(clients=4) as load:
        load.goes_on()
        a_galera.leave_primary(0)
        print("the first outside", load.goes_on())
        a_galera.heal()
        a_galera.nodes[1].kill()
        print("the second dead", load.goes_on())
        a_galera.nodes[1].start()
        a_galera.nodes[2].pause()
        print("the third stopped", load.goes_on())
        a_galera.nodes[2].resume()
        print("together again", load.goes_on())

    assert told(load, site) == []
