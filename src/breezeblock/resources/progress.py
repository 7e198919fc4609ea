"""How far backups and restores are, as their operations tell in their state, and what clients see of it.

Each checkpoint that they save anyway tells it, and where none comes for a while, one that is saved for it. Nobody decides
anything by it: it may be of a few seconds ago, and of a node that has died since.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, Table, bindparam, select

from breezeblock.model import states
from breezeblock.resources import listing
from breezeblock.resources.listing import Found, Listing, Page
from breezeblock.store.tables import backups, operation_locks, operations, volumes

# The kinds of operations that tell how far they are, and the key of their state under which they do.
TOLD_BY: Final = ("create_backup", "restore_backup", "create_from_backup", "migrate_volume")
TOLD: Final = "told"
# Among the metadata of what is worked on, clients see these keys. They are never stored: what a client sends back is left out.
PERCENT_KEY: Final = "breezeblock:progress"
ETA_KEY: Final = "breezeblock:eta_s"
OWN_KEYS: Final = frozenset({PERCENT_KEY, ETA_KEY})
# Only rows of these statuses are looked for. A new volume that is made from a backup is `creating` as any other: looking for
# those would cost every client that waits for a new volume.
_WORKED_ON: Final[Mapping[Table, frozenset[str]]] = {
    backups: frozenset({states.CREATING, states.RESTORING}),
    volumes: frozenset({states.BACKING_UP, states.RESTORING_BACKUP, states.RETYPING, states.MAINTENANCE}),
}


class Told(msgspec.Struct, frozen=True):
    """What an operation tells: so many bytes of the volume are done, of so many, and so many each second; 0: not known yet."""

    done: int
    total: int
    rate: int = 0

    @property
    def percent(self) -> int:
        """Never 100: what is done has another status."""
        return min(99, 100 * self.done // self.total) if self.total else 0

    @property
    def eta_s(self) -> int | None:
        """Seconds until all bytes are done, as far as it is known."""
        return -(-(self.total - self.done) // self.rate) if self.rate else None


NOTHING: Final = Told(0, 0)


class _State(msgspec.Struct, frozen=True):
    told: Told | None = None


def told_in(state_json: str) -> Told:
    """What a state tells. The rest of it, which may be long, is only passed over."""
    return msgspec.json.decode(state_json, type=_State).told or NOTHING


def page(tx: Connection, listing_: Listing, wanted: Page, *, detail: bool) -> tuple[Found, Sequence[Sequence[Any]]]:
    """One page of a list, and its rows as clients are to see them: in `detail` how far what is worked on is, as metadata.

    One statement more than the list, and only where something is worked on.
    """
    found = listing.page(tx, listing_, wanted)
    if not detail:
        return found, found.rows
    names = tuple(str(column.key) for column in listing_.columns)
    id_at, status_at, metadata_at = map(names.index, ("id", "status", "metadata_json"))
    at_work = _WORKED_ON[listing_.table]
    shown = _shown(tx, [row[id_at] for row in found.rows if row[status_at] in at_work])
    if not shown:
        return found, found.rows
    rows: list[Sequence[Any]] = list(found.rows)
    for place, row in enumerate(found.rows):
        if pairs := shown.get(row[id_at]):
            rows[place] = (*row[:metadata_at], _with(row[metadata_at], pairs), *row[metadata_at + 1 :])
    return found, rows


def one(tx: Connection, listing_: Listing, *, id_: str, project_id: str | None) -> dict[str, Any]:
    """One row, in the same way. Raises NotFound."""
    row = listing.one(tx, listing_, id_=id_, project_id=project_id)
    if row["status"] in _WORKED_ON[listing_.table] and (pairs := _shown(tx, [id_]).get(id_)):
        row["metadata_json"] = _with(row["metadata_json"], pairs)
    return row


def without_own(metadata: Mapping[str, str]) -> dict[str, str]:
    """What of the metadata that a client sends is its own: some send all that they have seen."""
    return {key: value for key, value in metadata.items() if key not in OWN_KEYS}


def _with(metadata_json: str, pairs: Mapping[str, str]) -> str:
    return json.dumps({**json.loads(metadata_json), **pairs}, ensure_ascii=False)


def _shown(tx: Connection, ids: Collection[str]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    if not ids:
        return found
    for row in tx.execute(_UNDER_WAY, {"ids": list(ids)}):  # the first in a line comes last, and stays
        told = told_in(row.state_json)
        found[row.resource_id] = {PERCENT_KEY: f"{told.percent}%"}
        if row.owner is not None and told.eta_s is not None:
            found[row.resource_id][ETA_KEY] = str(told.eta_s)
    return found


_UNDER_WAY: Final = (
    select(operation_locks.c.resource_id, operations.c.owner, operations.c.state_json)
    .join(operations, operations.c.id == operation_locks.c.operation_id)
    .where(
        operation_locks.c.resource_id.in_(bindparam("ids", expanding=True)),
        operation_locks.c.exclusive,
        operations.c.kind.in_(TOLD_BY),
    )
    .order_by(operation_locks.c.seq.desc())
)
