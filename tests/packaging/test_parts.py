"""The API and the nodes as services of their own, and what their service manager hears of them: real processes."""

import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.service import Service, eventually

NAME: Final = "alpha"
ENVIRON: Final = {"BREEZEBLOCK_NODES__TTL_S": "1.0", "BREEZEBLOCK_NODES__NAME": NAME, "PYTHONUNBUFFERED": "1"}


@dataclass
class Manager:
    """A service manager's socket, and when what was heard on it."""

    path: Path
    heard: list[tuple[float, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self.path))
        self._socket.setblocking(False)

    def listen(self) -> list[str]:
        """Every line since the beginning."""
        while True:
            try:
                lines = self._socket.recv(4096).decode().split("\n")
            except BlockingIOError:
                return [line for _, line in self.heard]
            self.heard += [(time.monotonic(), line) for line in lines]

    def signs_of_life(self) -> int:
        return self.listen().count("WATCHDOG=1")

    def close(self) -> None:
        self._socket.close()


@contextmanager
def part(
    data: Path, only: str, *options: str, environ: Mapping[str, str] | None = None
) -> Iterator["subprocess.Popen[bytes]"]:
    """One part of a service, until the end of the block."""
    output = data.parent / f"{only}.out"
    with output.open("ab") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "breezeblock.cli", "up", "--data", str(data), "--only", only, *options],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            env={**os.environ, **ENVIRON, **(environ or {})},
            start_new_session=True,
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(40)
        finally:
            process.kill()
            print(output.read_text())


def healthy(data: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "breezeblock.cli", "healthy", "--data", str(data)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def told(data: Path, name: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((data / "run" / f"{name}.json").read_text())
    except FileNotFoundError:
        return {}
    return found


def test_an_api_and_nodes_are_one_service_in_two_parts(tmp_path: Path) -> None:
    """Either may be restarted while the other goes on: requests are accepted without nodes, and work goes on without an API."""
    data = tmp_path / "data"
    with part(data, "api", "--port", "0", "--workers", "1") as api:
        eventually(lambda: told(data, "up-api").get("ready"), within_s=60)
        endpoint = str(told(data, "up-api")["endpoint"])
        service = _Apart(data=data, process=api, output=tmp_path / "api.out", at=endpoint)

        with part(data, "nodes", "--nodes", "1") as nodes:
            eventually(lambda: told(data, "up").get("ready"), within_s=60)
            service.wait_status(service.create_volume())
            whole = service.status()
            both = healthy(data)
            refused = service.command("up", "--port", "0")
            nodes.terminate()
            ended = nodes.wait(40)

        alone = service.status()
        accepted = service.create_volume()
        waiting = service.volume_status(accepted)
        with part(data, "nodes", "--nodes", "1"):
            service.wait_status(accepted)

    assert (whole["running"], whole["ready"], whole["endpoint"]) == (True, True, endpoint)
    assert [one["name"] for one in whole["nodes"]] == [f"{NAME}-1"]
    assert [one["name"] for one in whole["api"]] == ["api-1"]
    assert (both.returncode, both.stdout) == (0, "Healthy.\n")
    assert refused.returncode == 1 and "is running on" in refused.stderr
    assert ended == 0
    assert (alone["running"], alone["endpoint"]) == (True, endpoint)
    assert not [one for one in alone["nodes"] if one["state"] == "up"]
    assert waiting == "creating"
    assert healthy(data).stderr.startswith("breezeblock: Not healthy: nothing runs on")


class _Apart(Service):
    """A service whose API tells its endpoint elsewhere."""

    def __init__(self, *, at: str, **given: object) -> None:
        super().__init__(**given)  # type: ignore[arg-type]
        self._at = at

    @property
    def endpoint(self) -> str:
        return self._at


def test_a_manager_hears_of_readiness_and_of_the_end(tmp_path: Path) -> None:
    """What is waited for, readiness, signs of life, and that it stops. A stop that was asked for is no failure."""
    manager = Manager(tmp_path / "notify")
    environ = {"NOTIFY_SOCKET": str(manager.path), "WATCHDOG_USEC": "800000"}
    with part(tmp_path / "data", "nodes", "--nodes", "1", environ=environ) as nodes:
        eventually(lambda: manager.signs_of_life() >= 2, within_s=60)
        nodes.terminate()
        status = nodes.wait(40)
    lines = manager.listen()
    manager.close()

    firsts = [lines.index(line) for line in ("READY=1", "WATCHDOG=1", "STOPPING=1")]
    assert status == 0
    assert lines[0] == "STATUS=Bringing the database to this release."
    assert any(line.startswith("STATUS=Waiting for ") for line in lines[: firsts[0]])
    assert firsts == sorted(firsts)
    assert "WATCHDOG=1" not in lines[firsts[2] :]


def test_there_are_no_signs_of_life_while_nobody_answers(tmp_path: Path) -> None:
    """When the one node is stopped, until the supervisor has replaced it; and when the supervisor itself is."""
    manager = Manager(tmp_path / "notify")
    environ = {"NOTIFY_SOCKET": str(manager.path), "WATCHDOG_USEC": "400000"}
    data = tmp_path / "data"
    with part(data, "nodes", "--nodes", "1", environ=environ) as nodes:
        eventually(lambda: manager.signs_of_life() >= 3, within_s=60)
        (keeper,) = told(data, "up")["keepers"]
        os.kill(keeper["pid"], signal.SIGSTOP)
        eventually(lambda: told(data, "up")["keepers"][0]["pid"] not in (keeper["pid"], None), within_s=60)
        replaced = time.monotonic()
        before = manager.signs_of_life()
        eventually(lambda: manager.signs_of_life() > before + 2, within_s=60)
        feeds = [at for at, line in manager.heard if line == "WATCHDOG=1"]
        silence_s = max(after - at for at, after in itertools.pairwise(feeds))

        os.kill(nodes.pid, signal.SIGSTOP)
        time.sleep(0.5)
        stopped = manager.signs_of_life()
        time.sleep(1.0)
        later = manager.signs_of_life()
        os.kill(nodes.pid, signal.SIGCONT)
        eventually(lambda: manager.signs_of_life() > later, within_s=20)
    manager.close()

    # A keeper is silent for three seconds before it is killed, and a ping or two of those passed before it was noticed.
    assert 1.2 < silence_s < replaced
    assert later == stopped
