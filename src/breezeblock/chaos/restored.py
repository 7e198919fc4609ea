"""What is left of the backups when a run is over: each is made a volume of, which must hold what was backed up."""

import json
from collections.abc import Iterable
from typing import Final

from breezeblock.chaos.checker import Finding
from breezeblock.chaos.cluster import Cluster
from breezeblock.chaos.contents import holds
from breezeblock.chaos.evidence import Rest
from breezeblock.chaos.load import PROJECT, Backup, Client
from breezeblock.chaos.service import NotYet, eventually

__all__ = ["restored"]

RESTORED_S: Final = 120.0
HEADERS: Final = {"OpenStack-API-Version": "volume 3.71"}


def restored(cluster: Cluster, clients: Iterable[Client], rest: Rest) -> list[Finding]:
    """Nothing is struck any more, so each must succeed. The volumes are gone afterwards."""
    there = {row["id"] for row in rest.backups if row["status"] == "available"}
    known = {one.id: one for client in clients for one in client.backups if one.id in there and one.content is not None}
    made = {_begin(cluster, backup): backup for backup in known.values()}
    found = [finding for volume_id, backup in made.items() for finding in _wrong(cluster, volume_id, backup)]
    for volume_id in made:
        cluster.service.request("DELETE", f"/v3/{PROJECT}/volumes/{volume_id}", headers=HEADERS)
    return found


def _begin(cluster: Cluster, backup: Backup) -> str:
    wanted = {"size": max(backup.sizes), "backup_id": backup.id, "name": f"of-{backup.name}"}
    answer = cluster.service.request("POST", f"/v3/{PROJECT}/volumes", {"volume": wanted}, headers=HEADERS)
    assert answer.status == 202, answer
    return str(answer.body["volume"]["id"])


def _wrong(cluster: Cluster, volume_id: str, backup: Backup) -> list[Finding]:
    assert backup.content is not None, "nobody knows what should be in it"
    what = f"backup {backup.name} ({backup.id}), restored as {volume_id},"

    def ended() -> str:
        status = cluster.service.volume_status(volume_id, project=PROJECT)
        return "" if status == "creating" else status

    try:
        status = eventually(ended, within_s=RESTORED_S, message="the restore does not end")
    except NotYet as error:
        return [Finding("Termination", f"{what} {error}")]
    if status != "available":
        told = json.dumps(cluster.database.rows("SELECT * FROM messages WHERE resource_id = ?", volume_id), default=str)
        return [Finding("Data", f"{what} is {status}: {told}")]
    right = holds(cluster.storage, volume_id, backup.content)
    return [] if right else [Finding("Data", f"{what} holds none of {backup.content}")]
