"""The tables of `benchmarks/api.py`: ours beside the peer's, and whether what was hoped for was reached."""

from collections.abc import Mapping
from typing import Any, Final

from .page import number, table

__all__ = ["ratios", "tables", "targets"]

OURS: Final = "breezeblock"
PEER: Final = "peer"
ROWS: Final = (
    ("list1000", "per_s", "list with details, 1,000 volumes"),
    ("list50", "per_s", "list with details, limit=50"),
    ("show", "per_s", "one volume"),
    ("create", "per_s", "creates accepted"),
    ("create", "end_to_end_per_s", "created, until available"),
    ("delete", "per_s", "deletes accepted"),
    ("delete", "end_to_end_per_s", "deleted, until gone"),
)
# What is to be reached beside Cinder, at the least of all numbers of clients or at one: (row, key, clients, times).
WANTED: Final = (
    ("list1000", "per_s", None, 20.0),
    ("create", "per_s", None, 12.0),
    ("create", "end_to_end_per_s", None, 12.0),
    ("show", "per_s", 1, 5.0),
)
HALF: Final = 2.0
# Ttl to the longest failover that was hoped for: by default, and tuned.
FAILOVER_S: Final = {"default": 10.0, "tuned": 3.0}


def ratios(report: Mapping[str, Any]) -> dict[str, float]:
    """Ours to the peer's, from one run: above 1 means more per second, or less memory."""
    found: dict[str, float] = {}
    for clients, by_name in report["clients"].items():
        for name, key, _ in ROWS:
            of_peer = by_name[name].get(PEER, {}).get(key)
            if of_peer:
                found[f"{name}.{key}@{clients}"] = round(by_name[name][OURS][key] / of_peer, 1)
    if report.get("peer_memory_mib"):
        found["memory"] = round(report["peer_memory_mib"] / report["memory_idle_mib"]["sum"], 2)
    return found


def tables(report: Mapping[str, Any]) -> str:
    """All of it in Markdown."""
    parts = [_setting(report)]
    parts += [_beside(clients, by_name) for clients, by_name in report["clients"].items()]
    parts.append(_memory(report))
    if report["failover"]:
        parts.append(_failover(report["failover"]))
    if wanted := targets(report):
        rows = [(what, least, came, "reached" if ok else "**missed**") for what, least, came, ok in wanted]
        parts.append("To be reached:\n\n" + table(("", "wanted", "measured", ""), rows))
    return "\n\n".join(parts)


def _setting(report: Mapping[str, Any]) -> str:
    machine = report["machine"]
    return (
        f"Measured on {report['date']} on {machine['cpus']} virtual CPUs in {report['took_s'] / 60:.0f} minutes, on "
        f"{report['database']}, doorbell {report['doorbell']}; medians of {report['runs']} rounds, {report['count']} volumes "
        f"in each round of creating and deleting. The machine's load before it began: {machine['load']:.1f}."
    )


def _beside(clients: str, by_name: Mapping[str, Any]) -> str:
    whole = f"{clients} client{'s' * (clients != '1')}"
    has_peer = PEER in by_name["show"]
    head = (f"Per second with {whole}", "", "p50 ms", "p99 ms", *(("Cinder", "p50 ms", "p99 ms", "ratio") * has_peer))
    rows = []
    for name, key, title in ROWS:
        ours, peer = by_name[name][OURS], by_name[name].get(PEER)
        accepted = key == "per_s"
        row = [title, *_cells(ours, key, accepted)]
        if peer:
            row += [*_cells(peer, key, accepted), number(ours[key] / peer[key])]
        rows.append(row)
    return table(head, rows)


def _cells(row: Mapping[str, Any], key: str, latencies: bool) -> list[str]:
    return [number(row[key]), *(number(row[at]) if latencies else "" for at in ("p50_ms", "p99_ms"))]


def _memory(report: Mapping[str, Any]) -> str:
    idle, after = report["memory_idle_mib"], report["memory_after_mib"]
    kinds = [kind for kind in ("api", "keeper", "worker", "supervisor", "sum") if kind in idle]
    rows = [(kind, number(idle[kind]), number(after[kind])) for kind in kinds]
    if report.get("peer_memory_mib"):
        rows.append(("Cinder, sum", number(report["peer_memory_mib"]), number(report["peer_memory_after_mib"])))
    return table(("Memory (PSS), MiB", "idle", "after the load"), rows)


def _failover(found: Mapping[str, Any]) -> str:
    rows = [
        (
            f"ttl {one['ttl_s']:g} s ({name})",
            number(one["p50_s"]),
            number(one["max_s"]),
            f"{one['available']} of {one['accepted']} available",
        )
        for name, one in found.items()
        if name != PEER
    ]
    if peer := found.get(PEER):
        became = ", ".join(f"{count} {status}" for status, count in sorted(peer["became"].items()))
        rows.append(
            (f"Cinder, until its node is shown as down: {peer['noticed_s']:.0f} s", "never", "never", f"{became}")
        )
    return table(("From SIGKILL until the work runs again, s", "p50", "longest", "what became of it"), rows)


def targets(report: Mapping[str, Any]) -> list[tuple[str, str, str, bool]]:
    """(what, what was wanted, what came, whether that is reached)."""
    found = []
    known = ratios(report)
    titles = {(name, key): title for name, key, title in ROWS}
    for name, key, clients, times in WANTED:
        prefix = f"{name}.{key}@"
        values = {at.removeprefix(prefix): value for at, value in known.items() if at.startswith(prefix)}
        values = {at: value for at, value in values.items() if clients is None or at == str(clients)}
        if values:
            at, least = min(values.items(), key=lambda item: item[1])
            what = f"{titles[name, key]}, {at} client{'s' * (at != '1')}"
            found.append((what, f"{times:g} times", number(least), least >= times))
    if "memory" in known:
        found.append(("memory", "half", f"{1 / known['memory']:.2f}", known["memory"] >= HALF))
    for name, longest_s in FAILOVER_S.items():
        if one := report["failover"].get(name):
            found.append((f"failover, {name}", f"{longest_s:g} s", f"{one['max_s']:.1f} s", one["max_s"] <= longest_s))
    return found
