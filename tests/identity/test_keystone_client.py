"""Whose outage it is when Keystone, or a server in front of it, fails at a token. The real one is in test_keystone.py."""

from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from typing import Any, Final

import pytest
from tests.answering import Answering, serving

from breezeblock.api.identity.keystone_client import KeystoneClient
from breezeblock.api.identity.tokens import KeystoneAway
from breezeblock.options_auth import Auth

OWN: Final = "our-own-token"
TOLD: Final[dict[str, Any]] = {
    "user": {"id": "u1", "name": "u", "domain": {"id": "d", "name": "D"}},
    "project": {"id": "p1", "name": "p", "domain": {"id": "d", "name": "D"}},
    "roles": [{"id": "r", "name": "member"}],
    "methods": ["password"],
    "issued_at": "2026-01-01T00:00:00.000000Z",
    "expires_at": "2099-01-01T00:00:00.000000Z",
}
BROKEN: Final = 0
"""As a status: the connection ends without an answer."""


class Front(ThreadingHTTPServer):
    """Answers as Keystone does, but for what is planted: by token a status or a description."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Asked)
        self.statuses: dict[str, int] = {}
        self.more: dict[str, Any] = {}
        self.asked: list[str] = []


class Asked(Answering):
    """One connection."""

    server: Front
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """A login."""
        self.read_body()
        self.tell(self.server.statuses.get("login", 201), OWN)

    def do_GET(self) -> None:
        """A question about a token."""
        token = self.headers.get("X-Subject-Token", "")
        self.server.asked.append(token)
        status = self.server.statuses.get(token, 200)
        if status == BROKEN:
            self.close_connection = True
            return
        self.tell(status, token)

    def tell(self, status: int, token: str) -> None:
        """Whose it is."""
        self.answer(status, {"token": TOLD | self.server.more}, headers={"X-Subject-Token": token})


@pytest.fixture
def front() -> Iterator[Front]:
    server = Front()
    with serving(server):
        yield server


@pytest.fixture
def client(front: Front) -> KeystoneClient:
    url = f"http://127.0.0.1:{front.server_address[1]}/v3"
    return KeystoneClient(Auth(strategy="keystone", auth_url=url, password="secret", timeout_s=5.0))


def away(client: KeystoneClient, token: str) -> KeystoneAway:
    with pytest.raises(KeystoneAway) as raised:
        client.validate(token, False)
    return raised.value


@pytest.mark.parametrize("status", [BROKEN, 500, 502, 503, 504, 429, 405])
def test_what_fails_at_one_token_is_no_outage_for_the_others(front: Front, client: KeystoneClient, status: int) -> None:
    """As proxies and WSGI servers do with a header that is too long for them."""
    front.statuses["evil"] = status

    assert not away(client, "evil").for_all
    assert front.asked[-1] == OWN
    assert client.validate("good", False) is not None


@pytest.mark.parametrize("status", [BROKEN, 500, 502, 503])
def test_what_fails_at_our_own_token_as_well_is_an_outage(front: Front, client: KeystoneClient, status: int) -> None:
    assert client.validate("good", False) is not None
    front.statuses |= {"good": status, OWN: status}

    assert away(client, "good").for_all


@pytest.mark.parametrize("status", [BROKEN, 500, 502])
def test_a_login_that_fails_is_an_outage(front: Front, client: KeystoneClient, status: int) -> None:
    """No token of a caller has to do with it: none is sent."""
    front.statuses["login"] = status or 503

    assert away(client, "good").for_all
    assert front.asked == []


@pytest.mark.parametrize("status", [400, 404, 413, 414, 431])
def test_what_a_server_says_to_a_token_that_it_does_not_take_is_that_it_is_bad(
    front: Front, client: KeystoneClient, status: int
) -> None:
    front.statuses["long"] = status

    assert client.validate("long", False) is None
    assert front.asked == ["long"]


@pytest.mark.parametrize(("told", "is_one"), [({}, True), ({"is_admin_project": False}, False)])
def test_a_project_is_one_of_administrators_unless_keystone_says_otherwise(
    front: Front, client: KeystoneClient, told: dict[str, bool], is_one: bool
) -> None:
    """As a Keystone says nothing of it in which no such project was named."""
    front.more = told

    found = client.validate("good", False)

    assert found is not None
    assert found.is_admin_project is is_one
