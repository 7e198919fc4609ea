"""Measure the API side by side with what a user would run instead, in one run; JSON on standard output.

    python benchmarks/api.py                                     Breezeblock alone: it is started, measured, stopped
    python benchmarks/api.py --peer http://127.0.0.1:28776/v3    the same, and a running Cinder beside it, in turn

Measured at each number of clients: list-detail of 1,000 volumes, list-detail with limit=50, one volume, creates accepted
and until available, deletes accepted and until gone (per second; p50 and p99 in ms). Besides: the bare query and JSON
encoding of the 1,000 volumes, memory (sum of PSS of the services, without database and broker), and the time to start.

Each figure is the median of --runs rounds, and in each round the targets take turns, so that a machine whose speed drifts
does so for both. The load generator's own share of a CPU is reported as `client_cpu`: near 1.0 it was the limit itself.
"""

import argparse
import json
import os
import platform
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from load import Ask, Seen, Target, crowd

PROJECT = "0123456789abcdef0123456789abcdef"


def main() -> None:
    """Run what the command line asks for."""
    options = _options()
    with started(options) as ours:
        targets = [ours.target]
        if options.peer:
            targets.append(Target("peer", f"{options.peer.rstrip('/')}/{PROJECT}", f"admin:{PROJECT}"))
        report: dict[str, Any] = {
            "machine": {"cpus": os.cpu_count(), "python": platform.python_version(), "load": os.getloadavg()},
            "start_s": ours.start_s,
            "memory_idle_mib": ours.memory(),
            "volumes": options.fill,
        }
        if options.peer_pattern:
            report["peer_memory_mib"] = _pss_of_pattern(options.peer_pattern)
        for target in targets:
            _fill(target, options.fill)
        report["bare_list1000_ms"] = _bare_list(ours.target, ours.data, options.fill)
        for clients in options.clients:
            report[f"clients_{clients}"] = measure(targets, clients, options)
        report["memory_after_mib"] = ours.memory()
        if options.peer_pattern:
            report["peer_memory_after_mib"] = _pss_of_pattern(options.peer_pattern)
        report["ratios"] = _ratios(report, options.clients) if options.peer else {}
    json.dump(report, sys.stdout, indent=1)
    print()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", help="URL of a running Cinder with noauth, ending in /v3")
    parser.add_argument("--peer-pattern", help="what the command lines of the peer's services contain, for its memory")
    parser.add_argument("--clients", type=lambda text: [int(n) for n in text.split(",")], default=[1, 8, 32])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--fill", type=int, default=1000)
    parser.add_argument("--count", type=int, default=200, help="volumes of each create and delete round")
    parser.add_argument("--nodes", type=int, default=2)
    parser.add_argument("--workers", type=int, default=2)
    return parser.parse_args()


# --- our service ------------------------------------------------------------------------------------------------------


class Started:
    """A running Breezeblock."""

    def __init__(self, process: "subprocess.Popen[bytes]", data: Path, port: int, start_s: float) -> None:
        self.process, self.data, self.start_s = process, data, round(start_s, 2)
        self.target = Target("breezeblock", f"http://127.0.0.1:{port}/v3/{PROJECT}", f"admin:{PROJECT}")

    def memory(self) -> dict[str, float]:
        """PSS in MiB by kind of process, and their sum."""
        found: dict[str, float] = {}
        for pid in [self.process.pid, *_descendants(self.process.pid)]:
            command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
            kind = next((k for k in ("keeper", "worker", "api") if f"processes.{k}" in command), "supervisor")
            found[kind] = round(found.get(kind, 0.0) + _pss_mib(pid), 1)
        return found | {"sum": round(sum(found.values()), 1)}


@contextmanager
def started(options: argparse.Namespace) -> Iterator[Started]:
    """Start the service on a data folder of its own; stop it and remove the folder at the end."""
    with tempfile.TemporaryDirectory(prefix="breezeblock-bench-") as folder:
        data, port = Path(folder) / "data", _free_port()
        program = shutil.which("breezeblock", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
        assert program is not None, "install Breezeblock first: make install"
        arguments = ["up", "--data", str(data), "--port", str(port), "--nodes", str(options.nodes)]
        environment = os.environ | {
            "BREEZEBLOCK_API__WORKERS": str(options.workers),
            "BREEZEBLOCK_QUOTA__VOLUMES": "-1",
            "BREEZEBLOCK_QUOTA__GIGABYTES": "-1",
            "BREEZEBLOCK_BACKENDS__FILE__MAX_OVER_SUBSCRIPTION_RATIO": "1000",
        }
        began = time.perf_counter()
        with (Path(folder) / "up.out").open("wb") as output:
            process = subprocess.Popen([program, *arguments], stdout=output, stderr=output, env=environment)
        try:
            _await_pool(process, port, Path(folder) / "up.out")
            yield Started(process, data, port, time.perf_counter() - began)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=60)


def _await_pool(process: "subprocess.Popen[bytes]", port: int, output: Path) -> None:
    """Until a volume can be created: the API answers and a pool has been reported."""
    target = Target("breezeblock", f"http://127.0.0.1:{port}/v3/{PROJECT}", f"admin:{PROJECT}")
    for _ in range(3000):
        if process.poll() is not None:
            raise SystemExit(f"breezeblock up ended:\n{output.read_text()}")
        try:
            status, body = target.client().ask(Ask("GET", "/scheduler-stats/get_pools"))
            if status == 200 and json.loads(body)["pools"]:
                return
        except OSError:
            pass
        time.sleep(0.02)
    raise SystemExit("breezeblock up did not become ready within a minute")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# --- measuring --------------------------------------------------------------------------------------------------------


def measure(targets: list[Target], clients: int, options: argparse.Namespace) -> dict[str, Any]:
    """All figures at one number of clients, each the median of the rounds."""
    rounds: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for _ in range(options.runs):
        for target in targets:
            one = next(iter(_ids(target)))
            for name, path in (
                ("list1000", "/volumes/detail?limit=1000"),
                ("list50", "/volumes/detail?limit=50"),
                ("show", f"/volumes/{one}"),
            ):
                seen = crowd(target, [Ask("GET", path)], clients=clients, expected=200, seconds=options.seconds)
                rounds.setdefault(name, {}).setdefault(target.name, []).append(seen.row())
            for name, row in _lifecycle(target, clients, options.count).items():
                rounds.setdefault(name, {}).setdefault(target.name, []).append(row)
            print(f"{clients} clients: {target.name} measured", file=sys.stderr)
    return {name: {target: _median(rows) for target, rows in by_target.items()} for name, by_target in rounds.items()}


def _lifecycle(target: Target, clients: int, count: int) -> dict[str, dict[str, Any]]:
    began = time.perf_counter()
    create = Ask("POST", "/volumes", {"volume": {"size": 1, "name": "bench"}})
    made = crowd(target, [create] * count, clients=clients, expected=202, keep=True)
    ids = [json.loads(body)["volume"]["id"] for body in made.bodies]
    _until_none(target, "creating")
    took = time.perf_counter() - began
    statuses = _ids(target)
    available = sum(statuses.get(id_) == "available" for id_ in ids)
    began = time.perf_counter()
    gone = crowd(target, [Ask("DELETE", f"/volumes/{id_}") for id_ in ids], clients=clients, expected=202)
    _until_none(target, "deleting")
    took_delete = time.perf_counter() - began
    left = _ids(target)
    deleted = sum(id_ not in left for id_ in ids)
    return {
        "create": made.row() | {"end_to_end_per_s": round(available / took, 1), "failed": count - available},
        "delete": gone.row() | {"end_to_end_per_s": round(deleted / took_delete, 1), "failed": len(ids) - deleted},
    }


def _until_none(target: Target, status: str) -> None:
    client = target.client()
    for _ in range(60_000):
        _, body = client.ask(Ask("GET", f"/volumes?limit=1&status={status}"))
        if not json.loads(body)["volumes"]:
            return
        time.sleep(0.01)
    raise SystemExit(f"{target.name}: volumes stay {status}")


def _ids(target: Target) -> dict[str, str]:
    found: dict[str, str] = {}
    client, marker = target.client(), ""
    while True:
        _, body = client.ask(Ask("GET", f"/volumes/detail?limit=500{marker}"))
        page = json.loads(body)["volumes"]
        found |= {volume["id"]: volume["status"] for volume in page}
        if len(page) < 500:
            return found
        marker = f"&marker={page[-1]['id']}"


def _fill(target: Target, wanted: int) -> None:
    missing = wanted - len(_ids(target))
    if missing > 0:
        create = Ask("POST", "/volumes", {"volume": {"size": 1, "name": "filler", "metadata": {"kind": "filler"}}})
        seen: Seen = crowd(target, [create] * missing, clients=8, expected=202)
        assert not seen.others, f"{target.name}: {seen.others}"
        _until_none(target, "creating")


def _median(rows: list[dict[str, Any]]) -> dict[str, Any]:
    middle: dict[str, Any] = {}
    for key in rows[0]:
        values = [row[key] for row in rows if isinstance(row.get(key), int | float)]
        if values:
            middle[key] = round(statistics.median(values), 3)
    return middle | {"rounds_per_s": [row["per_s"] for row in rows]}


def _ratios(report: dict[str, Any], clients: list[int]) -> dict[str, Any]:
    """Ours to the peer's, from this one run: above 1 means more per second, or less memory."""
    found: dict[str, Any] = {}
    for n in clients:
        for name, by_target in report[f"clients_{n}"].items():
            for key in ("per_s", "end_to_end_per_s"):
                if key in by_target["breezeblock"] and by_target["peer"].get(key):
                    ratio = by_target["breezeblock"][key] / by_target["peer"][key]
                    found[f"{name}.{key}@{n}"] = round(ratio, 1)
    if report.get("peer_memory_mib"):
        found["memory"] = round(report["peer_memory_mib"] / report["memory_idle_mib"]["sum"], 2)
    return found


# --- what the list costs at least -------------------------------------------------------------------------------------


def _bare_list(target: Target, data: Path, rows: int) -> float:
    """Milliseconds (median of 30) for the bare query of what the list shows and the JSON encoding of what it answers."""
    import sqlite3

    import msgspec

    _, body = target.client().ask(Ask("GET", f"/volumes/detail?limit={rows}"))
    document = msgspec.json.decode(body)
    connection = sqlite3.connect(data / "breezeblock.db")
    query = (
        "SELECT v.*, t.name FROM volumes v LEFT JOIN volume_types t ON t.id = v.volume_type_id"
        " WHERE v.project_id = ? AND NOT v.tombstone ORDER BY v.created_at_us DESC, v.id DESC LIMIT ?"
    )
    names = [column[0] for column in connection.execute(query, (PROJECT, 1)).description]
    times = []
    for _ in range(30):
        began = time.perf_counter()
        found = [dict(zip(names, row, strict=True)) for row in connection.execute(query, (PROJECT, rows))]
        msgspec.json.encode(document)
        times.append((time.perf_counter() - began) * 1000)
        assert len(found) == rows
    connection.close()
    return round(statistics.median(times), 2)


# --- memory -----------------------------------------------------------------------------------------------------------


def _pss_mib(pid: int) -> float:
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    return 0.0


def _descendants(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += [int(child), *_descendants(int(child))]
    return found


def _pss_of_pattern(pattern: str) -> float:
    total = 0.0
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if pattern in command and "benchmarks/api.py" not in command:
                total += _pss_mib(int(entry.name))
    return round(total, 1)


if __name__ == "__main__":
    main()
