"""The audit log: a line for each request that may change something, and nothing in it that is secret."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs
from tests.api.world import Api

from breezeblock.api.audit import FileAudit, LogAudit, open_audit
from breezeblock.options import Audit


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "audit.log"


@pytest.fixture
def api(tmp_path: Path, file: Path) -> Iterator[Api]:
    loop = asyncio.new_event_loop()
    api = Api(tmp_path, loop, audit=FileAudit(file))
    yield api
    api.close()
    loop.close()


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_a_creation_is_written_down_with_who_and_what(api: Api, file: Path) -> None:
    answer = api("POST", "/v3/p1/volumes", {"volume": {"size": 1, "name": "hidden-name"}})

    (line,) = lines(file)
    assert (line["action"], line["rule"], line["outcome"]) == ("create", "volume:create", "success")
    assert line["reason"] == {"reasonType": "HTTP", "reasonCode": "202"}
    assert line["initiator"] | {"host": None} == {
        "id": "user", "project_id": "p1", "roles": ["member", "reader"], "host": None,
    }  # fmt: skip
    assert line["target"]["created"] == {"volume": answer.json()["volume"]["id"]}
    assert line["target"]["route"] == "volumes"
    assert line["request_id"] == answer.headers["x-openstack-request-id"]
    assert "hidden-name" not in file.read_text()


def test_an_action_is_written_down_by_its_key_and_its_target(api: Api, file: Path) -> None:
    volume_id = api.given_volume()

    api("POST", f"/v3/p1/volumes/{volume_id}/action", {"os-extend": {"new_size": 4}})

    (line,) = lines(file)
    assert (line["action"], line["rule"]) == ("update/os-extend", "volume:extend")
    assert line["target"]["ids"] == {"volume_id": volume_id}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("POST", "/v3/p1/types", "403"), ("DELETE", "/v3/p1/volumes/nowhere", "404"), ("POST", "/v3/p1/nothing", "404")],
)
def test_what_was_refused_is_written_down_as_well(api: Api, file: Path, method: str, path: str, status: str) -> None:
    api(method, path, {"volume_type": {"name": "t"}} if method == "POST" else None)

    (line,) = lines(file)
    assert (line["outcome"], line["reason"]["reasonCode"]) == ("failure", status)


def test_who_only_reads_leaves_no_line(api: Api, file: Path) -> None:
    api("GET", "/v3/p1/volumes")

    assert not file.exists()


def test_no_query_is_in_a_line(api: Api, file: Path) -> None:
    api("DELETE", "/v3/p1/volumes/nowhere?token=s3cret")

    assert "s3cret" not in file.read_text()


def test_a_file_that_was_moved_away_is_made_anew(api: Api, file: Path) -> None:
    api("DELETE", "/v3/p1/volumes/one")
    file.rename(file.with_suffix(".1"))
    api("DELETE", "/v3/p1/volumes/two")

    assert lines(file)[0]["target"]["ids"] == {"volume_id": "two"}


def test_a_line_that_cannot_be_written_goes_to_the_log_and_fails_nothing(tmp_path: Path) -> None:
    with capture_logs() as logged:
        asyncio.run(FileAudit(tmp_path / "no" / "folder").write({"id": "req-1"}))

    assert (logged[0]["event"], logged[0]["audit"]) == ("audit.not_written", {"id": "req-1"})


def test_settings_choose_where_lines_go(tmp_path: Path) -> None:
    assert open_audit(Audit()) is None
    assert isinstance(open_audit(Audit(to="log")), LogAudit)
    assert isinstance(open_audit(Audit(to="file", file=tmp_path / "audit.log")), FileAudit)


def test_no_request_makes_a_long_line(api: Api, file: Path) -> None:
    """Anybody may send any word as a method, and a long name in a URL; who writes lines down pays for each byte of them."""
    with capture_logs() as logged:
        answers = [api("BREW" * 2000, "/v3/p1/volumes"), api("DELETE", f"/v3/p1/volumes/{'x' * 15_000}")]

    assert [one.status_code for one in answers] == [405, 404]
    assert all(len(line) < 4000 for line in file.read_text().splitlines())
    assert [line["method"] for line in lines(file)] == ["BREW" * 8, "DELETE"]
    assert all(len(str(line)) < 3000 for line in logged)
    assert len(answers[0].text) < 500
