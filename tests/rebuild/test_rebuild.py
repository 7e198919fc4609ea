"""Real services whose database is lost, or older than the storage: what `db rebuild` makes of it, and what clients find."""

import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest
from tests.clients.storage import Storage
from tests.service import Service, StartService, eventually, running_service

__all__ = ["running_service"]

VERSION: Final = {"OpenStack-API-Version": "volume 3.71"}
PROJECT: Final = "lost"
# As long as a rebuild waits for signs of life.
TTL_S: Final = 3.0


class World:
    """A service, and what a user of it knows."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.storage = Storage(service)

    def ask(self, method: str, path: str, body: Any = None, *, status: int) -> Any:
        answer = self.service.request(method, f"/v3/{PROJECT}/{path}", body, headers=VERSION)
        assert answer.status == status, answer
        return answer.body

    def made(self, noun: str, **body: Any) -> str:
        """A new resource that has come to rest."""
        made = self.ask("POST", f"{noun}s", {noun: body}, status=202)[noun]["id"]
        self.rests(noun, made)
        return str(made)

    def rests(self, noun: str, id_: str, status: str = "available") -> dict[str, Any]:
        def there() -> dict[str, Any] | None:
            found: dict[str, Any] = self.ask("GET", f"{noun}s/{id_}", status=200)[noun]
            return found if found["status"] == status else None

        return eventually(there, within_s=30, message=f"{noun} {id_} is not {status}") or {}

    def gone(self, noun: str, id_: str) -> None:
        eventually(
            lambda: self.service.request("GET", f"/v3/{PROJECT}/{noun}s/{id_}", headers=VERSION).status == 404,
            within_s=30,
        )

    def written(self, volume_id: str, data: bytes) -> str:
        """What a server writes that has it attached; the digest of all."""
        with self.storage.file_of("volumes", volume_id).open("r+b") as file:
            file.write(data)
        return self.storage.content_of("volumes", volume_id)

    def all(self, noun: str) -> dict[str, dict[str, Any]]:
        found = self.ask("GET", f"{noun}s/detail", status=200)[f"{noun}s"]
        return {one["id"]: one for one in found}

    def dump(self, to: Path) -> None:
        """As an operator's nightly job does."""
        with sqlite3.connect(self.service.data / "breezeblock.db") as ours, sqlite3.connect(to) as copy:
            ours.backup(copy)

    def stop(self) -> None:
        assert self.service.interrupt() == 0


def lose_database(data: Path, *, older: Path | None) -> None:
    for path in data.glob("breezeblock.db*"):
        path.unlink()
    if older is not None:
        shutil.copy(older, data / "breezeblock.db")


@pytest.fixture
def world(running_service: StartService) -> World:
    return World(running_service(nodes=1, workers=1, ttl_s=TTL_S))


def again(world: World, running_service: StartService) -> World:
    return World(running_service(data=world.service.data, nodes=1, workers=1, ttl_s=TTL_S))


def rebuild(world: World, *arguments: str, status: int) -> str:
    done = world.service.command("db", "rebuild", "--stopped", *arguments, timeout_s=120)
    assert done.returncode == status, (done.stdout, done.stderr)
    return done.stdout + done.stderr


def require_sound(world: World, *, but: str | None = None) -> None:
    """`but`: the only volume of which it is told that its object is not there."""
    done = world.service.command("db", "check")
    told = [line for line in done.stdout.splitlines() if but is None or but not in line]
    assert (done.returncode, told) == ((0, ["No problems found."]) if but is None else (1, [])), done


def test_an_older_database_agrees_with_the_storage_again(
    world: World, running_service: StartService, tmp_path: Path
) -> None:
    """Made, grown, deleted and backed up since the dump: what there is, is what clients find, under its own id."""
    grown, doomed = (world.made("volume", size=1, name=name) for name in ("grown", "doomed"))
    early = world.made("backup", volume_id=grown)
    world.dump(tmp_path / "dump.db")
    world.ask("POST", f"volumes/{grown}/action", {"os-extend": {"new_size": 2}}, status=202)
    world.rests("volume", grown)
    held = world.written(grown, b"since the dump" * 1000)
    late = world.made("backup", volume_id=grown)
    world.ask("DELETE", f"backups/{early}", status=202)
    world.ask("DELETE", f"volumes/{doomed}", status=202)
    world.gone("volume", doomed)
    world.gone("backup", early)
    new = world.made("volume", size=1, name="new")
    new_holds = world.written(new, b"new")
    world.stop()
    lose_database(world.service.data, older=tmp_path / "dump.db")

    only_looked = rebuild(world, "--project", PROJECT, "--dry-run", status=0)
    told = rebuild(world, "--project", PROJECT, status=0)

    assert only_looked == told
    require_sound(world, but=doomed)
    assert rebuild(world, "--project", PROJECT, status=0) == "The database agrees with the storage.\n"
    world = again(world, running_service)
    volumes, backups = world.all("volume"), world.all("backup")
    assert {id_: (one["status"], one["size"]) for id_, one in volumes.items()} == {
        grown: ("available", 2),
        doomed: ("error", 1),
        new: ("available", 1),
    }
    assert {id_: one["status"] for id_, one in backups.items()} == {early: "error", late: "available"}
    assert world.storage.content_of("volumes", grown) == held
    assert world.storage.content_of("volumes", new) == new_holds
    restored = world.ask("POST", f"backups/{late}/restore", {"restore": {}}, status=202)["restore"]["volume_id"]
    world.rests("volume", restored)
    assert world.storage.content_of("volumes", restored) == held
    for id_ in (doomed, new):
        world.ask("DELETE", f"volumes/{id_}", status=202)
        world.gone("volume", id_)


def test_everything_is_found_again_without_any_database(world: World, running_service: StartService) -> None:
    """The storage and the stores alone: volumes and backups under their ids, with all that is in them."""
    volume = world.made("volume", size=1, name="mine")
    held = world.written(volume, b"all that there is")
    backup = world.made("backup", volume_id=volume, name="kept")
    world.ask("POST", f"volumes/{volume}/action", {"os-extend": {"new_size": 3}}, status=202)
    world.rests("volume", volume)
    world.stop()
    lose_database(world.service.data, older=None)

    assert "Run this again with --project" in rebuild(world, status=1)
    rebuild(world, "--project", PROJECT, status=0)

    require_sound(world)
    world = again(world, running_service)
    assert world.all("volume")[volume]["size"] == 3
    assert world.all("volume")[volume]["name"] == f"recovered-{volume}"
    assert (world.all("backup")[backup]["name"], world.all("backup")[backup]["status"]) == ("kept", "available")
    second = world.made("backup", volume_id=volume, incremental=True)
    for one in (backup, second):
        restored = world.ask("POST", f"backups/{one}/restore", {"restore": {}}, status=202)["restore"]["volume_id"]
        world.rests("volume", restored)
    assert world.storage.content_of("volumes", restored) == world.storage.content_of("volumes", volume) == held


def test_it_refuses_while_anybody_runs(world: World) -> None:
    said = world.service.command("db", "rebuild", "--stopped")
    assert (said.returncode, "stop it first" in said.stderr) == (1, True)

    unsaid = world.service.command("db", "rebuild")
    assert (unsaid.returncode, "--stopped" in unsaid.stderr) == (2, True)


@pytest.mark.parametrize(
    ("target", "status", "said"),
    [
        ("disk", 2, "--target disk: expected BACKEND=TARGET, once for each backend."),
        ("else=far", 1, "--target else: there is no such backend here; expected one of disk."),
        ("disk=far", 1, "--target disk=far: this backend has no such target; expected one of default."),
    ],
)
def test_a_target_that_there_is_not_is_refused(tmp_path: Path, target: str, status: int, said: str) -> None:
    """Before anything is changed; with what it could have been."""
    environ = os.environ | {"BREEZEBLOCK_BACKENDS__DISK__PATH": str(tmp_path / "disk")}
    command = [sys.executable, "-m", "breezeblock.cli", "db", "rebuild", "--stopped", "--target", target]
    done = subprocess.run(
        [*command, "--data", str(tmp_path / "data")],
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (done.returncode, said in done.stderr) == (status, True), done.stderr
