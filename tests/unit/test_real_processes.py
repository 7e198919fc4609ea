"""Killing the holders of a lock, with real processes: exactly them, and True only as proof."""

import asyncio
import fcntl
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from breezeblock.env import processes as processes_module
from breezeblock.env.processes import RealProcesses
from breezeblock.env.real import RealClock, RealThreads

run = asyncio.run
LOCK_ID = "5d4bd7a1-3a17-4d0b-9c0f-0a4c3c0d2b11"

# Each says "ready" and its child's pid, and then stays.
HOLDER = """
    import fcntl, os, sys, time
    fd = os.open(sys.argv[1], os.O_RDWR)
    fcntl.flock(fd, fcntl.LOCK_EX)
    print("ready", 0, flush=True)
    time.sleep(60)
"""
PARENT_OF_A_HOLDER = """
    import fcntl, os, sys, time
    fd = os.open(sys.argv[1], os.O_RDWR)
    fcntl.flock(fd, fcntl.LOCK_EX)
    os.set_inheritable(fd, True)
    child = os.fork()
    if child:
        print("ready", child, flush=True)
        sys.argv[2] == "dies" and os._exit(0)
    else:
        os.setsid()
        os.execvp("sleep", ["sleep", "60"])
    time.sleep(60)
"""
READER = """
    import os, sys, time
    fd = os.open(sys.argv[1], os.O_RDWR)
    print("ready", 0, flush=True)
    time.sleep(60)
"""

Start = Callable[..., tuple[subprocess.Popen[str], int]]


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    path = tmp_path / "lock"
    path.write_text(LOCK_ID + "\n")
    return path


@pytest.fixture
def processes() -> Iterator[RealProcesses]:
    threads = RealThreads(max_threads=4)
    yield RealProcesses(threads, RealClock())
    threads.close()


@pytest.fixture
def start(lock: Path) -> Iterator[Start]:
    """Start a program that holds the lock file, and make sure that it is gone after the test."""
    started: list[tuple[subprocess.Popen[str], int]] = []

    def begin(program: str, *arguments: str) -> tuple[subprocess.Popen[str], int]:
        command = [sys.executable, "-c", textwrap.dedent(program), str(lock), *arguments, "stays"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        word, child = process.stdout.readline().split()
        assert word == "ready"
        started.append((process, int(child)))
        return started[-1]

    yield begin
    for process, child in started:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
        if child:
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)


def is_free(lock: Path) -> bool:
    with lock.open("r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def test_a_holder_is_killed(processes: RealProcesses, lock: Path, start: Start) -> None:
    """By SIGKILL, and the lock is free afterwards."""
    holder, _ = start(HOLDER)

    assert run(processes.kill_holders(str(lock), LOCK_ID))

    assert holder.wait(timeout=5) == -signal.SIGKILL
    assert is_free(lock)


def test_a_holder_s_children_are_killed_too(processes: RealProcesses, lock: Path, start: Start) -> None:
    """Also in a session of their own and running another program: they have the open file."""
    holder, _child = start(PARENT_OF_A_HOLDER)

    assert run(processes.kill_holders(str(lock), LOCK_ID))

    assert holder.wait(timeout=5) == -signal.SIGKILL
    assert is_free(lock)


def test_an_orphan_of_a_dead_holder_is_killed(processes: RealProcesses, lock: Path, start: Start) -> None:
    """The process that took the lock is long gone; who inherited it holds it."""
    holder, _child = start(PARENT_OF_A_HOLDER, "dies")
    holder.wait(timeout=5)
    assert not is_free(lock)

    assert run(processes.kill_holders(str(lock), LOCK_ID))

    assert is_free(lock)


def test_a_stopped_holder_is_killed(processes: RealProcesses, lock: Path, start: Start) -> None:
    """SIGSTOP does not protect from it, and it never runs again."""
    holder, _ = start(HOLDER)
    os.kill(holder.pid, signal.SIGSTOP)

    assert run(processes.kill_holders(str(lock), LOCK_ID))

    assert holder.wait(timeout=5) == -signal.SIGKILL


def test_a_holder_that_died_by_itself_is_proof(processes: RealProcesses, lock: Path, start: Start) -> None:
    """With and without killing."""
    holder, _ = start(HOLDER)
    holder.kill()
    holder.wait(timeout=5)

    assert run(processes.kill_holders(str(lock), LOCK_ID))
    assert run(processes.nobody_holds(str(lock), LOCK_ID))


def test_who_only_has_the_file_open_is_spared(processes: RealProcesses, lock: Path, start: Start) -> None:
    """It may be another observer, who looks at the same file for the same reason."""
    reader, _ = start(READER)
    holder, _ = start(HOLDER)

    assert run(processes.kill_holders(str(lock), LOCK_ID))

    assert holder.wait(timeout=5) == -signal.SIGKILL
    assert reader.poll() is None


def test_the_holder_of_another_lock_is_spared(
    processes: RealProcesses, lock: Path, start: Start, tmp_path: Path
) -> None:
    """A node beside it goes on."""
    holder, _ = start(HOLDER)
    other = tmp_path / "other"
    other.write_text(LOCK_ID)

    assert run(processes.kill_holders(str(other), LOCK_ID))

    assert holder.poll() is None
    assert not is_free(lock)


def test_a_pid_that_no_longer_holds_the_lock_is_spared(
    processes: RealProcesses, lock: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pid was reused between the scan and the pidfd: the second look tells."""
    reader, _ = start(READER)
    found = lock.stat()

    processes_module._kill_if_it_still_holds(reader.pid, (found.st_dev, found.st_ino))

    assert reader.poll() is None


def test_nobody_is_killed_for_a_wrong_id(processes: RealProcesses, lock: Path, start: Start) -> None:
    """The path belongs to a successor, or is one of another container."""
    holder, _ = start(HOLDER)

    assert not run(processes.kill_holders(str(lock), "another-id"))
    assert not run(processes.kill_holders(str(lock), ""))

    assert holder.poll() is None


def test_a_free_lock_with_another_id_is_no_proof(processes: RealProcesses, lock: Path) -> None:
    """It says nothing about the node that we ask about."""
    assert not run(processes.kill_holders(str(lock), "another-id"))
    assert not run(processes.nobody_holds(str(lock), "another-id"))
    lock.write_text("")
    assert not run(processes.nobody_holds(str(lock), ""))


def test_a_missing_file_is_no_proof(processes: RealProcesses, tmp_path: Path) -> None:
    """The node may run where we cannot see its files."""
    assert not run(processes.kill_holders(str(tmp_path / "nothing"), LOCK_ID))
    assert not run(processes.nobody_holds(str(tmp_path / "nothing"), LOCK_ID))


def test_looking_kills_nobody(processes: RealProcesses, lock: Path, start: Start) -> None:
    """`nobody_holds` only asks."""
    holder, _ = start(HOLDER)

    assert not run(processes.nobody_holds(str(lock), LOCK_ID))

    assert holder.poll() is None


def test_we_do_not_kill_ourselves(processes: RealProcesses, lock: Path) -> None:
    """And our own lock is no proof."""
    with lock.open("r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)

        assert not run(processes.kill_holders(str(lock), LOCK_ID))
        assert not run(processes.nobody_holds(str(lock), LOCK_ID))


def test_a_holder_that_does_not_end_is_no_proof(
    processes: RealProcesses, lock: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It hangs in the kernel, or we may not kill it: the wait has an end."""
    start(HOLDER)
    monkeypatch.setattr(processes_module, "KILL_WAIT_S", 0.2)
    monkeypatch.setattr(processes_module, "_kill_if_it_still_holds", lambda *_: None)

    assert not run(processes.kill_holders(str(lock), LOCK_ID))


def test_observers_at_the_same_lock_all_get_the_proof(processes: RealProcesses, lock: Path, start: Start) -> None:
    """They neither refuse nor kill each other."""
    start(HOLDER)

    async def story() -> list[bool]:
        return await asyncio.gather(*(processes.kill_holders(str(lock), LOCK_ID) for _ in range(8)))

    assert all(run(story()))
