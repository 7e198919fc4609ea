"""What a doorbell is. The queue is the database; ringing only saves waiting for the next slow poll."""

from collections.abc import Callable
from typing import Protocol


class Doorbell(Protocol):
    """Rung after a commit that put something into a queue. Never blocks, never fails, may do nothing."""

    def ring(self, queue: str) -> None: ...


class OwnDoorbell(Doorbell, Protocol):
    """As whoever has opened it sees it."""

    def close(self) -> None:
        """Release what it holds; a ring that is still on its way may be lost."""
        ...


class Listener(Protocol):
    """A worker's end: `on_ring` is called on the event loop for each ring heard, whatever its queue."""

    def listen(self, on_ring: Callable[[], None]) -> None: ...

    def is_connected(self) -> bool:
        """Whether rings are expected to arrive now. While they are not, a worker that had work looks sooner again."""
        ...

    def close(self) -> None: ...


class Tally(Protocol):
    """Who counts rings. One process, one writer."""

    def sent(self, rings: int) -> None:
        """Handed over, and confirmed where the doorbell confirms. Rings of one queue that went as one count as one."""
        ...

    def failed(self, rings: int) -> None:
        """Not handed over: tried again if they go through a server, else lost."""
        ...

    def received(self, rings: int) -> None: ...

    def connected(self, connected: bool) -> None: ...
