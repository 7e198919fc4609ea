"""HAProxy in front of several servers: each new connection goes to the next one."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Final

from tests.servers.home import Home
from tests.servers.packages import find
from tests.servers.ports import LOOPBACK
from tests.servers.server import Address, Server, greet, running

__all__ = ["HAProxy", "haproxy"]

# It sees whether a server accepts connections, and no more: a Galera node that refuses to work keeps its share of clients.
_CONFIGURATION: Final = """\
defaults
  mode tcp
  timeout connect 2s
  timeout client 1h
  timeout server 1h
listen servers
  bind {host}:{port}
  balance roundrobin
  option tcp-check
  default-server inter 500ms fall 2 rise 1 on-marked-down shutdown-sessions
{servers}
"""


class HAProxy(Server):
    """See `server.Server`."""

    def __init__(self, home: Home, servers: Sequence[Address], name: str = "haproxy", *, host: str = LOOPBACK) -> None:
        self._program = find("haproxy", package="haproxy")
        super().__init__(home, name, host=host)
        self._configuration = self.folder / "haproxy.cfg"
        lines = [f"  server s{number} {server.host}:{server.port} check" for number, server in enumerate(servers)]
        text = _CONFIGURATION.format(host=self.host, port=self.port, servers="\n".join(lines))
        self._configuration.write_text(text, encoding="utf-8")

    def command(self) -> Sequence[str]:
        """See `server.Server`."""
        return (self._program, "-db", "-f", str(self._configuration))

    def look(self) -> None:
        """See `server.Server`: it listens, whatever is behind it."""
        greet(self, b"", hears=b"")


def haproxy(servers: Sequence[Address]) -> AbstractContextManager[HAProxy]:
    """One in front of `servers` for the length of a block."""
    return running("ha", lambda home: HAProxy(home, servers))
