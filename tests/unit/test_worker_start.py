"""How a worker begins: it says what each storage knows it by before it uses any, and uses none when it is expired."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

import pytest
from tests.store.given import ME, QUEUE, Base, in_virtual_time, store_on, virtual_env

from breezeblock.drivers.file import FileDriver
from breezeblock.node import link as words
from breezeblock.node.backends import Backend
from breezeblock.node.gate import Gate
from breezeblock.node.identity import Identity, Limits
from breezeblock.node.worker import Worker
from breezeblock.protocol.leases import Terms
from breezeblock.store.tables import node_backends, nodes
from breezeblock.testing.memory_files import MemoryFiles
from breezeblock.testing.virtual import VirtualClock
from breezeblock.work.catalogue import CATALOGUE


class KnownDriver(FileDriver):
    """Files on a storage that knows its clients."""

    def identity(self) -> Mapping[str, str]:
        return {"nonce": "7"}


class Page:
    until = float("inf")
    lapses = 0


class Line:
    """The keeper's end: it waits for the worker to be ready, and hangs up."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self._ready = asyncio.Event()

    def send(self, word: str) -> None:
        self.said.append(word)
        self._ready.set()

    async def receive(self) -> str | None:
        await self._ready.wait()
        return None


class Deaf:
    """A doorbell that nobody rings."""

    def ring(self, queue: str) -> None: ...

    def listen(self, on_ring: Callable[[], None]) -> None: ...

    def is_connected(self) -> bool:
        return True

    def close(self) -> None: ...


@pytest.fixture
def base() -> Iterator[Base]:
    base = Base()
    base.node(ME, queues_json="[]")
    yield base
    base.close()


def begin(base: Base, *, machine: str = "m") -> tuple[list[str], list[list[dict[str, Any]]]]:
    """Run a worker's beginning: what it said to its keeper, and what was announced at each of its storage calls."""
    announced: list[list[dict[str, Any]]] = []

    async def note_announced(call: str, path: PurePosixPath, changes: bool) -> None:
        announced.append(base.rows(node_backends))

    async def main() -> list[str]:
        disk, clock, line, bell = MemoryFiles(capacity_bytes=1 << 30), VirtualClock(), Line(), Deaf()
        env = virtual_env()
        files, path = disk.view(before=note_announced), PurePosixPath("/b")
        driver = KnownDriver(files, name="b", path=path, clock=clock, ids=env.ids)
        await Worker(
            env=env,
            store=store_on(base, env),
            backends={QUEUE: Backend(name="b", queue=QUEUE, driver=driver, slots=1, availability_zone="nova")},
            catalogue=CATALOGUE,
            doorbell=bell,
            listener=bell,
            identity=Identity(cluster="c", name="n1", incarnation=ME, pid=7, machine=machine),
            terms=Terms(ttl_s=6.0, drift=0.05),
            gate=Gate(clock, Page()),
            link=line,
            limits=Limits(),
            fences={QUEUE: ()},
        ).run()
        return line.said

    return in_virtual_time(main()), announced


def test_a_worker_announces_what_storage_knows_it_by_before_its_first_storage_call(base: Base) -> None:
    """With the machine that it runs on, where that is certain."""
    said, announced = begin(base)

    assert said[:1] == [words.READY]
    assert len(announced) > 0
    identities = [[row["identity_json"] for row in rows] for rows in announced]
    assert [one for one in identities if one != ['{"machine": "m", "nonce": "7", "targets": ""}']] == []


def test_where_the_machine_is_not_certain_it_is_left_out(base: Base) -> None:
    """An empty name would be one that two machines share."""
    begin(base, machine="")

    assert [row["identity_json"] for row in base.rows(node_backends)] == ['{"nonce": "7", "targets": ""}']


@pytest.mark.parametrize("state", ["expired", "fenced", "gone"])
def test_a_worker_whose_node_was_expired_before_it_began_touches_no_storage(base: Base, state: str) -> None:
    """Nobody would fence it from what its rows do not name."""
    base.change(nodes, ME, state=state)

    assert begin(base) == ([], [])
    assert base.rows(node_backends) == []
