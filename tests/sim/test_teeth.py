"""The simulation bites: each rule that `mutations.py` takes away lets an invariant fall."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
from tests.sim.mutations import FOUND_BY
from tests.sim.search import find, table
from tests.sim.seeds import BASE

from breezeblock.testing.database import Database

SEEDS_MOST: Final = 500
# A committed seed that has come to mean another interleaving (any new draw in the services changes them all) is searched anew
# from there on, this far.
NEAR: Final = 60
PAGE: Final = Path(__file__).parents[2] / "docs" / "explanation" / "simulation.md"
Mutation = Callable[[pytest.MonkeyPatch], None]


@pytest.mark.timeout(90)
@pytest.mark.parametrize("mutate", FOUND_BY, ids=lambda mutate: mutate.__name__)
def test_the_seed_that_found_a_removed_rule_or_one_nearby_still_does(database: Database, mutate: Mutation) -> None:
    """Most of them in one run."""
    by = FOUND_BY[mutate]

    found = find(mutate, by, range(by.seed, by.seed + NEAR), database=database)

    assert found is not None, f"{mutate.__name__} is not found any more by seeds {by.seed} to {by.seed + NEAR - 1}"
    print(f"{mutate.__name__}: committed seed {by}, found by {found.seed}: {found.fell}")


@pytest.mark.proof
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("mutate", FOUND_BY, ids=lambda mutate: mutate.__name__)
def test_a_removed_rule_is_found(database: Database, mutate: Mutation) -> None:
    """From any seed on, within some hundred; which one found it is printed."""
    by = FOUND_BY[mutate]

    found = find(mutate, by, range(BASE, BASE + SEEDS_MOST), database=database)

    assert found is not None, f"{mutate.__name__} was not found in {SEEDS_MOST} seeds from {BASE}"
    print(f"{mutate.__name__}: seed {found.seed}: {found.fell}")


def test_the_page_shows_every_rule_that_is_taken_away() -> None:
    """`python -m tests.sim.search` writes the table."""
    assert table() in PAGE.read_text()
