"""Events with defaults: a test names only what it is about."""

from typing import Any

from breezeblock.model.events import Event

VOLUME: dict[str, Any] = {
    "id": "v1", "project_id": "p1", "user_id": "u1", "name": "data", "description": None, "size_gib": 3, "status": "available",
    "volume_type_id": "t1", "availability_zone": "nova", "pool_name": "c@fast#fast", "snapshot_id": None,
    "replication_status": None, "metadata": {"a": "b"}, "created_at_us": 1_700_000_000_000_000,
}  # fmt: skip
SNAPSHOT = VOLUME | {"volume_id": "v1", "progress": "100%"}
BACKUP = VOLUME | {"volume_id": "v1", "store": "default", "host": "c@fast", "fail_reason": None, "parent_id": None}


def given_event(**values: Any) -> Event:
    told: dict[str, Any] = {
        "id": "00000000-0000-0000-0000-000000000001", "what": "ended", "resource_type": "volume", "resource_id": "v1",
        "seq": 3, "number": 0, "at_us": 1_700_000_000_500_000, "request_id": "req-1", "project_id": "p1", "user_id": "u1",
        "operation_id": "o1", "kind": "create_volume", "outcome": "done", "resource": VOLUME,
    }  # fmt: skip
    return Event(**(told | values))


def given_status(before: str | None, after: str, **values: Any) -> Event:
    told: dict[str, Any] = {"what": "status", "before": before, "after": after, "kind": "", "outcome": ""}
    return given_event(**(told | {"operation_id": ""} | values))


def given_attachment(before: str | None, after: str, **values: Any) -> Event:
    return given_status(before, after, **({"what": "attachment", "attachment_id": "a1"} | values))
