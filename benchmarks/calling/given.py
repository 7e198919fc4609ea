"""What there is to be listed, made through each target's own API, so that both have the same."""

import json
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from load import Ask, Target, crowd

__all__ = ["BUSY", "VERSION", "Given", "answer", "give", "ids_of", "settle"]

VERSION: Final = "3.71"
# Statuses that pass.
BUSY: Final = (
    *("creating", "deleting", "extending", "backing-up", "restoring", "downloading", "attaching", "detaching"),
    *("updating", "retyping"),
)
ROOM: Final = ("volumes", "snapshots", "gigabytes", "backups", "backup_gigabytes", "groups")
SETTLED_S: Final = 900.0
PAGE: Final = 500


@dataclass
class Given:
    """The ids of what one target has."""

    target: Target
    volumes: list[str] = field(default_factory=list)
    snapshots: list[str] = field(default_factory=list)
    backups: list[str] = field(default_factory=list)
    attachments: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    group_snapshots: list[str] = field(default_factory=list)
    transfers: list[str] = field(default_factory=list)
    types: list[str] = field(default_factory=list)
    group_types: list[str] = field(default_factory=list)
    qos: list[str] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)
    pool: str = ""
    in_groups: list[str] = field(default_factory=list)
    """Volumes of groups, which are not in `volumes`."""


def give(target: Target, *, many: int, backups: bool) -> Given:
    """`many` volumes, and of everything else a share of that. Some are attached, some in groups, some to be given away."""
    given = Given(replace(target, version=VERSION))
    project = target.url.rsplit("/", 1)[1]
    _one(given, "PUT", f"/os-quota-sets/{project}", {"quota_set": dict.fromkeys(ROOM, -1)})
    few = max(2, many // 10)
    if answer(given.target, Ask("GET", "/volumes?limit=1"))["volumes"]:
        raise SystemExit(f"{target.name} has volumes already; what is compared are two that have the same")
    pools = answer(given.target, Ask("GET", "/scheduler-stats/get_pools"))["pools"]
    given.pool = str(pools[0]["name"])
    given.types = _many(
        given, few, "/types", "volume_type", lambda n: {"name": f"t{n}", "extra_specs": {"bench:a": str(n)}}
    )
    given.group_types = _many(
        given, few, "/group_types", "group_type", lambda n: {"name": f"g{n}", "group_specs": {"bench:a": str(n)}}
    )
    given.qos = _many(given, few, "/qos-specs", "qos_specs", lambda n: {"name": f"q{n}", "consumer": "front-end"})
    given.volumes = _many(given, many, "/volumes", "volume", lambda n: volume(n) | {"volume_type": given.types[0]})
    settle(given, "volumes")
    _pieces(given, few, backups=backups)
    _groups(given, few)
    _failures(given, few)
    return given


def volume(number: int) -> dict[str, Any]:
    """As it is asked for."""
    return {"size": 1, "name": f"v{number}", "metadata": {"number": str(number)}}


def attachment(volume_id: str) -> dict[str, Any]:
    """A reservation for a server that nobody has asked whether there is."""
    return {"volume_uuid": volume_id, "instance_uuid": str(uuid.uuid4())}


def ids_of(bodies: Sequence[bytes], key: str) -> list[str]:
    """Of what was made: the ids in the answers, whatever the order in which they came."""
    return [json.loads(body)[key]["id"] for body in bodies]


def answer(target: Target, ask: Ask) -> Any:
    """The body of an answer that is well. Raises SystemExit."""
    client = target.client()
    status, body = client.ask(ask)
    client.close()
    if status >= 300:
        raise SystemExit(f"{target.name}: {ask.method} {ask.path}: {status} {body.decode(errors='replace')[:300]}")
    return json.loads(body) if body else None


def settle(given: Given, *kinds: str) -> None:
    """Wait until nothing of these kinds has a status that passes. Raises SystemExit."""
    until = time.monotonic() + SETTLED_S
    for kind in kinds:
        while busy := [one["status"] for one in _all(given.target, kind) if one["status"] in BUSY]:
            if time.monotonic() > until:
                raise SystemExit(f"{given.target.name}: {len(busy)} {kind} stay {sorted(set(busy))}")
            time.sleep(0.05)


def _all(target: Target, kind: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    marker = ""
    while True:
        page = answer(target, Ask("GET", f"/{kind}/detail?limit={PAGE}{marker}"))[kind]
        found += page
        if len(page) < PAGE:
            return found
        marker = f"&marker={page[-1]['id']}"


def _one(given: Given, method: str, path: str, body: Any) -> Any:
    return answer(given.target, Ask(method, path, body))


def _many(given: Given, count: int, path: str, key: str, body: Any) -> list[str]:
    asks = [Ask("POST", path, {key: body(number)}) for number in range(count)]
    expected = (
        202 if key in ("volume", "snapshot", "backup", "transfer", "group", "group_snapshot", "group_type") else 200
    )
    seen = crowd(given.target, asks, clients=4, expected=expected, keep=True)
    if seen.others:
        status, words = given.target.client().ask(asks[0])
        raise SystemExit(f"{given.target.name}: POST {path}: {seen.others}; once more: {status} {words[:300]!r}")
    return ids_of(seen.bodies, key)


def _pieces(given: Given, few: int, *, backups: bool) -> None:
    """Snapshots of the first volumes, attachments of the next, transfers of those after them."""
    first, second, third = given.volumes[:few], given.volumes[few : 2 * few], given.volumes[2 * few : 3 * few]
    given.snapshots = _many(
        given, few, "/snapshots", "snapshot", lambda n: {"volume_id": first[n], "name": f"s{n}", "metadata": {"a": "b"}}
    )
    given.attachments = _many(given, few, "/attachments", "attachment", lambda n: attachment(second[n]))
    given.transfers = _many(
        given, few, "/volume-transfers", "transfer", lambda n: {"volume_id": third[n], "name": f"x{n}"}
    )
    settle(given, "snapshots")
    if backups:
        given.backups = _many(given, few, "/backups", "backup", lambda n: {"volume_id": first[n], "name": f"b{n}"})
        settle(given, "backups", "volumes")


def _groups(given: Given, few: int) -> None:
    kind = {"group_type": given.group_types[0], "volume_types": given.types[:1]}
    given.groups = _many(given, few, "/groups", "group", lambda n: kind | {"name": f"g{n}"})
    settle(given, "groups")
    given.in_groups = _many(
        given,
        few,
        "/volumes",
        "volume",
        lambda n: volume(n) | {"group_id": given.groups[n], "volume_type": given.types[0]},
    )
    settle(given, "volumes")
    given.group_snapshots = _many(
        given, few, "/group_snapshots", "group_snapshot", lambda n: {"group_id": given.groups[n], "name": f"gs{n}"}
    )
    settle(given, "group_snapshots")


def _failures(given: Given, few: int) -> None:
    """Volumes that no backend can make leave messages."""
    nowhere = {"name": "nowhere", "extra_specs": {"volume_backend_name": "nowhere"}}
    made = _one(given, "POST", "/types", {"volume_type": nowhere})["volume_type"]["id"]
    asks = [Ask("POST", "/volumes", {"volume": volume(number) | {"volume_type": made}}) for number in range(few)]
    crowd(given.target, asks, clients=4, expected=202)
    settle(given, "volumes")
    given.messages = [one["id"] for one in _one(given, "GET", "/messages", None)["messages"]]
