"""Availability zones."""

from typing import Final

from starlette.responses import Response

from breezeblock.api import answers
from breezeblock.api.call import Call
from breezeblock.api.views.shapes import FLAG, TEXT, many, named, object_of
from breezeblock.resources import pools

SHOWN: Final = named(
    "availabilityZoneInfo", many(object_of({"zoneName": TEXT, "zoneState": object_of({"available": FLAG})}))
)


async def list_zones(call: Call) -> Response:
    """GET /v3/{project_id}/os-availability-zone. 200."""
    call.permit("volume_extension:availability_zone_list")
    zones = await call.store.read(pools.list_zones)
    shown = [{"zoneName": name, "zoneState": {"available": available}} for name, available in zones.items()]
    return answers.json({"availabilityZoneInfo": shown})
