"""An administrator's word that a node is dead, as requests and answers."""

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.api.admin_api import AdminApi, message_of

from breezeblock.env import machine
from breezeblock.store import tables

URL = "os-services/fence"
SURE = {"host": "n1", "confirm": True}


@pytest.fixture
def api() -> AdminApi:
    return AdminApi()


@pytest.fixture
def lock_file(tmp_path: Path) -> Iterator[Path]:
    """A node's lock file on this machine, held by us."""
    path = tmp_path / "n1.lock"
    file = os.open(path, os.O_RDWR | os.O_CREAT)
    os.write(file, b"the-id")
    fcntl.flock(file, fcntl.LOCK_EX)
    yield path
    os.close(file)


def test_a_word_fences_the_lost_incarnation(api: AdminApi) -> None:
    """With its backends in the answer, and who said it in its history. A new incarnation of that name lives on."""
    api.given_node(state="expired", queues=("c@a", "c@b"))
    api.given_node(incarnation="n1-2")
    api.given(tables.node_backends, incarnation="n1-1", queue="c@a", identity_json="{}", fenced_by="storage")

    answer = api("PUT", URL, SURE)

    assert (answer.status_code, answer.json()) == (
        200,
        {"host": "n1", "fenced": [{"incarnation": "n1-1", "backends": ["c@b"]}]},
    )
    assert {row["incarnation"]: row["state"] for row in api.rows(tables.nodes)} == {"n1-1": "fenced", "n1-2": "up"}
    (event,) = api.rows(tables.node_events)
    assert (event["event"], event["node"]) == ("confirmed", "n1")
    assert event["detail"].startswith("fenced by the word of ")
    assert answer.headers["x-openstack-request-id"] in event["detail"]


def test_a_node_that_passes_for_live_is_fenced_by_the_name_of_its_incarnation(api: AdminApi) -> None:
    """A machine that burns need not be waited for. But by now the node's name may mean one that has come back and works."""
    api.given_node()

    by_name = api("PUT", URL, SURE)
    untouched = [row["state"] for row in api.rows(tables.nodes)]

    assert (by_name.status_code, untouched) == (409, ["up"])
    assert "n1 is up: nobody has expired it" in message_of(by_name)
    assert message_of(by_name).endswith("n1-1.")
    assert api("PUT", URL, SURE | {"host": "n1-1"}).status_code == 200
    assert [row["state"] for row in api.rows(tables.nodes)] == ["fenced"]


@pytest.mark.parametrize("body", [{"host": "n1"}, {"host": "n1", "confirm": False}])
def test_without_confirmation_the_risk_is_explained(api: AdminApi, body: dict[str, object]) -> None:
    """And nothing is done."""
    api.given_node(state="expired")

    answer = api("PUT", URL, body)

    assert answer.status_code == 400
    assert "will destroy data" in message_of(answer)
    assert '"confirm": true' in message_of(answer)
    assert [row["state"] for row in api.rows(tables.nodes)] == ["expired"]


@pytest.mark.parametrize("state", ["fenced", "gone"])
def test_what_is_fenced_has_no_fence_to_confirm(api: AdminApi, state: str) -> None:
    """404, as for a node that there never was."""
    api.given_node(state=state)

    answers = [api("PUT", URL, SURE), api("PUT", URL, SURE | {"host": "nobody"})]

    assert [answer.status_code for answer in answers] == [404, 404]
    assert "no incarnation of n1 is up, draining or expired" in message_of(answers[0])


def test_a_node_of_another_cluster_is_not_ours_to_fence(api: AdminApi) -> None:
    """The database may hold several."""
    api.given_node(state="expired", cluster="d")

    assert api("PUT", URL, SURE).status_code == 404


def test_the_lock_file_outweighs_a_word(api: AdminApi, lock_file: Path) -> None:
    """Where the node ran on this very machine and something of it still runs: 409, and nothing is done."""
    known: dict[str, Any] = {"boot_id": machine.boot_id(), "lock_path": str(lock_file), "lock_id": "the-id"}
    api.given_node(state="expired", **known)

    answer = api("PUT", URL, SURE)

    assert answer.status_code == 409
    assert str(lock_file) in message_of(answer)
    assert [row["state"] for row in api.rows(tables.nodes)] == ["expired"]


@pytest.mark.parametrize("change", [{"boot_id": "another"}, {"lock_path": "/nowhere/n1.lock"}])
def test_of_another_machine_nobody_here_knows_better(api: AdminApi, lock_file: Path, change: dict[str, Any]) -> None:
    """Nor when the file is gone: then the word counts."""
    known: dict[str, Any] = {"boot_id": machine.boot_id(), "lock_path": str(lock_file), "lock_id": "the-id"}
    api.given_node(state="expired", **(known | change))

    assert api("PUT", URL, SURE).status_code == 200


def test_only_administrators_give_their_word(api: AdminApi) -> None:
    """403 for a member, and nothing is done."""
    api.given_node(state="expired")

    assert api("PUT", URL, SURE, member=True).status_code == 403
    assert [row["state"] for row in api.rows(tables.nodes)] == ["expired"]


@pytest.mark.parametrize(
    "body", [{}, {"confirm": True}, {"host": "", "confirm": True}, {"host": "n1", "confirm": "yes"}, SURE | {"x": 1}]
)
def test_a_body_that_is_not_meant_is_refused(api: AdminApi, body: dict[str, object]) -> None:
    """400; a truth is true, not a word for it."""
    api.given_node(state="expired")

    assert api("PUT", URL, body).status_code == 400
    assert [row["state"] for row in api.rows(tables.nodes)] == ["expired"]
