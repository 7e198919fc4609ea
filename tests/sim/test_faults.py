"""Each fault strikes, does what its line in the history says, and ends."""

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from typing import TypeVar

import pytest
from sqlalchemy import insert, select
from tests.sim.seeds import BASE

from breezeblock.model.errors import Ambiguous, Unavailable
from breezeblock.protocol.leases import Terms
from breezeblock.store.dialects import db_now_us
from breezeblock.store.tables import tx_done
from breezeblock.testing.cluster import Cluster
from breezeblock.testing.database import BACK, THERE, Database, SimLane
from breezeblock.testing.faults import KINDS, Faults
from breezeblock.testing.history import Entry, History
from breezeblock.testing.loop import Process, VirtualLoop
from breezeblock.testing.run import simulate
from breezeblock.testing.virtual import VirtualClock

T = TypeVar("T")
MOST = 30
# Nobody is fenced unless something else goes wrong.
NEEDS = {"fence": ("crash", "rename")}


class Quiet(Random):
    """Chance by which nothing happens of itself."""

    def random(self) -> float:
        return 0.999


class Scene:
    """A cluster without any node yet, and faults that strike only when they are told to."""

    def __init__(self, database: Database, *, on: frozenset[str] = frozenset(), fence: str = "kill") -> None:
        self.loop = VirtualLoop(Random(1))  # type: ignore[abstract]
        self.tell = History(self.loop.time)
        self.faults = Faults(random=Random(1), tell=self.tell, on=on)
        self.effects: list[tuple[str, str]] = []
        database.begin_run(now_us=lambda: int(self.loop.time() * 1_000_000))
        self.database = database
        self.cluster = Cluster(
            loop=self.loop,
            database=database,
            faults=self.faults,
            random=Random(1),
            terms=Terms(ttl_s=3.0, drift=0.05),
            tell=self.tell,
            mistake=lambda what: pytest.fail(what),
            on_effect=lambda process, call, path, tokens: self.effects.append((call, path.name)),
            fence=fence,
        )

    def play(self, story: Callable[["Scene"], Awaitable[T]]) -> T:
        async def main() -> T:
            return await story(self)

        return self.loop.run(main())

    @property
    def struck(self) -> list[str]:
        return [entry.text for entry in self.tell.entries if entry.kind == "fault"]


def faults_of(kind: str, database: Database) -> list[Entry]:
    """What strikes in the first run in which this kind, with what it needs, strikes at all."""
    for seed in range(BASE, BASE + MOST):
        history = simulate(seed, database=database, only=[kind, *NEEDS.get(kind, ())]).history
        found = [entry for entry in history if entry.kind == "fault"]
        if any(entry.data["fault"] == kind for entry in found):
            return found
    raise AssertionError(f"{kind} did not strike in {MOST} seeds from {BASE}")


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_that_is_on_strikes_and_no_other_does(database: Database, kind: str) -> None:
    """Otherwise runs with it would prove nothing about it."""
    assert {entry.data["fault"] for entry in faults_of(kind, database)} - set(NEEDS.get(kind, ())) == {kind}


# --- clocks -------------------------------------------------------------------------------------------------------------


def test_a_wall_clock_jumps_and_is_set_right_again_while_the_boottime_goes_on(database: Database) -> None:
    scene = Scene(database, on=frozenset({"clock"}))

    async def story(scene: Scene) -> list[float]:
        clock, process = VirtualClock(), Process("n.keeper1")
        env = scene.cluster.env(process, clock)
        began_us, began_s = env.clock.now_us(), env.clock.boottime()
        shown = []
        scene.faults.jump_clock("n", process.set_clock, by_s=-600.0, seconds=5.0)
        for _ in range(2):
            await env.clock.sleep(4.0)
            shown += [(env.clock.now_us() - began_us) / 1e6, env.clock.boottime() - began_s]
        return shown

    assert scene.play(story) == pytest.approx([4.0 - 600.0, 4.0, 8.0, 8.0])
    assert scene.struck == ["the wall clock of n jumps by -600 s for 5.00 s"]


def test_the_wall_clock_of_the_database_jumps(database: Database) -> None:
    scene = Scene(database, on=frozenset({"clock"}))

    async def story(scene: Scene) -> list[int]:
        def shown() -> int:
            with database.reading() as tx:
                return int(tx.execute(select(db_now_us())).scalar_one())

        began = shown()
        scene.faults.jump_clock("the database", scene.cluster.set_database_clock, by_s=60.0, seconds=1.0)
        jumped = shown()
        await asyncio.sleep(2.0)
        return [jumped - began, shown() - began]

    assert scene.play(story) == [60_000_000, 2_000_000]


# --- the ways to the database -------------------------------------------------------------------------------------------


async def write(scene: Scene, id_: str) -> str:
    """One transaction of `n.worker1`: how it ended for the one who waits, and whether it happened."""
    lane = SimLane(scene.database, Process("n.worker1"), scene.faults, Random(1))
    try:
        await lane.write(lambda tx: tx.execute(insert(tx_done).values(id=id_, attempt=1, at_us=0)))
        ended = "answered"
    except (Ambiguous, Unavailable) as error:
        ended = type(error).__name__
    return f"{ended}, {'done' if is_done(scene, id_) else 'not done'}"


def is_done(scene: Scene, id_: str) -> bool:
    with scene.database.reading() as tx:
        return bool(tx.execute(select(tx_done.c.id).where(tx_done.c.id == id_)).all())


@pytest.mark.parametrize(
    ("ways", "before", "under_way"),
    [
        ((THERE, BACK), "Unavailable, not done", "Ambiguous, done"),
        ((THERE,), "Unavailable, not done", "answered, done"),
        ((BACK,), "Ambiguous, done", "Ambiguous, done"),
    ],
)
def test_a_cut_takes_away_requests_or_answers_or_both(
    database: Database, ways: tuple[str, ...], before: str, under_way: str
) -> None:
    """Of who asks while it lasts, and of whom it meets between question and answer. Then it is over."""
    scene = Scene(database, on=frozenset({"cut"}))

    async def story(scene: Scene) -> list[str]:
        scene.faults.random = Quiet()
        done = asyncio.Event()
        scene.database.on_commit = lambda seen, writer: done.set()
        meets = asyncio.ensure_future(write(scene, "1"))
        await done.wait()
        scene.faults.cut("n.worker1", 10.0, ways=ways)
        found = [await write(scene, "2"), await meets]
        await asyncio.sleep(20.0)
        return [*found, await write(scene, "3")]

    assert scene.play(story) == [before, under_way, "answered, done"]
    assert len(scene.struck) == 1


def test_a_cut_says_which_way_it_goes(database: Database) -> None:
    scene = Scene(database, on=frozenset({"cut"}))

    async def story(scene: Scene) -> None:
        for ways in ((THERE, BACK), (THERE,), (BACK,)):
            scene.faults.cut("n", 1.0, ways=ways)

    scene.play(story)

    assert scene.struck == [
        "cut n from the database for 1.00 s",
        "cut n from the database for 1.00 s: requests are lost, answers come",
        "cut n from the database for 1.00 s: requests arrive, answers are lost",
    ]


def test_each_way_of_a_cut_is_drawn(database: Database) -> None:
    scene = Scene(database)

    assert {tuple(scene.faults.draw_ways()) for _ in range(50)} == {(THERE, BACK), (THERE,), (BACK,)}
