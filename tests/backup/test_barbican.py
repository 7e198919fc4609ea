"""A real Barbican keeps the key of a store: with passwords that are right and wrong, and while it is away."""

import base64
import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.servers.barbican import Barbican, barbican
from tests.servers.needed import needed

from breezeblock.backup.castellan_key import CastellanKey
from breezeblock.backup.contract import StoreRefused, StoreUnavailable

pytestmark = pytest.mark.proof


@pytest.fixture(scope="module")
def server() -> Iterator[Barbican]:
    with needed(barbican()) as running:
        yield running


def stored(server: Barbican, payload: bytes, *, kind: str = "symmetric") -> str:
    """The id of a secret, stored as `openstack secret store` does it."""
    secret = {
        "secret_type": kind,
        "payload": base64.b64encode(payload).decode(),
        "payload_content_type": "application/octet-stream",
        "payload_content_encoding": "base64",
    } | ({"algorithm": "aes", "bit_length": 8 * len(payload)} if kind == "symmetric" else {})
    headers = {"X-Auth-Token": "token-of-breezeblock"}
    answer = httpx.post(f"{server.url}/v1/secrets", json=secret, headers=headers)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["secret_ref"]).rpartition("/")[2]


def configured(folder: Path, server: Barbican, *, password: str | None = None) -> Path:
    file = folder / "castellan.conf"
    known = server.identity.users["breezeblock"]
    file.write_text(
        f"[key_manager]\nbackend = barbican\nauth_type = keystone_password\nauth_url = {server.identity.url}\n"
        f"username = breezeblock\npassword = {password or known}\nuser_domain_name = Default\n"
        "project_name = service\nproject_domain_name = Default\n"
    )
    return file


@pytest.mark.parametrize("kind", ["symmetric", "opaque"])
def test_a_key_is_read(server: Barbican, tmp_path: Path, kind: str) -> None:
    secret = os.urandom(32)
    key_id = stored(server, secret, kind=kind)

    assert CastellanKey(configured(tmp_path, server), key_id, store="s").read() == secret


def test_who_may_not_is_refused(server: Barbican, tmp_path: Path) -> None:
    """A password that is wrong, and a key that is not there."""
    key_id = stored(server, os.urandom(32))

    with pytest.raises(StoreRefused, match="does not give the key of backup store s"):
        CastellanKey(configured(tmp_path, server, password="wrong"), key_id, store="s").read()
    with pytest.raises(StoreRefused, match="has no object"):
        CastellanKey(configured(tmp_path, server), key_id[:-1] + ("0" if key_id[-1] != "0" else "1"), store="s").read()
    with pytest.raises(StoreRefused):
        CastellanKey(configured(tmp_path, server), "not-an-id", store="s").read()


def test_one_that_is_away_comes_back(server: Barbican, tmp_path: Path) -> None:
    """Stopped in the middle, killed, and then as before, with what it knew."""
    secret = os.urandom(32)
    key_id = stored(server, secret)
    one = CastellanKey(configured(tmp_path, server), key_id, store="s", timeout_s=2.0)
    assert one.read() == secret

    server.pause()
    with pytest.raises(StoreUnavailable):
        one.read()
    server.resume()
    server.kill()
    with pytest.raises(StoreUnavailable):
        CastellanKey(configured(tmp_path, server), key_id, store="s").read()
    server.start()

    assert CastellanKey(configured(tmp_path, server), key_id, store="s").read() == secret
