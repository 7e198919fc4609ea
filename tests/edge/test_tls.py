"""TLS at the API: who is let in, and how a certificate is replaced while clients ask."""

import errno
import os
import socket
import ssl
import threading
import time
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from tests.edge.authority import Authority, Files
from tests.edge.front import HOST, front, read

from breezeblock.processes import server

RENEWED_WITHIN_S: Final = 10.0


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def options(files: Files, **more: str) -> dict[str, str]:
    return {"API__TLS_CERTIFICATE": str(files.certificate), "API__TLS_KEY": str(files.key), **more}


def trusting(authority: Authority, client: Files | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(authority.path))
    if client is not None:
        context.load_cert_chain(client.certificate, client.key)
    return context


def get(port: int, context: ssl.SSLContext, path: str = "/") -> httpx.Response:
    with httpx.Client(verify=context, trust_env=False) as client:
        return client.get(f"https://{HOST}:{port}{path}")


def handshake(port: int, context: ssl.SSLContext) -> tuple[str, str]:
    """The version that was agreed on, and whom the certificate names."""
    with (
        socket.create_connection((HOST, port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname=HOST) as connection,
    ):
        certificate = connection.getpeercert()
        assert certificate is not None
        (((_, name),),) = certificate["subject"]  # type: ignore[misc, str-unpack]
        return str(connection.version()), str(name)


def test_who_trusts_the_authority_is_answered_and_gets_links_of_https(tmp_path: Path, authority: Authority) -> None:
    with front(tmp_path / "data", options(authority.write("one"))) as port:
        answer = get(port, trusting(authority))
        (link,) = [one for one in answer.json()["versions"][0]["links"] if one["rel"] == "self"]
        assert link["href"] == f"https://{HOST}:{port}/v3/"

        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            get(port, trusting(Authority(tmp_path, "a-stranger")))
        with pytest.raises(httpx.HTTPError):
            httpx.get(f"http://{HOST}:{port}/", trust_env=False)


def test_nothing_below_tls_1_2_is_spoken(tmp_path: Path, authority: Authority) -> None:
    with front(tmp_path / "data", options(authority.write("one"))) as port:
        for version, agreed in ((ssl.TLSVersion.TLSv1_2, "TLSv1.2"), (ssl.TLSVersion.TLSv1_3, "TLSv1.3")):
            context = trusting(authority)
            context.minimum_version = context.maximum_version = version
            assert handshake(port, context)[0] == agreed

        old = trusting(authority)
        old.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.warns(DeprecationWarning):
            old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises((ssl.SSLError, ConnectionError)):
            handshake(port, old)


def test_with_an_authority_for_clients_only_those_it_vouches_for_are_answered(
    tmp_path: Path, authority: Authority
) -> None:
    clients, strangers = Authority(tmp_path, "clients"), Authority(tmp_path, "strangers")
    with front(tmp_path / "data", options(authority.write("one"), API__TLS_CLIENT_CA=str(clients.path))) as port:
        assert get(port, trusting(authority, clients.write("alice"))).status_code == 300

        for client in (None, strangers.write("mallory")):
            with pytest.raises((httpx.HTTPError, ssl.SSLError)):
                get(port, trusting(authority, client))


def test_a_key_may_be_encrypted(tmp_path: Path, authority: Authority) -> None:
    files = authority.write("one", password="open sesame")
    with front(tmp_path / "data", options(files, API__TLS_KEY_PASSWORD="open sesame")) as port:
        assert handshake(port, trusting(authority))[1] == "one"


class Load:
    """Clients that ask all the time, some on one connection, some on a new one each time."""

    def __init__(self, port: int, context: ssl.SSLContext) -> None:
        self._url = f"https://{HOST}:{port}/v3/p1/types"
        self._context = context
        self._stop = threading.Event()
        self.answered = 0
        self.failed: list[str] = []
        self._threads = [threading.Thread(target=self._ask, args=(number % 2 == 0,)) for number in range(4)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, keep: bool) -> None:
        limits = httpx.Limits(max_keepalive_connections=1 if keep else 0)
        with httpx.Client(verify=self._context, limits=limits, trust_env=False) as client:
            while not self._stop.is_set():
                try:
                    status = client.get(self._url).status_code
                    self.answered += 1
                    if status != 200:
                        self.failed.append(str(status))
                except httpx.HTTPError as error:
                    self.failed.append(repr(error))
                time.sleep(0.01)


def seen(port: int, context: ssl.SSLContext, wanted: str) -> None:
    """Return when some connection sees that certificate."""
    until = time.monotonic() + RENEWED_WITHIN_S
    while handshake(port, context)[1] != wanted:
        assert time.monotonic() < until, f"{wanted} is not served"


def served(port: int, context: ssl.SSLContext, wanted: str) -> None:
    """Return when ten connections in a row see that certificate."""
    until = time.monotonic() + RENEWED_WITHIN_S
    in_a_row = 0
    while in_a_row < 10:
        assert time.monotonic() < until, f"{wanted} is not served"
        in_a_row = in_a_row + 1 if handshake(port, context)[1] == wanted else 0
        time.sleep(0.02)


def test_a_new_certificate_is_served_and_no_request_is_lost(
    tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither one on a connection from before, nor one on a new connection; twice, since renewing goes on."""
    monkeypatch.setattr(server, "LOOK_EVERY_S", 0.1)
    monkeypatch.setattr(server, "HANDING_OVER_S", 0.3)
    files, context = authority.write("first"), trusting(authority)
    with front(tmp_path / "data", options(files)) as port, Load(port, context) as load:
        served(port, context, "first")
        for name in ("second", "third"):
            authority.write(name, into=files)
            served(port, context, name)
        before = load.answered
        while load.answered < before + 50 and not load.failed:
            time.sleep(0.01)
    assert load.failed == []


def test_a_connection_from_before_is_told_to_end_with_its_next_answer(
    tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Closed without a word, it could be closed while a request is on its way."""
    monkeypatch.setattr(server, "LOOK_EVERY_S", 0.05)
    monkeypatch.setattr(server, "HANDING_OVER_S", RENEWED_WITHIN_S)
    files, context = authority.write("first"), trusting(authority)
    asked = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    with (
        front(tmp_path / "data", options(files)) as port,
        socket.create_connection((HOST, port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname=HOST) as connection,
    ):
        connection.sendall(asked)
        assert "connection" not in read(connection, until=1).headers
        authority.write("second", into=files)
        seen(port, context, "second")
        connection.sendall(asked)
        answer = read(connection, until=2)
    assert (answer.statuses, answer.headers["connection"], answer.ended) == ([300], "close", True)


def test_what_cannot_be_served_leaves_the_last_good_certificate(
    tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A half-written file, a key of another certificate, or none at all."""
    monkeypatch.setattr(server, "LOOK_EVERY_S", 0.02)
    monkeypatch.setattr(server, "HANDING_OVER_S", 0.1)
    files, context = authority.write("good"), trusting(authority)
    with front(tmp_path / "data", options(files)) as port:
        for broken in (b"", files.certificate.read_bytes()[:100], authority.write("other").certificate.read_bytes()):
            files.certificate.write_bytes(broken)
            time.sleep(0.1)
            assert handshake(port, context)[1] == "good"
        files.key.unlink()
        time.sleep(0.1)
        assert handshake(port, context)[1] == "good"

        authority.write("better", into=files)
        served(port, context, "better")


@pytest.mark.parametrize(("owner", "call"), [(os, "memfd_create"), (Path, "read_bytes")])
def test_a_renewal_that_fails_is_tried_again_until_it_does_not(
    tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch, owner: Any, call: str
) -> None:
    """Who lacks descriptors for a while renews all the same: nobody touches the files once more for that."""
    monkeypatch.setattr(server, "LOOK_EVERY_S", 0.02)
    monkeypatch.setattr(server, "HANDING_OVER_S", 0.1)
    files, context = authority.write("first"), trusting(authority)
    real, lacking, refused = getattr(owner, call), threading.Event(), threading.Event()

    def if_any_is_left(asked: Any) -> Any:
        if lacking.is_set():
            refused.set()
            raise OSError(errno.EMFILE, "Too many open files")
        return real(asked)

    with front(tmp_path / "data", options(files)) as port:
        monkeypatch.setattr(owner, call, if_any_is_left)
        lacking.set()
        authority.write("second", into=files)
        assert refused.wait(RENEWED_WITHIN_S)
        assert handshake(port, context)[1] == "first"
        lacking.clear()
        served(port, context, "second")
