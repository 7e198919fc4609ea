"""Volume types, their extra specs and who may use them, as requests and answers."""

import pytest
from tests.api.admin_api import PROJECT, VOLUME_TYPE, AdminApi, message_of, sample
from tests.api.keys_admin import problems

from breezeblock.resources.types import DEFAULT_TYPE_ID
from breezeblock.store import tables

NEW = {"volume_type": {"name": "gold", "extra_specs": {"tier": "gold"}}}
ABSENT = "99999999-0000-4000-8000-000000000000"


@pytest.fixture
def api() -> AdminApi:
    return AdminApi()


# --- what answers look like -------------------------------------------------------------------------------------------


def test_a_created_type_has_its_keys(api: AdminApi) -> None:
    answer = api("POST", "types", NEW)

    assert answer.status_code == 200
    assert problems(answer.json()["volume_type"], "type, created") == []
    assert answer.json()["volume_type"]["extra_specs"] == {"tier": "gold"}


def test_an_updated_type_has_its_keys(api: AdminApi) -> None:
    api.given_type()

    answer = api("PUT", f"types/{VOLUME_TYPE}", {"volume_type": {"name": "silver", "is_public": "false"}})

    assert answer.status_code == 200
    assert problems(answer.json()["volume_type"], "type, updated") == []
    assert answer.json()["volume_type"]["is_public"] is False


@pytest.mark.parametrize(("member", "what"), [(False, "type"), (True, "type, for members")])
def test_a_type_has_its_keys(api: AdminApi, member: bool, what: str) -> None:
    api.given_type()

    shown = api("GET", f"types/{VOLUME_TYPE}", member=member).json()["volume_type"]
    listed = api("GET", "types", member=member).json()["volume_types"]

    assert problems(shown, what) == []
    assert [problems(one, what) for one in listed] == [[], []]


def test_the_default_type_has_its_keys(api: AdminApi) -> None:
    shown = api("GET", "types/default").json()["volume_type"]

    assert problems(shown, "type, default") == []
    assert (shown["id"], shown["name"]) == (DEFAULT_TYPE_ID, "__DEFAULT__")


@pytest.mark.parametrize(
    ("name", "method", "path", "body"),
    [
        ("create", "POST", "types", NEW),
        ("show", "GET", f"types/{DEFAULT_TYPE_ID}", None),
        ("default", "GET", "types/default", None),
        ("update", "PUT", f"types/{DEFAULT_TYPE_ID}", {"volume_type": {"description": "d"}}),
    ],
)
def test_answers_have_the_keys_of_the_samples(api: AdminApi, name: str, method: str, path: str, body: object) -> None:
    expected = sample(f"volume_type/volume-type-{name}-response.json")["volume_type"]

    assert api(method, path, body).json()["volume_type"].keys() == expected.keys()


def test_members_see_the_extra_specs_that_help_them_choose(api: AdminApi) -> None:
    api.given_type(specs={"multiattach": "<is> True", "vendor:secret": "x"})

    shown = api("GET", f"types/{VOLUME_TYPE}", member=True).json()["volume_type"]

    assert shown["extra_specs"] == {"multiattach": "<is> True"}
    assert api("GET", f"types/{VOLUME_TYPE}/extra_specs", member=True).json() == {
        "extra_specs": {"multiattach": "<is> True"}
    }
    assert api("GET", f"types/{VOLUME_TYPE}/extra_specs/vendor:secret", member=True).status_code == 404


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "says"),
    [
        ("POST", "types", {"volume_type": {}}, 400, "name"),
        ("POST", "types", {"volume_type": {"name": " "}}, 400, '" "'),
        ("POST", "types", {"volume_type": {"name": "x" * 256}}, 400, "255"),
        ("POST", "types", {"volume_type": {"name": "a", "color": "red"}}, 400, "color"),
        ("POST", "types", {"volume_type": {"name": "a", "os-volume-type-access:is_public": "maybe"}}, 400, "maybe"),
        ("POST", "types", {"volume_type": {"name": "a", "extra_specs": {"a b": "x", "ö": "x"}}}, 400, "extra_specs"),
        ("POST", "types", {"volume_type": {"name": "gold"}}, 409, "Volume Type gold already exists."),
        ("PUT", f"types/{VOLUME_TYPE}", {"volume_type": {}}, 400, "Specify volume type name"),
        ("PUT", f"types/{VOLUME_TYPE}", {"volume_type": {"name": "__DEFAULT__"}}, 409, "__DEFAULT__"),
        ("PUT", f"types/{ABSENT}", {"volume_type": {"name": "b"}}, 404, ABSENT),
        ("GET", f"types/{ABSENT}", None, 404, ABSENT),
        ("DELETE", f"types/{ABSENT}", None, 404, ABSENT),
        ("DELETE", f"types/{DEFAULT_TYPE_ID}", None, 400, "is a default volume type and cannot be deleted"),
        ("GET", "types?is_public=maybe", None, 400, "maybe"),
        ("GET", "types?color=red", None, 400, "color"),
        ("GET", "types?extra_specs=red", None, 400, "red"),
        ("GET", f"types?marker={ABSENT}", None, 404, ABSENT),
        ("GET", f"types/{ABSENT}/extra_specs", None, 404, ABSENT),
        ("POST", f"types/{VOLUME_TYPE}/extra_specs", {"extra_specs": {"a b": "x"}}, 400, "extra_specs"),
        ("POST", f"types/{VOLUME_TYPE}/extra_specs", {"extra_specs": {"a": 1}}, 400, "extra_specs"),
        ("GET", f"types/{VOLUME_TYPE}/extra_specs/none", None, 404, "has no extra specs with key none"),
        ("DELETE", f"types/{VOLUME_TYPE}/extra_specs/none", None, 404, "has no extra specs with key none"),
        ("PUT", f"types/{VOLUME_TYPE}/extra_specs/a", {"b": "x"}, 400, "Request body and URI mismatch"),
        ("PUT", f"types/{VOLUME_TYPE}/extra_specs/a", {"a": "x", "b": "x"}, 400, "length"),
        (
            "POST", f"types/{VOLUME_TYPE}/extra_specs",
            {"extra_specs": {"multiattach": "<is> True", "cacheable": "<is> True"}}, 400, "cacheable",
        ),
        ("GET", f"types/{VOLUME_TYPE}/os-volume-type-access", None, 404, "public"),
        ("POST", f"types/{VOLUME_TYPE}/action", {"addProjectAccess": {"project": "p"}}, 400, "public"),
        ("POST", f"types/{VOLUME_TYPE}/action", {"removeProjectAccess": {"project": "p"}}, 400, "public"),
        ("POST", f"types/{VOLUME_TYPE}/action", {"addProjectAccess": {"project": ""}}, 400, "project"),
        ("POST", f"types/{VOLUME_TYPE}/action", {"dance": {}}, 400, "dance"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(api: AdminApi, method: str, path: str, body: object, status: int, says: str) -> None:
    """The answer names what was wrong, and nothing has changed."""
    api.given_type()
    before = api.rows(tables.volume_types)

    answer = api(method, path, body)

    assert (answer.status_code, api.rows(tables.volume_types)) == (status, before)
    assert says in message_of(answer)


@pytest.mark.parametrize(
    ("method", "path", "body", "says"),
    [
        ("DELETE", f"types/{VOLUME_TYPE}", None, "Target volume type is still in use."),
        ("POST", f"types/{VOLUME_TYPE}/extra_specs", {"extra_specs": {"a": "x"}}, "currently in use"),
        ("PUT", f"types/{VOLUME_TYPE}/extra_specs/a", {"a": "x"}, "currently in use"),
        ("DELETE", f"types/{VOLUME_TYPE}/extra_specs/a", None, "currently in use"),
    ],
)
@pytest.mark.parametrize("column", ["volume_type_id", "charged_type_id"])
def test_a_type_that_a_volume_has_or_will_have_stays_as_it_is(
    api: AdminApi, method: str, path: str, body: object, says: str, column: str
) -> None:
    api.given_type(specs={"a": "b"})
    api.given_volume(**{"volume_type_id": None, "charged_type_id": None, column: VOLUME_TYPE})

    answer = api(method, path, body)

    assert answer.status_code == 400
    assert says in message_of(answer)


def test_a_deleted_volume_that_still_has_a_row_does_not_keep_its_type(api: AdminApi) -> None:
    api.given_type()
    api.given_volume(tombstone=True)

    assert api("DELETE", f"types/{VOLUME_TYPE}").status_code == 202
    assert api("GET", f"types/{VOLUME_TYPE}").status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "types", NEW),
        ("PUT", f"types/{VOLUME_TYPE}", {"volume_type": {"name": "b"}}),
        ("DELETE", f"types/{VOLUME_TYPE}", None),
        ("POST", f"types/{VOLUME_TYPE}/extra_specs", {"extra_specs": {}}),
        ("PUT", f"types/{VOLUME_TYPE}/extra_specs/a", {"a": "b"}),
        ("DELETE", f"types/{VOLUME_TYPE}/extra_specs/a", None),
        ("GET", f"types/{VOLUME_TYPE}/os-volume-type-access", None),
        ("POST", f"types/{VOLUME_TYPE}/action", {"addProjectAccess": {"project": "p"}}),
        ("POST", f"types/{VOLUME_TYPE}/action", {"removeProjectAccess": {"project": "p"}}),
    ],
)
def test_types_are_the_administrators(api: AdminApi, method: str, path: str, body: object) -> None:
    assert api(method, path, body, member=True).status_code == 403


# --- extra specs ------------------------------------------------------------------------------------------------------


def test_extra_specs_are_added_replaced_and_removed(api: AdminApi) -> None:
    api.given_type(specs={"a": "1", "b": "1"})

    added = api("POST", f"types/{VOLUME_TYPE}/extra_specs", {"extra_specs": {"b": "2", "c": None}})
    replaced = api("PUT", f"types/{VOLUME_TYPE}/extra_specs/a", {"a": "2"})
    removed = api("DELETE", f"types/{VOLUME_TYPE}/extra_specs/b")

    assert (added.status_code, added.json()) == (200, {"extra_specs": {"b": "2", "c": None}})
    assert (replaced.status_code, replaced.json()) == (200, {"a": "2"})
    assert (removed.status_code, removed.content) == (202, b"")
    assert api("GET", f"types/{VOLUME_TYPE}/extra_specs").json() == {"extra_specs": {"a": "2", "c": None}}
    assert api("GET", f"types/{VOLUME_TYPE}/extra_specs/a").json() == {"a": "2"}


# --- access -----------------------------------------------------------------------------------------------------------


def test_a_private_type_is_seen_by_the_projects_that_were_given_it(api: AdminApi) -> None:
    api.given_type(is_public=False)
    hidden = api("GET", f"types/{VOLUME_TYPE}", member=True).status_code

    given = api("POST", f"types/{VOLUME_TYPE}/action", {"addProjectAccess": {"project": PROJECT}})

    assert (hidden, given.status_code, given.content) == (404, 202, b"")
    assert api("GET", f"types/{VOLUME_TYPE}", member=True).status_code == 200
    assert "gold" in [one["name"] for one in api("GET", "types", member=True).json()["volume_types"]]
    assert api("GET", f"types/{VOLUME_TYPE}/os-volume-type-access").json() == {
        "volume_type_access": [{"volume_type_id": VOLUME_TYPE, "project_id": PROJECT}]
    }


def test_access_is_given_once_and_taken_once(api: AdminApi) -> None:
    api.given_type(is_public=False)
    add, remove = {"addProjectAccess": {"project": "p"}}, {"removeProjectAccess": {"project": "p"}}

    codes = [api("POST", f"types/{VOLUME_TYPE}/action", body).status_code for body in (add, add, remove, remove)]

    assert codes == [202, 409, 202, 404]


# --- lists ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "member", "names"),
    [
        ("", False, {"__DEFAULT__", "gold", "mine"}),
        ("?is_public=none", False, {"__DEFAULT__", "gold", "mine", "secret"}),
        ("?is_public=false", False, {"mine", "secret"}),
        ("?is_public=none", True, {"__DEFAULT__", "gold", "mine"}),
        ("?name=gold", False, {"gold"}),
        ("?extra_specs={'tier':'1'}", False, {"gold"}),
        ("?extra_specs={'tier':'2'}", False, set()),
        ("?extra_specs={'RESKEY:availability_zones':'az2'}", True, {"gold"}),
        ("?extra_specs={'tier':'1'}", True, set()),
    ],
)
def test_a_list_has_what_matches(api: AdminApi, query: str, member: bool, names: set[str]) -> None:
    api.given_type(specs={"tier": "1", "RESKEY:availability_zones": "az1, az2"})
    api.given_type("mine", id_="t2", is_public=False)
    api.given_type("secret", id_="t3", is_public=False)
    api.given(tables.volume_type_access, volume_type_id="t2", project_id=PROJECT)

    listed = api("GET", f"types{query}", member=member).json()["volume_types"]

    assert {one["name"] for one in listed} == names


def test_members_cannot_filter_by_extra_specs_before_3_52(api: AdminApi) -> None:
    listed = api("GET", "types?extra_specs={'multiattach':'no'}", member=True, version="3.51").json()["volume_types"]

    assert [one["name"] for one in listed] == ["__DEFAULT__"]


def test_pages_follow_each_other(api: AdminApi) -> None:
    api.given_type("a", id_="t1")
    api.given_type("b", id_="t2", description="second")

    first = api("GET", "types?limit=2&sort=name:asc").json()
    link = first["volume_type_links"][0]["href"].partition(f"/{PROJECT}/")[2]
    second = api("GET", link).json()

    assert [one["name"] for one in first["volume_types"]] == ["__DEFAULT__", "a"]
    assert [one["name"] for one in second["volume_types"]] == ["b"]
    assert "volume_type_links" not in second


@pytest.mark.parametrize("count", [1, 40])
def test_a_list_costs_the_same_however_long_it_is(api: AdminApi, count: int) -> None:
    api.many(count, lambda i: api.given_type(f"t{i}", id_=f"t{i}"))

    listed = api("GET", "types").json()["volume_types"]

    assert (len(listed), len(api.statements)) == (count + 1, 1)
