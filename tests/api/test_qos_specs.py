"""Quality of service, as requests and answers."""

import pytest
from tests.api.admin_api import NOW_US, VOLUME_TYPE, AdminApi, message_of, sample

from breezeblock.store import tables

QOS = "20000000-0000-4000-8000-000000000001"
ABSENT = "99999999-0000-4000-8000-000000000000"
BASE = f"qos-specs/{QOS}"


@pytest.fixture
def api() -> AdminApi:
    api = AdminApi()
    given(api)
    return api


def given(api: AdminApi, name: str = "fast", *, id_: str = QOS, consumer: str = "back-end", specs: str = "{}") -> None:
    api.given(tables.qos_specs, id=id_, name=name, consumer=consumer, specs_json=specs, created_at_us=NOW_US)


def given_in_use(api: AdminApi) -> None:
    api.given_type(qos_specs_id=QOS)


def specs_of(api: AdminApi) -> object:
    return api("GET", BASE).json()["qos_specs"]["specs"]


# --- what answers look like -------------------------------------------------------------------------------------------


def test_new_specs_are_the_storages_unless_said(api: AdminApi) -> None:
    answer = api("POST", "qos-specs", {"qos_specs": {"name": " slow ", "total_iops_sec": "500", "odd": None}})

    assert answer.status_code == 200
    made = answer.json()["qos_specs"]
    assert (made["name"], made["consumer"]) == ("slow", "back-end")
    assert made["specs"] == {"total_iops_sec": "500", "odd": None}
    assert api("GET", f"qos-specs/{made['id']}").json() == answer.json()


def test_answers_have_the_keys_of_the_samples(api: AdminApi) -> None:
    made, shown, listed = (
        api("POST", "qos-specs", {"qos_specs": {"name": "slow"}}).json(),
        api("GET", BASE).json(),
        api("GET", "qos-specs").json(),
    )

    for answer, name in ((made, "create"), (shown, "show")):
        expected = sample(f"qos/qos-{name}-response.json")
        assert answer.keys() == expected.keys()
        assert answer["qos_specs"].keys() == expected["qos_specs"].keys()
    expected = sample("qos/qos-list-response.json")
    assert (listed.keys(), listed["qos_specs"][0].keys()) == (expected.keys(), expected["qos_specs"][0].keys())


def test_the_links_lead_to_the_specs(api: AdminApi) -> None:
    links = api("GET", BASE).json()["links"]

    assert [(link["rel"], link["href"].endswith(f"/qos-specs/{QOS}")) for link in links] == [
        ("self", True),
        ("bookmark", True),
    ]


@pytest.mark.parametrize("consumer", ["front-end", "back-end", "both"])
def test_who_keeps_to_them_can_be_said(api: AdminApi, consumer: str) -> None:
    made = api("POST", "qos-specs", {"qos_specs": {"name": "slow", "consumer": consumer}}).json()["qos_specs"]

    assert (made["consumer"], made["specs"]) == (consumer, {})


# --- changes ----------------------------------------------------------------------------------------------------------


def test_keys_are_added_replaced_and_removed(api: AdminApi) -> None:
    first = api("PUT", BASE, {"qos_specs": {"a": "1", "b": "1"}})
    second = api("PUT", BASE, {"qos_specs": {"b": "2", "consumer": "both"}})
    removed = api("PUT", f"{BASE}/delete_keys", {"keys": ["a"]})

    assert (first.status_code, first.json()) == (200, {"qos_specs": {"a": "1", "b": "1"}})
    assert (second.status_code, second.json()) == (200, {"qos_specs": {"b": "2", "consumer": "both"}})
    assert (removed.status_code, removed.content) == (202, b"")
    assert api("GET", BASE).json()["qos_specs"] == {
        "id": QOS, "name": "fast", "consumer": "both", "specs": {"b": "2"}
    }  # fmt: skip


def test_of_several_keys_all_go_or_none(api: AdminApi) -> None:
    api("PUT", BASE, {"qos_specs": {"a": "1"}})

    answer = api("PUT", f"{BASE}/delete_keys", {"keys": ["a", "z"]})

    assert (answer.status_code, specs_of(api)) == (404, {"a": "1"})
    assert message_of(answer) == f"QoS spec {QOS} has no spec with key z."


def test_specs_are_given_to_types_and_taken_away(api: AdminApi) -> None:
    api.given_type()

    codes = [api("GET", f"{BASE}/associate?vol_type_id={VOLUME_TYPE}").status_code for _ in range(2)]
    given_, shown = api("GET", f"{BASE}/associations").json(), api("GET", f"types/{VOLUME_TYPE}").json()["volume_type"]
    taken = api("GET", f"{BASE}/disassociate?vol_type_id={VOLUME_TYPE}")

    assert codes == [202, 202]
    assert given_ == {"qos_associations": [{"association_type": "volume_type", "name": "gold", "id": VOLUME_TYPE}]}
    assert shown["qos_specs_id"] == QOS
    assert (taken.status_code, taken.content) == (202, b"")
    assert api("GET", f"{BASE}/associations").json() == {"qos_associations": []}


def test_specs_are_taken_from_all_types(api: AdminApi) -> None:
    api.given_type("a", id_="t1", qos_specs_id=QOS)
    api.given_type("b", id_="t2", qos_specs_id=QOS)
    api.given_type("c", id_="t3", qos_specs_id="other")

    answer = api("GET", f"{BASE}/disassociate_all")

    assert answer.status_code == 202
    assert {row["id"]: row["qos_specs_id"] for row in api.rows(tables.volume_types) if row["id"].startswith("t")} == {
        "t1": None, "t2": None, "t3": "other"
    }  # fmt: skip


def test_taking_away_other_specs_than_a_type_has_changes_nothing(api: AdminApi) -> None:
    api.given_type(qos_specs_id="other")

    assert api("GET", f"{BASE}/disassociate?vol_type_id={VOLUME_TYPE}").status_code == 202
    assert api("GET", f"types/{VOLUME_TYPE}").json()["volume_type"]["qos_specs_id"] == "other"


def test_deleted_specs_are_gone(api: AdminApi) -> None:
    answer = api("DELETE", BASE)

    assert (answer.status_code, answer.content) == (202, b"")
    assert api("GET", BASE).status_code == 404


def test_specs_that_a_type_has_are_deleted_by_force(api: AdminApi) -> None:
    given_in_use(api)

    refused, forced = api("DELETE", BASE), api("DELETE", f"{BASE}?force=true")

    assert (refused.status_code, forced.status_code) == (400, 202)
    assert "Qos specs still in use" in message_of(refused)
    assert api("GET", f"types/{VOLUME_TYPE}").json()["volume_type"]["qos_specs_id"] is None
    assert api.rows(tables.qos_specs) == []


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "says"),
    [
        ("POST", "qos-specs", {"qos_specs": {}}, 400, "qos_specs.name"),
        ("POST", "qos-specs", {"qos_specs": {"name": "  "}}, 400, "qos_specs.name"),
        ("POST", "qos-specs", {"qos_specs": {"name": "x" * 256}}, 400, "255"),
        ("POST", "qos-specs", {"qos_specs": {"name": "a", "consumer": "me"}}, 400, "'me': expected one of back-end"),
        ("POST", "qos-specs", {"qos_specs": {"name": "a", "iops": 5}}, 400, "iops"),
        ("POST", "qos-specs", {"qos_specs": {"name": "fast"}}, 409, "QoS Specs fast already exists."),
        ("PUT", BASE, {"qos_specs": {"consumer": "me"}}, 400, "'me'"),
        ("PUT", BASE, {"qos_specs": {"ö": "1"}}, 400, "qos_specs"),
        ("PUT", BASE, {"qos_specs": {"a": "x" * 256}}, 400, "255"),
        ("PUT", f"qos-specs/{ABSENT}", {"qos_specs": {"a": "1"}}, 404, f"No such QoS spec {ABSENT}."),
        ("PUT", f"{BASE}/delete_keys", {"keys": ["a", "a"]}, 400, "twice"),
        ("PUT", f"{BASE}/delete_keys", {"keys": [""]}, 400, "keys"),
        ("PUT", f"qos-specs/{ABSENT}/delete_keys", {"keys": []}, 404, ABSENT),
        ("GET", f"qos-specs/{ABSENT}", None, 404, ABSENT),
        ("DELETE", f"qos-specs/{ABSENT}", None, 404, ABSENT),
        ("DELETE", f"{BASE}?force=maybe", None, 400, "maybe"),
        ("GET", f"qos-specs/{ABSENT}/associations", None, 404, ABSENT),
        ("GET", f"qos-specs/{ABSENT}/disassociate_all", None, 404, ABSENT),
        ("GET", f"{BASE}/associate", None, 400, "vol_type_id"),
        ("GET", f"{BASE}/disassociate", None, 400, "vol_type_id"),
        ("GET", f"{BASE}/associate?vol_type_id={ABSENT}", None, 404, f"Volume type {ABSENT} could not be found."),
        ("GET", f"{BASE}/disassociate?vol_type_id={ABSENT}", None, 404, f"Volume type {ABSENT} could not be found."),
        ("GET", f"qos-specs/{ABSENT}/associate?vol_type_id={VOLUME_TYPE}", None, 404, f"No such QoS spec {ABSENT}."),
        ("GET", f"{BASE}/associate?vol_type_id={VOLUME_TYPE}", None, 400, "already associated with another"),
        ("GET", f"qos-specs?marker={ABSENT}", None, 404, ABSENT),
        ("GET", "qos-specs?sort=specs", None, 400, "specs"),
    ],
)
def test_refusals(api: AdminApi, method: str, path: str, body: object, status: int, says: str) -> None:
    """The answer names what was wrong, and nothing has changed."""
    api.given_type(qos_specs_id="other")
    before = api.rows(tables.qos_specs), api.rows(tables.volume_types)

    answer = api(method, path, body)

    assert (answer.status_code, says in message_of(answer)) == (status, True), message_of(answer)
    assert (api.rows(tables.qos_specs), api.rows(tables.volume_types)) == before


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "qos-specs", None),
        ("POST", "qos-specs", {"qos_specs": {"name": "a"}}),
        ("GET", BASE, None),
        ("PUT", BASE, {"qos_specs": {"a": "1"}}),
        ("DELETE", BASE, None),
        ("PUT", f"{BASE}/delete_keys", {"keys": []}),
        ("GET", f"{BASE}/associations", None),
        ("GET", f"{BASE}/associate?vol_type_id=t", None),
        ("GET", f"{BASE}/disassociate?vol_type_id=t", None),
        ("GET", f"{BASE}/disassociate_all", None),
    ],
)
def test_specs_are_the_administrators(api: AdminApi, method: str, path: str, body: object) -> None:
    assert api(method, path, body, member=True).status_code == 403


# --- lists ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("?sort=name:asc", ["both", "fast"]),
        ("?sort=name:desc", ["fast", "both"]),
        ("?name=fast", ["fast"]),
        ("?consumer=both", ["both"]),
        (f"?id={QOS}", ["fast"]),
        ("?name=none", []),
        ("?offset=1&sort=name:asc", ["fast"]),
    ],
)
def test_a_list_has_what_matches(api: AdminApi, query: str, names: list[str]) -> None:
    given(api, "both", id_="q2", consumer="both")

    assert [one["name"] for one in api("GET", f"qos-specs{query}").json()["qos_specs"]] == names


def test_pages_follow_each_other(api: AdminApi) -> None:
    given(api, "slow", id_="q2")

    first = api("GET", "qos-specs?limit=1&sort=name:asc").json()
    link = first["qos_specs_links"][0]["href"].partition("/p1/")[2]

    assert [one["name"] for one in first["qos_specs"]] == ["fast"]
    assert [one["name"] for one in api("GET", link).json()["qos_specs"]] == ["slow"]
