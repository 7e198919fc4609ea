"""How long work stands still when the machine that runs it is lost: SIGKILL for all its processes at once.

Ours: two services on one database and one storage, as on two machines. Volumes are created on the one that will be lost, and
each call of its driver takes a while. Measured for each creation, from the kill until another node runs it again.

The peer: volumes are created while its driver is slow, one of its nodes is killed, and its list of services is asked until
it shows that; then some seconds more, for whatever becomes of the work.
"""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

from load import Ask, Target, crowd

from breezeblock import wiring
from breezeblock.chaos.database import Reader
from breezeblock.chaos.service import Service

from . import services
from .lifecycle import CREATE, statuses, until_none

__all__ = ["Peer", "ours", "peers"]

VOLUMES: Final = 8
# Longer than from the first claim to the kill, so that all are under way then.
SLOW_S: Final = 3.0
RUNNING: Final = (
    "SELECT o.resource_id AS id, o.owner FROM operations o WHERE o.kind = 'create_volume' AND o.owner IS NOT NULL"
)
LIVES: Final = "SELECT incarnation, keeper_pid FROM nodes WHERE state = 'up'"
LOOK_EVERY_S: Final = 0.01


@contextmanager
def _pair(
    folder: Path, url: str | None, ttl_s: float, more: Mapping[str, str]
) -> Iterator[tuple[Service, dict[str, str]]]:
    """The service that stays, and what the one that will be lost needs to be started beside it."""
    (folder / "calls").mkdir(parents=True)
    chosen = {
        wiring.RECORD_CALLS: str(folder / "calls"),
        wiring.SLOW_CALLS: str(SLOW_S),
        "BREEZEBLOCK_BACKENDS__FILE__PATH": str(folder / "volumes"),
        "BREEZEBLOCK_DATABASE__URL": url or f"sqlite:///{folder}/breezeblock.db",
        **more,
    }
    with services.running(folder / "stays", nodes=1, ttl_s=ttl_s, chosen=chosen) as stays:
        yield stays, chosen


def ours(
    folder: Path, url: str | None, *, ttl_s: float, rounds: int, more: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Seconds of each creation, and what became of them."""
    seconds: list[float] = []
    with _pair(folder, url, ttl_s, more or {}) as (stays, chosen), closing(stays.database.open()) as reader:
        for number in range(rounds):
            with services.running(folder / f"lost-{number}", nodes=1, ttl_s=ttl_s, chosen=chosen) as lost:
                seconds += _round(reader, lost)
            until_none(services.target_of(stays), "creating", within_s=120)
            services.say(f"failover with ttl {ttl_s:g} s: {max(seconds[-VOLUMES:]):.2f} s")
        ended = list(statuses(services.target_of(stays)).values())
    return {
        "ttl_s": ttl_s,
        "seconds": [round(value, 3) for value in sorted(seconds)],
        "p50_s": round(services.quantile(seconds, 0.5), 2),
        "max_s": round(max(seconds), 2),
        "available": ended.count("available"),
        "accepted": rounds * VOLUMES,
    }


def _round(reader: Reader, lost: Service) -> list[float]:
    pids = lost.keeper_pids.values()
    (incarnation,) = (row["incarnation"] for row in reader.rows(LIVES) if row["keeper_pid"] in pids)
    seen = crowd(services.target_of(lost), [CREATE] * VOLUMES, clients=4, expected=202, keep=True)
    ids = {json.loads(body)["volume"]["id"] for body in seen.bodies}

    def owners() -> dict[str, str]:
        return {row["id"]: row["owner"] for row in reader.rows(RUNNING) if row["id"] in ids}

    services.until(lambda: list(owners().values()) == [incarnation] * VOLUMES, what="the node has all the work")
    killed = time.monotonic()
    services.lose(lost.pids())
    lost.process.wait()
    again: dict[str, float] = {}

    def all_again() -> bool:
        for id_, owner in owners().items():
            if owner != incarnation:
                again.setdefault(id_, time.monotonic() - killed)
        return len(again) == VOLUMES

    services.until(all_again, what="other nodes run the work", every_s=LOOK_EVERY_S)
    return list(again.values())


# --- the peer ---------------------------------------------------------------------------------------------------------


class Peer:
    """How a node of the peer is killed and started (commands for a shell), and the file that says how slow its driver is."""

    def __init__(self, target: Target, *, kill: str, start: str, slow: Path) -> None:
        self.target, self.kill, self.start, self.slow = target, kill, start, slow

    def down(self) -> list[str]:
        """The services that its list shows as down."""
        _, body = self.target.client().ask(Ask("GET", "/os-services"))
        return [one["host"] for one in json.loads(body)["services"] if one["state"] == "down"]


def peers(peer: Peer, *, look_s: float = 10.0, within_s: float = 180.0) -> dict[str, Any]:
    """Seconds until it was seen, and the statuses of the volumes `look_s` later."""
    services.until(lambda: not peer.down(), what="all services of the peer are up", within_s=within_s, every_s=0.5)
    peer.slow.write_text(str(SLOW_S))
    try:
        seen = crowd(peer.target, [CREATE] * VOLUMES, clients=4, expected=202, keep=True)
        ids = [json.loads(body)["volume"]["id"] for body in seen.bodies]
        time.sleep(SLOW_S / 2)  # its scheduler has handed all of them to the nodes
        killed = time.monotonic()
        services.call_shell(peer.kill)
        services.until(peer.down, what="the peer sees a node as down", within_s=within_s, every_s=0.2)
        noticed_s = time.monotonic() - killed
        time.sleep(look_s)
        now = statuses(peer.target)
        became = [now.get(id_, "gone") for id_ in ids]
    finally:
        peer.slow.write_text("0")
        services.call_shell(peer.start)
    _clear(peer.target, ids)
    told = {status: became.count(status) for status in sorted(set(became))}
    services.say(f"failover of the peer: seen after {noticed_s:.1f} s, {told}")
    return {"noticed_s": round(noticed_s, 1), "looked_after_s": round(noticed_s + look_s, 1), "became": told}


def _clear(target: Target, ids: list[str]) -> None:
    """What the kill has left in between would be in everybody's way; so an operator resets and deletes it."""
    client = target.client()
    services.until(lambda: _is_whole(target), what="all services of the peer are up", within_s=180, every_s=0.5)
    for id_ in ids:
        client.ask(Ask("POST", f"/volumes/{id_}/action", {"os-reset_status": {"status": "error"}}))
        client.ask(Ask("DELETE", f"/volumes/{id_}"))
    services.until(
        lambda: not set(ids) & set(statuses(target)), what="the peer has deleted them", within_s=120, every_s=0.5
    )


def _is_whole(target: Target) -> bool:
    _, body = target.client().ask(Ask("GET", "/os-services"))
    return all(one["state"] == "up" for one in json.loads(body)["services"])
