"""A folder below the temporary one in which daemons of a test run, and the daemons. `guard.py` sees that nothing is left."""

import contextlib
import fcntl
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar

from tests.servers.guard import descendants_of, is_stopped, is_zombie, kill_all_below

__all__ = ["Closing", "Daemon", "Home", "NotReady", "user_for", "wait_until"]

T = TypeVar("T")

# Below the 107 bytes of a socket's path, with room for the names that servers add.
_LONGEST_FOLDER: Final = 60
_STOP_S: Final = 20.0
_LOG_BYTES: Final = 4_000


class NotReady(Exception):
    """A server did not become ready. Says what its log ends with."""


class Closing:
    """Something that is closed at the end of a `with`."""

    def close(self) -> None:
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Home(Closing):
    """A folder that exists as long as somebody uses it. `path` is searchable by every user: some servers refuse root."""

    def __init__(self, name: str, *, within: Path | None = None) -> None:
        self.path = Path(tempfile.mkdtemp(prefix=f"bb-{name}-", dir=within))
        assert len(str(self.path)) <= _LONGEST_FOLDER, (
            f"sockets need a shorter temporary folder than {self.path.parent}"
        )
        self.path.chmod(0o755)
        (self.path / "users").touch(mode=0o600)
        self._lock = os.open(self.path / "users", os.O_RDWR)
        fcntl.flock(self._lock, fcntl.LOCK_SH)
        self._programs = [_guard(self.path, log=self.path / "janitor.log")]

    def folder(self, name: str, *, user: str | None) -> Path:
        """An empty folder in it that belongs to `user`."""
        path = self.path / name
        path.mkdir()
        if user is not None:
            shutil.chown(path, user, user)
        return path

    def guard(self, *arguments: str, log: Path, environ: Mapping[str, str]) -> subprocess.Popen[bytes]:
        """Start a guard; `guard.py` says with which arguments."""
        self._programs = [program for program in self._programs if program.poll() is None]
        self._programs.append(_guard(self.path, *arguments, log=log, environ=environ))
        return self._programs[-1]

    def close(self) -> None:
        """Stop using it, and wait until whatever ran in it is killed and it is gone."""
        os.close(self._lock)
        for program in self._programs:
            program.wait(timeout=_STOP_S)


def _guard(
    folder: Path, *arguments: str, log: Path, environ: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    program = str(Path(__file__).with_name("guard.py"))
    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-S", "-E", program, str(folder), *arguments],
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=None if environ is None else dict(environ),
            start_new_session=True,  # a signal for the test's group is not for the servers: they go when all users are gone
        )


class Daemon:
    """One program and everything it starts. It runs in the foreground: it must not detach."""

    def __init__(self, home: Home, name: str, *, user: str | None = None, stop_signal: int = signal.SIGTERM) -> None:
        self.log = home.path / f"{name}.log"
        self.name = name
        self._home = home
        self._user = user
        self._stop_signal = stop_signal
        self._guard: subprocess.Popen[bytes] | None = None

    @property
    def is_running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._guard is not None and self._guard.poll() is None

    def pids(self) -> list[int]:
        """All its processes."""
        return [] if self._guard is None else [pid for pid in descendants_of(self._guard.pid) if not is_zombie(pid)]

    def start(self, *command: str, environ: Mapping[str, str] | None = None) -> None:
        """Start it; it is not ready yet."""
        assert not self.is_running, f"{self.name} runs already"
        user = self._user or "-"
        environ = {**os.environ, "LC_ALL": "C.UTF-8", **(environ or {})}
        self._guard = self._home.guard(user, str(self._stop_signal), *command, log=self.log, environ=environ)

    def wait_ready(self, ask: Callable[[], T], *, seconds: float, unless: tuple[type[Exception], ...]) -> T:
        """What `ask` returns once it does not raise any of `unless`. Raises NotReady."""
        try:
            return wait_until(ask, seconds=seconds, unless=unless, while_true=lambda: self.is_running)
        except NotReady as error:
            raise NotReady(f"{self.name}: {error}\n{self.end_of_log()}") from error.__cause__

    def end_of_log(self) -> str:
        """Its last lines."""
        return self.log.read_bytes()[-_LOG_BYTES:].decode(errors="replace") if self.log.exists() else ""

    def stop(self) -> None:
        """Ask it to end, and wait for it; whoever does not listen is killed."""
        if self._guard is None:
            return
        self.resume()
        if self.is_running:
            self._guard.terminate()
        try:
            self._guard.wait(timeout=_STOP_S)
        except subprocess.TimeoutExpired:
            self.kill()
        self._guard = None

    def kill(self) -> None:
        """SIGKILL for all its processes at once, and wait until they are gone."""
        if self._guard is None:
            return
        kill_all_below(self._guard.pid)
        self._guard.wait(timeout=_STOP_S)
        self._guard = None

    def pause(self) -> None:
        """SIGSTOP for all its processes, also for those that are forked meanwhile. When it returns, none of them runs."""
        stopped: set[int] = set()
        while fresh := set(self.pids()) - stopped:
            _signal(fresh, signal.SIGSTOP)
            stopped |= fresh
        # A thread that runs stops when it next enters the kernel: up to 20 ms later on a busy machine, long enough to answer.
        deadline = time.monotonic() + _STOP_S
        while not all(is_stopped(pid) for pid in stopped):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.name} runs on after SIGSTOP")
            time.sleep(0.001)

    def resume(self) -> None:
        """SIGCONT for all its processes."""
        _signal(self.pids(), signal.SIGCONT)


def _signal(pids: "set[int] | list[int]", number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):  # it ended meanwhile
            os.kill(pid, number)


def wait_until(
    ask: Callable[[], T],
    *,
    seconds: float,
    unless: tuple[type[Exception], ...],
    while_true: Callable[[], bool] = lambda: True,
) -> T:
    """Ask again and again until the answer is no error. Raises NotReady after `seconds`, or when it makes no sense any more."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return ask()
        except unless as error:
            if not while_true():
                raise NotReady("it has ended") from error
            if time.monotonic() > deadline:
                raise NotReady(f"not ready after {seconds:.0f} s: {error}") from error
        time.sleep(0.02)


def user_for(name: str) -> str | None:
    """Whom to run a server as that refuses root: `name` when we are root, else nobody but ourselves."""
    if os.getuid() != 0:
        return None
    pwd.getpwnam(name)  # KeyError here says it better than the guard's log
    return name
