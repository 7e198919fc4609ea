"""A real `breezeblock up` on a folder of its own: how it is started, asked, looked at and ended."""

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from breezeblock.chaos.database import Database, Servers, SqliteFile
from breezeblock.database_urls import sqlite_path
from breezeblock.supervisor import posts

__all__ = ["Answer", "NotYet", "Service", "children", "descendants", "eventually", "is_running", "start"]

T = TypeVar("T")

START_LIMIT_S: Final = 120.0
STOP_LIMIT_S: Final = 40.0
LOOK_EVERY_S: Final = 0.05
LOG_TAIL_LINES: Final = 25
FOR_EVER_S: Final = 1e6
# `up` starts its children with the interpreter that it runs in; here, with another one. And it ends with whoever started it.
# With patience it is a machine whose supervisor does not notice that a node hangs: a fenced one lives on.
UP_WITH: Final = """
import sys
from breezeblock.processes.parent import die_with_parent
die_with_parent(int(sys.argv.pop(1)))
sys.executable = sys.argv.pop(1)
from breezeblock.supervisor import posts
posts.KEEPER_PATIENCE_LEAST_S = float(sys.argv.pop(1))
from breezeblock.cli import main
main()
"""


class NotYet(AssertionError):
    """What was waited for did not come."""


def eventually(what: Callable[[], T], *, within_s: float = 20.0, message: str = "") -> T:
    """The first truthy answer of `what`. Fails after `within_s` with the last one."""
    until = time.monotonic() + within_s
    while not (found := what()):
        if time.monotonic() >= until:
            raise NotYet(f"{message or 'not'} within {within_s} s; last: {found!r}")
        time.sleep(LOOK_EVERY_S)
    return found


@dataclass(frozen=True)
class Answer:
    """What the API answered."""

    status: int
    body: Any
    headers: Mapping[str, str]


@dataclass
class Service:
    """One `breezeblock up`, running or ended."""

    data: Path
    process: subprocess.Popen[bytes]
    output: Path
    environ: dict[str, str] = field(default_factory=dict)
    interpreter: str = sys.executable
    user: int | None = None

    @property
    def told(self) -> dict[str, Any]:
        """What the service says of itself."""
        try:
            told: dict[str, Any] = json.loads((self.data / "run" / "up.json").read_text())
        except FileNotFoundError:
            return {}
        return told

    @property
    def database(self) -> Database:
        """Whichever it was given."""
        url = self.environ.get("BREEZEBLOCK_DATABASE__URL", "")
        if path := sqlite_path(url):
            return SqliteFile(Path(path))
        if url:
            return Servers((url, *json.loads(self.environ.get("BREEZEBLOCK_DATABASE__FAILOVER_URLS", "[]"))))
        return SqliteFile(self.data / "breezeblock.db")

    @property
    def endpoint(self) -> str:
        return str(self.told["endpoint"])

    @property
    def is_ready(self) -> bool:
        told = self.told
        return bool(told.get("ready")) and told.get("pid") == self.process.pid

    def wait_ready(self) -> None:
        """Return when it answers and every node that it runs serves; fail at once when it has ended."""

        def ready_or_ended() -> bool:
            if self.process.poll() is not None:
                raise AssertionError(f"`up` ended with {self.process.returncode}:\n{self.output.read_text()}")
            return self.is_ready and self.serving_keepers() >= set(self.keeper_pids.values())

        eventually(ready_or_ended, within_s=START_LIMIT_S, message="the service is not ready")

    def serving_keepers(self) -> set[int]:
        """The pids of the keepers whose workers claim operations."""
        query = "SELECT keeper_pid FROM nodes WHERE state = 'up' AND worker_pid IS NOT NULL"
        return {row["keeper_pid"] for row in self.database.rows(query)}

    def request(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = 30,
    ) -> Answer:
        """One request on a connection of its own."""
        at = urlsplit(self.endpoint)
        connection = http.client.HTTPConnection(str(at.hostname), at.port, timeout=timeout_s)
        try:
            sent = None if body is None else json.dumps(body)
            sent_headers = {"Content-Type": "application/json"} if sent else {}
            connection.request(method, path, sent, sent_headers | dict(headers or {}))
            answer = connection.getresponse()
            raw = answer.read()
            return Answer(
                answer.status, json.loads(raw) if raw[:1] in (b"{", b"[") else raw.decode(), dict(answer.getheaders())
            )
        finally:
            connection.close()

    def create_volume(self, *, size_gib: int = 1, project: str = "admin") -> str:
        """Ask for a volume; returns its id as soon as that was accepted."""
        answer = self.request("POST", f"/v3/{project}/volumes", {"volume": {"size": size_gib}})
        assert answer.status == 202, answer
        return str(answer.body["volume"]["id"])

    def volume_status(self, volume_id: str, *, project: str = "admin") -> str:
        """Its status, or `gone`."""
        answer = self.request("GET", f"/v3/{project}/volumes/{volume_id}")
        return "gone" if answer.status == 404 else str(answer.body["volume"]["status"])

    def wait_status(self, volume_id: str, status: str = "available", *, within_s: float = 30.0) -> None:
        """Return when the volume has that status."""
        eventually(lambda: self.volume_status(volume_id) == status, within_s=within_s, message=f"volume not {status}")

    # --- the command line -------------------------------------------------------------------------------------------

    def command(self, *arguments: str, timeout_s: float = 60) -> "subprocess.CompletedProcess[str]":
        """Run `breezeblock …` on this folder, as the service's user: what another makes there is in its way."""
        command = [self.interpreter, "-m", "breezeblock.cli", *arguments, "--data", str(self.data)]
        return subprocess.run(
            command,
            env=os.environ | self.environ,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
            **_as(self.user),
        )

    def status(self) -> dict[str, Any]:
        """`breezeblock status --json`."""
        done = self.command("status", "--json")
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    # --- its processes ----------------------------------------------------------------------------------------------

    @property
    def api_pids(self) -> list[int]:
        return [one["pid"] for one in self.told["api"] if one["pid"]]

    @property
    def keeper_pids(self) -> dict[str, int]:
        return {one["name"]: one["pid"] for one in self.told["keepers"] if one["pid"]}

    def worker_pid(self, node: str) -> int | None:
        """The pid of a node's worker: the only child of its keeper."""
        keeper = self.keeper_pids.get(node)
        found = children(keeper) if keeper else []
        return found[0] if found else None

    def pids(self) -> list[int]:
        """Every process of the service, `up` first."""
        return [self.process.pid, *descendants(self.process.pid)]

    def interrupt(self) -> int:
        """Ctrl-C; returns the exit status."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(STOP_LIMIT_S)

    def end(self) -> None:
        """Make sure that nothing of it is left."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_LIMIT_S)
            except subprocess.TimeoutExpired:
                self.process.kill()  # its children die with it
                self.process.wait(STOP_LIMIT_S)
                raise

    def tail(self) -> str:
        """The ends of all logs."""
        parts = []
        for path in [self.output, *sorted((self.data / "log").glob("*.log"))]:
            with contextlib.suppress(FileNotFoundError):
                lines = path.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:]
                parts.append("\n".join([f"--- {path.name}", *lines]))
        return "\n".join(parts)


def start(
    data: Path,
    *,
    nodes: int = 2,
    workers: int = 2,
    ttl_s: float = 3.0,
    port: int = 0,
    environ: Mapping[str, str] | None = None,
    wait: bool = True,
    python: Path | None = None,
    kills_hung_keepers: bool = True,
    user: int | None = None,
    interpreter: str = sys.executable,
) -> Service:
    """Start `breezeblock up` on `data`. Other options go by `environ`: `{"BREEZEBLOCK_QUOTA__VOLUMES": "-1"}`.

    `python` is the interpreter for its children, where that is to be another one; then it does not outlive this process, and
    may be told to leave hung keepers alone. `user` is as whom it runs, if not as we do: the folder above `data` must be
    theirs, and `interpreter` one that they can start, with what it needs.
    """
    given = {"BREEZEBLOCK_NODES__TTL_S": str(ttl_s), "PYTHONUNBUFFERED": "1", **(environ or {})}
    program = ("-m", "breezeblock.cli") if python is None else _up_with(python, kills_hung_keepers)
    options = ("--port", str(port), "--nodes", str(nodes), "--workers", str(workers))
    data.parent.mkdir(parents=True, exist_ok=True)
    output = data.parent / f"{data.name}.out"
    with output.open("ab") as stream:
        process = subprocess.Popen(
            [interpreter, *program, "up", "--data", str(data), *options],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            env=os.environ | given,
            start_new_session=True,
            **_as(user),
        )
    service = Service(data, process, output, environ=given, interpreter=interpreter, user=user)
    if wait:
        try:
            service.wait_ready()
        except BaseException:
            print(service.tail())
            service.process.kill()
            service.process.wait()
            raise
    return service


def _as(user: int | None) -> dict[str, Any]:
    """What starts a program as somebody else, without groups of ours and in a folder that they can be in."""
    return {} if user is None else {"user": user, "group": user, "extra_groups": [], "cwd": "/"}


def _up_with(python: Path, kills_hung_keepers: bool) -> tuple[str, ...]:
    patience_s = posts.KEEPER_PATIENCE_LEAST_S if kills_hung_keepers else FOR_EVER_S
    return "-c", UP_WITH, str(os.getpid()), str(python), str(patience_s)


# --- the process table ------------------------------------------------------------------------------------------------


def is_running(pid: int) -> bool:
    """Whether there is such a process; a zombie is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return text.rpartition(")")[2].split()[0] != "Z"


def children(pid: int) -> list[int]:
    """The direct children of a process."""
    found = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += [int(child) for child in (task / "children").read_text().split()]
    return sorted(found)


def descendants(pid: int) -> list[int]:
    """Children, grandchildren, …"""
    found: list[int] = []
    for child in children(pid):
        found += [child, *descendants(child)]
    return found
