"""An operator resets a status while work is under way: the work is cancelled or ends, and there is one truth afterwards.

Each kind of operation, at each moment, under each word. The truth is what the storage has: what can be used is there, what is
gone has no row, nothing is left that no row names, and nobody is charged for what is not there.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy.sql.schema import Table
from tests.drivers.guards import Crash, CrashAt
from tests.store.failing_over import Site
from tests.store.given import ME, OTHER, UNLIMITED, Base, create_snapshot, create_volume, in_virtual_time, origin

from breezeblock.model import states
from breezeblock.model.errors import BadRequest, InvalidState
from breezeblock.protocol import recovery
from breezeblock.protocol.queue import NothingWon
from breezeblock.resources import snapshots, volume_changes, volumes
from breezeblock.store import tables

V, S = "11111111-0000-4000-8000-000000000001", "22222222-0000-4000-8000-000000000001"
CLONE = "11111111-0000-4000-8000-000000000002"
USABLE = {"available", "in-use", "maintenance", "reserved", "awaiting-transfer", "attaching"}
Begin = Callable[[Base], object]


def given_volume(site: Site) -> None:
    create_volume(site.base, V)
    drain(site)


def given_snapshot(site: Site) -> None:
    given_volume(site)
    create_snapshot(site.base, S, V)
    drain(site)


def nothing(site: Site) -> None:
    """The operation makes what it is about."""


def begin_extend(base: Base) -> object:
    words: Any = {"volume_id": V, "size_gib_new": 3, "quota_defaults": UNLIMITED}
    return base.run(volume_changes.begin_extend, origin=origin(), **words)


def begin_retype(base: Base) -> object:
    base.volume_type("silver")
    words: Any = {"volume_id": V, "new_type": "silver", "migration_policy": "never", "quota_defaults": UNLIMITED}
    return base.run(volume_changes.begin_retype, origin=origin(), **words)


def begin_revert(base: Base) -> object:
    words: Any = {"volume_id": V, "snapshot_id": S}
    return base.run(volume_changes.begin_revert, origin=origin(), **words)


def begin_delete(base: Base) -> object:
    words: Any = {"volume_id": V, "cascade": True}
    return base.run(volumes.begin_delete, origin=origin(), **words)


def begin_force_delete(base: Base) -> object:
    create_volume(base, V)
    words: Any = {"volume_id": V, "cascade": True}
    return base.run(volumes.begin_force_delete, origin=origin(is_admin=True), **words)


def begin_delete_snapshot(base: Base) -> object:
    words: Any = {"snapshot_id": S}
    return base.run(snapshots.begin_delete, origin=origin(), **words)


KINDS: dict[str, tuple[Callable[[Site], None], Begin, Table]] = {
    "create": (nothing, lambda base: create_volume(base, V), tables.volumes),
    "clone": (given_volume, lambda base: create_volume(base, CLONE, source_volid=V), tables.volumes),
    "extend": (given_volume, begin_extend, tables.volumes),
    "retype": (given_volume, begin_retype, tables.volumes),
    "revert": (given_snapshot, begin_revert, tables.volumes),
    "revert, its snapshot": (given_snapshot, begin_revert, tables.snapshots),
    "delete": (given_snapshot, begin_delete, tables.volumes),
    "delete, a snapshot": (given_snapshot, begin_delete, tables.snapshots),
    "force delete of what is created": (nothing, begin_force_delete, tables.volumes),
    "create snapshot": (given_volume, lambda base: create_snapshot(base, S, V), tables.snapshots),
    "delete snapshot": (given_snapshot, begin_delete_snapshot, tables.snapshots),
}


@pytest.fixture
def site() -> Iterator[Site]:
    made = Site()
    made.base.node(ME)
    made.base.node(OTHER)
    made.given_backend()
    in_virtual_time(made.initialise())
    yield made
    made.base.close()


def drain(site: Site) -> None:
    """Perform whatever can be claimed, by a node that lives, until nothing is left."""

    async def work() -> None:
        try:
            while True:
                await site.perform(site.claim(OTHER))
        except NothingWon:
            assert site.base.rows(tables.operations) == []

    in_virtual_time(work())


def reset(base: Base, table: Table, row_id: str, to: str, **words: Any) -> None:
    admin = origin(is_admin=True)
    if table is tables.snapshots:
        base.run(snapshots.reset_status, origin=admin, snapshot_id=row_id, status=to)
        return
    words = {"attach_status": None, "migration_status": None} | words
    base.run(volume_changes.reset_status, origin=admin, volume_id=row_id, status=to, **words)


class Meanwhile:
    """A guard under which something happens right before the first effect."""

    def __init__(self, happens: Callable[[], None]) -> None:
        self._happens: list[Callable[[], None]] = [happens]

    async def wait_open(self) -> None:
        return

    @contextmanager
    def enter(self) -> Iterator[bool]:
        if self._happens:
            self._happens.pop()()
        yield True

    def tokens(self) -> dict[str, tuple[int, int]]:
        return {}


def before_its_claim(site: Site, word: Callable[[], None]) -> None:
    word()


def after_its_claim(site: Site, word: Callable[[], None]) -> None:
    """The node has read it before the word came."""
    claim = site.claim()
    word()
    in_virtual_time(site.perform(claim))


def in_the_middle(site: Site, word: Callable[[], None]) -> None:
    in_virtual_time(site.perform(site.claim(), guard=Meanwhile(word)))


def after_a_crash(site: Site, word: Callable[[], None]) -> None:
    """Half of it is done, and nobody has taken it over yet."""
    claim = site.claim()
    if claim.kind != "retype_volume" and not claim.cancel:  # such have no effects: they die between claim and end
        with pytest.raises(Crash):
            in_virtual_time(site.perform(claim, guard=CrashAt(1, after=True)))
    word()
    site.base.change(tables.nodes, ME, state="gone")
    site.base.run(recovery.release_dead)


def lies(site: Site) -> list[str]:
    """Where the rows say something else than the storage."""
    names = in_virtual_time(site.names())
    rows = site.base.rows(tables.volumes) + site.base.rows(tables.snapshots)
    objects = [row["object_name"] for row in rows if row["object_name"] is not None]
    transitional = states.VOLUME_TRANSITIONAL | states.SNAPSHOT_TRANSITIONAL
    found = [f"{name} has no row" for name in names if name not in objects]
    found += [f"{name} is not there" for name in objects if name not in names]
    found += [f"{row['id']} rests in {row['status']}" for row in rows if row["status"] in transitional]
    found += [f"{row['id']} has no object" for row in rows if row["status"] in USABLE and row["object_name"] is None]
    found += [f"{row['id']} is a tombstone" for row in rows if row["tombstone"]]
    return found + site.base.problems()


@pytest.mark.parametrize("moment", [before_its_claim, after_its_claim, in_the_middle, after_a_crash])
@pytest.mark.parametrize("to", ["available", "error", "maintenance"])
@pytest.mark.parametrize("kind", KINDS)
def test_there_is_one_truth_afterwards(site: Site, kind: str, to: str, moment: Callable[..., None]) -> None:
    given, begin, table = KINDS[kind]
    to = "error" if (table, to) == (tables.snapshots, "maintenance") else to
    row_id = {"clone": CLONE}.get(kind, V if table is tables.volumes else S)
    given(site)
    begin(site.base)
    told: list[str] = []

    def word() -> None:
        reset(site.base, table, row_id, to)
        told.append(site.status(row_id, table))

    moment(site, word)
    drain(site)

    assert told == [to] or (kind, told) == ("retype", [])  # which has no effect to be in the middle of
    assert lies(site) == []


@pytest.mark.parametrize("to", ["creating", "attaching"])
def test_a_word_for_work_that_is_cancelled_is_not_left_standing(site: Site, to: str) -> None:
    """`creating` while it is created: nothing will have been made, and the status says so in the end."""
    create_volume(site.base, V)

    reset(site.base, tables.volumes, V, to)
    drain(site)

    assert (site.status(V), lies(site)) == ("error", [])


@pytest.mark.parametrize(
    ("words", "status"),
    [
        ({"attach_status": "attached"}, "in-use"),
        ({"attach_status": "detached"}, None),
        ({}, None),
    ],
)
def test_in_use_is_what_is_attached(site: Site, words: dict[str, str], status: str | None) -> None:
    """By this word or before it."""
    given_volume(site)

    if status is None:
        with pytest.raises(BadRequest, match="not attached"):
            reset(site.base, tables.volumes, V, "in-use", **words)
    else:
        reset(site.base, tables.volumes, V, "in-use", **words)

    assert site.status(V) == (status or "available")


def test_what_was_never_made_cannot_be_reset_to_a_status_that_promises_it(site: Site) -> None:
    """Its creation has failed; it can only be deleted."""
    create_volume(site.base, V)
    reset(site.base, tables.volumes, V, "error")
    drain(site)

    with pytest.raises(InvalidState, match="has no storage"):
        reset(site.base, tables.volumes, V, "available")
    reset(site.base, tables.volumes, V, "error_deleting")

    assert site.status(V) == "error_deleting"


def test_what_is_attached_can_be_reset_to_in_use(site: Site) -> None:
    given_volume(site)
    site.base.change(tables.volumes, V, attach_status="attached")

    reset(site.base, tables.volumes, V, "in-use")

    assert site.status(V) == "in-use"


def test_work_may_be_asked_for_when_what_was_cancelled_has_ended(site: Site) -> None:
    """Not before: it would be charged from what is still changing."""
    given_volume(site)
    begin_extend(site.base)
    reset(site.base, tables.volumes, V, "available")
    with pytest.raises(InvalidState, match="still being worked on"):
        begin_extend(site.base)
    drain(site)

    begin_extend(site.base)
    drain(site)

    assert (site.status(V), site.base.row(tables.volumes, V)["size_gib"], lies(site)) == ("available", 3, [])
