"""Bugs that the simulation found, each as the interleaving that it was, with the seed that found it."""

import asyncio
from collections.abc import Callable
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import Connection
from tests.sim.regressions.stage import QUOTA, Stage

from breezeblock.drivers.contract import Capabilities, FenceScope
from breezeblock.model.errors import InvalidState, Unavailable
from breezeblock.model.ids import TypeId
from breezeblock.node.gate import Gate
from breezeblock.protocol.queue import DO, Claim
from breezeblock.protocol.steps import Operation, Run, execute
from breezeblock.resources import snapshots, types, volume_changes, volumes
from breezeblock.store.run import Store
from breezeblock.testing.database import Database
from breezeblock.testing.loop import VirtualLoop
from breezeblock.testing.memory_files import MemoryFiles
from breezeblock.testing.virtual import LockFiles, VirtualClock, VirtualEnv, VirtualIds, VirtualThreads
from breezeblock.work.tools import end_removal


@pytest.fixture
def stage(database: Database) -> Stage:
    return Stage(database)


class Page:
    """A lease that holds."""

    until = float("inf")
    lapses = 0


def in_virtual_time(main: Any) -> Any:
    return VirtualLoop(Random(1)).run(main)  # type: ignore[abstract]


def env() -> VirtualEnv:
    random = Random(1)
    return VirtualEnv(
        clock=VirtualClock(),
        random=random,
        ids=VirtualIds(random),
        files=MemoryFiles(),
        processes=LockFiles(),
        threads=VirtualThreads(),
    )


def test_a_gate_that_was_shut_and_opened_while_its_worker_was_stopped_is_open() -> None:
    """Seed 1325, *Termination*: both words waited; a task shut the gate after it had been opened, for good."""

    async def words_that_waited() -> bool:
        gate = Gate(VirtualClock(), Page())
        no_call_is_under_way = asyncio.ensure_future(gate.shut())
        gate.open()
        await no_call_is_under_way
        return gate.is_open()

    assert in_virtual_time(words_that_waited())


class Away:
    """A database that is out of reach for the first calls."""

    def __init__(self, calls: int) -> None:
        self._left = calls

    async def read(self, body: Callable[[Connection], Any]) -> Any:
        self._left -= 1
        if self._left >= 0:
            raise Unavailable("away")
        return "there"

    async def write(self, body: Callable[[Connection], Any]) -> Any:
        raise AssertionError("nothing is written here")


def test_a_read_inside_a_step_waits_for_the_database() -> None:
    """Seed 1367: an outage brought the operation down as if by a mistake, one attempt nearer to being parked."""
    store = Store(Away(calls=50), env())

    assert in_virtual_time(store.insist_read(lambda tx: None)) == "there"


def test_an_extend_is_refused_while_another_one_runs_under_a_reset_status(stage: Stage) -> None:
    """Seed 1167, *Accounts*: the second was charged from the size before the first."""
    volume_id = stage.given_volume(size_gib=1)
    extend = {"volume_id": volume_id, "quota_defaults": QUOTA}
    stage.run(volume_changes.begin_extend, origin=stage.origin(), size_gib_new=3, **extend)  # type: ignore[arg-type]
    stage.run(
        volume_changes.reset_status,
        origin=stage.origin(),
        volume_id=volume_id,
        status="available",
        attach_status=None,
        migration_status=None,
    )

    with pytest.raises(InvalidState, match="still being worked on"):
        stage.run(volume_changes.begin_extend, origin=stage.origin(), size_gib_new=5, **extend)  # type: ignore[arg-type]

    stage.end(stage.claim())
    assert stage.problems() == []


def test_the_last_reader_of_a_deleted_volume_removes_its_tombstone(stage: Stage) -> None:
    """Seed 5004: a snapshot is deleted by force while its volume goes in a cascade; the volume's tombstone stayed."""
    volume_id = stage.given_volume()
    snapshot_id = stage.given_snapshot(volume_id)
    stage.run(volumes.begin_delete, origin=stage.origin(), volume_id=volume_id, cascade=True)
    cascade = stage.claim()
    stage.run(snapshots.begin_force_delete, origin=stage.origin(), snapshot_id=snapshot_id)

    stage.end(cascade)
    stage.end(stage.claim())

    assert stage.waiting() == 0
    assert stage.problems() == []


def test_a_deletion_that_may_be_half_done_is_not_cancelled() -> None:
    """Seed 211, *Once*: its node died after the object was gone; cancelled since, the volume stayed without its object."""
    ended: list[str] = []

    async def resumed() -> None:
        operation = Operation(
            kind="delete_volume",
            version=1,
            payload=dict,
            steps=(),
            finish=lambda *args, **kwargs: ended.append("finished"),
            fail=lambda *args, **kwargs: ended.append("failed"),
        )
        store = Store(Present(), env())
        run: Run[Any, Any] = Run(claimed(epoch=3, cancel=True), {}, None, store, leaving=lambda: False)
        await execute(operation, run, store, Gate(VirtualClock(), Page()), lambda: 0)

    in_virtual_time(resumed())

    assert ended == ["finished"]


def test_who_may_not_update_a_snapshot_is_told_the_status_that_it_has(stage: Stage) -> None:
    """Seed 4014, *Order*: a snapshot that was being restored was said to have the status that had been asked for."""
    volume_id = stage.given_volume()
    snapshot_id = stage.given_snapshot(volume_id)
    stage.run(volume_changes.begin_revert, origin=stage.origin(), volume_id=volume_id, snapshot_id=snapshot_id)

    with pytest.raises(InvalidState, match="has status restoring, which cannot be updated from outside"):
        stage.run(
            snapshots.update_status, origin=stage.origin(), snapshot_id=snapshot_id, status="creating", progress=None
        )


def test_a_type_that_only_a_snapshot_still_has_stays(stage: Stage) -> None:
    """Seed 2258093095 with fence and crash alone, *Accounts*: its volume was retyped, the type deleted, its own unknown."""
    gold = TypeId(stage.new_id())
    made: dict[str, Any] = {"name": "gold", "description": None, "is_public": True, "extra_specs": {}}
    stage.run(types.create_type, type_id=gold, origin=stage.origin(), **made)
    volume_id = stage.given_volume()
    retype = {"volume_id": volume_id, "migration_policy": "never", "quota_defaults": QUOTA}
    stage.run(volume_changes.begin_retype, origin=stage.origin(), new_type=gold, **retype)  # type: ignore[arg-type]
    stage.end(stage.claim())
    snapshot_id = stage.given_snapshot(volume_id)
    stage.run(volume_changes.begin_retype, origin=stage.origin(), new_type="__DEFAULT__", **retype)  # type: ignore[arg-type]
    stage.end(stage.claim())

    with pytest.raises(InvalidState, match="still in use"):
        stage.run(types.delete_type, type_id=gold, origin=stage.origin())
    assert stage.problems() == []

    stage.run(snapshots.begin_delete, origin=stage.origin(), snapshot_id=snapshot_id)
    stage.end(stage.claim())
    stage.run(types.delete_type, type_id=gold, origin=stage.origin())
    assert stage.problems() == []


def test_a_removal_that_was_saved_is_no_progress_of_the_next_claim() -> None:
    """Seed 2430456528, *Termination*: a cascade saved its snapshot's removal 240 times, and died of its volume's each time."""
    saved: list[Any] = []

    class Replicated:
        tools = SimpleNamespace(
            driver=SimpleNamespace(capabilities=Capabilities(fence=FenceScope.NONE, replication=("secondary",)))
        )
        state: dict[str, Any] = {}  # noqa: RUF012  of one run

        async def record(self, **changes: Any) -> None:
            saved.append(changes)
            self.state |= changes

    async def two_claims() -> None:
        run: Any = Replicated()
        for _ in range(2):
            await end_removal(run, "snapshot")

    in_virtual_time(two_claims())

    assert saved == [{"removed": ["snapshot"]}]


class Present:
    """A database in which every transaction happens, on no rows."""

    async def read(self, body: Callable[[Any], Any]) -> Any:
        return body(Nothing())

    async def write(self, body: Callable[[Any], Any]) -> Any:
        return body(Nothing())


class Nothing:
    """A connection whose statements match one row."""

    rowcount = 1

    def execute(self, *args: object) -> "Nothing":
        return self

    def scalar(self) -> None:
        return None


def claimed(**different: Any) -> Claim:
    columns: dict[str, Any] = dict.fromkeys(Claim.__slots__, "")
    columns |= {"direction": DO, "step": None, "state_json": "{}", "failure_json": None, "locks": (), "attempt": 0}
    return Claim(**(columns | different))
