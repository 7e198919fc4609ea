"""Changes of a backup that need no work: names and metadata.

Never refused for its status: nothing that works on a backup reads them. A request to restore it looks at the metadata, holding
the row.
"""

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import Connection

from breezeblock.model.ids import BackupId
from breezeblock.model.origin import Origin
from breezeblock.resources.listing import BACKUPS, one
from breezeblock.store.tables import backups
from breezeblock.store.transitions import change_row, lock_row, note_update

EDITABLE: Final = frozenset({"name", "description", "metadata_json"})


def update_fields(
    tx: Connection, *, origin: Origin, backup_id: BackupId, fields: Mapping[str, Any]
) -> Mapping[str, Any]:
    """Set columns to what the user wrote, and return the backup. Raises NotFound."""
    assert fields.keys() <= EDITABLE, "no other column is the user's to set"
    lock_row(tx, backups, backup_id, origin=origin)
    change_row(tx, backups, backup_id, updated_at_us=origin.at_us, **fields)
    note_update(tx, backups, backup_id)
    return one(tx, BACKUPS, id_=backup_id, project_id=None)
