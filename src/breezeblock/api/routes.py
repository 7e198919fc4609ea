"""Every URL of the API, in one table."""

from typing import Final

from breezeblock.api import metrics, routes_admin, versions
from breezeblock.api.handlers import (
    attachments,
    backups,
    consistency_groups,
    group_snapshots,
    group_types,
    groups,
    image_metadata,
    managing,
    migrations,
    old_attachments,
    snapshot_metadata,
    snapshots,
    transfers,
    volume_metadata,
    volumes,
)
from breezeblock.api.routing import PREFIX, Route

# Outside /v3, by whole path.
TOP: Final[dict[str, Route]] = {
    "/": Route("GET", "/", versions.list_all, status=300, answer=versions.SHOWN),
    "/healthcheck": Route("GET", "/healthcheck", versions.live),
    "/healthcheck/live": Route("GET", "/healthcheck/live", versions.live),
    "/healthcheck/ready": Route("GET", "/healthcheck/ready", versions.ready),
    "/metrics": Route("GET", "/metrics", metrics.show),
    "/openapi.json": Route("GET", "/openapi.json", versions.described(lambda: (ROUTES, TOP.values()))),
}

# Whoever watches the service asks these all the time, often for many others: no rate is theirs.
UNLIMITED: Final = frozenset(path for path in TOP if path.startswith("/healthcheck"))

# What can be asked of a volume by the key of a body: many things, from several modules.
VOLUME_ACTIONS: Final = {
    **volumes.ACTIONS,
    **image_metadata.ACTIONS,
    **migrations.ACTIONS,
    **managing.VOLUME_ACTIONS,
    **old_attachments.ACTIONS,
}

ROUTES: Final[tuple[Route, ...]] = (
    Route("GET", "", versions.show, answer=versions.SHOWN),
    *volumes.ROUTES,
    Route("POST", "volumes/{volume_id}/action", actions=VOLUME_ACTIONS),
    *volume_metadata.ROUTES,
    *snapshots.ROUTES,
    *snapshot_metadata.ROUTES,
    *backups.ROUTES,
    *attachments.ROUTES,
    *group_types.ROUTES,
    *groups.ROUTES,
    *group_snapshots.ROUTES,
    *consistency_groups.ROUTES,
    *transfers.ROUTES,
    *managing.ROUTES,
    *routes_admin.ROUTES,
)


# Method and template of everything that is served, as metrics name it.
_NAMED: Final = {id(route): (route.method, route.template) for route in TOP.values()} | {
    id(route): (route.method, f"/{PREFIX}/{route.template}".rstrip("/")) for route in ROUTES
}
KINDS: Final = tuple(_NAMED.values())


def kind(route: Route | None) -> tuple[str, str] | None:
    """What a route is in `KINDS`; None for None."""
    return None if route is None else _NAMED[id(route)]
