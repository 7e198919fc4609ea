"""What clients do with volumes, and how many of it in a second: the same for every target."""

import json
import time
from collections.abc import Mapping
from typing import Any

from load import Ask, Seen, Target, crowd

__all__ = ["CREATE", "fill", "lifecycle", "reads", "statuses", "until_none"]

CREATE = Ask("POST", "/volumes", {"volume": {"size": 1, "name": "bench"}})
FILLER = Ask("POST", "/volumes", {"volume": {"size": 1, "name": "filler", "metadata": {"kind": "filler"}}})
READS: Mapping[str, str] = {
    "list1000": "/volumes/detail?limit=1000",
    "list50": "/volumes/detail?limit=50",
    "show": "/volumes/{id}",
}
PAGE = 500


def fill(target: Target, wanted: int) -> None:
    """So many volumes, if there are fewer."""
    missing = wanted - len(statuses(target))
    if missing > 0:
        seen: Seen = crowd(target, [FILLER] * missing, clients=8, expected=202)
        assert not seen.others, f"{target.name}: {seen.others}"
        until_none(target, "creating")


def reads(target: Target, *, clients: int, seconds: float) -> dict[str, dict[str, Any]]:
    """Answers in a second to each question."""
    one = next(iter(statuses(target)))
    return {
        name: crowd(target, [Ask("GET", path.format(id=one))], clients=clients, expected=200, seconds=seconds).row()
        for name, path in READS.items()
    }


def lifecycle(target: Target, *, clients: int, count: int) -> dict[str, dict[str, Any]]:
    """Create volumes until they are available, and delete them until they are gone."""
    began = time.perf_counter()
    made = crowd(target, [CREATE] * count, clients=clients, expected=202, keep=True)
    ids = [json.loads(body)["volume"]["id"] for body in made.bodies]
    until_none(target, "creating")
    took_s = time.perf_counter() - began
    now = statuses(target)
    available = sum(now.get(id_) == "available" for id_ in ids)
    began = time.perf_counter()
    gone = crowd(target, [Ask("DELETE", f"/volumes/{id_}") for id_ in ids], clients=clients, expected=202)
    until_none(target, "deleting")
    took_delete_s = time.perf_counter() - began
    left = statuses(target)
    deleted = sum(id_ not in left for id_ in ids)
    return {
        "create": made.row() | {"end_to_end_per_s": round(available / took_s, 1), "failed": count - available},
        "delete": gone.row() | {"end_to_end_per_s": round(deleted / took_delete_s, 1), "failed": len(ids) - deleted},
    }


def until_none(target: Target, status: str, *, within_s: float = 600.0) -> None:
    """Wait until no volume has that status. Raises SystemExit."""
    client, ends = target.client(), time.monotonic() + within_s
    while True:
        _, body = client.ask(Ask("GET", f"/volumes?limit=1&status={status}"))
        if not json.loads(body)["volumes"]:
            return
        if time.monotonic() > ends:
            raise SystemExit(f"{target.name}: volumes stay {status}")
        time.sleep(0.01)


def statuses(target: Target) -> dict[str, str]:
    """The status of every volume by its id."""
    found: dict[str, str] = {}
    client, marker = target.client(), ""
    while True:
        _, body = client.ask(Ask("GET", f"/volumes/detail?limit={PAGE}{marker}"))
        page = json.loads(body)["volumes"]
        found |= {volume["id"]: volume["status"] for volume in page}
        if len(page) < PAGE:
            return found
        marker = f"&marker={page[-1]['id']}"
