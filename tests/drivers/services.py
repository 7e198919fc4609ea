"""Private Redis and etcd servers on loopback, on ports of their own. What is missing is installed, and nothing else started."""

import fcntl
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PACKAGES = {"redis-server": "redis-server", "etcd": "etcd-server"}
POLICY = Path("/usr/sbin/policy-rc.d")
STARTS_WITHIN_S = 60.0


class Service:
    """A server that can be killed, stopped and started again, with the data that it had or without."""

    def __init__(self, command: Callable[[Path], list[str]], folder: Path, answers: Callable[[], bool]) -> None:
        self._command = command
        self._folder = folder
        self._answers = answers
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._folder.mkdir(exist_ok=True)
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command(self._folder), stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=self._folder
            )
        give_up_at = time.monotonic() + STARTS_WITHIN_S
        while not self._answers():
            assert self._process.poll() is None, (self._folder / "log").read_text()
            assert time.monotonic() < give_up_at, "it does not answer"
            time.sleep(0.02)

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """As SIGSTOP: connections stay open, and nothing answers."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


@contextmanager
def running(service: Service) -> Iterator[Service]:
    service.start()
    try:
        yield service
    finally:
        service.kill()


def redis(folder: Path, port: int) -> Service:
    """Without a memory: what it knew is gone when it starts again."""
    _need("redis-server")
    words = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--maxmemory", "32mb"]

    def answers() -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1) as line:
            line.sendall(b"PING\r\n")
            return line.recv(16).startswith(b"+PONG")
        return False

    return Service(lambda at: ["redis-server", *words, "--dir", str(at)], folder, answers)


def etcd(folder: Path, port: int) -> Service:
    _need("etcd")
    here, peer = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{free_port()}"

    def command(at: Path) -> list[str]:
        client = ["--listen-client-urls", here, "--advertise-client-urls", here]
        peers = ["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer]
        return [
            "etcd",
            "--name",
            "e",
            "--data-dir",
            str(at / "data"),
            *client,
            *peers,
            "--initial-cluster",
            f"e={peer}",
        ]

    def answers() -> bool:
        with suppress(OSError), urllib.request.urlopen(f"{here}/health", timeout=1) as answer:
            return b'"true"' in answer.read()
        return False

    return Service(command, folder, answers)


def _need(program: str) -> None:
    if shutil.which(program) is not None:
        return
    with (Path(tempfile.gettempdir()) / "breezeblock-tests-apt.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # test workers run side by side
        if shutil.which(program) is None:
            with _nothing_starts():
                apt = ("env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq", "-o", "DPkg::Lock::Timeout=600")
                for words in (("update",), ("install", "-y", "--no-install-recommends", PACKAGES[program])):
                    done = subprocess.run([*apt, *words], capture_output=True, text=True, check=False)
                    assert done.returncode == 0, f"{' '.join(words)}: {done.stdout}{done.stderr}"


@contextmanager
def _nothing_starts() -> Iterator[None]:
    """Debian starts a server when it is installed, on its usual port, unless this file says no."""
    made = not POLICY.exists()
    if made:
        POLICY.write_text("#!/bin/sh\nexit 101\n")
        POLICY.chmod(0o700)
    try:
        yield
    finally:
        if made:
            POLICY.unlink()
