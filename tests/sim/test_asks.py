"""What is asked for in simulations: all that the API can change, mostly of what fits; and all is opened again at the end."""

from collections import Counter
from random import Random
from typing import Any

import pytest
from sqlalchemy import insert, select, update
from tests.sim.regressions.stage import ME, NOW_US, Stage

from breezeblock.api.routes import ROUTES
from breezeblock.model import states
from breezeblock.protocol.queue import FAILOVER
from breezeblock.resources import backend_changes, backends, services
from breezeblock.store import tables
from breezeblock.testing.aims import FITTING, Aims
from breezeblock.testing.asks import CALLS
from breezeblock.testing.database import Database
from breezeblock.testing.orders import put_right
from breezeblock.testing.run import Failed, simulate

# What changes something, by the function that its handler runs, and which request asks for it here.
ASKED_BY = {
    "POST volumes": "create_volume",
    "PUT volumes/{volume_id}": "edit_volume",
    "DELETE volumes/{volume_id}": "delete_volume",
    "POST volumes/{volume_id}/action os-extend": "extend",
    "POST volumes/{volume_id}/action os-retype": "retype",
    "POST volumes/{volume_id}/action os-reset_status": "reset_status",
    "POST volumes/{volume_id}/action os-force_delete": "force_delete",
    "POST volumes/{volume_id}/action os-set_bootable": "edit_volume",
    "POST volumes/{volume_id}/action os-update_readonly_flag": "edit_volume",
    "POST volumes/{volume_id}/action revert": "revert",
    "POST volumes/{volume_id}/action os-migrate_volume": "migrate",
    "POST volumes/{volume_id}/action os-unmanage": "unmanage_volume",
    "POST os-volume-manage": "manage_volume",
    "POST manageable_volumes": "manage_volume",
    "POST os-snapshot-manage": "manage_snapshot",
    "POST manageable_snapshots": "manage_snapshot",
    "POST snapshots/{snapshot_id}/action os-unmanage": "unmanage_snapshot",
    "POST volumes/{volume_id}/metadata": "edit_volume",
    "PUT volumes/{volume_id}/metadata": "edit_volume",
    "PUT volumes/{volume_id}/metadata/{key}": "edit_volume",
    "DELETE volumes/{volume_id}/metadata/{key}": "edit_volume",
    "POST attachments": "attach",
    "PUT attachments/{attachment_id}": "connect",
    "DELETE attachments/{attachment_id}": "detach",
    "POST attachments/{attachment_id}/action os-complete": "complete",
    "POST volumes/{volume_id}/action os-reserve": "old_word",
    "POST volumes/{volume_id}/action os-unreserve": "old_word",
    "POST volumes/{volume_id}/action os-begin_detaching": "old_word",
    "POST volumes/{volume_id}/action os-roll_detaching": "old_word",
    "POST volumes/{volume_id}/action os-attach": "old_attach",
    "POST volumes/{volume_id}/action os-detach": "old_detach",
    "POST volumes/{volume_id}/action os-force_detach": "old_detach",
    "POST volumes/{volume_id}/action os-initialize_connection": "old_connection",
    "POST volumes/{volume_id}/action os-terminate_connection": "old_connection",
    "POST snapshots": "create_snapshot",
    "PUT snapshots/{snapshot_id}": "edit_snapshot",
    "DELETE snapshots/{snapshot_id}": "delete_snapshot",
    "POST snapshots/{snapshot_id}/action os-force_delete": "force_delete_snapshot",
    "POST snapshots/{snapshot_id}/action os-reset_status": "reset_snapshot_status",
    "POST snapshots/{snapshot_id}/action os-update_snapshot_status": "update_snapshot_status",
    "POST snapshots/{snapshot_id}/metadata": "edit_snapshot",
    "PUT snapshots/{snapshot_id}/metadata": "edit_snapshot",
    "PUT snapshots/{snapshot_id}/metadata/{key}": "edit_snapshot",
    "DELETE snapshots/{snapshot_id}/metadata/{key}": "edit_snapshot",
    "POST types": "make_type",
    "PUT types/{type_id}": "change_type",
    "DELETE types/{type_id}": "delete_type",
    "POST types/{type_id}/action addProjectAccess": "change_type",
    "POST types/{type_id}/action removeProjectAccess": "change_type",
    "POST types/{type_id}/extra_specs": "change_type",
    "PUT types/{type_id}/extra_specs/{key}": "change_type",
    "DELETE types/{type_id}/extra_specs/{key}": "change_type",
    "PUT os-quota-sets/{owner}": "change_quota",
    "DELETE os-quota-sets/{owner}": "change_quota",
    "PUT os-quota-class-sets/{owner}": "change_quota",
    "DELETE messages/{message_id}": "delete_message",
    "PUT os-services/enable": "switch_service",
    "PUT os-services/disable": "switch_service",
    "PUT os-services/disable-log-reason": "switch_service",
    "PUT os-services/fence": "fence_by_hand",
    "PUT os-services/freeze": "freeze",
    "PUT os-services/thaw": "thaw",
    "PUT os-services/failover_host": "failover",
    "PUT os-services/failover": "failover",
    "POST workers/cleanup": "clean_up",
    "PUT clusters/enable": "switch_cluster",
    "PUT clusters/disable": "switch_cluster",
    "POST backups": "create_backup",
    "PUT backups/{backup_id}": "edit_backup",
    "DELETE backups/{backup_id}": "delete_backup",
    "POST backups/{backup_id}/restore": "restore",
    "POST backups/{backup_id}/action os-force_delete": "force_delete_backup",
    "POST backups/{backup_id}/action os-reset_status": "reset_backup_status",
    "POST group_types": "change_group_type",
    "PUT group_types/{group_type_id}": "change_group_type",
    "DELETE group_types/{group_type_id}": "change_group_type",
    "POST group_types/{group_type_id}/group_specs": "change_group_type",
    "PUT group_types/{group_type_id}/group_specs/{key}": "change_group_type",
    "DELETE group_types/{group_type_id}/group_specs/{key}": "change_group_type",
    "POST groups": "create_group",
    "POST groups/action create-from-src": "create_from_group",
    "PUT groups/{group_id}": "change_group",
    "POST groups/{group_id}/action delete": "delete_group",
    "POST groups/{group_id}/action reset_status": "reset_group_status",
    "POST group_snapshots": "create_group_snapshot",
    "DELETE group_snapshots/{group_snapshot_id}": "delete_group_snapshot",
    "POST group_snapshots/{group_snapshot_id}/action reset_status": "reset_group_snapshot_status",
    # The same transactions, under their older names.
    "POST consistencygroups": "create_group",
    "POST consistencygroups/create_from_src": "create_from_group_snapshot",
    "PUT consistencygroups/{group_id}": "change_group",
    "PUT consistencygroups/{group_id}/update": "change_group",
    "POST consistencygroups/{group_id}/delete": "delete_group",
    "POST cgsnapshots": "create_group_snapshot",
    "DELETE cgsnapshots/{group_snapshot_id}": "delete_group_snapshot",
}
# What no client of the simulation asks for yet. The list only shrinks.
NOT_ASKED = {
    "POST backups/import_record",
    # Transfers: one transaction each, and raced on real databases.
    "POST volume-transfers",
    "DELETE volume-transfers/{transfer_id}",
    "POST volume-transfers/{transfer_id}/accept",
    "POST os-volume-transfer",
    "DELETE os-volume-transfer/{transfer_id}",
    "POST os-volume-transfer/{transfer_id}/accept",
    # One transaction each, and none of them has an operation.
    "PUT default-types/{owner}",
    "DELETE default-types/{owner}",
    "POST qos-specs",
    "PUT qos-specs/{qos_id}",
    "PUT qos-specs/{qos_id}/delete_keys",
    "DELETE qos-specs/{qos_id}",
    "POST types/{type_id}/encryption",
    "PUT types/{type_id}/encryption/{encryption_id}",
    "DELETE types/{type_id}/encryption/{encryption_id}",
    "POST volumes/{volume_id}/action os-set_image_metadata",
    "POST volumes/{volume_id}/action os-unset_image_metadata",
    "POST volumes/{volume_id}/action os-show_image_metadata",  # it changes nothing
    # What processes log, which no row says.
    "PUT os-services/get-log",
    "PUT os-services/set-log",
    # By hosts, as by `os-services/enable` and its kind.
    "PUT os-hosts/{host}",
    # There is no service for images: always refused.
    "POST volumes/{volume_id}/action os-reimage",
    "POST volumes/{volume_id}/action os-volume_upload_image",
    "POST volumes/{volume_id}/action os-migrate_volume_completion",  # it changes nothing
    "POST volumes/{volume_id}/action os-extend_volume_completion",
    # They are always refused, and change nothing.
    "POST groups/{group_id}/action enable_replication",
    "POST groups/{group_id}/action disable_replication",
    "POST groups/{group_id}/action failover_replication",
    "POST groups/{group_id}/action list_replication_targets",
}


def test_all_that_the_api_can_change_is_asked_for() -> None:
    changing = set()
    for route in ROUTES:
        if route.method != "GET":
            words = [f" {action}" for action in route.actions or ()] or [""]
            changing |= {f"{route.method} {route.template}{word}" for word in words}

    assert changing >= NOT_ASKED
    assert changing - NOT_ASKED == ASKED_BY.keys()
    assert set(ASKED_BY.values()) <= CALLS.keys()


@pytest.fixture
def stage(database: Database) -> Stage:
    return Stage(database)


def latest(database: Database, what: str) -> set[str]:
    aims = Aims(Random(1), database.raw)
    return {one[0] for one in (aims.one(what) for _ in range(20)) if one is not None}


def test_requests_are_aimed_at_what_they_fit(stage: Stage, database: Database) -> None:
    bare, parent = stage.given_volume(), stage.given_volume()
    old, new = stage.given_snapshot(parent), stage.given_snapshot(parent)

    assert latest(database, "usable") == latest(database, "growing") == {bare, parent}
    assert latest(database, "disposable") == {bare}
    assert latest(database, "parent") == {parent}
    assert latest(database, "source") == latest(database, "spare") == {old, new}
    assert latest(database, "latest") == {max(old, new)}
    assert (
        latest(database, "unwell")
        == latest(database, "unwell snapshot")
        == latest(database, "moving snapshot")
        == set()
    )

    stage.run(
        lambda tx: tx.execute(update(tables.volumes).where(tables.volumes.c.id == bare).values(status="error_deleting"))
    )
    assert latest(database, "unwell") == latest(database, "disposable") == {bare}
    assert latest(database, "usable") == {parent}


def test_every_aim_is_a_question_that_the_database_can_answer(stage: Stage, database: Database) -> None:
    for what in FITTING:
        assert latest(database, what) == set()


def test_what_operators_have_closed_is_opened_again(stage: Stage) -> None:
    queue = "c@b"
    served: dict[str, Any] = {"queues_json": f'["{queue}"]', "kinds_json": "{}"}
    stage.run(lambda tx: tx.execute(update(tables.nodes).where(tables.nodes.c.incarnation == ME).values(**served)))
    stage.run(backend_changes.freeze, host=None, cluster=queue, origin=stage.origin())
    host = {"binary": services.VOLUME, "host": "n@b", "disabled": True, "reason": "drill", "own_cluster": "c"}
    stage.run(services.set_service, **host, origin=stage.origin())  # type: ignore[arg-type]
    cluster = {"name": queue, "binary": services.VOLUME, "disabled": True, "reason": None}
    stage.run(services.set_cluster, **cluster, origin=stage.origin())  # type: ignore[arg-type]
    stage.run(
        lambda tx: tx.execute(
            insert(tables.services).values(binary=services.VOLUME, host="gone@b", disabled=True, updated_at_us=NOW_US)
        )
    )
    assert not stage.run(services.is_enabled, queue=queue)

    stage.run(put_right, as_operator=stage.origin)

    assert stage.run(services.is_enabled, queue=queue)
    assert stage.run(lambda tx: tx.execute(select(tables.pools.c.enabled)).scalars().all()) == [True]
    assert stage.run(lambda tx: tx.execute(select(tables.backends.c.frozen)).scalars().all()) == [False]


@pytest.mark.parametrize(("active", "target"), [(None, "default"), ("far", "far")])
def test_where_a_failover_failed_the_side_in_use_is_asked_for_again(
    stage: Stage, active: str | None, target: str
) -> None:
    """The array may have changed sides all the same, and takes nothing on the one that the service knows."""
    queue = "c@b"
    served = {"queues_json": f'["{queue}"]', "kinds_json": f'{{"{FAILOVER}": 1}}'}
    reported = {"capabilities_json": f'{{"{backend_changes.TARGETS}": "far"}}'}
    stage.run(lambda tx: tx.execute(update(tables.nodes).where(tables.nodes.c.incarnation == ME).values(**served)))
    stage.run(lambda tx: tx.execute(update(tables.pools).where(tables.pools.c.queue == queue).values(**reported)))
    stage.run(backends.introduce, queue=queue, replicates=True)
    failed = {"replication_status": states.REPLICATION_ERROR, "active_backend_id": active}
    stage.run(lambda tx: tx.execute(update(tables.backends).values(**failed)))

    stage.run(put_right, as_operator=stage.origin)

    asked = stage.run(lambda tx: tx.execute(select(tables.operations.c.kind, tables.operations.c.payload_json)).all())
    ((kind, payload),) = asked
    assert kind == FAILOVER
    assert f'"target":"{target}"' in payload
    stage.run(put_right, as_operator=stage.origin)
    assert len(stage.run(lambda tx: tx.execute(select(tables.operations.c.id)).all())) == 1, "it is under way"


def test_a_pool_that_stays_closed_is_found_out(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever thaws or enables forgets the pools."""
    monkeypatch.setattr(services, "apply_words", lambda tx, queue: None)
    fell: Counter[str] = Counter()
    for seed in range(60):
        try:
            simulate(seed, database=database, only=[])
        except Failed as failed:
            fell.update(one.partition(":")[0] for one in failed.violations)
            break

    assert fell["Words"] > 0
