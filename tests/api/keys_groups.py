"""Which keys the answers about groups have, since when, and for whom; written down independently of the code."""

from tests.api.keys import NULL, Expected

SUMMARY = {"id", "name"}

GROUP_TYPE = {
    "id": Expected((str,)),
    "name": Expected((str,)),
    "description": Expected((str, NULL)),
    "is_public": Expected((bool,)),
    "group_specs": Expected((dict,), admin=True),
}
GROUP = {
    "id": Expected((str,)),
    "status": Expected((str,)),
    "availability_zone": Expected((str, NULL)),
    "created_at": Expected((str,)),
    "name": Expected((str, NULL)),
    "description": Expected((str, NULL)),
    "group_type": Expected((str,)),
    "volume_types": Expected((list,)),
    "group_snapshot_id": Expected((str, NULL), since=14),
    "source_group_id": Expected((str, NULL), since=14),
    # Only where it was asked for.
    "volumes": Expected((list,), since=25),
    "replication_status": Expected((str,), since=38),
    "project_id": Expected((str,), since=58, admin=True),
}
GROUP_SNAPSHOT = {
    "id": Expected((str,)),
    "group_id": Expected((str,)),
    "group_type_id": Expected((str,)),
    "status": Expected((str,)),
    "created_at": Expected((str,)),
    "name": Expected((str, NULL)),
    "description": Expected((str, NULL)),
    "project_id": Expected((str,), since=58, admin=True),
}
CONSISTENCY_GROUP = {
    "id": Expected((str,)),
    "status": Expected((str,)),
    "availability_zone": Expected((str, NULL)),
    "created_at": Expected((str,)),
    "name": Expected((str, NULL)),
    "description": Expected((str, NULL)),
    "volume_types": Expected((list,)),
}
CGSNAPSHOT = {
    "id": Expected((str,)),
    "consistencygroup_id": Expected((str,)),
    "status": Expected((str,)),
    "created_at": Expected((str,)),
    "name": Expected((str, NULL)),
    "description": Expected((str, NULL)),
}
