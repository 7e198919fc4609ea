"""The first release and this one on one database and one storage, one process after the other replaced under load."""

import contextlib
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from tests.proof import PROOF
from tests.service import Service, eventually
from tests.upgrade.load import Client, Load
from tests.upgrade.releases import FIRST_RELEASE, Site, drain, fill, unpack

from breezeblock.env.real import RealClock
from breezeblock.store import check, schema
from breezeblock.store.dialects import open_engine
from breezeblock.store.tables import nodes, operation_log, operations, snapshots, volumes

CLIENTS = 3
# Of load in each state of the service.
PHASE_S = 8.0 if PROOF else 1.5


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.fixture
def begin(site: Site, tmp_path: Path) -> Iterator[Callable[[str], Service]]:
    """Start a service of the first release, `old`, or of this one."""
    first = unpack(FIRST_RELEASE, tmp_path / "first")
    started: list[Service] = []

    def begin(name: str) -> Service:
        started.append(site.start(name, nodes=2, sources=first if name == "old" else None))
        return started[-1]

    yield begin
    for service in started:
        print(service.tail())
    for service in started:
        service.end()


@contextlib.contextmanager
def loaded(load: Load) -> Iterator[None]:
    """Clients, while the block runs."""
    seed = int(os.environ.get("BREEZEBLOCK_SEED", "0"))
    print(f"seed {seed}")
    clients = [Client(load, f"project-{number}", random.Random(f"{seed} {number}")) for number in range(CLIENTS)]
    threads = [threading.Thread(target=client.run) for client in clients]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        load.stop.set()
        for thread in threads:
            thread.join()


def one_phase(load: Load) -> None:
    """Some time under load, and at least a round of it."""
    time.sleep(PHASE_S)
    before = load.rounds
    eventually(lambda: load.odd or load.rounds > before, within_s=60, message="no client gets on")


@contextlib.contextmanager
def reading(site: Site) -> Iterator[sa.Connection]:
    engine = open_engine(f"sqlite:///{site.database}", now_us=RealClock().now_us)
    with engine.connect() as connection:
        yield connection


def ended_by(site: Site) -> dict[str, int]:
    """How many operations nodes of each release have ended. Each node's lock file is in the folder of its service."""
    with reading(site) as tx:
        rows = tx.execute(
            sa.select(nodes.c.lock_path).join(operation_log, operation_log.c.owner == nodes.c.incarnation)
        )
        return Counter(Path(path).relative_to(site.folder).parts[0] for path in rows.scalars())


def check_all(site: Site, load: Load) -> None:
    """Nothing refused or failed, nothing stuck, nothing lost, nothing twice, and the storage is what the database says."""
    assert load.odd == []
    assert {status for status in load.statuses if status >= 500} == set()
    schema.upgrade(f"sqlite:///{site.database}")  # what the first release has charged under names
    with reading(site) as tx:
        assert tx.execute(sa.select(operations.c.id)).all() == []
        ended = Counter(tx.execute(sa.select(operation_log.c.request_id)).scalars())
        assert ended == Counter(load.accepted)
        assert set(tx.execute(sa.select(operation_log.c.outcome)).scalars()) == {"done"}
        assert check.problems(tx) == []
        rows = [*tx.execute(sa.select(volumes.c.object_name)), *tx.execute(sa.select(snapshots.c.object_name))]
        statuses = set(tx.execute(sa.select(volumes.c.status)).scalars())
    files = [path.name for path in site.storage.rglob("*") if path.is_file() and path.name.count(".") >= 2]
    assert sorted(files) == sorted(row.object_name for row in rows)
    assert statuses == {"available"}
    print(f"{load.rounds} rounds, {len(load.accepted)} operations, answers {dict(load.statuses)}")


def test_a_service_is_replaced_by_the_next_release_under_load(site: Site, begin: Callable[[str], Service]) -> None:
    """Both together, old APIs with new nodes, new APIs with old nodes, then the new ones alone."""
    old = begin("old")
    load = Load([old])
    with loaded(load):
        one_phase(load)
        with reading(site) as tx:
            assert schema.revision_of(tx) == "0001"

        new = begin("new")
        load.services = [old, new]
        one_phase(load)

        drain(old)
        load.services = [old]
        before = ended_by(site)
        one_phase(load)
        after = ended_by(site)
        assert (after["old"], after["new"] > before["new"]) == (before["old"], True)

        fill(old)
        drain(new)
        load.services = [new]
        before = ended_by(site)
        one_phase(load)
        after = ended_by(site)
        assert (after["old"] > before["old"], after["new"]) == (True, before["new"])

        fill(new)
        old.end()
        one_phase(load)

    check_all(site, load)


@pytest.mark.proof
def test_nodes_of_both_releases_take_over_from_each_other(site: Site, begin: Callable[[str], Service]) -> None:
    """Killed under load, in turn: each is expired and fenced, and what it ran is ended, by whoever is left."""
    old = begin("old")
    new = begin("new")
    load = Load([old, new])
    with loaded(load):
        for _ in range(3):
            for service in (old, new):
                for pid in service.keeper_pids.values():
                    os.kill(pid, signal.SIGKILL)
                one_phase(load)

    check_all(site, load)
