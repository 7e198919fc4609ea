"""Groups, group snapshots and their older names. What their transactions do is in tests/store."""

import uuid
from typing import Any

import pytest
from tests.api import keys
from tests.api.builders import GROUP_TYPE, QUEUE, START_US, group_type_row
from tests.api.keys_groups import CGSNAPSHOT, CONSISTENCY_GROUP, GROUP, GROUP_SNAPSHOT, SUMMARY
from tests.api.world import Api

from breezeblock.resources.group_types import CONSISTENT_SPECS_JSON, CONSISTENT_TYPE_ID
from breezeblock.resources.types import DEFAULT_TYPE_ID, DEFAULT_TYPE_NAME
from breezeblock.store import tables

ADMIN = "admin:p1"
GROUPS, TAKEN, CGS, CG_TAKEN = "/v3/groups", "/v3/group_snapshots", "/v3/consistencygroups", "/v3/cgsnapshots"
NEW = {"group": {"name": " pair ", "group_type": "plain", "volume_types": [DEFAULT_TYPE_NAME]}}
ID = "abababab-0000-4000-8000-000000000009"


@pytest.fixture
def grouped(api: Api) -> Api:
    """There are group types, a group `ID`, a group snapshot of it of the same id, and both of a consistency group."""
    api.given("group_types", group_specs_json="{}")
    api.insert(
        tables.group_types,
        group_type_row(id=CONSISTENT_TYPE_ID, name="default_cgsnapshot_type", group_specs_json=CONSISTENT_SPECS_JSON),
    )
    api.given("volume_groups", id=ID)
    api.insert(tables.group_volume_types, {"group_id": ID, "volume_type_id": DEFAULT_TYPE_ID})
    api.given("group_snapshots", id=ID, group_id=ID)
    return api


def given_consistency_group(api: Api) -> tuple[str, str]:
    """And a snapshot of it."""
    id_ = api.given("volume_groups", group_type_id=CONSISTENT_TYPE_ID)
    return id_, api.given("group_snapshots", group_id=id_, group_type_id=CONSISTENT_TYPE_ID)


# --- keys ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("token", ["user:p1", ADMIN])
@pytest.mark.parametrize("minor", [13, 14, 24, 25, 38, 58, 71])
def test_each_version_of_a_group_has_its_keys(grouped: Api, minor: int, token: str) -> None:
    volume = grouped.given_volume(group_id=ID)
    version = f"3.{minor}"
    shown = grouped("GET", f"{GROUPS}/{ID}?list_volume=true", version=version, token=token).json()["group"]
    (listed,) = grouped("GET", f"{GROUPS}/detail?list_volume=1", version=version, token=token).json()["groups"]
    plain = grouped("GET", f"{GROUPS}/{ID}", version=version, token=token).json()["group"]

    expected = keys.names(GROUP, minor=minor, admin=token == ADMIN, attributes=True)
    assert set(shown) == set(listed) == expected
    assert set(plain) == expected - {"volumes"}
    assert not keys.wrong_types(GROUP, shown)
    assert shown.get("volumes", [volume]) == listed.get("volumes", [volume]) == [volume]
    assert (shown["volume_types"], shown["group_type"]) == ([DEFAULT_TYPE_ID], GROUP_TYPE)


@pytest.mark.parametrize("token", ["user:p1", ADMIN])
@pytest.mark.parametrize("minor", [14, 57, 58, 71])
def test_each_version_of_a_group_snapshot_has_its_keys(grouped: Api, minor: int, token: str) -> None:
    shown = grouped("GET", f"{TAKEN}/{ID}", version=f"3.{minor}", token=token).json()["group_snapshot"]
    (listed,) = grouped("GET", f"{TAKEN}/detail", version=f"3.{minor}", token=token).json()["group_snapshots"]

    assert set(shown) == set(listed) == keys.names(GROUP_SNAPSHOT, minor=minor, admin=token == ADMIN, attributes=True)
    assert not keys.wrong_types(GROUP_SNAPSHOT, shown)


def test_short_lists_have_ids_and_names(grouped: Api) -> None:
    for url, noun in (
        (GROUPS, "groups"),
        (TAKEN, "group_snapshots"),
        (CGS, "consistencygroups"),
        (CG_TAKEN, "cgsnapshots"),
    ):
        (one,) = grouped("GET", url, version="3.14").json()[noun]
        assert set(one) == SUMMARY


@pytest.mark.parametrize(("url", "since"), [(GROUPS, 13), (f"{GROUPS}/{ID}", 13), (TAKEN, 14), (f"{TAKEN}/{ID}", 14)])
def test_calls_come_with_their_version(grouped: Api, url: str, since: int) -> None:
    assert grouped("GET", url, version=f"3.{since}").status_code == 200
    assert grouped("GET", url, version=f"3.{since - 1}").status_code == 404


# --- making ----------------------------------------------------------------------------------------------------------


def test_a_group_is_made(grouped: Api) -> None:
    answer = grouped("POST", GROUPS, NEW, version="3.13")

    assert (answer.status_code, set(answer.json()["group"])) == (202, SUMMARY)
    row = grouped.row(tables.volume_groups, answer.json()["group"]["id"])
    assert (row["name"], row["status"], row["availability_zone"]) == ("pair", "available", "nova")


@pytest.mark.parametrize(
    ("changes", "status", "words"),
    [
        ({"volume_types": []}, 400, "volume_types"),
        ({"volume_types": ["a", "a"]}, 400, "each type once"),
        ({"volume_types": ["a"]}, 404, "a could not be found"),
        ({"group_type": "a"}, 404, "Group type a could not be found"),
        ({"group_type": " "}, 400, "group.group_type"),
        ({"group_type": "default_cgsnapshot_type"}, 400, "reserved for consistency groups"),
        ({"group_type": CONSISTENT_TYPE_ID}, 400, "reserved for consistency groups"),
        ({"availability_zone": "moon"}, 400, "moon"),
        ({"odd": 1}, 400, "odd"),
        ({"name": "n" * 256}, 400, "255"),
    ],
)
def test_a_group_that_cannot_be_is_refused(grouped: Api, changes: Any, status: int, words: str) -> None:
    answer = grouped("POST", GROUPS, {"group": NEW["group"] | changes}, version="3.13")

    assert (answer.status_code, words in answer.text) == (status, True), answer.text


def test_a_private_group_type_is_for_administrators(grouped: Api) -> None:
    grouped.given("group_types", id=str(uuid.uuid4()), name="hidden", is_public=False)
    body = {"group": NEW["group"] | {"group_type": "hidden"}}

    assert grouped("POST", GROUPS, body, version="3.13").status_code == 404
    assert grouped("POST", GROUPS, body, version="3.13", token=ADMIN).status_code == 202


def test_a_volume_is_made_in_a_group_and_shows_it(grouped: Api) -> None:
    body = {"volume": {"size": 1, "group_id": ID, "volume_type": DEFAULT_TYPE_NAME}}
    made = grouped("POST", "/v3/volumes", body, version="3.13").json()["volume"]

    assert made["group_id"] == ID
    listed = grouped("GET", f"/v3/volumes/detail?group_id={ID}", version="3.13").json()["volumes"]
    assert [one["id"] for one in listed] == [made["id"]]
    assert grouped("GET", f"/v3/volumes?group_id={uuid.uuid4()}", version="3.31").json()["volumes"] == []


def test_a_group_was_no_word_before_3_13(grouped: Api) -> None:
    body = {"volume": {"size": 1, "group_id": "x", "consistencygroup_id": None}}

    assert grouped("POST", "/v3/volumes", body, version="3.12").status_code == 202
    assert grouped("POST", "/v3/volumes", body, version="3.13").status_code == 404


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"size": 1, "group_id": ID}, 400),
        ({"size": 1, "group_id": ID, "volume_type": "other"}, 404),
        ({"size": 1, "group_id": str(uuid.uuid4()), "volume_type": DEFAULT_TYPE_NAME}, 404),
    ],
)
def test_a_volume_that_cannot_be_in_a_group_is_refused(grouped: Api, body: Any, status: int) -> None:
    assert grouped("POST", "/v3/volumes", {"volume": body}, version="3.13").status_code == status


# --- changing, deleting ----------------------------------------------------------------------------------------------


def test_a_group_is_changed(grouped: Api) -> None:
    joins, leaves = grouped.given_volume(), grouped.given_volume(group_id=ID)
    body = {"group": {"name": "new", "description": "d", "add_volumes": f"{joins},", "remove_volumes": leaves}}
    answer = grouped("PUT", f"{GROUPS}/{ID}", body, version="3.13")

    assert (answer.status_code, answer.content) == (202, b"")
    row = grouped.row(tables.volume_groups, ID)
    assert (row["name"], row["description"], row["status"]) == ("new", "d", "available")
    assert grouped.row(tables.volumes, joins)["group_id"] == ID
    assert grouped.row(tables.volumes, leaves)["group_id"] is None


@pytest.mark.parametrize("body", [{}, {"group": {}}, {"group": {"name": "pair"}}, {"group": {"add_volumes": "x"}}])
def test_a_change_that_cannot_be_is_refused(grouped: Api, body: Any) -> None:
    assert grouped("PUT", f"{GROUPS}/{ID}", body, version="3.13").status_code == 400


def test_a_group_is_deleted_with_its_volumes(grouped: Api) -> None:
    grouped("DELETE", f"{TAKEN}/{ID}", version="3.14")
    volume = grouped.given_volume(group_id=ID)
    url = f"{GROUPS}/{ID}/action"
    assert grouped("POST", url, {"delete": {}}, version="3.13").status_code == 400
    answer = grouped("POST", url, {"delete": {"delete-volumes": "true"}}, version="3.13")

    assert (answer.status_code, grouped.bell.rung) == (202, [QUEUE])
    assert grouped.row(tables.volumes, volume)["status"] == "deleting"
    assert grouped("GET", f"{GROUPS}/{ID}", version="3.13").json()["group"]["status"] == "deleting"


def test_a_group_without_volumes_is_gone_at_once(grouped: Api) -> None:
    made = grouped("POST", GROUPS, NEW, version="3.13").json()["group"]["id"]

    assert grouped("POST", f"{GROUPS}/{made}/action", {"delete": {}}, version="3.13").status_code == 202
    assert grouped("GET", f"{GROUPS}/{made}", version="3.13").status_code == 404


# --- group snapshots and sources -------------------------------------------------------------------------------------


def test_a_group_snapshot_is_taken_and_its_snapshots_show_it(grouped: Api) -> None:
    grouped.given_volume(group_id=ID)
    grouped.given_volume(group_id=ID, status="in-use")
    answer = grouped("POST", TAKEN, {"group_snapshot": {"group_id": ID, "name": "n"}}, version="3.14")
    made = answer.json()["group_snapshot"]

    assert (answer.status_code, set(made)) == (202, SUMMARY | {"group_type_id"})
    assert grouped.bell.rung == [QUEUE]
    listed = grouped("GET", "/v3/snapshots/detail", version="3.14").json()["snapshots"]
    assert {(one["group_snapshot_id"], one["name"], one["status"]) for one in listed} == {(made["id"], "n", "creating")}
    assert len(listed) == 2


@pytest.mark.parametrize("body", [{}, {"group_id": "x"}, {"group_id": ID, "odd": 1}])
def test_a_group_snapshot_that_cannot_be_is_refused(grouped: Api, body: Any) -> None:
    assert grouped("POST", TAKEN, {"group_snapshot": body}, version="3.14").status_code == 400


@pytest.mark.parametrize("source", ["group_snapshot_id", "source_group_id"])
def test_a_group_is_made_from_a_source(grouped: Api, source: str) -> None:
    volume = grouped.given_volume(group_id=ID)
    grouped.given("snapshots", volume_id=volume, group_snapshot_id=ID, volume_type_id=DEFAULT_TYPE_ID)
    answer = grouped("POST", f"{GROUPS}/action", {"create-from-src": {"name": "copy", source: ID}}, version="3.14")

    assert (answer.status_code, answer.json()["group"]["name"]) == (202, "copy")
    shown = grouped("GET", f"{GROUPS}/{answer.json()['group']['id']}?list_volume=true", version="3.25").json()["group"]
    assert (shown[source], shown["status"], len(shown["volumes"])) == (ID, "creating", 1)
    (new,) = shown["volumes"]
    row = grouped.row(tables.volumes, new)
    assert (row["status"], row["group_id"]) == ("creating", shown["id"])
    assert (row["snapshot_id"] is None) == (source == "source_group_id")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 400),
        ({"group_snapshot_id": ID, "source_group_id": ID}, 400),
        ({"group_snapshot_id": "x"}, 400),
        ({"group_snapshot_id": ID}, 400),
        ({"source_group_id": ID}, 400),
        ({"group_snapshot_id": str(uuid.uuid4())}, 404),
        ({"source_group_id": str(uuid.uuid4())}, 404),
    ],
)
def test_a_source_that_cannot_be_is_refused(grouped: Api, body: Any, status: int) -> None:
    """Empty ones, too."""
    answer = grouped("POST", f"{GROUPS}/action", {"create-from-src": body}, version="3.14")

    assert answer.status_code == status, answer.text


def test_sources_come_with_3_14(grouped: Api) -> None:
    body = {"create-from-src": {"source_group_id": ID}}

    assert grouped("POST", f"{GROUPS}/action", body, version="3.13").status_code in (400, 404)


# --- other actions ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("url", "since"), [(GROUPS, 20), (TAKEN, 19)])
def test_a_status_is_reset_by_administrators(grouped: Api, url: str, since: int) -> None:
    table = tables.volume_groups if url == GROUPS else tables.group_snapshots
    body = {"reset_status": {"status": "ERROR"}}
    at = f"{url}/{ID}/action"

    assert grouped("POST", at, body, version=f"3.{since}").status_code == 403
    assert grouped("POST", at, body, version=f"3.{since - 1}", token=ADMIN).status_code in (400, 404)
    assert grouped("POST", at, body, version=f"3.{since}", token=ADMIN).status_code == 202
    assert grouped.row(table, ID)["status"] == "error"
    for word in ("deleted", "", 1):
        refused = grouped("POST", at, {"reset_status": {"status": word}}, version=f"3.{since}", token=ADMIN)
        assert refused.status_code == 400


REPLICATION = ("enable_replication", "disable_replication", "failover_replication", "list_replication_targets")


@pytest.mark.parametrize("action", REPLICATION)
def test_groups_are_not_replicated_and_it_is_said_why(grouped: Api, action: str) -> None:
    """First because the type does not say so, then because the volume types do not, then because nothing can."""
    url = f"{GROUPS}/{ID}/action"
    refused = grouped("POST", url, {action: {}}, version="3.38")
    assert (refused.status_code, "is not replicated" in refused.text) == (400, True)

    grouped.given("group_types", id=ID, name="mirrored", group_specs_json='{"group_replication_enabled":"<is> True"}')
    mirrored = grouped.given("volume_groups", group_type_id=ID)
    grouped.insert(tables.group_volume_types, {"group_id": mirrored, "volume_type_id": DEFAULT_TYPE_ID})
    url = f"{GROUPS}/{mirrored}/action"
    assert "'replication_enabled'" in grouped("POST", url, {action: {}}, version="3.38").text

    other = grouped.given("volume_groups", group_type_id=ID)
    refused = grouped("POST", f"{GROUPS}/{other}/action", {action: {}}, version="3.38")
    expected = "does not replicate groups" if action == "enable_replication" else "has replication status disabled"
    assert (refused.status_code, expected in refused.text) == (400, True)
    assert grouped("POST", f"{GROUPS}/{ID}/action", {action: {}}, version="3.37").status_code in (400, 404)


@pytest.mark.parametrize("action", REPLICATION)
def test_replication_of_what_is_not_there(grouped: Api, action: str) -> None:
    assert grouped("POST", f"{GROUPS}/{uuid.uuid4()}/action", {action: {}}, version="3.38").status_code == 404
    assert grouped("POST", f"{GROUPS}/{ID}/action", {action: []}, version="3.38").status_code == 400


# --- lists -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "noun", "table"),
    [(GROUPS, "groups", "volume_groups"), (TAKEN, "group_snapshots", "group_snapshots")],
)
def test_lists_are_filtered_sorted_and_paged(grouped: Api, url: str, noun: str, table: str) -> None:
    for number, name in enumerate(("c", "a", "b")):
        grouped.given(table, name=name, created_at_us=START_US + number)
    names = [one["name"] for one in grouped("GET", f"{url}?sort=name:asc", version="3.71").json()[noun]]
    assert names == sorted(names) and len(names) == 4
    assert len(grouped("GET", f"{url}?name=a", version="3.71").json()[noun]) == 1
    assert len(grouped("GET", f"{url}?name~=a", version="3.71").json()[noun]) == 1 + ("pair" in names)
    assert grouped("GET", f"{url}?odd=1", version="3.31").status_code == 400
    assert grouped("GET", f"{url}?odd=1", version="3.30").status_code == 200

    page = grouped("GET", f"{url}/detail?sort=name:asc&limit=2", version="3.71").json()
    seen = [one["name"] for one in page[noun]]
    link = page[f"{noun.removesuffix('s')}_links"][0]["href"].removeprefix("http://here:8776")
    seen += [one["name"] for one in grouped("GET", link, version="3.71").json()[noun]]
    assert seen == names


def test_group_snapshots_came_all_together_before_3_29(grouped: Api) -> None:
    grouped.given("group_snapshots", group_id=ID)

    assert len(grouped("GET", f"{TAKEN}?limit=1&name=x&odd=1", version="3.28").json()["group_snapshots"]) == 2
    assert len(grouped("GET", f"{TAKEN}?limit=1", version="3.29").json()["group_snapshots"]) == 1


def test_what_others_have_is_not_there(grouped: Api) -> None:
    for url in (f"{GROUPS}/{ID}", f"{TAKEN}/{ID}", f"{CGS}/{ID}", f"{CG_TAKEN}/{ID}"):
        assert grouped("GET", url, version="3.71", token="user:p2").status_code == 404
    for url, noun in ((GROUPS, "groups"), (TAKEN, "group_snapshots"), (CGS, "consistencygroups")):
        assert grouped("GET", f"{url}?all_tenants=1", version="3.71", token="user:p2").json()[noun] == []
        assert len(grouped("GET", f"{url}?all_tenants=1", version="3.71", token="admin:p2").json()[noun]) == 1
    for method, url, body in (
        ("PUT", f"{GROUPS}/{ID}", {"group": {"name": "x"}}),
        ("POST", f"{GROUPS}/{ID}/action", {"delete": {}}),
        ("DELETE", f"{TAKEN}/{ID}", None),
        ("POST", TAKEN, {"group_snapshot": {"group_id": ID}}),
        ("POST", f"{CGS}/{ID}/delete", None),
        ("PUT", f"{CGS}/{ID}/update", {"consistencygroup": {"name": "x"}}),
        ("DELETE", f"{CG_TAKEN}/{ID}", None),
    ):
        assert grouped(method, url, body, version="3.71", token="user:p2").status_code == 404, url


# --- their older names -----------------------------------------------------------------------------------------------


def test_consistency_groups_have_their_keys(grouped: Api) -> None:
    """In the oldest version, too; every group is listed among them."""
    shown = grouped("GET", f"{CGS}/{ID}").json()["consistencygroup"]
    (listed,) = grouped("GET", f"{CGS}/detail").json()["consistencygroups"]
    taken = grouped("GET", f"{CG_TAKEN}/{ID}").json()["cgsnapshot"]
    (taken_listed,) = grouped("GET", f"{CG_TAKEN}/detail").json()["cgsnapshots"]

    assert set(shown) == set(listed) == set(CONSISTENCY_GROUP)
    assert set(taken) == set(taken_listed) == set(CGSNAPSHOT)
    assert not keys.wrong_types(CONSISTENCY_GROUP, shown)
    assert not keys.wrong_types(CGSNAPSHOT, taken)
    assert shown["volume_types"] == [DEFAULT_TYPE_ID]


def test_a_consistency_group_is_made_where_a_backend_can(grouped: Api) -> None:
    """None can here, and it says so."""
    body = {"consistencygroup": {"name": "cg", "volume_types": f"{DEFAULT_TYPE_NAME},", "odd": 1}}
    answer = grouped("POST", CGS, body)

    assert (answer.status_code, set(answer.json()["consistencygroup"])) == (202, SUMMARY)
    row = grouped.row(tables.volume_groups, answer.json()["consistencygroup"]["id"])
    assert (row["status"], row["group_type_id"]) == ("error", CONSISTENT_TYPE_ID)
    (message,) = grouped.rows(tables.messages)
    assert "consistent_group_snapshot_enabled" in message["user_message"]
    assert grouped("POST", CGS, {"consistencygroup": {"volume_types": ","}}).status_code == 400


def test_a_consistency_group_is_changed_taken_copied_and_deleted(grouped: Api) -> None:
    id_, taken = given_consistency_group(grouped)
    volume = grouped.given_volume(group_id=id_)
    assert grouped("PUT", f"{CGS}/{id_}/update", {"consistencygroup": {"name": "new"}}).status_code == 202
    for minor, status in ((5, 400), (6, 202)):
        body = {"consistencygroup": {"name": ""}}
        assert grouped("PUT", f"{CGS}/{id_}/update", body, version=f"3.{minor}").status_code == status

    source = {"consistencygroup-from-src": {"name": "copy", "source_cgid": id_}}
    assert grouped("POST", f"{CGS}/create_from_src", source).status_code == 202
    assert grouped("POST", f"{CGS}/create_from_src", {"consistencygroup-from-src": {}}).status_code == 400
    answer = grouped("POST", CG_TAKEN, {"cgsnapshot": {"consistencygroup_id": id_}})
    assert (answer.status_code, set(answer.json()["cgsnapshot"])) == (202, SUMMARY)
    assert grouped("DELETE", f"{CG_TAKEN}/{taken}").status_code == 202
    assert grouped("POST", f"{CGS}/{id_}/delete").status_code == 400  # it has volumes, and a snapshot
    assert grouped("POST", f"{CGS}/{id_}/delete", {"consistencygroup": {"force": True}}).status_code == 400
    assert grouped.row(tables.volumes, volume)["status"] == "available"


def test_an_empty_consistency_group_is_deleted(grouped: Api) -> None:
    for body in (None, {}, {"consistencygroup": {"force": "false"}}):
        id_ = grouped.given("volume_groups", group_type_id=CONSISTENT_TYPE_ID)
        assert grouped("POST", f"{CGS}/{id_}/delete", body).status_code == 202
        assert grouped("GET", f"{CGS}/{id_}").status_code == 404


def test_consistency_groups_are_kept_from_the_calls_for_groups(grouped: Api) -> None:
    id_, taken = given_consistency_group(grouped)
    for method, url, body in (
        ("GET", f"{GROUPS}/{id_}", None),
        ("PUT", f"{GROUPS}/{id_}", {"group": {"name": "x"}}),
        ("POST", f"{GROUPS}/{id_}/action", {"delete": {}}),
        ("POST", f"{GROUPS}/action", {"create-from-src": {"source_group_id": id_}}),
        ("POST", f"{GROUPS}/action", {"create-from-src": {"group_snapshot_id": taken}}),
        ("POST", TAKEN, {"group_snapshot": {"group_id": id_}}),
        ("GET", f"{TAKEN}/{taken}", None),
        ("DELETE", f"{TAKEN}/{taken}", None),
    ):
        answer = grouped(method, url, body, version="3.71")
        assert (answer.status_code, "reserved for consistency groups" in answer.text) == (400, True), url
    assert [one["id"] for one in grouped("GET", GROUPS, version="3.71").json()["groups"]] == [ID]
    assert [one["id"] for one in grouped("GET", TAKEN, version="3.71").json()["group_snapshots"]] == [ID]
    assert len(grouped("GET", CGS).json()["consistencygroups"]) == 2
