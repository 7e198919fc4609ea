"""What `attach` and `detach` are made of: devices, the host's folder, os-brick's failures, requests."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from breezeblock.commands.api_client import Api
from breezeblock.commands.attached_here import Patience, writable_again
from breezeblock.commands.attaching import HIDDEN, without_secrets
from breezeblock.commands.failure import Failed
from breezeblock.commands.host_folder import HostFolder, usual_folder
from breezeblock.env import devices
from breezeblock.env.real import real_env

needs_loops = pytest.mark.skipif(
    os.geteuid() != 0 or not Path("/dev/loop-control").exists(), reason="needs root and loop devices"
)


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """A file of 1 MiB."""
    file = tmp_path / "disk with a blank"
    file.write_bytes(bytes(1 << 20))
    return file


@pytest.fixture
def loop(disk: Path) -> Iterator[Path]:
    """A block device upon it."""
    device = subprocess.check_output(["losetup", "--find", "--show", str(disk)], text=True).strip()
    yield Path(device)
    devices.permit_writing(Path(device))  # which would outlive its file
    subprocess.check_call(["losetup", "--detach", device])


# --- devices ----------------------------------------------------------------------------------------------------------


def test_nobody_uses_a_file_or_what_is_not_there(disk: Path) -> None:
    missing = disk.with_name("missing")
    assert (devices.users_of(disk), devices.users_of(missing)) == ([], [])
    devices.permit_writing(disk)
    devices.permit_writing(missing)
    devices.flush(disk)
    devices.flush(missing)
    assert (devices.forbid_writing(disk), devices.forbid_writing(missing)) == (False, False)


@needs_loops
def test_a_loop_device_uses_its_file(disk: Path, loop: Path) -> None:
    """Also by another name of the file."""
    other = disk.with_name("other")
    other.hardlink_to(disk)
    assert devices.users_of(disk) == devices.users_of(other) == [str(loop)]
    assert devices.users_of(loop) == []


@needs_loops
def test_who_holds_a_block_device_uses_it(loop: Path) -> None:
    held = os.open(loop, os.O_RDWR | os.O_EXCL)
    try:
        assert devices.users_of(loop) == ["something that holds the device"]
    finally:
        os.close(held)


@needs_loops
def test_a_block_device_is_not_written_to_when_that_is_forbidden(loop: Path) -> None:
    assert devices.forbid_writing(loop)
    with pytest.raises(PermissionError), loop.open("r+b", buffering=0) as device:
        device.write(bytes(512))
    devices.permit_writing(loop)
    devices.permit_writing(loop)
    with loop.open("r+b", buffering=0) as device:
        assert device.write(bytes(512)) == 512


@needs_loops
def test_a_device_that_is_the_next_volumes_already_stays_as_that_one_wants_it(loop: Path, tmp_path: Path) -> None:
    """Who detaches comes late to make it writable again: the next has noted it, under another name of it."""
    folder = HostFolder(tmp_path / "run")
    folder.make()
    other = tmp_path / "by-another-name"
    other.symlink_to(loop)
    folder.remember("mine", {"path": str(loop)})
    folder.remember("next", {"path": str(other)})
    devices.forbid_writing(loop)
    patience = Patience(real_env().clock, 10)

    writable_again(folder, "mine", [loop], patience, force=False)
    with pytest.raises(PermissionError), loop.open("r+b", buffering=0) as device:
        device.write(bytes(512))

    folder.forget("next")
    writable_again(folder, "mine", [loop], patience, force=False)
    with loop.open("r+b", buffering=0) as device:
        assert device.write(bytes(512)) == 512


# --- the host's folder --------------------------------------------------------------------------------------------------


def test_a_device_is_remembered_until_it_is_forgotten(tmp_path: Path) -> None:
    """What os-brick says of some has parts that are no texts."""
    folder = HostFolder(tmp_path / "run")
    folder.make()
    assert folder.recall("a") is None
    folder.remember("a", {"path": "/dev/sdx", "type": "block", "handle": object()})
    assert folder.recall("a") == {"path": "/dev/sdx", "type": "block"}
    (tmp_path / "run" / "devices" / "a.json").write_text("{")
    assert folder.recall("a") is None
    folder.forget("a")
    folder.forget("a")


def test_one_command_at_a_time_has_a_volume(tmp_path: Path) -> None:
    folder, other = HostFolder(tmp_path), HostFolder(tmp_path)
    held = folder.try_lock("v")
    assert held is not None
    assert other.try_lock("v") is None
    held.release()
    again = other.try_lock("v")
    assert again is not None
    again.release()


def test_a_folder_that_somebody_else_has_made_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(Failed, match="--run-dir"):
        HostFolder(tmp_path / "link").make()
    with pytest.raises(Failed, match="--run-dir"):
        HostFolder(Path("/dev/null")).make()


def test_whoever_is_not_root_has_a_folder_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1234)
    assert usual_folder({"XDG_RUNTIME_DIR": "/run/user/1234"}) == Path("/run/user/1234/breezeblock")
    assert usual_folder({}).name == "breezeblock-1234"
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert usual_folder({"XDG_RUNTIME_DIR": "/run/user/0"}) == Path("/run/breezeblock")


# --- os-brick -----------------------------------------------------------------------------------------------------------

# Its libraries leave hooks in the process that imports them.
IN_A_PROCESS = """
import json, sys
from pathlib import Path
from breezeblock.commands.attached_here import FLAGS, Patience, TooLong, disconnect
from breezeblock.commands.brick import Brick
from breezeblock.commands.failure import Failed
from breezeblock.commands.host_folder import HostFolder
from breezeblock.env.real import real_env

def asked(f, *args, **how):
    try:
        return f(*args, **how)
    except Failed as failed:
        return str(failed)

brick = Brick(Path(sys.argv[1]))
said = {"host": brick.describe_host(host="one", ip="192.0.2.1")}
for one in json.loads(sys.argv[2]):
    found = {"paths": asked(brick.paths, one)}
    if one["driver_volume_type"] != "nvmeof":  # which is waited for
        found["connect"] = asked(brick.connect, one)
    said[one["driver_volume_type"]] = found | {"disconnect": asked(brick.disconnect, one, None, force=True)}

# Somebody else says which devices may be written to, and goes on with that.
folder = HostFolder(Path(sys.argv[1]).parent / "run")
folder.make()
flags = folder.try_lock(FLAGS)
device = Path(sys.argv[1]).parent / "device"
device.write_bytes(bytes(4096))
folder.remember("a", {"type": "local", "path": str(device)})
read_only = {"driver_volume_type": "local", "device_path": str(device), "access_mode": "ro"}
row = {"id": "a", "attach_mode": "ro", "connection_info": read_only}
try:
    disconnect(folder, row, Patience(real_env().clock, 0), force=False)
except TooLong:
    said["remembered"] = folder.recall("a")
print(json.dumps(said))
"""
CONNECTIONS: list[dict[str, Any]] = [
    {"driver_volume_type": "pigeon"},
    {"driver_volume_type": "local", "device_path": "/x", "access_mode": "rw", "attachment_id": "a"},
    {"driver_volume_type": "nfs", "export": "127.0.0.1:/x", "name": "v"},
    {"driver_volume_type": "nvmeof", "target_nqn": "nqn.x", "vol_uuid": None, "portals": [["127.0.0.1", "1", "tcp"]]},
]


@pytest.fixture(scope="module")
def brick(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What os-brick says of this host, and of connections of several kinds, for which there are neither storage nor tools."""
    folder = tmp_path_factory.mktemp("tools")
    grep = shutil.which("grep")
    assert grep is not None
    (folder / "grep").symlink_to(grep)  # it asks for that one when it is imported
    words = [sys.executable, "-c", IN_A_PROCESS, str(folder / "locks"), json.dumps(CONNECTIONS)]
    environ = {**os.environ, "PATH": str(folder)}
    return json.loads(subprocess.check_output(words, env=environ, text=True))


def test_the_host_is_described_by_the_names_that_it_was_given(brick: Any) -> None:
    assert {key: brick["host"][key] for key in ("host", "ip", "multipath")} == {
        "host": "one",
        "ip": "192.0.2.1",
        "multipath": False,
    }


def test_a_local_device_is_where_its_connection_says(brick: Any) -> None:
    assert brick["local"] == {"connect": {"type": "local", "path": "/x"}, "paths": ["/x"], "disconnect": None}


@pytest.mark.parametrize(("kind", "because"), [("pigeon", "PIGEON"), ("nfs", "mount")])
def test_what_os_brick_cannot_do_is_told_in_its_words(brick: Any, kind: str, because: str) -> None:
    said = brick[kind]["connect"]
    assert (said.startswith(f"The volume cannot be connected to this host ({kind})"), because in said) == (True, True)


def test_the_paths_of_a_kind_that_has_its_own_class_for_connections(brick: Any) -> None:
    assert brick["nvmeof"]["paths"] == []


def test_a_device_is_forgotten_as_soon_as_it_is_disconnected(brick: Any) -> None:
    """Not only once it may be written to again, which may have to be waited for: its name may be another volume's by then."""
    assert brick["remembered"] is None


# --- what is shown, and asked -------------------------------------------------------------------------------------------


def test_secrets_are_hidden_wherever_they_are() -> None:
    said = {
        "auth_username": "u",
        "auth_password": "p",
        "discovery_auth_password": None,
        "portals": [{"host": "h", "Secret": "s"}],
    }
    assert without_secrets(said) == {
        "auth_username": "u",
        "auth_password": HIDDEN,
        "discovery_auth_password": None,
        "portals": [{"host": "h", "Secret": HIDDEN}],
    }


@pytest.mark.parametrize("url", ["", "192.0.2.1:8776", "ftp://h", "http://", "http://h:x", "http://h:99999"])
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(Failed, match="URL"):
        Api(url, project="p", user="u")


@pytest.mark.parametrize(("project", "user"), [("p\r\nX: y", "u"), ("ä", "u"), ("p", "u:v"), ("p", "\n")])
def test_names_that_no_request_can_carry_are_refused(project: str, user: str) -> None:
    with pytest.raises(Failed, match="printable"):
        Api("http://h", project=project, user=user)
