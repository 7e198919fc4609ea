"""Several servers of one database, of which a process uses one for as long as it answers.

Going round them would be wrong: on Galera two nodes refuse each other's writes to the same row at commit, and one that lags
makes everybody wait. So a process stays where it is, and goes on to the next URL when a connection fails, is lost, or
belongs to a server that takes no writes. Processes with the same list in the same order tend to meet on the same server.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace

import structlog
from sqlalchemy import Engine

from breezeblock.store.servers import Session, open_server, server_url

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Endpoint:
    """One server, with its two pools of connections. `number`: its place in the list."""

    number: int
    writing: Engine
    reading: Engine

    @property
    def address(self) -> str:
        """For people; without the password."""
        url = self.writing.url
        return f"{url.host}:{url.port}" if url.port else str(url.host)

    def dispose(self) -> None:
        """Close what is not in use; what is in use is closed when it comes back."""
        self.writing.dispose()
        self.reading.dispose()


class Endpoints:
    """Used by all threads of a lane."""

    def __init__(self, urls: Sequence[str], session: Session) -> None:
        if not urls or len({server_url(url).get_backend_name() for url in urls}) != 1:
            raise ValueError("expected one or more URLs of the same kind of server")
        self.session = session
        readers = replace(session, connections=max(2, session.connections // 2))
        self._endpoints = [
            Endpoint(number, open_server(url, session, reading=False), open_server(url, readers, reading=True))
            for number, url in enumerate(urls)
        ]
        self._at = 0
        self._lock = threading.Lock()

    @property
    def current(self) -> Endpoint:
        """The server that this process uses now."""
        return self._endpoints[self._at]

    def failed(self, endpoint: Endpoint, reason: str, *, opened: bool) -> None:
        """Go on to the next one, unless somebody else has done so since. `opened`: it was a connection that had worked.

        Of the only one there is, connections stay when it is a fresh one that failed: there may be a balancer with several
        servers behind it.
        """
        with self._lock:
            if endpoint.number != self._at:
                return
            self._at = (self._at + 1) % len(self._endpoints)
        if opened or len(self._endpoints) > 1:
            endpoint.dispose()
        if len(self._endpoints) > 1:
            log.warning("database.switched", before=endpoint.address, after=self.current.address, reason=reason)

    def close(self) -> None:
        """Close every connection that is not in use."""
        for endpoint in self._endpoints:
            endpoint.dispose()
