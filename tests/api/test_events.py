"""Requests where somebody is to be told of what they change, and what that costs where nobody is."""

import asyncio
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.api.world import Api
from tests.databases import statements

from breezeblock.store import tables


@pytest.fixture
def told(tmp_path: Path) -> Iterator[Api]:
    yield from opened(tmp_path, ("diary", "hook"))


@pytest.fixture
def untold(tmp_path: Path) -> Iterator[Api]:
    yield from opened(tmp_path, ())


def opened(folder: Path, receivers: Sequence[str]) -> Iterator[Api]:
    loop = asyncio.new_event_loop()
    api = Api(folder, loop, receivers=receivers)
    yield api
    api.close()
    loop.close()


def events(api: Api, receiver: str = "diary") -> list[dict[str, Any]]:
    rows = [row for row in api.rows(tables.events) if row["receiver"] == receiver]
    rows.sort(key=lambda row: (row["resource_id"], row["op_seq"], row["number"]))
    return [json.loads(row["event_json"]) for row in rows]


def test_a_request_leaves_its_events_for_each_receiver(told: Api) -> None:
    answer = told("POST", "/v3/p1/volumes", {"volume": {"size": 2, "metadata": {"a": "b"}}})

    new, begun = events(told)
    assert (new["what"], new["after"], begun["what"], begun["kind"]) == ("status", "creating", "begun", "create_volume")
    assert {new["request_id"], begun["request_id"]} == {answer.headers["x-openstack-request-id"]}
    assert (new["project_id"], new["user_id"]) == ("p1", "user")
    assert new["resource"]["metadata"] == {"a": "b"}
    assert events(told, "hook") == [new, begun]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", "", {"volume": {"name": "new"}}),
        ("POST", "/metadata", {"metadata": {"a": "b"}}),
        ("POST", "/action", {"os-set_bootable": {"bootable": True}}),
    ],
)
def test_an_edit_is_an_event(told: Api, method: str, path: str, body: Any) -> None:
    volume_id = told.given_volume()

    told(method, f"/v3/p1/volumes/{volume_id}{path}", body)

    (event,) = events(told)
    assert (event["what"], event["resource_id"]) == ("updated", volume_id)


def test_a_cascade_tells_of_each_snapshot(told: Api) -> None:
    volume_id = told.given_volume()
    snapshot_id = told.given("snapshots", volume_id=volume_id)

    told("DELETE", f"/v3/p1/volumes/{volume_id}?cascade=true")

    deleting = {event["resource_id"] for event in events(told) if event.get("after") == "deleting"}
    assert deleting == {volume_id, snapshot_id}


def test_what_is_refused_leaves_nothing(told: Api) -> None:
    volume_id = told.given_volume(status="in-use")

    assert told("DELETE", f"/v3/p1/volumes/{volume_id}").status_code == 400
    assert events(told) == []


def test_where_nobody_is_told_nothing_is_asked_or_written(untold: Api) -> None:
    volume_id = untold.given_volume()

    with statements() as seen:
        untold("POST", f"/v3/p1/volumes/{volume_id}/action", {"os-extend": {"new_size": 9}})

    assert not [text for text in map(str, seen) if "events" in text or "receivers" in text]
    assert untold.rows(tables.events) == []
