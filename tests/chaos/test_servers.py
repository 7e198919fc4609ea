"""Chaos on real database servers: killed, stopped, cut off from nodes and APIs one way or both; and the broker."""

from pathlib import Path
from typing import Any, Final

import pytest
from tests.chaos.test_chaos import SEED
from tests.proof import not_here

from breezeblock.chaos.outages import OUTAGES, run_outage
from breezeblock.chaos.plan import EVERY_KIND, ONLY_SQLITE, fence_of, rates
from breezeblock.chaos.run import Options, main_say, run, summary
from breezeblock.chaos.scenarios import run_scenario
from breezeblock.chaos.servers import NoServers

SHORT_S: Final = 20.0
LONG_S: Final = 90.0


def chaos(seconds: float, out: Path, **options: Any) -> dict[str, Any]:
    """A run and its report. Skips the test where there are no such servers."""
    try:
        report = run(Options(seconds, SEED, fence_of(SEED), **options), out, say=main_say)
    except NoServers as error:
        not_here(str(error))
    print(f"\nBREEZEBLOCK_SEED={SEED}, {report['options']}\n{summary(report)}")
    return report


def assert_right(report: dict[str, Any]) -> None:
    """All that was accepted has happened once, and no answer was a mistake."""
    assert report["verdict"] == "right", summary(report)
    assert report["overlapping_writers"] == 0
    assert {code[:3] for code in report["answers_5xx"] if not code.endswith(" of storage")} <= {"503"}
    assert report["commits_checked"] > report["requests"]["accepted"] > 0


@pytest.mark.timeout(300)
def test_a_database_server_that_comes_and_goes_loses_nothing(tmp_path: Path) -> None:
    """PostgreSQL, killed and stopped, and processes that do not reach or do not hear it, beside all the other faults."""
    report = chaos(SHORT_S, tmp_path, database="postgresql")

    assert_right(report)
    struck = {"kill database", "stop database"}
    cuts = {"cut node", "half-cut node", "cut api", "half-cut api"}
    # One that is killed cannot be stopped before it has come back, which may take longer than is left.
    assert struck & {*report["faults"]}
    assert struck <= {*report["faults"], *report["faults_without_a_victim"]}
    assert cuts <= {
        *report["faults"],
        *report["options"]["faults_not_available_here"],
        *report["faults_without_a_victim"],
    }


@pytest.mark.proof
@pytest.mark.timeout(LONG_S + 600)
@pytest.mark.parametrize(
    ("database", "doorbell"),
    [("postgresql", "rabbitmq"), ("mariadb", "postgresql"), ("galera", "rabbitmq")],
)
def test_under_every_fault_of_servers_too(tmp_path: Path, database: str, doorbell: str) -> None:
    """Minutes of everything, with a broker that is killed and stopped as well, and members that leave a cluster."""
    report = chaos(LONG_S, tmp_path, database=database, doorbell=doorbell)

    assert_right(report)
    assert report["options"]["faults_not_available_here"] == []
    wanted = {*rates(database, broker=True)}
    assert wanted >= {*EVERY_KIND} - ONLY_SQLITE
    assert {*report["faults"], *report["faults_without_a_victim"]} >= wanted


@pytest.mark.proof
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", sorted(OUTAGES))
def test_a_server_that_is_killed_costs_time_and_nothing_else(tmp_path: Path, name: str) -> None:
    """Counts and times as they were measured on another service, which lost what was queued."""
    try:
        report = run_outage(name, tmp_path, say=main_say)
    except NoServers as error:
        not_here(str(error))

    print(report)
    assert report["findings"] == []
    assert (report["stuck"], report["doubled"], report["lost"], report["failed"]) == (0, 0, 0, 0)
    assert report["all_done_s"] is not None
    assert {*report["answers"], *report["answers_listing"]} <= {"200", "202", "503"}
    if OUTAGES[name].victim == "broker":
        assert {*report["answers"]} == {"202"}


@pytest.mark.proof
@pytest.mark.timeout(400)
def test_on_a_server_too_a_fence_agent_that_lies_is_found_out(tmp_path: Path) -> None:
    """The checkers see what they look for when the rows and the notes of commits come from a server."""
    report = run_scenario("node-stop", tmp_path, fence="lying", say=main_say, stopped_s=10.0, database="postgresql")

    print(report)
    assert "Exclusion" in {one["invariant"] for one in report["findings"]}
