"""Cleaning up after lost services, as requests and answers."""

from typing import Any

import pytest
from tests.api.admin_api import NOW_US, AdminApi, message_of, sample

from breezeblock.store import tables

RESOURCE = "b122f668-d15a-40f8-af21-38d218796ab8"


@pytest.fixture
def api() -> AdminApi:
    return AdminApi()


def given_operation(api: AdminApi, *, owner: str | None, queue: str = "c@file") -> None:
    row = {
        "id": "o1", "kind": "create_volume", "version": 1, "queue": queue, "resource_type": "volume",
        "resource_id": RESOURCE, "project_id": "p1", "user_id": "u", "request_id": "r", "payload_json": "{}",
        "owner": owner, "created_at_us": NOW_US,
    }  # fmt: skip
    api.given(tables.operations, **row)


def clean(api: AdminApi, body: object = None) -> tuple[list[str], list[str]]:
    """The hosts that are being cleaned, and those that cannot be."""
    answer = api("POST", "workers/cleanup", body or {})
    assert answer.status_code == 202, answer.text
    told = answer.json()
    return [one["host"] for one in told["cleaning"]], [one["host"] for one in told["unavailable"]]


def owner(api: AdminApi) -> Any:
    (operation,) = api.rows(tables.operations)
    return operation["owner"]


def test_the_answer_has_the_form_of_the_sample(api: AdminApi) -> None:
    api.given_node("n1", state="fenced")
    api.given_node("n2")

    told = api("POST", "workers/cleanup", {"host": "n1@file"}).json()

    expected = sample("worker-cleanup-response.json")
    assert told.keys() == expected.keys()
    assert told["cleaning"][0].keys() == expected["cleaning"][0].keys()
    assert type(told["cleaning"][0]["id"]) is int


def test_what_a_dead_node_owns_is_released_at_once(api: AdminApi) -> None:
    api.given_node("n1", state="fenced")
    api.given_node("n2")
    given_operation(api, owner="n1-1")

    assert clean(api) == (["n1@file"], [])
    assert owner(api) is None


def test_what_an_unfenced_node_owns_is_not_touched(api: AdminApi) -> None:
    """It may still be writing: releasing would be two writers."""
    api.given_node("n1", state="expired")
    api.given_node("n2")
    given_operation(api, owner="n1-1")

    assert clean(api) == ([], ["n1@file"])
    assert owner(api) == "n1-1"


def test_a_lost_incarnation_counts_although_the_node_has_come_back(api: AdminApi) -> None:
    api.given_node("n1", incarnation="n1-1", state="expired")
    api.given_node("n1", incarnation="n1-2", started_at_us=NOW_US + 1)

    assert clean(api, {"is_up": True, "binary": "cinder-volume"}) == ([], ["n1@file"])


def test_a_backend_that_is_fenced_is_cleaned_while_the_others_still_wait(api: AdminApi) -> None:
    api.given_node("n1", state="expired", queues=("c@file", "c@fast"))
    api.given_node("n2", queues=("c@file", "c@fast"))
    api.given(tables.node_backends, incarnation="n1-1", queue="c@file", identity_json="{}", fenced_by="storage")
    given_operation(api, owner="n1-1")

    assert clean(api) == (["n1@file"], ["n1@fast"])
    assert owner(api) is None


def test_nobody_is_there_to_take_over(api: AdminApi) -> None:
    api.given_node("n1", state="fenced")
    given_operation(api, owner="n1-1")

    assert clean(api) == ([], ["n1@file"])
    assert owner(api) is None


@pytest.mark.parametrize(
    ("body", "cleaning"),
    [
        ({}, ["down@fast", "down@file"]),
        ({"is_up": "false"}, ["down@fast", "down@file"]),
        ({"is_up": True, "binary": "cinder-volume"}, ["up@fast", "up@file"]),
        ({"is_up": True, "binary": "cinder-scheduler"}, ["c"]),
        ({"host": "down"}, ["down@fast", "down@file"]),
        ({"host": "down@file"}, ["down@file"]),
        ({"host": "up@file"}, []),
        ({"cluster_name": "c@fast"}, ["down@fast"]),
        ({"cluster_name": "c", "disabled": True}, ["down@file"]),
        ({"disabled": "false", "resource_type": "volume"}, ["down@fast"]),
        ({"resource_id": RESOURCE}, ["down@file"]),
        ({"resource_id": RESOURCE.upper(), "resource_type": "Volume"}, ["down@file"]),
    ],
)
def test_services_are_selected(api: AdminApi, body: object, cleaning: list[str]) -> None:
    api.given_node("up", queues=("c@file", "c@fast"))
    api.given_node("down", queues=("c@file", "c@fast"), state="gone")
    api("PUT", "os-services/disable", {"host": "down@file", "binary": "cinder-volume"})
    given_operation(api, owner="down-1")

    assert clean(api, body) == (cleaning, [])


def test_a_service_is_selected_by_the_number_it_was_shown_with(api: AdminApi) -> None:
    api.given_node("up")
    api.given_node("d1", state="fenced")
    api.given_node("d2", state="fenced")
    numbers = [one["id"] for one in api("POST", "workers/cleanup", {}).json()["cleaning"]]

    assert clean(api, {"service_id": numbers[1]}) == (["d2@file"], [])
    assert clean(api, {"service_id": str(numbers[0])}) == (["d1@file"], [])


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"resource_id": RESOURCE}, RESOURCE),
        ({"resource_id": "b1"}, "resource_id"),
        ({"resource_type": "Backup"}, "Volume, Snapshot"),
        ({"binary": "cinder-api"}, "cinder-api"),
        ({"service_id": "one"}, "service_id"),
        ({"is_up": "perhaps"}, "is_up"),
        ({"host": "n 1"}, "n 1"),
        ({"color": "red"}, "color"),
    ],
)
def test_what_cannot_be_is_refused(api: AdminApi, body: object, says: str) -> None:
    api.given_node()

    answer = api("POST", "workers/cleanup", body)

    assert answer.status_code == 400
    assert says in message_of(answer)


def test_it_is_the_administrators_and_there_since_3_24(api: AdminApi) -> None:
    assert api("POST", "workers/cleanup", {}, member=True).status_code == 403
    assert api("POST", "workers/cleanup", {}, version="3.23").status_code == 404
