"""What a run comes to: counts, findings, and how long fail-overs took, as one document."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from breezeblock.chaos import answers, checker, effects, pardons
from breezeblock.chaos.asked import UNAVAILABLE, Asked
from breezeblock.chaos.attaching import waits_for_storage
from breezeblock.chaos.checker import Finding, Requests
from breezeblock.chaos.effects import Landed, took_effect
from breezeblock.chaos.evidence import Call, Rest
from breezeblock.chaos.failover import PERCENTILES, Failover, failovers, percentile
from breezeblock.chaos.load import Client
from breezeblock.chaos.nemesis import Strike
from breezeblock.chaos.pardons import Pardons
from breezeblock.chaos.watching import Event
from breezeblock.chaos.witness import Mark, NodeSeen, Owned

__all__ = ["History", "count_effects", "judge", "write_json"]

FINDINGS_MOST: Final = 200


@dataclass
class History:
    """Everything that was written down about one run."""

    options: dict[str, Any]
    began: float
    ended: float
    settled_s: float
    clients: list[Client]
    asked: list[Asked]
    reads: Counter[int]
    broken_reads: list[Asked]
    strikes: list[Strike]
    missed: Counter[str]
    holders: set[int]
    """Processes that the service killed because they held up every writer of its database."""
    calls: list[Call]
    alive: dict[tuple[str, int], float]
    events: list[Event]
    moves: dict[str, set[tuple[str | None, str]]]
    owned: list[Owned]
    nodes: list[NodeSeen]
    marks: list[Mark]
    stuck: list[str]
    rest: Rest
    """Before anything that failed was deleted."""
    swept: Rest
    """After everything that rested in an error state was deleted."""
    effects: list[Landed] | None = None
    """On storage that refuses: what reached it."""
    also: list[Finding] = field(default_factory=list)
    """What the harness itself noticed: `db check`, deletions that were refused."""


def _ids_of_backups(rest: Rest) -> set[str]:
    """The ids of all backups that ever were."""
    return {row["resource_id"] for row in rest.log if row["kind"] == "create_backup"}


def judge(history: History) -> dict[str, Any]:
    """The report."""
    unplaced = checker.unplaced_requests(history.asked, history.rest, history.strikes)
    pardoned = _pardoned(history, unplaced)
    requests = checker.once(history.asked, history.rest, pardoned, unplaced)
    at_rest, wrong_data = checker.data(history.clients, history.rest, pardoned)
    calls = history.calls if history.effects is None else took_effect(history.calls, history.effects)
    before, wrong_before = checker.data_on_the_way(history.clients)
    findings = [
        *(Finding("Termination", one) for one in history.stuck),
        *checker.exclusion(calls, history.alive, _ids_of_backups(history.rest)),
        *effects.late(history.effects or (), history.marks),
        *checker.order(history.events),
        *checker.transitions(history.events, history.moves),
        *requests.findings,
        *answers.broken_answers((*history.asked, *history.broken_reads), _outages(history)),
        *checker.expectations(history.clients, history.rest, pardoned, unplaced),
        *checker.storage(history.rest, pardoned),
        *checker.storage(history.swept, pardons.NONE),
        *wrong_data,
        *wrong_before,
        *(Finding("Accounts", one) for one in (*history.rest.contradictions, *history.swept.contradictions)),
        *history.also,
    ]
    return {
        "verdict": "wrong" if findings else "right",
        "options": history.options,
        "seconds": round(history.ended - history.began, 1),
        "settled_s": round(history.settled_s, 2),
        "faults": dict(sorted(Counter(one.kind for one in history.strikes).items())),
        "faults_without_a_victim": dict(history.missed),
        "requests": _requests(history, requests),
        "overlapping_writers": len(checker.overlaps(calls, history.alive)),
        "answers_5xx": _answers_5xx(history),
        "storage_calls": _storage_calls(history.calls),
        "storage_effects": None if history.effects is None else count_effects(history.effects),
        "commits_checked": len(history.events),
        "contents_compared": before + at_rest,
        "contents_compared_at_rest": at_rest,
        "backups": _backups(history),
        "nodes": _nodes(history),
        "operations_taken_over": sum(row["epoch"] > 1 for row in history.rest.log),
        "failover_s": _distribution(failovers(history.strikes, history.owned, history.nodes)),
        "strikes": [_strike(one, history.began) for one in sorted(history.strikes, key=lambda one: one.at)],
        "findings": [finding._asdict() for finding in findings[:FINDINGS_MOST]],
        "findings_in_all": len(findings),
    }


def _pardoned(history: History, unplaced: set[str]) -> Pardons:
    """What may have failed, and what that explains."""
    rest, strikes = history.rest, history.strikes
    met = pardons.met_by_storage(rest.log, history.calls, strikes, history.events)
    limit = history.options["poison_limit"]
    met |= pardons.given_up(rest.log, history.events, history.marks, limit=limit)
    return pardons.pardons(rest, met, pardons.no_room(history.asked, rest, strikes, unplaced))


def _storage_calls(calls: Sequence[Call]) -> dict[str, int]:
    return {
        "recorded": len(calls),
        "changes": sum(call.changes for call in calls),
        "unfinished": sum(call.end is None for call in calls),
        "refused": sum(bool(call.error) for call in calls),
    }


def _outages(history: History) -> list[answers.Outage]:
    options = history.options
    return answers.outages(history.strikes, history.holders, nodes=options["nodes"], apis=options["apis"])


def _requests(history: History, requests: Requests) -> dict[str, Any]:
    return {
        "asked": len(history.asked),
        "outcomes": dict(Counter(one.outcome for one in history.asked)),
        "kinds": dict(sorted(Counter(one.kind for one in history.asked).items())),
        "accepted": requests.accepted,
        "finished": requests.finished,
        "of_these_failed_by_storage": requests.failed_by_storage,
        "given_up": sum(row["outcome"] == "parked" for row in history.rest.log),
        "refused_for_want_of_space": requests.unplaced,
        "stuck": len(history.stuck),
        "doubled": requests.doubled,
        "lost": requests.lost,
    }


def count_effects(found: Sequence[Landed]) -> dict[str, int]:
    """On storage that refuses: how many requests reached it, and how many of them came from a node that was fenced."""
    return {"recorded": len(found), "refused": sum(one.refused for one in found)}


def _strike(one: Strike, began: float) -> dict[str, Any]:
    """One fault, in seconds since the beginning."""
    found = {"at_s": one.at - began, "kind": one.kind, "name": one.name, "pids": one.pids, "fatal": one.fatal}
    lasted = {"until_s": one.until - began} if one.until else {}
    jumped = {"clock_off_s": one.amount} if one.amount else {}
    return {key: _short(value) for key, value in (found | lasted | jumped).items()}


def _answers_5xx(history: History) -> dict[str, int]:
    """By code. A 503 that promises that nothing was changed is told apart from one that cannot, and what storage refused or
    has not done in time from what the service itself could not."""
    found: Counter[str] = Counter()
    for one in history.asked:
        if one.status is not None and one.status >= 500:
            of_storage = " of storage" if waits_for_storage(one.kind, one.status) else ""
            found[f"{one.status}" + (" nothing changed" if one.outcome == UNAVAILABLE else of_storage)] += 1
    for status, count in history.reads.items():
        if status >= 500:
            found[f"{status} reading"] += count
    return dict(sorted(found.items()))


def _nodes(history: History) -> dict[str, Any]:
    """How many incarnations there were, how many of them were declared lost, and what proved them dead."""
    expired = [mark for mark in history.marks if mark.what == "expired"]
    return {
        "incarnations": len({one.incarnation for one in history.nodes}),
        "declared_lost_by_another": sum(mark.by is not None for mark in expired),
        "declared_lost_by_itself_or_its_successor": sum(mark.by is None for mark in expired),
        "fenced_by": dict(Counter(str(mark.by) for mark in history.marks if mark.what == "cut off")),
    }


def _backups(history: History) -> dict[str, int]:
    """How many were made, restored and deleted, and how often their archives were looked through for garbage."""
    done = Counter(row["kind"] for row in history.rest.log if row["outcome"] == "done")
    return {
        "made": done["create_backup"],
        "restored": done["restore_backup"] + done["create_from_backup"],
        "deleted": done["delete_backup"],
        "collections": done["collect_garbage"],
        "left_and_restored": sum(row["status"] == "available" for row in history.swept.backups),
    }


def _distribution(moved: Sequence[Failover]) -> dict[str, Any]:
    by_fault: dict[str, list[float]] = {}
    for one in moved:
        by_fault.setdefault(one.fault, []).append(one.seconds)
    values = [one.seconds for one in moved]
    return {
        "count": len(values),
        "percentiles": _percentiles(values),
        "by_fault": {fault: _percentiles(some) | {"count": len(some)} for fault, some in sorted(by_fault.items())},
        "values": [{key: _short(value) for key, value in asdict(one).items()} for one in moved],
    }


def _percentiles(values: Sequence[float]) -> dict[str, float | None]:
    return {f"p{percent}": _short(percentile(values, percent)) for percent in PERCENTILES}


def _short(value: Any) -> Any:
    return round(value, 3) if isinstance(value, float) else value


def write_json(report: dict[str, Any], path: Path) -> None:
    """For programs."""
    path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
