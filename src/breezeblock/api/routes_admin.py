"""The URLs of types, quotas, limits, messages, services, clusters, pools, zones and extensions."""

from typing import Final

from breezeblock.api.routing import Route

ROUTES: Final[tuple[Route, ...]] = ()
