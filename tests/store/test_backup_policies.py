"""Policies that the service applies by itself: due once in each period, whatever clocks do, and begun by one of all workers."""

from datetime import UTC, datetime
from typing import Any

import pytest
from tests.store.failing_over import Site
from tests.store.given import ME, NOW_US, QUEUE, Base, in_virtual_time, origin

from breezeblock.model.errors import BadRequest, NotFound
from breezeblock.model.keeping import Keep
from breezeblock.resources import backup_policies, charges
from breezeblock.resources.backup_policies import RunBackupPolicy
from breezeblock.resources.keeping import Chosen, Rule
from breezeblock.store import tables
from breezeblock.work.catalogue import CATALOGUE

HOUR_US = 3600 * 1_000_000
DAY_US = 24 * HOUR_US
POLICY = "77777777-0000-4000-8000-000000000001"
KEEP = Keep(daily=7)


def rule(keep: Keep = KEEP, **values: Any) -> Rule:
    said: dict[str, Any] = {"chosen": Chosen(), "keep": keep, "mark": "nightly", "only_marked": True}
    return Rule(**(said | values))


def given_policy(base: Base, keep: Keep = KEEP, *, name: str = "nightly", id_: str = POLICY) -> int:
    return base.run(backup_policies.set_policy, policy_id=id_, name=name, rule=rule(keep))


def begin(base: Base) -> str | None:
    """As a worker that looks."""
    if not base.run(backup_policies.has_due_policy):
        return None
    return base.run(backup_policies.begin_due_policy, origin=origin(), where=QUEUE, quota_defaults={"backups": 1})


def run(base: Base) -> None:
    """What was begun, by a node, to its end."""
    (operation,) = base.claimable()
    claim = base.claim(operation)
    payload = RunBackupPolicy(policy_id=POLICY, rule=rule(), at_us=base.now_us, quota_defaults={})
    base.run(backup_policies.finish_run, claim, payload, {}, now_us=base.now_us)


def midnight(base: Base) -> int:
    """The next one."""
    return (base.now_us // DAY_US + 1) * DAY_US


def test_a_policy_is_due_at_the_start_of_its_next_period(base: Base) -> None:
    """Not at once: who has just written it may want to read it first."""
    due_us = given_policy(base)

    assert due_us == midnight(base)
    assert begin(base) is None
    base.now_us = due_us - 1
    assert begin(base) is None
    base.now_us = due_us
    assert begin(base) == "nightly"
    assert base.problems() == []


def test_the_start_of_a_day_is_that_of_its_zone(base: Base) -> None:
    """As the days are that are counted."""
    due_us = given_policy(base, Keep(daily=1, zone="Asia/Tokyo"))

    assert datetime.fromtimestamp(due_us / 1_000_000, tz=UTC).hour == 15


def test_each_due_time_has_one_run(base: Base) -> None:
    """However many look, and however late; what was missed meanwhile is not made up for."""
    base.node(ME)
    given_policy(base)
    base.now_us += 5 * DAY_US

    assert [begin(base), begin(base)] == ["nightly", None]
    run(base)
    assert begin(base) is None
    base.now_us = midnight(base)
    assert begin(base) == "nightly"
    assert len(base.rows(tables.operations)) == 1


def test_a_second_run_waits_for_the_end_of_the_first(base: Base) -> None:
    """One that takes longer than a period."""
    base.node(ME)
    given_policy(base)
    base.now_us = midnight(base)
    begin(base)
    base.now_us += 2 * DAY_US

    assert begin(base) is None
    run(base)
    assert begin(base) == "nightly"


def test_a_clock_that_steps_back_a_little_begins_nothing_twice(base: Base) -> None:
    """Two servers of a database are not equally fast."""
    base.node(ME)
    given_policy(base)
    base.now_us = midnight(base)
    begin(base)
    run(base)
    base.now_us -= HOUR_US

    assert begin(base) is None


def test_a_clock_that_was_years_ahead_does_not_stop_a_policy(base: Base) -> None:
    """What it said of the next time is not believed."""
    base.node(ME)
    base.now_us += 4000 * DAY_US
    given_policy(base)
    base.now_us = NOW_US

    assert begin(base) == "nightly"
    run(base)
    assert begin(base) is None
    base.now_us = midnight(base)
    assert begin(base) == "nightly"


def test_a_policy_that_is_set_again_says_something_else(base: Base) -> None:
    """Under the same id, so that a run which is under way still tells it how it went."""
    base.node(ME)
    given_policy(base)
    base.now_us = midnight(base)
    begin(base)

    due_us = given_policy(base, Keep(hourly=2), id_=POLICY.replace("1", "2"))
    run(base)

    (policy,) = base.run(backup_policies.policies)
    assert (policy.id, policy.rule.keep) == (POLICY, Keep(hourly=2))
    assert policy.due_at_us == due_us == base.now_us + HOUR_US
    assert policy.ended is not None
    assert policy.ended.outcome == "done"


def test_a_policy_can_be_asked_to_run_now(base: Base) -> None:
    """And is due next when it would have been."""
    given_policy(base)

    base.run(backup_policies.run_soon, name="nightly")

    assert begin(base) == "nightly"
    (policy,) = base.run(backup_policies.policies)
    assert policy.is_running
    assert policy.due_at_us == midnight(base)


def test_a_policy_that_is_removed_cancels_its_run(base: Base) -> None:
    """Which then ends without it."""
    base.node(ME)
    given_policy(base)
    base.now_us = midnight(base)
    begin(base)

    base.run(backup_policies.remove_policy, name="nightly")

    (operation,) = base.rows(tables.operations)
    assert operation["cancel"]
    run(base)
    assert base.rows(tables.operations) == base.rows(tables.backup_policies) == []
    with pytest.raises(NotFound, match="no backup policy nightly"):
        base.run(backup_policies.remove_policy, name="nightly")


def test_a_run_that_nobody_understands_leaves_the_policy_to_its_next_time(base: Base) -> None:
    """A node of the release before parks it."""
    base.node(ME)
    given_policy(base)
    base.now_us = midnight(base)
    begin(base)

    claim = base.claim(base.claimable()[0])
    base.run(charges.park_unknown, claim, text="Nobody understands it.", now_us=base.now_us)

    assert base.rows(tables.operations) == []
    assert base.problems() == []
    base.now_us = midnight(base)
    assert begin(base) == "nightly"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (rule(Keep()), "what is to stay"),
        (rule(Keep(last=3)), "besides last"),
        (rule(Keep(daily=1, zone="Mars")), "time zone 'Mars'"),
        (rule(mark="my own"), "'my own'"),
    ],
)
def test_what_cannot_be_meant_is_refused(base: Base, wrong: Rule, said: str) -> None:
    """Before it is stored."""
    with pytest.raises(BadRequest, match=said):
        base.run(backup_policies.set_policy, policy_id=POLICY, name="nightly", rule=wrong)

    assert base.rows(tables.backup_policies) == []


def test_of_all_workers_one_begins_it_and_one_runs_it() -> None:
    """Three that look at the same time, on two days."""
    site = Site()
    ended: list[str] = []

    async def story() -> None:
        given_policy(site.base)
        for name in ("node-1", "node-2", "node-3"):
            site.start(name)
        for _ in range(2):
            site.base.now_us = midnight(site.base)
            await site.until(lambda: len(ended_runs(site)) > len(ended))
            await site.until(lambda: not site.base.rows(tables.operations))
            ended[:] = ended_runs(site)

    in_virtual_time(story())

    assert ended == ["done", "done"]
    site.base.close()


def ended_runs(site: Site) -> list[str]:
    log = site.base.rows(tables.operation_log)
    return [row["outcome"] for row in log if row["kind"] == backup_policies.KIND]


def test_the_kind_is_run_as_it_is_written() -> None:
    """Payload and version."""
    assert CATALOGUE[backup_policies.KIND].payload is RunBackupPolicy
