"""Backups that Cinder made, imported by the records that it exported, and restored by nodes that may die anywhere."""

import base64
import json
import os
import random
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete
from tests.backup.bench import BLOCK, ENV, GIB, NEW_VOLUME, VOLUME, Bench, bench, id_of
from tests.backup.cinder.made import ARCHIVE, BACKUPS, RECORDS, SERVICE, VOLUME_ID, volume
from tests.store.given import UNLIMITED, origin

from breezeblock.backup.stores.folder import FolderStore
from breezeblock.backup.stores.keys import is_key
from breezeblock.model.errors import BadRequest, InvalidState
from breezeblock.model.ids import BackupId, VolumeId
from breezeblock.model.requests import NewVolume
from breezeblock.resources import backup_records, cinder_records, restores
from breezeblock.store import tables

FULL, SECOND, THIRD, LAST = (backup_id for backup_id, _ in BACKUPS)
ZONES = {"empty": "attic", "old": "cellar"}
# As many transactions as an import and a restore have.
OF_IMPORT = 2
OF_RESTORE = 5


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Bench]:
    """A cluster that can read what Cinder has left, which is in the second of two folders."""
    for name in ZONES:
        (tmp_path / name).mkdir()
    (tmp_path / "empty" / "something").touch()
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path / "old", filter="data")
    with bench(tmp_path) as one:
        one.base.node("first")
        one.cinders |= {name: _folder(tmp_path / name, name) for name in ZONES}
        yield one


def _folder(path: Path, name: str) -> FolderStore:
    return FolderStore(path, name=name, ids=ENV.ids, threads=ENV.threads, ours=False)


def record_of(made: Bench, backup_id: str) -> dict[str, str]:
    """What Cinder has exported."""
    records: list[dict[str, str]] = json.loads((made.folder / "old" / RECORDS).read_text())
    return next(one for one in records if told_by(one)["id"] == backup_id)


def told_by(record: dict[str, str]) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(base64.b64decode(record["backup_url"]))
    return told


def ask(made: Bench, record: dict[str, str]) -> None:
    """Only the request."""
    content = cinder_records.read_record(record["backup_service"], record["backup_url"])
    given = {"origin": origin(), "content": content, "zones": ZONES, "quota_defaults": UNLIMITED}
    made.base.run(cinder_records.begin_import, **given)


def imported(made: Bench, *ids: str) -> None:
    for id_ in ids:
        ask(made, record_of(made, id_))
        made.work()
        assert made.backup(id_)["status"] == "available", made.backup(id_)["fail_reason"]


def refusal(made: Bench, id_: str = LAST, **changes: Any) -> str:
    """Why an import ended in an error."""
    record = record_of(made, id_)
    url = base64.b64encode(json.dumps(told_by(record) | changes).encode()).decode()
    ask(made, record | {"backup_url": url})
    made.work()
    assert made.backup(id_)["status"] == "error"
    made.check()
    return str(made.backup(id_)["fail_reason"])


def file_of(made: Bench, id_: str, ending: str) -> Path:
    return sorted((made.folder / "old").rglob(f"*_backup_{id_}{ending}"))[0]


def blocks(data: bytes) -> dict[int, bytes]:
    """A volume's blocks that are not zeros, as the bench shows them."""
    cut = {at // BLOCK: data[at : at + BLOCK].ljust(BLOCK, b"\0") for at in range(0, len(data), BLOCK)}
    return {number: block for number, block in cut.items() if any(block)}


def test_all_that_a_record_says_is_known(made: Bench) -> None:
    """What it is of and when it was made; and where it was found."""
    imported(made, FULL, SECOND)

    row = made.backup(SECOND)
    names = (
        "name",
        "volume_id",
        "parent_id",
        "size_gib",
        "object_count",
        "metadata_json",
        "project_id",
        "consumes_quota",
    )
    assert [row[name] for name in names] == ["backup 1", VOLUME_ID, FULL, 1, 7, '{"kept":"yes"}', "p1", True]
    assert (row["store"], row["availability_zone"]) == ("old", "cellar")
    assert row["created_at_us"] == row["data_timestamp_us"] == 1_763_726_400 * 1_000_000
    assert row["stored_bytes"] == sum(path.stat().st_size for path in file_of(made, SECOND, "-00001").parent.iterdir())
    assert made.base.accounts() == {"backups": 2, "backup_gigabytes": 2}
    made.check()


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("at", range(1, OF_IMPORT + 1))
def test_an_import_is_finished_by_whoever_is_left(made: Bench, at: int, after: bool) -> None:
    ask(made, record_of(made, LAST))
    died = made.die(at=at, after=after)
    made.work()

    assert died
    assert made.backup(LAST)["status"] == "available"
    made.check()


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("at", range(1, OF_RESTORE + 1))
def test_a_restore_is_finished_by_whoever_is_left(made: Bench, at: int, after: bool) -> None:
    """Of one that builds on three others, of which the service knows nothing; into a volume that is there."""
    imported(made, LAST)
    made.create_volume(NEW_VOLUME)
    made.write(BLOCK, b"gone", NEW_VOLUME)
    made.restore(LAST, to=NEW_VOLUME)
    died = made.die(at=at, after=after)
    made.work()

    assert died
    assert made.content(NEW_VOLUME) == blocks(volume(3))
    assert made.path(NEW_VOLUME).stat().st_size == GIB
    assert (made.volume(NEW_VOLUME)["status"], made.backup(LAST)["status"]) == ("available", "available")
    made.check()


@pytest.mark.parametrize("version", range(len(BACKUPS)))
def test_a_volume_is_created_from_one(made: Bench, version: int) -> None:
    """And is larger, if that is asked for."""
    imported(made, BACKUPS[version][0])
    wanted = NewVolume(id=VolumeId(VOLUME), backup_id=BackupId(BACKUPS[version][0]), size_gib=2)
    given = {"origin": origin(), "wanted": wanted, "quota_defaults": UNLIMITED, "restoring": False}
    made.base.run(restores.begin_create, **given)
    made.work()

    assert made.content() == blocks(volume(version))
    assert made.path().stat().st_size == 2 * GIB
    made.check()


def test_deleting_one_leaves_cinders_files(made: Bench) -> None:
    """So it can be imported once more, and what builds on it be restored."""
    before = {path: path.read_bytes() for path in (made.folder / "old").rglob("*") if path.is_file()}
    imported(made, FULL, SECOND)
    made.delete(FULL)
    made.work()
    gone = [row["id"] for row in made.base.rows(tables.backups)]
    made.restore(SECOND)
    made.work()
    content = made.content(NEW_VOLUME)
    imported(made, FULL)

    assert gone == [SECOND]
    assert content == blocks(volume(1))
    assert {path: path.read_bytes() for path in (made.folder / "old").rglob("*") if path.is_file()} == before
    made.check()


@pytest.mark.parametrize("force", [False, True])
def test_one_whose_import_failed_can_be_deleted(made: Bench, force: bool) -> None:
    file_of(made, FULL, "-00003").unlink()
    reason = refusal(made, FULL)
    made.delete(FULL, force=force)
    made.work()

    assert "-00003 is not there" in reason
    assert made.base.rows(tables.backups) == []
    assert made.base.accounts() == {}


def test_an_export_is_what_was_imported(made: Bench) -> None:
    """So it can go back to Cinder, or be imported here by another database."""
    imported(made, SECOND)
    record = made.base.run(backup_records.export, backup_id=BackupId(SECOND), project_id=None)
    told, before = told_by({"backup_url": record.url}), told_by(record_of(made, SECOND))
    made.base.run(lambda tx: tx.execute(delete(tables.backups)))
    made.base.run(lambda tx: tx.execute(delete(tables.quota_usage)))
    ask(made, {"backup_service": record.service, "backup_url": record.url})
    made.work()

    assert told == {name: before[name] for name in told}
    # What Cinder's import asks for.
    required = ("display_name", "display_description", "container", "size", "service_metadata", "object_count", "id")
    assert set(required) <= told.keys()
    assert made.backup(SECOND)["status"] == "available"


def test_a_second_import_is_refused(made: Bench) -> None:
    imported(made, FULL)

    with pytest.raises(InvalidState, match="is here already"):
        ask(made, record_of(made, FULL))


def test_what_builds_on_a_backup_that_is_gone_is_not_imported(made: Bench) -> None:
    for path in list(file_of(made, SECOND, "_metadata").parent.iterdir()):
        path.unlink()

    assert f"the backup {SECOND}, on which it builds, is not there" in refusal(made)


def test_what_is_nowhere_is_not_imported(made: Bench) -> None:
    assert "None of the backup stores empty, old has elsewhere/volume_" in refusal(made, container="elsewhere")


def test_a_folder_that_is_not_mounted_keeps_no_other_from_being_looked_into(made: Bench) -> None:
    (made.folder / "empty" / "something").unlink()
    imported(made, FULL)

    assert made.backup(FULL)["store"] == "old"


def test_a_record_that_says_else_than_the_files_is_not_imported(made: Bench) -> None:
    assert f"builds on {THIRD} by its files, and on no other by its record" in refusal(made, parent_id=None)


def test_the_files_of_another_backup_are_not_taken(made: Bench) -> None:
    """Whatever they are called."""
    metadata = file_of(made, FULL, "_metadata")
    metadata.write_text(metadata.read_text().replace(f'"backup_id": "{FULL}"', f'"backup_id": "{LAST}"'))

    assert "is another one" in refusal(made, FULL)


def test_damage_is_found_by_the_restore(made: Bench) -> None:
    """An import reads no data. Neither volume nor backup is lost by that."""
    imported(made, LAST)
    made.create_volume(NEW_VOLUME)
    made.write(BLOCK, b"kept", NEW_VOLUME)
    before = made.content(NEW_VOLUME)
    path = file_of(made, FULL, "-00001")
    path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:])
    made.restore(LAST, to=NEW_VOLUME)
    made.work()

    assert (made.volume(NEW_VOLUME)["status"], made.backup(LAST)["status"]) == ("error_restoring", "available")
    assert made.content(NEW_VOLUME) == before
    assert any("-00001" in row["user_message"] for row in made.base.rows(tables.messages))
    made.check()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"id": "x"}, "'x' is no id"),
        ({"volume_id": FULL}, "service_metadata"),
        ({"service_metadata": "volume_x"}, "expected volume_<volume id>_<time>_backup_<backup id>"),
        ({"container": "../up"}, "is no folder below that of a store"),
        ({"container": "/mnt"}, "is no folder below that of a store"),
        ({"container": "a b"}, "is no folder below that of a store"),
        ({"container": "a" * 81}, "is no folder below that of a store"),
        ({"container": None}, "is no record of a backup"),
        ({"size": 0}, "is no record of a backup"),
        ({"size": None}, "is no record of a backup"),
        ({"parent_id": LAST}, "its own parent"),
        ({"encryption_key_id": FULL}, "of an encrypted volume"),
        ({"display_name": "a\0"}, "U+0000"),
        ({"metadata": {"\0": ""}}, "U+0000"),
        ({"created_at": "1969-01-01T00:00:00Z"}, "is not between 1970 and 9999"),
        ({"created_at": "9999-12-31T23:59:59-10:00"}, "is not between 1970 and 9999"),
        ({"created_at": "yesterday"}, "is no record of a backup"),
    ],
)
def test_a_record_that_cannot_be_is_refused(made: Bench, changes: dict[str, Any], expected: str) -> None:
    """At once, with what is wrong about it."""
    record = record_of(made, LAST)
    url = base64.b64encode(json.dumps(told_by(record) | changes).encode()).decode()

    with pytest.raises(BadRequest) as refused:
        ask(made, record | {"backup_url": url})

    assert expected in refused.value.message
    assert made.base.rows(tables.backups) == []


@pytest.mark.parametrize(
    ("url", "expected"), [("*", "not base64"), ("ü", "not base64"), ("e30=", "no record"), ("/w==", "no record")]
)
def test_what_is_no_record_is_refused(url: str, expected: str) -> None:
    with pytest.raises(BadRequest, match=expected):
        cinder_records.read_record(SERVICE, url)


@pytest.mark.parametrize(
    "driver", ["posix.PosixBackupDriver", "nfs.NFSBackupDriver", "glusterfs.GlusterfsBackupDriver", "posix"]
)
def test_drivers_with_this_layout_are_read(made: Bench, driver: str) -> None:
    """By the names of their classes, and by those of their modules, as they were before."""
    ask(made, record_of(made, FULL) | {"backup_service": f"cinder.backup.drivers.{driver}"})
    made.work()

    assert made.backup(FULL)["status"] == "available"


@pytest.mark.parametrize("driver", ["ceph.CephBackupDriver", "swift.SwiftBackupDriver", "s3.S3BackupDriver", "gcs"])
def test_other_drivers_are_refused(made: Bench, driver: str) -> None:
    with pytest.raises(BadRequest, match=r"only those of its drivers posix, nfs, glusterfs"):
        ask(made, record_of(made, FULL) | {"backup_service": f"cinder.backup.drivers.{driver}"})


def test_a_container_that_is_taken_can_be_looked_for() -> None:
    """What a record may name is a key for stores, with the longest of names in it."""
    longest = f"{'c' * 80}/{told_prefix()}_sha256file"

    assert cinder_records._CONTAINER.fullmatch("c" * 80)
    assert is_key(longest)


def told_prefix() -> str:
    return f"volume_{VOLUME_ID}_20251121120000_backup_{FULL}"


@pytest.mark.proof
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", range(3))
def test_what_cinder_makes_now_comes_back(made: Bench, tmp_path: Path, seed: int) -> None:
    """At its defaults: a full backup and two incremental ones of a volume of 1 GiB, made by Cinder's own code meanwhile."""
    python = os.environ.get("BREEZEBLOCK_CINDER_PYTHON")
    if python is None:
        pytest.skip(
            "Cinder is not among the tools of the tests: BREEZEBLOCK_CINDER_PYTHON names an interpreter that has it"
        )
    chance = random.Random(seed)
    images = [tmp_path / f"{number}.img" for number in range(3)]
    contents = []
    for number, image in enumerate(images):
        if number:
            shutil.copy(images[number - 1], image)
        with image.open("r+b" if number else "wb") as file:
            file.truncate(GIB)
            for _ in range(40):
                file.seek(chance.randrange(GIB - (1 << 20)))
                file.write(chance.choice((bytes(1), chance.randbytes(1), b"text")) * chance.randrange(1 << 18))
        with image.open("rb") as file:
            contents.append({at: data for at in range(GIB // BLOCK) if any(data := file.read(BLOCK))})
    shutil.rmtree(tmp_path / "old")
    (tmp_path / "old").mkdir()
    command = [python, "-W", "ignore", str(ARCHIVE.with_name("made.py")), str(tmp_path / "old"), *map(str, images)]
    subprocess.run(command, check=True, capture_output=True)

    for number, record in enumerate(json.loads((tmp_path / "old" / RECORDS).read_text())):
        id_ = told_by(record)["id"]
        ask(made, record)
        made.work()
        wanted = NewVolume(id=VolumeId(id_of(7, number)), backup_id=BackupId(id_))
        given = {"origin": origin(), "wanted": wanted, "quota_defaults": UNLIMITED, "restoring": False}
        made.base.run(restores.begin_create, **given)
        made.die(at=chance.randrange(1, OF_RESTORE), after=chance.random() < 0.5)
        made.work()
        assert made.backup(id_)["status"] == "available", made.backup(id_)["fail_reason"]
        assert made.content(wanted.id) == contents[number]
    made.check()
