"""How soon a worker looks by itself: soon after it had work, and more and more seldom while there is none."""

from typing import Final

from breezeblock.node.identity import Limits

# The first look after work, as a part of `poll_s`; each that finds nothing doubles it.
SOONEST: Final = 1 / 32


class Pacing:
    """Pauses between looks that nobody rang for.

    While the doorbell is connected a look is only there for what it loses, and for operations whose time has come: the pauses
    are all the same. While it is not, looking is how work is found, and where there was some there soon is more.
    """

    def __init__(self, limits: Limits) -> None:
        self._poll_s = limits.poll_s
        self._idle_poll_s = limits.idle_poll_s or limits.poll_s
        self._part = 1.0

    def found(self) -> None:
        """The last look found work, whoever got it."""
        self._part = SOONEST

    def pause_s(self, *, connected: bool) -> float:
        """How long to wait now."""
        part, self._part = self._part, min(1.0, self._part * 2)
        return self._idle_poll_s if connected else self._poll_s * part
