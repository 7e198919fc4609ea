"""What each list takes in its query, written down from Cinder (its etc/cinder/resource_filters.json, api and db/models.py).

Of each filter a value that the row `a` has and the row `b` has not. Where a list differs from Cinder's on purpose,
docs/explanation/lists.md says so.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from tests.api.builders import (
    GROUP_TYPE,
    START_US,
    backup_row,
    group_row,
    group_snapshot_row,
    group_type_row,
    snapshot_row,
    volume_row,
)

from breezeblock.resources.types import DEFAULT_TYPE_ID
from breezeblock.store import tables

# What is answered to a filter that is not there.
ALL, NONE, REFUSED = "ab", "", "400"


def id_of(digit: int) -> str:
    return f"0000000{digit}-0000-4000-8000-000000000000"


ID = {"a": id_of(1), "b": id_of(2), "c": id_of(3)}
OTHER, GROUP, SNAPSHOT, VOLUME, PARENT = (id_of(digit) for digit in range(4, 9))
TYPE = id_of(9)


@dataclass(frozen=True, kw_only=True)
class Listed:
    """One list. Versions are minor numbers."""

    url: str
    noun: str
    since: int = 0
    # Filters of everybody, those since later, and those of administrators.
    members: Mapping[str, str] = field(default_factory=dict)
    later: Mapping[str, int] = field(default_factory=dict)
    admins: Mapping[str, str] = field(default_factory=dict)
    # Administrators' filters for what no row here has.
    nothing: tuple[str, ...] = ()
    # From this version on it refuses what it does not know.
    refuses: int | None = 31
    # What members get for an unknown filter before, and for an administrators' filter: nothing is looked at, or nothing found.
    before: str = ALL
    sort: tuple[str, ...] = ()
    sort_later: Mapping[str, int] = field(default_factory=dict)
    links: str | None = None
    paged_since: int = 0
    counted: bool = False
    # Only for administrators at all.
    admin: bool = False
    # Whether what is listed is a project's.
    owned: bool = True
    # Rows that are there besides.
    others: frozenset[str] = frozenset()


_NAMED: Final = {"name": "a", "status": "error"}
_OWNED: Final = {"id": ID["a"], "user_id": "u1", "description": "first"}
_DISPLAYED: Final = {"display_name": "a", "display_description": "first"}
_SORT: Final = ("id", "status", "user_id", "project_id", "created_at", "updated_at")
_PLACES: Final = {"host": "node-a", "cluster_name": "node-a@fast"}

_TRANSFERS: Final = Listed(
    url="volume-transfers",
    noun="transfers",
    members={"name": "a", "display_name": "a", "volume_id": VOLUME, "id": ID["a"], "no_snapshots": "true"},
    nothing=("destination_project_id",),
    refuses=None,
    before=NONE,
    sort=("id", "display_name", "volume_id", "created_at"),
    links="transfers_links",
    paged_since=59,
)
_GROUPS: Final = Listed(
    url="groups",
    noun="groups",
    since=13,
    members={"name": "a"},
    admins=_OWNED | _PLACES | {
        "status": "error", "availability_zone": "az1", "group_snapshot_id": SNAPSHOT, "source_group_id": GROUP,
    },
    before=NONE,
    sort=(*_SORT, "name", "description", "host", "availability_zone", "group_type_id", "group_snapshot_id"),
    links="group_links",
)  # fmt: skip

LISTS: Final = (
    Listed(
        url="volumes",
        noun="volumes",
        members=_NAMED | {
            "metadata": '{"k": "1"}', "bootable": "true", "migration_status": "error", "availability_zone": "az1",
            "size": "3", "group_id": GROUP, "created_at": "lt:2026-11-18T11:06:42", "updated_at": "gt:2026-11-18T11:06:40",
            "glance_metadata": '{"os": "x"}',
        },
        later={"group_id": 10, "created_at": 31, "updated_at": 31, "glance_metadata": 4},
        admins=_OWNED | _DISPLAYED | _PLACES | {
            "volume_type_id": TYPE, "snapshot_id": SNAPSHOT, "source_volid": OTHER, "attach_status": "attached",
            "multiattach": "true", "replication_status": "enabled", "encryption_key_id": OTHER, "encrypted": "true",
        },
        nothing=("consistencygroup_id", "provider_id", "service_uuid"),
        sort=(
            *_SORT, "name", "display_name", "display_description", "size", "host", "availability_zone", "bootable",
            "attach_status", "migration_status", "volume_type_id", "snapshot_id", "source_volid", "group_id",
            "multiattach", "replication_status", "encryption_key_id",
        ),
        links="volumes_links",
        counted=True,
        others=frozenset({VOLUME}),
    ),
    Listed(
        url="snapshots",
        noun="snapshots",
        members=_NAMED | {"volume_id": VOLUME, "metadata": '{"k": "1"}', "availability_zone": "az1"},
        later={"metadata": 22},
        admins=_OWNED | _DISPLAYED | _PLACES | {
            "volume_size": "3", "volume_type_id": TYPE, "group_snapshot_id": SNAPSHOT, "progress": "7%",
        },
        nothing=("cgsnapshot_id",),
        sort=(
            *_SORT, "name", "display_name", "display_description", "volume_id", "volume_size", "volume_type_id", "progress",
            "group_snapshot_id",
        ),
        sort_later={"name": 30},
        links="snapshots_links",
        counted=True,
    ),
    Listed(
        url="backups",
        noun="backups",
        members=_NAMED | {"volume_id": VOLUME},
        admins=_OWNED | _DISPLAYED | {
            "container": "first", "availability_zone": "az1", "host": "node-a@fast", "snapshot_id": SNAPSHOT,
            "parent_id": PARENT, "size": "3", "fail_reason": "full", "object_count": "7",
        },
        sort=(
            *_SORT, "name", "display_name", "display_description", "volume_id", "host", "availability_zone", "container",
            "parent_id", "size", "snapshot_id", "data_timestamp", "fail_reason", "object_count",
        ),
        sort_later={"name": 37},
        links="backups_links",
        counted=True,
    ),
    Listed(
        url="attachments",
        noun="attachments",
        since=27,
        members={
            "volume_id": VOLUME, "status": "reserved", "attach_status": "reserved", "instance_id": OTHER, "attached_host": "h1",
        },
        admins={
            "id": ID["a"], "instance_uuid": OTHER, "mountpoint": "/dev/vdb", "attach_mode": "ro",
        },
        sort=(
            "id", "volume_id", "instance_uuid", "attached_host", "mountpoint", "attach_status", "attach_mode", "created_at",
            "updated_at",
        ),
    ),
    _GROUPS,
    Listed(
        url="group_snapshots",
        noun="group_snapshots",
        since=14,
        members=_NAMED | {"group_id": GROUP},
        later={"name": 29, "status": 29, "group_id": 29},
        admins=_OWNED,
        before=NONE,
        sort=(*_SORT, "name", "description", "group_id", "group_type_id"),
        links="group_snapshot_links",
        paged_since=29,
    ),
    Listed(
        url="consistencygroups",
        noun="consistencygroups",
        members={**_GROUPS.members, **_GROUPS.admins},
        refuses=None,
        before=NONE,
        sort=_GROUPS.sort,
        links="consistencygroup_links",
    ),
    Listed(
        url="cgsnapshots", noun="cgsnapshots", refuses=None, before=ALL, sort=(), links=None
    ),
    _TRANSFERS,
    Listed(**{**_TRANSFERS.__dict__, "url": "os-volume-transfer", "links": None, "sort": ()}),
    Listed(
        url="messages",
        noun="messages",
        since=5,
        members={
            "resource_uuid": VOLUME, "resource_type": "VOLUME", "event_id": "E1", "request_id": "req-1",
            "message_level": "WARNING",
        },
        admins={"id": ID["a"]},
        before=NONE,
        sort=("id", "project_id", "message_level", "request_id", "resource_type", "resource_uuid", "event_id", "created_at"),
        links="messages_links",
    ),
    Listed(
        url="types",
        noun="volume_types",
        members={"extra_specs": '{"RESKEY:availability_zones": "az1"}'},
        later={"extra_specs": 52},
        admins={"id": ID["a"], "name": "a", "description": "first", "qos_specs_id": OTHER},
        refuses=52,
        sort=("id", "name", "description", "qos_specs_id", "created_at", "updated_at", "is_public"),
        links="volume_type_links",
        others=frozenset({DEFAULT_TYPE_ID, TYPE}),
        owned=False,
    ),
    Listed(
        url="group_types",
        noun="group_types",
        since=11,
        refuses=None,
        sort=("id", "name", "description", "created_at", "updated_at", "is_public"),
        links="group_type_links",
        others=frozenset({GROUP_TYPE}),
        owned=False,
    ),
    Listed(
        url="qos-specs",
        noun="qos_specs",
        admins={"id": ID["a"], "name": "a", "consumer": "both"},
        refuses=None,
        sort=("id", "created_at", "updated_at"),
        links="qos_specs_links",
        admin=True,
        owned=False,
    ),
)  # fmt: skip


def rows() -> dict[Any, list[dict[str, Any]]]:
    """What there is: of everything `a`, then `b`, and `c` in another project."""
    found: dict[Any, list[dict[str, Any]]] = {}
    for letter, at in (("a", 1), ("b", 2), ("c", 3)):
        is_a = letter == "a"
        base: dict[str, Any] = {
            "id": ID[letter], "name": letter, "project_id": "p2" if letter == "c" else "p1",
            "created_at_us": START_US + at * 1_000_000,
        }  # fmt: skip
        owned = base | {"user_id": "u1" if is_a else "u2", "description": "first" if is_a else None}
        stated = owned | {"status": "error" if is_a else "available"}
        pool = {"pool_name": "node-a@fast#pool" if is_a else "node-ab@fast#pool"}
        volume = {
            "metadata_json": '{"k":"1"}', "bootable": True, "migration_status": "error", "availability_zone": "az1",
            "size_gib": 3, "group_id": GROUP, "updated_at_us": START_US + 5_000_000, "volume_type_id": TYPE,
            "image_metadata_json": '{"os":"x"}', "snapshot_id": SNAPSHOT, "source_volid": OTHER,
            "attach_status": "attached", "multiattach": True, "replication_status": "enabled",
            "encryption_key_id": OTHER, "encrypted": True,
        }  # fmt: skip
        snapshot = {
            "volume_id": VOLUME, "metadata_json": '{"k":"1"}', "size_gib": 3, "volume_type_id": TYPE,
            "group_snapshot_id": SNAPSHOT, "progress": "7%",
        }  # fmt: skip
        backup = {
            "volume_id": VOLUME, "container": "first", "availability_zone": "az1", "host": "node-a@fast", "size_gib": 3,
            "snapshot_id": SNAPSHOT, "parent_id": PARENT, "fail_reason": "full", "object_count": 7,
        }  # fmt: skip
        group = {"availability_zone": "az1", "group_snapshot_id": SNAPSHOT, "source_group_id": GROUP}
        attachment = {
            "volume_id": VOLUME if is_a else OTHER, "status": "reserved" if is_a else "attached",
            "instance_uuid": OTHER if is_a else VOLUME, "attached_host": "h1" if is_a else "h2",
            "mountpoint": "/dev/vdb" if is_a else "/dev/vdc", "attach_mode": "ro" if is_a else "rw",
        }  # fmt: skip
        transfer = {"volume_id": VOLUME if is_a else OTHER, "no_snapshots": is_a, "salt": "5a17", "key_hash": "0"}
        message = {
            "resource_type": "VOLUME" if is_a else "VOLUME_BACKUP", "resource_id": VOLUME if is_a else OTHER,
            "event_id": "E1" if is_a else "E2", "request_id": "req-1" if is_a else "req-2", "user_message": "It failed.",
            "message_level": "WARNING" if is_a else "ERROR", "guaranteed_until_us": START_US,
        }  # fmt: skip
        type_specs = '{"RESKEY:availability_zones":"az1"}' if is_a else "{}"
        made = {
            tables.volumes: volume_row(**stated, **pool, **(volume if is_a else {})),
            tables.snapshots: snapshot_row(**stated, **pool, **(snapshot if is_a else {})),
            tables.backups: backup_row(**stated, **(backup if is_a else {})),
            tables.volume_groups: group_row(**stated, **pool, **(group if is_a else {})),
            tables.group_snapshots: group_snapshot_row(**stated, **({"group_id": GROUP} if is_a else {})),
            tables.attachments: _without(base, "name") | attachment,
            tables.transfers: base | transfer,
            tables.messages: _without(base, "name") | message,
        }
        if letter != "c":
            named = _without(base, "project_id")
            described = named | {"description": owned["description"]}
            made[tables.volume_types] = described | {
                "qos_specs_id": OTHER if is_a else None, "extra_specs_json": type_specs,
            }  # fmt: skip
            made[tables.group_types] = group_type_row(**described)
            made[tables.qos_specs] = named | {"consumer": "both" if is_a else "back-end"}
        for table, row in made.items():
            found.setdefault(table, []).append(row)
    # The snapshot's zone is its volume's.
    found[tables.volumes].append(volume_row(id=VOLUME, project_id="p2", availability_zone="az1"))
    found[tables.volume_types].append({"id": TYPE, "name": "t", "created_at_us": START_US - 1})
    found[tables.group_types].append(group_type_row(created_at_us=START_US - 1))
    return found


def _without(row: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key != name}
