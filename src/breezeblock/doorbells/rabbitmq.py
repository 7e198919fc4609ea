"""A doorbell through RabbitMQ: one topic exchange, a queue for each `cluster@backend`, and one for each worker.

A ring for a backend goes to one of the workers that serve it, in turn. It is acknowledged when it was heard, and each worker
gets one at a time: a stopped worker holds one ring, which goes to another when the broker misses its heartbeats. What nobody
takes is dropped soon, and queues that nobody listens to are removed: rings of a dead cluster do not pile up.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import aiormq
from aiormq.abc import AbstractChannel, AbstractConnection, DeliveredMessage
from aiormq.connection import TCPTransportFactory, TLSTransportFactory, TransportFactory
from pamqp.commands import Basic
from pamqp.common import FieldTable
from yarl import URL

from breezeblock.doorbells.contract import Tally
from breezeblock.doorbells.served import ServedBell, ServedListener
from breezeblock.env.contract import Env

KIND: Final = "rabbitmq"
EXCHANGE: Final = "breezeblock.rings"
# Either side takes a connection for lost after some of these without a word.
HEARTBEAT_S: Final = 5
# After so long everybody has looked by themselves.
RING_LIVES_MS: Final = 30_000
# More rings that wait than this wake nobody earlier.
RINGS_MOST: Final = 256
# When a queue without listeners is removed.
QUEUE_LIVES_MS: Final = 600_000
_BOUNDS: Final[FieldTable] = {"x-message-ttl": RING_LIVES_MS, "x-max-length": RINGS_MOST, "x-overflow": "drop-head"}


@dataclass(frozen=True, slots=True)
class Heard:
    """What one worker listens to: queues that it shares with others, and its own. `quorum` is about the shared ones."""

    shared: tuple[str, ...]
    own: str
    quorum: bool


def rabbitmq_bell(urls: Sequence[str], *, env: Env, tally: Tally) -> ServedBell:
    """A bell; `urls` are those of the broker's nodes, tried in turn."""
    _quiet()

    async def open_sender(url: str) -> _Publisher:
        return await _Publisher.open(url, "bell")

    return ServedBell(KIND, urls, open_sender, env=env, tally=tally)


def rabbitmq_listener(urls: Sequence[str], heard: Heard, *, env: Env, tally: Tally) -> ServedListener:
    """Hears the rings of its queues."""
    _quiet()

    async def open_ear(url: str) -> _Consumer:
        line = await _Line.open(url, "listener")
        consumer = _Consumer(line)
        try:
            await consumer.subscribe(heard)
        except BaseException:
            line.close()
            raise
        return consumer

    return ServedListener(KIND, urls, open_ear, env=env, tally=tally)


def _quiet() -> None:
    """Whether there is a connection is told by `served`, once: not by the library, and for each attempt."""
    logging.getLogger("aiormq").setLevel(logging.CRITICAL + 1)


class _Transport(TransportFactory):
    """Connects as the library does, and keeps what it takes to cut the connection."""

    def __init__(self) -> None:
        self._writer: asyncio.StreamWriter | None = None

    async def create(self, url: URL, **kwargs: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """See `aiormq.TransportFactory`."""
        factory = TLSTransportFactory() if url.scheme == "amqps" else TCPTransportFactory()
        reader, self._writer = await factory.create(url, **kwargs)
        return reader, self._writer

    def cut(self) -> None:
        """End the connection at once: a polite end would wait for a broker that may not answer."""
        if self._writer is not None:
            self._writer.transport.abort()


class _Line:
    """A connection with one channel, on which the exchange is declared."""

    def __init__(self, connection: AbstractConnection, channel: AbstractChannel, transport: _Transport) -> None:
        self.channel = channel
        self._connection = connection
        self._transport = transport
        # Set when the broker takes a queue away from its listeners, as when the node that has it is stopped.
        self._cancelled = asyncio.Event()
        channel.on_consumer_cancel_callbacks.add(self._cancel)

    @classmethod
    async def open(cls, url: str, purpose: str) -> Self:
        transport = _Transport()
        try:
            chosen = URL(url).update_query(heartbeat=str(HEARTBEAT_S), name=f"breezeblock {purpose}")
            connection = await aiormq.connect(chosen, transport_factory=transport)
            channel = await connection.channel(publisher_confirms=True)
            await channel.exchange_declare(exchange=EXCHANGE, exchange_type="topic", durable=True)
        except BaseException:
            transport.cut()
            raise
        return cls(connection, channel, transport)

    async def lost(self) -> None:
        """See `served.Sender`."""
        cancelled = asyncio.ensure_future(self._cancelled.wait())
        ends = (self._connection.closing, self.channel.closing, cancelled)
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for end in ends:
                end.cancel()

    def close(self) -> None:
        """See `served.Sender`."""
        self._transport.cut()

    def _cancel(self, _: object) -> None:
        self._cancelled.set()


class _Publisher(_Line):
    """Implements `served.Sender`."""

    async def send(self, queues: Sequence[str]) -> None:
        """See `served.Sender`. A ring that no queue is bound for is confirmed as well, and dropped."""
        await asyncio.gather(*(self._publish(queue) for queue in queues))

    async def _publish(self, queue: str) -> None:
        once = Basic.Properties(delivery_mode=1)
        confirmed = await self.channel.basic_publish(b"", exchange=EXCHANGE, routing_key=queue, properties=once)
        if not isinstance(confirmed, Basic.Ack):
            raise ConnectionError(f"the broker did not take a ring for {queue}")


class _Consumer:
    """Implements `served.Ear`."""

    def __init__(self, line: _Line) -> None:
        self._line = line
        self._on_ring: Callable[[], None] | None = None
        self._early = False

    async def subscribe(self, heard: Heard) -> None:
        """Declare the queues, bind them and consume."""
        channel = self._line.channel
        await channel.basic_qos(prefetch_count=1)
        for name in heard.shared:
            # Another kind is another queue: one that is there as something else could not be declared.
            kind = "quorum" if heard.quorum else "classic"
            place = f"breezeblock.{name}.{kind}"
            limits: FieldTable = {**_BOUNDS, "x-queue-type": kind, "x-expires": QUEUE_LIVES_MS}
            await channel.queue_declare(place, durable=True, arguments=limits)
            await self._consume(place, name)
        # Named by the broker: after a lost connection the former one may still be there for a while.
        own = await channel.queue_declare("", exclusive=True, auto_delete=True, arguments=_BOUNDS)
        assert own.queue is not None
        await self._consume(own.queue, heard.own)

    async def _consume(self, place: str, name: str) -> None:
        await self._line.channel.queue_bind(place, EXCHANGE, routing_key=name)
        await self._line.channel.basic_consume(place, self._heard)

    async def hear(self, on_ring: Callable[[], None]) -> None:
        """See `served.Ear`."""
        self._on_ring = on_ring
        if self._early:
            on_ring()
        await self._line.lost()

    def close(self) -> None:
        """See `served.Ear`."""
        self._line.close()

    async def _heard(self, message: DeliveredMessage) -> None:
        if self._on_ring is None:
            self._early = True
        else:
            self._on_ring()
        with contextlib.suppress(aiormq.AMQPError, aiormq.ChannelInvalidStateError):
            # On a connection that is just lost: then the ring goes to another, who finds nothing.
            await self._line.channel.basic_ack(_tag_of(message), wait=False)


def _tag_of(message: DeliveredMessage) -> int:
    assert isinstance(message.delivery, Basic.Deliver)
    assert message.delivery.delivery_tag is not None
    return message.delivery.delivery_tag
