"""`breezeblock attach` and `detach`: the real commands, os-brick and the service; ended between any two of their requests."""

import http.client
import json
import os
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import pytest
from tests.clients.conftest import PROJECT
from tests.clients.waiting import gone, settled
from tests.service import Service

from breezeblock.commands import attaching
from breezeblock.commands.api_client import Api
from breezeblock.commands.attached_here import Patience, find_volume
from breezeblock.commands.host_folder import HostFolder
from breezeblock.env.real import real_env

LIMIT_S: Final = 60.0
BYTES: Final = bytes(range(256)) * 16
Done = subprocess.CompletedProcess[str]


class Host:
    """One that runs the commands, in processes of its own; see `preloaded_attach.py`."""

    def __init__(self, process: "subprocess.Popen[str]", endpoint: str, folder: Path) -> None:
        self._process, self.endpoint, self.folder = process, endpoint, folder

    def run(self, *words: str, fault: list[Any] | None = None) -> Done:
        """A command that may fail."""
        options = ["--project", PROJECT, "--run-dir", str(self.folder), "--data", str(self.folder / "none")]
        options += [] if "--api" in words else ["--api", self.endpoint]
        options += [] if "--host" in words else ["--host", "here"]
        to, back = self._process.stdin, self._process.stdout
        assert to is not None
        assert back is not None
        asked = {"words": [*words, *options], "typed": "", "limit_s": LIMIT_S, "fault": fault}
        to.write(json.dumps(asked) + "\n")
        to.flush()
        return subprocess.CompletedProcess(words, **json.loads(back.readline()))

    def attach(self, *words: str) -> Path:
        """The device."""
        done = self.run("attach", *words)
        assert done.returncode == 0, done.stderr
        (line,) = done.stdout.splitlines()
        return Path(line)

    def detach(self, *words: str) -> str:
        """What it says."""
        done = self.run("detach", *words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def refused(self, *words: str, status: int = 1, fault: list[Any] | None = None) -> str:
        """Why."""
        done = self.run(*words, fault=fault)
        assert (done.returncode, done.stdout) == (status, "")
        assert "Traceback" not in done.stderr
        return done.stderr


@pytest.fixture(scope="module")
def host(service: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    command = [sys.executable, "-m", "tests.clients.preloaded_attach"]
    root = Path(__file__).parents[2]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=root, stdin=pipe, stdout=pipe, text=True) as process:
        yield Host(process, service.endpoint, tmp_path_factory.mktemp("run"))


@pytest.fixture
def volume(cinder: Any) -> Iterator[Any]:
    """One of its own name, which nobody has attached at the end."""
    made = settled(cinder.volumes, cinder.volumes.create(1, name=f"disk-{uuid.uuid4().hex}"))
    yield made
    let_go(cinder, made)
    cinder.volumes.delete(made)


@pytest.fixture
def shared(cinder: Any) -> Iterator[Any]:
    """One that several hosts may have."""
    wanted = cinder.volume_types.create(f"shared-{uuid.uuid4()}")
    wanted.set_keys({"multiattach": "<is> True"})
    made = settled(cinder.volumes, cinder.volumes.create(1, volume_type=wanted.name))
    yield made
    let_go(cinder, made)
    cinder.volumes.delete(made)
    gone(cinder.volumes, made)
    cinder.volume_types.delete(wanted)


def attachments_of(cinder: Any, volume: Any) -> list[Any]:
    found: list[Any] = cinder.attachments.list(detailed=True, search_opts={"volume_id": volume.id})
    return found


def let_go(cinder: Any, volume: Any) -> None:
    for one in attachments_of(cinder, volume):
        cinder.attachments.delete(one.id)


# --- there and back ---------------------------------------------------------------------------------------------------


def test_what_is_written_to_the_device_is_there_when_it_is_attached_again(host: Host, cinder: Any, volume: Any) -> None:
    device = host.attach(volume.name)
    with device.open("r+b") as disk:
        disk.write(BYTES)
    used = cinder.volumes.get(volume.id)
    told = host.detach(volume.name)
    free = cinder.volumes.get(volume.id)

    again = host.attach(volume.id, "--mountpoint", "/srv/data")
    (shown,) = cinder.volumes.get(volume.id).attachments
    with again.open("rb") as disk:
        assert disk.read(len(BYTES)) == BYTES
    assert (used.status, free.status) == ("in-use", "available")
    assert volume.id in told
    assert (shown["host_name"], shown["device"]) == ("here", "/srv/data")


def test_what_somebody_else_of_this_name_has_completed_is_not_taken_back(
    host: Host, cinder: Any, volume: Any, tmp_path: Path
) -> None:
    """By a run whose own request was lost, in another folder of notes: only what is not complete can be that run's."""
    host.attach(volume.id)
    clock = real_env().clock
    api = Api(host.endpoint, project=PROJECT, user="ann")
    folder = HostFolder(tmp_path / "other")
    folder.make()
    patience = Patience(clock, LIMIT_S)
    one = attaching._Try(
        api, folder, attaching.Wanted(volume.id, "here", "127.0.0.1"), find_volume(api, volume.id), patience
    )
    one.is_ours = True

    one.undo()

    assert [row.status for row in attachments_of(cinder, volume)] == ["attached"]
    assert cinder.volumes.get(volume.id).status == "in-use"


def test_again_it_is_the_same_attachment_and_the_same_device(host: Host, cinder: Any, volume: Any) -> None:
    device = host.attach(volume.id)
    (first,) = attachments_of(cinder, volume)
    told = json.loads(host.run("attach", volume.id, "--json").stdout)
    (second,) = attachments_of(cinder, volume)

    assert (first.id, first.instance) == (second.id, None)
    assert told == {
        "attachment_id": first.id,
        "volume_id": volume.id,
        "host": "here",
        "mode": "rw",
        "device": str(device),
    }
    assert host.detach(first.id) == host.detach(volume.id).replace("is not attached", "is detached from host here")
    assert f"no attachment and no volume {first.id}" in host.detach(first.id)


def test_a_volume_that_may_only_be_read(host: Host, cinder: Any, volume: Any) -> None:
    """A file cannot keep anybody from writing, and that is said."""
    done = host.run("attach", volume.id, "--mode", "ro")
    (made,) = attachments_of(cinder, volume)
    assert (made.attach_mode, made.connection_info["access_mode"]) == ("ro", "ro")
    assert (done.returncode, "--read-only" in done.stderr) == (0, True)
    assert made.id in host.refused("attach", volume.id, "--mode", "rw")
    assert host.attach(volume.id) == Path(done.stdout.strip())

    host.detach(volume.id)
    cinder.volumes.update_readonly_flag(volume, True)
    assert "may only be read" in host.refused("attach", volume.id, "--mode", "rw")
    host.attach(volume.id)
    assert [one.attach_mode for one in attachments_of(cinder, volume)] == ["ro"]


def test_show_only_looks(host: Host, cinder: Any, volume: Any) -> None:
    assert f"{volume.id} is not attached" in host.run("attach", volume.id, "--show").stdout
    assert attachments_of(cinder, volume) == []
    device = host.attach(volume.id)
    (one,) = json.loads(host.run("attach", volume.id, "--show", "--json").stdout)
    table = host.run("attach", volume.name, "--show", "--host", "elsewhere").stdout

    assert (one["host"], one["device"], one["status"], one["server"]) == ("here", str(device), "attached", None)
    assert one["connection_info"]["device_path"] == str(device)
    assert (one["attachment_id"] in table, "here" in table, "elsewhere" in table) == (True, True, False)


# --- ended in the middle ----------------------------------------------------------------------------------------------

# The requests of `attach ID`: the volume, the host's attachments, the new attachment, its completion.
ATTACH_ENDS: Final = (("after", 3), ("answered", 3), ("before", 4), ("answered", 4))
# Of `detach ID`: an attachment of that id, the volume, its attachments, the host's, the deletion.
DETACH_ENDS: Final = (("before", 5), ("after", 5))


@pytest.mark.parametrize(("where", "nth"), ATTACH_ENDS)
def test_a_repeat_goes_on_with_what_a_killed_attach_has_left(
    host: Host, cinder: Any, volume: Any, where: str, nth: int
) -> None:
    """Never with a second attachment."""
    assert host.run("attach", volume.id, fault=["killed", where, nth]).returncode == -9
    host.attach(volume.id)
    assert [one.status for one in attachments_of(cinder, volume)] == ["attached"]


@pytest.mark.parametrize(("where", "nth"), [("after", 3), ("before", 4)])
def test_a_detach_takes_back_what_an_interrupted_attach_has_left(
    host: Host, cinder: Any, volume: Any, where: str, nth: int
) -> None:
    said = host.refused("attach", volume.id, status=130, fault=["interrupted", where, nth])
    assert f"breezeblock detach {volume.id}" in said
    host.detach(volume.id)
    assert (attachments_of(cinder, volume), cinder.volumes.get(volume.id).status) == ([], "available")


@pytest.mark.parametrize(("where", "nth"), DETACH_ENDS)
def test_a_repeat_ends_what_a_killed_detach_has_begun(
    host: Host, cinder: Any, volume: Any, where: str, nth: int
) -> None:
    host.attach(volume.id)
    assert host.run("detach", volume.id, fault=["killed", where, nth]).returncode == -9
    host.detach(volume.id)
    assert (attachments_of(cinder, volume), cinder.volumes.get(volume.id).status) == ([], "available")


class Between(BaseHTTPRequestHandler):
    """A balancer that hands every request on, and loses patience with the first that changes something."""

    service: str
    lost = 0

    def _hand_on(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        status, body = self._answer(self.rfile.read(length) or None)
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_DELETE = _hand_on

    def _answer(self, sent: bytes | None) -> tuple[int, bytes]:
        found = self._ask(self.command, self.path, sent, dict(self.headers))
        if self.command != "GET" and not type(self).lost:
            type(self).lost += 1
            return 504, b"<html>Gateway Time-out</html>"
        return found

    def _ask(self, command: str, path: str, sent: bytes | None, headers: dict[str, str]) -> tuple[int, bytes]:
        to = http.client.HTTPConnection(self.service)
        to.request(command, path, sent, headers)
        answer = to.getresponse()
        found = answer.status, answer.read()
        to.close()
        return found

    def log_message(self, *args: Any) -> None:
        """Nobody reads it."""


class Late(Between):
    """The first that changes something arrives late: with the next one of that path's ending, before it or after it."""

    with_next: str
    is_before: bool
    kept: tuple[str, str, bytes | None, dict[str, str]] | None = None
    late: tuple[int, bytes] | None = None

    def _answer(self, sent: bytes | None) -> tuple[int, bytes]:
        this = self.command, self.path, sent, dict(self.headers)
        if self.command == "GET":
            return self._ask(*this)
        if not type(self).lost:
            type(self).lost, type(self).kept = 1, this
            return 504, b"<html>Gateway Time-out</html>"
        is_next = self.path.endswith(self.with_next) and self.kept is not None
        if is_next and self.is_before:
            self._arrive()
        found = self._ask(*this)
        if is_next and not self.is_before:
            self._arrive()
        return found

    def _arrive(self) -> None:
        assert self.kept is not None
        type(self).late, type(self).kept = self._ask(*self.kept), None


@contextmanager
def balancer(at: str, kind: type[Between] = Between, **values: Any) -> Iterator[tuple[str, type[Any]]]:
    one: type[Any] = type("OneBetween", (kind,), {"service": at, **values})

    with ThreadingHTTPServer(("127.0.0.1", 0), one) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/v3/", one
        server.shutdown()
        thread.join()
    assert one.lost == 1


@pytest.mark.parametrize("command", ["attach", "detach"])
def test_what_takes_too_long_for_a_balancer_is_asked_for_again(
    host: Host, service: Service, cinder: Any, volume: Any, command: str
) -> None:
    """What was lost is the answer; the second try finds what the first has done."""
    if command == "detach":
        host.attach(volume.id)
    with balancer(service.endpoint.removeprefix("http://")) as (between, _):
        done = host.run(command, volume.id, "--api", between)
    assert done.returncode == 0, done.stderr
    assert [one.status for one in attachments_of(cinder, volume)] == ["attached"] * (command == "attach")


@pytest.mark.parametrize(
    ("with_next", "is_before", "answer"),
    [("/attachments", True, 200), ("/attachments", False, 400), ("/action", False, 400)],
)
def test_a_request_that_arrives_after_its_repeat_makes_no_second_attachment(
    host: Host, service: Service, cinder: Any, shared: Any, with_next: str, is_before: bool, answer: int
) -> None:
    """Of a volume that several may have: just before the repeat, just after it, or when all is done."""
    at = service.endpoint.removeprefix("http://")
    with balancer(at, Late, with_next=with_next, is_before=is_before) as (between, seen):
        done = host.run("attach", shared.id, "--api", between)
    assert (done.returncode, seen.late[0]) == (0, answer), done.stderr
    assert [one.status for one in attachments_of(cinder, shared)] == ["attached"]
    host.detach(shared.id)
    assert attachments_of(cinder, shared) == []


# --- others -----------------------------------------------------------------------------------------------------------


def test_what_another_host_has_is_left_to_it(host: Host, cinder: Any, volume: Any) -> None:
    """Until somebody insists."""
    host.attach(volume.id, "--host", "there")
    (theirs,) = attachments_of(cinder, volume)
    assert theirs.id in host.refused("detach", volume.id)
    assert theirs.id in host.refused("detach", volume.id, "--force")
    assert "--force" in host.refused("detach", theirs.id)
    assert "in-use" in host.refused("attach", volume.id)
    assert [one.id for one in attachments_of(cinder, volume)] == [theirs.id]
    assert "taken away" in host.detach(theirs.id, "--force")
    assert attachments_of(cinder, volume) == []


def test_each_host_has_its_own_of_a_shared_volume(host: Host, cinder: Any, shared: Any) -> None:
    """And what a server has of it, to which Nova gives the name of the same host, is not the host's."""
    servers = cinder.attachments.create(shared.id, {"host": "here"}, str(uuid.uuid4()))["id"]
    cinder.attachments.complete(servers)
    assert servers in host.refused("detach", shared.id)
    host.attach(shared.id)
    host.attach(shared.id, "--host", "there")
    host.detach(shared.id)
    left = {one["host_name"]: one["attachment_id"] for one in cinder.volumes.get(shared.id).attachments}
    assert (set(left), left["here"]) == ({"here", "there"}, servers)


def test_of_several_attachments_of_one_host_one_is_named(host: Host, cinder: Any, shared: Any) -> None:
    made = []
    for _ in range(2):
        made.append(cinder.attachments.create(shared.id, {"host": "here"}, None)["id"])
        cinder.attachments.complete(made[-1])
    for refused in (host.refused("detach", shared.id), host.refused("attach", shared.id)):
        assert all(id_ in refused for id_ in made)
    host.detach(made[0])
    assert [one.id for one in attachments_of(cinder, shared)] == made[1:]


def test_a_device_that_is_used_is_not_taken_away(host: Host, cinder: Any, volume: Any) -> None:
    """Here by a loop device, as one is under a filesystem."""
    if os.geteuid() != 0 or not Path("/dev/loop-control").exists():
        pytest.skip("needs root and loop devices")
    device = host.attach(volume.id)
    loop = subprocess.check_output(["losetup", "--find", "--show", str(device)], text=True).strip()
    try:
        refused = host.refused("detach", volume.id)
        forced = host.detach(volume.id, "--force")
    finally:
        subprocess.check_call(["losetup", "--detach", loop])
    assert (str(device) in refused, loop in refused) == (True, True)
    assert "is detached" in forced


def test_a_device_that_may_only_be_read_is_so_until_it_is_disconnected(
    host: Host, cinder: Any, volume: Any, tmp_path: Path
) -> None:
    """Somebody writes to it in the moment in which os-brick disconnects it. Whose it is next may."""
    if os.geteuid() != 0 or not Path("/dev/loop-control").exists():
        pytest.skip("needs root and loop devices")
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(1 << 20))
    loop = subprocess.check_output(["losetup", "--find", "--show", str(disk)], text=True).strip()
    try:
        attached = host.run("attach", volume.id, "--mode", "ro", fault=["elsewhere", loop])
        detached = host.run("detach", volume.id, fault=["intruder", loop])
        untouched = disk.read_bytes()
        with Path(loop).open("r+b", buffering=0) as device:
            assert device.write(bytes(512)) == 512
    finally:
        subprocess.check_call(["losetup", "--detach", loop])
    assert (attached.returncode, detached.returncode) == (0, 0), attached.stderr + detached.stderr
    assert untouched == bytes(1 << 20)
    assert "--read-only" not in attached.stderr


# --- what cannot be -----------------------------------------------------------------------------------------------------


def test_what_cannot_be_attached_says_why(host: Host, cinder: Any, volume: Any) -> None:
    nobody = str(uuid.uuid4())
    assert nobody in host.refused("attach", nobody)
    assert "'nothing'" in host.refused("attach", "nothing")
    assert nobody in host.detach(nobody)
    assert "rw or ro" in host.refused("attach", volume.id, "--mode", "wr", status=2)
    assert "Is the service running" in host.refused("attach", volume.id, "--api", "http://127.0.0.1:1")
    assert "no URL" in host.refused("attach", volume.id, "--api", "here", status=2)
    cinder.volumes.reset_state(volume, "error")
    assert "error" in host.refused("attach", volume.id)
    assert attachments_of(cinder, volume) == []


def test_names_that_several_volumes_have_are_refused(host: Host, cinder: Any, volume: Any) -> None:
    other = settled(cinder.volumes, cinder.volumes.create(1, name=volume.name))
    refused = host.refused("attach", volume.name)
    cinder.volumes.delete(other)
    assert (volume.id in refused, other.id in refused) == (True, True)


def test_what_cannot_be_used_on_this_host_leaves_nothing(host: Host, cinder: Any, volume: Any) -> None:
    """A file of another machine: the attachment that was made for it is taken back. But not one that was there before."""
    fault = ["elsewhere", "/nowhere/at/all"]
    refused = host.refused("attach", volume.id, fault=fault)
    assert "/nowhere/at/all cannot be used on this host" in refused
    assert attachments_of(cinder, volume) == []
    host.attach(volume.id)
    host.refused("attach", volume.id, fault=fault)
    assert [one.status for one in attachments_of(cinder, volume)] == ["attached"]


def test_without_os_brick_it_says_what_to_install(host: Host, cinder: Any, volume: Any) -> None:
    """And nothing was made by then."""
    refused = host.refused("attach", volume.id, fault=["without", "os_brick"])
    assert "breezeblock[attach]" in refused
    assert attachments_of(cinder, volume) == []
