"""*Accounts*, asked after every commit that moved one: the same question as `store.check`, in one statement each.

Both stay: this one is quick enough to be asked thousands of times a run, that one is what operators ask.
"""

import sqlite3
from typing import Final

__all__ = ["wrong_accounts"]

_USAGE: Final = """
WITH things (project, type, noun, gib) AS (
  SELECT project_id, charged_type_id, 'volumes', charged_gib FROM volumes WHERE NOT tombstone
  UNION ALL SELECT project_id, charged_type_id, 'snapshots', charged_gib FROM snapshots WHERE NOT tombstone),
typed (project, name, noun, gib) AS (
  SELECT project, '', noun, gib FROM things
  UNION ALL SELECT project, '_' || type, noun, gib FROM things WHERE type IS NOT NULL),
entries (project, resource, amount) AS (
  SELECT project, noun || name, 1 FROM typed
  UNION ALL SELECT project, 'gigabytes' || name, gib FROM typed
  UNION ALL SELECT project_id, 'backups', 1 FROM backups WHERE NOT tombstone
  UNION ALL SELECT project_id, 'groups', 1 FROM volume_groups WHERE NOT tombstone
  UNION ALL SELECT project_id, 'backup_gigabytes', charged_gib FROM backups WHERE NOT tombstone
  UNION ALL SELECT project_id, resource, -in_use FROM quota_usage)
SELECT project, resource, sum(amount) FROM entries GROUP BY project, resource HAVING sum(amount) != 0
"""
_POOLS: Final = """
WITH entries (pool, amount) AS (
  SELECT pool_name, charged_gib FROM volumes WHERE NOT tombstone AND pool_name IS NOT NULL
  UNION ALL SELECT target_pool_name, charged_gib FROM volumes WHERE NOT tombstone AND target_pool_name IS NOT NULL
  UNION ALL SELECT pool_name, charged_gib FROM snapshots WHERE NOT tombstone AND pool_name IS NOT NULL
  UNION ALL SELECT name, -allocated_gib FROM pools)
SELECT pool, sum(amount) FROM entries GROUP BY pool HAVING sum(amount) != 0
"""


def wrong_accounts(raw: sqlite3.Connection) -> list[str]:
    """Every account that is not the sum of what exists, between two transactions."""
    usage = [
        f"project {project} has {amount:+d} {resource} beside what it is charged"
        for project, resource, amount in raw.execute(_USAGE).fetchall()
    ]
    return usage + [
        f"pool {name} has {amount:+d} GiB beside what it has promised"
        for name, amount in raw.execute(_POOLS).fetchall()
    ]
