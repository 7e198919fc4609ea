"""Clients that ask for all kinds of things at once, write down every answer, and know what must be there afterwards.

Each client has resources of its own and asks one thing at a time, so what it was answered says exactly what must exist:
a request that was accepted has happened, one that was refused has left nothing, and one without an answer has happened as a
whole or not at all. Names are unique, so that a request without an answer can be found again.

What is in the volumes is known as well: a client writes into each new volume, as a server would that has it attached, and
follows what it wrote through clones, snapshots, reverts, backups and restores. What a failing storage left in an error state it
deletes, sooner or later, until it is gone.
"""

import contextlib
import http.client
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from breezeblock.chaos.asked import (
    ACCEPTED,
    BROKEN,
    CHANGED_NOTHING,
    UNKNOWN,
    UNSENT,
    Asked,
    after,
    message_of,
    now,
    outcome_of,
    there,
)  # fmt: skip
from breezeblock.chaos.attaching import PATIENCE_S, Attaching, waits_for_storage
from breezeblock.chaos.contents import ZEROS, files_of, holds, write
from breezeblock.chaos.http import REQUEST_TIMEOUT_S, Http

CREATES: Final = frozenset({"create", "create_from_volume", "create_from_snapshot", "create_from_backup"})

WAIT_MOST_S: Final = 8.0
LOOK_EVERY_S: Final = 0.1
VOLUMES_MOST: Final = 6
BACKUPS_MOST: Final = 6
SIZE_MOST_GIB: Final = 9
TYPES: Final = ("gold", "silver")
PROJECT: Final = "load"
BUSY: Final = (
    "creating", "deleting", "extending", "reverting", "retyping", "restoring", "backing-up", "restoring-backup",
)  # fmt: skip
DATA_SHARE: Final = 0.7
# Of the acts of a client that has attachments: how often one is taken back first.
DETACH_SHARE: Final = 0.5
LOOK_AGAIN_SHARE: Final = 0.3
# Of the occasions on which a volume at rest was looked at: how often a snapshot of it is looked at as well.
SNAPSHOT_SHARE: Final = 0.3


@dataclass
class Snapshot:
    """What a client knows of one of its snapshots."""

    name: str
    id: str | None
    sizes: set[int]
    there: set[bool]
    content: set[str] | None = None
    sizes_ever: set[int] = field(default_factory=set)


@dataclass
class Backup:
    """What a client knows of one of its backups; the volume `of` which it is may have gone."""

    name: str
    id: str | None
    sizes: set[int]
    there: set[bool]
    content: set[str] | None = None
    sizes_ever: set[int] = field(default_factory=set)
    of: str = ""


@dataclass
class Volume:
    """What a client knows of one of its volumes: every value that it may have."""

    name: str
    id: str | None
    sizes: set[int]
    types: set[str | None]
    there: set[bool]
    metadata: dict[str, set[str | None]] = field(default_factory=dict)
    snapshots: list[Snapshot] = field(default_factory=list)
    content: set[str] | None = None
    """The tags of what may be in it; None when nobody knows."""
    sizes_ever: set[int] = field(default_factory=set)
    """Every size it was asked to have: an extension may be refused after it was accepted, for want of space."""
    types_ever: set[str | None] = field(default_factory=set)
    content_before: set[str] | None = field(default_factory=set)
    """What was in it before it was last reverted: a revert that fails leaves the one or the other. None when nobody knows."""


class Client:
    """One client with its own resources, until it is told to stop."""

    def __init__(
        self, number: int, endpoint: str, seed: int, storage: Path | None = None, *, backs_up: bool = False
    ) -> None:
        self.number = number
        self._backs_up = backs_up
        self.reads: Counter[int] = Counter()
        self.broken_reads: list[Asked] = []
        """Requests that only looked and were answered 5xx: those alone are worth a note each."""
        self._storage = storage
        self.compared = 0
        self.wrong_contents: list[str] = []
        """What was not in a volume or snapshot at rest, while the run went on."""
        self.volumes: list[Volume] = []
        self.backups: list[Backup] = []
        self.asked: list[Asked] = []
        self._http = Http(endpoint)
        self._random = random.Random(f"{seed}-client-{number}")
        self._made = 0
        self._doomed: list[Volume] = []
        self._attaching = Attaching(self._ask, self._look, self._random)

    def run(self, ended: Callable[[], bool]) -> None:
        try:
            while not ended():
                self._act()
            self._attaching.detach_all()
        finally:
            self._http.close()

    def known_snapshots(self) -> list[Snapshot]:
        return [one for volume in self.volumes for one in volume.snapshots]

    # --- choosing ---------------------------------------------------------------------------------------------------

    def _act(self) -> None:
        if self._doomed and self._random.random() < LOOK_AGAIN_SHARE:
            self._look_again(self._doomed.pop(0))
        if (held := self._attaching.held) and self._random.random() < DETACH_SHARE:
            self._attaching.detach(self._random.choice(held))
        mine = [one for one in self.volumes if one.there == {True} and one.id is not None]
        if not mine or (len(mine) < VOLUMES_MOST and self._random.random() < 0.25):
            self._create(mine)
            return
        volume = self._random.choice(mine)
        if self._random.random() < 0.8:
            status = self._wait(volume) or ""
            if status.startswith("error"):
                self._cascade(volume)
                return
            if status == "available":
                self._compare(volume, volume.id)
                self._compare_a_snapshot(volume)
        if len(mine) >= VOLUMES_MOST:
            self._random.choice((self._delete, self._cascade))(volume)
            return
        actions: list[tuple[Callable[[Volume], None], int]] = [
            (self._extend, 4), (self._snapshot, 5), (self._drop_snapshot, 3), (self._delete, 2), (self._cascade, 1),
            (self._retype, 3), (self._revert, 3), (self._label, 3), (self._attach, 3),
        ]  # fmt: skip
        if self._backs_up:
            actions += [(self._back_up, 5), (self._restore, 3), (self._drop_backup, 2)]
        (act,) = self._random.choices([one for one, _ in actions], [weight for _, weight in actions])
        act(volume)

    def _name(self, what: str) -> str:
        self._made += 1
        return f"{what}-{self.number}-{self._made}"

    # --- asking -----------------------------------------------------------------------------------------------------

    def _ask(self, kind: str, name: str, method: str, path: str, body: object = None) -> tuple[str, Any]:
        """Ask once, write down what came of it. Nothing is asked again: only the database knows whether it happened."""
        started = now()
        status, answer, said = None, None, dict[str, str]()
        try:
            status, answer, said = self._http.send(method, f"/v3/{PROJECT}{path}", body)
            outcome = UNKNOWN if waits_for_storage(kind, status) else outcome_of(status, answer)
        except ConnectionRefusedError as error:
            outcome, answer = UNSENT, repr(error)
            time.sleep(LOOK_EVERY_S)
        except (OSError, http.client.HTTPException) as error:
            outcome, answer = UNKNOWN, repr(error)
        text = "" if outcome == ACCEPTED else message_of(answer)
        self.asked.append(
            Asked(
                self.number, kind, name, outcome, status, said.get("x-openstack-request-id"), text, started,
                now() - started, "retry-after" in said,
            )
        )  # fmt: skip
        return outcome, answer

    def _wait(self, volume: Volume) -> str | None:
        """Until it is at rest, or for a while; returns its status then. Reading may be repeated."""
        until = now() + WAIT_MOST_S
        while now() < until:
            with contextlib.suppress(OSError, http.client.HTTPException):
                started = now()
                status, answer, said = self._http.send("GET", f"/v3/{PROJECT}/volumes/{volume.id}")
                self._note_read(volume.name, status, answer, said, started)
                if status == 404:
                    return None
                if status == 200 and answer["volume"]["status"] not in BUSY:
                    return str(answer["volume"]["status"])
            time.sleep(LOOK_EVERY_S)
        return None

    def _look(self, path: str) -> tuple[int, Any]:
        """Reading may be repeated. Raises OSError, HTTPException."""
        started = now()
        status, answer, said = self._http.send("GET", f"/v3/{PROJECT}{path}")
        self._note_read(path, status, answer, said, started)
        return status, answer

    def _note_read(self, name: str, status: int, answer: Any, said: dict[str, str], started: float) -> None:
        self.reads[status] += 1
        if status < 500:
            return
        self.broken_reads.append(
            Asked(
                self.number, "read", name, outcome_of(status, answer), status, said.get("x-openstack-request-id"),
                message_of(answer), started, now() - started, "retry-after" in said,
            )
        )  # fmt: skip

    def _write(self, volume: Volume) -> None:
        """Put something into a new volume, behind the service's back, as a server does that has it attached."""
        if self._storage is None or self._wait(volume) != "available":
            return
        found = files_of(self._storage, str(volume.id))
        if len(found) != 1:
            volume.content = None  # the checker will say what it thinks of several
            return
        tag = f"{self._random.random()}"
        volume.content = {tag} if write(found[0], tag) else None

    def _compare(self, known: Volume | Snapshot, id_: str | None) -> None:
        """Look into a resource that is at rest, which it stays until its client asks for something."""
        if self._storage is None or known.content is None or id_ is None:
            return
        right = holds(self._storage, id_, known.content)
        if right is not None:
            self.compared += 1
        if right is False:
            self.wrong_contents.append(f"{known.name} ({id_}) held none of {known.content} at {now():.3f}")

    def _compare_a_snapshot(self, volume: Volume) -> None:
        known = [one for one in volume.snapshots if one.there == {True} and one.id is not None]
        if not known or self._random.random() >= SNAPSHOT_SHARE:
            return
        snapshot = self._random.choice(known)
        with contextlib.suppress(OSError, http.client.HTTPException):
            path = f"/v3/{PROJECT}/snapshots/{snapshot.id}"
            started = now()
            status, answer, said = self._http.send("GET", path)
            self._note_read(snapshot.name, status, answer, said, started)
            if status == 200 and answer["snapshot"]["status"] == "available":
                self._compare(snapshot, snapshot.id)

    def _look_again(self, volume: Volume) -> None:
        """Whether a deletion that was accepted has failed: then it is asked for again."""
        status = self._wait(volume)
        if status is not None and status.startswith("error"):
            self._cascade(volume)
        elif status is not None:
            self._doomed.append(volume)

    def _create(self, mine: list[Volume]) -> None:
        name = self._name("volume")
        size, type_ = self._random.randint(1, 2), self._random.choice((*TYPES, None))
        wanted: dict[str, Any] = {"name": name, "metadata": {"made": "here"}}
        kind, types, content = "create", {type_}, {ZEROS} if self._storage else None
        how, source = self._random.random(), self._random.choice(mine) if mine else None
        snapshots = [one for one in source.snapshots if one.there == {True} and one.id] if source else []
        if source is not None and how < 0.3:
            kind, wanted["source_volid"] = "create_from_volume", source.id
            size, types = max(source.sizes), {type_} if type_ else set(source.types)
            content = source.content
        elif (kept := self._kept()) and how > 0.75:
            backup = self._random.choice(kept)
            content = backup.content
            kind, wanted["backup_id"] = "create_from_backup", backup.id
            size = max(backup.sizes)
        elif snapshots and how < 0.6:
            snapshot = self._random.choice(snapshots)
            content = snapshot.content
            kind, wanted["snapshot_id"] = "create_from_snapshot", snapshot.id
            size, types = max(snapshot.sizes), {type_, *TYPES, None} if type_ is None else {type_}
        wanted |= {"size": size} | ({"volume_type": type_} if type_ else {})
        outcome, answer = self._ask(kind, name, "POST", "/volumes", {"volume": wanted})
        volume = Volume(name, None, {size}, types, there(outcome), {"made": {"here"}}, content=content)
        if outcome == ACCEPTED:
            volume.id = answer["volume"]["id"]
        self.volumes.append(volume)
        if outcome == ACCEPTED and kind == "create" and self._random.random() < DATA_SHARE:
            self._write(volume)

    def _extend(self, volume: Volume) -> None:
        size = max(volume.sizes) + self._random.randint(1, 2)
        if size > SIZE_MOST_GIB:
            return
        outcome, _ = self._on(volume, "extend", "os-extend", {"new_size": size})
        volume.sizes_ever |= volume.sizes
        volume.sizes = after(outcome, volume.sizes, size)

    def _retype(self, volume: Volume) -> None:
        wanted = self._random.choice(TYPES)
        body = {"new_type": wanted, "migration_policy": "never"}
        outcome, _ = self._on(volume, "retype", "os-retype", body)
        volume.types_ever |= volume.types
        volume.types = after(outcome, volume.types, wanted)

    def _revert(self, volume: Volume) -> None:
        known = [one for one in volume.snapshots if one.id is not None and True in one.there]
        if known:
            snapshot = known[-1]
            outcome, _ = self._on(volume, "revert", "revert", {"snapshot_id": snapshot.id})
            _replaced(volume, snapshot.content, outcome)

    def _kept(self) -> list[Backup]:
        """The backups that are there for certain."""
        return [one for one in self.backups if one.id is not None and one.there == {True}]

    def _back_up(self, volume: Volume) -> None:
        if len(self._kept()) >= BACKUPS_MOST:
            self._drop_backup(volume)
            return
        name = self._name("backup")
        wanted = {"volume_id": volume.id, "name": name, "incremental": self._random.random() < 0.5}
        outcome, answer = self._ask("back_up", name, "POST", "/backups", {"backup": wanted})
        id_ = answer["backup"]["id"] if outcome == ACCEPTED else None
        sizes_ever = volume.sizes | volume.sizes_ever
        backup = Backup(name, id_, set(volume.sizes), there(outcome), volume.content, sizes_ever, volume.name)
        self.backups.append(backup)

    def _restore(self, volume: Volume) -> None:
        """Of any volume's backup into this one."""
        known = [one for one in self._kept() if max(one.sizes) <= min(volume.sizes)]
        if known:
            backup = self._random.choice(known)
            body = {"restore": {"volume_id": volume.id}}
            outcome, _ = self._ask("restore", volume.name, "POST", f"/backups/{backup.id}/restore", body)
            _replaced(volume, backup.content, outcome)

    def _drop_backup(self, _: Volume) -> None:
        if known := self._kept():
            backup = self._random.choice(known)
            outcome, _answer = self._ask("delete_backup", backup.name, "DELETE", f"/backups/{backup.id}")
            backup.there = after(outcome, backup.there, False)

    def _attach(self, volume: Volume) -> None:
        self._attaching.attach(str(volume.id), volume.name)

    def _label(self, volume: Volume) -> None:
        key, value = self._random.choice("abc"), str(self._random.randrange(1000))
        body = {"metadata": {key: value}}
        outcome, _ = self._ask("metadata", volume.name, "POST", f"/volumes/{volume.id}/metadata", body)
        volume.metadata[key] = after(outcome, volume.metadata.get(key, {None}), value)

    def _snapshot(self, volume: Volume) -> None:
        name = self._name("snapshot")
        body = {"snapshot": {"volume_id": volume.id, "name": name}}
        outcome, answer = self._ask("snapshot", name, "POST", "/snapshots", body)
        id_ = answer["snapshot"]["id"] if outcome == ACCEPTED else None
        sizes_ever = volume.sizes | volume.sizes_ever
        snapshot = Snapshot(name, id_, set(volume.sizes), there(outcome), volume.content, sizes_ever)
        volume.snapshots.append(snapshot)

    def _drop_snapshot(self, volume: Volume) -> None:
        known = [one for one in volume.snapshots if one.id is not None and one.there == {True}]
        if known:
            snapshot = self._random.choice(known)
            outcome, _ = self._ask("delete_snapshot", snapshot.name, "DELETE", f"/snapshots/{snapshot.id}")
            snapshot.there = after(outcome, snapshot.there, False)

    def _delete(self, volume: Volume) -> None:
        outcome, _ = self._ask("delete", volume.name, "DELETE", f"/volumes/{volume.id}")
        self._doomed += [volume] * (outcome == ACCEPTED)
        volume.there = after(outcome, volume.there, False)

    def _cascade(self, volume: Volume) -> None:
        outcome, _ = self._ask("cascade", volume.name, "DELETE", f"/volumes/{volume.id}?cascade=true")
        self._doomed += [volume] * (outcome == ACCEPTED)
        volume.there = after(outcome, volume.there, False)
        for snapshot in volume.snapshots:
            snapshot.there = after(outcome, snapshot.there, False)

    def _on(self, volume: Volume, kind: str, action: str, body: object) -> tuple[str, Any]:
        return self._ask(kind, volume.name, "POST", f"/volumes/{volume.id}/action", {action: body})


def _replaced(volume: Volume, content: set[str] | None, outcome: str) -> None:
    """Note that a revert or a restore was asked for, which puts something else in the place of what was there."""
    if outcome in (ACCEPTED, UNKNOWN, BROKEN):
        volume.content_before = volume.content
    if volume.content is None or content is None:
        volume.content = content if outcome == ACCEPTED else volume.content if outcome in CHANGED_NOTHING else None
    elif outcome == ACCEPTED:
        volume.content = set(content)
    elif outcome in (UNKNOWN, BROKEN):
        volume.content = volume.content | content


class Load:
    """Several clients at once."""

    def __init__(
        self, endpoint: str, *, clients: int, seed: int, storage: Path | None = None, backs_up: bool = False
    ) -> None:
        self.clients = [Client(number, endpoint, seed, storage, backs_up=backs_up) for number in range(clients)]
        self._ended = threading.Event()
        self._failed: list[BaseException] = []
        self._threads = [
            threading.Thread(target=self._run, args=(client,), name=f"client-{client.number}", daemon=True)
            for client in self.clients
        ]

    def _run(self, client: Client) -> None:
        try:
            client.run(self._ended.is_set)
        except BaseException as error:
            self._failed.append(error)
            raise

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Every client has its last answer afterwards."""
        self._ended.set()
        for thread in self._threads:
            thread.join(REQUEST_TIMEOUT_S * 2 + PATIENCE_S)
        assert not any(thread.is_alive() for thread in self._threads)
        assert not self._failed, self._failed

    @property
    def asked(self) -> list[Asked]:
        return [one for client in self.clients for one in client.asked]

    @property
    def broken_reads(self) -> list[Asked]:
        """Those that only looked and were answered 5xx."""
        return [one for client in self.clients for one in client.broken_reads]

    @property
    def reads(self) -> Counter[int]:
        """Statuses of the requests that only looked."""
        return sum((client.reads for client in self.clients), Counter())

    def outcomes(self) -> Counter[str]:
        return Counter(one.outcome for one in self.asked)
