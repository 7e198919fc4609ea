"""Many transactions, one writer: group commit, its failures, other processes, and what happens when a lock is held."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.pool import NullPool

from breezeblock.env.real import real_env
from breezeblock.model.errors import Ambiguous, Conflict, Contended, Unavailable
from breezeblock.store import lanes
from breezeblock.store.dialects import open_engine
from breezeblock.store.lanes import SqliteLane
from breezeblock.store.run import Store
from breezeblock.store.tables import metadata
from breezeblock.store.turnstile import Turnstile, holders

T = TypeVar("T")
Use = Callable[[SqliteLane], Coroutine[Any, Any, T]]


class Place:
    """A database file with a counter and a list."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "test.db")
        self.url = f"sqlite:///{self.path}"
        self.engine: Engine = open_engine(self.url, now_us=lambda: 0)
        with self.engine.connect() as connection:
            metadata.create_all(connection)
            connection.exec_driver_sql("CREATE TABLE counter (value INTEGER NOT NULL)")
            connection.exec_driver_sql("INSERT INTO counter VALUES (0)")
            connection.exec_driver_sql("CREATE TABLE list (item TEXT PRIMARY KEY)")

    def use(self, use: Use[T], *, engine: Engine | None = None) -> T:
        """Open a lane, use it, close it."""

        async def main() -> T:
            lane = SqliteLane(engine or self.engine, self.path)
            try:
                return await use(lane)
            finally:
                lane.close()

        return asyncio.run(main())

    @property
    def counter(self) -> int:
        return int(self.ask("SELECT value FROM counter")[0][0])

    @property
    def items(self) -> set[str]:
        return {row[0] for row in self.ask("SELECT item FROM list")}

    def ask(self, sql: str) -> list[Any]:
        with self.engine.connect() as connection:
            return [tuple(row) for row in connection.exec_driver_sql(sql)]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def count(tx: Connection) -> int:
    tx.exec_driver_sql("UPDATE counter SET value = value + 1")
    return look(tx)


def look(tx: Connection) -> int:
    return int(tx.exec_driver_sql("SELECT value FROM counter").scalar_one())


def put(item: str, *, size: int = 0) -> Callable[[Connection], None]:
    def body(tx: Connection) -> None:
        tx.execute(text("INSERT INTO list VALUES (:item)"), {"item": item + "x" * size})

    return body


def put_and_refuse(item: str) -> Callable[[Connection], None]:
    def body(tx: Connection) -> None:
        put(item)(tx)
        raise Conflict("No.")

    return body


async def all_of(*waiting: Coroutine[Any, Any, Any]) -> list[Any]:
    """Results and errors alike."""
    return await asyncio.gather(*waiting, return_exceptions=True)


async def together(lane: SqliteLane, *bodies: Callable[[Connection], Any]) -> list[Any]:
    """Results or errors of transactions that the writer takes up in one group.

    Its first job holds it until all the others wait behind it.
    """
    begun, waiting = threading.Event(), threading.Event()

    def hold(tx: Connection) -> None:
        begun.set()
        waiting.wait(5)

    first = asyncio.ensure_future(lane.write(hold))
    await asyncio.to_thread(begun.wait, 5)
    rest = [asyncio.ensure_future(lane.write(body)) for body in bodies]
    await asyncio.sleep(0)
    waiting.set()
    await first
    return await asyncio.gather(*rest, return_exceptions=True)


# --- group commit -----------------------------------------------------------------------------------------------------


def test_a_refused_transaction_among_good_ones_takes_back_only_its_own(place: Place) -> None:
    """Each runs in a savepoint of its own; all share one commit."""
    results = place.use(lambda lane: together(lane, put("a"), put_and_refuse("b"), put("c"), put("a"), count))

    assert [type(result) for result in results] == [type(None), Conflict, type(None), Contended, int]
    assert (place.items, place.counter) == ({"a", "c"}, 1)


def test_a_group_of_refused_ones_commits_nothing(place: Place) -> None:
    """And costs no sync."""
    results = place.use(lambda lane: together(lane, put_and_refuse("a"), put_and_refuse("b")))

    assert [type(result) for result in results] == [Conflict, Conflict]
    assert place.items == set()


def test_those_who_wait_share_one_commit(place: Place) -> None:
    """As many as fit in a group, in the order in which they came."""
    commits = 0

    @event.listens_for(place.engine, "commit")
    def counted(connection: Connection) -> None:
        nonlocal commits
        commits += 1

    results = place.use(lambda lane: together(lane, *[count] * 90))

    assert results == list(range(1, 91))
    # The one that held the writer, then two groups.
    assert commits == 3


def test_a_transaction_sees_those_before_it_in_its_group(place: Place) -> None:
    """As if they had run one after another."""
    assert place.use(lambda lane: together(lane, count, look, count, look)) == [1, 1, 2, 2]


# --- a group that is lost ---------------------------------------------------------------------------------------------


class FailingCommit(sqlite3.Connection):
    """A connection whose next commits fail as told: before or after they happened."""

    faults: list[str] = []  # noqa: RUF012  one list for all connections of a test

    def commit(self) -> None:
        fault = self.faults.pop(0) if self.faults and self.in_transaction else ""
        if fault == "after":
            super().commit()
        if fault == "before":
            super().rollback()  # as SQLite does by itself, for every error of a commit but SQLITE_BUSY
        if fault:
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = sqlite3.SQLITE_BUSY if fault == "busy" else sqlite3.SQLITE_IOERR
            raise error
        super().commit()


@contextmanager
def failing(place: Place, *faults: str) -> Iterator[Engine]:
    """An engine whose connections fail to commit."""
    FailingCommit.faults = list(faults)
    engine = create_engine(
        place.url,
        poolclass=NullPool,
        connect_args={"isolation_level": None, "check_same_thread": False, "factory": FailingCommit},
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, record: object) -> None:
        connection.create_function("breezeblock_now_us", 0, lambda: 0)

    yield engine
    engine.dispose()
    FailingCommit.faults = []


@pytest.mark.parametrize(("fault", "error"), [("before", Ambiguous), ("after", Ambiguous), ("busy", Contended)])
def test_a_commit_that_fails_fails_for_the_whole_group(place: Place, fault: str, error: type[Exception]) -> None:
    """Also for those who were refused: they may have been refused because of what is not there now."""
    with failing(place, "", fault) as engine:
        results = place.use(lambda lane: together(lane, put("a"), put_and_refuse("b"), count), engine=engine)

    assert [type(result) for result in results] == [error] * 3


@pytest.mark.parametrize("fault", ["before", "after", "busy"])
def test_after_a_failed_commit_each_is_run_again_exactly_once(place: Place, fault: str) -> None:
    """Whether the commit happened or not, each transaction is there once."""

    async def use(lane: SqliteLane) -> list[int]:
        store = Store(lane, real_env())
        return sorted(await asyncio.gather(*(store.run(count) for _ in range(20))))

    with failing(place, fault, fault) as engine:
        results = place.use(use, engine=engine)

    assert results == list(range(1, 21))
    assert place.counter == 20


def test_a_full_disk_loses_the_group_and_not_the_lane(place: Place) -> None:
    """SQLITE_FULL: nobody of the group was committed, and all that are told so; later ones fit again."""

    async def use(lane: SqliteLane) -> tuple[list[type], int]:
        await lane.write(lambda tx: tx.exec_driver_sql(f"PRAGMA max_page_count = {pages + 2}"))
        results = await together(lane, put("a"), put("big", size=100_000), put("b"))
        return [type(result) for result in results], await lane.write(count)

    pages = place.ask("PRAGMA page_count")[0][0]
    kinds, counted = place.use(use)

    assert kinds == [Unavailable] * 3
    assert (place.items, counted) == (set(), 1)


@contextmanager
def replaced_by_a_folder(path: Path) -> Iterator[None]:
    away = path.rename(f"{path}.away")
    path.mkdir()
    yield
    path.rmdir()
    away.rename(path)


def test_a_database_that_became_unreadable_is_unavailable_and_comes_back(place: Place) -> None:
    """The file is replaced by a folder, and then it is there again."""

    async def use(lane: SqliteLane) -> tuple[type, int]:
        with replaced_by_a_folder(Path(place.path)):
            (failed,) = await all_of(lane.write(count))
        return type(failed), await lane.write(count)

    assert place.use(use) == (Unavailable, 1)


def test_a_row_that_can_never_be_is_no_lost_race(place: Place) -> None:
    """NOT NULL fails again on each attempt; only a duplicate key can be another transaction's."""
    with pytest.raises(Exception, match="NOT NULL") as caught:
        place.use(lambda lane: lane.write(lambda tx: tx.exec_driver_sql("UPDATE counter SET value = NULL")))

    assert caught.type is not Contended


# --- others who hold the lock -----------------------------------------------------------------------------------------

HOLD_TURN = """
import sys, time
from breezeblock.store.turnstile import Turnstile
with Turnstile(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""
HOLD_WRITE_LOCK = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.read()
"""
COUNT = """
import asyncio, sys
from breezeblock.env.real import real_env
from breezeblock.store.dialects import open_engine
from breezeblock.store.lanes import SqliteLane
from breezeblock.store.run import Store

def count(tx):
    value = tx.exec_driver_sql("SELECT value FROM counter").scalar_one()
    tx.exec_driver_sql("UPDATE counter SET value = ?", (value + 1,))

async def main(path, times):
    lane = SqliteLane(open_engine("sqlite:///" + path, now_us=lambda: 0), path)
    store = Store(lane, real_env())
    await asyncio.gather(*(store.insist(count) for _ in range(times)))
    lane.close()

asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""
COUNT_ALONE = COUNT.replace("await asyncio.gather(*(store.insist(count) for _ in range(times)))", "", 1).replace(
    "    lane.close()", "    for _ in range(times):\n        await store.insist(count)\n    lane.close()", 1
)


@contextmanager
def other(script: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Another process. It is killed at the end, whatever became of it."""
    process = subprocess.Popen(
        [sys.executable, "-c", script, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@contextmanager
def held(script: str, place: Place) -> Iterator[subprocess.Popen[str]]:
    with other(script, place.path) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process


def test_who_cannot_begin_in_time_is_given_up_and_never_runs(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind a stopped process: what was answered as unavailable does not happen after all when it is continued."""
    monkeypatch.setattr(lanes, "BEGIN_TIMEOUT_S", 0.2)

    async def use(lane: SqliteLane) -> list[Any]:
        with held(HOLD_TURN, place) as holder:
            given_up = await asyncio.gather(lane.write(count), lane.write(count), return_exceptions=True)
            holder.kill()
            holder.wait()
        monkeypatch.setattr(lanes, "BEGIN_TIMEOUT_S", 20.0)
        return [*map(type, given_up), await lane.write(count)]

    assert place.use(use) == [Unavailable, Unavailable, 1]
    assert place.counter == 1


def test_an_outsider_with_the_write_lock_costs_an_attempt(place: Place) -> None:
    """Somebody without the turnstile, such as a shell: SQLite keeps us out, and we try again."""
    with held(HOLD_WRITE_LOCK, place) as holder:
        (failed,) = place.use(lambda lane: all_of(lane.write(count)))
        holder.kill()
        holder.wait()

    assert type(failed) is Contended
    assert place.use(lambda lane: lane.write(count)) == 1


@pytest.mark.parametrize("script", [HOLD_TURN, HOLD_WRITE_LOCK])
def test_a_stopped_holder_is_named(place: Place, script: str) -> None:
    """The supervisor finds out by asking the kernel who is in the way, and kills that one."""
    with held(script, place) as holder:
        os.kill(holder.pid, signal.SIGSTOP)

        assert holders(place.path) == (holder.pid,)


def test_nobody_is_named_when_nobody_holds(place: Place) -> None:
    """Nor when the files are not there yet."""
    assert holders(place.path) == ()
    assert holders(place.path + "-none") == ()


def test_four_processes_count_without_losing_one(place: Place) -> None:
    """Each reads and then writes: only serial transactions get it right."""
    with (
        other(COUNT, place.path, "150") as one,
        other(COUNT, place.path, "150") as two,
        other(COUNT, place.path, "150") as three,
        other(COUNT, place.path, "150") as four,
    ):
        codes = [process.wait(60) for process in (one, two, three, four)]

    assert (codes, place.counter) == ([0, 0, 0, 0], 600)


def test_several_lanes_of_one_process_count_without_losing_one(place: Place) -> None:
    """Record locks do not hold between the threads of a process: SQLite's own lock must."""

    async def main() -> None:
        some = [SqliteLane(place.engine, place.path) for _ in range(3)]
        stores = [Store(lane, real_env()) for lane in some]
        await asyncio.gather(*(store.insist(count) for store in stores for _ in range(40)))
        for lane in some:
            lane.close()

    asyncio.run(main())

    assert place.counter == 120


def test_a_busy_process_does_not_starve_a_patient_one(place: Place) -> None:
    """Three that always want to write, and one that does so one after another: it gets its turns while they run."""
    with (
        other(COUNT_ALONE, place.path, "100000"),
        other(COUNT_ALONE, place.path, "100000"),
        other(COUNT_ALONE, place.path, "100000"),
        other(COUNT_ALONE, place.path, "50") as patient,
    ):
        assert patient.wait(30) == 0

    assert place.counter >= 50


def test_a_turnstile_admits_one_process_at_a_time(place: Place) -> None:
    """Who comes second gets in when the first one is gone, killed or not."""
    turnstile = Turnstile(place.path)
    entered = threading.Event()

    def enter() -> None:
        with turnstile:
            entered.set()

    with held(HOLD_TURN, place) as holder:
        thread = threading.Thread(target=enter)
        thread.start()
        kept_out = not entered.wait(0.1)
        holder.kill()
        holder.wait()
        thread.join(5)
    turnstile.close()

    assert (kept_out, entered.is_set()) == (True, True)


# --- reading ----------------------------------------------------------------------------------------------------------


def test_a_reader_sees_one_instant(place: Place) -> None:
    """What is committed while it reads is not there for it; what was answered before it began is."""

    async def use(lane: SqliteLane) -> list[int]:
        await lane.write(count)
        looked, written = threading.Event(), threading.Event()

        def twice(tx: Connection) -> list[int]:
            first = look(tx)
            looked.set()
            written.wait(5)
            return [first, look(tx)]

        reading = asyncio.ensure_future(lane.read(twice))
        await asyncio.to_thread(looked.wait, 5)
        await lane.write(count)
        written.set()
        return [*await reading, await lane.read(look)]

    assert place.use(use) == [1, 1, 2]


def test_a_reader_is_not_held_up_by_a_writer(place: Place) -> None:
    """Lists go on while somebody holds the write lock."""

    async def use(lane: SqliteLane) -> int:
        return await lane.read(look)

    with held(HOLD_WRITE_LOCK, place):
        assert place.use(use) == 0


def test_a_reader_that_fails_leaves_the_next_one_a_clean_connection(place: Place) -> None:
    """Whether the mistake was ours or the database's."""

    async def use(lane: SqliteLane) -> int:
        ours = [lane.read(lambda tx: 1 // 0) for _ in range(6)]
        theirs = [lane.read(lambda tx: tx.exec_driver_sql("SELECT nothing")) for _ in range(6)]
        await asyncio.gather(*ours, *theirs, return_exceptions=True)
        return await lane.read(look)

    assert place.use(use) == 0


# --- ends -------------------------------------------------------------------------------------------------------------


def test_who_stops_waiting_does_not_break_the_lane(place: Place) -> None:
    """A client that hung up: its transaction happens or not, and the next ones are answered."""

    async def use(lane: SqliteLane) -> tuple[bool, int]:
        waiting = asyncio.ensure_future(lane.write(put("a")))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        return waiting.cancelled(), await lane.write(count)

    assert place.use(use) == (True, 1)


def test_closing_answers_everything_that_came_before(place: Place) -> None:
    """In their order, and durably."""

    async def main() -> list[int]:
        lane = SqliteLane(place.engine, place.path)
        waiting = [asyncio.ensure_future(lane.write(count)) for _ in range(100)]
        await asyncio.sleep(0)
        lane.close()
        return list(await asyncio.gather(*waiting))

    assert asyncio.run(main()) == list(range(1, 101))
    assert place.counter == 100


def test_a_closed_lane_answers_that_it_is_unavailable(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Late, but nobody hangs for ever."""
    monkeypatch.setattr(lanes, "BEGIN_TIMEOUT_S", 0.1)

    async def main() -> None:
        lane = SqliteLane(place.engine, place.path)
        lane.close()
        with pytest.raises(Unavailable):
            await lane.write(count)

    asyncio.run(main())


def test_a_lane_ends_within_a_moment(place: Place) -> None:
    """Its thread does not keep the process."""

    async def use(lane: SqliteLane) -> int:
        return await lane.write(count)

    place.use(use)

    assert [thread.name for thread in threading.enumerate() if thread.name == "writer"] == []
