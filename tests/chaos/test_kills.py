"""The service is restarted and its write lock held under load: everything accepted happens exactly once."""

import os
import random
import socket
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Final

from tests.chaos import verdict
from tests.chaos.test_up import stop_while_it_holds_the_lock
from tests.service import Service, StartService, eventually, is_running

from breezeblock.chaos.answers import SLACK_S, Outage
from breezeblock.chaos.asked import now
from breezeblock.chaos.load import Load

SEED: Final = int(os.environ.get("BREEZEBLOCK_SEED") or random.SystemRandom().randrange(2**32))
CLIENTS: Final = 8
# From the last kill to the rest of everything: a lease and a fence, then the queue.
SETTLE_S: Final = 60.0
TTL_S: Final = 1.5
ENVIRON: Final = {
    "BREEZEBLOCK_QUOTA__VOLUMES": "-1",
    "BREEZEBLOCK_QUOTA__SNAPSHOTS": "-1",
    "BREEZEBLOCK_QUOTA__GIGABYTES": "-1",
}


def given_types(service: Service) -> None:
    for name in ("gold", "silver"):
        assert service.request("POST", "/v3/load/types", {"volume_type": {"name": name}}).status == 200


def tell(service: Service, load: Load, *, settled_s: float) -> None:
    path = verdict.database(service)
    (nodes,) = verdict.rows(path, "SELECT count(*) AS starts, count(fencer) AS fenced_by_others FROM nodes")
    (again,) = verdict.rows(path, "SELECT count(*) AS n FROM operation_log WHERE attempt > 0 OR epoch > 1")
    print(f"\nBREEZEBLOCK_SEED={SEED}")
    print(f"requests: {dict(load.outcomes())}; kinds: {len({one.kind for one in load.asked})}")
    print(f"nodes: {nodes}; operations that were taken over: {again['n']}; settled in {settled_s:.1f} s")
    took_s, what = verdict.longest(path)
    print(f"longest: {took_s:.1f} s ({what})")


@contextmanager
def outage() -> Iterator[list[Outage]]:
    """What is done inside explains that clients are told to come again later: until a lease after it, and what that held up."""
    found: list[Outage] = []
    began = now()
    yield found
    found.append(Outage(began, now() + TTL_S + SLACK_S))


def judge(service: Service, load: Load, outages: Collection[Outage]) -> None:
    found = verdict.wrongs(load, service, outages)
    assert not found, "\n".join([f"{len(found)} wrongs, BREEZEBLOCK_SEED={SEED}:", *found[:40]])
    assert load.outcomes()["accepted"] > 0


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


def accepted_more(load: Load, count: int) -> None:
    """Wait until so many more requests were accepted: the load goes on."""
    before = load.outcomes()["accepted"]
    eventually(lambda: load.outcomes()["accepted"] >= before + count, within_s=60, message="the load stands still")


def test_a_restart_in_the_middle_of_a_load_loses_nothing(running_service: StartService) -> None:
    """First in good order, then by killing `up` itself: what was accepted before is done after."""
    port = free_port()
    service = running_service(nodes=2, workers=2, ttl_s=TTL_S, port=port, environ=ENVIRON)
    given_types(service)
    load = Load(service.endpoint, clients=CLIENTS, seed=SEED)

    load.start()
    accepted_more(load, 100)
    with outage() as restart:
        assert service.interrupt() == 0
        service = running_service(nodes=2, workers=2, ttl_s=TTL_S, port=port, environ=ENVIRON, data=service.data)
    accepted_more(load, 100)
    with outage() as crash:
        service.process.kill()
        service.process.wait()
        service = running_service(nodes=2, workers=2, ttl_s=TTL_S, port=port, environ=ENVIRON, data=service.data)
    accepted_more(load, 100)
    load.stop()

    settled_s = verdict.settle(verdict.database(service), within_s=SETTLE_S)
    tell(service, load, settled_s=settled_s)
    judge(service, load, [*restart, *crash])


def test_a_worker_that_is_stopped_with_the_write_lock_is_killed(running_service: StartService) -> None:
    """No keeper can renew; its own, or the guard of the lock, ends it within a lease, and the load goes on."""
    service = running_service(nodes=2, workers=2, ttl_s=TTL_S, environ=ENVIRON)
    given_types(service)
    load = Load(service.endpoint, clients=CLIENTS, seed=SEED)
    stopped = service.worker_pid("node-1")
    assert stopped is not None

    load.start()
    accepted_more(load, 20)
    with outage() as held:
        stop_while_it_holds_the_lock(service, stopped)
        eventually(lambda: not is_running(stopped), within_s=3 * TTL_S, message="it is not killed")
    accepted_more(load, 50)
    load.stop()

    settled_s = verdict.settle(verdict.database(service), within_s=SETTLE_S)
    tell(service, load, settled_s=settled_s)
    judge(service, load, held)
