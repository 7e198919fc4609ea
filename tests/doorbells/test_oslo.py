"""Notifications on a real RabbitMQ: what waits there for whoever listens, and what a broker that goes away costs."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import aiormq
import pytest
from aiormq.abc import AbstractChannel
from tests.doorbells.bells import Kind
from tests.events.given import given_event, given_status

from breezeblock.events.contract import NotTaken
from breezeblock.events.oslo import OsloReceiver
from breezeblock.model.events import Event

T = TypeVar("T")

EVENTS = [
    given_event(id="00000000-0000-0000-0000-000000000001", what="begun", outcome=""),
    given_status("creating", "available", id="00000000-0000-0000-0000-000000000002"),
    given_event(id="00000000-0000-0000-0000-000000000003"),
    given_event(id="00000000-0000-0000-0000-000000000004", kind="extend_volume", outcome="failed", detail="no space"),
]
# A listener as ceilometer has it, in the library's own words.
LISTENER = """
import json, sys, oslo_messaging
from oslo_config import cfg
conf = cfg.ConfigOpts()
conf([], project="listener")
transport = oslo_messaging.get_notification_transport(conf, url=sys.argv[1])
got = []
class End:
    def info(self, ctxt, publisher_id, event_type, payload, metadata):
        got.append([event_type, publisher_id, payload["volume_id"], metadata["message_id"], ctxt.get("request_id")])
    error = info
target = oslo_messaging.Target(exchange=sys.argv[2], topic="notifications")
listener = oslo_messaging.get_notification_listener(transport, [target], [End()], executor="threading")
listener.start()
import time
for _ in range(600):
    if len(got) == int(sys.argv[3]):
        break
    time.sleep(0.05)
listener.stop(); listener.wait()
print(json.dumps(got))
"""


def receiver_of(url: str, *, exchange: str, topic: str = "notifications", **values: Any) -> OsloReceiver:
    return OsloReceiver([url], exchange=exchange, topic=topic, **({"durable": False, "quorum": False} | values))


async def on_channel(url: str, ask: Callable[[AbstractChannel], Awaitable[T]]) -> T:
    connection = await aiormq.connect(url)
    try:
        return await ask(await connection.channel())
    finally:
        await connection.close()


async def taken(url: str, queue: str) -> list[dict[str, Any]]:
    """What waits in a queue, in its order, and is then gone."""

    async def ask(channel: AbstractChannel) -> list[dict[str, Any]]:
        found = []
        while (message := await channel.basic_get(queue, no_ack=True)).body:
            outer = json.loads(message.body)
            found.append(json.loads(outer["oslo.message"]))
        return found

    return await on_channel(url, ask)


def test_notifications_wait_in_the_queues_that_listeners_will_use(rabbitmq: Kind) -> None:
    """Also when nobody has listened yet; what is no notification goes nowhere."""

    async def main() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        receiver = receiver_of(rabbitmq.url, exchange="one", topic="one")
        await receiver.send(EVENTS)
        await receiver.close()
        return await taken(rabbitmq.url, "one.info"), await taken(rabbitmq.url, "one.error")

    info, error = asyncio.run(main())

    assert [one["event_type"] for one in info] == ["volume.create.start", "volume.create.end"]
    assert [one["event_type"] for one in error] == ["volume.resize.error"]
    assert [one["message_id"] for one in info] == [EVENTS[0].id, EVENTS[2].id]


def test_what_is_there_is_used_as_it_is(rabbitmq: Kind) -> None:
    """A listener came first, and has made exchange and queue in its own way."""

    async def main() -> list[dict[str, Any]]:
        async def prepare(channel: AbstractChannel) -> None:
            await channel.exchange_declare(exchange="two", exchange_type="topic", durable=True)
            await channel.queue_declare("two.info", durable=True)
            await channel.queue_bind("two.info", "two", routing_key="two.info")

        await on_channel(rabbitmq.url, prepare)
        receiver = receiver_of(rabbitmq.url, exchange="two", topic="two")
        await receiver.send(EVENTS[:1])
        await receiver.close()
        return await taken(rabbitmq.url, "two.info")

    assert len(asyncio.run(main())) == 1


def test_after_a_lost_connection_the_next_try_is_a_new_one(rabbitmq: Kind) -> None:
    async def main() -> list[str]:
        receiver = receiver_of(rabbitmq.url, exchange="three", topic="three")
        await receiver.send(EVENTS[:1])
        receiver._transport.cut()  # as a broker that dies does to us
        await asyncio.sleep(0.1)
        for _ in range(3):
            try:
                await receiver.send(EVENTS[2:3])
                break
            except NotTaken:
                continue
        await receiver.close()
        return [one["event_type"] for one in await taken(rabbitmq.url, "three.info")]

    assert asyncio.run(main()) == ["volume.create.start", "volume.create.end"]


def test_where_no_broker_is_nothing_is_taken() -> None:
    with pytest.raises(NotTaken, match="broker"):
        asyncio.run(receiver_of("amqp://user:s3cret@127.0.0.1:1/", exchange="x").send(EVENTS[:1]))


def test_without_a_notification_no_broker_is_asked() -> None:
    event: Event = given_status("available", "maintenance")

    asyncio.run(receiver_of("amqp://127.0.0.1:1/", exchange="x").send([event]))


def test_a_listener_of_oslo_messaging_reads_them(rabbitmq: Kind) -> None:
    """In a process of its own: the library brings an event loop of its own along."""

    async def main() -> None:
        receiver = receiver_of(rabbitmq.url, exchange="cinder")
        await receiver.send(EVENTS)
        await receiver.close()

    asyncio.run(main())
    url = rabbitmq.url.replace("amqp://", "rabbit://")
    command = [sys.executable, "-c", LISTENER, url, "cinder", "3"]
    got = json.loads(subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout)

    assert [one[0] for one in got if not one[0].endswith("error")] == ["volume.create.start", "volume.create.end"]
    assert sorted(one[3] for one in got) == sorted([EVENTS[0].id, EVENTS[2].id, EVENTS[3].id])
    assert {(one[1], one[2], one[4]) for one in got} == {("volume.c@fast", "v1", "req-1")}
