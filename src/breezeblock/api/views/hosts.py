"""Hosts as JSON."""

from collections.abc import Sequence
from typing import Any, Final

from breezeblock.api.views.shapes import TEXT, TEXT_OR_NULL, Shape, many, named, object_of, one_of
from breezeblock.api.views.template import format_time
from breezeblock.resources.hosts import Held
from breezeblock.resources.services import Service

MANY: Final = named(
    "hosts",
    many(
        object_of(
            {
                "host_name": TEXT,
                "service": TEXT,
                "zone": TEXT,
                "service-status": one_of("available", "unavailable"),
                "service-state": one_of("enabled", "disabled"),
                "last-update": TEXT_OR_NULL,
            }
        )
    ),
)
_RESOURCE: Final = ("host", "project", "volume_count", "total_volume_gb", "snapshot_count", "total_snapshot_gb")
RESOURCES: Final = named("host", many(object_of({"resource": object_of(dict.fromkeys(_RESOURCE, TEXT))})))
SWITCHED: Final = Shape(object_of({}, {"host": TEXT, "status": one_of("enabled", "disabled")}))


def summary(service: Service) -> dict[str, Any]:
    return {
        "host_name": service.host,
        "service": service.binary,
        "zone": service.zone,
        "service-status": "available" if service.up else "unavailable",
        "service-state": "disabled" if service.word.disabled else "enabled",
        "last-update": None if service.updated_at_us is None else format_time(service.updated_at_us),
    }


def resources(host: str, found: Sequence[Held]) -> list[dict[str, Any]]:
    """What is there in all, and then what each project has. Numbers are texts here, as ever."""
    columns = list(zip(*(held[1:] for held in found), strict=True)) or [()] * 4
    total = Held("(total)", *(sum(column) for column in columns))
    return [{"resource": _resource(host, held)} for held in (total, *found)]


def _resource(host: str, held: Held) -> dict[str, str]:
    return {
        "host": host,
        "project": held.project_id,
        "volume_count": str(held.volumes),
        "total_volume_gb": str(held.volumes_gib),
        "snapshot_count": str(held.snapshots),
        "total_snapshot_gb": str(held.snapshots_gib),
    }
