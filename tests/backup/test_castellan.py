"""Keys from a key manager by Castellan: which are taken, and what is an outage.

The key manager is as much of Vault as is asked for; a real Barbican is in `test_barbican.py`.
"""

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tests.backup.bench import ARCHIVE, bench
from tests.servers.ports import LOOPBACK, free_port

from breezeblock import cli, settings, wiring
from breezeblock.backup.castellan_key import CastellanKey
from breezeblock.backup.contract import StoreRefused, StoreUnavailable
from breezeblock.env.real import real_env
from breezeblock.store import tables

KEY = bytes(range(32))
KEY_ID = "5fd56dd2a45c41b2a6f0d3a84d9a6d5c"
TOKEN = "tokenofvault"


class Vault:
    """`status` is answered when it is not 200; `content` is what it keeps under the key's id."""

    def __init__(self) -> None:
        self.status = 200
        self.content = KEY
        self.asked = 0
        self.url = ""

    def answer(self, path: str, token: str | None) -> tuple[int, Any]:
        self.asked += 1
        if self.status != 200:
            return self.status, {"errors": []}
        if token != TOKEN:
            return 403, {"errors": ["permission denied"]}
        if path != f"/v1/secret/data/{KEY_ID}":
            return 404, {"errors": []}
        record = {"type": "opaque", "value": self.content.hex(), "name": None, "created": None}
        return 200, {"data": {"data": record}}


@pytest.fixture
def vault() -> Iterator[Vault]:
    made = Vault()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = made.answer(self.path, self.headers["X-Vault-Token"])
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: what tests print is about what they test."""

    server = ThreadingHTTPServer((LOOPBACK, 0), Handler)
    made.url = f"http://{LOOPBACK}:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    yield made
    server.shutdown()
    server.server_close()


def configured(folder: Path, url: str, *, token: str = TOKEN) -> Path:
    """Castellan's file for that Vault."""
    file = folder / "castellan.conf"
    file.write_text(f"[key_manager]\nbackend = vault\n[vault]\nvault_url = {url}\nroot_token_id = {token}\n")
    return file


def key(file: Path, key_id: str = KEY_ID, **more: Any) -> CastellanKey:
    return CastellanKey(file, key_id, store="offsite", **more)


@pytest.mark.parametrize("content", [KEY, KEY.hex().encode(), f"{KEY.hex()}\n".encode()], ids=["bytes", "hex", "line"])
def test_a_key_is_taken_in_each_form_that_a_file_may_have(vault: Vault, tmp_path: Path, content: bytes) -> None:
    vault.content = content

    assert key(configured(tmp_path, vault.url)).read() == KEY


def test_a_key_and_its_credentials_are_read_anew_each_time(vault: Vault, tmp_path: Path) -> None:
    """So a token can be changed while everything runs."""
    one = key(configured(tmp_path, vault.url, token="old"))
    with pytest.raises(StoreRefused, match="does not give the key of backup store offsite"):
        one.read()

    configured(tmp_path, vault.url)

    assert one.read() == KEY


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (
            lambda vault: setattr(vault, "content", b"short"),
            "is no key of backup store offsite: a key is 32 random bytes",
        ),
        (lambda vault: setattr(vault, "status", 404), f"has no object {KEY_ID}, the key of backup store offsite"),
        (lambda vault: setattr(vault, "status", 403), "does not give the key of backup store offsite"),
        (lambda vault: setattr(vault, "status", 400), "cannot be asked for"),
    ],
    ids=["no key", "not there", "forbidden", "not understood"],
)
def test_what_would_be_the_same_next_time_is_refused(
    vault: Vault, tmp_path: Path, spoil: Callable[[Vault], None], why: str
) -> None:
    """In a sentence that names the store and not the credentials."""
    spoil(vault)

    with pytest.raises(StoreRefused, match=why) as refused:
        key(configured(tmp_path, vault.url)).read()
    assert TOKEN not in refused.value.message


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (None, "castellan.conf"),
        ("[key_manager\n", "castellan.conf"),
        ("[key_manager]\nbackend = no.such.Manager\n", "No module named"),
        ("[key_manager]\nauth_type = odd\n", "odd"),
        ("[key_manager]\nbackend = barbican\n", "not authorized"),
    ],
    ids=["no file", "no configuration", "no such manager", "no such way", "nobody"],
)
def test_a_configuration_that_cannot_be_is_refused(tmp_path: Path, text: str | None, why: str) -> None:
    file = tmp_path / "castellan.conf"
    if text is not None:
        file.write_text(text)

    with pytest.raises(StoreRefused) as refused:
        key(file).read()
    assert why in refused.value.message


@pytest.mark.parametrize("status", [500, 503])
def test_a_key_manager_that_cannot_answer_is_away(vault: Vault, tmp_path: Path, status: int) -> None:
    vault.status = status

    with pytest.raises(StoreUnavailable):
        key(configured(tmp_path, vault.url)).read()


def test_a_key_manager_that_does_not_listen_is_away(tmp_path: Path) -> None:
    """Vault, and Keystone on the way to Barbican."""
    nowhere = f"http://{LOOPBACK}:{free_port()}"
    with pytest.raises(StoreUnavailable):
        key(configured(tmp_path, nowhere)).read()

    barbican = tmp_path / "barbican.conf"
    barbican.write_text(
        f"[key_manager]\nauth_type = keystone_password\nauth_url = {nowhere}/v3\nusername = u\npassword = p\n"
        f"project_name = p\n[barbican]\nbarbican_endpoint = {nowhere}\n"
    )
    with pytest.raises(StoreUnavailable):
        key(barbican).read()


def test_one_that_says_nothing_is_away_and_is_asked_once(tmp_path: Path) -> None:
    """However many want to know: each that asked would hold a thread, for as long as the connection lasts."""
    with socket.create_server((LOOPBACK, 0)) as silent:
        one = key(configured(tmp_path, f"http://{LOOPBACK}:{silent.getsockname()[1]}"), timeout_s=0.2)
        began = time.monotonic()
        for _ in range(3):
            with pytest.raises(StoreUnavailable, match=r"has not answered for 0\.2 s"):
                one.read()
        assert time.monotonic() - began < 5
        silent.settimeout(1.0)
        silent.accept()[0].close()
        silent.settimeout(0.2)
        with pytest.raises(TimeoutError):
            silent.accept()


def test_a_backup_waits_for_its_key_and_is_encrypted_with_it(vault: Vault, tmp_path: Path) -> None:
    """The key manager is away at first; the store that comes of it is opened with that key and no other."""
    text = f'[backup_stores.default]\nencryption_key_id = "{KEY_ID}"\ncastellan_file = "castellan.conf"\n'
    (tmp_path / "settings.toml").write_text(text)
    configured(tmp_path, vault.url)
    vault.status = 503
    chosen = settings.load(tmp_path / "settings.toml", {"BREEZEBLOCK_SERVICE__DATA_DIR": str(tmp_path / "data")})
    read_key = wiring.open_archives(chosen.settings, real_env()).shelves["default"].read_key

    with bench(tmp_path) as made:
        made.create_volume()
        made.shelf = replace(made.shelf, read_key=unless_away(read_key, lambda: setattr(vault, "status", 200)))
        made.back_up()
        made.work()
        (root,) = (data for name, data in made.objects.objects.items() if name.endswith("/archive.json"))
        made.restore()
        vault.content = bytes(32)
        made.work()
        (told,) = made.base.rows(tables.messages)

    assert vault.asked >= 3
    assert b'"encrypted":true' in root
    assert "was begun with another key" in told["user_message"]


def test_the_archive_command_asks_for_the_key_of_a_store(
    vault: Vault, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And says it when it cannot be had."""
    text = f'[backup_stores.default]\nencryption_key_id = "{KEY_ID}"\ncastellan_file = "castellan.conf"\n'
    (tmp_path / "settings.toml").write_text(text)
    configured(tmp_path, vault.url)
    chosen = settings.load(tmp_path / "settings.toml", {"BREEZEBLOCK_SERVICE__DATA_DIR": str(tmp_path / "data")})
    monkeypatch.setenv("BREEZEBLOCK_SERVICE__DATA_DIR", str(tmp_path / "data"))
    asyncio.run(wiring.open_archives(chosen.settings, real_env()).open("default", ARCHIVE, known=False, begin=True))

    def archive(*words: str) -> int:
        words = ("archive", *words, "--store", "default", "--config", str(tmp_path / "settings.toml"))
        monkeypatch.setattr("sys.argv", ["breezeblock", *words])
        with pytest.raises(SystemExit) as left:
            cli.main()
        return int(left.value.code or 0)

    assert archive("list", ARCHIVE) == 0
    vault.content = bytes(32)
    assert archive("list", ARCHIVE) == 1
    vault.status = 503
    assert archive("list", ARCHIVE) == 1
    told = capsys.readouterr().err
    assert "was begun with another key" in told
    assert "The key cannot be had now" in told


def unless_away(read_key: Callable[[], bytes | None], come_back: Callable[[], None]) -> Callable[[], bytes | None]:
    """The same, and the key manager is there the next time."""

    def read() -> bytes | None:
        try:
            return read_key()
        except StoreUnavailable:
            come_back()
            raise

    return read
