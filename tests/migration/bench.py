"""Two backends in one process: transactions on a database in memory, volumes in files.

A node may die before or after any of its transactions; another one then takes its operations over, as after a fence.
"""

import asyncio
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Final

import msgspec
from tests.backup.bench import ENV, Always, Died, Mortal, id_of
from tests.backup.given import BLOCK, GIB
from tests.drivers.guards import WithoutLocks
from tests.store.given import NOW_US, UNLIMITED, Base, origin

from breezeblock.drivers.file import FileDriver
from breezeblock.model.errors import BackendFailed
from breezeblock.model.ids import Incarnation, SnapshotId, VolumeId
from breezeblock.model.requests import NewSnapshot, NewVolume
from breezeblock.node.gate import Gate
from breezeblock.protocol import queue, steps
from breezeblock.protocol.queue import Claim
from breezeblock.protocol.steps import Failure, Run
from breezeblock.resources import migrations, snapshots, strays, volume_changes, volumes
from breezeblock.resources.charges import park_unknown
from breezeblock.store import tables
from breezeblock.store.run import Store
from breezeblock.work.catalogue import CATALOGUE
from breezeblock.work.tools import Tools

OLD, NEW = "c@old", "c@new"
OLD_POOL, NEW_POOL = f"{OLD}#p", f"{NEW}#p"
KINDS: Final = {kind: operation.version for kind, operation in CATALOGUE.items()}
VOLUME, OTHER, SNAPSHOT = id_of(1), id_of(1, 2), id_of(3)
SIZE_GIB: Final = 2


@dataclass
class Bench:
    """`folder` is a test's own. `refuses` are the backends whose storage deletes nothing."""

    folder: Path
    base: Base = field(default_factory=Base)
    refuses: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.base.volume_type("plain")
        self.base.volume_type("quick", extra_specs_json='{"quick": "true"}')
        self.base.pool(OLD_POOL, total_gib=10, over_subscription_percent=100)
        self.base.pool(
            NEW_POOL, total_gib=10, over_subscription_percent=100, capabilities_json='{"quick": "true"}', enabled=False
        )
        self.base.node("watcher", queues_json=json.dumps([OLD, NEW]))
        self.drivers = {name: self._driver(name) for name in (OLD, NEW)}
        self.nodes = 0

    def _driver(self, name: str) -> FileDriver:
        bench = self

        class Driver(FileDriver):
            """As storage that is full of trouble."""

            async def delete(self, *args: Any, **more: Any) -> None:
                if name in bench.refuses:
                    raise BackendFailed("The storage deletes nothing.")
                await super().delete(*args, **more)

        path = PurePosixPath(self.folder / name)
        driver = Driver(ENV.files, name=name.partition("@")[2], path=path, clock=ENV.clock, ids=ENV.ids)
        asyncio.run(driver.check(known=False))
        return driver

    # --- nodes -------------------------------------------------------------------------------------------------------

    def work(self, *, dies_at: int = 0, after: bool = False, during: Callable[[], Any] | None = None) -> int:
        """Let a new node do all that there is to do. Returns how many transactions that took.

        `during` is called when its first operation has been claimed: what somebody asks for meanwhile.
        """
        self.nodes += 1
        me = self.base.node(f"node-{self.nodes}", queues_json=json.dumps([OLD, NEW]))
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

    def claimable(self, *, serves: tuple[str, ...] = (OLD, NEW)) -> list[str]:
        """What a node of these backends could claim."""
        how = {"kinds": KINDS, "most": 9, "attempts": range(100), "serves": serves}
        return [one.operation_id for name in serves for one in self.base.run(queue.claimable, queue=name, **how)]

    async def _work(self, me: Incarnation, lane: Mortal, during: Callable[[], Any] | None) -> None:
        store = Store(lane, ENV)
        while found := self.claimable():
            await self._perform(self.base.claim(found[0], me), store, during)
            during = None

    async def _perform(self, claim: Claim, store: Store, during: Callable[[], Any] | None) -> None:
        operation = CATALOGUE[claim.kind]
        guard = Gate(ENV.clock, Always()).guard({at.resource_id: (at.seq, claim.epoch) for at in claim.locks})
        driver = self.drivers[claim.queue].bind(WithoutLocks(guard))
        source = None if claim.needs is None else self.drivers[claim.needs]
        tools = Tools(driver, ENV.clock, continues=True, source=None if source is None else lambda target: source)
        payload = msgspec.json.decode(claim.payload_json, type=operation.payload)
        run = Run(claim, payload, tools, store, leaving=lambda: False)
        if during is not None:
            during()
        await steps.execute(operation, run, store, Always(), ENV.clock.now_us)

    def park(self, *, unknown: bool = False) -> None:
        """End what there is to do without doing it: no node serves it, or none understands it."""
        self.nodes += 1
        claim = self.base.claim(self.claimable()[0], self.base.node(f"node-{self.nodes}"))
        if unknown:
            self.base.run(park_unknown, claim, text="Nobody understands it.", now_us=NOW_US)
            return
        fail, payload = CATALOGUE[claim.kind].fail, CATALOGUE[claim.kind].payload
        failure = Failure(message="Nobody serves it.", detail_id="parked", outcome="parked")
        given = {"payload": msgspec.json.decode(claim.payload_json, type=payload), "failure": failure}
        self.base.run(fail, claim, state=msgspec.json.decode(claim.state_json), now_us=NOW_US, **given)

    def tidy(self) -> None:
        """Later: what was left behind is due, and the storages delete again."""
        self.refuses.clear()
        self.base.now_us += 2 * strays.TRY_AGAIN_US
        while self.base.run(strays.begin_due, origin=origin(), queues=(OLD, NEW)) is not None:
            self.work()

    # --- requests ----------------------------------------------------------------------------------------------------

    def create_volume(self, id_: str = VOLUME) -> None:
        """On the old backend; from then on the new one takes volumes, too."""
        wanted = NewVolume(id=VolumeId(id_), size_gib=SIZE_GIB, volume_type="plain")
        self.base.run(volumes.begin_create, origin=origin(), wanted=wanted, quota_defaults=UNLIMITED)
        self.work()
        self.base.change(tables.pools, NEW_POOL, enabled=True)

    def create_snapshot(self) -> None:
        wanted = NewSnapshot(id=SnapshotId(SNAPSHOT), volume_id=VolumeId(VOLUME))
        self.base.run(snapshots.begin_create, origin=origin(), wanted=wanted, quota_defaults=UNLIMITED)
        self.work()

    def migrate(self, to: str = NEW, *, lock: bool = False) -> None:
        """Only the request."""
        asked: dict[str, Any] = {"volume_id": VolumeId(VOLUME), "destination": to, "lock_volume": lock}
        self.base.run(migrations.begin_migrate, origin=origin(), **asked)

    def retype(self, to: str = "quick", policy: str = "on-demand") -> None:
        """Only the request."""
        asked: dict[str, Any] = {"volume_id": VolumeId(VOLUME), "new_type": to, "migration_policy": policy}
        self.base.run(volume_changes.begin_retype, origin=origin(), quota_defaults=UNLIMITED, **asked)

    def reset(self, **said: str | None) -> None:
        words: dict[str, Any] = {"status": None, "attach_status": None, "migration_status": None} | said
        self.base.run(volume_changes.reset_status, origin=origin(), volume_id=VolumeId(VOLUME), **words)

    def force_delete(self) -> None:
        self.base.run(volumes.begin_force_delete, origin=origin(), volume_id=VolumeId(VOLUME), cascade=False)

    # --- what is there -----------------------------------------------------------------------------------------------

    def volume(self) -> dict[str, Any]:
        return self.base.row(tables.volumes, VOLUME)

    def states(self) -> tuple[str, str | None, str]:
        """Status, migration status and pool of the volume."""
        row = self.volume()
        return row["status"], row["migration_status"], row["pool_name"]

    def path(self) -> Path:
        """The file that the volume is."""
        row = self.volume()
        return self.folder / str(row["pool_name"]).partition("#")[0] / VOLUME[:2] / str(row["object_name"])

    def write(self, marks: Mapping[int, bytes]) -> None:
        """As whoever had attached the volume."""
        with self.path().open("r+b") as file:
            for offset, data in marks.items():
                file.seek(offset)
                file.write(data)

    def holds(self, marks: Mapping[int, bytes]) -> bool:
        """Whether the volume is these bytes among zeros, looked at where they are and beside that."""
        path = self.path()
        with path.open("rb") as file:
            for offset, data in marks.items():
                file.seek(offset)
                if file.read(BLOCK) != data.ljust(BLOCK, b"\0"):
                    return False
            file.seek(BLOCK)
            return path.stat().st_size == SIZE_GIB * GIB and file.read(BLOCK) == bytes(BLOCK)

    def files(self, name: str) -> set[str]:
        """Every object on a backend, half-made ones too."""
        return {str(one) for one in asyncio.run(self.drivers[name].every_name())}

    def messages(self) -> list[str]:
        return [row["user_message"] for row in self.base.rows(tables.messages)]

    def check(self) -> None:
        """What must hold when nothing is under way, and nothing was left behind."""
        assert self.base.problems() == []
        assert self.base.rows(tables.operations) == []
        assert self.base.rows(tables.stray_objects) == []
        for name in (OLD, NEW):
            here = [row for row in self.base.rows(tables.volumes) if str(row["pool_name"]).partition("#")[0] == name]
            kept = [row for row in self.base.rows(tables.snapshots) if str(row["pool_name"]).partition("#")[0] == name]
            assert self.files(name) == {str(row["object_name"]) for row in (*here, *kept)}


@contextmanager
def bench(folder: Path) -> Iterator[Bench]:
    """At the end of each test, however its operations ended, every account is the sum of what there is."""
    made = Bench(folder)
    try:
        yield made
        assert made.base.wrong_accounts() == []
    finally:
        made.base.close()
