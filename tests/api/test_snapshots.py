"""Snapshots: one request, one answer. Their metadata is tested beside that of volumes."""

from typing import Any

import pytest
from tests.api import keys
from tests.api.builders import QUEUE, START_US
from tests.api.world import Api

from breezeblock.store import tables

ADMIN = "admin:p1"
NOBODY = "99999999-9999-9999-9999-999999999999"


@pytest.mark.parametrize("minor", [0, 13, 14, 40, 41, 64, 65, 71])
def test_each_version_has_its_keys(api: Api, minor: int) -> None:
    snapshot_id = api.given("snapshots")
    volume_id = api.given_volume()

    shown = api("GET", f"/v3/snapshots/{snapshot_id}", version=f"3.{minor}").json()["snapshot"]
    listed = api("GET", "/v3/snapshots/detail", version=f"3.{minor}").json()["snapshots"][0]
    short = api("GET", "/v3/snapshots", version=f"3.{minor}").json()["snapshots"][0]
    made = api("POST", "/v3/snapshots", {"snapshot": {"volume_id": volume_id}}, version=f"3.{minor}").json()["snapshot"]

    assert set(shown) == keys.names(keys.SNAPSHOT, minor=minor, admin=False, attributes=True)
    assert listed == shown
    assert set(short) == keys.SNAPSHOT_SUMMARY
    assert set(made) == keys.names(keys.SNAPSHOT, minor=minor, admin=False, attributes=False)
    assert not keys.wrong_types(keys.SNAPSHOT, shown)
    assert not keys.wrong_types(keys.SNAPSHOT, made)


def test_create_answers_with_the_snapshot_and_rings(api: Api) -> None:
    volume_id = api.given_volume(size_gib=3)
    body = {"snapshot": {"volume_id": volume_id, "name": " s ", "description": "d", "metadata": {"k": "v"}}}

    answer = api("POST", "/v3/snapshots", body)

    assert answer.status_code == 202
    made = answer.json()["snapshot"]
    assert (made["name"], made["description"], made["size"], made["volume_id"]) == ("s", "d", 3, volume_id)
    assert (made["status"], made["metadata"]) == ("creating", {"k": "v"})
    assert api.bell.rung == [QUEUE]


@pytest.mark.parametrize(
    ("snapshot", "version", "status"),
    [
        ({"volume_id": NOBODY}, "3.0", 404),
        ({"volume_id": "x"}, "3.0", 400),
        ({"volume_id": None}, "3.0", 400),
        ({}, "3.0", 400),
        ({"volume_id": NOBODY, "force": "maybe"}, "3.0", 400),
        ({"volume_id": NOBODY, "force": False}, "3.66", 400),
        ({"volume_id": NOBODY, "odd": 1}, "3.0", 400),
    ],
)
def test_a_new_snapshot_that_cannot_be(api: Api, snapshot: dict[str, Any], version: str, status: int) -> None:
    answer = api("POST", "/v3/snapshots", {"snapshot": snapshot}, version=version)

    assert answer.status_code == status, answer.text


@pytest.mark.parametrize(
    ("force", "version", "status"),
    [(None, "3.65", 400), (False, "3.65", 400), (True, "3.65", 202), ("true", "3.66", 202), (None, "3.66", 202)],
)
def test_a_snapshot_of_a_volume_in_use_needs_force_until_it_does_not(
    api: Api, force: Any, version: str, status: int
) -> None:
    volume_id = api.given_volume(status="in-use")
    body = {"volume_id": volume_id} | ({} if force is None else {"force": force})

    answer = api("POST", "/v3/snapshots", {"snapshot": body}, version=version)

    assert answer.status_code == status, answer.text


def test_update_changes_name_and_description(api: Api) -> None:
    snapshot_id = api.given("snapshots", description="old")

    answer = api("PUT", f"/v3/snapshots/{snapshot_id}", {"snapshot": {"name": " new "}})
    nothing = api("PUT", f"/v3/snapshots/{snapshot_id}", {"snapshot": {}})

    assert answer.status_code == 200
    assert (answer.json()["snapshot"]["name"], answer.json()["snapshot"]["description"]) == ("new", "old")
    assert nothing.status_code == 400


def test_delete_is_accepted_once(api: Api) -> None:
    snapshot_id = api.given("snapshots", volume_id=api.given_volume())

    first = api("DELETE", f"/v3/snapshots/{snapshot_id}")
    second = api("DELETE", f"/v3/snapshots/{snapshot_id}")

    assert (first.status_code, second.status_code) == (202, 400)
    assert api.row(tables.snapshots, snapshot_id)["status"] == "deleting"


@pytest.mark.parametrize(
    ("before", "body", "token", "status", "after"),
    [
        ("error", {"os-reset_status": {"status": "available"}}, ADMIN, 202, "available"),
        ("error", {"os-reset_status": {"status": "available"}}, "user:p1", 403, "error"),
        ("error", {"os-reset_status": {}}, ADMIN, 400, "error"),
        ("error", {"os-reset_status": {"status": "lost"}}, ADMIN, 400, "error"),
        (
            "creating",
            {"os-update_snapshot_status": {"status": "available", "progress": "100%"}},
            "user:p1",
            202,
            "available",
        ),
        (
            "creating",
            {"os-update_snapshot_status": {"status": "available", "progress": "101%"}},
            "user:p1",
            400,
            "creating",
        ),
        ("creating", {"os-force_delete": {}}, ADMIN, 202, "deleting"),
        ("available", {"os-force_delete": {}}, "user:p1", 403, "available"),
        ("creating", {"os-update_snapshot_status": {"status": "available"}}, "user:p1", 202, "available"),
        ("available", {"os-update_snapshot_status": {"status": "error"}}, "user:p1", 400, "available"),
    ],
)
def test_actions(api: Api, before: str, body: Any, token: str, status: int, after: str) -> None:
    snapshot_id = api.given("snapshots", volume_id=api.given_volume(), status=before)

    answer = api("POST", f"/v3/snapshots/{snapshot_id}/action", body, token=token)

    assert answer.status_code == status, answer.text
    assert api.row(tables.snapshots, snapshot_id)["status"] == after


@pytest.mark.parametrize("path", ["", "/metadata"])
def test_another_projects_snapshot_is_not_there(api: Api, path: str) -> None:
    snapshot_id = api.given("snapshots", project_id="p2")

    assert api("GET", f"/v3/snapshots/{snapshot_id}{path}").status_code == 404
    assert api("GET", f"/v3/snapshots/{snapshot_id}{path}", token=ADMIN).status_code == 200


@pytest.mark.parametrize(
    ("query", "version", "expected"),
    [
        ("", "3.0", "cba"),
        ("sort=name:asc&limit=2", "3.30", "ab"),
        ("status=error", "3.0", "b"),
        ("name=a", "3.31", "a"),
        ("metadata={'n': 'c'}", "3.22", "c"),
        ("metadata={'n': 'c'}", "3.21", "cba"),
        ("consumes_quota=false", "3.65", ""),
        ("availability_zone=nova", "3.31", "c"),
    ],
)
def test_lists_are_cut_sorted_and_filtered(api: Api, query: str, version: str, expected: str) -> None:
    api.given_volume(id=NOBODY)
    api.given("snapshots", name="a", created_at_us=START_US, metadata_json='{"n":"a"}')
    api.given("snapshots", name="b", created_at_us=START_US + 1, status="error")
    api.given("snapshots", name="c", created_at_us=START_US + 2, metadata_json='{"n":"c"}', volume_id=NOBODY)

    answer = api("GET", f"/v3/snapshots?{query}", version=version)

    assert answer.status_code == 200, answer.text
    assert "".join(one["name"] for one in answer.json()["snapshots"]) == expected


def test_a_full_page_links_to_the_next(api: Api) -> None:
    api.given("snapshots")

    page = api("GET", "/v3/p1/snapshots/detail?limit=1&with_count=1", version="3.45").json()

    assert page["snapshots_links"][0]["href"].startswith("http://here:8776/v3/p1/snapshots/detail?limit=1")
    assert page["count"] == 1
