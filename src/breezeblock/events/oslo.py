"""Events as oslo notifications on RabbitMQ, for whoever listens to Cinder's.

The exchange, the topic and the queue behind it are made as oslo.messaging makes them, so that what is sent before anybody has
listened waits there. Each message is confirmed by the broker, and returned where no queue is bound for it: then nobody has it.
"""

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from typing import Any, Final

import aiormq
from aiormq.abc import AbstractChannel, AbstractConnection
from aiormq.connection import TCPTransportFactory, TLSTransportFactory, TransportFactory
from pamqp.commands import Basic
from pamqp.common import FieldTable
from yarl import URL

from breezeblock.events.contract import NotTaken
from breezeblock.events.notifications import Notification, notification_of
from breezeblock.model.events import Event

__all__ = ["OsloReceiver"]

HEARTBEAT_S: Final = 10
_LOST: Final = (aiormq.AMQPError, aiormq.exceptions.ChannelInvalidStateError, OSError, asyncio.IncompleteReadError)


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


class OsloReceiver:
    """Implements `Receiver`. The brokers' URLs are tried in turn."""

    def __init__(self, urls: Sequence[str], *, exchange: str, topic: str, durable: bool, quorum: bool) -> None:
        # Whether there is a connection is told by who sends, once: not by the library, and for each attempt.
        logging.getLogger("aiormq").setLevel(logging.CRITICAL + 1)
        self._urls = tuple(urls)
        self._exchange = exchange
        self._topic = topic
        self._durable = durable
        self._queue_arguments: FieldTable | None = {"x-queue-type": "quorum"} if quorum else None
        self._next = 0
        self._connection: AbstractConnection | None = None
        self._transport = _Transport()
        self._channel: AbstractChannel | None = None
        self._bound: set[str] = set()

    async def send(self, events: Sequence[Event]) -> None:
        """See `Receiver.send`. What is no notification is taken without a word."""
        told = [one for one in map(notification_of, events) if one is not None]
        if not told:
            return
        is_whole = False
        try:
            channel = await self._open()
            for one in told:
                await self._publish(channel, one)
            is_whole = True
        except _LOST as error:
            raise NotTaken(f"The broker has not taken them: {type(error).__name__}.") from error
        finally:
            if not is_whole:  # also when the caller has lost its patience: whatever is under way on it is void
                self._cut()

    async def close(self) -> None:
        """See `Receiver.close`."""
        self._cut()

    def _cut(self) -> None:
        self._transport.cut()
        self._connection = self._channel = None
        self._bound = set()
        self._next += 1

    async def _open(self) -> AbstractChannel:
        if self._connection is None or self._connection.is_closed or self._channel is None or self._channel.is_closed:
            self._transport.cut()
            self._bound = set()
            self._transport = _Transport()
            url = URL(self._urls[self._next % len(self._urls)])
            chosen = url.update_query(heartbeat=str(HEARTBEAT_S), name="breezeblock events")
            self._connection = await aiormq.connect(chosen, transport_factory=self._transport)
            await self._declare_exchange()
            self._channel = await self._connection.channel(publisher_confirms=True)
        return self._channel

    async def _declare_exchange(self) -> None:
        """Whoever came first has said whether it is durable: what is there is used as it is."""
        assert self._connection is not None
        looking = await self._connection.channel()
        with contextlib.suppress(aiormq.exceptions.ChannelNotFoundEntity):
            await looking.exchange_declare(exchange=self._exchange, exchange_type="topic", passive=True)
            await looking.close()
            return
        channel = await self._connection.channel()
        await channel.exchange_declare(exchange=self._exchange, exchange_type="topic", durable=self._durable)
        await channel.close()

    async def _bind(self, channel: AbstractChannel, key: str) -> None:
        """The queue that is there before its first listener is. As it is, where it is; else as we are told to make it."""
        assert self._connection is not None
        looking = await self._connection.channel()
        try:
            await looking.queue_declare(key, passive=True)
            await looking.close()
        except aiormq.exceptions.ChannelNotFoundEntity:
            durable = self._durable or self._queue_arguments is not None
            await channel.queue_declare(key, durable=durable, arguments=self._queue_arguments)
        await channel.queue_bind(key, self._exchange, routing_key=key)
        self._bound.add(key)

    async def _publish(self, channel: AbstractChannel, one: Notification) -> None:
        key = f"{self._topic}.{one.topic}"
        if key not in self._bound:
            await self._bind(channel, key)
        properties = Basic.Properties(
            content_type="application/json", content_encoding="utf-8", delivery_mode=2, message_id=one.event.id
        )
        confirmed = await channel.basic_publish(
            one.envelope(), exchange=self._exchange, routing_key=key, properties=properties, mandatory=True
        )
        if not isinstance(confirmed, Basic.Ack):
            self._bound.discard(key)
            raise NotTaken(f"The broker did not take {one.event_type}.")
