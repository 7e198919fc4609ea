"""User messages, as requests and answers."""

import pytest
from tests.api.admin_api import NOW, NOW_US, AdminApi, message_of, sample
from tests.api.keys_admin import problems

from breezeblock.store import tables


@pytest.fixture
def api() -> AdminApi:
    return AdminApi()


def test_a_message_has_its_keys(api: AdminApi) -> None:
    api.given_message()

    shown = api("GET", "messages/m1").json()["message"]

    assert problems(shown, "message") == []
    assert shown["created_at"] == shown["guaranteed_until"] == NOW
    assert shown["links"] == [
        {"rel": "self", "href": "http://test/v3/p1/messages/m1"},
        {"rel": "bookmark", "href": "http://test/p1/messages/m1"},
    ]
    assert api("GET", "messages").json() == {"messages": [shown]}
    assert shown.keys() == sample("messages-show-response.json")["message"].keys()


def test_a_message_about_nothing_names_no_resource(api: AdminApi) -> None:
    api.given_message(resource_type=None, resource_id=None)

    shown = api("GET", "messages/m1").json()["message"]

    assert "resource_type" not in shown
    assert "resource_uuid" not in shown


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("", ["m3", "m2", "m1"]),
        ("?resource_uuid=v2", ["m2"]),
        ("?resource_type=SNAPSHOT", ["m3"]),
        ("?event_id=E3", ["m3"]),
        ("?request_id=req-2", ["m2"]),
        ("?message_level=WARNING", ["m1"]),
        ("?message_level=INFO", []),
        ("?sort=event_id:asc", ["m2", "m3", "m1"]),
        ("?sort_key=created_at&sort_dir=asc", ["m1", "m2", "m3"]),
        ("?limit=1&offset=1", ["m2"]),
        ("?limit=1&marker=m2", ["m1"]),
        ("?limit=0", []),
        ("?all_tenants=1", ["m4", "m3", "m2", "m1"]),
    ],
)
def test_a_list_has_what_was_asked_for(api: AdminApi, query: str, ids: list[str]) -> None:
    api.given_message("m1", created_at_us=NOW_US + 1, message_level="WARNING")
    api.given_message("m2", created_at_us=NOW_US + 2, resource_id="v2", request_id="req-2", event_id="E2")
    api.given_message("m3", created_at_us=NOW_US + 3, resource_type="SNAPSHOT", event_id="E3")
    api.given_message("m4", created_at_us=NOW_US + 4, project_id="other", resource_id="v4")

    assert [one["id"] for one in api("GET", f"messages{query}").json()["messages"]] == ids


def test_pages_follow_each_other(api: AdminApi) -> None:
    api.given_message("m1", created_at_us=NOW_US + 1)
    api.given_message("m2", created_at_us=NOW_US + 2)

    first = api("GET", "messages?limit=1").json()

    assert [one["id"] for one in first["messages"]] == ["m2"]
    assert first["messages_links"] == [{"rel": "next", "href": "http://test/v3/p1/messages?limit=1&marker=m2"}]


def test_before_3_5_a_list_has_no_pages(api: AdminApi) -> None:
    api.given_message("m1")
    api.given_message("m2")

    listed = api("GET", "messages?limit=1&request_id=none", version="3.4").json()

    assert (len(listed["messages"]), "messages_links" in listed) == (2, False)


def test_a_message_is_deleted(api: AdminApi) -> None:
    api.given_message()

    codes = [api("DELETE", "messages/m1", member=True).status_code for _ in range(2)]

    assert (codes, api.rows(tables.messages)) == ([204, 404], [])


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_a_message_of_another_project_is_not_there(api: AdminApi, method: str) -> None:
    api.given_message(project_id="other")

    answer = api(method, "messages/m1", member=True)

    assert (answer.status_code, message_of(answer)) == (404, "Message m1 could not be found.")
    assert len(api.rows(tables.messages)) == 1


@pytest.mark.parametrize(
    ("path", "version", "status"),
    [
        ("messages", "3.2", 404),
        ("messages?marker=none", "3.5", 404),
        ("messages?sort=color", "3.5", 400),
        ("messages?limit=-1", "3.5", 400),
        ("messages?color=red", "3.31", 400),
        ("messages?color=red", "3.30", 200),
    ],
)
def test_what_cannot_be_is_refused(api: AdminApi, path: str, version: str, status: int) -> None:
    assert api("GET", path, version=version).status_code == status


@pytest.mark.parametrize("count", [1, 40])
def test_a_list_costs_the_same_however_long_it_is(api: AdminApi, count: int) -> None:
    api.many(count, lambda i: api.given_message(f"m{i}"))

    listed = api("GET", "messages").json()["messages"]

    assert (len(listed), len(api.statements)) == (count, 1)
