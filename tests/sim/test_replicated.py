"""Overlapping transactions on the one database: rows whose key changes are followed, as those of a renamed volume type are."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Connection, insert, select, update

from breezeblock.model.errors import Contended
from breezeblock.store.tables import quota_usage
from breezeblock.testing.database import Database


@pytest.fixture
def replicated(database: Database) -> Iterator[Database]:
    database.begin_run(now_us=lambda: 0, replicated=True)
    with database.transaction() as tx:
        tx.execute(insert(quota_usage).values(project_id="red", resource="volumes_gold", in_use=1))
    yield database
    database.begin_run(now_us=lambda: 0)


def rename(tx: Connection) -> None:
    tx.execute(update(quota_usage).values(resource="volumes_golden"))


def charge(tx: Connection) -> None:
    tx.execute(update(quota_usage).where(quota_usage.c.resource == "volumes_gold").values(in_use=2))


def usage(database: Database) -> list[tuple[str, int]]:
    with database.reading() as tx:
        return [(row.resource, row.in_use) for row in tx.execute(select(quota_usage))]


def test_a_row_gets_its_new_key_when_the_transaction_is_committed(replicated: Database) -> None:
    begun = replicated.begin(rename, at=float("-inf"))
    assert usage(replicated) == [("volumes_gold", 1)]

    replicated.commit(begun, None)

    assert usage(replicated) == [("volumes_golden", 1)]


def test_who_changes_a_row_conflicts_with_who_gives_it_another_key(replicated: Database) -> None:
    begun = replicated.begin(charge, at=float("-inf"))
    with replicated.transaction() as tx:
        rename(tx)

    with pytest.raises(Contended):
        replicated.commit(begun, None)

    assert usage(replicated) == [("volumes_golden", 1)]
