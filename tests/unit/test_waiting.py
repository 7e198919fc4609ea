"""Waiting on a clock that the test sets, for what answers, fails, hangs, or is given up from outside."""

import asyncio
from collections.abc import Coroutine
from random import Random
from typing import Any

import pytest

from breezeblock.env.waiting import NoAnswer, within
from breezeblock.testing.loop import VirtualLoop
from breezeblock.testing.virtual import VirtualClock

LIMIT_S = 10.0


class Call:
    """A storage that answers after a while, and notes whether it was given up."""

    def __init__(self, *, after_s: float, error: Exception | None = None) -> None:
        self._after_s = after_s
        self._error = error
        self.cancelled = False

    async def ask(self) -> str:
        try:
            await VirtualClock().sleep(self._after_s)
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        if self._error is not None:
            raise self._error
        return "there"


def in_virtual_time(main: Coroutine[Any, Any, Any]) -> Any:
    return VirtualLoop(Random(1)).run(main)  # type: ignore[abstract]


def test_what_answers_in_time_is_returned() -> None:
    call = Call(after_s=LIMIT_S / 2)

    assert in_virtual_time(within(VirtualClock(), LIMIT_S, call.ask())) == "there"
    assert not call.cancelled


def test_what_fails_in_time_fails() -> None:
    call = Call(after_s=0.0, error=OSError("broken"))

    with pytest.raises(OSError, match="broken"):
        in_virtual_time(within(VirtualClock(), LIMIT_S, call.ask()))


def test_what_does_not_answer_in_time_is_given_up_at_that_time() -> None:
    call = Call(after_s=LIMIT_S * 100)

    async def given_up() -> float:
        began = asyncio.get_running_loop().time()
        with pytest.raises(NoAnswer):
            await within(VirtualClock(), LIMIT_S, call.ask())
        took_s = asyncio.get_running_loop().time() - began
        await VirtualClock().sleep(0.1)  # it is told, and not waited for
        return took_s

    assert in_virtual_time(given_up()) == pytest.approx(LIMIT_S, abs=0.1)
    assert call.cancelled


def test_whoever_is_given_up_while_it_waits_gives_up_the_call() -> None:
    call = Call(after_s=LIMIT_S * 100)

    async def cancelled_from_outside() -> None:
        waiting = asyncio.ensure_future(within(VirtualClock(), LIMIT_S, call.ask()))
        await VirtualClock().sleep(1.0)
        waiting.cancel()
        await asyncio.wait((waiting,))
        await VirtualClock().sleep(0.1)

    in_virtual_time(cancelled_from_outside())

    assert call.cancelled
