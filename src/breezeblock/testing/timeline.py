"""A history as people read it: short names, times from the start on, and of a run that failed only what has to do with it."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from breezeblock.testing.history import Entry

__all__ = ["Names", "lane_of", "matters", "rows", "said", "timeline"]

_UUID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
# What everybody wants to see, whatever fell.
_ALWAYS: Final = frozenset({"run", "phase", "fault", "violation"})
_ON_SNAPSHOT: Final = ("create_snapshot", "delete_snapshot", "force_delete_snapshot", "reset_snapshot_status")
_TABLES: Final = {"volumes": "volume", "snapshots": "snapshot", "volume_types": "type"}


@dataclass(frozen=True)
class Names:
    """Short names for the ids of a run, in the order in which they appear: volume1, snapshot2, op7, node0/1."""

    of: Mapping[str, str]

    @classmethod
    def given(cls, history: Iterable[Entry]) -> "Names":
        """Name all that the history tells about."""
        of: dict[str, str] = {}
        counts: dict[str, int] = {}

        def name(id_: object, noun: str) -> None:
            if isinstance(id_, str) and id_ not in of:
                counts[noun] = counts.get(noun, 0) + 1
                of[id_] = f"{noun}{counts[noun]}"

        for entry in history:
            if entry.kind == "identity" and entry.process is not None:
                node, _, keeper = entry.process.partition(".keeper")
                of[entry.data["incarnation"]] = f"{node}/{keeper}"
            elif entry.kind == "request":
                name(entry.data["operation"], "op")
                noun = "snapshot" if entry.data["call"] in _ON_SNAPSHOT else "volume"
                name(entry.data["resource"], _TABLES.get(entry.data.get("table", ""), noun))
            elif entry.kind == "enqueued":
                name(entry.data["operation"], "op")
            elif entry.kind == "status":
                name(entry.data["resource"], _TABLES.get(entry.data["table"], entry.data["table"]))
        return cls(of)

    def shorten(self, text: str) -> str:
        """The text with names for ids; ids that have none keep their first eight digits."""
        return _UUID.sub(lambda found: self.of.get(found[0], found[0][:8]), text)


def lane_of(entry: Entry, names: Names) -> str:
    """Whose line of a picture it belongs to: a fault's victim, a row's node, else whose doing it was; "" for nobody's."""
    data = entry.data
    if entry.kind == "fault":
        target = str(data.get("target", entry.process) or "")
        return "" if target == "*" else target
    incarnation = data.get("incarnation") or data.get("owner")
    if incarnation is not None and entry.kind != "identity":
        return names.of.get(incarnation, incarnation[:8])
    return entry.process or ""


@dataclass
class _Concerned:
    """What the violations name, and what has to do with it."""

    operations: set[str] = field(default_factory=set)
    resources: set[str] = field(default_factory=set)
    incarnations: set[str] = field(default_factory=set)
    nodes: set[str] = field(default_factory=set)
    requests: set[int] = field(default_factory=set)

    @classmethod
    def find(cls, history: Sequence[Entry]) -> "_Concerned":
        """Two steps from the violations: their operations and resources, who owned those, on which nodes."""
        said = " ".join(entry.text for entry in history if entry.kind == "violation")
        ids = set(_UUID.findall(said))
        found = cls()
        for entry in history:
            data = entry.data
            if entry.kind == "enqueued" and ids & {data["operation"], *data["places"]}:
                found.operations.add(data["operation"])
                found.resources.update(data["places"])
            elif entry.kind == "request" and ids & {data["operation"], data["resource"]}:
                found.operations.add(data["operation"])
                found.resources.add(data["resource"])
            elif entry.kind == "status" and data["resource"] in ids:
                found.resources.add(data["resource"])
            elif entry.kind == "node" and data["incarnation"] in ids:
                found.incarnations.add(data["incarnation"])
        for entry in history:
            if entry.kind == "owned" and entry.data["operation"] in found.operations and entry.data["owner"]:
                found.incarnations.add(entry.data["owner"])
        for entry in history:
            if entry.kind == "identity" and entry.data["incarnation"] in found.incarnations:
                found.nodes.add(_node(entry.process))
            elif entry.kind == "request" and entry.data["operation"] in found.operations:
                found.requests.add(entry.data["number"])
        return found

    def __bool__(self) -> bool:
        return bool(self.operations or self.resources or self.incarnations)

    def has(self, entry: Entry) -> bool:
        """Whether an entry has to do with it."""
        data = entry.data
        if entry.kind in _ALWAYS:
            return True
        if entry.kind in ("enqueued", "owned", "ended"):
            return data["operation"] in self.operations
        if entry.kind in ("node", "refused"):
            return data["incarnation"] in self.incarnations
        if entry.kind in ("request", "answer"):
            return data["number"] in self.requests
        if entry.kind in ("status", "resumed"):
            return data["resource"] in self.resources
        if entry.kind == "effect":
            return not self.resources.isdisjoint(data["tokens"])
        if entry.kind == "guest":
            return str(data["name"]).partition(".")[0] in self.resources
        return entry.kind in ("start", "end", "identity", "note") and _node(entry.process) in self.nodes


def _node(process: str | None) -> str:
    return (process or "").partition(".")[0]


def matters(history: Sequence[Entry]) -> list[Entry]:
    """Of a run that failed what has to do with the violations; of another, or where they name nothing, all but the logs."""
    concerned = _Concerned.find(history)
    if concerned:
        return [entry for entry in history if concerned.has(entry)]
    return [entry for entry in history if entry.kind != "log"]


def timeline(history: Sequence[Entry], names: Names) -> list[str]:
    """One line an entry, aligned: seconds since the start, whose, what kind, and what; a legend of the names below."""
    if not history:
        return []
    shown = rows(history, history[0].at, names)
    at, lane, label = (max(len(row[column]) for row in shown) for column in range(3))
    lines = [f"{row[0]:>{at}}  {row[1]:<{lane}}  {row[2]:<{label}}  {row[3]}".rstrip() for row in shown]
    used = {id_ for entry in history for id_ in _UUID.findall(entry.text)}
    legend = [f"{name} is {id_}" for id_, name in names.of.items() if id_ in used]
    return [*lines, *(["", *legend] if legend else [])]


def rows(history: Iterable[Entry], start: float, names: Names) -> list[tuple[str, str, str, str]]:
    """Of each entry the seconds since the start, whose it is, its kind, and what it says."""
    return [(f"+{entry.at - start:.3f}", lane_of(entry, names), _label(entry), said(entry, names)) for entry in history]


def said(entry: Entry, names: Names) -> str:
    """The text without what the other columns say."""
    text = entry.text.removeprefix(f"{entry.process}: ").removeprefix("VIOLATION of ")
    return names.shorten(" ".join(text.split()))


def _label(entry: Entry) -> str:
    if entry.kind == "fault":
        return f"FAULT {entry.data['number']}"
    if entry.kind == "request":
        return f"request {entry.data['number']}"
    return entry.kind.upper() if entry.kind == "violation" else entry.kind
