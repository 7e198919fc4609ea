"""What a request may be aimed at: the latest resources in a state in which it would be accepted, as the database has it now.

Clients would refuse themselves most of the time otherwise: while few resources are hot, most of them are in the middle of
something. A share of all requests is drawn without this, so that what does not fit is asked for as well.
"""

import sqlite3
from random import Random
from typing import Any, Final

__all__ = ["FITTING", "Aims"]

# How many of the latest are looked at: few enough to meet.
HOT: Final = 4
AIMED: Final = 0.8
_VOLUMES: Final = (
    "SELECT v.id FROM volumes v WHERE NOT v.tombstone"
    " AND NOT EXISTS (SELECT 1 FROM operation_locks l WHERE l.resource_id = v.id AND l.exclusive)"
)
_SNAPSHOTS: Final = (
    "SELECT s.id, s.volume_id FROM snapshots s JOIN volumes v ON v.id = s.volume_id WHERE NOT s.tombstone"
    " AND NOT EXISTS (SELECT 1 FROM operation_locks l WHERE l.resource_id = s.id AND l.exclusive)"
)
_BACKUPS: Final = (
    "SELECT b.id FROM backups b WHERE NOT b.tombstone"
    " AND NOT EXISTS (SELECT 1 FROM operation_locks l WHERE l.resource_id = b.id AND l.exclusive)"
)
_USABLE: Final = f"{_VOLUMES} AND v.status IN ('available', 'in-use') AND v.object_name IS NOT NULL"
_OF_VOLUME: Final = "SELECT 1 FROM snapshots s WHERE s.volume_id = v.id AND NOT s.tombstone"
_CHANGING: Final = "SELECT 1 FROM operation_locks l WHERE l.resource_id = v.id AND l.exclusive"
_LATER: Final = (
    "SELECT 1 FROM snapshots o WHERE o.volume_id = v.id AND NOT o.tombstone"
    " AND (o.created_at_us, o.id) > (s.created_at_us, s.id)"
)
_SETTLED: Final = "('available', 'error', 'error_deleting')"
FITTING: Final[dict[str, str]] = {
    "usable": _USABLE,
    "growing": f"{_USABLE} AND v.status = 'available' AND v.size_gib < 6",
    "disposable": f"{_VOLUMES} AND v.status IN ('error', 'error_deleting', 'error_extending', 'available')"
    f" AND v.attach_status != 'attached' AND v.group_id IS NULL AND NOT EXISTS ({_OF_VOLUME})",
    "parent": f"{_VOLUMES} AND v.status IN ('error', 'error_deleting', 'error_extending', 'available')"
    f" AND v.attach_status != 'attached' AND v.group_id IS NULL AND EXISTS ({_OF_VOLUME})"
    f" AND NOT EXISTS ({_OF_VOLUME} AND s.status NOT IN {_SETTLED})",
    "movable": _USABLE.replace("v.id", "v.id, v.pool_name", 1)
    + f" AND v.status = 'available' AND NOT EXISTS ({_OF_VOLUME})",
    "moving": "SELECT v.id FROM volumes v WHERE v.target_pool_name IS NOT NULL AND NOT v.tombstone",
    "unwell": f"{_VOLUMES} AND v.status NOT IN ('available', 'creating', 'deleting')",
    "source": f"{_SNAPSHOTS} AND s.status = 'available' AND s.object_name IS NOT NULL",
    "spare": f"{_SNAPSHOTS} AND s.status IN {_SETTLED} AND s.group_snapshot_id IS NULL",
    "latest": f"{_SNAPSHOTS} AND s.status = 'available' AND v.status = 'available' AND s.size_gib = v.size_gib"
    f" AND v.object_name IS NOT NULL AND NOT EXISTS ({_CHANGING}) AND NOT EXISTS ({_LATER})",
    "unwell snapshot": f"{_SNAPSHOTS} AND s.status LIKE 'error%'",
    "whole backup": f"{_BACKUPS} AND b.status = 'available' AND b.manifest IS NOT NULL",
    "spare backup": f"{_BACKUPS} AND b.status IN {_SETTLED}",
    "unwell backup": f"{_BACKUPS} AND b.status LIKE 'error%'",
    "moving snapshot": "SELECT s.id, s.volume_id FROM snapshots s WHERE s.status IN ('creating', 'deleting')",
}
_LATEST: Final = {
    what: f"{query} ORDER BY {query[len('SELECT ')]}.created_at_us DESC, 1 LIMIT {HOT}"
    for what, query in FITTING.items()
}


class Aims:
    """Draws resources that fit."""

    def __init__(self, random: Random, raw: sqlite3.Connection) -> None:
        self._random = random
        self._raw = raw
        self.is_aimed = False

    def draw(self) -> None:
        """Draw whether the next request is to fit."""
        self.is_aimed = self._random.random() < AIMED

    def one(self, what: str) -> tuple[str, ...] | None:
        """One of the latest that fit, by a name in `FITTING`."""
        found = self.all(_LATEST[what])
        return self._random.choice(found) if found else None

    def all(self, query: str, *values: Any) -> list[tuple[str, ...]]:
        """Rows of the database as it is now. In an order of their own: what is drawn from them must not depend on chance."""
        return [tuple(row) for row in self._raw.execute(query, values).fetchall()]
