"""A private Redis, which remembers nothing: what it knew is gone when it starts again."""

from collections.abc import Sequence
from contextlib import AbstractContextManager

from tests.servers.home import Home
from tests.servers.packages import find
from tests.servers.server import Server, greet, running

__all__ = ["Redis", "redis"]


class Redis(Server):
    """See `server.Server`."""

    def __init__(self, home: Home, name: str = "redis") -> None:
        self._program = find("redis-server", package="redis-server")
        super().__init__(home, name)

    @property
    def url(self) -> str:
        """For tooz and redis-py."""
        return f"redis://{self.host}:{self.port}"

    def command(self) -> Sequence[str]:
        """See `server.Server`."""
        listen = ("--bind", self.host, "--port", str(self.port), "--dir", str(self.folder))
        return (self._program, *listen, "--save", "", "--appendonly", "no", "--maxmemory", "32mb")

    def look(self) -> None:
        """See `server.Server`."""
        greet(self, b"PING\r\n", hears=b"+PONG")


def redis() -> AbstractContextManager[Redis]:
    """A server of one's own for the length of a block."""
    return running("re", Redis)
