"""The chaos harness itself, on real processes: two minutes of it; in the long run ten, and the named scenarios."""

import os
import random
from pathlib import Path
from typing import Final

import pytest
from tests.proof import PROOF

from breezeblock.chaos.plan import EVERY_KIND, fence_of
from breezeblock.chaos.run import Options, main_say, run, summary
from breezeblock.chaos.scenarios import run_scenario

SEED: Final = int(os.environ.get("BREEZEBLOCK_SEED") or random.SystemRandom().randrange(2**32))
# What may find no moment to strike in a whole run: a writer may hold the storage, and nobody a transaction.
MAY_MISS: Final = {"full disk", "read-only storage", "stop in a transaction"}
SECONDS: Final = float(os.environ.get("BREEZEBLOCK_LOAD_S") or (600 if PROOF else 120))


@pytest.mark.timeout(SECONDS + 400)
def test_under_every_fault_all_that_was_accepted_happens_once(tmp_path: Path) -> None:
    """Three nodes, two API processes, eight clients; processes killed and stopped, storage full and read-only, clocks off."""
    report = run(Options(SECONDS, SEED, fence_of(SEED)), tmp_path, say=main_say)

    print(f"\nBREEZEBLOCK_SEED={SEED}, {report['options']}\n{summary(report)}")
    assert report["verdict"] == "right", summary(report)
    assert report["overlapping_writers"] == 0
    assert {code[:3] for code in report["answers_5xx"] if not code.endswith(" of storage")} <= {"503"}
    assert report["requests"]["accepted"] > SECONDS
    if PROOF:
        assert report["options"]["faults_not_available_here"] == []
    missed = MAY_MISS & {*report["faults_without_a_victim"]}
    assert {*report["faults"], *report["options"]["faults_not_available_here"]} >= {*EVERY_KIND} - missed
    assert report["operations_taken_over"] > 0
    assert report["contents_compared"] > report["requests"]["accepted"] / 5
    assert min(report["backups"].values()) > 0
    assert "<svg" in (tmp_path / "report.html").read_text()


@pytest.mark.proof
def test_a_killed_node_leaves_nothing_behind(tmp_path: Path) -> None:
    """Twenty creations and twenty deletions; the node that has half of them is killed in the middle of its calls."""
    report = run_scenario("node-kill", tmp_path, fence=fence_of(SEED), say=main_say)

    print(report)
    assert report["findings"] == []
    assert (report["stuck"], report["doubled"], report["lost"], report["failed"]) == (0, 0, 0, 0)
    assert report["answers"] == {"202": 60}
    assert sum(report["in_flight_on_the_node"].values()) > 0


@pytest.mark.proof
@pytest.mark.timeout(400)
def test_a_stopped_node_writes_nothing_late(tmp_path: Path) -> None:
    """Stopped for 90 s and continued: whoever took its work over has ended it long before, and nothing runs twice."""
    report = run_scenario("node-stop", tmp_path, fence=("kill", "external")[SEED % 2], say=main_say)

    print(report)
    assert report["findings"] == []
    assert (report["stuck"], report["doubled"], report["lost"], report["failed"]) == (0, 0, 0, 0)
    assert report["answers"] == {"202": 50}
    assert sum(report["in_flight_on_the_node"].values()) > 0
    assert report["changes_by_the_node_after_it_was_declared_lost"] == 0
    assert report["processes_left_to_continue"] == 0


@pytest.mark.proof
def test_a_fenced_node_that_lives_on_is_refused_by_the_storage(tmp_path: Path) -> None:
    """Nobody kills it. Continued, it goes on with what it had sent, and none of it lands."""
    report = run_scenario("node-stop", tmp_path, fence="storage", say=main_say, stopped_s=25.0)

    print(report)
    assert report["findings"] == []
    assert (report["stuck"], report["doubled"], report["lost"], report["failed"]) == (0, 0, 0, 0)
    assert report["answers"] == {"202": 50}
    assert report["processes_left_to_continue"] == 2
    assert report["effects_refused_by_the_storage"] > 0
    assert report["changes_by_the_node_after_it_was_declared_lost"] == 0


@pytest.mark.proof
def test_storage_that_forgets_whom_it_refuses_is_found_out(tmp_path: Path) -> None:
    """The same, and the node's calls land when others have long done its work."""
    report = run_scenario("node-stop", tmp_path, fence="forgetful", say=main_say, stopped_s=25.0)

    print(report)
    assert report["processes_left_to_continue"] == 2
    assert report["changes_by_the_node_after_it_was_declared_lost"] > 0
    assert {"Exclusion", "Fence"} <= {one["invariant"] for one in report["findings"]}


@pytest.mark.proof
def test_a_fence_agent_that_lies_is_found_out(tmp_path: Path) -> None:
    """It says that a stopped node is cut off, and it is not: its calls are still under way when the survivor begins."""
    report = run_scenario("node-stop", tmp_path, fence="lying", say=main_say, stopped_s=10.0)

    print(report)
    assert "Exclusion" in {one["invariant"] for one in report["findings"]}
