"""Discovery: which versions are served, where, how they are described, and whether the process answers at all."""

from typing import Final

from starlette.responses import Response

from breezeblock.api import answers, health, openapi
from breezeblock.api.call import Call
from breezeblock.api.microversions import NEWEST, OLDEST
from breezeblock.api.views.shapes import TEXT, many, named, object_of

DOCUMENTATION = "https://docs.openstack.org/api-ref/block-storage/v3/"
# When the newest microversion appeared in the API's own history.
UPDATED = "2024-03-05T00:00:00Z"


# GET /openapi.json, for the routes that it is given.
described: Final = openapi.handler


SHOWN: Final = named(
    "versions",
    many(
        object_of(
            {
                "id": TEXT,
                "status": TEXT,
                "version": TEXT,
                "min_version": TEXT,
                "updated": TEXT,
                "links": many(object_of({"rel": TEXT, "href": TEXT}, {"type": TEXT})),
                "media-types": many(object_of({"base": TEXT, "type": TEXT})),
            }
        )
    ),
)


def document(base_url: str) -> dict[str, object]:
    """The one version that is served, with links for a client that found us under `base_url`."""
    return {
        "versions": [
            {
                "id": "v3.0",
                "status": "CURRENT",
                "version": str(NEWEST),
                "min_version": str(OLDEST),
                "updated": UPDATED,
                "links": [
                    {"rel": "describedby", "type": "text/html", "href": DOCUMENTATION},
                    {"rel": "self", "href": f"{base_url}/v3/"},
                ],
                "media-types": [
                    {"base": "application/json", "type": "application/vnd.openstack.volume+json;version=3"}
                ],
            }
        ]
    }


async def list_all(call: Call) -> Response:
    """GET /. 300: the client is to choose."""
    call.permit("discovery")
    return answers.json(document(call.base_url), 300)


async def show(call: Call) -> Response:
    """GET /v3/. 200."""
    call.permit("discovery")
    return answers.json(document(call.base_url))


async def live(call: Call) -> Response:
    """GET /healthcheck, /healthcheck/live. 200 as long as the process serves; it asks nothing of the database."""
    call.permit("discovery")
    return health.answer((), accept=call.headers.get("accept", ""))


async def ready(call: Call) -> Response:
    """GET /healthcheck/ready. 200 when requests would succeed here, else 503 with the reasons."""
    call.permit("discovery")
    return health.answer(await call.services.health.reasons(), accept=call.headers.get("accept", ""))
