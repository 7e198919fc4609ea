"""What brings down every node that works on it is given up, said to its user, and leaves nothing behind; all else goes on."""

import os
import signal
import time
from pathlib import Path
from typing import Any, Final

from tests.chaos import verdict
from tests.service import Service, StartService, eventually

from breezeblock import wiring
from breezeblock.chaos.asked import now
from breezeblock.chaos.pardons import given_up, pardons
from breezeblock.chaos.watching import read_events, watch
from breezeblock.chaos.witness import DEAD, Mark

TTL_S: Final = 1.5
LIMIT: Final = 2
# Each call takes so long that its worker is still in it when it is killed.
SLOW_S: Final = 1.0


def kill_whoever_works_on(service: Service, volume_id: str) -> int:
    """Until nobody does any more: each worker that takes the creation up is killed in its first call. Returns how many."""
    path, killed = verdict.database(service), set[str]()
    query = (
        "SELECT o.owner, o.direction, n.worker_pid FROM operations o JOIN nodes n ON n.incarnation = o.owner"
        " WHERE o.resource_id = ? AND o.direction = 'do'"
    )

    def gone() -> bool:
        for row in verdict.rows(path, query, volume_id):
            if row["owner"] not in killed and len(killed) < LIMIT:
                time.sleep(SLOW_S / 2)  # it is in the middle of its call
                os.kill(row["worker_pid"], signal.SIGKILL)
                killed.add(row["owner"])
        return not verdict.rows(path, "SELECT id FROM operations WHERE resource_id = ?", volume_id)

    eventually(gone, within_s=60, message="it is not given up")
    return len(killed)


def logged(service: Service, volume_id: str) -> list[dict[str, Any]]:
    query = "SELECT * FROM operation_log WHERE resource_id = ?"
    return verdict.rows(verdict.database(service), query, volume_id)


def test_a_creation_that_kills_its_nodes_is_given_up_after_as_many_as_the_limit_says(
    running_service: StartService, tmp_path: Path
) -> None:
    calls = tmp_path / "calls"
    calls.mkdir()
    slow = {wiring.RECORD_CALLS: str(calls), wiring.SLOW_CALLS: str(SLOW_S)}
    environ = slow | {"BREEZEBLOCK_NODES__POISON_LIMIT": str(LIMIT)}
    service = running_service(nodes=2, workers=1, ttl_s=TTL_S, environ=environ)
    path, storage = verdict.database(service), service.data / "volumes" / "file"
    watch(path)
    poison = service.create_volume()

    assert kill_whoever_works_on(service, poison) == LIMIT
    service.wait_status(poison, "error")
    bystander = service.create_volume()
    service.wait_status(bystander)

    (row,) = logged(service, poison)
    assert (row["outcome"], row["attempt"]) == ("parked", LIMIT)
    rest = verdict.rest(path, storage)
    lost = verdict.rows(path, "SELECT incarnation, state FROM nodes")
    marks = [Mark(now(), one["incarnation"], one["state"], None) for one in lost if one["state"] in DEAD]
    excused = given_up(rest.log, read_events(path), marks, limit=LIMIT)
    assert excused == {row["operation_id"]}
    assert given_up(rest.log, read_events(path), marks, limit=LIMIT + 1) == set()
    assert pardons(rest, excused).rests == {poison: {"error"}}
    headers = {"OpenStack-API-Version": "volume 3.71"}
    said = service.request("GET", "/v3/admin/messages", headers=headers).body["messages"]
    assert [one["resource_uuid"] for one in said] == [poison]
    # What it had half made is undone before it is given up, so not even that is left, and nothing is charged for twice.
    assert verdict.not_on_storage(path, storage) == []
    assert verdict.contradictions(path) == []

    for one in (poison, bystander):
        assert service.request("DELETE", f"/v3/admin/volumes/{one}").status == 202
    verdict.settle(path, within_s=30)
    assert verdict.rows(path, "SELECT id FROM volumes WHERE NOT tombstone") == []
    assert list(storage.glob("*/*.*")) == []
    assert verdict.contradictions(path) == []
