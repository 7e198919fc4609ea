"""Services and clusters, as requests and answers."""

import json

import pytest
from tests.api.admin_api import NOW, NOW_US, AdminApi, message_of, sample
from tests.api.keys_admin import problems

from breezeblock.store import tables

HOST = {"host": "n1@file", "binary": "cinder-volume"}


@pytest.fixture
def api() -> AdminApi:
    return AdminApi()


def states(api: AdminApi, query: str = "") -> dict[str, str]:
    """What each volume service is shown as, by host."""
    listed = api("GET", f"os-services{query}").json()["services"]
    return {one["host"]: one["state"] for one in listed if one["binary"] == "cinder-volume"}


# --- what answers look like -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["3.0", "3.6", "3.7", "3.48", "3.49", "3.71"])
def test_services_have_their_keys(api: AdminApi, version: str) -> None:
    api.given_node()
    api.given_pool()

    _, scheduler, volume = api("GET", "os-services", version=version).json()["services"]

    assert problems(scheduler, "scheduler", version) == []
    assert problems(volume, "service", version) == []
    assert (scheduler["host"], scheduler["binary"], scheduler["state"]) == ("c", "cinder-scheduler", "up")
    assert (volume["host"], volume["zone"], volume["updated_at"]) == ("n1@file", "nova", NOW)


def test_services_have_the_keys_of_the_sample(api: AdminApi) -> None:
    api.given_node()

    _, scheduler, volume = api("GET", "os-services", version="3.49").json()["services"]

    expected = sample("os-services/v3.49/services-list-response.json")["services"]
    assert (scheduler.keys(), volume.keys()) == (expected[0].keys(), expected[1].keys())


@pytest.mark.parametrize("version", ["3.7", "3.25", "3.26", "3.71"])
def test_clusters_have_their_keys(api: AdminApi, version: str) -> None:
    api.given_node()

    listed = api("GET", "clusters", version=version).json()["clusters"]
    detailed = api("GET", "clusters/detail", version=version).json()["clusters"]
    shown = api("GET", "clusters/c@file", version=version).json()["cluster"]
    changed = api("PUT", "clusters/disable", {"name": "c@file"}, version=version).json()["cluster"]

    assert [problems(one, "cluster", version) for one in listed] == [[]]
    assert [problems(one, "cluster, detailed", version) for one in [*detailed, shown]] == [[], []]
    assert problems(changed, "cluster, changed", version) == []


def test_clusters_have_the_keys_of_the_samples(api: AdminApi) -> None:
    api.given_node()

    shown = api("GET", "clusters/c@file", version="3.7").json()["cluster"]
    disabled = api("PUT", "clusters/disable", {"name": "c@file", "disabled_reason": "r"}, version="3.7").json()

    assert shown.keys() == sample("clusters/v3.7/cluster-show-response.json")["cluster"].keys()
    assert disabled["cluster"].keys() == sample("clusters/v3.7/cluster-disable-response.json")["cluster"].keys()


@pytest.mark.parametrize("action", ["enable", "disable", "disable-log-reason"])
def test_switching_a_service_answers_as_the_samples_do(api: AdminApi, action: str) -> None:
    api.given_node()
    reason = {"disabled_reason": "test2"} if action == "disable-log-reason" else {}

    answer = api("PUT", f"os-services/{action}", HOST | reason)

    expected = sample(f"os-services/service-{action}-response.json")
    assert (answer.status_code, answer.json()) == (200, expected | {"host": "n1@file"})


# --- which services there are -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "shown"), [("up", "up"), ("draining", "up"), ("expired", "down"), ("fenced", "down"), ("gone", "down")]
)
def test_a_node_is_up_while_it_has_its_lease(api: AdminApi, state: str, shown: str) -> None:
    api.given_node(state=state)

    assert states(api) == {"n1@file": shown}
    assert api("GET", "clusters").json()["clusters"][0]["state"] == shown


def test_a_node_is_a_service_for_each_of_its_backends(api: AdminApi) -> None:
    api.given_node("n1", queues=("c@fast", "c@file"))
    api.given_node("n2", queues=("c@file",), state="expired")

    assert states(api) == {"n1@fast": "up", "n1@file": "up", "n2@file": "down"}
    clusters = api("GET", "clusters/detail").json()["clusters"]
    assert [(one["name"], one["num_hosts"], one["num_down_hosts"]) for one in clusters] == [
        ("c@fast", 1, 0),
        ("c@file", 2, 1),
    ]


def test_of_a_node_s_incarnations_the_newest_is_shown(api: AdminApi) -> None:
    api.given_node(incarnation="i1", state="gone", started_at_us=NOW_US - 1)
    api.given_node(incarnation="i2", state="up", started_at_us=NOW_US)

    assert states(api) == {"n1@file": "up"}


def test_of_a_node_s_incarnations_the_one_that_lives_is_shown_also_after_its_clock_was_set_back(api: AdminApi) -> None:
    api.given_node(incarnation="i1", state="up", started_at_us=NOW_US - 1)
    api.given_node(incarnation="i2", state="gone", started_at_us=NOW_US)

    assert states(api) == {"n1@file": "up"}


@pytest.mark.parametrize(
    ("query", "hosts"),
    [
        ("?host=n1@file", ["n1@file"]),
        ("?binary=cinder-scheduler", ["c"]),
        ("?binary=cinder-volume&host=c", []),
    ],
)
def test_services_are_filtered(api: AdminApi, query: str, hosts: list[str]) -> None:
    api.given_node()

    assert [one["host"] for one in api("GET", f"os-services{query}").json()["services"]] == hosts


def test_each_node_makes_backups(api: AdminApi) -> None:
    """Clients look for one that does before they back up: by this binary, on a host without a backend."""
    api.given_node("n1", queues=("c@fast", "c@file"))
    api.given_node("n2", state="expired")

    first, second = api("GET", "os-services?binary=cinder-backup").json()["services"]

    assert (first["host"], first["state"], first["status"], first["cluster"]) == ("n1", "up", "enabled", None)
    assert (second["host"], second["state"]) == ("n2", "down")
    assert problems(first, "scheduler", "3.71") == []
    assert "replication_status" not in first


def test_a_service_for_backups_shows_what_was_said_about_it(api: AdminApi) -> None:
    api.given_node()

    body = {"host": "n1", "binary": "cinder-backup", "disabled_reason": "moving"}
    answer = api("PUT", "os-services/disable-log-reason", body)

    (shown,) = api("GET", "os-services?binary=cinder-backup").json()["services"]
    assert (answer.status_code, shown["status"], shown["disabled_reason"]) == (200, "disabled", "moving")
    assert [one["status"] for one in api("GET", "os-services?binary=cinder-volume").json()["services"]] == ["enabled"]


def test_there_is_a_scheduler_before_there_is_a_node(api: AdminApi) -> None:
    (scheduler,) = api("GET", "os-services").json()["services"]

    assert (scheduler["host"], scheduler["state"], scheduler["updated_at"]) == ("c", "up", None)


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("?name=c@file", ["c@file"]),
        ("?binary=cinder-volume", ["c@fast", "c@file"]),
        ("?binary=cinder-backup", []),
        ("?is_up=true", ["c@file"]),
        ("?disabled=1", ["c@fast"]),
        ("?num_hosts=1&num_down_hosts=1", ["c@fast"]),
        ("?replication_status=disabled&frozen=no", ["c@fast", "c@file"]),
    ],
)
def test_clusters_are_filtered(api: AdminApi, query: str, names: list[str]) -> None:
    api.given_node("n1", queues=("c@file",))
    api.given_node("n2", queues=("c@fast",), state="gone")
    api("PUT", "clusters/disable", {"name": "c@fast"})

    assert [one["name"] for one in api("GET", f"clusters{query}").json()["clusters"]] == names


# --- the operator's word ----------------------------------------------------------------------------------------------


def enabled(api: AdminApi) -> list[bool]:
    return [row["enabled"] for row in api.rows(tables.pools)]


def test_a_disabled_cluster_takes_no_new_volumes(api: AdminApi) -> None:
    api.given_node()
    api.given_pool("c@file#a")
    api.given_pool("c@other#a")

    disabled = api("PUT", "clusters/disable", {"name": "c@file", "disabled_reason": " moving out "}).json()["cluster"]
    while_disabled = enabled(api)
    again = api("PUT", "clusters/enable", {"name": "c@file", "binary": "cinder-volume"}).json()["cluster"]

    assert (disabled["status"], disabled["disabled_reason"]) == ("disabled", "moving out")
    assert (again["status"], again["disabled_reason"]) == ("enabled", None)
    assert (while_disabled, enabled(api)) == ([False, True], [True, True])


def test_a_cluster_is_enabled_by_its_name_while_its_nodes_restart(api: AdminApi) -> None:
    """None of them serves anything yet (seed 77918: it stayed disabled)."""
    api.given_node("n1")
    api.given_pool()
    api("PUT", "clusters/disable", {"name": "c@file"})
    api.given_node("n1", queues=(), incarnation="n1-restarted", started_at_us=2**60)

    shown = api("GET", "clusters/c@file").json()["cluster"]
    again = api("PUT", "clusters/enable", {"name": "c@file"})

    assert (shown["status"], shown["state"], shown["num_hosts"], shown["created_at"]) == ("disabled", "down", 0, "")
    assert (again.status_code, again.json()["cluster"]["status"], enabled(api)) == (200, "enabled", [True])
    assert api("PUT", "clusters/enable", {"name": "c@nobody"}).status_code == 404


def test_a_queue_takes_no_new_volumes_while_all_its_services_are_disabled(api: AdminApi) -> None:
    api.given_node("n1")
    api.given_node("n2")
    api.given_pool()

    api("PUT", "os-services/disable", {"host": "n1@file", "binary": "cinder-volume"})
    one_disabled = enabled(api)
    api(
        "PUT", "os-services/disable-log-reason", {"host": "n2@file", "service": "cinder-volume", "disabled_reason": "r"}
    )
    both_disabled = enabled(api)
    api("PUT", "os-services/enable", {"host": "n1@file", "binary": "cinder-volume"})

    assert (one_disabled, both_disabled, enabled(api)) == ([True], [False], [True])
    listed = api("GET", "os-services?binary=cinder-volume").json()["services"]
    assert [(one["status"], one["disabled_reason"]) for one in listed] == [("enabled", None), ("disabled", "r")]


def test_enabling_a_service_does_not_overrule_its_disabled_cluster(api: AdminApi) -> None:
    api.given_node()
    api.given_pool()
    api("PUT", "clusters/disable", {"name": "c@file"})

    api("PUT", "os-services/enable", HOST)

    assert enabled(api) == [False]


def test_the_word_outlives_the_incarnation(api: AdminApi) -> None:
    api.given_node(incarnation="i1", state="gone", started_at_us=1)
    api("PUT", "os-services/disable", HOST)

    api.given_node(incarnation="i2", queues=("c@file",))

    (shown,) = api("GET", "os-services?binary=cinder-volume").json()["services"]
    assert (shown["state"], shown["status"]) == ("up", "disabled")


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "says"),
    [
        ("PUT", "os-services/disable", {"binary": "cinder-volume"}, 400, "Host field is missing"),
        ("PUT", "os-services/disable", {"host": "n1@file"}, 400, "binary and service"),
        ("PUT", "os-services/disable", {"host": "n 1", "binary": "b"}, 400, "n 1"),
        ("PUT", "os-services/disable", HOST | {"color": "red"}, 400, "color"),
        ("PUT", "os-services/disable-log-reason", HOST | {"disabled_reason": " "}, 400, "disabled_reason"),
        ("PUT", "os-services/enable", {"host": "n9", "binary": "b"}, 404, "Service b could not be found on host n9."),
        ("GET", "clusters/none", None, 404, "Cluster none could not be found."),
        ("GET", "clusters/c@file?binary=cinder-backup", None, 404, "c@file"),
        ("PUT", "clusters/disable", {"name": "none"}, 404, "none"),
        ("PUT", "clusters/disable", {}, 400, "name"),
        ("PUT", "clusters/enable", {"name": "c@file", "disabled_reason": "r"}, 400, "disabled_reason"),
        ("GET", "clusters?color=red", None, 400, "Invalid filter keys: color"),
        ("GET", "clusters?is_up=perhaps", None, 400, "perhaps"),
    ],
)
def test_what_cannot_be_is_refused(api: AdminApi, method: str, path: str, body: object, status: int, says: str) -> None:
    api.given_node()

    answer = api(method, path, body)

    assert (answer.status_code, api.rows(tables.services)) == (status, [])
    assert says in message_of(answer)


@pytest.mark.parametrize(
    ("method", "path", "version", "status"),
    [
        ("GET", "clusters", "3.6", 404),
        ("GET", "clusters/detail", "3.6", 404),
        ("GET", "clusters?frozen=no", "3.25", 400),
        ("PUT", "clusters/enable", "3.6", 404),
    ],
)
def test_clusters_are_there_since_3_7(api: AdminApi, method: str, path: str, version: str, status: int) -> None:
    assert api(method, path, {} if method == "PUT" else None, version=version).status_code == status


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "os-services"),
        ("PUT", "os-services/disable"),
        ("PUT", "os-services/enable"),
        ("PUT", "os-services/disable-log-reason"),
        ("GET", "clusters"),
        ("GET", "clusters/detail"),
        ("GET", "clusters/c@file"),
        ("PUT", "clusters/disable"),
        ("PUT", "clusters/enable"),
    ],
)
def test_services_are_the_administrators(api: AdminApi, method: str, path: str) -> None:
    assert api(method, path, {} if method == "PUT" else None, member=True).status_code == 403


@pytest.mark.parametrize("count", [1, 40])
def test_a_list_costs_the_same_however_long_it_is(api: AdminApi, count: int) -> None:
    api.many(count, lambda i: api.given_node(f"n{i}", queues_json=json.dumps(["c@a", "c@b"])))

    listed = api("GET", "os-services").json()["services"]

    assert (len(listed), len(api.statements)) == (3 * count + 1, 4)
