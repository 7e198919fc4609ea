"""What a doorbell is. The queue is the database; ringing only saves waiting for the next slow poll."""

from collections.abc import Callable
from typing import Protocol


class Doorbell(Protocol):
    """Rung after a commit that put something into a queue. Never blocks, never fails, may do nothing."""

    def ring(self, queue: str) -> None: ...


class Listener(Protocol):
    """A worker's end: `on_ring` is called on the event loop for each ring heard, whatever its queue."""

    def listen(self, on_ring: Callable[[], None]) -> None: ...

    def close(self) -> None: ...
