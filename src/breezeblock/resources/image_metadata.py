"""What a volume's image was: texts that whoever boots from the volume reads. Kept in its row, and in those of its snapshots."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from sqlalchemy import Connection

from breezeblock.model.errors import BadRequest, InvalidState, NotFound
from breezeblock.model.ids import VolumeId
from breezeblock.model.origin import Origin
from breezeblock.resources.listing import VOLUMES, one
from breezeblock.resources.volume_edits import METADATA_FROZEN
from breezeblock.store.tables import volumes
from breezeblock.store.transitions import change_row, lock_row

# All of a volume's together, as JSON: it is read with each list of volumes. Images have some 30 short ones.
BYTES_MOST: Final = 2**17


def set_metadata(tx: Connection, *, origin: Origin, volume_id: VolumeId, metadata: Mapping[str, str]) -> dict[str, str]:
    """Add texts, or replace those of the same names. Returns all there are. Raises NotFound, InvalidState, BadRequest."""
    now = metadata_of(_locked(tx, origin, volume_id)) | dict(metadata)
    _save(tx, origin, volume_id, now)
    return now


def unset_metadata(tx: Connection, *, origin: Origin, volume_id: VolumeId, key: str) -> None:
    """Remove one text. Raises NotFound (also when it is not there), InvalidState."""
    there = metadata_of(_locked(tx, origin, volume_id))
    if key not in there:
        raise NotFound(f"Glance metadata for volume/snapshot {volume_id} cannot be found: there is no key {key}.")
    _save(tx, origin, volume_id, {name: text for name, text in there.items() if name != key})


def metadata_of(row: Mapping[str, Any]) -> dict[str, str]:
    """The texts of a volume's row."""
    said = row["image_metadata_json"]
    return {} if said is None else msgspec.json.decode(said, type=dict[str, str])


def _locked(tx: Connection, origin: Origin, volume_id: VolumeId) -> Mapping[str, Any]:
    lock_row(tx, volumes, volume_id, origin=origin)
    row = one(tx, VOLUMES, id_=volume_id, project_id=None)
    if row["status"] in METADATA_FROZEN:
        raise InvalidState(f"Volume {volume_id} is {row['status']}; its image metadata cannot be changed.")
    return row


def _save(tx: Connection, origin: Origin, volume_id: VolumeId, metadata: Mapping[str, str]) -> None:
    text = msgspec.json.encode(metadata)
    if len(text) > BYTES_MOST:
        raise BadRequest(
            f"The image metadata of volume {volume_id} would be {len(text)} bytes of JSON; expected at most {BYTES_MOST}. "
            "Unset some of it first."
        )
    said = text.decode() if metadata else None
    change_row(tx, volumes, volume_id, image_metadata_json=said, updated_at_us=origin.at_us)
