"""What the nemesis works with does what it says, and nothing else: the small disk, the clocks that jump, the fence agent,
the network."""

import errno
import fcntl
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.proof import not_here

from breezeblock.chaos import agent
from breezeblock.chaos.clock import Clocks
from breezeblock.chaos.network import SERVERS, networked
from breezeblock.chaos.service import eventually, is_running
from breezeblock.chaos.storage import SmallDisk

CLOCKS = (
    "import time, sys\n"
    "for line in sys.stdin:\n"
    "    print(time.time(), time.clock_gettime(time.CLOCK_BOOTTIME), time.monotonic(), flush=True)"
)
TALK = (
    "import socket, sys\n"
    "line = socket.create_connection((sys.argv[1], int(sys.argv[2])))\n"
    "for word in sys.stdin:\n"
    "    if word != '?\\n':\n"
    "        line.sendall(word.strip().encode())\n"
    "        continue\n"
    "    line.settimeout(0.5)\n"
    "    try:\n"
    "        print('heard' if line.recv(100) else 'ended', flush=True)\n"
    "    except TimeoutError:\n"
    "        print('nothing', flush=True)\n"
)
HOLD = "import fcntl, sys, time; f = open(sys.argv[1]); fcntl.flock(f, 2); print('held', flush=True); time.sleep(60)"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    found = SmallDisk.make(tmp_path)
    if found is None:
        not_here("no filesystem can be mounted here")
    yield found
    found.drop()
    assert not os.path.ismount(found.path)


def write(path: Path) -> int:
    """The error of writing a block there, or 0."""
    try:
        with path.open("wb") as file:
            file.write(bytes(1024**2))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return error.errno or 0
    return 0


def test_a_disk_can_be_filled_and_emptied(disk: SmallDisk) -> None:
    """Nothing of a megabyte fits on a full one."""
    before = write(disk.path / "a")
    disk.fill()
    full = write(disk.path / "b")
    disk.empty()

    assert (before, full, write(disk.path / "c")) == (0, errno.ENOSPC, 0)


def test_a_disk_can_be_made_read_only_and_writable_again(disk: SmallDisk) -> None:
    """But not while a file is open for writing."""
    with (disk.path / "held").open("wb"):
        held = disk.read_only()
    made = disk.read_only()
    refused = write(disk.path / "a")
    disk.writable()

    assert (held, made, refused, write(disk.path / "a")) == (False, True, errno.EROFS, 0)


def test_a_jump_moves_the_wall_clock_of_one_process_and_no_other_clock(tmp_path: Path) -> None:
    """Forward, back, and not at all for a process without a clock file."""
    clocks = Clocks.make(tmp_path)
    if clocks is None:
        not_here("there is no C compiler here")
    file = tmp_path / "clocks" / "7"
    file.write_bytes(bytes(8))
    preloaded = os.environ | {"LD_PRELOAD": str(tmp_path / "clock.so"), "BREEZEBLOCK_CHAOS_CLOCK": str(file)}
    with subprocess.Popen(
        [sys.executable, "-c", CLOCKS], env=preloaded, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        seen = []
        for offset in (0.0, 3600.5, -1800.25):
            assert clocks.set(7, offset)
            process.stdin.write("now\n")
            process.stdin.flush()
            wall, boot, monotonic = (float(word) for word in process.stdout.readline().split())
            seen.append(
                (
                    wall - time.time() - offset,
                    boot - time.clock_gettime(time.CLOCK_BOOTTIME),
                    monotonic - time.monotonic(),
                )
            )
        process.stdin.close()

    assert all(abs(off) < 5 for one in seen for off in one), seen
    assert not clocks.set(8, 1.0)


def test_a_host_is_cut_off_one_way_or_both_and_comes_back(tmp_path: Path) -> None:
    """Its connection stays open. What was sent meanwhile arrives after healing, since TCP sends it again."""
    with networked(tmp_path / "network", ["a", "b"]) as network:
        if isinstance(network, str):
            not_here(network)
        with socket.create_server((SERVERS[0], 0)) as listening:
            address = listening.getsockname()
            talker = network.command("a", sys.executable, "-c", TALK, address[0], str(address[1]))
            with subprocess.Popen(talker, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
                line, _ = listening.accept()
                line.settimeout(0.5)
                network.cut("b", sent=True, heard=True)
                seen = [exchange(process, line, "1")]
                for sent, heard in ((True, False), (False, True)):
                    network.cut("a", sent=sent, heard=heard)
                    seen.append(exchange(process, line, "2"))
                    network.heal("a")
                    line.settimeout(3.0)
                    seen.append(exchange(process, line, ""))
                    line.settimeout(0.5)
                line.close()
                assert process.stdin is not None
                process.stdin.close()

    # What the server heard, and whether the client heard an answer.
    assert seen == [("1", True), ("", False), ("2", True), ("2", False), ("", True)]
    assert not (tmp_path / "network" / "a").exists(), "its namespace is still held"


def exchange(process: "subprocess.Popen[str]", line: socket.socket, word: str) -> tuple[str, bool]:
    """Let the client say a word, answer it, and ask whether it has heard that. Without a word, what is still to come."""
    assert process.stdin is not None
    assert process.stdout is not None
    if word:
        process.stdin.write(f"{word}\n")
        process.stdin.flush()
    try:
        heard = line.recv(100).decode()
        line.sendall(heard.encode())
    except TimeoutError:
        heard = ""
    process.stdin.write("?\n")
    process.stdin.flush()
    return heard, process.stdout.readline() == "heard\n"


def fence(lock: Path, **more: str) -> int:
    """Call the agent as a node does; returns its exit status."""
    told = {"action": "off", "nodename": "node-1", "lock_path": str(lock)} | more
    text = "".join(f"{key}={value}\n" for key, value in told.items())
    return subprocess.run([sys.executable, str(agent.__file__)], input=text, text=True, check=False).returncode


@pytest.fixture
def holder(tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    """A process that holds a node's lock file."""
    lock = tmp_path / "lock"
    lock.touch()
    with subprocess.Popen([sys.executable, "-c", HOLD, str(lock)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_the_agent_ends_who_holds_the_lock(tmp_path: Path, holder: "subprocess.Popen[str]") -> None:
    """And makes sure; who only has the file open is left alone."""
    with (tmp_path / "lock").open() as only_open:
        status = fence(tmp_path / "lock")
        fcntl.flock(only_open, fcntl.LOCK_EX | fcntl.LOCK_NB)

    assert status == 0
    eventually(lambda: not is_running(holder.pid), within_s=5)


def test_the_agent_says_no_where_it_knows_nothing(tmp_path: Path) -> None:
    """A file that is not there proves nothing."""
    assert fence(tmp_path / "nowhere") == 1


def test_the_agent_lies_only_when_it_is_told_to(tmp_path: Path, holder: "subprocess.Popen[str]") -> None:
    """For the test that shows what comes of it."""
    assert fence(tmp_path / "lock", lie="yes") == 0
    assert is_running(holder.pid)
