"""Operations on backups, run for real: transactions on a database in memory, volumes in files, and an archive in memory.

A node may die before or after any of its transactions; another one then takes its operations over, as after a fence.
"""

import asyncio
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Final, TypeVar

import msgspec
from sqlalchemy import Connection
from tests.backup.given import BLOCK, GIB, MemoryStore
from tests.drivers.guards import WithoutLocks
from tests.store.given import NOW_US, QUEUE, UNLIMITED, Base, origin

from breezeblock.backup.contract import ObjectStore
from breezeblock.backup.engine import Shares
from breezeblock.drivers.contract import ObjectName
from breezeblock.drivers.file import FileDriver
from breezeblock.env.real import real_env
from breezeblock.model.ids import BackupId, Incarnation, SnapshotId, VolumeId
from breezeblock.model.requests import NewBackup, NewSnapshot, NewVolume
from breezeblock.node.gate import Gate
from breezeblock.protocol import steps
from breezeblock.protocol.queue import Claim
from breezeblock.protocol.steps import Failure, Run
from breezeblock.resources import backups, cinder_records, restores, snapshots, volumes
from breezeblock.resources.charges import park_unknown
from breezeblock.store import tables
from breezeblock.store.run import Store
from breezeblock.work.archives import Archives, Shelf
from breezeblock.work.catalogue import CATALOGUE
from breezeblock.work.tools import Tools

T = TypeVar("T")

ENV: Final = real_env(max_threads=4)
PROJECT: Final = "p1"


def id_of(kind: int, number: int = 1) -> str:
    """A volume's, backup's or archive's id."""
    return f"{kind:08x}-0000-4000-8000-{number:012x}"


VOLUME, NEW_VOLUME, SNAPSHOT, BACKUP, ARCHIVE = (id_of(kind) for kind in range(1, 6))


class Died(BaseException):
    """The process ended here. Not an Exception: nothing may handle it."""


class Always:
    """The deadline, and the lease, of a node that keeps it."""

    until = float("inf")
    lapses = 0

    def is_open(self) -> bool:
        return True

    async def wait_open(self) -> None:
        return


@dataclass
class Mortal:
    """A node's way to the database. Dies at its nth transaction, before it is committed or after."""

    base: Base
    dies_at: int = 0
    after: bool = False
    count: int = 0

    async def write(self, body: Callable[[Connection], T]) -> T:
        self.count += 1
        if self.count == self.dies_at and not self.after:
            raise Died
        result = await self.base.write(body)
        if self.count == self.dies_at:
            raise Died
        return result

    async def read(self, body: Callable[[Connection], T]) -> T:
        return await self.base.read(body)


@dataclass
class Bench:
    """Use it as a context; `folder` is a test's own."""

    folder: Path
    base: Base = field(default_factory=Base)
    objects: MemoryStore = field(default_factory=MemoryStore)
    cache: Path | None = None
    cinders: dict[str, ObjectStore] = field(default_factory=dict)
    has_forged_rows: bool = False
    """Whether a test has written rows that nobody has asked for: then nobody is charged for them."""

    def __post_init__(self) -> None:
        self.base.pool()
        self.driver = FileDriver(
            ENV.files, name="b", path=PurePosixPath(self.folder / "volumes"), clock=ENV.clock, ids=ENV.ids
        )
        asyncio.run(self.driver.check(known=False))
        self.nodes = 0
        self.shelf = Shelf(self.objects, Shares(ENV.clock), 1, lambda: None)

    # --- nodes -------------------------------------------------------------------------------------------------------

    def work(self, *, dies_at: int = 0, after: bool = False, during: Callable[[], Any] | None = None) -> int:
        """Let a new node do all that there is to do, one after another. Returns how many transactions that took.

        `during` is called after its first transaction: what somebody asks for meanwhile.
        """
        self.nodes += 1
        me = self.base.node(f"node-{self.nodes}")
        lane = Mortal(self.base, dies_at, after)
        asyncio.run(self._work(me, lane, during))
        return lane.count

    def die(self, *, at: int, after: bool) -> bool:
        """Let a new node work and die there, and take away what it has. Whether it came so far."""
        try:
            self.work(dies_at=at, after=after)
        except Died:
            for row in self.base.rows(tables.operations):
                self.base.change(tables.operations, row["id"], owner=None)
            self.base.change(tables.nodes, f"node-{self.nodes}", state="fenced")
            return True
        return False

    async def _work(self, me: Incarnation, lane: Mortal, during: Callable[[], Any] | None) -> None:
        store = Store(lane, ENV)
        while found := self.base.claimable(most=1):
            await self._perform(self.base.claim(found[0], me), store, during)
            during = None

    async def _perform(self, claim: Claim, store: Store, during: Callable[[], Any] | None) -> None:
        operation = CATALOGUE[claim.kind]
        guard = Gate(ENV.clock, Always()).guard({at.resource_id: (at.seq, claim.epoch) for at in claim.locks})
        tools = Tools(
            driver=self.driver.bind(WithoutLocks(guard)),
            clock=ENV.clock,
            continues=True,
            archives=Archives({"default": self.shelf}, ENV, self.cache, self.cinders),
        )
        run = Run(claim, msgspec.json.decode(claim.payload_json, type=operation.payload), tools, store, leaving=_never)
        if during is not None:
            during()
        await steps.execute(operation, run, store, Always(), ENV.clock.now_us)

    def park(self, *, unknown: bool = False) -> None:
        """End what there is to do without doing it: no node serves it, or none understands it."""
        self.nodes += 1
        claim = self.base.claim(self.base.claimable(most=1)[0], self.base.node(f"node-{self.nodes}"))
        if unknown:
            self.base.run(park_unknown, claim, text="Nobody understands it.", now_us=NOW_US)
            return
        fail, payload = CATALOGUE[claim.kind].fail, CATALOGUE[claim.kind].payload
        failure = Failure(message="Nobody serves it.", detail_id="parked", outcome="parked")
        given = {"payload": msgspec.json.decode(claim.payload_json, type=payload), "failure": failure}
        self.base.run(fail, claim, state=msgspec.json.decode(claim.state_json), now_us=NOW_US, **given)

    # --- requests ----------------------------------------------------------------------------------------------------

    def create_volume(self, id_: str = VOLUME, *, size_gib: int = 1) -> None:
        wanted = NewVolume(id=VolumeId(id_), size_gib=size_gib)
        self.base.run(volumes.begin_create, origin=origin(), wanted=wanted, quota_defaults=UNLIMITED)
        self.work()

    def create_snapshot(self) -> None:
        wanted = NewSnapshot(id=SnapshotId(SNAPSHOT), volume_id=VolumeId(VOLUME))
        self.base.run(snapshots.begin_create, origin=origin(), wanted=wanted, quota_defaults=UNLIMITED)
        self.work()

    def back_up(self, id_: str = BACKUP, **asked: Any) -> None:
        """Only the request."""
        given = {"store": "default", "container": "default", "archive_id": ARCHIVE, "volume_id": VolumeId(VOLUME)}
        wanted = NewBackup(id=BackupId(id_), **(given | asked))
        self.base.run(backups.begin_create, origin=origin(), wanted=wanted, quota_defaults=UNLIMITED)

    def delete(self, id_: str = BACKUP, *, force: bool = False) -> None:
        begin = backups.begin_force_delete if force else backups.begin_delete
        self.base.run(begin, origin=origin(), backup_id=BackupId(id_))

    def restore(
        self, id_: str = BACKUP, *, to: str | None = None, restoring: bool = True, skip_damaged: bool = False
    ) -> None:
        """Only the request: to an existing volume, to a new one, or, not `restoring`, of a new one made from the backup."""
        how: dict[str, Any] = {"origin": origin(), "skip_damaged": skip_damaged}
        if to is not None:
            self.base.run(restores.begin_restore, backup_id=BackupId(id_), volume_id=VolumeId(to), **how)
            return
        wanted = NewVolume(id=VolumeId(NEW_VOLUME), backup_id=BackupId(id_))
        how |= {"wanted": wanted, "quota_defaults": UNLIMITED, "restoring": restoring}
        self.base.run(restores.begin_create, **how)

    # --- what is there -----------------------------------------------------------------------------------------------

    def volume(self, id_: str = VOLUME) -> dict[str, Any]:
        return self.base.row(tables.volumes, id_)

    def backup(self, id_: str = BACKUP) -> dict[str, Any]:
        return self.base.row(tables.backups, id_)

    def path(self, id_: str = VOLUME) -> Path:
        """The file that a volume is."""
        name: str = self.volume(id_)["object_name"]
        return self.folder / "volumes" / id_[:2] / name

    def write(self, offset: int, data: bytes, id_: str = VOLUME) -> None:
        """As whoever has attached the volume."""
        with self.path(id_).open("r+b") as file:
            file.seek(offset)
            file.write(data)

    def content(self, id_: str = VOLUME) -> dict[int, bytes]:
        """All blocks of a volume that are not zeros, by number."""
        with self.path(id_).open("rb") as file:
            blocks = {number: _block(file.fileno(), number) for number in _numbers(file.fileno())}
        return {number: data for number, data in blocks.items() if any(data)}

    def files(self) -> set[str]:
        """Every object on the backend's storage, half-made ones too."""
        return {str(name) for name in asyncio.run(self.driver.every_name())}

    def manifests(self) -> set[str]:
        return {key.rpartition("/")[2] for key in self.objects.objects if "/manifests/" in key}

    def pack_states(self) -> dict[str, str]:
        return {row["id"]: row["state"] for row in self.base.rows(tables.packs)}

    def check(self) -> None:
        """What must hold when nothing is under way: *Once*, *Termination*, *Accounts*, and no backup without its data."""
        assert self.base.problems() == []
        assert self.base.rows(tables.operations) == []
        assert self.base.rows(tables.backup_segments) == []
        published = {
            row["object_name"] for table in (tables.volumes, tables.snapshots) for row in self.base.rows(table)
        }
        kept = {row["object_name"] for row in self.base.rows(tables.kept_objects)}
        assert self.files() - kept == {name for name in published if name is not None}
        for row in self.base.rows(tables.backups):
            assert row["pin"] is None
            known = row["manifest"] in self.manifests() or cinder_records.place_of(row) is not None
            assert row["status"] != "available" or known
        packs = self.pack_states()
        assert "pending" not in packs.values()
        assert {pack for pack in self.objects.packs() if pack not in packs} == set()


@contextmanager
def bench(folder: Path) -> Iterator[Bench]:
    """At the end of each test, however its operations ended, every account is the sum of what there is."""
    made = Bench(folder)
    try:
        yield made
        wrong = [] if made.has_forged_rows else made.base.wrong_accounts()
        assert wrong == [], wrong
    finally:
        made.base.close()


def _never() -> bool:
    return False


def _numbers(file: int) -> list[int]:
    """The blocks that may hold data."""
    found: list[int] = []
    offset, end = 0, os.fstat(file).st_size
    while offset < end:
        try:
            offset = os.lseek(file, offset, os.SEEK_DATA)
        except OSError:
            break
        hole = os.lseek(file, offset, os.SEEK_HOLE)
        found += range(offset // BLOCK, -(-hole // BLOCK))
        offset = hole
    return found


def _block(file: int, number: int) -> bytes:
    return os.pread(file, BLOCK, number * BLOCK)


__all__ = [
    "BACKUP",
    "BLOCK",
    "GIB",
    "NEW_VOLUME",
    "QUEUE",
    "SNAPSHOT",
    "VOLUME",
    "Bench",
    "ObjectName",
    "bench",
    "id_of",
]
