"""Two transactions beside each other on a real server, or on two nodes of a Galera cluster: whatever their order, what must
hold holds. Each of these was wrong once, but the first, which is what it is all about.

They run where `BREEZEBLOCK_TEST_DATABASE` names servers. On SQLite there are no two transactions at once.
"""

from typing import Any

import pytest
from sqlalchemy import Connection, event, select
from tests.databases import urls
from tests.store.beside import Body, beside, insist
from tests.store.given import (
    NOW_US,
    POOL,
    QUEUE,
    UNLIMITED,
    Base,
    available_volume,
    create_volume,
    new_snapshot,
    note,
    origin,
)

from breezeblock.model.errors import Fenced, NotFound, Rejected
from breezeblock.model.ids import AttachmentId, TypeId, VolumeId
from breezeblock.node.reports import _report
from breezeblock.protocol import membership, queue
from breezeblock.protocol.queue import Lock
from breezeblock.resources import attachments, quotas, services, snapshots, types, volume_changes, volumes
from breezeblock.store import tables

pytestmark = pytest.mark.skipif(
    not urls(), reason="takes two transactions at once: BREEZEBLOCK_TEST_DATABASE names servers"
)


def test_a_volume_is_deleted_or_gets_a_snapshot_but_not_both(base: Base) -> None:
    """Who asks for snapshots of a volume, and who makes one, write the volume's row first."""
    available_volume(base)

    deleted, taken, _ = beside(
        base,
        lambda tx: volumes.begin_delete(tx, origin=origin(), volume_id=VolumeId("v1"), cascade=False),
        lambda tx: snapshots.begin_create(
            tx, origin=origin(operation_id="o2"), wanted=new_snapshot(), quota_defaults=UNLIMITED
        ),
    )

    assert isinstance(deleted, Rejected) != isinstance(taken, Rejected)
    assert base.problems() == []


def test_two_first_charges_of_a_project_both_count(base: Base) -> None:
    """The one makes the row of both between the other's update, which misses it, and its look."""
    wanted = {"volumes": 1, "gigabytes": 2}

    with base.database.beside() as mine, base.database.beside() as other:
        seen = list[str]()

        @event.listens_for(mine, "before_cursor_execute")
        def between(*args: Any) -> None:
            if str(args[2]).startswith("SELECT quota_usage.resource") and not seen:
                seen.append(args[2])
                insist(other, lambda tx: quotas.charge(tx, P1, {"snapshots": 1, "gigabytes": 3}, defaults=UNLIMITED))

        insist(mine, lambda tx: quotas.charge(tx, P1, wanted, defaults=UNLIMITED))

    assert len(seen) == 1
    assert base.accounts() == {"volumes": 1, "snapshots": 1, "gigabytes": 5}


P1 = origin().project_id


def test_a_type_is_renamed_beside_a_refund(base: Base) -> None:
    """The refund is made where the charge was."""
    id_ = TypeId("7a4f1c9e-0000-4000-8000-000000000001")
    base.volume_type(id_)
    base.pool(total_gib=0)
    create_volume(base, volume_type=id_)  # in error, for want of a pool: its deletion ends at once

    beside(
        base,
        lambda tx: types.update_type(
            tx, type_id=id_, name="silver", description=None, is_public=None, origin=origin(is_admin=True)
        ),
        lambda tx: volumes.begin_delete(tx, origin=origin(), volume_id=VolumeId("v1"), cascade=False),
    )

    assert base.accounts() == {}
    assert base.problems() == []


def test_two_who_fence_the_last_two_backends_end_the_fencing(base: Base) -> None:
    """Each of them saw the other's backend unfenced, and neither was in the other's way."""
    lost = base.node("lost", state="expired", queues_json='["c@x", "c@y"]')
    for name in ("c@x", "c@y"):
        base.add(tables.node_backends, incarnation="lost", queue=name)

    def fenced(name: str) -> Body:
        what = note()
        return lambda tx: membership.record_backend_fenced(
            tx, incarnation=lost, queue=name, method="storage", note=what
        )

    beside(base, fenced("c@x"), fenced("c@y"))

    assert base.row(tables.nodes, "lost")["state"] == "fenced"


def test_a_step_of_a_node_that_was_expired_meanwhile_does_not_count(base: Base) -> None:
    """Its guard finds the epoch saved already: it has to write all the same."""
    me = base.node()
    claim = base.claim(base.enqueue(Lock("v", 1, exclusive=True)))
    base.run(queue.guard, claim)
    base.add(tables.quota_usage, project_id="p", resource="written", in_use=0)

    def step(tx: Connection) -> None:
        queue.guard(tx, claim)
        tx.execute(tables.quota_usage.update().values(in_use=1))

    expiry = note()
    written, expired, overtaken = beside(
        base, step, lambda tx: membership.expire(tx, incarnation=me, heartbeat=1, fencer=None, note=expiry)
    )

    assert expired is True
    assert isinstance(written, Fenced) is overtaken
    assert base.accounts().get("written", 0) == (not overtaken)


@pytest.mark.parametrize("word_first", [True, False])
def test_the_first_report_of_a_pool_hears_what_is_said_beside_it(base: Base, word_first: bool) -> None:
    """No pool is there that the word could close, and no word that the report could hear."""
    base.node()
    bodies = [say_disabled, report_first]

    beside(base, *(bodies if word_first else reversed(bodies)))

    with base.tx() as tx:
        assert tx.execute(select(tables.pools.c.name, tables.pools.c.enabled)).all() == [(POOL, False)]


def say_disabled(tx: Connection) -> None:
    services.set_cluster(
        tx, name=QUEUE, binary=services.VOLUME, disabled=True, reason=None, origin=origin(is_admin=True)
    )


def report_first(tx: Connection) -> None:
    _report(
        tx,
        queue=QUEUE,
        replicates=False,
        starting=False,
        name=POOL,
        total_gib=10,
        free_gib=10,
        reserved_percentage=0,
        over_subscription_percent=100,
        availability_zone="nova",
        capabilities_json="{}",
        report_seq=None,
        now_us=NOW_US,
    )


def test_a_cascade_beside_the_end_of_a_snapshot_is_not_refused_for_it(base: Base) -> None:
    """The snapshot was seen, and has gone when its row is to be locked: nobody has asked for that one by name."""
    base.node()
    base.pool()
    create_volume(base)
    snapshot = {
        "volume_id": "v1",
        "size_gib": 1,
        "project_id": "p1",
        "user_id": "u",
        "created_at_us": 1,
        "pool_name": POOL,
    }
    base.add(tables.snapshots, id="s1", status="error", **snapshot)
    base.change(tables.volumes, "v1", status="available", object_name="v1.1.1")

    _, refused, _ = beside(
        base,
        lambda tx: tx.execute(tables.snapshots.delete()),
        lambda tx: volumes.begin_delete(tx, origin=origin(operation_id="o2"), volume_id=VolumeId("v1"), cascade=True),
    )

    assert not isinstance(refused, NotFound)
    assert base.row(tables.volumes, "v1")["status"] == "deleting"


def test_what_is_reserved_beside_an_operator_s_word_that_it_is_detached_goes_too(base: Base) -> None:
    """The volume had no attachment when the word began."""
    available_volume(base)
    wanted = attachments.NewAttachment(id=AttachmentId("a1"), volume_id=VolumeId("v1"), instance_uuid="i1")
    said = {"status": "available", "attach_status": "detached", "migration_status": None}

    _, _, overtaken = beside(
        base,
        lambda tx: attachments.begin_create(tx, origin=origin(), wanted=wanted),
        lambda tx: volume_changes.reset_status(tx, origin=origin(is_admin=True), volume_id=VolumeId("v1"), **said),
    )

    assert len(base.rows(tables.attachments)) == overtaken
    assert base.problems() == []
