"""What a review has found, each as it was found: interleavings in which a backup was lost, mixed, or never ended."""

import dataclasses
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete
from tests.backup.bench import ARCHIVE, BACKUP, BLOCK, GIB, NEW_VOLUME, QUEUE, Bench, Died, bench, id_of
from tests.store.given import UNLIMITED, Base, origin

from breezeblock.backup.contract import StoreRefused, StoreUnavailable
from breezeblock.model.errors import Fenced, NotYet
from breezeblock.protocol import archives
from breezeblock.protocol.queue import Claim
from breezeblock.protocol.recovery import release_dead
from breezeblock.protocol.steps import Run
from breezeblock.resources import backup_records, garbage
from breezeblock.store import tables

OTHER, THIRD = id_of(4, 2), id_of(4, 3)


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Bench]:
    """A volume of 2 GiB, with data in both."""
    with bench(tmp_path) as one:
        one.create_volume(size_gib=2)
        for offset in (0, GIB):
            one.write(offset, random.Random(offset).randbytes(BLOCK))
        yield one


def backed_up(made: Bench, id_: str = BACKUP) -> str:
    made.back_up(id_)
    made.work()
    return str(made.backup(id_)["status"])


def test_nobody_builds_upon_a_pack_that_is_gone(made: Bench, tmp_path: Path) -> None:
    """A node remembers what is in packs. One that is not there any more ended in backups that could not be restored, all later
    ones too; now the first one that would share it finds that out, and the next one stores everything anew.
    """
    made.cache = tmp_path / "cache"
    made.cache.mkdir()
    assert backed_up(made) == "available"
    lost = min(made.objects.packs())
    del made.objects.objects[next(key for key in made.objects.objects if key.endswith(lost))]

    assert backed_up(made, OTHER) == "error"
    assert "are damaged" in made.backup(OTHER)["fail_reason"]
    assert made.pack_states()[lost] == archives.LOST
    assert backed_up(made, THIRD) == "available"
    made.restore(THIRD)
    made.work()
    assert made.content(NEW_VOLUME) == made.content()


def test_after_a_failover_all_of_a_volume_is_read_again(made: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The storage that is in use then may lag behind: half of one and half of the other was never on any."""
    made.back_up()
    for at in range(1, 12):
        if made.base.rows(tables.backup_segments):
            break
        made.die(at=at, after=True)
    assert {row["read_in"] for row in made.base.rows(tables.backup_segments)} == {0}
    for offset in (0, GIB):
        made.write(offset, b"old!" * (BLOCK // 4))
    claim = made.base.claim

    def failed_over(base: Base, *asked: Any) -> Claim:
        return dataclasses.replace(claim(*asked), generation=1, target="secondary")

    monkeypatch.setattr(Base, "claim", failed_over)
    made.work()
    monkeypatch.undo()
    made.restore()
    made.work()

    assert made.content(NEW_VOLUME) == made.content()


def test_a_segment_that_brings_down_each_node_is_given_up(made: Bench) -> None:
    """Each claim gets names for new packs before it dies: that is no progress."""

    def deadly(call: str, key: str) -> bool:
        if call == "put" and "/packs/" in key:
            raise Died
        return False

    made.back_up()
    made.objects.away = deadly
    attempts = []
    for _ in range(3):
        with pytest.raises(Died):
            made.work()
        made.base.change(tables.nodes, f"node-{made.nodes}", state="fenced")
        made.base.run(release_dead)
        attempts.append(made.base.rows(tables.operations)[0]["attempt"])

    assert attempts == [attempts[0], attempts[0] + 1, attempts[0] + 2]


def test_who_has_lost_an_operation_that_others_have_ended_is_fenced(made: Bench) -> None:
    """A failover revokes a backup's first claims; the last one ends, and a deletion: its row is gone when they look for it."""
    made.has_forged_rows = True  # rows that were never asked for are charged to nobody

    def vanish() -> None:
        for table in (tables.operation_locks, tables.operations, tables.backups):
            made.base.run(lambda tx, table=table: tx.execute(delete(table)))

    backed_up(made)
    made.delete()
    with pytest.raises(Fenced):
        made.work(during=vanish)


def test_who_publishes_a_backup_that_has_failed_since_is_fenced(made: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lost right before the last transaction. It has left its archive by then: nothing keeps what its manifest would name."""
    checkpoint = Run.checkpoint

    async def saved(self: Run[Any, Any], **said: Any) -> None:
        await checkpoint(self, **said)
        if "object_count" in said:
            (row,) = made.base.rows(tables.operations)
            made.base.change(tables.operations, row["id"], epoch=row["epoch"] + 1)
            made.base.run(archives.leave, backup_id=BACKUP)

    monkeypatch.setattr(Run, "checkpoint", saved)
    made.back_up()
    with pytest.raises(Fenced):
        made.work()

    assert made.backup()["manifest"] is None
    assert set(made.pack_states().values()) == {archives.DOOMED}


def test_a_forced_deletion_gives_up_on_a_store_that_is_gone(made: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without force it waits for the store."""
    monkeypatch.setattr("breezeblock.work.archives.PATIENCE_S", 0.01)
    backed_up(made)
    made.shelf = dataclasses.replace(made.shelf, objects=Gone())
    made.delete(force=True)
    made.work()

    assert made.base.rows(tables.backups) == []
    assert made.base.problems() == []


class Gone:
    """A store that will never answer again."""

    max_object_bytes = 1

    def __getattr__(self, name: str) -> Any:
        raise StoreUnavailable(f"{name}: nobody is there")


def test_a_store_that_holds_anything_is_not_begun_anew(made: Bench) -> None:
    """From the first pack on: a second node whose folder is not mounted would begin a second one there."""
    asked: list[bool] = []
    check = made.objects.check

    async def noting(*, known: bool = False) -> None:
        asked.append(known)
        await check(known=known)

    made.objects.check = noting  # type: ignore[method-assign]
    made.back_up()
    made.die(at=5, after=True)
    made.work()

    assert (asked[0], set(asked[1:])) == (False, {True})


def test_an_archive_is_collected_by_one_operation_at_a_time(made: Bench) -> None:
    backed_up(made)
    values: dict[str, Any] = {"where": QUEUE, "stores": ("default",)}
    begun = []
    for _ in range(2):
        made.base.change(tables.archives, ARCHIVE, collect_after_us=1)
        begun.append(made.base.run(garbage.begin_due, origin=origin(), **values))

    assert begun == [True, False]
    assert made.base.problems() == []


def test_an_import_that_has_adopted_its_backup_cannot_lose_it(made: Bench, tmp_path: Path) -> None:
    """Its node dies after that, and the store is full when the next one goes on: its packs became garbage."""
    backed_up(made)
    record = made.base.run(backup_records.export, backup_id=BACKUP, project_id=None)
    new = tmp_path / "new"
    new.mkdir()
    with bench(new) as later:
        later.objects = made.objects
        later.shelf = dataclasses.replace(later.shelf, objects=made.objects)
        later.create_volume()
        content = backup_records.read_record(record)
        later.base.run(backup_records.begin_import, origin=origin(), content=content, quota_defaults=UNLIMITED)
        at = 1
        while later.backup()["manifest"] is None:
            assert later.die(at=at, after=True)
            at += 1
        made.objects.away = lambda call, key: True
        later.work()
        made.objects.away = lambda call, key: False

        assert later.backup()["status"] == "available"
        later.restore()
        later.work()
        assert later.content(NEW_VOLUME) == made.content()


def test_a_store_that_is_full_still_lets_go(made: Bench) -> None:
    """Whether it can be written to is tried by who writes; a deletion and a collection do not."""
    backed_up(made)

    async def full(*, known: bool = False) -> None:
        raise StoreRefused("Backup store default has no space left.")

    made.objects.check = full  # type: ignore[method-assign]
    made.delete()
    made.work()
    assert made.base.rows(tables.backups) == []
    values: dict[str, Any] = {"where": QUEUE, "stores": ("default",)}
    for _ in range(2):
        made.base.change(tables.archives, ARCHIVE, collect_after_us=1)
        assert made.base.run(garbage.begin_due, origin=origin(), **values)
        made.work()

    assert made.objects.packs() == set()
    assert backed_up(made, OTHER) == "error"
    assert "no space left" in made.backup(OTHER)["fail_reason"]


def test_what_only_nodes_of_the_release_before_could_take_is_refused(made: Bench) -> None:
    """They would park it, and leave the volume as it was meanwhile: `backing-up`, for ever."""
    made.base.change(tables.nodes, f"node-{made.nodes}", kinds_json='{"create_volume": 1}')

    with pytest.raises(NotYet, match="newer release"):
        made.back_up()
    assert made.volume()["status"] == "available"

    made.base.node("new")
    made.back_up()
    assert made.volume()["status"] == "backing-up"


def test_a_copy_of_a_volume_in_use_is_never_gone_on_with(made: Bench) -> None:
    """What was copied before the crash is of another moment than what would be copied after it."""
    made.base.change(tables.volumes, made.volume()["id"], status="in-use")
    made.back_up(force=True)
    made.die(at=2, after=True)
    (row,) = made.base.rows(tables.operations)
    state = json.loads(row["state_json"])
    part = made.folder / "volumes" / BACKUP[:2] / f"{state['object']}.part"
    part.parent.mkdir(exist_ok=True)
    part.write_bytes(b"then" * (BLOCK // 4))
    made.base.change(tables.operations, row["id"], state_json=json.dumps(state | {"done_bytes": BLOCK}))
    made.work()
    made.restore()
    made.work()

    assert made.content(NEW_VOLUME) == made.content()
    assert made.backup()["status"] == "available"
