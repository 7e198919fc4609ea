"""A worker's look into a long queue, and what every node asks about the lost, read a few rows, however many operations wait."""

import re
from typing import Any

import pytest
import sqlalchemy as sa
from tests.scale.fill import fill
from tests.upgrade.databases import Database

from breezeblock.model.ids import Incarnation
from breezeblock.protocol import membership, queue, waiting
from breezeblock.store import schema
from breezeblock.store.tables import metadata, nodes, operations

ROWS = 3_000
# The forty nodes and their backends are read several times; of what waits, a page of an index, more or less.
FEW = 600
QUEUE = "breezeblock@backend-1"
# Every node runs several kinds.
KINDS = {"x": 1, "y": 1}
on_servers = pytest.mark.parametrize("database", ("postgresql", "mariadb"), indirect=True)
LOOKS: dict[str, Any] = {
    "normal": lambda tx: queue.claimable(tx, queue=QUEUE, kinds=KINDS, most=16, attempts=range(3)),
    "risky": lambda tx: queue.claimable(tx, queue=QUEUE, kinds=KINDS, most=1, attempts=range(3, 1000)),
    "kinds": lambda tx: waiting.waiting_kinds(tx, cluster="breezeblock"),
    "lost": lambda tx: membership.needs_housekeeping(tx, cluster="breezeblock"),
    "owned": lambda tx: queue.owned(tx, incarnation=Incarnation("nobody")),
}


@pytest.fixture
def waiting_long(database: Database) -> Database:
    """One queue in which everything waits, and nobody has anything."""
    schema.upgrade(database.urls[0])
    with database.tx() as tx:
        fill(tx, ROWS)
        tx.execute(
            sa.update(operations).values(queue=QUEUE, owner=None, kind="x", version=1, attempt=0, not_before_us=0)
        )
        tx.execute(sa.update(nodes).values(state="up"))
        tx.execute(sa.update(metadata.tables["node_backends"]).values(fenced_by=None))
    if database.kind == "sqlite":
        return database  # nobody analyses it
    with database.tx() as tx:
        for name in ("operations", "nodes", "node_backends"):
            tx.exec_driver_sql(f"ANALYZE TABLE {name}" if database.kind == "mariadb" else f"ANALYZE {name}")
    return database


def rows_read(tx: sa.Connection, look: Any) -> int:
    """By MariaDB's own count, by what PostgreSQL says of each statement when it executes it once more."""
    if tx.dialect.name == "mariadb":
        before = _handler_reads(tx)
        look(tx)
        return _handler_reads(tx) - before
    found: list[int] = []

    def ask(connection: Any, cursor: Any, text: str, values: Any, context: Any, many: bool) -> None:
        cursor.execute("EXPLAIN (ANALYZE, TIMING OFF) " + text, values)
        plan = "\n".join(row[0] for row in cursor.fetchall())
        found.extend(int(rows) * int(loops) for rows, loops in re.findall(r"actual rows=(\d+) loops=(\d+)", plan))
        found.extend(int(rows) for rows in re.findall(r"Rows Removed by \w+: (\d+)", plan))

    sa.event.listen(tx, "before_cursor_execute", ask)
    look(tx)
    sa.event.remove(tx, "before_cursor_execute", ask)
    return sum(found)


def plans(tx: sa.Connection, look: Any) -> str:
    """What SQLite says of the statements of a look."""
    found: list[str] = []

    def ask(connection: Any, cursor: Any, text: str, values: Any, context: Any, many: bool) -> None:
        cursor.execute("EXPLAIN QUERY PLAN " + text, values)
        found.extend(row[-1] for row in cursor.fetchall())

    sa.event.listen(tx, "before_cursor_execute", ask)
    look(tx)
    sa.event.remove(tx, "before_cursor_execute", ask)
    return "\n".join(found)


def _handler_reads(tx: sa.Connection) -> int:
    return sum(
        int(value) for name, value in tx.exec_driver_sql("SHOW SESSION STATUS") if name.startswith("Handler_read")
    )


@on_servers
def test_a_look_reads_a_few_rows_of_many_that_wait(waiting_long: Database) -> None:
    """The oldest in order, those tried too often, the kinds, and what the lost own. An order that no index has is noticed."""
    unordered = (
        sa.select(operations.c.id).where(operations.c.queue == QUEUE).order_by(operations.c.payload_json).limit(16)
    )

    with waiting_long.tx() as tx:
        read = {name: rows_read(tx, look) for name, look in LOOKS.items()}
        assert rows_read(tx, lambda tx: tx.execute(unordered).all()) >= ROWS

    assert {name: rows for name, rows in read.items() if rows >= FEW} == {}


@pytest.mark.parametrize("database", ("sqlite",), indirect=True)
@pytest.mark.parametrize(("look", "index"), [("normal", "ix_operations_queue"), ("risky", "ix_operations_attempt")])
def test_sqlite_looks_by_the_index_that_is_meant(waiting_long: Database, look: str, index: str) -> None:
    """By the other one it reads and sorts all that waits: with a million volumes a look took 25 times as long."""
    with waiting_long.tx() as tx:
        found = plans(tx, LOOKS[look])

    assert f"SEARCH operations USING INDEX {index} " in found, found
