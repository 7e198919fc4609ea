"""Quotas of projects and classes, and limits, as requests and answers."""

import pytest
from tests.api.admin_api import PROJECT, VOLUME_TYPE, AdminApi, message_of, sample
from tests.api.keys_admin import problems

from breezeblock.store import tables

OWN = f"os-quota-sets/{PROJECT}"


@pytest.fixture
def api() -> AdminApi:
    return AdminApi()


# --- what answers look like -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "body", "outer", "what"),
    [
        ("GET", OWN, None, "quota_set", "quota set"),
        ("GET", f"{OWN}?usage=True", None, "quota_set", "quota set, used"),
        ("GET", f"{OWN}/defaults", None, "quota_set", "quota set"),
        ("PUT", OWN, {"quota_set": {"volumes": 5}}, "quota_set", "quota set, updated"),
        ("GET", "os-quota-class-sets/default", None, "quota_class_set", "quota set"),
        ("PUT", "os-quota-class-sets/default", {"quota_class_set": {}}, "quota_class_set", "quota set, updated"),
        ("GET", "limits", None, "limits", "limits"),
    ],
)
def test_answers_have_their_keys(api: AdminApi, method: str, path: str, body: object, outer: str, what: str) -> None:
    answer = api(method, path, body)
    shown = answer.json()[outer]

    assert answer.status_code == 200
    assert problems(shown.get("absolute", shown), what) == []


@pytest.mark.parametrize(
    ("path", "name"),
    [
        (OWN, "quota_sets/quotas-show-response.json"),
        (f"{OWN}?usage=true", "quota_sets/quotas-show-usage-response.json"),
        (f"{OWN}/defaults", "quota_sets/quotas-show-defaults-response.json"),
        ("os-quota-class-sets/test_class", "quota_classes/quota-classes-show-response.json"),
    ],
)
def test_a_fresh_project_has_what_the_samples_have(api: AdminApi, path: str, name: str) -> None:
    (expected,) = sample(name).values()
    (shown,) = api("GET", path).json().values()

    assert shown | {"id": ""} == expected | {"id": ""}


def test_a_fresh_project_has_the_limits_of_the_sample(api: AdminApi) -> None:
    assert api("GET", "limits").json() == sample("limits/limits-show-response.json")


# --- which limit counts -----------------------------------------------------------------------------------------------


def test_a_project_s_own_limit_counts_before_the_class_and_the_settings(api: AdminApi) -> None:
    api("PUT", "os-quota-class-sets/default", {"quota_class_set": {"volumes": 20, "snapshots": "30"}})

    updated = api("PUT", OWN, {"quota_set": {"tenant_id": "x", "volumes": 5}}).json()["quota_set"]

    assert (updated["volumes"], updated["snapshots"], updated["backups"]) == (5, 30, 10)
    assert api("GET", "os-quota-sets/other").json()["quota_set"]["volumes"] == 20
    assert api("GET", f"{OWN}/defaults").json()["quota_set"]["volumes"] == 20


def test_deleting_a_project_s_quotas_gives_it_the_defaults(api: AdminApi) -> None:
    api("PUT", OWN, {"quota_set": {"volumes": 5}})

    assert api("DELETE", OWN).status_code == 200
    assert api("GET", OWN).json()["quota_set"]["volumes"] == 10


def test_each_type_has_quotas_that_follow_its_name_and_go_with_it(api: AdminApi) -> None:
    api.given_type("gold")
    api("PUT", OWN, {"quota_set": {"volumes_gold": 3}})
    api.given(tables.quota_usage, project_id=PROJECT, resource=f"volumes_{VOLUME_TYPE}", in_use=2)

    api("PUT", f"types/{VOLUME_TYPE}", {"volume_type": {"name": "silver"}})
    renamed = api("GET", OWN).json()["quota_set"]
    used = api("GET", f"{OWN}?usage=true").json()["quota_set"]["volumes_silver"]["in_use"]
    api("DELETE", f"types/{VOLUME_TYPE}")

    assert (renamed["volumes_silver"], renamed["gigabytes_silver"], "volumes_gold" in renamed) == (3, -1, False)
    assert used == 2
    assert api.rows(tables.quotas) == api.rows(tables.quota_usage) == []


# --- limits that callers bring along ----------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["admin", "member"])
def test_a_caller_s_own_limits_are_those_of_the_caller_s_project(api: AdminApi, role: str) -> None:
    """Instead of the settings', wherever that project's limits are shown; what an operator has set wins."""
    api("PUT", OWN, {"quota_set": {"volumes": 8}})
    who = f"limited {role}"

    shown = api("GET", OWN, token=who).json()["quota_set"]
    unset = api("GET", f"{OWN}/defaults", token=who).json()["quota_set"]
    limits = api("GET", "limits", token=who).json()["limits"]["absolute"]

    assert (shown["volumes"], shown["gigabytes"], shown["backups"]) == (8, 5, 10)
    assert (unset["volumes"], unset["gigabytes"], unset["per_volume_gigabytes"]) == (3, 5, 4)
    assert (limits["maxTotalVolumes"], limits["maxTotalVolumeGigabytes"]) == (8, 5)


def test_a_caller_s_own_limits_are_nobody_else_s(api: AdminApi) -> None:
    """An administrator who looks at another project, or at a class, sees what is true there."""
    who = "limited admin"
    of_other = api("GET", "os-quota-sets/other", token=who).json()["quota_set"]
    unset = api("GET", "os-quota-sets/other/defaults", token=who).json()["quota_set"]
    of_class = api("GET", "os-quota-class-sets/default", token=who).json()["quota_class_set"]
    limits = api("GET", "limits?project_id=other", token=who).json()["limits"]["absolute"]
    changed = api("PUT", "os-quota-sets/other", {"quota_set": {"backups": 1}}, token=who).json()["quota_set"]
    class_changed = api("PUT", "os-quota-class-sets/x", {"quota_class_set": {"backups": 1}}, token=who).json()

    assert [shown["volumes"] for shown in (of_other, unset, of_class, changed)] == [10] * 4
    assert limits["maxTotalVolumes"] == class_changed["quota_class_set"]["volumes"] == 10


@pytest.mark.parametrize(
    ("project", "size", "status"),
    [
        (PROJECT, 4, 202),
        (PROJECT, 5, 413),
        ("small", 4, 202),
        ("small", 5, 413),
        ("other", 900, 202),
        ("other", 1001, 413),
    ],
)
def test_what_grows_is_held_against_the_limits_of_whose_it_is(
    api: AdminApi, project: str, size: int, status: int
) -> None:
    """Also when an administrator of another project lets it grow."""
    api.given_node()
    api.given_pool(total_gib=5_000, free_gib=5_000)
    api.given_volume(
        project_id=project, pool_name="c@file#pool", object_name="v1.1.1", volume_type_id=None, charged_type_id=None
    )
    api.given(tables.quota_usage, project_id=project, resource="gigabytes", in_use=1)

    answer = api("POST", "volumes/v1/action", {"os-extend": {"new_size": size}}, token="limited admin")

    assert answer.status_code == status, answer.text


def test_what_identity_says_of_a_project_is_shown_to_whoever_asks(api: AdminApi) -> None:
    """An administrator of another one sees the limits that its users are held to; the API's own word wins here too."""
    who = "limited admin"
    shown = api("GET", "os-quota-sets/small", token=who).json()["quota_set"]
    unset = api("GET", "os-quota-sets/small/defaults", token=who).json()["quota_set"]
    limits = api("GET", "limits?project_id=small", token=who).json()["limits"]["absolute"]
    changed = api("PUT", "os-quota-sets/small", {"quota_set": {"volumes": 7}}, token=who).json()["quota_set"]

    assert (shown["volumes"], unset["volumes"], limits["maxTotalVolumes"], changed["volumes"]) == (3, 3, 3, 7)
    assert changed["gigabytes"] == 5


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "body", "says"),
    [
        (OWN, {"quota_set": {}}, "length"),
        (OWN, {"quota_set": {"volumes": -2}}, "quota_set.volumes = -2"),
        (OWN, {"quota_set": {"volumes": 2**31}}, "2147483647"),
        (OWN, {"quota_set": {"volumes": True}}, "true"),
        (OWN, {"quota_set": {"volumes": "many"}}, "many"),
        (OWN, {"quota_set": {"volumes": ""}}, "volumes"),
        (OWN, {"quota_set": {"volumes": 1.5}}, "1.5"),
        (OWN, {"quota_set": {"volumes": "1.5"}}, "1.5"),
        (OWN, {"quota_set": {"volumes": "²"}}, "volumes"),
        (OWN, {"quota_set": {"volumes": [1]}}, "[1]"),
        (OWN, {"quota_set": {"volumes": 10**30}}, "2147483647"),
        (OWN, {"quota_set": {"volumes": "9" * 4000}}, "2147483647"),
        (OWN, {"quota_set": {"volumes": 1, "gigabytes": -2}}, "quota_set.gigabytes = -2"),
        (OWN, {"quota_set": {"volumes_nothing": 1}}, "Bad key(s) in quota set: volumes_nothing"),
        (OWN, {"quota_set": {"": 1}}, "Bad key(s) in quota set"),
        (OWN, {"quota_set": {"snapshots_use_gigabytes": 0}}, "Bad key(s) in quota set: snapshots_use_gigabytes"),
        (OWN, {"quota_set": [1]}, "quota_set"),
        (OWN, {"quota_set": {"volumes": 1}, "force": True}, "force"),
        (OWN, {"quota_set": {"volumes": None}}, "null"),
        (OWN, {"quota_set": {"apples": 1, "pears": 1}}, "Bad key(s) in quota set: apples, pears"),
        (OWN, {"quota_set": {"gigabytes": 6}}, "Current usage is 7 and the requested limit is 6"),
        (f"{OWN}?skip_validation=perhaps", {"quota_set": {"gigabytes": 6}}, "perhaps"),
        ("os-quota-class-sets/default", {"quota_class_set": {"apples": 1}}, "Bad key(s) in quota class set: apples"),
        ("os-quota-class-sets/default", {"quota_class_set": {"volumes": "x"}}, "volumes"),
        (f"os-quota-sets/{'x' * 256}", {"quota_set": {"volumes": 1}}, "256"),
    ],
)
def test_what_cannot_be_is_refused(api: AdminApi, path: str, body: object, says: str) -> None:
    api.given(tables.quota_usage, project_id=PROJECT, resource="gigabytes", in_use=7)

    answer = api("PUT", path, body)

    assert answer.status_code == 400
    assert says in message_of(answer)
    assert api.rows(tables.quotas) == api.rows(tables.quota_classes) == []


def test_what_old_clients_send_along_is_no_limit(api: AdminApi) -> None:
    """Alone it changes nothing, as in Cinder."""
    answer = api("PUT", OWN, {"quota_set": {"tenant_id": PROJECT, "id": PROJECT}})

    assert (answer.status_code, api.rows(tables.quotas)) == (200, [])


@pytest.mark.parametrize(
    ("path", "limit"), [(f"{OWN}?skip_validation=True", 6), (OWN, -1), (OWN, 7)], ids=["skipped", "unlimited", "equal"]
)
def test_a_limit_may_be_set_below_usage_only_on_purpose(api: AdminApi, path: str, limit: int) -> None:
    api.given(tables.quota_usage, project_id=PROJECT, resource="gigabytes", in_use=7)

    assert api("PUT", path, {"quota_set": {"gigabytes": limit}}).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", OWN, None, 200),
        ("GET", "os-quota-sets/other", None, 403),
        ("GET", "os-quota-sets/other/defaults", None, 403),
        ("PUT", OWN, {"quota_set": {"volumes": 1}}, 403),
        ("DELETE", OWN, None, 403),
        ("GET", "os-quota-class-sets/default", None, 403),
        ("PUT", "os-quota-class-sets/default", {"quota_class_set": {"volumes": 1}}, 403),
    ],
)
def test_members_see_their_own_quotas(api: AdminApi, method: str, path: str, body: object, status: int) -> None:
    assert api(method, path, body, member=True).status_code == status


# --- limits -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "version", "member", "used"),
    [
        ("", "3.39", False, 7),
        ("?project_id=other", "3.39", False, 9),
        ("?tenant_id=other", "3.39", False, 9),
        ("?project_id=other", "3.38", False, 7),
        ("?project_id=other", "3.39", True, 7),
    ],
)
def test_administrators_see_the_limits_of_others_since_3_39(
    api: AdminApi, query: str, version: str, member: bool, used: int
) -> None:
    api.given(tables.quota_usage, project_id=PROJECT, resource="gigabytes", in_use=7)
    api.given(tables.quota_usage, project_id="other", resource="gigabytes", in_use=9)

    shown = api("GET", f"limits{query}", version=version, member=member).json()["limits"]["absolute"]

    assert shown["totalGigabytesUsed"] == used


@pytest.mark.parametrize("count", [1, 40])
def test_quotas_cost_the_same_however_many_types_there_are(api: AdminApi, count: int) -> None:
    api.many(count, lambda i: api.given_type(f"t{i}", id_=f"t{i}"))

    shown = api("GET", f"{OWN}?usage=true").json()["quota_set"]

    assert (f"volumes_t{count - 1}" in shown, len(api.statements)) == (True, 3)
