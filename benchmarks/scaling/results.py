"""All figures of a run, as they are kept in a file: a page can be made from it again."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .latency import Figure
from .loads import Load


@dataclass
class Of:
    """One database."""

    figures: dict[int, dict[str, Figure]] = field(default_factory=dict)
    """By size and what was done."""
    beating: dict[str, Figure] = field(default_factory=dict)
    """At the largest size, while nodes renew their leases."""
    beats: float = 0.0
    """How many of these there were in a second."""
    loads: dict[str, Load] = field(default_factory=dict)
    filled_s: float = 0.0


@dataclass
class Results:
    """One run. `setting`: what there is to know about it."""

    setting: dict[str, Any]
    of: dict[str, Of] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        """As JSON."""
        path.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")


def read(path: Path) -> Results:
    """What `write` has written."""
    kept = json.loads(path.read_text(encoding="utf-8"))
    return Results(kept["setting"], {kind: _of(one) for kind, one in kept["of"].items()})


def _of(kept: dict[str, Any]) -> Of:
    return Of(
        figures={
            int(size): {name: Figure(**one) for name, one in found.items()} for size, found in kept["figures"].items()
        },
        beating={name: Figure(**one) for name, one in kept["beating"].items()},
        beats=kept["beats"],
        loads={name: Load(**one) for name, one in kept["loads"].items()},
        filled_s=kept["filled_s"],
    )
