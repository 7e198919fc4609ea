"""The rows of a cloud as it might be at some moment: every one valid, and all of them consistent with each other."""

import hashlib
import json
from collections.abc import Iterator
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from breezeblock.resources.types import DEFAULT_TYPE_ID
from breezeblock.resources.volumes import CreateVolume, DeleteVolume
from breezeblock.store import tables
from breezeblock.work.catalogue import CATALOGUE

from .plan import (
    APPS,
    CLUSTERS,
    ERROR_EVERY,
    ONE_IN,
    QUEUED,
    RARE_EVERY,
    START_US,
    WITH_SNAPSHOT,
    Plan,
    Volume,
    as_uuid,
    cluster_of,
    incarnation,
    queue_of,
    volume,
)

__all__ = ["KINDS_JSON", "MANY", "few", "many"]

Values = tuple[Any, ...]
KINDS_JSON: Final = json.dumps({kind: operation.version for kind, operation in CATALOGUE.items()})
_TOTAL_GIB: Final = 100_000_000


def _template(table: sa.Table) -> dict[str, Any]:
    """What a column has when nothing is said: its default, or NULL."""
    return {column.name: _default_of(column) for column in table.c}


def _default_of(column: sa.Column[Any]) -> Any:
    default: Any = column.default
    if default is None:
        return None
    return int(default.arg) if isinstance(column.type, sa.Boolean) else default.arg


def _volume(number: int, at: Volume) -> dict[str, Any]:
    queued = number % ONE_IN == QUEUED
    created = queued and number % (2 * ONE_IN) == QUEUED
    status = "creating" if created else "deleting" if queued else "available"
    if not queued and number % ERROR_EVERY == 0:
        status = "error"
    size = 1 + number % 8
    at_us = START_US + number * 1_000
    rare = ',"ticket":"4711"' if number % RARE_EVERY == 0 else ""
    return {
        "id": at.id,
        "op_seq": 1 if created else 2,
        "project_id": at.project,
        "user_id": "user",
        "name": f"volume-{number}",
        "size_gib": size,
        "status": status,
        "previous_status": "available" if status == "deleting" else None,
        "volume_type_id": DEFAULT_TYPE_ID,
        "availability_zone": "nova",
        "pool_name": f"{at.queue}#pool",
        "object_name": None if created else f"{at.id}.1.1",
        "metadata_json": f'{{"app":"app-{number % APPS}"{rare}}}',
        "charged_gib": size,
        "charged_type_id": DEFAULT_TYPE_ID,
        "created_at_us": at_us,
    }


def _snapshot(number: int, at: Volume) -> dict[str, Any]:
    size = 1 + number % 8
    id_ = _id("snapshot", number)
    return {
        "id": id_,
        "op_seq": 1,
        "project_id": at.project,
        "user_id": "user",
        "name": f"snapshot-{number}",
        "volume_id": at.id,
        "size_gib": size,
        "status": "available",
        "progress": "100%",
        "volume_type_id": DEFAULT_TYPE_ID,
        "pool_name": f"{at.queue}#pool",
        "object_name": f"{id_}.1.1",
        "charged_gib": size,
        "charged_type_id": DEFAULT_TYPE_ID,
        "created_at_us": START_US + number * 1_000 + 1,
    }


def _operation(number: int, at: Volume) -> dict[str, Any]:
    created = number % (2 * ONE_IN) == QUEUED
    payload: Any = DeleteVolume(volume_id=at.id)
    if created:
        payload = CreateVolume(volume_id=at.id, size_gib=1 + number % 8)
    return {
        "id": _id("operation", number),
        "kind": "create_volume" if created else "delete_volume",
        "version": 1,
        "queue": at.queue,
        "resource_type": "volume",
        "resource_id": at.id,
        "project_id": at.project,
        "user_id": "user",
        "request_id": f"req-{number}",
        "payload_json": msgspec.json.encode(payload).decode(),
        "touched": 0,
        "created_at_us": START_US + number * 1_000,
    }


def _lock(number: int, at: Volume) -> dict[str, Any]:
    created = number % (2 * ONE_IN) == QUEUED
    seq = 1 if created else 2
    return {"resource_id": at.id, "seq": seq, "operation_id": _id("operation", number), "exclusive": 1}


def _log(number: int, at: Volume) -> dict[str, Any]:
    at_us = START_US + number * 1_000
    return {
        "operation_id": _id("done", number),
        "kind": "create_volume",
        "queue": at.queue,
        "resource_type": "volume",
        "resource_id": at.id,
        "project_id": at.project,
        "request_id": f"req-{number}",
        "outcome": "done",
        "attempt": 0,
        "owner": incarnation(0),
        "epoch": 1,
        "locks_json": f'[["{at.id}",1,true]]',
        "created_at_us": at_us,
        "claimed_at_us": at_us + 100,
        "finished_at_us": at_us + 900,
    }


def _id(noun: str, number: int) -> str:
    return as_uuid(hashlib.md5(f"{noun}{number}".encode(), usedforsecurity=False).hexdigest())


# Table -> its rows by volumes' numbers: of those whose last digit that is, or of all.
MANY: Final = {
    tables.volumes: (_volume, None),
    tables.snapshots: (_snapshot, WITH_SNAPSHOT),
    tables.operations: (_operation, QUEUED),
    tables.operation_locks: (_lock, QUEUED),
    tables.operation_log: (_log, 1),
}


def many(table: sa.Table, numbers: range) -> Iterator[Values]:
    """The rows that the volumes of these numbers have in a table, each with all columns, in their order."""
    make, digit = MANY[table]
    template = _template(table)
    for number in numbers:
        if digit is None or number % ONE_IN == digit:
            yield tuple({**template, **make(number, volume(number))}.values())


def few(plan: Plan) -> dict[sa.Table, list[dict[str, Any]]]:
    """Nodes, their backends, and pools: as many as there are, however many volumes."""
    pools = [
        {
            "name": f"{queue_of(cluster)}#pool",
            "queue": queue_of(cluster),
            "total_gib": _TOTAL_GIB,
            "free_gib": _TOTAL_GIB,
            "availability_zone": "nova",
            "report_seq": 1,
            "reported_at_us": START_US,
        }
        for cluster in range(CLUSTERS)
    ]
    nodes = [
        {
            "incarnation": incarnation(node),
            "name": f"node-{node}",
            "cluster": f"cluster-{cluster_of(node)}",
            "boot_id": _id("boot", node),
            "state": "up",
            "heartbeat": 1,
            "queues_json": json.dumps([queue_of(cluster_of(node))]),
            "kinds_json": KINDS_JSON,
            "version": "0",
            "lock_path": "/var/lib/breezeblock/lock",
            "lock_id": _id("lock", node),
            "keeper_pid": 1,
            "started_at_us": START_US,
        }
        for node in range(plan.nodes)
    ]
    backends = [
        {"incarnation": one["incarnation"], "queue": queue_of(cluster_of(node)), "identity_json": '{"machine":"m"}'}
        for node, one in enumerate(nodes)
    ]
    return {tables.pools: pools, tables.nodes: nodes, tables.node_backends: backends}
