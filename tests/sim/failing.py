"""A run that fails, for the tests of what is made of such runs."""

from collections.abc import Callable
from typing import Any

import pytest

from breezeblock.testing.database import Database
from breezeblock.testing.run import Failed, simulate

SEEDS_MOST = 100


def first_failure(
    mutate: Callable[[pytest.MonkeyPatch], None],
    patch: pytest.MonkeyPatch,
    database: Database,
    *,
    faults_most: int = 10_000,
    **options: Any,
) -> Failed:
    """Take a protection away, and run seeds until one finds it: which one may change with anything that is simulated."""
    mutate(patch)
    for seed in range(SEEDS_MOST):
        try:
            simulate(seed, database=database, **options)
        except Failed as failed:
            if 0 < sum(entry.kind == "fault" for entry in failed.history) <= faults_most:
                return failed
    raise AssertionError(f"{mutate.__name__} is not found in {SEEDS_MOST} seeds")
