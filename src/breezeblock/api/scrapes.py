"""The text of `/metrics`: anybody may ask for it, so however many do, it is made once at a time, and once a second.

It costs a reading of the database and some milliseconds of a processor, which would be a way to keep a service busy for
whoever reaches its port.
"""

from collections.abc import Callable, Coroutine
from typing import Any, Final

from breezeblock.api.identity.remembered import Flights
from breezeblock.env.contract import Clock

__all__ = ["KEPT_S", "Scrapes"]

# Nobody draws a curve of finer steps. It begins when the text is there: one that takes long to make is not made all the time.
KEPT_S: Final = 1.0


class Scrapes:
    """One process's."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._made = b""
        self._made_at: float | None = None
        self._flights: Flights[str, bytes] = Flights(most=1)

    async def text(self, make: Callable[[], Coroutine[Any, Any, bytes]]) -> bytes:
        """What was made a moment ago, or is made now for all who ask. Raises what the making raises."""
        if self._made_at is not None and self._clock.boottime() < self._made_at + KEPT_S:
            return self._made
        return await self._flights.join("text", lambda: self._make(make))

    async def _make(self, make: Callable[[], Coroutine[Any, Any, bytes]]) -> bytes:
        text = await make()
        self._made, self._made_at = text, self._clock.boottime()
        return text
