"""Whole services on servers that fail in every way: clients get 503 with Retry-After at worst, and nothing is lost or stuck.

Nobody does anything for the service to go on: it is enough that the server comes back, or that there is another one.
"""

import contextlib
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.proof import not_here
from tests.servers.database import DatabaseServer
from tests.servers.galera import Galera
from tests.servers.haproxy import haproxy
from tests.servers.home import Home
from tests.servers.mariadb import MariaDB
from tests.servers.postgresql import PostgreSQL
from tests.servers.whole import Load, Site, running
from tests.service import eventually

pytestmark = pytest.mark.timeout(400)

MIB = 1024**2
DISK_MIB = 400
FULL_S = 8.0


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


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A filesystem of its own in memory, on which servers of a test put their data."""
    if os.geteuid() != 0:
        not_here("mounting a filesystem is for root")
    path = Path(tempfile.mkdtemp(prefix="bb-disk-"))
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m,mode=0755", "none", str(path)]
    mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    try:
        if mounted.returncode:
            not_here(f"no filesystem can be mounted here: {mounted.stderr}")
        yield path
    finally:
        if not mounted.returncode:
            subprocess.run(["umount", "-l", str(path)], check=True)
        path.rmdir()


@contextlib.contextmanager
def full(disk: Path) -> Iterator[None]:
    """There is not a byte left."""
    filler = disk / ".filler"
    # Others write meanwhile, so how much is left is not known beforehand.
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while file.write(bytes(MIB)):
            pass
    yield
    filler.unlink()


def told(load: Load, site: Site) -> list[str]:
    """What went wrong; the counts are shown when it is not nothing."""
    wrongs = site.wrongs(load)
    print(load.statuses(), "slowest", max((one.took_s for one in load.asked), default=0.0))
    return wrongs


def wrongs_of_failing(
    site: Site, server: DatabaseServer, *, killed_s: float, paused_s: float, read_only_s: float
) -> list[str]:
    """What goes wrong under load when a server is killed and started again, stopped, and read-only, for so long each."""
    with site.load() as load:
        load.goes_on()
        server.kill()
        time.sleep(killed_s)
        server.start()
        print("after a kill", load.goes_on())
        server.pause()
        time.sleep(paused_s)
        server.resume()
        print("after a pause", load.goes_on())
        server.read_only(True)
        time.sleep(read_only_s)
        server.read_only(False)
        print("after read-only", load.goes_on())
    return told(load, site)


def test_a_server_that_fails_in_every_way(site: Site, server: DatabaseServer) -> None:
    """Read-only for longer than a lease."""
    assert wrongs_of_failing(site, server, killed_s=1.0, paused_s=2.0, read_only_s=6.0) == []


@pytest.mark.proof
@pytest.mark.parametrize("kind", [PostgreSQL, MariaDB])
def test_a_server_whose_disk_is_full(
    kind: type[PostgreSQL | MariaDB], small_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For longer than a lease. One that gives up then is started again, as its service manager would."""
    monkeypatch.setattr(tempfile, "tempdir", str(small_disk))
    with Home("full") as home:
        server = kind(home)
        server.start()
        server.create_database("whole")
        with running(tmp_path, [server.url("whole")]) as site, site.load() as load:
            load.goes_on()
            with full(small_disk):
                eventually(lambda: load.statuses()[503] > 0, within_s=120, message="the disk was not full")
                time.sleep(FULL_S)
            if not server.daemon.is_running:
                server.start()
            print("after a full disk", load.goes_on())
            load.stop()

            assert told(load, site) == []


def test_a_cluster_behind_a_balancer_has_a_node_outside(behind_a_balancer: Site, a_galera: Galera) -> None:
    """It has left the primary component, and the balancer still sends clients there."""
    with behind_a_balancer.load() as load:
        load.goes_on()
        a_galera.leave_primary(1)
        print("beside one outside", load.goes_on())
        a_galera.heal()
        print("together again", load.goes_on())

    assert told(load, behind_a_balancer) == []


def test_services_on_nodes_of_their_own_lose_one(on_nodes_of_their_own: Site, a_galera: Galera) -> None:
    """Its service goes on to the next node."""
    with on_nodes_of_their_own.load(clients=4) as load:
        load.goes_on()
        a_galera.nodes[0].kill()
        print("beside a dead one", load.goes_on())
        a_galera.nodes[0].start()
        print("together again", load.goes_on())

    assert told(load, on_nodes_of_their_own) == []


@pytest.mark.proof
def test_a_cluster_behind_a_balancer_loses_one_node_after_the_other(behind_a_balancer: Site, a_galera: Galera) -> None:
    """Each comes back before the next one goes."""
    with behind_a_balancer.load() as load:
        load.goes_on()
        for node in a_galera.nodes:
            node.kill()
            print("beside a dead one", load.goes_on())
            node.start()
            print("together again", load.goes_on())

    assert told(load, behind_a_balancer) == []


@pytest.mark.proof
def test_services_on_nodes_of_their_own_are_outside_in_turn(on_nodes_of_their_own: Site, a_galera: Galera) -> None:
    """The node of the one, then the node of the other."""
    with on_nodes_of_their_own.load(clients=4) as load:
        load.goes_on()
        for index in range(2):
            a_galera.leave_primary(index)
            print("one outside", load.goes_on())
            a_galera.heal()
            print("together again", load.goes_on())

    assert told(load, on_nodes_of_their_own) == []


@pytest.mark.proof
def test_services_on_nodes_of_their_own_leave_one_that_is_stopped(
    on_nodes_of_their_own: Site, a_galera: Galera
) -> None:
    """The whole cluster waits until the others have given it up, and clients of its own until their patience ends."""
    site = on_nodes_of_their_own
    with site.load(clients=4) as load:
        load.goes_on()
        for node in a_galera.nodes[:2]:
            node.pause()
            time.sleep(12.0)
            print("one stopped", load.goes_on())
            node.resume()
            print("together again", load.goes_on())
            a_galera.heal()

    assert told(load, site) == []


@pytest.mark.proof
def test_a_server_that_is_away_for_long(site: Site, server: DatabaseServer) -> None:
    """Several times as long as a request waits, and several leases."""
    assert wrongs_of_failing(site, server, killed_s=40.0, paused_s=25.0, read_only_s=25.0) == []
