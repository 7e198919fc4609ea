"""What a receiver of events is to those who send."""

from collections.abc import Sequence
from typing import Protocol

from breezeblock.model.events import Event

__all__ = ["NotTaken", "Receiver"]


class NotTaken(Exception):
    """The receiver has not confirmed the events. It may have some of them all the same: they will be sent again."""


class Receiver(Protocol):
    """Takes events. A second implementation is the simulation's.

    A receiver that was sent the same events again takes them again: whoever is behind it knows them by their ids.
    """

    async def send(self, events: Sequence[Event]) -> None:
        """Deliver all of them, in this order, and return when they are safe there.

        Raises NotTaken, with a sentence for operators and no secret in it. May take as long as it likes: the caller
        has a bound, cancels it then, and may call again.
        """
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...
