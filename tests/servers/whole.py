"""Whole services on a database server, and clients that write down every answer while something is done to the server."""

import contextlib
import http.client
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import sqlalchemy as sa
from tests.service import Service, eventually, start

from breezeblock.chaos.contents import PART
from breezeblock.store import check, tables

__all__ = ["Load", "Site", "running"]

VOLUMES: Final = "/v3/admin/volumes"
REQUEST_S: Final = 40.0
SETTLE_S: Final = 90.0
START_S: Final = 90.0
# Nothing waits for a doorbell here, and a lease must be longer than MariaDB's whole seconds.
SETTINGS: Final = {
    "BREEZEBLOCK_NODES__ONE_MACHINE": "true",
    "BREEZEBLOCK_NODES__POLL_S": "0.2",
    "BREEZEBLOCK_DOORBELL__KIND": "datagram",
    "BREEZEBLOCK_DATABASE__CONNECTIONS": "3",
    "BREEZEBLOCK_QUOTA__VOLUMES": "-1",
    "BREEZEBLOCK_QUOTA__GIGABYTES": "-1",
}
TTL_S: Final = 4.0


@dataclass(frozen=True)
class Asked:
    """One request. `status` is None when the connection broke, which nothing done to a database may do."""

    method: str
    about: str
    status: int | None
    took_s: float
    retry_after: bool
    text: str


@dataclass
class Client:
    """Makes volumes and deletes every second one, one request at a time."""

    name: str
    endpoint: str
    asked: list[Asked] = field(default_factory=list)
    wanted: dict[str, bool] = field(default_factory=dict)
    """By the name of a volume: whether it must be there at the end."""
    unknown: set[str] = field(default_factory=set)
    """Those of which an answer says that nobody knows."""
    made: int = 0

    def run(self, stop: threading.Event) -> None:
        """Until told to stop."""
        while not stop.is_set():
            name = f"{self.name}-{self.made}"
            self.made += 1
            answer = self.ask("POST", VOLUMES, {"volume": {"size": 1, "name": name}}, about=name)
            if answer is None:
                continue
            self.wanted[name] = True
            volume_id = answer["volume"]["id"]
            if self.made % 2 and self._becomes_available(volume_id, stop):
                gone = self.ask("DELETE", f"{VOLUMES}/{volume_id}", about=name)
                if gone is not None:
                    self.wanted[name] = False
            self.ask("GET", f"{VOLUMES}/detail?name={name}", about="a list")

    def _becomes_available(self, volume_id: str, stop: threading.Event) -> bool:
        while not stop.is_set():
            found = self.ask("GET", f"{VOLUMES}/{volume_id}", about=volume_id)
            if found is not None and found["volume"]["status"] != "creating":
                return True
            stop.wait(0.1)
        return False

    def ask(self, method: str, path: str, body: object = None, *, about: str) -> Any | None:
        """The answer to a request that was accepted, else None."""
        began = time.monotonic()
        status, retry_after, text = self._send(method, path, body)
        took_s = time.monotonic() - began
        self.asked.append(Asked(method, about, status, took_s, retry_after, text[:300]))
        if status is not None and status < 300:
            return json.loads(text) if text else {}
        if method != "GET" and (status is None or "Nothing was changed" not in text):
            self.unknown.add(about)
        time.sleep(0.1)
        return None

    def _send(self, method: str, path: str, body: object) -> tuple[int | None, bool, str]:
        at = urlsplit(self.endpoint)
        connection = http.client.HTTPConnection(str(at.hostname), at.port, timeout=REQUEST_S)
        try:
            sent = None if body is None else json.dumps(body)
            connection.request(method, path, sent, {"Content-Type": "application/json"} if sent else {})
            answer = connection.getresponse()
            return answer.status, answer.getheader("Retry-After") is not None, answer.read().decode()
        except (OSError, http.client.HTTPException) as error:
            return None, False, repr(error)
        finally:
            connection.close()


class Load:
    """Clients of one or more services, for the length of a block."""

    def __init__(self, services: Sequence[Service], *, clients: int) -> None:
        self.clients = [
            Client(f"client-{number}", services[number % len(services)].endpoint) for number in range(clients)
        ]
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=client.run, args=(self._stop,)) for client in self.clients]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Every client has its last answer afterwards."""
        self._stop.set()
        for thread in self._threads:
            thread.join(REQUEST_S * 2)

    @property
    def asked(self) -> list[Asked]:
        return [one for client in self.clients for one in client.asked]

    def accepted(self) -> int:
        """How many changes were accepted until now."""
        return sum(one.method != "GET" and one.status == 202 for one in self.asked)

    def goes_on(self, *, within_s: float = 60.0, more: int = 4) -> float:
        """Wait until changes are accepted again; returns how long it took."""
        before, began = self.accepted(), time.monotonic()
        eventually(lambda: self.accepted() >= before + more, within_s=within_s, message="nothing is accepted")
        return time.monotonic() - began

    def wrong_answers(self) -> list[Asked]:
        """Those that no client should have got."""
        return [one for one in self.asked if not _is_right(one)]

    def statuses(self) -> Counter[int | None]:
        return Counter(one.status for one in self.asked)


def _is_right(one: Asked) -> bool:
    if one.status is None or one.status >= 500:
        return one.status == 503 and one.retry_after
    return True


@dataclass
class Site:
    """One or more services on the same database and the same storage."""

    services: list[Service]
    storage: Path
    url: str
    """Of a server that is there at the end."""

    def load(self, *, clients: int = 3) -> Load:
        return Load(self.services, clients=clients)

    def wrongs(self, load: Load) -> list[str]:
        """Wait until all is at rest, and say what is not as the clients were told."""
        engine = sa.create_engine(self.url, poolclass=sa.NullPool)
        try:
            left = self._settle(engine)
            with engine.connect() as tx:
                problems = check.problems(tx)
                found = {row.name: row.status for row in tx.execute(sa.select(tables.volumes)).all()}
                objects = set(tx.execute(sa.select(tables.volumes.c.object_name)).scalars())
                expiries = tx.execute(
                    sa.select(tables.node_events.c.node).where(tables.node_events.c.event == "expired")
                ).all()
        finally:
            engine.dispose()
        files = {path.name for path in self.storage.glob("??/*") if path.suffix != PART}
        return [
            *(f"not at rest: {one}" for one in left),
            *problems,
            *(f"{name} is {status}" for name, status in found.items() if status != "available"),
            *_differences(load, set(found)),
            *(f"a row or a file without the other: {name}" for name in objects ^ files),
            *(f"taken for dead, and was not: {row.node}" for row in expiries),
            *(f"a wrong answer: {one}" for one in load.wrong_answers()[:20]),
        ]

    @staticmethod
    def _settle(engine: sa.Engine) -> list[str]:
        until = time.monotonic() + SETTLE_S
        while True:
            with engine.connect() as tx:
                rows = tx.execute(sa.select(tables.operations.c.kind, tables.operations.c.owner)).all()
            if not rows or time.monotonic() > until:
                return [str(row) for row in rows]
            time.sleep(0.2)


def _differences(load: Load, found: set[str]) -> Iterator[str]:
    for client in load.clients:
        for name, there in client.wanted.items():
            if name not in client.unknown and there is not (name in found):
                yield f"{name} should{'' if there else ' not'} be there"
        refused = {one.about for one in client.asked if one.method == "POST" and one.status != 202}
        for name in (refused - client.unknown) & found:
            yield f"{name} is there although nothing was changed"


@contextlib.contextmanager
def running(folder: Path, *urls: Sequence[str], nodes: int = 2, workers: int = 1) -> Iterator[Site]:
    """A service for each list of URLs, all on one storage folder. The first of the last list is asked in the end."""
    storage = folder / "storage"
    storage.mkdir()
    services: list[Service] = []
    try:
        for number, mine in enumerate(urls):
            environ = _environ(mine) | {"BREEZEBLOCK_BACKENDS__FILE__PATH": str(storage)}
            services.append(
                start(
                    folder / f"service-{number}",
                    nodes=nodes,
                    workers=workers,
                    ttl_s=TTL_S,
                    environ=environ,
                    wait=False,
                )
            )
            eventually(lambda: _is_ready(services[-1]), within_s=START_S, message="the service is not ready")
        yield Site(services, storage, urls[-1][0])
    finally:
        for service in services:
            print(service.tail())
        for service in services:
            service.end()


def _is_ready(service: Service) -> bool:
    assert service.process.poll() is None, service.output.read_text()
    return service.is_ready


def _environ(urls: Sequence[str]) -> dict[str, str]:
    return {
        **SETTINGS,
        "BREEZEBLOCK_DATABASE__URL": urls[0],
        "BREEZEBLOCK_DATABASE__FAILOVER_URLS": json.dumps(urls[1:]),
    }
