"""Real nodes that only an external agent may fence: how it is called, and that nothing is released before it has succeeded."""

import contextlib
import json
import os
import signal
import stat
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from tests.chaos import verdict
from tests.chaos.test_failover import SLOW, file_of, given_full_volume, owner, runs_elsewhere
from tests.service import Service, StartService, eventually, is_running

from breezeblock.chaos.stopper import stop_outside

QUEUE: Final = "breezeblock@file"
SECRET: Final = "correct horse battery"
# Some rounds of the survivor's housekeeping, in which it releases whatever it may.
ROUNDS_S: Final = 2.0

# Writes down what it was told; then does what the test has decided.
AGENT: Final = """
import json, os, pathlib, signal, sys, time

folder = pathlib.Path(FOLDER)
told = sys.stdin.read().splitlines()
with open(folder / "calls", "a") as calls:
    calls.write(json.dumps(told) + "\\n")
if (folder / "refuse").exists():
    sys.exit("no route to 10.0.0.9")
while not (folder / "go").exists():
    time.sleep(0.05)
lock_path = next(line.partition("=")[2] for line in told if line.startswith("lock_path="))
for process in pathlib.Path("/proc").glob("[0-9]*"):
    try:
        held = any(os.readlink(file) == lock_path for file in (process / "fd").iterdir())
    except OSError:
        continue
    if held:
        os.kill(int(process.name), signal.SIGKILL)
"""


class Agent:
    """The fence agent, as the test sees it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.program = folder / "agent"
        self.program.write_text(f"#!{sys.executable}\nFOLDER = {str(folder)!r}\n{AGENT}")
        self.program.chmod(self.program.stat().st_mode | stat.S_IXUSR)
        (folder / "password").write_text(SECRET + "\n")

    @property
    def environ(self) -> dict[str, str]:
        """Settings with which nothing but this agent fences, and a copy takes a while."""
        agent = {
            "COMMAND": json.dumps([str(self.program), "--quiet"]),
            "OPTIONS": json.dumps({"username": "fence", "lanplus": True}),
            "OPTION_FILES": json.dumps({"password": str(self._folder / "password")}),
            "NODES": json.dumps({"node-1": {"plug": 11}, "node-2": {"plug": 12}}),
            "TIMEOUT_S": "25",
        }
        given = {f"BREEZEBLOCK_FENCES__RACK__{key}": value for key, value in agent.items()}
        given |= {"BREEZEBLOCK_NODES__FENCE_AGENT": "rack", "BREEZEBLOCK_BACKENDS__FILE__FENCE": '["external"]'}
        return SLOW | given

    def calls(self) -> list[list[str]]:
        with contextlib.suppress(FileNotFoundError):
            return [json.loads(line) for line in (self._folder / "calls").read_text().splitlines()]
        return []

    def let(self, what: str) -> None:
        (self._folder / what).touch()


@pytest.fixture
def agent(tmp_path: Path) -> Agent:
    folder = tmp_path / "fence"
    folder.mkdir()
    return Agent(folder)


@contextlib.contextmanager
def unsupervised(service: Service) -> Iterator[None]:
    """`up` stands still: nobody starts a lost node again, whose new keeper would prove by itself that the old one is gone."""
    os.kill(service.process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(service.process.pid, signal.SIGCONT)


def kill(service: Service, pids: list[int]) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


def stop(service: Service, pids: list[int]) -> None:
    """Outside of transactions: with `up` nobody would end a stopped holder of the write lock."""
    stop_outside(service.data / "breezeblock.db", pids)


def begin_copy(service: Service) -> tuple[str, bytes, str, str]:
    """A copy under way: (its volume, what must be in it, the incarnation and the node that run it)."""
    source, data = given_full_volume(service)
    answer = service.request("POST", "/v3/admin/volumes", {"volume": {"source_volid": source, "size": 1}})
    lost, node = eventually(lambda: found if (found := owner(service))[0] else None) or (None, None)
    assert lost is not None
    assert node is not None
    return str(answer.body["volume"]["id"]), data, lost, node


def processes(service: Service, node: str) -> list[int]:
    return [service.keeper_pids[node], service.worker_pid(node) or 0]


def shown(service: Service, incarnation: str) -> dict[str, Any]:
    """The lost node, as the status has it."""
    return next(one for one in service.status()["nodes"] if one["incarnation"] == incarnation)


def fenced_by(service: Service, incarnation: str) -> list[str | None]:
    query = "SELECT fenced_by FROM node_backends WHERE incarnation = ?"
    return [row["fenced_by"] for row in verdict.rows(verdict.database(service), query, incarnation)]


def lock_path(service: Service, incarnation: str) -> str:
    query = "SELECT lock_path FROM nodes WHERE incarnation = ?"
    (row,) = verdict.rows(verdict.database(service), query, incarnation)
    return str(row["lock_path"])


@pytest.mark.parametrize("lose", [kill, stop])
def test_nothing_is_released_before_the_agent_has_succeeded(
    running_service: StartService, agent: Agent, lose: Callable[[Service, list[int]], None]
) -> None:
    """It is called once, exactly as declared; the copy waits for it, and then goes on elsewhere and is right."""
    service = running_service(nodes=2, workers=1, ttl_s=1.5, environ=agent.environ)
    copy, data, lost, node = begin_copy(service)
    pids = processes(service, node)

    with unsupervised(service):
        lose(service, pids)
        (told,) = eventually(agent.calls, message="the agent was not called")
        time.sleep(ROUNDS_S)
        before = (owner(service)[0], fenced_by(service, lost), shown(service, lost)["state"])
        agent.let("go")
        eventually(lambda: runs_elsewhere(service, copy, lost), message="the copy does not go on elsewhere")

    number = node.removeprefix("node-")
    assert told == [
        "action=off", f"nodename={node}", f"incarnation={lost}", f"lock_path={lock_path(service, lost)}",
        "username=fence", "lanplus=1", f"plug=1{number}", f"password={SECRET}",
    ]  # fmt: skip
    assert before == (lost, [None], "expired")
    assert (fenced_by(service, lost), len(agent.calls())) == (["external"], 1)
    assert [pid for pid in pids if is_running(pid)] == []
    service.wait_status(copy, within_s=60)
    assert file_of(service, copy).read_bytes()[: len(data)] == data


def test_while_the_agent_fails_everything_waits_and_says_why_until_a_word_is_given(
    running_service: StartService, agent: Agent
) -> None:
    """Nothing is released; the status shows the reason; the API takes an administrator's word, once it is confirmed."""
    agent.let("refuse")
    service = running_service(nodes=2, workers=1, ttl_s=1.5, environ=agent.environ)
    copy, data, lost, node = begin_copy(service)

    with unsupervised(service):
        kill(service, processes(service, node))
        eventually(lambda: len(agent.calls()) >= 3, message="the agent is not called again")
        row = eventually(lambda: found if (found := shown(service, lost))["next_fence_in_s"] is not None else None)
        still = owner(service)[0]
        text = service.command("status").stdout
        asked = service.request("PUT", "/v3/admin/os-services/fence", {"host": node})
        confirmed = service.request("PUT", "/v3/admin/os-services/fence", {"host": node, "confirm": True})
        eventually(lambda: runs_elsewhere(service, copy, lost), message="the copy does not go on elsewhere")
        again = service.request("PUT", "/v3/admin/os-services/fence", {"host": node, "confirm": True})
        events = json.loads(service.command("node", "events", node, "--json").stdout)

    assert row is not None
    error = f"{QUEUE}: external: agent rack: exit status 1: no route to 10.0.0.9"
    assert (still, row["state"], row["fence_error"]) == (lost, "expired", error)
    assert (row["fence_tries"] >= 2, row["fencer"]) == (True, None)
    assert row["backends"] == [{"queue": QUEUE, "fenced_by": None}]
    assert "no route to 10.0.0.9" in text
    assert f"{QUEUE}: not fenced" in text
    assert [answer.status for answer in (asked, confirmed, again)] == [400, 200, 404]
    assert confirmed.body == {"host": node, "fenced": [{"incarnation": lost, "backends": [QUEUE]}]}
    assert fenced_by(service, lost) == ["operator"]
    of_lost = [one["event"] for one in events if one["incarnation"] == lost]
    assert (of_lost[0], of_lost[-1], set(of_lost[1:-1])) == (
        "confirmed",
        "expired",
        {"fence_failed", "fence_taken_over"},
    )
    assert SECRET not in text + json.dumps(row) + json.dumps(events)
    service.wait_status(copy, within_s=60)
    assert file_of(service, copy).read_bytes()[: len(data)] == data
