"""Services as JSON."""

from typing import Any, Final

from breezeblock.api.call import Call
from breezeblock.api.microversions import BACKEND_STATE, CLUSTERS
from breezeblock.api.views.shapes import (
    ANYTHING,
    FLAG,
    NUMBER,
    TEXT,
    TEXT_OR_NULL,
    Shape,
    late,
    many,
    named,
    object_of,
    one_of,
)
from breezeblock.api.views.template import format_time
from breezeblock.resources.backends import BackendState
from breezeblock.resources.services import VOLUME, Service

REPLICATION: Final = {"replication_status": TEXT, "active_backend_id": TEXT_OR_NULL, "frozen": FLAG}
_STATUS: Final = one_of("enabled", "disabled")
_SAID: Final = {"host": TEXT, "service": TEXT, "binary": TEXT, "status": _STATUS, "disabled": FLAG}
# Only the services of volumes have a backend.
MANY: Final = named(
    "services",
    many(
        object_of(
            {
                "binary": TEXT,
                "host": TEXT,
                "zone": TEXT,
                "status": _STATUS,
                "state": one_of("up", "down"),
                "updated_at": TEXT_OR_NULL,
                "disabled_reason": TEXT_OR_NULL,
                "cluster": late(CLUSTERS, TEXT_OR_NULL),
            },
            {**REPLICATION, "backend_state": late(BACKEND_STATE, {"enum": ["up", "down", None]}, optional=True)},
        )
    ),
)
SWITCHED: Final = Shape(object_of(_SAID))
SWITCHED_WITH_REASON: Final = Shape(object_of({**_SAID, "disabled_reason": TEXT}))
FENCED: Final = Shape(
    object_of({"host": TEXT, "fenced": many(object_of({"incarnation": ANYTHING, "backends": many(TEXT)}))})
)
_ITEM: Final = object_of({"id": NUMBER, "host": TEXT, "binary": TEXT, "cluster_name": TEXT_OR_NULL})
CLEANED: Final = Shape(object_of({"cleaning": many(_ITEM), "unavailable": many(_ITEM)}))


def replication(backend: BackendState) -> dict[str, Any]:
    """What services and clusters show of their backend."""
    return {
        "replication_status": backend.replication_status,
        "active_backend_id": backend.active_backend_id,
        "frozen": backend.frozen,
    }


def detail(call: Call, service: Service) -> dict[str, Any]:
    shown = {
        "binary": service.binary,
        "host": service.host,
        "zone": service.zone,
        "status": "disabled" if service.word.disabled else "enabled",
        "state": "up" if service.up else "down",
        "updated_at": None if service.updated_at_us is None else format_time(service.updated_at_us),
        "disabled_reason": service.word.reason,
    }
    if service.binary == VOLUME:
        shown |= replication(service.backend)
    if call.microversion >= BACKEND_STATE and service.binary == VOLUME:
        shown["backend_state"] = {True: "up", False: "down", None: None}[service.backend_up]
    if call.microversion >= CLUSTERS:
        shown["cluster"] = service.queue
    return shown
