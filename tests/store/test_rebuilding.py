"""A database that is older than the storage, or empty: what each row becomes, and that nothing on storage is named again."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest
from sqlalchemy import delete
from tests.store.given import NOW_US, POOL, QUEUE, UNLIMITED, Base, create_snapshot, create_volume, origin
from tests.store.test_archives import ARCHIVE, Backups

from breezeblock.drivers.contract import ObjectName
from breezeblock.model.errors import InvalidState
from breezeblock.protocol import archives
from breezeblock.resources import rebuilding_database, volume_changes, volumes
from breezeblock.resources.rebuilding import ENDED, GIB, Item, Outcome, Owner, Shelf
from breezeblock.resources.rebuilding_backups import Chest, Kept
from breezeblock.resources.rebuilding_database import Stock
from breezeblock.store import tables

MINE = Owner("p9", "me")
FAR = "c@far"


@pytest.fixture
def base() -> Iterator[Base]:
    base = Base()
    base.node()
    base.pool()
    base.pool(f"{FAR}#far")
    yield base
    base.close()


def shelf(
    items: Mapping[str, int],
    *,
    at: str = QUEUE,
    half_made: Sequence[str] = (),
    accesses: Mapping[str, str | None] | None = None,
) -> Shelf:
    """A backend with whole objects by their name, and their lengths in GiB."""
    names = [ObjectName.parse(text) for text in (*items, *half_made, *(accesses or {}))]
    return Shelf(
        queue=at,
        pool=POOL if at == QUEUE else f"{at}#far",
        zone="nova",
        items=[Item(ObjectName.parse(text), at, gib * GIB) for text, gib in items.items()],
        highest={name.resource_id: name.seq for name in sorted(names, key=lambda one: one.seq)},
        accesses={ObjectName.parse(text).resource_id: (to, "host") for text, to in (accesses or {}).items()},
    )


def rebuild(
    base: Base,
    *shelves: Shelf,
    chests: Sequence[Chest] = (),
    owner: Owner | None = MINE,
    use: Sequence[str] = (),
    unread: Mapping[str, str] | None = None,
) -> Outcome:
    """The whole transaction, as the command makes it. Nothing contradicts itself after it."""

    named = {id_: (name, chests[0]) for id_, name in (unread or {}).items()}
    stock = Stock(shelves, chests, frozenset({"default"}), named)
    outcome: Outcome = base.run(
        rebuilding_database.rebuild, stock=stock, owner=owner, use=frozenset(use), now_us=NOW_US
    )
    assert base.problems() == []
    assert base.rows(tables.operations) == base.rows(tables.operation_locks) == []
    return outcome


def there(base: Base, id_: str = "v1", table: Any = tables.volumes) -> tuple[str, str | None, int]:
    row = base.row(table, id_)
    return row["status"], row["object_name"], row["size_gib"]


# --- work -------------------------------------------------------------------------------------------------------------


def test_what_was_under_way_has_ended_and_never_runs(base: Base) -> None:
    """A creation that ran again would publish an empty volume over what has been written to it since."""
    create_volume(base)
    (operation,) = base.rows(tables.operations)
    base.claim(operation["id"])

    rebuild(base, shelf({"v1.1.1": 1}))

    (logged,) = base.rows(tables.operation_log)
    assert (logged["outcome"], logged["detail"], logged["locks_json"]) == ("failed", ENDED, '[["v1",1,true]]')
    assert there(base) == ("available", "v1.1.1", 1)
    assert base.accounts()["volumes"] == base.accounts()["gigabytes"] == base.accounts()[POOL] == 1


# --- what a row becomes -----------------------------------------------------------------------------------------------


def prepare(base: Base, status: str, object_name: str | None) -> None:
    create_volume(base)
    base.run(lambda tx: [tx.execute(delete(one)) for one in (tables.operation_locks, tables.operations)])
    base.change(tables.volumes, "v1", status=status, object_name=object_name)


@pytest.mark.parametrize(
    ("status", "named", "items", "becomes"),
    [
        ("available", "v1.1.1", {"v1.1.1": 1}, ("available", "v1.1.1", 1)),
        ("available", "v1.1.1", {"v1.1.1": 4}, ("available", "v1.1.1", 4)),
        ("available", "v1.1.1", {"v1.5.2": 2}, ("available", "v1.5.2", 2)),
        ("available", "v1.1.1", {}, ("error", "v1.1.1", 1)),
        ("creating", None, {}, ("error", None, 1)),
        ("creating", None, {"v1.1.3": 1}, ("available", "v1.1.3", 1)),
        ("error", None, {"v1.1.1": 1}, ("available", "v1.1.1", 1)),
        ("error", "v1.1.1", {"v1.1.1": 1}, ("error", "v1.1.1", 1)),
        ("extending", "v1.1.1", {"v1.1.1": 3}, ("available", "v1.1.1", 3)),
        ("retyping", "v1.1.1", {"v1.1.1": 1}, ("available", "v1.1.1", 1)),
        ("deleting", "v1.1.1", {"v1.1.1": 1}, ("error_deleting", "v1.1.1", 1)),
        ("error_deleting", "v1.1.1", {}, ("error_deleting", "v1.1.1", 1)),
        ("maintenance", "v1.1.1", {"v1.1.1": 1}, ("maintenance", "v1.1.1", 1)),
    ],
)
def test_a_row_is_what_the_storage_has(
    base: Base, status: str, named: str | None, items: dict[str, int], becomes: tuple[str, str | None, int]
) -> None:
    prepare(base, status, named)

    rebuild(base, shelf(items), shelf({}, at=FAR))

    assert there(base) == becomes
    again = rebuild(base, shelf(items), shelf({}, at=FAR))
    assert (there(base), again.changed) == (becomes, [])


def test_what_was_being_deleted_and_is_not_there_is_gone(base: Base) -> None:
    prepare(base, "deleting", "v1.1.1")

    rebuild(base, shelf({}))

    assert base.rows(tables.volumes) == []
    assert base.accounts() == {}


def test_of_a_backend_that_was_not_looked_at_nothing_is_known(base: Base) -> None:
    """It may only be configured elsewhere."""
    prepare(base, "available", "v1.1.1")

    rebuild(base, shelf({}, at=FAR))

    assert there(base) == ("available", "v1.1.1", 1)


def test_a_volume_is_where_its_object_is(base: Base) -> None:
    """It was migrated after the dump."""
    prepare(base, "available", "v1.1.1")

    rebuild(base, shelf({}), shelf({"v1.4.1": 1}, at=FAR))

    assert there(base) == ("available", "v1.4.1", 1)
    assert base.accounts()[f"{FAR}#far"] == 1
    assert POOL not in base.accounts()


def test_among_several_nobody_guesses(base: Base) -> None:
    """A copy that could not be undone is whole as well, and so is what a migration has left: the newest may be stale."""
    prepare(base, "available", "v1.1.1")
    both = shelf({"v1.1.1": 1}), shelf({"v1.4.1": 1}, at=FAR)

    (undecided,) = rebuild(base, *both).undecided

    assert "v1.1.1 on c@b" in undecided
    assert "v1.4.1 on c@far" in undecided
    assert there(base) == ("error", "v1.1.1", 1)
    rebuild(base, *both, use=["v1.4.1"])
    assert base.row(tables.volumes, "v1")["object_name"] == "v1.4.1"
    assert base.row(tables.volumes, "v1")["op_seq"] > 4


def attached(base: Base, status: str, **values: Any) -> None:
    row = {"id": "a1", "volume_id": "v1", "project_id": "p1", "op_seq": 1, "created_at_us": NOW_US, "status": status}
    base.add(tables.attachments, **row, **values)


def test_who_has_a_volume_attached_keeps_it(base: Base) -> None:
    prepare(base, "in-use", "v1.1.1")
    attached(base, "attached", attach_mode="rw")
    base.change(tables.volumes, "v1", attach_status="attached")

    outcome = rebuild(base, shelf({"v1.1.1": 1}, accesses={"a1.7.1": "v1"}))

    assert there(base)[0] == "in-use"
    assert base.row(tables.attachments, "a1")["op_seq"] > 7
    assert outcome.undecided == []


@pytest.mark.parametrize("status", ["reserved", "attaching", "error_attaching", None])
def test_who_may_use_a_volume_keeps_others_out(base: Base, status: str | None) -> None:
    """The dump knows nobody, or nobody who is connected; the storage has let somebody in since."""
    prepare(base, "available", "v1.1.1")
    if status is not None:
        attached(base, status, operation_id="o1" if status == "attaching" else None)

    rebuild(base, shelf({"v1.1.1": 1}, accesses={"a1.7.1": "v1"}))

    row = base.row(tables.attachments, "a1")
    assert (row["status"], row["operation_id"], row["connector_json"] is None) == ("error_detaching", None, False)
    with pytest.raises(InvalidState, match="has attachments, or hosts are connected"):
        base.run(volumes.begin_delete, volume_id="v1", origin=origin(), cascade=False)


def test_an_access_to_nothing_that_is_known_is_told(base: Base) -> None:
    (told,) = rebuild(base, shelf({}, accesses={"a9.1.1": None})).undecided

    assert "a9" in told


# --- names ------------------------------------------------------------------------------------------------------------


def test_no_name_that_is_on_storage_is_given_again(base: Base) -> None:
    """Half-made things count, on whatever backend."""
    prepare(base, "available", "v1.1.1")

    rebuild(base, shelf({"v1.3.1": 1}), shelf({}, at=FAR, half_made=["v1.9.4"]))
    accepted = base.run(
        volume_changes.begin_extend, volume_id="v1", size_gib_new=2, origin=origin(), quota_defaults=UNLIMITED
    )

    assert accepted.queue == QUEUE
    (lock,) = base.rows(tables.operation_locks)
    assert lock["seq"] > 10


# --- what no row knows ------------------------------------------------------------------------------------------------


def test_an_object_that_no_row_knows_becomes_a_volume(base: Base) -> None:
    told = rebuild(base, shelf({"v7.3.1": 5}), owner=None)
    assert (len(told.undecided), base.rows(tables.volumes)) == (1, [])

    rebuild(base, shelf({"v7.3.1": 5}))

    assert there(base, "v7") == ("available", "v7.3.1", 5)
    row = base.row(tables.volumes, "v7")
    assert (row["project_id"], row["user_id"], row["op_seq"] > 3, row["attach_status"]) == (
        "p9",
        "me",
        True,
        "detached",
    )
    assert rebuild(base, shelf({"v7.3.1": 5})).changed == []


def test_what_was_deleted_is_not_given_to_anybody(base: Base) -> None:
    """Its row still stood in somebody's way when the dump was made. However often it is repeated."""
    prepare(base, "available", "v1.1.1")
    base.change(tables.volumes, "v1", tombstone=True)

    for _ in range(2):
        rebuild(base, shelf({"v1.1.1": 1}))

    assert there(base) == ("error_deleting", "v1.1.1", 1)
    assert base.row(tables.volumes, "v1")["project_id"] == "p1"
    base.change(tables.volumes, "v1", tombstone=True)
    rebuild(base, shelf({}))
    assert base.rows(tables.volumes) == []


def test_what_is_older_than_the_row_knows_is_left_over(base: Base) -> None:
    """From before a migration, say: alone it is not what the volume was, and beside that nobody has to decide."""
    prepare(base, "available", "v1.5.1")
    rebuild(base, shelf({"v1.5.1": 1}), shelf({"v1.1.1": 1}, at=FAR))
    assert there(base) == ("available", "v1.5.1", 1)

    for _ in range(2):  # what it was is still known when it is repeated
        (told,) = rebuild(base, shelf({}), shelf({"v1.1.1": 1}, at=FAR)).undecided

        assert "v1.1.1" in told
        assert there(base) == ("error", "v1.5.1", 1)


def test_nothing_is_moved_from_a_backend_that_was_not_looked_at(base: Base) -> None:
    prepare(base, "available", "v1.1.1")

    (told,) = rebuild(base, shelf({"v1.7.1": 1}, at=FAR)).undecided

    assert "v1.7.1" in told
    assert there(base) == ("available", "v1.1.1", 1)
    assert base.row(tables.volumes, "v1")["pool_name"] == POOL


@pytest.mark.parametrize("status", ["managing", "error_managing"])
def test_a_users_own_file_is_not_taken_for_ours(base: Base, status: str) -> None:
    """Deleting it would destroy what is to be given back."""
    prepare(base, status, None)
    base.change(tables.volumes, "v1", managed_from="my-file")

    (told,) = rebuild(base, shelf({"v1.1.1": 1})).undecided

    assert "my-file" in told and "v1.1.1" in told
    assert there(base) == ("error_managing", None, 1)
    assert base.row(tables.volumes, "v1")["managed_from"] == "my-file"


def test_an_operator_says_that_a_file_has_become_a_volume(base: Base) -> None:
    """Somebody may have it attached, under this id."""
    prepare(base, "managing", None)
    base.change(tables.volumes, "v1", managed_from="my-file")
    rebuild(base, shelf({"v1.1.1": 2}))

    assert rebuild(base, shelf({"v1.1.1": 2}), use=["v1.1.1"]).undecided == []

    assert there(base) == ("available", "v1.1.1", 2)
    assert base.row(tables.volumes, "v1")["managed_from"] is None


@pytest.mark.parametrize(("status", "becomes"), [("restoring-backup", "error_restoring"), ("reverting", "available")])
def test_who_asked_is_told_that_it_may_not_have_been_done(base: Base, status: str, becomes: str) -> None:
    create_volume(base)
    base.change(tables.volumes, "v1", status=status, object_name="v1.1.1")

    rebuild(base, shelf({"v1.1.1": 1}))

    assert there(base)[0] == becomes
    (message,) = base.rows(tables.messages)
    assert (message["resource_id"], message["user_message"]) == ("v1", ENDED)


def test_what_was_locked_while_it_moved_is_free_again(base: Base) -> None:
    prepare(base, "maintenance", "v1.1.1")
    base.change(tables.volumes, "v1", target_pool_name=f"{FAR}#far")

    rebuild(base, shelf({"v1.1.1": 1}), shelf({}, at=FAR))

    assert there(base)[0] == "available"


def test_a_snapshot_is_settled_with_its_volume(base: Base) -> None:
    prepare(base, "available", "v1.1.1")
    create_snapshot(base)

    rebuild(base, shelf({"v1.1.1": 1, "s1.1.1": 1}))

    assert there(base, "s1", tables.snapshots) == ("available", "s1.1.1", 1)
    assert base.accounts()["snapshots"] == 1


def test_a_volume_whose_snapshots_are_there_does_not_go(base: Base) -> None:
    prepare(base, "available", "v1.1.1")
    create_snapshot(base)
    base.change(tables.volumes, "v1", status="deleting")

    rebuild(base, shelf({"s1.1.1": 1}))

    assert there(base)[0] == "error"


# --- backups ----------------------------------------------------------------------------------------------------------


def kept(backup_id: str, *packs: str, seq: int = 1, project_id: str | None = "p1", missing: Sequence[str] = ()) -> Kept:
    manifest = f"{backup_id}.{seq}.1"
    return Kept(backup_id, manifest, packs, "v1", GIB, NOW_US, NOW_US, None, project_id, None, frozenset(missing))


def chest(*there: Kept, archive_id: str = ARCHIVE) -> Chest:
    return Chest("default", archive_id, "key-1", "default", QUEUE, there)


@pytest.fixture
def backups(base: Base) -> Backups:
    found = Backups.__new__(Backups)
    found.base, found.manifests, found.deleted = base, {}, []
    prepare(base, "available", "v1.1.1")
    found.made("b1", "k1", "k2")
    base.change(tables.backups, "b1", status="available", charged_gib=1)
    return found


def test_no_collection_takes_what_a_newer_backup_needs(base: Base, backups: Backups) -> None:
    """The dump has condemned a pack that a backup after it was built upon."""
    backups.delete("b1")
    backups.run(archives.begin_collection, archive_id=ARCHIVE)
    backups.settle(archives.LIVE)
    backups.manifests["b2.1.1"] = frozenset({"k2", "k3"})

    rebuild(base, shelf({"v1.1.1": 1}), chests=[chest(kept("b2", "k2", "k3"))])

    states = {row["id"]: row["state"] for row in base.rows(tables.packs)}
    assert states == {"k1": "condemned", "k2": "live", "k3": "live"}
    base.now_us += 2 * archives.COLLECT_AFTER_US
    assert "k2" not in backups.collect()
    assert base.row(tables.backups, "b2")["status"] == "available"
    assert base.accounts()["backups"] == 2


@pytest.mark.parametrize(
    ("status", "in_store", "becomes"),
    [
        ("available", True, "available"),
        ("available", False, "error"),
        ("creating", True, "available"),
        ("creating", False, "error"),
        ("restoring", True, "available"),
        ("deleting", True, "error_deleting"),
        ("deleting", False, None),
        ("error", True, "error"),
    ],
)
def test_a_backup_is_what_its_store_has(
    base: Base, backups: Backups, status: str, in_store: bool, becomes: str | None
) -> None:
    base.change(tables.backups, "b1", status=status)
    found = chest(*([kept("b1", "k1", "k2", seq=3)] if in_store else []))

    rebuild(base, shelf({"v1.1.1": 1}), chests=[found])

    assert [row["status"] for row in base.rows(tables.backups)] == ([] if becomes is None else [becomes])
    if becomes is not None:
        row = base.row(tables.backups, "b1")
        assert (row["manifest"], row["pin"]) == ("b1.3.1" if in_store else None, None)
        assert row["op_seq"] >= (3 if in_store else 0)
    assert rebuild(base, shelf({"v1.1.1": 1}), chests=[found]).changed == []


def test_a_manifest_that_cannot_be_read_keeps_its_packs(base: Base, backups: Backups) -> None:
    """It may be mended: until its backup is deleted no collection goes past it."""
    rebuild(base, shelf({"v1.1.1": 1}), chests=[chest()], unread={"b1": "b1.1.1"})

    row = base.row(tables.backups, "b1")
    assert (row["status"], row["manifest"]) == ("error", "b1.1.1")


def test_a_manifest_of_nobody_that_cannot_be_read_keeps_what_it_needs(base: Base, backups: Backups) -> None:
    """A backup after the dump: what it needs would be garbage for a collection that does not know of it."""
    for _ in range(2):
        outcome = rebuild(base, shelf({"v1.1.1": 1}), chests=[chest(kept("b1", "k1", "k2"))], unread={"b2": "b2.4.1"})

        row = base.row(tables.backups, "b2")
        assert (row["status"], row["manifest"], row["archive_id"], row["op_seq"] > 4) == (
            "error",
            "b2.4.1",
            ARCHIVE,
            True,
        )
        assert ["b2.4.1" in one for one in outcome.undecided] == [True]
    assert "b2.4.1" in backups.picture().manifests


@pytest.mark.parametrize("knows", [True, False])
def test_a_hollow_backup_is_no_whole_one(base: Base, backups: Backups, knows: bool) -> None:
    """Else a policy would count on it, and delete those that are whole."""
    if knows:
        backups.begin("b2")
    found = chest(kept("b1", "k1", "k2"), kept("b2", "k2", "k3", missing=["k3"]))

    outcome = rebuild(base, shelf({"v1.1.1": 1}), chests=[found])

    assert base.row(tables.backups, "b2")["status"] == "error"
    assert base.row(tables.packs, "k3")["state"] == "lost"
    assert len(outcome.undecided) == 1


def test_what_was_uploaded_for_nothing_is_garbage(base: Base, backups: Backups) -> None:
    backups.begin("b2")
    backups.allot("b2", "k8")

    rebuild(base, shelf({"v1.1.1": 1}), chests=[chest(kept("b1", "k1", "k2"))])

    assert base.row(tables.packs, "k8")["state"] == "doomed"
    assert base.row(tables.backups, "b2")["pin"] is None


@pytest.mark.parametrize(
    ("status", "becomes"), [("restoring", "available"), ("deleting", "error_deleting"), ("creating", "error")]
)
def test_nothing_is_stuck_in_a_store_that_was_not_looked_at(
    base: Base, backups: Backups, status: str, becomes: str
) -> None:
    base.change(tables.backups, "b1", status=status, store="elsewhere")
    if status == "creating":
        base.change(tables.backups, "b1", manifest=None)

    rebuild(base, shelf({"v1.1.1": 1}))

    assert base.row(tables.backups, "b1")["status"] == becomes


def test_an_archive_is_its_projects_again(base: Base) -> None:
    """Out of the stores alone; and a second one of the same project is told, and left as it is."""
    other = chest(kept("b3", "k3"), archive_id="archive-2")

    outcome = rebuild(base, shelf({}), chests=[chest(kept("b2", "k2")), other])

    (row,) = base.rows(tables.archives)
    assert (row["id"], row["project_id"], row["key_check"]) == (ARCHIVE, "p1", "key-1")
    assert [row["id"] for row in base.rows(tables.backups)] == ["b2"]
    assert ["archive-2" in one for one in outcome.undecided] == [True]


def test_an_archive_that_names_nobody_is_the_operators(base: Base) -> None:
    nobodys = chest(kept("b2", "k2", project_id=None))
    assert len(rebuild(base, chests=[nobodys], owner=None).undecided) == 1

    rebuild(base, chests=[nobodys])

    assert base.row(tables.backups, "b2")["project_id"] == "p9"


def test_an_archive_without_backups_is_nobodys(base: Base) -> None:
    """It would keep the project's real one out."""
    rebuild(base, chests=[chest(), chest(kept("b2", "k2", project_id="p9"), archive_id="archive-2")])

    assert [(row["id"], row["project_id"]) for row in base.rows(tables.archives)] == [("archive-2", "p9")]


def test_a_copy_that_a_backup_was_made_of_is_no_volume(base: Base) -> None:
    rebuild(base, shelf({"b2.1.1": 1}), chests=[chest(kept("b2", "k2"))])

    assert base.rows(tables.volumes) == []
    assert base.row(tables.backups, "b2")["op_seq"] >= 1


# --- a backend that is served from elsewhere since ----------------------------------------------------------------------


def served_from(target: str, items: Mapping[str, int]) -> Shelf:
    return shelf(items)._replace(replicates=True, target=target)


def of_backend(base: Base) -> tuple[str | None, str]:
    (row,) = base.rows(tables.backends)
    return row["active_backend_id"], row["replication_status"]


def side(base: Base, id_: str = "v1", table: Any = tables.volumes) -> tuple[str, str | None, str | None]:
    row = base.row(table, id_)
    return row["status"], row["object_name"], row["replication_status"]


AWAY = {"replication_status": "not-capable"}


def test_what_is_on_the_target_is_what_it_was(base: Base) -> None:
    """An operator says that the storage has failed over since the dump: that is what the database says then."""
    prepare(base, "available", "v1.1.1")

    rebuild(base, served_from("far", {"v1.1.1": 1}))

    assert side(base) == ("available", "v1.1.1", None)
    assert of_backend(base) == ("far", "failed-over")


def test_what_is_not_on_the_target_waits_for_the_other_side(base: Base) -> None:
    """And is found when the backend is back there, by its old name; it is charged all the while."""
    prepare(base, "available", "v1.1.1")

    told = rebuild(base, served_from("far", {}))
    behind = side(base)
    charged = base.accounts()
    rebuild(base, served_from("default", {"v1.1.1": 1}))

    assert behind == ("error", "v1.1.1", "not-capable")
    assert told.undecided == [] and any("is not on this side, and waits for v1.1.1" in line for line in told.changed)
    assert (charged["volumes"], charged["gigabytes"]) == (1, 1)
    assert side(base) == ("available", "v1.1.1", None)
    assert of_backend(base) == (None, "enabled")


def test_what_the_dump_knew_as_left_behind_is_found_on_the_side_that_is_told(base: Base) -> None:
    """In a dump of the time of a failover, after which the backend was failed back."""
    prepare(base, "available", "v1.1.1")
    base.change(tables.volumes, "v1", status="error", previous_status="available", **AWAY)

    rebuild(base, served_from("default", {"v1.1.1": 1}))

    assert side(base) == ("available", "v1.1.1", None)


def test_without_a_word_it_stays_left_behind(base: Base) -> None:
    prepare(base, "available", "v1.1.1")
    base.change(tables.volumes, "v1", status="error", previous_status="available", **AWAY)

    rebuild(base, shelf({}))

    assert side(base) == ("error", "v1.1.1", "not-capable")


@pytest.mark.parametrize("status", ["creating", "deleting", "extending", "error"])
def test_nothing_is_promised_of_what_was_not_whole(base: Base, status: str) -> None:
    """It is an operator's to look at, also when the other side is back."""
    prepare(base, status, "v1.1.1")
    base.change(tables.volumes, "v1", previous_status="available")

    rebuild(base, served_from("far", {}))
    behind = side(base)
    rebuild(base, served_from("default", {"v1.1.1": 1}))

    assert behind == ("error", "v1.1.1", "not-capable")
    assert side(base) == ("error", "v1.1.1", None)


@pytest.mark.parametrize("items", [{"v1.1.1": 1}, {}], ids=["here", "away"])
def test_a_repeat_of_what_was_told_finds_nothing_to_change(base: Base, items: dict[str, int]) -> None:
    """Nor does it forget what a volume was that waits."""
    prepare(base, "available", "v1.1.1")
    rebuild(base, served_from("far", items))
    repeated = rebuild(base, served_from("far", items))
    rebuild(base, served_from("default", {"v1.1.1": 1}))

    assert repeated.changed == []
    assert side(base) == ("available", "v1.1.1", None)


def test_what_never_had_an_object_is_not_looked_for_elsewhere(base: Base) -> None:
    prepare(base, "creating", None)

    rebuild(base, served_from("far", {}))

    assert side(base) == ("error", None, None)


def test_other_backends_are_left_alone(base: Base) -> None:
    """One is told of; what is missing on another is missing."""
    prepare(base, "available", "v1.1.1")

    rebuild(base, shelf({}), shelf({}, at=FAR)._replace(replicates=True, target="far"))

    assert side(base) == ("error", "v1.1.1", None)


STALE = [({"v1.1.1": 1}, {}), ({}, {"v1.1.1": 1})]


@pytest.mark.parametrize(("own", "far"), STALE, ids=["older", "elsewhere"])
def test_what_is_left_over_is_not_the_object_that_waits(base: Base, own: dict[str, int], far: dict[str, int]) -> None:
    """A volume that waits for the other side was neither lost, nor is it what it was before a migration."""
    prepare(base, "available", "v1.5.1")

    for _ in range(2):  # nor does a repeat forget that it waits
        told = rebuild(base, served_from("dr", own), shelf(far, at=FAR))

        assert side(base) == ("error", "v1.5.1", "not-capable")
        assert told.undecided == []
    assert told.changed == []
    rebuild(base, served_from("default", {"v1.5.1": 1} | own), shelf(far, at=FAR))
    assert side(base) == ("available", "v1.5.1", None)


def test_what_may_have_been_moved_to_another_backend_is_told(base: Base) -> None:
    """By a migration after the dump, of which nobody knows whether it was undone: an operator says which it is."""
    prepare(base, "available", "v1.1.1")
    shelves = served_from("dr", {}), shelf({"v1.5.1": 1}, at=FAR)

    (told,) = rebuild(base, *shelves).undecided
    behind = side(base)
    rebuild(base, *shelves, use=["v1.5.1"])

    assert "v1.5.1 on c@far" in told and "--use" in told
    assert behind == ("error", "v1.1.1", "not-capable")
    assert side(base) == ("available", "v1.5.1", None)


@pytest.mark.parametrize("items", [{"v1.1.1": 1, "s1.1.1": 1}, {}], ids=["there", "away"])
def test_what_was_deleted_waits_for_the_other_side_too(base: Base, items: dict[str, int]) -> None:
    """Else it is nobody's when its backend is back there, and with --project somebody's."""
    prepare(base, "available", "v1.1.1")
    create_snapshot(base)
    for table, id_ in ((tables.volumes, "v1"), (tables.snapshots, "s1")):
        base.change(table, id_, tombstone=True, object_name=f"{id_}.1.1", pool_name=POOL)

    rebuild(base, served_from("dr", {}))
    behind = side(base), side(base, "s1", tables.snapshots)
    repeated = rebuild(base, served_from("dr", {}))
    rebuild(base, served_from("default", items))

    waits = None if items else "not-capable"
    assert behind == (("error_deleting", "v1.1.1", "not-capable"), ("error_deleting", "s1.1.1", "not-capable"))
    assert repeated.changed == []
    assert side(base) == ("error_deleting", "v1.1.1", waits)
    assert side(base, "s1", tables.snapshots) == ("error_deleting", "s1.1.1", waits)
    assert [row["project_id"] for row in base.rows(tables.volumes)] == ["p1"]


@pytest.mark.parametrize("values", [{"object_name": None}, {"pool_name": f"{FAR}#far"}], ids=["nothing", "elsewhere"])
def test_what_was_deleted_for_certain_is_gone(base: Base, values: dict[str, Any]) -> None:
    prepare(base, "available", "v1.1.1")
    base.change(tables.volumes, "v1", tombstone=True, **values)

    rebuild(base, served_from("dr", {}), shelf({}, at=FAR))

    assert base.rows(tables.volumes) == []


# --- what is found by a later run only -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "becomes"),
    [
        ("available", "available"),
        ("maintenance", "maintenance"),
        ("extending", "available"),
        ("reserved", "available"),
        ("restoring-backup", "error_restoring"),
        ("awaiting-transfer", "available"),
        ("error", "error"),
    ],
)
def test_what_is_found_later_is_what_it_was(base: Base, status: str, becomes: str) -> None:
    """The first run was made before the storage was whole. What an `error` was before that is its operator's."""
    prepare(base, status, "v1.1.1")
    base.change(tables.volumes, "v1", previous_status="available")

    for _ in range(2):
        lost = rebuild(base, shelf({}))
        assert there(base) == ("error", "v1.1.1", 1)
    found = rebuild(base, shelf({"v1.1.1": 1}))

    assert lost.changed == []
    assert there(base) == (becomes, "v1.1.1", 1)
    assert found.changed == ([] if becomes == "error" else [f"Volume v1 was error and is {becomes}."])
    assert rebuild(base, shelf({"v1.1.1": 1})).changed == []


def test_what_somebody_has_set_since_is_not_undone(base: Base) -> None:
    prepare(base, "available", "v1.1.1")
    rebuild(base, shelf({}))
    for status in ("error_deleting", "error"):
        base.run(lambda tx, to=status: volume_changes.RESET.apply(tx, "v1", status=to, now_us=NOW_US))

    rebuild(base, shelf({"v1.1.1": 1}))

    assert there(base) == ("error", "v1.1.1", 1)


@pytest.mark.parametrize("status", ["in-use", "available"])
def test_what_is_found_later_is_what_its_attachments_say(base: Base, status: str) -> None:
    prepare(base, status, "v1.1.1")
    attached(base, "attached", attach_mode="rw")
    base.change(tables.volumes, "v1", attach_status="attached")
    rebuild(base, shelf({}))
    assert there(base)[0] == "error"

    rebuild(base, shelf({"v1.1.1": 1}, accesses={"a1.1.1": "v1"}))

    assert there(base) == ("in-use", "v1.1.1", 1)


def test_a_snapshot_is_found_later_too(base: Base) -> None:
    prepare(base, "available", "v1.1.1")
    create_snapshot(base)
    base.change(tables.snapshots, "s1", status="available", object_name="s1.1.1")
    rebuild(base, shelf({"v1.1.1": 1}))
    assert there(base, "s1", tables.snapshots)[0] == "error"

    rebuild(base, shelf({"v1.1.1": 1, "s1.1.1": 1}))

    assert there(base, "s1", tables.snapshots) == ("available", "s1.1.1", 1)


def test_what_an_operator_has_chosen_is_what_it_was(base: Base) -> None:
    prepare(base, "available", "v1.1.1")
    both = shelf({"v1.1.1": 1}), shelf({"v1.4.1": 1}, at=FAR)
    rebuild(base, *both)

    rebuild(base, *both, use=["v1.4.1"])

    assert there(base) == ("available", "v1.4.1", 1)


@pytest.mark.parametrize("status", ["available", "in-use"])
def test_a_target_that_was_forgotten_at_first_is_no_loss(base: Base, status: str) -> None:
    """Told of by a second run, it is the other side that has what is not there, and a third finds it."""
    prepare(base, status, "v1.1.1")
    if status == "in-use":
        attached(base, "attached", attach_mode="rw")
        base.change(tables.volumes, "v1", attach_status="attached")

    rebuild(base, shelf({}))
    rebuild(base, served_from("dr", {}))
    behind = side(base), base.row(tables.volumes, "v1")["previous_status"]
    rebuild(base, served_from("default", {"v1.1.1": 1}))

    assert behind == (("error", "v1.1.1", "not-capable"), status)
    assert side(base) == (status, "v1.1.1", None)
