"""What a backup is, as a text that somebody can keep elsewhere: the answer to export_record."""

import base64
from typing import Any, Final, NamedTuple

import msgspec
from sqlalchemy import Connection

from breezeblock.model import states
from breezeblock.model.errors import InvalidState
from breezeblock.model.ids import BackupId
from breezeblock.resources.listing import BACKUPS, one
from breezeblock.store.tables import backups
from breezeblock.store.transitions import read_row

# Who wrote a record. Cinder has the path of a driver here.
SERVICE: Final = "breezeblock.backup"
VERSION: Final = 1
_COLUMNS: Final = {
    "id": "id",
    "project_id": "project_id",
    "user_id": "user_id",
    "display_name": "name",
    "display_description": "description",
    "volume_id": "volume_id",
    "snapshot_id": "snapshot_id",
    "parent_id": "parent_id",
    "size": "size_gib",
    "object_count": "object_count",
    "stored_bytes": "stored_bytes",
    "store": "store",
    "container": "container",
    "availability_zone": "availability_zone",
    "data_timestamp_us": "data_timestamp_us",
    "created_at_us": "created_at_us",
    "archive_id": "archive_id",
    "manifest": "manifest",
}


class Record(NamedTuple):
    """`url` is the record itself: base64 of JSON, under the name that this API has for it."""

    service: str
    url: str


def export(tx: Connection, *, backup_id: BackupId, project_id: str | None) -> Record:
    """The record of an available backup. Raises NotFound, InvalidState."""
    one(tx, BACKUPS, id_=backup_id, project_id=project_id)
    row = read_row(tx, backups, backup_id)
    assert row is not None, "it was there in the same snapshot"
    if row["status"] != states.AVAILABLE:
        raise InvalidState(f"Backup {backup_id} has status {row['status']}; it must be available to be exported.")
    content: dict[str, Any] = {"record_version": VERSION}
    content |= {key: row[column] for key, column in _COLUMNS.items()}
    content["metadata"] = msgspec.Raw(row["metadata_json"].encode())
    return Record(SERVICE, base64.b64encode(msgspec.json.encode(content)).decode())
