"""The two doorbells that have servers, alike: what the tests ring and hear."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

from tests.servers.server import Server

from breezeblock.doorbells.postgresql import postgresql_bell, postgresql_listener
from breezeblock.doorbells.rabbitmq import Heard, rabbitmq_bell, rabbitmq_listener
from breezeblock.doorbells.served import ServedBell, ServedListener
from breezeblock.doorbells.tally import Rings
from breezeblock.env.real import real_env

PATIENCE_S = 60.0
_numbers = itertools.count()


async def until(holds: Callable[[], bool]) -> None:
    """Return when it holds."""
    async with asyncio.timeout(PATIENCE_S):
        while not holds():  # noqa: ASYNC110  it asks others, who set no event of ours
            await asyncio.sleep(0.005)


@dataclass
class Ears:
    """A worker that listens."""

    listener: ServedListener
    tally: Rings
    rings: int = 0
    awake: asyncio.Event = field(default_factory=asyncio.Event)

    def on_ring(self) -> None:
        self.rings += 1
        self.awake.set()

    async def hear(self) -> None:
        """Return at the next ring that was heard since the last call."""
        async with asyncio.timeout(PATIENCE_S):
            await self.awake.wait()
        self.awake.clear()


@dataclass(frozen=True)
class Kind:
    """One doorbell and its server. `name` and `url` are as in the settings.

    Each has a queue of its own: a listener that stops takes its word that a ring was heard with it, if it was just on the way,
    and the broker gives the ring to whoever listens next. In the service that wakes one for nothing; a test would count it.
    """

    name: str
    url: str
    running: Server | None = None
    quorum: bool = False
    queue: str = field(default_factory=lambda: f"cluster@disks{next(_numbers)}")

    @property
    def server(self) -> Server:
        """Where it is this process's own."""
        assert self.running is not None
        return self.running

    def bell_at(self, *urls: str, tally: Rings | None = None) -> ServedBell:
        opener = postgresql_bell if self.name == "postgresql" else rabbitmq_bell
        return opener(urls, env=real_env(), tally=tally or Rings())

    def listener_at(self, *urls: str, queues: Sequence[str], own: str = "cluster@@me", tally: Rings) -> ServedListener:
        if self.name == "postgresql":
            return postgresql_listener(urls, [*queues, own], env=real_env(), tally=tally)
        heard = Heard(shared=tuple(queues), own=own, quorum=self.quorum)
        return rabbitmq_listener(urls, heard, env=real_env(), tally=tally)

    @contextlib.asynccontextmanager
    async def bell(self, tally: Rings | None = None) -> AsyncIterator[ServedBell]:
        """A bell that is connected."""
        bell = self.bell_at(self.url, tally=tally)
        try:
            await until(bell.is_connected)
            yield bell
        finally:
            bell.close()

    @contextlib.asynccontextmanager
    async def ears(self, *queues: str, own: str = "cluster@@me") -> AsyncIterator[Ears]:
        """A worker that is connected; the ring of its start is over."""
        tally = Rings()
        ears = Ears(self.listener_at(self.url, queues=queues, own=own, tally=tally), tally)
        ears.listener.listen(ears.on_ring)
        try:
            await ears.hear()
            yield ears
        finally:
            ears.listener.close()
