"""The URLs of types, quotas, limits, messages, services, clusters, pools, zones and extensions."""

from typing import Final

from breezeblock.api.handlers import (
    clusters,
    extensions,
    limits,
    messages,
    pools,
    quotas,
    services,
    type_access,
    types,
    zones,
)
from breezeblock.api.microversions import CLUSTERS, MESSAGES
from breezeblock.api.routing import Action, Route

ROUTES: Final[tuple[Route, ...]] = (
    Route("GET", "types", types.list_types),
    Route("POST", "types", types.create),
    Route("GET", "types/{type_id}", types.show),
    Route("PUT", "types/{type_id}", types.update),
    Route("DELETE", "types/{type_id}", types.delete),
    Route(
        "POST",
        "types/{type_id}/action",
        actions={
            "addProjectAccess": Action(type_access.add),
            "removeProjectAccess": Action(type_access.remove),
        },
    ),
    Route("GET", "types/{type_id}/os-volume-type-access", type_access.list_access),
    Route("GET", "types/{type_id}/extra_specs", types.list_specs),
    Route("POST", "types/{type_id}/extra_specs", types.create_specs),
    Route("GET", "types/{type_id}/extra_specs/{key}", types.show_spec),
    Route("PUT", "types/{type_id}/extra_specs/{key}", types.update_spec),
    Route("DELETE", "types/{type_id}/extra_specs/{key}", types.delete_spec),
    Route("GET", "os-quota-sets/{owner}", quotas.show),
    Route("PUT", "os-quota-sets/{owner}", quotas.update),
    Route("DELETE", "os-quota-sets/{owner}", quotas.delete),
    Route("GET", "os-quota-sets/{owner}/defaults", quotas.show_defaults),
    Route("GET", "os-quota-class-sets/{owner}", quotas.show_class),
    Route("PUT", "os-quota-class-sets/{owner}", quotas.update_class),
    Route("GET", "limits", limits.show),
    Route("GET", "messages", messages.list_messages, since=MESSAGES),
    Route("GET", "messages/{message_id}", messages.show, since=MESSAGES),
    Route("DELETE", "messages/{message_id}", messages.delete, since=MESSAGES),
    Route("GET", "os-services", services.list_services),
    Route("PUT", "os-services/enable", services.enable),
    Route("PUT", "os-services/disable", services.disable),
    Route("PUT", "os-services/disable-log-reason", services.disable_log_reason),
    Route("GET", "clusters", clusters.list_clusters, since=CLUSTERS),
    Route("GET", "clusters/detail", clusters.list_details, since=CLUSTERS),
    Route("GET", "clusters/{cluster_name}", clusters.show, since=CLUSTERS),
    Route("PUT", "clusters/enable", clusters.enable, since=CLUSTERS),
    Route("PUT", "clusters/disable", clusters.disable, since=CLUSTERS),
    Route("GET", "scheduler-stats/get_pools", pools.get_pools),
    Route("GET", "os-availability-zone", zones.list_zones),
    Route("GET", "extensions", extensions.list_extensions),
    Route("GET", "extensions/{alias}", extensions.show),
)
