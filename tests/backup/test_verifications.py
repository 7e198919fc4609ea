"""Backups in a folder that something has damaged: what is found, whom it is told, and how all the rest is got back."""

import asyncio
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.backup.bench import ARCHIVE, BACKUP, BLOCK, ENV, GIB, NEW_VOLUME, VOLUME, Bench, bench, id_of
from tests.store.given import origin

from breezeblock.backup.engine import Shares
from breezeblock.backup.lost import Losses
from breezeblock.backup.packs import pack_key
from breezeblock.backup.stores.folder import FolderStore
from breezeblock.model.errors import InvalidState, NotFound
from breezeblock.model.ids import BackupId
from breezeblock.resources import backup_edits, backups, restores, verifications
from breezeblock.resources.verifications import Result, Tally
from breezeblock.store import tables
from breezeblock.work.archives import Shelf

OTHER, THIRD = id_of(4, 2), id_of(4, 3)
# The blocks of a pack that something has damaged, by their order.
HOLES = (0, 3, 4, 8)
# Where the volume has data: one block each, and the last one of the volume.
OFFSETS = (0, GIB // 2, GIB - BLOCK)


def rarely(*cases: Any) -> list[Any]:
    """Cases of the long runs."""
    return [pytest.param(*(one if isinstance(one, tuple) else (one,)), marks=pytest.mark.proof) for one in cases]


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Bench]:
    """A volume with three blocks of data, and its backup in a folder."""
    with bench(tmp_path) as one:
        folder = tmp_path / "store"
        folder.mkdir()
        objects = FolderStore(folder, name="default", ids=ENV.ids, threads=ENV.threads)
        asyncio.run(objects.check())
        one.shelf = Shelf(objects, Shares(ENV.clock), 1, lambda: None)
        one.create_volume()
        write(one, seed=1)
        backed_up(one)
        yield one


def write(made: Bench, *, seed: int) -> None:
    chance = random.Random(seed)
    for offset in OFFSETS:
        made.write(offset, chance.randbytes(BLOCK))


def backed_up(made: Bench, id_: str = BACKUP, **asked: Any) -> None:
    made.back_up(id_, **asked)
    made.work()
    assert made.backup(id_)["status"] == "available", made.backup(id_)["fail_reason"]


def stored(made: Bench, what: str) -> list[Path]:
    """The files of an archive's `packs` or `manifests`."""
    return sorted(path for path in (made.folder / "store" / ARCHIVE / what).rglob("*") if path.is_file())


def damage(path: Path, *, at: int) -> None:
    """Some bytes of an object are others now; counted from its end when `at` is negative."""
    data = bytearray(path.read_bytes())
    for number in range(at, at + 8):
        data[number] ^= 0xFF
    path.write_bytes(data)


def key_of(made: Bench, path: Path) -> str:
    """Under which the store has an object."""
    return path.relative_to(made.folder / "store").as_posix()


def data_pack(made: Bench) -> Path:
    """The pack that has the volume's blocks, which is the larger one."""
    return max(stored(made, "packs"), key=lambda path: path.stat().st_size)


def asked(made: Bench, id_: str = BACKUP, *, share: float = 1.0) -> str:
    by = origin(is_admin=True)
    made.base.run(verifications.begin_verify, origin=by, backup_id=BackupId(id_), share=share)
    return by.operation_id


def verified(made: Bench, id_: str = BACKUP, **how: Any) -> Tally:
    operation_id = asked(made, id_, **how)
    made.work()
    return tally_of(made, operation_id)


def tally_of(made: Bench, operation_id: Any) -> Tally:
    found: Result | None = made.base.run(verifications.result, operation_id=operation_id)
    assert found is not None
    assert found.tally is not None, found.detail
    return found.tally


def messages(made: Bench) -> list[str]:
    return [row["user_message"] for row in made.base.rows(tables.messages)]


def restored(made: Bench, **how: Any) -> dict[str, Any]:
    """A new volume from the backup, however that ended."""
    made.restore(**how)
    made.work()
    return made.volume(NEW_VOLUME)


# --- what is found ---------------------------------------------------------------------------------------------------


def test_a_backup_that_is_well_is_told_so(made: Bench) -> None:
    found = verified(made)

    assert (found.blocks, found.bytes, found.segments, found.packs) == (3, 3 * BLOCK, 1, len(stored(made, "packs")))
    assert found.is_complete
    assert not found.losses
    assert (made.backup()["fail_reason"], made.backup()["status"], messages(made)) == (None, "available", [])
    assert made.base.problems() == []


def test_a_damaged_block_is_told_with_all_that_name_its_pack(made: Bench) -> None:
    """The ranges of the volume, the object, the other backup; the user's message and the backup's own word say the same."""
    pack = data_pack(made)
    backed_up(made, OTHER, incremental=True)
    write(made, seed=2)
    backed_up(made, THIRD)
    damage(pack, at=BLOCK // 2)
    found = verified(made)

    (lost,) = found.losses.objects
    assert lost.object == key_of(made, pack)
    assert (lost.ranges, lost.bytes, found.losses.bytes, found.blocks) == ([(0, BLOCK)], BLOCK, BLOCK, 2)
    assert (lost.backups, found.unread) == ([OTHER], [])
    assert messages(made) == [made.backup()["fail_reason"]]
    assert f"{BLOCK} bytes: 0-{BLOCK - 1}." in messages(made)[0]
    assert lost.object in messages(made)[0]
    assert (made.backup()["status"], made.backup(OTHER)["fail_reason"]) == ("available", None)


@pytest.mark.parametrize("share", [1.0, 0.0])
def test_a_missing_pack_is_told_exactly_whatever_is_read(made: Bench, share: float) -> None:
    """All that is in it and nothing else, although the rest of the segment is not looked at."""
    backed_up(made, OTHER)
    made.write(GIB // 4, random.Random(3).randbytes(BLOCK))
    old = set(stored(made, "packs"))
    backed_up(made, THIRD)
    new = max(set(stored(made, "packs")) - old, key=lambda path: path.stat().st_size)
    first = data_pack(made)
    first.unlink()
    found = verified(made, THIRD, share=share)

    (lost,) = found.losses.objects
    assert (lost.object, lost.what, lost.bytes) == (key_of(made, first), "it is missing", 3 * BLOCK)
    assert lost.ranges == [(offset, offset + BLOCK) for offset in OFFSETS]
    assert lost.backups == [BACKUP, OTHER]
    assert found.blocks == (1 if share else 0)
    assert made.pack_states()[first.name] == "lost"
    assert made.pack_states()[new.name] == "live"


def test_the_next_backup_stores_again_what_was_found_damaged(made: Bench) -> None:
    """It builds upon no pack that a verification has found bad; without one it would, since the index is well."""
    before = made.content()
    damage(data_pack(made), at=BLOCK // 2)
    verified(made)
    backed_up(made, OTHER, incremental=True)
    restored(made, id_=OTHER)

    assert made.content(NEW_VOLUME) == before
    assert not verified(made, OTHER).losses


@pytest.mark.parametrize("how", ["missing", "no archive", *rarely("damaged", "of another")])
def test_without_its_manifest_nothing_of_a_backup_can_be_read(made: Bench, how: str) -> None:
    backed_up(made, OTHER)
    root = made.folder / "store" / ARCHIVE / "archive.json"
    mine, other = (
        next(path for path in stored(made, "manifests") if path.name.startswith(id_)) for id_ in (BACKUP, OTHER)
    )
    if how == "missing":
        mine.unlink()
    elif how == "damaged":
        damage(mine, at=60)
    elif how == "of another":
        mine.write_bytes(other.read_bytes())
    else:
        root.unlink()
    found = verified(made)

    (lost,) = found.losses.objects
    assert lost.object == key_of(made, root if how == "no archive" else mine)
    assert (lost.ranges, found.is_complete) == ([(0, GIB)], True)
    assert lost.backups == ([OTHER] if how == "no archive" else [])
    assert len(messages(made)) == 1
    assert "lost" not in made.pack_states().values()


def test_a_damaged_index_loses_no_data(made: Bench) -> None:
    """It is told, but not to the user, and no later backup builds upon that pack."""
    pack = data_pack(made)
    damage(pack, at=-20)
    found = verified(made)

    (lost,) = found.losses.objects
    assert (lost.object, lost.bytes, found.blocks) == (key_of(made, pack), 0, 3)
    assert (made.backup()["fail_reason"], messages(made)) == (None, [])
    assert made.pack_states()[pack.name] == "lost"


def test_another_manifest_that_cannot_be_read_is_told(made: Bench) -> None:
    """What it needs is not known: it may be damaged, too."""
    backed_up(made, OTHER)
    damage(data_pack(made), at=BLOCK // 2)
    next(path for path in stored(made, "manifests") if path.name.startswith(OTHER)).unlink()
    found = verified(made)

    assert (found.losses.objects[0].backups, found.unread) == ([], [OTHER])


def test_only_a_whole_look_takes_a_bad_word_back(made: Bench) -> None:
    pack = data_pack(made)
    whole = pack.read_bytes()
    pack.unlink()
    verified(made, share=0.0)
    pack.write_bytes(whole)
    verified(made, share=0.0)
    after_some = made.backup()["fail_reason"]
    verified(made)

    assert f"{GIB} bytes: 0-{GIB - 1}." in after_some  # the map was in it
    assert made.backup()["fail_reason"] is None


def test_what_was_read_wrongly_once_is_not_damaged(tmp_path: Path) -> None:
    """A bit that flips on its way from the store: it is read again, and well."""
    with bench(tmp_path) as made:
        made.create_volume()
        write(made, seed=1)
        made.back_up()
        made.work()
        victim = max(made.objects.packs(), key=lambda pack: len(made.objects.objects[pack_key(ARCHIVE, pack)]))
        key = pack_key(ARCHIVE, victim)
        whole = made.objects.objects[key]
        reads: list[str] = []

        def flips(call: str, asked_key: str) -> bool:
            if call == "get" and asked_key == key:
                reads.append(key)
                # The index and the map come first, and are well.
                made.objects.objects[key] = bytes(len(whole)) if len(reads) == 3 else whole
            return False

        operation_id = asked(made)
        made.objects.away = flips
        made.work()

        assert len(reads) > 4
        assert not tally_of(made, operation_id).losses
        assert (made.backup()["fail_reason"], made.pack_states()[victim]) == (None, "live")


# --- whoever dies, waits or asks meanwhile ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("at", "after"), [(1, True), (2, False), (3, True), (4, True), (5, False), (6, True), (7, True)]
)
def test_a_verification_survives_its_nodes(tmp_path: Path, at: int, after: bool) -> None:
    """Whoever goes on counts nothing twice, and forgets nothing that was found."""
    with bench(tmp_path) as made:
        made.create_volume(size_gib=3)
        chance = random.Random(1)
        for number in range(3):
            made.write(number * GIB, chance.randbytes(BLOCK))
            if number < 2:
                made.write(number * GIB + 7 * BLOCK, chance.randbytes(BLOCK))
        made.back_up()
        made.work()
        victim = sorted((len(data), key) for key, data in made.objects.objects.items() if "/packs/" in key)[-1][1]
        bad = bytearray(made.objects.objects[victim])
        bad[BLOCK // 2] ^= 1
        made.objects.objects[victim] = bytes(bad)
        operation_id = asked(made)
        died = made.die(at=at, after=after)
        made.work()
        found = tally_of(made, operation_id)

    assert died or at > 6
    assert (found.segments, found.blocks, found.losses.bytes, found.is_complete) == (3, 4, BLOCK, True)
    assert len(found.losses.objects) == 1


def test_what_was_looked_at_is_not_looked_at_again(tmp_path: Path) -> None:
    with bench(tmp_path) as made:
        made.create_volume(size_gib=3)
        chance = random.Random(1)
        for number in range(3):
            made.write(number * GIB, chance.randbytes(BLOCK))
        made.back_up()
        made.work()
        operation_id = asked(made)
        made.die(at=3, after=True)  # the indexes and two segments are saved
        (row,) = made.base.rows(tables.operations)
        before = msgspec.json.decode(row["state_json"])["tally"]["segments"]
        made.objects.calls.clear()
        made.work()
        found = tally_of(made, operation_id)

    assert before == 2
    assert found.blocks == 3
    # The archive, the manifest, a map and its block.
    assert made.objects.calls["get"] == 4


def test_it_gives_way_to_what_waits_for_the_backup(tmp_path: Path) -> None:
    """A restore that is asked for in the middle does not wait for hours; what was found so far is told."""
    with bench(tmp_path) as made:
        made.create_volume(size_gib=2)
        for offset in (0, GIB):
            made.write(offset, random.Random(offset).randbytes(BLOCK))
        made.back_up()
        made.work()
        operation_id = asked(made)

        def restore_meanwhile(call: str, key: str) -> bool:
            if call == "get" and "/packs/" in key:
                made.objects.away = lambda call, key: False
                made.restore(to=VOLUME)
            return False

        made.objects.away = restore_meanwhile
        made.work()
        found = tally_of(made, operation_id)

        assert (found.is_complete, found.segments, found.packs > 0) == (False, 0, True)
        assert made.volume()["status"] == "available"
        made.check()


def test_volumes_are_made_of_a_backup_that_is_being_verified(made: Bench) -> None:
    """Both only read it."""
    operation_id = asked(made)
    made.work(during=lambda: made.restore(restoring=False))

    assert tally_of(made, operation_id).is_complete
    assert made.volume(NEW_VOLUME)["status"] == "available"


@pytest.mark.parametrize("is_away", [False, True])
def test_a_deletion_need_not_wait_for_it(made: Bench, monkeypatch: pytest.MonkeyPatch, is_away: bool) -> None:
    """Nor, by force, for a store that is away."""
    monkeypatch.setattr("breezeblock.work.archives.PAUSE_FIRST_S", 0.01)
    monkeypatch.setattr("breezeblock.work.archives.PATIENCE_S", 0.0)
    if is_away:
        (made.folder / "store").rename(made.folder / "unmounted")
    operation_id = asked(made)
    made.work(during=lambda: made.delete(force=True))

    assert not tally_of(made, operation_id).is_complete
    assert made.base.rows(tables.backups) == []
    assert made.base.problems() == []


def test_a_store_that_is_away_says_nothing_about_its_backups(made: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its filesystem is not mounted: everything seems to be missing, and nothing is lost."""
    monkeypatch.setattr("breezeblock.work.archives.PAUSE_FIRST_S", 0.01)
    monkeypatch.setattr("breezeblock.work.archives.PATIENCE_S", 0.0)
    store = made.folder / "store"
    operation_id = asked(made)
    states = made.pack_states()

    def unmounted() -> None:
        store.rename(made.folder / "unmounted")
        store.mkdir()
        asyncio.get_running_loop().call_later(0.1, mounted)

    def mounted() -> None:
        store.rmdir()
        (made.folder / "unmounted").rename(store)

    made.work(during=unmounted)

    assert not tally_of(made, operation_id).losses
    assert made.pack_states() == states


@pytest.mark.parametrize("unknown", [False, *rarely(True)])
def test_one_that_nobody_can_do_leaves_the_backup_alone(made: Bench, unknown: bool) -> None:
    operation_id = asked(made)
    made.park(unknown=unknown)
    found = made.base.run(verifications.latest, project_id="p1", most=5)[0]

    assert found.operation_id == operation_id
    assert (found.outcome, found.tally) == ("parked", None)
    assert (made.backup()["status"], made.backup()["fail_reason"]) == ("available", None)
    assert made.base.rows(tables.operations) == []


def test_what_cannot_be_verified_is_refused(made: Bench) -> None:
    made.base.run(backups.reset_status, origin=origin(), backup_id=BackupId(BACKUP), status="error")

    with pytest.raises(InvalidState, match="must be available to be verified"):
        asked(made)
    with pytest.raises(NotFound):
        asked(made, THIRD)


# --- restores around what is damaged ---------------------------------------------------------------------------------


def skip(made: Bench, value: str = "true") -> None:
    """As the backup's owner says it, by any client."""
    fields = {"metadata_json": msgspec.json.encode({restores.SKIP_KEY: value}).decode()}
    made.base.run(backup_edits.update_fields, origin=origin(), backup_id=BackupId(BACKUP), fields=fields)


def told(made: Bench, id_: str = NEW_VOLUME) -> str | None:
    found: str | None = msgspec.json.decode(made.volume(id_)["metadata_json"]).get(restores.LOST_KEY)
    return found


def test_a_damaged_restore_says_what_and_where_and_how_to_go_on(made: Bench) -> None:
    damage(data_pack(made), at=BLOCK // 2)
    skip(made, "no")

    assert restored(made)["status"] == "error"
    (text,) = messages(made)
    assert key_of(made, data_pack(made)) in text
    assert f"bytes 0 to {BLOCK} of the volume" in text
    assert f"`breezeblock backup restore {BACKUP} --skip-damaged`" in text
    assert f"{restores.SKIP_KEY}=true" in text


@pytest.mark.parametrize("restoring", [True, False])
def test_all_the_rest_is_restored_on_request(made: Bench, restoring: bool) -> None:
    """By a restore to a new volume, and by a volume that is created from the backup."""
    before = made.content()
    damage(data_pack(made), at=BLOCK // 2)
    skip(made, "True")
    volume = restored(made, restoring=restoring)

    assert (volume["status"], made.backup()["status"]) == ("available", "available")
    assert made.content(NEW_VOLUME) == {number: data for number, data in before.items() if number != 0}
    assert told(made) == f"{BLOCK} bytes: 0-{BLOCK - 1}"
    assert f"zeros, in {BLOCK} bytes: 0-{BLOCK - 1}." in messages(made)[0]
    done = next(row for row in made.base.rows(tables.operation_log) if row["kind"] == "create_from_backup")
    assert msgspec.json.decode(done["detail"], type=Losses).ranges() == [(0, BLOCK)]
    assert made.base.problems() == []


def test_an_existing_volume_has_zeros_where_the_backup_is_damaged(made: Bench) -> None:
    """And says so until something else is restored to it. An operator's word is enough."""
    before = made.content()
    pack = data_pack(made)
    whole = pack.read_bytes()
    damage(pack, at=BLOCK // 2)
    made.restore(to=VOLUME, skip_damaged=True)
    made.work()
    lost, content = told(made, VOLUME), made.content()
    pack.write_bytes(whole)
    made.restore(to=VOLUME)
    made.work()

    assert lost == f"{BLOCK} bytes: 0-{BLOCK - 1}"
    assert content == {number: data for number, data in before.items() if number != 0}
    assert (told(made, VOLUME), made.content()) == (None, before)
    assert made.volume()["metadata_json"] == "{}"


def test_a_backup_that_is_well_is_restored_whole_whatever_is_asked(made: Bench) -> None:
    before = made.content()
    skip(made)
    restored(made)

    assert made.content(NEW_VOLUME) == before
    assert (told(made), messages(made)) == (None, [])


def test_without_its_manifest_nothing_can_be_restored(made: Bench) -> None:
    (manifest,) = stored(made, "manifests")
    manifest.unlink()
    skip(made)

    assert restored(made)["status"] == "error"
    assert key_of(made, manifest) in messages(made)[0]
    assert "skip-damaged" not in messages(made)[0]


@pytest.fixture
def holed(made: Bench, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """More data, in a pack that is damaged at its beginning, in its middle and at its end. Restores save each piece."""
    monkeypatch.setattr("breezeblock.drivers.file.SAVE_EVERY_BYTES", 1)
    chance = random.Random(5)
    for number in range(1, 8):
        made.write(number * GIB // 8, chance.randbytes(BLOCK))
    made.delete()
    made.work()
    for path in stored(made, "packs"):
        path.unlink()
    made.base.run(lambda tx: tx.execute(tables.packs.delete()))
    backed_up(made)
    for position in HOLES:
        damage(data_pack(made), at=position * BLOCK + BLOCK // 2)
    skip(made)
    return made


def left_out(made: Bench) -> Losses:
    """As the operation's log says it."""
    done = next(row for row in made.base.rows(tables.operation_log) if row["kind"] == "create_from_backup")
    return msgspec.json.decode(done["detail"], type=Losses)


@pytest.mark.parametrize(
    ("at", "after"), [(3, True), (8, False), *rarely((2, False), (5, True), (9, True), (11, True))]
)
def test_what_is_left_out_is_told_whoever_dies(holed: Bench, at: int, after: bool) -> None:
    """The damage is before, between and behind what is saved: told once, all of it."""
    before = sorted(holed.content())
    holed.restore()
    died = holed.die(at=at, after=after)
    holed.work()

    lost = {before[position] for position in HOLES}
    assert died or at > 8
    assert [start // BLOCK for start, _ in left_out(holed).ranges()] == sorted(lost)
    assert left_out(holed).bytes == len(HOLES) * BLOCK
    assert holed.content(NEW_VOLUME).keys() == set(before) - lost


@pytest.mark.parametrize(("at", "passed"), [(7, (0, 3, 4)), *rarely((3, (0,)))])
def test_what_comes_back_meanwhile_is_restored(holed: Bench, at: int, passed: tuple[int, ...]) -> None:
    """Somebody mends the pack while the restore is with nobody: lost is what was passed by, and nothing else.

    In the second case all was read and told, and the object was not finished.
    """
    before = sorted(holed.content())
    holed.restore()
    assert holed.die(at=at, after=True)
    for position in HOLES:
        damage(data_pack(holed), at=position * BLOCK + BLOCK // 2)  # twice is not at all
    holed.work()

    lost = {start // BLOCK for start, _ in left_out(holed).ranges()}
    assert lost == {before[position] for position in passed}
    assert holed.content(NEW_VOLUME).keys() == set(before) - lost
