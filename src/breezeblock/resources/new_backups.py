"""What all ways to a backup that was made elsewhere, or before, share: who looks for it, and its row."""

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import Connection

from breezeblock.model import states
from breezeblock.model.errors import InvalidState, NotYet
from breezeblock.model.origin import Origin
from breezeblock.placement import allocate
from breezeblock.resources import quotas
from breezeblock.store.tables import backups
from breezeblock.store.transitions import insert_row, read_row

# What a record may say of when: the year 9999 is the last one that can be shown.
LATEST_US: Final = 253_402_300_799 * 1_000_000


def require_reader(tx: Connection) -> str:
    """The queue of nodes that can look for it: any that are live. Raises NotYet."""
    live = sorted({pool.queue for pool in allocate.read_pools(tx) if pool.live})
    if not live:
        raise NotYet("No node is there that could read the backup; try again in a moment.")
    return live[0]


def add_imported(
    tx: Connection, told: Mapping[str, Any], *, origin: Origin, host: str, quota_defaults: Mapping[str, int]
) -> dict[str, Any]:
    """Charge a backup that is to be known again, and add its row. Raises InvalidState, OverQuota.

    Nothing that was there is held: the row itself is new, and its id is the key that a second import of it meets. Where its
    data is, is written when it was found to be there.
    """
    if read_row(tx, backups, told["id"]) is not None:
        raise InvalidState(f"Backup {told['id']} is here already.")
    deltas = quotas.backup_deltas(backups=1, gib=told["size_gib"])
    quotas.charge(tx, origin.project_id, deltas, defaults=quota_defaults)
    row: dict[str, Any] = {column.name: None for column in backups.c}
    row |= told
    row |= {
        "op_seq": 1,
        "tombstone": False,
        "project_id": origin.project_id,
        "user_id": origin.user_id,
        "status": states.CREATING,
        "charged_gib": told["size_gib"],
        "consumes_quota": True,
        "host": host,
        "updated_at_us": origin.at_us,
        "archive_id": None,
        "manifest": None,
    }
    insert_row(tx, backups, row)
    return row
