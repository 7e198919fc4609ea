"""The whole service as nobody in particular: what it may read, what it leaves behind, and whether a secret gets out of it."""

import contextlib
import ipaddress
import json
import os
import shutil
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from tests.edge.authority import Authority
from tests.edge.public import NotHere, install
from tests.proof import not_here

from breezeblock.chaos.service import Service, descendants, eventually, start

NOBODY: Final = 65_534
# The version that has them all, in the header by which clients ask for one.
ATTACHMENTS: Final = {"OpenStack-API-Version": "volume 3.44"}
# A listening socket's state, in /proc/net/tcp.
LISTEN: Final = "0A"
# Each is somewhere else, and none may be found anywhere but there.
SECRETS: Final = {
    name: f"marked-{name}-5b1e9a" for name in ("key-password", "webhook-url", "webhook-key", "seal", "fence", "request")
}


@dataclass
class World:
    """A running service, and a client that trusts it."""

    service: Service
    client: httpx.Client
    key: Path
    made: dict[str, Any]
    """Ids by kind, and what a connection was answered with."""
    told: list[str]
    """All that it has answered, headers and bodies."""

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        answer = self.client.request(method, path, json=body, headers=headers)
        self.told += [str(dict(answer.headers)), answer.text]
        return answer


def settings_file(folder: Path) -> Path:
    """Every kind of secret that the service is told."""
    (folder / "webhook.key").write_text(SECRETS["webhook-key"])
    (folder / "fence.password").write_text(SECRETS["fence"])
    (folder / "seal.key").write_text(SECRETS["seal"].ljust(32, "0"))
    file = folder / "breezeblock.toml"
    file.write_text(
        f"""
        [events.hook]
        type = "webhook"
        urls = ["http://user:{SECRETS["webhook-url"]}@127.0.0.1:9/hook"]
        secret_file = "webhook.key"
        [backup_stores.default]
        encryption_key_file = "seal.key"
        [fences.power]
        command = ["/bin/false"]
        option_files = {{ password = "fence.password" }}
        [audit]
        to = "file"
        file = "audit.log"
        [log]
        level = "debug"
        """
    )
    return file


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    if os.getuid() != 0:
        not_here("only root can start a service as somebody else")
    # Not where pytest keeps its folders: that is root's, and closed to everybody.
    folder = Path(tempfile.mkdtemp(prefix="breezeblock-edge-"))
    try:
        yield from _running(folder)
    finally:
        shutil.rmtree(folder)


def _running(folder: Path) -> Iterator[World]:
    authority = Authority(folder)
    pair = authority.write("service", password=SECRETS["key-password"])
    file = settings_file(folder)
    for path in (folder, *folder.iterdir()):
        os.chown(path, NOBODY, NOBODY)
        path.chmod(0o700 if path.is_dir() else 0o400)
    try:
        installed = install(folder / "installed", user=NOBODY, extra="webhook")
    except NotHere as error:
        not_here(str(error))
    environ = installed.environ() | {
        "BREEZEBLOCK_CONFIG": str(file),
        "BREEZEBLOCK_API__TLS_CERTIFICATE": str(pair.certificate),
        "BREEZEBLOCK_API__TLS_KEY": str(pair.key),
        "BREEZEBLOCK_API__TLS_KEY_PASSWORD": SECRETS["key-password"],
    }
    service = start(
        folder / "data", nodes=1, workers=1, environ=environ, user=NOBODY, interpreter=str(installed.python)
    )
    context = ssl.create_default_context(cafile=str(authority.path))
    try:
        with httpx.Client(base_url=service.endpoint, verify=context, trust_env=False) as client:
            world = World(service, client, pair.key, {}, [])
            _use(world)
            yield world
    finally:
        service.end()


def _use(world: World) -> None:
    """A little of everything: storage, a backup, a secret that is made for a user, and mistakes."""
    made = world.ask("POST", "/v3/p1/volumes", {"volume": {"size": 1, "name": "one"}})
    assert made.status_code == 202, made.text
    volume_id = made.json()["volume"]["id"]

    def status(kind: str, id_: str) -> str:
        return str(world.ask("GET", f"/v3/p1/{kind}s/{id_}").json()[kind]["status"])

    eventually(lambda: status("volume", volume_id) == "available")
    world.made["volume"] = volume_id
    connector = {"host": "here", "ip": "127.0.0.1", "initiator": "iqn.2026-01.example:here", "mountpoint": "/dev/vdb"}
    body = {"attachment": {"volume_uuid": volume_id, "instance_uuid": None, "connector": connector}}
    connected = world.ask("POST", "/v3/p1/attachments", body, **ATTACHMENTS)
    world.made["connected"] = connected.status_code
    attachment_id = connected.json()["attachment"]["id"]
    world.ask("POST", f"/v3/p1/attachments/{attachment_id}/action", {"os-complete": {}}, **ATTACHMENTS)
    backup = world.ask("POST", "/v3/p1/backups", {"backup": {"volume_id": volume_id, "force": True}}).json()["backup"]
    eventually(lambda: status("backup", backup["id"]) == "available")
    snapshot = world.ask("POST", "/v3/p1/snapshots", {"snapshot": {"volume_id": volume_id, "force": True}}).json()[
        "snapshot"
    ]
    eventually(lambda: status("snapshot", snapshot["id"]) == "available")
    world.ask("GET", "/v3/p1/volumes", **{"X-Auth-Token": SECRETS["request"]})
    world.ask("POST", "/v3/p1/volumes", {"volume": {"size": "x"}}, **{"X-Auth-Token": SECRETS["request"]})
    for path in ("/metrics", "/healthcheck/ready", "/openapi.json", "/v3/p1/limits", "/nowhere"):
        world.ask("GET", path)


def test_it_serves_as_an_unprivileged_user(world: World) -> None:
    """Volumes, attachments, snapshots and backups were made; no process of it is anybody else, or has a right of root's."""
    pids = world.service.pids()
    statuses = [_status(pid) for pid in pids]

    assert len(pids) >= 4
    assert (
        {status["Uid"] for status in statuses}
        == {status["Gid"] for status in statuses}
        == {f"{NOBODY}\t" * 3 + f"{NOBODY}"}
    )
    assert {status["Groups"].strip() for status in statuses} == {""}
    assert {int(status[name], 16) for status in statuses for name in ("CapEff", "CapPrm", "CapInh", "CapAmb")} == {0}
    assert world.ask("GET", "/healthcheck/ready").text == "OK"


def _status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def test_it_is_reached_from_this_machine_alone(world: World) -> None:
    """Whatever any of its processes listens on, as long as nobody has to say who they are."""
    found = [address for pid in world.service.pids() for address in _listening(pid)]

    assert found
    assert {address for address in found if not address.is_loopback} == set()


def _listening(pid: int) -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    """The addresses of a process's sockets, as the kernel has them: in hexadecimal, each word turned round."""
    sockets = set()
    for file in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed since it was listed
            sockets.add(str(file.readlink()))
    found = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == LISTEN and f"socket:[{words[9]}]" in sockets:
                raw = bytes.fromhex(words[1].partition(":")[0])
                turned = b"".join(raw[at : at + 4][::-1] for at in range(0, len(raw), 4))
                found.append(ipaddress.ip_address(turned))
    return found


def test_a_volume_is_attached_without_root(world: World) -> None:
    """As far as the service goes: what a host then does with it is the host's. The volume's file is there for it."""
    volume_id = world.made["volume"]
    (attachment,) = world.ask("GET", f"/v3/p1/attachments/detail?volume_id={volume_id}", **ATTACHMENTS).json()[
        "attachments"
    ]
    told = world.ask("GET", f"/v3/p1/attachments/{attachment['id']}", **ATTACHMENTS).json()["attachment"]
    file = Path(told["connection_info"]["device_path"])

    assert (told["status"], world.made["connected"]) == ("attached", 200)
    assert (file.stat().st_uid, file.stat().st_mode & 0o777, file.stat().st_size) == (NOBODY, 0o600, 1 << 30)


def test_what_it_keeps_is_for_nobody_else(world: World) -> None:
    """Files of everybody's volumes, the database, logs, sockets."""
    loose = []
    found = 0
    for path in (world.service.data, *world.service.data.rglob("*")):
        found += 1
        mode = path.lstat().st_mode & 0o777
        if mode & 0o077:
            loose.append(f"{path.relative_to(world.service.data)} {mode:o}")

    assert found > 15
    assert loose == []


def test_no_secret_is_in_a_list_of_processes(world: World) -> None:
    """Of children: what stands in the environment of `up` was put there by whoever started it."""
    pids = descendants(world.service.process.pid)
    assert len(pids) >= 3
    for pid in pids:
        shown = Path(f"/proc/{pid}/cmdline").read_bytes() + Path(f"/proc/{pid}/environ").read_bytes()
        assert b"marked-" not in shown
    assert b"marked-" not in Path(f"/proc/{world.service.process.pid}/cmdline").read_bytes()


def test_no_secret_is_answered(world: World) -> None:
    assert len(world.told) > 20
    assert not [one for one in world.told if "marked-" in one]


def test_no_secret_is_shown_by_commands(world: World) -> None:
    shown = [world.service.command(*command.split()) for command in ("status", "status --json", "config show")]
    for done in shown:
        assert done.returncode == 0, done.stderr
        assert "marked-" not in done.stdout + done.stderr
    assert '"http://user:***@127.0.0.1:9/hook"' in shown[-1].stdout


def test_no_secret_is_left_in_logs_or_in_the_database(world: World) -> None:
    """Not even while everything is logged, and with a receiver of events that does not answer."""
    folder = world.service.data
    logs = [world.service.output, folder.parent / "audit.log", *sorted((folder / "log").iterdir())]
    database = sorted(folder.glob("breezeblock.db*"))
    key_lines = [line for line in world.key.read_text().splitlines() if len(line) == 64]
    assert key_lines
    texts = {path: path.read_bytes() for path in (*logs, *database, *sorted((folder / "run").glob("*.json")))}
    assert any(b"request.answered" in text for text in texts.values())
    for path, text in texts.items():
        for secret in (*SECRETS.values(), *key_lines):
            assert secret.encode() not in text, path


def test_a_start_that_fails_says_why_without_the_secret(world: World) -> None:
    wrong = "marked-wrong-password"
    environ = os.environ | world.service.environ | {"BREEZEBLOCK_API__TLS_KEY_PASSWORD": wrong}
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "breezeblock.cli", "up", "--data", f"{folder}/data", "--port", "0"]
        done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)
        logs = "".join(path.read_text() for path in Path(folder).rglob("*.log"))

    assert done.returncode != 0
    assert "is the tls_key_password right?" in done.stderr
    assert "marked-" not in done.stdout + done.stderr + logs


def test_the_answers_of_every_refusal_are_json_with_a_message(world: World) -> None:
    refused = [text for text in world.told if text.startswith('{"')]

    assert any(set(json.loads(text)) & {"badRequest", "itemNotFound"} for text in refused)
