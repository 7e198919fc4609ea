"""Who a worker is, and how it goes about its work."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from breezeblock.model.ids import Incarnation


@dataclass(frozen=True, slots=True)
class Limits:
    """How a worker polls and when it gives an operation up. Times in seconds."""

    poll_s: float = 1.0
    idle_poll_s: float = 0.0
    """The same while the doorbell is connected; 0 is `poll_s`."""
    poison_limit: int = 5
    park_after_s: float = 600.0
    quotas: Mapping[str, int] = field(default_factory=dict)
    """The limits of projects for which nothing was set: for requests that nodes make by themselves."""
    upkeep_s: float = 30.0
    """How long it leaves what it does besides operations, on the average."""

    @property
    def risky_from(self) -> int:
        """From so many attempts on an operation runs alone: it may be what brought nodes down."""
        return (self.poison_limit + 1) // 2


@dataclass(frozen=True, slots=True)
class Identity:
    """Which node this is."""

    cluster: str
    name: str
    incarnation: Incarnation
    pid: int
    machine: str = ""
    """The machine that it runs on; empty when that is not certain."""
