"""What all private servers have in common: one program with a folder and a port of its own, and the same verbs."""

import signal
import socket
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import ClassVar, Final, Protocol, TypeVar

from tests.servers.home import Daemon, Home
from tests.servers.ports import LOOPBACK, free_port

__all__ = ["Address", "Server", "greet", "running"]

_GREETING_S: Final = 1.0


class Address(Protocol):
    """Where something listens: a server, or a proxy in front of it."""

    @property
    def host(self) -> str: ...

    @property
    def port(self) -> int: ...


class Server(ABC):
    """Implements `Address`. After each verb but `launch` and `pause` it is settled: ready, or gone."""

    READY_S: ClassVar = 60.0
    NOT_READY: ClassVar[tuple[type[Exception], ...]] = (OSError,)
    """What `look` raises until it is ready."""

    def __init__(
        self,
        home: Home,
        name: str,
        *,
        host: str = LOOPBACK,
        port: int | None = None,
        user: str | None = None,
        stop_signal: int = signal.SIGTERM,
    ) -> None:
        self.host: Final = host
        self.port: Final = port or free_port()
        self.user: Final = user
        self.folder: Final = home.folder(name, user=user)
        self.daemon: Final = Daemon(home, name, user=user, stop_signal=stop_signal)

    @abstractmethod
    def command(self) -> Sequence[str]:
        """What starts it, in the foreground."""

    def environ(self) -> Mapping[str, str]:
        """What it finds in its environment, beside ours."""
        return {}

    @abstractmethod
    def look(self) -> None:
        """Ask it for something, once. Raises one of NOT_READY."""

    def start(self) -> None:
        """Again, on the same data and the same port."""
        self.launch()
        self.wait_ready()

    def launch(self, *more: str) -> None:
        """Start without waiting, with `more` arguments."""
        self.daemon.start(*self.command(), *more, environ=self.environ())

    def wait_ready(self) -> None:
        """Until it answers; it recovers from a kill by itself."""
        self.daemon.wait_ready(self.look, seconds=self.READY_S, unless=self.NOT_READY)

    def stop(self) -> None:
        """Orderly; open connections are closed."""
        self.daemon.stop()

    def kill(self) -> None:
        """SIGKILL for all its processes."""
        self.daemon.kill()

    def pause(self) -> None:
        """SIGSTOP for all its processes: connections stay open, and nothing answers."""
        self.daemon.pause()

    def resume(self) -> None:
        """SIGCONT."""
        self.daemon.resume()


class Starting(Protocol):
    """A server, or several."""

    def start(self) -> None: ...


Started = TypeVar("Started", bound=Starting)


@contextmanager
def running(name: str, make: Callable[[Home], Started]) -> Iterator[Started]:
    """A server of one's own for the length of a block."""
    with Home(name) as home:
        server = make(home)
        server.start()
        yield server


def greet(at: Address, says: bytes, *, hears: bytes) -> None:
    """Connect, and expect that the answer begins like this. Raises OSError."""
    with socket.create_connection((at.host, at.port), timeout=_GREETING_S) as line:
        line.sendall(says)
        heard = b""
        while len(heard) < len(hears):
            if not (more := line.recv(len(hears) - len(heard))):
                break
            heard += more
    if heard != hears:
        raise ConnectionError(f"{at.host}:{at.port} said {heard!r} instead of {hears!r}")
