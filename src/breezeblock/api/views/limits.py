"""What a project may have and what it has, under the names that clients know from elsewhere."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from breezeblock.api.rates import Standing
from breezeblock.api.views.shapes import NUMBER, TEXT, many, named, object_of
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


_RATE: Final = object_of(
    {
        "uri": TEXT,
        "regex": TEXT,
        "limit": many(
            object_of(
                {"verb": TEXT, "value": NUMBER, "remaining": NUMBER, "unit": TEXT, "next-available": TEXT},
            )
        ),
    }
)
SHOWN: Final = named(
    "limits",
    object_of({"rate": many(_RATE), "absolute": object_of(dict.fromkeys((*MAX, *USED), NUMBER))}),
)


def limits(quotas: Mapping[str, Quota], rates: Iterable[Standing] = ()) -> dict[str, Any]:
    """The project's limits and what it has used, and how fast it may ask if that is limited."""
    absolute = {shown: quotas[resource].limit for shown, resource in MAX.items()}
    absolute |= {shown: quotas[resource].in_use for shown, resource in USED.items()}
    shown_rates = [_rate(one, verb) for one in rates for verb in one.verbs]
    rate = [{"uri": "*", "regex": ".*", "limit": shown_rates}] if shown_rates else []
    return {"limits": {"rate": rate, "absolute": absolute}}


def _rate(standing: Standing, verb: str) -> dict[str, Any]:
    next_available = datetime.fromtimestamp(standing.next_us // 1_000_000, UTC).replace(tzinfo=None)
    return {
        "verb": verb,
        "value": standing.rate.per_s,
        "remaining": standing.remaining,
        "unit": "SECOND",
        "next-available": next_available.isoformat(),
    }
