"""Backups: one request, one answer."""

import base64
import json
from typing import Any

import pytest
from tests.api import keys
from tests.api.builders import POOL, QUEUE, START_US
from tests.api.world import Api

from breezeblock.store import tables

ADMIN = "admin:p1"
NOBODY = "99999999-9999-9999-9999-999999999999"


def backup_of(api: Api, volume_id: str, version: str = "3.0", **asked: Any) -> Any:
    return api("POST", "/v3/backups", {"backup": {"volume_id": volume_id} | asked}, version=version)


@pytest.mark.parametrize("token", ["user:p1", ADMIN])
@pytest.mark.parametrize("minor", [0, 17, 18, 42, 43, 55, 56, 71])
def test_each_version_has_its_keys(api: Api, minor: int, token: str) -> None:
    backup_id = api.given("backups")

    shown = api("GET", f"/v3/backups/{backup_id}", version=f"3.{minor}", token=token).json()["backup"]
    listed = api("GET", "/v3/backups/detail", version=f"3.{minor}", token=token).json()["backups"][0]
    short = api("GET", "/v3/backups", version=f"3.{minor}", token=token).json()["backups"][0]

    assert set(shown) == keys.names(keys.BACKUP, minor=minor, admin=token == ADMIN, attributes=True)
    assert listed == shown
    assert set(short) == keys.BACKUP_SUMMARY
    assert not keys.wrong_types(keys.BACKUP, shown)


def test_create_answers_with_the_backup_and_rings(api: Api) -> None:
    volume_id = api.given_volume(size_gib=3)

    answer = backup_of(api, volume_id, "3.51", name=" b ", description="d", metadata={"k": "v"}, container="shelf")

    assert answer.status_code == 202, answer.text
    made = answer.json()["backup"]
    assert set(made) == keys.BACKUP_SUMMARY
    assert made["links"][0]["href"] == f"http://here:8776/v3/backups/{made['id']}"
    row = api.row(tables.backups, made["id"])
    assert (row["name"], row["description"], row["size_gib"], row["volume_id"]) == ("b", "d", 3, volume_id)
    assert (row["status"], row["metadata_json"], row["container"]) == ("creating", '{"k":"v"}', "shelf")
    assert (row["store"], row["host"], row["availability_zone"]) == ("default", QUEUE, "nova")
    assert row["data_timestamp_us"] == row["created_at_us"]
    volume = api.row(tables.volumes, volume_id)
    assert (volume["status"], volume["previous_status"]) == ("backing-up", "available")
    assert api.bell.rung == [QUEUE]


@pytest.mark.parametrize(
    ("backup", "version", "status"),
    [
        ({"volume_id": NOBODY}, "3.0", 404),
        ({"volume_id": NOBODY, "snapshot_id": NOBODY}, "3.0", 404),
        ({"volume_id": "x"}, "3.0", 400),
        ({"volume_id": None}, "3.0", 400),
        ({}, "3.0", 400),
        ({"volume_id": NOBODY, "force": "maybe"}, "3.0", 400),
        ({"volume_id": NOBODY, "incremental": "maybe"}, "3.0", 400),
        ({"volume_id": NOBODY, "odd": 1}, "3.0", 400),
        ({"volume_id": NOBODY, "metadata": {}}, "3.42", 400),
        ({"volume_id": NOBODY, "metadata": {}}, "3.43", 404),
        ({"volume_id": NOBODY, "availability_zone": "nova"}, "3.50", 400),
        ({"volume_id": NOBODY, "availability_zone": "nova"}, "3.51", 404),
        ({"volume_id": NOBODY, "availability_zone": "moon"}, "3.51", 400),
        ({"volume_id": NOBODY, "name": "n" * 256}, "3.0", 400),
    ],
)
def test_a_new_backup_that_cannot_be(api: Api, backup: dict[str, Any], version: str, status: int) -> None:
    answer = api("POST", "/v3/backups", {"backup": backup}, version=version)

    assert answer.status_code == status, answer.text
    assert api.count(tables.backups) == 0


@pytest.mark.parametrize(
    ("status", "force", "answered"),
    [
        ("available", False, 202),
        ("available", True, 202),
        ("in-use", False, 400),
        ("in-use", True, 202),
        ("backing-up", True, 400),
        ("creating", True, 400),
        ("deleting", True, 400),
        ("error", True, 400),
        ("extending", True, 400),
        ("restoring-backup", True, 400),
        ("maintenance", True, 400),
    ],
)
def test_which_volumes_are_backed_up(api: Api, status: str, force: bool, answered: int) -> None:
    volume_id = api.given_volume(status=status)

    answer = backup_of(api, volume_id, force=force)

    assert answer.status_code == answered, answer.text
    assert api.row(tables.volumes, volume_id)["status"] == ("backing-up" if answered == 202 else status)


@pytest.mark.parametrize(
    ("status", "answered"), [("available", 202), ("creating", 400), ("deleting", 400), ("error", 400)]
)
def test_which_snapshots_are_backed_up(api: Api, status: str, answered: int) -> None:
    """The volume may be in use, or anything: nothing of it is read. The data is as old as the snapshot."""
    volume_id = api.given_volume(status="in-use", size_gib=5)
    snapshot_id = api.given("snapshots", volume_id=volume_id, status=status, size_gib=2, created_at_us=START_US + 7)

    answer = backup_of(api, volume_id, snapshot_id=snapshot_id)

    assert answer.status_code == answered, answer.text
    assert api.row(tables.volumes, volume_id)["status"] == "in-use"
    assert api.row(tables.snapshots, snapshot_id)["status"] == status
    assert [(row["size_gib"], row["data_timestamp_us"]) for row in api.rows(tables.backups)] == (
        [(2, START_US + 7)] if answered == 202 else []
    )


def test_a_snapshot_of_another_volume_is_refused(api: Api) -> None:
    snapshot_id = api.given("snapshots", volume_id=api.given_volume())

    answer = backup_of(api, api.given_volume(), snapshot_id=snapshot_id)

    assert answer.status_code == 400
    assert "is not of volume" in answer.json()["badRequest"]["message"]


def test_an_incremental_needs_a_backup_of_the_same_project(api: Api) -> None:
    volume_id = api.given_volume()
    api.given("backups", volume_id=volume_id, project_id="p2")
    api.given("backups", volume_id=volume_id, status="error")
    api.given("backups", volume_id=NOBODY)

    answer = backup_of(api, volume_id, incremental=True)

    assert answer.status_code == 400
    assert api.row(tables.volumes, volume_id)["status"] == "available"
    assert api.count(tables.quota_usage) == 0


def test_an_incremental_follows_the_latest_data(api: Api) -> None:
    volume_id = api.given_volume()
    api.given("backups", volume_id=volume_id, created_at_us=START_US + 9)
    latest = api.given("backups", volume_id=volume_id, data_timestamp_us=START_US + 1)

    made = backup_of(api, volume_id, incremental=True).json()["backup"]["id"]

    assert api.row(tables.backups, made)["parent_id"] == latest
    assert api("GET", f"/v3/backups/{made}").json()["backup"]["is_incremental"] is True
    shown = api("GET", f"/v3/backups/{latest}").json()["backup"]
    assert (shown["is_incremental"], shown["has_dependent_backups"]) == (False, True)


def test_an_incremental_of_a_snapshot_follows_older_data_only(api: Api) -> None:
    volume_id = api.given_volume()
    older = api.given("backups", volume_id=volume_id)
    api.given("backups", volume_id=volume_id, data_timestamp_us=START_US + 9)
    snapshot_id = api.given("snapshots", volume_id=volume_id, created_at_us=START_US + 5)

    made = backup_of(api, volume_id, incremental=True, snapshot_id=snapshot_id).json()["backup"]["id"]

    assert api.row(tables.backups, made)["parent_id"] == older


@pytest.mark.parametrize("resource", ["backups", "backup_gigabytes"])
def test_a_backup_beyond_the_quota_is_refused(api: Api, resource: str) -> None:
    volume_id = api.given_volume(size_gib=3)
    limit = {"backups": 0, "backup_gigabytes": 2}[resource]
    api.insert(tables.quotas, {"project_id": "p1", "resource": resource, "hard_limit": limit})

    answer = backup_of(api, volume_id)

    assert answer.status_code == 413
    assert resource in answer.json()["overLimit"]["message"]
    assert api.row(tables.volumes, volume_id)["status"] == "available"


def test_a_backup_is_charged_and_shown_in_the_limits(api: Api) -> None:
    backup_of(api, api.given_volume(size_gib=3))

    absolute = api("GET", "/v3/p1/limits").json()["limits"]["absolute"]

    assert (absolute["totalBackupsUsed"], absolute["totalBackupGigabytesUsed"]) == (1, 3)


@pytest.mark.parametrize(
    ("status", "answered"),
    [
        ("available", 202),
        ("error", 202),
        ("error_deleting", 202),
        ("creating", 400),
        ("deleting", 400),
        ("restoring", 400),
    ],
)
def test_which_backups_are_deleted(api: Api, status: str, answered: int) -> None:
    backup_id = api.given("backups", status=status)

    answer = api("DELETE", f"/v3/backups/{backup_id}")

    assert answer.status_code == answered, answer.text
    assert api.row(tables.backups, backup_id)["status"] == ("deleting" if answered == 202 else status)
    assert api.bell.rung == ([QUEUE] if answered == 202 else [])


def test_a_backup_that_others_were_incremental_to_is_deleted(api: Api) -> None:
    backup_id = api.given("backups")
    api.given("backups", parent_id=backup_id)

    assert api("DELETE", f"/v3/backups/{backup_id}").status_code == 202


def test_a_backup_of_a_backend_that_is_gone_is_deleted_by_another(api: Api) -> None:
    backup_id = api.given("backups", host="breezeblock@gone")

    api("DELETE", f"/v3/backups/{backup_id}")

    assert api.bell.rung == [QUEUE]


@pytest.mark.parametrize(
    ("before", "body", "token", "status", "after"),
    [
        ("error", {"os-reset_status": {"status": "available"}}, ADMIN, 202, "available"),
        ("creating", {"os-reset_status": {"status": "error"}}, ADMIN, 202, "error"),
        ("error", {"os-reset_status": {"status": "available"}}, "user:p1", 403, "error"),
        ("error", {"os-reset_status": {}}, ADMIN, 400, "error"),
        ("error", {"os-reset_status": {"status": "restoring"}}, ADMIN, 400, "error"),
        ("creating", {"os-force_delete": {}}, ADMIN, 202, "deleting"),
        ("restoring", {"os-force_delete": {}}, ADMIN, 202, "deleting"),
        ("available", {"os-force_delete": {}}, "user:p1", 403, "available"),
    ],
)
def test_actions(api: Api, before: str, body: Any, token: str, status: int, after: str) -> None:
    backup_id = api.given("backups", status=before)

    answer = api("POST", f"/v3/backups/{backup_id}/action", body, token=token)

    assert answer.status_code == status, answer.text
    assert api.row(tables.backups, backup_id)["status"] == after


def test_a_backup_without_data_cannot_be_reset_to_available(api: Api) -> None:
    backup_id = api.given("backups", status="error", manifest=None)

    answer = api("POST", f"/v3/backups/{backup_id}/action", {"os-reset_status": {"status": "available"}}, token=ADMIN)

    assert answer.status_code == 400
    assert api.row(tables.backups, backup_id)["status"] == "error"


def test_update_changes_what_was_sent(api: Api) -> None:
    backup_id = api.given("backups", description="old")
    body = {"backup": {"name": " new ", "metadata": {"a": "b"}}}

    early = api("PUT", f"/v3/backups/{backup_id}", body, version="3.42")
    answer = api("PUT", f"/v3/backups/{backup_id}", body, version="3.43")
    nothing = api("PUT", f"/v3/backups/{backup_id}", {"backup": {}}, version="3.43")
    oldest = api("PUT", f"/v3/backups/{backup_id}", {"backup": {"name": "x"}}, version="3.8")

    assert (early.status_code, answer.status_code, nothing.status_code, oldest.status_code) == (400, 200, 400, 404)
    assert answer.json()["backup"]["name"] == "new"
    row = api.row(tables.backups, backup_id)
    assert (row["name"], row["description"], row["metadata_json"]) == ("new", "old", '{"a":"b"}')


# --- restores --------------------------------------------------------------------------------------------------------


def test_a_restore_makes_a_volume_of_the_same_size(api: Api) -> None:
    backup_id = api.given("backups", size_gib=4)

    answer = api("POST", f"/v3/backups/{backup_id}/restore", {"restore": {}})

    assert answer.status_code == 202, answer.text
    restore = answer.json()["restore"]
    assert (restore["backup_id"], restore["volume_name"]) == (backup_id, f"restore_backup_{backup_id}")
    volume = api.row(tables.volumes, restore["volume_id"])
    assert (volume["size_gib"], volume["status"], volume["project_id"]) == (4, "restoring-backup", "p1")
    backup = api.row(tables.backups, backup_id)
    assert (backup["status"], backup["restore_volume_id"]) == ("restoring", restore["volume_id"])
    assert api.bell.rung == [QUEUE]


@pytest.mark.parametrize(
    ("backup", "volume", "answered"),
    [
        ("available", {"status": "available", "size_gib": 2}, 202),
        ("available", {"status": "available", "size_gib": 3}, 202),
        ("available", {"status": "available", "size_gib": 1}, 400),
        ("available", {"status": "in-use", "size_gib": 2}, 400),
        ("available", {"status": "error", "size_gib": 2}, 400),
        ("available", {"status": "restoring-backup", "size_gib": 2}, 400),
        ("available", {"status": "available", "size_gib": 2, "project_id": "p2"}, 404),
        ("creating", {"status": "available", "size_gib": 2}, 400),
        ("restoring", {"status": "available", "size_gib": 2}, 400),
        ("error", {"status": "available", "size_gib": 2}, 400),
    ],
)
def test_which_volumes_take_a_restore(api: Api, backup: str, volume: dict[str, Any], answered: int) -> None:
    backup_id, volume_id = api.given("backups", status=backup, size_gib=2), api.given_volume(**volume)

    answer = api("POST", f"/v3/backups/{backup_id}/restore", {"restore": {"volume_id": volume_id}})

    assert answer.status_code == answered, answer.text
    row = api.row(tables.volumes, volume_id)
    assert row["status"] == ("restoring-backup" if answered == 202 else volume["status"])
    assert api.row(tables.backups, backup_id)["status"] == ("restoring" if answered == 202 else backup)


def test_a_restore_that_no_pool_can_take_is_refused(api: Api) -> None:
    backup_id = api.given("backups", size_gib=20_000)

    answer = api("POST", f"/v3/backups/{backup_id}/restore", {"restore": {}})

    assert answer.status_code == 400
    assert api.count(tables.volumes) == 0
    assert api.row(tables.backups, backup_id)["status"] == "available"


def test_any_number_of_volumes_are_made_of_a_backup(api: Api) -> None:
    """The backup shows nothing of it."""
    backup_id = api.given("backups", size_gib=2)

    made = [
        api("POST", "/v3/volumes", {"volume": {"backup_id": backup_id, "size": size}}, version="3.47").json()["volume"]
        for size in (2, 3)
    ]

    assert [(one["status"], one["size"]) for one in made] == [("creating", 2), ("creating", 3)]
    assert api.row(tables.backups, backup_id)["status"] == "available"


@pytest.mark.parametrize(
    ("volume", "version", "answered"),
    [
        ({"size": 1}, "3.47", 400),
        ({"size": 2, "snapshot_id": NOBODY}, "3.47", 400),
        ({"size": 2, "backup_id": NOBODY}, "3.47", 404),
        ({}, "3.47", 202),
        ({"size": 1}, "3.46", 202),
    ],
)
def test_a_volume_from_a_backup_that_cannot_be(api: Api, volume: dict[str, Any], version: str, answered: int) -> None:
    """Before 3.47 the key says nothing."""
    backup_id = api.given("backups", size_gib=2)

    answer = api("POST", "/v3/volumes", {"volume": {"backup_id": backup_id} | volume}, version=version)

    assert answer.status_code == answered, answer.text


def test_a_volume_from_a_backup_has_the_type_and_the_zone_that_are_asked_for(api: Api) -> None:
    """Wherever the backup is kept, and wherever what it is of was."""
    api.insert(tables.volume_types, {"id": NOBODY, "name": "gold", "created_at_us": START_US})
    api.insert(tables.pools, POOL | {"name": f"{QUEUE}#up", "availability_zone": "upstairs"})
    backup_id = api.given("backups", store="far", availability_zone="attic")
    asked = {"backup_id": backup_id, "volume_type": "gold", "availability_zone": "upstairs", "size": 3}

    made = api("POST", "/v3/volumes", {"volume": asked}, version="3.47").json()["volume"]
    nowhere = api("POST", "/v3/volumes", {"volume": asked | {"availability_zone": "attic"}}, version="3.47")
    untyped = api("POST", "/v3/volumes", {"volume": asked | {"volume_type": "silver"}}, version="3.47")

    assert (made["volume_type"], made["availability_zone"], made["size"]) == ("gold", "upstairs", 3)
    assert api.row(tables.volumes, made["id"])["pool_name"] == f"{QUEUE}#up"
    assert (nowhere.status_code, untyped.status_code) == (400, 404)


def test_a_name_beside_a_volume_changes_nothing(api: Api) -> None:
    """As in Cinder: it is that of a new one."""
    backup_id, volume_id = api.given("backups"), api.given_volume(name="mine")

    answer = api("POST", f"/v3/backups/{backup_id}/restore", {"restore": {"volume_id": volume_id, "name": "other"}})

    assert answer.json()["restore"] == {"backup_id": backup_id, "volume_id": volume_id, "volume_name": "mine"}
    assert api.row(tables.volumes, volume_id)["name"] == "mine"


# --- zones -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("zone", "asked", "expected"),
    [
        ("nova", {}, ("default", "default", "nova")),
        ("attic", {}, ("far", "far", "attic")),
        ("attic", {"container": "shelf"}, ("far", "shelf", "attic")),
        ("attic", {"container": "default"}, ("default", "default", "nova")),
        ("attic", {"availability_zone": "nova"}, ("default", "default", "nova")),
        ("nova", {"availability_zone": "attic"}, ("far", "far", "attic")),
        ("moon", {}, ("default", "default", "nova")),
    ],
)
def test_a_backup_is_kept_in_its_volumes_zone(
    api: Api, zone: str, asked: dict[str, str], expected: tuple[str, str, str]
) -> None:
    """Unless something else is said, or there is no store in it."""
    answer = backup_of(api, api.given_volume(availability_zone=zone), "3.51", **asked)

    row = api.row(tables.backups, answer.json()["backup"]["id"])
    assert (row["store"], row["container"], row["availability_zone"]) == expected
    (operation,) = api.rows(tables.operations)
    assert json.loads(operation["payload_json"])["store"] == expected[0]


@pytest.mark.parametrize(
    ("parents", "asked", "store"),
    [
        ("far", {}, "far"),
        ("far", {"container": "default"}, "default"),
        ("gone", {}, "default"),
        ("cinders", {}, "default"),
    ],
)
def test_an_incremental_is_kept_where_its_parent_is(api: Api, parents: str, asked: dict[str, str], store: str) -> None:
    """There it finds what need not be stored again; another one is of the whole volume."""
    volume_id = api.given_volume()
    api.given("backups", volume_id=volume_id, store=parents)

    answer = backup_of(api, volume_id, "3.51", incremental=True, **asked)

    assert api.row(tables.backups, answer.json()["backup"]["id"])["store"] == store


# --- export ----------------------------------------------------------------------------------------------------------


def test_an_export_tells_where_the_data_is(api: Api) -> None:
    backup_id = api.given("backups", metadata_json='{"a":"b"}')

    answer = api("GET", f"/v3/backups/{backup_id}/export_record", token=ADMIN)

    assert answer.status_code == 200
    record = answer.json()["backup-record"]
    told = json.loads(base64.b64decode(record["backup_url"]))
    assert (told["id"], told["manifest"], told["metadata"]) == (backup_id, f"{backup_id}.1.1", {"a": "b"})


@pytest.mark.parametrize(("status", "token", "answered"), [("error", ADMIN, 400), ("available", "user:p1", 403)])
def test_an_export_that_cannot_be(api: Api, status: str, token: str, answered: int) -> None:
    backup_id = api.given("backups", status=status)

    assert api("GET", f"/v3/backups/{backup_id}/export_record", token=token).status_code == answered


def record_of(**changes: Any) -> dict[str, Any]:
    """A record as an export makes it, of a backup that is not here."""
    content = {
        "record_version": 1, "id": NOBODY, "volume_id": NOBODY, "size": 2, "store": "default", "archive_id": NOBODY,
        "manifest": f"{NOBODY}.1.1", "created_at_us": START_US, "display_name": "old", "metadata": {"a": "b"},
    }  # fmt: skip
    return {"backup_service": "breezeblock.backup", "backup_url": encoded(content | changes)}


def encoded(content: Any) -> str:
    return base64.b64encode(json.dumps(content).encode()).decode()


def test_an_import_makes_a_backup_that_is_looked_for(api: Api) -> None:
    answer = api("POST", "/v3/backups/import_record", {"backup-record": record_of()}, token=ADMIN)
    again = api("POST", "/v3/backups/import_record", {"backup-record": record_of()}, token=ADMIN)

    assert answer.status_code == 201, answer.text
    assert (answer.json()["backup"]["id"], answer.json()["backup"]["name"]) == (NOBODY, "old")
    row = api.row(tables.backups, NOBODY)
    assert (row["status"], row["manifest"], row["archive_id"], row["size_gib"]) == ("creating", None, None, 2)
    assert api.bell.rung == [QUEUE]
    assert again.status_code == 400


@pytest.mark.parametrize(
    ("record", "token", "status"),
    [
        (record_of(), "user:p1", 403),
        (record_of() | {"backup_service": "somebody.else"}, ADMIN, 400),
        (record_of() | {"backup_url": "*"}, ADMIN, 400),
        (record_of() | {"backup_url": "ü"}, ADMIN, 400),
        (record_of(display_name="a\0"), ADMIN, 400),
        (record_of(metadata={"a": "\0"}), ADMIN, 400),
        (record_of() | {"backup_url": encoded([])}, ADMIN, 400),
        (record_of() | {"backup_url": encoded({"id": NOBODY})}, ADMIN, 400),
        (record_of(id="../../etc"), ADMIN, 400),
        (record_of(archive_id="x"), ADMIN, 400),
        (record_of(manifest="x.1.1"), ADMIN, 400),
        (record_of(record_version=2), ADMIN, 400),
        (record_of(size=0), ADMIN, 400),
        (record_of(created_at_us=2**60), ADMIN, 400),
        (record_of(store="other"), ADMIN, 400),
        ({"backup_service": "breezeblock.backup"}, ADMIN, 400),
    ],
)
def test_an_import_that_cannot_be(api: Api, record: Any, token: str, status: int) -> None:
    answer = api("POST", "/v3/backups/import_record", {"backup-record": record}, token=token)

    assert answer.status_code == status, answer.text
    assert api.count(tables.backups) == 0


CINDERS = {
    "id": NOBODY, "volume_id": NOBODY, "size": 2, "container": "99/99/9", "display_name": "old", "object_count": 3,
    "service_metadata": f"volume_{NOBODY}_20251121120000_backup_{NOBODY}", "created_at": "2025-11-21T12:00:00Z",
    "parent_id": "88888888-8888-8888-8888-888888888888", "data_timestamp": "2025-11-21T11:00:00Z",
}  # fmt: skip
POSIX = "cinder.backup.drivers.posix.PosixBackupDriver"


def test_what_cinder_exported_is_imported(api: Api) -> None:
    record = {"backup_service": POSIX, "backup_url": encoded(CINDERS)}
    answer = api("POST", "/v3/backups/import_record", {"backup-record": record}, token=ADMIN)
    shown = api("GET", f"/v3/backups/{NOBODY}", token=ADMIN).json()["backup"]

    assert answer.status_code == 201, answer.text
    assert (answer.json()["backup"]["id"], answer.json()["backup"]["name"]) == (NOBODY, "old")
    expected = {
        "status": "creating", "size": 2, "object_count": 3, "container": "99/99/9", "is_incremental": True,
        "created_at": "2025-11-21T12:00:00.000000", "data_timestamp": "2025-11-21T11:00:00.000000",
    }  # fmt: skip
    assert {name: shown[name] for name in expected} == expected
    assert api.row(tables.backups, NOBODY)["store"] == "cinders"
    assert api.bell.rung == [QUEUE]


@pytest.mark.parametrize(
    ("service", "url", "told"),
    [
        (POSIX, "*", "not base64"),
        (POSIX, encoded(CINDERS | {"encryption_key_id": NOBODY}), "encrypted volume"),
        (
            "cinder.backup.drivers.ceph.CephBackupDriver",
            encoded(CINDERS),
            "only those of its drivers posix, nfs, glusterfs",
        ),
        ("cinder.backup", encoded(CINDERS), "expected breezeblock.backup"),
        ("breezeblock.backup", record_of(store="cinders")["backup_url"], "there is no backup store cinders"),
    ],
)
def test_what_cinder_exported_cannot_be_imported(api: Api, service: str, url: str, told: str) -> None:
    record = {"backup_service": service, "backup_url": url}
    answer = api("POST", "/v3/backups/import_record", {"backup-record": record}, token=ADMIN)

    assert answer.status_code == 400
    assert told in answer.json()["badRequest"]["message"]
    assert api.count(tables.backups) == 0


def test_cinders_backups_are_nothing_to_add_to(api: Api) -> None:
    """A store of theirs takes no new ones, also when it is named."""
    answer = backup_of(api, api.given_volume(), container="cinders")

    assert answer.status_code == 202
    row = api.row(tables.backups, answer.json()["backup"]["id"])
    assert (row["store"], row["container"]) == ("default", "cinders")


# --- lists -----------------------------------------------------------------------------------------------------------


def test_another_projects_backup_is_not_there(api: Api) -> None:
    backup_id = api.given("backups", project_id="p2")
    path = f"/v3/backups/{backup_id}"

    assert api("GET", path).status_code == 404
    assert api("DELETE", path).status_code == 404
    assert api("PUT", path, {"backup": {"name": "x"}}, version="3.9").status_code == 404
    assert api("POST", f"{path}/restore", {"restore": {}}).status_code == 404
    assert api("POST", "/v3/volumes", {"volume": {"backup_id": backup_id}}, version="3.47").status_code == 404
    assert api("GET", path, token=ADMIN).status_code == 200


@pytest.mark.parametrize(
    ("query", "version", "token", "expected"),
    [
        ("", "3.0", "user:p1", "cba"),
        ("all_tenants=1", "3.0", ADMIN, "dcba"),
        ("sort=name:asc&limit=2", "3.37", "user:p1", "ab"),
        ("sort=name:asc&offset=1", "3.37", "user:p1", "bc"),
        ("status=error", "3.0", "user:p1", "b"),
        ("name=a", "3.31", "user:p1", "a"),
        ("name~=a", "3.34", "user:p1", "a"),
        (f"volume_id={NOBODY}", "3.31", "user:p1", "c"),
    ],
)
def test_lists_are_cut_sorted_and_filtered(api: Api, query: str, version: str, token: str, expected: str) -> None:
    api.given("backups", name="a", created_at_us=START_US)
    api.given("backups", name="b", created_at_us=START_US + 1, status="error")
    api.given("backups", name="c", created_at_us=START_US + 2, volume_id=NOBODY)
    api.given("backups", name="d", created_at_us=START_US + 3, project_id="p2")

    answer = api("GET", f"/v3/backups?{query}", version=version, token=token)

    assert answer.status_code == 200, answer.text
    assert "".join(one["name"] for one in answer.json()["backups"]) == expected


def test_an_unknown_filter_is_refused_since_they_are_the_same_for_all(api: Api) -> None:
    assert api("GET", "/v3/backups?size=1", version="3.31").status_code == 400


def test_a_full_page_links_to_the_next(api: Api) -> None:
    first = api.given("backups", created_at_us=START_US + 1)
    api.given("backups")

    page = api("GET", "/v3/p1/backups/detail?limit=1&with_count=1", version="3.45").json()
    rest = api("GET", f"/v3/p1/backups/detail?limit=1&marker={first}", version="3.45").json()

    assert page["backups_links"][0]["href"].startswith("http://here:8776/v3/p1/backups/detail?limit=1")
    assert page["count"] == 2
    assert [one["id"] for one in page["backups"]] == [first]
    assert len(rest["backups"]) == 1
