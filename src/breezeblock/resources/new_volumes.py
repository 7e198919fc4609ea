"""What all ways to a new volume share: its type, its zone, its row."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, RowMapping

from breezeblock.model import states
from breezeblock.model.errors import BadRequest, Contended, Forbidden
from breezeblock.model.origin import Origin
from breezeblock.model.requests import NewVolume
from breezeblock.placement.choose import Pool
from breezeblock.resources import default_types, types
from breezeblock.resources.accepted import Accepted, message_for_request
from breezeblock.store.tables import volume_types, volumes
from breezeblock.store.transitions import read_row


def type_of(
    tx: Connection, wanted: NewVolume, source: Mapping[str, Any] | None, origin: Origin
) -> Mapping[str, Any] | RowMapping:
    """The type that a new volume gets: the one asked for, its source's, or the default one. Raises NotFound."""
    if wanted.volume_type is not None:
        return types.find_type(tx, name_or_id=wanted.volume_type, origin=origin)
    if source is None or source["volume_type_id"] is None:
        return default_types.for_project(tx, project_id=origin.project_id, origin=origin)
    inherited = read_row(tx, volume_types, source["volume_type_id"])
    if inherited is None:
        raise Contended("the source was retyped, and its old type deleted, since it was read")
    return inherited


def zone_of(pools: Sequence[Pool], wanted: NewVolume, source: Mapping[str, Any] | None) -> str | None:
    """The availability zone that a new volume must be in; None: its source's pool decides, or any will do.

    Who asks for none gets the default one, if there is a pool in it. Raises BadRequest for a zone that no pool is in, and for
    another one than its source's.
    """
    zones = {pool.name: pool.availability_zone for pool in pools}
    known, zone = set(zones.values()), wanted.availability_zone
    if wanted.zone_fallback and known and zone not in known:
        zone = None
    check_zone(pools, zone)
    if source is not None:
        near = zones.get(source["pool_name"])
        if wanted.same_zone and zone is not None and near is not None and zone != near:
            raise BadRequest(
                f"Availability zone '{zone}' is not that of the volume's source, which is in '{near}'; a volume from another "
                "one, or from a snapshot, must be in the same zone."
            )
        return zone
    return wanted.default_zone if zone is None and wanted.default_zone in known else zone


def check_zone(pools: Sequence[Pool], zone: str | None) -> None:
    """Raises BadRequest for a zone that no pool is in, where there are pools."""
    known = {pool.availability_zone for pool in pools}
    if zone is not None and known and zone not in known:
        raise BadRequest(f"Availability zone '{zone}' is not one of: {', '.join(sorted(known))}.")


def new_row(
    wanted: NewVolume,
    origin: Origin,
    *,
    size_gib: int,
    volume_type: Mapping[str, Any] | RowMapping,
    source: Mapping[str, Any] | None,
    pool: Pool | None,
) -> dict[str, Any]:
    """The row of a new volume, as it is before its operation; in `error` without a pool. Raises Forbidden."""
    multiattach = types.is_multiattach(msgspec.json.decode(volume_type["extra_specs_json"]))
    if multiattach and wanted.no_multiattach is not None:
        raise Forbidden(wanted.no_multiattach)
    row: dict[str, Any] = {column.name: None for column in volumes.c}
    return row | {
        "id": wanted.id,
        "op_seq": 1,
        "tombstone": False,
        "project_id": origin.project_id,
        "user_id": origin.user_id,
        "name": wanted.name,
        "description": wanted.description,
        "size_gib": size_gib,
        "status": states.ERROR if pool is None else states.CREATING,
        "pool_name": None if pool is None else pool.name,
        "availability_zone": (wanted.availability_zone or wanted.default_zone)
        if pool is None
        else pool.availability_zone,
        "volume_type_id": volume_type["id"],
        "snapshot_id": wanted.snapshot_id,
        "source_volid": wanted.source_volid,
        "bootable": bool(source is not None and source.get("bootable")),
        "multiattach": multiattach,
        "encrypted": False,
        "attach_status": "detached",
        # What is made of something that one can boot from knows of its image, too.
        "image_metadata_json": source.get("image_metadata_json")
        if source is not None and source.get("bootable")
        else None,
        "metadata_json": msgspec.json.encode(wanted.metadata).decode(),
        "admin_metadata_json": "{}",
        "charged_gib": size_gib,
        "charged_type_id": volume_type["id"],
        "created_at_us": origin.at_us,
        "group_id": wanted.group_id,
    }


def placed_nowhere(tx: Connection, row: Mapping[str, Any], why_not: str, *, origin: Origin) -> Accepted:
    """A volume that no pool can take: it is accepted all the same, is in `error`, and a message says why."""
    event = "schedule_allocate_volume"
    message_for_request(tx, origin=origin, resource_type="volume", resource_id=row["id"], event=event, text=why_not)
    return Accepted(None, row)
