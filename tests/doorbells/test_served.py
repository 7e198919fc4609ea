"""Doorbells through real servers: rings arrive, and whatever happens to the server costs nothing but time."""

import asyncio
import itertools
import subprocess
import sys
import time
from collections import Counter

import pytest
from structlog.testing import capture_logs
from tests.doorbells.bells import Kind, until
from tests.servers.ports import free_port

from breezeblock.doorbells import served
from breezeblock.doorbells.tally import Rings

RINGER = """
import asyncio, sys
from tests.doorbells.bells import Kind, until
from breezeblock.doorbells.tally import Rings

async def main(name, url, queue, times):
    tally = Rings()
    async with Kind(name, url).bell(tally) as bell:
        for _ in range(times):
            before = tally.counts["sent"]
            bell.ring(queue)
            await until(lambda: tally.counts["sent"] > before)
    assert tally.counts["failed"] == 0, tally

asyncio.run(main(*sys.argv[1:4], int(sys.argv[4])))
"""


def test_a_ring_is_heard(kind: Kind) -> None:
    """And counted at both ends."""

    async def main() -> tuple[Rings, Rings]:
        sent = Rings()
        async with kind.ears(kind.queue) as ears, kind.bell(sent) as bell:
            bell.ring(kind.queue)
            await ears.hear()
            await until(lambda: sent.counts["sent"] == 1)
            return sent, ears.tally

    sent, heard = asyncio.run(main())

    assert sent.counts == {"sent": 1, "failed": 0, "received": 0}
    assert heard.counts == {"sent": 0, "failed": 0, "received": 1}


def test_only_the_rings_of_its_queues_wake_a_worker(kind: Kind) -> None:
    """A ring for one node, too, is heard by that node only."""

    async def main() -> list[int]:
        async with kind.ears(kind.queue, own="c@@one") as one, kind.ears("c@tapes", own="c@@two") as two:
            async with kind.bell() as bell:
                for queue in (kind.queue, "c@@two", "c@nobody", "c@@one", "c@tapes"):
                    bell.ring(queue)
                await until(lambda: one.rings >= 3 and two.rings >= 3)
                await asyncio.sleep(0.2)
            return [one.rings, two.rings]

    assert asyncio.run(main()) == [3, 3]  # each with the one of its start


def test_rings_that_wait_together_go_as_one(kind: Kind) -> None:
    """A thousand requests that end while a ring is under way cost one more."""

    async def main() -> Rings:
        tally = Rings()
        async with kind.ears(kind.queue) as ears, kind.bell(tally) as bell:
            for _ in range(1_000):
                bell.ring(kind.queue)
            await ears.hear()
            await until(lambda: tally.counts["sent"] > 0)
        return tally

    assert asyncio.run(main()).counts == {"sent": 1, "failed": 0, "received": 0}


def test_a_thousand_rings_of_several_processes_arrive(kind: Kind) -> None:
    """None is refused, and all of them are heard: they come slower than a worker listens."""

    async def main() -> int:
        async with kind.ears(kind.queue) as ears:
            command = [sys.executable, "-c", RINGER, kind.name, kind.url, kind.queue, "250"]
            ringers = [await asyncio.create_subprocess_exec(*command, stderr=subprocess.PIPE) for _ in range(4)]
            ends = await asyncio.gather(*(ringer.communicate() for ringer in ringers))
            assert [ringer.returncode for ringer in ringers] == [0] * 4, ends
            await until(lambda: ears.tally.counts["received"] >= 1_000)
            return ears.tally.counts["received"]

    assert asyncio.run(main()) == 1_000


@pytest.mark.timeout(180)
def test_a_server_that_is_killed_costs_nothing_but_time(kind: Kind) -> None:
    """Who rings notices nothing; what was rung meanwhile is heard afterwards; both ends say once that they lost it."""

    async def main() -> tuple[float, int]:
        tally, slowest = Rings(), 0.0
        async with kind.ears(kind.queue) as ears, kind.bell(tally) as bell:
            kind.server.kill()
            for turn in itertools.count():
                if turn == 100:  # for a second nothing is there
                    kind.server.launch()
                    restarted = asyncio.ensure_future(asyncio.to_thread(kind.server.wait_ready))
                if turn > 100 and restarted.done():
                    break
                began = time.monotonic()
                bell.ring(kind.queue)
                slowest = max(slowest, time.monotonic() - began)
                await asyncio.sleep(0.01)
            await restarted
            await until(lambda: bell.is_connected() and ears.listener.is_connected())
            ears.awake.clear()
            failed = tally.counts["failed"]
            bell.ring(kind.queue)
            await ears.hear()
            return slowest, failed

    with capture_logs() as logs:
        slowest, failed = asyncio.run(main())

    assert slowest < 0.1
    assert failed <= 2  # of thousands: those that were under way, not those that waited
    said = Counter((line["event"], line["end"]) for line in logs if "again" not in line or line["again"])
    ends = ("bell", "listener")
    assert said == {(what, end): 1 for what in ("doorbell.lost", "doorbell.connected") for end in ends}


def test_what_was_rung_at_a_frozen_server_goes_when_it_is_back(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a partition: the connection stands, and nothing is confirmed."""
    monkeypatch.setattr(served, "SEND_S", 0.3)
    monkeypatch.setattr(served, "CONNECT_S", 0.5)

    async def main() -> int:
        tally = Rings()
        async with kind.bell(tally) as bell:
            kind.server.pause()
            try:
                bell.ring(kind.queue)
                await until(lambda: tally.counts["failed"] == 1 and not bell.is_connected())
            finally:
                kind.server.resume()
            await until(lambda: tally.counts["sent"] == 1)
        return tally.counts["failed"]

    assert asyncio.run(main()) == 1


def test_a_stop_does_not_wait_for_a_frozen_server(kind: Kind) -> None:
    """Not even with a ring under way."""
    closed_at = 0.0

    async def main() -> None:
        nonlocal closed_at
        async with kind.ears(kind.queue), kind.bell() as bell:
            kind.server.pause()
            bell.ring(kind.queue)
            await asyncio.sleep(0.2)
            closed_at = time.monotonic()

    try:
        asyncio.run(main())
        took = time.monotonic() - closed_at
    finally:
        kind.server.resume()

    assert took < 1.0


def test_a_server_that_was_never_there_is_told_of_once(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    """Starting, ringing and stopping go as if it were there, and what waits is bounded."""
    monkeypatch.setattr(served, "PAUSE_LONGEST_S", 0.05)
    nowhere = kind.url.replace(str(kind.server.port), str(free_port()))
    tally = Rings()

    async def main() -> None:
        bell = kind.bell_at(nowhere, tally=tally)
        for number in range(served.WAITING_MOST + 7):
            bell.ring(f"c@{number}")
        await asyncio.sleep(1.0)  # some twenty attempts
        bell.close()

    with capture_logs() as logs:
        asyncio.run(main())

    assert tally.counts == {"sent": 0, "failed": 7, "received": 0}
    assert [line["event"] for line in logs] == ["doorbell.lost"]
    assert kind.url.partition("@")[0].partition("//")[2] not in str(logs)


def test_of_several_servers_one_is_enough(kind: Kind) -> None:
    """The next is tried when one does not answer."""
    nowhere = kind.url.replace(str(kind.server.port), str(free_port()))

    async def main() -> None:
        bell = kind.bell_at(nowhere, kind.url)
        async with kind.ears(kind.queue) as ears:
            bell.ring(kind.queue)
            await ears.hear()
        bell.close()

    asyncio.run(main())
