"""Nobody waits long for an upgrade, whatever it waits for itself, and no table is made anew."""

import functools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import pytest
import sqlalchemy as sa
from alembic.migration import MigrationContext
from alembic.operations import Operations
from tests.upgrade.databases import Database, begin, forked, statuses

from breezeblock.model.errors import Contended
from breezeblock.store import schema
from breezeblock.store.dialects import translate
from breezeblock.store.tables import metadata, quota_usage, volume_types

ROWS = 400
PROJECTS = 60
# How long somebody reads a table that the upgrade has to change, and how long others may have to wait for that upgrade.
READS_S = 5.0
WAITS_S = 2.5
# For so long the clients show how long a transaction takes on this machine now, with nothing in the way.
CALM_S = 1.0
on_servers = pytest.mark.parametrize("database", ("postgresql", "mariadb"), indirect=True)
on_each_database = pytest.mark.parametrize("database", ("sqlite", "postgresql", "mariadb"), indirect=True)


@dataclass
class Client:
    """Transactions without a pause, on a connection of their own, until told to stop."""

    done: int = 0
    longest_s: float = 0.0
    failed: list[BaseException] = field(default_factory=list)

    def commits(self, connection: sa.Connection, transact: Callable[[sa.Connection, int], object]) -> bool:
        """Whether it did; what was in another's way is run again, as every transaction is."""
        try:
            begin(connection)
            transact(connection, self.done)
        except sa.exc.DBAPIError as error:
            connection.rollback()
            if isinstance(translate(error, committing=False), Contended):
                return False
            raise
        connection.commit()
        return True

    def work(self, database: Database, transact: Callable[[sa.Connection, int], object], stop: threading.Event) -> None:
        engine = database.open()
        try:
            with engine.connect() as connection:
                started_s = time.monotonic()
                while not stop.is_set():
                    if self.commits(connection, transact):
                        self.longest_s = max(self.longest_s, time.monotonic() - started_s)
                        self.done += 1
                        started_s = time.monotonic()
                    time.sleep(0.002)
        except BaseException as error:
            self.failed.append(error)
        finally:
            engine.dispose()


@contextmanager
def clients(database: Database, *transactions: Callable[[sa.Connection, int], object]) -> Iterator[list[Client]]:
    """One for each kind of transaction, while the block runs."""
    stop = threading.Event()
    found = [Client() for _ in transactions]
    threads = [
        threading.Thread(target=client.work, args=(database, transact, stop))
        for client, transact in zip(found, transactions, strict=True)
    ]
    for thread in threads:
        thread.start()
    try:
        yield found
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def of_the_first_release(tx: sa.Connection, table: str, **values: object) -> dict[str, object]:
    """A row with what the first release wrote in all columns that must have a value."""
    made: dict[str, object] = {}
    for column in metadata.tables[table].columns:
        if not column.nullable and column.server_default is None:
            text = isinstance(column.type, sa.String)
            made[column.name] = False if isinstance(column.type, sa.Boolean) else "x" if text else 0
    return made | values


def insert_old(tx: sa.Connection, table: str, rows: list[dict[str, object]]) -> None:
    """By a statement that names no later column."""
    tx.execute(sa.insert(sa.table(table, *(sa.column(name) for name in rows[0]))), rows)


def create(tx: sa.Connection, number: int) -> None:
    """As the first release does it."""
    volume, operation = f"made-{number}", f"by-{number}"
    insert_old(tx, "volumes", [of_the_first_release(tx, "volumes", id=volume)])
    insert_old(tx, "operations", [of_the_first_release(tx, "operations", id=operation, resource_id=volume)])


def extend(tx: sa.Connection, number: int) -> None:
    """A volume first, then what belongs to it."""
    at = {"id": f"old-{number % ROWS}"}
    tx.execute(sa.text("UPDATE volumes SET op_seq = op_seq + 1 WHERE id = :id"), at)
    tx.execute(sa.text("UPDATE snapshots SET op_seq = op_seq + 1 WHERE volume_id = :id"), at)


def look(tx: sa.Connection, number: int) -> None:
    tx.execute(sa.text("SELECT COUNT(*) FROM volumes WHERE project_id = 'x'")).scalar_one()
    tx.execute(sa.text("SELECT id FROM operations WHERE resource_id = :id"), {"id": f"made-{number}"}).all()


@pytest.fixture
def filled(database: Database) -> Database:
    """As the first release left it."""
    database.upgrade_to("0001")
    with database.tx() as tx:
        insert_old(tx, "volumes", [of_the_first_release(tx, "volumes", id=f"old-{at}") for at in range(ROWS)])
        snapshots = (of_the_first_release(tx, "snapshots", id=f"old-{at}", volume_id=f"old-{at}") for at in range(ROWS))
        insert_old(tx, "snapshots", list(snapshots))
    return database


@on_servers
def test_nobody_waits_long_behind_an_upgrade_that_waits_for_a_long_reader(filled: Database) -> None:
    """Whoever changes a table waits for everybody who uses it, and everybody who comes later waits behind. Not for as long as
    somebody reads: after a second it lets them all go first."""
    with ExitStack() as reading, clients(filled, create, extend, look) as served:
        reader = filled.open()
        reading.callback(reader.dispose)
        long = reading.enter_context(reader.connect())
        long.execute(sa.text("SELECT COUNT(*) FROM volumes")).scalar_one()
        time.sleep(CALM_S)
        usual_s = max(client.longest_s for client in served)
        leaving = threading.Timer(READS_S, reading.close)
        leaving.start()
        started_s = time.monotonic()
        schema.upgrade(filled.urls[0])
        took_s = time.monotonic() - started_s
        leaving.join()

    assert [client.failed for client in served] == [[]] * 3
    assert took_s > READS_S - 1
    assert max(client.longest_s for client in served) < WAITS_S + 2 * usual_s
    assert min(client.done for client in served) > 20
    assert schema.current(filled.urls[0]) == schema.HEAD


@pytest.mark.parametrize("database", ("postgresql",), indirect=True)
def test_no_table_is_made_anew_on_postgresql(filled: Database) -> None:
    """A column is added without a look at the rows: each table stays in its file, by the file's number."""
    files = sa.text("SELECT relname, relfilenode FROM pg_class WHERE relname IN ('volumes', 'snapshots', 'operations')")
    with filled.tx() as tx:
        before = {tuple(row) for row in tx.execute(files)}

    schema.upgrade(filled.urls[0])

    assert len(before) == 3
    with filled.tx() as tx:
        assert {tuple(row) for row in tx.execute(files)} == before


@pytest.mark.parametrize("database", ("mariadb",), indirect=True)
def test_mariadb_refuses_a_column_for_which_a_table_is_made_anew(filled: Database) -> None:
    """Nobody could write to it meanwhile."""
    with filled.tx() as tx:
        operations = Operations(MigrationContext.configure(tx))
        operations.add_column("volumes", sa.Column("fine", sa.Integer, server_default="0"))
        with pytest.raises(sa.exc.DBAPIError, match="INSTANT"):
            operations.add_column(
                "volumes", sa.Column("twice", sa.Integer, sa.Computed("size_gib * 2", persisted=True))
            )


@on_each_database
def test_accounts_of_many_projects_move_beside_those_who_charge(database: Database) -> None:
    """Row by row under locks: what the release before charges meanwhile, under the names, is there as well."""
    schema.upgrade(database.urls[0])
    with database.tx() as tx:
        name, key = tx.execute(sa.select(volume_types.c.name, volume_types.c.id)).one()
        nouns = ("volumes", "gigabytes", "snapshots")
        rows = [
            {"project_id": f"p{at:04}", "resource": f"{noun}_{name}", "in_use": 1}
            for at in range(PROJECTS)
            for noun in nouns
        ]
        tx.execute(sa.insert(quota_usage), rows)

    def charge(resource: str, tx: sa.Connection, number: int) -> None:
        at = {"project_id": f"p{number % PROJECTS:04}", "resource": resource}
        mine = [quota_usage.c[column] == value for column, value in at.items()]
        added = sa.update(quota_usage).where(*mine).values(in_use=quota_usage.c.in_use + 1)
        if tx.execute(added).rowcount == 0:
            tx.execute(sa.insert(quota_usage).values(**at, in_use=1))

    def charge_old(tx: sa.Connection, number: int) -> None:
        charge(f"volumes_{name}", tx, number)

    with clients(database, charge_old) as served:
        schema.upgrade(database.urls[0])
    schema.upgrade(database.urls[0])

    assert served[0].failed == []
    assert served[0].done > 0
    with database.tx() as tx:
        found = dict(
            tx.execute(sa.select(quota_usage.c.resource, sa.func.sum(quota_usage.c.in_use)).group_by("resource")).all()
        )
    assert {resource: int(used) for resource, used in found.items()} == {
        f"volumes_{key}": PROJECTS + served[0].done,
        f"gigabytes_{key}": PROJECTS,
        f"snapshots_{key}": PROJECTS,
    }


# --- indexes ----------------------------------------------------------------------------------------------------------


def is_valid(database: Database, index: str) -> bool | None:
    """Whether PostgreSQL may use it; None when it is not there."""
    with database.tx() as tx:
        found = tx.execute(
            sa.text("SELECT indisvalid FROM pg_index JOIN pg_class c ON c.oid = indexrelid WHERE c.relname = :index"),
            {"index": index},
        )
        return found.scalar()


@contextmanager
def writing(database: Database, *, for_s: float | None = None) -> Iterator[None]:
    """Somebody has written a volume and does not commit; until the end of the block, or for so long."""
    with ExitStack() as open_:
        engine = database.open()
        open_.callback(engine.dispose)
        connection = open_.enter_context(engine.connect())
        extend(connection, 1)
        leaving = threading.Timer(for_s or 0.0, open_.close)
        if for_s:
            leaving.start()
        yield
        if for_s:
            leaving.join()


@pytest.mark.parametrize("database", ("postgresql",), indirect=True)
def test_nobody_waits_while_an_index_is_built_that_waits_for_a_long_writer(filled: Database) -> None:
    """It has to wait for everybody who writes to the table; others write meanwhile, to that table as well."""
    with clients(filled, create, look) as served:
        time.sleep(CALM_S)
        usual_s = max(client.longest_s for client in served)
        with writing(filled, for_s=READS_S):
            started_s = time.monotonic()
            schema.upgrade(filled.urls[0])
            took_s = time.monotonic() - started_s

    assert [client.failed for client in served] == [[]] * 2
    assert took_s > READS_S - 1
    assert max(client.longest_s for client in served) < WAITS_S + 2 * usual_s
    assert is_valid(filled, "ix_volumes_name") is True


@pytest.mark.parametrize("at", ("0005", "0017"))
@pytest.mark.parametrize("database", ("postgresql",), indirect=True)
def test_a_revision_whose_indexes_are_there_waits_for_nobody_who_writes(filled: Database, at: str) -> None:
    """Even to find out that an index is there, `CREATE INDEX IF NOT EXISTS` would keep writers out until the commit.

    Only that revision: those that add a column wait for an instant in which nobody writes.
    """
    url = filled.urls[0]
    filled.upgrade_to(at)
    schema._build_indexes(url, at)

    with writing(filled):
        revised = schema._in_turn(url, functools.partial(schema._revise, seen=at))

    assert revised == (f"{int(at) + 1:04}", True)


@pytest.mark.parametrize("database", ("postgresql",), indirect=True)
def test_an_index_that_was_broken_off_is_built_anew(filled: Database) -> None:
    """What is left of it would never be used, and yet be in the way of one with the same name."""
    engine = filled.open()
    with writing(filled), engine.connect().execution_options(isolation_level="AUTOCOMMIT") as impatient:
        impatient.exec_driver_sql("SET statement_timeout = 300")
        with pytest.raises(sa.exc.OperationalError, match="timeout"):
            impatient.exec_driver_sql("CREATE INDEX CONCURRENTLY ix_volumes_name ON volumes (name, project_id)")
    engine.dispose()
    assert is_valid(filled, "ix_volumes_name") is False

    schema.upgrade(filled.urls[0])

    assert is_valid(filled, "ix_volumes_name") is True


@pytest.mark.parametrize("database", ("postgresql",), indirect=True)
def test_two_that_build_indexes_at_once_do_it_once(filled: Database) -> None:
    """One waits for the other, and not in the server: building an index waits for whoever waits there."""
    with writing(filled, for_s=1.5):
        ended = statuses([forked(lambda: schema.upgrade(filled.urls[0])) for _ in range(2)])

    assert ended == [0, 0]
    assert is_valid(filled, "ix_operations_owner_kind") is True
    assert is_valid(filled, "ix_operations_owner") is None
