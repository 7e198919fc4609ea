"""What a worker leaves behind is ended with it, by descent alone: with real processes, and no control group."""

import asyncio
import errno
import os
import subprocess
import sys
import textwrap
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.proof import not_here
from tests.service import eventually, is_running

from breezeblock.env import cgroups
from breezeblock.env.processes import RealProcesses
from breezeblock.env.real import RealClock, RealThreads
from breezeblock.processes import orphans

# A keeper's process as far as it matters here: `worker` is a shell script, `story` what happens.
KEEPER = """
import asyncio, os, signal, sys
from breezeblock import logs
from breezeblock.env.real import RealClock
from breezeblock.node.link import SocketLink
from breezeblock.processes import orphans
from breezeblock.processes.keeper import WorkerProcess

class Nobody:
    send = receive = None

async def main():
    orphans.adopt_orphans()
    process = await asyncio.create_subprocess_exec("bash", "-c", sys.argv[1])
    worker = WorkerProcess(process, Nobody(), group=None, clock=RealClock())
    print("worker", process.pid, flush=True)
    await asyncio.sleep(float(sys.argv[2]))
    print("ending", flush=True)
    worker.kill()
    await worker.wait()
    print("ended", sorted(orphans.children()), flush=True)

logs.configure("info", "json")
asyncio.run(main())
"""

# A daemon as by the book: a session of its own, no file open, its parent gone.
DAEMON = "(setsid bash -c 'exec <&- >&- 2>&-; echo $BASHPID > {where}; exec sleep {seconds}' &)"

Keep = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def keep() -> Iterator[Keep]:
    started: list[subprocess.Popen[str]] = []

    def begin(worker: str, *, for_s: float) -> "subprocess.Popen[str]":
        command = [sys.executable, "-c", textwrap.dedent(KEEPER), worker, str(for_s)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def pid_in(path: Path) -> int:
    return int(eventually(lambda: path.exists() and path.read_text().strip(), message=f"{path.name} has not begun"))


def test_a_daemon_of_a_worker_is_killed_and_reported_while_the_worker_goes_on(keep: Keep, tmp_path: Path) -> None:
    """It lost its parent, so it is the keeper's now, and the keeper started none."""
    leak = DAEMON.format(where=tmp_path / "pid", seconds=301)

    keeper = keep(f"{leak}; exec sleep 302", for_s=4)
    assert keeper.stdout is not None
    worker = int(keeper.stdout.readline().split()[1])
    leaked = pid_in(tmp_path / "pid")
    eventually(lambda: not is_running(leaked), within_s=6, message="the daemon lives on")

    assert is_running(worker)
    out, err = keeper.communicate(timeout=10)
    assert "ended []" in out
    assert [
        line for line in err.splitlines() if '"orphan.killed"' in line and '"sleep 301"' in line and "warning" in line
    ]


def test_with_the_worker_go_its_children_and_theirs(keep: Keep, tmp_path: Path) -> None:
    """Also those that hide in a session of their own, and those of a child that ends first."""
    tree = f"bash -c 'echo $$ > {tmp_path}/a; bash -c \"echo \\$\\$ > {tmp_path}/b; sleep 303; true\"; true' & "
    hidden = f"setsid bash -c 'echo $$ > {tmp_path}/c; sleep 304; true' & "

    keeper = keep(f"{tree}{hidden} sleep 305; true", for_s=0.8)
    pids = [pid_in(tmp_path / name) for name in "abc"]
    out, _ = keeper.communicate(timeout=10)

    assert "ended []" in out
    assert not [pid for pid in pids if is_running(pid)]


def test_a_worker_that_forks_without_end_is_ended_with_all_of_it(keep: Keep, tmp_path: Path) -> None:
    """Each look finds what the last one has missed: a chain of processes, each of which starts the next and ends."""
    (tmp_path / "hop").write_text('sleep 0.02\nsetsid bash "$0" & exit\n')

    keeper = keep(f"bash {tmp_path}/hop; exec sleep 306", for_s=1)
    out, _ = keeper.communicate(timeout=20)

    assert "ended []" in out
    found = subprocess.run(["pgrep", "-f", f"{tmp_path}/hop"], capture_output=True, text=True, check=False)
    assert found.stdout == ""


def test_orphans_that_end_by_themselves_leave_no_zombies(keep: Keep, tmp_path: Path) -> None:
    """And nobody is warned of them."""
    keeper = keep("for i in 1 2 3 4 5; do (setsid sleep 0.1 &); done; exec sleep 307", for_s=2.5)
    assert keeper.stdout is not None
    worker = int(keeper.stdout.readline().split()[1])
    out, err = keeper.communicate(timeout=10)

    assert "ended []" in out
    assert "orphan.killed" not in err
    assert not is_running(worker)


def test_children_are_found_without_the_kernel_s_list_of_them() -> None:
    """By their parent, in the table of all processes."""
    with subprocess.Popen(["sleep", "308"]) as child:
        listed, searched = orphans.children(), orphans._children_by_parent()
        child.kill()

    assert child.pid in listed
    assert child.pid in searched


# --- control groups ---------------------------------------------------------------------------------------------------

CAN_MAKE = """
import os
from breezeblock.env import cgroups
group = cgroups.make(f"probe-{os.getpid()}")
print(group is not None)
if group: group.leave()
"""


@pytest.fixture(scope="module")
def groups() -> None:
    """Where they can be made."""
    done = subprocess.run([sys.executable, "-c", CAN_MAKE], capture_output=True, text=True, check=True)
    if done.stdout.strip() != "True":
        not_here("no control group (version 2, Linux 5.14) can be made here: not delegated, or not mounted")


IN_A_GROUP = """
import fcntl, os, subprocess, sys
from breezeblock.env import cgroups

lock_id, lock_path, worker = sys.argv[1:]
file = os.open(lock_path, os.O_RDWR)
fcntl.flock(file, fcntl.LOCK_EX)
group = cgroups.make(lock_id)
child = subprocess.Popen(["bash", "-c", worker])
group.add_worker(child.pid)
print("ready", group.path, flush=True)
child.wait()
"""


@pytest.mark.usefixtures("groups")
def test_the_fence_ends_what_closed_the_lock_file_too(tmp_path: Path) -> None:
    """The keeper is killed; a daemon of its worker holds no lock and is nobody's child: no proof before its end."""
    lock, lock_id = tmp_path / "lock", str(uuid.uuid4())
    lock.write_text(lock_id)
    daemon = DAEMON.format(where=tmp_path / "pid", seconds=309)
    command = [sys.executable, "-c", IN_A_GROUP, lock_id, str(lock), f"sleep 0.5; {daemon}; exec sleep 310"]
    keeper = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert keeper.stdout is not None
    path = Path(keeper.stdout.readline().split()[1])
    leaked = pid_in(tmp_path / "pid")
    keeper.kill()
    keeper.wait()
    keeper.stdout.close()
    threads = RealThreads(max_threads=2)
    processes = RealProcesses(threads, RealClock())

    before = asyncio.run(processes.nobody_holds(str(lock), lock_id))
    wrong = asyncio.run(processes.kill_holders(str(lock), "another-id"))
    spared = is_running(leaked)
    proof = asyncio.run(processes.kill_holders(str(lock), lock_id))
    threads.close()

    assert (before, wrong, spared, proof) == (False, False, True, True)
    assert not is_running(leaked)
    assert not path.exists()


@pytest.mark.parametrize("error", [errno.ENOENT, errno.ENODEV])
def test_a_group_that_is_removed_before_or_while_it_is_read_is_empty(
    monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    """The kernel says ENODEV for a file of it that was open by then."""

    def gone(path: Path) -> str:
        raise OSError(error, os.strerror(error), str(path))

    monkeypatch.setattr(Path, "read_text", gone)

    assert not cgroups.Cgroup(Path("/c/breezeblock-1")).is_populated()


def test_a_group_that_cannot_be_read_is_not_taken_for_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is known of it."""

    def denied(path: Path) -> str:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(Path, "read_text", denied)

    with pytest.raises(PermissionError):
        cgroups.Cgroup(Path("/c/breezeblock-1")).is_populated()


def test_all_incarnations_of_a_machine_lie_beside_each_other() -> None:
    """Wherever in its own group the asking process is."""
    assert cgroups.base_of(Path("/c/x/breezeblock-1/worker")) == Path("/c/x")
    assert cgroups.base_of(Path("/c/x/breezeblock-1")) == Path("/c/x")
    assert cgroups.base_of(Path("/c/x")) == Path("/c/x")
    unit = Path("/c/breezeblock.slice/breezeblock-node.service")
    assert cgroups.base_of(unit) == cgroups.base_of(unit / "breezeblock-1" / "worker") == unit
    assert cgroups.base_of(None) is None


def test_an_id_that_is_no_name_finds_no_group() -> None:
    """It comes from a row of the database."""
    assert cgroups.find("") is None
    assert cgroups.find("../escape") is None
