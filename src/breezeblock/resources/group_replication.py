"""Replication of groups: what is asked before a driver would be, and the answer where there is none that can.

No driver replicates a group by itself yet: a backend that replicates fails over as a whole. So each request ends in the first
reason that holds. A driver that can brings operations of its own, behind these questions.
"""

from collections.abc import Mapping
from typing import Any, Final, NoReturn

from sqlalchemy import Connection

from breezeblock.model import states
from breezeblock.model.errors import InvalidState
from breezeblock.resources import group_listing
from breezeblock.resources.accepted import queue_of
from breezeblock.resources.group_types import specs_of
from breezeblock.resources.types import specs_of as specs_of_volume_type
from breezeblock.store.tables import group_types, volume_types
from breezeblock.store.transitions import read_row

# A group type says by one of these that its groups are replicated.
REPLICATED: Final = ("group_replication_enabled", "consistent_group_replication_enabled")
YES: Final = "<is> True"
# By what is asked for: the statuses that a group may have, and what its replication must have been.
ASKED: Final[Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "enable_replication": ((states.AVAILABLE,), ("disabled", "enabled")),
    "disable_replication": ((states.AVAILABLE, states.ERROR), ("enabled", "error")),
    "failover_replication": ((states.AVAILABLE,), ("enabled", "failed-over")),
    "list_replication_targets": ((), ("enabled", "failed-over", "error")),
}
# What the replication of every group is, until a driver changes it.
STATUS: Final = states.REPLICATION_DISABLED


def refuse(tx: Connection, *, group_id: str, project_id: str | None, asked: str) -> NoReturn:
    """Say why it cannot be done. Raises NotFound, InvalidState."""
    found = group_listing.one(tx, group_id=group_id, project_id=project_id, with_volumes=False)
    group = found.rows[0]
    type_ = read_row(tx, group_types, group.group_type_id)
    if type_ is None or not any(specs_of(type_).get(key) == YES for key in REPLICATED):
        raise InvalidState(
            f"Group {group_id} is not replicated: its group type has none of {', '.join(REPLICATED)} set to '{YES}'."
        )
    for type_id in found.types.get(group_id, ()):
        _require_replicated(tx, type_id)
    statuses, before = ASKED[asked]
    if statuses and group.status not in statuses:
        raise InvalidState(f"Group {group_id} has status {group.status}; for {asked} expected {' or '.join(statuses)}.")
    if before and STATUS not in before:
        raise InvalidState(
            f"Group {group_id} has replication status {STATUS}; for {asked} expected one of {', '.join(before)}."
        )
    where = "no backend" if group.pool_name is None else f"backend {queue_of(group.pool_name)}"
    raise InvalidState(
        f"Group {group_id} is on {where}, which does not replicate groups. "
        "A backend that replicates is failed over as a whole, by an administrator."
    )


def _require_replicated(tx: Connection, type_id: str) -> None:
    row: dict[str, Any] | None = read_row(tx, volume_types, type_id)
    if row is None or specs_of_volume_type(row).get("replication_enabled") != YES:
        raise InvalidState(f"Volume type {type_id} does not have 'replication_enabled' set to '{YES}'.")
