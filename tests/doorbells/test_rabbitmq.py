"""What only a broker does: it keeps rings in queues, each for one of the workers that share it."""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeVar

import aiormq
import pytest
from aiormq.abc import AbstractChannel
from tests.doorbells.bells import Kind, until

from breezeblock.doorbells import rabbitmq as broker
from breezeblock.doorbells.tally import Rings

T = TypeVar("T")

WORKER = """
import asyncio, sys
from breezeblock.doorbells import rabbitmq
from tests.doorbells.bells import Kind

async def main(url, queue):
    rabbitmq.HEARTBEAT_S = 1
    async with Kind("rabbitmq", url).ears(queue) as ears:
        print("listening", flush=True)
        await ears.hear()

asyncio.run(main(sys.argv[1], sys.argv[2]))
"""


async def on_channel(kind: Kind, ask: Callable[[AbstractChannel], Awaitable[T]]) -> T:
    """What the broker says itself."""
    connection = await aiormq.connect(kind.url)
    try:
        return await ask(await connection.channel())
    finally:
        await connection.close()


async def waiting(kind: Kind, place: str) -> int:
    """How many rings wait in a queue. Raises when there is no such queue."""
    declared = await on_channel(kind, lambda channel: channel.queue_declare(place, passive=True))
    assert declared.message_count is not None
    return declared.message_count


async def ring_one_by_one(kind: Kind, queue: str, times: int) -> None:
    tally = Rings()
    async with kind.bell(tally) as bell:
        for number in range(times):
            bell.ring(queue)
            await until(lambda number=number: tally.counts["sent"] > number)  # type: ignore[misc]


def test_each_ring_wakes_one_of_the_workers_that_share_a_queue(rabbitmq: Kind) -> None:
    """All that wake look into the queue: one is enough, and the next ring is the next one's."""

    async def main() -> list[int]:
        async with rabbitmq.ears("c@shared") as one, rabbitmq.ears("c@shared") as two:
            await ring_one_by_one(rabbitmq, "c@shared", 4)
            await until(lambda: one.tally.counts["received"] + two.tally.counts["received"] >= 4)
            return [one.tally.counts["received"], two.tally.counts["received"]]

    assert asyncio.run(main()) == [2, 2]


def test_the_ring_that_a_stopped_worker_holds_goes_to_another(rabbitmq: Kind) -> None:
    """As soon as the broker misses its heartbeats; the stopped one gets no second."""

    async def main() -> tuple[int, int]:
        command = [sys.executable, "-c", WORKER, rabbitmq.url, "c@stopped"]
        worker = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        try:
            assert worker.stdout is not None
            await worker.stdout.readuntil(b"listening\n")  # after what it logs
            os.kill(worker.pid, signal.SIGSTOP)
            async with rabbitmq.ears("c@stopped") as awake:
                await ring_one_by_one(rabbitmq, "c@stopped", 5)
                await until(lambda: awake.tally.counts["received"] >= 4)
                at_once = awake.tally.counts["received"]
                await until(lambda: awake.tally.counts["received"] >= 5)
                return at_once, awake.tally.counts["received"]
        finally:
            worker.kill()
            await worker.wait()

    assert asyncio.run(main()) == (4, 5)


@pytest.mark.parametrize("quorum", [False, True])
def test_rings_that_nobody_takes_do_not_pile_up(rabbitmq: Kind, quorum: bool) -> None:
    """The queue of a dead cluster is short, whichever kind it is."""
    kind = replace(rabbitmq, quorum=quorum)
    place = f"breezeblock.c@dead{quorum}.{'quorum' if quorum else 'classic'}"

    async def main() -> int:
        async with kind.ears(f"c@dead{quorum}"):
            pass
        await ring_one_by_one(kind, f"c@dead{quorum}", broker.RINGS_MOST + 44)
        return await waiting(kind, place)

    assert 0 < asyncio.run(main()) <= broker.RINGS_MOST


def test_workers_of_both_kinds_of_queues_hear_each_ring(rabbitmq: Kind) -> None:
    """While an operator changes the setting, nodes with the old value and the new one are there together."""

    async def main() -> None:
        quorum = replace(rabbitmq, quorum=True)
        async with rabbitmq.ears("c@changing") as old, quorum.ears("c@changing") as new, rabbitmq.bell() as bell:
            bell.ring("c@changing")
            await old.hear()
            await new.hear()

    asyncio.run(main())


def test_a_worker_whose_queue_is_taken_away_makes_it_again(rabbitmq: Kind) -> None:
    """As when the node of a cluster that has it is stopped, or an operator removes it."""

    async def main() -> None:
        async with rabbitmq.ears("c@removed") as ears, rabbitmq.bell() as bell:
            await on_channel(rabbitmq, lambda channel: channel.queue_delete("breezeblock.c@removed.classic"))
            await ears.hear()  # of its new connection
            bell.ring("c@removed")
            await ears.hear()

    asyncio.run(main())
