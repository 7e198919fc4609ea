"""Backups that Cinder made, and zones, by the real clients."""

import json
from pathlib import Path
from typing import Any

import pytest
from cinderclient import exceptions
from tests.backup.cinder.made import BACKUPS, RECORDS, VOLUME_ID, volume
from tests.clients.programs import Programs
from tests.clients.storage import GIB, Storage
from tests.clients.waiting import gone, settled
from tests.service import Service

FULL, SECOND, _, LAST = (backup_id for backup_id, _ in BACKUPS)


@pytest.fixture
def of_cinder(service: Service) -> Path:
    """Its folder."""
    return Path(service.data).with_name("cinder")


def record(of_cinder: Path, backup_id: str) -> tuple[str, str]:
    """What Cinder has exported."""
    number = [one for one, _ in BACKUPS].index(backup_id)
    told = json.loads((of_cinder / RECORDS).read_text())[number]
    return told["backup_service"], told["backup_url"]


def files(of_cinder: Path) -> dict[Path, int]:
    return {path: path.stat().st_size for path in of_cinder.rglob("*") if path.is_file()}


def beginning(path: Path) -> bytes:
    """Where the data is: all of it would fill the memory with what are holes on disk."""
    with path.open("rb") as file:
        return file.read(100_000).rstrip(b"\0")


def test_what_cinder_made_is_imported_and_restored(
    cinder: Any, cloud: Any, programs: Programs, service: Service, of_cinder: Path
) -> None:
    """Two of a chain of four. What nobody has imported of it is found, and all of it is there when they are deleted."""
    storage, before = Storage(service), files(of_cinder)
    # openstacksdk 4.22, and so `openstack volume backup record import`, sends a POST to export_record, which nobody has.
    programs.cinder("backup-import", *record(of_cinder, LAST))
    for id_ in (FULL, SECOND):
        cinder.backups.import_record(*record(of_cinder, id_))
    last, full, second = [settled(cinder.backups, cinder.backups.get(id_)) for id_ in (LAST, FULL, SECOND)]
    with pytest.raises(exceptions.BadRequest, match="is here already"):
        cinder.backups.import_record(*record(of_cinder, LAST))
    again = cinder.backups.export_record(LAST)
    restore = cinder.restores.restore(LAST)
    new = settled(cinder.volumes, cinder.volumes.get(restore.volume_id))
    larger = cloud.block_storage.create_volume(backup_id=SECOND, size=2, volume_type=new.volume_type)
    cloud.block_storage.wait_for_status(larger, interval=0.1)
    contents = [storage.file_of("volumes", one.id) for one in (new, larger)]
    read = [beginning(path) for path in contents]
    stored = [path.stat() for path in contents]
    for made in (new, cinder.volumes.get(larger.id)):
        cinder.volumes.delete(made)
    for one in (full, second, last):
        cinder.backups.delete(settled(cinder.backups, one))
        gone(cinder.backups, one)

    assert (last.name, last.volume_id, last.size, last.is_incremental) == ("backup 3", VOLUME_ID, 1, True)
    assert (last.created_at, last.data_timestamp) == ("2025-11-21T12:00:00.000000",) * 2
    assert (last.metadata, last.container) == ({"kept": "yes"}, f"{LAST[:2]}/{LAST[2:4]}/{LAST}")
    assert (full.has_dependent_backups, last.has_dependent_backups) == (True, False)
    assert again["backup_service"] == record(of_cinder, LAST)[0]
    assert read == [volume(3), volume(1)]
    assert [one.st_size for one in stored] == [GIB, 2 * GIB]
    assert max(one.st_blocks for one in stored) * 512 < 1 << 20
    assert files(of_cinder) == before


def test_a_backup_crosses_zones(cinder: Any, service: Service) -> None:
    """It is kept where it was asked for, and restored to a volume in the zone and of the type that are asked for."""
    made = settled(cinder.volumes, cinder.volumes.create(1))
    kind = cinder.volume_types.create("crossing")
    backup = settled(cinder.backups, cinder.backups.create(made.id, availability_zone="attic"))
    later = settled(cinder.backups, cinder.backups.create(made.id, incremental=True))
    new = cinder.volumes.create(2, backup_id=backup.id, volume_type="crossing", availability_zone="nova")
    new = settled(cinder.volumes, new)
    with pytest.raises(exceptions.BadRequest, match="has no backup store; expected one of: attic, nova"):
        cinder.backups.create(made.id, availability_zone="cellar")
    with pytest.raises(exceptions.BadRequest, match="is not in availability zone 'attic'"):
        cinder.backups.create(made.id, container="default", availability_zone="attic")
    for one in (later, backup):
        cinder.backups.delete(one)
        gone(cinder.backups, one)
    for volume_ in (made, new):
        cinder.volumes.delete(volume_)
        gone(cinder.volumes, volume_)
    cinder.volume_types.delete(kind)

    assert (backup.availability_zone, backup.container) == ("attic", "slow")
    assert (later.availability_zone, later.container, later.is_incremental) == ("attic", "slow", True)
    assert (new.availability_zone, new.volume_type, new.size) == ("nova", "crossing", 2)
