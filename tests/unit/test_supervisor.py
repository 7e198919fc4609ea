"""The supervisor's parts: posts that are filled again, the guard of the write lock, the data folder."""

import asyncio
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from breezeblock import settings
from breezeblock.api.microversions import NEWEST
from breezeblock.supervisor import post, proc, ready, up
from breezeblock.supervisor.child import Child
from breezeblock.supervisor.folder import DataFolder, InUse, Part
from breezeblock.supervisor.guard import WriteLockGuard
from breezeblock.supervisor.pinged import PingedPost, is_worth_keeping
from breezeblock.supervisor.post import Post


@pytest.fixture
def folder(tmp_path: Path) -> DataFolder:
    made = DataFolder(tmp_path / "data")
    made.make()
    return made


# --- posts ------------------------------------------------------------------------------------------------------------


class Short(Post):
    """A post whose process ends at once."""

    def __init__(self, folder: DataFolder) -> None:
        self.said: list[str] = []
        self.begun: list[float] = []
        super().__init__("short", say=self.said.append, changed=lambda: None)
        self._folder = folder

    async def start(self) -> Child:
        self.begun.append(time.monotonic())
        return await Child.start("short", "this", brief="", folder=self._folder)

    async def attend(self, child: Child) -> None:
        return


class Unstartable(Short):
    """A post whose first two processes cannot be started."""

    async def start(self) -> Child:
        if len(self.begun) < 2:
            self.begun.append(time.monotonic())
            raise OSError("no more processes")
        return await super().start()


async def keep_for(kept: Post, seconds: float) -> None:
    keeping = asyncio.ensure_future(kept.keep())
    await asyncio.sleep(seconds)
    kept.leave()
    await asyncio.wait_for(keeping, 10)


def test_what_dies_at_once_is_started_again_with_growing_pauses(
    folder: DataFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first time without a pause; never given up."""
    monkeypatch.setattr(post, "PAUSE_FIRST_S", 0.2)
    kept = Short(folder)

    asyncio.run(keep_for(kept, 1.6))

    pauses = [after - before for before, after in zip(kept.begun, kept.begun[1:], strict=False)]
    assert len(kept.begun) >= 4
    assert pauses[0] < 0.2
    assert pauses[1] >= 0.2
    assert pauses[2] >= 0.4
    assert kept.said[0].endswith("ended with status 0, starting it again")


def test_a_process_that_cannot_be_started_is_tried_again(folder: DataFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """No memory, no more processes: that passes."""
    monkeypatch.setattr(post, "PAUSE_FIRST_S", 0.05)
    kept = Unstartable(folder)

    asyncio.run(keep_for(kept, 0.6))

    assert len(kept.begun) >= 3
    assert kept.said


class Half(PingedPost):
    """A post that does not say which process it keeps."""


ANSWERS: Final = """
import socket, sys
with socket.socket(fileno=int(sys.argv[1])).makefile("rw", buffering=1) as line:
    for word in line:
        print("pong", file=line)
"""


class Answering(PingedPost):
    """A post whose process answers each ping as long as it runs."""

    def __init__(self) -> None:
        super().__init__("one", kind="one", patience_s=1.0, say=lambda text: None, changed=lambda: None)

    async def begin(self, line: socket.socket) -> Child:
        command = (sys.executable, "-c", ANSWERS, str(line.fileno()))
        return Child("one", await asyncio.create_subprocess_exec(*command, pass_fds=[line.fileno()]))


def test_a_post_is_well_while_its_process_answers() -> None:
    """Not before its first answer, nor while it is stopped, nor when it is gone; the next one is well again."""
    seen: list[bool] = []

    async def comes(kept: PingedPost, well: bool) -> None:
        while kept.is_well != well:  # noqa: ASYNC110 - as the supervisor looks at it, from time to time
            await asyncio.sleep(0.02)
        seen.append(kept.is_well)

    async def live() -> None:
        kept = Answering()
        seen.append(kept.is_well)
        keeping = asyncio.ensure_future(kept.keep())
        await comes(kept, True)
        assert kept.child is not None
        first = kept.child.pid
        os.kill(first, signal.SIGSTOP)
        await comes(kept, False)
        await comes(kept, True)
        assert kept.child.pid != first
        kept.leave()
        await keeping
        seen.append(kept.is_well)

    asyncio.run(asyncio.wait_for(live(), 30))

    assert seen == [False, True, False, True, False]


class Standing(PingedPost):
    """A post that is wanted or not, and answers or not, without a process."""

    def __init__(self, *, wanted: bool, well: bool) -> None:
        super().__init__("one", kind="one", patience_s=1.0, say=lambda text: None, changed=lambda: None)
        self._wanted, self._well = wanted, well

    @property
    def wanted(self) -> bool:
        return self._wanted

    @property
    def is_well(self) -> bool:
        return self._well or not self._wanted

    async def begin(self, line: socket.socket) -> Child:
        raise OSError("no more processes")


@pytest.mark.parametrize(
    ("posts", "expected"),
    [
        ([(True, False), (False, True)], False),  # the API hangs, and all nodes are drained: nobody serves
        ([(True, False), (True, False)], False),
        ([(True, True), (True, False)], True),
        ([(True, True), (False, True)], True),
        ([(False, True), (False, True)], True),  # everything is taken out: there is nothing to start anew
    ],
)
def test_what_is_drained_does_not_vouch_for_those_that_are_wanted(
    posts: list[tuple[bool, bool]], expected: bool
) -> None:
    """A service manager that is told otherwise would leave a dead service alone for ever."""
    assert is_worth_keeping([Standing(wanted=wanted, well=well) for wanted, well in posts]) is expected


@pytest.mark.parametrize("kind", [Post, PingedPost, Half])
def test_a_post_that_does_not_say_what_it_keeps_cannot_be_made(kind: Callable[..., Post]) -> None:
    """It is found when it is made, not when its process is to be started."""
    with pytest.raises(TypeError, match="abstract"):
        kind("x", say=print, changed=print)


@pytest.mark.parametrize(
    ("status", "said"), [(0, "ended with status 0"), (1, "ended with status 1"), (-9, "was ended by SIGKILL")]
)
def test_an_exit_status_is_said_in_words(status: int, said: str) -> None:
    """Signals by name."""
    assert post.in_words(status) == said


# --- the process table ------------------------------------------------------------------------------------------------


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


def test_the_process_table_is_read(sleeper: "subprocess.Popen[bytes]") -> None:
    """State, parent, command, descent."""
    os.kill(sleeper.pid, signal.SIGSTOP)
    deadline = time.monotonic() + 5
    while proc.state(sleeper.pid) != proc.STOPPED and time.monotonic() < deadline:
        time.sleep(0.01)

    assert proc.state(sleeper.pid) == proc.STOPPED
    assert proc.parent(sleeper.pid) == os.getpid()
    assert proc.command(sleeper.pid) == "sleep 60"
    assert proc.descends_from(sleeper.pid, os.getpid())
    assert not proc.descends_from(os.getpid(), sleeper.pid)
    assert proc.state(2**22 + 1) is None


def test_a_process_is_killed_only_if_it_still_is_the_one(sleeper: "subprocess.Popen[bytes]") -> None:
    """Asked once it is pinned."""
    spared = proc.kill_if(sleeper.pid, lambda: False)
    alive = sleeper.poll() is None
    killed = proc.kill_if(sleeper.pid, lambda: True)

    assert (spared, alive, killed) == (False, True, True)
    assert sleeper.wait(5) == -signal.SIGKILL
    assert not proc.kill_if(sleeper.pid, lambda: True)


# --- the guard of the write lock --------------------------------------------------------------------------------------

HOLDER = """
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA journal_mode = WAL")
connection.execute("CREATE TABLE IF NOT EXISTS t (x)")
hold_s = float(sys.argv[2])
while True:
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("INSERT INTO t VALUES (1)")
    print("held", flush=True)
    time.sleep(hold_s)
    connection.execute("COMMIT")
"""


def guard_beside(path: Path, *, hold_s: float, watch_s: float) -> tuple[int | None, list[str]]:
    """What becomes of a child that holds the lock for that long each time, and what was said of it."""
    said: list[str] = []
    command = [sys.executable, "-c", HOLDER, str(path), str(hold_s)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        guard = WriteLockGuard(str(path), ttl_s=0.6, say=said.append)

        async def watch() -> None:
            watching = asyncio.ensure_future(guard.watch())
            await asyncio.sleep(watch_s)
            watching.cancel()

        asyncio.run(watch())
        ended = holder.poll()
        holder.kill()
    return ended, said


def test_a_child_that_holds_the_lock_and_does_not_move_is_killed(tmp_path: Path) -> None:
    """After at least a second, however short the leases are."""
    ended, said = guard_beside(tmp_path / "x.db", hold_s=60, watch_s=2.0)

    assert ended == -signal.SIGKILL
    assert len(said) == 1
    assert "did not move" in said[0]


BESIDE = """
import asyncio, sys
from breezeblock.supervisor.guard import WriteLockGuard
guard = WriteLockGuard(sys.argv[1], ttl_s=0.6, say=print)
try:
    asyncio.run(asyncio.wait_for(guard.watch(), 1.6))
except TimeoutError:
    pass
"""


def test_the_guard_of_another_part_only_tells(tmp_path: Path) -> None:
    """An API and nodes of one database are started each by its own `up`: each ends what is its own, and nobody else's."""
    path = tmp_path / "x.db"
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(path), "60"], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        told = subprocess.run(
            [sys.executable, "-c", BESIDE, str(path)], capture_output=True, text=True, check=True, timeout=60
        ).stdout
        ended = holder.poll()
        holder.kill()

    assert ended is None
    assert f"process {holder.pid} (" in told
    assert "holds the database's write lock: nothing can be written until it lets go" in told


def test_a_busy_child_is_left_alone(tmp_path: Path) -> None:
    """It holds the lock at nearly every look, and commits."""
    ended, said = guard_beside(tmp_path / "x.db", hold_s=0.2, watch_s=2.5)

    assert ended is None
    assert said == []


# --- the folder -------------------------------------------------------------------------------------------------------


def close(files: list[int]) -> None:
    for file in files:
        os.close(file)


def test_a_folder_belongs_to_one_at_a_time(folder: DataFolder) -> None:
    """And is free again when that one is gone."""
    before = folder.is_in_use()
    files = folder.lock()
    with pytest.raises(InUse, match=rf"already \(pid {os.getpid()}\)"):
        folder.lock()
    during = folder.is_in_use()
    close(files)

    assert (before, during, folder.is_in_use()) == (False, True, False)


def test_what_a_dead_service_said_of_itself_is_not_believed(folder: DataFolder) -> None:
    """Its pids are others' by now."""
    files = folder.lock()
    folder.tell({"pid": os.getpid()})
    during = folder.read_told()
    close(files)

    assert during == {"pid": os.getpid()}
    assert folder.read_told() == {}


@pytest.mark.parametrize(
    ("part", "excluded", "beside"),
    [("api", ("api", "whole"), ("nodes",)), ("nodes", ("nodes", "whole"), ("api",)), ("whole", ("api", "nodes"), ())],
)
def test_an_api_and_nodes_may_share_a_folder(
    folder: DataFolder, part: Part, excluded: tuple[Part, ...], beside: tuple[Part, ...]
) -> None:
    """One of each, and none beside one that is both. Who is refused has claimed nothing."""
    files = DataFolder(folder.path, part).lock()

    for other in excluded:
        with pytest.raises(InUse):
            DataFolder(folder.path, other).lock()
    for other in beside:
        files += DataFolder(folder.path, other).lock()
    assert folder.is_in_use() == (part != "api" or bool(beside))
    close(files)
    close(folder.lock())


def test_what_the_parts_say_of_themselves_is_read_as_one(folder: DataFolder) -> None:
    """The API's endpoint beside the nodes' keepers; it is ready when both are."""
    api, nodes = DataFolder(folder.path, "api"), DataFolder(folder.path, "nodes")
    files = [*api.lock(), *nodes.lock()]
    keepers, apis = [{"name": "node-1", "pid": 3}], [{"name": "api-1", "pid": 4}]
    api.tell({"pid": 1, "endpoint": "http://x", "ready": True, "api": apis, "keepers": []})
    nodes.tell({"pid": 2, "endpoint": None, "ready": False, "api": [], "keepers": keepers})

    together = folder.read_told()
    close(files[1:])
    alone = folder.read_told()
    close(files[:1])

    assert together == {"pid": 2, "endpoint": "http://x", "ready": False, "api": apis, "keepers": keepers}
    assert (alone["pid"], alone["keepers"]) == (1, [])


def test_who_has_not_been_well_for_long_is_not_healthy(folder: DataFolder) -> None:
    """Nor who does not run, or is not ready."""
    api = DataFolder(folder.path, "api")
    nothing = folder.unwell()
    files = api.lock()
    api.tell({"pid": 7, "ready": False})
    begun = folder.unwell()
    api.tell({"pid": 7, "ready": True})
    ready = folder.unwell()
    long_ago_s = time.clock_gettime(time.CLOCK_BOOTTIME) - 1000
    os.utime(api.told, (long_ago_s, long_ago_s))
    silent = folder.unwell()
    api.lives()
    again = folder.unwell()
    close(files)

    assert nothing.startswith("nothing runs on")
    assert begun == "not ready yet (pid 7)"
    assert (ready, again) == ("", "")
    assert re.fullmatch(r"none of its processes has answered for 10\d\d s \(pid 7\)", silent)


@pytest.mark.parametrize("step_s", [-7200.0, 7200.0])
def test_a_step_of_the_wall_clock_changes_nothing_about_who_is_well(
    folder: DataFolder, monkeypatch: pytest.MonkeyPatch, step_s: float
) -> None:
    """Set forwards it must make nobody unhealthy, set backwards hide nobody's silence."""
    files = folder.lock()
    folder.tell({"pid": 7, "ready": True, "api": [{"name": "api-1", "pid": 8}], "keepers": []})
    stepped_s = time.time() + step_s
    monkeypatch.setattr(time, "time", lambda: stepped_s)
    after_tell = folder.unwell()
    folder.lives()
    after_lives = folder.unwell()
    real, later_s = time.clock_gettime, 200.0
    monkeypatch.setattr(time, "clock_gettime", lambda which: real(which) + later_s)
    silent = folder.unwell()
    close(files)

    assert (after_tell, after_lives) == ("", "")
    assert silent.startswith("none of its processes has answered for 200 s")


def test_a_mark_follows_its_node_when_the_machine_is_called_otherwise(folder: DataFolder) -> None:
    """By its number, which stays. What has no node any more keeps its mark, and who has one is left alone."""
    for name in ("alpha-2", "alpha-9", "beta-1", "old-1"):
        folder.drained(name).touch()

    carried = folder.carry_marks(["beta-1", "beta-2", "beta-3"])

    assert carried == [("alpha-2", "beta-2"), ("old-1", "beta-1")]
    marks = sorted(path.name for path in (folder.path / "nodes").iterdir())
    assert marks == ["alpha-9.drained", "beta-1.drained", "beta-2.drained"]
    assert folder.carry_marks(["beta-1", "beta-2", "beta-3"]) == []
    assert folder.carry_marks([]) == []


def test_a_whole_service_is_healthy_by_the_one_file_that_it_writes(folder: DataFolder) -> None:
    """It holds the locks of both parts; what an API alone has left there long ago is not asked."""
    left = DataFolder(folder.path, "api")
    left.tell({"pid": 6, "ready": False, "api": [], "keepers": []})
    files = folder.lock()
    folder.tell({"pid": 7, "ready": True, "api": [{"name": "api-1", "pid": 8}], "keepers": []})
    well = folder.unwell()
    left.told.unlink()
    alone = folder.unwell()
    folder.tell({"pid": 7, "ready": False, "api": [{"name": "api-1", "pid": 8}], "keepers": []})
    begun = folder.unwell()
    close(files)

    assert (well, alone, begun) == ("", "", "not ready yet (pid 7)")


def test_what_was_killed_is_not_taken_for_ready_by_its_successors_first_moments(folder: DataFolder) -> None:
    """What it has said of itself goes before anything else is looked at: bringing a database to a release takes its time."""
    folder.tell({"pid": 1, "ready": True, "api": [{"name": "api-1", "pid": 2}], "keepers": []})
    policies = folder.path / "policy.yaml"
    policies.write_text("nothing: [")
    environ = {"BREEZEBLOCK_SERVICE__DATA_DIR": str(folder.path), "BREEZEBLOCK_POLICY__FILE": str(policies)}
    mask = os.umask(0o077)
    try:
        with pytest.raises(up.CannotStart, match="policies cannot be used"):
            up.run(settings.load(None, environ).settings, {})
    finally:
        os.umask(mask)

    assert not folder.told.exists()


def test_a_log_that_is_too_long_begins_anew(folder: DataFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its writers go on in the same file; one older part is kept."""
    monkeypatch.setattr("breezeblock.supervisor.folder.LOG_BYTES_MOST", 10)
    writer = folder.open_log("api-1")
    os.write(writer, b"eleven bytes\n")

    folder.bound_logs(["api-1", "node-1"])
    os.write(writer, b"new\n")
    os.close(writer)

    assert folder.log("api-1").read_text() == "new\n"
    assert folder.log("api-1").with_suffix(".log.1").read_text() == "eleven bytes\n"


# --- readiness --------------------------------------------------------------------------------------------------------


def test_a_database_that_cannot_be_read_is_not_ready(tmp_path: Path) -> None:
    """Without tables, and locked by somebody."""
    path = tmp_path / "x.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE other (x)")

    assert not asyncio.run(ready.storage_is_ready([f"sqlite:///{path}"], [1]))


def test_the_greeting_names_the_newest_microversion() -> None:
    """It is written there as a text, so that the supervisor need not load the API."""
    assert str(NEWEST) == ready.NEWEST_MICROVERSION
