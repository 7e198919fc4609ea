"""A running service whose volumes are written to, backed up, deleted and restored at random, and what each must hold then.

All is asked for through the API and several things at a time. What a volume holds is known by its digest, since nobody else
writes to it; a backup's is that of the volume when it was asked for.
"""

import os
import random
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.clients.storage import Storage
from tests.service import Answer, Service, eventually

__all__ = ["NO_QUOTA", "VERSION", "Chains", "write_somewhere"]

NO_QUOTA: Final = {
    f"BREEZEBLOCK_QUOTA__{what}": "-1"
    for what in ("VOLUMES", "SNAPSHOTS", "GIGABYTES", "BACKUPS", "BACKUP_GIGABYTES", "PER_VOLUME_GIGABYTES")
}

PROJECT: Final = "chains"
VOLUMES_MOST: Final = 3
SNAPSHOTS_MOST: Final = 3
BACKUPS_MOST: Final = 8
# Requests of a round, and how often one is drawn that may not be possible then.
AT_ONCE: Final = 3
TRIED_MOST: Final = 12
SETTLED_S: Final = 90.0
VERSION: Final = {"OpenStack-API-Version": "volume 3.71"}
BLOCK: Final = 64 * 1024
# What is still to be seen when the requests of a round have ended.
After = Callable[[], None]
Way = Callable[[], After | None]


@dataclass
class Known:
    """A resource and the digest of what is in it."""

    id: str
    holds: str
    size_gib: int


def write_somewhere(path: Path, chance: random.Random, *, most_bytes: int) -> None:
    """As a server does that has it attached: fresh bytes, bytes that are elsewhere too, zeros; at any offset."""
    size = path.stat().st_size
    with path.open("r+b") as file:
        for _ in range(chance.randint(1, 6)):
            length = chance.choice((chance.randint(1, 4096), BLOCK, chance.randint(BLOCK, most_bytes)))
            offset = min(chance.randrange(size), size - length)
            if chance.random() < 0.5:
                offset -= offset % BLOCK
            way = chance.random()
            if way < 0.6:
                data = chance.randbytes(length)
            elif way < 0.8:
                data = os.pread(file.fileno(), length, chance.randrange(most_bytes))
            else:
                data = bytes(length)
            os.pwrite(file.fileno(), data, offset)
        os.fsync(file.fileno())


class Chains:
    """Volumes, snapshots and backups of one project, and what the next thing to do to them may be."""

    def __init__(
        self, service: Service, seed: int, *, written_most: int, containers: tuple[str, ...] = ("default",)
    ) -> None:
        self._service = service
        self._storage = Storage(service)
        self._chance = random.Random(f"{seed}-chains")
        self._written_most = written_most
        self._containers = containers
        self.volumes: list[Known] = []
        self.snapshots: list[tuple[Known, Known]] = []
        """Each with its volume."""
        self.backups: list[tuple[Known, str, str]] = []
        """Each with the id of its volume and its container."""
        self._busy: set[str] = set()
        self.counts: Counter[str] = Counter()

    def run(self, rounds: int) -> None:
        """A chain of two backups of each of two volumes, and so many rounds; in each some requests at the same time, and then
        everything is looked at that has changed.
        """
        for ways in ((self._make, self._make), *[(self._back_up, self._back_up), (self._write, self._write)] * 2):
            self._do(ways, most=2)
        for _ in range(rounds):
            self.round()

    def round(self) -> None:
        """Whatever comes of the first things drawn that are possible."""
        ways: tuple[Way, ...] = (
            self._make, self._write, self._write, *[self._back_up] * 5, *[self._back_up_a_snapshot] * 2, self._snapshot,
            self._delete_a_snapshot, self._restore, self._restore_to_a_new_one, *[self._delete_a_backup] * 2,
            self._delete_a_volume, self._extend,
        )  # fmt: skip
        self._do(self._chance.choices(ways, k=TRIED_MOST) if self.volumes else (self._make,), most=AT_ONCE)

    def _do(self, ways: Iterable[Way], *, most: int) -> None:
        self._busy.clear()
        later: list[After] = []
        for way in ways:
            if len(later) < most and (after := way()) is not None:
                later.append(after)
        for after in later:
            after()
        kept = len(self._service.database.rows("SELECT 1 FROM kept_objects"))
        self.counts["kept at once"] = max(kept, self.counts["kept at once"])

    def finish(self) -> None:
        """Every backup that is left is what it was taken of; then all is deleted."""
        for known, volume_id, container in list(self.backups):
            made = self._restored(known)
            self._holds("volumes", made.id, known.holds, f"backup {known.id} of {volume_id} in {container}")
            self._delete("volumes", made.id)
        assert self._service.database.contradictions() == []
        for known, _, _ in self._chance.sample(self.backups, len(self.backups)):
            self._accepted("DELETE", f"backups/{known.id}")
        for known, _, _ in self.backups:
            self._gone("backups", known.id)
        for known, _ in self.snapshots:
            self._delete("snapshots", known.id)
        for known in self.volumes:
            self._delete("volumes", known.id)
        assert self._service.database.contradictions() == []

    def packs_gone(self) -> None:
        """Return when nothing is known of any pack: collections have run until there was nothing left to do."""
        query = "SELECT state, count(*) AS number FROM packs GROUP BY state"
        eventually(lambda: not self._service.database.rows(query), within_s=SETTLED_S, message="packs are left")

    # --- what may be done; each returns what is to be looked at afterwards ------------------------------------------

    def _make(self) -> After | None:
        if len(self.volumes) >= VOLUMES_MOST:
            return None
        size = self._chance.randint(1, 2)
        made = self._accepted("POST", "volumes", {"volume": {"size": size}})["volume"]["id"]
        self._at_rest("volumes", made)
        self._write_into(made)
        self.volumes.append(Known(made, self._storage.content_of("volumes", made), size))
        return lambda: None

    def _write(self) -> After | None:
        if (volume := self._idle(self.volumes)) is not None:
            self._write_into(volume.id)
            volume.holds = self._storage.content_of("volumes", volume.id)
            self.counts["written"] += 1
        return None

    def _back_up(self) -> After | None:
        if len(self.backups) >= BACKUPS_MOST or (volume := self._idle(self.volumes)) is None:
            return None
        in_use = self._chance.random() < 0.3
        if in_use:
            self._reset(volume.id, "in-use", "attached")
        after = self._backed_up(volume, {"force": in_use})

        def then() -> None:
            after()
            self._at_rest("volumes", volume.id, "in-use" if in_use else "available")
            if in_use:
                self._reset(volume.id, "available", "detached")
            self._holds("volumes", volume.id, volume.holds, "a volume that was backed up")

        return then

    def _backed_up(self, volume: Known, more: dict[str, Any]) -> After:
        container = self._chance.choice(self._containers)
        incremental = self._chance.random() < 0.7
        wanted = {"volume_id": volume.id, "incremental": incremental, "container": container, **more}
        answer = self._ask("POST", "backups", {"backup": wanted})
        if incremental and answer.status == 400:
            # There is nothing, or nothing older, in that container to build upon.
            incremental = False
            answer = self._ask("POST", "backups", {"backup": wanted | {"incremental": False}})
        assert answer.status == 202, answer
        self.counts["incremental" if incremental else "full"] += 1
        made = Known(answer.body["backup"]["id"], volume.holds, volume.size_gib)
        self._busy.add(made.id)
        self.backups.append((made, volume.id, container))
        return lambda: self._at_rest("backups", made.id)

    def _snapshot(self) -> After | None:
        if (volume := self._idle(self.volumes)) is None:
            return None
        made = self._accepted("POST", "snapshots", {"snapshot": {"volume_id": volume.id}})["snapshot"]["id"]
        self.snapshots.append((Known(made, volume.holds, volume.size_gib), volume))
        self._busy.add(made)
        return lambda: self._at_rest("snapshots", made)

    def _delete_a_snapshot(self) -> After | None:
        idle = [one for one in self.snapshots if not {one[0].id, one[1].id} & self._busy]
        if len(idle) < SNAPSHOTS_MOST:
            return None
        gone = self._chance.choice(idle)
        self._busy |= {gone[0].id, gone[1].id}
        self.snapshots.remove(gone)
        self._accepted("DELETE", f"snapshots/{gone[0].id}")
        return lambda: self._gone("snapshots", gone[0].id)

    def _back_up_a_snapshot(self) -> After | None:
        """The volume is written to meanwhile."""
        idle = [one for one in self.snapshots if not {one[0].id, one[1].id} & self._busy]
        if not idle or len(self.backups) >= BACKUPS_MOST:
            return None
        snapshot, volume = self._chance.choice(idle)
        self._busy |= {snapshot.id, volume.id}
        taken = Known(volume.id, snapshot.holds, snapshot.size_gib)
        after = self._backed_up(taken, {"snapshot_id": snapshot.id})
        self._write_into(volume.id)
        volume.holds = self._storage.content_of("volumes", volume.id)

        def then() -> None:
            after()
            self._at_rest("snapshots", snapshot.id)

        return then

    def _restore(self) -> After | None:
        """Into a volume that is there, its own or another one, which may be larger."""
        volume = self._idle([one for one in self.volumes if not self._has_snapshot(one)])
        found = [one for one, _, _ in self.backups if volume is not None and one.size_gib <= volume.size_gib]
        backup = self._idle(found)
        if volume is None or backup is None:
            return None
        answer = self._ask("POST", f"backups/{backup.id}/restore", {"restore": {"volume_id": volume.id}})
        assert answer.status == 202, answer
        self.counts["restore"] += 1
        volume.holds = backup.holds

        def then() -> None:
            self._at_rest("volumes", volume.id)
            self._holds("volumes", volume.id, backup.holds, f"the restored backup {backup.id}")

        return then

    def _restore_to_a_new_one(self) -> After | None:
        backup = self._idle([one for one, _, _ in self.backups])
        if backup is None or len(self.volumes) >= VOLUMES_MOST:
            return None
        made = self._restored(backup)
        self.volumes.append(made)
        self._busy.add(made.id)
        self._holds("volumes", made.id, backup.holds, f"the new volume of backup {backup.id}")
        return None

    def _restored(self, backup: Known) -> Known:
        self.counts["restore"] += 1
        if self._chance.random() < 0.5:
            answer = self._accepted("POST", f"backups/{backup.id}/restore", {"restore": {}})
            made = answer["restore"]["volume_id"]
        else:
            wanted = {"size": backup.size_gib, "backup_id": backup.id}
            made = self._accepted("POST", "volumes", {"volume": wanted})["volume"]["id"]
        self._at_rest("volumes", made)
        self._at_rest("backups", backup.id)
        return Known(made, backup.holds, backup.size_gib)

    def _delete_a_backup(self) -> After | None:
        """Any of them, whatever others were incremental to it."""
        backup = self._idle([one for one, _, _ in self.backups])
        if backup is None:
            return None
        self._accepted("DELETE", f"backups/{backup.id}")
        self.backups = [one for one in self.backups if one[0] is not backup]
        self.counts["deletion"] += 1
        return lambda: self._gone("backups", backup.id)

    def _delete_a_volume(self) -> After | None:
        """Its backups stay."""
        volume = self._idle([one for one in self.volumes if not self._has_snapshot(one)])
        if volume is None or len(self.volumes) < VOLUMES_MOST:
            return None
        self._accepted("DELETE", f"volumes/{volume.id}")
        self.volumes.remove(volume)
        return lambda: self._gone("volumes", volume.id)

    def _extend(self) -> After | None:
        volume = self._idle([one for one in self.volumes if one.size_gib < 4])
        if volume is None:
            return None
        volume.size_gib += 1
        body = {"os-extend": {"new_size": volume.size_gib}}
        self._accepted("POST", f"volumes/{volume.id}/action", body)
        return lambda: self._at_rest("volumes", volume.id)

    # --- small things ------------------------------------------------------------------------------------------------

    def _idle(self, some: list[Known]) -> Known | None:
        """One that nothing was asked of in this round; it is busy from now on."""
        idle = [one for one in some if one.id not in self._busy]
        if not idle:
            return None
        one = self._chance.choice(idle)
        self._busy.add(one.id)
        return one

    def _has_snapshot(self, volume: Known) -> bool:
        return any(of is volume for _, of in self.snapshots)

    def _write_into(self, volume_id: str) -> None:
        path = self._storage.file_of("volumes", volume_id)
        write_somewhere(path, self._chance, most_bytes=self._written_most)

    def _reset(self, volume_id: str, status: str, attach_status: str) -> None:
        body = {"os-reset_status": {"status": status, "attach_status": attach_status}}
        self._accepted("POST", f"volumes/{volume_id}/action", body)

    def _holds(self, table: str, id_: str, wanted: str, what: str) -> None:
        assert self._storage.content_of(table, id_) == wanted, f"{id_} does not hold what it should: {what}"
        self.counts["compared"] += 1

    def _ask(self, method: str, path: str, body: object = None) -> Answer:
        return self._service.request(method, f"/v3/{PROJECT}/{path}", body, headers=VERSION)

    def _accepted(self, method: str, path: str, body: object = None) -> Any:
        answer = self._ask(method, path, body)
        assert answer.status in (200, 202), (method, path, body, answer)
        return answer.body

    def _delete(self, table: str, id_: str) -> None:
        self._accepted("DELETE", f"{table}/{id_}")
        self._gone(table, id_)

    def _gone(self, table: str, id_: str) -> None:
        eventually(
            lambda: self._ask("GET", f"{table}/{id_}").status == 404,
            within_s=SETTLED_S,
            message=f"{id_} is still there",
        )

    def _at_rest(self, table: str, id_: str, status: str = "available") -> None:
        """Return when it has that status; fail at once when it has an error."""

        def there() -> bool:
            answer = self._ask("GET", f"{table}/{id_}")
            assert answer.status == 200, answer
            (found,) = answer.body.values()
            assert not found["status"].startswith("error"), (
                found,
                self._service.database.rows("SELECT * FROM messages"),
            )
            return bool(found["status"] == status)

        eventually(there, within_s=SETTLED_S, message=f"{table} {id_} is not {status}")
