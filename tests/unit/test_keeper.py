"""The keeper: it owns the lease, answers for its worker, and ends in one of a few ways."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any, TypeVar

import pytest
from sqlalchemy import update
from tests.store.given import NOW_US, virtual_env

from breezeblock.env.contract import Env
from breezeblock.node import keeper as keeper_module
from breezeblock.node import link as words
from breezeblock.node.gate import Gate
from breezeblock.node.keeper import Ending, Keeper
from breezeblock.node.lease_lanes import PRAGMAS
from breezeblock.node.lease_table import LeaseTable, Registration
from breezeblock.protocol import membership
from breezeblock.protocol.leases import GATE_MARGIN, Terms
from breezeblock.store.dialects import sqlite_pragmas
from breezeblock.store.tables import nodes
from breezeblock.testing.database import Database, KeeperLane
from breezeblock.testing.loop import Process, VirtualLoop
from breezeblock.testing.virtual import LockFiles, VirtualClock, VirtualEnv

T = TypeVar("T")
TERMS = Terms(ttl_s=6.0, drift=0.1)
START_S = 1_000.0
ME = "me"


@dataclass
class Weather:
    """Implements `database.Weather`: calm, until the database is taken away."""

    away_until: float = float("-inf")

    def delay_s(self, process: Process) -> float:
        return 0.001

    def is_cut(self, process: Process, way: str) -> bool:
        return asyncio.get_running_loop().time() < self.away_until

    def hang_s(self, process: Process) -> tuple[float, bool]:
        return 0.05, False

    def stops_before_commit(self, process: Process) -> float:
        return 0.0

    def contended(self, process: Process) -> bool:
        return False

    def loses_answer(self, process: Process) -> bool:
        return False

    def overlap_s(self) -> float:
        return 0.0

    def evicts(self, process: Process) -> bool:
        return False

    def lag_s(self, process: Process) -> float:
        return 0.0


class Page:
    """What was published, and when."""

    def __init__(self) -> None:
        self.until, self.lapses = float("-inf"), 0

    def publish(self, *, until: float, lapses: int) -> None:
        self.until, self.lapses = until, lapses


class ScriptedWorker:
    """A worker's process that answers as told. Implements `keeper.WorkerHandle`."""

    def __init__(self, manners: "Manners") -> None:
        self._manners = manners
        self._said: asyncio.Queue[str | None] = asyncio.Queue()
        self._gone = asyncio.Event()
        self.heard: list[tuple[float, str]] = []
        self.killed_at: float | None = None
        if manners.gets_ready:
            self._said.put_nowait(words.READY)

    def send(self, word: str) -> None:
        self.heard.append((asyncio.get_running_loop().time() - START_S, word))
        question, _, number = word.partition(" ")
        if answer := self._manners.answers.get(question):
            self._said.put_nowait(f"{answer} {number}".strip())

    def say(self, word: str) -> None:
        self._said.put_nowait(word)

    async def receive(self) -> str | None:
        return await self._said.get()

    def kill(self) -> None:
        if not self._gone.is_set():
            self.killed_at = asyncio.get_running_loop().time() - START_S
        self._gone.set()

    def exit(self) -> None:
        self._gone.set()
        self._said.put_nowait(None)

    async def wait(self) -> None:
        await self._gone.wait()

    def times(self, word: str) -> list[float]:
        return [at for at, heard in self.heard if heard.partition(" ")[0] == word]


@dataclass
class Manners:
    """How a worker behaves: what it answers to each word."""

    gets_ready: bool = True
    answers: dict[str, str] = field(
        default_factory=lambda: {words.PING: words.PONG, words.SHUT: words.IS_SHUT, words.DRAIN: words.DRAINED}
    )

    def without(self, *some: str) -> "Manners":
        return Manners(self.gets_ready, {word: answer for word, answer in self.answers.items() if word not in some})


class Node:
    """A keeper with its worker, its page and its database, in virtual time."""

    def __init__(self, database: Database, manners: Manners, files: LockFiles, weather: Weather) -> None:
        env = virtual_env()
        self.env: Env = VirtualEnv(env.clock, env.random, env.ids, env.files, files, env.threads)
        self.weather = weather
        self.page = Page()
        self.worker: ScriptedWorker | None = None
        self._manners = manners
        self.keeper = Keeper(
            env=self.env,
            table=LeaseTable(KeeperLane(database, Process(ME), weather, Random(1))),
            terms=TERMS,
            registration=registration(),
            page=self.page,
            launch=self._launch,
        )

    async def _launch(self) -> ScriptedWorker:
        self.worker = ScriptedWorker(self._manners)
        return self.worker

    @property
    def process(self) -> ScriptedWorker:
        assert self.worker is not None
        return self.worker

    async def until_s(self, at: float) -> None:
        """Let the time come that lies `at` seconds after the start."""
        await VirtualClock().sleep(START_S + at - asyncio.get_running_loop().time())

    def take_database_away(self, seconds: float) -> None:
        self.weather.away_until = asyncio.get_running_loop().time() + seconds


def registration() -> Registration:
    return Registration(
        incarnation=ME, name="n", cluster="c", boot_id="b", version="1", lock_path="/run/me", lock_id="l", keeper_pid=1
    )


class World:
    """Runs a node through a story and tells how it ended, and when."""

    def __init__(self) -> None:
        self.database = Database()
        self.database.begin_run(now_us=lambda: NOW_US)
        self.files = LockFiles()
        self.weather = Weather()
        self.node: Node | None = None

    def run(
        self, story: Callable[[Node], Coroutine[Any, Any, None]], *, manners: Manners | None = None, most_s: float = 300
    ) -> tuple[Ending, float]:
        async def main() -> tuple[Ending, float]:
            self.node = Node(self.database, manners or Manners(), self.files, self.weather)
            telling = asyncio.ensure_future(story(self.node))
            ending = await asyncio.wait_for(self.node.keeper.run(), most_s)
            telling.cancel()
            return ending, asyncio.get_running_loop().time() - START_S

        return VirtualLoop(Random(1), start_s=START_S).run(main())  # type: ignore[abstract]

    def state(self, incarnation: str = ME) -> str:
        with self.database.reading() as tx:
            rows = membership.read_nodes(tx, cluster="c")
            return next((row.state for row in rows if row.incarnation == incarnation), "gone")

    def predecessor(self, incarnation: str, **values: Any) -> None:
        """An earlier start of the same node, as its row says."""
        with self.database.transaction() as tx:
            row = {
                "incarnation": incarnation, "name": "n", "cluster": "c", "boot_id": "b", "state": "up", "version": "1",
                "lock_path": f"/run/{incarnation}", "lock_id": "l", "keeper_pid": 1, "started_at_us": NOW_US,
            }  # fmt: skip
            tx.execute(nodes.insert().values(**(row | values)))

    def expire(self) -> None:
        """A survivor's word."""
        with self.database.transaction() as tx:
            tx.execute(update(nodes).where(nodes.c.incarnation == ME).values(state="expired"))


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    yield world
    world.database.close()


async def nothing(node: Node) -> None:
    await node.until_s(1_000)


async def leave_at_5(node: Node) -> None:
    await node.until_s(5)
    node.keeper.leave()


# --- endings ----------------------------------------------------------------------------------------------------------


def test_told_to_leave_it_drains_its_worker_and_records_its_own_end(world: World) -> None:
    """The worker hands its operations back, then both go; nobody has to wait for their silence."""
    ending, at = world.run(leave_at_5)

    assert world.node is not None
    assert (ending, round(at)) == (Ending.LEFT, 5)
    assert (len(world.node.process.times(words.DRAIN)), world.state()) == (1, "fenced")


def test_while_it_drains_it_renews_and_claims_nothing(world: World) -> None:
    """Its row says so: no claim passes a node that is not up."""
    states: list[str] = []

    async def story(node: Node) -> None:
        await leave_at_5(node)
        await node.until_s(30)
        states.append(world.state())
        node.process.exit()

    ending, at = world.run(story, manners=Manners().without(words.DRAIN))

    assert (states, ending, round(at)) == (["draining"], Ending.LEFT, 30)


def test_a_worker_that_never_drains_is_killed_in_time(world: World) -> None:
    """Its operations are released as those of the dead are."""
    ending, at = world.run(leave_at_5, manners=Manners().without(words.DRAIN))

    assert world.node is not None
    assert (ending, round(at)) == (Ending.LEFT, 5 + round(keeper_module.DRAIN_LIMIT_S))
    assert world.node.process.killed_at is not None


def test_expired_by_a_survivor_it_kills_its_worker_at_once(world: World) -> None:
    """Reaped is proof: the fencer need not look for it."""

    async def story(node: Node) -> None:
        await node.until_s(5)
        world.expire()

    ending, at = world.run(story)

    assert world.node is not None
    assert (ending, world.state()) == (Ending.EXPIRED, "fenced")
    assert at - 5 <= TERMS.renew_every_s + 0.1
    assert world.node.process.killed_at is not None


def test_when_the_worker_dies_the_keeper_records_it(world: World) -> None:
    """Reaped is proof."""

    async def story(node: Node) -> None:
        await node.until_s(5)
        node.process.exit()

    ending, at = world.run(story)

    assert (ending, round(at), world.state()) == (Ending.WORKER_LOST, 5, "fenced")


def test_a_worker_that_leaves_a_ttl_of_pings_unanswered_is_killed(world: World) -> None:
    """It is hung, or stopped; either way its work is somebody else's now."""
    ending, at = world.run(nothing, manners=Manners().without(words.PING))

    assert world.node is not None
    assert (ending, world.state()) == (Ending.WORKER_HUNG, "fenced")
    assert TERMS.ttl_s < at < TERMS.ttl_s + 2 * TERMS.renew_every_s
    assert world.node.process.killed_at is not None


def test_a_worker_that_starts_slowly_is_given_its_time(world: World) -> None:
    """It has to import and to open its storage, which takes longer than a ttl."""
    ending, at = world.run(nothing, manners=Manners(gets_ready=False).without(words.PING))

    assert (ending, round(at)) == (Ending.WORKER_HUNG, round(keeper_module.START_LIMIT_S))


def test_expired_before_it_began_it_launches_no_worker(world: World) -> None:
    """Its row was there, and expired, when the first renewal came through."""
    world.predecessor(ME, state="expired")

    ending, _ = world.run(nothing)

    assert world.node is not None
    assert (ending, world.node.worker) == (Ending.EXPIRED, None)


def test_after_any_end_the_page_gives_no_right_to_work(world: World) -> None:
    """And counts as a loss, so that an error seen then is no failed operation."""
    world.run(leave_at_5)

    assert world.node is not None
    assert (world.node.page.until, world.node.page.lapses) == (float("-inf"), 1)


# --- the lease --------------------------------------------------------------------------------------------------------


def test_while_all_is_well_the_page_is_always_ahead(world: World) -> None:
    """The gate never shuts, and the worker hears nothing but pings."""
    ahead: list[float] = []

    async def story(node: Node) -> None:
        for at in range(1, 60):
            await node.until_s(at)
            ahead.append(node.page.until - node.env.clock.boottime())
        node.keeper.leave()

    world.run(story)

    assert world.node is not None
    assert min(ahead) > TERMS.ttl_s * (1 - GATE_MARGIN) - TERMS.renew_every_s - 0.1
    assert {word for _, word in world.node.process.heard} == {words.PING, words.DRAIN}


def test_in_an_outage_the_gate_is_shut_before_the_lease_ends(world: World) -> None:
    """A fifth of a ttl before, at the instant that the page has named all along."""
    lease_ends: list[float] = []

    async def story(node: Node) -> None:
        await node.until_s(5)
        node.take_database_away(60)
        lease_ends.append(node.page.until - START_S + TERMS.ttl_s * GATE_MARGIN)
        await node.until_s(30)
        node.keeper.leave()

    world.run(story)

    assert world.node is not None
    (shut_at,) = world.node.process.times(words.SHUT)
    assert lease_ends[0] - TERMS.ttl_s * GATE_MARGIN <= shut_at < lease_ends[0] - TERMS.ttl_s * GATE_MARGIN + 0.3


def test_a_worker_that_confirmed_waits_through_an_outage_of_any_length(world: World) -> None:
    """When the database is back and nobody has expired it, it goes on, and knows that there was a lapse."""
    seen: list[tuple[int, bool]] = []

    async def story(node: Node) -> None:
        await node.until_s(5)
        node.take_database_away(3_600)
        await node.until_s(3_700)
        seen.append((node.page.lapses, node.page.until > node.env.clock.boottime()))
        node.keeper.leave()

    ending, _ = world.run(story, most_s=5_000)

    assert world.node is not None
    assert (ending, seen) == (Ending.LEFT, [(1, True)])
    (opened_at,) = world.node.process.times(words.OPEN)
    assert 3_605 <= opened_at < 3_607


def test_a_worker_that_does_not_confirm_is_killed_before_the_lease_ends(world: World) -> None:
    """Killed, not stopped: it may hold a transaction, and a call under way."""
    lease_ends: list[float] = []

    async def story(node: Node) -> None:
        await node.until_s(5)
        node.take_database_away(60)
        lease_ends.append(node.page.until - START_S + TERMS.ttl_s * GATE_MARGIN)

    ending, _ = world.run(story, manners=Manners().without(words.SHUT))

    assert world.node is not None
    killed_at = world.node.process.killed_at
    assert ending is Ending.LEASE_LOST
    assert killed_at is not None
    assert lease_ends[0] - TERMS.ttl_s * GATE_MARGIN < killed_at < lease_ends[0]


def test_an_answer_to_an_earlier_question_confirms_nothing(world: World) -> None:
    """The gate was opened in between: what was idle then may be at work now."""

    async def story(node: Node) -> None:
        await node.until_s(5.5)
        node.take_database_away(4.4)
        await node.until_s(15.5)
        node.take_database_away(60)
        await node.until_s(20.3)
        node.process.say(f"{words.IS_SHUT} 1")

    ending, at = world.run(story, manners=Manners().without(words.SHUT))

    assert world.node is not None
    assert (ending, len(world.node.process.times(words.SHUT))) == (Ending.LEASE_LOST, 2)
    assert 20.3 < at < 30


def test_a_short_outage_is_nobodys_business(world: World) -> None:
    """Shorter than the lease: no word is said."""

    async def story(node: Node) -> None:
        await node.until_s(5)
        node.take_database_away(2)
        await node.until_s(20)
        node.keeper.leave()

    world.run(story)

    assert world.node is not None
    assert (world.node.process.times(words.SHUT), world.node.page.lapses) == ([], 1)


def test_expired_during_an_outage_it_learns_so_with_the_first_renewal(world: World) -> None:
    """The database came back to the others first."""

    async def story(node: Node) -> None:
        await node.until_s(5)
        node.take_database_away(60)
        world.expire()

    ending, at = world.run(story)

    assert (ending, 65 <= at < 67) == (Ending.EXPIRED, True)


def test_the_worker_of_a_lost_lease_finds_its_gate_shut(world: World) -> None:
    """The same page, seen from the worker's side."""
    is_open: list[bool] = []

    async def story(node: Node) -> None:
        gate = Gate(node.env.clock, node.page)
        await node.until_s(5)
        node.take_database_away(60)
        is_open.append(gate.is_open())
        await node.until_s(11)
        is_open.append(gate.is_open())
        node.keeper.leave()

    world.run(story)

    assert is_open == [True, False]


# --- the beginning ----------------------------------------------------------------------------------------------------


def test_without_a_database_it_waits_to_register(world: World) -> None:
    """Machines come up in any order."""
    world.weather.away_until = START_S + 100

    async def story(node: Node) -> None:
        await node.until_s(99)
        assert node.worker is None
        await node.until_s(110)
        node.keeper.leave()

    ending, at = world.run(story)

    assert (ending, round(at)) == (Ending.LEFT, 110)


def test_a_predecessor_is_buried_only_with_proof(world: World) -> None:
    """Its lock file names it and nobody holds it. One that is held, one with another id, and one without a file are not."""
    dead, alive = Process("dead"), Process("alive")
    for incarnation in ("dead", "alive", "other-file", "no-file"):
        world.predecessor(incarnation)
    world.files.take("/run/dead", lock_id="l", holder=dead)
    world.files.take("/run/alive", lock_id="l", holder=alive)
    world.files.take("/run/other-file", lock_id="another", holder=dead)
    dead.kill()

    world.run(leave_at_5)

    assert world.node is not None
    names = ("dead", "alive", "other-file", "no-file")
    assert [name for name in names if f"/run/{name}" in world.node.keeper.buried] == ["dead"]
    assert [world.state(name) for name in names] == ["fenced", "up", "up", "up"]


def test_a_namesake_in_another_cluster_is_no_predecessor(world: World) -> None:
    """Nor is one of another name."""
    world.predecessor("stranger", name="else")
    world.files.take("/run/stranger", lock_id="l", holder=Process("dead", alive=False))

    world.run(leave_at_5)

    assert world.state("stranger") == "up"


# --- a database that hangs --------------------------------------------------------------------------------------------


class HangingLane:
    """A lane behind which a stopped process holds the write lock from a given statement on."""

    def __init__(self, inner: KeeperLane) -> None:
        self._inner = inner
        self.hangs = False

    async def write(self, f: Callable[[Any], T]) -> T:
        if self.hangs:
            await asyncio.get_running_loop().create_future()
        return await self._inner.write(f)


def test_a_database_that_hangs_does_not_keep_a_node_from_leaving(world: World) -> None:
    """SIGTERM while a stopped process holds the write lock: the worker is told all the same, and the keeper ends."""

    async def main() -> Ending:
        node = Node(world.database, Manners(), world.files, world.weather)
        lane = HangingLane(KeeperLane(world.database, Process(ME), world.weather, Random(1)))
        node.keeper._table = LeaseTable(lane)
        running = asyncio.ensure_future(node.keeper.run())
        await node.until_s(5)
        lane.hangs = True
        node.keeper.leave()
        return await asyncio.wait_for(running, 300)

    assert VirtualLoop(Random(1), start_s=START_S).run(main()) is Ending.LEFT  # type: ignore[abstract]


def test_a_database_that_hangs_does_not_keep_a_lost_node_alive(world: World) -> None:
    """The worker died and is reaped; recording it is tried for some seconds, not for ever."""

    async def main() -> Ending:
        node = Node(world.database, Manners(), world.files, world.weather)
        lane = HangingLane(KeeperLane(world.database, Process(ME), world.weather, Random(1)))
        node.keeper._table = LeaseTable(lane)
        running = asyncio.ensure_future(node.keeper.run())
        await node.until_s(5)
        lane.hangs = True
        node.process.exit()
        return await asyncio.wait_for(running, 300)

    assert VirtualLoop(Random(1), start_s=START_S).run(main()) is Ending.WORKER_LOST  # type: ignore[abstract]


def test_the_keeper_opens_the_database_as_everybody_does() -> None:
    """It cannot import the other list without loading all of SQLAlchemy."""
    assert sqlite_pragmas() == PRAGMAS
