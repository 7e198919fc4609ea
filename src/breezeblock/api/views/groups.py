"""Groups and group snapshots as JSON, also under their older names: which keys there are, since when, and for whom."""

from collections.abc import Iterable, Mapping
from typing import Any

from breezeblock.api.call import Call
from breezeblock.api.microversions import (
    GROUP_PROJECT,
    GROUP_REPLICATION,
    GROUP_SNAPSHOT_OF_SNAPSHOT,
    GROUP_VOLUMES,
)
from breezeblock.api.views.template import format_time
from breezeblock.resources.group_listing import Groups
from breezeblock.resources.group_replication import STATUS

PROJECT_RULE = "group:group_project_attribute"
SNAPSHOT_PROJECT_RULE = "group:group_snapshot_project_attribute"


def summary(row: Any) -> dict[str, Any]:
    """Id and name, of a group or a group snapshot."""
    return {"id": row.id, "name": row.name}


def created(row: Mapping[str, Any]) -> dict[str, Any]:
    """The same of a row that a request has just made."""
    return {"id": row["id"], "name": row["name"]}


def details(call: Call, found: Groups, *, with_volumes: bool) -> list[dict[str, Any]]:
    """Groups with all that is to be seen of them."""
    version = call.microversion
    shows_project = version >= GROUP_PROJECT and call.may(PROJECT_RULE)
    shown = []
    for row in found.rows:
        one = consistency_group(row, found) | {"group_type": row.group_type_id}
        if version >= GROUP_SNAPSHOT_OF_SNAPSHOT:
            one |= {"group_snapshot_id": row.group_snapshot_id, "source_group_id": row.source_group_id}
        if version >= GROUP_VOLUMES and with_volumes:
            one["volumes"] = found.volumes.get(row.id, [])
        if version >= GROUP_REPLICATION:
            one["replication_status"] = STATUS
        if shows_project:
            one["project_id"] = row.project_id
        shown.append(one)
    return shown


def consistency_group(row: Any, found: Groups) -> dict[str, Any]:
    """What has always been shown of a group."""
    return {
        "id": row.id,
        "status": row.status,
        "availability_zone": row.availability_zone,
        "created_at": format_time(row.created_at_us),
        "name": row.name,
        "description": row.description,
        "volume_types": found.types.get(row.id, []),
    }


def snapshots(call: Call, rows: Iterable[Any]) -> list[dict[str, Any]]:
    """Group snapshots with all that is to be seen of them."""
    shows_project = call.microversion >= GROUP_PROJECT and call.may(SNAPSHOT_PROJECT_RULE)
    return [_snapshot(row) | ({"project_id": row.project_id} if shows_project else {}) for row in rows]


def _snapshot(row: Any) -> dict[str, Any]:
    return {
        "id": row.id,
        "group_id": row.group_id,
        "group_type_id": row.group_type_id,
        "status": row.status,
        "created_at": format_time(row.created_at_us),
        "name": row.name,
        "description": row.description,
    }


def cgsnapshot(row: Any) -> dict[str, Any]:
    """A group snapshot, as a snapshot of a consistency group."""
    return {
        "id": row.id,
        "consistencygroup_id": row.group_id,
        "status": row.status,
        "created_at": format_time(row.created_at_us),
        "name": row.name,
        "description": row.description,
    }
