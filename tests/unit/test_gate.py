"""The gate: no storage call starts without the lease."""

import asyncio
from collections.abc import Coroutine
from random import Random
from typing import Any, TypeVar

from breezeblock.node.gate import Gate
from breezeblock.node.page import Page
from breezeblock.testing.loop import VirtualLoop
from breezeblock.testing.virtual import VirtualClock

T = TypeVar("T")
START_S = 1_000.0


def run(main: Coroutine[Any, Any, T]) -> T:
    return VirtualLoop(Random(1), start_s=START_S).run(main)  # type: ignore[abstract]


def gate_until(until: float, *, lapses: int = 0) -> tuple[Gate, Page]:
    page = Page.make()
    page.publish(until=until, lapses=lapses)
    return Gate(VirtualClock(), page), page


def test_a_new_page_gives_no_right_to_work() -> None:
    """A worker that starts before its keeper's first word may touch nothing."""

    async def main() -> bool:
        return Gate(VirtualClock(), Page.make()).is_open()

    assert run(main()) is False


def test_the_gate_shuts_by_itself_at_the_published_instant() -> None:
    """A keeper that is stopped says nothing more, and need not."""

    async def main() -> tuple[bool, bool]:
        gate, _ = gate_until(START_S + 5)
        await VirtualClock().sleep(4.999)
        before = gate.is_open()
        await VirtualClock().sleep(0.001)
        return before, gate.is_open()

    assert run(main()) == (True, False)


def test_a_call_is_told_at_its_very_start_that_the_lease_has_ended() -> None:
    """Between the last look and the call time may have passed."""

    async def main() -> tuple[bool, bool]:
        gate, page = gate_until(START_S + 5)
        with gate.enter() as first:
            page.publish(until=START_S, lapses=0)
            with gate.enter() as second:
                return first, second

    assert run(main()) == (True, False)


def test_idle_means_that_no_call_is_under_way() -> None:
    """Only then does the worker confirm that its gate is shut."""

    async def main() -> tuple[bool, bool, bool]:
        gate, _ = gate_until(START_S + 5)
        with gate.enter():
            waiting = asyncio.ensure_future(gate.shut())
            await VirtualClock().sleep(1)
            during = waiting.done()
        await VirtualClock().sleep(1)
        return during, waiting.done(), gate.is_open()

    assert run(main()) == (False, True, False)


def test_a_gate_that_is_shut_is_shut_at_once() -> None:
    """An `open` that was waiting behind the `shut` finds it so, and opens it."""

    async def main() -> bool:
        gate, _ = gate_until(START_S + 5)
        idle = gate.shut()
        gate.open()
        await idle
        return gate.is_open()

    assert run(main()) is True


def test_a_call_that_fails_is_no_longer_under_way() -> None:
    """Else a shut would never be confirmed, and the worker be killed for it."""

    async def main() -> bool:
        gate, _ = gate_until(START_S + 5)
        try:
            with gate.enter():
                raise OSError
        except OSError:
            await asyncio.wait_for(gate.shut(), 1)
        return gate.is_open()

    assert run(main()) is False


def test_a_renewal_opens_the_gate_again() -> None:
    """The database came back before anybody expired us."""

    async def main() -> tuple[bool, bool]:
        gate, page = gate_until(START_S + 5)
        await gate.shut()
        page.publish(until=START_S + 10, lapses=1)
        still_shut = gate.is_open()
        gate.open()
        return still_shut, gate.is_open()

    assert run(main()) == (False, True)


def test_every_loss_of_the_lease_is_counted_seen_or_unseen() -> None:
    """By the keeper's word, or by a shut; a second shut of a gate that is shut is the same loss."""

    async def main() -> list[int]:
        gate, page = gate_until(START_S + 5)
        seen = [gate.lapses]
        await gate.shut()
        await gate.shut()
        seen.append(gate.lapses)
        page.publish(until=START_S + 10, lapses=1)
        gate.open()
        return [*seen, gate.lapses]

    assert run(main()) == [0, 1, 2]


def test_who_waits_goes_on_when_the_gate_opens() -> None:
    """However long the outage was."""

    async def main() -> tuple[bool, bool]:
        gate, page = gate_until(START_S - 1)
        waiting = asyncio.ensure_future(gate.guard({}).wait_open())
        await VirtualClock().sleep(3_600)
        before = waiting.done()
        page.publish(until=START_S + 10_000, lapses=1)
        await VirtualClock().sleep(1)
        return before, waiting.done()

    assert run(main()) == (False, True)


def test_a_guard_names_the_tokens_and_shares_the_gate() -> None:
    """Checkers see under which token a call was made; a copy, so that nobody changes it."""
    tokens = {"v": (1, 2)}

    async def main() -> tuple[dict[str, tuple[int, int]], bool]:
        gate, _ = gate_until(START_S + 5)
        guard = gate.guard(tokens)
        tokens["v"] = (9, 9)
        with guard.enter() as allowed:
            return guard.tokens(), allowed

    assert run(main()) == ({"v": (1, 2)}, True)


def test_the_page_is_one_memory_for_both_processes() -> None:
    """What the keeper publishes is there for whoever maps the same file."""
    page = Page.make()
    other = Page(page.file)

    page.publish(until=12.5, lapses=3)

    assert (other.until, other.lapses) == (12.5, 3)
