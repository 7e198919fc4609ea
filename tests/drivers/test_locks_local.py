"""Locks of one machine: real files, and real processes that are killed, stopped and raced."""

import asyncio
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.drivers.locking import Diary, Running, running_nowhere, until
from tests.store.given import in_real_time

from breezeblock.env.contract import Env
from breezeblock.env.host_locks import HostLock, HostLocks
from breezeblock.env.real import real_env
from breezeblock.model.errors import BackendFailed, Fenced
from breezeblock.node.locks_local import LocalLocks

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 60.0


class Host:
    """This machine's locks, as one worker has them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.env: Env = real_env()
        self.locks = self.scope("c@b")

    def scope(self, name: str) -> LocalLocks:
        return LocalLocks(self.env, HostLocks(self.folder / "locks"), backend="b", scope=name)

    def operation(self) -> Running:
        return running_nowhere(self.env, self.locks)

    def files(self) -> list[str]:
        return sorted(path.name for path in (self.folder / "locks").iterdir())


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


@contextmanager
def process(
    folder: Path, kind: str, *names: str, count: int = 1, hash_seed: int = 0
) -> Iterator["subprocess.Popen[str]"]:
    """One that wants the lock; killed at the end, whatever it does. `hash_seed` is the order of its sets."""
    command = [sys.executable, "-m", "tests.drivers.holder", str(folder), kind, str(count), *names]
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    started = subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": str(hash_seed)},
    )
    try:
        yield started
    finally:
        started.kill()
        started.wait()
        assert started.stdout is not None
        started.stdout.close()


def says(started: "subprocess.Popen[str]", word: str) -> None:
    assert started.stdout is not None
    ready, _, _ = select.select([started.stdout], [], [], PATIENCE_S)
    assert ready, f"it never said {word}"
    assert started.stdout.readline().strip() == word


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


# --- processes --------------------------------------------------------------------------------------------------------


def test_what_a_killed_process_held_is_free_at_once(host: Host) -> None:
    """kill -9: the kernel lets go of it, and the file that it left is taken over."""
    diary = Diary(host.env)

    async def main() -> None:
        with process(host.folder, "exclusive", "x") as other:
            says(other, "inside")
            waiting = asyncio.ensure_future(diary.visit(host.operation().ctx, "us", "x", for_s=0.0))
            await host.env.clock.sleep(0.5)
            assert diary.lines == []
            other.send_signal(signal.SIGKILL)
            await asyncio.wait_for(waiting, PATIENCE_S)

    in_real_time(main())

    assert diary.lines == ["+us", "-us"]
    assert host.files() == []


def test_a_stopped_process_keeps_what_it_holds(host: Host) -> None:
    """It may be in the middle of it. When it goes on, or dies, the lock is free in its time."""
    diary = Diary(host.env)

    async def main() -> None:
        with process(host.folder, "exclusive", "x") as other:
            says(other, "inside")
            other.send_signal(signal.SIGSTOP)
            waiting = asyncio.ensure_future(diary.visit(host.operation().ctx, "us", "x", for_s=0.0))
            await host.env.clock.sleep(1.0)
            assert diary.lines == []
            other.send_signal(signal.SIGCONT)
            await host.env.clock.sleep(0.5)
            assert diary.lines == []
            other.send_signal(signal.SIGKILL)
            await asyncio.wait_for(waiting, PATIENCE_S)

    in_real_time(main())

    assert diary.lines == ["+us", "-us"]


def test_a_process_that_waits_and_is_stopped_keeps_nobody_out(host: Host) -> None:
    """It holds nothing while it waits for its first name."""
    diary = Diary(host.env)

    async def main() -> None:
        async with diary.hold(host.operation().ctx, "us", "x"):
            with process(host.folder, "exclusive", "x") as other:
                await host.env.clock.sleep(2.0)
                other.send_signal(signal.SIGSTOP)
        async with asyncio.timeout(PATIENCE_S):
            await diary.visit(host.operation().ctx, "again", "x", for_s=0.0)

    in_real_time(main())

    assert diary.lines == ["+us", "-us", "+again", "-again"]


def test_processes_that_share_are_in_together(host: Host) -> None:
    """And keep out who does not share, until the last of them has gone."""
    diary = Diary(host.env)

    async def main() -> None:
        with process(host.folder, "shared", "x") as one, process(host.folder, "shared", "x") as two:
            says(one, "inside")
            says(two, "inside")
            async with asyncio.timeout(PATIENCE_S):
                await diary.visit(host.operation().ctx, "reader", "x", shared=True, for_s=0.0)
            writer = asyncio.ensure_future(diary.visit(host.operation().ctx, "writer", "x", for_s=0.0))
            one.kill()
            await host.env.clock.sleep(0.5)
            assert diary.lines == ["+reader", "-reader"]
            two.kill()
            await asyncio.wait_for(writer, PATIENCE_S)

    in_real_time(main())

    assert diary.lines[2:] == ["+writer", "-writer"]


def test_processes_lose_no_update_under_a_lock(host: Host) -> None:
    """Four of them read, wait and write one number, and each removes the file of the lock each time.

    Two want two names, which their sets have in different orders: in those they would wait for each other.
    """
    (host.folder / "number").write_text("0")

    with (
        process(host.folder, "count", "x", count=50) as one,
        process(host.folder, "count", "x", count=50) as two,
        process(host.folder, "count", "x", "y", count=200, hash_seed=1) as three,
        process(host.folder, "count", "x", "y", count=200, hash_seed=2) as four,
    ):
        for other in (one, two, three, four):
            says(other, "done")

    assert (host.folder / "number").read_text() == "500"
    assert host.files() == []


# --- one process ------------------------------------------------------------------------------------------------------


def test_tasks_of_a_process_are_served_in_order(host: Host) -> None:
    """Readers together, and none of them before a writer that came first."""
    diary = Diary(host.env)

    async def main() -> None:
        visits = []
        for who, shared in (("w1", False), ("r1", True), ("r2", True), ("w2", False), ("r3", True)):
            visit = diary.visit(host.operation().ctx, who, "x", shared=shared, for_s=0.3)
            visits.append(asyncio.ensure_future(visit))
            await host.env.clock.sleep(0.02)
        await asyncio.gather(*visits)

    in_real_time(main())

    assert diary.lines[:2] == ["+w1", "-w1"]
    assert set(diary.lines[2:4]) == {"+r1", "+r2"}
    assert diary.lines[6:] == ["+w2", "-w2", "+r3", "-r3"]


def test_several_names_in_any_order_end(host: Host) -> None:
    """Two spaces in one process stand for two processes: between them there are only the files."""
    spaces, diary = [host.scope("c@b"), host.scope("c@b")], Diary(host.env)
    wanted = [("a", "b"), ("b", "a"), ("b", "c"), ("c", "b"), ("a", "c"), ("c", "a")]

    async def main() -> None:
        contexts = [running_nowhere(host.env, spaces[number % 2]).ctx for number in range(6)]
        visits = [diary.visit(contexts[n], str(n), *names, for_s=0.02) for n, names in enumerate(wanted)]
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.gather(*visits)

    in_real_time(main())

    assert (len(diary.lines), diary.most_inside) == (12, 1)
    assert host.files() == []


def test_scopes_keep_apart_and_names_may_be_anything(host: Host) -> None:
    """All of these are held at the same time."""
    elsewhere, diary = host.scope("c@other"), Diary(host.env)
    names = ["x", "X", "x ", "", "\0", "../../etc", "/", "é", "\ud800", "n" * 5000]

    async def main() -> None:
        here = [diary.visit(host.operation().ctx, str(n), name, for_s=1.0) for n, name in enumerate(names)]
        other = diary.visit(running_nowhere(host.env, elsewhere).ctx, "other", "x", for_s=1.0)
        await asyncio.gather(*here, other)

    in_real_time(main())

    assert diary.most_inside == len(names) + 1
    assert host.files() == []


def test_who_is_cancelled_while_waiting_leaves_no_descriptor(host: Host) -> None:
    """In the line, at the file, and with one of two files already taken."""
    before: list[int] = []

    async def main() -> None:
        ctx = host.operation().ctx
        async with ctx.lock("warm"):
            pass
        with process(host.folder, "exclusive", "y") as other:
            says(other, "inside")
            before.append(open_files())
            waits = [asyncio.ensure_future(enter(host.operation(), "x", "y", "z")) for _ in range(5)]
            for number, waiting in enumerate(waits):
                await host.env.clock.sleep(0.01 * number)
                waiting.cancel()
            await asyncio.wait(waits)
            before.append(open_files())
            async with asyncio.timeout(PATIENCE_S):
                await enter(host.operation(), "x", "z")

    async def enter(running: Running, *names: str) -> None:
        async with running.ctx.lock(*names):
            pass

    in_real_time(main())

    assert before[0] == before[1]


def test_who_is_cancelled_inside_lets_go(host: Host) -> None:
    """Whatever it was doing."""
    diary = Diary(host.env)

    async def main() -> None:
        inside = asyncio.ensure_future(diary.visit(host.operation().ctx, "a", "x", for_s=3600.0))
        await until(host.env, lambda: diary.lines)
        inside.cancel()
        async with asyncio.timeout(PATIENCE_S):
            await diary.visit(host.operation().ctx, "b", "x", for_s=0.0)

    in_real_time(main())

    assert diary.lines == ["+a", "-a", "+b", "-b"]


def test_who_has_lost_its_claim_waits_no_longer(host: Host) -> None:
    """At the file as in the line: the one before it may hang for ever."""
    lost: list[type[object]] = []

    async def main() -> None:
        with process(host.folder, "exclusive", "x") as other:
            says(other, "inside")
            waiting = [host.operation(), host.operation()]
            waits = [asyncio.ensure_future(wait(running)) for running in waiting]
            await host.env.clock.sleep(0.3)
            for running in waiting:
                running.guard.revoke()
            async with asyncio.timeout(PATIENCE_S):
                ended = await asyncio.gather(*waits, return_exceptions=True)
            lost.extend(type(error) for error in ended)

    async def wait(running: Running) -> None:
        async with running.ctx.lock("x"):
            raise AssertionError("got it")

    in_real_time(main())

    assert lost == [Fenced, Fenced]


def test_a_folder_that_cannot_be_used_fails_the_operation(tmp_path: Path) -> None:
    """With a sentence, and no path in it."""
    (tmp_path / "locks").write_text("a file where a folder should be")
    host = Host(tmp_path)

    async def main() -> None:
        async with host.operation().ctx.lock("x"):
            raise AssertionError("got it")

    with pytest.raises(BackendFailed, match=r"^Backend b cannot use its locks: Not a directory\.$"):
        in_real_time(main())


# --- the file ---------------------------------------------------------------------------------------------------------


def take(locks: HostLocks, *, shared: bool = False) -> HostLock:
    taken = locks.try_take("x", shared=shared)
    assert taken is not None
    return taken


def test_the_last_of_those_who_share_removes_the_file(tmp_path: Path) -> None:
    """Not the first: the others' lock would be on a file that nobody finds."""
    locks = HostLocks(tmp_path)
    one, two = take(locks, shared=True), take(locks, shared=True)

    one.release()
    after_one = (tmp_path / "x").exists(), locks.try_take("x", shared=False)
    two.release()

    assert after_one == (True, None)
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("shared", [True, False])
def test_a_lock_on_a_file_that_was_removed_does_not_count(tmp_path: Path, shared: bool) -> None:
    """Somebody let go of it between our opening and our locking it, and a third one has the new file."""
    locks, third = HostLocks(tmp_path), HostLocks(tmp_path)
    first = take(locks)
    held: list[HostLock] = []

    def meanwhile() -> None:
        first.release()
        held.append(take(third))

    late = Opening(tmp_path, meanwhile)
    got = late.try_take("x", shared=shared)
    before = open_files()
    held[0].release()

    assert got is None
    assert open_files() == before - 1


class Opening(HostLocks):
    """Something happens right after the file was opened."""

    def __init__(self, folder: Path, then: Callable[[], object]) -> None:
        super().__init__(folder)
        self._then = then

    def _open(self, path: Path) -> int:
        fd = super()._open(path)
        self._then()
        return fd


def test_children_inherit_no_lock(tmp_path: Path) -> None:
    """One that outlives its parent would keep it."""
    lock = take(HostLocks(tmp_path))
    with subprocess.Popen(["sleep", "3600"], close_fds=False) as child:
        lock.release()
        try:
            again = HostLocks(tmp_path).try_take("x", shared=False)
        finally:
            child.kill()

    assert again is not None
    again.release()
