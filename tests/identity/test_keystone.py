"""Tokens of a real Keystone: who is believed, what an outage and a revocation change, and what is said when."""

import asyncio
import functools
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import pytest
from structlog.testing import capture_logs
from tests.identity.conftest import ANN, BOB, MAX, NOVA, ONE, SERVICE_USER, TWO
from tests.servers.keystone import Keystone
from tests.service import eventually

from breezeblock import settings, wiring
from breezeblock.api.auth import Asking, Authenticate, Caller
from breezeblock.api.errors import Refused
from breezeblock.api.identity import tokens
from breezeblock.env.real import real_env

GIVEN: Final = {"STRATEGY": "keystone", "USERNAME": SERVICE_USER[0], "PASSWORD": SERVICE_USER[1], "TIMEOUT_S": "30"}


class Door:
    """The strategy, opened as the service opens it, on an event loop of its own."""

    def __init__(self, loop: asyncio.AbstractEventLoop, identity: Keystone, options: Mapping[str, str]) -> None:
        self._loop = loop
        given = {"AUTH_URL": identity.url, **GIVEN, **options}
        environ = {f"BREEZEBLOCK_AUTH__{name}": value for name, value in given.items() if value}
        chosen = settings.load(None, environ).settings
        self.authenticate: Authenticate = loop.run_until_complete(wiring.open_identity(chosen, real_env()))

    def come(
        self,
        token: str,
        *,
        service: str = "",
        project: str | None = None,
        method: str = "GET",
        path: str = "/v3/volumes",
    ) -> Caller:
        """One request."""
        headers = {"x-auth-token": token} | ({"x-service-token": service} if service else {})
        asking = Asking(headers, project, "admin", "10.0.0.1", method, path)
        return self._loop.run_until_complete(_one(self.authenticate, asking))

    def refusal(self, token: str, **more: Any) -> Refused:
        """One that is refused."""
        with pytest.raises(Refused) as raised:
            self.come(token, **more)
        return raised.value


async def _one(authenticate: Authenticate, asking: Asking) -> Caller:
    return await authenticate(asking)


Open = Callable[..., Door]


@pytest.fixture
def door(identity: Keystone) -> Any:
    """Opens one, with options of [auth]."""
    loop = asyncio.new_event_loop()

    def open_(**options: str) -> Door:
        return Door(loop, identity, options)

    yield open_
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()


def test_a_token_tells_user_project_and_roles(door: Open, identity: Keystone) -> None:
    """As Keystone has them, those that others imply among them."""
    one, ann = door(), identity.token(*ANN, project=ONE)

    caller = one.come(ann)
    admin = one.come(identity.token(identity.USER, identity.PASSWORD, project=identity.PROJECT))

    assert caller.roles == {"member", "reader"}
    assert (caller.is_service, caller.quotas) == (False, {})
    assert (caller.is_admin_project, admin.is_admin_project) == (False, True)
    assert one.come(ann, project=caller.project_id) == caller
    assert one.come(identity.token(*MAX, project=ONE)).roles == {"reader"}
    assert "admin" in admin.roles
    assert len({caller.project_id, admin.project_id, one.come(identity.token(*BOB, project=TWO)).project_id}) == 3
    assert one.refusal(ann, project=admin.project_id).status == 400
    assert (
        one.refusal(identity.token(identity.USER, identity.PASSWORD, project=identity.PROJECT), project="p").status
        == 400
    )


@pytest.mark.parametrize("token", ["", "made-up", "ann:one", "with space", "é", "x" * 9000])
def test_what_is_no_good_token_is_401(door: Open, identity: Keystone, token: str) -> None:
    """And says where tokens are."""
    refused = door().refusal(token)

    assert (refused.status, refused.headers) == (401, {"WWW-Authenticate": f'Keystone uri="{identity.url}"'})


def test_users_may_be_sent_elsewhere_for_a_token(door: Open) -> None:
    """The address for users is often another one than ours."""
    refused = door(WWW_AUTHENTICATE_URI="https://identity.example.org").refusal("")

    assert refused.headers == {"WWW-Authenticate": 'Keystone uri="https://identity.example.org"'}


def test_a_revoked_token_works_for_the_window_at_most(door: Open, identity: Keystone) -> None:
    """Who has asked before remembers it so long; who has not refuses it at once."""
    remembers, asks_always, ann = door(), door(CACHE_S="0"), identity.token(*ANN, project=ONE)
    remembers.come(ann)
    asks_always.come(ann)
    identity.revoke(ann)

    assert remembers.come(ann).user_id
    assert asks_always.refusal(ann).status == 401
    assert door().refusal(ann).status == 401


def test_an_expired_token_is_good_for_a_service_alone(door: Open, identity: Keystone) -> None:
    """Long operations of other services outlive the user's token."""
    one, nova = door(), identity.token(*NOVA, project="service")
    one.come(nova)  # and so it has logged in, before time runs
    ann = identity.token(*ANN, project=ONE, lives_s=3)
    caller = one.come(ann)

    def is_refused() -> bool:
        try:
            one.come(ann)
        except Refused as refused:
            return refused.status == 401
        return False

    eventually(is_refused, within_s=10.0)
    vouched = one.come(ann, service=nova)
    assert vouched == caller._replace(is_service=True)
    assert one.refusal(ann).status == 401
    assert one.refusal(ann, service=ann).status == 401


def test_a_service_token_is_of_a_service(door: Open, identity: Keystone) -> None:
    """A bad one, or one of a user without the role, is refused however good the user's is."""
    one, ann = door(), identity.token(*ANN, project=ONE)
    nova = identity.token(*NOVA, project="service")

    assert one.come(ann, service=nova).is_service
    for bad in ("made-up", ann, identity.token(*BOB, project=TWO)):
        refused = one.refusal(ann, service=bad)
        assert (refused.status, "role service" in refused.message) == (401, True)
    assert one.refusal("made-up", service=nova).status == 401
    assert door(SERVICE_ROLES='["member"]').come(ann, service=ann).is_service


@pytest.mark.parametrize("system", [True, False])
def test_a_token_for_no_project_is_refused(door: Open, identity: Keystone, system: bool) -> None:
    """Of the whole system, or unscoped: 403 with the way out, and 400 where the URL has a project."""
    one, token = door(), identity.token(identity.USER, identity.PASSWORD, project=None, system=system)

    refused = one.refusal(token)
    assert (refused.status, "ask for one of a project" in refused.message) == (403, True)
    assert one.refusal(token, project="p1").status == 400


def test_access_rules_are_kept(door: Open, identity: Keystone) -> None:
    """An application credential that was narrowed may do nothing else; a service that vouches may."""
    one = door()
    rules = [{"service": "block-storage", "method": "GET", "path": "/v3/*/volumes/**"}]
    narrow = identity.narrow_token(*ANN, project=ONE, rules=rules)

    assert one.come(narrow, path="/v3/p/volumes/detail").roles == {"member", "reader"}
    for method, path in (("DELETE", "/v3/p/volumes/detail"), ("GET", "/v3/p/backups/detail")):
        refused = one.refusal(narrow, method=method, path=path)
        assert (refused.status, "access rule" in refused.message) == (401, True)
        assert one.come(narrow, method=method, path=path, service=identity.token(*NOVA, project="service")).is_service


def test_an_outage_leaves_known_tokens_and_refuses_others(
    door: Open, identity: Keystone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Down or hanging; told once, and over by itself."""
    monkeypatch.setattr(tokens, "LOOK_EVERY_S", 0.2)
    ann, bob = identity.token(*ANN, project=ONE), identity.token(*BOB, project=TWO)
    for goes, comes in ((identity.stop, identity.start), (identity.pause, identity.resume)):
        one = door(CACHE_S="0", TIMEOUT_S="2")
        caller = one.come(ann)
        goes()
        try:
            with capture_logs() as lines:
                assert [one.come(ann) for _ in range(3)] == [caller] * 3
                began = time.monotonic()
                refused = [one.refusal(bob) for _ in range(20)]
                took_s = time.monotonic() - began
        finally:
            comes()
        assert {(one.status, one.headers["Retry-After"]) for one in refused} == {(503, "5")}
        assert [line["event"] for line in lines] == ["identity.keystone_away"]
        assert took_s < 20.0
        eventually(functools.partial(_is_let_in, one, bob))


def _is_let_in(door: Door, token: str) -> bool:
    try:
        door.come(token)
    except Refused:
        return False
    return True


def comes(one: Door, token: str) -> bool:
    """Whether it is let in."""
    try:
        return bool(one.come(token).user_id)
    except Refused:
        return False


def test_its_own_login_is_made_again(
    door: Open, identity: Keystone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After Keystone has forgotten it; with a password that was changed when the file is. No secret is told."""
    monkeypatch.setattr(tokens, "LOOK_EVERY_S", 0.0)
    identity.add_user("own", "the-first-password", project="service", roles=("service",))
    file = tmp_path / "password"
    file.write_text("the-first-password\n")
    one = door(USERNAME="own", PASSWORD="", PASSWORD_FILE=str(file), CACHE_S="0", OUTAGE_S="0")
    ann = identity.token(*ANN, project=ONE)
    one.come(ann)

    identity.change_password("own", "the-second-password")
    with capture_logs() as lines:
        assert [one.refusal(ann).status for _ in range(3)] == [503] * 3
        file.write_text("the-second-password\n")
        # A token of the very second in which the password was changed is as good as none to Keystone.
        assert eventually(lambda: comes(one, ann))
    assert [line["event"] for line in lines] == ["identity.keystone_away", "identity.keystone_back"]
    assert "refuses our service user (own of Default in the project service)" in lines[0]["reason"]
    assert not any(secret in str(lines) for secret in ("the-first", "the-second", ann))


def test_a_service_user_without_the_role_is_told(door: Open, identity: Keystone) -> None:
    """It may log in, and not validate tokens: a mistake of whoever installs."""
    one = door(USERNAME=BOB[0], PASSWORD=BOB[1], PROJECT_NAME=TWO)
    ann = identity.token(*ANN, project=ONE)

    with capture_logs() as lines:
        assert one.refusal(ann).status == 503
    assert "it needs the role service" in lines[0]["reason"]
    assert ann not in str(lines)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"AUTH_URL": "http://127.0.0.1:9/v3"}, "ConnectFailure"),
        ({"PASSWORD_FILE": "/nowhere/password", "PASSWORD": ""}, "auth.password_file /nowhere/password cannot be read"),
        ({"CA_FILE": "/nowhere/ca.pem", "AUTH_URL": "https://127.0.0.1:9"}, ""),
    ],
)
def test_what_is_not_there_is_503_with_the_reason_in_the_log(
    door: Open, options: Mapping[str, str], reason: str
) -> None:
    """And never a crash."""
    with capture_logs() as lines:
        assert door(**options).refusal("token").status == 503
    assert reason in lines[0]["reason"]
