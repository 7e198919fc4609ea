"""What is counted anew when a database is made again: the places in each line, and the accounts (`db rebuild`)."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Final

from sqlalchemy import Connection, delete, insert, select, update

from breezeblock.model import states
from breezeblock.store import tables
from breezeblock.store.check import Rows, allocation_due, usage_due

__all__ = ["raise_tokens", "settle_accounts"]

# So many places in the line of each resource are never given out: more than any had between a dump and its use.
LEFT_OUT: Final = 1_000_000


def raise_tokens(tx: Connection, *seen: Mapping[str, int]) -> None:
    """No place in a line is given out that anything on storage was made under, or a receiver of events may have seen.

    `seen`: by id, the highest places on storage. How many came after the dump nobody knows: far fewer than are left out here.
    """
    highest: dict[str, int] = defaultdict(int)
    for one in seen:
        for id_, seq in one.items():
            highest[id_] = max(highest[id_], seq)
    for table in (tables.volumes, tables.snapshots, tables.attachments, tables.backups):
        for id_, op_seq in tx.execute(select(table.c.id, table.c.op_seq)).all():
            above = max(op_seq, highest[id_]) + LEFT_OUT
            tx.execute(update(table).where(table.c.id == id_).values(op_seq=above))
    for table in (tables.volume_groups, tables.group_snapshots):
        tx.execute(update(table).values(op_seq=table.c.op_seq + LEFT_OUT))


def settle_accounts(tx: Connection) -> None:
    """Count anew what projects use and pools have promised. The last of all: it is of what the rows say then."""
    failing = update(tables.backends).where(tables.backends.c.replication_status == states.REPLICATION_FAILING_OVER)
    tx.execute(failing.values(replication_status=states.REPLICATION_ERROR))
    tx.execute(delete(tables.kept_objects).where(tables.kept_objects.c.volume_id.not_in(select(tables.volumes.c.id))))
    rows = Rows(tx)
    counted = ("volumes", "snapshots", "gigabytes", "backups", "backup", "groups")
    for used in tx.execute(select(tables.quota_usage)).all():
        if used.resource.partition("_")[0] in counted:
            gone = (tables.quota_usage.c.project_id == used.project_id, tables.quota_usage.c.resource == used.resource)
            tx.execute(delete(tables.quota_usage).where(*gone))
    for (project_id, resource), amount in usage_due(rows).items():
        tx.execute(insert(tables.quota_usage).values(project_id=project_id, resource=resource, in_use=amount))
    due = allocation_due(rows)
    for name in tx.execute(select(tables.pools.c.name)).scalars().all():
        tx.execute(update(tables.pools).where(tables.pools.c.name == name).values(allocated_gib=due.get(name, 0)))
