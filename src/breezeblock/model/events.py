"""What is told of a change: one event, as receivers get it and as it is kept until they have taken it."""

from typing import Any, Final

import msgspec

STATUS: Final = "status"
UPDATED: Final = "updated"
BEGUN: Final = "begun"
ENDED: Final = "ended"
EXISTS: Final = "exists"
ATTACHMENT: Final = "attachment"


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One change of one resource.

    `seq` and `number` are its place among all events of the resource: both rise, and a repeat has the same ones. `at_us` is the
    wall clock of whoever made the change, for people only. `id` is the same each time that it is told.
    """

    id: str
    # status, updated, begun, ended, exists, attachment; a later release may have more, which this one hands on.
    what: str
    resource_type: str
    resource_id: str
    seq: int
    number: int
    at_us: int
    # Whoever asked for it; empty where nobody did.
    request_id: str = ""
    project_id: str = ""
    user_id: str = ""
    # status: from what to what (before is None for a new resource), and the name of the transition.
    before: str | None = None
    after: str | None = None
    transition: str = ""
    # attachment: one of the volume's, whose status before, after and transition are; `deleted` once it is gone.
    attachment_id: str = ""
    # begun, ended: the operation; ended: done, failed, cancelled or parked, and why.
    operation_id: str = ""
    kind: str = ""
    outcome: str = ""
    detail: str | None = None
    # exists: the period in which there was the resource, as wall clocks; from the first instant to before the second.
    begins_us: int = 0
    ends_us: int = 0
    # The resource as the transaction left it, or as it was last; empty for what has no row that may be shown.
    resource: dict[str, Any] = {}
    # Of a volume: to which instances and hosts it is attached.
    attachments: list[dict[str, Any]] = []

    @property
    def name(self) -> str:
        """In short: `volume.status`, `volume.begun`."""
        return f"{self.resource_type}.{self.what}"
