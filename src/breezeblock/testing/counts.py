"""What happened in a run, in numbers: so that a batch of runs can be asked whether everything happened that it is to prove.

accepted <kind>   requests of that kind that were accepted, or answered with what they asked for
struck <kind>     faults of that kind
takeovers         operations that were ended by another node than the one that began them
waited            calls of drivers for locks that others had, or wanted before
resumed           copies that went on from a checkpoint of an earlier claim
"""

from collections import Counter
from collections.abc import Iterable

from breezeblock.testing.history import Entry

__all__ = ["counted"]


def counted(history: Iterable[Entry]) -> Counter[str]:
    """Count a history."""
    counts: Counter[str] = Counter()
    asked: dict[int, str] = {}
    nodes: dict[str, str] = {}
    owners: dict[str, list[str]] = {}
    for entry in history:
        data = entry.data
        if entry.kind == "request":
            asked[data["number"]] = data["call"]
        elif entry.kind == "answer" and data["answer"] in ("accepted", "answered"):
            counts[f"accepted {asked[data['number']]}"] += 1
        elif entry.kind == "fault":
            counts[f"struck {data['fault']}"] += 1
        elif entry.kind == "identity" and entry.process is not None:
            nodes[data["incarnation"]] = _post(entry.process)
        elif entry.kind == "owned" and data["owner"] is not None:
            owners.setdefault(data["operation"], []).append(nodes[data["owner"]])
        elif entry.kind == "ended":
            had = owners.get(data["operation"], [""])
            counts["takeovers"] += had[0] != had[-1]
        elif entry.kind in ("resumed", "waits"):
            counts["waited" if entry.kind == "waits" else "resumed"] += 1
    return counts


def _post(process: str) -> str:
    """`node0` of `node0-2.keeper2`: the same place, under whatever name it came back."""
    return process.partition(".")[0].partition("-")[0]
