"""The simulation bites: each rule that `mutations.py` takes away lets the invariant fall that it is there for."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Final

import pytest
from tests.sim.mutations import FOUND_BY
from tests.sim.search import Found, find, table
from tests.sim.seeds import BASE, PROOF, TOLD

from breezeblock.testing.database import Database

SEEDS_MOST: Final = 500
# A committed seed that has come to mean another interleaving (any new draw in the services changes them all) is searched anew
# from there on, this far.
NEAR: Final = 150
PAGE: Final = Path(__file__).parents[2] / "docs" / "explanation" / "simulation.md"
Mutation = Callable[[pytest.MonkeyPatch], None]
Searches = dict[str, "Future[Found | None]"]


@pytest.fixture(scope="module")
def searches(request: pytest.FixtureRequest) -> Iterator[Searches]:
    """A search for each of these tests that was asked for, on all cores; the tests wait for theirs."""
    wanted = {item.name: item.callspec.params["mutate"] for item in request.session.items if _is_search(item)}  # type: ignore[attr-defined]
    pool = ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("fork"))
    yield {name: pool.submit(_search, mutate.__name__) for name, mutate in wanted.items()}
    pool.shutdown(cancel_futures=True)


def _is_search(item: pytest.Item) -> bool:
    return item.name.startswith(test_a_removed_rule_is_found.__name__)


def _first(mutate: Mutation) -> tuple[int, int]:
    """The first seed that is tried, and how many: from the committed one on, or from any in the long runs."""
    return (BASE, SEEDS_MOST) if PROOF else (FOUND_BY[mutate].seed, NEAR)


@cache
def _database() -> Database:
    return Database()


def _search(name: str) -> Found | None:
    """Runs in a process of its own: a mutation that does not end ends there."""
    mutate = next(mutate for mutate in FOUND_BY if mutate.__name__ == name)
    first, most = _first(mutate)
    return find(mutate, FOUND_BY[mutate], range(first, first + most), database=_database())


@pytest.mark.timeout(1800 if PROOF else 300)
@pytest.mark.parametrize("mutate", FOUND_BY, ids=lambda mutate: mutate.__name__)
def test_a_removed_rule_is_found(searches: Searches, request: pytest.FixtureRequest, mutate: Mutation) -> None:
    """By the committed seed or one that follows; in the long runs from any seed on."""
    found = searches[request.node.name].result()

    first, most = _first(mutate)
    assert found is not None, f"{mutate.__name__} is not found by seeds {first} to {first + most - 1}"
    TOLD.append(f"{mutate.__name__}: committed {FOUND_BY[mutate]}, found by {found.seed}: {found.fell[:100]}")


def test_the_page_shows_every_rule_that_is_taken_away() -> None:
    """`python -m tests.sim.search` writes the table."""
    assert table() in PAGE.read_text()
