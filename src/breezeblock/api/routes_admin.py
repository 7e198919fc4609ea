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
from breezeblock.api.views import clusters as cluster_views
from breezeblock.api.views import limits as limit_views
from breezeblock.api.views import messages as message_views
from breezeblock.api.views import pools as pool_views
from breezeblock.api.views import quotas as quota_views
from breezeblock.api.views import services as service_views
from breezeblock.api.views import types as type_views

ROUTES: Final[tuple[Route, ...]] = (
    Route("GET", "types", types.list_types, query=types.LISTS, answer=type_views.MANY),
    Route("POST", "types", types.create, status=200, body=CreateTypeBody, answer=type_views.CREATED),
    Route("GET", "types/{type_id}", types.show, answer=type_views.ONE),
    Route("PUT", "types/{type_id}", types.update, status=200, body=UpdateTypeBody, answer=type_views.UPDATED),
    Route("DELETE", "types/{type_id}", types.delete, status=202),
    Route(
        "POST",
        "types/{type_id}/action",
        actions={
            "addProjectAccess": Action(type_access.add, status=202, body=ProjectAccess),
            "removeProjectAccess": Action(type_access.remove, status=202, body=ProjectAccess),
        },
    ),
    Route("GET", "types/{type_id}/os-volume-type-access", type_access.list_access, answer=type_views.PROJECTS),
    Route("GET", "types/{type_id}/extra_specs", types.list_specs, answer=type_views.SPECS),
    Route(
        "POST",
        "types/{type_id}/extra_specs",
        types.create_specs,
        status=200,
        body=ExtraSpecsBody,
        answer=type_views.SPECS,
    ),
    Route("GET", "types/{type_id}/extra_specs/{key}", types.show_spec, answer=type_views.ONE_SPEC),
    Route(
        "PUT",
        "types/{type_id}/extra_specs/{key}",
        types.update_spec,
        status=200,
        body=OneSpec,
        answer=type_views.ONE_SPEC,
    ),
    Route("DELETE", "types/{type_id}/extra_specs/{key}", types.delete_spec, status=202),
    *type_encryption.ROUTES,
    *default_types.ROUTES,
    *qos_specs.ROUTES,
    Route("GET", "os-quota-sets/{owner}", quotas.show, query=quotas.SHOWN_BY, answer=quota_views.SET),
    Route(
        "PUT",
        "os-quota-sets/{owner}",
        quotas.update,
        status=200,
        body=QuotaSetBody,
        query=quotas.CHANGED_BY,
        answer=quota_views.CHANGED,
    ),
    Route("DELETE", "os-quota-sets/{owner}", quotas.delete, status=200),
    Route("GET", "os-quota-sets/{owner}/defaults", quotas.show_defaults, answer=quota_views.DEFAULTS),
    Route("GET", "os-quota-class-sets/{owner}", quotas.show_class, answer=quota_views.CLASS),
    Route(
        "PUT",
        "os-quota-class-sets/{owner}",
        quotas.update_class,
        status=200,
        body=QuotaClassSetBody,
        answer=quota_views.CLASS_CHANGED,
    ),
    Route("GET", "limits", limits.show, query=limits.SHOWN_BY, answer=limit_views.SHOWN),
    Route("GET", "messages", messages.list_messages, since=MESSAGES, query=messages.LISTS, answer=message_views.MANY),
    Route("GET", "messages/{message_id}", messages.show, since=MESSAGES, answer=message_views.ONE),
    Route("DELETE", "messages/{message_id}", messages.delete, since=MESSAGES, status=204),
    Route("GET", "os-services", services.list_services, query=services.LISTED_BY, answer=service_views.MANY),
    Route("PUT", "os-services/enable", services.enable, status=200, body=SwitchService, answer=service_views.SWITCHED),
    Route(
        "PUT", "os-services/disable", services.disable, status=200, body=SwitchService, answer=service_views.SWITCHED
    ),
    Route(
        "PUT",
        "os-services/disable-log-reason",
        services.disable_log_reason,
        status=200,
        body=DisableService,
        answer=service_views.SWITCHED_WITH_REASON,
    ),
    Route("PUT", "os-services/fence", fences.fence, status=200, body=FenceNode, answer=service_views.FENCED),
    Route("PUT", "os-services/freeze", services.freeze, status=200, body=FreezeBackend),
    Route("PUT", "os-services/thaw", services.thaw, status=200, body=FreezeBackend),
    Route("PUT", "os-services/failover_host", services.fail_over, status=202, body=FailOver),
    Route("PUT", "os-services/failover", services.fail_over, status=202, body=FailOver),
    Route(
        "POST",
        "workers/cleanup",
        workers.clean_up,
        since=CLEANUP,
        status=202,
        body=CleanUp,
        answer=service_views.CLEANED,
    ),
    Route(
        "GET",
        "clusters",
        clusters.list_clusters,
        since=CLUSTERS,
        query=clusters.LISTED_BY,
        answer=cluster_views.MANY_SHORT,
    ),
    Route(
        "GET",
        "clusters/detail",
        clusters.list_details,
        since=CLUSTERS,
        query=clusters.LISTED_BY,
        answer=cluster_views.MANY,
    ),
    Route(
        "GET",
        "clusters/{cluster_name}",
        clusters.show,
        since=CLUSTERS,
        query={"binary": Filter()},
        answer=cluster_views.ONE,
    ),
    Route(
        "PUT",
        "clusters/enable",
        clusters.enable,
        since=CLUSTERS,
        status=200,
        body=EnableCluster,
        answer=cluster_views.SWITCHED,
    ),
    Route(
        "PUT",
        "clusters/disable",
        clusters.disable,
        since=CLUSTERS,
        status=200,
        body=DisableCluster,
        answer=cluster_views.SWITCHED,
    ),
    Route("GET", "scheduler-stats/get_pools", pools.get_pools, query=pools.LISTED_BY, answer=pool_views.MANY),
    *capabilities.ROUTES,
    *hosts.ROUTES,
    *log_levels.ROUTES,
    *resource_filters.ROUTES,
    Route("GET", "os-availability-zone", zones.list_zones, answer=zones.SHOWN),
    Route("GET", "extensions", extensions.list_extensions, answer=extensions.MANY),
    Route("GET", "extensions/{alias}", extensions.show, answer=extensions.ONE),
)
