"""What a receiver of events is to those who send."""

from collections.abc import Sequence
from typing import Protocol

from breezeblock.model.events import Event

__all__ = ["NotTaken", "Receiver", "Refused"]


class NotTaken(Exception):
    """The receiver has not confirmed the events. It may have some of them all the same: they will be sent again.

    `taken` of them, the first ones, it has confirmed: they need not be.
    """

    def __init__(self, reason: str, *, taken: int = 0) -> None:
        super().__init__(reason)
        self.taken = taken


class Refused(NotTaken):
    """The receiver's own word that it will not take these, however often they come: at least one of them is meant."""


class Receiver(Protocol):
    """Takes events. A second implementation is the simulation's.

    A receiver that was sent the same events again takes them again: whoever is behind it knows them by their ids.
    """

    async def send(self, events: Sequence[Event]) -> None:
        """Deliver all of them, in this order, and return when they are safe there.

        Raises NotTaken, with a sentence for operators and no secret in it, or Refused where what was sent is the reason and
        not who it was sent to. May take as long as it likes: the caller has a bound, cancels it then, and may call again.
        """
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...
