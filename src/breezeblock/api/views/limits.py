"""What a project may have and what it has, under the names that clients know from elsewhere."""

from collections.abc import Mapping
from typing import Any, Final

from breezeblock.api.views.shapes import NUMBER, named, object_of
from breezeblock.resources.quota_sets import Quota

MAX: Final = {
    "maxTotalVolumes": "volumes",
    "maxTotalSnapshots": "snapshots",
    "maxTotalVolumeGigabytes": "gigabytes",
    "maxTotalBackups": "backups",
    "maxTotalBackupGigabytes": "backup_gigabytes",
}
USED: Final = {
    "totalVolumesUsed": "volumes",
    "totalGigabytesUsed": "gigabytes",
    "totalSnapshotsUsed": "snapshots",
    "totalBackupsUsed": "backups",
    "totalBackupGigabytesUsed": "backup_gigabytes",
}


SHOWN: Final = named(
    "limits",
    object_of({"rate": {"type": "array", "maxItems": 0}, "absolute": object_of(dict.fromkeys((*MAX, *USED), NUMBER))}),
)


def limits(quotas: Mapping[str, Quota]) -> dict[str, Any]:
    """No rates: how fast a client may ask is a matter for the proxy in front of us."""
    absolute = {shown: quotas[resource].limit for shown, resource in MAX.items()}
    absolute |= {shown: quotas[resource].in_use for shown, resource in USED.items()}
    return {"limits": {"rate": [], "absolute": absolute}}
