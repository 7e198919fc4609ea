"""What user messages are called: the ids by which clients of Cinder know what failed and why, where Cinder has one.

`VOLUME_VOLUME_007_010`: the resource's type, what was done to it, and what was wrong. What Cinder has no message about has the
operation's name.
"""

from typing import Final, NamedTuple

__all__ = ["EVENTS", "RESOURCES", "event_id", "resource_type"]

# As the API has them in messages, and nowhere else.
RESOURCES: Final = {"snapshot": "VOLUME_SNAPSHOT", "backup": "VOLUME_BACKUP"}

NO_BACKEND: Final = "003"


class Event(NamedTuple):
    """An action, what is wrong when the storage could not do it, and what when nobody could be asked to."""

    action: str
    failed: str
    refused: str = NO_BACKEND


EVENTS: Final = {
    "schedule_allocate_volume": Event("001", NO_BACKEND),
    "extend_volume": Event("007", "010"),
    "create_volume": Event("008", "012"),
    "create_snapshot": Event("009", "013"),
    "delete_snapshot": Event("010", "016"),
    # Nobody could be asked for a backup: Cinder tells that apart from volumes.
    "create_backup": Event("013", "020", "024"),
    "delete_backup": Event("014", "025"),
    "restore_backup": Event("015", "026"),
    "create_from_backup": Event("015", "026"),
}


def resource_type(noun: str) -> str:
    """What a kind of resource is called in messages."""
    return RESOURCES.get(noun.lower(), noun.upper())


def event_id(event: str, *, noun: str, refused: bool) -> str:
    """What an event is called. `refused`: within the request, before any storage was asked."""
    known = EVENTS.get(event)
    if known is None:
        return event
    return f"VOLUME_{resource_type(noun)}_{known.action}_{known.refused if refused else known.failed}"
