"""Whether work is shared fairly: between backends, between nodes of unequal speed, and while a node is stopped."""

import json
import os
import signal
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from load import Ask, Target

from breezeblock import wiring
from breezeblock.chaos.service import Service

from . import services
from .page import number, table
from .queue import Waits, create_crowd, create_steadily, ended, waits
from .servers import made

__all__ = ["Fair", "measure", "tables"]

SLOTS: Final = 4
SLOW_S: Final = 0.3
SLOWER: Final = 10
# Shorter than the ttl, so that nobody expires the node: it is there, and does nothing.
STOPPED_S: Final = 4.0
NODES: Final = "SELECT incarnation, keeper_pid FROM nodes"


@dataclass(frozen=True)
class Fair:
    """One figure: what, and how it came out."""

    what: str
    figures: dict[str, float]


def measure(server: str, *, quick: bool) -> dict[str, Fair]:
    """All of it, on a server that runs."""
    found: dict[str, Fair] = {}
    with tempfile.TemporaryDirectory(prefix="bench-fair-") as folder:
        with made(server) as url:
            found |= _backends(Path(folder) / "backends", url, flood=24 if quick else 120, little=5 if quick else 20)
        with made(server) as url:
            found |= _unequal(Path(folder) / "unequal", url, work=30 if quick else 120)
    return found


def _chosen(folder: Path, slow_s: float) -> dict[str, str]:
    calls = folder / "calls"
    calls.mkdir(parents=True, exist_ok=True)
    return {
        "BREEZEBLOCK_NODES__SLOTS": str(SLOTS),
        wiring.RECORD_CALLS: str(calls),
        wiring.SLOW_CALLS: str(slow_s),
        "BREEZEBLOCK_BACKENDS__FILE__PATH": str(folder / "volumes"),
    }


# --- one backend is flooded -------------------------------------------------------------------------------------------


def _backends(folder: Path, url: str, *, flood: int, little: int) -> dict[str, Fair]:
    """How long the little work of one backend waits, without and with a flood for the other on the same nodes."""
    other = {
        "BREEZEBLOCK_BACKENDS__OTHER__PATH": str(folder / "other"),
        "BREEZEBLOCK_BACKENDS__OTHER__MAX_OVER_SUBSCRIPTION_RATIO": "1000",
    }
    with ExitStack() as stack:
        chosen = _chosen(folder, SLOW_S) | other
        service = stack.enter_context(services.running(folder / "data", url=url, nodes=2, chosen=chosen))
        reader = stack.enter_context(closing(service.database.open()))
        target = services.target_of(service)
        services.until(lambda: len(_pools(target)) == 2, what="both backends have reported")
        for name in ("file", "other"):
            _make_type(target, name)
        alone = ended(reader, create_steadily(target, little, every_s=0.15, volume_type="other"))
        flooded = create_crowd(target, flood, volume_type="file")
        beside = ended(reader, create_steadily(target, little, every_s=0.15, volume_type="other"))
        under = ended(reader, flooded)
    services.say("fairness: a backend that is flooded")
    return {
        "alone": Fair(f"{little} creates for one backend, nothing else", _told(waits(alone))),
        "beside": Fair(f"the same, while the other backend of both nodes has {flood}", _told(waits(beside))),
        "flood": Fair("the flood itself", _told(waits(under))),
    }


def _told(found: Waits) -> dict[str, float]:
    return {"count": found.count, "p50_ms": round(found.p50_ms, 1), "longest_ms": round(found.longest_ms, 1)}


def _pools(target: Target) -> list[Any]:
    _, body = target.client().ask(Ask("GET", "/scheduler-stats/get_pools"))
    pools: list[Any] = json.loads(body)["pools"]
    return pools


def _make_type(target: Target, backend: str) -> None:
    specs = {"name": backend, "extra_specs": {"volume_backend_name": backend}}
    status, body = target.client().ask(Ask("POST", "/types", {"volume_type": specs}))
    assert status in (200, 202), body


# --- nodes are not alike ----------------------------------------------------------------------------------------------


def _unequal(folder: Path, url: str, *, work: int) -> dict[str, Fair]:
    """Two nodes on one queue: with storage of unequal speed, and with one of them stopped for a while."""
    with ExitStack() as stack:
        quick, slow = (
            stack.enter_context(services.running(folder / name, url=url, nodes=1, chosen=_chosen(folder, slow_s)))
            for name, slow_s in (("quick", SLOW_S), ("slow", SLOW_S * SLOWER))
        )
        reader = stack.enter_context(closing(quick.database.open()))
        nodes = {row["keeper_pid"]: row["incarnation"] for row in reader.rows(NODES)}
        slow_one = nodes[next(iter(slow.keeper_pids.values()))]
        target = services.target_of(quick)
        rows = ended(reader, create_crowd(target, work))
        took_s = (max(row["finished_at_us"] for row in rows) - min(row["claimed_at_us"] for row in rows)) / 1e6
        by_slow = sum(row["owner"] == slow_one for row in rows)
        services.say("fairness: storage of unequal speed")
        stopped = _stopped(slow, target, reader)
        services.say("fairness: a node that is stopped")
    speed = SLOTS / SLOW_S
    return {
        "unequal": Fair(
            f"{work} creates for two nodes, of which one's storage is {SLOWER} times slower",
            {
                "by_slow": by_slow,
                "took_s": round(took_s, 2),
                "ideal_s": round(work / (speed + speed / SLOWER), 2),
                "halves_s": round(work / 2 / (speed / SLOWER), 2),
            },
        ),
        "stopped": Fair(f"10 creates/s for both while the slower one is stopped for {STOPPED_S:g} s", stopped),
    }


def _stopped(service: Service, target: Target, reader: Any) -> dict[str, float]:
    (name, keeper) = next(iter(service.keeper_pids.items()))
    pids = [keeper, service.worker_pid(name) or 0]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    began = time.monotonic()
    try:
        ids = create_steadily(target, int(STOPPED_S * 10) - 5, every_s=0.1)
        time.sleep(max(0.0, began + STOPPED_S - time.monotonic()))
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
    return _told(waits(ended(reader, ids)))


# --- the page ---------------------------------------------------------------------------------------------------------


def tables(found: Mapping[str, Any]) -> str:
    """In Markdown."""
    rows = [
        (one["what"], *(number(one["figures"][key]) for key in ("p50_ms", "longest_ms")))
        for name, one in found.items()
        if name != "unequal"
    ]
    parts = [table(("Wait until a node takes it, ms", "p50", "longest"), rows)]
    if "unequal" in found:
        one, figures = found["unequal"]["what"], found["unequal"]["figures"]
        parts.append(
            f"{one}: the slower did {figures['by_slow']:.0f} of them, and all were done in {figures['took_s']:.1f} s. "
            f"It cannot be less than {figures['ideal_s']:.1f} s; with the work dealt out in halves it would have been "
            f"{figures['halves_s']:.0f} s."
        )
    return "\n\n".join(parts)
