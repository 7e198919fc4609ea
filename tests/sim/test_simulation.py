"""Whole clusters from a seed: the same code as in production, every interleaving and fault drawn."""

import os
import subprocess
import sys
from collections import Counter
from itertools import count
from typing import Final

import pytest
from tests.sim.seeds import BASE, PROOF, TOLD, seeds

from breezeblock.testing.asks import CALLS
from breezeblock.testing.batch import Tally, add_up
from breezeblock.testing.cluster import BEYOND
from breezeblock.testing.counts import counted
from breezeblock.testing.database import Database
from breezeblock.testing.faults import KINDS
from breezeblock.testing.run import Failed, simulate, takes_locks

SEEDS = seeds(quick=60 if os.environ.get("BREEZEBLOCK_QUICK") == "1" else 120, proof=5_000)


# What an accepted call is counted as, where that is not the name that it is drawn by.
COUNTED_AS: Final = {"manage_volume": "create_by_managing", "manage_snapshot": "create_snapshot_by_managing"}
# These take several things to be there first, and come in some runs of a hundred: many runs have to have them, few need not.
RARE: Final = frozenset(
    {
        "complete",
        "create_from_group",
        "create_from_group_snapshot",
        "delete_group_snapshot",
        "reset_group_snapshot_status",
    }
)
SELDOM: Final = 0.005 if len(SEEDS) >= 1000 else 0.0

# How often each of these happens in a run, at the very least and over all runs; on the average it is four or more times that.
FLOORS: Final = {
    **{f"accepted {COUNTED_AS.get(kind, kind)}": 0.02 for kind in CALLS},
    **{f"struck {kind}": 0.1 for kind in KINDS},
    "accepted create_volume": 1.0,
    "accepted create_snapshot": 0.5,
    "accepted create_from_snapshot": 0.05,
    "accepted fence_by_hand": 0.03,
    "struck fence": 0.03,
    "takeovers": 0.3,
    "waited": 0.5,
    **dict.fromkeys((f"accepted {kind}" for kind in RARE), SELDOM),
    "resumed": SELDOM,
}
# What there is to strike at only when something else goes wrong, too.
WITH: Final = {"fence": ["crash", "rename"]}
# Some need something that not every run has: an array, a poisonous resource, an older release.
SEARCHED: Final = 60


def history_in_another_process(seed: int, *, hash_seed: int) -> str:
    code = f"from breezeblock.testing.run import Failed, simulate; print(*simulate({seed}).history, sep='\\n')"
    environ = {**os.environ, "PYTHONHASHSEED": str(hash_seed)}
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True)
    return done.stdout


@pytest.mark.parametrize("locks", [False, True])
def test_a_seed_replays_exactly(database: Database, locks: bool) -> None:
    """In the same process, after other runs, and in others whose sets have another order."""
    seed = next(seed for seed in count(BASE) if takes_locks(seed) is locks)
    print(f"seed {seed}")
    first = "\n".join(map(str, simulate(seed, database=database).history)) + "\n"

    simulate(seed + 1, database=database)

    assert "\n".join(map(str, simulate(seed, database=database).history)) + "\n" == first
    assert history_in_another_process(seed, hash_seed=1) == first
    assert history_in_another_process(seed, hash_seed=2) == first


@pytest.mark.timeout(3600 if PROOF else 600)
def test_no_invariant_falls() -> None:
    """Any mix of faults, and none, on all cores."""
    tally = Tally()
    add_up(tally, BASE, runs=len(SEEDS), minutes=None, jobs=os.cpu_count() or 1)
    TOLD.append(str(tally))

    assert tally.failed == 0
    assert len(tally.seeds) == len(SEEDS)
    print(*(f"{what}: {count}" for what, count in sorted(tally.counts.items())), sep="\n")
    few = {what: tally.counts[what] for what, floor in FLOORS.items() if tally.counts[what] < floor * len(SEEDS)}
    assert few == {}, "what does not happen proves nothing"


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("how_far", "only", "most"),
    [
        # Cut off, a node has nothing but its clock to go by: one run in four. Of any faults, one in ten.
        ("by far", ["cut"], 60),
        ("any", ["cut"], 60),
        pytest.param("by far", None, 120, marks=pytest.mark.proof),
        pytest.param("a little", ["crash", "cut", "rename"], 600, marks=pytest.mark.proof),
    ],
)
def test_a_clock_beyond_the_bound_is_found_out(
    database: Database, how_far: str, only: list[str] | None, most: int
) -> None:
    """The one assumption about time: where it does not hold, a node is expired while it still believes in its lease.

    What is a little too slow outlives its lease only if it renewed right before it was lost: one run in fifty.
    """
    assert how_far in BEYOND
    for seed in range(BASE, BASE + most):
        try:
            simulate(seed, database=database, beyond_drift=how_far, only=only, brief=True)
        except Failed as failed:
            print(f"seed {seed}: {failed.violations[0]}")
            if failed.violations[0].startswith("Lease"):
                return
    pytest.fail(f"no lease was outlived in {most} seeds from {BASE}")


@pytest.mark.parametrize("kind", KINDS)
def test_each_fault_alone_is_survived(database: Database, kind: str) -> None:
    """A fault that only ever came with others could be hidden by them. Runs go on until it has struck and work was done."""
    wanted, counts = seeds(quick=3, proof=60), Counter[str]()
    print(f"seeds from {BASE}")

    for seed in range(BASE, BASE + SEARCHED + len(wanted)):
        report = simulate(seed, database=database, only=[kind, *WITH.get(kind, [])])
        counts.update(counted(report.history))
        counts["accepted"] += report.accepted
        if seed >= wanted[-1] and counts[f"struck {kind}"] > 0 and counts["accepted"] > 0:
            break

    assert counts[f"struck {kind}"] > 0
    assert counts["accepted"] > 0
