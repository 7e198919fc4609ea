"""Nothing of a private server outlives those who use it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.proof import not_here
from tests.servers.home import Daemon, Home, wait_until
from tests.servers.packages import Missing, find

ROOT = Path(__file__).resolve().parents[2]

# Starts a server and is then stuck, as a test may be. Says where.
USER = """
import sys
from tests.servers.postgresql import postgresql
with postgresql() as server:
    print(server.folder.parent, *server.daemon.pids(), flush=True)
    sys.stdin.read()
"""


class StillThere(Exception):
    """Something is left."""


def expect_gone(folder: Path, pids: list[int]) -> None:
    alive = [pid for pid in pids if Path(f"/proc/{pid}").exists()]
    if folder.exists() or alive:
        raise StillThere(f"{folder} {alive}")


def test_a_test_that_is_killed_leaves_nothing() -> None:
    """SIGKILL: no handler of it runs. The server's processes end, and its folder is removed."""
    try:
        find("initdb", package="postgresql")
    except Missing as error:
        not_here(str(error))
    user = subprocess.Popen(
        [sys.executable, "-c", USER], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert user.stdin is not None and user.stdout is not None
    with user.stdin, user.stdout:
        folder, *pids = user.stdout.readline().split()
        assert Path(folder).is_dir() and len(pids) > 1

        user.kill()
        user.wait()

    wait_until(lambda: expect_gone(Path(folder), [int(pid) for pid in pids]), seconds=20, unless=(StillThere,))


def test_what_a_daemon_detaches_ends_with_it() -> None:
    """A child in a session of its own, whose parent has ended."""
    with Home("t") as home:
        daemon = Daemon(home, "shell")
        daemon.start("/bin/sh", "-c", "(setsid sleep 1000 &); exec sleep 1000")
        pids = wait_until(lambda: two_of(daemon), seconds=20, unless=(StillThere,))

        daemon.kill()

        assert [pid for pid in pids if Path(f"/proc/{pid}").exists()] == []


def two_of(daemon: Daemon) -> list[int]:
    pids = daemon.pids()
    names = [Path(f"/proc/{pid}/comm").read_text().strip() for pid in pids]
    if names != ["sleep", "sleep"]:
        raise StillThere(str(names))
    return pids


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_guard_does_not_leave_before_its_daemon(number: signal.Signals) -> None:
    """Whoever signals the guard reaches the daemon, or nobody."""
    with Home("t") as home:
        daemon = Daemon(home, "sleep", stop_signal=signal.SIGTERM)
        daemon.start("sleep", "1000")
        (pid,) = wait_until(lambda: one_of(daemon), seconds=20, unless=(StillThere,))
        guard = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])

        os.kill(guard, number)
        daemon.stop()

        assert not Path(f"/proc/{pid}").exists()


def one_of(daemon: Daemon) -> list[int]:
    pids = daemon.pids()
    if len(pids) != 1 or Path(f"/proc/{pids[0]}/comm").read_text().strip() != "sleep":
        raise StillThere(str(pids))
    return pids
