"""Pools as JSON: what drivers said of themselves, and what the pool's row knows better."""

import json
from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import RowMapping

from breezeblock.api.views.shapes import ANYTHING, NUMBER, TEXT, TEXT_OR_NULL, Json, many, named, object_of
from breezeblock.api.views.template import format_time

# What a driver reports of itself stands among what is known of every pool.
_CAPABILITIES: Final[Json] = {
    "type": "object",
    "properties": {
        "volume_backend_name": TEXT,
        "storage_protocol": TEXT_OR_NULL,
        "vendor_name": TEXT,
        "driver_version": TEXT_OR_NULL,
        "pool_name": TEXT,
        "total_capacity_gb": NUMBER,
        "free_capacity_gb": NUMBER,
        "allocated_capacity_gb": NUMBER,
        "provisioned_capacity_gb": NUMBER,
        "reserved_percentage": NUMBER,
        "max_over_subscription_ratio": TEXT,
        "timestamp": TEXT_OR_NULL,
        "updated": TEXT_OR_NULL,
    },
    "required": ["volume_backend_name", "pool_name", "total_capacity_gb", "free_capacity_gb", "timestamp"],
    "additionalProperties": ANYTHING,
}
MANY: Final = named("pools", many(object_of({"name": TEXT}, {"capabilities": _CAPABILITIES})))


def summary(row: Mapping[str, Any] | RowMapping) -> dict[str, Any]:
    return {"name": row["name"]}


def detail(row: Mapping[str, Any] | RowMapping) -> dict[str, Any]:
    return {"name": row["name"], "capabilities": capabilities(row)}


def capabilities(row: Mapping[str, Any] | RowMapping) -> dict[str, Any]:
    reported_at = None if row["reported_at_us"] is None else format_time(row["reported_at_us"])
    queue, _, pool = row["name"].partition("#")
    offered = {
        "volume_backend_name": queue.rpartition("@")[2],
        "storage_protocol": None,
        "vendor_name": "Breezeblock",
        "driver_version": None,
        "QoS_support": False,
        **json.loads(row["capabilities_json"]),
    }
    return offered | {
        "pool_name": pool,
        "total_capacity_gb": row["total_gib"],
        "free_capacity_gb": row["free_gib"],
        "allocated_capacity_gb": row["allocated_gib"],
        "provisioned_capacity_gb": row["allocated_gib"],
        "reserved_percentage": row["reserved_percentage"],
        # A text, as ever, because other backends say "auto" here.
        "max_over_subscription_ratio": str(row["over_subscription_percent"] / 100),
        "timestamp": reported_at,
        "updated": reported_at,
    }
