"""HAProxy in front of several servers: each new connection goes to the next one."""

import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from tests.servers.database import Address
from tests.servers.home import Daemon, Home
from tests.servers.packages import find
from tests.servers.ports import LOOPBACK, free_port

__all__ = ["HAProxy", "haproxy"]

_READY_S: Final = 20.0
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


class HAProxy:
    """Implements `database.Address`."""

    def __init__(self, home: Home, servers: Sequence[Address], name: str = "haproxy") -> None:
        self.host: Final = LOOPBACK
        self.port: Final = free_port()
        self.daemon = Daemon(home, name)
        self._program = find("haproxy", package="haproxy")
        self._configuration = home.path / f"{name}.cfg"
        lines = [f"  server s{number} {server.host}:{server.port} check" for number, server in enumerate(servers)]
        text = _CONFIGURATION.format(host=self.host, port=self.port, servers="\n".join(lines))
        self._configuration.write_text(text, encoding="utf-8")

    def start(self) -> None:
        """Until it listens."""
        self.daemon.start(self._program, "-db", "-f", str(self._configuration))
        address = (self.host, self.port)
        self.daemon.wait_ready(
            lambda: socket.create_connection(address, timeout=1.0).close(), seconds=_READY_S, unless=(OSError,)
        )


@contextmanager
def haproxy(servers: Sequence[Address]) -> Iterator[HAProxy]:
    """One in front of `servers` for the length of a block."""
    with Home("ha") as home:
        proxy = HAProxy(home, servers)
        proxy.start()
        yield proxy
