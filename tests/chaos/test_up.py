"""`breezeblock up` with real processes: it starts, keeps what it started running, and leaves nothing behind."""

import http.client
import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tests.service import Service, StartService, eventually, is_running, start

from breezeblock.chaos.stopper import stop_outside
from breezeblock.store.turnstile import holders

NO_QUOTA = {"BREEZEBLOCK_QUOTA__VOLUMES": "-1", "BREEZEBLOCK_QUOTA__GIGABYTES": "-1"}


def logged(service: Service, event: str) -> list[dict[str, object]]:
    """Lines of the supervisor's log with that event."""
    lines = (service.data / "log" / "up.log").read_text().splitlines()
    return [line for line in map(json.loads, lines) if line["event"] == event]


def none_running(pids: list[int]) -> bool:
    return not any(is_running(pid) for pid in pids)


def is_stopped(pid: int) -> bool:
    """Every thread of it. A signal is only on its way when `os.kill` returns: one thread takes it and stops the others."""
    states = (path.read_text().rpartition(")")[2].split()[0] for path in Path(f"/proc/{pid}/task").glob("*/stat"))
    return set(states) == {"T"}


def stop_while_it_holds_the_lock(service: Service, pid: int) -> None:
    """SIGSTOP a process at a moment when it holds the turnstile or SQLite's write lock."""
    database = str(service.data / "breezeblock.db")
    for _ in range(2000):
        os.kill(pid, signal.SIGSTOP)
        eventually(lambda: is_stopped(pid), within_s=5)
        if pid in holders(database)[:1]:
            return
        os.kill(pid, signal.SIGCONT)
        time.sleep(0.003)
    raise AssertionError(f"process {pid} was never seen with the lock")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One small service for the tests that leave it as it was."""
    service = start(tmp_path_factory.mktemp("shared") / "service", nodes=1, environ=NO_QUOTA)
    yield service
    service.end()


class Load:
    """Creates and deletes volumes until the end of the block, each on a connection of its own."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.refused = 0
        self.accepted: list[str] = []
        self.otherwise: set[int] = set()
        """What else was answered."""

    def __enter__(self) -> "Load":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(timeout=60)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        while not self._ended.is_set():
            try:
                answer = self._service.request("POST", "/v3/admin/volumes", {"volume": {"size": 1}})
            except ConnectionRefusedError:
                self.refused += 1
                continue
            except OSError:
                continue  # the one who had taken the request was killed; whether it was accepted, nobody said
            if answer.status == 202:
                self.accepted.append(str(answer.body["volume"]["id"]))
            else:
                self.otherwise.add(answer.status)


# --- from start to end ------------------------------------------------------------------------------------------------


def test_a_first_run_serves_and_leaves_nothing_running(running_service: StartService) -> None:
    """An empty folder becomes a service, Ctrl-C ends it with status 0, and the data is there the next time."""
    service = running_service(nodes=3)
    volume = service.create_volume()
    service.wait_status(volume)
    pids = service.pids()

    status = service.interrupt()

    assert status == 0
    assert len(pids) == 1 + 2 + 3 * 2
    assert none_running(pids)
    again = running_service(data=service.data)
    assert again.volume_status(volume) == "available"
    check = again.command("db", "check")
    assert (check.returncode, check.stdout) == (0, "No problems found.\n")


def test_a_second_one_on_the_same_folder_is_refused(shared: Service) -> None:
    """It names the one that runs, and disturbs nothing."""

    second = shared.command("up", "--port", "0")

    assert second.returncode == 1
    assert second.stderr.strip().endswith(f"is running on {shared.data} already (pid {shared.process.pid}).")
    assert shared.volume_status(shared.create_volume()) in ("creating", "available")


def test_a_port_that_is_taken_is_said_in_a_line(running_service: StartService, tmp_path: Path) -> None:
    """The data folder is not in use afterwards."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        service = running_service(port=port, wait=False)
        status = service.process.wait(30)

    assert status == 1
    assert f"Port {port} on 127.0.0.1 is taken" in service.output.read_text()
    assert "Traceback" not in service.output.read_text()


def test_killing_it_leaves_no_orphans(running_service: StartService) -> None:
    """Every process dies with its parent, down to the workers."""
    service = running_service(nodes=2)
    pids = service.pids()

    service.process.kill()
    service.process.wait()

    assert len(pids) == 1 + 2 + 2 * 2
    eventually(lambda: none_running(pids), within_s=1, message="nothing left running")
    again = running_service(data=service.data)
    again.wait_status(again.create_volume())


def test_a_second_ctrl_c_ends_it_at_once(running_service: StartService) -> None:
    """The first waits for a worker that does not move."""
    service = running_service(nodes=1, ttl_s=20)
    worker = service.worker_pid("node-1")
    assert worker is not None
    stop_outside(service.data / "breezeblock.db", (worker,))
    pids = service.pids()

    service.process.send_signal(signal.SIGINT)
    time.sleep(1)
    still_waiting = service.process.poll() is None
    service.process.send_signal(signal.SIGINT)

    assert still_waiting
    assert service.process.wait(5) == 0
    eventually(lambda: none_running(pids), within_s=1)


def test_a_stop_waits_for_requests_under_way_and_not_for_idle_connections(running_service: StartService) -> None:
    """A request that waits for the database is answered; a connection that waits for its client is closed."""
    service = running_service(nodes=1, ttl_s=6)
    idle = http.client.HTTPConnection("127.0.0.1", urlsplit(service.endpoint).port or 0)
    idle.request("GET", "/healthcheck")
    idle.getresponse().read()
    stranger = sqlite3.connect(service.data / "breezeblock.db", isolation_level=None)
    stranger.execute("BEGIN IMMEDIATE")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(service.create_volume)
        time.sleep(0.3)

        service.process.send_signal(signal.SIGINT)
        time.sleep(0.7)
        stranger.close()
        volume = waiting.result(10)
    status = service.process.wait(8)  # less than the drain_s for which a request would be waited

    assert status == 0
    idle.close()
    again = running_service(data=service.data)
    again.wait_status(volume)


def test_it_can_be_stopped_before_it_is_ready(running_service: StartService) -> None:
    """At any instant of its start."""
    service = running_service(wait=False)
    eventually(lambda: service.told)

    status = service.interrupt()

    assert status == 0
    assert "Traceback" not in service.output.read_text()


# --- what dies is replaced --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("victim", ["api", "keeper", "worker"])
def test_work_in_flight_survives_a_killed_process(running_service: StartService, victim: str) -> None:
    """What was accepted is done, and the place of the dead is filled again."""
    service = running_service(nodes=2, ttl_s=1.5, environ=NO_QUOTA)
    before = service.pids()
    pid = {
        "api": service.api_pids[0],
        "keeper": service.keeper_pids["node-1"],
        "worker": service.worker_pid("node-1") or 0,
    }[victim]

    volumes = [service.create_volume() for _ in range(8)]
    os.kill(pid, signal.SIGKILL)

    for volume in volumes:
        service.wait_status(volume)
    eventually(lambda: len(service.pids()) == len(before) and pid not in service.pids(), message="not replaced")
    eventually(lambda: len([one for one in service.status()["nodes"] if one["state"] == "up"]) == 2)


def test_no_connection_is_refused_while_an_api_process_dies(running_service: StartService) -> None:
    """All of them accept from one queue, which outlives each."""
    service = running_service(nodes=1, workers=2, environ=NO_QUOTA)

    with Load(service) as load:
        for _ in range(3):
            os.kill(service.api_pids[0], signal.SIGKILL)
            accepted = len(load.accepted)
            eventually(lambda so_far=accepted: len(load.accepted) > so_far + 5)  # type: ignore[misc]
            eventually(lambda: len(service.api_pids) == 2)

    assert (load.refused, load.otherwise) == (0, set())
    for volume in load.accepted:
        service.wait_status(volume)


def test_a_stopped_api_process_is_replaced_and_holds_up_nobody(running_service: StartService) -> None:
    """Its siblings take what comes; it is killed after some seconds of silence."""
    service = running_service(nodes=1, workers=2)
    stopped = service.api_pids[0]

    os.kill(stopped, signal.SIGSTOP)
    eventually(lambda: is_stopped(stopped), within_s=5)  # until then it may take a request, and keep it

    assert [service.request("GET", "/healthcheck", timeout_s=2).status for _ in range(20)] == [200] * 20
    eventually(lambda: not is_running(stopped), within_s=12, message="the stopped process is not killed")
    eventually(lambda: len(service.api_pids) == 2)


def test_a_stopped_only_keeper_is_replaced(running_service: StartService) -> None:
    """With one node there is no other to expire and fence it."""
    service = running_service(nodes=1, ttl_s=1.0)
    keeper, worker = service.keeper_pids["node-1"], service.worker_pid("node-1")
    assert worker is not None

    os.kill(keeper, signal.SIGSTOP)

    eventually(lambda: none_running([keeper, worker]), within_s=10, message="the stopped keeper is not killed")
    service.wait_status(service.create_volume())


# --- the write lock ---------------------------------------------------------------------------------------------------


def test_a_process_that_is_stopped_with_the_write_lock_is_killed(running_service: StartService) -> None:
    """Nobody could write, not even a renewal; after a lease its holder is found and killed, and all goes on."""
    service = running_service(nodes=2, ttl_s=1.5, environ=NO_QUOTA)
    stopped = service.api_pids[0]

    with Load(service) as load:
        stop_while_it_holds_the_lock(service, stopped)
        eventually(lambda: logged(service, "database.holder_killed"), within_s=4.5, message="the holder is not killed")
        accepted = len(load.accepted)
        eventually(lambda: len(load.accepted) > accepted + 5, message="nobody writes")

    assert [line["pid"] for line in logged(service, "database.holder_killed")] == [stopped]
    assert load.otherwise <= {503}
    for volume in load.accepted:
        service.wait_status(volume)


def test_a_stranger_with_the_write_lock_is_reported_and_left_alone(running_service: StartService) -> None:
    """Somebody's shell is not ours to kill. The nodes wait, lose nothing, and go on."""
    service = running_service(nodes=2, ttl_s=1.5)
    code = (
        "import sqlite3, sys, time\n"
        "c = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=20)\n"
        "c.execute('BEGIN IMMEDIATE'); print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(service.data / "breezeblock.db")]
    before = service.pids()

    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as stranger:
        assert stranger.stdout is not None
        assert stranger.stdout.readline() == b"held\n"
        eventually(lambda: logged(service, "database.held_by_stranger"), within_s=10)
        time.sleep(3)
        left_alone = stranger.poll() is None
        stranger.kill()

    assert left_alone
    assert [line["pid"] for line in logged(service, "database.held_by_stranger")] == [stranger.pid]
    service.wait_status(service.create_volume())
    assert service.pids() == before


# --- what an operator does --------------------------------------------------------------------------------------------


def test_the_status_says_what_runs(running_service: StartService) -> None:
    """And, when nothing runs, what the database remembers."""
    service = running_service(nodes=2)
    service.wait_status(service.create_volume())

    found = service.status()

    assert (found["running"], found["ready"], found["endpoint"]) == (True, True, service.endpoint)
    assert [one["pid"] for one in found["api"]] == service.api_pids
    nodes = {one["name"]: one for one in found["nodes"] if one["state"] == "up"}
    assert {name: one["keeper_pid"] for name, one in nodes.items()} == service.keeper_pids
    assert {name: one["worker_pid"] for name, one in nodes.items()} == {
        name: service.worker_pid(name) for name in nodes
    }
    assert found["operations"] == []
    assert found["queues"] == [{"queue": "breezeblock@file", "depth": 0, "running": 0}]
    assert found["failovers"] == []
    service.interrupt()
    afterwards = service.status()
    assert (afterwards["running"], afterwards["endpoint"]) == (False, None)
    assert {one["state"] for one in afterwards["nodes"]} <= {"fenced", "gone"}


def test_the_status_shows_what_waits(running_service: StartService) -> None:
    """An operation that nobody can run yet is there with its age and without an owner."""
    service = running_service(nodes=1)
    volume = service.create_volume()
    service.wait_status(volume)
    assert service.command("node", "drain", "node-1").returncode == 0

    assert service.request("DELETE", f"/v3/admin/volumes/{volume}").status == 202
    found = service.status()

    (waiting,) = found["operations"]
    assert (waiting["kind"], waiting["resource_type"], waiting["resource_id"]) == ("delete_volume", "volume", volume)
    assert (waiting["owner"], waiting["attempt"]) == (None, 0)
    assert waiting["age_s"] >= 0
    assert found["queues"] == [{"queue": "breezeblock@file", "depth": 1, "running": 0}]
    human = service.command("status")
    assert human.returncode == 0
    assert "delete_volume" in human.stdout


def test_a_drained_node_stays_out_until_it_is_resumed(running_service: StartService) -> None:
    """Over a restart of the service, too; the others do the work."""
    service = running_service(nodes=2)
    drained = service.command("node", "drain", "node-1")
    assert drained.returncode == 0, drained.stderr
    assert set(service.keeper_pids) == {"node-2"}
    service.wait_status(service.create_volume())
    service.interrupt()

    again = running_service(data=service.data)
    states = {(one["name"], one["state"]) for one in again.status()["nodes"] if one["state"] in ("up", "drained")}
    assert set(again.keeper_pids) == {"node-2"}
    assert ("node-2", "up") in states
    resumed = again.command("node", "resume", "node-1")

    assert resumed.returncode == 0, resumed.stderr
    assert set(again.keeper_pids) == {"node-1", "node-2"}
    assert again.command("node", "resume", "node-1").returncode == 1


def test_one_node_is_asked_about_its_storage(running_service: StartService) -> None:
    """It answers for itself, also from another process; what is wrong with the storage is an answer and a status."""
    service = running_service(nodes=2)
    owners = {one["name"]: one["incarnation"] for one in service.status()["nodes"]}
    for name in ("node-2", "node-1"):
        well = service.command("node", "check", name)
        assert (well.returncode, owners[name] in well.stdout) == (0, True), well.stderr
        assert "breezeblock@file: well, after" in well.stdout
    assert service.command("node", "drain", "node-1").returncode == 0
    late = service.command("node", "check", "node-1", "--wait", "0.5")
    (service.data / "volumes").rename(service.data / "moved")
    ill = service.command("node", "check", "node-2", "--json")

    assert (late.returncode, "node-1 gave no answer within 0.5 s" in late.stderr) == (1, True)
    ((said),) = json.loads(ill.stdout)
    assert (ill.returncode, said["queue"], bool(said["error"])) == (1, "breezeblock@file", True)
    unknown = service.command("node", "check", "node-9")
    assert (unknown.returncode, "There is no node node-9" in unknown.stderr) == (1, True)


def test_a_lost_node_is_shown_and_replaced(running_service: StartService) -> None:
    """A keeper that is stopped is expired and fenced by the other node. What becomes of its work is in `test_failover.py`."""
    service = running_service(nodes=2, ttl_s=1.5)

    stop_outside(service.data / "breezeblock.db", (service.keeper_pids["node-1"],))

    def failed_over() -> bool:
        return any(one["node"] == "node-1" and one["fencer"] == "node-2" for one in service.status()["failovers"])

    eventually(failed_over, within_s=20, message="no failover is shown")
    eventually(lambda: "node-1" in service.keeper_pids)
    service.wait_status(service.create_volume())


def test_fencing_by_hand_asks_for_a_word_and_does_not_believe_it_against_the_facts(shared: Service) -> None:
    """A node whose processes run on this very machine is not dead, whatever the operator says."""

    unconfirmed = shared.command("node", "fence", "node-1")
    confirmed = shared.command("node", "fence", "node-1", "--confirm")

    assert unconfirmed.returncode == 1
    assert "--confirm" in unconfirmed.stderr
    assert confirmed.returncode == 1
    assert "is not dead" in confirmed.stderr
    assert [one["state"] for one in shared.status()["nodes"] if one["name"] == "node-1"] == ["up"]


def test_a_lost_node_of_another_machine_is_fenced_by_a_word(shared: Service) -> None:
    """Its operations become claimable at once."""
    with sqlite3.connect(shared.data / "breezeblock.db") as connection:
        connection.execute(
            "INSERT INTO nodes (incarnation, name, cluster, boot_id, state, heartbeat, claims, fence_tries, fence_after_us,"
            " queues_json, kinds_json, version, lock_path, lock_id, keeper_pid, started_at_us) VALUES"
            " ('11111111-1111-1111-1111-111111111111', 'elsewhere', 'breezeblock', 'another-boot', 'expired', 1, 0, 0, 0,"
            " '[\"breezeblock@file\"]', '{}', '0', '/nowhere/lock', 'x', 1, 1)"
        )

    done = shared.command("node", "fence", "elsewhere", "--confirm")

    assert done.returncode == 0, done.stderr
    eventually(lambda: "elsewhere" not in [one["name"] for one in shared.status()["nodes"]])


def test_check_finds_what_storage_has_lost_and_what_nobody_names(shared: Service) -> None:
    """Beside a running shared."""
    volume = shared.create_volume()
    shared.wait_status(volume)
    (whole,) = (shared.data / "volumes" / "file" / volume[:2]).iterdir()
    stray = whole.with_name(whole.name[:-1] + "7")
    whole.rename(stray)

    found = shared.command("db", "check")
    stray.rename(whole)

    assert found.returncode == 1
    assert f"volume {volume}: its object {whole.name} is not on backend breezeblock@file." in found.stdout
    assert f"Backend breezeblock@file has an object that no row names: {stray.name}." in found.stdout


@pytest.mark.slow
def test_the_lines_it_prints_work_when_they_are_pasted(shared: Service) -> None:
    """For each client, and for our own command, in one shell that has nothing set."""
    greeting = shared.output.read_text()
    lines = re.findall(r"^# openstack\n.*^breezeblock status .*?$", greeting, re.DOTALL | re.MULTILINE)[0].splitlines()
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"

    shell = ["bash", "-e", "-x", "-c", "\n".join(lines)]
    environ = {"PATH": path, "HOME": str(shared.data)}
    done = subprocess.run(shell, env=environ, capture_output=True, text=True, timeout=100, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("first") >= 4
