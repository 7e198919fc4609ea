"""The samples of the API's documentation: which call each of them is of, and how its like is obtained here.

`REQUESTS` has the call of each sample of a request, and `RESPONSES` the request that gets an answer like the sample: its path
with the ids of `world()`, and its body; `IN_USE` has the same of storage that is in use, with a node that answers.
"""

import json
import re
import uuid
from pathlib import Path
from typing import Any, Final, NamedTuple

from tests.api import builders
from tests.api.working import Node
from tests.api.world import Api

from breezeblock.resources.group_types import CONSISTENT_SPECS_JSON, CONSISTENT_TYPE_ID, CONSISTENT_TYPE_NAME
from breezeblock.resources.transfers import key_hash
from breezeblock.resources.types import DEFAULT_TYPE_ID
from breezeblock.store import tables

SAMPLES: Final[dict[str, Any]] = json.loads((Path(__file__).parent / "samples.json").read_text(encoding="utf-8"))
_VERSION = re.compile(r"v3\.([0-9]+)/")
ADMIN: Final = "admin:p1"
HOST: Final = "node-1@file"


class Asked(NamedTuple):
    """A request for an answer like a sample; `minor` is the version of samples that are in no folder of one."""

    method: str
    path: str
    body: Any = None
    minor: int = 0


def base_of(name: str) -> str:
    """A sample's name without its version and ending."""
    return _VERSION.sub("", name).removesuffix(".json")


def minor_of(name: str, otherwise: int) -> int:
    found = _VERSION.search(name)
    return int(found[1]) if found else otherwise


def _by_call(*lines: str) -> dict[str, str]:
    pairs = (line.partition(": ") for line in lines)
    return {name: call for names, _, call in pairs for name in names.split()}


_V, _S, _B = "POST volumes/{}/action", "POST snapshots/{}/action", "POST backups/{}/action"
REQUESTS: Final = _by_call(
    "attachment-complete: POST attachments/{}/action os-complete",
    "attachment-create-request: POST attachments",
    "attachment-update-request: PUT attachments/{}",
    f"backup-force-delete-request: {_B} os-force_delete",
    f"backup-reset-status-request: {_B} os-reset_status",
    "backup-record-import-request: POST backups/import_record",
    "backup-restore-request: POST backups/{}/restore",
    "backups/backup-create-request: POST backups",
    "backups/backup-update-request: PUT backups/{}",
    "cgsnapshots-create-request: POST cgsnapshots",
    "clusters/cluster-disable-request: PUT clusters/disable",
    "clusters/cluster-enable-request: PUT clusters/enable",
    "consistency-group-create-from-src-request: POST consistencygroups/create_from_src",
    "consistency-group-create-request: POST consistencygroups",
    "consistency-group-delete-request: POST consistencygroups/{}/delete",
    "consistency-group-update-request: PUT consistencygroups/{}/update",
    "group-create-from-src-request: POST groups/action create-from-src",
    "group-create-request: POST groups",
    "group-update-request: PUT groups/{}",
    "group-delete-request: POST groups/{}/action delete",
    "group-reset-status-request: POST groups/{}/action reset_status",
    *(
        f"group-replication-{name}: POST groups/{{}}/action {key}"
        for name, key in (
            ("disable", "disable_replication"), ("enable", "enable_replication"), ("failover", "failover_replication"),
            ("list-targets", "list_replication_targets"),
        )
    ),
    "group-snapshot-reset-status-request: POST group_snapshots/{}/action reset_status",
    "group-snapshots-create-request: POST group_snapshots",
    "group-type-create-request: POST group_types",
    "group-type-update-request: PUT group_types/{}",
    "group-type-specs-create-request: POST group_types/{}/group_specs",
    "group-type-specs-update-request: PUT group_types/{}/group_specs/{}",
    f"host-attach-request volume-attach-request: {_V} os-attach",
    f"image-metadata-show-request: {_V} os-show_image_metadata",
    *(
        f"os-services/service-{name}-request services-{other}-request: PUT os-services/{url}"
        for name, other, url in (
            ("disable-log-reason", "disable-log", "disable-log-reason"), ("disable", "disable", "disable"),
            ("enable", "enable", "enable"), ("failover-host", "failover-host", "failover_host"),
            ("freeze", "freeze", "freeze"), ("thaw", "thaw", "thaw"), ("get-log", "get-log", "get-log"),
            ("set-log", "set-log", "set-log"),
        )
    ),
    "qos/qos-create-request: POST qos-specs",
    "qos/qos-unset-request: PUT qos-specs/{}/delete_keys",
    "qos/qos-update-request: PUT qos-specs/{}",
    "quota-classes-update-request quota_classes/quota-classes-update-request: PUT os-quota-class-sets/{}",
    "quota_sets/quotas-update-request user-quotas-update-request: PUT os-quota-sets/{}",
    "set-default-type-request: PUT default-types/{}",
    f"snapshot-force-delete-request: {_S} os-force_delete",
    f"snapshot-status-reset-request: {_S} os-reset_status",
    f"snapshot-status-update-request: {_S} os-update_snapshot_status",
    "snapshot_manage_extensions/snapshot-manage-request: POST os-snapshot-manage",
    "snapshots/snapshot-create-request: POST snapshots",
    "snapshots/snapshot-update-request: PUT snapshots/{}",
    "snapshots/snapshot-metadata-create-request: POST snapshots/{}/metadata",
    "snapshots/snapshot-metadata-update-request: PUT snapshots/{}/metadata",
    "snapshots/snapshot-metadata-update-key-request: PUT snapshots/{}/metadata/{}",
    *(
        f"volume-{name}: {_V} {key}"
        for name, key in (
            ("begin-detaching-request", "os-begin_detaching"), ("bootable-status-update-request", "os-set_bootable"),
            ("detach-request", "os-detach"), ("extend-request", "os-extend"),
            ("force-delete-request", "os-force_delete"), ("force-detach-request", "os-force_detach"),
            ("image-metadata-set-request", "os-set_image_metadata"),
            ("image-metadata-unset-request", "os-unset_image_metadata"),
            ("initialize-connection-request", "os-initialize_connection"),
            ("os-extend_volume_completion-request", "os-extend_volume_completion"),
            ("os-migrate_volume-request", "os-migrate_volume"),
            ("os-migrate_volume_completion-request", "os-migrate_volume_completion"),
            ("os-reimage-request", "os-reimage"), ("os-retype-request", "os-retype"),
            ("readonly-update-request", "os-update_readonly_flag"), ("reserve-request", "os-reserve"),
            ("revert-to-snapshot-request", "revert"), ("roll-detaching-request", "os-roll_detaching"),
            ("status-reset-request", "os-reset_status"),
            ("terminate-connection-request", "os-terminate_connection"), ("unmanage-request", "os-unmanage"),
            ("unreserve-request", "os-unreserve"),
        )
    ),
    "volume-type-access-delete-request: POST types/{}/action removeProjectAccess",
    f"volume_actions/volume-upload-to-image-request: {_V} os-volume_upload_image",
    "volume-manage-request-cluster volume_manage_extensions/volume-manage-request: POST os-volume-manage",
    "volume_transfer/volume-transfer-accept-request: POST os-volume-transfer/{}/accept",
    "volume_transfer/volume-transfer-create-request: POST os-volume-transfer",
    "volume_transfers/volume-transfers-accept-request: POST volume-transfers/{}/accept",
    "volume_transfers/volume-transfers-create-request: POST volume-transfers",
    "volume_type/encryption-type-create-request: POST types/{}/encryption",
    "volume_type/encryption-type-update-request: PUT types/{}/encryption/{}",
    "volume_type/volume-type-access-add-request: POST types/{}/action addProjectAccess",
    "volume_type/volume-type-create-request: POST types",
    "volume_type/volume-type-update-request: PUT types/{}",
    "volume_type/volume-type-extra-specs-create-update-request: POST types/{}/extra_specs",
    "volume_type/volume-type-specific-extra-specs-update-request: PUT types/{}/extra_specs/{}",
    "volumes/volume-create-request: POST volumes",
    "volumes/volume-update-request: PUT volumes/{}",
    "volumes/volume-metadata-create-request: POST volumes/{}/metadata",
    "volumes/volume-metadata-update-request: PUT volumes/{}/metadata",
    "volumes/volume-metadata-update-key-request: PUT volumes/{}/metadata/{}",
    "worker-cleanup-request: POST workers/cleanup",
)  # fmt: skip

_SERVICE = {"host": HOST, "binary": "cinder-volume"}
_CLUSTER = {"name": builders.QUEUE}
_NAMED = {"name": "n", "description": "d"}
_SPECS = f"group_types/{builders.GROUP_TYPE}/group_specs"
_KEY = "0123456789abcdef"
_OFFER = {"transfer": {"volume_id": "{fresh}", "name": "n"}}
_ACCEPT = {"accept": {"auth_key": _KEY}}
ENCRYPTION: Final = {"provider": "luks", "control_location": "front-end", "cipher": "aes-xts-plain64", "key_size": 256}
RESPONSES: Final[dict[str, Asked]] = {
    "availability-zone-list-response": Asked("GET", "os-availability-zone"),
    "backup-record-export-response": Asked("GET", "backups/{backup}/export_record"),
    "backup-restore-response": Asked("POST", "backups/{backup}/restore", {"restore": {"volume_id": "{target}"}}),
    "backups-list-response": Asked("GET", "backups?with_count=true", minor=45),
    "backups/backup-create-response": Asked("POST", "backups", {"backup": {"volume_id": "{fresh}", "name": "n"}}),
    "backups/backup-show-response": Asked("GET", "backups/{backup}"),
    "backups/backup-update-response": Asked("PUT", "backups/{backup}", {"backup": _NAMED}),
    "backups/backups-list-detailed-response": Asked("GET", "backups/detail?with_count=true"),
    "backups/backups-list-response": Asked("GET", "backups?with_count=true"),
    "clusters/cluster-disable-response": Asked("PUT", "clusters/disable", {**_CLUSTER, "disabled_reason": "r"}),
    "clusters/cluster-enable-response": Asked("PUT", "clusters/enable", _CLUSTER),
    "clusters/cluster-show-response": Asked("GET", f"clusters/{builders.QUEUE}"),
    "clusters/clusters-list-detailed-response": Asked("GET", "clusters/detail"),
    "clusters/clusters-list-response": Asked("GET", "clusters"),
    "extensions/extensions-list-response": Asked("GET", "extensions"),
    "limits/limits-show-response": Asked("GET", "limits"),
    "messages-list-response": Asked("GET", "messages", minor=3),
    "messages-show-response": Asked("GET", "messages/{message}", minor=3),
    "os-services/service-disable-log-reason-response": Asked(
        "PUT", "os-services/disable-log-reason", {**_SERVICE, "disabled_reason": "r"}
    ),
    "os-services/service-disable-response": Asked("PUT", "os-services/disable", _SERVICE),
    "os-services/service-enable-response": Asked("PUT", "os-services/enable", _SERVICE),
    "os-services/services-list-response": Asked("GET", "os-services"),
    "services-disable-log-response": Asked(
        "PUT", "os-services/disable-log-reason", {**_SERVICE, "disabled_reason": "r"}
    ),
    "services-disable-response": Asked("PUT", "os-services/disable", _SERVICE),
    "services-list-response": Asked("GET", "os-services?binary=cinder-volume", minor=7),
    "pools-list-detailed-response": Asked("GET", "scheduler-stats/get_pools?detail=true"),
    "quota_classes/quota-classes-show-response": Asked("GET", "os-quota-class-sets/default"),
    "quota_classes/quota-classes-update-response": Asked(
        "PUT", "os-quota-class-sets/default", {"quota_class_set": {"volumes": 10}}
    ),
    "quota_sets/quotas-show-defaults-response": Asked("GET", "os-quota-sets/p1/defaults"),
    "quota_sets/quotas-show-response": Asked("GET", "os-quota-sets/p1"),
    "quota_sets/quotas-show-usage-response": Asked("GET", "os-quota-sets/p1?usage=true"),
    "quota_sets/quotas-update-response": Asked("PUT", "os-quota-sets/p1", {"quota_set": {"volumes": 10}}),
    "snapshots/snapshot-create-response": Asked("POST", "snapshots", {"snapshot": {"volume_id": "{fresh}", **_NAMED}}),
    "snapshots/snapshot-metadata-create-response": Asked(
        "POST", "snapshots/{snapshot}/metadata", {"metadata": {"key": "v"}}
    ),
    "snapshots/snapshot-metadata-show-key-response": Asked("GET", "snapshots/{snapshot}/metadata/key"),
    "snapshots/snapshot-metadata-show-response": Asked("GET", "snapshots/{snapshot}/metadata"),
    "snapshots/snapshot-metadata-update-key-response": Asked(
        "PUT", "snapshots/{snapshot}/metadata/key", {"meta": {"key": "v"}}
    ),
    "snapshots/snapshot-metadata-update-response": Asked(
        "PUT", "snapshots/{snapshot}/metadata", {"metadata": {"key": "v"}}
    ),
    "snapshots/snapshot-show-response": Asked("GET", "snapshots/{snapshot}"),
    "snapshots/snapshot-update-response": Asked("PUT", "snapshots/{snapshot}", {"snapshot": _NAMED}),
    "snapshots/snapshots-list-detailed-response": Asked("GET", "snapshots/detail"),
    "snapshots/snapshots-list-response": Asked("GET", "snapshots"),
    "versions/version-show-response": Asked("GET", ""),
    "volume_type/volume-type-access-list-response": Asked("GET", "types/{private}/os-volume-type-access"),
    "volume_type/volume-type-all-extra-specs-show-response": Asked("GET", "types/{type}/extra_specs"),
    "volume_type/volume-type-create-response": Asked("POST", "types", {"volume_type": {"name": "{new}"}}),
    "volume_type/volume-type-default-response": Asked("GET", "types/default"),
    "volume_type/volume-type-extra-specs-create-update-response": Asked(
        "POST", "types/{type}/extra_specs", {"extra_specs": {"key": "v"}}
    ),
    "volume_type/volume-type-show-response": Asked("GET", "types/{type}"),
    "volume_type/volume-type-specific-extra-specs-show-response": Asked("GET", "types/{type}/extra_specs/capabilities"),
    "volume_type/volume-type-specific-extra-specs-update-response": Asked(
        "PUT", "types/{type}/extra_specs/key1", {"key1": "v"}
    ),
    "volume_type/volume-type-update-response": Asked("PUT", "types/{type}", {"volume_type": _NAMED}),
    "volume_type/volume-types-list-response": Asked("GET", "types"),
    "volumes/volume-create-response": Asked("POST", "volumes", {"volume": {"size": 1}}),
    "volumes/volume-metadata-create-response": Asked("POST", "volumes/{volume}/metadata", {"metadata": {"name": "v"}}),
    "volumes/volume-metadata-show-key-response": Asked("GET", "volumes/{volume}/metadata/name"),
    "volumes/volume-metadata-show-response": Asked("GET", "volumes/{volume}/metadata"),
    "volumes/volume-metadata-update-key-response": Asked(
        "PUT", "volumes/{volume}/metadata/name", {"meta": {"name": "v"}}
    ),
    "volumes/volume-metadata-update-response": Asked("PUT", "volumes/{volume}/metadata", {"metadata": {"name": "v"}}),
    "volumes/volume-show-response": Asked("GET", "volumes/{volume}"),
    "volumes/volume-update-response": Asked("PUT", "volumes/{volume}", {"volume": _NAMED}),
    "volumes/volumes-list-detailed-response": Asked("GET", "volumes/detail"),
    "volumes/volumes-list-response": Asked("GET", "volumes"),
    "volumes/volumes-list-summary-response": Asked("GET", "volumes/summary", minor=36),
    "worker-cleanup-response": Asked("POST", "workers/cleanup", {}, minor=24),
    "backend-capabilities-response": Asked("GET", f"capabilities/{HOST}"),
    "cgsnapshots-create-response": Asked(
        "POST", "cgsnapshots", {"cgsnapshot": {"consistencygroup_id": "{consistent}", **_NAMED}}
    ),
    "cgsnapshots-list-detailed-response": Asked("GET", "cgsnapshots/detail"),
    "cgsnapshots-list-response": Asked("GET", "cgsnapshots"),
    "cgsnapshots-show-response": Asked("GET", "cgsnapshots/{taken}"),
    "consistency-group-show-response": Asked("GET", "consistencygroups/{group}"),
    "consistency-groups-list-detailed-response": Asked("GET", "consistencygroups/detail"),
    "consistency-groups-list-response": Asked("GET", "consistencygroups"),
    "get-default-type-response": Asked("GET", "default-types/p9", minor=62),
    "get-default-types-response": Asked("GET", "default-types", minor=62),
    "set-default-type-response": Asked("PUT", "default-types/p9", {"default_type": {"volume_type": "t1"}}, minor=62),
    "group-create-from-src-response": Asked(
        "POST", "groups/action", {"create-from-src": {"name": "n", "group_snapshot_id": "{taken}"}}, minor=14
    ),
    "group-create-response": Asked(
        "POST",
        "groups",
        {"group": {"name": "n", "group_type": builders.GROUP_TYPE, "volume_types": [DEFAULT_TYPE_ID]}},
        minor=13,
    ),
    "group-show-response": Asked("GET", "groups/{group}?list_volume=true", minor=58),
    "group-snapshots-create-response": Asked(
        "POST", "group_snapshots", {"group_snapshot": {"group_id": "{group}", "name": "n"}}, minor=14
    ),
    "group-snapshots-list-detailed-response": Asked("GET", "group_snapshots/detail", minor=58),
    "group-snapshots-list-response": Asked("GET", "group_snapshots", minor=14),
    "group-snapshots-show-response": Asked("GET", "group_snapshots/{taken}", minor=58),
    "group-type-show-response": Asked("GET", f"group_types/{builders.GROUP_TYPE}", minor=11),
    "group-type-specs-create-response": Asked(
        "POST", f"{_SPECS}", {"group_specs": {"key1": "v", "key2": "v"}}, minor=11
    ),
    "group-type-specs-list-response": Asked("GET", f"{_SPECS}", minor=11),
    "group-type-specs-show-response": Asked("GET", f"{_SPECS}/key1", minor=11),
    "group-type-specs-update-response": Asked("PUT", f"{_SPECS}/key1", {"key1": "v"}, minor=11),
    "group-types-list-response": Asked("GET", "group_types", minor=11),
    "groups-list-detailed-response": Asked("GET", "groups/detail?list_volume=true", minor=58),
    "groups-list-response": Asked("GET", "groups", minor=13),
    "hosts-get-response": Asked("GET", f"os-hosts/{HOST}"),
    "hosts-list-response": Asked("GET", "os-hosts"),
    "os-services/service-get-log-response": Asked("PUT", "os-services/get-log", {"binary": "*"}),
    "services-get-log-response": Asked("PUT", "os-services/get-log", {"binary": "*"}, minor=32),
    "qos/qos-create-response": Asked("POST", "qos-specs", {"qos_specs": {"name": "{new}"}}),
    "qos/qos-list-response": Asked("GET", "qos-specs"),
    "qos/qos-show-response": Asked("GET", "qos-specs/{qos}"),
    "qos/qos_show_response": Asked("GET", "qos-specs/{qos}/associations"),
    "qos/qos-update-response": Asked("PUT", "qos-specs/{qos}", {"qos_specs": {"delay": "1"}}),
    "resource-filters-list-response": Asked("GET", "resource_filters", minor=33),
    "volume_transfer/volume-transfer-accept-response": Asked("POST", "os-volume-transfer/{gift1}/accept", _ACCEPT),
    "volume_transfer/volume-transfer-create-response": Asked("POST", "os-volume-transfer", _OFFER),
    "volume_transfer/volume-transfer-show-response": Asked("GET", "os-volume-transfer/{gift}"),
    "volume_transfer/volume-transfers-list-detailed-response": Asked("GET", "os-volume-transfer/detail"),
    "volume_transfer/volume-transfers-list-response": Asked("GET", "os-volume-transfer"),
    "volume_transfers/volume-transfers-accept-response": Asked("POST", "volume-transfers/{gift2}/accept", _ACCEPT),
    "volume_transfers/volume-transfers-create-response": Asked("POST", "volume-transfers", _OFFER),
    "volume_transfers/volume-transfers-show-response": Asked("GET", "volume-transfers/{gift}"),
    "volume_type/encryption-type-create-response": Asked("POST", "types/t4/encryption", {"encryption": ENCRYPTION}),
    "volume_type/encryption-type-show-response": Asked("GET", "types/t3/encryption"),
    "volume_type/encryption-type-specific-specs-show-response": Asked("GET", "types/t3/encryption/cipher"),
    "volume_type/encryption-type-update-response": Asked("PUT", "types/t3/encryption/x", {"encryption": ENCRYPTION}),
}
# The same for what is asked of storage that is in use, where a node answers (`used_world`).
_CONNECTOR = {"host": "host-1", "ip": "192.0.2.1", "mountpoint": "/dev/vdb"}
_GIVEN = {"name": "n", "description": "d", "ref": {"source-name": "{stray}"}}
IN_USE: Final[dict[str, Asked]] = {
    "attachment-create-response": Asked("POST", "attachments", {"attachment": {"volume_uuid": "{fresh}"}}, minor=27),
    "attachment-list-detailed-response": Asked("GET", "attachments/detail", minor=27),
    "attachment-list-response": Asked("GET", "attachments", minor=27),
    "attachment-show-response": Asked("GET", "attachments/{attachment}", minor=27),
    "attachment-update-response": Asked(
        "PUT", "attachments/{attachment}", {"attachment": {"connector": _CONNECTOR}}, minor=27
    ),
    "image-metadata-show-response": Asked("POST", "volumes/{volume}/action", {"os-show_image_metadata": {}}),
    "volume-image-metadata-update-response": Asked(
        "POST", "volumes/{volume}/action", {"os-set_image_metadata": {"metadata": {"key": "v"}}}
    ),
    "snapshot-manage-list-detail-response": Asked(
        "GET", f"manageable_snapshots/detail?host={builders.POOL_NAME}", minor=8
    ),
    "snapshot-manage-list-response": Asked("GET", f"manageable_snapshots?host={builders.POOL_NAME}", minor=8),
    "snapshot_manage_extensions/snapshot-manage-response": Asked(
        "POST", "os-snapshot-manage", {"snapshot": {**_GIVEN, "volume_id": "{volume}", "metadata": {"key": "v"}}}
    ),
    "volume-manage-list-detail-response": Asked("GET", f"manageable_volumes/detail?host={builders.POOL_NAME}", minor=8),
    "volume-manage-list-response": Asked("GET", f"manageable_volumes?host={builders.POOL_NAME}", minor=8),
}
# What is served and always refused (refused.json).
REFUSED: Final = _by_call(
    "volume_actions/volume-upload-to-image-response: POST volumes/{}/action os-volume_upload_image"
)

# Samples that no service obtains, with the reason.
NOT_OURS: Final = {
    "versions/versions-response": "the answer of GET /, without a version (tests/api/test_frame.py)",
    "user-quotas-show-response": "quotas of compute, which the documentation shows by mistake",
    "user-quotas-update-response": "quotas of compute, which the documentation shows by mistake",
    "user-quotas-update-request": "quotas of compute, which the documentation shows by mistake",
    "quota-classes-show-response": "recorded by hand with types of other names; quota_classes/ has one by a test",
    "quota-classes-update-response": "recorded by hand with types of other names; quota_classes/ has one by a test",
    "services-enable-response": "has a reason to be disabled, by hand; os-services/ has one by a test",
    "consistency-group-create-response": "Cinder answers a summary, id and name (its api/contrib/consistencygroups.py)",
    "group-type-default-response": "wants a setting that names the default (tests/api/test_group_types.py)",
    "volume_manage_extensions/volume-manage-response": "of an extension of API v2, by hand (tests/api/test_managing.py)",
    "group-replication-target": "no backend here replicates groups (tests/api/test_groups.py)",
    "backup-record-import-response": "wants an exported record (tests/api/test_backups.py)",
}

# Keys that samples lack, recorded by hand: with `project_id`, of 3.58, they would have these of 3.14 and 3.38.
LACKED: Final = {
    "group-show-response": {".group.replication_status is not in the sample"},
    "groups-list-detailed-response": {
        f".groups[].{key} is not in the sample"
        for key in ("group_snapshot_id", "source_group_id", "replication_status")
    },
}


def world(api: Api, *, types: bool) -> dict[str, str]:
    """Rows that the samples are about; their ids by the names that `RESPONSES` uses. Each type has quotas of its own."""
    volume = api.given_volume(metadata_json='{"name":"v"}', charged_gib=1, charged_type_id=DEFAULT_TYPE_ID)
    snapshot = api.given("snapshots", volume_id=volume, metadata_json='{"key":"v"}', volume_type_id=DEFAULT_TYPE_ID)
    backup = api.given("backups", volume_id=volume)
    target = api.given_volume(charged_gib=1, charged_type_id=DEFAULT_TYPE_ID)
    ids = {
        "volume": volume,
        "target": target,
        "snapshot": snapshot,
        "backup": backup,
        "message": "m1",
        "type": "t1",
        "private": "t2",
    }
    for id_ in ("t1", "t2", "t3", "t4") if types else ():
        row = {"id": id_, "name": id_, "created_at_us": builders.START_US, "is_public": id_ != "t2"}
        api.insert(tables.volume_types, {**row, "extra_specs_json": '{"capabilities":"gpu"}'})
    message = {
        "id": "m1", "project_id": "p1", "request_id": "req-1", "resource_type": "VOLUME", "resource_id": volume,
        "event_id": "VOLUME_VOLUME_001_002", "user_message": "why", "created_at_us": builders.START_US,
        "guaranteed_until_us": builders.START_US,
    }  # fmt: skip
    api.insert(tables.messages, message)
    if types:
        api("POST", "/v3/types/t2/action", {"addProjectAccess": {"project": "p1"}}, token=ADMIN)
        api("POST", "/v3/types/t3/encryption", {"encryption": ENCRYPTION}, token=ADMIN)
        api("PUT", "/v3/default-types/p9", {"default_type": {"volume_type": "t1"}}, version="3.62", token=ADMIN)
        ids |= {**_given_groups(api), **_given_transfers(api)}
        made = api("POST", "/v3/qos-specs", {"qos_specs": {"name": "q", "key": "v"}}, token=ADMIN)
        ids["qos"] = made.json()["qos_specs"]["id"]
        levels = {"levels_json": '{"breezeblock.work":"INFO"}', "reported_at_us": 2 * builders.START_US}
        api.insert(tables.log_reports, {"id": "l1", "binary": "cinder-volume", "host": "node-1", **levels})
    return ids


def _given_groups(api: Api) -> dict[str, str]:
    """A group, one of those that are consistent, and a snapshot of each; all have a volume."""
    specs = '{"key1":"v","key2":"v"}'
    api.given("group_types", group_specs_json=specs)
    consistent = {"id": CONSISTENT_TYPE_ID, "name": CONSISTENT_TYPE_NAME, "group_specs_json": CONSISTENT_SPECS_JSON}
    api.given("group_types", **consistent)
    ids = {}
    for group, taken, type_id in (("group", "taken", builders.GROUP_TYPE), ("consistent", "kept", CONSISTENT_TYPE_ID)):
        ids[group] = api.given("volume_groups", group_type_id=type_id, description="d")
        api.insert(tables.group_volume_types, {"group_id": ids[group], "volume_type_id": DEFAULT_TYPE_ID})
        ids[taken] = api.given("group_snapshots", group_id=ids[group], group_type_id=type_id, description="d")
        volume = api.given_volume(project_id="p1", group_id=ids[group])
        api.given("snapshots", volume_id=volume, group_snapshot_id=ids[taken], volume_type_id=DEFAULT_TYPE_ID)
    return ids


def _given_transfers(api: Api) -> dict[str, str]:
    ids = {}
    for number, name in enumerate(("gift", "gift1", "gift2")):
        ids[name] = f"eeeeeeee-0000-4000-8000-{number:012}"
        volume = api.given_volume(status="awaiting-transfer", charged_gib=1, charged_type_id=DEFAULT_TYPE_ID)
        row = {
            "id": ids[name], "volume_id": volume, "project_id": "p1", "name": name, "no_snapshots": False,
            "salt": "5a17", "key_hash": key_hash("5a17", _KEY), "created_at_us": builders.START_US,
        }  # fmt: skip
        api.insert(tables.transfers, row)
    return ids


def used_world(api: Api, folder: Path) -> dict[str, str]:
    """A volume and one that is reserved, and a node behind the API that has both on its storage."""
    (folder / "storage").mkdir()
    node = Node(api, folder, api._store)
    api.bell.ring = node.ring  # type: ignore[method-assign]
    volume, reserved = (str(uuid.uuid4()) for _ in range(2))
    for id_ in (volume, reserved):
        api._run(node.make(f"{id_}.1.1"))
        api.given_volume(id=id_, object_name=f"{id_}.1.1", charged_gib=1, charged_type_id=DEFAULT_TYPE_ID)
    api("POST", f"/v3/volumes/{volume}/action", {"os-set_image_metadata": {"metadata": {"key": "v"}}})
    made = api("POST", "/v3/attachments", {"attachment": {"volume_uuid": reserved}}, version="3.27")
    return {"volume": volume, "attachment": made.json()["attachment"]["id"], "stray": "stray"}
