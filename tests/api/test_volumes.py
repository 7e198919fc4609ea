"""Volumes: one request, one answer."""

import json
from typing import Any

import pytest
from tests.api import keys
from tests.api.builders import POOL_NAME, QUEUE, START_US, volume_row
from tests.api.world import Api

from breezeblock.resources.types import DEFAULT_TYPE_ID, DEFAULT_TYPE_NAME
from breezeblock.store import tables

ADMIN = "admin:p1"
MINORS = (0, 12, 13, 20, 21, 47, 48, 60, 61, 62, 63, 64, 65, 68, 69, 71)
NOBODY = "99999999-9999-9999-9999-999999999999"


def names(answer: Any) -> list[str]:
    return [volume["name"] for volume in answer.json()["volumes"]]


# --- keys ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("minor", MINORS)
@pytest.mark.parametrize("token", ["user:p1", ADMIN])
def test_each_version_has_its_keys(api: Api, minor: int, token: str) -> None:
    volume_id = api.given_volume()
    admin = token == ADMIN

    shown = api("GET", f"/v3/volumes/{volume_id}", version=f"3.{minor}", token=token).json()["volume"]
    listed = api("GET", "/v3/volumes/detail", version=f"3.{minor}", token=token).json()["volumes"][0]
    made = api("POST", "/v3/volumes", {"volume": {"size": 1}}, version=f"3.{minor}", token=token).json()["volume"]

    assert set(shown) == keys.names(keys.VOLUME, minor=minor, admin=admin, attributes=True)
    assert listed == shown
    assert set(made) == keys.names(keys.VOLUME, minor=minor, admin=admin, attributes=False)
    assert not keys.wrong_types(keys.VOLUME, shown)
    assert not keys.wrong_types(keys.VOLUME, made)


def test_a_volume_is_shown_as_it_is(api: Api) -> None:
    volume_id = api.given_volume(
        name='n "quoted" \\ ü \n%s',
        description="%d{}",
        size_gib=7,
        bootable=True,
        metadata_json='{"k":"v"}',
        readonly=True,
        updated_at_us=START_US + 1_500_000,
    )

    shown = api("GET", f"/v3/p1/volumes/{volume_id}", version="3.71", token=ADMIN).json()["volume"]

    assert shown == {
        "id": volume_id,
        "status": "available",
        "size": 7,
        "availability_zone": "nova",
        "created_at": "2026-11-18T11:06:40.000000",
        "updated_at": "2026-11-18T11:06:41.500000",
        "name": 'n "quoted" \\ ü \n%s',
        "description": "%d{}",
        "volume_type": DEFAULT_TYPE_NAME,
        "volume_type_id": DEFAULT_TYPE_ID,
        "snapshot_id": None,
        "source_volid": None,
        "metadata": {"k": "v", "readonly": "True"},
        "user_id": "user",
        "bootable": "true",
        "encrypted": False,
        "replication_status": None,
        "consistencygroup_id": None,
        "multiattach": False,
        "attachments": [],
        "migration_status": None,
        "group_id": None,
        "provider_id": None,
        "shared_targets": False,
        "service_uuid": None,
        "cluster_name": POOL_NAME,
        "consumes_quota": True,
        "os-vol-tenant-attr:tenant_id": "p1",
        "os-vol-host-attr:host": POOL_NAME,
        "os-vol-mig-status-attr:migstat": None,
        "os-vol-mig-status-attr:name_id": None,
        "links": [
            {"rel": "self", "href": f"http://here:8776/v3/p1/volumes/{volume_id}"},
            {"rel": "bookmark", "href": f"http://here:8776/p1/volumes/{volume_id}"},
        ],
    }


# --- who sees what ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "", None),
        ("PUT", "", {"volume": {"name": "x"}}),
        ("DELETE", "", None),
        ("POST", "/action", {"os-extend": {"new_size": 9}}),
        ("POST", "/action", {"os-set_bootable": {"bootable": True}}),
        ("GET", "/metadata", None),
        ("POST", "/metadata", {"metadata": {"a": "b"}}),
        ("GET", "/encryption", None),
    ],
)
def test_another_projects_volume_is_not_there(api: Api, method: str, path: str, body: Any) -> None:
    volume_id = api.given_volume(project_id="p2")

    answer = api(method, f"/v3/volumes/{volume_id}{path}", body)

    assert answer.status_code == 404
    assert volume_id in answer.json()["itemNotFound"]["message"]


def test_lists_show_the_own_project_and_to_administrators_all_if_they_ask(api: Api) -> None:
    api.given_volume(name="mine")
    api.given_volume(name="theirs", project_id="p2")
    api.given_volume(name="gone", tombstone=True)

    assert names(api("GET", "/v3/volumes")) == ["mine"]
    assert names(api("GET", "/v3/volumes?all_tenants=1")) == ["mine"]
    assert names(api("GET", "/v3/volumes", token=ADMIN)) == ["mine"]
    assert sorted(names(api("GET", "/v3/volumes?all_tenants=1", token=ADMIN))) == ["mine", "theirs"]
    assert names(api("GET", "/v3/volumes?all_tenants=1&project_id=p2", token=ADMIN)) == ["theirs"]


@pytest.mark.parametrize(
    ("path", "body"),
    [("/action", {"os-reset_status": {"status": "error"}}), ("/action", {"os-force_delete": None})],
)
def test_members_are_refused_what_is_for_administrators(api: Api, path: str, body: Any) -> None:
    volume_id = api.given_volume()

    answer = api("POST", f"/v3/volumes/{volume_id}{path}", body)

    assert answer.status_code == 403
    assert "administrators" in answer.json()["forbidden"]["message"]


def test_a_forced_delete_is_for_administrators(api: Api) -> None:
    volume_id = api.given_volume()

    assert api("DELETE", f"/v3/volumes/{volume_id}?force=true", version="3.23").status_code == 403
    assert api("DELETE", f"/v3/volumes/{volume_id}?force=true", version="3.22").status_code == 202


# --- create, update, delete ------------------------------------------------------------------------------------------


def test_create_answers_with_the_volume_and_rings(api: Api) -> None:
    body = {"volume": {"size": "2", "name": " data ", "description": "d", "metadata": {"k": "v"}}}

    answer = api("POST", "/v3/p1/volumes", body, version="3.71")

    assert answer.status_code == 202
    made = answer.json()["volume"]
    assert (made["size"], made["name"], made["description"]) == (2, "data", "d")
    assert (made["status"], made["metadata"], made["updated_at"]) == ("creating", {"k": "v"}, None)
    assert made["volume_type"] == DEFAULT_TYPE_NAME
    assert api.bell.rung == [QUEUE]
    assert api.count(tables.operations) == 1


def test_create_over_quota_is_413_with_when_to_try_again(api: Api) -> None:
    api.insert(tables.quotas, {"project_id": "p1", "resource": "volumes", "hard_limit": 0})

    answer = api("POST", "/v3/volumes", {"volume": {"size": 1}})

    assert answer.status_code == 413
    assert answer.headers["Retry-After"] == "0"
    assert answer.json()["overLimit"]["retryAfter"] == "0"
    assert api.count(tables.volumes) == 0
    assert api.bell.rung == []


@pytest.mark.parametrize("key", ["snapshot_id", "source_volid"])
def test_create_from_what_is_not_there(api: Api, key: str) -> None:
    answer = api("POST", "/v3/volumes", {"volume": {"size": 1, key: NOBODY}})

    assert answer.status_code == 404


def test_update_changes_what_was_sent_and_nothing_else(api: Api) -> None:
    volume_id = api.given_volume(description="old", metadata_json='{"k":"v"}')

    answer = api("PUT", f"/v3/volumes/{volume_id}", {"volume": {"name": " new "}})

    assert answer.status_code == 200
    changed = answer.json()["volume"]
    assert (changed["name"], changed["description"], changed["metadata"]) == ("new", "old", {"k": "v"})
    row = api.row(tables.volumes, volume_id)
    assert (row["name"], row["op_seq"]) == ("new", 1)
    assert row["updated_at_us"] is not None


def test_update_of_metadata_replaces_it(api: Api) -> None:
    volume_id = api.given_volume(metadata_json='{"k":"v"}')

    answer = api("PUT", f"/v3/volumes/{volume_id}", {"volume": {"metadata": {"other": "ü"}, "name": None}})

    assert answer.json()["volume"]["metadata"] == {"other": "ü"}
    assert answer.json()["volume"]["name"] is None


@pytest.mark.parametrize(("version", "status"), [("3.52", 200), ("3.53", 400)])
def test_an_update_of_nothing_is_refused_by_strict_versions(api: Api, version: str, status: int) -> None:
    volume_id = api.given_volume()

    assert api("PUT", f"/v3/volumes/{volume_id}", {"volume": {}}, version=version).status_code == status


def test_a_volume_in_maintenance_is_not_changed(api: Api) -> None:
    volume_id = api.given_volume(status="maintenance")

    answer = api("PUT", f"/v3/volumes/{volume_id}", {"volume": {"name": "new"}})

    assert answer.status_code == 400
    assert api.row(tables.volumes, volume_id)["op_seq"] == 0


def test_delete_is_accepted_once(api: Api) -> None:
    volume_id = api.given_volume()

    first = api("DELETE", f"/v3/volumes/{volume_id}?cascade=false")
    second = api("DELETE", f"/v3/volumes/{volume_id}")

    assert (first.status_code, first.content) == (202, b"")
    assert api.row(tables.volumes, volume_id)["status"] == "deleting"
    assert second.status_code == 400
    assert api.bell.rung == [QUEUE]


def test_cascade_must_be_true_or_false(api: Api) -> None:
    volume_id = api.given_volume()

    assert api("DELETE", f"/v3/volumes/{volume_id}?cascade=perhaps").status_code == 400


def test_encryption_of_a_volume_without_it(api: Api) -> None:
    volume_id = api.given_volume()

    answer = api("GET", f"/v3/volumes/{volume_id}/encryption")

    assert answer.json() == {"encryption_key_id": None}


# --- actions ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "version", "token", "status", "column", "value"),
    [
        ({"os-extend": {"new_size": "3"}}, "3.0", "user:p1", 202, "status", "extending"),
        ({"os-extend": {"new_size": 1}}, "3.0", "user:p1", 400, "status", "available"),
        ({"os-extend": {"new_size": 0}}, "3.0", "user:p1", 400, "status", "available"),
        ({"os-extend": {}}, "3.0", "user:p1", 400, "status", "available"),
        ({"os-set_bootable": {"bootable": "True"}}, "3.0", "user:p1", 200, "bootable", True),
        ({"os-set_bootable": {"bootable": "si"}}, "3.0", "user:p1", 400, "bootable", False),
        ({"os-update_readonly_flag": {"readonly": True}}, "3.0", "user:p1", 202, "readonly", True),
        ({"os-reset_status": {"status": "ERROR"}}, "3.0", ADMIN, 202, "status", "error"),
        ({"os-reset_status": {"attach_status": "attached"}}, "3.0", ADMIN, 202, "attach_status", "attached"),
        ({"os-reset_status": {"migration_status": "none"}}, "3.0", ADMIN, 202, "migration_status", None),
        ({"os-reset_status": {"status": "lost"}}, "3.0", ADMIN, 400, "status", "available"),
        ({"os-reset_status": {"status": "deleting"}}, "3.0", ADMIN, 400, "status", "available"),
        ({"os-reset_status": {}}, "3.0", ADMIN, 400, "status", "available"),
        ({"os-force_delete": {}}, "3.0", ADMIN, 202, "status", "deleting"),
        ({"os-force_delete": None}, "3.0", ADMIN, 202, "status", "deleting"),
        ({"revert": {"snapshot_id": NOBODY}}, "3.40", "user:p1", 400, "status", "available"),
        ({"revert": {"snapshot_id": None}}, "3.40", "user:p1", 400, "status", "available"),
        ({"os-retype": {"new_type": "none-such"}}, "3.0", "user:p1", 404, "status", "available"),
        ({"os-retype": {"new_type": "x", "migration_policy": "now"}}, "3.0", "user:p1", 400, "status", "available"),
    ],
)
def test_actions(api: Api, body: Any, version: str, token: str, status: int, column: str, value: Any) -> None:
    volume_id = api.given_volume()

    answer = api("POST", f"/v3/volumes/{volume_id}/action", body, version=version, token=token)

    assert answer.status_code == status, answer.text
    assert api.row(tables.volumes, volume_id)[column] == value


def test_the_place_of_a_mistake_in_an_action_is_named(api: Api) -> None:
    answer = api("POST", f"/v3/volumes/{NOBODY}/action", {"os-extend": {"new_size": -1}})

    assert "os-extend.new_size = -1" in answer.json()["badRequest"]["message"]


def test_readonly_needs_an_available_volume(api: Api) -> None:
    volume_id = api.given_volume(status="in-use")

    answer = api("POST", f"/v3/volumes/{volume_id}/action", {"os-update_readonly_flag": {"readonly": True}})

    assert answer.status_code == 400


# --- lists -----------------------------------------------------------------------------------------------------------


def given_five(api: Api) -> None:
    """a to e; c and d were made in the same instant; e is the newest."""
    for i, (name, size, at) in enumerate((("a", 5, 0), ("b", 4, 1), ("c", 3, 2), ("d", 3, 2), ("e", 1, 3))):
        api.given_volume(
            id=f"{i:08}-0000-0000-0000-000000000000",
            name=name,
            size_gib=size,
            created_at_us=START_US + at * 1_000_000,
            bootable=name == "a",
            metadata_json=json.dumps({"n": name, "kind": 'a"b'}, separators=(",", ":")),
            status="error" if name == "b" else "available",
            updated_at_us=START_US if name == "e" else None,
        )


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", "edcba"),
        ("sort=name", "edcba"),
        ("sort=name:asc", "abcde"),
        ("sort=size:asc", "ecdba"),
        ("sort=size:asc,name:desc", "edcba"),
        ("sort=display_name:asc", "abcde"),
        ("sort_key=name&sort_dir=asc", "abcde"),
        ("sort=updated_at:desc", "edcba"),
        ("sort=updated_at:asc&limit=2", "ab"),
        ("limit=2", "ed"),
        ("limit=0", ""),
        ("offset=3", "ba"),
        ("limit=2&offset=1", "dc"),
        ("marker=00000003-0000-0000-0000-000000000000", "cba"),
        ("marker=00000003-0000-0000-0000-000000000000&sort=size:asc", "ba"),
        ("marker=00000004-0000-0000-0000-000000000000&sort=updated_at:desc", "dcba"),
        ("marker=00000002-0000-0000-0000-000000000000&limit=1&offset=1", "a"),
        ("name=c", "c"),
        ("status=error", "b"),
        ("size=3", "dc"),
        ("bootable=true", "a"),
        ("bootable=0", "edcb"),
        ("metadata={'n': 'd'}", "d"),
        ('metadata={"n":"d","kind":"a\\"b"}', "d"),
        ("metadata={'N': 'd'}", ""),
        ("metadata={'n': 'x'}", ""),
        ("group_id=1", ""),
        ("name~=c", "c"),
        ("created_at=gte:2026-11-18T11:06:42", "edc"),
        ("created_at=gt:2026-11-18T11:06:40,lt:2026-11-18T11:06:42Z", "b"),
        ("created_at=eq:2026-11-18T12:06:40%2B01:00", "a"),
        ("consumes_quota=true&limit=1", "e"),
        ("consumes_quota=false", ""),
    ],
)
def test_lists_are_cut_sorted_and_filtered(api: Api, query: str, expected: str) -> None:
    given_five(api)

    answer = api("GET", f"/v3/volumes?{query}", version="3.71")

    assert answer.status_code == 200, answer.text
    assert "".join(names(answer)) == expected


@pytest.mark.parametrize(
    ("query", "version", "status"),
    [
        ("limit=-1", "3.0", 400),
        ("limit=x", "3.0", 400),
        ("offset=-1", "3.0", 400),
        ("offset=2147483648", "3.0", 400),
        (f"marker={NOBODY}", "3.0", 404),
        ("sort=secret", "3.0", 400),
        ("sort=name:up", "3.0", 400),
        ("sort=name&sort_key=name", "3.0", 400),
        ("bootable=maybe", "3.2", 400),
        ("bootable=maybe", "3.1", 200),
        ("odd=1", "3.30", 200),
        ("odd=1", "3.31", 400),
        ("name~=a", "3.33", 400),
        ("name~=a", "3.34", 200),
        ("size~=1", "3.34", 400),
        ("host=x", "3.31", 400),
        ("created_at=gte:2026-01-01T00:00:00", "3.31", 200),
        ("created_at=after:2026-01-01T00:00:00", "3.31", 400),
        ("created_at=after:2026-01-01T00:00:00", "3.30", 200),
        ("created_at=gte:yesterday", "3.60", 400),
        ("metadata=x", "3.0", 400),
        ("size=big", "3.0", 400),
        ("all_tenants=perhaps", "3.0", 400),
        ("with_count=perhaps", "3.45", 400),
    ],
)
def test_parameters_of_lists_that_cannot_be(api: Api, query: str, version: str, status: int) -> None:
    answer = api("GET", f"/v3/volumes?{query}", version=version)

    assert answer.status_code == status, answer.text


def test_a_full_page_links_to_the_next_until_there_is_none(api: Api) -> None:
    given_five(api)

    first = api("GET", "/v3/p1/volumes?limit=2&sort=name:asc").json()
    second = api("GET", first["volumes_links"][0]["href"]).json()
    third = api("GET", second["volumes_links"][0]["href"]).json()

    assert first["volumes_links"][0]["rel"] == "next"
    assert [v["name"] for page in (first, second, third) for v in page["volumes"]] == list("abcde")
    assert "volumes_links" not in third


def test_the_count_is_of_all_that_the_filters_let_through(api: Api) -> None:
    given_five(api)

    with_count = api("GET", "/v3/volumes/detail?with_count=true&limit=1&size=3", version="3.45").json()
    before = api("GET", "/v3/volumes?with_count=true", version="3.44").json()

    assert with_count["count"] == 2
    assert len(with_count["volumes"]) == 1
    assert "count" not in before


def test_a_short_list_has_ids_names_and_links(api: Api) -> None:
    volume_id = api.given_volume(name=None)

    (item,) = api("GET", "/v3/volumes", version="3.71").json()["volumes"]

    assert set(item) == keys.VOLUME_SUMMARY
    assert (item["id"], item["name"]) == (volume_id, None)
    assert item["links"][0]["href"] == f"http://here:8776/v3/volumes/{volume_id}"


def test_the_summary_counts(api: Api) -> None:
    given_five(api)
    api.given_volume(project_id="p2", size_gib=100)

    early = api("GET", "/v3/volumes/summary", version="3.12").json()
    late = api("GET", "/v3/volumes/summary", version="3.36").json()
    everybody = api("GET", "/v3/volumes/summary?all_tenants=1", version="3.12", token=ADMIN).json()

    assert early == {"volume-summary": {"total_count": 5, "total_size": 16}}
    assert late["volume-summary"]["metadata"] == {"n": list("abcde"), "kind": ['a"b']}
    assert everybody["volume-summary"]["total_count"] == 6


def test_a_long_list_takes_as_many_statements_as_a_short_one(api: Api) -> None:
    """A page of a thousand, in one piece."""
    api.insert(tables.volumes, *(volume_row(name=f"v{i}", created_at_us=START_US + i) for i in range(1_001)))

    page = api("GET", "/v3/volumes/detail").json()

    assert len(page["volumes"]) == 1_000
    assert "volumes_links" in page


# --- metadata --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "answered", "kept"),
    [
        ("GET", "", None, 200, {"metadata": {"a": "1", "b": "2"}}, {"a": "1", "b": "2"}),
        (
            "POST",
            "",
            {"metadata": {"b": "3", "c": "4"}},
            200,
            {"metadata": {"a": "1", "b": "3", "c": "4"}},
            {"a": "1", "b": "3", "c": "4"},
        ),
        ("PUT", "", {"metadata": {"c": "4"}}, 200, {"metadata": {"c": "4"}}, {"c": "4"}),
        ("GET", "/a", None, 200, {"meta": {"a": "1"}}, {"a": "1", "b": "2"}),
        ("PUT", "/a", {"meta": {"a": "9"}}, 200, {"meta": {"a": "9"}}, {"a": "9", "b": "2"}),
        ("PUT", "/x%2Fy", {"meta": {"x/y": "9"}}, 200, {"meta": {"x/y": "9"}}, {"a": "1", "b": "2", "x/y": "9"}),
        ("DELETE", "/a", None, 200, None, {"b": "2"}),
        ("GET", "/z", None, 404, None, {"a": "1", "b": "2"}),
        ("DELETE", "/z", None, 404, None, {"a": "1", "b": "2"}),
        ("PUT", "/a", {"meta": {"b": "9"}}, 400, None, {"a": "1", "b": "2"}),
        ("PUT", "/a", {"meta": {"a": "9", "b": "9"}}, 400, None, {"a": "1", "b": "2"}),
        ("POST", "", {"metadata": {"": "9"}}, 400, None, {"a": "1", "b": "2"}),
        ("POST", "", {"meta": {"a": "9"}}, 400, None, {"a": "1", "b": "2"}),
    ],
)
@pytest.mark.parametrize("kind", ["volumes", "snapshots"])
def test_metadata(
    api: Api, kind: str, method: str, path: str, body: Any, status: int, answered: Any, kept: dict[str, str]
) -> None:
    id_ = api.given(kind, metadata_json='{"a":"1","b":"2"}')

    answer = api(method, f"/v3/{kind}/{id_}/metadata{path}", body)

    assert answer.status_code == status, answer.text
    assert status != 200 or (answer.json() if answer.content else None) == answered
    assert json.loads(api.row(tables.metadata.tables[kind], id_)["metadata_json"]) == kept


def test_metadata_is_frozen_while_the_volume_is_uploaded(api: Api) -> None:
    volume_id = api.given_volume(status="uploading")

    assert api("POST", f"/v3/volumes/{volume_id}/metadata", {"metadata": {"a": "1"}}).status_code == 400


def test_a_write_that_insists_on_what_was_read(api: Api) -> None:
    """Two writers read the same; the second to write learns of the first."""
    path = f"/v3/volumes/{api.given_volume()}/metadata"
    tag = {"If-Match": api("GET", path, version="3.15").headers["ETag"]}

    first = api("PUT", path, {"metadata": {"a": "1"}}, version="3.15", headers=tag)
    second = api("PUT", path, {"metadata": {"a": "2"}}, version="3.15", headers=tag)
    older = api("PUT", path, {"metadata": {"a": "3"}}, version="3.14", headers=tag)

    assert (first.status_code, second.status_code, older.status_code) == (200, 412, 200)
    assert "ETag" not in api("GET", path, version="3.14").headers
