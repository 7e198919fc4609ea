"""Whole clusters from a seed: the same code as in production, every interleaving and fault drawn."""

import os
import subprocess
import sys

import pytest
from tests.sim.seeds import BASE, PROOF, seeds

from breezeblock.testing.database import Database
from breezeblock.testing.faults import KINDS
from breezeblock.testing.run import simulate

GROUPS = 10
SEEDS = seeds(quick=240, proof=6_000)


def history_in_another_process(seed: int, *, hash_seed: int) -> str:
    code = f"from breezeblock.testing.run import simulate; print(*simulate({seed}).history, sep='\\n')"
    environ = {**os.environ, "PYTHONHASHSEED": str(hash_seed)}
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True)
    return done.stdout


def test_a_seed_replays_exactly(database: Database) -> None:
    """In the same process, after other runs, and in others whose sets have another order."""
    seed = BASE
    print(f"seed {seed}")
    first = "\n".join(map(str, simulate(seed, database=database).history)) + "\n"

    simulate(seed + 1, database=database)

    assert "\n".join(map(str, simulate(seed, database=database).history)) + "\n" == first
    assert history_in_another_process(seed, hash_seed=1) == first
    assert history_in_another_process(seed, hash_seed=2) == first


@pytest.mark.timeout(3600 if PROOF else 120)
@pytest.mark.parametrize("group", range(GROUPS))
def test_no_invariant_falls(database: Database, group: int) -> None:
    """Any mix of faults, and none."""
    print(f"seeds {SEEDS.start + group} to {SEEDS.stop - 1}, every {GROUPS}th")
    accepted = sum(simulate(seed, database=database).accepted for seed in SEEDS[group::GROUPS])

    assert accepted > len(SEEDS) // GROUPS, "runs in which nothing happens prove nothing"


@pytest.mark.parametrize("kind", KINDS)
def test_each_fault_alone_is_survived(database: Database, kind: str) -> None:
    """A fault that only ever came with others could be hidden by them."""
    print(f"seeds from {BASE}")

    reports = [simulate(seed, database=database, only=[kind]) for seed in seeds(quick=4, proof=400)]

    assert sum(report.accepted for report in reports) > 0
