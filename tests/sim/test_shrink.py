"""A failing run is shrunk to what it takes, and what is left fails in the same way whenever it is run again."""

from collections.abc import Iterator

import pytest
from tests.sim.failing import first_failure
from tests.sim.mutations import a_fence_that_kills_nobody

from breezeblock.testing.database import Database
from breezeblock.testing.history import Entry
from breezeblock.testing.run import Failed, simulate
from breezeblock.testing.shrink import AllBut, Shrunk, numbers_of, shrink

EVERYTHING = ["crash", "stop", "lost", "cut", "storage", "burst"]


def busy_history(database: Database) -> list[Entry]:
    """Of a run with many faults and requests."""
    for seed in range(50):
        history = simulate(seed, database=database, only=EVERYTHING, fence="storage").history
        if len(numbers_of(history, "fault")) > 20 and len(numbers_of(history, "request")) > 20:
            return history
    raise AssertionError("no seed has so many faults and requests")


def seed_of(history: list[Entry]) -> int:
    return int(history[0].text.split(",")[0].removeprefix("seed "))


@pytest.fixture(scope="module")
def unprotected() -> Iterator[pytest.MonkeyPatch]:
    """For all tests here nobody is killed by a fence, so that a fault or two are enough for a violation."""
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="module")
def failed(unprotected: pytest.MonkeyPatch, database: Database) -> Failed:
    # One that is shrunk to its end within the usual limits: which seed it is changes with the product.
    return first_failure(a_fence_that_kills_nobody, unprotected, database, faults_most=20, only=["cut"], fence="kill")


@pytest.fixture(scope="module")
def shrunk(failed: Failed, database: Database) -> Shrunk:
    return shrink(failed, database=database, cpu_s_most=600.0)  # by its runs alone: others may use this machine


def invariant(failed: Failed) -> str:
    return failed.violations[0].partition(":")[0]


def test_a_failing_run_is_shrunk_to_fewer_faults(failed: Failed, shrunk: Shrunk) -> None:
    """The same invariant falls, by fewer faults, and by no more requests."""
    assert invariant(shrunk.failed) == invariant(failed)
    assert 0 < len(shrunk.faults) < len(numbers_of(failed.history, "fault")), "nobody is fenced without a fault"
    assert len(shrunk.requests) <= len(numbers_of(failed.history, "request"))


def test_what_is_left_fails_whenever_it_is_run(shrunk: Shrunk, database: Database) -> None:
    """As the call that is printed with it."""
    call = lambda seed, **options: simulate(seed, database=database, **options)  # noqa: E731

    with pytest.raises(Failed) as again:
        eval(shrunk.replay(), {"simulate": call, "AllBut": AllBut})  # noqa: S307  our own words

    assert again.value.history == shrunk.failed.history


def test_shrinking_is_deterministic(failed: Failed, database: Database) -> None:
    once = shrink(failed, database=database, runs_most=6)
    twice = shrink(failed, database=database, runs_most=6)

    assert (once.faults, once.requests, once.runs) == (twice.faults, twice.requests, twice.runs)
    assert once.failed.history == twice.failed.history


def test_none_of_the_faults_that_are_left_can_be_spared(failed: Failed, shrunk: Shrunk, database: Database) -> None:
    assert shrunk.complete

    for number in shrunk.faults:
        kept = AllBut(frozenset(shrunk.faults) - {number})
        try:
            simulate(failed.seed, database=database, **{**shrunk.failed.options, "without": kept})
        except Failed as other:
            assert invariant(other) != invariant(failed)


def test_the_search_ends_when_its_runs_are_spent(failed: Failed, database: Database) -> None:
    """What it has found by then is a failing run all the same."""
    cut_short = shrink(failed, database=database, runs_most=2)

    assert cut_short.runs == 2
    assert not cut_short.complete
    assert invariant(cut_short.failed) == invariant(failed)


def test_a_fault_that_is_left_out_changes_nothing_before_it(database: Database) -> None:
    """It is drawn all the same, so all that comes before it is the same; and it is not told."""
    history = busy_history(database)
    number = numbers_of(history, "fault")[10]
    place = next(p for p, entry in enumerate(history) if entry.kind == "fault" and entry.data["number"] == number)

    without = simulate(seed_of(history), database=database, only=EVERYTHING, fence="storage", without={number}).history

    assert without[:place] == history[:place]
    assert number not in numbers_of(without, "fault")


def test_a_request_that_is_left_out_is_not_made(database: Database) -> None:
    """The others keep their numbers, and all that comes before it is the same."""
    history = busy_history(database)
    place = next(p for p, entry in enumerate(history) if entry.kind == "request" and entry.data["number"] == 5)
    operation = history[place].data["operation"]

    without = simulate(seed_of(history), database=database, only=EVERYTHING, fence="storage", unasked={5}).history

    assert without[:place] == history[:place]
    assert 5 not in numbers_of(without, "request")
    assert not [entry for entry in without if entry.data.get("operation") == operation]
