"""Pools and zones, as operators and users ask for them."""

import json

from sqlalchemy import Connection, RowMapping, select

from breezeblock.model.origin import Origin
from breezeblock.placement.extra_specs import unmet
from breezeblock.resources import types
from breezeblock.store.tables import pools


def list_pools(
    tx: Connection, *, origin: Origin, name: str | None = None, volume_type: str | None = None
) -> list[RowMapping]:
    """The pools, by name: that one only, and only those that offer what a type asks for. Raises NotFound for the type.

    Two statements. A pool that is full or disabled is listed, too.
    """
    wanted = select(pools).order_by(pools.c.name)
    if name is not None:
        wanted = wanted.where(pools.c.name == name)
    rows = list(tx.execute(wanted).mappings())
    if volume_type is None:
        return rows
    specs = types.specs_of(types.find_type(tx, name_or_id=volume_type, origin=origin))
    asked = {key: value for key, value in specs.items() if value is not None}
    return [row for row in rows if unmet(asked, json.loads(row["capabilities_json"])) is None]


def list_zones(tx: Connection) -> dict[str, bool]:
    """The zones in which there are pools, by name, and whether one of these takes new volumes."""
    zones: dict[str, bool] = {}
    rows = select(pools.c.availability_zone, pools.c.enabled).order_by(pools.c.availability_zone)
    for zone, enabled in tx.execute(rows):
        zones[zone] = zones.get(zone, False) or enabled
    return zones
