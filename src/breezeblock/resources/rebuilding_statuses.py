"""The status of a row in a database that is made again: one that is true, by whether its object was found.

A row whose object is not found, or cannot be told from others, becomes `error`. What it would have been with its object is kept
in `previous_status`, as a word of our own: whoever sets its status otherwise writes over it, and an `error` of before has none.
So a later run that finds the object lets the row be that.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, Table, select

from breezeblock.model import states
from breezeblock.resources import snapshots, volume_changes
from breezeblock.resources.targets import USABLE
from breezeblock.store import tables
from breezeblock.store.transitions import Transition

__all__ = ["KINDS", "Kind", "status_of", "usable_before", "with_its_loss"]


class Kind(NamedTuple):
    """What volumes and snapshots do not share."""

    noun: str
    table: Table
    reset: Transition
    transitional: frozenset[str]


KINDS: Final = (
    Kind("Volume", tables.volumes, volume_changes.RESET, states.VOLUME_TRANSITIONAL),
    Kind("Snapshot", tables.snapshots, snapshots.RESET, states.SNAPSHOT_TRANSITIONAL),
)
# A space is in no status, so nothing else writes such a word.
_LOST: Final = "lost "


def status_of(
    tx: Connection, kind: Kind, row: Mapping[str, Any], *, is_found: bool, doubtful: bool, looked_at: bool
) -> str | None:
    """The status that the row is to have; None: its own."""
    if not is_found and (doubtful or looked_at or row["status"] in kind.transitional):
        own_words = (states.ERROR_DELETING, states.ERROR_EXTENDING, states.ERROR_RESTORING, states.ERROR_MANAGING)
        return None if row["status"] in own_words else states.ERROR
    before = _before_its_loss(row) if is_found else None
    if before == states.AWAITING_TRANSFER and not _is_offered(tx, row["id"]):
        return states.AVAILABLE
    return before or _with_object(kind, row, is_found=is_found)


def with_its_loss(kind: Kind, row: Mapping[str, Any], *, status: str) -> dict[str, str]:
    """What to write beside a new `status`: for `error`, what the row would be if its object had been found."""
    if status != states.ERROR or row["object_name"] is None:
        return {}
    word = _with_object(kind, row, is_found=True) or row["status"]
    if kind.table is tables.volumes and word in states.FOLLOWS_ATTACHMENTS:
        word = states.AVAILABLE  # what its attachments make of it is asked when it is found
    return {"previous_status": f"{_LOST}{word}"} if (None, word) in kind.reset.moves else {}


def usable_before(table: Table, row: Mapping[str, Any]) -> str | None:
    """What a row that lost its object is to be when the other side of a replication has it; None: nothing that can be used."""
    before = _before_its_loss(row)
    return before if before in USABLE[table.name] else None


def _before_its_loss(row: Mapping[str, Any]) -> str | None:
    kept = row["previous_status"]
    is_ours = row["status"] == states.ERROR and kept is not None and kept.startswith(_LOST)
    return kept.removeprefix(_LOST) if is_ours else None


def _with_object(kind: Kind, row: Mapping[str, Any], *, is_found: bool) -> str | None:
    """Of a row that is not wanting for its object. None: its own."""
    words = {states.DELETING: states.ERROR_DELETING, states.RESTORING_BACKUP: states.ERROR_RESTORING}
    if (row["status"] in words and kind.table is tables.volumes) or row["status"] == states.DELETING:
        return words[row["status"]]
    if row["status"] == states.MAINTENANCE and row["target_pool_name"] is not None:
        return states.AVAILABLE  # it was locked while it was moved
    unmade = row["status"] in (states.ERROR, states.ERROR_MANAGING)
    came_to_be = unmade and row["object_name"] is None and is_found
    return states.AVAILABLE if row["status"] in kind.transitional or came_to_be else None


def _is_offered(tx: Connection, volume_id: str) -> bool:
    offers = select(tables.transfers.c.id).where(tables.transfers.c.volume_id == volume_id)
    return tx.execute(offers).first() is not None
