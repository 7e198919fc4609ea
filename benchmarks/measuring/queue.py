"""Work for nodes, and what the operations' log tells of it afterwards."""

import json
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from load import Ask, Target, crowd

from breezeblock.chaos.database import Reader

from .services import quantile, until

__all__ = ["Waits", "create", "create_crowd", "create_steadily", "ended", "waits"]


LOGGED: Final = (
    "SELECT resource_id, owner, created_at_us, claimed_at_us, finished_at_us FROM operation_log"
    " WHERE kind = 'create_volume'"
)


@dataclass(frozen=True)
class Waits:
    """Milliseconds from the request's transaction to the claim."""

    count: int
    p50_ms: float
    longest_ms: float


def create(volume_type: str | None = None) -> Ask:
    """Ask for a volume of a type."""
    wanted: dict[str, Any] = {"size": 1, "name": "bench"} | ({"volume_type": volume_type} if volume_type else {})
    return Ask("POST", "/volumes", {"volume": wanted})


def create_crowd(target: Target, count: int, *, volume_type: str | None = None, clients: int = 8) -> list[str]:
    """So many volumes as fast as they are accepted: their ids."""
    seen = crowd(target, [create(volume_type)] * count, clients=clients, expected=202, keep=True)
    assert not seen.others, seen.others
    return [json.loads(body)["volume"]["id"] for body in seen.bodies]


def create_steadily(target: Target, count: int, *, every_s: float, volume_type: str | None = None) -> list[str]:
    """So many volumes, one after the other at a steady pace."""
    client, ids, began = target.client(), [], time.monotonic()
    for number in range(count):
        time.sleep(max(0.0, began + number * every_s - time.monotonic()))
        status, body = client.ask(create(volume_type))
        assert status == 202, body
        ids.append(json.loads(body)["volume"]["id"])
    return ids


def ended(reader: Reader, ids: Iterable[str], *, within_s: float = 120.0) -> list[dict[str, Any]]:
    """The rows of the log of these volumes' creations, once there are all."""
    wanted, found = set(ids), dict[str, dict[str, Any]]()

    def all_there() -> bool:
        found.update({row["resource_id"]: row for row in reader.rows(LOGGED) if row["resource_id"] in wanted})
        return len(found) == len(wanted)

    until(all_there, what="the work has ended", within_s=within_s, every_s=0.05)
    return list(found.values())


def waits(rows: Iterable[dict[str, Any]]) -> Waits:
    """How long the work of these rows had waited for a node."""
    values = [(row["claimed_at_us"] - row["created_at_us"]) / 1000 for row in rows]
    return Waits(len(values), quantile(values, 0.5), max(values))
