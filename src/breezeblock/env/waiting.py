"""Waiting for an answer, and no longer than that by the injected clock."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from breezeblock.env.contract import Clock

__all__ = ["NoAnswer", "within"]

T = TypeVar("T")


class NoAnswer(Exception):
    """It did not come in time."""


async def within(clock: Clock, seconds: float, call: Coroutine[Any, Any, T]) -> T:
    """The answer of a call. Raises NoAnswer when it takes longer, or whatever the call raises.

    What is late is cancelled, and not waited for: it may hang, and may go on where nobody waits for it.
    """
    asked = asyncio.ensure_future(call)
    timer = asyncio.ensure_future(clock.sleep(seconds))
    try:
        await asyncio.wait((asked, timer), return_when=asyncio.FIRST_COMPLETED)
        if asked.done():
            return asked.result()
        raise NoAnswer
    finally:
        timer.cancel()
        asked.cancel()
