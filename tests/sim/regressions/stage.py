"""A database without a cluster around it: transactions run one after another, in the order that a test writes down.

A seed of the simulation means another interleaving as soon as the simulation draws once more or once less. So each bug that
it found is kept here as the interleaving itself, beside the seed that found it.
"""

from collections.abc import Callable
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

import msgspec
from sqlalchemy import Connection, insert, select

from breezeblock.model.ids import Incarnation, MessageId, OperationId, ProjectId, SnapshotId, UserId, VolumeId
from breezeblock.model.origin import Origin
from breezeblock.model.requests import NewSnapshot, NewVolume
from breezeblock.placement import allocate
from breezeblock.protocol import queue
from breezeblock.resources import snapshots, volumes
from breezeblock.store import check
from breezeblock.store.tables import nodes, operations
from breezeblock.testing.database import Database
from breezeblock.work.catalogue import CATALOGUE

P = ParamSpec("P")
T = TypeVar("T")

ME: Final = Incarnation("99999999-9999-4999-8999-999999999999")
QUOTA: Final = {"volumes": 10, "snapshots": 10, "gigabytes": 100}
NOW_US: Final = 1_700_000_000_000_000


class Stage:
    """One empty database with one pool and one node."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._ids = 0
        database.begin_run(now_us=lambda: NOW_US)
        self.run(
            allocate.report,
            name="c@b#p",
            queue="c@b",
            total_gib=100,
            free_gib=100,
            reserved_percentage=0,
            over_subscription_percent=100,
            availability_zone="nova",
            capabilities_json="{}",
            report_seq=None,
            now_us=NOW_US,
        )
        node = {
            "name": "n",
            "cluster": "c",
            "boot_id": ME,
            "state": "up",
            "version": "1",
            "lock_path": "",
            "lock_id": ME,
        }
        self.run(lambda tx: tx.execute(insert(nodes).values(incarnation=ME, keeper_pid=1, started_at_us=0, **node)))

    def run(self, f: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """One transaction."""
        with self._database.transaction() as tx:
            return f(tx, *args, **kwargs)

    def new_id(self) -> str:
        self._ids += 1
        return f"00000000-0000-4000-8000-{self._ids:012d}"

    def origin(self) -> Origin:
        return Origin(
            project_id=ProjectId("red"),
            user_id=UserId("ann"),
            is_admin=True,
            request_id="req-1",
            at_us=NOW_US,
            operation_id=OperationId(self.new_id()),
            message_id=MessageId(self.new_id()),
        )

    def given_volume(self, *, size_gib: int = 1) -> VolumeId:
        id_ = VolumeId(self.new_id())
        wanted = NewVolume(id=id_, size_gib=size_gib)
        self.run(volumes.begin_create, origin=self.origin(), wanted=wanted, quota_defaults=QUOTA)
        self.end(self.claim(), object=f"{id_}.1.1")
        return id_

    def given_snapshot(self, volume_id: VolumeId) -> SnapshotId:
        id_ = SnapshotId(self.new_id())
        wanted = NewSnapshot(id=id_, volume_id=volume_id)
        self.run(snapshots.begin_create, origin=self.origin(), wanted=wanted, quota_defaults=QUOTA)
        self.end(self.claim(), object=f"{id_}.1.1")
        return id_

    def claim(self) -> queue.Claim:
        """Claim the one operation that can be claimed."""
        kinds = dict.fromkeys(CATALOGUE, 1)
        found = self.run(queue.claimable, queue="c@b", kinds=kinds, most=1, attempts=range(9))
        (claimed,) = self.run(queue.claim, wanted=found, incarnation=ME, now_us=NOW_US)
        return claimed

    def end(self, claimed: queue.Claim, **state: Any) -> None:
        """Its Finish."""
        operation = CATALOGUE[claimed.kind]
        payload = msgspec.json.decode(claimed.payload_json, type=operation.payload)
        self.run(operation.finish, claimed, payload, state, now_us=NOW_US)

    def waiting(self) -> int:
        """How many operations there are."""
        return len(self.run(lambda tx: tx.execute(select(operations.c.id)).all()))

    def problems(self) -> list[str]:
        """What `store.check` finds."""
        return self.run(check.problems)
