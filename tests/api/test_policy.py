"""Policies from a file, by what requests are answered."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.api.every_call import OWNED, ROWS
from tests.api.opened import Open, opening
from tests.api.personas import by_role
from tests.api.world import Api
from tests.databases import statements

from breezeblock.api.auth import IMPLIED, Asking, Caller
from breezeblock.model.ids import ProjectId, UserId

OWNER, OTHER = "user:p1", "somebody:p1"


async def by_user(asking: Asking) -> Caller:
    """The token is `user:project`; everybody is a member, and `admin` an administrator."""
    user, _, project = asking.headers["x-auth-token"].partition(":")
    return Caller(UserId(user), ProjectId(project), IMPLIED["admin" if user == "admin" else "member"])


@pytest.fixture
def opened(tmp_path: Path, loop: asyncio.AbstractEventLoop) -> Iterator[Open]:
    """The application with a file of policies."""
    with opening(tmp_path, loop, authenticate=by_user) as open_with:
        yield open_with


BY_USER = '"rule:admin_api or user_id:%(user_id)s"'


def test_a_refusal_names_the_rule_what_it_asks_for_and_the_way_out(
    tmp_path: Path, loop: asyncio.AbstractEventLoop
) -> None:
    api = Api(tmp_path, loop, authenticate=by_role)
    answer = api("POST", "/v3/p1/volumes", {"volume": {"size": 1}}, token="reader:p1")
    api.close()

    assert answer.status_code == 403
    message = answer.json()["forbidden"]["message"]
    assert "volume:create" in message and "members of the project" in message and "Ask an administrator" in message


def test_a_refusal_by_a_file_says_what_the_file_asks_for(opened: Open) -> None:
    api = opened('"volume:create": "rule:makers"\n"makers": "role:maker"')
    answer = api("POST", "/v3/p1/volumes", {"volume": {"size": 1}}, token=OWNER)

    assert "rule:makers, which is role:maker" in answer.json()["forbidden"]["message"]


def test_only_the_user_who_made_it_may_delete_it(opened: Open) -> None:
    api = opened(f"volume:delete: {BY_USER}")
    first, second = api.given_volume(user_id="user"), api.given_volume(user_id="user")

    assert api("DELETE", f"/v3/p1/volumes/{first}", token=OTHER).status_code == 403
    assert api("GET", f"/v3/p1/volumes/{first}", token=OTHER).status_code == 200
    assert api("DELETE", f"/v3/p1/volumes/{first}", token=OWNER).status_code == 202
    assert api("DELETE", f"/v3/p1/volumes/{second}", token="admin:p1").status_code == 202


def test_what_is_not_there_and_what_is_anothers_are_not_told_apart_by_owners(opened: Open) -> None:
    """Neither has one that the caller could see."""
    api = opened(f"volume:delete: {BY_USER}")
    theirs = api.given_volume(project_id="p2", user_id="user")
    nothing = "99999999-9999-4999-8999-999999999999"

    answers = [api("DELETE", f"/v3/p1/volumes/{id_}", token=OWNER) for id_ in (theirs, nothing)]

    assert [answer.status_code for answer in answers] == [404, 404]
    assert answers[0].text.replace(theirs, nothing) == answers[1].text


@pytest.mark.parametrize("spelled", [str, str.upper, lambda id_: id_.replace("-", "")])
def test_nor_may_others_make_a_snapshot_of_it(opened: Open, spelled: Callable[[str], str]) -> None:
    """What is made from something has the owner of that, however its id is written."""
    api = opened(f"volume:create_snapshot: {BY_USER}")
    volume = api.given_volume(user_id="user")
    body = {"snapshot": {"volume_id": spelled(volume)}}

    assert api("POST", "/v3/p1/snapshots", body, token=OTHER).status_code == 403
    assert api("POST", "/v3/p1/snapshots", body, token=OWNER).status_code == 202


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"snapshot": 1}', b'{"snapshot": {"volume_id": 1}}', b"[" * 9999]
)
def test_a_body_that_names_nothing_is_the_handlers_to_refuse(opened: Open, content: bytes) -> None:
    api = opened(f"volume:create_snapshot: {BY_USER}")

    assert api("POST", "/v3/p1/snapshots", content=content, token=OWNER).status_code == 400


def test_administrators_may_be_held_to_their_own_project(opened: Open) -> None:
    api = opened('volume:delete: "role:admin and project_id:%(project_id)s"')
    theirs, own = api.given_volume(project_id="p2"), api.given_volume(project_id="p1")

    assert api("DELETE", f"/v3/p1/volumes/{theirs}", token="admin:p1").status_code == 403
    assert api("DELETE", f"/v3/p1/volumes/{own}", token="admin:p1").status_code == 202
    assert api("DELETE", f"/v3/p1/volumes/{own}", token=OWNER).status_code == 403


def test_of_a_message_the_project_is_known(opened: Open) -> None:
    api = opened('message:delete: "role:admin and project_id:%(project_id)s"')

    assert api("DELETE", "/v3/p1/messages/none", token="admin:p1").status_code == 404


def test_the_quotas_of_a_project_are_that_projects(opened: Open) -> None:
    api = opened('volume_extension:quotas:update: "role:member and project_id:%(project_id)s"')
    body = {"quota_set": {"volumes": 5}}

    assert api("PUT", "/v3/p1/os-quota-sets/p1", body, token=OWNER).status_code == 200
    assert api("PUT", "/v3/p1/os-quota-sets/p2", body, token=OWNER).status_code == 403
    assert api("PUT", "/v3/p1/os-quota-sets/p2", body, token="admin:p1").status_code == 403


def test_owners_are_looked_up_only_for_policies_that_ask(opened: Open, tmp_path: Path) -> None:
    """By default no request costs a statement more."""
    api = opened(f"volume:delete: {BY_USER}")
    volume = api.given_volume()

    with statements() as asked:
        api("GET", f"/v3/p1/volumes/{volume}", token=OWNER)
    with statements() as by_admin:
        api("GET", f"/v3/p1/volumes/{volume}", token="admin:p1")

    assert len(asked) == len(by_admin) + 1


@pytest.mark.parametrize(
    ("word", "url", "rule"),
    [
        ("snapshot", "snapshots", "volume:delete_snapshot"),
        ("backup", "backups", "backup:delete"),
        ("group_snapshot", "group_snapshots", "group:delete_group_snapshot"),
        ("attachment", "attachments", "volume:attachment_delete"),
        ("transfer", "volume-transfers", "volume:delete_transfer"),
    ],
)
def test_each_kind_has_an_owner(opened: Open, word: str, url: str, rule: str) -> None:
    """Of an attachment and of a transfer it is the volume's."""
    api = opened(f"{rule}: {BY_USER}")
    api.reset(ROWS)

    assert api("DELETE", f"/v3/p1/{url}/{OWNED[word]}", token=OTHER, version="3.71").status_code == 403
    assert api("DELETE", f"/v3/p1/{url}/{OWNED[word]}", token=OWNER, version="3.71").status_code in (200, 202)
