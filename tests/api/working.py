"""A node behind the API under test: it does what it is rung for, with the real steps and a real driver, at once."""

import asyncio
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec
from tests.api.builders import NODE
from tests.api.world import Api
from tests.drivers.guards import WithoutLocks

from breezeblock.drivers.contract import ObjectName
from breezeblock.drivers.file import FileDriver
from breezeblock.env.real import real_env
from breezeblock.model.ids import Incarnation
from breezeblock.node.gate import Gate
from breezeblock.protocol import queue as waiting
from breezeblock.protocol import steps
from breezeblock.protocol.steps import Run
from breezeblock.store import tables
from breezeblock.store.run import Store
from breezeblock.work.catalogue import CATALOGUE
from breezeblock.work.tools import Tools


class Always:
    """The deadline, and the lease, of a node that keeps it."""

    until = float("inf")
    lapses = 0

    def is_open(self) -> bool:
        return True

    async def wait_open(self) -> None:
        return


class Node:
    """Takes the place of an API's bell. `away` stops it: whoever rings then waits."""

    def __init__(self, api: Api, folder: Path, store: Store) -> None:
        self.env = real_env(max_threads=2)
        self.folder = folder / "storage"
        self.away = False
        self.done: list[str] = []
        self.rung: list[str] = []
        self.was_rung = asyncio.Event()
        self._store = store
        self._tasks: set[asyncio.Task[None]] = set()
        self.driver = FileDriver(
            self.env.files, name="b", path=PurePosixPath(self.folder), clock=self.env.clock, ids=self.env.ids
        )

    def ring(self, queue: str) -> None:
        self.rung.append(queue)
        self.was_rung.set()
        if not self.away:
            task = asyncio.get_running_loop().create_task(self.work(queue))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def work(self, name: str) -> None:
        """Do all that waits in a queue."""
        me = Incarnation(NODE["incarnation"])
        kinds = {kind: operation.version for kind, operation in CATALOGUE.items()}
        look: dict[str, Any] = {"queue": name, "kinds": kinds, "most": 1, "attempts": range(100)}
        while found := await self._store.read(waiting.claimable, **look):
            (claim,) = await self._store.run(waiting.claim, wanted=found, incarnation=me, now_us=0)
            operation = CATALOGUE[claim.kind]
            guard = Gate(self.env.clock, Always()).guard({at.resource_id: (at.seq, claim.epoch) for at in claim.locks})
            tools = Tools(driver=self.driver.bind(WithoutLocks(guard)), clock=self.env.clock, continues=True)
            payload = msgspec.json.decode(claim.payload_json, type=operation.payload)
            run = Run(claim, payload, tools, self._store, leaving=lambda: False)
            await steps.execute(operation, run, self._store, Always(), self.env.clock.now_us)
            self.done.append(claim.kind)

    async def rest(self) -> None:
        """Return when it has done all that it was rung for."""
        await asyncio.gather(*self._tasks)

    async def make(self, object_name: str, *, size_bytes: int = 1 << 20) -> None:
        """The object of a volume whose row a test has written."""
        await self.driver.check(known=False)
        await self.driver.create(ObjectName.parse(object_name), size_bytes=size_bytes)

    async def accesses(self) -> list[str]:
        """Whose accesses there are on storage, by their attachments' ids."""
        return [name.resource_id for name in await self.driver.accesses()]


__all__ = ["Node", "tables"]
