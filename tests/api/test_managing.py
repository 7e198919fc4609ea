"""Managing what is on storage already: requests, answers and rows. What nodes do then is in tests/managing."""

import json
import uuid
from typing import Any

import pytest
from tests.api.builders import POOL_NAME, QUEUE, START_US
from tests.api.keys import SNAPSHOT, VOLUME, names, wrong_types
from tests.api.keys_managing import (
    MANAGEABLE_SNAPSHOT,
    MANAGEABLE_SNAPSHOT_DETAIL,
    MANAGEABLE_VOLUME,
    MANAGEABLE_VOLUME_DETAIL,
)
from tests.api.world import Api

from breezeblock.store import tables

ADMIN = "admin:p1"
REF = {"source-name": "disk"}
VOLUME_ID = "11111111-0000-4000-8000-000000000001"
URLS = ("/v3/os-volume-manage", "/v3/manageable_volumes", "/v3/os-snapshot-manage", "/v3/manageable_snapshots")


def manage(api: Api, *, version: str = "3.8", url: str = "/v3/manageable_volumes", **said: Any) -> Any:
    body = {"host": POOL_NAME, "ref": REF} | said
    body = {key: value for key, value in body.items() if value is not ...}
    return api("POST", url, {"volume": body}, version=version, token=ADMIN)


def has_listed(api: Api, *found: dict[str, Any], outcome: str = "done", detail: str = "") -> None:
    """A node is just telling what its backend has."""
    id_ = str(uuid.uuid4())
    common: dict[str, Any] = {"kind": "list_manageable", "queue": QUEUE, "resource_type": "backend", "resource_id": id_}
    common |= {"project_id": "p1", "request_id": "req-1", "created_at_us": START_US}
    api.insert(tables.operations, {"id": id_, "version": 1, "user_id": "u", "payload_json": "{}"} | common)
    told = {"outcome": outcome, "detail": detail or json.dumps(found), "attempt": 0, "epoch": 1, "locks_json": "[]"}
    api.insert(tables.operation_log, {"operation_id": id_, "finished_at_us": START_US} | told | common)


@pytest.mark.parametrize(("url", "version"), [(URLS[0], "3.0"), (URLS[1], "3.8"), (URLS[1], "3.71")])
def test_a_volume_to_be_managed_is_shown_as_the_first_version_shows_it(api: Api, url: str, version: str) -> None:
    said = {"name": " mine ", "metadata": {"a": "b"}, "bootable": "true", "availability_zone": "az2"}
    answer = manage(api, url=url, version=version, **said)

    assert answer.status_code == 202
    shown = answer.json()["volume"]
    assert set(shown) == names(VOLUME, minor=0, admin=True, attributes=False)
    assert wrong_types(VOLUME, shown) == {}
    assert (shown["status"], shown["size"], shown["name"], shown["bootable"]) == ("managing", 0, "mine", "true")
    assert shown["availability_zone"] == "az2"
    row = api.row(tables.volumes, shown["id"])
    assert (row["managed_from"], row["pool_name"], row["charged_gib"]) == ("disk", POOL_NAME, 0)
    (operation,) = api.rows(tables.operations)
    assert (operation["kind"], api.bell.rung) == ("manage_volume", [QUEUE])


@pytest.mark.parametrize(
    ("said", "version"),
    [
        ({"host": ..., "cluster": QUEUE}, "3.16"),
        ({"host": "node-1@file"}, "3.8"),
        ({"host": QUEUE}, "3.8"),
        ({"ref": "disk"}, "3.8"),
        ({"metadata": None, "volume_type": None, "name": None, "description": None}, "3.8"),
    ],
)
def test_a_place_and_a_reference_may_be_said_in_several_ways(api: Api, said: dict[str, Any], version: str) -> None:
    assert manage(api, version=version, **said).status_code == 202


@pytest.mark.parametrize(
    ("said", "version", "why"),
    [
        ({"host": ...}, "3.8", "one of host and cluster"),
        ({"cluster": QUEUE}, "3.16", "one of host and cluster"),
        ({"host": ..., "cluster": QUEUE}, "3.15", "cluster"),
        ({"host": "nowhere@else"}, "3.8", "nowhere@else"),
        ({"ref": ...}, "3.8", "ref"),
        ({"ref": {}}, "3.8", "source-name"),
        ({"ref": {"source-id": "7"}}, "3.8", "source-name"),
        ({"ref": {"source-name": 7}}, "3.8", "source-name"),
        ({"ref": "x" * 256}, "3.8", "1 to 255"),
        ({"volume_type": "nonesuch"}, "3.8", "nonesuch"),
        ({"size": 1}, "3.8", "size"),
        ({"bootable": "maybe"}, "3.8", "bootable"),
    ],
)
def test_what_cannot_be_is_refused(api: Api, said: dict[str, Any], version: str, why: str) -> None:
    answer = manage(api, version=version, **said)

    assert answer.status_code == 400
    assert why in answer.json()["badRequest"]["message"]
    assert api.count(tables.volumes) == 0


def test_what_is_managed_is_not_managed_again(api: Api) -> None:
    api.given_volume(id=VOLUME_ID)
    answer = manage(api, ref={"source-name": f"volume-{VOLUME_ID}"})

    assert answer.status_code == 400
    assert "managed already" in answer.json()["badRequest"]["message"]


@pytest.mark.parametrize("url", URLS)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_it_is_for_administrators(api: Api, url: str, method: str) -> None:
    assert api(method, url, {} if method == "POST" else None, version="3.8").status_code == 403


@pytest.mark.parametrize("url", URLS[1::2])
def test_the_newer_url_appeared_later(api: Api, url: str) -> None:
    assert api("GET", f"{url}?host={QUEUE}", version="3.7", token=ADMIN).status_code == 404


def test_a_volume_is_unmanaged(api: Api) -> None:
    id_ = api.given_volume(object_name="object")
    assert api("POST", f"/v3/volumes/{id_}/action", {"os-unmanage": {}}).status_code == 403
    assert api("POST", f"/v3/volumes/{id_}/action", {"os-unmanage": {}}, token=ADMIN).status_code == 202

    assert api.row(tables.volumes, id_)["status"] == "unmanaging"
    assert [row["kind"] for row in api.rows(tables.operations)] == ["unmanage_volume"]


def test_a_volume_with_a_snapshot_is_not_unmanaged(api: Api) -> None:
    id_ = api.given_volume(object_name="object")
    api.given("snapshots", volume_id=id_)
    answer = api("POST", f"/v3/volumes/{id_}/action", {"os-unmanage": None}, token=ADMIN)

    assert (answer.status_code, api.row(tables.volumes, id_)["status"]) == (400, "available")


def test_a_snapshot_is_managed_and_unmanaged(api: Api) -> None:
    id_ = api.given_volume(object_name="object")
    body = {"snapshot": {"volume_id": id_, "ref": REF, "metadata": {"a": "b"}, "name": "old", "description": None}}
    answer = api("POST", "/v3/manageable_snapshots", body, version="3.8", token=ADMIN)

    assert answer.status_code == 202
    shown = answer.json()["snapshot"]
    assert set(shown) == names(SNAPSHOT, minor=8, admin=True, attributes=False)
    assert (shown["status"], shown["name"], shown["size"]) == ("creating", "old", 1)
    assert api.row(tables.snapshots, shown["id"])["managed_from"] == "disk"
    other = api.given("snapshots", volume_id=id_)
    assert api("POST", f"/v3/snapshots/{other}/action", {"os-unmanage": None}, token=ADMIN).status_code == 202
    assert api.row(tables.snapshots, other)["status"] == "unmanaging"
    assert api("POST", f"/v3/snapshots/{other}/action", {"os-unmanage": None}, token=ADMIN).status_code == 400


def test_a_snapshot_of_nothing_is_not_managed(api: Api) -> None:
    for volume_id, status in ((str(uuid.uuid4()), 404), ("x", 400)):
        body = {"snapshot": {"volume_id": volume_id, "ref": REF}}
        assert api("POST", "/v3/os-snapshot-manage", body, token=ADMIN).status_code == status


FOUND = (
    {"reference": "a", "size_gib": 3},
    {"reference": "b", "size_gib": 1, "why_not": "it is empty"},
    {"reference": "c", "size_gib": 2},
    {"reference": "snapshot-x", "size_gib": 1, "is_snapshot": True},
)


def listed(api: Api, query: str = "", *, url: str = URLS[1], version: str = "3.8") -> Any:
    return api("GET", f"{url}?host={QUEUE}{query}", version=version, token=ADMIN)


def test_a_list_says_what_could_be_managed_and_what_is(api: Api) -> None:
    id_ = api.given_volume(id=VOLUME_ID, object_name=f"{VOLUME_ID}.1.1", size_gib=4)
    api.given("snapshots", volume_id=id_, object_name="s.1.1")
    has_listed(api, *FOUND)
    short = listed(api).json()["manageable-volumes"]
    detail = listed(api, url=f"{URLS[0]}/detail").json()["manageable-volumes"]

    assert [set(one) for one in short] == [set(MANAGEABLE_VOLUME)] * 4
    assert [set(one) for one in detail] == [set(MANAGEABLE_VOLUME_DETAIL)] * 4
    assert [wrong_types(MANAGEABLE_VOLUME_DETAIL, one) for one in detail] == [{}] * 4
    shown = {one["reference"]["source-name"]: (one["size"], one["reason_not_safe"], one["cinder_id"]) for one in detail}
    assert shown == {
        "a": (3, None, None),
        "b": (1, "it is empty", None),
        "c": (2, None, None),
        f"{VOLUME_ID}.1.1": (4, "already managed", VOLUME_ID),
    }


def test_snapshots_are_listed_by_themselves(api: Api) -> None:
    id_ = api.given_volume(object_name="v.1.1")
    api.given("snapshots", volume_id=id_, object_name="s.1.1")
    has_listed(api, *FOUND)
    short = listed(api, url=URLS[3]).json()["manageable-snapshots"]
    detail = listed(api, url=f"{URLS[2]}/detail").json()["manageable-snapshots"]

    assert [set(one) for one in short] == [set(MANAGEABLE_SNAPSHOT)] * 2
    assert [set(one) for one in detail] == [set(MANAGEABLE_SNAPSHOT_DETAIL)] * 2
    assert [wrong_types(MANAGEABLE_SNAPSHOT_DETAIL, one) for one in detail] == [{}] * 2
    assert [one["source_reference"] for one in detail] == [{}, {"source-name": "v.1.1"}]


@pytest.mark.parametrize(
    ("query", "names_"),
    [
        ("", "cba"),
        ("&sort=reference:asc", "abc"),
        ("&sort=size:asc", "bca"),
        ("&sort_key=size&sort_dir=desc", "acb"),
        ("&limit=2", "cb"),
        ("&limit=1&offset=1", "b"),
        ('&marker={"source-name": "c"}', "ba"),
        ('&sort=size:asc&limit=1&marker={"source-name": "b"}', "c"),
    ],
)
def test_a_list_is_sorted_and_cut(api: Api, query: str, names_: str) -> None:
    has_listed(api, *FOUND)

    assert [one["reference"]["source-name"] for one in listed(api, query).json()["manageable-volumes"]] == list(names_)


@pytest.mark.parametrize(
    "query",
    ["&sort=id", "&sort=size:up", "&limit=x", "&offset=-1", "&marker=x", '&marker={"source-name": "x"}', "&marker=7"],
)
def test_a_page_that_cannot_be_is_refused(api: Api, query: str) -> None:
    has_listed(api, *FOUND)

    assert listed(api, query).status_code == 400


def test_a_list_of_a_cluster_came_later(api: Api) -> None:
    has_listed(api, *FOUND)
    for version, status in (("3.16", 400), ("3.17", 200)):
        answer = api("GET", f"{URLS[1]}?cluster={QUEUE}", version=version, token=ADMIN)
        assert answer.status_code == status


def test_a_backend_that_cannot_tell_says_why(api: Api) -> None:
    has_listed(api, outcome="failed", detail="Backend file has no space left.")
    answer = listed(api)

    assert answer.status_code == 500
    assert "no space left" in answer.text


# --- hints ------------------------------------------------------------------------------------------------------------

FAR = "breezeblock@far#pool"


def created(api: Api, hints: dict[str, Any], *, token: str = "user:p1") -> Any:
    body = {"volume": {"size": 1}, "OS-SCH-HNT:scheduler_hints": hints}
    answer = api("POST", "/v3/volumes", body, token=token)
    return api.row(tables.volumes, answer.json()["volume"]["id"]) if answer.status_code == 202 else answer


@pytest.fixture
def two(api: Api) -> Api:
    """A second pool, which has less room, with a volume in it."""
    (pool,) = api.rows(tables.pools)
    more = {"name": FAR, "queue": FAR.partition("#")[0], "total_gib": 50, "free_gib": 50, "allocated_gib": 0}
    api.insert(tables.pools, pool | more)
    api.given_volume(id=VOLUME_ID, pool_name=FAR)
    return api


@pytest.mark.parametrize(
    ("hints", "pool"),
    [
        ({}, POOL_NAME),
        ({"same_host": VOLUME_ID}, FAR),
        ({"same_host": [VOLUME_ID.upper()]}, FAR),
        ({"different_host": [VOLUME_ID]}, POOL_NAME),
        ({"same_host": str(uuid.uuid4())}, None),
        ({"different_host": str(uuid.uuid4())}, POOL_NAME),
        ({"same_host": VOLUME_ID, "different_host": VOLUME_ID}, None),
        ({"query": '["=", "$volume_backend_name", "far"]'}, FAR),
        ({"query": '[">", "$free_capacity_gb", 100000]'}, None),
    ],
)
def test_a_hint_says_where_a_volume_is_to_be(two: Api, hints: dict[str, Any], pool: str | None) -> None:
    row = created(two, hints)

    assert (row["pool_name"], row["status"]) == (pool, "error" if pool is None else "creating")


def test_what_is_not_ours_is_nowhere(two: Api) -> None:
    """Whether another project's volume is there does not show in where ours is put."""
    assert created(two, {"same_host": VOLUME_ID}, token="user:p2")["pool_name"] is None
    assert created(two, {"same_host": VOLUME_ID}, token="admin:p2")["pool_name"] == FAR


def test_a_hint_that_cannot_be_followed_is_refused(two: Api) -> None:
    answer = created(two, {"local_to_instance": VOLUME_ID})

    assert answer.status_code == 400
    assert "no compute service" in answer.json()["badRequest"]["message"]


# --- extensions that somebody else completes ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "why"), [("available", "not being extended"), ("extending", "waits for no completion")]
)
def test_no_extension_waits_for_somebodys_word(api: Api, status: str, why: str) -> None:
    """As of backends that extend by themselves everywhere."""
    id_ = api.given_volume(object_name="object", status=status)
    url, body = f"/v3/volumes/{id_}/action", {"os-extend_volume_completion": {"error": False}}
    assert api("POST", url, body, version="3.71").status_code == 403
    assert api("POST", url, body, version="3.70", token=ADMIN).status_code == 404
    answer = api("POST", url, body, version="3.71", token=ADMIN)

    assert answer.status_code == 400
    assert why in answer.json()["badRequest"]["message"]
    assert api.row(tables.volumes, id_)["status"] == status
    wrong = {"os-extend_volume_completion": {"error": "maybe"}}
    assert "error" in api("POST", url, wrong, version="3.71", token=ADMIN).json()["badRequest"]["message"]
    other = f"/v3/volumes/{uuid.uuid4()}/action"
    assert api("POST", other, body, version="3.71", token=ADMIN).status_code == 404
