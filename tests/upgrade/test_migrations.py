"""Every revision with rows in every table becomes the newest one: whole, however often it was broken off, and beside others."""

import functools
import itertools
import os
from collections.abc import Iterator
from typing import Final

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from tests.upgrade.databases import (
    KILLED,
    REVISIONS,
    Database,
    fill,
    forked,
    read_rows,
    statuses,
    upgrade_and_die,
    write_again,
)

from breezeblock.resources.types import DEFAULT_TYPE_ID, DEFAULT_TYPE_NAME
from breezeblock.store import schema
from breezeblock.store.tables import metadata, quota_usage

ALL_KINDS = ("sqlite", "postgresql", "mariadb", "galera")
KINDS = ("sqlite", "postgresql", "mariadb", pytest.param("galera", marks=pytest.mark.proof))
PROJECT = "of\N{FISH}fish"
# On servers each revision takes seconds: the oldest and the newest are always tried, of those between one in four, in turn.
TURNS: Final = 4
on_each_database = pytest.mark.parametrize("database", KINDS, indirect=True)


def upgrades() -> Iterator[object]:
    """Each revision on each kind of database; those whose turn it is not are left to the proofs."""
    turn = int(os.environ.get("BREEZEBLOCK_SEED") or 0) % TURNS
    always = {REVISIONS[0], *REVISIONS[-2:]}
    for kind in ALL_KINDS:
        for number, revision in enumerate(REVISIONS):
            ours = kind == "sqlite" or (kind != "galera" and (revision in always or number % TURNS == turn))
            yield pytest.param(kind, revision, marks=() if ours else pytest.mark.proof)


def differences(database: Database) -> list[object]:
    """Between the tables that are there and those that the code reads."""
    with database.tx() as tx:
        found: list[object] = compare_metadata(MigrationContext.configure(tx, opts={"compare_type": True}), metadata)
        return found


@pytest.mark.parametrize(("database", "revision"), list(upgrades()), indirect=["database"])
def test_the_rows_of_a_revision_are_there_after_the_upgrade(database: Database, revision: str) -> None:
    """Every table; NULLs, the largest numbers, long texts and those of four bytes, keys that differ in case or blanks alone.

    And the release of that revision, which knows no later column, can still write all of them.
    """
    database.upgrade_to(revision)
    with database.tx() as tx:
        given = fill(tx)

    changed = schema.upgrade(database.urls[0])

    assert changed is (revision != schema.HEAD)
    assert schema.current(database.urls[0]) == schema.HEAD
    with database.tx() as tx:
        assert read_rows(tx, given) == given
        if revision < "0004":
            assert set(tx.execute(sa.select(metadata.tables["operations"].c.touched)).scalars()) == {0}
        if revision < "0003":
            assert set(tx.execute(sa.select(metadata.tables["volumes"].c.replication_status)).scalars()) == {None}
        write_again(tx, given)
        assert read_rows(tx, given) == given
    assert differences(database) == []


@pytest.mark.parametrize(
    ("database", "revision"),
    [
        ("mariadb", "0001"),  # which commits each statement by itself
        *(pytest.param(*one, marks=pytest.mark.proof) for one in itertools.product(ALL_KINDS, ("base", "0001"))),
    ],
    indirect=["database"],
)
def test_an_upgrade_that_is_killed_after_any_statement_is_finished_by_the_next(
    database: Database, revision: str
) -> None:
    """Each process ends after one change more than the one before; where that has made a revision, after none. The last
    one does not end."""
    given = {}
    if revision != "base":
        database.upgrade_to(revision)
        with database.tx() as tx:
            given = fill(tx)
            name_accounts(tx)
    ended, after, at = 0, 0, schema.current(database.urls[0])
    while True:
        url = database.urls[ended % len(database.urls)]
        if statuses([forked(functools.partial(upgrade_and_die, url, after=after))]) != [KILLED]:
            break
        before, at = at, schema.current(database.urls[0])
        ended, after = ended + 1, after + 1 if before == at else 0
        assert ended < 200

    assert ended > 16
    with database.tx() as tx:
        assert read_rows(tx, given) == given
        assert accounts(tx) == ({f"volumes_{DEFAULT_TYPE_ID}": 3, f"gigabytes_{DEFAULT_TYPE_ID}": 30} if given else {})
    assert differences(database) == []
    assert schema.upgrade(database.urls[0]) is False


@on_each_database
def test_many_at_once_upgrade_once(database: Database) -> None:
    """Each through another server, where there are several."""
    database.upgrade_to("0001")
    with database.tx() as tx:
        given = fill(tx)
        name_accounts(tx)

    ended = statuses(
        [forked(functools.partial(schema.upgrade, database.urls[at % len(database.urls)])) for at in range(4)]
    )

    assert ended == [0] * 4
    with database.tx() as tx:
        assert read_rows(tx, given) == given
        assert accounts(tx) == {f"volumes_{DEFAULT_TYPE_ID}": 3, f"gigabytes_{DEFAULT_TYPE_ID}": 30}
    assert differences(database) == []


# --- accounts of types ------------------------------------------------------------------------------------------------


def name_accounts(tx: sa.Connection) -> None:
    """What a project has of the default type, as the first release counts it."""
    rows = [("volumes", 3), ("gigabytes", 30)]
    values = [{"project_id": PROJECT, "resource": f"{noun}_{DEFAULT_TYPE_NAME}", "in_use": used} for noun, used in rows]
    tx.execute(sa.insert(quota_usage), values)


def accounts(tx: sa.Connection) -> dict[str, int]:
    return {
        row.resource: row.in_use
        for row in tx.execute(sa.select(quota_usage).where(quota_usage.c.project_id == PROJECT))
    }
