"""No doorbell: nobody rings, nobody hears, and workers find everything by looking."""

from collections.abc import Callable


class SilentBell:
    """Implements `contract.Doorbell`."""

    def ring(self, queue: str) -> None:
        """See `contract.Doorbell`."""

    def close(self) -> None:
        """There is nothing to release."""


class SilentListener:
    """Implements `contract.Listener`."""

    def listen(self, on_ring: Callable[[], None]) -> None:
        """See `contract.Listener`."""

    def is_connected(self) -> bool:
        """Never: so its worker looks more often after it had work."""
        return False

    def close(self) -> None:
        """There is nothing to release."""
