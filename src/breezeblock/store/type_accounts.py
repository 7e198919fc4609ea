"""Accounts of volume types, moved from the types' names to their ids (revision 0004).

A type's name may change between a charge and its refund, and who charges does not hold the type's row. A process of the
release before that still runs beside this one goes on under the names. What it has added there is added to the ids at the
next start of any process that upgrades; until the last of the old ones has stopped, a type's limits bind neither fully.
"""

from typing import Any, Final

import sqlalchemy as sa

_PER_TYPE: Final = ("volumes", "gigabytes", "snapshots")
_TYPES: Final = sa.table("volume_types", sa.column("id"), sa.column("name"))
# Table, whose account it is, its number.
_ACCOUNTS: Final = (
    ("quotas", "project_id", "hard_limit"),
    ("quota_classes", "class_name", "hard_limit"),
    ("quota_usage", "project_id", "in_use"),
)


def move_to_ids(connection: sa.Connection) -> int:
    """Move every account that is named after a type. Returns how many there were. Safe to repeat."""
    keys = {
        f"{noun}_{row.name}": f"{noun}_{row.id}" for row in connection.execute(sa.select(_TYPES)) for noun in _PER_TYPE
    }
    return sum(_move(connection, keys, *account) for account in _ACCOUNTS)


def _move(connection: sa.Connection, keys: dict[str, str], table: str, owner: str, number: str) -> int:
    accounts: Any = sa.table(table, sa.column(owner), sa.column("resource"), sa.column(number))
    at = accounts.c
    named = connection.execute(
        sa.select(accounts).where(at.resource.in_(sorted(keys))).order_by(at[owner], at.resource)
    )
    rows = named.all()
    for whose, resource, amount in rows:
        connection.execute(sa.delete(accounts).where(at[owner] == whose, at.resource == resource))
        there = sa.update(accounts).where(at[owner] == whose, at.resource == keys[resource])
        # What an old process has charged comes on top; a limit that was set through one is the later word.
        new = at[number] + amount if table == "quota_usage" else amount
        if connection.execute(there.values({number: new})).rowcount == 0:
            row = {owner: whose, "resource": keys[resource], number: amount}
            connection.execute(sa.insert(accounts).values(row))
    return len(rows)
