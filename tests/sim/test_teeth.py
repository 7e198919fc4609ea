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
FOUND: Final = [mutate for mutate, by in FOUND_BY.items() if by is not None]
# Those that fall in one of the first few seeds, whatever the draws; the others are searched by the long runs.
SOON: Final = [mutate for mutate, by in FOUND_BY.items() if by is not None and by.seed <= 4 and not by.only]


@pytest.mark.timeout(90)
@pytest.mark.parametrize("mutate", SOON, ids=lambda mutate: mutate.__name__)
def test_the_seed_that_found_a_removed_rule_or_one_nearby_still_does(database: Database, mutate: Mutation) -> None:
    """Most of them in one run."""
    by = FOUND_BY[mutate]
    assert by is not None

    found = find(mutate, range(by.seed, by.seed + NEAR), database=database, options=by.options)

    assert found is not None, f"{mutate.__name__} is not found any more by seeds {by.seed} to {by.seed + NEAR - 1}"
    print(f"{mutate.__name__}: committed seed {by}, found by {found.seed}: {found.fell}")


@pytest.mark.proof
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("mutate", FOUND, ids=lambda mutate: mutate.__name__)
def test_a_removed_rule_is_found(database: Database, mutate: Mutation) -> None:
    """From any seed on, within some hundred; which one found it is printed."""
    by = FOUND_BY[mutate]
    assert by is not None

    found = find(mutate, range(BASE, BASE + SEEDS_MOST), database=database, options=by.options)

    assert found is not None, f"{mutate.__name__} was not found in {SEEDS_MOST} seeds from {BASE}"
    print(f"{mutate.__name__}: seed {found.seed}: {found.fell}")


def test_the_page_shows_every_rule_that_is_taken_away() -> None:
    """`python -m tests.sim.search` writes the table."""
    assert table() in PAGE.read_text()
