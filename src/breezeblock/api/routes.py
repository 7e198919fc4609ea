"""Every URL of the API, in one table."""

from typing import Final

from breezeblock.api import routes_admin, versions
from breezeblock.api.handlers import snapshot_metadata, snapshots, volume_metadata, volumes
from breezeblock.api.routing import Route

# Outside /v3, by whole path.
TOP: Final = {
    "/": Route("GET", "/", versions.list_all),
    "/healthcheck": Route("GET", "/healthcheck", versions.health),
}

ROUTES: Final[tuple[Route, ...]] = (
    Route("GET", "", versions.show),
    *volumes.ROUTES,
    *volume_metadata.ROUTES,
    *snapshots.ROUTES,
    *snapshot_metadata.ROUTES,
    *routes_admin.ROUTES,
)
