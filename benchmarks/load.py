"""A load generator: crowds of HTTP/1.1 clients on raw sockets, spread over processes, so that it is not what it measures."""

import json
import multiprocessing
import os
import resource
import socket
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Target:
    """A Block Storage endpoint under measurement. `url` ends with the project."""

    name: str
    url: str
    token: str
    version: str = "3.0"

    def client(self) -> "Client":
        """A new connection to it."""
        return Client(self)


@dataclass(frozen=True)
class Ask:
    """One request to be made."""

    method: str
    path: str
    body: Any = None


@dataclass
class Seen:
    """What a crowd saw: latencies in seconds of the answers with an expected status, and the others counted by status."""

    latencies: list[float] = field(default_factory=list)
    others: dict[int, int] = field(default_factory=dict)
    bodies: list[bytes] = field(default_factory=list)
    wall_s: float = 0.0
    client_cpu_s: float = 0.0

    def per_s(self) -> float:
        """Good answers in a second."""
        return len(self.latencies) / self.wall_s if self.wall_s else 0.0

    def quantile_ms(self, share: float) -> float | None:
        """Latency in milliseconds that `share` of the good answers did not exceed."""
        ordered = sorted(self.latencies)
        return round(ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000, 3) if ordered else None

    def row(self) -> dict[str, Any]:
        """As it is reported."""
        row: dict[str, Any] = {
            "per_s": round(self.per_s(), 1),
            "p50_ms": self.quantile_ms(0.5),
            "p99_ms": self.quantile_ms(0.99),
            "answers": len(self.latencies),
            "client_cpu": round(self.client_cpu_s / self.wall_s, 2) if self.wall_s else 0.0,
        }
        return row | ({"unexpected": self.others} if self.others else {})


class Client:
    """One connection, kept open as long as the server keeps it."""

    def __init__(self, target: Target) -> None:
        parts = urlsplit(target.url)
        self._address = (parts.hostname or "127.0.0.1", parts.port or 80)
        self._base = parts.path.rstrip("/")
        self._fixed = (
            f"Host: {parts.netloc}\r\nX-Auth-Token: {target.token}\r\nAccept: application/json\r\n"
            f"OpenStack-API-Version: volume {target.version}\r\n"
        )
        self._socket: socket.socket | None = None
        self._rest = b""

    def ask(self, ask: Ask) -> tuple[int, bytes]:
        """Status and body. A connection that the server had closed meanwhile is opened once more."""
        data = b"" if ask.body is None else json.dumps(ask.body).encode()
        head = f"{ask.method} {self._base}{ask.path} HTTP/1.1\r\n{self._fixed}"
        if ask.body is not None:
            head += f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n"
        message = head.encode() + b"\r\n" + data
        reused = self._socket is not None
        try:
            return self._exchange(message)
        except ConnectionError:
            self.close()
            if not reused:
                raise
            return self._exchange(message)

    def close(self) -> None:
        """Hang up."""
        if self._socket is not None:
            self._socket.close()
        self._socket, self._rest = None, b""

    def _exchange(self, message: bytes) -> tuple[int, bytes]:
        if self._socket is None:
            self._socket = socket.create_connection(self._address, timeout=120)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.sendall(message)
        while b"\r\n\r\n" not in self._rest:
            self._rest += self._receive()
        head, _, self._rest = self._rest.partition(b"\r\n\r\n")
        first, *lines = head.split(b"\r\n")
        status = int(first.split()[1])
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)}
        if b"content-length" in headers:
            body = self._take(int(headers[b"content-length"]))
        elif headers.get(b"transfer-encoding", b"").lower() == b"chunked":
            body = self._chunks()
        elif status == 204:
            body = b""
        else:
            body = self._until_closed()
        if headers.get(b"connection", b"").lower() == b"close":
            self.close()
        return status, body

    def _receive(self) -> bytes:
        assert self._socket is not None
        got = self._socket.recv(1 << 18)
        if not got:
            raise ConnectionResetError("the server closed the connection")
        return got

    def _take(self, length: int) -> bytes:
        parts, have = [self._rest], len(self._rest)
        while have < length:
            parts.append(self._receive())
            have += len(parts[-1])
        whole = b"".join(parts)
        self._rest = whole[length:]
        return whole[:length]

    def _chunks(self) -> bytes:
        body = b""
        while True:
            while b"\r\n" not in self._rest:
                self._rest += self._receive()
            size, _, self._rest = self._rest.partition(b"\r\n")
            length = int(size.split(b";")[0], 16)
            body += self._take(length + 2)[:length]
            if length == 0:
                return body

    def _until_closed(self) -> bytes:
        assert self._socket is not None
        parts = [self._rest]
        while got := self._socket.recv(1 << 18):
            parts.append(got)
        self.close()
        return b"".join(parts)


def crowd(
    target: Target,
    asks: Sequence[Ask],
    *,
    clients: int,
    expected: int,
    seconds: float | None = None,
    keep: bool = False,
) -> Seen:
    """Let `clients` at once work `asks` off, each once, or with `seconds` go round them until the time is over."""
    processes = min(clients, os.cpu_count() or 1)
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(processes + 1)
    pipes = []
    for index in range(processes):
        here, there = context.Pipe()
        share = list(asks) if seconds is not None else list(asks[index::processes])
        threads = clients // processes + (index < clients % processes)
        arguments = (target, share, threads, expected, seconds, keep, barrier, there)
        context.Process(target=_members, args=arguments, daemon=True).start()
        pipes.append(here)
    barrier.wait()
    started = time.perf_counter()
    total = Seen()
    for pipe in pipes:
        seen: Seen = pipe.recv()
        total.latencies += seen.latencies
        total.bodies += seen.bodies
        total.client_cpu_s += seen.client_cpu_s
        for status, count in seen.others.items():
            total.others[status] = total.others.get(status, 0) + count
    total.wall_s = time.perf_counter() - started
    return total


def _members(
    target: Target,
    asks: list[Ask],
    threads: int,
    expected: int,
    seconds: float | None,
    keep: bool,
    barrier: Any,
    pipe: Any,
) -> None:
    total, lock, position = Seen(), threading.Lock(), iter(range(len(asks)))
    go = threading.Event()

    def member() -> None:
        client, seen, turn = target.client(), Seen(), 0
        go.wait()
        ends = time.perf_counter() + (seconds or 0)
        while True:
            if seconds is None:
                with lock:
                    turn = next(position, -1)
                if turn < 0:
                    break
            elif time.perf_counter() >= ends:
                break
            began = time.perf_counter()
            status, body = client.ask(asks[turn % len(asks)])
            took = time.perf_counter() - began
            turn += 1
            if status == expected:
                seen.latencies.append(took)
                if keep:
                    seen.bodies.append(body)
            else:
                seen.others[status] = seen.others.get(status, 0) + 1
        client.close()
        with lock:
            total.latencies += seen.latencies
            total.bodies += seen.bodies
            for status, count in seen.others.items():
                total.others[status] = total.others.get(status, 0) + count

    members = [threading.Thread(target=member) for _ in range(threads)]
    for one in members:
        one.start()
    barrier.wait()
    before = resource.getrusage(resource.RUSAGE_SELF)
    go.set()
    for one in members:
        one.join()
    after = resource.getrusage(resource.RUSAGE_SELF)
    total.client_cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    pipe.send(total)
