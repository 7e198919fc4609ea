"""Services as JSON."""

from typing import Any

from breezeblock.api.call import Call
from breezeblock.api.microversions import BACKEND_STATE, CLUSTERS
from breezeblock.api.views.template import format_time
from breezeblock.resources.backends import BackendState
from breezeblock.resources.services import VOLUME, Service


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
