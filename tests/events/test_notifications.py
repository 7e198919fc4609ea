"""What consumers of notifications are told of an event: every line of the tables, and the keys of each payload."""

import json

import pytest
from tests.events.given import BACKUP, SNAPSHOT, VOLUME, given_attachment, given_event, given_status

from breezeblock.events.notifications import BY_ATTACHMENT, BY_OPERATION, BY_STATUS, notification_of
from breezeblock.model.events import Event

ROWS = {"volume": VOLUME, "snapshot": SNAPSHOT, "backup": BACKUP, "group": VOLUME, "group_snapshot": VOLUME}
# As consumers know them: `_usage_from_volume`, `_usage_from_snapshot` and `_usage_from_backup` of Cinder 29.
KEYS = {
    "volume": {
        "tenant_id", "host", "user_id", "availability_zone", "volume_id", "volume_type", "display_name", "launched_at",
        "created_at", "status", "snapshot_id", "size", "replication_status", "replication_extended_status",
        "replication_driver_data", "metadata", "volume_attachment",
    },
    "snapshot": {
        "tenant_id", "user_id", "availability_zone", "volume_id", "volume_size", "snapshot_id", "display_name",
        "created_at", "status", "deleted", "metadata",
    },
    "backup": {
        "tenant_id", "user_id", "availability_zone", "backup_id", "host", "display_name", "created_at", "status",
        "volume_id", "size", "service_metadata", "service", "fail_reason", "parent_id", "num_dependent_backups",
        "snapshot_id",
    },
}  # fmt: skip


def name_of(event: Event) -> str | None:
    found = notification_of(event)
    return None if found is None else found.event_type


@pytest.mark.parametrize(
    ("of", "name"), BY_OPERATION.items(), ids=lambda one: "-".join(one) if isinstance(one, tuple) else one
)
def test_an_operation_is_told_at_its_beginning_and_its_end(of: tuple[str, str], name: str) -> None:
    kind, operation = of
    told = {"resource_type": kind, "kind": operation, "resource": ROWS[kind]}

    assert name_of(given_event(what="begun", outcome="", **told)) == f"{name}.start"
    assert name_of(given_event(**told)) == f"{name}.end"
    for outcome in ("failed", "cancelled", "parked"):
        failed = notification_of(given_event(outcome=outcome, detail="why", **told))
        assert failed is not None
        assert (failed.event_type, failed.priority, failed.payload["message"]) == (f"{name}.error", "ERROR", "why")


@pytest.mark.parametrize(
    ("kind", "before", "after", "suffix"),
    [(kind, *change, told[0]) for kind, table in BY_STATUS.items() for change, told in table.items()],
)
def test_a_status_is_told_by_the_table(kind: str, before: str | None, after: str, suffix: str) -> None:
    event = given_status(before or "error", after, resource_type=kind, resource=ROWS[kind])

    assert name_of(event) == f"{kind}.{suffix}"


def test_what_was_made_without_a_place_is_told_as_a_failure() -> None:
    assert name_of(given_status(None, "error")) == "volume.create.error"


@pytest.mark.parametrize(
    "event",
    [
        given_status("available", "maintenance"),
        given_status(None, "creating"),
        given_status("available", "reserved"),
        given_attachment(None, "reserved"),
        given_attachment("reserved", "deleted"),
        given_attachment("error_attaching", "deleted"),
        given_event(kind="check_node", resource_type="node", resource={}),
        given_event(kind="collect_garbage"),
        given_event(what="updated", resource_type="backup", resource=BACKUP),
    ],
    ids=lambda event: f"{event.name}-{event.kind}{event.after}",
)
def test_what_consumers_do_not_know_is_not_told(event: Event) -> None:
    assert notification_of(event) is None


@pytest.mark.parametrize("kind", KEYS)
def test_a_payload_has_the_keys_that_consumers_read(kind: str) -> None:
    found = notification_of(given_status("deleting", "deleted", resource_type=kind, resource=ROWS[kind]))

    assert found is not None
    assert found.payload.keys() == KEYS[kind]


@pytest.mark.parametrize(("after", "name"), BY_ATTACHMENT.items())
def test_what_becomes_of_an_attachment_is_told_of_its_volume(after: str, name: str) -> None:
    assert name_of(given_attachment("detaching", after)) == name


def test_a_volume_is_told_with_those_who_have_it() -> None:
    attached = {"id": "a1", "instance_uuid": "i1", "attached_host": "h", "mountpoint": "/dev/vdb", "status": "attached"}

    found = notification_of(given_attachment("attaching", "attached", attachments=[attached]))

    assert found is not None
    assert found.event_type == "volume.attach.end"
    (one,) = found.payload["volume_attachment"]
    assert (one["instance_uuid"], one["volume_id"], one["attach_status"]) == ("i1", "v1", "attached")


def test_the_envelope_is_json_in_json() -> None:
    found = notification_of(given_event())
    assert found is not None

    outer = json.loads(found.envelope())
    inner = json.loads(outer["oslo.message"])

    assert outer["oslo.version"] == "2.0"
    assert inner["event_type"] == "volume.create.end"
    assert inner["publisher_id"] == "volume.c@fast"
    assert inner["timestamp"] == "2023-11-14 22:13:20.500000"
    assert inner["payload"]["metadata"] == [{"key": "a", "value": "b"}]
    assert inner["_context_request_id"] == "req-1"
