"""A backend that is full: users are told, nothing is left half made, and all goes on when there is space again."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from tests.chaos import verdict
from tests.proof import not_here
from tests.service import Service, StartService, eventually

MIB: Final = 1024**2
DATA_MIB: Final = 16
FILLER: Final = ".filler"
PROJECT: Final = "/v3/admin"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A filesystem in memory with room for little more than one volume of real data."""
    path = tmp_path / "small"
    path.mkdir()
    if os.geteuid() != 0:
        not_here("mounting a filesystem is for root")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1040m", "none", str(path)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        not_here(f"no filesystem can be mounted here: {mounted.stderr}")
    yield path
    subprocess.run(["umount", "-l", str(path)], check=True)


def fill(path: Path, *, left_mib: int) -> None:
    """Leave so much space, and take the rest."""
    space = os.statvfs(path)
    with (path / FILLER).open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, space.f_bavail * space.f_frsize - left_mib * MIB)


def messages(service: Service, resource_id: str) -> list[str]:
    """What the user is told about a resource."""
    headers = {"OpenStack-API-Version": "volume 3.71"}
    found = service.request("GET", f"{PROJECT}/messages", headers=headers).body["messages"]
    return [one["user_message"] for one in found if one["resource_uuid"] == resource_id]


def test_a_full_disk_is_said_and_leaves_nothing_half_made(running_service: StartService, small_disk: Path) -> None:
    service = running_service(nodes=2, workers=1, environ={"BREEZEBLOCK_BACKENDS__FILE__PATH": str(small_disk)})
    source = service.create_volume()
    service.wait_status(source)
    (file,) = small_disk.glob(f"*/{source}.*")
    with file.open("r+b") as stream:
        stream.write(os.urandom(DATA_MIB * MIB))
    body = {"volume": {"source_volid": source, "size": 1}}
    fill(small_disk, left_mib=DATA_MIB // 2)

    clone = str(service.request("POST", f"{PROJECT}/volumes", body).body["volume"]["id"])
    service.wait_status(clone, "error")
    answer = service.request("POST", f"{PROJECT}/snapshots", {"snapshot": {"volume_id": source}})
    snapshot = str(answer.body["snapshot"]["id"])
    eventually(lambda: service.request("GET", f"{PROJECT}/snapshots/{snapshot}").body["snapshot"]["status"] == "error")

    assert [len(messages(service, one)) for one in (clone, snapshot)] == [1, 1]
    assert all("no space left" in text for one in (clone, snapshot) for text in messages(service, one))
    assert [path.name for path in small_disk.glob("*/*")] == [file.name]
    assert verdict.contradictions(verdict.database(service)) == []

    (small_disk / FILLER).unlink()
    assert service.request("DELETE", f"{PROJECT}/snapshots/{snapshot}").status == 202
    assert service.request("DELETE", f"{PROJECT}/volumes/{clone}").status == 202
    again = str(service.request("POST", f"{PROJECT}/volumes", body).body["volume"]["id"])
    service.wait_status(again)
    verdict.settle(verdict.database(service), within_s=30)
    assert verdict.contradictions(verdict.database(service)) == []
    assert verdict.not_on_storage(verdict.database(service), small_disk) == []
