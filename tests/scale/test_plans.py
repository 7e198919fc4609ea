"""No statement of the service reads a big table from end to end, on any database."""

import pytest
import sqlalchemy as sa
from tests.scale.fill import fill
from tests.scale.plans import explain
from tests.scale.statements import Statement, overheard, simulated
from tests.upgrade.databases import Database

from breezeblock.store import schema
from breezeblock.store.tables import volumes

ROWS = 4_000
# What may read a whole table, by how it begins, and why.
ALLOWED = {
    # Deleting a type: an administrator's word, now and then. It ends with the first row that has the type.
    "SELECT (EXISTS (SELECT volumes.id FROM volumes WHERE volumes.tombstone IS 0 AND volumes.volume_type_id": "volumes",
    "SELECT EXISTS (SELECT snapshots.id FROM snapshots WHERE snapshots.tombstone IS 0 AND (snapshots.volume": "snapshots",
}


@pytest.fixture(scope="module")
def statements() -> dict[str, Statement]:
    with overheard() as found:
        simulated(lambda: not not_heard(found))
    return found


def not_heard(statements: dict[str, Statement]) -> list[str]:
    """Which of those that may read a whole table have not been executed."""
    texts = [" ".join(text.split()) for text in statements]
    return [start for start in ALLOWED if not any(text.startswith(start) for text in texts)]


def allowed(text: str) -> bool:
    return " ".join(text.split()).startswith(tuple(ALLOWED))


@pytest.mark.timeout(240)
@pytest.mark.parametrize("database", ("sqlite", "postgresql", "mariadb"), indirect=True)
def test_no_big_table_is_read_from_end_to_end(database: Database, statements: dict[str, Statement]) -> None:
    """With thousands of rows, which are few; where an index serves a statement, it is used by then."""
    schema.upgrade(database.urls[0])
    with database.tx() as tx:
        fill(tx, ROWS)

    with database.tx() as tx:
        if database.kind == "postgresql":
            tx.exec_driver_sql("SET enable_seqscan = off")  # a few pages are read in one go otherwise
        found = {text: explain(tx, statement) for text, statement in statements.items()}

    assert len(found) > 120
    assert {text: how for text, how in found.items() if how and not allowed(text)} == {}


def test_what_may_read_a_whole_table_is_still_there(statements: dict[str, Statement]) -> None:
    """The list only shrinks."""
    assert not_heard(statements) == []


@pytest.mark.parametrize("database", ("sqlite", "postgresql", "mariadb"), indirect=True)
def test_a_statement_that_reads_a_whole_table_is_found(database: Database) -> None:
    """By a column without an index; page by page in an order without one; and without any condition."""
    schema.upgrade(database.urls[0])
    with database.tx() as tx:
        fill(tx, ROWS // 4)
    described = sa.select(volumes.c.id).where(volumes.c.description == "x")
    bad = [
        described,
        sa.select(volumes.c.id).order_by(volumes.c.description).limit(5),
        sa.select(sa.func.count(volumes.c.description)),
    ]
    good = [described.where(volumes.c.project_id == "x"), sa.select(volumes).order_by(volumes.c.created_at_us).limit(5)]

    with database.tx() as tx:
        if database.kind == "postgresql":
            tx.exec_driver_sql("SET enable_seqscan = off")
        found = [explain(tx, Statement(query, {})) for query in (*bad, *good)]

    assert [bool(how) for how in found] == [True, True, True, False, False]
