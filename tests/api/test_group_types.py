"""Group types and their specs."""

import uuid

import pytest
from tests.api import keys
from tests.api.builders import GROUP_TYPE, group_type_row
from tests.api.keys_groups import GROUP_TYPE as KEYS
from tests.api.world import Api

from breezeblock.resources.group_types import CONSISTENT_TYPE_ID
from breezeblock.store import tables

ADMIN = "admin:p1"
TYPES = "/v3/group_types"


@pytest.fixture
def typed(api: Api) -> Api:
    """There is a public type and a private one."""
    api.given("group_types")
    api.given("group_types", id=str(uuid.uuid4()), name="hidden", is_public=False)
    return api


@pytest.mark.parametrize("token", ["user:p1", ADMIN])
def test_a_type_has_its_keys(typed: Api, token: str) -> None:
    shown = typed("GET", f"{TYPES}/{GROUP_TYPE}", version="3.11", token=token).json()["group_type"]
    listed = typed("GET", TYPES, version="3.71", token=token).json()["group_types"]

    expected = keys.names(KEYS, minor=11, admin=token == ADMIN, attributes=True)
    assert set(shown) == expected == set(listed[0])
    assert not keys.wrong_types(KEYS, shown)


def test_types_come_with_3_11(typed: Api) -> None:
    assert typed("GET", TYPES, version="3.10", token=ADMIN).status_code == 404


def test_a_type_is_made_changed_and_removed(api: Api) -> None:
    body = {"group_type": {"name": "gold", "group_specs": {"tier": "gold"}, "is_public": "false"}}
    answer = api("POST", TYPES, body, version="3.11", token=ADMIN)
    made = answer.json()["group_type"]
    assert (answer.status_code, made["group_specs"], made["is_public"]) == (202, {"tier": "gold"}, False)

    url = f"{TYPES}/{made['id']}"
    answer = api("PUT", url, {"group_type": {"name": "silver", "is_public": True}}, version="3.11", token=ADMIN)
    assert (answer.status_code, answer.json()["group_type"]["name"]) == (200, "silver")
    assert api("DELETE", url, version="3.11", token=ADMIN).status_code == 202
    assert api("GET", url, version="3.11", token=ADMIN).status_code == 404


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"group_type": {"name": "plain"}}, 409, "already exists"),
        ({"group_type": {"name": " "}}, 400, "group_type.name"),
        ({"group_type": {}}, 400, "name"),
        ({"group_type": {"name": "x", "odd": 1}}, 400, "odd"),
        ({"group_type": {"name": "x", "group_specs": {"k": 1}}}, 400, "group_type.group_specs.k = 1"),
    ],
)
def test_a_type_that_cannot_be_is_refused(typed: Api, body: object, status: int, words: str) -> None:
    answer = typed("POST", TYPES, body, version="3.11", token=ADMIN)

    assert (answer.status_code, words in answer.text) == (status, True)


@pytest.mark.parametrize(
    ("body", "status"),
    [({"group_type": {}}, 400), ({"group_type": {"name": "hidden"}}, 409), ({"group_type": {"name": ""}}, 400)],
)
def test_a_change_that_cannot_be_is_refused(typed: Api, body: object, status: int) -> None:
    assert typed("PUT", f"{TYPES}/{GROUP_TYPE}", body, version="3.11", token=ADMIN).status_code == status


def test_members_see_public_types_and_change_none(typed: Api) -> None:
    hidden = next(row["id"] for row in typed.rows(tables.group_types) if not row["is_public"])

    assert [one["name"] for one in typed("GET", TYPES, version="3.11").json()["group_types"]] == ["plain"]
    assert typed("GET", f"{TYPES}/{hidden}", version="3.11").status_code == 404
    for method, url in (("POST", TYPES), ("PUT", f"{TYPES}/{GROUP_TYPE}"), ("DELETE", f"{TYPES}/{GROUP_TYPE}")):
        assert typed(method, url, {"group_type": {"name": "x"}}, version="3.11").status_code == 403
    assert typed("GET", f"{TYPES}/{GROUP_TYPE}/group_specs", version="3.11").status_code == 403


@pytest.mark.parametrize(("asked", "found"), [("none", 2), ("true", 1), ("false", 1)])
def test_administrators_ask_for_public_and_private_types(typed: Api, asked: str, found: int) -> None:
    answer = typed("GET", f"{TYPES}?is_public={asked}", version="3.11", token=ADMIN)

    assert len(answer.json()["group_types"]) == found


def test_types_come_in_pages(typed: Api) -> None:
    first = typed("GET", f"{TYPES}?is_public=none&sort=name:asc&limit=1", version="3.11", token=ADMIN).json()
    link = first["group_type_links"][0]["href"].partition("http://here:8776")[2]
    second = typed("GET", link, version="3.11", token=ADMIN).json()

    assert [one["name"] for one in (*first["group_types"], *second["group_types"])] == ["hidden", "plain"]
    assert typed("GET", f"{TYPES}?marker=nobody", version="3.11").status_code == 404


def test_the_default_type_is_the_one_that_the_settings_name(typed: Api) -> None:
    """They name none here."""
    answer = typed("GET", f"{TYPES}/default", version="3.11")

    assert (answer.status_code, "service.default_group_type" in answer.text) == (404, True)


def test_specs_are_set_shown_and_removed(typed: Api) -> None:
    url = f"{TYPES}/{GROUP_TYPE}/group_specs"
    answer = typed("POST", url, {"group_specs": {"a": "1", "b": None}}, version="3.11", token=ADMIN)
    assert (answer.status_code, answer.json()) == (202, {"group_specs": {"a": "1", "b": None}})
    answer = typed("PUT", f"{url}/a", {"a": "2"}, version="3.11", token=ADMIN)
    assert (answer.status_code, answer.json()) == (200, {"a": "2"})
    assert typed("GET", f"{url}/a", version="3.11", token=ADMIN).json() == {"a": "2"}
    assert typed("DELETE", f"{url}/a", version="3.11", token=ADMIN).status_code == 202

    assert typed("GET", url, version="3.11", token=ADMIN).json() == {"group_specs": {"key": "value", "b": None}}
    for method in ("GET", "DELETE"):
        assert typed(method, f"{url}/a", version="3.11", token=ADMIN).status_code == 404
    assert typed("PUT", f"{url}/a", {"b": "2"}, version="3.11", token=ADMIN).status_code == 400
    assert typed("GET", f"{TYPES}/{uuid.uuid4()}/group_specs", version="3.11", token=ADMIN).status_code == 404


def test_the_type_of_consistency_groups_stays(api: Api) -> None:
    api.insert(tables.group_types, group_type_row(id=CONSISTENT_TYPE_ID))

    answer = api("DELETE", f"{TYPES}/{CONSISTENT_TYPE_ID}", version="3.11", token=ADMIN)

    assert (answer.status_code, "cannot be deleted" in answer.text) == (400, True)
