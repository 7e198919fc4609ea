"""What operators ask about backends and lists: capabilities, hosts, filters; as requests and answers."""

import json
import sys
from typing import Any

import pytest
from tests.api.admin_api import NOW, AdminApi, message_of, sample

from breezeblock.api.handlers.resource_filters import LISTED
from breezeblock.api.routes import ROUTES
from breezeblock.store import tables


@pytest.fixture
def api() -> AdminApi:
    """A node, its backend and its pool."""
    api = AdminApi()
    api.given_node()
    api.given_pool()
    return api


# --- filters ----------------------------------------------------------------------------------------------------------


def filters(api: AdminApi, query: str = "", **how: Any) -> dict[str, list[str]]:
    found = api("GET", f"resource_filters{query}", **how).json()["resource_filters"]
    return {one["resource"]: one["filters"] for one in found}


def test_filters_are_those_that_lists_take(api: AdminApi) -> None:
    """Each that is named is taken by its list, and one that is not named is refused by all but one."""
    urls = {"pool": "scheduler-stats/get_pools", "transfer": "volume-transfers", "volume_type": "types"}
    values = {
        "size": "1",
        "no_snapshots": "true",
        "bootable": "true",
        "metadata": "{}",
        "extra_specs": "{}",
        "glance_metadata": "{}",
    }
    values |= {
        "multiattach": "true",
        "encrypted": "true",
        "is_public": "true",
        "consumes_quota": "1",
        "volume_size": "1",
        "object_count": "1",
        "use_quota": "1",
    }
    values |= dict.fromkeys(("created_at", "updated_at"), "gt:2026-01-01T00:00:00")
    found = filters(api)
    assert found.keys() == LISTED.keys()
    for resource, names in found.items():
        url = urls.get(resource, f"{resource}s")
        for name in names:
            answer = api("GET", f"{url}?{name}={values.get(name, 'x')}")
            assert answer.status_code in (200, 404), (url, name, answer.text)  # 404: no type has that name
        if resource != "transfer":  # where nothing has what is not known
            refused = api("GET", f"{url}?no_such_filter=1")
            assert (refused.status_code, "no_such_filter" in message_of(refused)) == (400, True), url


def test_filters_of_one_resource(api: AdminApi) -> None:
    assert filters(api, "?resource=pool") == {"pool": ["name", "volume_type"]}
    assert filters(api, "?resource=comet") == {}
    assert filters(api, "?resource=") == filters(api)


def test_filters_are_those_of_the_version_and_the_caller(api: AdminApi) -> None:
    of_members = filters(api, "?resource=volume", member=True)["volume"]

    assert "host" not in of_members
    assert set(of_members) | {"host"} <= set(filters(api, "?resource=volume")["volume"])
    assert "consumes_quota" in of_members
    assert "extra_specs" not in filters(api, "?resource=volume_type", member=True, version="3.51")["volume_type"]
    assert "volume_type" not in filters(api, "?resource=pool", version="3.34")["pool"]
    assert api("GET", "resource_filters", version="3.32").status_code == 404


def test_filters_have_the_keys_of_the_sample(api: AdminApi) -> None:
    shown = api("GET", "resource_filters").json()

    expected = sample("resource-filters-list-response.json")
    assert shown.keys() == expected.keys()
    assert {tuple(sorted(one)) for one in shown["resource_filters"]} == {("filters", "resource")}


# --- capabilities -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["n1@file", "c@file", "n1@file%23pool", "c@file%23pool"])
def test_capabilities_are_told_by_the_last_report(api: AdminApi, host: str) -> None:
    shown = api("GET", f"capabilities/{host}").json()

    assert shown == {
        "namespace": "OS::Storage::Capabilities::c@file",
        "vendor_name": "Breezeblock",
        "volume_backend_name": "file",
        "pool_name": "pool",
        "driver_version": None,
        "storage_protocol": "file",
        "display_name": None,
        "description": None,
        "visibility": None,
        "replication_targets": [],
        "properties": {
            "tier": {
                "title": "Tier",
                "description": "The extra spec tier of a volume type is compared with it; this backend has 'gold'.",
                "type": "string",
            }
        },
    }
    assert shown.keys() == sample("backend-capabilities-response.json").keys()


def test_capabilities_that_are_flags_say_so(api: AdminApi) -> None:
    offered = {"thin_provisioning_support": "True", "replication_targets": "east west", "description": "Fast."}
    api.given_pool("c@file#a", capabilities_json=json.dumps(offered))

    shown = api("GET", "capabilities/c@file%23a").json()

    assert shown["properties"]["thin_provisioning_support"]["type"] == "boolean"
    assert shown["properties"].keys() == {"thin_provisioning_support"}
    assert (shown["replication_targets"], shown["description"]) == (["east", "west"], "Fast.")
    assert api("GET", "capabilities/c@file").json()["pool_name"] == "a"


def test_capabilities_of_a_backend_that_nobody_knows(api: AdminApi) -> None:
    api.given_node("n2", queues=("c@new",))

    for host in ("n3@file", "c", "c@file%23other", "c@new%23pool"):
        answer = api("GET", f"capabilities/{host}")
        assert (answer.status_code, "Can't find service" in message_of(answer)) == (404, True), host
    assert api("GET", "capabilities/n2@new").status_code == 503
    assert api("GET", "capabilities/n1@file", member=True).status_code == 403


def test_capabilities_are_told_while_no_node_serves_the_backend(api: AdminApi) -> None:
    api.given_pool("c@away#pool")

    assert api("GET", "capabilities/c@away").json()["volume_backend_name"] == "away"


# --- hosts ------------------------------------------------------------------------------------------------------------


def test_hosts_are_services(api: AdminApi) -> None:
    api.given_node("n2", state="gone")

    scheduler, *volume = api("GET", "os-hosts").json()["hosts"]

    assert (scheduler["host_name"], scheduler["service"]) == ("c", "cinder-scheduler")
    shown = {
        "service": "cinder-volume", "zone": "nova", "service-state": "enabled", "last-update": NOW,
    }  # fmt: skip
    assert volume == [
        shown | {"host_name": "n1@file", "service-status": "available"},
        shown | {"host_name": "n2@file", "service-status": "unavailable"},
    ]
    assert scheduler.keys() == sample("hosts-list-response.json")["hosts"][0].keys()


def test_hosts_of_a_zone_and_without_disabled_ones(api: AdminApi) -> None:
    api.given_node("n2")
    assert len(api("GET", "os-hosts?zone=nova").json()["hosts"]) == 3
    assert api("GET", "os-hosts?zone=mars").json() == {"hosts": []}

    assert api("PUT", "os-hosts/n2@file", {"status": "disable"}).json() == {"host": "n2@file", "status": "disabled"}

    assert [one["host_name"] for one in api("GET", "os-hosts").json()["hosts"]] == ["c", "n1@file"]


def test_a_host_shows_what_each_project_has(api: AdminApi) -> None:
    api.given_type()
    api.given_volume()
    api.given_volume(id="v2", project_id="p2", size_gib=5, pool_name="c@file#pool")
    api.given_volume(id="v3", size_gib=2, pool_name="c@file#pool")
    api.given_volume(id="v4", size_gib=9, pool_name="c@other#pool")
    api.given_volume(id="v5", size_gib=9, pool_name="c@file#pool", tombstone=True)
    api.given(
        tables.snapshots, id="s1", project_id="p3", user_id="u", volume_id="v2", size_gib=4, status="available",
        created_at_us=1, pool_name="c@file#pool",
    )  # fmt: skip

    shown = [one["resource"] for one in api("GET", "os-hosts/n1@file").json()["host"]]

    assert shown == [
        resource("(total)", ("2", "7", "1", "4")),
        resource("p1", ("1", "2", "0", "0")),
        resource("p2", ("1", "5", "0", "0")),
        resource("p3", ("0", "0", "1", "4")),
    ]
    assert shown[0].keys() == sample("hosts-get-response.json")["host"][0]["resource"].keys()


def resource(project: str, numbers: tuple[str, ...]) -> dict[str, str]:
    names = ("volume_count", "total_volume_gb", "snapshot_count", "total_snapshot_gb")
    return {"host": "n1@file", "project": project, **dict(zip(names, numbers, strict=True))}


def test_an_empty_host(api: AdminApi) -> None:
    assert api("GET", "os-hosts/n1@file").json() == {"host": [{"resource": resource("(total)", ("0",) * 4)}]}


def test_a_host_is_disabled_and_enabled(api: AdminApi) -> None:
    """Placement obeys it as it does the same word about the service."""
    for word, state, enabled in (("disable", "disabled", False), (" Enable ", "enabled", True)):
        answer = api("PUT", "os-hosts/n1@file", {"Status": word})

        assert (answer.status_code, answer.json()) == (200, {"host": "n1@file", "status": state})
        assert [row["enabled"] for row in api.rows(tables.pools)] == [enabled]
        volume = api("GET", "os-services?binary=cinder-volume").json()["services"]
        assert [one["status"] for one in volume] == [state]


@pytest.mark.parametrize(
    "body", [{"status": "perhaps"}, {"maintenance_mode": "enable"}, {"status": 1}, {"status": None}, []]
)
def test_another_word_about_a_host_is_400(api: AdminApi, body: Any) -> None:
    assert api("PUT", "os-hosts/n1@file", body).status_code == 400


def test_nothing_about_a_host_is_nothing(api: AdminApi) -> None:
    assert api("PUT", "os-hosts/n1@file", {}).json() == {}


def test_unknown_hosts_are_404(api: AdminApi) -> None:
    for host in ("c", "n2@file", "n1"):
        for method, body in (("GET", None), ("PUT", {"status": "enable"}), ("PUT", {})):
            answer = api(method, f"os-hosts/{host}", body)
            assert (answer.status_code, message_of(answer)) == (404, f"Host {host} could not be found.")


def test_hosts_are_for_administrators(api: AdminApi) -> None:
    for method, url in (("GET", "os-hosts"), ("GET", "os-hosts/n1@file"), ("PUT", "os-hosts/n1@file")):
        assert api(method, url, {} if method == "PUT" else None, member=True).status_code == 403


def test_every_list_that_takes_filters_tells_them() -> None:
    """Whoever adds a list with filters adds it to those that are told. Cinder has none of QoS and consistency groups there."""
    told = {lists.collection for lists in LISTED.values()} | {"qos-specs", "consistencygroups"}
    known = {
        handler.LISTS.collection
        for handler in {_module(route.handler) for route in ROUTES if route.handler is not None}
        if hasattr(handler, "LISTS") and handler.LISTS.filters
    }

    assert known == told


def _module(handler: Any) -> Any:
    return sys.modules[handler.__module__]
