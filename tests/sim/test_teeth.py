"""The simulation bites: each rule that `mutations.py` takes away lets an invariant fall, in the seed that stands beside it."""

from collections.abc import Callable
from typing import Final

import pytest
from tests.sim.mutations import FOUND_BY
from tests.sim.seeds import BASE

from breezeblock.testing.database import Database
from breezeblock.testing.run import Failed, simulate

SEEDS_MOST: Final = 500
Mutation = Callable[[pytest.MonkeyPatch], None]
FOUND: Final = [mutate for mutate, seed in FOUND_BY.items() if seed is not None]


@pytest.mark.parametrize("mutate", FOUND, ids=lambda mutate: mutate.__name__)
def test_the_seed_that_found_a_removed_rule_still_does(
    database: Database, monkeypatch: pytest.MonkeyPatch, mutate: Mutation
) -> None:
    """One run each. A seed that has come to mean another interleaving is searched anew by the long runs."""
    seed = FOUND_BY[mutate]
    assert seed is not None
    mutate(monkeypatch)

    with pytest.raises(Failed):
        simulate(seed, database=database)


@pytest.mark.proof
@pytest.mark.timeout(600)
@pytest.mark.parametrize("mutate", FOUND, ids=lambda mutate: mutate.__name__)
def test_a_removed_rule_is_found(database: Database, monkeypatch: pytest.MonkeyPatch, mutate: Mutation) -> None:
    """From any seed on, within some hundred; which one found it is printed."""
    mutate(monkeypatch)

    for seed in range(BASE, BASE + SEEDS_MOST):
        try:
            simulate(seed, database=database)
        except Failed as found:
            print(f"{mutate.__name__}: seed {seed}: {found.violations[0]}")
            return
    pytest.fail(f"{mutate.__name__} was not found in {SEEDS_MOST} seeds from {BASE}")
