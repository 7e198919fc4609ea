"""`breezeblock status`: what runs, what waits, what went over to another node lately. Read from the tables and up.json."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, RowMapping, func, or_, select

from breezeblock.commands.database import reading
from breezeblock.protocol import node_events, receivers
from breezeblock.resources import progress
from breezeblock.settings import Settings
from breezeblock.store.dialects import db_now_us
from breezeblock.store.tables import node_backends, nodes, operation_log, operations, pools
from breezeblock.supervisor.folder import DataFolder

# More than anybody reads; the counts say how many there are.
OPERATIONS_MOST: Final = 1000
RECENT_MOST: Final = 20
RECENT_US: Final = 3600 * 1_000_000

Found = dict[str, Any]


def gather(settings: Settings) -> Found:
    """Everything `status --json` prints. Raises Failed when there is no database."""
    folder = DataFolder(Path(settings.service.data_dir).absolute())
    told = folder.read_told()
    with reading(settings) as tx:
        now_us = tx.execute(select(db_now_us())).scalar_one()
        named = {row["incarnation"]: row["name"] for row in tx.execute(select(nodes)).mappings()}
        return {
            "running": bool(told),
            "ready": bool(told.get("ready")),
            "pid": told.get("pid"),
            "endpoint": told.get("endpoint"),
            "data": str(folder.path),
            "api": told.get("api", []),
            "nodes": _nodes(tx, folder, named, now_us),
            "events": _events(tx, settings, now_us, name=None, most=RECENT_MOST),
            "operations": _operations(tx, named, now_us),
            "queues": _queues(tx),
            "pools": _pools(tx),
            "failovers": _failovers(tx, named, now_us),
            "resumed_operations": _resumed(tx, named, now_us),
            "receivers": _receivers(tx, now_us),
        }


def _nodes(tx: Connection, folder: DataFolder, named: Mapping[str, str], now_us: int) -> list[Found]:
    """Every incarnation that is not gone, and every node that an operator has taken out."""
    backends = _backends(tx)
    query = select(nodes).where(nodes.c.state != "gone").order_by(nodes.c.name, nodes.c.started_at_us)
    found = [
        {
            "name": row["name"],
            "incarnation": row["incarnation"],
            "state": row["state"],
            "keeper_pid": row["keeper_pid"],
            "worker_pid": row["worker_pid"],
            "queues": json.loads(row["queues_json"]),
            "version": row["version"],
            "started_s_ago": _ago(row["started_at_us"], now_us),
            "renewed_s_ago": _ago(row["renewed_at_us"], now_us),
            "fencer": named.get(row["fencer"] or "", row["fencer"]),
            "fence_error": row["fence_error"],
            "fence_tries": row["fence_tries"],
            "next_fence_in_s": _next_fence_in_s(row, now_us),
            "backends": _fenced(row, backends.get(row["incarnation"], {})),
            "drained": folder.drained(row["name"]).exists(),
        }
        for row in tx.execute(query).mappings()
    ]
    shown = {one["name"] for one in found}
    out = sorted(path.stem for path in (folder.path / "nodes").glob("*.drained"))
    nobody: Found = dict.fromkeys(("incarnation", "keeper_pid", "worker_pid", "version", "fencer", "fence_error"))
    nobody |= {"fence_tries": 0, "next_fence_in_s": None, "backends": []}
    return found + [{"name": name, "state": "drained", "drained": True, **nobody} for name in out if name not in shown]


def _backends(tx: Connection) -> dict[str, dict[str, str | None]]:
    """Incarnation -> queue -> how that backend is fenced from it."""
    found: dict[str, dict[str, str | None]] = {}
    for row in tx.execute(select(node_backends)).mappings():
        found.setdefault(row["incarnation"], {})[row["queue"]] = row["fenced_by"]
    return found


def _fenced(row: RowMapping, known: Mapping[str, str | None]) -> list[Found]:
    """One entry for each backend that a node has announced: fenced by which method, None where it is not."""
    queues = sorted({*json.loads(row["queues_json"]), *known})
    return [{"queue": name, "fenced_by": known.get(name)} for name in queues]


def _next_fence_in_s(row: RowMapping, now_us: int) -> float | None:
    """When the next node may try, None when there is nothing to try or somebody is at it."""
    if row["state"] != "expired" or row["fencer"] is not None:
        return None
    return max(0.0, -_ago(row["fence_after_us"], now_us))


def events(settings: Settings, *, name: str | None, most: int) -> list[Found]:
    """What happened to nodes, newest first."""
    with reading(settings) as tx:
        now_us = tx.execute(select(db_now_us())).scalar_one()
        return _events(tx, settings, now_us, name=name, most=most)


def _events(tx: Connection, settings: Settings, now_us: int, *, name: str | None, most: int) -> list[Found]:
    found = node_events.recent(tx, cluster=settings.service.cluster, most=most, node=name)
    return [
        {
            "node": one.node,
            "incarnation": one.incarnation,
            "event": one.event,
            "detail": one.detail,
            "at_us": one.at_us,
            "s_ago": _ago(one.at_us, now_us),
        }
        for one in found
    ]


def _operations(tx: Connection, named: Mapping[str, str], now_us: int) -> list[Found]:
    query = select(operations).order_by(operations.c.created_at_us, operations.c.id).limit(OPERATIONS_MOST)
    return [
        {
            "id": row["id"],
            "kind": row["kind"],
            "resource_type": row["resource_type"],
            "resource_id": row["resource_id"],
            "project_id": row["project_id"],
            "request_id": row["request_id"],
            "queue": row["queue"],
            "owner": named.get(row["owner"] or "", row["owner"]),
            "owner_incarnation": row["owner"],
            "direction": row["direction"],
            "step": row["step"],
            "attempt": row["attempt"],
            "epoch": row["epoch"],
            "cancel": row["cancel"],
            "age_s": _ago(row["created_at_us"], now_us),
            "not_before_in_s": max(0.0, -_ago(row["not_before_us"], now_us)),
            "progress": _progress(row),
        }
        for row in tx.execute(query).mappings()
    ]


def _progress(row: RowMapping) -> Found | None:
    """How far a backup or a restore is; None for all else. No rate and no end where nobody is at it, or it has just begun."""
    if row["kind"] not in progress.TOLD_BY:
        return None
    told = progress.told_in(row["state_json"])
    is_rated = row["owner"] is not None and told.rate > 0
    return {
        "percent": told.percent,
        "done_bytes": told.done,
        "total_bytes": told.total or None,
        "bytes_per_s": told.rate if is_rated else None,
        "eta_s": told.eta_s if is_rated else None,
        "store": json.loads(row["payload_json"])["store"],
    }


def _queues(tx: Connection) -> list[Found]:
    owned = func.count(operations.c.owner)
    query = select(operations.c.queue, func.count().label("depth"), owned.label("running")).group_by(operations.c.queue)
    busy = {row["queue"]: row for row in tx.execute(query).mappings()}
    served = set(tx.execute(select(pools.c.queue).distinct()).scalars())
    return [
        {
            "queue": name,
            "depth": busy[name]["depth"] if name in busy else 0,
            "running": busy[name]["running"] if name in busy else 0,
        }
        for name in sorted(served | busy.keys())
    ]


def _pools(tx: Connection) -> list[Found]:
    shown = ("name", "total_gib", "free_gib", "allocated_gib", "enabled")
    return [{key: row[key] for key in shown} for row in tx.execute(select(pools).order_by(pools.c.name)).mappings()]


def _failovers(tx: Connection, named: Mapping[str, str], now_us: int) -> list[Found]:
    """Nodes that others had to declare lost, or that are still waiting for the proof; newest first."""
    lost = or_(nodes.c.state == "expired", nodes.c.fencer.is_not(None))
    recent = or_(nodes.c.state == "expired", nodes.c.changed_at_us >= now_us - RECENT_US)
    query = select(nodes).where(lost, recent).order_by(nodes.c.changed_at_us.desc()).limit(RECENT_MOST)

    def shown(row: RowMapping) -> Found:
        return {
            "node": row["name"],
            "incarnation": row["incarnation"],
            "state": row["state"],
            "fencer": named.get(row["fencer"] or "", row["fencer"]),
            "fence_error": row["fence_error"],
            "s_ago": _ago(row["changed_at_us"], now_us),
        }

    return [shown(row) for row in tx.execute(query).mappings()]


def _resumed(tx: Connection, named: Mapping[str, str], now_us: int) -> list[Found]:
    """Operations that ended after they had been claimed more than once; newest first."""
    again = (operation_log.c.epoch > 1) & (operation_log.c.finished_at_us >= now_us - RECENT_US)
    query = select(operation_log).where(again).order_by(operation_log.c.finished_at_us.desc()).limit(RECENT_MOST)
    return [
        {
            "id": row["operation_id"],
            "kind": row["kind"],
            "resource_id": row["resource_id"],
            "outcome": row["outcome"],
            "owner": named.get(row["owner"] or "", row["owner"]),
            "epoch": row["epoch"],
            "attempt": row["attempt"],
            "s_ago": _ago(row["finished_at_us"], now_us),
        }
        for row in tx.execute(query).mappings()
    ]


def _receivers(tx: Connection, now_us: int) -> list[Found]:
    """Who is told of events."""
    return [
        {
            "receiver": one.receiver,
            "waiting": one.waiting,
            "oldest_s_ago": None if one.oldest_us is None else _ago(one.oldest_us, now_us),
            "aside": one.aside,
            "sent": one.sent,
            "failed": one.failed,
            "refused": one.refused,
            "dropped": one.dropped,
            "error": one.error,
        }
        for one in receivers.waiting(tx)
    ]


def _ago(at_us: int | None, now_us: int) -> float:
    """Seconds since then; negative for what is to come, 0 for never."""
    return round((now_us - at_us) / 1_000_000, 1) if at_us is not None else 0.0
