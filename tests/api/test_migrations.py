"""Volumes that are to move to another backend: what the API takes, answers and refuses."""

from typing import Any

import pytest
from tests.api.builders import NODE, POOL, POOL_NAME, QUEUE
from tests.api.world import Api

from breezeblock.store import tables

ADMIN = "admin:admin"
OTHER = "breezeblock@other"
OTHER_POOL = f"{OTHER}#pool"
NOBODY = "99999999-9999-4999-8999-999999999999"


@pytest.fixture
def two(api: Api) -> Api:
    """A second backend, and a node that serves both."""
    api.insert(tables.pools, {**POOL, "name": OTHER_POOL, "queue": OTHER, "capabilities_json": '{"disk": "fast"}'})
    of_both = {"incarnation": "44444444-4444-4444-4444-444444444444", "name": "node-2"}
    api.insert(
        tables.nodes,
        {**NODE, **of_both, "queues_json": f'["{QUEUE}", "{OTHER}"]', "kinds_json": '{"migrate_volume": 1}'},
    )
    return api


def migrate(api: Api, volume_id: str, body: Any, *, version: str = "3.0", token: str = ADMIN) -> Any:
    return api("POST", f"/v3/volumes/{volume_id}/action", {"os-migrate_volume": body}, version=version, token=token)


@pytest.mark.parametrize(
    ("version", "body", "status"),
    [
        ("3.0", {"host": OTHER}, "available"),
        ("3.0", {"host": OTHER_POOL, "force_host_copy": "True", "lock_volume": "false"}, "available"),
        ("3.0", {"host": "node-2@other#pool", "lock_volume": True}, "maintenance"),
        ("3.16", {"cluster": OTHER}, "available"),
        ("3.71", {"host": None, "cluster": OTHER_POOL, "lock_volume": "on"}, "maintenance"),
        ("3.16", {"host": OTHER, "cluster": None}, "available"),
    ],
)
def test_a_migration_is_accepted(two: Api, version: str, body: Any, status: str) -> None:
    volume_id = two.given_volume(charged_gib=1)

    answer = migrate(two, volume_id, body, version=version)

    assert (answer.status_code, answer.content) == (202, b"")
    row = two.row(tables.volumes, volume_id)
    assert (row["status"], row["migration_status"], row["pool_name"]) == (status, "starting", POOL_NAME)
    (operation,) = two.rows(tables.operations)
    assert (operation["kind"], operation["queue"], operation["needs"]) == ("migrate_volume", OTHER, QUEUE)
    assert two.bell.rung == [OTHER]


@pytest.mark.parametrize(
    ("version", "body", "says"),
    [
        ("3.0", {}, "host"),
        ("3.0", {"host": ""}, "expected a host"),
        ("3.0", {"host": None}, "os-migrate_volume.host"),
        ("3.15", {"cluster": OTHER}, "cluster"),
        ("3.16", {}, "expected a host"),
        ("3.16", {"host": OTHER, "cluster": OTHER}, "and not both"),
        ("3.16", {"host": OTHER, "to": 1}, "to"),
        ("3.0", {"host": OTHER, "lock_volume": "maybe"}, "lock_volume"),
        ("3.0", {"host": "h" * 256}, "os-migrate_volume.host"),
        ("3.0", {"host": "nowhere@none"}, "No available service named 'nowhere@none'"),
        ("3.0", {"host": QUEUE}, "already"),
    ],
)
def test_a_wrong_destination_is_named(two: Api, version: str, body: Any, says: str) -> None:
    volume_id = two.given_volume()

    answer = migrate(two, volume_id, body, version=version)

    assert answer.status_code == 400
    assert says in answer.json()["badRequest"]["message"]
    assert two.count(tables.operations) == 0


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"status": "in-use", "attach_status": "attached"}, "in use"),
        ({"status": "error"}, "has status error; it must be available"),
        ({"migration_status": "migrating"}, "being migrated"),
    ],
)
def test_what_cannot_be_moved_is_refused(two: Api, given: Any, says: str) -> None:
    volume_id = two.given_volume(**given)

    answer = migrate(two, volume_id, {"host": OTHER})

    assert answer.status_code == 400
    assert says in answer.json()["badRequest"]["message"]


def test_a_volume_with_snapshots_is_refused(two: Api) -> None:
    volume_id = two.given_volume()
    two.given("snapshots", volume_id=volume_id)

    assert migrate(two, volume_id, {"host": OTHER}).status_code == 400


def test_migrating_is_for_administrators(two: Api) -> None:
    volume_id = two.given_volume()

    assert migrate(two, volume_id, {"host": OTHER}, token="user:p1").status_code == 403
    assert migrate(two, NOBODY, {"host": OTHER}).status_code == 404


def test_no_room_is_an_error_with_a_message(two: Api) -> None:
    """Accepted all the same, as clients expect; the volume stays what it was."""
    volume_id = two.given_volume(charged_gib=20_000)

    assert migrate(two, volume_id, {"host": OTHER}).status_code == 202

    row = two.row(tables.volumes, volume_id)
    assert (row["status"], row["migration_status"]) == ("available", "error")
    (message,) = two.rows(tables.messages)
    assert "may promise 10000 GiB more" in message["user_message"]
    assert two.count(tables.operations) == 0


def test_administrators_see_the_migration(two: Api) -> None:
    volume_id = two.given_volume(migration_status="migrating")

    shown = two("GET", f"/v3/volumes/{volume_id}", token=ADMIN).json()["volume"]
    users = two("GET", f"/v3/volumes/{volume_id}").json()["volume"]

    assert (shown["migration_status"], shown["os-vol-mig-status-attr:migstat"]) == ("migrating", "migrating")
    assert "os-vol-mig-status-attr:name_id" in shown
    assert users.keys().isdisjoint({"migration_status", "os-vol-mig-status-attr:migstat"})


def test_a_reset_of_its_column_ends_a_migration(two: Api) -> None:
    volume_id = two.given_volume(charged_gib=1)
    migrate(two, volume_id, {"host": OTHER, "lock_volume": True})

    body = {"os-reset_status": {"migration_status": "none"}}
    answer = two("POST", f"/v3/volumes/{volume_id}/action", body, token=ADMIN)

    assert answer.status_code == 202
    row = two.row(tables.volumes, volume_id)
    assert (row["status"], row["migration_status"]) == ("available", None)
    (operation,) = two.rows(tables.operations)
    assert operation["cancel"]


@pytest.mark.parametrize("token", ["user:p1", ADMIN])
def test_a_type_elsewhere_moves_the_volume_on_demand(two: Api, token: str) -> None:
    two.insert(
        tables.volume_types, {"id": NOBODY, "name": "fast", "created_at_us": 1, "extra_specs_json": '{"disk": "fast"}'}
    )
    volume_id = two.given_volume(charged_gib=1)

    body = {"os-retype": {"new_type": "fast", "migration_policy": "on-demand"}}
    answer = two("POST", f"/v3/volumes/{volume_id}/action", body, token=token)

    assert answer.status_code == 202
    row = two.row(tables.volumes, volume_id)
    assert (row["status"], row["migration_status"], row["target_pool_name"]) == ("retyping", "starting", OTHER_POOL)
    (operation,) = two.rows(tables.operations)
    assert (operation["kind"], operation["queue"]) == ("migrate_volume", OTHER)


# --- completion -------------------------------------------------------------------------------------------------------


def complete(api: Api, volume_id: str, new: Any, *, token: str = ADMIN, **more: Any) -> Any:
    body = {"os-migrate_volume_completion": {"new_volume": new, **more}}
    return api("POST", f"/v3/volumes/{volume_id}/action", body, token=token)


@pytest.mark.parametrize("error", [{}, {"error": False}, {"error": True}, {"error": None}, {"error": "no"}])
def test_a_copy_that_the_compute_service_made_has_its_own_id(api: Api, error: Any) -> None:
    old, new = api.given_volume(), api.given_volume()

    answer = complete(api, old, new, **error)

    assert (answer.status_code, answer.json()) == (200, {"save_volume_id": new})


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (None, "target:x", "Source volume"),
        ("migrating", None, "Destination volume"),
        ("migrating", "migrating", "expected: target:"),
    ],
)
def test_a_migration_that_is_none_is_not_completed(api: Api, old: Any, new: Any, says: str) -> None:
    ids = api.given_volume(migration_status=old), api.given_volume(migration_status=new)

    answer = complete(api, *ids)

    assert answer.status_code == 400
    assert says in answer.json()["badRequest"]["message"]


@pytest.mark.parametrize(
    ("new", "more", "token", "status"),
    [(NOBODY, {}, ADMIN, 404), (NOBODY, {}, "user:p1", 403), ("x", {}, ADMIN, 400), (NOBODY, {"no": 1}, ADMIN, 400)],
)
def test_a_wrong_completion_is_refused(api: Api, new: str, more: Any, token: str, status: int) -> None:
    assert complete(api, api.given_volume(), new, token=token, **more).status_code == status


# --- zones ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def north(two: Api) -> Api:
    """The second backend is in another zone than the first, which is in the default one."""
    far = {"name": "breezeblock@far#pool", "queue": "breezeblock@far", "availability_zone": "north"}
    two.insert(tables.pools, {**POOL, **far, "total_gib": 100_000})
    return two


def create(api: Api, **asked: Any) -> Any:
    return api("POST", "/v3/volumes", {"volume": asked})


@pytest.mark.parametrize(("asked", "zone"), [({}, "nova"), ({"availability_zone": "north"}, "north")])
def test_a_volume_is_in_the_default_zone_or_in_the_one_it_asks_for(north: Api, asked: Any, zone: str) -> None:
    """However much more room there is elsewhere."""
    answer = create(north, size=1, **asked)

    assert (answer.status_code, answer.json()["volume"]["availability_zone"]) == (202, zone)
    assert {row["availability_zone"] for row in north.rows(tables.pools) if row["allocated_gib"]} == {zone}


def test_a_zone_that_is_none_is_refused(north: Api) -> None:
    answer = create(north, size=1, availability_zone="south")

    assert answer.status_code == 400
    assert "'south' is not one of: north, nova" in answer.json()["badRequest"]["message"]


@pytest.mark.parametrize(("zone", "status"), [(None, 202), ("north", 202), ("nova", 400)])
def test_a_volume_stays_in_the_zone_of_its_source(north: Api, zone: str | None, status: int) -> None:
    """Which may be another than the default one."""
    source = north.given_volume(pool_name="breezeblock@far#pool", availability_zone="north")

    answer = create(north, source_volid=source, availability_zone=zone)

    assert answer.status_code == status, answer.text
    if status == 202:
        assert answer.json()["volume"]["availability_zone"] == "north"
    else:
        assert "must be in the same zone" in answer.json()["badRequest"]["message"]


def test_a_volume_is_not_moved_out_of_its_zone(north: Api) -> None:
    """Its user has chosen that."""
    volume_id = north.given_volume(charged_gib=1)
    of_all = {"incarnation": "55555555-5555-4555-8555-555555555555", "name": "node-3"}
    north.insert(tables.nodes, {**NODE, **of_all, "queues_json": f'["{QUEUE}", "breezeblock@far"]'})

    assert migrate(north, volume_id, {"host": "breezeblock@far"}).status_code == 202

    assert north.row(tables.volumes, volume_id)["migration_status"] == "error"
    assert "is in availability zone north" in north.rows(tables.messages)[0]["user_message"]
