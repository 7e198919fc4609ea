"""What a run found, and a file to keep it in."""

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .meter import Used

__all__ = ["Figure", "Results", "middle", "read"]


@dataclass(frozen=True, slots=True)
class Figure:
    """Of one act in one way on one volume: medians over the rounds, and the highest memory of all."""

    seconds: float
    cpu_s: float
    peak_mib: float
    flush_s: float
    stored_bytes: int


@dataclass(slots=True)
class Results:
    """Figures by data, act and way; seconds of the bound by data and what is done; what went wrong."""

    setting: dict[str, Any]
    figures: dict[str, dict[str, dict[str, Figure]]] = field(default_factory=dict)
    bound: dict[str, dict[str, float]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def write(self, path: Path) -> None:
        """All of it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")


def read(path: Path) -> Results:
    """What `write` wrote."""
    raw = json.loads(path.read_text(encoding="utf-8"))
    raw["figures"] = {
        data: {act: {way: Figure(**one) for way, one in by_way.items()} for act, by_way in acts.items()}
        for data, acts in raw["figures"].items()
    }
    return Results(**raw)


def middle(rounds: Sequence[tuple[Used, int]]) -> Figure:
    """Of what each round took, and stored."""
    used = [one for one, _ in rounds]
    return Figure(
        seconds=statistics.median(one.seconds for one in used),
        cpu_s=statistics.median(one.cpu_s for one in used),
        peak_mib=max(one.peak_mib for one in used),
        flush_s=statistics.median(one.flush_s for one in used),
        stored_bytes=round(statistics.median(stored for _, stored in rounds)),
    )
