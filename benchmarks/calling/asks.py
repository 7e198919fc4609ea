"""The calls that are measured: each asked of both targets, about what `given` has made."""

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from load import Ask

from calling.given import Given, volume

__all__ = ["READS", "WRITES", "Read", "Write"]

# Where two steps have to be of the same thing: what the one has made, the other finds.
Made = dict[str, list[str]]


@dataclass(frozen=True)
class Read:
    """`path` may name one of what there is: `{volumes}` is the id of a volume."""

    name: str
    path: str
    needs: str = ""

    def ask(self, given: Given) -> Ask | None:
        """None: there is nothing of the kind on this target."""
        if not self.needs:
            return Ask("GET", self.path.replace("{pool}", given.pool))
        ids: list[str] = getattr(given, self.needs)
        return Ask("GET", self.path.replace("{id}", ids[0])) if ids else None


@dataclass(frozen=True)
class Write:
    """So many requests of a kind. What they make is kept under `makes`, and its ids are in the answers under `key`."""

    name: str
    asks: Callable[[Given, Made, int], Sequence[Ask]]
    expected: int
    key: str = ""
    settles: tuple[str, ...] = ()


def _lists(kind: str, *, title: str = "", detail: bool = True) -> list[Read]:
    title = title or kind.replace("_", " ").replace("-", " ")
    reads = [Read(f"list of {title}", f"/{kind}")]
    return [*reads, Read(f"list of {title} with details", f"/{kind}/detail")] if detail else reads


READS: Final[tuple[Read, ...]] = (
    *_lists("volumes"),
    Read("list of volumes, 50 of them, by name", "/volumes/detail?limit=50&sort=name:asc"),
    Read("list of volumes by status", "/volumes/detail?status=in-use"),
    Read("list of volumes by metadata", "/volumes/detail?metadata=%7B%27number%27:%20%277%27%7D"),
    Read("list of volumes of all projects, 50 of them", "/volumes/detail?all_tenants=1&limit=50"),
    Read("summary of volumes", "/volumes/summary"),
    Read("volume", "/volumes/{id}", "volumes"),
    Read("metadata of a volume", "/volumes/{id}/metadata", "volumes"),
    *_lists("snapshots"),
    Read("snapshot", "/snapshots/{id}", "snapshots"),
    *_lists("backups"),
    Read("backup", "/backups/{id}", "backups"),
    *_lists("attachments"),
    Read("attachment", "/attachments/{id}", "attachments"),
    *_lists("groups"),
    Read("group", "/groups/{id}", "groups"),
    *_lists("group_snapshots"),
    Read("group snapshot", "/group_snapshots/{id}", "group_snapshots"),
    *_lists("volume-transfers", title="transfers"),
    Read("transfer", "/volume-transfers/{id}", "transfers"),
    Read("list of messages", "/messages"),
    Read("message", "/messages/{id}", "messages"),
    Read("list of types", "/types"),
    Read("type", "/types/{id}", "types"),
    Read("extra specs of a type", "/types/{id}/extra_specs", "types"),
    Read("list of group types", "/group_types"),
    Read("group type", "/group_types/{id}", "group_types"),
    Read("list of QoS specs", "/qos-specs"),
    Read("QoS spec", "/qos-specs/{id}", "qos"),
    Read("list of default types", "/default-types"),
    Read("list of services", "/os-services"),
    Read("list of clusters with details", "/clusters/detail"),
    Read("list of pools with details", "/scheduler-stats/get_pools?detail=true"),
    Read("list of hosts", "/os-hosts"),
    Read("list of availability zones", "/os-availability-zone"),
    Read("list of extensions", "/extensions"),
    Read("resource filters", "/resource_filters"),
    Read("limits", "/limits"),
    Read("quota", "/os-quota-sets/0123456789abcdef0123456789abcdef"),
    Read("quota with usage", "/os-quota-sets/0123456789abcdef0123456789abcdef?usage=true"),
    Read("quota class", "/os-quota-class-sets/default"),
)


def _new(path: str, key: str, body: Callable[[Given, int], Any]) -> Callable[[Given, Made, int], Sequence[Ask]]:
    return lambda given, made, count: [Ask("POST", path, {key: body(given, number)}) for number in range(count)]


def _each(method: str, path: str, of: str, body: Any = None) -> Callable[[Given, Made, int], Sequence[Ask]]:
    """One request for each of what an earlier step has made."""
    return lambda given, made, count: [
        Ask(method, path.format(id=id_), body(id_) if callable(body) else body) for id_ in made[of][:count]
    ]


def _act(of: str, name: str, body: Any) -> Callable[[Given, Made, int], Sequence[Ask]]:
    return _each("POST", f"/{of}/{{id}}/action", of, {name: body})


def _host(number: int = 0) -> dict[str, Any]:
    return {
        "host": "bench",
        "ip": "127.0.0.1",
        "initiator": "iqn.2026-11.org.example:bench",
        "multipath": False,
        "os_type": "linux",
        "platform": "x86_64",
    }


def _name(word: str) -> str:
    return f"{word}-{uuid.uuid4()}"


WRITES: Final[tuple[Write, ...]] = (
    Write("create a volume", _new("/volumes", "volume", lambda _, n: volume(n)), 202, "volumes", ("volumes",)),
    Write("update a volume", _each("PUT", "/volumes/{id}", "volumes", {"volume": {"name": "changed"}}), 200),
    Write(
        "set metadata of a volume",
        _each("POST", "/volumes/{id}/metadata", "volumes", {"metadata": {"a": "b", "c": "d"}}),
        200,
    ),
    Write("remove a key of it", _each("DELETE", "/volumes/{id}/metadata/a", "volumes"), 200),
    Write("set image metadata of a volume", _act("volumes", "os-set_image_metadata", {"metadata": {"os": "x"}}), 200),
    Write("make a volume bootable", _act("volumes", "os-set_bootable", {"bootable": True}), 200),
    Write("make a volume read-only", _act("volumes", "os-update_readonly_flag", {"readonly": False}), 202),
    Write("reset the status of a volume", _act("volumes", "os-reset_status", {"status": "available"}), 202),
    Write("reserve a volume", _act("volumes", "os-reserve", None), 202),
    Write("unreserve a volume", _act("volumes", "os-unreserve", None), 202),
    Write("extend a volume", _act("volumes", "os-extend", {"new_size": 2}), 202, settles=("volumes",)),
    # For no server: of one that Nova knows, Cinder asks Nova whether it may go, and there is none.
    Write(
        "reserve an attachment",
        lambda given, made, count: [
            Ask("POST", "/attachments", {"attachment": {"volume_uuid": id_}}) for id_ in made["volumes"][:count]
        ],
        200,
        "attachments",
    ),
    Write(
        "connect an attachment",
        _each("PUT", "/attachments/{id}", "attachments", {"attachment": {"connector": _host()}}),
        200,
    ),
    Write("complete an attachment", _each("POST", "/attachments/{id}/action", "attachments", {"os-complete": {}}), 204),
    Write("delete an attachment", _each("DELETE", "/attachments/{id}", "attachments"), 200, settles=("volumes",)),
    Write(
        "create a snapshot",
        lambda given, made, count: [
            Ask("POST", "/snapshots", {"snapshot": {"volume_id": id_, "name": "s"}}) for id_ in made["volumes"][:count]
        ],
        202,
        "snapshots",
        ("snapshots",),
    ),
    Write("update a snapshot", _each("PUT", "/snapshots/{id}", "snapshots", {"snapshot": {"name": "changed"}}), 200),
    Write(
        "set metadata of a snapshot",
        _each("POST", "/snapshots/{id}/metadata", "snapshots", {"metadata": {"a": "b"}}),
        200,
    ),
    Write("delete a snapshot", _each("DELETE", "/snapshots/{id}", "snapshots"), 202, settles=("snapshots",)),
    Write(
        "offer a transfer",
        lambda given, made, count: [
            Ask("POST", "/volume-transfers", {"transfer": {"volume_id": id_, "name": "x"}})
            for id_ in made["volumes"][:count]
        ],
        202,
        "transfers",
    ),
    Write("withdraw a transfer", _each("DELETE", "/volume-transfers/{id}", "transfers"), 202),
    Write("delete a volume", _each("DELETE", "/volumes/{id}", "volumes"), 202, settles=("volumes",)),
    Write("create a type", _new("/types", "volume_type", lambda *_: {"name": _name("t")}), 200, "types"),
    Write(
        "set extra specs of a type",
        _each("POST", "/types/{id}/extra_specs", "types", {"extra_specs": {"bench:a": "1"}}),
        200,
    ),
    Write("delete a type", _each("DELETE", "/types/{id}", "types"), 202),
    Write("create a QoS spec", _new("/qos-specs", "qos_specs", lambda *_: {"name": _name("q")}), 200, "qos"),
    Write("delete a QoS spec", _each("DELETE", "/qos-specs/{id}", "qos"), 202),
    Write(
        "create a group type", _new("/group_types", "group_type", lambda *_: {"name": _name("g")}), 202, "group_types"
    ),
    Write("delete a group type", _each("DELETE", "/group_types/{id}", "group_types"), 202),
    Write(
        "create a group",
        _new(
            "/groups",
            "group",
            lambda given, n: {"name": f"g{n}", "group_type": given.group_types[0], "volume_types": given.types[:1]},
        ),
        202,
        "groups",
        ("groups",),
    ),
    Write("delete a group", _act("groups", "delete", {"delete-volumes": False}), 202, settles=("groups",)),
    Write(
        "set a quota",
        lambda given, made, count: [
            Ask("PUT", f"/os-quota-sets/{uuid.uuid4().hex}", {"quota_set": {"volumes": 5}}) for _ in range(count)
        ],
        200,
    ),
)
KEYS: Final = {
    "volumes": "volume",
    "snapshots": "snapshot",
    "attachments": "attachment",
    "transfers": "transfer",
    "types": "volume_type",
    "group_types": "group_type",
    "qos": "qos_specs",
    "groups": "group",
}
