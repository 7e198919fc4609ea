"""A backend as a worker serves it: a driver, its queue, and how many operations run on it at once."""

from dataclasses import dataclass, field

from breezeblock.drivers.contract import Driver, FenceScope
from breezeblock.model.errors import BackendFailed


@dataclass(frozen=True, slots=True)
class Backend:
    """One configured backend. `queue` is `cluster@name`; its pools are named `cluster@name#pool`."""

    name: str
    queue: str
    driver: Driver
    slots: int
    availability_zone: str
    reserved_percentage: int = 0
    over_subscription_percent: int = 100
    extra: dict[str, str] = field(default_factory=dict)

    @property
    def continues(self) -> bool:
        """Whether a half-made copy of a lost node may be continued: only when that node is certainly dead."""
        return self.driver.capabilities.fence is not FenceScope.NONE

    def on(self, target: str | None) -> Driver:
        """The driver working on the target that is in use; None is the backend that is configured. May be BackendFailed."""
        return self.driver if target is None else self.driver.on(target)

    def knows(self, target: str | None) -> bool:
        """Whether this node can work on a target."""
        try:
            self.on(target)
        except BackendFailed:
            return False
        return True
