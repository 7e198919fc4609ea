"""Many seeds in many processes: all are run, and whoever fails or dies is told by its seed."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from xml.etree.ElementTree import fromstring

import pytest
from tests.sim.failing import first_failure
from tests.sim.mutations import a_fence_that_kills_nobody
from typer.testing import CliRunner

from breezeblock.cli import app
from breezeblock.testing import batch
from breezeblock.testing.batch import INTERRUPTED, Outcome, many, one, run_seed
from breezeblock.testing.database import Database

LAST = re.compile(
    r"(\d+) runs, seeds (\d+) to (\d+): (\d+) requests, (\d+) accepted, (\d+) runs failed, (\d+) simulated cluster-hours"
)


def counted(seed: int, database: Database) -> Outcome:
    """Runs nothing, so that what is added up is known."""
    return Outcome(seed, requests=seed, accepted=1, virtual_s=3.0, cpu_s=0.5)


def failing_at_seven(seed: int, database: Database) -> Outcome:
    return Outcome(seed, problem=f"seed {seed} failed:\n  because\n") if seed == 7 else Outcome(seed)


def dying_at_seven(seed: int, database: Database) -> Outcome:
    if seed == 7:
        os.kill(os.getpid(), signal.SIGKILL)
    return Outcome(seed)


def raising_at_seven(seed: int, database: Database) -> Outcome:
    assert seed != 7
    return Outcome(seed)


def test_every_seed_is_run_once_and_added_up(capsys: pytest.CaptureFixture[str]) -> None:
    assert many(10, runs=5, minutes=None, jobs=2, run=counted) == 0

    last = LAST.search(capsys.readouterr().out)
    assert last is not None
    assert [int(word) for word in last.groups()] == [5, 10, 14, 10 + 11 + 12 + 13 + 14, 5, 0, 6]


def test_a_failed_run_is_printed_whole(capsys: pytest.CaptureFixture[str]) -> None:
    assert many(5, runs=4, minutes=None, jobs=2, run=failing_at_seven) == 1

    shown = capsys.readouterr().out
    assert "seed 7 failed:\n  because\n" in shown
    assert "4 runs, seeds 5 to 8" in shown
    assert "1 runs failed" in shown


@pytest.mark.parametrize(("run", "status"), [(dying_at_seven, "-9"), (raising_at_seven, "1")])
def test_a_worker_that_dies_is_told_by_its_seed(capfd: pytest.CaptureFixture[str], run: object, status: str) -> None:
    """The others go on with their shares."""
    assert many(5, runs=6, minutes=None, jobs=2, run=run) == 1  # type: ignore[arg-type]

    shown = capfd.readouterr().out
    assert f"seed 7: its worker ended with {status}" in shown
    assert "seeds 5 to 10" in shown


def test_real_seeds_run_in_real_processes(capsys: pytest.CaptureFixture[str]) -> None:
    """As they do here: the same requests, the same number accepted."""
    database = Database()
    here = [run_seed(seed, database) for seed in (1, 2)]
    database.close()
    capsys.readouterr()

    many(1, runs=2, minutes=None, jobs=2)

    last = LAST.search(capsys.readouterr().out)
    assert last is not None
    assert int(last[4]) == sum(outcome.requests for outcome in here)
    assert int(last[5]) == sum(outcome.accepted for outcome in here)


def test_minutes_end_it(capsys: pytest.CaptureFixture[str]) -> None:
    started = time.monotonic()

    many(1, runs=None, minutes=0.05, jobs=2)

    assert 3 <= time.monotonic() - started < 30
    assert LAST.search(capsys.readouterr().out)


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_an_interrupt_ends_all_at_once() -> None:
    """Also one that only the parent gets; what was run so far is reported, and no worker is left."""
    command = [str(Path(sys.executable).with_name("breezeblock")), "sim", "--minutes", "5", "--jobs", "2"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        while len(workers := [pid for pid in children(running.pid) if is_breezeblock(pid)]) < 2:
            time.sleep(0.05)
        time.sleep(1.0)

        running.send_signal(signal.SIGINT)
        shown, complaints = running.communicate(timeout=60)

    assert running.returncode == INTERRUPTED
    assert shown.startswith("interrupted; ")
    assert complaints == ""
    assert not [worker for worker in workers if is_breezeblock(worker)]


def is_breezeblock(pid: int) -> bool:
    try:
        return b"multiprocessing.spawn" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except FileNotFoundError:
        return False


def test_a_failing_seed_is_told_shrunk_and_drawn(
    database: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """All of it as it was told, the time line of what is left, and the picture of that, with the violation in red."""
    monkeypatch.setattr(batch, "RUNS_MOST", 12)  # enough to leave something out
    failed = first_failure(a_fence_that_kills_nobody, monkeypatch, database)
    path = tmp_path / "out.html"

    assert one(failed.seed, full=True, html=path) == 1

    told, _, shown = capsys.readouterr().out.partition(f"seed {failed.seed} failed:")
    assert told == "".join(f"{entry}\n" for entry in failed.history)
    assert "  FAULT " in shown
    assert "  VIOLATION  " in shown
    assert f"breezeblock sim --seed {failed.seed} --full" in shown
    assert f"breezeblock sim --seed {failed.seed} --faults '" in shown
    drawn = fromstring(path.read_text().removeprefix("<!DOCTYPE html>\n"))
    classes = [one.get("class", "") for one in drawn.iter()]
    assert "violation" in classes
    faults = [entry for entry in failed.history if entry.kind == "fault"]
    assert 0 < len([kind for kind in classes if kind.startswith("mark fault")]) < len(faults)


@pytest.mark.parametrize(
    "options", [["--runs", "2", "--full"], ["--minutes", "1", "--html", "a"], ["--runs", "2", "--faults", "1"]]
)
def test_what_shows_one_seed_refuses_many(options: list[str]) -> None:
    done = CliRunner().invoke(app, ["sim", *options])

    assert done.exit_code == 2
    assert "one seed" in " ".join(done.output.split())


def test_only_the_faults_and_requests_that_are_asked_for_are_left() -> None:
    """Each by its number in the whole run."""
    done = CliRunner().invoke(app, ["sim", "--seed", "1", "--faults", "", "--requests", "3,4"])

    assert done.exit_code == 0
    assert " FAULT " not in done.output
    assert re.findall(r" request (\d+) ", done.output) == ["3", "4"]


@pytest.mark.parametrize("options", [["--seed", "1", "--faults", "x"], ["--faults", "1"]])
def test_numbers_of_faults_need_a_seed_and_are_numbers(options: list[str]) -> None:
    assert CliRunner().invoke(app, ["sim", *options]).exit_code == 2
