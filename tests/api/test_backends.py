"""Backends as operators see and move them: frozen, thawed, failed over."""

import json
from typing import Any

import pytest
from tests.api.admin_api import VOLUME_TYPE, AdminApi, message_of

from breezeblock.resources.backends import backend_id
from breezeblock.store import tables

QUEUE = "c@file"
V, S = "11111111-0000-4000-8000-000000000001", "22222222-0000-4000-8000-000000000001"
KINDS = json.dumps({"failover_backend": 1})
CAPABILITIES = json.dumps({"replication_enabled": "True", "replication_targets": "east west"})


ON_EAST = {"replication_status": "failed-over", "active_backend_id": "east"}


@pytest.fixture
def api() -> AdminApi:
    api = AdminApi()
    api.given_node("n1", kinds_json=KINDS)
    return api


def given_replication(api: AdminApi, **values: object) -> None:
    api.given_pool("c@file#pool", capabilities_json=CAPABILITIES)
    row = {"id": backend_id(QUEUE), "queue": QUEUE, "replication_status": "enabled"}
    api.given(tables.backends, **(row | values))


def backend(api: AdminApi) -> dict[str, Any]:
    (row,) = api.rows(tables.backends)
    return row


def shown(api: AdminApi) -> dict[str, Any]:
    found: dict[str, Any] = api("GET", f"clusters/{QUEUE}").json()["cluster"]
    return found


# --- freeze and thaw --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "version"),
    [({"host": "n1@file"}, "3.0"), ({"host": "n1@file#pool"}, "3.71"), ({"cluster": QUEUE}, "3.26"), ({"host": "n1"}, "3.71")],
)  # fmt: skip
def test_a_backend_is_frozen_and_thawed(api: AdminApi, body: object, version: str) -> None:
    """It also takes no new volumes meanwhile."""
    api.given_pool()

    frozen = api("PUT", "os-services/freeze", body, version=version)
    while_frozen, pools = shown(api), api.rows(tables.pools)
    thawed = api("PUT", "os-services/thaw", body, version=version)

    assert (frozen.status_code, frozen.content, thawed.status_code, thawed.content) == (200, b"", 200, b"")
    assert (while_frozen["frozen"], while_frozen["status"], while_frozen["disabled_reason"]) == (
        True,
        "disabled",
        "frozen",
    )
    assert [row["enabled"] for row in pools] == [False]
    assert (shown(api)["frozen"], shown(api)["status"]) == (False, "enabled")
    assert [row["enabled"] for row in api.rows(tables.pools)] == [True]


def test_a_backend_is_thawed_by_its_clusters_name_while_its_nodes_restart(api: AdminApi) -> None:
    """None of them serves anything yet (seed 454655739: it stayed frozen)."""
    api.given_pool()
    api("PUT", "os-services/freeze", {"cluster": QUEUE})
    api.given_node("n1", queues=(), incarnation="n1-restarted", started_at_us=2**60)

    by_host = api("PUT", "os-services/thaw", {"host": "n1@file"})
    by_cluster = api("PUT", "os-services/thaw", {"cluster": QUEUE})

    assert (by_host.status_code, by_cluster.status_code) == (400, 200)
    assert [row["frozen"] for row in api.rows(tables.backends)] == [False]


def test_a_thaw_leaves_what_an_operator_has_disabled(api: AdminApi) -> None:
    api.given_pool()
    api("PUT", "clusters/disable", {"name": QUEUE, "disabled_reason": "moving out"})

    api("PUT", "os-services/freeze", {"cluster": QUEUE})
    api("PUT", "os-services/thaw", {"cluster": QUEUE})

    assert (shown(api)["status"], shown(api)["disabled_reason"]) == ("disabled", "moving out")


def test_services_show_that_their_backend_is_frozen(api: AdminApi) -> None:
    api.given_node("n2", queues=("c@fast",))

    api("PUT", "os-services/freeze", {"host": "n1@file"})

    listed = api("GET", "os-services?binary=cinder-volume").json()["services"]
    assert {one["host"]: one["frozen"] for one in listed} == {"n1@file": True, "n2@fast": False}
    assert [one["name"] for one in api("GET", "clusters?frozen=true").json()["clusters"]] == [QUEUE]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("DELETE", f"volumes/{V}", None),
        ("DELETE", f"volumes/{V}?cascade=True", None),
        ("POST", f"volumes/{V}/action", {"os-force_delete": None}),
        ("POST", f"volumes/{V}/action", {"os-extend": {"new_size": 2}}),
        ("POST", f"volumes/{V}/action", {"revert": {"snapshot_id": S}}),
        ("POST", f"volumes/{V}/action", {"os-retype": {"new_type": "gold", "migration_policy": "never"}}),
        ("POST", "snapshots", {"snapshot": {"volume_id": V}}),
        ("DELETE", f"snapshots/{S}", None),
        ("POST", f"snapshots/{S}/action", {"os-force_delete": None}),
        ("POST", "volumes", {"volume": {"source_volid": V, "size": 1}}),
        ("POST", "volumes", {"volume": {"snapshot_id": S, "size": 1}}),
    ],
)
def test_what_is_on_a_frozen_backend_cannot_be_changed(api: AdminApi, method: str, path: str, body: object) -> None:
    api.given_pool()
    api.given_type()
    given_resources(api)
    api("PUT", "os-services/freeze", {"host": "n1@file"})

    answer = api(method, path, body)

    assert answer.status_code == 400, answer.text
    assert "frozen" in message_of(answer)
    assert api.rows(tables.operations) == []


def given_resources(api: AdminApi) -> None:
    api.given_volume(id=V, pool_name="c@file#pool", object_name=f"{V}.1.1")
    api.given(
        tables.snapshots, id=S, project_id="p1", user_id="u", volume_id=V, size_gib=1, status="available",
        volume_type_id=VOLUME_TYPE, pool_name="c@file#pool", object_name=f"{S}.1.1", created_at_us=1,
    )  # fmt: skip


def test_what_is_on_a_frozen_backend_can_be_read_and_renamed(api: AdminApi) -> None:
    api.given_pool()
    api.given_type()
    given_resources(api)
    api("PUT", "os-services/freeze", {"host": "n1@file"})

    assert api("GET", f"volumes/{V}").json()["volume"]["status"] == "available"
    assert api("PUT", f"volumes/{V}", {"volume": {"name": "new"}}).status_code == 200


# --- failover ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "body", "version"),
    [
        ("failover_host", {"host": "n1@file", "backend_id": "east"}, "3.0"),
        ("failover_host", {"cluster": QUEUE, "backend_id": "east"}, "3.26"),
        ("failover", {"cluster": QUEUE, "backend_id": "east"}, "3.26"),
        ("failover", {"host": "n1@file", "backend_id": "east"}, "3.0"),
        ("failover", {"host": "n1@file", "backend_id": "east"}, "3.71"),
    ],
)
def test_a_failover_is_accepted_and_closes_the_queue(api: AdminApi, path: str, body: object, version: str) -> None:
    given_replication(api)

    answer = api("PUT", f"os-services/{path}", body, version=version)

    assert (answer.status_code, answer.content) == (202, b"")
    (operation,) = api.rows(tables.operations)
    payload = {"backend_id": backend_id(QUEUE), "queue": QUEUE, "target": "east"}
    assert (operation["kind"], json.loads(operation["payload_json"])) == ("failover_backend", payload)
    assert shown(api)["replication_status"] == "failing-over"


def test_without_a_word_it_goes_to_the_only_other_target(api: AdminApi) -> None:
    given_replication(api, **ON_EAST)

    api("PUT", "os-services/failover_host", {"host": "n1@file", "backend_id": None})

    (operation,) = api.rows(tables.operations)
    assert json.loads(operation["payload_json"])["target"] == "west"


def test_services_and_clusters_show_the_target_in_use(api: AdminApi) -> None:
    given_replication(api, **ON_EAST)

    (service,) = api("GET", "os-services?binary=cinder-volume").json()["services"]
    assert (service["replication_status"], service["active_backend_id"]) == ("failed-over", "east")
    assert (shown(api)["replication_status"], shown(api)["active_backend_id"]) == ("failed-over", "east")
    assert len(api("GET", "clusters?active_backend_id=east&replication_status=failed-over").json()["clusters"]) == 1


@pytest.mark.parametrize(
    ("state", "body", "says"),
    [
        ({}, {"host": "n1@file"}, "east, west, default"),
        ({}, {"host": "n1@file", "backend_id": "north"}, "north"),
        ({}, {"host": "n1@file", "backend_id": "default"}, "works on target default already"),
        (ON_EAST, {"host": "n1@file", "backend_id": "east"}, "already"),
        ({"replication_status": "failing-over"}, {"host": "n1@file", "backend_id": "east"}, "failing-over"),
        ({}, {"host": "n9@file", "backend_id": "east"}, "No service found with host=n9@file"),
        ({}, {"cluster": "c@none", "backend_id": "east"}, "No service found with cluster=c@none"),
        ({}, {"host": "n1@file", "cluster": QUEUE, "backend_id": "east"}, "one and only one"),
        ({}, {"backend_id": "east"}, "one and only one"),
        ({}, {"host": "n1@file", "color": "red"}, "color"),
    ],
)  # fmt: skip
def test_what_cannot_fail_over_is_refused(api: AdminApi, state: dict[str, Any], body: object, says: str) -> None:
    given_replication(api, **state)

    answer = api("PUT", "os-services/failover_host", body)

    assert answer.status_code == 400
    assert says in message_of(answer)
    assert api.rows(tables.operations) == []


def test_a_backend_without_replication_is_refused(api: AdminApi) -> None:
    """The file driver's, for one."""
    api.given_pool()

    answer = api("PUT", "os-services/failover_host", {"host": "n1@file", "backend_id": "east"})

    assert answer.status_code == 400
    assert "has no replication" in message_of(answer)


@pytest.mark.parametrize(
    ("node", "says"),
    [({"state": "gone", "kinds_json": KINDS}, "No service of c@file is up"), ({}, "n1 cannot fail over")],
)
def test_somebody_must_be_up_and_everybody_obey(node: dict[str, Any], says: str) -> None:
    """A node of an older release would go on working on the old target."""
    api = AdminApi()
    api.given_node("n1", **node)
    given_replication(api)

    answer = api("PUT", "os-services/failover_host", {"host": "n1@file", "backend_id": "east"})

    assert answer.status_code == 400
    assert says in message_of(answer)


def test_a_failed_failover_can_be_repeated_and_taken_back(api: AdminApi) -> None:
    given_replication(api, replication_status="error")

    answer = api("PUT", "os-services/failover_host", {"host": "n1@file", "backend_id": "default"})

    assert answer.status_code == 202


def test_a_host_with_several_backends_has_to_be_named_in_full(api: AdminApi) -> None:
    api.given_node("n2", queues=("c@a", "c@b"))

    answer = api("PUT", "os-services/freeze", {"host": "n2"})

    assert answer.status_code == 400
    assert "c@a, c@b" in message_of(answer)


@pytest.mark.parametrize(
    ("first", "second", "says"), [("freeze", "freeze", "already"), ("freeze", "thaw", ""), ("thaw", "thaw", "not frozen")]
)  # fmt: skip
def test_freezing_twice_is_refused(api: AdminApi, first: str, second: str, says: str) -> None:
    api("PUT", f"os-services/{first}", {"host": "n1@file"})

    answer = api("PUT", f"os-services/{second}", {"host": "n1@file"})

    assert (answer.status_code == 400) == bool(says)
    assert says in answer.text


@pytest.mark.parametrize("action", ["freeze", "thaw", "failover_host", "failover"])
def test_backends_are_the_administrators(api: AdminApi, action: str) -> None:
    assert api("PUT", f"os-services/{action}", {"host": "n1@file"}, member=True).status_code == 403


def test_a_host_has_to_be_named_before_3_26(api: AdminApi) -> None:
    answer = api("PUT", "os-services/freeze", {"cluster": QUEUE}, version="3.25")

    assert (answer.status_code, "Host field is missing" in message_of(answer)) == (400, True)
