"""One transaction, run until it is certain that it happened exactly once, or not at all."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest
from sqlalchemy import Connection, Engine, event, func, insert, select, update
from tests.store.given import NOW_US, virtual_env

from breezeblock.env.contract import Env
from breezeblock.model.errors import Ambiguous, Contended, Rejected, Unavailable
from breezeblock.store import run as run_module
from breezeblock.store.dialects import open_engine
from breezeblock.store.lanes import SqliteLane
from breezeblock.store.run import REQUEST_ATTEMPTS, SERVERS_ASKED, Lane, Store
from breezeblock.store.tables import metadata, quota_usage, tx_done
from breezeblock.testing.virtual import VirtualEnv

T = TypeVar("T")


class NoSleep:
    """A clock that notes how long somebody wanted to sleep, and goes on."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    def boottime(self) -> float:
        return sum(self.slept)

    def now_us(self) -> int:
        return NOW_US

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await asyncio.sleep(0)


@dataclass
class FaultyLane:
    """A lane before another one, that goes wrong as told: one word for each attempt, then all is well."""

    inner: Lane
    faults: list[str] = field(default_factory=list)
    attempts: int = 0

    async def write(self, body: Callable[[Connection], T]) -> T:
        self.attempts += 1
        fault = self.faults.pop(0) if self.faults else "well"
        if fault == "contended":
            raise Contended("lost")
        if fault == "unavailable":
            raise Unavailable("away")
        if fault == "refused after all":
            return await self.inner.write(lambda tx: _lose(body(tx)))
        result = await self.inner.write(body)
        if fault == "answer lost":
            raise Ambiguous("the connection broke during the commit")
        return result

    async def read(self, body: Callable[[Connection], T]) -> T:
        self.attempts += 1
        fault = self.faults.pop(0) if self.faults else "well"
        if fault == "contended":
            raise Contended("lost")
        if fault == "unavailable":
            raise Unavailable("away")
        return await self.inner.read(body)


def _lose(result: object) -> Any:
    raise Ambiguous(f"the commit that would have kept {result} did not happen")


@dataclass
class World:
    store: Store
    lane: FaultyLane
    env: Env
    clock: NoSleep


class Files:
    """Real files of SQLite under real lanes, one world for each `run`."""

    def __init__(self, folder: Path) -> None:
        self._path = str(folder / "test.db")
        self.now_us = NOW_US
        self.engine: Engine = open_engine(f"sqlite:///{self._path}", now_us=lambda: self.now_us)
        with self.engine.connect() as connection:
            metadata.create_all(connection)
        with self.engine.connect() as connection:
            connection.execute(insert(quota_usage).values(project_id="p", resource="r", in_use=0))

    def run(self, faults: Iterable[str], use: Callable[[World], Coroutine[Any, Any, T]]) -> T:
        """Open a lane, let it go wrong as told, and use it."""

        async def main() -> T:
            inner = SqliteLane(self.engine, self._path)
            lane, clock, env = FaultyLane(inner, list(faults)), NoSleep(), virtual_env()
            env = VirtualEnv(clock, env.random, env.ids, env.files, env.processes, env.threads)
            try:
                return await use(World(Store(lane, env), lane, env, clock))
            finally:
                inner.close()

        return asyncio.run(main())

    def read(self, statement: Any) -> Any:
        with self.engine.connect() as connection:
            return connection.execute(statement).scalar()

    @property
    def counter(self) -> int:
        return int(self.read(select(quota_usage.c.in_use)))

    @property
    def ids(self) -> int:
        return int(self.read(select(func.count()).select_from(tx_done)))


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def count(tx: Connection, by: int = 1) -> int:
    """Add to the counter and return what it is then: done twice, it shows."""
    tx.execute(update(quota_usage).values(in_use=quota_usage.c.in_use + by))
    return int(tx.execute(select(quota_usage.c.in_use)).scalar_one())


def refuse(tx: Connection) -> None:
    count(tx)
    raise Rejected("No.")


def look(tx: Connection) -> int:
    return int(tx.execute(select(quota_usage.c.in_use)).scalar_one())


async def add(world: World) -> int:
    return await world.store.run(count, by=1)


async def insist(world: World) -> int:
    return await world.store.insist(count, by=1)


@pytest.mark.parametrize("use", [add, insist])
def test_a_lost_answer_is_not_a_second_transaction(files: Files, use: Callable[[World], Any]) -> None:
    """The commit happened; the retry finds its id and returns what the first attempt returned."""
    assert files.run(["answer lost"], use) == 1
    assert (files.counter, files.ids) == (1, 1)


def test_a_lost_answer_after_lost_races_returns_the_attempt_that_was_committed(files: Files) -> None:
    """Attempts 0 and 1 left nothing, 2 was committed unheard, 3 lost a race, 4 finds 2."""
    assert files.run(["contended", "unavailable", "answer lost", "contended"], add) == 1
    assert files.counter == 1


def test_several_lost_answers_in_a_row_are_one_transaction(files: Files) -> None:
    """The answer to the look itself may be lost as well."""
    assert files.run(["answer lost"] * 5, add) == 1
    assert files.counter == 1


def test_an_ambiguous_commit_that_did_not_happen_is_run_again(files: Files) -> None:
    """The retry's look misses, and a miss under the writers' order is a real one."""
    assert files.run(["refused after all"], add) == 1
    assert (files.counter, files.ids) == (1, 1)


def test_two_transactions_do_not_share_an_id(files: Files) -> None:
    """The second one is no repeat of the first."""

    async def twice(world: World) -> list[int]:
        return [await add(world), await add(world)]

    assert files.run(["answer lost"], twice) == [1, 2]
    assert files.ids == 2


def test_the_id_is_drawn_once_before_the_first_attempt(files: Files) -> None:
    """Else no retry could look for it; nothing else draws one."""

    async def ids_left(world: World) -> str:
        await add(world)
        return world.env.ids.uuid()

    after_one = virtual_env()
    after_one.ids.uuid()

    assert files.run(["contended", "answer lost", "contended"], ids_left) == after_one.ids.uuid()


def test_a_transaction_that_lost_a_race_is_run_again_as_a_whole(files: Files) -> None:
    """Nothing of the lost attempt is left."""

    async def use(world: World) -> tuple[int, int]:
        return await add(world), world.lane.attempts

    assert files.run(["contended", "contended"], use) == (1, 3)
    assert files.counter == 1


def test_a_request_gives_up_after_its_attempts(files: Files) -> None:
    """It answers 503 instead of hanging, and has written nothing."""

    async def use(world: World) -> tuple[int, float]:
        with pytest.raises(Unavailable):
            await add(world)
        return world.lane.attempts, sum(world.clock.slept)

    attempts, slept_s = files.run(["unavailable"] * 50, use)

    assert attempts == REQUEST_ATTEMPTS
    assert 3.0 < slept_s < 13.0
    assert files.counter == 0


def test_a_request_that_loses_races_goes_on_as_long_as_it_may(files: Files) -> None:
    """Its pauses stay short: each race has a winner, and who waits long only lets the others win the next ones too."""

    async def use(world: World) -> tuple[int, int, float]:
        return await add(world), world.lane.attempts, max(world.clock.slept)

    result, attempts, longest_s = files.run(["contended"] * 40, use)

    assert (result, attempts, files.counter) == (1, 41, 1)
    assert longest_s <= run_module.RACE_PAUSE_MOST_S


def test_a_request_that_only_loses_races_gives_up_in_the_end(files: Files) -> None:
    """Within the time that a client waits, and it has written nothing."""

    async def use(world: World) -> float:
        with pytest.raises(Unavailable):
            await add(world)
        return sum(world.clock.slept)

    assert run_module.REQUEST_PATIENCE_S <= files.run(["contended"] * 5_000, use) < run_module.REQUEST_PATIENCE_S + 1.0
    assert files.counter == 0


def test_a_node_never_gives_up(files: Files) -> None:
    """A database outage of any length pauses its work and fails nothing; its pauses stay short."""

    async def use(world: World) -> tuple[int, int, float]:
        return await insist(world), world.lane.attempts, max(world.clock.slept)

    result, attempts, longest_s = files.run(["unavailable", "contended", "answer lost"] * 100, use)

    assert (result, attempts, files.counter) == (1, 301, 1)
    assert longest_s <= run_module.PAUSE_MOST_S


def test_a_refusal_is_not_tried_again_and_leaves_nothing(files: Files) -> None:
    """Neither the change nor the transaction's id."""

    async def use(world: World) -> int:
        with pytest.raises(Rejected):
            await world.store.run(refuse)
        return world.lane.attempts

    assert files.run([], use) == 1
    assert (files.counter, files.ids) == (0, 0)


def test_a_request_whose_commit_stays_unknown_does_not_say_that_nothing_was_changed(files: Files) -> None:
    """The commit's answer was lost, and then the database stayed away: only Ambiguous is true of that."""

    async def use(world: World) -> None:
        with pytest.raises((Ambiguous, Unavailable)) as caught:
            await add(world)
        assert caught.type is Ambiguous

    files.run(["answer lost"] + ["unavailable"] * 50, use)


def test_reading_tries_again_after_a_lost_race(files: Files) -> None:
    """A reader of SQLite can meet a recovery of the log."""

    async def use(world: World) -> int:
        return await world.store.read(look)

    assert files.run(["contended"] * 3, use) == 0


def test_reading_gives_up_after_its_attempts(files: Files) -> None:
    """The bound is the same as for requests that write."""

    async def use(world: World) -> int:
        with pytest.raises(Unavailable):
            await world.store.read(look)
        return world.lane.attempts

    assert files.run(["contended"] * 50, use) == REQUEST_ATTEMPTS


def test_reading_asks_the_next_server_when_one_is_lost(files: Files) -> None:
    """And not many more than there are: who reads is to hear soon that nobody answers."""

    async def use(world: World) -> int:
        assert await world.store.read(look) == 0
        before = world.lane.attempts
        world.lane.faults = ["unavailable"] * 50
        with pytest.raises(Unavailable):
            await world.store.read(look)
        return world.lane.attempts - before

    assert files.run(["unavailable"] * (SERVERS_ASKED - 1), use) == SERVERS_ASKED


def test_the_reads_of_a_node_wait_through_an_outage(files: Files) -> None:
    """As its writes do."""

    async def use(world: World) -> int:
        return await world.store.insist_read(look)

    assert files.run(["unavailable", "contended"] * 50, use) == 0


def test_a_probe_is_one_attempt_and_writes_nothing(files: Files) -> None:
    """It only has to pass the writers' gate."""

    async def use(world: World) -> int:
        result = await world.store.probe(look)
        with pytest.raises(Contended):
            world.lane.faults.append("contended")
            await world.store.probe(look)
        return result

    assert files.run([], use) == 0
    assert files.ids == 0


def test_ids_are_forgotten_only_long_after_the_last_retry(files: Files) -> None:
    """Rows that are older than an hour go, the others stay. Forgetting is a transaction itself."""

    async def use(world: World) -> int:
        await add(world)
        files.now_us += run_module.TX_DONE_KEPT_US
        await add(world)
        kept = await world.store.prune()
        files.now_us += 1
        return kept * 10 + await world.store.prune()

    assert files.run([], use) == 1
    assert files.ids == 3


@pytest.mark.parametrize(
    "old", [0, 1, run_module.PRUNE_AT_ONCE, run_module.PRUNE_AT_ONCE + 1, 3 * run_module.PRUNE_AT_ONCE]
)
def test_old_ids_go_a_few_at_a_time_and_none_at_no_time(files: Files, old: int) -> None:
    """For an empty list, and for a long one, MariaDB reads and locks the whole table."""
    rows = [{"id": f"old-{number}", "attempt": 0, "at_us": NOW_US} for number in range(old)]
    deletes: list[int] = []

    @event.listens_for(files.engine, "before_cursor_execute")
    def note(
        connection: Connection,
        cursor: object,
        statement: str,
        parameters: Sequence[object],
        context: object,
        many: bool,
    ) -> None:
        if statement.startswith("DELETE"):
            deletes.append(len(parameters))

    async def use(world: World) -> int:
        await world.lane.inner.write(lambda tx: rows and tx.execute(insert(tx_done), rows))
        files.now_us += run_module.TX_DONE_KEPT_US + 1
        return await world.store.prune()

    assert files.run([], use) == old
    assert files.ids == 1  # its own
    assert sum(deletes) == old
    assert all(0 < many <= run_module.PRUNE_AT_ONCE for many in deletes)
