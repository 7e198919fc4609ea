"""What holds for every request: ids, versions, callers, URLs, bodies, refusals."""

import re
from typing import Any

import pytest
from tests.api.world import Api

from breezeblock.api import microversions, policy, routes
from breezeblock.api.incoming import BODY_BYTES_MAX
from breezeblock.api.routing import Handler, Route
from breezeblock.store import tables

REQUEST_ID = re.compile(r"req-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")

ALL_ROUTES = (*routes.TOP.values(), *routes.ROUTES)


def handlers(route: Route) -> list[Handler]:
    return [route.handler] if route.handler else [action.handler for action in (route.actions or {}).values()]


def asks(handler: Any, *, depth: int = 1) -> bool:
    """Whether a handler, or a function of its module that it calls, names `permit`."""
    named = [handler.__globals__.get(name) for name in handler.__code__.co_names]
    near = [one for one in named if getattr(one, "__module__", None) == handler.__module__ and hasattr(one, "__code__")]
    return "permit" in handler.__code__.co_names or (depth > 0 and any(asks(one, depth=depth - 1) for one in near))


@pytest.mark.parametrize("route", ALL_ROUTES, ids=lambda route: f"{route.method} {route.template}")
def test_every_handler_asks_for_permission(route: Route) -> None:
    """A handler that asks nobody would answer everybody."""
    silent = [one for one in handlers(route) if not asks(one)]

    assert not silent


def test_every_microversion_says_what_it_changed() -> None:
    assert list(microversions.CHANGES) == list(range(microversions.NEWEST.minor + 1))


# --- versions --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "spoken"),
    [
        (None, "3.0"),
        ("volume 3.0", "3.0"),
        ("volume 3.71", "3.71"),
        ("volume latest", "3.71"),
        ("compute 2.1, volume 3.45", "3.45"),
        ("volume 3.45,compute 2.1", "3.45"),
        ("compute 2.1", "3.0"),
    ],
)
def test_the_version_asked_for_is_spoken(api: Api, header: str | None, spoken: str) -> None:
    answer = api("GET", "/v3/volumes", headers={"OpenStack-API-Version": header} if header else {})

    assert answer.status_code == 200
    assert answer.headers["OpenStack-API-Version"] == f"volume {spoken}"
    assert answer.headers["Vary"] == "OpenStack-API-Version"


@pytest.mark.parametrize(
    ("header", "status"),
    [("volume 3.72", 406), ("volume 2.0", 406), ("volume 4.0", 406), ("volume three", 400), ("volume 3", 400)],
)
def test_other_versions_are_refused(api: Api, header: str, status: int) -> None:
    answer = api("GET", "/v3/volumes", headers={"OpenStack-API-Version": header})

    assert answer.status_code == status
    assert str(status) in answer.text


def test_discovery_names_the_versions_and_where_we_are(api: Api) -> None:
    answer = api("GET", "/", token=None, headers={"Host": "cloud.example"})

    assert answer.status_code == 300
    (version,) = answer.json()["versions"]
    assert (version["min_version"], version["version"], version["id"]) == ("3.0", "3.71", "v3.0")
    assert {"rel": "self", "href": "http://cloud.example/v3/"} in version["links"]


@pytest.mark.parametrize("path", ["/v3", "/v3/"])
def test_discovery_of_one_version(api: Api, path: str) -> None:
    answer = api("GET", path, token=None)

    assert answer.status_code == 200
    assert len(answer.json()["versions"]) == 1


def test_health_needs_nobody(api: Api) -> None:
    answer = api("GET", "/healthcheck", token=None)

    assert (answer.status_code, answer.text) == (200, "OK")


# --- ids and callers -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/v3/volumes", "/v3/volumes/none", "/nowhere", "/healthcheck"])
def test_every_answer_has_a_request_id(api: Api, path: str) -> None:
    answer = api("GET", path)

    assert REQUEST_ID.match(answer.headers["x-openstack-request-id"])
    assert answer.headers["x-compute-request-id"] == answer.headers["x-openstack-request-id"]


def test_a_url_of_another_project_is_malformed(open_api: Api) -> None:
    """Not even for administrators: whose volume would a POST there make?"""
    answer = open_api("GET", "/v3/p2/volumes", token="user:p1")

    assert answer.status_code == 400
    assert "p2" in answer.json()["badRequest"]["message"]


@pytest.mark.parametrize(
    ("path", "token", "project"),
    [
        ("/v3/p7/volumes", None, "p7"),
        ("/v3/volumes", None, "admin"),
        ("/v3/p7/volumes", "an-opaque-token", "p7"),
        ("/v3/volumes", "somebody:p8", "p8"),
    ],
)
def test_without_an_identity_service_the_token_or_the_url_names_the_project(
    open_api: Api, path: str, token: str | None, project: str
) -> None:
    answer = open_api("POST", path, {"volume": {"size": 1}}, token=token)

    shown = open_api("GET", f"/v3/volumes/{answer.json()['volume']['id']}", token=None).json()["volume"]
    assert shown["os-vol-tenant-attr:tenant_id"] == project
    assert "os-vol-host-attr:host" in shown  # everyone is an administrator


def test_a_page_in_a_browser_is_not_believed(open_api: Api) -> None:
    """Any page that is open on the machine could ask, since here everybody is believed."""
    answer = open_api("GET", "/v3/p1/volumes", headers={"Origin": "https://elsewhere.example"})

    assert answer.status_code == 403
    assert "auth.strategy" in answer.json()["forbidden"]["message"]


@pytest.mark.parametrize(
    ("site", "status"), [("cross-site", 403), ("same-site", 403), ("same-origin", 403), ("none", 200)]
)
def test_a_page_that_only_shows_a_picture_of_ours_is_not_believed(open_api: Api, site: str, status: int) -> None:
    """Then a browser names no origin. Some GETs of this API change something. What its user typed is no page's request."""
    assert open_api("GET", "/v3/p1/volumes", headers={"Sec-Fetch-Site": site}).status_code == status


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LOCALHOST:8776", 200),
        ("127.0.0.1:8776", 200),
        ("127.8.9.10", 200),
        ("[::1]:8776", 200),
        ("here:1", 200),  # as the settings say
        ("HERE", 200),
        ("", 200),
        ("evil.example:8776", 403),
        ("localhost.evil.example", 403),
        ("127.0.0.1.evil.example:8776", 403),
        ("127.0.0.1@evil.example", 403),
        ("localhost,evil.example", 403),
        ("192.0.2.1:8776", 403),
        ("[2001:db8::1]:8776", 403),
        ("x" * 300, 403),
    ],
)
def test_a_name_that_anybody_may_own_is_not_believed(open_api: Api, host: str, status: int) -> None:
    """Its owner lets it mean 127.0.0.1 once the page is there, and to the browser everything is of that one place."""
    answer = open_api("POST", "/v3/p1/volumes", {"volume": {"size": 1}}, headers={"Host": host})

    assert (answer.status_code == 403) == (status == 403), answer.text
    if status == 403:
        told = answer.json()["forbidden"]["message"]
        assert "auth.hosts" in told and host[:20] in told and len(told) < 400
        assert open_api.count(tables.volumes) == 0


def test_with_a_way_to_know_callers_any_name_will_do(api: Api) -> None:
    assert api("GET", "/v3/p1/volumes", headers={"Host": "storage.example.org"}).status_code == 200


# --- URLs and bodies -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    ["/v3/p1/nothing", "/v3/volumes/a/b/c/d", "/v2/volumes", "/v3/p1", "/x", "//v3/p1/volumes", "/v3//p1/volumes"],
)
def test_an_unknown_url_is_not_found(api: Api, path: str) -> None:
    answer = api("GET", path)

    assert answer.status_code == 404
    assert answer.json()["itemNotFound"]["code"] == 404


def test_another_method_is_refused_with_those_that_are_taken(api: Api) -> None:
    answer = api("DELETE", "/v3/volumes")

    assert answer.status_code == 405
    assert answer.headers["Allow"] == "GET, POST"
    assert answer.json()["badMethod"]["code"] == 405


def test_a_url_of_a_later_version_is_not_found(api: Api) -> None:
    assert api("GET", "/v3/volumes/summary", version="3.11").status_code == 404
    assert api("GET", "/v3/volumes/summary", version="3.12").status_code == 200


VOLUME_ACTION = "/v3/volumes/00000000-0000-0000-0000-000000000000/action"


@pytest.mark.parametrize(
    ("path", "content", "headers", "status", "words"),
    [
        ("/v3/volumes", b"{", {}, 400, "JSON"),
        ("/v3/volumes", b"", {}, 400, "empty"),
        ("/v3/volumes", b"\xff\xfe", {}, 400, "JSON"),
        ("/v3/volumes", b"[]", {}, 400, "body"),
        ("/v3/volumes", b"<x/>", {"Content-Type": "application/xml"}, 415, "application/json"),
        ("/v3/volumes", b" " * (BODY_BYTES_MAX + 1), {}, 413, str(BODY_BYTES_MAX)),
        (VOLUME_ACTION, b"", {}, 400, "action"),
        (VOLUME_ACTION, b"{}", {}, 400, "one key"),
        (VOLUME_ACTION, b'{"os-extend": {}, "os-retype": {}}', {}, 400, "one key"),
        (VOLUME_ACTION, b'{"os-explode": {}}', {}, 400, "os-explode"),
        (VOLUME_ACTION, b'{"revert": {"snapshot_id": "x"}}', {}, 404, "revert"),
    ],
)
def test_bodies_that_cannot_be_are_refused_with_the_reason(
    api: Api, path: str, content: bytes, headers: dict[str, str], status: int, words: str
) -> None:
    answer = api("POST", path, content=content, headers=headers)

    assert answer.status_code == status
    (fault,) = answer.json().values()
    assert fault["code"] == status
    assert words in fault["message"]


@pytest.mark.parametrize(
    ("volume", "version", "words"),
    [
        ({"size": 0}, None, "volume.size = 0"),
        ({"size": "ten"}, None, 'volume.size = "ten"'),
        ({"size": 1.5}, None, "volume.size = 1.5"),
        ({"size": True}, None, "volume.size = true"),
        ({"size": 2**31}, None, "2147483647"),
        ({"size": "9" * 5000}, None, "volume.size"),
        ({"size": 1, "name": 7}, None, "volume.name = 7: expected str"),
        ({"size": 1, "name": "n" * 256}, None, "length <= 255"),
        ({"size": 1, "snapshot_id": "x"}, None, 'volume.snapshot_id = "x": expected a UUID'),
        ({"size": 1, "metadata": {"a": "b", "k": 1}}, None, "volume.metadata.k = 1: expected str"),
        ({"size": 1, "metadata": {"k!": "v"}}, None, "key"),
        ({"size": 1, "metadata": {"k": "v" * 256}}, None, "255"),
        ({"size": 1, "multiattach": "maybe"}, None, "true or false"),
        ({"size": 1, "multiattach": True}, None, "volume type"),
        ({"size": 1, "imageRef": "x"}, None, "image service"),
        ({"size": 1, "image_id": "x"}, None, "image service"),
        ({"size": 1, "backup_id": "x"}, "3.47", "UUID"),
        ({"size": 1, "group_id": 7}, "3.13", "volume.group_id = 7: expected str"),
        ({"size": 1, "odd": 1}, "3.53", "odd"),
        ({}, None, "size"),
    ],
)
def test_a_new_volume_that_cannot_be_is_refused_by_key_value_and_expectation(
    api: Api, volume: dict[str, Any], version: str | None, words: str
) -> None:
    answer = api("POST", "/v3/volumes", {"volume": volume}, version=version)

    assert answer.status_code == 400
    assert words in answer.json()["badRequest"]["message"]


def test_unknown_keys_were_ignored_before_strict_bodies(api: Api) -> None:
    answer = api("POST", "/v3/volumes", {"volume": {"size": 1, "odd": 1}}, version="3.52")

    assert answer.status_code == 202


def test_a_mistake_of_ours_is_a_500_that_names_the_request(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last resort: whatever a handler trips over, the client gets an answer in the form that it knows."""
    monkeypatch.delitem(policy.RULES, "volume:get_all")

    answer = api("GET", "/v3/volumes")

    assert answer.status_code == 500
    assert answer.json()["computeFault"]["code"] == 500
    assert REQUEST_ID.match(answer.headers["x-openstack-request-id"])
