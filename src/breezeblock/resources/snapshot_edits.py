"""Changes of a snapshot that need no work: names and metadata. One transaction each, no operation.

Each locks the row first (`op_seq`) and returns it as it is afterwards. Unlike a volume's, these are never refused for
the snapshot's status: nothing that works on a snapshot reads them.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
from sqlalchemy import Connection, update

from breezeblock.model.errors import NotFound
from breezeblock.model.ids import SnapshotId
from breezeblock.model.origin import Origin
from breezeblock.resources.listing import SNAPSHOTS, one
from breezeblock.resources.metadata_size import bounded_json
from breezeblock.store.tables import snapshots
from breezeblock.store.transitions import lock_row, note_update


def update_fields(
    tx: Connection, *, origin: Origin, snapshot_id: SnapshotId, fields: Mapping[str, Any]
) -> Mapping[str, Any]:
    """Set columns (name, description) to what the user wrote. Raises NotFound."""
    assert fields.keys() <= {"name", "description"}, "no other column is the user's to set"
    return _save(tx, origin, _locked(tx, origin, snapshot_id), **fields)


def merge_metadata(
    tx: Connection, *, origin: Origin, snapshot_id: SnapshotId, metadata: Mapping[str, str]
) -> Mapping[str, Any]:
    """Add pairs, or change their values. Raises NotFound."""
    row = _locked(tx, origin, snapshot_id)
    return _save_metadata(tx, origin, row, {**read_metadata(row), **metadata})


def replace_metadata(
    tx: Connection, *, origin: Origin, snapshot_id: SnapshotId, metadata: Mapping[str, str]
) -> Mapping[str, Any]:
    """Keep these pairs and no others. Raises NotFound."""
    return _save_metadata(tx, origin, _locked(tx, origin, snapshot_id), metadata)


def delete_metadata_key(tx: Connection, *, origin: Origin, snapshot_id: SnapshotId, key: str) -> Mapping[str, Any]:
    """Remove one pair. Raises NotFound when it is not there."""
    row = _locked(tx, origin, snapshot_id)
    metadata = read_metadata(row)
    if key not in metadata:
        raise missing_key(snapshot_id, key)
    del metadata[key]
    return _save_metadata(tx, origin, row, metadata)


def read_metadata(row: Mapping[str, Any]) -> dict[str, str]:
    return msgspec.json.decode(row["metadata_json"], type=dict[str, str])


def missing_key(snapshot_id: str, key: str) -> NotFound:
    return NotFound(f"Snapshot {snapshot_id} has no metadata with key {key}.")


def _locked(tx: Connection, origin: Origin, snapshot_id: SnapshotId) -> Mapping[str, Any]:
    """The row, which stays as it is until we commit. Raises NotFound."""
    lock_row(tx, snapshots, snapshot_id, origin=origin)
    return one(tx, SNAPSHOTS, id_=snapshot_id, project_id=None)


def _save_metadata(
    tx: Connection, origin: Origin, row: Mapping[str, Any], metadata: Mapping[str, str]
) -> Mapping[str, Any]:
    kept = bounded_json(metadata, of=f"snapshot {row['id']}", before=row["metadata_json"])
    return _save(tx, origin, row, metadata_json=kept)


def _save(tx: Connection, origin: Origin, row: Mapping[str, Any], **values: Any) -> Mapping[str, Any]:
    values["updated_at_us"] = origin.at_us
    tx.execute(update(snapshots).where(snapshots.c.id == row["id"]).values(**values))
    note_update(tx, snapshots, row["id"])
    return {**row, **values}
