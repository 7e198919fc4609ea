"""`breezeblock backup verify | checks | restore` without a node: what is asked for, what is refused, how results are shown."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import create_engine, insert
from tests.store.given import NOW_US

from breezeblock import cli
from breezeblock.backup.engine import Damage
from breezeblock.backup.lost import Losses
from breezeblock.commands import verify_view
from breezeblock.resources.verifications import Tally
from breezeblock.store import schema, tables

WELL, OTHERS = "00000004-0000-4000-8000-000000000001", "00000004-0000-4000-8000-000000000002"
NOBODY = "00000009-0000-4000-8000-000000000001"
Command = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two backups of two projects, and one that has failed."""
    path = tmp_path_factory.mktemp("database") / "breezeblock.db"
    url = f"sqlite:///{path}"
    schema.upgrade(url)
    engine = create_engine(url)
    with engine.begin() as tx:
        for id_, project, status in ((WELL, "p1", "available"), (OTHERS, "p2", "available"), (NOBODY, "p1", "error")):
            row = {"id": id_, "op_seq": 1, "project_id": project, "user_id": "u", "volume_id": NOBODY, "status": status}
            more = {"size_gib": 1, "store": "default", "host": "c@b", "created_at_us": NOW_US}
            more |= {"manifest": f"{id_}.1.1", "archive_id": id_}
            tx.execute(insert(tables.backups), row | more)
        logged = {"share": 1.0, "tally": msgspec.to_builtins(found())}
        row = {"operation_id": "o", "kind": "verify_backup", "queue": "c@b", "resource_type": "backup"}
        row |= {"resource_id": WELL, "project_id": "p1", "request_id": "r", "outcome": "done", "attempt": 0, "epoch": 1}
        row |= {"detail": json.dumps(logged), "locks_json": "[]", "created_at_us": 1, "finished_at_us": NOW_US}
        tx.execute(insert(tables.operation_log), row)
    engine.dispose()
    return path


@pytest.fixture
def data(database: Path, tmp_path: Path) -> Path:
    """The folder of a service that is down."""
    shutil.copy(database, tmp_path)
    return tmp_path


def found() -> Tally:
    """One pack is gone, one has a bad block, of one nothing is lost; another backup cannot be read."""
    losses = Losses()
    for number in range(0, 40, 2):
        losses.add(Damage(number << 16, (number + 1) << 16, "a/packs/aa/gone", "it is missing"))
    losses.add(Damage(1 << 16, 2 << 16, "a/packs/bb/bad", "the block at byte 8 does not have its hash"))
    losses.note("a/packs/cc/index", "its index cannot be read")
    losses.objects[0].backups.append(OTHERS)
    return Tally(packs=3, segments=1, blocks=5, bytes=5 << 16, losses=losses, unread=[NOBODY], is_complete=True)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], data: Path) -> Command:
    """Type a command: its exit status, and what it prints on either side."""
    for name in ("BREEZEBLOCK_CONFIG", "BREEZEBLOCK_SERVICE__DATA_DIR", "BREEZEBLOCK_DATABASE__URL"):
        monkeypatch.delenv(name, raising=False)

    def typed(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["breezeblock", "backup", *arguments, "--data", str(data)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        told = capsys.readouterr()
        return int(ended.value.code or 0), told.out, told.err

    return typed


def test_all_that_can_be_read_is_asked_for(command: Command, data: Path) -> None:
    """Of a project, or of all; what is asked is what was said."""
    status, told, _ = command("verify", "--all", "--project", "p1", "--sample", "12.5", "--no-wait", "--json")
    (one,) = json.loads(told)
    everything = json.loads(command("verify", "--all", "--no-wait", "--json")[1])
    engine = create_engine(f"sqlite:///{data}/breezeblock.db")
    with engine.connect() as tx:
        asked = tx.execute(tables.operations.select()).mappings().all()
    engine.dispose()

    assert (status, one["backup"], one["state"]) == (0, WELL, "asked for")
    assert [each["backup"] for each in everything] == [WELL, OTHERS]
    payloads = [json.loads(row["payload_json"]) for row in asked]
    assert [each["share"] for each in payloads if each["backup_id"] == WELL] == [0.125, 1.0]
    assert {row["project_id"] for row in asked} == {"p1", "p2"}
    assert one["operation"] in {row["id"] for row in asked}


def test_what_cannot_be_verified_is_told_beside_the_rest(command: Command) -> None:
    status, told, error = command("verify", NOBODY, WELL, "--no-wait", "--json")
    refused, asked = json.loads(told)

    assert (status, refused["state"], asked["state"]) == (1, "refused", "asked for")
    assert "has status error" in refused["reason"]
    assert error == "breezeblock: 1 of 2 backups are damaged, or were not looked at wholly.\n"


@pytest.mark.parametrize(
    ("words", "status", "why"),
    [
        (("verify", "00000009-0000-4000-8000-000000000009"), 1, "could not be found"),
        (("verify",), 2, "name the backups, or give --all"),
        (("verify", WELL, "--all"), 2, "name the backups, or give --all"),
        (("verify", WELL, "--project", "p1"), 2, "--project goes with --all"),
        (("verify", WELL, "--sample", "101"), 2, "less than or equal to 100"),
        (("restore", WELL, "--volume", NOBODY), 1, f"Volume {NOBODY} could not be found."),
        (("restore", WELL, "--volume", NOBODY, "--name", "n"), 2, "two different things"),
        (("restore", NOBODY[:-1] + "7"), 1, "could not be found"),
    ],
)
def test_what_cannot_be_asked_is_refused(command: Command, words: tuple[str, ...], status: int, why: str) -> None:
    """In a line, with its reason; wrong usage has another status."""
    ended, _, error = command(*words)

    assert (ended, why in error) == (status, True), error


def test_what_was_found_is_shown_with_what_is_affected(command: Command) -> None:
    """No key and no id is cut, however narrow the table is."""
    status, told, _ = command("checks", "--project", "p1")
    shown: Any = json.loads(command("checks", "--json")[1])

    assert status == 0
    assert f"{WELL}: a/packs/aa/gone: it is missing\n    lost of its volume: {20 << 16} bytes: 0-65535, 131072-" in told
    assert f"and 12 more\n    also named by: {OTHERS}\n" in told
    assert "a/packs/cc/index: its index cannot be read\n    lost of its volume: nothing\n" in told
    assert f"manifests cannot be read: {NOBODY}" in told
    assert (shown[0]["state"], shown[0]["lost_bytes"], shown[0]["sample_percent"]) == ("damaged", 21 << 16, 100)
    assert shown[0]["objects"][1]["ranges"] == [{"first": 65536, "last": 131071}]
    assert json.loads(command("checks", "--project", "p2", "--json")[1]) == []


def test_a_reason_is_shown() -> None:
    (line,) = verify_view.lines([{"backup": WELL, "state": "refused", "reason": "It has status error."}])

    assert line == f"{WELL}: It has status error."
