"""Packs: who may use them, and that no collection takes what a backup needs and leaves what none does."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.databases import urls
from tests.store.given import NOW_US, Base

from breezeblock.model.errors import BackendFailed
from breezeblock.protocol import archives
from breezeblock.protocol.archives import CONDEMNED, LIVE, Outdated, Picture
from breezeblock.store import tables

ARCHIVE = "archive-1"
DAY_US = 24 * 3600 * 1_000_000


class Backups:
    """Backups of one project in one store, their manifests, and a collector's eye for them."""

    def __init__(self) -> None:
        self.base = Base()
        self.manifests: dict[str, frozenset[str]] = {}
        self.deleted: list[str] = []

    @property
    def now_us(self) -> int:
        """By the database's clock: the nodes' own say nothing."""
        return self.base.now_us

    @now_us.setter
    def now_us(self, now_us: int) -> None:
        self.base.now_us = now_us

    def run(self, f: Callable[..., Any], **values: Any) -> Any:
        return self.base.run(f, **values)

    def begin(self, name: str, *, enters: bool = True) -> str:
        row = {
            "id": name, "project_id": "p1", "user_id": "u1", "volume_id": "v1", "status": "creating", "size_gib": 1,
            "store": "default", "created_at_us": NOW_US,
        }  # fmt: skip
        self.base.add(tables.backups, **row)
        if enters:
            self.enter(name)
        return name

    def enter(self, name: str) -> str:
        values = {"store": "default", "project_id": "p1", "archive_id": ARCHIVE}
        entered: str = self.run(archives.enter, backup_id=name, **values, key_check="key-1", now_us=self.now_us)
        return entered

    def allot(self, backup: str, *packs: str) -> None:
        self.run(archives.allot, archive_id=ARCHIVE, backup_id=backup, ids=packs, now_us=self.now_us)

    def usable(self, backup: str) -> set[str]:
        return set(self.run(archives.usable, archive_id=ARCHIVE, backup_id=backup))

    def publish(self, backup: str, *named: str) -> str:
        manifest = f"{backup}.1.1"
        self.manifests[manifest] = frozenset(named)
        values = {"manifest": manifest, "named": frozenset(named)}
        published: str = self.run(archives.publish, backup_id=backup, **values)
        return published

    def made(self, backup: str, *own: str, shares: tuple[str, ...] = ()) -> str:
        """One that is published, with packs of its own."""
        self.begin(backup)
        self.allot(backup, *own)
        self.publish(backup, *own, *shares)
        return backup

    def leave(self, backup: str) -> None:
        self.run(archives.leave, backup_id=backup)

    def delete(self, backup: str) -> None:
        self.run(archives.unpublish, backup_id=backup)

    def picture(self) -> Picture:
        found: Picture = self.run(archives.picture, archive_id=ARCHIVE)
        return found

    def named(self, picture: Picture) -> frozenset[str]:
        return frozenset().union(*(self.manifests[name] for name in picture.manifests))

    def settle(self, state: str, picture: Picture | None = None) -> archives.Settled:
        picture = picture or self.picture()
        named = self.named(picture)
        settled: archives.Settled = self.run(
            archives.settle, archive_id=ARCHIVE, publications=picture.publications, named=named, state=state
        )
        return settled

    def sweep(self) -> list[str]:
        ids: list[str] = self.run(archives.to_sweep, archive_id=ARCHIVE)
        self.deleted += ids
        self.run(archives.note_swept, archive_id=ARCHIVE, ids=ids)
        return ids

    def collect(self) -> list[str]:
        """A whole collection. What it swept."""
        self.run(archives.begin_collection, archive_id=ARCHIVE)
        self.settle(CONDEMNED)
        self.settle(LIVE)
        swept = self.sweep()
        self.run(archives.end_collection, archive_id=ARCHIVE)
        return swept

    def states(self) -> dict[str, str]:
        return {row["id"]: row["state"] for row in self.base.rows(tables.packs)}

    def due_us(self) -> int | None:
        due: int | None = self.base.row(tables.archives, ARCHIVE)["collect_after_us"]
        return due


@pytest.fixture
def backups() -> Iterator[Backups]:
    backups = Backups()
    yield backups
    backups.base.close()


# --- backups ----------------------------------------------------------------------------------------------------------


def test_the_first_backup_of_a_project_makes_its_archive_and_the_next_one_finds_it(backups: Backups) -> None:
    backups.begin("b1")
    backups.begin("b2", enters=False)
    other = {"store": "default", "project_id": "p1", "archive_id": "archive-2", "key_check": "key-2", "now_us": NOW_US}

    assert backups.run(archives.enter, backup_id="b2", **other) == ARCHIVE
    assert [(row["id"], row["key_check"]) for row in backups.base.rows(tables.archives)] == [(ARCHIVE, "key-1")]


def test_a_backup_may_use_live_packs_and_its_own(backups: Backups) -> None:
    """Those of one that is under way beside it may never come to be."""
    backups.made("b1", "p1")
    backups.begin("b2")
    backups.allot("b2", "p2")
    backups.begin("b3")
    backups.allot("b3", "p3")

    assert backups.usable("b2") == {"p1", "p2"}


def test_a_backup_that_is_published_keeps_what_it_names_of_its_own(backups: Backups) -> None:
    backups.begin("b1")
    backups.allot("b1", "p1", "p2")
    backups.publish("b1", "p1")

    assert backups.states() == {"p1": "live", "p2": "doomed"}
    assert backups.base.row(tables.backups, "b1")["pin"] is None


def test_a_backup_of_many_packs_is_published_as_a_whole(backups: Backups, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are looked at some at a time, beside those of another backup that is under way."""
    monkeypatch.setattr(archives, "DECIDED_MOST", 2)
    monkeypatch.setattr(archives, "_OWN", archives._OWN.limit(2))
    monkeypatch.setattr(archives, "AT_ONCE", 2)
    backups.begin("b1")
    backups.begin("b2")
    backups.allot("b2", "p00", "p04", "p99")
    own = [f"p{number:02}" for number in (1, 2, 3, 5, 6, 7)]
    backups.allot("b1", *own)
    backups.publish("b1", *own[1:])

    states = backups.states()
    assert {states[pack] for pack in own[1:]} == {"live"}
    assert (states["p01"], states["p00"], states["p04"], states["p99"]) == ("doomed", "pending", "pending", "pending")


def test_a_backup_is_published_once(backups: Backups) -> None:
    """By whom it was first: a repeat, or a later claim, learns the name that it has."""
    backups.begin("b1")
    backups.allot("b1", "p1")
    backups.publish("b1", "p1")
    later = {"manifest": "b1.1.2", "named": frozenset(["p1"])}

    assert backups.run(archives.publish, backup_id="b1", **later) == "b1.1.1"
    assert backups.picture().publications == 1


def test_a_manifest_that_needs_what_is_gone_is_refused(backups: Backups) -> None:
    backups.begin("b1")
    backups.allot("b1", "p1")

    with pytest.raises(BackendFailed, match="needs 1 packs"):
        backups.publish("b1", "p1", "lost")
    assert backups.states() == {"p1": "pending"}


def test_a_backup_that_gives_up_leaves_nothing(backups: Backups) -> None:
    """Also when it says so twice; and one that has never entered has nothing to leave."""
    backups.begin("b1")
    backups.allot("b1", "p1")
    backups.begin("b2", enters=False)
    for backup in ("b1", "b1", "b2"):
        backups.leave(backup)

    assert (backups.states(), backups.base.row(tables.backups, "b1")["pin"]) == ({"p1": "doomed"}, None)


def test_whoever_goes_on_with_a_backup_keeps_its_pin(backups: Backups) -> None:
    """What was found before the crash was found under that one."""
    backups.begin("b1")
    pin = backups.base.row(tables.backups, "b1")["pin"]
    backups.made("b2", "p2")
    backups.enter("b1")

    assert backups.base.row(tables.backups, "b1")["pin"] == pin


# --- the collection ---------------------------------------------------------------------------------------------------


def test_what_no_backup_names_goes_in_two_collections(backups: Backups) -> None:
    """The first one condemns, the second one deletes; what is named stays."""
    backups.made("b1", "p1", "p2")
    backups.made("b2", "p3", shares=("p2",))
    backups.delete("b1")

    assert [backups.collect(), backups.collect(), backups.collect()] == [[], ["p1"], []]
    assert backups.states() == {"p1": "doomed", "p2": "live", "p3": "live"}


def test_a_backup_under_way_keeps_what_it_may_have_seen(backups: Backups) -> None:
    """It had entered before the condemnation. When it names the pack, the pack is live again."""
    backups.made("b1", "p1")
    backups.begin("b2")
    assert "p1" in backups.usable("b2")
    backups.delete("b1")

    swept = [backups.collect(), backups.collect(), backups.collect()]
    backups.publish("b2", "p1")
    swept += [backups.collect(), backups.collect()]

    assert (swept, backups.states()) == ([[]] * 5, {"p1": "live"})


def test_a_backup_that_came_later_keeps_nobody_waiting(backups: Backups) -> None:
    """It cannot have seen the pack live."""
    backups.made("b1", "p1")
    backups.delete("b1")
    backups.collect()
    backups.begin("b2")

    assert (backups.usable("b2"), backups.collect()) == (set(), ["p1"])


def test_a_collection_that_has_not_read_the_newest_manifest_decides_nothing(backups: Backups) -> None:
    backups.made("b1", "p1")
    backups.begin("b2")
    backups.delete("b1")
    before = backups.picture()
    backups.publish("b2", "p1")

    for state in (LIVE, CONDEMNED):
        with pytest.raises(Outdated):
            backups.settle(state, before)
    assert backups.states() == {"p1": "live"}


def test_what_is_doomed_is_deleted_again_a_day_later_and_forgotten(backups: Backups) -> None:
    """An upload of a node that was fenced may land after the first time."""
    backups.begin("b1")
    backups.allot("b1", "p1")
    backups.leave("b1")

    swept = [backups.collect()]
    backups.now_us += DAY_US - 1
    swept.append(backups.collect())
    backups.now_us += 3
    swept.append(backups.collect())

    assert (swept, backups.states(), backups.due_us()) == ([["p1"], [], ["p1"]], {}, None)


def test_a_collection_is_due_for_as_long_as_anything_is_left(backups: Backups) -> None:
    """After a deletion, then for the second look, then for the second sweep."""
    backups.made("b1", "p1")
    backups.delete("b1")
    wait = archives.COLLECT_AFTER_US
    found = [backups.due_us()]
    for _ in range(2):
        backups.now_us += wait
        backups.collect()
        found.append(backups.due_us())

    later = NOW_US + 2 * wait + archives.SWEPT_AGAIN_AFTER_US + 1
    assert found == [NOW_US + wait, NOW_US + 2 * wait, later]


def test_a_collection_is_not_due_for_what_waits_for_a_backup(backups: Backups) -> None:
    """Its end makes it due: in between there is nothing to find."""
    backups.made("b1", "p1")
    backups.begin("b2")
    backups.delete("b1")
    backups.now_us += archives.COLLECT_AFTER_US
    backups.collect()
    waiting = backups.due_us()
    backups.leave("b2")

    assert (waiting, backups.due_us()) == (None, backups.now_us + archives.COLLECT_AFTER_US)


def test_what_ends_during_a_collection_makes_the_next_one_due(backups: Backups) -> None:
    backups.made("b1", "p1")
    backups.now_us += archives.COLLECT_AFTER_US
    assert backups.run(archives.begin_collection, archive_id=ARCHIVE)
    backups.delete("b1")
    backups.run(archives.end_collection, archive_id=ARCHIVE)

    assert backups.due_us() == backups.now_us + archives.COLLECT_AFTER_US


def test_two_nodes_that_find_an_archive_due_look_through_it_once(backups: Backups) -> None:
    backups.made("b1", "p1")
    backups.now_us += archives.COLLECT_AFTER_US
    assert backups.run(archives.due) == [(ARCHIVE, "default")]

    taken = [backups.run(archives.begin_collection, archive_id=ARCHIVE) for _ in range(2)]

    assert (taken, backups.run(archives.due)) == ([True, False], [])


# --- anything in any order --------------------------------------------------------------------------------------------


class AnyOrder(RuleBasedStateMachine):
    """Transactions are indivisible, so any order of them is any interleaving of processes, with crashes anywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.backups = Backups()
        self.wants: dict[str, set[str]] = {}
        self.published: dict[str, frozenset[str]] = {}
        self.picture: Picture | None = None
        self.count = 0

    def teardown(self) -> None:
        """Once all is at rest, what nobody names goes, and nothing else."""
        for backup in list(self.wants):
            self.backups.leave(backup)
        if self.backups.base.rows(tables.archives):
            for _ in range(3):
                self.backups.collect()
            named = set().union(*self.published.values())
            left = {one for one, state in self.backups.states().items() if state != "doomed"}
            assert left == named
        self.backups.base.close()

    def some(self, among: Any, number: int) -> Any:
        ordered = sorted(among)
        return ordered[number % len(ordered)]

    @initialize()
    def begin_with_one(self) -> None:
        self.backups.made("b0", "p0-1", "p0-2")
        self.published["b0"] = frozenset(["p0-1", "p0-2"])

    @precondition(lambda self: len(self.wants) < 2)
    @rule(finds=st.booleans())
    def enter(self, finds: bool) -> None:
        self.count += 1
        backup = self.backups.begin(f"b{self.count}")
        self.wants[backup] = self.backups.usable(backup) if finds else set()

    @precondition(lambda self: self.wants)
    @rule(n=st.integers(0, 9), m=st.integers(0, 9))
    def find(self, n: int, m: int) -> None:
        backup = self.some(self.wants, n)
        if usable := self.backups.usable(backup):
            self.wants[backup].add(self.some(usable, m))

    @precondition(lambda self: self.wants)
    @rule(n=st.integers(0, 9), uploads=st.booleans())
    def store(self, n: int, uploads: bool) -> None:
        backup = self.some(self.wants, n)
        self.count += 1
        pack = f"p{self.count}"
        self.backups.allot(backup, pack)
        if uploads:
            self.wants[backup].add(pack)

    @precondition(lambda self: self.wants)
    @rule(n=st.integers(0, 9))
    def go_on_after_a_crash(self, n: int) -> None:
        self.backups.enter(self.some(self.wants, n))

    @precondition(lambda self: self.wants)
    @rule(n=st.integers(0, 9))
    def publish(self, n: int) -> None:
        backup = self.some(self.wants, n)
        named = self.wants.pop(backup)
        self.backups.publish(backup, *named)
        self.published[backup] = frozenset(named)

    @precondition(lambda self: self.wants)
    @rule(n=st.integers(0, 9))
    def fail(self, n: int) -> None:
        backup = self.some(self.wants, n)
        del self.wants[backup]
        self.backups.leave(backup)

    @precondition(lambda self: self.published)
    @rule(n=st.integers(0, 9))
    def delete(self, n: int) -> None:
        backup = self.some(self.published, n)
        del self.published[backup]
        self.backups.delete(backup)

    @rule()
    def look(self) -> None:
        """One that is slow, beside the whole ones of `collect`."""
        self.picture = self.backups.picture()

    @precondition(lambda self: self.picture is not None)
    @rule()
    def settle(self) -> None:
        try:
            self.backups.settle(LIVE, self.picture)
            self.backups.settle(CONDEMNED, self.picture)
        except Outdated:
            self.picture = None

    @rule(times=st.integers(1, 2))
    def collect(self, times: int) -> None:
        for _ in range(times):
            self.backups.collect()

    @rule()
    def let_a_day_pass(self) -> None:
        self.backups.now_us += DAY_US + 1

    @invariant()
    def all_that_is_named_is_there(self) -> None:
        states = self.backups.states()
        for named in self.published.values():
            for pack in named:
                assert states.get(pack) in {LIVE, CONDEMNED}, (pack, states.get(pack))
                assert pack not in self.backups.deleted


AnyOrder.TestCase.settings = settings(max_examples=20 if urls() else 80, stateful_step_count=25, deadline=None)
TestAnyOrder = AnyOrder.TestCase
