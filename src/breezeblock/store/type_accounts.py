"""Accounts of volume types, moved from the types' names to their ids (since revision 0004).

A type's name may change between a charge and its refund, and who charges does not hold the type's row. A process of the
release before that still runs beside this one goes on under the names. What it has added there is added to the ids now and
then by every node, at each start, and before a type gets another name or goes. Nothing is lost meanwhile, but a part of what
a project has of a type counts for one release only: until the last process of the release before has stopped, the limits
of types bind neither fully. Those of all types together do.
"""

from collections.abc import Mapping
from typing import Any, Final

import sqlalchemy as sa

__all__ = ["ALL", "ROWS_MOST", "has_named", "move_to_ids"]

# In one transaction, so that it stays short: charges of the same project wait for it.
ROWS_MOST: Final = 50
ALL: Final = 1_000_000

_PER_TYPE: Final = ("volumes", "gigabytes", "snapshots")
_TYPES: Final = sa.table("volume_types", sa.column("id"), sa.column("name"))
# Table, whose account it is, its number.
_ACCOUNTS: Final = (
    ("quotas", "project_id", "hard_limit"),
    ("quota_classes", "class_name", "hard_limit"),
    ("quota_usage", "project_id", "in_use"),
)


def has_named(tx: sa.Connection) -> bool:
    """Whether any account is named after a type. Asked before the transaction, so that idle nodes write nothing."""
    names = sorted(_keys(tx, None))
    return any(tx.execute(_named(*account, names=names).limit(1)).first() is not None for account in _ACCOUNTS)


def move_to_ids(tx: sa.Connection, *, only: str | None = None, most: int = ROWS_MOST) -> int:
    """Move accounts that are named after types, or after the type with the id `only`. Returns how many, of each kind no more
    than `most`. Safe to repeat.

    They are read under locks: a process of the release before may be charging under the same name. Within a project
    the accounts are written in the order in which everybody writes them.
    """
    keys = _keys(tx, only)
    return sum(_move(tx, keys, *account, most=most) for account in _ACCOUNTS)


def _keys(tx: sa.Connection, only: str | None) -> dict[str, str]:
    types = tx.execute(sa.select(_TYPES)).all()
    ids = {row.id for row in types}
    # A name may look like an id, and be another type's: then the id counts.
    meant = [row for row in types if row.name not in ids and only in (None, row.id)]
    return {f"{noun}_{row.name}": f"{noun}_{row.id}" for row in meant for noun in _PER_TYPE}


def _named(table: str, owner: str, number: str, *, names: list[str]) -> Any:
    accounts = sa.table(table, sa.column(owner), sa.column("resource"), sa.column(number))
    return sa.select(accounts).where(accounts.c.resource.in_(names))


def _move(tx: sa.Connection, keys: Mapping[str, str], table: str, owner: str, number: str, *, most: int) -> int:
    accounts: Any = sa.table(table, sa.column(owner), sa.column("resource"), sa.column(number))
    at = accounts.c
    named = _named(table, owner, number, names=sorted(keys)).order_by(at[owner], at.resource).limit(most)
    rows = tx.execute(named.with_for_update()).all()
    for whose, resource, amount in sorted(rows, key=lambda row: (row[0], keys[row[1]])):
        tx.execute(sa.delete(accounts).where(at[owner] == whose, at.resource == resource))
        there = sa.update(accounts).where(at[owner] == whose, at.resource == keys[resource])
        # What an old process has charged comes on top; a limit that was set through one is the later word.
        new = at[number] + amount if table == "quota_usage" else amount
        if tx.execute(there.values({number: new})).rowcount == 0:
            row = {owner: whose, "resource": keys[resource], number: amount}
            tx.execute(sa.insert(accounts).values(row))
    return len(rows)
