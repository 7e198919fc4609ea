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

from breezeblock.chaos.asked import ACCEPTED, Asked, now, outcome_of, there
from breezeblock.chaos.checker import Finding
from breezeblock.chaos.cluster import STORAGE, Cluster, Plan, db_check, machine, running
from breezeblock.chaos.contents import HEAD_BYTES, ZEROS
from breezeblock.chaos.database import SqliteFile
from breezeblock.chaos.effects import read_effects, took_effect
from breezeblock.chaos.evidence import Call, declared_moves, killed_holders, read_calls, read_rest, unsettled
from breezeblock.chaos.failover import failovers, percentile
from breezeblock.chaos.load import Client, Volume
from breezeblock.chaos.nemesis import Strike
from breezeblock.chaos.plan import SELDOM_GIVEN_UP
from breezeblock.chaos.report import History, count_effects, judge
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

    asked: list[Asked] = field(default_factory=list)
    client: Client = field(default_factory=lambda: Client(0, "http://127.0.0.1", 0))
    """It asks for nothing. It knows what must be there."""
    in_flight: Counter[str] = field(default_factory=Counter)
    strike: Strike | None = None
    done_after_s: float | None = None
    all_done_after_s: float | None = None
    continued: int = 0

    def note(self, method: str, about: str, answer: Answer, *, started: float, took_s: float) -> str | None:
        """One answer, and what must be there after it. `about` is the name of what is to be made, or the id of what is not to
        be any more. Returns the id that the answer gave."""
        outcome, id_ = outcome_of(answer.status, answer.body), None
        said = {name.lower(): value for name, value in answer.headers.items()}
        request, again = said.get("x-openstack-request-id"), "retry-after" in said
        kind, name = "create", about
        if method == "POST":
            id_ = answer.body["volume"]["id"] if outcome == ACCEPTED else None
            self.client.volumes.append(Volume(about, id_, {1}, {None}, there(outcome), content={ZEROS}))
        else:
            (volume,) = [one for one in self.client.volumes if one.id == about]
            kind, name = "delete", volume.name
            if outcome == ACCEPTED:
                volume.there = {False}
        message = "" if outcome == ACCEPTED else str(answer.body)
        self.asked.append(Asked(0, kind, name, outcome, answer.status, request, message, started, took_s, again))
        return id_


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
    doomed = [one for one in _at_once(_creations(scenario.deletes, "doomed"), cluster, course) if one]
    settle(cluster.database, within_s=SETTLE_S)
    say(f"{len(doomed)} volumes are there; now {scenario.creates} creations and {scenario.deletes} deletions")
    wanted = _creations(scenario.creates, "made")
    wanted += [("DELETE", id_) for id_ in doomed]
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
        _at_once(_creations(scenario.creates_later, "later"), cluster, course)
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


def _creations(count: int, what: str) -> list[tuple[str, str]]:
    return [("POST", f"{what}-{number}") for number in range(count)]


def _at_once(wanted: Sequence[tuple[str, str]], cluster: Cluster, course: Course) -> list[str | None]:
    """Ask for all of it by many threads: volumes of these names to be made, of these ids to be deleted. Returns the new ids."""

    def ask(one: tuple[str, str]) -> tuple[Answer, float, float]:
        method, about = one
        path, body = (f"/{about}", None) if method == "DELETE" else ("", {"volume": {"size": 1, "name": about}})
        started = now()
        answer = cluster.service.request(method, f"/v3/admin/volumes{path}", body, timeout_s=60)
        return answer, started, now() - started

    with ThreadPoolExecutor(THREADS) as pool:
        answers = list(pool.map(ask, wanted))
    return [
        course.note(method, about, answer, started=started, took_s=took_s)
        for (method, about), (answer, started, took_s) in zip(wanted, answers, strict=True)
    ]


def _history(fence: str, course: Course, cluster: Cluster, witness: Witness, stuck: list[str]) -> History:
    """What happened, as of any other run: the same judge judges it."""
    rest = read_rest(cluster.database, cluster.storage, head_bytes=HEAD_BYTES)
    options = {"nodes": NODES, "apis": APIS, "fence": fence, "poison_limit": SELDOM_GIVEN_UP}
    assert course.strike is not None
    return History(
        options=options, began=course.strike.at, ended=now(), settled_s=0.0, clients=[course.client], asked=course.asked,
        reads=Counter(), broken_reads=[], strikes=[course.strike], missed=Counter(),
        holders=killed_holders(cluster.service.data / "log" / "up.log"), calls=read_calls(cluster.calls),
        alive=witness.last_alive, events=read_events(cluster.database), moves=declared_moves(), owned=witness.owned,
        nodes=witness.nodes, marks=witness.marks, stuck=stuck, rest=rest, swept=rest,
        effects=read_effects(cluster.calls) or None,
        also=[Finding("Accounts", one) for one in db_check(cluster.service)],
    )  # fmt: skip


def _judge(
    name: str, fence: str, course: Course, cluster: Cluster, witness: Witness, stuck: list[str]
) -> dict[str, Any]:
    history = _history(fence, course, cluster, witness, stuck)
    report = judge(history)
    effects = history.effects or []
    calls = took_effect(history.calls, effects) if effects else history.calls
    (strike,) = history.strikes
    log = history.rest.log
    moved = [one.seconds for one in failovers([strike], witness.owned, witness.nodes)]
    # What was done a second time by the lost node would be a call under a lower token beside or after one under a higher.
    late = sum(one["invariant"] == "Exclusion" for one in report["findings"])
    return {
        "scenario": name,
        "fence": fence,
        "machine": machine(),
        "database": cluster.database.kind,
        "nodes": NODES,
        "ttl_s": TTL_S,
        "driver_s": DRIVER_S,
        "in_flight_on_the_node": dict(course.in_flight),
        "accepted": report["requests"]["accepted"],
        "answers": dict(Counter(str(one.status) for one in course.asked)),
        "finished": len(log),
        "failed": sum(row["outcome"] != "done" for row in log),
        "stuck": len(stuck),
        "doubled": report["requests"]["doubled"] + late,
        "lost": report["requests"]["lost"],
        "changes_by_the_node_after_it_was_declared_lost": _late(calls, witness),
        "processes_left_to_continue": course.continued,
        "effects_refused_by_the_storage": count_effects(effects)["refused"],
        "seen_as_lost_s": _seen_as_lost_s(strike, witness),
        "elsewhere_s": {f"p{percent}": _short(percentile(moved, percent)) for percent in (50, 100)},
        "all_asked_before_done_s": _short(course.done_after_s),
        "all_done_s": _short(course.all_done_after_s),
        "findings": report["findings"],
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
