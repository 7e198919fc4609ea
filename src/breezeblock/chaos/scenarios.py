"""Named faults with counts and times as they were once measured on another service, so that the two can stand side by side.

node-kill   20 creations and 20 deletions asked for at once, storage that takes 2 s a call; 1.8 s later one of two nodes is
            killed with all its processes
node-stop   10 and 10; 1.8 s later one of two nodes is stopped, 20 more creations are asked for, and after 90 s whatever is
            left of it is continued
"""

import json
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from breezeblock.chaos import checker
from breezeblock.chaos.cluster import STORAGE, Cluster, Plan, db_check, machine, running
from breezeblock.chaos.database import SqliteFile
from breezeblock.chaos.effects import late as effects_landed_late
from breezeblock.chaos.effects import read_effects, took_effect
from breezeblock.chaos.evidence import Call, read_calls, read_rest, unsettled
from breezeblock.chaos.failover import failovers, percentile
from breezeblock.chaos.load import now
from breezeblock.chaos.nemesis import Strike
from breezeblock.chaos.report import count_effects
from breezeblock.chaos.run import begin_folder, settle, witnessed
from breezeblock.chaos.service import Answer, is_running
from breezeblock.chaos.stopper import stop_outside
from breezeblock.chaos.watching import read_events
from breezeblock.chaos.witness import Witness
from breezeblock.supervisor.folder import DataFolder

__all__ = ["SCENARIOS", "run_scenario"]

DRIVER_S: Final = 2.0
STRIKE_AFTER_S: Final = 1.8
STOPPED_S: Final = 90.0
THREADS: Final = 16
NODES: Final = 2
APIS: Final = 2
TTL_S: Final = 6.0  # the default of the service
SETTLE_S: Final = 120.0
VICTIM: Final = "node-1"
LOOK_EVERY_S: Final = 0.05
FORGETFUL: Final = "forgetful"
# How long a continued worker is ahead of its keeper.
AHEAD_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class Scenario:
    """What is asked for before the fault and while it lasts."""

    creates: int
    deletes: int
    creates_later: int
    stopped_s: float


SCENARIOS: Final = {
    "node-kill": Scenario(creates=20, deletes=20, creates_later=0, stopped_s=0.0),
    "node-stop": Scenario(creates=10, deletes=10, creates_later=20, stopped_s=STOPPED_S),
}


@dataclass
class Course:
    """What happened, as it is put together."""

    answers: list[Answer] = field(default_factory=list)
    asked: dict[str, str] = field(default_factory=dict)
    """Volume id -> the status that it must end in; nothing for a deleted one."""
    in_flight: Counter[str] = field(default_factory=Counter)
    strike: Strike | None = None
    done_after_s: float | None = None
    all_done_after_s: float | None = None
    continued: int = 0


def run_scenario(
    name: str,
    out: Path,
    *,
    fence: str,
    say: Callable[[str], None],
    stopped_s: float | None = None,
    database: str = "sqlite",
) -> dict[str, Any]:
    """Run it, and leave `NAME.json` in `out`. Returns the same. There is no seed: nothing here is left to chance.

    For whoever wants to see this fail, `fence` may also be `lying`, an agent that says yes and does nothing, or `forgetful`,
    storage that refuses a node until that goes on, and then no more.
    """
    scenario = SCENARIOS[name]
    if stopped_s is not None:
        scenario = replace(scenario, stopped_s=stopped_s)
    out.mkdir(parents=True, exist_ok=True)
    with (
        begin_folder(out) as folder,
        running(
            folder,
            Plan(
                nodes=NODES,
                apis=APIS,
                ttl_s=TTL_S,
                fence=STORAGE if fence == FORGETFUL else fence,
                storage_faults=False,
                slow_s=DRIVER_S,
                database=database,
            ),
        ) as cluster,  # fmt: skip
        witnessed(cluster) as witness,
    ):
        course = _play(scenario, cluster, witness, say, forgetful=fence == FORGETFUL)
        _, stuck = settle(cluster.database, within_s=SETTLE_S)
        report = _judge(name, fence, course, cluster, witness, stuck)
    (out / f"{name}.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return report


def _play(
    scenario: Scenario, cluster: Cluster, witness: Witness, say: Callable[[str], None], *, forgetful: bool
) -> Course:
    course = Course()
    doomed = [one for one in _at_once([("POST", "", _body())] * scenario.deletes, cluster, course) if one]
    settle(cluster.database, within_s=SETTLE_S)
    say(f"{len(doomed)} volumes are there; now {scenario.creates} creations and {scenario.deletes} deletions")
    wanted: list[tuple[str, str, Any]] = [("POST", "", _body())] * scenario.creates
    wanted += [("DELETE", f"/{id_}", None) for id_ in doomed]
    began = now()
    with ThreadPoolExecutor(1) as aside:
        asking = aside.submit(_at_once, wanted, cluster, course)
        time.sleep(max(0.0, began + STRIKE_AFTER_S - now()))
        pids, incarnation = _strike(scenario, cluster, course)
        asking.result()
    first = {row["id"] for row in cluster.database.rows("SELECT id FROM operations")}
    course.in_flight = Counter(
        one.kind
        for one in _latest(witness, course.strike.at if course.strike else 0.0)
        if one.owner == incarnation and not one.gone
    )
    say(f"{VICTIM} was hit with {dict(course.in_flight)} in flight")
    if scenario.creates_later:
        _at_once([("POST", "", _body())] * scenario.creates_later, cluster, course)
    assert course.strike is not None
    struck = course.strike.at
    later = _wait_for_all(cluster, first, course, struck)
    course.all_done_after_s = later
    if scenario.stopped_s:
        time.sleep(max(0.0, struck + scenario.stopped_s - now()))
        if forgetful:
            cluster.fence_list.forget()
        _continue(pids, course)
    return course


def _continue(pids: Sequence[int], course: Course) -> None:
    """What is left of the node goes on, its worker before its keeper can tell it that it was given up."""
    course.continued = sum(is_running(pid) for pid in pids)
    for pid in pids:
        if is_running(pid):
            os.kill(pid, signal.SIGCONT)
            time.sleep(AHEAD_S)
    time.sleep(DRIVER_S * 3)  # what was continued would have ended its calls by then


def _strike(scenario: Scenario, cluster: Cluster, course: Course) -> tuple[list[int], str]:
    """All processes of one node at once, worker first."""
    keeper = cluster.service.keeper_pids[VICTIM]
    worker = cluster.service.worker_pid(VICTIM)
    pids = [pid for pid in (worker, keeper) if pid is not None]
    (row,) = cluster.database.rows("SELECT incarnation FROM nodes WHERE keeper_pid = ? AND state = 'up'", keeper)
    stops = scenario.stopped_s > 0
    DataFolder(cluster.service.data).drained(VICTIM).touch()  # as on the peer, nobody starts it again
    at = now()
    if stops:
        _stop(cluster, pids)  # it is to be continued
    else:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
    until = at + scenario.stopped_s if stops else 0.0
    kind = "stop node" if stops else "kill node"
    course.strike = Strike(at, kind, VICTIM, tuple(pids), until, fatal=not stops)
    return pids, row["incarnation"]


def _stop(cluster: Cluster, pids: Sequence[int]) -> None:
    """Whoever is stopped in a transaction is killed for it on SQLite, and loses its session on a server."""
    if isinstance(cluster.database, SqliteFile):
        stop_outside(cluster.database.path, pids)
        return
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)


def _wait_for_all(cluster: Cluster, first: set[str], course: Course, struck: float) -> float | None:
    """Seconds from the strike until what was asked for before it had ended (kept), and until all had (returned)."""
    while now() < struck + SETTLE_S:
        left = {row["id"] for row in cluster.database.rows("SELECT id FROM operations")}
        if course.done_after_s is None and not left & first:
            course.done_after_s = now() - struck
        if not left and not unsettled(cluster.database):
            return now() - struck
        time.sleep(LOOK_EVERY_S)
    return None


def _latest(witness: Witness, at: float) -> Sequence[Any]:
    """Every operation as it was last seen before an instant."""
    found = {one.operation: one for one in list(witness.owned) if one.at <= at}
    return list(found.values())


def _body() -> dict[str, Any]:
    return {"volume": {"size": 1, "name": "scenario"}}


def _at_once(wanted: Sequence[tuple[str, str, Any]], cluster: Cluster, course: Course) -> list[str | None]:
    """Ask for all of it by many threads; returns the id that each names or was given."""

    def ask(one: tuple[str, str, Any]) -> str | None:
        method, path, body = one
        answer = cluster.service.request(method, f"/v3/admin/volumes{path}", body, timeout_s=60)
        course.answers.append(answer)
        id_ = answer.body["volume"]["id"] if method == "POST" and answer.status == 202 else path.strip("/") or None
        if answer.status == 202 and id_:
            course.asked[id_] = "available" if method == "POST" else ""
        return id_

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(ask, wanted))


def _judge(
    name: str, fence: str, course: Course, cluster: Cluster, witness: Witness, stuck: list[str]
) -> dict[str, Any]:
    calls, effects = read_calls(cluster.calls), read_effects(cluster.calls)
    calls = took_effect(calls, effects) if effects else calls
    rest = read_rest(cluster.database, cluster.storage, head_bytes=0)
    strike = course.strike
    assert strike is not None
    log = Counter(row["request_id"] for row in rest.log)
    there = {row["id"]: row["status"] for row in rest.volumes}
    lost = [id_ for id_, status in course.asked.items() if there.get(id_, "") != status]
    accepted = sum(answer.status == 202 for answer in course.answers)
    moved = [one.seconds for one in failovers([strike], witness.owned, witness.nodes)]
    # What was done a second time by the lost node would be a call under a lower token beside or after one under a higher.
    late = checker.exclusion(calls, witness.last_alive)
    findings = [
        *late,
        *effects_landed_late(effects, witness.marks),
        *checker.order(read_events(cluster.database)),
        *checker.storage(rest, set()),
        *(checker.Finding("Answers", f"{one}") for one in course.answers if one.status >= 500),
        *(checker.Finding("Accounts", one) for one in (*rest.contradictions, *db_check(cluster.service))),
    ]
    return {
        "scenario": name,
        "fence": fence,
        "machine": machine(),
        "database": cluster.database.kind,
        "nodes": NODES,
        "ttl_s": TTL_S,
        "driver_s": DRIVER_S,
        "in_flight_on_the_node": dict(course.in_flight),
        "accepted": accepted,
        "answers": dict(Counter(str(answer.status) for answer in course.answers)),
        "finished": len(rest.log),
        "failed": sum(row["outcome"] != "done" for row in rest.log),
        "stuck": len(stuck),
        "doubled": sum(count > 1 for count in log.values()) + len(late),
        "lost": max(len(lost), accepted - len(rest.log) - len(rest.operations)),
        "changes_by_the_node_after_it_was_declared_lost": _late(calls, witness),
        "processes_left_to_continue": course.continued,
        "effects_refused_by_the_storage": count_effects(effects)["refused"],
        "seen_as_lost_s": _seen_as_lost_s(strike, witness),
        "elsewhere_s": {f"p{percent}": _short(percentile(moved, percent)) for percent in (50, 100)},
        "all_asked_before_done_s": _short(course.done_after_s),
        "all_done_s": _short(course.all_done_after_s),
        "findings": [finding._asdict() for finding in findings],
    }


def _seen_as_lost_s(strike: Strike, witness: Witness) -> float | None:
    names = {node.incarnation for node in witness.nodes if node.keeper_pid in strike.pids}
    expired = [mark.at - strike.at for mark in witness.marks if mark.incarnation in names and mark.at >= strike.at]
    return _short(min(expired, default=None))


def _late(calls: Sequence[Call], witness: Witness) -> int:
    """Changing calls that an incarnation began or ended after it had been declared lost."""
    lost: dict[str, float] = {}
    for mark in witness.marks:
        lost.setdefault(mark.incarnation, mark.at)
    return sum(
        call.changes and call.end is not None and call.end > lost.get(call.incarnation, float("inf")) for call in calls
    )


def _short(value: float | None) -> float | None:
    return None if value is None else round(value, 2)
