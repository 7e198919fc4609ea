"""Named faults of servers with counts and times as they were once measured on another service: see `scenarios.py`.

broker-crash    both nodes are stopped in good order, 50 creations are asked for, the broker is killed and started again after
                4 s, and then the nodes are
broker-down     8 clients create for 25 s; meanwhile the broker is killed, and started again after 3 s
database-down   4 clients create and 4 list for 25 s; meanwhile the database is killed, and is back after some 2.5 s

All with MariaDB, two nodes, two API processes, and storage that takes 0.2 s a call.
"""

import http.client
import itertools
import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from breezeblock.chaos.asked import ACCEPTED, UNKNOWN, Asked, now, outcome_of, there
from breezeblock.chaos.checker import Finding
from breezeblock.chaos.cluster import Cluster, Plan, db_check, machine, running
from breezeblock.chaos.contents import HEAD_BYTES, ZEROS
from breezeblock.chaos.evidence import declared_moves, read_calls, read_rest
from breezeblock.chaos.load import Client, Volume
from breezeblock.chaos.nemesis import Strike
from breezeblock.chaos.plan import SELDOM_GIVEN_UP
from breezeblock.chaos.report import History, judge
from breezeblock.chaos.run import begin_folder, settle, witnessed
from breezeblock.chaos.service import eventually
from breezeblock.chaos.watching import read_events
from breezeblock.chaos.witness import Witness
from breezeblock.supervisor.folder import DataFolder

__all__ = ["OUTAGES", "run_outage"]

NODES: Final = ("node-1", "node-2")
APIS: Final = 2
DATABASE: Final = "mariadb"
TTL_S: Final = 6.0  # the default of the service
DRIVER_S: Final = 0.2
BACKLOG: Final = 50
THREADS: Final = 8
BROKER_GONE_S: Final = 4.0
LOAD_S: Final = 25.0
STRIKE_AFTER_S: Final = 6.0
LOOKED_AT_AFTER_S: Final = 25.0
SETTLE_S: Final = 60.0
LEAVE_S: Final = 60.0
PATIENCE_S: Final = 60.0
LOOK_EVERY_S: Final = 0.05


@dataclass(frozen=True, slots=True)
class Outage:
    """How many clients do what, and how long after its death the victim is started again."""

    creating: int
    listing: int
    victim: str
    started_after_s: float


OUTAGES: Final = {
    "broker-crash": Outage(creating=0, listing=0, victim="broker", started_after_s=BROKER_GONE_S),
    "broker-down": Outage(creating=8, listing=0, victim="broker", started_after_s=3.0),
    # What remains of 2.5 s the server takes to come up.
    "database-down": Outage(creating=4, listing=4, victim="database", started_after_s=1.0),
}


@dataclass
class Course:
    """What happened, as it is put together."""

    asked: list[Asked] = field(default_factory=list)
    client: Client = field(default_factory=lambda: Client(0, "http://127.0.0.1", 0))
    """It asks for nothing. It knows what must be there."""
    listed: list[Asked] = field(default_factory=list)
    down_s: float = 0.0
    strikes: list[Strike] = field(default_factory=list)
    left_after_s: int | None = None
    all_done_s: float | None = None


def run_outage(name: str, out: Path, *, say: Callable[[str], None]) -> dict[str, Any]:
    """Run it, and leave `NAME.json` in `out`. Returns the same. Raises NoServers."""
    outage = OUTAGES[name]
    doorbell = "rabbitmq" if outage.victim == "broker" else "auto"
    plan = Plan(
        nodes=len(NODES), apis=APIS, ttl_s=TTL_S, fence="kill", storage_faults=False, slow_s=DRIVER_S, database=DATABASE,
        doorbell=doorbell,
    )  # fmt: skip
    out.mkdir(parents=True, exist_ok=True)
    with begin_folder(out) as folder, running(folder, plan) as cluster, witnessed(cluster) as witness:
        course = _under_load(outage, cluster, say) if outage.creating else _with_a_backlog(outage, cluster, say)
        _, stuck = settle(cluster.database, within_s=SETTLE_S)
        report = _judge(name, course, cluster, witness, stuck)
    (out / f"{name}.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return report


# --- what is done -----------------------------------------------------------------------------------------------------


def _with_a_backlog(outage: Outage, cluster: Cluster, say: Callable[[str], None]) -> Course:
    course = Course()
    folder = DataFolder(cluster.service.data)
    for name in NODES:
        folder.drained(name).touch()
    eventually(lambda: not cluster.service.keeper_pids, within_s=LEAVE_S, message="the nodes do not leave")
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(lambda number: _create(cluster, course, number), range(BACKLOG)))
    say(f"{BACKLOG} creations are asked for, and no node runs; now the broker is killed")
    course.down_s = _kill(outage, cluster, course)
    began = now()
    for name in NODES:
        folder.drained(name).unlink()
    while (left := _unfinished(cluster)) and now() < began + SETTLE_S:
        if course.left_after_s is None and now() >= began + LOOKED_AT_AFTER_S:
            course.left_after_s = left
        time.sleep(LOOK_EVERY_S)
    course.all_done_s = None if left else now() - began
    course.left_after_s = course.left_after_s or 0
    return course


def _unfinished(cluster: Cluster) -> int:
    return len(cluster.database.rows("SELECT id FROM volumes WHERE status <> 'available'"))


def _under_load(outage: Outage, cluster: Cluster, say: Callable[[str], None]) -> Course:
    course, ended, numbers = Course(), threading.Event(), itertools.count()

    def create() -> None:
        while not ended.is_set():
            _create(cluster, course, next(numbers))

    def look() -> None:
        while not ended.is_set():
            course.listed.append(_ask(cluster, "list", "", "GET", "/volumes/detail?limit=50", None)[0])

    with ThreadPoolExecutor(outage.creating + outage.listing) as pool:
        began = now()
        clients = [pool.submit(create) for _ in range(outage.creating)]
        clients += [pool.submit(look) for _ in range(outage.listing)]
        try:
            time.sleep(STRIKE_AFTER_S)
            course.down_s = _kill(outage, cluster, course)
            say(f"the {outage.victim} was away for {course.down_s:.1f} s")
            time.sleep(max(0.0, began + LOAD_S - now()))
        finally:
            ended.set()
        for client in clients:
            client.result()
    stopped = now()
    if not settle(cluster.database, within_s=SETTLE_S)[1]:
        course.all_done_s = now() - stopped
    return course


def _kill(outage: Outage, cluster: Cluster, course: Course) -> float:
    """Returns how long it was away."""
    server = cluster.servers.broker if outage.victim == "broker" else cluster.servers.databases[DATABASE]
    assert server is not None
    at = now()
    server.kill()
    time.sleep(max(0.0, at + outage.started_after_s - now()))
    server.start()
    course.strikes.append(Strike(at, f"kill {outage.victim}", outage.victim, (), now()))
    return now() - at


def _create(cluster: Cluster, course: Course, number: int) -> None:
    name = f"scenario-{number}"
    one, body = _ask(cluster, "create", name, "POST", "/volumes", {"volume": {"size": 1, "name": name}})
    id_ = body["volume"]["id"] if one.outcome == ACCEPTED else None
    course.asked.append(one)
    course.client.volumes.append(Volume(name, id_, {1}, {None}, there(one.outcome), content={ZEROS}))


def _ask(cluster: Cluster, kind: str, name: str, method: str, path: str, body: object) -> tuple[Asked, Any]:
    """Once, on a connection of its own."""
    sent_at = now()
    try:
        answer = cluster.service.request(method, f"/v3/admin{path}", body, timeout_s=PATIENCE_S)
    except (OSError, http.client.HTTPException) as error:
        return Asked(0, kind, name, UNKNOWN, None, None, repr(error), sent_at, now() - sent_at), None
    said = {key.lower(): value for key, value in answer.headers.items()}
    outcome, took_s = outcome_of(answer.status, answer.body), now() - sent_at
    text = "" if outcome == ACCEPTED else str(answer.body)
    request, again = said.get("x-openstack-request-id"), "retry-after" in said
    return Asked(0, kind, name, outcome, answer.status, request, text, sent_at, took_s, again), answer.body


# --- what came of it --------------------------------------------------------------------------------------------------


def _history(course: Course, cluster: Cluster, witness: Witness, stuck: list[str]) -> History:
    """What happened, as of any other run: the same judge judges it."""
    rest = read_rest(cluster.database, cluster.storage, head_bytes=HEAD_BYTES)
    options = {"nodes": len(NODES), "apis": APIS, "fence": "kill", "poison_limit": SELDOM_GIVEN_UP}
    return History(
        options=options, began=course.strikes[0].at, ended=now(), settled_s=0.0, clients=[course.client],
        asked=course.asked, reads=Counter(), broken_reads=[one for one in course.listed if (one.status or 0) >= 500],
        strikes=course.strikes, missed=Counter(), holders=set(), calls=read_calls(cluster.calls),
        alive=witness.last_alive, events=read_events(cluster.database), moves=declared_moves(), owned=witness.owned,
        nodes=witness.nodes, marks=witness.marks, stuck=stuck, rest=rest, swept=rest,
        also=[Finding("Accounts", one) for one in db_check(cluster.service)],
    )  # fmt: skip


def _judge(name: str, course: Course, cluster: Cluster, witness: Witness, stuck: list[str]) -> dict[str, Any]:
    history = _history(course, cluster, witness, stuck)
    report = judge(history)
    late = sum(one["invariant"] == "Exclusion" for one in report["findings"])
    waited = [one.took_s for one in (*course.asked, *course.listed)]
    return {
        "scenario": name,
        "machine": machine(),
        "database": DATABASE,
        "doorbell": cluster.servers.doorbell,
        "ttl_s": TTL_S,
        "driver_s": DRIVER_S,
        "down_s": round(course.down_s, 1),
        "accepted": report["requests"]["accepted"],
        "finished": report["requests"]["finished"],
        "answers": dict(Counter(str(one.status) for one in course.asked)),
        "answers_listing": dict(Counter(str(one.status) for one in course.listed)),
        "longest_wait_s": round(max(waited, default=0.0), 2),
        "not_done_after_25_s": course.left_after_s,
        "all_done_s": None if course.all_done_s is None else round(course.all_done_s, 2),
        "failed": sum(row["outcome"] != "done" for row in history.rest.log),
        "stuck": len(stuck),
        "doubled": report["requests"]["doubled"] + late,
        "lost": report["requests"]["lost"],
        "findings": report["findings"],
    }
