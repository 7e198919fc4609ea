"""A private etcd of one member, which keeps what it knows."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Final

from tests.servers.home import Home
from tests.servers.packages import find
from tests.servers.ports import free_port
from tests.servers.server import Server, greet, running

__all__ = ["Etcd", "etcd"]

# Milliseconds, a fifth of the usual ones. Alone it has nobody to wait for: so it leads sooner after a start, and the shortest
# lease, which is one and a half elections, takes a second.
_TIMES: Final = ("--heartbeat-interval=20", "--election-timeout=200")


class Etcd(Server):
    """See `server.Server`."""

    def __init__(self, home: Home, name: str = "etcd") -> None:
        self._program = find("etcd", package="etcd-server")
        super().__init__(home, name)
        self._peers: Final = free_port()

    @property
    def url(self) -> str:
        """Of its gateway."""
        return f"http://{self.host}:{self.port}"

    def command(self) -> Sequence[str]:
        """See `server.Server`."""
        peers = f"http://{self.host}:{self._peers}"
        return (
            self._program,
            "--name=e",
            f"--data-dir={self.folder}/data",
            f"--listen-client-urls={self.url}",
            f"--advertise-client-urls={self.url}",
            f"--listen-peer-urls={peers}",
            f"--initial-advertise-peer-urls={peers}",
            f"--initial-cluster=e={peers}",
            *_TIMES,
        )

    def look(self) -> None:
        """See `server.Server`: it is well when it has a leader."""
        greet(self, b"GET /health HTTP/1.0\r\n\r\n", hears=b"HTTP/1.0 200")


def etcd() -> AbstractContextManager[Etcd]:
    """A server of one's own for the length of a block."""
    return running("et", Etcd)
