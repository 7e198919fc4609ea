"""The URLs of types, quotas, limits, messages, services, clusters, pools, zones and extensions."""

from typing import Final

from breezeblock.api.handlers import (
    capabilities,
    clusters,
    default_types,
    extensions,
    fences,
    hosts,
    limits,
    log_levels,
    messages,
    pools,
    qos_specs,
    quotas,
    resource_filters,
    services,
    type_access,
    type_encryption,
    types,
    workers,
    zones,
)
from breezeblock.api.microversions import CLEANUP, CLUSTERS, MESSAGES
from breezeblock.api.paging import Filter
from breezeblock.api.routing import Action, Route
from breezeblock.api.schemas.clusters import DisableCluster, EnableCluster
from breezeblock.api.schemas.fences import FenceNode
from breezeblock.api.schemas.quotas import QuotaClassSetBody, QuotaSetBody
from breezeblock.api.schemas.services import DisableService, FailOver, FreezeBackend, SwitchService
from breezeblock.api.schemas.type_access import ProjectAccess
from breezeblock.api.schemas.types import CreateTypeBody, ExtraSpecsBody, OneSpec, UpdateTypeBody
from breezeblock.api.schemas.workers import CleanUp

ROUTES: Final[tuple[Route, ...]] = (
    Route("GET", "types", types.list_types, query=types.LISTS),
    Route("POST", "types", types.create, status=200, body=CreateTypeBody),
    Route("GET", "types/{type_id}", types.show),
    Route("PUT", "types/{type_id}", types.update, status=200, body=UpdateTypeBody),
    Route("DELETE", "types/{type_id}", types.delete, status=202),
    Route(
        "POST",
        "types/{type_id}/action",
        actions={
            "addProjectAccess": Action(type_access.add, status=202, body=ProjectAccess),
            "removeProjectAccess": Action(type_access.remove, status=202, body=ProjectAccess),
        },
    ),
    Route("GET", "types/{type_id}/os-volume-type-access", type_access.list_access),
    Route("GET", "types/{type_id}/extra_specs", types.list_specs),
    Route("POST", "types/{type_id}/extra_specs", types.create_specs, status=200, body=ExtraSpecsBody),
    Route("GET", "types/{type_id}/extra_specs/{key}", types.show_spec),
    Route("PUT", "types/{type_id}/extra_specs/{key}", types.update_spec, status=200, body=OneSpec),
    Route("DELETE", "types/{type_id}/extra_specs/{key}", types.delete_spec, status=202),
    *type_encryption.ROUTES,
    *default_types.ROUTES,
    *qos_specs.ROUTES,
    Route("GET", "os-quota-sets/{owner}", quotas.show, query=quotas.SHOWN_BY),
    Route("PUT", "os-quota-sets/{owner}", quotas.update, status=200, body=QuotaSetBody, query=quotas.CHANGED_BY),
    Route("DELETE", "os-quota-sets/{owner}", quotas.delete, status=200),
    Route("GET", "os-quota-sets/{owner}/defaults", quotas.show_defaults),
    Route("GET", "os-quota-class-sets/{owner}", quotas.show_class),
    Route("PUT", "os-quota-class-sets/{owner}", quotas.update_class, status=200, body=QuotaClassSetBody),
    Route("GET", "limits", limits.show, query=limits.SHOWN_BY),
    Route("GET", "messages", messages.list_messages, since=MESSAGES, query=messages.LISTS),
    Route("GET", "messages/{message_id}", messages.show, since=MESSAGES),
    Route("DELETE", "messages/{message_id}", messages.delete, since=MESSAGES, status=204),
    Route("GET", "os-services", services.list_services, query=services.LISTED_BY),
    Route("PUT", "os-services/enable", services.enable, status=200, body=SwitchService),
    Route("PUT", "os-services/disable", services.disable, status=200, body=SwitchService),
    Route("PUT", "os-services/disable-log-reason", services.disable_log_reason, status=200, body=DisableService),
    Route("PUT", "os-services/fence", fences.fence, status=200, body=FenceNode),
    Route("PUT", "os-services/freeze", services.freeze, status=200, body=FreezeBackend),
    Route("PUT", "os-services/thaw", services.thaw, status=200, body=FreezeBackend),
    Route("PUT", "os-services/failover_host", services.fail_over, status=202, body=FailOver),
    Route("PUT", "os-services/failover", services.fail_over, status=202, body=FailOver),
    Route("POST", "workers/cleanup", workers.clean_up, since=CLEANUP, status=202, body=CleanUp),
    Route("GET", "clusters", clusters.list_clusters, since=CLUSTERS, query=clusters.LISTED_BY),
    Route("GET", "clusters/detail", clusters.list_details, since=CLUSTERS, query=clusters.LISTED_BY),
    Route("GET", "clusters/{cluster_name}", clusters.show, since=CLUSTERS, query={"binary": Filter()}),
    Route("PUT", "clusters/enable", clusters.enable, since=CLUSTERS, status=200, body=EnableCluster),
    Route("PUT", "clusters/disable", clusters.disable, since=CLUSTERS, status=200, body=DisableCluster),
    Route("GET", "scheduler-stats/get_pools", pools.get_pools, query=pools.LISTED_BY),
    *capabilities.ROUTES,
    *hosts.ROUTES,
    *log_levels.ROUTES,
    *resource_filters.ROUTES,
    Route("GET", "os-availability-zone", zones.list_zones),
    Route("GET", "extensions", extensions.list_extensions),
    Route("GET", "extensions/{alias}", extensions.show),
)
