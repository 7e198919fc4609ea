"""Backups made, restored and deleted by nodes that may die anywhere: what a backup is of is what comes back."""

import asyncio
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete
from tests.backup.bench import ARCHIVE, BACKUP, BLOCK, ENV, GIB, NEW_VOLUME, SNAPSHOT, VOLUME, Bench, bench, id_of
from tests.store.given import UNLIMITED, origin

from breezeblock.backup.contract import StoreRefused
from breezeblock.model.ids import BackupId, VolumeId
from breezeblock.resources import backup_records, backups, volume_changes, volumes
from breezeblock.store import tables
from breezeblock.work.archives import Archives

OTHER = id_of(4, 2)
THIRD = id_of(4, 3)
# More transactions than any of these operations has.
MOST = 16


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Bench]:
    """A volume of 1 GiB with data at its beginning, in its middle and at its end."""
    with bench(tmp_path) as one:
        one.create_volume()
        chance = random.Random(1)
        for offset in (0, GIB // 2, GIB - BLOCK):
            one.write(offset, chance.randbytes(BLOCK))
        yield one


def finished(made: Bench, id_: str = BACKUP, **asked: Any) -> None:
    """A backup that is done."""
    made.back_up(id_, **asked)
    made.work()
    assert made.backup(id_)["status"] == "available", made.backup(id_)["fail_reason"]


def test_a_backup_is_restored_to_a_new_volume(made: Bench) -> None:
    finished(made)
    before = made.content()
    made.restore()
    assert (made.volume(NEW_VOLUME)["status"], made.backup()["status"]) == ("restoring-backup", "restoring")
    made.work()

    assert made.content(NEW_VOLUME) == before
    assert made.path(NEW_VOLUME).stat().st_size == GIB
    assert (made.volume(NEW_VOLUME)["status"], made.backup()["status"]) == ("available", "available")
    assert made.volume(NEW_VOLUME)["metadata_json"] == f'{{"src_backup_id":"{BACKUP}"}}'
    assert made.volume()["status"] == "available"
    made.check()


def test_an_existing_volume_becomes_what_the_backup_is(made: Bench) -> None:
    """Also a larger one, whose rest is zeros, whatever was there before."""
    finished(made)
    before = made.content()
    made.create_volume(NEW_VOLUME, size_gib=2)
    made.write(BLOCK, b"gone", NEW_VOLUME)
    made.write(2 * GIB - BLOCK, b"gone", NEW_VOLUME)
    made.restore(to=NEW_VOLUME)
    made.work()

    assert made.content(NEW_VOLUME) == before
    assert made.path(NEW_VOLUME).stat().st_size == 2 * GIB
    made.check()


def test_a_volume_goes_back_to_its_own_backup(made: Bench) -> None:
    finished(made)
    before = made.content()
    made.write(5 * BLOCK, b"later")
    made.restore(to=VOLUME)
    made.work()

    assert made.content() == before
    assert made.volume()["metadata_json"] == "{}"
    made.check()


@pytest.mark.parametrize("to", [None, VOLUME], ids=["new", "existing"])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("at", [1, 3, 5, 7])
def test_what_is_restored_boots_as_what_was_backed_up(made: Bench, at: int, after: bool, to: str | None) -> None:
    """Whatever was said of its image meanwhile, and whichever node died on the way."""
    made.base.change(tables.volumes, VOLUME, image_metadata_json='{"os":"debian"}', bootable=True)
    finished(made)
    made.base.change(tables.volumes, VOLUME, image_metadata_json='{"os":"other"}', bootable=False)
    made.restore(to=to)
    made.die(at=at, after=after)
    made.work()

    restored = made.volume(to or NEW_VOLUME)
    assert (restored["image_metadata_json"], restored["bootable"]) == ('{"os":"debian"}', True)
    made.check()


def test_a_restore_of_what_was_no_image_says_nothing_of_one(made: Bench) -> None:
    finished(made)
    made.base.change(tables.volumes, VOLUME, image_metadata_json='{"os":"other"}', bootable=True)
    made.restore(to=VOLUME)
    made.work()

    restored = made.volume()
    assert (restored["image_metadata_json"], restored["bootable"]) == ('{"os":"other"}', True)


def test_an_incremental_stores_what_is_new_and_outlives_the_others(made: Bench) -> None:
    """Whatever it was incremental to is deleted, and nothing is missing."""
    finished(made)
    made.write(7 * BLOCK, random.Random(2).randbytes(BLOCK))
    finished(made, OTHER, incremental=True)
    made.delete()
    made.work()
    before = made.content()
    made.restore(OTHER)
    made.work()

    assert made.content(NEW_VOLUME) == before
    assert made.backup(OTHER)["parent_id"] == BACKUP
    assert made.backup(OTHER)["stored_bytes"] < 2 * BLOCK
    made.check()


def test_a_volume_in_use_is_copied_first(made: Bench) -> None:
    """What is written meanwhile is not in the backup, and the copy goes."""
    before = made.content()
    made.base.change(tables.volumes, VOLUME, status="in-use")
    made.back_up(force=True)
    assert made.volume()["status"] == "backing-up"
    made.work()

    assert (made.volume()["status"], made.backup()["status"]) == ("in-use", "available")
    assert made.backup()["temp_volume_id"] is None
    made.check()
    made.restore()
    made.work()
    assert made.content(NEW_VOLUME) == before


def test_a_snapshot_is_backed_up_while_its_volume_changes(made: Bench) -> None:
    before = made.content()
    made.create_snapshot()
    made.write(9 * BLOCK, b"later")
    finished(made, snapshot_id=SNAPSHOT)
    made.restore()
    made.work()

    assert made.content(NEW_VOLUME) == before
    made.check()


def test_what_a_deleted_backup_leaves_is_garbage(made: Bench) -> None:
    """Its manifest is gone, its archive is to be looked through."""
    finished(made)
    made.delete()
    made.work()

    assert made.base.rows(tables.backups) == []
    assert made.manifests() == set()
    assert made.base.rows(tables.archives)[0]["collect_after_us"] is not None
    assert made.base.accounts().keys().isdisjoint({"backups", "backup_gigabytes"})
    made.check()


# --- nodes that die --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("at", range(1, MOST))
def test_a_backup_survives_its_nodes(made: Bench, at: int, after: bool) -> None:
    """The volume is in use, so that every step has something to do. Whoever comes next finishes it."""
    before = made.content()
    made.base.change(tables.volumes, VOLUME, status="in-use")
    made.back_up(force=True)
    died = made.die(at=at, after=after)
    made.work()

    assert died or at > 10
    assert (made.volume()["status"], made.backup()["status"]) == ("in-use", "available")
    made.check()
    made.restore()
    made.work()
    assert made.content(NEW_VOLUME) == before


@pytest.mark.parametrize("to", [None, VOLUME], ids=["new", "existing"])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("at", range(1, 8))
def test_a_restore_survives_its_nodes(made: Bench, at: int, after: bool, to: str | None) -> None:
    finished(made)
    before = made.content()
    made.restore(to=to)
    made.die(at=at, after=after)
    made.work()

    assert made.content(to or NEW_VOLUME) == before
    assert (made.volume(to or NEW_VOLUME)["status"], made.backup()["status"]) == ("available", "available")
    made.check()


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("at", range(1, 5))
def test_a_deletion_survives_its_nodes(made: Bench, at: int, after: bool) -> None:
    finished(made)
    made.delete()
    made.die(at=at, after=after)
    made.work()

    assert made.base.rows(tables.backups) == []
    assert made.manifests() == set()
    made.check()


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("at", range(1, MOST))
def test_a_cancelled_backup_leaves_nothing(made: Bench, at: int, after: bool) -> None:
    """Its node dies anywhere, then an operator deletes it by force: the volume is what it was."""
    made.base.change(tables.volumes, VOLUME, status="in-use")
    made.back_up(force=True)
    made.die(at=at, after=after)
    made.delete(force=True)
    made.work()

    assert made.base.rows(tables.backups) == []
    assert made.manifests() == set()
    assert made.volume()["status"] == "in-use"
    assert set(made.pack_states().values()) <= {"doomed", "live"}
    made.check()


def test_a_lost_node_removes_nothing_that_its_survivor_has_published(made: Bench) -> None:
    """Nothing keeps it from the store: it may come back to life there when everything is over."""
    made.back_up()
    made.die(at=4, after=True)
    made.work()
    published = made.manifests()
    archive = asyncio.run(
        Archives({"default": made.shelf}, ENV, None).open("default", ARCHIVE, known=True, begin=False)
    )
    seq = int(next(iter(published)).split(".")[1])
    asyncio.run(archive.delete_manifests(BACKUP, up_to=(seq, 1)))
    kept = made.manifests()
    asyncio.run(archive.delete_manifests(BACKUP, up_to=(seq, 2)))

    assert kept == published == {f"{BACKUP}.{seq}.2"}
    assert made.manifests() == set()


@pytest.mark.parametrize("unknown", [False, True])
@pytest.mark.parametrize("at", [1, 4, 6, 8, 10])
def test_a_parked_backup_holds_nothing(made: Bench, at: int, unknown: bool) -> None:
    """Neither its volume nor its pin nor its packs; and what is left of it goes with its deletion."""
    made.base.change(tables.volumes, VOLUME, status="in-use")
    made.back_up(force=True)
    made.die(at=at, after=True)
    made.park(unknown=unknown)

    assert (made.volume()["status"], made.backup()["status"]) == ("in-use", "error")
    assert made.backup()["pin"] is None
    assert "pending" not in made.pack_states().values()
    made.delete()
    made.work()
    assert made.manifests() == set()
    made.check()


@pytest.mark.parametrize("unknown", [False, True])
def test_a_parked_restore_leaves_the_backup_usable(made: Bench, unknown: bool) -> None:
    finished(made)
    before = made.content()
    made.restore()
    made.park(unknown=unknown)

    assert (made.volume(NEW_VOLUME)["status"], made.volume()["status"]) == ("error", "available")
    assert made.backup()["status"] == "available"
    made.restore(to=VOLUME)
    made.work()
    assert made.content() == before


# --- what others ask for meanwhile -----------------------------------------------------------------------------------


def reset_backup(made: Bench) -> None:
    made.base.run(backups.reset_status, origin=origin(), backup_id=BackupId(BACKUP), status="error")


def reset_volume(made: Bench) -> None:
    asked = {"status": "available", "attach_status": None, "migration_status": None}
    made.base.run(volume_changes.reset_status, origin=origin(), volume_id=VolumeId(VOLUME), **asked)


@pytest.mark.parametrize("word", [reset_backup, reset_volume])
def test_a_reset_ends_a_backup_that_is_under_way(made: Bench, word: Any) -> None:
    made.back_up()
    made.work(during=lambda: word(made))

    assert (made.volume()["status"], made.backup()["status"]) == ("available", "error")
    assert made.manifests() == set()
    assert "live" not in made.pack_states().values()
    made.check()


def test_a_volume_that_is_deleted_by_force_ends_its_backup(made: Bench) -> None:
    made.back_up()
    made.work(
        during=lambda: made.base.run(
            volumes.begin_force_delete, origin=origin(), volume_id=VolumeId(VOLUME), cascade=False
        )
    )

    assert made.base.rows(tables.volumes) == []
    assert (made.backup()["status"], made.manifests()) == ("error", set())
    made.check()


def test_a_backup_that_is_being_read_is_deleted_after_that(made: Bench) -> None:
    finished(made)
    before = made.content()
    made.restore()
    made.base.run(backups.begin_force_delete, origin=origin(), backup_id=BackupId(BACKUP))
    made.work()

    assert made.base.rows(tables.backups) == []
    assert made.volume(NEW_VOLUME)["status"] == "error"
    assert made.content() == before
    made.check()


# --- stores that will not, or cannot ---------------------------------------------------------------------------------


def test_a_store_that_refuses_fails_the_backup_alone(made: Bench) -> None:
    """It says why; the volume is what it was, and whatever was uploaded is garbage."""
    real = made.objects.away

    def full(call: str, key: str) -> bool:
        if call == "put" and "/packs/" in key:
            raise StoreRefused("The bucket is full.")
        return False

    made.back_up()
    made.objects.away = full
    made.work()
    made.objects.away = real

    assert (made.backup()["status"], made.backup()["fail_reason"]) == ("error", "The bucket is full.")
    assert made.volume()["status"] == "available"
    assert [row["user_message"] for row in made.base.rows(tables.messages)] == ["The bucket is full."]
    assert set(made.pack_states().values()) == {"doomed"}
    made.check()
    finished(made, OTHER)


def test_a_store_that_refuses_everything_leaves_no_copy_behind(made: Bench) -> None:
    """Nothing of the backup can be removed from it, and the copy of the volume goes all the same."""

    def shut(call: str, key: str) -> bool:
        if "/packs/" in key and call == "put":
            made.objects.away = refuse
        return False

    def refuse(call: str, key: str) -> bool:
        raise StoreRefused("The right to use the bucket was taken away.")

    made.base.change(tables.volumes, VOLUME, status="in-use")
    made.back_up(force=True)
    made.objects.away = shut
    made.work()

    assert (made.backup()["status"], made.volume()["status"]) == ("error", "in-use")
    assert made.backup()["temp_volume_id"] is None
    made.check()


@pytest.mark.parametrize("call", ["get", "put", "list", "delete"])
def test_a_store_that_is_away_for_a_moment_is_waited_for(
    made: Bench, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever was asked is asked again: nothing fails for that."""
    monkeypatch.setattr("breezeblock.work.archives.PAUSE_FIRST_S", 0.01)
    monkeypatch.setattr("breezeblock.work.archives.PATIENCE_S", 0.0)
    seen: set[str] = set()

    def once(asked: str, key: str) -> bool:
        kind = key.partition("/")[2].partition("/")[0]  # packs, manifests, or what the archive is
        new = asked == call and kind not in seen
        seen.update([kind] if asked == call else [])
        return new

    before = made.content()
    made.objects.away = once
    finished(made)
    made.restore()
    made.work()
    made.delete()
    made.work()

    assert seen
    assert made.content(NEW_VOLUME) == before
    assert (made.base.rows(tables.backups), made.manifests()) == ([], set())
    made.check()


def test_a_damaged_backup_is_not_restored(made: Bench) -> None:
    """A volume that exists keeps its content, and the backup can be tried again."""
    finished(made)
    before = made.content()
    key = next(key for key in made.objects.objects if "/packs/" in key)
    made.objects.objects[key] = bytes(len(made.objects.objects[key]))
    made.restore(to=VOLUME)
    made.work()

    assert (made.volume()["status"], made.backup()["status"]) == ("error_restoring", "available")
    assert made.content() == before
    made.check()


def test_a_damaged_backup_makes_no_volume(made: Bench) -> None:
    finished(made)
    made.objects.objects = {key: data for key, data in made.objects.objects.items() if "/packs/" not in key}
    made.restore()
    made.work()

    assert (made.volume(NEW_VOLUME)["status"], made.volume(NEW_VOLUME)["object_name"]) == ("error", None)
    assert made.backup()["status"] == "available"
    assert made.base.problems() == []


def test_storage_that_cannot_be_read_fails_the_backup(made: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    made.back_up()
    made.path().rename(made.path().with_name("away"))
    made.work()
    (made.folder / "volumes" / VOLUME[:2] / "away").rename(made.path())

    assert (made.backup()["status"], made.volume()["status"]) == ("error", "available")
    made.check()


# --- records ---------------------------------------------------------------------------------------------------------


def forgotten(made: Bench) -> backup_records.Content:
    """The record of a backup whose database is lost: nothing is known of it, or of its archive."""
    finished(made)
    record = made.base.run(backup_records.export, backup_id=BackupId(BACKUP), project_id="p1")
    with made.base.tx() as tx:
        for table in (tables.packs, tables.archives, tables.backups):
            tx.execute(delete(table))
        of_backups = tables.quota_usage.c.resource.in_(("backups", "backup_gigabytes"))
        tx.execute(delete(tables.quota_usage).where(of_backups))
    return backup_records.read_record(record)


def known_again(made: Bench, content: backup_records.Content) -> None:
    made.base.run(backup_records.begin_import, origin=origin(), content=content, quota_defaults=UNLIMITED)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("at", range(1, 4))
def test_a_backup_that_was_forgotten_is_known_again(made: Bench, at: int, after: bool) -> None:
    """Wherever a node dies meanwhile. Its packs are live, so its deletion leaves garbage that is known."""
    before = made.content()
    known_again(made, forgotten(made))
    made.die(at=at, after=after)
    made.work()
    states = set(made.pack_states().values())
    made.restore()
    made.work()

    assert made.content(NEW_VOLUME) == before
    assert states == {"live"}
    assert made.objects.packs() <= made.pack_states().keys()


def test_an_import_that_fails_leaves_the_store_alone(made: Bench) -> None:
    """Also when what is left of it is deleted: it can be imported later."""
    content = forgotten(made)
    there = dict(made.objects.objects)
    manifest = next(key for key in there if "/manifests/" in key)
    made.objects.objects[manifest] = b"damaged"
    known_again(made, content)
    made.work()
    status = made.backup()["status"]
    made.delete()
    made.work()
    left = made.objects.objects.keys()
    made.objects.objects[manifest] = there[manifest]
    known_again(made, content)
    made.work()

    assert status == "error"
    assert left == there.keys()
    assert made.backup()["status"] == "available"


def test_another_projects_archive_is_not_taken_over(made: Bench) -> None:
    content = forgotten(made)
    made.base.add(tables.archives, id=content.archive_id, op_seq=1, store="default", project_id="p2", created_at_us=1)
    known_again(made, content)
    made.work()

    assert made.backup()["status"] == "error"
    assert made.pack_states() == {}
