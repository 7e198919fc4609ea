"""What each answer has, written down independently of the code: keys, since when, for whom, of which type."""

from typing import Any, NamedTuple

NULL = type(None)


class Expected(NamedTuple):
    types: tuple[type, ...]
    since: int = 0
    admin: bool = False
    # Only in show and list.
    attribute: bool = False


VOLUME = {
    "id": Expected((str,)),
    "status": Expected((str,)),
    "size": Expected((int,)),
    "availability_zone": Expected((str,)),
    "created_at": Expected((str,)),
    "updated_at": Expected((str, NULL)),
    "name": Expected((str, NULL)),
    "description": Expected((str, NULL)),
    "volume_type": Expected((str, NULL)),
    "snapshot_id": Expected((str, NULL)),
    "source_volid": Expected((str, NULL)),
    "metadata": Expected((dict,)),
    "links": Expected((list,)),
    "user_id": Expected((str,)),
    "bootable": Expected((str,)),
    "encrypted": Expected((bool,)),
    "replication_status": Expected((str, NULL)),
    "consistencygroup_id": Expected((str, NULL)),
    "multiattach": Expected((bool,)),
    "attachments": Expected((list,)),
    "migration_status": Expected((str, NULL), admin=True),
    "group_id": Expected((str, NULL), since=13),
    "provider_id": Expected((str, NULL), since=21, admin=True),
    "shared_targets": Expected((bool, NULL), since=48),
    "service_uuid": Expected((str, NULL), since=48),
    "cluster_name": Expected((str, NULL), since=61, admin=True),
    "volume_type_id": Expected((str, NULL), since=63),
    "consumes_quota": Expected((bool,), since=65),
    "os-vol-tenant-attr:tenant_id": Expected((str,), attribute=True),
    "os-vol-host-attr:host": Expected((str, NULL), admin=True, attribute=True),
    "os-vol-mig-status-attr:migstat": Expected((str, NULL), admin=True, attribute=True),
    "os-vol-mig-status-attr:name_id": Expected((str, NULL), admin=True, attribute=True),
}

SNAPSHOT = {
    "id": Expected((str,)),
    "created_at": Expected((str,)),
    "updated_at": Expected((str, NULL)),
    "name": Expected((str, NULL)),
    "description": Expected((str, NULL)),
    "volume_id": Expected((str,)),
    "status": Expected((str,)),
    "size": Expected((int,)),
    "metadata": Expected((dict,)),
    "group_snapshot_id": Expected((str, NULL), since=14),
    "user_id": Expected((str,), since=41),
    "consumes_quota": Expected((bool,), since=65),
    "os-extended-snapshot-attributes:progress": Expected((str,), attribute=True),
    "os-extended-snapshot-attributes:project_id": Expected((str,), attribute=True),
}

BACKUP = {
    "id": Expected((str,)),
    "status": Expected((str,)),
    "size": Expected((int,)),
    "object_count": Expected((int,)),
    "availability_zone": Expected((str, NULL)),
    "container": Expected((str, NULL)),
    "created_at": Expected((str,)),
    "updated_at": Expected((str, NULL)),
    "name": Expected((str, NULL)),
    "description": Expected((str, NULL)),
    "fail_reason": Expected((str, NULL)),
    "volume_id": Expected((str,)),
    "links": Expected((list,)),
    "is_incremental": Expected((bool,)),
    "has_dependent_backups": Expected((bool,)),
    "snapshot_id": Expected((str, NULL)),
    "data_timestamp": Expected((str,)),
    "metadata": Expected((dict,), since=43),
    "os-backup-project-attr:project_id": Expected((str,), since=18, admin=True),
    "user_id": Expected((str,), since=56, admin=True),
}

BACKUP_SUMMARY = {"id", "name", "links"}
VOLUME_SUMMARY = {"id", "name", "links"}
SNAPSHOT_SUMMARY = {key for key, one in SNAPSHOT.items() if not one.since and not one.attribute}


def names(table: dict[str, Expected], *, minor: int, admin: bool, attributes: bool) -> set[str]:
    """The keys of an answer in version 3.`minor`."""
    return {
        key
        for key, one in table.items()
        if one.since <= minor and (admin or not one.admin) and (attributes or not one.attribute)
    }


def wrong_types(table: dict[str, Expected], found: dict[str, Any]) -> dict[str, Any]:
    """The keys whose values are of another type than the table says."""
    return {key: value for key, value in found.items() if type(value) not in table[key].types}
