"""Memory with a bound, and work that is done once for all who want it at the same time."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

__all__ = ["Crowded", "Flights", "Remembered"]

K = TypeVar("K")
V = TypeVar("V")


class Remembered(Generic[K, V]):
    """At most so many values; what was not asked for the longest makes room."""

    def __init__(self, *, most: int) -> None:
        self._most = most
        self._values: OrderedDict[K, V] = OrderedDict()

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: K) -> V | None:
        """What is remembered, which is used by that."""
        value = self._values.get(key)
        if value is not None:
            self._values.move_to_end(key)
        return value

    def put(self, key: K, value: V) -> None:
        """Remember it from now on."""
        self._values[key] = value
        self._values.move_to_end(key)
        if len(self._values) > self._most:
            self._values.popitem(last=False)

    def forget(self, key: K) -> None:
        """Nothing happens if it is not known."""
        self._values.pop(key, None)


class Crowded(Exception):
    """So much is being found out already that nothing more is begun."""


class Flights(Generic[K, V]):
    """Work by key. Who comes while it is under way waits for the same, and does not end it by going away."""

    def __init__(self, *, most: int) -> None:
        self._most = most
        self._flying: dict[K, asyncio.Task[V]] = {}

    def __len__(self) -> int:
        return len(self._flying)

    def start(self, key: K, work: Callable[[], Coroutine[Any, Any, V]]) -> "asyncio.Task[V]":
        """The work under way for this key, or begun now. Raises Crowded."""
        flight = self._flying.get(key)
        if flight is None:
            if len(self._flying) >= self._most:
                raise Crowded
            flight = asyncio.ensure_future(work())
            self._flying[key] = flight
            flight.add_done_callback(lambda done: self._landed(key, done))
        return flight

    async def join(self, key: K, work: Callable[[], Coroutine[Any, Any, V]]) -> V:
        """What comes of it. Raises Crowded, and what the work raises."""
        # Shielded: a request whose client has gone is cancelled, and the others still want the answer.
        return await asyncio.shield(self.start(key, work))

    def _landed(self, key: K, flight: "asyncio.Task[V]") -> None:
        del self._flying[key]
        if not flight.cancelled():
            flight.exception()  # all who wanted it may be gone; looked at so that it is not reported as forgotten
