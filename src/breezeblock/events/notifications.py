"""Events as OpenStack's consumers of notifications know them from Cinder: names, payloads, and the envelope around them.

Which event becomes which notification is in the tables. What has no notification there is not sent to such consumers: they
would only have to leave it out. Names and keys are those of Cinder 29 (`volume_utils._usage_from_volume` and its kind).
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import msgspec

from breezeblock.model.events import ATTACHMENT, BEGUN, ENDED, EXISTS, STATUS, UPDATED, Event

__all__ = ["BY_ATTACHMENT", "BY_OPERATION", "BY_STATUS", "Notification", "notification_of"]

INFO: Final = "INFO"
ERROR: Final = "ERROR"

# An operation that is begun is `.start`, one that is done `.end`, and any other end of it `.error`.
BY_OPERATION: Final[Mapping[tuple[str, str], str]] = {
    ("volume", "create_volume"): "volume.create",
    ("volume", "create_from_backup"): "volume.create",
    ("volume", "extend_volume"): "volume.resize",
    ("volume", "retype_volume"): "volume.retype",
    ("volume", "revert_volume"): "volume.revert",
    ("volume", "migrate_volume"): "volume.migrate",
    ("volume", "manage_volume"): "volume.manage_existing",
    ("snapshot", "create_snapshot"): "snapshot.create",
    ("snapshot", "manage_snapshot"): "snapshot.manage_existing",
    ("backup", "create_backup"): "backup.create",
    ("backup", "restore_backup"): "backup.restore",
    ("backup", "import_backup"): "backup.import",
    ("group", "create_group"): "group.create",
    ("group_snapshot", "create_group_snapshot"): "group_snapshot.create",
}
# What shows in the status alone: deletions (also of what goes along with something else, or has nothing on storage).
_DELETION: Final[Mapping[tuple[str | None, str], tuple[str, str]]] = {
    (None, "deleting"): ("delete.start", INFO),
    (None, "deleted"): ("delete.end", INFO),
    (None, "error_deleting"): ("delete.error", ERROR),
}
# What becomes of an attachment of a volume, by its new status: of one of several too, which the volume's own does not show.
BY_ATTACHMENT: Final[Mapping[str, str]] = {
    "attaching": "volume.attach.start",
    "attached": "volume.attach.end",
    "detaching": "volume.detach.start",
    "deleted": "volume.detach.end",
}
# Nobody was attached by what went from there.
_NEVER_ATTACHED: Final = ("reserved", "error_attaching")
# By type: from which status (None: any) to which.
BY_STATUS: Final[Mapping[str, Mapping[tuple[str | None, str], tuple[str, str]]]] = {
    "volume": _DELETION,
    "snapshot": _DELETION,
    "backup": _DELETION,
    "group": _DELETION,
    "group_snapshot": _DELETION,
}
_EDITED: Final = ("volume", "snapshot")
_COUNTED: Final = ("volume", "snapshot", "backup")


class Notification(NamedTuple):
    """One message on the bus."""

    event_type: str
    priority: str
    publisher_id: str
    payload: dict[str, Any]
    event: Event

    @property
    def topic(self) -> str:
        """The priority's part of the routing key."""
        return self.priority.lower()

    def envelope(self) -> bytes:
        """The message as oslo.messaging's second format has it: JSON in JSON."""
        event = self.event
        message = {
            "message_id": event.id,
            "publisher_id": self.publisher_id,
            "event_type": self.event_type,
            "priority": self.priority,
            "payload": self.payload,
            "timestamp": _time(event.at_us, " "),
            "_unique_id": event.id.replace("-", ""),
            "_context_request_id": event.request_id or None,
            "_context_project_id": event.project_id or None,
            "_context_tenant": event.project_id or None,
            "_context_user_id": event.user_id or None,
            "_context_user": event.user_id or None,
        }
        inner = msgspec.json.encode(message).decode()
        return msgspec.json.encode({"oslo.version": "2.0", "oslo.message": inner})


def notification_of(event: Event) -> Notification | None:
    """What consumers are told of an event; None when that is nothing."""
    name, priority = _name(event)
    if not name or event.resource_type not in _PAYLOADS or not event.resource:
        return None
    host = event.resource.get("host") or str(event.resource.get("pool_name") or "")
    publisher = f"{event.resource_type}.{host.partition('#')[0] or 'breezeblock'}"
    return Notification(name, priority, publisher, _PAYLOADS[event.resource_type](event), event)


def _name(event: Event) -> tuple[str, str]:
    kind = event.resource_type
    if event.what == UPDATED:
        return (f"{kind}.update.end", INFO) if kind in _EDITED else ("", INFO)
    if event.what == EXISTS:
        return (f"{kind}.exists", INFO) if kind in _COUNTED else ("", INFO)
    if event.what == ATTACHMENT:
        assert event.after is not None, "an attachment has a status after it has changed"
        is_news = event.after != "deleted" or event.before not in _NEVER_ATTACHED
        return BY_ATTACHMENT.get(event.after, "") if is_news else "", INFO
    if event.what == STATUS:
        assert event.after is not None, "a change of a status has a status after it"
        # Made without a place on any storage: there will be no operation to tell of it.
        if event.before is None and event.after == "error":
            return f"{kind}.create.error", ERROR
        table = BY_STATUS.get(kind, {})
        suffix, priority = table.get((event.before, event.after)) or table.get((None, event.after)) or ("", INFO)
        return (f"{kind}.{suffix}" if suffix else ""), priority
    name = BY_OPERATION.get((kind, event.kind), "")
    if not name or event.what == BEGUN:
        return (f"{name}.start" if name else ""), INFO
    if event.what != ENDED:
        return "", INFO  # of a later release, which knows what to call it
    return (f"{name}.end", INFO) if event.outcome == "done" else (f"{name}.error", ERROR)


def _time(at_us: int | None, between: str = "T") -> str:
    """As Python's own clock is written: without a zone, and microseconds only where there are any."""
    return datetime.fromtimestamp((at_us or 0) / 1_000_000, UTC).replace(tzinfo=None).isoformat(between)


def _instant(at_us: int) -> str:
    return str(datetime.fromtimestamp(at_us / 1_000_000, UTC))


def _pairs(metadata: Mapping[str, str] | None) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in sorted((metadata or {}).items())]


def _of_volume(event: Event) -> dict[str, Any]:
    row = event.resource
    created = _time(row.get("created_at_us"))
    return {
        "tenant_id": row["project_id"],
        "host": row.get("pool_name"),
        "user_id": row["user_id"],
        "availability_zone": row.get("availability_zone"),
        "volume_id": event.resource_id,
        "volume_type": row.get("volume_type_id"),
        "display_name": row.get("name"),
        "launched_at": created,
        "created_at": created,
        "status": row["status"],
        "snapshot_id": row.get("snapshot_id"),
        "size": row.get("size_gib"),
        "replication_status": row.get("replication_status"),
        "replication_extended_status": None,
        "replication_driver_data": None,
        "metadata": _pairs(row.get("metadata")),
        "volume_attachment": [
            {
                "id": one["id"],
                "volume_id": event.resource_id,
                "instance_uuid": one.get("instance_uuid"),
                "attached_host": one.get("attached_host"),
                "mountpoint": one.get("mountpoint"),
                "attach_mode": one.get("attach_mode"),
                "attach_status": one.get("status"),
            }
            for one in event.attachments
        ],
        **({"glance_metadata": _pairs(row["image_metadata"])} if row.get("image_metadata") else {}),
        **_more(event),
    }


def _of_snapshot(event: Event) -> dict[str, Any]:
    row = event.resource
    return {
        "tenant_id": row["project_id"],
        "user_id": row["user_id"],
        "availability_zone": row.get("availability_zone"),
        "volume_id": row.get("volume_id"),
        "volume_size": row.get("size_gib"),
        "snapshot_id": event.resource_id,
        "display_name": row.get("name"),
        "created_at": _time(row.get("created_at_us")),
        "status": row["status"],
        "deleted": "True" if row["status"] == "deleted" else "",
        # Both of them as text: so consumers know them.
        "metadata": str(dict(row.get("metadata") or {})),
        **_more(event),
    }


def _of_backup(event: Event) -> dict[str, Any]:
    row = event.resource
    return {
        "tenant_id": row["project_id"],
        "user_id": row["user_id"],
        "availability_zone": row.get("availability_zone"),
        "backup_id": event.resource_id,
        "host": row.get("host"),
        "display_name": row.get("name"),
        "created_at": _time(row.get("created_at_us")),
        "status": row["status"],
        "volume_id": row.get("volume_id"),
        "size": row.get("size_gib"),
        "service_metadata": None,
        "service": row.get("store"),
        "fail_reason": row.get("fail_reason"),
        "parent_id": row.get("parent_id"),
        "num_dependent_backups": row.get("dependent_backups", 0),
        "snapshot_id": row.get("snapshot_id"),
        **_more(event),
    }


def _of_group(event: Event) -> dict[str, Any]:
    row = event.resource
    shown = {
        "tenant_id": row["project_id"],
        "user_id": row["user_id"],
        "name": row.get("name"),
        "created_at": _time(row.get("created_at_us")),
        "status": row["status"],
        "group_type": row.get("group_type_id"),
    }
    if event.resource_type == "group":
        shown |= {"group_id": event.resource_id, "availability_zone": row.get("availability_zone")}
    else:
        shown |= {"group_snapshot_id": event.resource_id, "group_id": row.get("group_id")}
    return shown | _more(event)


def _more(event: Event) -> dict[str, Any]:
    """Of a failure: the reason, as its user is told it. Of usage: the period, as text with the zone."""
    if event.what == EXISTS:
        return {"audit_period_beginning": _instant(event.begins_us), "audit_period_ending": _instant(event.ends_us)}
    return {"message": event.detail} if event.detail else {}


_PAYLOADS: Final[Mapping[str, Callable[[Event], dict[str, Any]]]] = {
    "volume": _of_volume,
    "snapshot": _of_snapshot,
    "backup": _of_backup,
    "group": _of_group,
    "group_snapshot": _of_group,
}
