"""Volume transfers, as requests and answers, under both URLs."""

from typing import Any

import pytest
from tests.api.admin_api import message_of, sample
from tests.api.builders import START_US
from tests.api.keys_transfers import CREATED, DETAIL, SUMMARY, keys
from tests.api.world import Api

from breezeblock.resources.transfers import key_hash
from breezeblock.resources.types import DEFAULT_TYPE_ID
from breezeblock.store import tables

URLS = ("/v3/p1/volume-transfers", "/v3/p1/os-volume-transfer")
OTHER = "user:p2"
KEY = "0123456789abcdef"
both = pytest.mark.parametrize("url", URLS)


def charged(api: Api, **values: Any) -> str:
    """A volume of `p1` that its project is charged for."""
    return api.given_volume(charged_gib=1, charged_type_id=DEFAULT_TYPE_ID, **values)


def given_transfer(api: Api, number: int = 1, **values: Any) -> str:
    id_ = f"eeeeeeee-0000-4000-8000-{number:012}"
    row = {
        "id": id_, "volume_id": f"v{number}", "project_id": "p1", "name": f"t{number}", "no_snapshots": False,
        "salt": "5a17", "key_hash": key_hash("5a17", KEY), "created_at_us": START_US + number,
    }  # fmt: skip
    api.insert(tables.transfers, row | values)
    return id_


def names(answer: Any) -> list[str]:
    return [one["name"] for one in answer.json()["transfers"]]


@both
@pytest.mark.parametrize("minor", [0, 54, 55, 56, 57, 70, 71])
def test_answers_have_the_keys_of_their_version(api: Api, url: str, minor: int) -> None:
    volume = charged(api)
    version = f"3.{minor}"

    made = api("POST", url, {"transfer": {"volume_id": volume, "name": " gift "}}, version=version)
    shown = api("GET", f"{url}/{made.json()['transfer']['id']}", version=version)
    details = api("GET", f"{url}/detail", version=version)
    summaries = api("GET", url, version=version)
    id_, auth_key = made.json()["transfer"]["id"], made.json()["transfer"]["auth_key"]
    taken = api(
        "POST",
        f"{url.replace('p1', 'p2')}/{id_}/accept",
        {"accept": {"auth_key": auth_key}},
        version=version,
        token=OTHER,
    )

    assert [one.status_code for one in (made, shown, details, summaries, taken)] == [202, 200, 200, 200, 202]
    assert made.json()["transfer"].keys() == keys(CREATED, minor)
    assert shown.json()["transfer"].keys() == keys(DETAIL, minor)
    assert details.json()["transfers"] == [shown.json()["transfer"]]
    assert [one.keys() for one in summaries.json()["transfers"]] == [keys(SUMMARY, minor)]
    assert taken.json()["transfer"].keys() == keys(SUMMARY, minor)
    assert shown.json()["transfer"]["name"] == "gift"
    assert shown.json()["transfer"]["links"] == [
        {"rel": "self", "href": f"http://here:8776/v3/p1/os-volume-transfer/{id_}"},
        {"rel": "bookmark", "href": f"http://here:8776/p1/os-volume-transfer/{id_}"},
    ]


def test_samples_have_the_same_keys(api: Api) -> None:
    for version, folder in (
        ("3.0", "volume_transfer/volume-transfer"),
        ("3.57", "volume_transfers/v3.57/volume-transfers"),
    ):
        body = {"transfer": {"volume_id": charged(api)}}
        made = api("POST", URLS[0], body, version=version).json()
        shown = api("GET", f"{URLS[0]}/{made['transfer']['id']}", version=version).json()
        assert made["transfer"].keys() == sample(f"{folder}-create-response.json")["transfer"].keys()
        assert shown["transfer"].keys() == sample(f"{folder}-show-response.json")["transfer"].keys()


def test_the_key_is_shown_once_and_never_kept(api: Api) -> None:
    volume = charged(api)

    made = api("POST", URLS[0], {"transfer": {"volume_id": volume}}).json()["transfer"]

    assert len(made["auth_key"]) == 16
    assert set(made["auth_key"]) <= set("0123456789abcdef")
    kept = api.rows(tables.transfers)
    assert made["auth_key"] not in str(kept)
    assert kept[0]["key_hash"] == key_hash(kept[0]["salt"], made["auth_key"])
    assert "auth_key" not in api("GET", f"{URLS[0]}/{made['id']}").text
    assert "hash" not in api("GET", f"{URLS[0]}/detail").text


def test_a_volume_changes_hands_and_is_paid_for_by_who_has_it(api: Api) -> None:
    volume = charged(api)
    snapshot = api.given(
        "snapshots", volume_id=volume, charged_gib=1, volume_type_id=DEFAULT_TYPE_ID, charged_type_id=DEFAULT_TYPE_ID
    )
    for resource, used in (("volumes", 1), ("snapshots", 1), ("gigabytes", 2)):
        api.insert(tables.quota_usage, {"project_id": "p1", "resource": resource, "in_use": used})
    made = api("POST", URLS[0], {"transfer": {"volume_id": volume}}, version="3.55").json()["transfer"]
    assert api("GET", f"/v3/p1/volumes/{volume}").json()["volume"]["status"] == "awaiting-transfer"

    taken = api("POST", f"/v3/p2/volume-transfers/{made['id']}/accept", accepted(made["auth_key"]), token=OTHER)

    assert taken.status_code == 202
    assert api("GET", f"/v3/p1/volumes/{volume}").status_code == 404
    assert api("GET", f"/v3/p2/volumes/{volume}", token=OTHER).json()["volume"]["status"] == "available"
    assert api("GET", f"/v3/p2/snapshots/{snapshot}", token=OTHER).status_code == 200
    limits = api("GET", "/v3/p2/limits", token=OTHER).json()["limits"]["absolute"]
    assert (limits["totalVolumesUsed"], limits["totalSnapshotsUsed"], limits["totalGigabytesUsed"]) == (1, 1, 2)
    limits = api("GET", "/v3/p1/limits").json()["limits"]["absolute"]
    assert (limits["totalVolumesUsed"], limits["totalSnapshotsUsed"], limits["totalGigabytesUsed"]) == (0, 0, 0)


def accepted(auth_key: Any) -> dict[str, Any]:
    return {"accept": {"auth_key": auth_key}}


@both
def test_snapshots_are_left_out_by_the_newer_url_since_3_55(api: Api, url: str) -> None:
    body = {"transfer": {"volume_id": charged(api), "no_snapshots": True}}

    before, after = api("POST", url, body, version="3.54"), api("POST", url, body, version="3.55")

    assert before.status_code == 400
    assert "no_snapshots" in message_of(before)
    assert after.status_code == (202 if url == URLS[0] else 400)
    assert [row["no_snapshots"] for row in api.rows(tables.transfers)] == [True] * (url == URLS[0])


@both
@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({}, "transfer"),
        ({"transfer": {}}, "volume_id"),
        ({"transfer": {"volume_id": "x"}}, "UUID"),
        ({"transfer": {"volume_id": 3}}, "UUID"),
        ({"transfer": {"volume_id": "aaaaaaaa-0000-4000-8000-000000000001", "name": "n" * 256}}, "name"),
        ({"transfer": {"volume_id": "aaaaaaaa-0000-4000-8000-000000000001", "more": 1}}, "more"),
    ],
)
def test_a_wrong_body_is_400(api: Api, url: str, body: Any, named: str) -> None:
    answer = api("POST", url, body)

    assert answer.status_code == 400
    assert named in message_of(answer)


@both
def test_what_is_refused_says_why(api: Api, url: str) -> None:
    busy, theirs = charged(api, status="in-use"), charged(api, project_id="p2")

    assert api("POST", url, {"transfer": {"volume_id": busy}}).status_code == 400
    assert "available" in message_of(api("POST", url, {"transfer": {"volume_id": busy}}))
    for missing in (theirs, "aaaaaaaa-0000-4000-8000-000000000001"):
        answer = api("POST", url, {"transfer": {"volume_id": missing}})
        assert (answer.status_code, message_of(answer)) == (404, f"Volume {missing} could not be found.")


@both
@pytest.mark.parametrize("auth_key", ["wrong", 5, ""])
def test_a_wrong_key_is_400_and_an_unknown_transfer_404(api: Api, url: str, auth_key: Any) -> None:
    id_ = given_transfer(api, volume_id=charged(api, status="awaiting-transfer"))

    wrong = api("POST", f"{url}/{id_}/accept", accepted(auth_key))
    missing = api("POST", f"{url}/other/accept", accepted(KEY))

    assert (wrong.status_code, missing.status_code) == (400, 404)
    assert "Invalid auth key" in message_of(wrong)
    assert message_of(missing) == "Transfer other could not be found."
    assert len(api.rows(tables.transfers)) == 1


def test_a_key_of_digits_may_be_a_number(api: Api) -> None:
    id_ = given_transfer(api, volume_id=charged(api, status="awaiting-transfer"), key_hash=key_hash("5a17", "1234"))

    assert api("POST", f"{URLS[0]}/{id_}/accept", accepted(1234)).status_code == 202


@pytest.mark.parametrize("body", [{}, {"accept": {}}, accepted(None), accepted(True), accepted({}), accepted(1.5)])
def test_a_wrong_body_of_an_accept_is_400(api: Api, body: Any) -> None:
    id_ = given_transfer(api)

    assert api("POST", f"{URLS[0]}/{id_}/accept", body).status_code == 400


def test_over_quota_is_413_and_nothing_has_changed(api: Api) -> None:
    api.insert(tables.quotas, {"project_id": "p2", "resource": "gigabytes", "hard_limit": 0})
    volume = charged(api, status="awaiting-transfer")
    id_ = given_transfer(api, volume_id=volume)

    answer = api("POST", f"/v3/p2/volume-transfers/{id_}/accept", accepted(KEY), token=OTHER)

    assert (answer.status_code, answer.headers["Retry-After"]) == (413, "0")
    assert "gigabytes" in message_of(answer)
    assert api.row(tables.volumes, volume)["project_id"] == "p1"
    assert len(api.rows(tables.transfers)) == 1


@both
def test_a_deleted_transfer_is_gone_and_the_volume_available(api: Api, url: str) -> None:
    volume = charged(api, status="awaiting-transfer")
    id_ = given_transfer(api, volume_id=volume)

    answers = [api("DELETE", f"{url}/{id_}") for _ in range(2)]

    assert [one.status_code for one in answers] == [202, 404]
    assert answers[0].content == b""
    assert api.row(tables.volumes, volume)["status"] == "available"


def test_another_projects_transfer_looks_like_none(api: Api) -> None:
    id_ = given_transfer(api)

    for method, path in (("GET", f"/v3/p2/volume-transfers/{id_}"), ("DELETE", f"/v3/p2/volume-transfers/{id_}")):
        answer = api(method, path, token=OTHER)
        assert (answer.status_code, message_of(answer)) == (404, f"Transfer {id_} could not be found.")
    assert api("GET", "/v3/p2/volume-transfers", token=OTHER).json() == {"transfers": []}
    assert api("GET", "/v3/p2/volume-transfers?all_tenants=1", token=OTHER).json() == {"transfers": []}
    assert names(api("GET", "/v3/p2/volume-transfers?all_tenants=1", token="admin:p2")) == ["t1"]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", ["t3", "t2", "t1"]),
        ("?name=t2", ["t2"]),
        ("?volume_id=v3", ["t3"]),
        ("?name~=t", ["t3", "t2", "t1"]),
        ("?no_snapshots=true", ["t3"]),
        ("?source_project_id=p2", []),
        ("?sort=name:asc", ["t1", "t2", "t3"]),
        ("?sort_key=created_at&sort_dir=asc&limit=2", ["t1", "t2"]),
        ("?limit=1&marker=eeeeeeee-0000-4000-8000-000000000002", ["t1"]),
        ("?limit=1&offset=1", ["t2"]),
        ("?all_tenants=1", ["t3", "t2", "t1"]),
    ],
)
def test_a_list_has_what_was_asked_for(api: Api, query: str, found: list[str]) -> None:
    given_transfer(api, 1)
    given_transfer(api, 2)
    given_transfer(api, 3, no_snapshots=True)
    given_transfer(api, 4, project_id="p2")

    assert names(api("GET", f"{URLS[0]}{query}", version="3.71")) == found
    assert names(api("GET", f"{URLS[0]}/detail{query}", version="3.71")) == found


@pytest.mark.parametrize(("url", "version"), [(URLS[0], "3.58"), (URLS[1], "3.0"), (URLS[1], "3.71")])
def test_before_pages_the_oldest_came_first(api: Api, url: str, version: str) -> None:
    for number in (2, 1, 3):
        given_transfer(api, number)

    assert names(api("GET", url, version=version)) == ["t1", "t2", "t3"]
    assert names(api("GET", f"{url}/detail?limit=1&offset=1", version=version)) == ["t2"]
    assert "transfers_links" not in api("GET", f"{url}?limit=1", version=version).json()


def test_a_full_page_links_to_the_next(api: Api) -> None:
    given_transfer(api, 1)
    given_transfer(api, 2)

    first = api("GET", f"{URLS[0]}/detail?limit=1", version="3.59").json()
    (link,) = first["transfers_links"]
    second = api("GET", link["href"].removeprefix("http://here:8776"), version="3.59").json()

    assert [one["name"] for one in (*first["transfers"], *second["transfers"])] == ["t2", "t1"]


@pytest.mark.parametrize("query", ["?sort=key_hash", "?no_snapshots=maybe", "?limit=-1"])
def test_a_wrong_query_is_400(api: Api, query: str) -> None:
    assert api("GET", f"{URLS[0]}{query}", version="3.71").status_code == 400


@both
@pytest.mark.parametrize("query", ["?unknown=1", "?salt=5a17", "?key_hash=x"])
def test_nothing_has_what_is_no_filter(api: Api, url: str, query: str) -> None:
    """The secrets, above all."""
    given_transfer(api)

    assert names(api("GET", f"{url}{query}", version="3.71")) == []
