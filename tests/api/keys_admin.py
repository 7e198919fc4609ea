"""Which keys the answers of the administrators' URLs have, since when, and what is in them."""

from collections.abc import Iterator
from typing import Any, NamedTuple

TEXT = (str,)
TEXT_OR_NULL = (str, type(None))
NUMBER = (int,)
FLAG = (bool,)
MAP = (dict,)
LIST = (list,)
NULL = (type(None),)


class Key(NamedTuple):
    name: str
    kinds: tuple[type, ...]
    since: str = "3.0"


_TYPE = (
    Key("id", TEXT),
    Key("name", TEXT),
    Key("description", TEXT_OR_NULL),
    Key("is_public", FLAG),
    Key("extra_specs", MAP),
)
_CLUSTER = (
    Key("name", TEXT),
    Key("binary", TEXT),
    Key("state", TEXT),
    Key("status", TEXT),
    Key("replication_status", TEXT, "3.26"),
)
_SERVICE = (
    Key("binary", TEXT),
    Key("host", TEXT),
    Key("zone", TEXT),
    Key("status", TEXT),
    Key("state", TEXT),
    Key("updated_at", TEXT_OR_NULL),
    Key("disabled_reason", TEXT_OR_NULL),
    Key("cluster", TEXT_OR_NULL, "3.7"),
)
_LIMITS = (
    *(Key(name, NUMBER) for name in ("volumes", "snapshots", "gigabytes", "backups", "backup_gigabytes")),
    *(Key(name, NUMBER) for name in ("per_volume_gigabytes", "groups")),
    *(Key(f"{name}___DEFAULT__", NUMBER) for name in ("volumes", "snapshots", "gigabytes")),
)

KEYS: dict[str, tuple[Key, ...]] = {
    "type, updated": _TYPE,
    "type, created": (*_TYPE, Key("os-volume-type-access:is_public", FLAG)),
    "type, default": (*_TYPE, Key("qos_specs_id", NULL)),
    "type": (*_TYPE, Key("os-volume-type-access:is_public", FLAG), Key("qos_specs_id", NULL)),
    "type, for members": (*_TYPE, Key("os-volume-type-access:is_public", FLAG)),
    "quota set": (Key("id", TEXT), *_LIMITS),
    "quota set, updated": _LIMITS,
    "quota set, used": (Key("id", TEXT), *(Key(key.name, MAP) for key in _LIMITS)),
    "limits": (
        *(Key(f"maxTotal{name}", NUMBER) for name in ("Volumes", "Snapshots", "VolumeGigabytes")),
        *(Key(f"maxTotal{name}", NUMBER) for name in ("Backups", "BackupGigabytes")),
        *(Key(f"total{name}Used", NUMBER) for name in ("Volumes", "Snapshots", "Gigabytes")),
        *(Key(f"total{name}Used", NUMBER) for name in ("Backups", "BackupGigabytes")),
    ),
    "message": (
        *(Key(name, TEXT) for name in ("id", "event_id", "user_message", "message_level", "created_at")),
        *(Key(name, TEXT) for name in ("guaranteed_until", "request_id", "resource_type", "resource_uuid")),
        Key("links", LIST),
    ),
    "scheduler": _SERVICE,
    "service": (
        *_SERVICE,
        Key("replication_status", TEXT),
        Key("active_backend_id", TEXT_OR_NULL),
        Key("frozen", FLAG),
        Key("backend_state", TEXT_OR_NULL, "3.49"),
    ),
    "cluster": _CLUSTER,
    "cluster, changed": (*_CLUSTER, Key("disabled_reason", TEXT_OR_NULL)),
    "cluster, detailed": (
        *_CLUSTER,
        Key("num_hosts", NUMBER),
        Key("num_down_hosts", NUMBER),
        Key("last_heartbeat", TEXT),
        Key("created_at", TEXT),
        Key("updated_at", TEXT),
        Key("disabled_reason", TEXT_OR_NULL),
        Key("frozen", FLAG, "3.26"),
        Key("active_backend_id", TEXT_OR_NULL, "3.26"),
    ),
    "extension": (
        *(Key(name, TEXT) for name in ("alias", "name", "description", "updated")),
        Key("links", LIST),
    ),
}


def problems(shown: dict[str, Any], what: str, version: str = "3.71") -> list[str]:
    """What is not as the table says: keys too many, too few, or of another kind."""
    return list(_problems(shown, what, version))


def _problems(shown: dict[str, Any], what: str, version: str) -> Iterator[str]:
    wanted = {key.name: key.kinds for key in KEYS[what] if _minor(key.since) <= _minor(version)}
    for name in sorted(shown.keys() ^ wanted.keys()):
        yield f"{name} is {'missing' if name in wanted else 'new'}"
    for name in sorted(shown.keys() & wanted.keys()):
        if type(shown[name]) not in wanted[name]:
            yield f"{name} is {shown[name]!r}"


def _minor(version: str) -> int:
    return int(version.partition(".")[2])
