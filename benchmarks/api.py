"""Measure the API side by side with what a user would run instead, in one run.

    python benchmarks/api.py                                  Breezeblock alone, on SQLite: started, measured, stopped
    python benchmarks/api.py --database mariadb://root@127.0.0.1:13306 --peer http://127.0.0.1:28776/v3 --peer-pattern /tmp/peer
                                                              on a server, and a running Cinder on the same one in turn
    python benchmarks/api.py --quick …                        to try it out
    python benchmarks/api.py --write …                        and the tables into docs/explanation/speed.md

Measured at each number of clients: list-detail of 1,000 volumes, list-detail with limit=50, one volume, creates accepted
and until available, deletes accepted and until gone (per second; p50 and p99 in ms). Besides: the bare query and JSON
encoding of the 1,000 volumes, memory (sum of PSS of the services, without database and broker), the time to start, and how
long work stands still when the machine that runs it is lost (`measuring/failover.py`).

Each figure is the median of --runs rounds, and in each round the targets take turns, so that a machine whose speed drifts
does so for both. The load generator's own share of a CPU is reported as `client_cpu`: near 1.0 it was the limit itself.

On the server it makes a database `breezeblock_benchmark`, and removes it. Beside a peer it takes some eleven minutes on two
CPUs, alone four. Raw results are kept in .reports/benchmarks/api-DATABASE.json. Nothing else should run on the machine.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from load import Ask, Target
from measuring import beside, failover, page, servers
from measuring.lifecycle import fill, lifecycle, reads
from measuring.services import DEFAULT_TTL_S, PROJECT, end_in_order, memory, peer_memory, running, say, target_of

from breezeblock.chaos.service import Service
from breezeblock.database_urls import kind_of

REPORTS: Final = Path(__file__).resolve().parent.parent / ".reports" / "benchmarks"
# About the shortest lease that is allowed there: MariaDB counts the seconds of an idle transaction whole (`settings_rules.py`).
TUNED_TTL_S: Final = {"mariadb": 3.05}
TUNED_S: Final = 2.0
# A hundred times what the clocks of two machines differ by; the default is cautious.
TUNED_DRIFT: Final = {"BREEZEBLOCK_NODES__DRIFT": "0.01"}


def main() -> None:
    """Run what the command line asks for."""
    end_in_order()
    options = _options()
    report = json.loads(options.old.read_text()) if options.old else _measured(options)
    text = beside.tables(report)
    print(text)
    if options.write:
        page.write(page.SPEED, f"api on {report['database']}", text)


def _measured(options: argparse.Namespace) -> dict[str, Any]:
    began, load = time.monotonic(), os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="breezeblock-bench-") as folder:
        report = _measure_all(Path(folder), options)
    report["date"], report["took_s"] = time.strftime("%Y-%m-%d"), round(time.monotonic() - began)
    report["machine"] = {"cpus": os.cpu_count(), "python": platform.python_version(), "load": round(load, 2)}
    report["ratios"] = beside.ratios(report)
    kept = options.json or REPORTS / f"api-{report['database'].lower()}.json"
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_text(json.dumps(report, indent=1))
    say(f"{report['took_s']} s; raw results: {kept}")
    return report


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database", help="URL of a server without a database's name; default SQLite")
    parser.add_argument("--broker", help="amqp:// URL: ring through it instead of by datagrams")
    parser.add_argument("--peer", help="URL of a running Cinder with noauth, ending in /v3")
    parser.add_argument("--peer-pattern", help="what the command lines of the peer's services contain, for its memory")
    parser.add_argument("--peer-kill", help="shell command that kills one of the peer's nodes")
    parser.add_argument("--peer-start", help="shell command that starts it again")
    parser.add_argument(
        "--peer-slow", type=Path, help="file in which the peer's driver reads how many seconds it takes"
    )
    parser.add_argument("--clients", type=lambda text: [int(n) for n in text.split(",")])
    parser.add_argument("--runs", type=int)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--fill", type=int, default=1000)
    parser.add_argument("--count", type=int, help="volumes of each create and delete round")
    parser.add_argument("--nodes", type=int, default=2)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--failovers", type=int, help="rounds of each kind of failover")
    parser.add_argument("--quick", action="store_true", help="small, for trying it out")
    parser.add_argument("--write", action="store_true", help="the tables into docs/explanation/speed.md")
    parser.add_argument("--json", type=Path, help="where to keep the raw results")
    parser.add_argument("--from", dest="old", type=Path, help="measure nothing: the tables of these results")
    options = parser.parse_args()
    small = {"clients": [8], "runs": 1, "seconds": 0.5, "count": 20, "failovers": 1}
    whole = {"clients": [1, 8, 32], "runs": 3, "seconds": 2.0, "count": 150, "failovers": 3}
    for name, value in (small if options.quick else whole).items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    if options.quick:
        options.fill = min(options.fill, 200)
    if options.database and kind_of(options.database) not in ("mariadb", "postgresql"):
        parser.error("--database: expected mariadb:// or postgresql://")
    if options.peer_kill and not (options.peer and options.peer_start and options.peer_slow):
        parser.error("--peer-kill needs --peer, --peer-start and --peer-slow")
    return options


def _measure_all(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    peer = Target("peer", f"{options.peer.rstrip('/')}/{PROJECT}", f"admin:{PROJECT}") if options.peer else None
    with _started(folder / "ours", options) as (ours, start_s):
        report: dict[str, Any] = {
            "database": {"mariadb": "MariaDB", "postgresql": "PostgreSQL"}.get(ours.database.kind, "SQLite"),
            "doorbell": "rabbitmq" if options.broker else "auto",
            "start_s": start_s,
            "memory_idle_mib": memory(ours),
            "volumes": options.fill,
            **{name: getattr(options, name) for name in ("runs", "count", "seconds", "nodes", "workers")},
        }
        pattern = options.peer_pattern
        report |= {"peer_memory_mib": peer_memory(pattern)} if pattern else {}
        targets = [target_of(ours), *([peer] if peer else [])]
        for target in targets:
            fill(target, options.fill)
            say(f"{target.name} has its volumes")
        report["bare_list1000_ms"] = _bare_list(ours, targets[0], options.fill)
        report["clients"] = {str(clients): _measure(targets, clients, options) for clients in options.clients}
        report["memory_after_mib"] = memory(ours)
        report |= {"peer_memory_after_mib": peer_memory(pattern)} if pattern else {}
    report["failover"] = _failovers(folder, peer, options)
    return report


@contextmanager
def _database(options: argparse.Namespace) -> Iterator[str | None]:
    if options.database is None:
        yield None
    else:
        with servers.made(options.database) as url:
            yield url


@contextmanager
def _started(data: Path, options: argparse.Namespace) -> Iterator[tuple[Service, float]]:
    """The service on a database of its own, and the seconds that its start took."""
    chosen = {}
    if options.broker:
        chosen = {"BREEZEBLOCK_DOORBELL__KIND": "rabbitmq", "BREEZEBLOCK_DOORBELL__URLS": json.dumps([options.broker])}
    with ExitStack() as stack:
        url = stack.enter_context(_database(options))
        began = time.perf_counter()
        service = stack.enter_context(
            running(data, url=url, nodes=options.nodes, workers=options.workers, chosen=chosen)
        )
        yield service, round(time.perf_counter() - began, 2)


def _measure(targets: list[Target], clients: int, options: argparse.Namespace) -> dict[str, Any]:
    """All figures at one number of clients, each the median of the rounds."""
    rounds: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for _ in range(options.runs):
        for target in targets:
            found = reads(target, clients=clients, seconds=options.seconds)
            found |= lifecycle(target, clients=clients, count=options.count)
            for name, row in found.items():
                rounds.setdefault(name, {}).setdefault(target.name, []).append(row)
            say(f"{clients} clients: {target.name} measured")
    return {name: {target: _median(rows) for target, rows in by_target.items()} for name, by_target in rounds.items()}


def _median(rows: list[dict[str, Any]]) -> dict[str, Any]:
    middle: dict[str, Any] = {}
    for key in rows[0]:
        values = [row[key] for row in rows if isinstance(row.get(key), int | float)]
        if values:
            middle[key] = round(statistics.median(values), 3)
    others = [row["unexpected"] for row in rows if row.get("unexpected")]
    return middle | {"rounds_per_s": [row["per_s"] for row in rows]} | ({"unexpected": others} if others else {})


def _failovers(folder: Path, peer: Target | None, options: argparse.Namespace) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if options.failovers:
        tuned = TUNED_TTL_S.get(kind_of(options.database or ""), TUNED_S)
        for name, ttl_s, more in (("default", DEFAULT_TTL_S, {}), ("tuned", tuned, TUNED_DRIFT)):
            with _database(options) as url:
                found[name] = failover.ours(folder / name, url, ttl_s=ttl_s, rounds=options.failovers, more=more)
        if peer and options.peer_kill:
            victim = failover.Peer(peer, kill=options.peer_kill, start=options.peer_start, slow=options.peer_slow)
            found["peer"] = failover.peers(victim)
    return found


def _bare_list(service: Service, target: Target, rows: int) -> float:
    """Milliseconds (median of 30) for the bare query of what the list shows and the JSON encoding of what it answers."""
    import msgspec

    _, body = target.client().ask(Ask("GET", f"/volumes/detail?limit={rows}"))
    document = msgspec.json.decode(body)
    query = (
        "SELECT v.*, t.name AS type_name FROM volumes v LEFT JOIN volume_types t ON t.id = v.volume_type_id"
        " WHERE v.project_id = ? AND NOT v.tombstone ORDER BY v.created_at_us DESC, v.id DESC LIMIT ?"
    )
    times = []
    with closing(service.database.open()) as reader:
        for _ in range(30):
            began = time.perf_counter()
            found = reader.rows(query, PROJECT, rows)
            msgspec.json.encode(document)
            times.append((time.perf_counter() - began) * 1000)
            assert len(found) == rows
    return round(statistics.median(times), 2)


if __name__ == "__main__":
    main()
