"""Pools, availability zones and extensions, as requests and answers."""

import json

import pytest
from tests.api.admin_api import NOW, AdminApi, message_of, sample
from tests.api.keys_admin import problems


@pytest.fixture
def api() -> AdminApi:
    return AdminApi()


# --- pools ------------------------------------------------------------------------------------------------------------


def test_pools_are_shown_by_name(api: AdminApi) -> None:
    api.given_pool()

    assert api("GET", "scheduler-stats/get_pools").json() == {"pools": [{"name": "c@file#pool"}]}


def test_the_detail_has_what_the_row_and_the_driver_know(api: AdminApi) -> None:
    api.given_pool()

    (pool,) = api("GET", "scheduler-stats/get_pools?detail=True").json()["pools"]

    assert pool["name"] == "c@file#pool"
    assert pool["capabilities"] == {
        "volume_backend_name": "file",
        "storage_protocol": "file",
        "vendor_name": "Breezeblock",
        "driver_version": None,
        "QoS_support": False,
        "tier": "gold",
        "pool_name": "pool",
        "total_capacity_gb": 100,
        "free_capacity_gb": 90,
        "allocated_capacity_gb": 3,
        "provisioned_capacity_gb": 3,
        "reserved_percentage": 0,
        "max_over_subscription_ratio": "20.0",
        "timestamp": NOW,
        "updated": NOW,
    }
    expected = sample("pools-list-detailed-response.json")["pools"][0]["capabilities"]
    assert expected.keys() <= pool["capabilities"].keys()


@pytest.mark.parametrize(
    ("query", "version", "names"),
    [
        ("?name=c@a%23p", "3.28", ["c@a#p"]),
        ("?name=c@a%23p", "3.27", ["c@a#p", "c@b#p"]),
        ("?tier=gold", "3.28", ["c@a#p"]),
        ("?total_capacity_gb=100", "3.30", ["c@a#p", "c@b#p"]),
        ("?volume_type=gold", "3.35", ["c@a#p"]),
        ("?volume_type=gold", "3.34", ["c@a#p", "c@b#p"]),
        ("?volume_type=__DEFAULT__", "3.35", ["c@a#p", "c@b#p"]),
    ],
)
def test_pools_are_filtered(api: AdminApi, query: str, version: str, names: list[str]) -> None:
    api.given_type("gold", specs={"tier": "gold"})
    api.given_pool("c@a#p")
    api.given_pool("c@b#p", capabilities_json=json.dumps({"tier": "lead"}))

    listed = api("GET", f"scheduler-stats/get_pools{query}", version=version).json()["pools"]

    assert [one["name"] for one in listed] == names


@pytest.mark.parametrize(
    ("query", "status", "says"),
    [
        ("?detail=perhaps", 400, "perhaps"),
        ("?tier=gold", 400, "tier"),
        ("?volume_type=none", 404, "Volume type with name none could not be found."),
    ],
)
def test_what_cannot_be_asked_of_pools_is_refused(api: AdminApi, query: str, status: int, says: str) -> None:
    answer = api("GET", f"scheduler-stats/get_pools{query}")

    assert answer.status_code == status
    assert says in message_of(answer)


def test_pools_are_the_administrators(api: AdminApi) -> None:
    assert api("GET", "scheduler-stats/get_pools", member=True).status_code == 403


@pytest.mark.parametrize("count", [1, 40])
def test_a_list_costs_the_same_however_long_it_is(api: AdminApi, count: int) -> None:
    api.many(count, lambda i: api.given_pool(f"c@b{i}#p"))

    listed = api("GET", "scheduler-stats/get_pools?detail=1").json()["pools"]

    assert (len(listed), len(api.statements)) == (count, 1)


# --- zones ------------------------------------------------------------------------------------------------------------


def test_a_zone_is_available_while_one_of_its_pools_takes_volumes(api: AdminApi) -> None:
    api.given_pool("c@a#p", availability_zone="east", enabled=False)
    api.given_pool("c@b#p", availability_zone="nova", enabled=False)
    api.given_pool("c@c#p", availability_zone="nova")

    shown = api("GET", "os-availability-zone", member=True).json()

    assert shown == {
        "availabilityZoneInfo": [
            {"zoneName": "east", "zoneState": {"available": False}},
            {"zoneName": "nova", "zoneState": {"available": True}},
        ]
    }


def test_a_zone_looks_as_in_the_sample(api: AdminApi) -> None:
    api.given_pool()

    assert api("GET", "os-availability-zone").json() == sample("availability-zone-list-response.json")


# --- extensions -------------------------------------------------------------------------------------------------------


def test_extensions_have_their_keys(api: AdminApi) -> None:
    listed = api("GET", "extensions", member=True).json()["extensions"]

    assert [problems(one, "extension") for one in listed] == [[]] * 32
    assert api("GET", "extensions/os-services").json() == {
        "extension": next(one for one in listed if one["alias"] == "os-services")
    }


def test_extensions_are_those_of_the_sample(api: AdminApi) -> None:
    expected = sample("extensions/extensions-list-response.json")["extensions"]

    listed = api("GET", "extensions").json()["extensions"]

    assert sorted(listed, key=str) == sorted(({key: one[key] for key in listed[0]} for one in expected), key=str)


def test_an_unknown_extension_is_not_there(api: AdminApi) -> None:
    answer = api("GET", "extensions/none")

    assert (answer.status_code, message_of(answer)) == (404, "Extension none could not be found.")
