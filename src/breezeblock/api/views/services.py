"""Services as JSON."""

from typing import Any

from breezeblock.api.call import Call
from breezeblock.api.microversions import BACKEND_STATE, CLUSTERS
from breezeblock.api.views.template import format_time
from breezeblock.resources.services import VOLUME, Service

# There is no replication yet; these are the words of a backend that has none.
REPLICATION: dict[str, Any] = {"replication_status": "disabled", "active_backend_id": None, "frozen": False}


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
        shown |= REPLICATION
    if call.microversion >= BACKEND_STATE and service.binary == VOLUME:
        shown["backend_state"] = {True: "up", False: "down", None: None}[service.backend_up]
    if call.microversion >= CLUSTERS:
        shown["cluster"] = service.queue
    return shown
