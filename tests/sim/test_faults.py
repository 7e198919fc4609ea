"""Each fault strikes, does what its line in the history says, and ends."""

import asyncio
import errno
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from random import Random
from typing import Any, TypeVar

import pytest
from sqlalchemy import insert, select
from tests.sim.seeds import BASE

from breezeblock.drivers.contract import ObjectName
from breezeblock.drivers.file import FileDriver
from breezeblock.env.contract import Files
from breezeblock.model.errors import Ambiguous, Contended, Unavailable
from breezeblock.model.ids import Incarnation
from breezeblock.node.backends import Backend
from breezeblock.node.fences import FenceFailed
from breezeblock.protocol.leases import Terms
from breezeblock.protocol.membership import NodeRow
from breezeblock.store.dialects import db_now_us
from breezeblock.store.tables import tx_done
from breezeblock.testing.cluster import Cluster
from breezeblock.testing.database import BACK, CATCHES_UP_S, THERE, Database, SimLane
from breezeblock.testing.faults import KINDS, Faults
from breezeblock.testing.fenced import TRUST_SETTLE_S, Client, open_driver, open_fences
from breezeblock.testing.history import Entry, History
from breezeblock.testing.loop import Process, VirtualLoop
from breezeblock.testing.memory_files import MemoryFiles
from breezeblock.testing.run import simulate
from breezeblock.testing.virtual import VirtualClock, VirtualIds

T = TypeVar("T")
MOST = 30
# Nobody is fenced, and hardly anybody comes back, unless something else goes wrong.
NEEDS = {"fence": ("crash", "rename"), "rename": ("crash",)}


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


class Behind(Faults):
    """Each database node is so far behind the others."""

    behind_s = 0.0

    def lag_s(self, process: Process) -> float:
        return self.behind_s


def commit(scene: Scene, id_: str) -> None:
    with scene.database.transaction() as tx:
        tx.execute(insert(tx_done).values(id=id_, attempt=1, at_us=0))


def test_a_database_node_that_is_behind_catches_up_with_what_was_there_or_refuses(database: Database) -> None:
    """And without the barrier it shows the past."""
    scene = Scene(database)
    scene.database.begin_run(now_us=lambda: 0, replicated=True)

    async def seen(behind_s: float, *, barrier: bool = True) -> tuple[list[str], float]:
        scene.faults = faults = Behind(random=Quiet(), tell=scene.tell, pace_s=0.0)
        faults.behind_s = behind_s
        lane = SimLane(scene.database, Process("n.worker1"), faults, Random(1))
        lane.barrier = barrier
        began = asyncio.get_running_loop().time()
        rows = await lane.read(lambda tx: tx.execute(select(tx_done.c.id)).scalars().all())
        return sorted(rows), round(asyncio.get_running_loop().time() - began, 3)

    async def story(scene: Scene) -> list[tuple[list[str], float]]:
        await asyncio.sleep(1.0)
        commit(scene, "before")
        await asyncio.sleep(0.1)
        found = [await seen(0.5, barrier=False)]
        waits = asyncio.ensure_future(seen(0.5))
        await asyncio.sleep(0.2)
        commit(scene, "meanwhile")
        found += [await waits, await seen(0.0)]
        with pytest.raises(Contended):
            await seen(CATCHES_UP_S + 0.1)
        return found

    assert scene.play(story) == [([], 0.0), (["before"], 0.5), (["before", "meanwhile"], 0.0)]
    database.begin_run(now_us=lambda: 0)


# --- the storage --------------------------------------------------------------------------------------------------------

FOLDER = PurePosixPath("/place")
A, B = FOLDER / "a", FOLDER / "b"
BYTES = bytes(range(256)) * 40
EIO = OSError(errno.EIO, "Input/output error")


@dataclass
class Fated(Faults):
    """Faults whose effects on storage end as they are told to."""

    fates: list[tuple[float, OSError | None]] = field(default_factory=list)
    late: float = 0.0

    def fate_of_effect(self, process: Process, call: str, path: PurePosixPath) -> tuple[float, OSError | None]:
        return self.fates.pop(0) if self.fates else (1.0, None)

    def late_s(self, process: Process) -> float:
        return self.late


class Unsaved:
    """The progress of a copy that begins at the beginning."""

    done_bytes = 0

    async def save(self, done_bytes: int) -> None:
        return


async def read(scene: Scene, path: PurePosixPath) -> bytes:
    return await scene.cluster.disk.read_at(path, offset=0, length=2 * len(BYTES))


async def files_with(scene: Scene, fates: list[tuple[float, OSError | None]]) -> MemoryFiles:
    """A worker's files, A full of bytes and B empty, and what becomes of its next changing calls."""
    disk = scene.cluster.disk
    await disk.make_folder(FOLDER)
    await disk.create(A, size_bytes=0)
    await disk.create(B, size_bytes=0)
    await disk.write_at(A, offset=0, data=BYTES)
    scene.faults = Fated(random=Quiet(), tell=scene.tell, fates=fates)
    scene.cluster.faults = scene.faults
    files = scene.cluster.env(Process("n.worker1"), VirtualClock()).files
    assert isinstance(files, MemoryFiles)
    return files


def test_a_copy_stops_short(database: Database) -> None:
    scene = Scene(database)

    async def story(scene: Scene) -> tuple[int, bytes]:
        files = await files_with(scene, [(0.3, None)])
        return await files.copy_range(A, B, offset=0, length=len(BYTES)), await read(scene, B)

    done, there = scene.play(story)

    assert done == int(len(BYTES) * 0.3)
    assert there == BYTES[:done]


@pytest.mark.parametrize(
    ("call", "length"),
    [
        (lambda files: files.copy_range(A, B, offset=0, length=len(BYTES)), int(len(BYTES) * 0.3)),
        (lambda files: files.write_at(B, offset=0, data=BYTES), int(len(BYTES) * 0.3)),
        (lambda files: files.grow(B, size_bytes=1000), 300),
    ],
    ids=["copy", "write", "growth"],
)
def test_a_call_fails_when_a_part_is_done(
    database: Database, call: Callable[[MemoryFiles], Awaitable[object]], length: int
) -> None:
    scene = Scene(database)

    async def story(scene: Scene) -> int:
        files = await files_with(scene, [(0.3, EIO)])
        with pytest.raises(OSError, match="Input/output error"):
            await call(files)
        return len(await read(scene, B))

    assert scene.play(story) == length
    assert len(scene.effects) == 1, "what landed is told, although the caller heard of an error"


def test_a_call_fails_when_all_is_done(database: Database) -> None:
    scene = Scene(database)

    async def story(scene: Scene) -> list[str]:
        files = await files_with(scene, [(1.0, EIO)])
        with pytest.raises(OSError, match="Input/output error"):
            await files.rename(A, B)
        return await scene.cluster.disk.list_folder(FOLDER)

    assert scene.play(story) == ["b"]
    assert scene.effects == [("rename", "b")]


def test_a_driver_copies_all_of_a_volume_in_short_pieces(database: Database) -> None:
    scene = Scene(database)
    source, target = (ObjectName(f"aa000000-0000-4000-8000-00000000000{number}", 1, 1) for number in (1, 2))

    async def story(scene: Scene) -> bytes:
        scene.cluster.disk = MemoryFiles()  # one that shares nothing
        files = await files_with(scene, [])
        await scene.cluster.disk.remove(A, B)
        clock = VirtualClock()
        driver = FileDriver(files, name="fast", path=FOLDER, clock=clock, ids=VirtualIds(Random(1)))
        await driver.check(known=False)
        await driver.create(source, size_bytes=len(BYTES))
        await scene.cluster.disk.write_at(FOLDER / "aa" / str(source), offset=0, data=BYTES)
        assert isinstance(scene.faults, Fated)
        scene.faults.fates = [(share, None) for share in (1.0, 1.0, *(0.3,) * 6)]
        await driver.copy(source, target, size_bytes=len(BYTES), progress=Unsaved())
        return await read(scene, FOLDER / "aa" / str(target))

    assert scene.play(story) == BYTES
    assert [call for call, name in scene.effects if name.startswith(str(target))].count("copy_range") == 7


def test_every_way_in_which_an_effect_may_end_is_drawn_and_can_be_left_out(database: Database) -> None:
    def fates(call: str, **without: Any) -> Counter[tuple[str, str]]:
        faults = Faults(random=Random(1), tell=History(lambda: 0.0), on=frozenset({"storage"}), **without)
        drawn = [faults.fate_of_effect(Process("n.worker1"), call, A) for _ in range(1_000)]
        return Counter(("all" if share == 1.0 else "part", "fails" if error else "answered") for share, error in drawn)

    assert fates("copy_range").keys() == {
        *(("all", "answered"), ("part", "answered"), ("all", "fails"), ("part", "fails"))
    }
    assert fates("rename").keys() == {("all", "answered"), ("all", "fails")}
    assert fates("copy_range", without=range(10_000)) == {("all", "answered"): 1_000}


# --- the doorbell -------------------------------------------------------------------------------------------------------


def heard(scene: Scene, *, act: Callable[[Scene], None] = lambda scene: None, times: int = 1) -> list[int]:
    """What of rings, one every 10 s, one listener hears in the second after each and later."""

    async def story(scene: Scene) -> list[int]:
        ears: list[float] = []
        scene.cluster.bell.add(Process("n.worker1"), lambda: ears.append(scene.loop.time()))
        found = []
        act(scene)
        for _ in range(times):
            ears.clear()
            rang_at = scene.loop.time()
            scene.cluster.bell.ring("sim@fast")
            await asyncio.sleep(10.0)
            at_once = sum(at - rang_at < 0.1 for at in ears)
            found.append(at_once * 10 + len(ears) - at_once)
        return found

    return scene.play(story)


def test_without_faults_each_ring_is_heard_once(database: Database) -> None:
    assert heard(Scene(database), times=300) == [10] * 300


def test_rings_are_lost_or_heard_twice_or_late(database: Database) -> None:
    scene = Scene(database, on=frozenset({"bell"}))

    found = Counter(heard(scene, times=300))

    assert {0, 1, 10, 11} <= found.keys(), "lost, late, as always, and twice"
    assert len(scene.struck) >= 300 - found[10]


def test_a_fault_of_the_doorbell_that_is_left_out_does_nothing(database: Database) -> None:
    scene = Scene(database, on=frozenset({"bell"}))
    scene.faults.without = range(10_000)

    assert heard(scene, times=300) == [10] * 300
    assert scene.struck == []


def test_the_doorbell_is_silent_for_a_while(database: Database) -> None:
    scene = Scene(database)

    assert heard(scene, act=lambda scene: scene.faults.silence_bell(15.0), times=3) == [0, 0, 10]


# --- the fences ---------------------------------------------------------------------------------------------------------

LOST = NodeRow(
    incarnation=Incarnation("lost"),
    name="n",
    state="expired",
    heartbeat=1,
    lock_path="/run/lost.lock",
    lock_id="id",
    queues=("sim@fast",),
    fencer=None,
    fence_due=True,
    kinds={},
    identities={"sim@fast": {"client": "client-lost"}},
)


class Fencing:
    """The production fence of a kind, in the hands of a worker, and the node that it is asked about."""

    def __init__(self, scene: Scene) -> None:
        cluster, me = scene.cluster, Process("m.worker1")
        self.scene, self.me, self.victim = scene, me, Process("n.worker1")
        cluster.locks.take(LOST.lock_path, lock_id=LOST.lock_id, holder=self.victim)
        env = cluster.env(me, VirtualClock())
        client = Client("client-mine", "fast", me, cluster.refusals, scene.faults)
        driver = open_driver(cluster.fence, env, name="fast", client=client, array=None)
        backends = {
            "sim@fast": Backend(name="fast", queue="sim@fast", driver=driver, slots=1, availability_zone="nova")
        }
        fences = open_fences(
            cluster.fence, backends, processes=env.processes, clock=env.clock, faults=scene.faults, me=me
        )
        ((self.fence,),) = fences.values()
        self.files: Files = cluster.env(
            self.victim, VirtualClock(), lock_path=LOST.lock_path, client="client-lost"
        ).files

    async def ask(self) -> str:
        """What the fence answers, and what the node can still do then."""
        began = self.scene.loop.time()
        try:
            answer = "proof" if await asyncio.wait_for(self.fence.fence(LOST, "sim@fast"), 30.0) else "nothing"
        except FenceFailed:
            answer = "failed"
        except TimeoutError:
            answer = "given up"
        return f"{answer} after {self.scene.loop.time() - began:.1f} s, {await self.can_write()}"

    async def can_write(self) -> str:
        """Whether the lost node still writes: as its storage has it, and if it lives."""
        if not self.victim.alive:
            return "dead"
        try:
            await self.files.make_folder(PurePosixPath("/fast"))
        except PermissionError:
            return "refused"
        return "writes"


def fate_of_fence(database: Database, kind: str, fate: str) -> tuple[str, str]:
    """What a fence of a kind comes to that meets a fault: what is answered, and how it is a minute later."""
    for seed in range(100):
        scene = Scene(database, on=frozenset({"fence"} if fate else ()), fence=kind)
        scene.faults.random = Random(seed)

        async def story(scene: Scene) -> tuple[str, str]:
            fencing = Fencing(scene)
            answer = await fencing.ask()
            scene.faults.on = frozenset()
            await asyncio.sleep(60.0)
            return answer, await fencing.can_write()

        found = scene.play(story)
        if scene.struck == ([f"a fence by m.worker1 {fate}"] if fate else []):
            return found
    raise AssertionError(f"no seed draws that a fence {fate}")


@pytest.mark.parametrize(("kind", "after"), [("kill", "dead"), ("storage", "refused")])
@pytest.mark.parametrize(
    ("fate", "answer", "now", "later"),
    [
        ("", "proof after 0.0 s", True, True),
        ("fails", "failed after 0.0 s", False, False),
        ("is slow", "proof after 2.0 s", True, True),
        ("is late", "given up after 30.0 s", False, True),
        ("works and says that it failed", "failed after 0.5 s", True, True),
    ],
)
def test_the_production_fence_works_on_the_simulated_world_and_meets_its_faults(
    database: Database, kind: str, after: str, fate: str, answer: str, now: bool, later: bool
) -> None:
    """Killed, or refused by the storage: at once, later, too late for who asked, or not at all."""
    expected = f"{answer}, {after if now else 'writes'}", after if later else "writes"

    assert fate_of_fence(database, kind, fate) == expected


def test_trust_waits_until_everything_has_settled(database: Database) -> None:
    assert fate_of_fence(database, "trust", "") == (f"proof after {TRUST_SETTLE_S:.1f} s, writes", "writes")
    assert fate_of_fence(database, "trust", "waits 2 s longer")[0] == f"proof after {TRUST_SETTLE_S + 2:.1f} s, writes"
    assert fate_of_fence(database, "trust", "waits 40 s longer")[0] == "given up after 30.0 s, writes"


def test_a_backend_that_fails_fences_nobody(database: Database) -> None:
    scene = Scene(database, fence="storage")

    async def story(scene: Scene) -> str:
        scene.faults.break_backend("fast", 5.0)
        fencing = Fencing(scene)
        with pytest.raises(FenceFailed, match="does not answer"):
            await fencing.fence.fence(LOST, "sim@fast")
        await asyncio.sleep(6.0)
        return await fencing.ask()

    assert scene.play(story) == "proof after 0.0 s, refused"


@pytest.mark.parametrize(
    ("kind", "method", "fault"),
    [
        *(("kill", "same_machine", "crash"), ("storage", "storage", "crash"), ("trust", "trust", "crash")),
        *(("kill", "boot", "reboot"), ("storage", "boot", "reboot"), ("trust", "boot", "reboot")),
    ],
)
def test_nodes_of_a_run_are_fenced_by_a_fence_of_that_run(
    database: Database, kind: str, method: str, fault: str
) -> None:
    """As `node_backends.fenced_by` has it; whoever is buried by its own keeper or its successor needs none."""
    used = ""
    for seed in range(BASE, BASE + MOST):
        simulate(seed, database=database, only=[fault, "rename", "cut"], fence=kind)
        used += str(database.raw.execute("SELECT DISTINCT event, detail FROM node_events").fetchall())
        if f"{method}, by " in used:
            return
    raise AssertionError(f"nobody was fenced by {method} in {MOST} seeds from {BASE}, only by {used}")


@pytest.mark.parametrize("boots", [False, True])
def test_a_boot_ends_the_processes_of_a_machine_and_what_is_on_its_way_from_it(database: Database, boots: bool) -> None:
    """A process that only dies leaves its writes on their way."""
    scene = Scene(database, fence="storage")

    async def story(scene: Scene) -> tuple[bool, list[str]]:
        await files_with(scene, [])
        assert isinstance(scene.faults, Fated)
        scene.faults.late = 5.0
        mine, same, other = (Process(f"{name}.worker1") for name in ("n", "n", "m"))
        clock = VirtualClock()
        scene.cluster.processes = [mine, same, other]
        files, _, _ = (scene.cluster.env(*of).files for of in ((mine, clock), (same, clock), (other, VirtualClock())))
        assert mine.machine is same.machine is not other.machine
        write = asyncio.ensure_future(files.rename(A, B))
        await asyncio.sleep(1.0)
        (scene.cluster.reboot if boots else Process.kill)(mine)
        await asyncio.wait([write])
        assert other.alive
        return same.alive, await scene.cluster.disk.list_folder(FOLDER)

    assert scene.play(story) == ((False, ["a", "b"]) if boots else (True, ["b"]))
