"""Log levels of services, as requests and answers."""

import json
from typing import Any

import pytest
from tests.api.admin_api import AdminApi, message_of, sample

from breezeblock.resources import log_levels
from breezeblock.store import tables

SET, GET = "os-services/set-log", "os-services/get-log"


@pytest.fixture
def api() -> AdminApi:
    api = AdminApi()
    api.given_node()
    for binary, host in ((log_levels.API, "h1"), ("cinder-volume", "n1")):
        api.given(tables.log_reports, id=binary, binary=binary, host=host, levels_json='{"breezeblock.work": "INFO"}',
                  reported_at_us=4_000_000_000_000_000)  # fmt: skip
    return api


def kept(api: AdminApi) -> list[tuple[str, str, str, str]]:
    """What processes are to obey."""
    words = [word for row in api.rows(tables.log_levels) for word in json.loads(row["said_json"])]
    return [(one["binary"], one["server"], one["prefix"], one["level"]) for one in words]


@pytest.mark.parametrize(
    ("body", "meant"),
    [
        ({"level": "debug"}, ("", "", "", "DEBUG")),
        ({"level": "Error", "binary": "*", "server": None, "prefix": None}, ("", "", "", "ERROR")),
        ({"level": "INFO", "binary": "", "server": "", "prefix": ""}, ("", "", "", "INFO")),
        (
            {"level": "WARNING", "binary": "cinder-volume", "server": "n1@file", "prefix": "breezeblock.work"},
            ("cinder-volume", "n1@file", "breezeblock.work", "WARNING"),
        ),
    ],
)
def test_a_level_is_kept_for_those_that_are_meant(api: AdminApi, body: Any, meant: Any) -> None:
    answer = api("PUT", SET, body)

    assert (answer.status_code, answer.content) == (202, b"")
    assert kept(api) == [meant]


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({}, "level"),
        ({"level": None}, "level"),
        ({"level": "loud"}, "DEBUG, INFO, WARNING, ERROR"),
        ({"level": "INFO", "binary": "nova-compute"}, "cinder-scheduler"),
        ({"level": "INFO", "prefix": 3}, "prefix"),
        ({"level": "INFO", "server": "s" * 256}, "server"),
        ({"level": "INFO", "more": "x"}, "more"),
    ],
)
def test_a_wrong_level_is_400(api: AdminApi, body: Any, named: str) -> None:
    answer = api("PUT", SET, body)

    assert answer.status_code == 400
    assert named in message_of(answer)
    assert kept(api) == []


def test_levels_are_told_as_services_use_them(api: AdminApi) -> None:
    answer = api("PUT", GET, {"binary": "*", "prefix": "breezeblock"})

    levels = {"breezeblock.work": "INFO"}
    assert answer.status_code == 200
    assert answer.json() == {
        "log_levels": [
            {"binary": "cinder-api", "host": "h1", "levels": levels},
            {"binary": "cinder-backup", "host": "n1", "levels": levels},
            {"binary": "cinder-scheduler", "host": "c", "levels": levels},
            {"binary": "cinder-volume", "host": "n1@file", "levels": levels},
        ]
    }
    assert answer.json()["log_levels"][0].keys() == sample("services-get-log-response.json")["log_levels"][0].keys()


def test_levels_of_one_service(api: AdminApi) -> None:
    found = api("PUT", GET, {"binary": "cinder-volume", "server": "n1@file", "prefix": "sqlalchemy"}).json()

    assert found == {"log_levels": [{"binary": "cinder-volume", "host": "n1@file", "levels": {}}]}
    assert api("PUT", GET, {"server": "n7"}).json() == {"log_levels": []}


@pytest.mark.parametrize("url", [SET, GET])
def test_levels_are_for_administrators_since_3_32(api: AdminApi, url: str) -> None:
    body = {"level": "INFO"} if url == SET else {}

    assert api("PUT", url, body, version="3.31").status_code == 404
    assert api("PUT", url, body, version="3.32").status_code in (200, 202)
    assert api("PUT", url, body, member=True).status_code == 403
