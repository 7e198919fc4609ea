"""A TCP proxy that stands between a client and a database server and does to the connection what networks do.

It understands just enough of both protocols to lose a commit's answer: the server has committed, and the client does not know.
Only connections that are neither encrypted nor compressed, which is what the private servers speak. Of other protocols it
understands nothing, and can cut a connection in the middle of what is sent.
"""

import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from typing import Final, Literal, Protocol

from tests.servers.home import Closing
from tests.servers.ports import LOOPBACK, free_port
from tests.servers.server import Address

__all__ = ["Proxy"]

_CHUNK: Final = 65_536
_CONNECT_S: Final = 5.0
_RESET: Final = struct.pack("ii", 1, 0)

_SSL_REQUEST: Final = 80_877_103
_GSS_REQUEST: Final = 80_877_104
_MYSQL_QUERY: Final = 3


class _Reader(Protocol):
    """Follows one connection's conversation."""

    def asks_to_commit(self, data: bytes) -> bool:
        """Whether what the client sends now completes a COMMIT."""
        ...

    def is_answer(self, data: bytes) -> bool:
        """Whether what the server sends now completes the answer to it."""
        ...


def _is_commit(text: bytes) -> bool:
    return text.strip(b"\0 ;\r\n\t").upper() in (b"COMMIT", b"END", b"COMMIT WORK", b"COMMIT TRANSACTION")


class _PostgreSQL:
    """Simple queries, and Parse, Bind, Execute with names."""

    def __init__(self) -> None:
        self._from_client = b""
        self._from_server = b""
        self._begun = False
        self._statements: set[bytes] = set()
        self._portals: set[bytes] = set()

    def asks_to_commit(self, data: bytes) -> bool:
        self._from_client += data
        found = False
        while (frame := self._next_frame()) is not None:
            found |= self._commits(*frame)
        return found

    def _next_frame(self) -> tuple[bytes, bytes] | None:
        """Kind and body. The frames before the session begins have no kind."""
        head = 1 if self._begun else 0
        if len(self._from_client) < head + 4:
            return None
        kind = self._from_client[:head]
        (length,) = struct.unpack_from("!I", self._from_client, head)
        if len(self._from_client) < head + length:
            return None
        body = self._from_client[head + 4 : head + length]
        self._from_client = self._from_client[head + length :]
        if not self._begun:
            (code,) = struct.unpack_from("!I", body)
            self._begun = code not in (_SSL_REQUEST, _GSS_REQUEST)  # they ask, and the start follows
        return kind, body

    def _commits(self, kind: bytes, body: bytes) -> bool:
        if kind == b"Q":
            return _is_commit(body)
        if kind == b"P":
            name, text, _ = body.split(b"\0", 2)
            _keep(self._statements, name, _is_commit(text))
        elif kind == b"B":
            portal, statement, _ = body.split(b"\0", 2)
            _keep(self._portals, portal, statement in self._statements)
        elif kind == b"E":
            return body.split(b"\0", 1)[0] in self._portals
        return False

    def is_answer(self, data: bytes) -> bool:
        self._from_server += data
        while len(self._from_server) >= 5:
            kind, length = struct.unpack_from("!cI", self._from_server)
            if len(self._from_server) < 1 + length:
                return False
            self._from_server = self._from_server[1 + length :]
            if kind == b"Z":  # ready for the next query: this one is done
                return True
        return False


def _keep(names: set[bytes], name: bytes, belongs: bool) -> None:
    names.discard(name)
    if belongs:
        names.add(name)


class _MySQL:
    """Plain queries; a COMMIT that is a prepared statement is not seen."""

    def __init__(self) -> None:
        self._from_client = b""
        self._from_server = b""

    def asks_to_commit(self, data: bytes) -> bool:
        self._from_client += data
        found = False
        while (packet := _mysql_packet(self._from_client)) is not None:
            number, body = packet
            self._from_client = self._from_client[4 + len(body) :]
            # A command begins a conversation; what belongs to the greeting has higher numbers.
            found |= number == 0 and body[:1] == bytes([_MYSQL_QUERY]) and _is_commit(body[1:])
        return found

    def is_answer(self, data: bytes) -> bool:
        self._from_server += data
        return _mysql_packet(self._from_server) is not None  # OK or an error: one packet


def _mysql_packet(data: bytes) -> tuple[int, bytes] | None:
    if len(data) < 4:
        return None
    length = int.from_bytes(data[:3], "little")
    return (data[3], data[4 : 4 + length]) if len(data) >= 4 + length else None


class _Connection:
    """A client, the server, and a thread for each direction."""

    def __init__(self, proxy: "Proxy", client: socket.socket, server: socket.socket, reader: _Reader) -> None:
        self._proxy = proxy
        self._client = client
        self._server = server
        self._reader = reader
        self._loses = False
        for pump in (self._to_server, self._to_client):
            threading.Thread(target=self._run, args=(pump,), daemon=True).start()

    def close(self) -> None:
        """End both sides with a reset, as when a machine on the way dies and comes back: nothing that is buffered arrives."""
        for side in (self._client, self._server):
            with contextlib.suppress(OSError):  # closed already
                side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                side.shutdown(socket.SHUT_RDWR)
            side.close()

    def _run(self, pump: Callable[[], None]) -> None:
        try:
            pump()
        except OSError:  # either side has gone, or `close` was called
            pass
        finally:
            self._proxy.forget(self)
            self.close()

    def _to_server(self) -> None:
        while data := self._client.recv(_CHUNK):
            self._proxy.wait_open("to server")
            if (allowed := self._proxy.allowed_of(len(data), "to server")) < len(data):
                self._server.sendall(data[:allowed])
                return
            if self._reader.asks_to_commit(data):
                fate = self._proxy.fate_of_commit()
                if fate == "undelivered":
                    return
                self._loses |= fate == "unanswered"
            self._server.sendall(data)

    def _to_client(self) -> None:
        while data := self._server.recv(_CHUNK):
            self._proxy.wait_open("to client")
            if (allowed := self._proxy.allowed_of(len(data), "to client")) < len(data):
                self._client.sendall(data[:allowed])
                return
            if not self._loses:
                self._client.sendall(data)
            elif self._reader.is_answer(data):
                self._proxy.lost += 1
                return


class _Plain:
    """Any other protocol: nothing in it is a commit."""

    def asks_to_commit(self, data: bytes) -> bool:
        return False

    def is_answer(self, data: bytes) -> bool:
        return True


_Way = Literal["to server", "to client"]
_READERS: Final[dict[str, type[_Reader]]] = {"postgresql": _PostgreSQL, "mysql": _MySQL, "plain": _Plain}


class Proxy(Closing):
    """Listens on a port of its own in front of `server`. Implements `server.Address`; all verbs may be called at any time."""

    def __init__(self, server: Address, *, protocol: Literal["postgresql", "mysql", "plain"]) -> None:
        self.host: Final = LOOPBACK
        self.port: Final = free_port()
        self.lost = 0
        """How many answers to COMMIT were thrown away."""
        self.undelivered = 0
        """How many COMMITs were thrown away."""
        self._target = server
        self._reader = _READERS[protocol]
        self._lock = threading.Lock()
        self._connections: set[_Connection] = set()
        self._fates: list[Literal["unanswered", "undelivered"]] = []
        self._left: dict[_Way, int | None] = {"to server": None, "to client": None}
        self._open: dict[_Way, threading.Event] = {"to server": threading.Event(), "to client": threading.Event()}
        self.hang(to_server=False, to_client=False)
        self._listener: socket.socket | None = None
        self.refuse(False)

    def cut(self) -> None:
        """Reset all connections. New ones are welcome."""
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            connection.close()

    def refuse(self, on: bool) -> None:
        """Nobody listens any more, or somebody does again. Connections that exist go on."""
        if self._listener is not None:
            listener, self._listener = self._listener, None
            listener.shutdown(socket.SHUT_RDWR)  # ends `accept` in its thread
            listener.close()
        if not on:
            self._listener = socket.create_server((self.host, self.port), backlog=128)
            threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def hang(self, *, to_server: bool = True, to_client: bool = True) -> None:
        """Forward nothing, in one direction or both, and close nothing. Connections are still accepted. False ends it."""
        for way, hangs in (("to server", to_server), ("to client", to_client)):
            event = self._open[way]  # type: ignore[index]
            if hangs:
                event.clear()
            else:
                event.set()

    def lose_commits(self, count: int = 1, *, delivered: bool = True) -> None:
        """The next COMMITs are carried out and their connection is reset instead of answered; or they never arrive either."""
        with self._lock:
            self._fates += ["unanswered" if delivered else "undelivered"] * count

    def cut_after(self, count: int | None, way: _Way = "to server") -> None:
        """Let so many more bytes through one way, of all connections together, and reset whoever sends more. None ends it."""
        with self._lock:
            self._left[way] = count

    def allowed_of(self, count: int, way: _Way) -> int:
        """How many of these bytes may pass."""
        with self._lock:
            left = self._left[way]
            if left is None:
                return count
            allowed = min(count, left)
            self._left[way] = left - allowed
            return allowed

    def close(self) -> None:
        """End everything."""
        if self._listener is not None:
            self.refuse(True)
        self.hang(to_server=False, to_client=False)
        self.cut()

    def wait_open(self, way: _Way) -> None:
        """Return when this direction does not hang."""
        self._open[way].wait()

    def fate_of_commit(self) -> Literal["answered", "unanswered", "undelivered"]:
        """What becomes of one COMMIT."""
        with self._lock:
            fate: Literal["answered", "unanswered", "undelivered"] = self._fates.pop(0) if self._fates else "answered"
            self.undelivered += fate == "undelivered"
            return fate

    def forget(self, connection: _Connection) -> None:
        """It has ended."""
        with self._lock:
            self._connections.discard(connection)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:  # the listener was closed
                return
            try:
                server = socket.create_connection((self._target.host, self._target.port), timeout=_CONNECT_S)
            except OSError:  # the server is not there: neither are we
                client.close()
                continue
            server.settimeout(None)
            for side in (client, server):
                side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = _Connection(self, client, server, self._reader())
            with self._lock:
                self._connections.add(connection)
