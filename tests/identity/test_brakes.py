"""Who guesses waits; nobody else does."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from tests.identity.virtually import virtually

from breezeblock.api.identity import brakes
from breezeblock.api.identity.brakes import Brakes, TooManyAttempts
from breezeblock.testing.virtual import VirtualClock


def run(test: Callable[[Brakes], Any]) -> Any:
    async def main() -> Any:
        return await test(Brakes(VirtualClock()))

    return virtually(main())


async def waited_s(held: Brakes, user: str, address: str) -> float:
    began = VirtualClock().boottime()
    await held.begin(user=user, address=address)
    return VirtualClock().boottime() - began


def test_each_failure_makes_the_next_attempt_slower() -> None:
    """Up to a bound."""

    async def test(held: Brakes) -> list[float]:
        return [await waited_s(held, "ann", "10.0.0.1") for _ in range(14)]

    assert run(test) == [0.0] * 5 + [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]


@pytest.mark.parametrize(
    ("address", "is_slowed"),
    [("2001:db8::2", True), ("2001:db8:0:1::1", False), ("::ffff:10.0.0.1", False), ("", False), ("name", False)],
)
def test_others_are_not_slowed(address: str, is_slowed: bool) -> None:
    """Neither another user from elsewhere, nor anybody but who shares the network of the guesser."""

    async def test(held: Brakes) -> bool:
        for _ in range(6):
            await held.begin(user="ann", address="2001:db8::1")
        assert await waited_s(held, "ann", "10.9.9.9") > 0
        return await waited_s(held, "bob", address) > 0

    assert run(test) == is_slowed


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("192.0.2.1", "::ffff:192.0.2.1"),
        ("192.0.2.1", "64:ff9b::192.0.2.1"),
        ("192.0.2.1", "2002:c000:201::1"),
        ("2002:c000:201:1::1", "2002:c000:201:2::1"),
        ("64:ff9b::c000:201", "::ffff:c000:201"),
    ],
)
def test_an_address_is_itself_however_it_is_written(first: str, second: str) -> None:
    """Who comes through a NAT64 or a tunnel does not share his failures with all who do, and does not lose them."""

    async def test(held: Brakes) -> tuple[float, float]:
        for _ in range(6):
            await held.begin(user="ann", address=first)
        return await waited_s(held, "bob", second), await waited_s(held, "cid", "64:ff9b::192.0.2.2")

    slowed, other = run(test)
    assert slowed > 0
    assert other == 0


def test_attempts_at_once_count_at_once() -> None:
    """A thousand in parallel are not all within the first few; and few of them may wait."""

    async def test(held: Brakes) -> tuple[int, int]:
        began = [asyncio.ensure_future(held.begin(user="ann", address=f"10.0.0.{n}")) for n in range(100)]
        await VirtualClock().sleep(0.1)
        free = sum(one.done() and one.exception() is None for one in began)
        refused = sum(one.done() and isinstance(one.exception(), TooManyAttempts) for one in began)
        await asyncio.wait(began)
        return free, refused

    assert run(test) == (5, 95 - brakes.WAITING_MOST)


def test_who_is_right_is_not_slowed_by_himself() -> None:
    """Yet what was guessed from the same address before still counts."""

    async def test(held: Brakes) -> tuple[float, float]:
        for user in ("bob", "cid", "dot", "eve", "fay"):
            await held.begin(user=user, address="10.0.0.1")
        for _ in range(20):
            await held.begin(user="ann", address="10.0.0.2")
            held.succeeded(user="ann", address="10.0.0.2")
        return await waited_s(held, "ann", "10.0.0.2"), await waited_s(held, "ann", "10.0.0.1")

    assert run(test) == (0.0, 0.5)


def test_an_attempt_that_came_to_nothing_is_taken_back() -> None:
    async def test(held: Brakes) -> float:
        for _ in range(20):
            await held.begin(user="ann", address="10.0.0.1")
            held.take_back(user="ann", address="10.0.0.1")
        return await waited_s(held, "ann", "10.0.0.1")

    assert run(test) == 0.0


def test_failures_are_forgotten() -> None:
    """After a quarter of an hour without another one."""

    async def test(held: Brakes) -> tuple[float, float]:
        for _ in range(6):
            await held.begin(user="ann", address="10.0.0.1")
        await VirtualClock().sleep(brakes.FORGOTTEN_S - 1)
        slow = await waited_s(held, "ann", "10.0.0.1")
        await VirtualClock().sleep(brakes.FORGOTTEN_S)
        return slow, await waited_s(held, "ann", "10.0.0.1")

    assert run(test) == (1.0, 0.0)


def test_who_goes_away_while_he_waits_leaves_nothing() -> None:
    """A place to wait is free again."""

    async def test(held: Brakes) -> None:
        for _ in range(7):
            await held.begin(user="ann", address="10.0.0.1")
        for _ in range(3):
            waiting = [asyncio.ensure_future(held.begin(user="ann", address="10.0.0.1")) for _ in range(4)]
            await VirtualClock().sleep(0.1)
            assert not any(one.done() for one in waiting)
            for one in waiting:
                one.cancel()
            await asyncio.wait(waiting)

    run(test)
