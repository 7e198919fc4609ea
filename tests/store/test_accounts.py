"""Projects' accounts held against what they have: what is found, by whom, how it is told, and how it is put right."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import Connection, delete, event, insert
from tests.api.builders import backup_row, group_row
from tests.store.given import (
    ME,
    OTHER,
    Base,
    create_volume,
    in_virtual_time,
    store_on,
    virtual_env,
)
from tests.store.test_resources import given_snapshot, given_volume

from breezeblock.model.errors import Contended, Unavailable
from breezeblock.model.ids import Incarnation
from breezeblock.node import accounts_check
from breezeblock.node.accounts_check import AccountsCheck
from breezeblock.node.identity import Identity
from breezeblock.protocol import node_events
from breezeblock.resources import accounts
from breezeblock.resources.types import DEFAULT_TYPE_ID
from breezeblock.store import tables
from breezeblock.store.run import Store
from breezeblock.store.tables import quota_usage

HOUR_S = 3600.0


@pytest.fixture
def base() -> Iterator[Base]:
    base = Base()
    base.node(ME)
    base.pool()
    yield base
    base.close()


def given_some_of_everything(base: Base) -> None:
    """A project with a volume of 3 GiB, a snapshot, a backup of 2 GiB and a group."""
    given_volume(base, size_gib=3)
    given_snapshot(base)
    base.add(tables.backups, **backup_row(id="b1", project_id="p1", size_gib=2, charged_gib=2))
    base.add(tables.volume_groups, **group_row(id="g1", project_id="p1"))
    for resource, in_use in (("backups", 1), ("backup_gigabytes", 2), ("groups", 1)):
        base.add(quota_usage, project_id="p1", resource=resource, in_use=in_use)


def charge(base: Base, resource: str, in_use: int, project_id: str = "p1") -> None:
    """As a mistake would."""
    base.run(
        lambda tx: tx.execute(
            delete(quota_usage).where(quota_usage.c.project_id == project_id, quota_usage.c.resource == resource)
        )
    )
    base.add(quota_usage, project_id=project_id, resource=resource, in_use=in_use)


def found(base: Base, project_id: str = "p1") -> list[str]:
    return [str(one) for one in base.run(accounts.differences, project_id)]


# --- the question -----------------------------------------------------------------------------------------------------


def test_what_is_charged_with_the_resource_is_right(base: Base) -> None:
    """Each noun once, in one statement, as `db check` has it."""
    given_some_of_everything(base)

    assert found(base) == [] == [one for one in base.problems() if "charged" in one]


@pytest.mark.parametrize(
    ("resource", "due"),
    [
        ("volumes", 1),
        (f"volumes_{DEFAULT_TYPE_ID}", 1),
        ("gigabytes", 6),
        (f"gigabytes_{DEFAULT_TYPE_ID}", 6),
        ("snapshots", 1),
        (f"snapshots_{DEFAULT_TYPE_ID}", 1),
        ("backups", 1),
        ("backup_gigabytes", 2),
        ("groups", 1),
        ("volumes_of_a_type_that_is_gone", 0),
    ],
)
def test_an_account_that_is_wrong_is_found_and_put_right(base: Base, resource: str, due: int) -> None:
    """As the check of all tables finds it. Nothing else is changed."""
    given_some_of_everything(base)
    before = base.accounts()
    charge(base, resource, 9)
    sentence = f"Project p1 is charged 9 {resource}, but has {due}."

    assert found(base) == [sentence] == [one for one in base.problems() if "charged" in one]
    assert [str(one) for one in base.run(accounts.recount, project_id="p1")] == [sentence]
    assert (base.accounts(), found(base)) == (before, [])


def test_an_account_that_is_missing_is_made(base: Base) -> None:
    given_some_of_everything(base)
    before = base.accounts()
    base.run(lambda tx: tx.execute(delete(quota_usage)))

    base.run(accounts.recount, project_id="p1")

    assert base.accounts() == before


def test_what_is_deleted_and_only_waited_for_is_charged_to_nobody(base: Base) -> None:
    given_some_of_everything(base)
    for table, row_id in ((tables.volumes, "v1"), (tables.snapshots, "s1"), (tables.backups, "b1")):
        base.change(table, row_id, tombstone=True)
    base.change(tables.volume_groups, "g1", tombstone=True)

    assert {one.due for one in base.run(accounts.differences, "p1")} == {0}


# --- the walk ---------------------------------------------------------------------------------------------------------


def walker(base: Base, me: str = ME) -> AccountsCheck:
    env = virtual_env()
    identity = Identity(cluster="c", name=me, incarnation=Incarnation(me), pid=1)
    return AccountsCheck(env=env, store=store_on(base, env), identity=identity)


def told(base: Base) -> list[str]:
    events = base.run(node_events.recent, cluster="c", most=100)
    return [one.detail for one in events if one.event == accounts.EVENT]


def rounds(check: AccountsCheck, count: int) -> Callable[[], Any]:
    async def look() -> None:
        for _ in range(count):
            await check.look()

    return look


@pytest.mark.parametrize("number", [0, 19, 20, 40])
def test_every_project_is_looked_at_a_few_at_a_time(base: Base, number: int) -> None:
    """Also the first and the last of a page."""
    for one in range(41):
        charge(base, "volumes", 0, f"p{one:02}")
    charge(base, "groups", 1, f"p{number:02}")

    in_virtual_time(rounds(walker(base), 3)())

    assert told(base) == [f"Project p{number:02} is charged 1 groups, but has 0."]


def test_what_stays_wrong_is_told_again_after_half_an_hour_and_not_in_every_round(base: Base) -> None:
    """The metric looks back an hour."""
    charge(base, "groups", 1)
    check = walker(base)

    async def a_while() -> None:
        clock = virtual_env().clock
        for _ in range(int(HOUR_S * 1.1 / 30)):
            await check.look()
            await clock.sleep(30)

    in_virtual_time(a_while())

    assert len(told(base)) == 3


def test_another_project_that_is_wrong_is_told_at_once(base: Base) -> None:
    check = walker(base)
    charge(base, "groups", 1, "p1")
    in_virtual_time(rounds(check, 1)())
    charge(base, "groups", 1, "p2")

    in_virtual_time(rounds(check, accounts_check.ROUNDS_BETWEEN + 2)())

    assert len(told(base)) == 2


def test_what_was_put_right_is_looked_at_no_more_than_others(base: Base) -> None:
    """It is news when it is wrong again."""
    check = walker(base)
    charge(base, "groups", 1)
    in_virtual_time(rounds(check, 2)())
    base.run(accounts.recount, project_id="p1")
    in_virtual_time(rounds(check, 1)())
    charge(base, "groups", 1)

    in_virtual_time(rounds(check, accounts_check.ROUNDS_BETWEEN + 2)())

    assert len(told(base)) == 2


def test_one_node_of_the_cluster_looks_and_the_next_one_when_it_is_gone(base: Base) -> None:
    first, second = sorted((ME, OTHER))
    base.node(OTHER)
    charge(base, "groups", 1)

    in_virtual_time(rounds(walker(base, second), 2)())
    before = told(base)
    base.change(tables.nodes, first, state="expired")
    in_virtual_time(rounds(walker(base, second), 2)())

    assert (before, len(told(base))) == ([], 1)


def test_many_wrong_ones_are_told_in_few_words(base: Base) -> None:
    for one in range(15):
        charge(base, "groups", 1, f"p{one:02}")

    in_virtual_time(rounds(walker(base), 1)())

    (detail,) = told(base)
    assert (detail.count("is charged"), detail.endswith(" And 10 more.")) == (5, True)


class Counting:
    """A lane on which the rows of some projects take longer to count than a statement may take."""

    def __init__(self, base: Base, *, slow: set[str], together: type[Exception]) -> None:
        self.write = base.write
        self.slow, self.reads = slow, 0
        self._base, self._together = base, together

    async def read(self, body: Callable[[Connection], Any]) -> Any:
        self.reads += 1
        return await self._base.read(lambda tx: self._bounded(tx, body))

    def _bounded(self, tx: Connection, body: Callable[[Connection], Any]) -> Any:
        counted: set[str] = set()

        @event.listens_for(tx, "before_cursor_execute")
        def count(on: Connection, cursor: Any, statement: str, said: Any, context: Any, many: bool) -> None:
            if "UNION ALL" in statement and "quota_usage" in statement:
                values = said.values() if isinstance(said, dict) else said  # as the driver has it
                counted.add(next(one for one in values if isinstance(one, str)))
                if self.slow & counted:
                    raise Contended("it took too long") if len(counted) == 1 else self._together("it took too long")

        try:
            return body(tx)
        finally:
            event.remove(tx, "before_cursor_execute", count)


@pytest.mark.parametrize("together", [Contended, Unavailable])
def test_a_project_that_cannot_be_counted_in_time_keeps_nobody_else_from_it(
    base: Base, together: type[Exception]
) -> None:
    """It is told once, and is looked at again in each walk; until it can be counted."""
    for one in range(30):
        charge(base, "volumes", 0, f"p{one:02}")
    for one in (4, 5, 6, 29):
        charge(base, "groups", 1, f"p{one:02}")
    lane = Counting(base, slow={"p05"}, together=together)
    env = virtual_env()
    identity = Identity(cluster="c", name=ME, incarnation=Incarnation(ME), pid=1)
    check = AccountsCheck(env=env, store=Store(lane, env), identity=identity)

    in_virtual_time(rounds(check, 3 + accounts_check.ROUNDS_BETWEEN + 3)())

    wrong = " ".join(told(base))
    assert [one for one in range(30) if f"Project p{one:02} " in wrong] == [4, 6, 29]
    (skipped,) = [one for one in base.run(node_events.recent, cluster="c", most=100) if one.event == accounts.LATE]
    assert "project p05 could not be compared in time" in skipped.detail
    lane.slow.clear()
    in_virtual_time(rounds(check, accounts_check.ROUNDS_BETWEEN + 3)())
    assert "Project p05 is charged 1 groups, but has 0." in " ".join(told(base))


def test_accounts_that_are_moved_meanwhile_are_not_taken_for_wrong(base: Base) -> None:
    """Whether there are any is asked in the snapshot that is compared: not before, when they may not be there yet."""
    create_volume(base)
    name = base.row(tables.volume_types, DEFAULT_TYPE_ID)["name"]
    check, env = walker(base), virtual_env()

    class Late(Store):
        """Somebody of the release before charges between any two reads."""

        async def try_read(self, *args: Any, **kwargs: Any) -> Any:
            charge(base, f"volumes_{name}", 1)
            return await super().try_read(*args, **kwargs)

    check._store = Late(base, env)
    in_virtual_time(rounds(check, 2)())

    assert told(base) == []


def test_a_recount_runs_again_when_an_account_comes_between_its_hold_and_its_reading(base: Base) -> None:
    """Nobody holds that one: it may be charged again before the correction, which would be lost."""
    given_some_of_everything(base)
    charge(base, "groups", 5)

    def beside(tx: Connection) -> Any:
        @event.listens_for(tx, "after_cursor_execute", once=True)
        def come(on: Connection, *_: Any) -> None:
            on.execute(insert(quota_usage).values(project_id="p1", resource="new", in_use=0))

        return accounts.recount(tx, project_id="p1")

    with pytest.raises(Contended, match="another account"):
        base.run(beside)
    assert found(base) == ["Project p1 is charged 5 groups, but has 1."]


def test_accounts_of_the_release_before_are_left_to_be_moved_first(base: Base) -> None:
    """They are named after types, and belong to accounts that they are not yet added to."""
    create_volume(base)
    name = base.row(tables.volume_types, DEFAULT_TYPE_ID)["name"]
    charge(base, f"volumes_{name}", 1)

    in_virtual_time(rounds(walker(base), 2)())

    assert told(base) == []
