"""One chaos run from an empty folder to its report."""

import json
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from breezeblock.chaos import plan
from breezeblock.chaos.asked import now
from breezeblock.chaos.checker import Finding
from breezeblock.chaos.cluster import STORAGE, Cluster, Plan, db_check, machine, running
from breezeblock.chaos.contents import HEAD_BYTES
from breezeblock.chaos.database import Database
from breezeblock.chaos.effects import read_effects
from breezeblock.chaos.evidence import (
    Rest,
    Row,
    declared_moves,
    killed_holders,
    read_calls,
    read_rest,
    unsettled,
)
from breezeblock.chaos.load import PROJECT, TYPES, Load
from breezeblock.chaos.nemesis import Nemesis, missing_kinds
from breezeblock.chaos.page import write_html
from breezeblock.chaos.pardons import ERRORS
from breezeblock.chaos.report import History, judge, write_json
from breezeblock.chaos.restored import restored
from breezeblock.chaos.watching import read_events
from breezeblock.chaos.witness import Witness

__all__ = ["Options", "begin_folder", "run", "settle", "summary", "witnessed"]

CLIENTS: Final = 8
# MariaDB counts idle transactions in whole seconds, and on a server everything takes a little longer.
TTLS_S: Final = {"sqlite": 1.5, "postgresql": 3.0, "mariadb": 4.0, "galera": 4.0}
# From the end of the last fault to the rest of everything: leases, fences, then what has piled up.
SETTLE_S: Final = 120.0
LOOK_EVERY_S: Final = 0.2
SWEEPS_MOST: Final = 3
ADMIN_HEADERS: Final = {"OpenStack-API-Version": "volume 3.71"}


@dataclass(frozen=True, slots=True)
class Options:
    """What to run. `fence` is kill (proof on the same machine), external (a fence agent) or storage (which refuses)."""

    seconds: float
    seed: int
    fence: str
    nodes: int = 3
    apis: int = 2
    clients: int = CLIENTS
    database: str = "sqlite"
    doorbell: str = "auto"

    @property
    def ttl_s(self) -> float:
        """As short as the database can stand."""
        return TTLS_S[self.database]

    def kinds(self, cluster: Cluster) -> Collection[str]:
        """The faults that mean something."""
        return plan.rates(self.database, broker=cluster.servers.broker is not None)

    @property
    def poison_limit(self) -> int:
        """How many lost owners end an operation."""
        return plan.poison_limit_of(self.seed)

    def told(self, cluster: Cluster) -> dict[str, Any]:
        """For the report, with what this machine could and could not do."""
        return {
            "seed": self.seed,
            "planned_s": self.seconds,
            "nodes": self.nodes,
            "apis": self.apis,
            "clients": self.clients,
            "ttl_s": self.ttl_s,
            "fence": self.fence,
            "database": self.database,
            "doorbell": self.doorbell,
            "network": cluster.no_network or ("namespaces of its own" if cluster.network else "this machine's"),
            "poison_limit": self.poison_limit,
            "storage": cluster.disk.kind if cluster.disk else "the temporary folder's own filesystem",
            "faults_not_available_here": sorted(missing_kinds(cluster, self.kinds(cluster))),
            "machine": machine(),
        }


def run(options: Options, out: Path, *, say: Callable[[str], None]) -> dict[str, Any]:
    """Run it, and leave report.json, report.html and the evidence in `out`. Returns the report."""
    out.mkdir(parents=True, exist_ok=True)
    with begin_folder(out) as folder:
        say(f"seed {options.seed}: {options.nodes} nodes, {options.apis} APIs, fence {options.fence}, in {folder}")
        wanted = Plan(
            nodes=options.nodes, apis=options.apis, ttl_s=options.ttl_s, fence=options.fence, database=options.database,
            doorbell=options.doorbell, poison_limit=options.poison_limit,
        )  # fmt: skip
        with running(folder, wanted) as cluster:
            history = _history(options, cluster, say)
        report = judge(history)
        write_json(report, out / "report.json")
        write_html(report, history, out / "report.html")
        if report["findings"]:
            _keep_evidence(folder, out, history)
    return report


@contextmanager
def begin_folder(out: Path) -> Iterator[Path]:
    """An empty temporary folder, removed afterwards; its logs are copied to `out` first."""
    with tempfile.TemporaryDirectory(prefix="breezeblock-chaos-") as name:
        folder = Path(name)
        try:
            yield folder
        finally:
            if (folder / "data" / "log").is_dir():
                shutil.copytree(folder / "data" / "log", out / "log", dirs_exist_ok=True)


@contextmanager
def witnessed(cluster: Cluster) -> Iterator[Witness]:
    """Somebody looks on."""
    witness = Witness(cluster.database, cluster.calls)
    witness.start()
    try:
        yield witness
    finally:
        witness.stop()


def settle(database: Database, *, within_s: float = SETTLE_S) -> tuple[float, list[str]]:
    """Wait until all is at rest; returns how long it took, and what is stuck."""
    started = time.monotonic()
    while (left := unsettled(database)) and time.monotonic() - started < within_s:
        time.sleep(LOOK_EVERY_S)
    return time.monotonic() - started, left


def _history(options: Options, cluster: Cluster, say: Callable[[str], None]) -> History:
    faults = plan.draw(
        options.seed, seconds=options.seconds, without=missing_kinds(cluster, options.kinds(cluster)),
        living_on=options.fence == STORAGE, database=options.database, broker=cluster.servers.broker is not None,
    )  # fmt: skip
    for name in TYPES:
        answer = cluster.service.request("POST", f"/v3/{PROJECT}/types", {"volume_type": {"name": name}})
        assert answer.status == 200, answer
    load = Load(
        cluster.service.endpoint, clients=options.clients, seed=options.seed, storage=cluster.storage, backs_up=True
    )  # fmt: skip
    nemesis = Nemesis(cluster, faults)
    with witnessed(cluster) as witness:
        began = now()
        load.start()
        nemesis.start()
        try:
            _wait(options.seconds, load, nemesis, say)
        finally:
            nemesis.stop()
            load.stop()
        ended = now()
        settled_s, stuck = settle(cluster.database)
        rest = _rest(cluster)
        also = [] if stuck else _sweep(cluster, rest)
        swept = _rest(cluster)
        also += [] if stuck else restored(cluster, load.clients, swept)
    also += [Finding("Accounts", one) for one in db_check(cluster.service)]
    return History(
        options=options.told(cluster), began=began, ended=ended, settled_s=settled_s, clients=load.clients,
        asked=load.asked, reads=load.reads, broken_reads=load.broken_reads, strikes=nemesis.strikes,
        missed=nemesis.missed, holders=killed_holders(cluster.service.data / "log" / "up.log"),
        calls=read_calls(cluster.calls), alive=witness.last_alive, events=read_events(cluster.database),
        moves=declared_moves(), owned=witness.owned, nodes=witness.nodes, marks=witness.marks,
        stuck=stuck, rest=rest, swept=swept, also=also,
        effects=read_effects(cluster.calls) if options.fence == STORAGE else None,
    )  # fmt: skip


def _rest(cluster: Cluster) -> Rest:
    return read_rest(cluster.database, cluster.storage, head_bytes=HEAD_BYTES)


def _wait(seconds: float, load: Load, nemesis: Nemesis, say: Callable[[str], None]) -> None:
    until = now() + seconds
    while (left := until - now()) > 0:
        time.sleep(min(left, 15.0))
        say(f"{max(0.0, until - now()):.0f} s to go: {dict(load.outcomes())}, {len(nemesis.strikes)} faults")


def _sweep(cluster: Cluster, rest: Rest) -> list[Finding]:
    """Delete what storage faults have left in an error state: it must go, and leave nothing behind."""
    found: list[Finding] = []
    for _ in range(SWEEPS_MOST):
        for noun in ("backups", "snapshots", "volumes"):  # a volume waits for its snapshots to be gone
            found += _delete_broken(cluster, noun, getattr(rest, noun))
            _, stuck = settle(cluster.database)
            if stuck:
                return found + [Finding("Termination", one) for one in stuck]
            rest = _rest(cluster)
    left = [row for row in (*rest.volumes, *rest.snapshots, *rest.backups) if row["status"] in ERRORS]
    return found + [Finding("Termination", f"{row['id']} is still {row['status']}") for row in left]


def _delete_broken(cluster: Cluster, noun: str, there: list[Row]) -> Iterator[Finding]:
    query = "?cascade=true" if noun == "volumes" else ""
    for row in there:
        if row["status"] in ERRORS:
            path = f"/v3/{PROJECT}/{noun}/{row['id']}{query}"
            answer = cluster.service.request("DELETE", path, headers=ADMIN_HEADERS)
            if answer.status != 202:
                yield Finding("Termination", f"{noun} {row['id']} ({row['status']}) cannot be deleted: {answer}")


def _keep_evidence(folder: Path, out: Path, history: History) -> None:
    """Everything that a finding may have to be traced with."""
    evidence = out / "evidence"
    evidence.mkdir(exist_ok=True)
    shutil.copytree(folder / "calls", evidence / "calls", dirs_exist_ok=True)
    for path in (folder / "data").glob("breezeblock.db*"):
        shutil.copy(path, evidence)
    named: dict[str, list[Any]] = {
        "strikes": history.strikes, "asked": history.asked, "owned": history.owned, "nodes": history.nodes,
        "alive": sorted(history.alive.items()), "events": history.events, "volumes": history.rest.volumes,
        "snapshots": history.rest.snapshots, "backups": history.rest.backups,
        "operations": history.rest.operations, "log": history.rest.log,
    }  # fmt: skip
    for name, values in named.items():
        text = "".join(json.dumps(value, default=_plain) + "\n" for value in values)
        (evidence / f"{name}.jsonl").write_text(text, encoding="utf-8")


def _plain(value: Any) -> Any:
    fields = getattr(value, "__dataclass_fields__", None)
    return {name: getattr(value, name) for name in fields} if fields else str(value)


def summary(report: dict[str, Any]) -> str:
    """The report in some lines, for a terminal."""
    requests, moved = report["requests"], report["failover_s"]
    lines = [
        f"faults: {report['faults']}",
        f"requests: {requests['accepted']} accepted, {requests['finished']} finished, {requests['stuck']} stuck, "
        f"{requests['of_these_failed_by_storage']} failed by storage or {requests['given_up']} given up, "
        f"{requests['doubled']} doubled, {requests['lost']} lost; answers 5xx: {report['answers_5xx'] or 'none'}",
        f"storage: {report['storage_calls']}, {report['overlapping_writers']} overlapping writers, "
        f"{report['contents_compared']} contents compared",
        f"effects on storage that refuses: {report['storage_effects'] or 'other fence'}",
        f"backups: {report['backups']}",
        f"fail-overs: {moved['count']}, {moved['percentiles']}; at rest after {report['settled_s']} s",
    ]
    kinds = Counter(one["invariant"] for one in report["findings"])
    lines += [f"{one['invariant']}: {one['text']}" for one in report["findings"][:20]]
    lines.append(f"{report['verdict']}: {report['findings_in_all']} findings {dict(kinds) or ''}")
    return "\n".join(lines)


def main_say(text: str) -> None:
    """Progress, for whoever waits."""
    print(text, file=sys.stderr, flush=True)
