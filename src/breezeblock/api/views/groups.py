"""Groups and group snapshots as JSON, also under their older names: which keys there are, since when, and for whom."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from breezeblock.api.call import Call
from breezeblock.api.microversions import (
    GROUP_PROJECT,
    GROUP_REPLICATION,
    GROUP_SNAPSHOT_OF_SNAPSHOT,
    GROUP_VOLUMES,
)
from breezeblock.api.views.shapes import TEXT, TEXT_OR_NULL, late, late_keys, many, named, object_of, paged
from breezeblock.api.views.template import format_time
from breezeblock.resources.group_listing import Groups
from breezeblock.resources.group_replication import STATUS

PROJECT_RULE = "group:group_project_attribute"
SNAPSHOT_PROJECT_RULE = "group:group_snapshot_project_attribute"


_ID: Final = {"id": TEXT, "name": TEXT_OR_NULL}
_SHORT: Final = object_of(_ID)
_CONSISTENCY_GROUP: Final = {
    **_ID,
    "status": TEXT,
    "availability_zone": TEXT_OR_NULL,
    "created_at": TEXT,
    "description": TEXT_OR_NULL,
    "volume_types": many(TEXT),
}
_GROUP: Final = object_of(
    {
        **_CONSISTENCY_GROUP,
        "group_type": TEXT,
        **late_keys(GROUP_SNAPSHOT_OF_SNAPSHOT, {"group_snapshot_id": TEXT_OR_NULL, "source_group_id": TEXT_OR_NULL}),
        "replication_status": late(GROUP_REPLICATION, TEXT),
    },
    {
        "volumes": late(GROUP_VOLUMES, many(TEXT), optional=True),
        "project_id": late(GROUP_PROJECT, TEXT, optional=True),
    },
)
_TAKEN: Final = {**_ID, "status": TEXT, "created_at": TEXT, "description": TEXT_OR_NULL}
_SNAPSHOT: Final = object_of(
    {**_TAKEN, "group_id": TEXT, "group_type_id": TEXT}, {"project_id": late(GROUP_PROJECT, TEXT, optional=True)}
)
_CGSNAPSHOT: Final = object_of({**_TAKEN, "consistencygroup_id": TEXT})

ONE: Final = named("group", _GROUP)
CREATED: Final = named("group", _SHORT)
MANY: Final = paged("groups", _GROUP, links="group_links")
MANY_SHORT: Final = paged("groups", _SHORT, links="group_links")
ONE_SNAPSHOT: Final = named("group_snapshot", _SNAPSHOT)
SNAPSHOT_CREATED: Final = named("group_snapshot", object_of({**_ID, "group_type_id": TEXT}))
MANY_SNAPSHOTS: Final = paged("group_snapshots", _SNAPSHOT, links="group_snapshot_links")
MANY_SNAPSHOTS_SHORT: Final = paged("group_snapshots", _SHORT, links="group_snapshot_links")
ONE_CONSISTENCY_GROUP: Final = named("consistencygroup", object_of(_CONSISTENCY_GROUP))
CONSISTENCY_GROUP_CREATED: Final = named("consistencygroup", _SHORT)
MANY_CONSISTENCY_GROUPS: Final = paged(
    "consistencygroups", object_of(_CONSISTENCY_GROUP), links="consistencygroup_links"
)
MANY_CONSISTENCY_GROUPS_SHORT: Final = paged("consistencygroups", _SHORT, links="consistencygroup_links")
ONE_CGSNAPSHOT: Final = named("cgsnapshot", _CGSNAPSHOT)
CGSNAPSHOT_CREATED: Final = named("cgsnapshot", _SHORT)
MANY_CGSNAPSHOTS: Final = named("cgsnapshots", many(_CGSNAPSHOT))
MANY_CGSNAPSHOTS_SHORT: Final = named("cgsnapshots", many(_SHORT))


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
