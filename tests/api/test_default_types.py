"""The default types of projects, as requests and answers."""

import pytest
from tests.api.admin_api import PROJECT, VOLUME_TYPE, AdminApi, message_of, sample

from breezeblock.resources.types import DEFAULT_TYPE_ID
from breezeblock.store import tables

GOLD = {"default_type": {"volume_type": "gold"}}
ABSENT = "99999999-0000-4000-8000-000000000000"
VOLUME = {"volume": {"size": 1}}


@pytest.fixture
def api() -> AdminApi:
    api = AdminApi()
    api.given_type()
    api.given_node()
    api.given_pool()
    return api


@pytest.mark.parametrize("named", ["gold", VOLUME_TYPE])
def test_a_default_is_set_and_shown(api: AdminApi, named: str) -> None:
    put = api("PUT", "default-types/p1", {"default_type": {"volume_type": named}})

    expected = {"default_type": {"project_id": "p1", "volume_type_id": VOLUME_TYPE}}
    assert (put.status_code, put.json()) == (200, expected)
    assert api("GET", "default-types/p1").json() == expected
    assert api("GET", "default-types").json() == {"default_types": [expected["default_type"]]}
    assert put.json().keys() == sample("set-default-type-response.json").keys()


def test_a_default_is_replaced(api: AdminApi) -> None:
    api.given_type("silver", id_="t2")

    api("PUT", "default-types/p1", GOLD)
    api("PUT", "default-types/p1", {"default_type": {"volume_type": "silver"}})

    assert [row["volume_type_id"] for row in api.rows(tables.default_types)] == ["t2"]


def test_a_default_is_unset_as_often_as_one_likes(api: AdminApi) -> None:
    api("PUT", "default-types/p1", GOLD)

    answers = [api("DELETE", "default-types/p1") for _ in range(2)]

    assert [(one.status_code, one.content) for one in answers] == [(204, b"")] * 2
    assert api.rows(tables.default_types) == []


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "says"),
    [
        ("GET", "default-types/p1", None, 404, "Default type for project p1 not found."),
        ("PUT", "default-types/p1", {"default_type": {"volume_type": "tin"}}, 400, "Volume type with name tin"),
        ("PUT", "default-types/p1", {"default_type": {"volume_type": ABSENT}}, 400, ABSENT),
        ("PUT", "default-types/p1", {"default_type": {"volume_type": ""}}, 400, "volume_type"),
        ("PUT", "default-types/p1", {"default_type": {"volume_type": "gold", "a": 1}}, 400, "a"),
        ("PUT", "default-types/p1", {"default_type": {}}, 400, "volume_type"),
        ("PUT", f"default-types/{'x' * 256}", GOLD, 400, "256"),
    ],
)
def test_refusals(api: AdminApi, method: str, path: str, body: object, status: int, says: str) -> None:
    answer = api(method, path, body)

    assert (answer.status_code, api.rows(tables.default_types)) == (status, [])
    assert says in message_of(answer)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "default-types"),
        ("GET", "default-types/p1"),
        ("PUT", "default-types/p1"),
        ("DELETE", "default-types/p1"),
    ],
)
def test_defaults_are_the_administrators_and_came_with_3_62(api: AdminApi, method: str, path: str) -> None:
    assert api(method, path, GOLD, member=True).status_code == 403
    assert api(method, path, GOLD, version="3.61").status_code == 404


# --- what they do -----------------------------------------------------------------------------------------------------


def test_a_volume_that_names_no_type_gets_the_projects(api: AdminApi) -> None:
    before = api("POST", "volumes", VOLUME, member=True).json()["volume"]
    api("PUT", f"default-types/{PROJECT}", GOLD)
    after = api("POST", "volumes", VOLUME, member=True).json()["volume"]
    named = api("POST", "volumes", {"volume": {"size": 1, "volume_type": "__DEFAULT__"}}, member=True).json()["volume"]

    assert [one["volume_type_id"] for one in (before, after, named)] == [DEFAULT_TYPE_ID, VOLUME_TYPE, DEFAULT_TYPE_ID]


def test_another_projects_default_is_not_ours(api: AdminApi) -> None:
    api("PUT", "default-types/p2", GOLD)

    assert api("POST", "volumes", VOLUME, member=True).json()["volume"]["volume_type_id"] == DEFAULT_TYPE_ID


def test_the_type_called_default_is_the_projects(api: AdminApi) -> None:
    api("PUT", f"default-types/{PROJECT}", GOLD)

    assert api("GET", "types/default", member=True).json()["volume_type"]["id"] == VOLUME_TYPE


def test_a_private_default_is_for_projects_that_were_given_it(api: AdminApi) -> None:
    api("PUT", f"types/{VOLUME_TYPE}", {"volume_type": {"is_public": False}})
    api("PUT", f"default-types/{PROJECT}", GOLD)
    refused = api("POST", "volumes", VOLUME, member=True)

    api("POST", f"types/{VOLUME_TYPE}/action", {"addProjectAccess": {"project": PROJECT}})

    assert (refused.status_code, "ask an administrator" in message_of(refused)) == (404, True)
    assert api("POST", "volumes", VOLUME, member=True).status_code == 202


def test_a_type_that_is_a_default_is_not_deleted(api: AdminApi) -> None:
    api("PUT", "default-types/p2", GOLD)
    refused = api("DELETE", f"types/{VOLUME_TYPE}")

    api("DELETE", "default-types/p2")

    assert refused.status_code == 400
    assert message_of(refused) == f"The volume type {VOLUME_TYPE} is a default volume type and cannot be deleted."
    assert api("DELETE", f"types/{VOLUME_TYPE}").status_code == 202


def test_a_default_costs_a_new_volume_no_statement(api: AdminApi) -> None:
    """Whether a project has one is asked together with the type."""
    api("POST", "volumes", VOLUME)  # makes the accounts
    api("POST", "volumes", VOLUME)
    without = len(api.statements)
    api("PUT", f"default-types/{PROJECT}", GOLD)
    api("POST", "volumes", VOLUME)

    api("POST", "volumes", VOLUME)

    assert len(api.statements) == without
