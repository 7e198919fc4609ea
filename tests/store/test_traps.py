"""Traps of the real servers: each is shown with plain SQL to be there, and then that we do not fall into it.

They run where `BREEZEBLOCK_TEST_DATABASE` names servers, each on the kinds of server that have the trap. When one of the first
halves fails, the server has lost a trap, and a rule of `docs/explanation/transactions.md` its reason.
"""

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pymysql
import pytest
import sqlalchemy as sa
from tests.databases import urls
from tests.store.beside import beside
from tests.store.given import QUEUE, Base, available_volume, new_snapshot, origin

from breezeblock.model.errors import Contended, InvalidState, Rejected
from breezeblock.model.ids import VolumeId
from breezeblock.protocol import driver_locks
from breezeblock.protocol.queue import Lock
from breezeblock.resources import snapshots, volumes
from breezeblock.store import plain, tables
from breezeblock.store.dialects import translate
from breezeblock.store.servers import Session, open_server

KIND = sa.make_url(urls()[0]).get_backend_name() if urls() else ""
pytestmark = pytest.mark.skipif(not urls(), reason="about real servers: BREEZEBLOCK_TEST_DATABASE names them")
on_postgresql = pytest.mark.skipif(KIND != "postgresql", reason="a trap of PostgreSQL")
on_mariadb = pytest.mark.skipif(KIND == "postgresql", reason="a trap of MariaDB and of its storage engine")
on_galera = pytest.mark.skipif(len(urls()) < 2, reason="a trap of several servers")

TTL_S = 4.0


@contextmanager
def plain_connections(*at: str) -> Iterator[list[sa.Connection]]:
    """As anybody connects, with nothing of ours: the drivers' own defaults."""
    with contextlib.ExitStack() as opened:
        yield [opened.enter_context(sa.create_engine(url, poolclass=sa.NullPool).connect()) for url in at]


@pytest.fixture
def table(base: Base) -> Iterator[str]:
    """Two rows, and some that belong to them."""
    engine = sa.create_engine(urls()[0], poolclass=sa.NullPool)
    with engine.begin() as tx:
        for statement in (
            "CREATE TABLE trap (id INT PRIMARY KEY, status VARCHAR(20), touched INT)",
            "CREATE TABLE trap_of (id INT PRIMARY KEY, parent INT)",
            "INSERT INTO trap VALUES (1, 'available', 0), (2, 'available', 0)",
        ):
            tx.exec_driver_sql(statement)
    yield "trap"
    with engine.begin() as tx:
        tx.exec_driver_sql("SET lock_timeout = '5s'" if KIND == "postgresql" else "SET lock_wait_timeout = 5")
        tx.exec_driver_sql("DROP TABLE trap")
        tx.exec_driver_sql("DROP TABLE trap_of")
    engine.dispose()


# --- a sub-query that is asked of the old snapshot --------------------------------------------------------------------

IS_FREE = (
    "UPDATE trap SET status = 'deleting'"
    " WHERE id = 1 AND status = 'available' AND NOT EXISTS (SELECT 1 FROM trap_of WHERE parent = 1)"
)


@on_postgresql
def test_postgresql_asks_a_sub_query_of_the_old_snapshot(table: str) -> None:
    """The trap: the row is held and a child is made; the one that waited sees the row anew, and not its child."""
    with plain_connections(urls()[0], urls()[0]) as (one, two), ThreadPoolExecutor(1) as pool:
        two.exec_driver_sql("SET lock_timeout = 5000")
        one.exec_driver_sql("UPDATE trap SET touched = touched + 1 WHERE id = 1")
        one.exec_driver_sql("INSERT INTO trap_of VALUES (1, 1)")
        waiting = pool.submit(two.exec_driver_sql, IS_FREE)
        time.sleep(0.3)
        waited = not waiting.done()
        one.commit()
        changed = waiting.result().rowcount
        two.commit()

    assert (waited, changed) == (True, 1)  # a row that is being deleted and has a child


@pytest.mark.parametrize("deletion_first", [True, False])
def test_who_waited_for_a_volume_sees_the_snapshot_that_was_made_meanwhile(base: Base, deletion_first: bool) -> None:
    """The row is written by a statement of its own, and what is asked about it by later ones."""
    available_volume(base)

    def delete(tx: sa.Connection) -> Any:
        return volumes.begin_delete(tx, origin=origin(), volume_id=VolumeId("v1"), cascade=False)

    asked = origin(operation_id="o2")

    def take(tx: sa.Connection) -> Any:
        return snapshots.begin_create(tx, origin=asked, wanted=new_snapshot(), quota_defaults={})

    results = beside(base, *((delete, take) if deletion_first else (take, delete)))[:2]

    assert [isinstance(one, Rejected) for one in results].count(True) == 1
    assert base.problems() == []


# --- an explanation from the old snapshot -----------------------------------------------------------------------------


@on_mariadb
def test_innodb_explains_a_miss_from_the_old_snapshot(table: str) -> None:
    """The trap: what the update did not match, a plain SELECT still shows as it was."""
    with plain_connections(urls()[0], urls()[0]) as (one, two):
        status = "SELECT status FROM trap WHERE id = 1"
        one.exec_driver_sql(status)
        two.exec_driver_sql("UPDATE trap SET status = 'deleting' WHERE id = 1")
        two.commit()

        changed = one.exec_driver_sql(
            "UPDATE trap SET status = 'in-use' WHERE id = 1 AND status = 'available'"
        ).rowcount
        explained = one.exec_driver_sql(status).scalar()
        one.rollback()

    assert (changed, explained) == (0, "available")


def explain(tx: sa.Connection) -> None:
    with pytest.raises(InvalidState, match="in-use"):
        volumes.begin_delete(tx, origin=origin(), volume_id=VolumeId("v1"), cascade=False)


def test_a_refusal_is_explained_by_the_present(base: Base) -> None:
    """Although the transaction has looked at the row before somebody else changed it."""
    available_volume(base)

    with base.database.beside() as mine, base.database.beside() as other:
        seen = mine.execute(sa.select(tables.volumes.c.status)).scalar()
        other.execute(sa.update(tables.volumes).values(status="in-use"))
        other.commit()
        try:
            explain(mine)
        except (
            sa.exc.DBAPIError
        ) as error:  # on another Galera node: it has lost against the other, and runs again as a whole
            assert isinstance(translate(error, committing=False), Contended)
            mine.rollback()
            explain(mine)
        mine.rollback()

    assert seen == "available"


# --- an update to equal values ----------------------------------------------------------------------------------------

EQUAL = "UPDATE trap SET status = 'available' WHERE id = 1"


@on_mariadb
def test_the_driver_counts_no_row_that_an_update_leaves_equal(table: str) -> None:
    """The trap: without the flag that SQLAlchemy sets, a guard that matched looks like one that missed."""
    at = sa.make_url(urls()[0])
    bare = pymysql.connect(host=at.host, port=at.port, user=at.username, password=at.password, database=at.database)
    with bare, bare.cursor() as cursor:
        counted = cursor.execute(EQUAL)

    assert counted == 0


def test_we_count_the_rows_that_matched(table: str) -> None:
    """On connections of the pools, and on those of the keeper."""
    engine = open_server(urls()[0], Session(connections=1), reading=False)
    with engine.begin() as tx:
        ours = tx.exec_driver_sql(EQUAL).rowcount
    engine.dispose()
    keepers = plain.connect(urls()[0], statement_limit_s=2, idle_limit_s=2)
    theirs = keepers.execute(EQUAL).rowcount
    keepers.commit()
    keepers.close()

    assert (ours, theirs) == (1, 1)


# --- two who take a further lock late ---------------------------------------------------------------------------------


def test_two_who_look_and_then_lock_both_get_it(table: str) -> None:
    """The trap, on every server: each looks for the other's word, finds none, and leaves its own."""
    look = "SELECT COUNT(*) FROM trap_of WHERE parent = 2"
    with plain_connections(urls()[0], urls()[-1]) as (one, two):
        found = [tx.exec_driver_sql(look).scalar() for tx in (one, two)]
        for number, tx in enumerate((one, two)):
            tx.execute(sa.text("INSERT INTO trap_of VALUES (:number, 2)"), {"number": number})
        for tx in (one, two):
            tx.commit()
        if len(urls()) > 1:
            one.exec_driver_sql("SET SESSION wsrep_sync_wait = 7")  # what the other node took is on its way here
        holders = one.exec_driver_sql(look).scalar()

    assert (found, holders) == ([0, 0], 2)


def test_two_calls_that_take_the_same_locks_late_agree_who_is_first(base: Base) -> None:
    """Each names them in the other order, in the middle of its operation: one is first in both lines, and the other waits."""
    claims = [base.claim(base.enqueue(Lock(name, 1, exclusive=True)), base.node(f"node-of-{name}")) for name in "vw"]
    lines = [driver_locks.line_of(QUEUE, None, name) for name in ("a", "b")]

    def take(number: int) -> Any:
        of = lines if number else lines[::-1]
        return lambda tx: driver_locks.take_places(
            tx, claims[number], call_id=f"call-{number}", lines=of, exclusive=True
        )

    beside(base, take(0), take(1))

    before = [
        base.run(driver_locks.count_before, claim, call_id=f"call-{number}", places=2)
        for number, claim in enumerate(claims)
    ]
    assert sorted(before) == [0, 1]


# --- a miss on a node that lags ---------------------------------------------------------------------------------------


@contextmanager
def standing_still(url: str) -> Iterator[None]:
    """A Galera node that goes on answering and applies nothing of what the others commit."""
    at = sa.make_url(url)
    with pymysql.connect(host=at.host, port=at.port, user="root", autocommit=True) as held, held.cursor() as cursor:
        cursor.execute("SET SESSION wsrep_sync_wait = 0")
        cursor.execute("FLUSH TABLES WITH READ LOCK")
        try:
            yield
        finally:
            cursor.execute("UNLOCK TABLES")


@on_galera
def test_a_node_that_lags_misses_what_was_answered(table: str) -> None:
    """The trap: committed, answered, and on another node not there."""
    with plain_connections(urls()[0], urls()[1]) as (one, two):
        two.exec_driver_sql("SET SESSION wsrep_sync_wait = 0")
        with standing_still(urls()[1]):
            one.exec_driver_sql("INSERT INTO trap_of VALUES (1, 1)")
            one.commit()
            missed = two.exec_driver_sql("SELECT COUNT(*) FROM trap_of").scalar()
            two.rollback()
        two.exec_driver_sql("SET SESSION wsrep_sync_wait = 7")
        found = two.exec_driver_sql("SELECT COUNT(*) FROM trap_of").scalar()

    assert (missed, found) == (0, 1)


@on_galera
@pytest.mark.parametrize("reading", [True, False])
def test_we_wait_until_a_node_has_what_was_answered(table: str, reading: bool) -> None:
    """A list after a POST through another API, and a guard after the commit that it is about."""
    behind = open_server(urls()[1], Session(connections=1), reading=reading)
    with behind.connect() as two, plain_connections(urls()[0]) as (one,), ThreadPoolExecutor(1) as pool:
        two.rollback()  # connected, and about to begin
        with standing_still(urls()[1]):
            one.exec_driver_sql("INSERT INTO trap_of VALUES (1, 1)")
            one.commit()
            asking = pool.submit(lambda: two.exec_driver_sql("SELECT COUNT(*) FROM trap_of").scalar())
            time.sleep(0.3)
            waited = not asking.done()
        found = asking.result(timeout=10)
        two.rollback()
    behind.dispose()

    assert (waited, found) == (True, 1)


# --- a process that is stopped in a transaction -----------------------------------------------------------------------

HOLD = """
import sys
from breezeblock.store.servers import Session, open_server
engine = open_server(sys.argv[1], Session(ttl_s=float(sys.argv[2]), connections=1), reading=False)
with engine.connect() as tx:
    tx.exec_driver_sql("UPDATE trap SET touched = touched + 1 WHERE id = 1")
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_process_that_is_stopped_in_a_transaction_frees_its_rows(table: str) -> None:
    """Within a third of the ttl, whatever it holds: nobody's lease suffers."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, urls()[0], str(TTL_S)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    engine = open_server(urls()[0], Session(ttl_s=TTL_S, connections=1), reading=False)
    assert holder.stdout is not None
    try:
        assert holder.stdout.readline() == "held\n"
        holder.send_signal(signal.SIGSTOP)
        began = time.monotonic()
        with engine.begin() as tx:
            tx.exec_driver_sql("UPDATE trap SET touched = touched + 1 WHERE id = 1")
            touched = tx.exec_driver_sql("SELECT touched FROM trap WHERE id = 1").scalar()
        took = time.monotonic() - began
    finally:
        holder.kill()
        holder.communicate()
        engine.dispose()

    assert touched == 1
    assert 0.2 < took < TTL_S / 3 + 0.5


@on_postgresql
def test_without_a_limit_a_stopped_process_holds_its_rows(table: str) -> None:
    """The trap: the server's default is to wait for as long as it takes."""
    with plain_connections(urls()[0], urls()[0]) as (idle, other):
        idle.exec_driver_sql("UPDATE trap SET touched = touched + 1 WHERE id = 1")
        other.exec_driver_sql("SET lock_timeout = 500")
        with pytest.raises(sa.exc.OperationalError, match="lock timeout"):
            other.exec_driver_sql("UPDATE trap SET touched = touched + 1 WHERE id = 1")
        other.rollback()
        idle.rollback()
