"""The status for people: tables, the troubles first in colour."""

import sys
from collections.abc import Iterable
from typing import Any, Final

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

Found = dict[str, Any]

MIB: Final = 1024**2
STATE_STYLES: Final = {"up": "green", "draining": "yellow", "drained": "yellow", "expired": "bold red", "fenced": "red"}


def render(found: Found) -> RenderableType:
    """Everything worth a look; tables without rows are left out."""
    parts: list[RenderableType] = [_headline(found)]
    if found["running"]:
        parts.append(Text("API processes: " + ", ".join(str(one["pid"] or "(starting)") for one in found["api"])))
    parts += [
        table
        for table in (
            _nodes(found["nodes"]),
            _pools(found["pools"]),
            _queues(found["queues"]),
            _operations(found["operations"]),
            _transfers(found["operations"]),
            _failovers(found["failovers"]),
            events_table(found["events"]),
            _resumed(found["resumed_operations"]),
            _receivers(found["receivers"]),
        )
        if table.row_count
    ]
    return Group(*parts)


def console() -> Console:
    """Where it is shown; wide where nobody looks, so that lines can be searched."""
    return Console(width=None if sys.stdout.isatty() else 200)


def nodes_table(rows: list[Found]) -> Table:
    """The nodes alone, for `node list`."""
    return _nodes(rows)


def _headline(found: Found) -> Text:
    if not found["running"]:
        return Text(
            f"Not running (data in {found['data']}). What follows is what the database remembers.", "bold yellow"
        )
    state = "ready" if found["ready"] else "starting"
    return Text(f"Breezeblock is {state} at {found['endpoint']} (pid {found['pid']}, data in {found['data']})", "bold")


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")  # an id that is cut short cannot be pasted
    return table


def _nodes(rows: Iterable[Found]) -> Table:
    table = _table("Nodes", "name", "state", "keeper", "worker", "renewed", "incarnation")
    for row in rows:
        state = _node_state(row)
        for line in _fence_lines(row):
            state.append(f"\n{line}", "red")
        renewed = f"{row['renewed_s_ago']} s ago" if row["keeper_pid"] else ""
        table.add_row(
            row["name"],
            state,
            _or_dash(row["keeper_pid"]),
            _or_dash(row["worker_pid"]),
            renewed,
            (row["incarnation"] or "-")[:8],
        )
    return table


def _fence_lines(row: Found) -> list[str]:
    """Of a lost node: who is at it, what is fenced and what is not, and why not."""
    if row["state"] != "expired":
        return [row["fence_error"]] if row["fence_error"] else []
    lines = [f"{row['fencer']} is fencing it"] if row["fencer"] else []
    if row["next_fence_in_s"] is not None:
        lines.append(f"next try in {row['next_fence_in_s']} s")
    lines += [f"{one['queue']}: {_how_fenced(one['fenced_by'])}" for one in row["backends"]]
    if row["fence_error"]:
        lines.append(f"after {row['fence_tries']} tries: {row['fence_error']}")
    return lines


def _how_fenced(method: str | None) -> str:
    return "not fenced" if method is None else f"fenced ({method})"


def events_table(rows: Iterable[Found]) -> Table:
    """What happened to nodes."""
    table = _table("Events", "when", "node", "event", "detail", "incarnation")
    for row in rows:
        detail = row["detail"].replace("\n", " ")
        table.add_row(f"{row['s_ago']} s ago", row["node"], row["event"], detail, row["incarnation"][:8])
    return table


def _node_state(row: Found) -> Text:
    # Fenced by nobody: it ended in good order, or its own keeper saw its worker gone.
    word = "ended" if row["state"] == "fenced" and row["fencer"] is None else row["state"]
    return Text(word + " (drained)" * (row["drained"] and word != "drained"), STATE_STYLES.get(word, ""))


def _pools(rows: Iterable[Found]) -> Table:
    table = _table("Pools", "name", "total GiB", "free GiB", "allocated GiB", "enabled")
    for row in rows:
        sizes = (str(row[key]) for key in ("total_gib", "free_gib", "allocated_gib"))
        table.add_row(row["name"], *sizes, "yes" if row["enabled"] else Text("no", "yellow"))
    return table


def _queues(rows: Iterable[Found]) -> Table:
    table = _table("Queues", "queue", "operations", "running")
    for row in rows:
        table.add_row(row["queue"], str(row["depth"]), str(row["running"]))
    return table


def _operations(rows: Iterable[Found]) -> Table:
    table = _table("Operations", "kind", "resource", "owner", "step", "attempt", "age", "id")
    for row in rows:
        owner = row["owner"] or ("waiting" if not row["not_before_in_s"] else f"in {row['not_before_in_s']} s")
        table.add_row(
            row["kind"],
            f"{row['resource_type']} {row['resource_id']}",
            owner,
            row["step"] or "",
            str(row["attempt"]),
            f"{row['age_s']} s",
            row["id"],
        )
    return table


def _transfers(rows: Iterable[Found]) -> Table:
    table = _table("Backups and restores", "kind", "resource", "store", "done", "rate", "still", "by")
    for row in rows:
        if (at := row["progress"]) is None:
            continue
        rate = "" if at["bytes_per_s"] is None else f"{at['bytes_per_s'] / MIB:.1f} MiB/s"
        table.add_row(
            row["kind"],
            f"{row['resource_type']} {row['resource_id']}",
            at["store"],
            f"{at['percent']} %",
            rate,
            "" if at["eta_s"] is None else _duration(at["eta_s"]),
            row["owner"] or "",
        )
    return table


def _duration(seconds: int) -> str:
    """As much of it as anybody wants to know: `2 h 5 min`, `5 min 10 s`, `10 s`."""
    for unit_s, unit, rest_s, rest in ((86_400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if seconds >= unit_s:
            return f"{seconds // unit_s} {unit} {seconds % unit_s // rest_s} {rest}"
    return f"{seconds} s"


def _failovers(rows: Iterable[Found]) -> Table:
    table = _table("Failovers in the last hour", "node", "state", "fenced by", "when", "incarnation")
    for row in rows:
        state = Text(row["state"], STATE_STYLES.get(row["state"], ""))
        table.add_row(row["node"], state, row["fencer"] or "", f"{row['s_ago']} s ago", row["incarnation"])
    return table


def _resumed(rows: Iterable[Found]) -> Table:
    table = _table(
        "Operations that more than one claim worked on", "kind", "resource", "outcome", "by", "claims", "ended"
    )
    for row in rows:
        table.add_row(
            row["kind"],
            row["resource_id"],
            row["outcome"],
            row["owner"] or "",
            str(row["epoch"]),
            f"{row['s_ago']} s ago",
        )
    return table


def _receivers(rows: Iterable[Found]) -> Table:
    table = _table(
        "Receivers of events", "name", "waiting", "oldest", "set aside", "sent", "failed tries", "dropped", "last error"
    )
    for row in rows:
        oldest = "" if row["oldest_s_ago"] is None else f"{row['oldest_s_ago']} s ago"
        counts = (str(row[key]) for key in ("aside", "sent", "failed", "dropped"))
        table.add_row(row["receiver"], str(row["waiting"]), oldest, *counts, Text(row["error"] or "", "red"))
    return table


def _or_dash(value: object) -> str:
    return "-" if value is None else str(value)
