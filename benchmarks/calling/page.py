"""The table of `benchmarks/calls.py`."""

from collections.abc import Mapping
from typing import Any, Final

from measuring.page import number, table

__all__ = ["slower", "tables"]

OURS: Final = "breezeblock"
PEER: Final = "peer"
HEAD: Final = ("call", "ms", "Cinder's", "times", "in a second", "Cinder's", "times")


def slower(report: Mapping[str, Any]) -> list[str]:
    """The calls in which Cinder's is faster, in either way of counting."""
    found = []
    for name, by_target in report["calls"].items():
        ours, peer = by_target.get(OURS), by_target.get(PEER)
        if ours and peer and (ours["p50_ms"] > peer["p50_ms"] or ours["per_s"] < peer["per_s"]):
            found.append(name)
    return found


def tables(report: Mapping[str, Any]) -> str:
    """All of it in Markdown."""
    machine = report["machine"]
    setting = (
        f"Measured on {report['date']} on {machine['cpus']} virtual CPUs in {report['took_s'] // 60 or 1} minutes, with "
        f"{report['fill']:,} volumes and a tenth as many of everything else; medians of {report['runs']} rounds. The machine's "
        f"load before it began: {machine['load']}. Milliseconds are the median of one client's, answers in a second are eight "
        "clients'. More than 1 time is faster than Cinder."
    )
    rows = [_row(name, by_target) for name, by_target in report["calls"].items()]
    parts = [setting, table(HEAD, rows)]
    compared = [name for name, by_target in report["calls"].items() if PEER in by_target and OURS in by_target]
    if compared:
        late = slower(report)
        words = "none" if not late else ", ".join(f"**{name}**" for name in late)
        parts.append(f"Calls compared: {len(compared)}. Slower than Cinder's, in either way of counting: {words}.")
    return "\n\n".join(parts)


def _row(name: str, by_target: Mapping[str, Mapping[str, float]]) -> tuple[str, ...]:
    ours, peer = by_target.get(OURS, {}), by_target.get(PEER, {})
    return (
        name,
        number(ours.get("p50_ms")),
        number(peer.get("p50_ms")),
        _times(peer.get("p50_ms"), ours.get("p50_ms")),
        number(ours.get("per_s")),
        number(peer.get("per_s")),
        _times(ours.get("per_s"), peer.get("per_s")),
    )


def _times(more: float | None, less: float | None) -> str:
    return number(more / less) if more and less else "-"
