"""How long each thing takes at one size, for one client at a time."""

import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from .acts import SLOTS, Client, Member, World
from .plan import BIG, CLUSTERS, Plan

Samples = dict[str, list[float]]
"""Milliseconds by what was done."""
Act = Callable[[], Awaitable[Any]]
# However slow something is, it is done that often.
FEWEST: Final = 5
WARM: Final = 3
PAGE: Final = 50
LONG_PAGE: Final = 1_000
UNDER_HEARTBEATS: Final = ("show", "list", "create", "look", "claim", "finish")


@dataclass(frozen=True, slots=True)
class Figure:
    """In milliseconds."""

    p50: float
    p99: float
    count: int


def figure(values: list[float]) -> Figure:
    """What half of them and 99 of 100 do not exceed."""
    ordered = sorted(values)
    return Figure(_at(ordered, 0.5), _at(ordered, 0.99), len(ordered))


def _at(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


class Meter:
    """Times what is done, and says when it has taken enough."""

    def __init__(self, slow_s: float) -> None:
        self.samples: Samples = {}
        self._slow_ms = slow_s * 1000

    async def time(self, name: str, act: Act) -> Any:
        """Do it now."""
        began = time.perf_counter()
        found = await act()
        self.samples.setdefault(name, []).append((time.perf_counter() - began) * 1000)
        return found

    def wants(self, name: str) -> bool:
        """Whether it has not taken too long so far."""
        taken = self.samples.get(name, [])
        return len(taken) < FEWEST or sum(taken) < self._slow_ms


def requests(client: Client) -> dict[str, Act]:
    """What clients ask for that changes nothing."""
    return {
        "show": client.show,
        "list": lambda: client.page(client.small_project(), limit=PAGE),
        "list_big": lambda: client.page(BIG, limit=PAGE),
        "list_detail": lambda: client.page(BIG, limit=LONG_PAGE),
        "list_marker": lambda: client.page(BIG, limit=PAGE, marker=client.marker()),
        "list_all": lambda: client.page(None, limit=PAGE),
        "list_name": lambda: client.page(BIG, limit=PAGE, name=client.name()),
        "list_status": lambda: client.page(BIG, limit=PAGE, status="error"),
        "list_metadata": lambda: client.page(BIG, limit=PAGE, metadata='"app":"app-10"'),
        "list_rare": lambda: client.page(BIG, limit=PAGE, metadata='"ticket":"4711"'),
    }


async def measure(at: World, plan: Plan, size: int) -> Samples:
    """All of it, in turns: whatever else the machine does meanwhile hits all of them alike."""
    meter = Meter(plan.slow_s)
    client, member = Client(at, size, seed=size), Member(at, 0)
    acts = {**requests(client), "renew": member.renew, "observe": member.observe, "kinds": member.kinds}
    for number in range(WARM + plan.rounds):
        if number == WARM:
            meter.samples.clear()
        for name, act in acts.items():
            if meter.wants(name):
                await meter.time(name, act)
        await _work(meter, client, member, number)
    meter.samples.update(await _expiries(at, plan))
    return meter.samples


async def under_heartbeats(at: World, plan: Plan, size: int) -> Samples:
    """Some of it once more, while others are busy."""
    meter = Meter(plan.slow_s)
    client, member = Client(at, size, seed=f"{size} again"), Member(at, 0)
    acts = {name: act for name, act in requests(client).items() if name in UNDER_HEARTBEATS}
    for number in range(plan.rounds):
        for name, act in acts.items():
            await meter.time(name, act)
        await _work(meter, client, member, number)
    return meter.samples


async def _work(meter: Meter, client: Client, member: Member, number: int) -> None:
    """A volume comes, and an operation of some queue ends: there are as many queued as before."""
    member.become(number % CLUSTERS)
    await meter.time("create", client.create)
    wanted = await meter.time("look", member.look)
    if not wanted:  # a small queue that was emptied before
        return
    (claim,) = await meter.time("claim", lambda: member.claim(wanted[:1]))
    await meter.time("finish", lambda: member.finish(claim))


async def _expiries(at: World, plan: Plan) -> Samples:
    """Nodes die with as many operations as a node runs of one backend."""
    meter = Meter(plan.slow_s)
    member = Member(at, 0)
    nodes = random.Random("expiries").sample(range(plan.nodes), plan.expiries)
    for node in nodes:
        member.become(node)
        wanted = await member.look()
        if not wanted:
            continue
        claims = await member.claim(wanted)
        assert len(claims) <= SLOTS
        await member.checkpoint(claims)
        heartbeat = await member.heartbeat()
        await meter.time("expire", lambda at_=heartbeat: member.be_expired(at_))  # type: ignore[misc]
        await member.be_fenced()
        await meter.time("release", member.be_released)
        await member.rise()
    return meter.samples
