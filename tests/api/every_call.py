"""One good request for every call of the API, and the rows that make it one. All rows are of project `p1`.

In paths and bodies `{word}` stands for the id of a row of ROWS.
"""

import base64
import json
from typing import Any, Final, NamedTuple

from tests.api.builders import (
    GROUP_TYPE,
    NODE,
    POOL,
    POOL_NAME,
    QUEUE,
    START_US,
    backup_row,
    default_type,
    group_row,
    group_snapshot_row,
    group_type_row,
    snapshot_row,
    volume_row,
)

from breezeblock.api.microversions import NEWEST, Version
from breezeblock.api.routes import ROUTES
from breezeblock.api.routing import Action, Route
from breezeblock.resources import transfers
from breezeblock.resources.group_types import CONSISTENT_TYPE_ID
from breezeblock.resources.types import DEFAULT_TYPE_ID
from breezeblock.store import tables

# What a project owns, by the word that stands for it.
OWNED: Final = {
    "volume": "aaaaaaaa-0000-4000-8000-000000000001",
    "broken": "aaaaaaaa-0000-4000-8000-000000000002",
    "reserved": "aaaaaaaa-0000-4000-8000-000000000003",
    "attached": "aaaaaaaa-0000-4000-8000-000000000004",
    "offered": "aaaaaaaa-0000-4000-8000-000000000005",
    "imaged": "aaaaaaaa-0000-4000-8000-000000000006",
    "spare": "aaaaaaaa-0000-4000-8000-000000000007",
    "member": "aaaaaaaa-0000-4000-8000-000000000008",
    "parting": "aaaaaaaa-0000-4000-8000-000000000009",
    "snapshot": "bbbbbbbb-0000-4000-8000-000000000001",
    "making": "bbbbbbbb-0000-4000-8000-000000000002",
    "backup": "cccccccc-0000-4000-8000-000000000001",
    "reservation": "dddddddd-0000-4000-8000-000000000001",
    "attachment": "dddddddd-0000-4000-8000-000000000002",
    "transfer": "dddddddd-0000-4000-8000-000000000003",
    "group": "eeeeeeee-0000-4000-8000-000000000001",
    "emptied": "eeeeeeee-0000-4000-8000-000000000002",
    "group_snapshot": "eeeeeeee-0000-4000-8000-000000000003",
    "message": "ffffffff-0000-4000-8000-000000000001",
}
# What everybody may name.
SHARED: Final = {
    "type": "abababab-0000-4000-8000-000000000001",
    "hidden": "abababab-0000-4000-8000-000000000002",
    "plain": "abababab-0000-4000-8000-000000000003",
    "group_type": "abababab-0000-4000-8000-000000000004",
    "qos": "abababab-0000-4000-8000-000000000005",
    "default": DEFAULT_TYPE_ID,
}
NOBODY: Final = "99999999-9999-4999-8999-999999999999"
AUTH_KEY: Final = "0123456789abcdef"
ENCRYPTION: Final = "provider"
EXTRA_SPECS: Final = '{"key":"value","multiattach":"<is> False"}'
ELSEWHERE_QUEUE: Final = "breezeblock@other"


def _volume(word: str, **values: Any) -> tuple[Any, dict[str, Any]]:
    id_ = OWNED[word]
    charged = {"charged_gib": 1, "charged_type_id": DEFAULT_TYPE_ID}
    return tables.volumes, volume_row(id=id_, object_name=f"{id_}.1.1", name=word, **charged | values)


def _snapshot(word: str, volume: str, **values: Any) -> tuple[Any, dict[str, Any]]:
    id_ = OWNED[word]
    charged = {"charged_gib": 1, "charged_type_id": DEFAULT_TYPE_ID, "volume_type_id": DEFAULT_TYPE_ID}
    row = snapshot_row(id=id_, volume_id=OWNED[volume], object_name=f"{id_}.1.1", name=word, **charged | values)
    return tables.snapshots, row


def _attachment(word: str, volume: str, **values: Any) -> tuple[Any, dict[str, Any]]:
    row = {"id": OWNED[word], "volume_id": OWNED[volume], "project_id": "p1", "created_at_us": START_US}
    return tables.attachments, row | values


def _type(word: str, **values: Any) -> tuple[Any, dict[str, Any]]:
    row = default_type() | {"id": SHARED[word], "name": word, "extra_specs_json": EXTRA_SPECS, "is_public": True}
    return tables.volume_types, row | values


_ENCRYPTED: Final = json.dumps(
    {
        "encryption_id": ENCRYPTION,
        "words": {"provider": "luks", "control_location": "front-end"},
        "created_at_us": START_US,
    }
)
ROWS: Final[tuple[tuple[Any, dict[str, Any]], ...]] = (
    (tables.volume_types, default_type()),
    _type("type", encryption_json=_ENCRYPTED),
    _type("hidden", is_public=False),
    _type("plain"),
    (tables.volume_type_access, {"volume_type_id": SHARED["hidden"], "project_id": "p3"}),
    (tables.nodes, NODE | {"queues_json": json.dumps([QUEUE, ELSEWHERE_QUEUE])}),
    (tables.pools, POOL | {"allocated_gib": 20}),
    (tables.pools, POOL | {"name": f"{ELSEWHERE_QUEUE}#pool", "queue": ELSEWHERE_QUEUE}),
    _volume("volume", metadata_json='{"key":"value"}'),
    _volume("broken", status="error"),
    _volume("reserved", status="reserved", attach_status="reserved"),
    _volume("attached", status="in-use", attach_status="attached"),
    _volume("offered", status="awaiting-transfer"),
    _volume("imaged", image_metadata_json='{"key":"value"}'),
    _volume("spare"),
    _volume("member", group_id=OWNED["group"]),
    _volume("parting", status="detaching", attach_status="attached"),
    _snapshot("snapshot", "volume", metadata_json='{"key":"value"}'),
    _snapshot("making", "imaged", status="creating", progress="0%"),
    (tables.backups, backup_row(id=OWNED["backup"], volume_id=OWNED["volume"])),
    _attachment("reservation", "reserved", status="reserved"),
    _attachment("attachment", "attached", status="attached", attached_at_us=START_US),
    (
        tables.transfers,
        {
            "id": OWNED["transfer"], "volume_id": OWNED["offered"], "project_id": "p1", "name": "gift", "salt": "5a17",
            "key_hash": transfers.key_hash("5a17", AUTH_KEY), "created_at_us": START_US,
        },
    ),
    (tables.group_types, group_type_row()),
    (tables.group_types, group_type_row(id=SHARED["group_type"], name="other")),
    (tables.group_types, group_type_row(id=CONSISTENT_TYPE_ID, name="consistent")),
    (tables.volume_groups, group_row(id=OWNED["group"])),
    (tables.volume_groups, group_row(id=OWNED["emptied"])),
    (tables.group_volume_types, {"group_id": OWNED["group"], "volume_type_id": DEFAULT_TYPE_ID}),
    (tables.group_volume_types, {"group_id": OWNED["emptied"], "volume_type_id": DEFAULT_TYPE_ID}),
    (tables.group_snapshots, group_snapshot_row(id=OWNED["group_snapshot"], group_id=OWNED["group"])),
    (
        tables.messages,
        {
            "id": OWNED["message"], "project_id": "p1", "request_id": "req-1", "resource_type": "VOLUME",
            "resource_id": OWNED["volume"], "event_id": "create_volume", "user_message": "No pool can take it.",
            "created_at_us": START_US, "guaranteed_until_us": START_US * 2,
        },
    ),
    (tables.qos_specs, {"id": SHARED["qos"], "name": "quick", "consumer": "back-end", "created_at_us": START_US}),
    (tables.default_types, {"project_id": "p1", "volume_type_id": SHARED["plain"]}),
    *(
        (tables.quota_usage, {"project_id": "p1", "resource": resource, "in_use": used})
        for resource, used in (
            ("volumes", 9), ("snapshots", 2), ("gigabytes", 11), ("groups", 2), ("backups", 1), ("backup_gigabytes", 1),
        )
    ),
)  # fmt: skip

# What stands in a URL, where it is not one of the words above of the same name.
NAMED: Final = {
    "group_type_id": "{group_type}", "qos_id": "{qos}", "encryption_id": ENCRYPTION, "word": "encryption_key_id",
    "key": "key", "cluster_name": QUEUE, "owner": "p1", "host": "node-1@file", "alias": "os-hosts",
}  # fmt: skip

_RECORD: Final = {
    "record_version": 1, "id": NOBODY, "volume_id": NOBODY, "size": 2, "store": "default", "archive_id": NOBODY,
    "manifest": f"{NOBODY}.1.1", "created_at_us": START_US, "display_name": "old", "metadata": {"a": "b"},
}  # fmt: skip
_METADATA: Final = {"metadata": {"key": "new"}}
_CONNECTOR: Final = {"connector": {"host": "h", "initiator": "iqn"}}
_MANAGED: Final = {"volume": {"host": POOL_NAME, "ref": {"source-name": "disk"}}}
_MANAGED_SNAPSHOT: Final = {"snapshot": {"volume_id": "{volume}", "ref": {"source-name": "disk"}}}
_OFFER: Final = {"transfer": {"volume_id": "{spare}"}}
_ACCEPT: Final = {"accept": {"auth_key": AUTH_KEY}}
_CONSISTENCY: Final = {"consistencygroup": {"name": "new"}}
_SERVICE: Final = {"host": "node-1@file", "binary": "cinder-volume"}

# By method and template, and the action's key: the body, and for some other words in the URL.
BODIES: Final[dict[str, Any]] = {
    "POST volumes": {"volume": {"size": 1}},
    "PUT volumes/{volume_id}": {"volume": {"name": "new"}},
    "os-extend": {"new_size": 2},
    "os-retype": {"new_type": "plain", "migration_policy": "never"},
    "os-reset_status": {"status": "error"},
    "os-set_bootable": {"bootable": True},
    "os-update_readonly_flag": {"readonly": True},
    "revert": {"snapshot_id": "{snapshot}"},
    "os-set_image_metadata": _METADATA,
    "os-unset_image_metadata": {"key": "key"},
    "os-volume_upload_image": {"image_name": "image"},
    "os-reimage": {"image_id": NOBODY},
    "os-migrate_volume": {"host": f"{ELSEWHERE_QUEUE}#pool"},
    "os-migrate_volume_completion": {"new_volume": "{spare}"},
    "os-extend_volume_completion": {},
    "os-attach": {"mountpoint": "/dev/vdb", "instance_uuid": NOBODY},
    "os-detach": {"attachment_id": "{attachment}"},
    "os-initialize_connection": _CONNECTOR,
    "os-terminate_connection": _CONNECTOR,
    "os-force_detach": {"attachment_id": "{attachment}", **_CONNECTOR},
    "POST volumes/{volume_id}/metadata": _METADATA,
    "PUT volumes/{volume_id}/metadata": _METADATA,
    "PUT volumes/{volume_id}/metadata/{key}": {"meta": {"key": "new"}},
    "POST snapshots": {"snapshot": {"volume_id": "{volume}"}},
    "PUT snapshots/{snapshot_id}": {"snapshot": {"name": "new"}},
    "POST snapshots/{snapshot_id}/metadata": _METADATA,
    "PUT snapshots/{snapshot_id}/metadata": _METADATA,
    "PUT snapshots/{snapshot_id}/metadata/{key}": {"meta": {"key": "new"}},
    "os-update_snapshot_status": {"status": "creating", "progress": "50%"},
    "POST backups": {"backup": {"volume_id": "{volume}"}},
    "POST backups/import_record": {
        "backup-record": {
            "backup_service": "breezeblock.backup", "backup_url": base64.b64encode(json.dumps(_RECORD).encode()).decode(),
        }
    },
    "PUT backups/{backup_id}": {"backup": {"name": "new"}},
    "POST backups/{backup_id}/restore": {"restore": {"volume_id": "{spare}"}},
    "POST attachments": {"attachment": {"volume_uuid": "{volume}", "instance_uuid": NOBODY}},
    "PUT attachments/{attachment_id}": {"attachment": _CONNECTOR},
    "POST group_types": {"group_type": {"name": "new"}},
    "PUT group_types/{group_type_id}": {"group_type": {"name": "new"}},
    "POST group_types/{group_type_id}/group_specs": {"group_specs": {"key": "new"}},
    "PUT group_types/{group_type_id}/group_specs/{key}": {"key": "new"},
    "POST groups": {"group": {"group_type": GROUP_TYPE, "volume_types": [DEFAULT_TYPE_ID]}},
    "create-from-src": {"source_group_id": "{group}"},
    "PUT groups/{group_id}": {"group": {"name": "new", "add_volumes": "{spare}", "remove_volumes": "{member}"}},
    **{key: {} for key in ("enable_replication", "disable_replication", "failover_replication", "list_replication_targets")},
    "delete": {"delete-volumes": True},
    "reset_status": {"status": "error"},
    "POST group_snapshots": {"group_snapshot": {"group_id": "{group}"}},
    "POST consistencygroups": {"consistencygroup": {"volume_types": DEFAULT_TYPE_ID}},
    "POST consistencygroups/create_from_src": {"consistencygroup-from-src": {"source_cgid": "{group}"}},
    "PUT consistencygroups/{group_id}": _CONSISTENCY,
    "PUT consistencygroups/{group_id}/update": _CONSISTENCY,
    "POST consistencygroups/{group_id}/delete": {"consistencygroup": {"force": True}},
    "POST cgsnapshots": {"cgsnapshot": {"consistencygroup_id": "{group}"}},
    "POST volume-transfers": _OFFER,
    "POST os-volume-transfer": _OFFER,
    "POST volume-transfers/{transfer_id}/accept": _ACCEPT,
    "POST os-volume-transfer/{transfer_id}/accept": _ACCEPT,
    "POST os-volume-manage": _MANAGED,
    "POST manageable_volumes": _MANAGED,
    "POST os-snapshot-manage": _MANAGED_SNAPSHOT,
    "POST manageable_snapshots": _MANAGED_SNAPSHOT,
    "POST types": {"volume_type": {"name": "new"}},
    "PUT types/{type_id}": {"volume_type": {"name": "new"}},
    "addProjectAccess": {"project": "p2"},
    "removeProjectAccess": {"project": "p3"},
    "POST types/{type_id}/extra_specs": {"extra_specs": {"key": "new"}},
    "PUT types/{type_id}/extra_specs/{key}": {"key": "new"},
    "POST types/{type_id}/encryption": {"encryption": {"provider": "luks", "control_location": "front-end"}},
    "PUT types/{type_id}/encryption/{encryption_id}": {"encryption": {"cipher": "aes-xts-plain64"}},
    "PUT default-types/{owner}": {"default_type": {"volume_type": "{plain}"}},
    "POST qos-specs": {"qos_specs": {"name": "new"}},
    "PUT qos-specs/{qos_id}": {"qos_specs": {"key": "new"}},
    "PUT qos-specs/{qos_id}/delete_keys": {"keys": []},
    "PUT os-quota-sets/{owner}": {"quota_set": {"volumes": 20}},
    "PUT os-quota-class-sets/{owner}": {"quota_class_set": {"volumes": 20}},
    "PUT os-services/enable": _SERVICE,
    "PUT os-services/disable": _SERVICE,
    "PUT os-services/disable-log-reason": _SERVICE | {"disabled_reason": "maintenance"},
    "PUT os-services/fence": {"host": "11111111-1111-1111-1111-111111111111", "confirm": True},
    "PUT os-services/freeze": {"host": "node-1@file"},
    "PUT os-services/thaw": {"host": "node-1@file"},
    "PUT os-services/failover_host": {"host": "node-1@file"},
    "PUT os-services/failover": {"host": "node-1@file"},
    "POST workers/cleanup": {},
    "PUT clusters/enable": {"name": QUEUE},
    "PUT clusters/disable": {"name": QUEUE},
    "PUT os-hosts/{host}": {"status": "enable"},
    "PUT os-services/set-log": {"level": "DEBUG"},
    "PUT os-services/get-log": {},
}  # fmt: skip
# Which row an URL names, where it is not the first of its kind.
ELSEWHERE: Final = {
    "DELETE volumes/{volume_id}": "{spare}",
    "os-retype": "{spare}",
    "os-unset_image_metadata": "{imaged}",
    "os-show_image_metadata": "{imaged}",
    "POST volumes/{volume_id}/action: os-unmanage": "{spare}",
    "POST volumes/{volume_id}/action: os-force_delete": "{spare}",
    "delete": "{emptied}",
    "POST consistencygroups/{group_id}/delete": "{emptied}",
    "os-detach": "{attached}",
    "os-migrate_volume": "{spare}",
    "os-unreserve": "{reserved}",
    "os-begin_detaching": "{attached}",
    "os-roll_detaching": "{parting}",
    "os-terminate_connection": "{attached}",
    "os-force_detach": "{attached}",
    "os-update_snapshot_status": "{making}",
    "PUT attachments/{attachment_id}": "{reservation}",
    "removeProjectAccess": "{hidden}",
    "GET types/{type_id}/os-volume-type-access": "{hidden}",
    "DELETE types/{type_id}": "{hidden}",
    "addProjectAccess": "{hidden}",
    "POST types/{type_id}/encryption": "{hidden}",
}
_LISTED: Final = tuple(
    f"GET {noun}{rest}"
    for noun in ("os-volume-manage", "os-snapshot-manage", "manageable_volumes", "manageable_snapshots")
    for rest in ("", "/detail")
)
# What a good request is answered with where it cannot succeed here.
NO_NODE, NO_IMAGES, NO_REPLICATION = "no node is there to answer", "no image service", "no driver replicates"
OTHERWISE: Final[dict[str, tuple[int, str]]] = {
    **dict.fromkeys((*_LISTED, "os-initialize_connection", "PUT attachments/{attachment_id}"), (504, NO_NODE)),
    "os-volume_upload_image": (400, NO_IMAGES),
    "os-reimage": (400, NO_IMAGES),
    "os-extend_volume_completion": (400, "no backend waits for it"),
    "enable_replication": (400, NO_REPLICATION),
    "disable_replication": (400, NO_REPLICATION),
    "failover_replication": (400, NO_REPLICATION),
    "list_replication_targets": (400, NO_REPLICATION),
    "PUT os-services/failover_host": (400, NO_REPLICATION),
    "PUT os-services/failover": (400, NO_REPLICATION),
    "PUT os-services/thaw": (400, "nothing is frozen"),
}
# Not everybody is shown all extra specs; this one everybody is.
KEYS: Final = {"GET types/{type_id}/extra_specs/{key}": "multiattach"}
QUERIES: Final = {
    **dict.fromkeys(_LISTED, f"?host={QUEUE}%23pool"),
    "GET qos-specs/{qos_id}/associate": "?vol_type_id={hidden}",
    "GET qos-specs/{qos_id}/disassociate": "?vol_type_id={hidden}",
}


class Ask(NamedTuple):
    """One request. `{word}` in the path and in the body is to be filled in."""

    name: str
    method: str
    path: str
    body: Any
    status: int
    version: Version

    def sent(self, ids: dict[str, str]) -> tuple[str, bytes | None]:
        """Path and body with these ids, without the project."""
        path, body = self.path, None if self.body is None else json.dumps(self.body)
        for word, id_ in ids.items():
            path = path.replace(f"{{{word}}}", id_)
            body = body if body is None else body.replace(f"{{{word}}}", id_)
        return path, None if body is None else body.encode()

    def words(self) -> list[str]:
        """What it names of a project's own."""
        said = self.path + json.dumps(self.body)
        return [word for word in OWNED if f"{{{word}}}" in said]


def every_call() -> list[Ask]:
    """One request for each call."""
    found = []
    for route in ROUTES:
        if route.handler is not None:
            found.append(_ask(route, None, ""))
        found += [_ask(route, action, key) for key, action in (route.actions or {}).items()]
    return found


def _ask(route: Route, action: Action | None, key: str) -> Ask:
    name = f"{route.method} {route.template}".strip()
    full = f"{name}: {key}" if key else name
    path = route.template
    for variable in [part[1:-1] for part in route.template.split("/") if part.startswith("{")]:
        named = ELSEWHERE.get(full, ELSEWHERE.get(key or name)) if variable.endswith("_id") else None
        named = KEYS.get(name) if variable == "key" else named
        path = path.replace(f"{{{variable}}}", named or NAMED.get(variable, f"{{{variable.removesuffix('_id')}}}"))
    body = BODIES.get(full, BODIES.get(key or name))
    told = action or route
    return Ask(
        name=full,
        method=route.method,
        path=path + QUERIES.get(name, ""),
        body={key: body} if key else body,
        status=OTHERWISE[key or name][0] if (key or name) in OTHERWISE else told.status or route.status or 200,
        version=min(NEWEST, told.until, route.until),
    )
