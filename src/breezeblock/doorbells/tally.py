"""Counting rings in a process's own memory."""

from dataclasses import dataclass, field


@dataclass(slots=True)
class Rings:
    """How many rings there were, and whether the doorbell is connected. Implements `contract.Tally`."""

    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("sent", "failed", "received"), 0))
    is_connected: bool = False

    def sent(self, rings: int) -> None:
        """See `contract.Tally`."""
        self.counts["sent"] += rings

    def failed(self, rings: int) -> None:
        """See `contract.Tally`."""
        self.counts["failed"] += rings

    def received(self, rings: int) -> None:
        """See `contract.Tally`."""
        self.counts["received"] += rings

    def connected(self, connected: bool) -> None:
        """See `contract.Tally`."""
        self.is_connected = connected
