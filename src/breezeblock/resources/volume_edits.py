"""Changes of a volume that need no work: names, metadata, flags. One transaction each, no operation.

Each locks the row first (`op_seq`), so that two of them, or one of them and a delete, cannot both decide on the past.
Each returns the row as it is afterwards, with the name of its type.
"""

import hashlib
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, update

from breezeblock.model.errors import InvalidState, NotFound, Rejected
from breezeblock.model.ids import VolumeId
from breezeblock.model.origin import Origin
from breezeblock.model.states import AVAILABLE, MAINTENANCE
from breezeblock.resources.listing import VOLUMES, one
from breezeblock.resources.metadata_size import bounded_json
from breezeblock.store.tables import volumes
from breezeblock.store.transitions import lock_row, note_update

# Metadata of a volume in these belongs to who works on it.
METADATA_FROZEN: Final = (MAINTENANCE, "uploading")


class EtagMismatch(Rejected):
    """The metadata is no longer what the caller thinks it is."""


def etag(metadata_json: str) -> str:
    """A short text that differs when the metadata does."""
    return hashlib.md5(metadata_json.encode(), usedforsecurity=False).hexdigest()


def update_fields(
    tx: Connection, *, origin: Origin, volume_id: VolumeId, fields: Mapping[str, Any]
) -> Mapping[str, Any]:
    """Set columns (name, description, metadata_json) to what the user wrote. Raises NotFound, InvalidState."""
    assert fields.keys() <= {"name", "description", "metadata_json"}, "no other column is the user's to set"
    row = _locked(tx, origin, volume_id)
    _refuse_maintenance(row)
    return _save(tx, origin, row, **fields)


def merge_metadata(
    tx: Connection, *, origin: Origin, volume_id: VolumeId, metadata: Mapping[str, str], if_match: frozenset[str]
) -> Mapping[str, Any]:
    """Add pairs, or change their values. Raises NotFound, InvalidState, EtagMismatch."""
    row = _locked(tx, origin, volume_id)
    _check_metadata(row, if_match)
    return _save_metadata(tx, origin, row, {**read_metadata(row), **metadata})


def replace_metadata(
    tx: Connection, *, origin: Origin, volume_id: VolumeId, metadata: Mapping[str, str], if_match: frozenset[str]
) -> Mapping[str, Any]:
    """Keep these pairs and no others. Raises NotFound, InvalidState, EtagMismatch."""
    row = _locked(tx, origin, volume_id)
    _check_metadata(row, if_match)
    return _save_metadata(tx, origin, row, metadata)


def delete_metadata_key(tx: Connection, *, origin: Origin, volume_id: VolumeId, key: str) -> Mapping[str, Any]:
    """Remove one pair. Raises NotFound when it is not there, InvalidState."""
    row = _locked(tx, origin, volume_id)
    metadata = read_metadata(row)
    if key not in metadata:
        raise missing_key(volume_id, key)
    _check_metadata(row, frozenset())
    del metadata[key]
    return _save_metadata(tx, origin, row, metadata)


def set_bootable(tx: Connection, *, origin: Origin, volume_id: VolumeId, bootable: bool) -> Mapping[str, Any]:
    """Say whether one can boot from it. Raises NotFound, InvalidState."""
    row = _locked(tx, origin, volume_id)
    _refuse_maintenance(row)
    return _save(tx, origin, row, bootable=bootable)


def set_readonly(tx: Connection, *, origin: Origin, volume_id: VolumeId, readonly: bool) -> Mapping[str, Any]:
    """Say whether it may only be read; only while nobody uses it. Raises NotFound, InvalidState."""
    row = _locked(tx, origin, volume_id)
    if row["status"] != AVAILABLE:
        raise InvalidState(f"Volume {volume_id} is {row['status']}; it must be available to change its read-only flag.")
    return _save(tx, origin, row, readonly=readonly)


def read_metadata(row: Mapping[str, Any]) -> dict[str, str]:
    return msgspec.json.decode(row["metadata_json"], type=dict[str, str])


def missing_key(volume_id: str, key: str) -> NotFound:
    return NotFound(f"Volume {volume_id} has no metadata with key {key}.")


def _locked(tx: Connection, origin: Origin, volume_id: VolumeId) -> Mapping[str, Any]:
    """The row, which stays as it is until we commit. Raises NotFound."""
    lock_row(tx, volumes, volume_id, origin=origin)
    return one(tx, VOLUMES, id_=volume_id, project_id=None)


def _refuse_maintenance(row: Mapping[str, Any]) -> None:
    if row["status"] == MAINTENANCE:
        raise InvalidState(f"Volume {row['id']} is in maintenance and cannot be changed.")


def _check_metadata(row: Mapping[str, Any], if_match: frozenset[str]) -> None:
    if if_match and "*" not in if_match and etag(row["metadata_json"]) not in if_match:
        raise EtagMismatch(f"The metadata of volume {row['id']} has changed since it was read.")
    if row["status"] in METADATA_FROZEN:
        raise InvalidState(f"Volume {row['id']} is {row['status']}; its metadata cannot be changed.")


def _save_metadata(
    tx: Connection, origin: Origin, row: Mapping[str, Any], metadata: Mapping[str, str]
) -> Mapping[str, Any]:
    kept = bounded_json(metadata, of=f"volume {row['id']}", before=row["metadata_json"])
    return _save(tx, origin, row, metadata_json=kept)


def _save(tx: Connection, origin: Origin, row: Mapping[str, Any], **values: Any) -> Mapping[str, Any]:
    values["updated_at_us"] = origin.at_us
    tx.execute(update(volumes).where(volumes.c.id == row["id"]).values(**values))
    note_update(tx, volumes, row["id"])
    return {**row, **values}
