"""The keeper of a real node: small, found out when it hangs, and nothing outlives it. And its worker never works unleased."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
from tests.proof import PROOF, not_here
from tests.service import Service, StartService, eventually, is_running

from breezeblock.chaos.stopper import stop_outside
from breezeblock.node.page import Page

MIB: Final = 1024**2
# At ttl 0.4 s some 15 in a second. What leaks with each renewal is seen by some thousands as well as by more.
RENEWALS: Final = 3_000 if PROOF else 150
TTL_S: Final = 1.5
SIZE_MOST: Final = 45 * MIB
GROWTH_MOST: Final = 2 * MIB
NO_QUOTA: Final = {"BREEZEBLOCK_QUOTA__VOLUMES": "-1", "BREEZEBLOCK_QUOTA__GIGABYTES": "-1"}


def rows(service: Service, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(f"file:{service.data}/breezeblock.db?mode=ro", uri=True)) as connection:
        return connection.execute(query, parameters).fetchall()


def logged(service: Service, name: str, event: str) -> list[dict[str, Any]]:
    lines = (service.data / "log" / f"{name}.log").read_text().splitlines()
    return [line for line in map(json.loads, lines) if line["event"] == event]


def with_site(tmp_path: Path, text: str) -> dict[str, str]:
    """The environment of processes that run this first."""
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(text)
    return {"PYTHONPATH": os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])}


# --- its size ---------------------------------------------------------------------------------------------------------


def resident(pid: int) -> int:
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1]) * 1024


@pytest.mark.timeout(RENEWALS / 10 + 120)
def test_a_keeper_stays_small(running_service: StartService) -> None:
    """All of it, shared pages too, after many renewals; and it does not grow with them."""
    service = running_service(nodes=1, workers=1, ttl_s=0.4)
    keeper = service.keeper_pids["node-1"]

    def renewed(most: int) -> bool:
        assert service.keeper_pids.get("node-1") == keeper, "it was replaced: this machine is too busy for this test"
        return bool(rows(service, "SELECT 1 FROM nodes WHERE keeper_pid = ? AND heartbeat >= ?", keeper, most))

    eventually(lambda: renewed(RENEWALS // 6), within_s=RENEWALS / 10)
    early = resident(keeper)
    eventually(lambda: renewed(RENEWALS), within_s=RENEWALS / 10)
    late = resident(keeper)

    print(f"keeper: {early / MIB:.1f} MiB, after {RENEWALS} renewals {late / MIB:.1f} MiB")
    assert late < SIZE_MOST
    assert late - early < GROWTH_MOST


# --- it hangs ---------------------------------------------------------------------------------------------------------

# Lets one thread of a process go no further, as if it were in a call that never returns, until the process ends. A tracer
# of its own, which waits for that end: it is told of it before the parent is.
FREEZE = """
import ctypes, os, sys
tid, libc = int(sys.argv[1]), ctypes.CDLL(None, use_errno=True)
SEIZE, INTERRUPT, WALL = 0x4206, 0x4207, 0x40000000
for request in (SEIZE, INTERRUPT):
    if libc.ptrace(request, tid, None, None) != 0:
        sys.exit("no process may be traced here: " + os.strerror(ctypes.get_errno()))
status = os.waitpid(tid, WALL)[1]
print("frozen", flush=True)
while os.WIFSTOPPED(status):
    status = os.waitpid(tid, WALL)[1]
"""


@pytest.fixture
def freeze() -> Iterator[Callable[[int], None]]:
    """Freezes a thread, where the kernel lets us."""
    tracers: list[subprocess.Popen[str]] = []

    def begin(tid: int) -> None:
        tracer = subprocess.Popen([sys.executable, "-c", FREEZE, str(tid)], stdout=-1, stderr=-1, text=True)
        assert tracer.stdout is not None
        assert tracer.stderr is not None
        tracers.append(tracer)
        if not tracer.stdout.readline():
            not_here(tracer.stderr.read())

    yield begin
    for tracer in tracers:
        tracer.kill()
        tracer.communicate()


def test_an_only_keeper_whose_event_loop_hangs_is_replaced(
    running_service: StartService, freeze: Callable[[int], None]
) -> None:
    """Its threads could run, nothing is stopped; it only answers no more. There is no other node to expire it."""
    service = running_service(nodes=1, ttl_s=1.5, environ=NO_QUOTA)
    keeper, worker = service.keeper_pids["node-1"], service.worker_pid("node-1")
    assert worker is not None

    freeze(keeper)  # the main thread has the process's number
    began = time.monotonic()
    eventually(lambda: logged(service, "up", "keeper.silent"), within_s=8, message="nobody sees that it hangs")
    eventually(lambda: not is_running(worker), within_s=2, message="its worker outlives it")
    eventually(lambda: service.keeper_pids.get("node-1") not in (None, keeper), message="it is not replaced")
    replaced_s = time.monotonic() - began

    (said,) = logged(service, "up", "keeper.silent")
    assert (said["pid"], said["state"] == "T") == (keeper, False)
    service.wait_status(service.create_volume())
    print(f"replaced after {replaced_s:.1f} s")


# Python runs this in every process that has its folder in PYTHONPATH: a worker whose event loop can be hung by a signal.
SPINNING = """
import sys
if "breezeblock.processes.worker" in sys.orig_argv:
    import signal
    def spin(*_):
        while True:
            pass
    signal.signal(signal.SIGUSR2, spin)
"""


def block(freeze: Callable[[int], None], worker: int) -> None:
    """As in a system call that does not return. All other threads of the worker go on."""
    freeze(worker)


def spin(_freeze: Callable[[int], None], worker: int) -> None:
    """A loop that does not end."""
    os.kill(worker, signal.SIGUSR2)


@pytest.mark.parametrize(("hang", "in_state"), [(block, "t"), (spin, "R")])
def test_a_worker_whose_event_loop_hangs_is_killed_by_its_keeper(
    running_service: StartService,
    freeze: Callable[[int], None],
    tmp_path: Path,
    hang: Callable[[Callable[[int], None], int], None],
    in_state: str,
) -> None:
    """It is not stopped and its keeper's lease holds; it only answers no more. The keeper itself records its end."""
    environ = NO_QUOTA | with_site(tmp_path, SPINNING)
    service = running_service(nodes=1, workers=1, ttl_s=TTL_S, environ=environ)
    keeper, worker = service.keeper_pids["node-1"], service.worker_pid("node-1")
    assert worker is not None
    ((incarnation,),) = rows(service, "SELECT incarnation FROM nodes WHERE keeper_pid = ?", keeper)

    hang(freeze, worker)
    began = time.monotonic()
    time.sleep(TTL_S / 2)
    state = Path(f"/proc/{worker}/stat").read_text().rpartition(")")[2].split()[0]
    eventually(lambda: not is_running(worker), within_s=3 * TTL_S, message="it lives on")
    killed_s = time.monotonic() - began
    eventually(lambda: rows(service, "SELECT 1 FROM nodes WHERE incarnation = ? AND state = 'fenced'", incarnation))

    print(f"in state {state}, killed after {killed_s:.1f} s")
    assert state == in_state
    assert [line["why"] for line in logged(service, "node-1", "keeper.ended")] == ["worker_hung"]
    assert rows(service, "SELECT fencer FROM nodes WHERE incarnation = ?", incarnation) == [(None,)]
    eventually(lambda: service.keeper_pids.get("node-1") not in (None, keeper), message="it is not replaced")
    service.wait_status(service.create_volume())


# --- what a worker leaves behind --------------------------------------------------------------------------------------

# Python runs this in every process that has its folder in PYTHONPATH: a worker that forgets what it started.
LEAKING = """
import sys
if "breezeblock.processes.worker" in sys.orig_argv:
    import subprocess, threading
    def leak():
        subprocess.Popen(["bash", "-c", "(setsid sleep 77001 &) ; exec sleep 77002"], start_new_session=True)
        subprocess.Popen(["sleep", "77003"], start_new_session=True)
    threading.Timer(3.0, leak).start()
"""


def sleepers(folder: Path, seconds: int) -> list[int]:
    """Processes `sleep SECONDS` of a test, by its folder in their environment."""
    found = []
    for path in Path("/proc").iterdir():
        try:
            is_one = path.name.isdigit() and (path / "cmdline").read_bytes() == f"sleep\0{seconds}\0".encode()
            if is_one and str(folder).encode() in (path / "environ").read_bytes():
                found.append(int(path.name))
        except OSError:
            continue  # it ended
    return [pid for pid in found if is_running(pid)]


@pytest.fixture
def leaking(tmp_path: Path) -> Iterator[dict[str, str]]:
    yield with_site(tmp_path, LEAKING)
    for pid in [pid for seconds in (77001, 77002, 77003) for pid in sleepers(tmp_path, seconds)]:
        os.kill(pid, signal.SIGKILL)  # what the test has found to live on


def test_what_a_worker_forgets_is_killed_and_what_it_has_ends_with_it(
    running_service: StartService, leaking: dict[str, str]
) -> None:
    """An orphan at once, with a warning; its children when it is killed, and before its node is recorded as fenced."""
    service = running_service(nodes=1, workers=1, ttl_s=3, environ=leaking)
    keeper, worker = service.keeper_pids["node-1"], service.worker_pid("node-1")
    ((incarnation,),) = rows(service, "SELECT incarnation FROM nodes WHERE keeper_pid = ?", keeper)
    eventually(
        lambda: sleepers(service.data.parent, 77002) and sleepers(service.data.parent, 77003),
        message="the worker starts nothing",
    )

    eventually(lambda: logged(service, "node-1", "orphan.killed"), within_s=6, message="the orphan is not found")
    eventually(lambda: not sleepers(service.data.parent, 77001), within_s=2)
    (killed,) = logged(service, "node-1", "orphan.killed")
    assert (killed["command"], killed["level"]) == ("sleep 77001", "warning")
    assert service.worker_pid("node-1") is not None, "the worker itself was not to be harmed"
    mine = {*sleepers(service.data.parent, 77002), *sleepers(service.data.parent, 77003)}

    os.kill(worker or 0, signal.SIGKILL)
    eventually(lambda: rows(service, "SELECT 1 FROM nodes WHERE incarnation = ? AND state = 'fenced'", incarnation))

    assert not [pid for pid in mine if is_running(pid)]


def test_what_outlives_a_killed_keeper_is_ended_too(running_service: StartService, leaking: dict[str, str]) -> None:
    """By `up`, to which it comes, or with the control group; there is nobody else left who could."""
    service = running_service(nodes=1, workers=1, ttl_s=3, environ=leaking)
    eventually(
        lambda: sleepers(service.data.parent, 77002) and sleepers(service.data.parent, 77003),
        message="the worker starts nothing",
    )
    mine = {*sleepers(service.data.parent, 77002), *sleepers(service.data.parent, 77003)}

    os.kill(service.keeper_pids["node-1"], signal.SIGKILL)

    eventually(lambda: not [pid for pid in mine if is_running(pid)], within_s=6, message="they live on")


# --- the gate ---------------------------------------------------------------------------------------------------------

WRITER = """
import asyncio, os, sys
from pathlib import PurePosixPath
from breezeblock.env.files import RealFiles
from breezeblock.env.real import RealClock, RealThreads
from breezeblock.node.gate import Gate
from breezeblock.node.page import Page

async def main():
    clock = RealClock()
    gate = Gate(clock, Page(int(sys.argv[2])))
    files = RealFiles(RealThreads(max_threads=1)).guarded(gate.guard({}))
    offset = 0
    while True:
        await files.write_at(PurePosixPath(sys.argv[1]), offset=offset, data=b"x")
        offset += 1

asyncio.run(main())
"""


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[tuple["subprocess.Popen[bytes]", Page, Path]]:
    """A process that writes one byte after the other through the gate, and the page that it asks."""
    page, target = Page.make(), tmp_path / "target"
    target.touch()
    command = [sys.executable, "-c", textwrap.dedent(WRITER), str(target), str(page.file)]
    with subprocess.Popen(command, pass_fds=(page.file,)) as process:
        yield process, page, target
        process.kill()
    os.close(page.file)


def has_grown(path: Path, most: int) -> bool:
    return path.stat().st_size > most


def test_a_worker_stopped_over_the_end_of_its_lease_writes_nothing_when_it_goes_on(
    writer: "tuple[subprocess.Popen[bytes], Page, Path]",
) -> None:
    """At most the one call that it had begun, or was about to begin, when it was stopped: what a fence is for."""
    process, page, target = writer
    late = []

    for number in range(20):
        size = target.stat().st_size
        page.publish(until=time.clock_gettime(time.CLOCK_BOOTTIME) + 30, lapses=number)
        eventually(partial(has_grown, target, size + 50))
        page.publish(until=time.clock_gettime(time.CLOCK_BOOTTIME) + 0.1, lapses=number)
        time.sleep(number * 0.002)
        os.kill(process.pid, signal.SIGSTOP)
        time.sleep(0.2)
        stopped_at = target.stat().st_size
        os.kill(process.pid, signal.SIGCONT)
        time.sleep(0.1)
        late.append(target.stat().st_size - stopped_at)

    print(f"bytes written late, by round: {late}")
    assert max(late) <= 1


COPIED_BYTES: Final = 32 * MIB
RATE_BYTES: Final = 4 * MIB


def storage(service: Service) -> dict[str, tuple[int, int]]:
    """Every file of the backend, with what every effect on it changes."""
    files = [path for path in (service.data / "volumes").rglob("*") if path.is_file()]
    return {str(path): (path.stat().st_blocks, path.stat().st_mtime_ns) for path in files}


def test_a_worker_of_a_stopped_keeper_copies_no_further_than_its_lease(running_service: StartService) -> None:
    """Both are stopped in the middle of a copy, and only the worker goes on, without a lease: it touches no file.

    Then the keeper is found out, the worker dies with it, and the next one ends the copy.
    """
    rate = {"BREEZEBLOCK_BACKENDS__FILE__COPY_RATE_LIMIT": str(RATE_BYTES)}
    service = running_service(nodes=1, workers=1, ttl_s=3, environ=NO_QUOTA | rate)
    source = service.create_volume()
    service.wait_status(source)
    (path,) = (service.data / "volumes" / "file" / source[:2]).iterdir()
    content = os.urandom(MIB)
    with path.open("r+b") as file:
        for _ in range(COPIED_BYTES // MIB):
            file.write(content)
    keeper, worker = service.keeper_pids["node-1"], service.worker_pid("node-1")
    assert worker is not None
    answer = service.request("POST", "/v3/admin/volumes", {"volume": {"size": 1, "source_volid": source}})
    assert answer.status == 202
    copy = answer.body["volume"]["id"]
    begun = storage(service)
    eventually(lambda: len(storage(service)) > 1 and storage(service) != begun, message="no copy is under way")

    stop_outside(service.data / "breezeblock.db", (keeper, worker))
    time.sleep(3.2)
    before = storage(service)
    os.kill(worker, signal.SIGCONT)
    time.sleep(1.5)
    after = storage(service)
    went_on = is_running(worker)

    assert went_on, "the worker was to be alive, and idle"
    assert before == after
    service.wait_status(copy, within_s=60)
    (copied,) = (service.data / "volumes" / "file" / copy[:2]).glob(f"{copy}*")
    with copied.open("rb") as file:
        assert all(file.read(MIB) == content for _ in range(COPIED_BYTES // MIB))
