"""Clusters as JSON."""

from typing import Any, Final

from breezeblock.api.call import Call
from breezeblock.api.microversions import REPLICATION_CLUSTER
from breezeblock.api.views.services import REPLICATION, replication
from breezeblock.api.views.shapes import NUMBER, TEXT, TEXT_OR_NULL, late, late_keys, many, named, object_of, one_of
from breezeblock.api.views.template import format_time
from breezeblock.resources.services import VOLUME, Cluster

_SUMMARY: Final = {
    "name": TEXT,
    "binary": TEXT,
    "state": one_of("up", "down"),
    "status": one_of("enabled", "disabled"),
    "replication_status": late(REPLICATION_CLUSTER, TEXT),
}
_DETAIL: Final = object_of(
    {
        **_SUMMARY,
        "num_hosts": NUMBER,
        "num_down_hosts": NUMBER,
        "last_heartbeat": TEXT,
        "created_at": TEXT,
        "updated_at": TEXT,
        "disabled_reason": TEXT_OR_NULL,
        **late_keys(REPLICATION_CLUSTER, REPLICATION),
    }
)
ONE: Final = named("cluster", _DETAIL)
MANY: Final = named("clusters", many(_DETAIL))
MANY_SHORT: Final = named("clusters", many(object_of(_SUMMARY)))
SWITCHED: Final = named("cluster", object_of({**_SUMMARY, "disabled_reason": TEXT_OR_NULL}))


def summary(call: Call, cluster: Cluster) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "name": cluster.name,
        "binary": VOLUME,
        "state": "up" if cluster.up else "down",
        "status": "disabled" if cluster.word.disabled else "enabled",
    }
    if call.microversion >= REPLICATION_CLUSTER:
        shown["replication_status"] = cluster.backend.replication_status
    return shown


def detail(call: Call, cluster: Cluster) -> dict[str, Any]:
    shown = summary(call, cluster) | {
        "num_hosts": cluster.hosts,
        "num_down_hosts": cluster.hosts_down,
        "last_heartbeat": _time(cluster.heartbeat_at_us),
        "created_at": _time(cluster.created_at_us),
        "updated_at": _time(cluster.updated_at_us),
        "disabled_reason": cluster.word.reason,
    }
    if call.microversion >= REPLICATION_CLUSTER:
        shown |= replication(cluster.backend)
    return shown


def _time(at_us: int | None) -> str:
    """An instant, or the empty text, which is how this resource alone writes that there is none."""
    return "" if at_us is None else format_time(at_us)
