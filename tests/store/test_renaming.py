"""Other names for backends and clusters, and the end of backends and nodes: all rows together, or none of them."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.store.given import NOW_US, QUEUE, Base, create_snapshot, create_volume, origin

from breezeblock.model.errors import BadRequest, Conflict, NotFound
from breezeblock.resources import backends, log_levels, renaming, services
from breezeblock.resources.log_levels import Said
from breezeblock.resources.renaming import OF_POOLS, OF_QUEUES, naming
from breezeblock.store import tables
from breezeblock.store.naming import metadata

OTHER = "c@other"


@pytest.fixture
def base() -> Iterator[Base]:
    """A backend `b` whose pool is called like it, with a volume and a snapshot of it, and words of operators. Nobody is up."""
    made = Base()
    made.node()
    made.pool("c@b#b")
    create_volume(made)
    made.change(tables.volumes, "v1", status="available", object_name="v1.1.1")
    made.run(_no_operations)
    create_snapshot(made)
    made.change(tables.snapshots, "s1", status="available", object_name="s1.1.1")
    made.run(_no_operations)
    made.run(backends.introduce, queue=QUEUE, replicates=False)
    made.run(backends.lock_backend, QUEUE)
    asked = {"name": QUEUE, "binary": services.VOLUME, "disabled": True, "reason": "why", "origin": origin()}
    made.run(services.set_cluster, **asked)
    said = {"disabled": True, "disabled_reason": "x"}
    made.add(tables.services, binary=services.VOLUME, host="node-1@b", **said)
    made.add(tables.kept_objects, backup_id="k1", volume_id="v1", queue=QUEUE, object_name="k1.1.1")
    made.add(tables.stray_objects, volume_id="gone", queue=QUEUE, not_before_us=NOW_US)
    group = {"project_id": "p1", "user_id": "u", "status": "available", "group_type_id": "t", "created_at_us": NOW_US}
    made.add(tables.volume_groups, id="g1", tombstone=False, pool_name="c@b#b", **group)
    made.add(tables.quota_usage, project_id="p1", resource="groups", in_use=1)
    for server in ("", QUEUE, "node-1@b", "node-1", "c@other"):
        made.run(log_levels.say, said=Said(binary="", server=server, prefix="", level="DEBUG"))
    made.change(tables.nodes, "node-1", state="gone")
    yield made
    made.close()


def _no_operations(tx: Any) -> None:
    for table in (tables.operation_locks, tables.operations):
        tx.execute(table.delete())


def everything(base: Base) -> dict[str, Any]:
    """All rows, as they are now."""
    return {name: base.rows(table) for name, table in metadata.tables.items()}


def named(base: Base, word: str) -> set[str]:
    """The columns in which a name is anywhere."""
    return {
        f"{name}.{column}"
        for name, rows in everything(base).items()
        for row in rows
        for column, value in row.items()
        if isinstance(value, str) and word in value
    }


def servers(base: Base) -> list[str]:
    """Whom words about log levels are for."""
    return [said.server for said in base.run(log_levels.read)[1]]


def rename(base: Base, before: str = "b", after: str = "fast") -> list[str]:
    return base.run(renaming.rename_backend, cluster="c", before=before, after=after)


def test_a_backend_is_called_otherwise_everywhere(base: Base) -> None:
    """Its words and states come along, its objects keep their names, and doing it again changes nothing."""
    assert named(base, "c@b") | named(base, "@b") == {
        "volumes.pool_name", "snapshots.pool_name", "pools.name", "pools.queue", "backends.queue", "services.host",
        "kept_objects.queue", "nodes.queues_json", "stray_objects.queue", "volume_groups.pool_name",
        "log_levels.said_json",
    }  # fmt: skip
    changed = rename(base)

    assert set(changed) == {
        "1 volumes",
        "1 snapshots",
        "1 pools",
        "1 backends",
        "2 words about services",
        "1 kept objects",
        "1 stray objects",
        "1 volume groups",
        "2 words about log levels",
    }
    assert named(base, "@b") == {"nodes.queues_json"}  # of a node that is gone
    assert servers(base) == ["", "c@fast", "node-1@fast", "node-1", "c@other"]
    assert named(base, "c@fast") == {
        "volumes.pool_name", "snapshots.pool_name", "pools.name", "pools.queue", "backends.queue", "services.host",
        "kept_objects.queue", "stray_objects.queue", "volume_groups.pool_name", "log_levels.said_json",
    }  # fmt: skip
    (pool,) = base.rows(tables.pools)
    assert (pool["name"], pool["queue"], pool["enabled"], pool["allocated_gib"]) == ("c@fast#fast", "c@fast", False, 2)
    (backend,) = base.rows(tables.backends)
    assert backend["id"] == backends.backend_id("c@fast")
    assert base.row(tables.volumes, "v1")["object_name"] == "v1.1.1"
    assert base.problems() == []
    assert rename(base) == []


def test_words_about_what_was_called_so_once_give_way(base: Base) -> None:
    """A backend of the new name was removed long ago, or its nodes have gone."""
    for binary, host in ((services.CLUSTER, "c@fast"), (services.VOLUME, "node-1@fast")):
        base.add(tables.services, binary=binary, host=host, disabled=False)
    rename(base)

    assert {row["host"]: row["disabled"] for row in base.rows(tables.services)} == {"c@fast": True, "node-1@fast": True}


def test_whoever_decides_on_a_volume_meets_the_renaming(base: Base) -> None:
    """By the row's own counter, as every change of it."""
    before = {table.name: base.rows(table)[0]["op_seq"] for table in (tables.volumes, tables.snapshots)}
    rename(base)

    assert {name: base.rows(metadata.tables[name])[0]["op_seq"] for name in before} == {
        name: seq + 1 for name, seq in before.items()
    }


def test_a_cluster_takes_all_its_backends_along(base: Base) -> None:
    """Those of other clusters stay as they are."""
    base.pool("c@other#p")
    base.pool("d@b#b")
    base.run(renaming.rename_cluster, before="c", after="e")

    assert servers(base) == ["", "e@b", "node-1@b", "node-1", "e@other"]
    assert {row["name"] for row in base.rows(tables.pools)} == {"e@b#b", "e@other#p", "d@b#b"}
    assert base.row(tables.volumes, "v1")["pool_name"] == "e@b#b"
    assert base.row(tables.nodes, "node-1")["cluster"] == "e"
    assert base.problems() == []
    assert base.run(renaming.rename_cluster, before="c", after="e") == []


@pytest.mark.parametrize("state", ["up", "draining", "expired"])
def test_a_node_that_may_write_is_in_the_way(base: Base, state: str) -> None:
    """And nothing changes."""
    base.change(tables.nodes, "node-1", state=state)
    before = everything(base)
    asks: tuple[Callable[[], object], ...] = (
        lambda: rename(base),
        lambda: base.run(renaming.rename_cluster, before="c", after="d"),
        lambda: base.run(renaming.remove_node, cluster="c", name="node-1"),
    )
    for asked in asks:
        with pytest.raises(Conflict, match=state):
            asked()

    assert everything(base) == before


def test_work_that_waits_is_in_the_way(base: Base) -> None:
    """Also elsewhere, if it speaks of the backend."""
    create_volume(base, "v2")
    base.change(tables.pools, "c@b#b", enabled=True)
    create_volume(base, "v2b")
    before = everything(base)
    with pytest.raises(Conflict, match="1 operations of c@b"):
        rename(base)
    assert everything(base) == before
    (operation,) = base.rows(tables.operations)
    for elsewhere in ({"payload_json": json.dumps({"to": "c@b#b"})}, {"payload_json": "{}", "needs": QUEUE}):
        base.change(tables.operations, operation["id"], queue=OTHER, **elsewhere)
        with pytest.raises(Conflict, match="1 operations of c@b"):
            rename(base)


def test_a_backend_that_has_failed_over_is_failed_back_first(base: Base) -> None:
    base.change(tables.backends, backends.backend_id(QUEUE), active_backend_id="far", replication_status="failed-over")
    with pytest.raises(Conflict, match="fail it back"):
        rename(base)


def test_names_that_are_taken_or_cannot_be_are_refused(base: Base) -> None:
    base.pool("c@other#p")
    with pytest.raises(Conflict, match="already"):
        rename(base, after="other")
    with pytest.raises(NotFound, match="c@b, c@other"):
        rename(base, before="x")
    for name in ("", "a b", "a@b", "a#b", "a/b", "-a", "a" * 64):
        with pytest.raises(BadRequest, match="Invalid name"):
            rename(base, after=name)


def test_a_backend_with_anything_on_it_stays(base: Base) -> None:
    before = everything(base)
    with pytest.raises(Conflict, match="1 volumes; 1 snapshots; 1 volume_groups; 1 kept_objects; 1 stray_objects"):
        base.run(renaming.remove_backend, cluster="c", name="b")
    assert everything(base) == before


def test_an_empty_backend_goes_and_its_backups_find_another(base: Base) -> None:
    base.pool("c@other#p")
    with base.tx() as tx:
        held = (tables.volumes, tables.snapshots, tables.volume_groups, tables.kept_objects, tables.stray_objects)
        for table in (*held, tables.quota_usage):
            tx.execute(table.delete())
    backup = {"id": "k1", "project_id": "p", "user_id": "u", "volume_id": "v", "status": "available", "size_gib": 1}
    base.add(tables.backups, **backup, store="s", host=QUEUE, created_at_us=NOW_US)
    changed = base.run(renaming.remove_backend, cluster="c", name="b")

    assert set(changed) == {"1 pools", "1 backends", "1 words about services", "1 words about log levels", "1 backups"}
    assert servers(base) == ["", "node-1@b", "node-1", "c@other"]
    assert [row["queue"] for row in base.rows(tables.pools)] == [OTHER]
    assert base.row(tables.backups, "k1")["host"] == OTHER
    with pytest.raises(NotFound):
        base.run(renaming.remove_backend, cluster="c", name="b")


def test_a_node_that_is_dead_is_forgotten(base: Base) -> None:
    """With what was said about its services."""
    base.add(tables.node_backends, incarnation="node-1", queue=QUEUE, fenced_by="x")
    base.node("node-2")
    base.add(
        tables.log_reports, id="r1", binary=services.VOLUME, host="node-1", levels_json="{}", reported_at_us=NOW_US
    )
    base.add(tables.event_receivers, name="nova", holder="node-1")
    base.add(tables.services, binary=services.BACKUP, host="node-1", disabled=True)
    changed = base.run(renaming.remove_node, cluster="c", name="node-1")

    assert set(changed) == {"1 incarnations", "2 words about services", "2 words about log levels"}
    assert servers(base) == ["", QUEUE, "c@other"]
    assert base.rows(tables.log_reports) == []
    assert [row["holder"] for row in base.rows(tables.event_receivers)] == [None]
    assert [row["name"] for row in base.rows(tables.nodes)] == ["node-2"]
    assert base.rows(tables.node_backends) == []
    assert not {"node-1", "node-1@b"} & {row["host"] for row in base.rows(tables.services)}
    with pytest.raises(NotFound, match="node-1"):
        base.run(renaming.remove_node, cluster="c", name="node-1")


def test_what_a_dead_node_owns_is_taken_over_first(base: Base) -> None:
    base.change(tables.pools, "c@b#b", enabled=True)
    create_volume(base, "v2")
    (operation,) = base.rows(tables.operations)
    base.change(tables.operations, operation["id"], owner="node-1")
    with pytest.raises(Conflict, match="1 operations"):
        base.run(renaming.remove_node, cluster="c", name="node-1")


def test_backends_are_listed_with_what_is_on_them(base: Base) -> None:
    base.change(tables.nodes, "node-1", state="up")
    base.pool("c@other#p")
    first, second = base.run(renaming.list_backends)

    assert (first.queue, first.nodes, first.volumes, first.snapshots) == (QUEUE, ["node-1"], 1, 1)
    assert (second.queue, second.nodes, second.volumes, second.allocated_gib) == (OTHER, [], 0, 0)


def test_every_column_that_names_a_place_is_known() -> None:
    """A new table whose column is called otherwise is to be added to one of the lists."""
    found = {f"{column.table.name}.{column.name}" for column in naming(OF_POOLS) + naming(OF_QUEUES)}
    suspects = {
        f"{table.name}.{column.name}"
        for table in metadata.tables.values()
        for column in table.c
        if "pool" in column.name or "queue" in column.name or column.name == "needs"
    }

    assert suspects - found == {
        "pools.queue", "backends.queue", "operations.queue", "operations.needs", "operation_log.queue",
        "driver_locks.queue", "node_backends.queue", "nodes.queues_json",
    }  # fmt: skip
