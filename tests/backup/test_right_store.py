"""Nothing is written with another key than an archive was begun with, nor to another store than that of its backups."""

import dataclasses
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.backup.bench import ARCHIVE, BACKUP, BLOCK, NEW_VOLUME, Bench, Died, bench, id_of

from breezeblock.backup.engine import root_key
from breezeblock.protocol import archives
from breezeblock.store import tables
from breezeblock.work import archives as work

OTHER, THIRD = id_of(4, 2), id_of(4, 3)
ANOTHERS = id_of(5, 2)
KEY, WRONG = bytes(range(32)), bytes(32)


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """A volume with a block of data, and nodes that have a key and ask a store again at once."""
    monkeypatch.setattr(work, "PAUSE_FIRST_S", 0.001)
    with bench(tmp_path) as one:
        one.create_volume()
        one.write(0, random.Random(1).randbytes(BLOCK))
        use(one, KEY)
        yield one


def use(made: Bench, key: bytes | None) -> None:
    """Nodes have that key from now on."""
    made.shelf = dataclasses.replace(made.shelf, read_key=lambda: key)


def begun(made: Bench) -> None:
    """A backup whose node has entered the archive, and died before it has touched the store."""

    def deadly(call: str, key: str) -> bool:
        raise Died

    made.back_up()
    made.objects.away = deadly
    assert made.die(at=0, after=False)
    made.objects.away = lambda call, key: False
    assert made.base.rows(tables.archives)
    made.objects.calls.clear()


def ended(made: Bench, id_: str = BACKUP) -> str:
    made.back_up(id_)
    made.work()
    return str(made.backup(id_)["status"])


@pytest.mark.parametrize("other", [WRONG, None], ids=["another key", "no key"])
def test_who_has_another_key_writes_nothing(made: Bench, other: bytes | None) -> None:
    """The first node has only entered: the store has nothing yet that could tell its key."""
    begun(made)
    use(made, other)
    made.work()

    assert made.backup()["status"] == "error"
    assert "another key" in made.backup()["fail_reason"]
    assert (made.objects.objects, made.objects.calls.get("check")) == ({}, None)
    use(made, KEY)
    assert ended(made, OTHER) == "available"


@pytest.mark.parametrize("stored", [True, False])
def test_the_key_of_an_archive_of_an_older_release_is_what_its_store_says(made: Bench, stored: bool) -> None:
    """Or, where nothing is stored yet, that of whoever is first."""
    if stored:
        assert ended(made, THIRD) == "available"
    begun(made)
    assert (root_key(ARCHIVE) in made.objects.objects) is stored
    (kept,) = [row["key_check"] for row in made.base.rows(tables.archives)]
    made.base.change(tables.archives, ARCHIVE, key_check=None)
    made.work()

    assert ended(made, OTHER) == "available"
    assert [row["key_check"] for row in made.base.rows(tables.archives)] == [kept]


def test_who_has_another_key_says_nothing_about_an_archive_of_an_older_release(made: Bench) -> None:
    assert ended(made) == "available"
    made.base.change(tables.archives, ARCHIVE, key_check=None)
    use(made, WRONG)

    assert ended(made, OTHER) == "error"
    assert [row["key_check"] for row in made.base.rows(tables.archives)] == [None]


def mounted_again(made: Bench, *, asked: int) -> dict[str, bytes]:
    """Another store is there until so many roots of archives were looked for. What that one has, which is written to."""
    right, wrong = made.objects.objects, {root_key(id_of(5, 9)): b"{}"}
    left = asked

    def away(call: str, key: str) -> bool:
        nonlocal left
        if key.endswith("archive.json"):
            left -= 1
        if not left:
            made.objects.objects = right
        return False

    made.objects.objects = wrong
    made.objects.away = away
    return wrong


def test_a_backup_waits_while_another_store_is_in_its_place(made: Bench) -> None:
    """Written to it, the archive would be in two places, and all its packs would count as lost."""
    assert ended(made) == "available"
    wrong = mounted_again(made, asked=7)

    assert ended(made, OTHER) == "available"
    assert list(wrong) == [root_key(id_of(5, 9))]
    assert "lost" not in made.pack_states().values()
    made.check()


def test_the_first_backup_of_a_project_waits_while_another_store_is_there(made: Bench) -> None:
    """The archives of others say which store it is."""
    made.has_forged_rows = True  # rows that were never asked for are charged to nobody
    of_another = {"project_id": "p2", "store": "default", "created_at_us": 1}
    made.base.add(tables.archives, id=ANOTHERS, **of_another)
    made.base.add(
        tables.backups, id=THIRD, user_id="u2", volume_id=id_of(1, 9), status="available", size_gib=1,
        archive_id=ANOTHERS, manifest=f"{THIRD}.1.1", **of_another,
    )  # fmt: skip
    made.objects.objects[root_key(ANOTHERS)] = b"{}"
    wrong = mounted_again(made, asked=7)

    assert ended(made) == "available"
    assert list(wrong) == [root_key(id_of(5, 9))]
    assert len(made.objects.packs()) == 1


def test_a_deletion_waits_while_another_store_is_in_its_place(made: Bench) -> None:
    """Its manifest would stay where nobody looks for it any more."""
    assert ended(made) == "available"
    mounted_again(made, asked=4)
    made.delete()
    made.work()

    assert (made.manifests(), made.base.rows(tables.backups)) == (set(), [])
    made.check()


def test_a_store_whose_backups_are_all_deleted_may_be_begun_anew(made: Bench) -> None:
    """By force, since it is gone for good."""
    assert ended(made) == "available"
    made.objects.objects = {}
    made.delete(force=True)
    made.work()

    assert ended(made, OTHER) == "available"
    before = made.content()
    made.restore(OTHER)
    made.work()
    assert made.content(NEW_VOLUME) == before


def test_an_archive_is_its_own_witness_where_it_has_backups(made: Bench) -> None:
    assert made.base.run(archives.said, store="default", archive_id=ARCHIVE).witness is None
    assert ended(made) == "available"

    said = made.base.run(archives.said, store="default", archive_id=ARCHIVE)
    assert (said.witness, made.base.run(archives.said, store="elsewhere", archive_id=ARCHIVE).witness) == (
        ARCHIVE,
        None,
    )
