"""Why commands and functions of the clients do not do their work here: each is tried, or needs a service that is not here."""

from typing import Final

from tests.clients.commands import CLOUD, PROXY
from tests.clients.requests import CINDER, OPENSTACK

IDENTITY: Final = "needs an identity service"
COMPUTE: Final = "needs a compute service"
IMAGES: Final = "is refused: no image service is configured"
REPLICATION: Final = "is refused: no driver replicates"
CONSISTENT: Final = "is refused: no driver takes several volumes at one instant"
NO_URL: Final = "the library asks for a URL or an action that the API does not have"

REASONS: Final[dict[str, dict[str, str]]] = {
    CINDER: {
        "cgsnapshot-create": CONSISTENT,
        "cgsnapshot-delete": CONSISTENT,
        "cgsnapshot-show": CONSISTENT,
        "consisgroup-create-from-src": CONSISTENT,
        "failover-host": REPLICATION,
        "group-disable-replication": REPLICATION,
        "group-enable-replication": REPLICATION,
        "group-failover-replication": REPLICATION,
        "group-list-replication-targets": REPLICATION,
        "group-type-default": "is not found: there is no default type of groups",
        "reimage": IMAGES,
        "upload-to-image": IMAGES,
    },
    OPENSTACK: {
        "block storage cleanup": f"{NO_URL}, or ends before it asks; `cinder work-cleanup` does it",
        "consistency group snapshot create": CONSISTENT,
        "consistency group snapshot delete": CONSISTENT,
        "consistency group snapshot show": CONSISTENT,
        "project cleanup": IDENTITY,
        "quota delete": IDENTITY,
        "quota list": IDENTITY,
        "quota show": IDENTITY,
        "versions show": IDENTITY,
        "volume attachment create": COMPUTE,
        "volume backup record import": f"{NO_URL}; `cinder backup-import` does it",
        "volume backup unset": f"{NO_URL}; `cinder backup-update --metadata` replaces all",
        "volume group failover": NO_URL,
        "volume host failover": REPLICATION,
    },
    PROXY: {
        "cleanup_service_workers": NO_URL,
        "complete_volume_extend": "is refused: no driver waits for Nova to extend",
        "create_consistency_group_from_source": CONSISTENT,
        "create_consistency_group_snapshot": CONSISTENT,
        "create_image": IMAGES,
        "delete_backup_metadata": NO_URL,
        "disable_group_replication": NO_URL,
        "enable_group_replication": NO_URL,
        "failover_group_replication": NO_URL,
        "failover_service": REPLICATION,
        "fetch_backup_metadata": NO_URL,
        "get_backup_metadata": NO_URL,
        "get_consistency_group_snapshot": CONSISTENT,
        "import_backup": NO_URL,
        "set_backup_metadata": NO_URL,
        "upload_volume_to_image": IMAGES,
    },
    CLOUD: {
        "attach_volume": COMPUTE,
        "delete_volume_quotas": IDENTITY,
        "detach_volume": COMPUTE,
        "get_volume_quotas": IDENTITY,
        "set_volume_quotas": IDENTITY,
    },
}
"""By kind and name."""
