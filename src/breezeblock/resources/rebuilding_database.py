"""The whole of `db rebuild`'s transaction, in the order that its parts need."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import Connection, select

from breezeblock.drivers.contract import ObjectName
from breezeblock.resources.rebuilding import (
    Outcome,
    Owner,
    Shelf,
    end_work,
    rebuild_resources,
)
from breezeblock.resources.rebuilding_backups import Chest, places_of, rebuild_backups
from breezeblock.resources.rebuilding_numbers import raise_tokens, settle_accounts
from breezeblock.store.tables import kept_objects

__all__ = ["Stock", "rebuild"]


class Stock(NamedTuple):
    """All that backends and stores have."""

    shelves: Sequence[Shelf]
    chests: Sequence[Chest]
    stores: frozenset[str]
    """Those that answered."""
    unread: Mapping[str, tuple[str, Chest]]
    """Manifests that are there and cannot be read, by backup, and the archive of each."""


def rebuild(tx: Connection, *, stock: Stock, owner: Owner | None, use: frozenset[str], now_us: int) -> Outcome:
    """Let the database agree with what was stock. Nobody else is at work."""
    outcome = Outcome()
    end_work(tx, outcome, now_us=now_us)
    copies = {ObjectName.parse(text).resource_id for text in tx.execute(select(kept_objects.c.object_name)).scalars()}
    of_backups = stock.unread.keys() | {kept.backup_id for chest in stock.chests for kept in chest.kept}
    rebuild_resources(
        tx,
        outcome,
        shelves=stock.shelves,
        owner=owner,
        use=use,
        not_volumes=frozenset(copies | of_backups),
        now_us=now_us,
    )
    rebuild_backups(
        tx, outcome, chests=stock.chests, looked_at=stock.stores, unread=stock.unread, owner=owner, now_us=now_us
    )
    # Last, of the rows that there are then.
    raise_tokens(tx, *(shelf.highest for shelf in stock.shelves), places_of(stock.chests, stock.unread))
    settle_accounts(tx)
    return outcome
